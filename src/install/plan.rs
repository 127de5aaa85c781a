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
    /// Where the tool keeps what it downloaded, in words.
    pub cache: Option<String>,
    /// Variables for the tool; those that the user has set stay as they are.
    pub environment: Vec<(&'static str, String)>,
    /// Variables of the container that the tool must not see.
    pub unset: Vec<&'static str>,
    /// Places that the tool writes to, which a read-only image may not allow.
    pub places: Vec<Place>,
    /// Why this step cannot begin before the whole tree is there; `None`: the manifests are enough.
    pub needs_whole_tree: Option<&'static str>,
    /// What to do where the image lacks the tool.
    pub fix: String,
    /// Which versions of the tool do what `command` says.
    pub versions: Option<Versions>,
    /// What to run instead where npm says that lockfile and manifest differ (`EUSAGE`).
    pub if_out_of_step: Option<Vec<String>>,
}

/// A place that a tool writes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The variable that names it.
    pub variable: &'static str,
    /// A variable above it, and what is below that: without `GOMODCACHE` it is `pkg/mod` of `GOPATH`.
    pub within: Option<(&'static str, &'static str)>,
    /// Where it is if no variable says so.
    pub usual: Usual,
    /// Whether the app must find the same place.
    pub for_app: bool,
}

/// Where a place usually is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usual {
    /// Below HOME; the tool knows that by itself.
    Home(&'static str),
    /// Below HOME; but the tool would choose another, so that it is always told.
    ToldHome(&'static str),
    /// Below the workspace's directory, always told.
    Workspace(&'static str),
}

/// Which major versions of a tool will do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versions {
    /// The first and the last.
    pub majors: (u32, u32),
    /// And if it is another one.
    pub otherwise: Otherwise,
}

/// What another version of a tool means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Otherwise {
    /// It would do the wrong thing silently: do not run it, and say what to do.
    Refuse(String),
    /// This command does the same with an older one.
    Older(Vec<String>),
    /// It may work; if it fails, say this.
    Hint(String),
}

impl Step {
    /// A step at the top of the workspace; `command` is split at its spaces.
    pub(super) fn new(tool: &str, command: &str, because: impl Into<String>) -> Self {
        Self { tool: tool.to_owned(), command: words(command), because: because.into(), ..Self::default() }
    }

    pub(super) fn cache(mut self, cache: &str) -> Self {
        self.cache = Some(cache.to_owned());
        self
    }

    pub(super) fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub(super) fn place(mut self, variable: &'static str, usual: Usual, for_app: bool) -> Self {
        self.places.push(Place { variable, within: None, usual, for_app });
        self
    }

    pub(super) fn whole_tree(mut self, reason: Option<&'static str>) -> Self {
        self.needs_whole_tree = reason;
        self
    }

    /// `line` is what the Dockerfile lacks.
    pub(super) fn fix(mut self, line: &str) -> Self {
        self.fix = format!("add {line:?} to the Dockerfile");
        self
    }
}

/// `command`, split at its spaces.
pub(super) fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
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
    #[error("{command} failed ({how}), its own words are above{hint}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code or signal, in words.
        how: String,
        /// What is known about the reason, after a colon; often nothing.
        hint: String,
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
