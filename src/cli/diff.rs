//! `stopover diff A [B]`: in what two snapshots differ.

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

/// What a snapshot may be called: of `diff`, `tag` and `restore`.
pub(super) const WAYS: &str = "A snapshot is named by its id or the begin of it (0000000041-3c9e), its number (41), a tag, or a time: \
     2026-01-02T15:04:05Z, a day (2026-01-02: its end, UTC), or so long ago (2h, 3d). A time means the newest snapshot \
     that is not younger. The present one is `.`";

/// Show in what two snapshots differ
#[derive(Args, Debug)]
#[command(after_help = format!("{WAYS}\n\nA added, M modified, D deleted, m mode or owner alone.\n\n\
    Examples:\n  stopover diff 2h\n  stopover diff before-upgrade 41 --json"))]
pub(super) struct Diff {
    /// The older snapshot
    #[arg(value_name = "A")]
    from: String,
    /// The newer one; the present one unless given
    #[arg(value_name = "B")]
    to: Option<String>,
    /// Print one JSON object per path
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Workspace, Call::default())?;
        let (from, to) = (self.from.as_str(), self.to.as_deref());
        let found = block_on(Cancel::BySignals, async { Ok(sync::diff(&config, from, to).await?) })?;
        if self.json {
            found.iter().try_for_each(output::json)?;
        } else {
            let lines: String = found.iter().map(|change| format!("{change}\n")).collect();
            output::text(&lines)?;
        }
        Ok(Exit::Success.code())
    }
}
