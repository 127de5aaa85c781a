//! The directory as rows.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use super::{Directory, Index, RuleOptions, WorktreeError};
use crate::rows::{RelPath, Rows};

/// How to scan.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// What decides beside the ignore files.
    pub rules: RuleOptions,
    /// The state directory: never scanned, and where the scan touches its file.
    pub state_dir: PathBuf,
    /// Raised by the caller to end the scan within milliseconds with [`WorktreeError::Cancelled`].
    pub cancelled: Arc<AtomicBool>,
    /// How many entries inside ignored directories to look at, to say how much is not stored; 0 where time is short.
    pub count_ignored: u64,
    /// Threads that hash; at least one.
    pub threads: usize,
    /// Processes that map nothing of the workspace though nobody may look into them: stopover's own (the supervisor).
    pub own_processes: Vec<i32>,
}

/// What one rule kept out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IgnoredRule {
    /// The pattern as written.
    pub rule: String,
    /// The file it stands in, `built-in`, `STOPOVER_IGNORE` or `STOPOVER_GIT`.
    pub source: String,
    /// Files seen.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there may be more: the count stopped at [`ScanOptions::count_ignored`].
    pub at_least: bool,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Every stored path, directories included.
    pub rows: Rows,
    /// The index of these rows, to be saved with the commit.
    pub index: Index,
    /// What could not be read, and why: not absent. A directory stands for all below it.
    pub unreadable: Vec<(RelPath, String)>,
    /// Files that moved each time they were read.
    pub changing: Vec<RelPath>,
    /// What was ignored, by rule.
    pub ignored: Vec<IgnoredRule>,
    /// Sockets, fifos and devices: not stored.
    pub special: Vec<RelPath>,
    /// Mount points inside the workspace: left alone.
    pub mounts: Vec<RelPath>,
    /// Names that cannot be stored, with the reason (as too long a path).
    pub refused: Vec<(String, String)>,
    /// Files and directories with setuid, setgid or sticky, which are not kept.
    pub dropped_bits: u64,
    /// What a user should know of the ignore files: unreadable ones, links, patterns that match nothing.
    pub warnings: Vec<String>,
    /// Files read and hashed by this scan.
    pub hashed_files: u64,
    /// Their bytes.
    pub hashed_bytes: u64,
}

/// Scans `dir` through the rules, reading only what `index` does not prove unchanged.
///
/// # Errors
/// Where the directory itself cannot be listed, the state directory cannot be written, or the scan is cancelled.
pub fn scan(dir: &Directory, index: &Index, options: &ScanOptions) -> Result<Scan, WorktreeError> {
    let _ = (dir, index, options);
    todo!()
}
