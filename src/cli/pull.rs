//! `stopover pull`: the restore alone. As a child of PID 1 it also says how far it is, and which directory it filled.

use clap::Args;

use super::{
    args::RestoreGuards,
    child,
    context::Context,
    failure::Failure,
    output,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Handover, Need},
    report::Exit,
};

/// Restore the workspace into the directory
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover pull --workspace s3://BUCKET/PREFIX/USER/NAME --dir ./site")]
pub(super) struct Pull {
    #[command(flatten)]
    guards: RestoreGuards,
    /// Say what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,
}

impl Pull {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Workspace, self.guards.call(self.dry_run))?;
        let handover = context.handover().cloned().unwrap_or_default();
        let mut receipt = child::pipe(handover.receipt)?;
        let listener = Listener::new(child::pipe(handover.status)?, config.log_format);
        let _ = (&config, &mut receipt, &listener, Handover::default());
        let _: () = block_on(Cancel::BySignals, super::later::later("pull"))?;
        if self.json {
            output::text("")?;
        }
        Ok(Exit::Success.code())
    }
}
