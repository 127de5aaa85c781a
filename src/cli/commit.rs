//! `stopover commit`: what changed goes to the bucket. Where a supervisor runs it is asked; else the work is done here.

use clap::Args;

use super::{
    args::PassedGuards,
    context::Context,
    failure::Failure,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::Exit,
};

/// Store what changed, and print a receipt
///
/// In a container where `stopover run` is PID 1 it asks that one. Returns when the change is safe and the live tree
/// has caught up.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stopover commit\n  stopover commit --durable --json")]
pub(super) struct Commit {
    /// Return as soon as the change is safe
    #[arg(long)]
    durable: bool,
    /// Say what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _passed: PassedGuards,
}

impl Commit {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call { durable: self.durable, dry_run: self.dry_run, ..Call::default() };
        let _config = context.config(&Need::Workspace, call)?;
        let _ = self.json;
        let _: () = block_on(Cancel::Never, super::later::later("commit"))?;
        Ok(Exit::Success.code())
    }
}
