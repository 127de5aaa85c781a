//! `stopover prune`: what nothing needs any more goes.

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    log, output,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::{Exit, Level},
    sync,
};

/// Delete what no kept snapshot needs
///
/// First the history is trimmed by --keep-last, --keep-within and --keep-daily, as with each commit. Safe while
/// containers write to the workspace. What is younger than a day stays for the next prune; an upload in parts that was
/// begun before that and never ended is given up.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  stopover prune --dry-run\n  stopover prune --keep-last 10 --keep-within 1h --keep-daily 7"
)]
pub(super) struct Prune {
    /// Nobody else writes to the workspace: wanted where the server does not honour conditional writes
    #[arg(long, help_heading = "Guards")]
    sole_writer: bool,
    /// Say what would be deleted, delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was deleted as JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call { dry_run: self.dry_run, sole_writer: self.sole_writer, ..Call::default() };
        let config = context.config(&Need::Workspace, call)?;
        let listener = Listener::new(context, &config)?;
        let pruned = block_on(Cancel::BySignals, async { Ok(sync::prune(&config, &listener).await?) })?;
        drop(listener);
        for stray in &pruned.strays {
            let what = "it may be another's commit that was overwritten, and stays for 30 days";
            log::line(config.log_format, Level::Warn, &format!("not in the history: {stray} ({what})"));
        }
        if self.json {
            output::json(&pruned)?;
        } else {
            output::text(&format!("{pruned}\n"))?;
        }
        Ok(Exit::Success.code())
    }
}
