//! The words of this room: a plan of steps, a start command, and what can go wrong. Types only.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// One tool to run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// The package manager: `npm`, `pip` …
    pub tool: String,
    /// The command line, in words.
    pub command: Vec<String>,
    /// Where it runs, below the workspace's directory; empty for its top.
    pub directory: String,
    /// The file that decided, or the variable.
    pub because: String,
    /// Where the tool keeps what it downloaded.
    pub cache: Option<String>,
    /// Variables for the tool; those that the user has set stay as they are.
    pub environment: Vec<(String, String)>,
    /// Why this step cannot begin before the whole tree is there; `None`: the manifests are enough.
    pub needs_whole_tree: Option<&'static str>,
    /// What to do where the image lacks the tool.
    pub fix: String,
}

/// What to install.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// One after the other.
    pub steps: Vec<Step>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// How the app is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Its words.
    pub command: Vec<String>,
    /// Variables that the command sets.
    pub environment: Vec<(String, String)>,
    /// Directories, below the workspace's, that go first on its `PATH`.
    pub path: Vec<String>,
    /// The file that decided.
    pub because: String,
}

/// Nothing tells how the app is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoStart {
    /// What was looked for, in order.
    pub looked_for: Vec<String>,
}

/// Why an install did not happen, or failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Two lockfiles of one ecosystem.
    #[error("{} are both there, and nothing says which one counts: {hint}", names(.files))]
    TwoLockfiles {
        /// The files, each with its tool.
        files: Vec<(String, String)>,
        /// What to do.
        hint: String,
    },
    /// A manifest that does not parse, or is too large.
    #[error("cannot read {file}: {reason}")]
    Manifest {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The image lacks tools.
    #[error("{}", .0.join("; "))]
    ToolMissing(Vec<String>),
    /// A tool ran and failed.
    #[error("{command} failed ({how}); its own words are above")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code or signal, in words.
        how: String,
    },
    /// A tool did not end in time.
    #[error("{command} did not end within {} s: raise STOPOVER_INSTALL_TIMEOUT, or see what it waits for", .after.as_secs())]
    TimedOut {
        /// The command line.
        command: String,
        /// `STOPOVER_INSTALL_TIMEOUT`.
        after: Duration,
    },
    /// Somebody asked to stop.
    #[error("the install was cancelled")]
    Cancelled,
    /// No start command.
    #[error("no start command: looked for {}; give one after `run --`", .0.looked_for.join(", "))]
    NoStart(NoStart),
    /// The machine refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// The command line as a shell would read it.
#[must_use]
pub fn command_line(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

/// For JSON: a command line is one string.
pub(super) fn as_command_line<S: Serializer>(words: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    command_line(words).serialize(serializer)
}

fn names(files: &[(String, String)]) -> String {
    files.iter().map(|(file, tool)| format!("{file} ({tool})")).collect::<Vec<_>>().join(" and ")
}
