//! `stopover upload NAME [DIR]` (also `sync`): a whole directory to a workspace.

use std::path::PathBuf;

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
        let _config = context.config_of_directory(&Need::Named(self.name), call, self.directory.as_deref())?;
        let _ = (self.watch, self.json);
        let _: () = block_on(Cancel::BySignals, super::later::later("upload"))?;
        Ok(Exit::Success.code())
    }
}
