//! The table of variables: what can be set, under which name and flag, to what, and what for.
//!
//! The only list of them. The flags of the command line, the man pages, the warning about misspelt names and every
//! generator of deployment files read it; `families` and the contract of users are held to it by tests.

/// One variable, and the flag of the same name.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What counts where it is not set; `None` where that depends, as `doc` says.
    pub default: Option<&'static str>,
    /// What its value looks like.
    pub form: Form,
    /// What it is, one sentence without its full stop.
    pub doc: &'static str,
    /// The group it is listed in.
    pub group: Group,
}

impl Variable {
    /// Whether the value must never be printed nor stand on a child's command line.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.form, Form::Secret)
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text; the word names it.
    Text(&'static str),
    /// Text that is never printed.
    Secret,
    /// A path.
    Path,
    /// `90s`, `5m`.
    Duration,
    /// A whole number.
    Number,
    /// `true` or `false`; the flag alone says `true`.
    Switch,
    /// One of these words, with `|` between them.
    OneOf(&'static str),
    /// A command line.
    Command,
    /// A list; the separators are in `doc`, the flag may be repeated.
    List(&'static str),
}

impl Form {
    /// What stands for the value in a help text.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Text(word) | Self::List(word) | Self::OneOf(word) => word,
            Self::Secret => "SECRET",
            Self::Path => "PATH",
            Self::Duration => "DURATION",
            Self::Number => "N",
            Self::Switch => "true|false",
            Self::Command => "COMMAND",
        }
    }
}

/// A group of variables, as help and documents list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Which workspace, which directory.
    Workspace,
    /// How the S3 server is reached.
    Server,
    /// Restore and install.
    Start,
    /// Signals, stopping, the app.
    App,
    /// Checkpoints and history.
    Commit,
    /// Log and summary.
    Log,
}

impl Group {
    /// Its heading.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Workspace => "Workspace and directory",
            Self::Server => "S3 server",
            Self::Start => "Restore and install",
            Self::App => "The app and its signals",
            Self::Commit => "Commits",
            Self::Log => "Log and summary",
        }
    }
}

const fn variable(
    group: Group,
    name: &'static str,
    flag: &'static str,
    default: Option<&'static str>,
    form: Form,
    doc: &'static str,
) -> Variable {
    Variable { name, flag, default, form, doc, group }
}

use Form::{Command, Duration, List, Number, OneOf, Path, Secret, Switch, Text};
use Group::{App, Commit, Log, Server, Start, Workspace};

#[rustfmt::skip]
/// Every variable, in the order of the documents.
pub static VARIABLES: &[Variable] = &[
    variable(Workspace, "STOPOVER_WORKSPACE", "workspace", None, Text("URL|NAME|none"),
        "The workspace: s3://BUCKET/PREFIX/USER/NAME, or a name below the store; none: a plain init"),
    variable(Workspace, "STOPOVER_STORE", "store", None, Text("URL"),
        "The store that holds a user's workspaces: s3://BUCKET/PREFIX/USER"),
    variable(Workspace, "S3_WORKSPACE_BUCKET", "s3-workspace-bucket", None, Text("BUCKET"),
        "The workspace in four parts: its bucket"),
    variable(Workspace, "S3_WORKSPACE_PREFIX", "s3-workspace-prefix", Some("user_data"), Text("PREFIX"),
        "The workspace in four parts: what stands before the user; / for nothing"),
    variable(Workspace, "WORKSPACE_USER", "workspace-user", None, Text("USER"),
        "The workspace in four parts: its user"),
    variable(Workspace, "WORKSPACE_NAME", "workspace-name", Some("workspace"), Text("NAME"),
        "The workspace in four parts: its name"),
    variable(Workspace, "STOPOVER_DIR", "dir", Some("/workspace"), Path,
        "The directory; the app starts there"),
    variable(Workspace, "WORKSPACE_BASE_PATH", "workspace-base-path", None, Path,
        "Where STOPOVER_DIR is not set: the directory is WORKSPACE_BASE_PATH/WORKSPACE_USER"),
    variable(Workspace, "STOPOVER_STATE", "state", None, Path,
        "Index, lock and staging, on the same filesystem as the directory; DIR/.stopover unless set"),
    variable(Workspace, "STOPOVER_IGNORE", "ignore", None, List("PATTERN"),
        "More ignore patterns, separated by newlines or colons, as in .stopoverignore"),
    variable(Workspace, "STOPOVER_GIT", "git", Some("exclude"), OneOf("exclude|include"),
        "Whether .git is stored"),
    variable(Workspace, "WORKSPACE_SIZE_WARNING_MB", "workspace-size-warning-mb", Some("1000"), Number,
        "One warning line at a commit when the stored tree is larger"),
    variable(Server, "S3_ENDPOINT", "s3-endpoint", None, Text("URL"),
        "The server, http:// or https://; AWS unless set"),
    variable(Server, "AWS_ENDPOINT_URL_S3", "aws-endpoint-url-s3", None, Text("URL"),
        "The same, where S3_ENDPOINT is not set"),
    variable(Server, "AWS_ENDPOINT_URL", "aws-endpoint-url", None, Text("URL"),
        "The same, where neither of the two is set"),
    variable(Server, "S3_ACCESS_KEY", "s3-access-key", None, Secret,
        "Access key; the AWS chain unless set"),
    variable(Server, "S3_SECRET_KEY", "s3-secret-key", None, Secret,
        "Secret key; the AWS chain unless set"),
    variable(Server, "S3_REGION", "s3-region", None, Text("REGION"),
        "The bucket's region; AWS_REGION unless set, us-east-1 off AWS"),
    variable(Server, "AWS_REGION", "aws-region", None, Text("REGION"),
        "The same, where S3_REGION is not set"),
    variable(Server, "STOPOVER_CONCURRENCY", "concurrency", None, Text("N|DOWN/UP"),
        "Requests at once; from cores and memory limit unless set"),
    variable(Start, "STOPOVER_MODE", "mode", Some("read-write"), OneOf("read-write|read-only"),
        "read-only: restore, run, commit nothing"),
    variable(Start, "STOPOVER_EXPECT", "expect", Some("any"), OneOf("any|existing|new"),
        "Fail where there is no workspace (existing), or where there is one (new)"),
    variable(Start, "STOPOVER_ON_RESTORE_FAILURE", "on-restore-failure", Some("fail"), OneOf("fail|run"),
        "run: start the app with what is there, commit nothing"),
    variable(Start, "STOPOVER_RESTORE_TIMEOUT", "restore-timeout", Some("none"), Duration,
        "How long a restore may take"),
    variable(Start, "STOPOVER_OWNER", "owner", None, OneOf("run-user|keep|none"),
        "Who owns restored files: the app's user (default with --user), the stored numbers (default as root), nobody else"),
    variable(Start, "STOPOVER_INSTALL", "install", Some("auto"), Text("auto|none|COMMAND"),
        "Detect and install dependencies, or not, or by this command line"),
    variable(Start, "STOPOVER_INSTALL_TIMEOUT", "install-timeout", Some("15m"), Duration,
        "How long an install may take"),
    variable(App, "STOPOVER_USER", "user", None, Text("USER[:GROUP]"),
        "Who install and app run as: NAME or UID, and :GROUP or :GID"),
    variable(App, "STOPOVER_HIDE_CREDENTIALS", "hide-credentials", Some("false"), Switch,
        "Take the credentials out of the environment of install and app"),
    variable(App, "STOPOVER_STOP_TIMEOUT", "stop-timeout", Some("10s"), Duration,
        "Time from TERM to KILL: equal to compose's stop_grace_period, ECS's stopTimeout, Kubernetes' \
         terminationGracePeriodSeconds"),
    variable(App, "STOPOVER_GRACE", "grace", Some("3s"), Duration,
        "Time for what outlives the app"),
    variable(App, "STOPOVER_STOP_SIGNALS", "stop-signals", Some("TERM"), List("SIGNAL"),
        "The received signals that start the stop budget, separated by commas"),
    variable(App, "STOPOVER_SIGNAL_SCOPE", "signal-scope", Some("child"), OneOf("child|group"),
        "Forward signals to the app's first process, or to its process group"),
    variable(App, "STOPOVER_REWRITE", "rewrite", None, List("FROM:TO"),
        "Signals to send in place of received ones, separated by commas: TERM:QUIT; WINCH:0 drops one"),
    variable(App, "STOPOVER_EXPECT_EXIT", "expect-exit", None, List("CODE"),
        "Exit codes of the app that count as 0, separated by commas"),
    variable(Commit, "STOPOVER_CHECKPOINT", "checkpoint", Some("5m"), Duration,
        "Time between commits while the app runs; off for none"),
    variable(Commit, "STOPOVER_BEFORE_CHECKPOINT", "before-checkpoint", None, Command,
        "A command before each checkpoint; where it fails the checkpoint is skipped"),
    variable(Commit, "STOPOVER_AFTER_CHECKPOINT", "after-checkpoint", None, Command,
        "A command after each checkpoint"),
    variable(Commit, "STOPOVER_ON_DEADLINE", "on-deadline", Some("partial"), OneOf("partial|old"),
        "When time runs out: commit what is up, or leave the last snapshot"),
    variable(Commit, "STOPOVER_TOGETHER", "together", None, List("PATTERN"),
        "Patterns of files that go whole or not at all, separated by newlines or colons"),
    variable(Commit, "STOPOVER_LIVE_TREE", "live-tree", Some("on"), OneOf("on|off"),
        "Whether each file is a plain object too"),
    variable(Commit, "STOPOVER_KEEP_LAST", "keep-last", Some("288"), Number,
        "Retention: so many of the last snapshots"),
    variable(Commit, "STOPOVER_KEEP_WITHIN", "keep-within", Some("24h"), Duration,
        "Retention: all younger than this"),
    variable(Commit, "STOPOVER_KEEP_DAILY", "keep-daily", Some("14"), Number,
        "Retention: one a day for so many days"),
    variable(Log, "STOPOVER_SUMMARY", "summary", None, Path,
        "File for the summary; /dev/termination-log where it exists"),
    variable(Log, "STOPOVER_LOG", "log", Some("info"), OneOf("error|warn|info|debug|trace"),
        "How much is logged, to stderr"),
    variable(Log, "STOPOVER_LOG_FORMAT", "log-format", Some("text"), OneOf("text|json"),
        "Lines for people, or one JSON object a line"),
];

/// Variables that hold secrets: PID 1 reads them once and hands them to its sync children alone.
pub const SECRET_VARIABLES: [&str; 5] =
    ["S3_ACCESS_KEY", "S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The variable of this name.
#[must_use]
pub fn variable_named(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_has_the_name_of_its_variable() {
        for variable in VARIABLES {
            let name = variable.name.strip_prefix("STOPOVER_").unwrap_or(variable.name);
            assert_eq!(variable.flag, name.to_lowercase().replace('_', "-"), "{}", variable.name);
        }
    }

    #[test]
    fn every_secret_of_the_table_is_handed_over_by_the_pipe() {
        for variable in VARIABLES {
            assert_eq!(variable.is_secret(), SECRET_VARIABLES.contains(&variable.name), "{}", variable.name);
        }
    }
}
