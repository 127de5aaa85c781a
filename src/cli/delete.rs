//! `stopover delete NAME`: a workspace and all that is in it.

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    output,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::{Exit, bytes, counted},
    sync,
};

/// Delete a workspace and all that is in it
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover delete old-site --yes")]
pub(super) struct Delete {
    /// The workspace: a name below the store, or a URL
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Say what would be deleted, delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was deleted as JSON
    #[arg(long)]
    json: bool,
}

impl Delete {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call { dry_run: self.dry_run, ..Call::default() };
        let config = context.config(&Need::Named(self.name), call)?;
        let url = config.workspace.as_ref().map(crate::config::Workspace::url).unwrap_or_default();
        if !self.yes && !self.dry_run {
            if !output::is_interactive() {
                return Err(Failure::guard(format!("{url} is not deleted without --yes")));
            }
            if !output::confirm(&format!("Delete {url} and all that is in it?"))? {
                return Err(Failure::guard(format!("{url} is not deleted")));
            }
        }
        let listener = Listener::new(context, &config)?;
        let removed = block_on(Cancel::BySignals, async { Ok(sync::delete(&config, &listener).await?) })?;
        drop(listener);
        let (objects, size) = (removed.objects, removed.bytes);
        if self.json {
            output::json(&serde_json::json!({ "workspace": url, "objects": objects, "bytes": size }))?;
        } else {
            let done = if self.dry_run { "would delete" } else { "deleted" };
            output::text(&format!("{done} {url} ({}, {})\n", counted(objects, "object", "objects"), bytes(size)))?;
        }
        Ok(Exit::Success.code())
    }
}
