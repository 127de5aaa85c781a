//! `stopover upload NAME [DIR]` (also `sync`): a whole directory to a workspace.

use std::path::PathBuf;

use clap::Args;

use super::{
    commit::print_receipt,
    context::Context,
    failure::Failure,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::Exit,
    sync,
};

/// Send a whole directory to a workspace
///
/// Adds and replaces; deletes nothing without --delete. A directory that was restored before is committed.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  stopover upload site ./site --store s3://BUCKET/PREFIX/USER\n  stopover upload s3://BUCKET/PREFIX/USER/site --watch"
)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub(super) struct Upload {
    /// The workspace: a name below the store, or a URL
    name: String,
    /// The directory; STOPOVER_DIR or the current one unless given
    directory: Option<PathBuf>,
    /// Remove from the workspace what the directory does not have
    #[arg(long)]
    delete: bool,
    /// Go on, and send each change, until a signal comes
    #[arg(long)]
    watch: bool,
    /// Take lockfiles even if they are ignored
    #[arg(long)]
    include_lock: bool,
    /// Say what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
}

impl Upload {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call =
            Call { delete: self.delete, include_lock: self.include_lock, dry_run: self.dry_run, ..Call::default() };
        let config = context.config_of_directory(&Need::Named(self.name), call, self.directory.as_deref())?;
        if self.watch {
            return Err(Failure::new(Exit::Usage, "upload --watch is not built yet: run upload again for each change"));
        }
        let listener = Listener::new(context, &config)?;
        let receipt =
            block_on(Cancel::BySignals, async { Ok(sync::upload(&config, &context.setting(), &listener).await?) })?;
        drop(listener);
        print_receipt(&receipt, self.json, config.log_format)?;
        Ok(if receipt.is_whole() { Exit::Success } else { Exit::Incomplete }.code())
    }
}
