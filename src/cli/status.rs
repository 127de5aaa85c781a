//! `stopover status`: what a commit would send, and what not.

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    output,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::Exit,
    sync,
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
        let config = context.config(&Need::Workspace, Call::default())?;
        let status = block_on(Cancel::BySignals, async { Ok(sync::status(&config, &context.setting()).await?) })?;
        output::either(self.json, &status)?;
        Ok(Exit::Success.code())
    }
}
