//! Installs what a workspace needs, and finds how its app is started.
//!
//! Detection ([`detect`], [`start_command`]) is pure over a [`View`] of the directory's top: a table of files in, a
//! [`Plan`] or a [`Start`] out. [`run`] acts on it: one tool after the other, each in a process group of its own, with
//! a deadline and a cancel that leave no process behind. Knows no S3, no sync and no supervisor; it is the whole of
//! the subcommand `install`, which PID 1 starts as a child.
//!
//! **What PID 1 gets** ([`InstallOutcome::record`]): the rows of what ran as a JSON array, a NUL byte, then words that
//! each end in a NUL: first the environment assignments `NAME=VALUE` that the app needs (`PATH` with `.venv/bin` in
//! front, say), then one empty word, then the words of the start command, none where a command was given. The
//! assignments are for the app whether its command was given or found; its program is looked up in the new `PATH`.

mod cancel;
#[cfg(test)]
mod cases;
mod disk;
mod explain;
mod json5;
mod languages;
mod manifest;
mod node;
mod outcome;
mod places;
mod plan;
mod process;
mod python;
mod run;
mod start;
mod view;

use std::{ffi::OsString, os::fd::BorrowedFd, path::PathBuf, time::Duration};

pub use self::{
    cancel::CancelSignals,
    disk::Disk,
    explain::{ExplainedStart, ExplainedStep, Explanation, explain},
    outcome::{InstallOutcome, Ran},
    plan::{InstallError, NoStart, Otherwise, Place, Plan, Start, Step, Usual, Versions, command_line},
    view::{Content, Memory, Presence, View},
};
use crate::config::Install;

/// What [`run`] is asked to do.
#[derive(Debug)]
pub struct InstallRequest<'a> {
    /// The directory of the workspace, absolute.
    pub directory: PathBuf,
    /// stopover's own directory: the last resort for caches where neither HOME nor /tmp can be written.
    pub state: PathBuf,
    /// `STOPOVER_INSTALL`.
    pub choice: Install,
    /// `STOPOVER_INSTALL_TIMEOUT`, for all steps together.
    pub timeout: Duration,
    /// The environment that tools start from: as a rule this process's own.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the start command is looked for too, because none was given.
    pub find_start: bool,
    /// Whether what tools print goes to standard error, because standard output is for JSON.
    pub tools_to_stderr: bool,
    /// Becomes readable when the install is to be cancelled: [`CancelSignals`], or the end of a pipe.
    pub cancel: Option<BorrowedFd<'a>>,
}

/// Which package managers to run for this directory, and in which order.
///
/// # Errors
/// Two lockfiles of one ecosystem that nothing decides between, or a manifest that cannot be read.
pub fn detect(view: &dyn View) -> Result<Plan, InstallError> {
    let mut plan = Plan::default();
    node::detect(view, languages::has_deno(view)?, &mut plan)?;
    python::detect(view, &mut plan)?;
    for ecosystem in [
        languages::deno,
        languages::php,
        languages::ruby,
        languages::go,
        languages::rust,
        languages::elixir,
        languages::dotnet,
    ] {
        ecosystem(view, &mut plan)?;
    }
    Ok(plan)
}

/// How the app of this directory is started.
///
/// # Errors
/// Where nothing tells: what was looked for.
pub fn start_command(view: &dyn View) -> Result<Start, InstallError> {
    start::start_command(view)
}

/// What to install by `STOPOVER_INSTALL`: nothing, the user's own command, or what was detected.
fn choose(choice: &Install, detected: impl FnOnce() -> Result<Plan, InstallError>) -> Result<Plan, InstallError> {
    match choice {
        Install::None => Ok(Plan::default()),
        Install::Auto => detected(),
        Install::Command(words) => Ok(Plan {
            steps: vec![Step {
                tool: words.first().cloned().unwrap_or_default(),
                command: words.clone(),
                because: "STOPOVER_INSTALL".to_owned(),
                needs_whole_tree: Some("nobody but its author knows what a command reads"),
                ..Step::default()
            }],
            warnings: Vec::new(),
        }),
    }
}

/// Detects, installs, and finds the start command. Blocks; nobody else in the process may wait for its children.
///
/// Each step and each warning is logged as it comes; the error is left to the caller to say.
#[must_use]
pub fn run(request: &InstallRequest<'_>) -> InstallOutcome {
    run::run(request)
}
