//! `stopover doctor`: what this server and these rights allow, and what follows.

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::Exit,
};

/// Say what the server and the rights allow, and what follows
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover doctor --workspace s3://BUCKET/PREFIX/USER/NAME")]
pub(super) struct Doctor {
    /// Read only: do not measure what the server honours when it is written to
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let _config = context.config(&Need::Workspace, Call { dry_run: self.dry_run, ..Call::default() })?;
        let _ = self.json;
        let _: () = block_on(Cancel::BySignals, super::later::later("doctor"))?;
        Ok(Exit::Success.code())
    }
}
