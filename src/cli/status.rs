//! `stopover status`: what a commit would send, and what not.

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

/// Show what a commit would send, what is ignored by which rule, conflicts, and the base snapshot
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover status --json")]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let _config = context.config(&Need::Workspace, Call::default())?;
        let _ = self.json;
        let _: () = block_on(Cancel::BySignals, super::later::later("status"))?;
        Ok(Exit::Success.code())
    }
}
