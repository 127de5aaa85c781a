//! `stopover restore SNAPSHOT|TIME|TAG [PATH…]`: what was, over what is, or in a place of its own.

use std::path::PathBuf;

use clap::Args;

use super::{
    commit::{name_missing, name_unfinished},
    context::Context,
    diff::WAYS,
    explain,
    failure::Failure,
    log, output,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Config, Mode, Need},
    report::{Exit, Level, Receipt, Rewound},
    rows::RelPath,
    supervise::{self, Wait},
    sync,
};

/// Bring back a snapshot, or some paths of it
///
/// In the directory what is there is committed first, and what came of it afterwards: nothing is lost, and going back
/// is one more restore. Only what differs is touched; files that the snapshot does not have are removed, files that
/// are not stored (ignored ones) are left alone. With --to nothing is committed, and nothing else is written.
#[derive(Args, Debug)]
#[command(after_help = format!("{WAYS}\n\n\
    Examples:\n  stopover restore before-upgrade\n  stopover restore 2h src/app.js config\n  stopover restore 41 --to /tmp/as-it-was"))]
pub(super) struct Restore {
    /// The snapshot
    #[arg(value_name = "SNAPSHOT|TIME|TAG")]
    snapshot: String,
    /// Files and directories of the workspace; all of it unless given
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write to this directory, which is new or empty, and nowhere else
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Go on though some files cannot be fetched; each is named
    #[arg(long, help_heading = "Guards")]
    allow_partial: bool,
    /// Say what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was brought back as JSON
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call { dry_run: self.dry_run, allow_partial: self.allow_partial, ..Call::default() };
        let mut config = context.config(&Need::Workspace, call)?;
        let standing = context.working_directory();
        let below = |given: &PathBuf| {
            explain::below(given, &config.dir, standing)
                .map_err(|why| Failure::new(Exit::Usage, format!("{}: {why}", given.display())))
        };
        let paths: Vec<RelPath> = self.paths.iter().map(below).collect::<Result<_, _>>()?;
        let (restored, whole) = match &self.to {
            Some(to) => {
                config.dir = standing.join(to);
                config.state = config.dir.join(".stopover");
                let listener = Listener::new(context, &config)?;
                let work =
                    async { Ok(sync::extract(&config, &context.setting(), &self.snapshot, &paths, &listener).await?) };
                (block_on(Cancel::BySignals, work)?, true)
            }
            None => self.in_place(context, &config, &paths)?,
        };
        for refused in &restored.refused {
            let text = format!("not brought back: {} ({})", refused.key, refused.reason);
            log::line(config.log_format, Level::Warn, &text);
        }
        if self.json {
            output::json(&restored)?;
        } else {
            output::text(&format!("{restored}\n"))?;
        }
        let whole = whole && restored.refused.is_empty();
        Ok(if whole { Exit::Success } else { Exit::Incomplete }.code())
    }

    /// Commit, edit, commit. Says also whether both commits stored all.
    fn in_place(&self, context: &Context, config: &Config, paths: &[RelPath]) -> Result<(Rewound, bool), Failure> {
        if config.mode == Mode::ReadOnly && !self.dry_run {
            return Err(Failure::guard(
                "STOPOVER_MODE=read-only: nothing is committed, so nothing is brought back; name a place with --to",
            ));
        }
        // Before the commit: a time would mean that one.
        let named = async { Ok(sync::snapshot_named(config, &self.snapshot).await?) };
        let id = block_on(Cancel::BySignals, named)?;
        let edit = || -> Result<Rewound, Failure> {
            let listener = Listener::new(context, config)?;
            let work = async { Ok(sync::rewind(config, &context.setting(), &id, paths, &listener).await?) };
            block_on(Cancel::BySignals, work)
        };
        if self.dry_run {
            return Ok((edit()?, true));
        }
        let before = commit(context, config)?;
        let edited = edit();
        let mut restored = edited.map_err(|failure| match &before.snapshot {
            Some(before) => failure.and(&format!("what was here before is snapshot {before}")),
            None => failure,
        })?;
        let after = commit(context, config)?;
        name_missing(&after, config.log_format);
        let whole = before.is_whole() && after.is_whole();
        (restored.before, restored.after) = (before.snapshot, after.snapshot);
        Ok((restored, whole))
    }
}

/// A commit of the directory: by its supervisor where one runs, else here.
fn commit(context: &Context, config: &Config) -> Result<Receipt, Failure> {
    let asked = supervise::request(&config.state, Wait::All)
        .map_err(|error| Failure::failed(format!("{}/commit.sock: {error}", config.state.display())))?;
    let Some(answer) = asked else {
        let listener = Listener::of_commit(context, config)?;
        let setting = context.setting();
        let work = async { Ok(sync::commit(config, &setting, None, &listener).await?) };
        return Ok(block_on(Cancel::BySignals, work).map_err(Failure::of_a_command)?.bounded());
    };
    name_unfinished(config);
    let receipt = serde_json::from_slice::<Receipt>(&answer.receipt).ok();
    match receipt {
        Some(Receipt { error: Some(error), .. }) => {
            Err(Failure::failed(format!("the supervisor's commit failed: {error}")))
        }
        Some(receipt) if receipt.durable => Ok(receipt),
        _ => Err(Failure::failed("the supervisor's commit came to nothing; its log says why")),
    }
}
