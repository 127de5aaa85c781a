//! `stopover snapshots`: the history of a workspace.

use clap::Args;

use super::{
    context::Context,
    failure::Failure,
    log, output,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need, Workspace},
    report::{Exit, Level, snapshot_table},
    sync,
};

/// List the snapshots that are kept, the newest last
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  stopover snapshots --workspace s3://BUCKET/PREFIX/USER/NAME\n  stopover snapshots --json"
)]
pub(super) struct Snapshots {
    /// Print one JSON object per snapshot
    #[arg(long)]
    json: bool,
}

impl Snapshots {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Workspace, Call::default())?;
        let history = block_on(Cancel::BySignals, async { Ok(sync::snapshots(&config).await?) })?;
        let url = config.workspace.as_ref().map(Workspace::url).unwrap_or_default();
        for stray in &history.strays {
            let text = format!(
                "snapshot {stray} is in no history: another's commit that was overwritten, or one that never ended; \
                 `stopover restore {stray} --to DIR` brings it back"
            );
            log::line(config.log_format, Level::Warn, &text);
        }
        if history.kept.is_empty() {
            log::info(&config, &format!("{url} has no snapshots yet: the first checkpoint of a container makes one"));
        } else if self.json {
            history.kept.iter().try_for_each(output::json)?;
        } else {
            output::text(&snapshot_table(&history.kept))?;
        }
        Ok(Exit::Success.code())
    }
}
