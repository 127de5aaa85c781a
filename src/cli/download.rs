//! `stopover download NAME [DIR]`: a whole workspace into a directory.

use std::path::PathBuf;

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    progress::Listener,
    pull,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    sync,
};

/// Fetch a whole workspace into a directory
///
/// Files that differ are not replaced without --overwrite.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover download site ./site --store s3://BUCKET/PREFIX/USER")]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub(super) struct Download {
    /// The workspace: a name below the store, or a URL
    name: String,
    /// The directory; STOPOVER_DIR or the current one unless given
    directory: Option<PathBuf>,
    /// Replace files that differ, in a directory that was not downloaded before
    #[arg(long)]
    overwrite: bool,
    /// Remove from the directory what the workspace does not have
    #[arg(long)]
    delete: bool,
    /// Go on though some files cannot be fetched; each is named
    #[arg(long)]
    allow_partial: bool,
    /// Say what would be fetched, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was fetched as JSON
    #[arg(long)]
    json: bool,
}

impl Download {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call {
            overwrite: self.overwrite,
            delete: self.delete,
            allow_partial: self.allow_partial,
            dry_run: self.dry_run,
            ..Call::default()
        };
        let config = context.config_of_directory(&Need::Named(self.name), call, self.directory.as_deref())?;
        let listener = Listener::new(context, &config)?;
        let pulled =
            block_on(Cancel::BySignals, async { Ok(sync::download(&config, &context.setting(), &listener).await?) })?;
        drop(listener);
        pull::print(&config, &pulled, self.json)
    }
}
