//! `stopover upload NAME [DIR]` (also `sync`): a whole directory to a workspace.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    commit,
    context::Context,
    explain::rule_options,
    failure::Failure,
    log,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Config, Need},
    report::{Exit, Level, Receipt},
    rows::Rows,
    sync,
    worktree::{Directory, Index, ScanOptions, scan},
};

/// Between two looks at a watched directory. A scan of what has not changed costs a stat a file.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After an upload that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(15);

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
        if !config.dir.is_dir() {
            return Err(Failure::failed(format!("directory does not exist: {}", config.dir.display())));
        }
        let sent = block_on(Cancel::BySignals, async {
            if self.watch && !self.dry_run {
                watch(context, &config, self.json).await
            } else {
                send(context, &config).await
            }
        })
        .map_err(Failure::of_a_command)?;
        commit::print_receipt(&sent, self.json, &config)?;
        Ok(commit::verdict(&sent, self.dry_run))
    }
}

async fn send(context: &Context, config: &Config) -> Result<Receipt, Failure> {
    let listener = Listener::new(context, config)?;
    Ok(sync::upload(config, &context.setting(), &listener).await?.bounded())
}

/// Sends what there is, then each change. The first upload must succeed; later ones are tried again.
async fn watch(context: &Context, config: &Config, as_json: bool) -> Result<Receipt, Failure> {
    let mut index = Index::default();
    let mut sent: Option<Rows> = None;
    loop {
        let (rows, seen) = look(config, index).await?;
        index = seen;
        let mut pause = LOOK_EVERY;
        if sent.as_ref() != Some(&rows) {
            match send(context, config).await {
                Ok(done) => {
                    commit::print_receipt(&done, as_json, config)?;
                    sent = Some(rows);
                }
                Err(failure) if sent.is_none() || failure.code() != Exit::Failed.code() => return Err(failure),
                Err(failure) => {
                    failure.print(config.log_format);
                    let again = format!("trying again in {} s", AFTER_FAILURE.as_secs());
                    log::line(config.log_format, Level::Warn, &again);
                    pause = AFTER_FAILURE;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn look(config: &Config, index: Index) -> Result<(Rows, Index), Failure> {
    let dir = config.dir.clone();
    let options = ScanOptions { count_ignored: 0, ..ScanOptions::new(rule_options(config), config.state.clone()) };
    let scanned = tokio::task::spawn_blocking(move || {
        let directory = Directory::open(&dir)?;
        scan(&directory, &index, &options)
    });
    let scan = scanned.await.map_err(Failure::failed)?.map_err(Failure::failed)?;
    Ok((scan.rows, scan.index))
}
