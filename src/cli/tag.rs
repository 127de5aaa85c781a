//! `stopover tag NAME [SNAPSHOT]`: names for snapshots.

use clap::Args;

use super::{
    context::Context,
    diff::WAYS,
    failure::Failure,
    output,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Need},
    report::Exit,
    sync::{self, Tagging},
};

/// Give a snapshot a name; it is kept for ever then
///
/// A tag is on one snapshot: it leaves the one that had it.
#[derive(Args, Debug)]
#[command(after_help = format!("{WAYS}\n\n\
    Examples:\n  stopover tag before-upgrade\n  stopover tag good 41\n  stopover tag --remove good"))]
pub(super) struct Tag {
    /// The name: it begins with a letter and has no blanks
    name: String,
    /// The snapshot; the present one unless given
    #[arg(conflicts_with = "remove")]
    snapshot: Option<String>,
    /// Take the name away; history keeps the snapshot only as long as any other
    #[arg(long)]
    remove: bool,
    /// Say what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print which snapshot has the tag, and which had it, as JSON
    #[arg(long)]
    json: bool,
}

impl Tag {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call { dry_run: self.dry_run, ..Call::default() };
        let config = context.config(&Need::Workspace, call)?;
        let snapshot = self.snapshot.as_deref().unwrap_or(".");
        let becomes = if self.remove { Tagging::Nothing } else { Tagging::Of(snapshot) };
        let tagged = block_on(Cancel::BySignals, async { Ok(sync::tag(&config, &self.name, becomes).await?) })?;
        if self.remove && tagged.before.is_none() {
            return Err(Failure::failed(format!("no kept snapshot has the tag {:?}", self.name)));
        }
        if self.json {
            output::json(&tagged)?;
        } else {
            let would = if self.dry_run { "would be: " } else { "" };
            output::text(&format!("{would}{tagged}\n"))?;
        }
        Ok(Exit::Success.code())
    }
}
