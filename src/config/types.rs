//! The validated configuration: plain data, every field already checked.

use std::{collections::BTreeSet, path::PathBuf};

pub use std::time::Duration;

/// `s3://BUCKET/PREFIX/USER`: the place that holds a user's workspaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreUrl {
    /// The bucket.
    pub bucket: String,
    /// `PREFIX/USER`, without leading or trailing slash; empty for a store at the top of the bucket.
    pub prefix: String,
}

/// A workspace: a name in a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workspace {
    /// The store.
    pub store: StoreUrl,
    /// The last segment of the URL.
    pub name: String,
}

impl Workspace {
    /// `s3://BUCKET/PREFIX/USER/NAME`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.store.bucket, self.prefix().trim_end_matches('/'))
    }

    /// What every key of the workspace begins with; ends in a slash.
    #[must_use]
    pub fn prefix(&self) -> String {
        if self.store.prefix.is_empty() {
            format!("{}/", self.name)
        } else {
            format!("{}/{}/", self.store.prefix, self.name)
        }
    }
}

/// Where the S3 server is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Endpoint {
    /// `http://` or `https://` URL; `None` for AWS.
    pub url: Option<String>,
    /// The region; `None` when only the AWS chain can tell.
    pub region: Option<String>,
}

/// A pair of keys from `S3_ACCESS_KEY` and `S3_SECRET_KEY`, or what PID 1 took out of the environment for its children.
/// Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// `AWS_SESSION_TOKEN`, with temporary keys.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credentials(hidden)")
    }
}

/// How the S3 server is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Given keys; `None` for the AWS chain.
    pub credentials: Option<Credentials>,
    /// Requests at once down and up; `None`: from cores and memory limit.
    pub concurrency: Option<(usize, usize)>,
}

/// `STOPOVER_MODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Restore, run, commit.
    ReadWrite,
    /// Restore, run, commit nothing.
    ReadOnly,
}

/// `STOPOVER_EXPECT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Take both, and say which.
    Any,
    /// Fail where there is no workspace.
    Existing,
    /// Fail where there is one.
    New,
}

/// `STOPOVER_ON_RESTORE_FAILURE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnRestoreFailure {
    /// Exit 80.
    Fail,
    /// Start the app with what is there, commit nothing.
    Run,
}

/// `STOPOVER_INSTALL`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Install {
    /// Detect.
    Auto,
    /// Nothing.
    None,
    /// A command line, already split into words.
    Command(Vec<String>),
}

/// `STOPOVER_OWNER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerPolicy {
    /// All belongs to the app's user.
    RunUser,
    /// The stored numbers.
    Keep,
    /// Whoever restores.
    None,
}

/// `STOPOVER_SIGNAL_SCOPE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalScope {
    /// The app's first process.
    Child,
    /// Its process group.
    Group,
}

/// One `--rewrite FROM:TO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// The signal received.
    pub from: i32,
    /// The signal sent instead; 0 drops it.
    pub to: i32,
}

/// `STOPOVER_ON_DEADLINE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDeadline {
    /// Write head with what is up.
    Partial,
    /// Leave head alone.
    Old,
}

/// `STOPOVER_LIVE_TREE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveTree {
    /// Each file is a plain object too.
    On,
    /// Packs only.
    Off,
}

/// `STOPOVER_GIT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GitPolicy {
    /// `.git` is not stored.
    Exclude,
    /// `.git` is stored like any directory.
    Include,
}

/// `STOPOVER_KEEP_LAST`, `_WITHIN`, `_DAILY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// So many of the last ones.
    pub last: u32,
    /// All younger than this.
    pub within: Duration,
    /// One a day for so many days.
    pub daily: u32,
}

/// `STOPOVER_LOG`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what may surprise.
    Warn,
    /// And one line per phase.
    Info,
    /// And each decision.
    Debug,
    /// And each request.
    Trace,
}

/// `STOPOVER_LOG_FORMAT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// What loosens a guard or belongs to one call; flags only, no variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Call {
    /// `--delete`: make equal, remove what the other side does not have.
    pub delete: bool,
    /// `--accept-deletes`: take many outside deletes for meant.
    pub accept_deletes: bool,
    /// `--allow-partial`: go on though some files cannot be restored.
    pub allow_partial: bool,
    /// `--allow-older`: take a head older than the last one seen here.
    pub allow_older: bool,
    /// `--overwrite`: replace files that differ, in a directory without state.
    pub overwrite: bool,
    /// `--dry-run`: say what would be done, write nothing.
    pub dry_run: bool,
    /// `--durable`: return at the durable point.
    pub durable: bool,
    /// `--include-lock`: take lockfiles even if they are ignored.
    pub include_lock: bool,
    /// `--sole-writer`: nobody else writes to the workspace, where the server cannot see to it.
    pub sole_writer: bool,
}

/// Everything that is set, checked and merged. One for all subcommands; each reads what concerns it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The workspace; `None`: a plain init.
    pub workspace: Option<Workspace>,
    /// Whether `STOPOVER_WORKSPACE=none` was said, so that no warning is due.
    pub plain_init_asked_for: bool,
    /// The store, where one is named, for `list` and bare names.
    pub store: Option<StoreUrl>,
    /// How the server is reached.
    pub access: Access,
    /// The directory, absolute.
    pub dir: PathBuf,
    /// Whether `dir` was set by a variable or flag.
    pub dir_given: bool,
    /// The state directory, absolute.
    pub state: PathBuf,
    /// More ignore patterns.
    pub ignore: Vec<String>,
    /// One warning line above this size, MiB.
    pub size_warning_mb: u64,
    /// Read and write, or read only.
    pub mode: Mode,
    /// What must be there.
    pub expect: Expect,
    /// What a failed restore means.
    pub on_restore_failure: OnRestoreFailure,
    /// Install or not.
    pub install: Install,
    /// How long an install may take.
    pub install_timeout: Duration,
    /// `NAME|UID[:GROUP|:GID]` that install and app run as.
    pub user: Option<String>,
    /// Owner policy; `None`: the default, by capabilities.
    pub owner: Option<OwnerPolicy>,
    /// Take credentials out of the environment of install and app.
    pub hide_credentials: bool,
    /// Time from TERM to KILL.
    pub stop_timeout: Duration,
    /// Time for what outlives the app.
    pub grace: Duration,
    /// The received signals that start the stop budget.
    pub stop_signals: BTreeSet<i32>,
    /// How long a restore may take.
    pub restore_timeout: Option<Duration>,
    /// Time between checkpoints; `None`: off.
    pub checkpoint: Option<Duration>,
    /// Command before a checkpoint.
    pub before_checkpoint: Option<Vec<String>>,
    /// Command after a checkpoint.
    pub after_checkpoint: Option<Vec<String>>,
    /// What happens at the deadline.
    pub on_deadline: OnDeadline,
    /// Patterns that go whole or not at all.
    pub together: Vec<String>,
    /// Live tree on or off.
    pub live_tree: LiveTree,
    /// `.git` stored or not.
    pub git: GitPolicy,
    /// Retention.
    pub keep: Retention,
    /// Forward to child or group.
    pub signal_scope: SignalScope,
    /// Rewritten signals.
    pub rewrite: Vec<Rewrite>,
    /// Exit codes that count as 0.
    pub expect_exit: BTreeSet<u8>,
    /// File for the summary.
    pub summary: Option<PathBuf>,
    /// Log level.
    pub log: LogLevel,
    /// Log format.
    pub log_format: LogFormat,
    /// What loosens a guard or belongs to this call alone.
    pub call: Call,
}

impl StoreUrl {
    /// `s3://BUCKET/PREFIX/USER`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned()
    }
}

/// What PID 1 hands to a sync child, as the words of one hidden flag `--handover`. File descriptors are numbers that
/// the child inherits; `None` where PID 1 gives none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Handover {
    /// Where the child writes its one-byte events: `r` ready, `d` durable.
    pub status: Option<i32>,
    /// Where it writes its receipt (opaque to PID 1), or its start command as NUL-separated words.
    pub receipt: Option<i32>,
    /// Where it reads the credentials from, after it has made itself not dumpable: `NAME=VALUE NUL` for each.
    pub credentials: Option<i32>,
    /// The control pipe of the last commit: `D` and 8 little-endian bytes (nanoseconds of CLOCK_MONOTONIC) set the
    /// deadline; end of file means that no process of the app lives any more.
    pub control: Option<i32>,
    /// Whether a pull of this life has succeeded.
    pub ready: bool,
    /// The snapshot that pull restored, if it was one.
    pub pulled: Option<String>,
    /// Whether that one is a plain workspace's, so that what was restored is an import and not its tree.
    pub plain: bool,
    /// Whether not all of that one was written, so that it does not say what the directory took in.
    pub part: bool,
    /// The birth of the workspace that was restored, if it had a snapshot.
    pub birth: Option<String>,
    /// The hash of the ETag of the tombstone that the restore began from, if it was one: 64 hex digits.
    pub tombstone: Option<String>,
    /// Device and inode of the directory at that pull's exit.
    pub directory: Option<(u64, u64)>,
    /// Whether a process of the app lives when the child starts.
    pub app_alive: bool,
    /// Nothing is to be committed: head is read, so that the directory knows of it.
    pub look: bool,
    /// User and group of the app, where PID 1 gives privileges up for it.
    pub user: Option<(u32, u32)>,
}
