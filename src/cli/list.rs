//! `stopover list`: the workspaces of the store.

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    output,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::{Exit, WorkspaceItem, workspace_table},
    sync,
};

/// List the workspaces of the store: size, files, last commit, writer
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover list --store s3://BUCKET/PREFIX/USER")]
pub(super) struct List {
    /// Print one JSON object per workspace
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Store, Call::default())?;
        let items: Vec<WorkspaceItem> = block_on(Cancel::BySignals, async { Ok(sync::list(&config).await?) })?;
        if self.json {
            items.iter().try_for_each(output::json)?;
        } else {
            output::text(&workspace_table(&items))?;
        }
        Ok(Exit::Success.code())
    }
}
