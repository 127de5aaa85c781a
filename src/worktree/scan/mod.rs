//! The directory as rows.
//!
//! Three steps: walk (one stat a file, rules, index), hash what the index does not prove unchanged, and put the table
//! together. What could not be looked at is listed as such and never taken for absent.

mod count;
mod hashing;
mod queue;
mod touch;
mod walk;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hashing::Outcome;
use walk::{Found, Job};

use super::{Directory, Index, IndexRow, RuleOptions, Stat, WorktreeError};
use crate::rows::{Hash, Kind, Pieces, RelPath, Row, Rows};

/// How to scan.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// What decides beside the ignore files.
    pub rules: RuleOptions,
    /// The state directory: never scanned, and where the scan touches its file. Where it is missing or read-only,
    /// what this scan hashes is hashed again by the next.
    pub state_dir: PathBuf,
    /// Raised by the caller to end the scan within milliseconds with [`WorktreeError::Cancelled`].
    pub cancelled: Arc<AtomicBool>,
    /// How many entries inside ignored directories to look at, to say how much is not stored; 0 where time is short.
    pub count_ignored: u64,
    /// Threads that walk and hash; at least one.
    pub threads: usize,
    /// Processes that map nothing of the workspace though nobody may look into them: stopover's own (the supervisor).
    pub own_processes: Vec<i32>,
    /// Where processes are looked for: `/proc`, or what a test made.
    #[doc(hidden)]
    pub processes: PathBuf,
}

impl ScanOptions {
    /// The usual: two threads, a bounded count of what is ignored.
    #[must_use]
    pub fn new(rules: RuleOptions, state_dir: PathBuf) -> Self {
        Self {
            rules,
            state_dir,
            cancelled: Arc::default(),
            count_ignored: 20_000,
            threads: 2,
            own_processes: Vec::new(),
            processes: PathBuf::from("/proc"),
        }
    }

    fn check(&self) -> Result<(), WorktreeError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(WorktreeError::Cancelled) } else { Ok(()) }
    }
}

/// What one rule kept out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IgnoredRule {
    /// The pattern as written.
    pub rule: String,
    /// The file it stands in, `built-in` or `STOPOVER_IGNORE`.
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
    /// Every stored path, directories included. Large files that this scan hashed are cut into pieces; those that the
    /// index proves unchanged are not, for it knows no pieces.
    pub rows: Rows,
    /// The index of these rows, to be saved with the commit.
    pub index: Index,
    /// What could not be read, and why: not absent. A directory stands for all below it.
    pub unreadable: Vec<(RelPath, String)>,
    /// Files that moved each time they were read.
    pub changing: Vec<RelPath>,
    /// What was ignored, by rule, the largest first.
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

impl Scan {
    /// Adds what another thread of the walk found.
    fn take_in(&mut self, mut other: Self) {
        self.index.append(other.index);
        self.unreadable.append(&mut other.unreadable);
        self.changing.append(&mut other.changing);
        self.special.append(&mut other.special);
        self.mounts.append(&mut other.mounts);
        self.refused.append(&mut other.refused);
        self.warnings.append(&mut other.warnings);
        self.dropped_bits += other.dropped_bits;
    }
}

/// Scans `dir` through the rules, reading only what `index` does not prove unchanged.
///
/// # Errors
/// Where the directory itself cannot be listed or was removed, or the scan is cancelled.
pub fn scan(dir: &Directory, index: &Index, options: &ScanOptions) -> Result<Scan, WorktreeError> {
    let touched = touch::touch(&options.state_dir);
    // Where a store through a mapping leaves no trace in the times, no stat proves anything.
    let believed =
        if touched.as_ref().is_some_and(|touched| touched.stores_are_seen) { index } else { &Index::default() };
    let Found { mut scan, jobs, proven, leading, to_count, mut linked } = walk::walk(dir, believed, options)?;

    let outcomes = hashing::hash_all(dir, &jobs, options)?;
    let mut rows = proven;
    for (job, outcome) in jobs.into_iter().zip(outcomes.files) {
        let Job { path, rules, .. } = job;
        match outcome {
            Outcome::Hashed { stat, cut } => {
                scan.hashed_files += 1;
                scan.hashed_bytes += stat.size;
                let mut row = IndexRow::new(&stat, cut.hash);
                row.racy = touched.as_ref().is_none_or(|touched| touched.is_too_young(stat.ctime_ns));
                row.warm = touched.as_ref().is_none_or(|touched| !touched.stores_are_seen)
                    || outcomes.mapped.has(stat.ino, &dir.path().join(path.as_path()));
                if stat.nlink > 1 {
                    linked.push((path.clone(), (stat.dev, stat.ino)));
                }
                let found = Row { pieces: cut.pieces, ..row_of(&stat, Kind::File, cut.hash) };
                rows.push((path.clone(), found));
                scan.index.insert_ruled(&path, row, rules);
            }
            Outcome::Changing => scan.changing.push(path),
            Outcome::Unreadable(reason) => scan.unreadable.push((path, reason)),
            Outcome::OtherMount => scan.mounts.push(path),
            Outcome::Gone => {}
        }
    }
    scan.rows = rows.into_iter().collect();
    add_leading(&mut scan.rows, leading);
    add_links(&mut scan.rows, linked);
    count::count(dir, to_count, &mut scan, options)?;
    sort(&mut scan);
    options.check()?;
    if dir.is_removed() {
        return Err(WorktreeError::io("scan", &dir.path().display(), nix::errno::Errno::ENOENT));
    }
    Ok(scan)
}

/// The row of something that was stat'ed and read.
fn row_of(stat: &Stat, kind: Kind, hash: Hash) -> Row {
    Row {
        kind,
        mode: if kind == Kind::Symlink { 0o777 } else { stat.permissions() },
        uid: stat.uid,
        gid: stat.gid,
        mtime_ns: stat.mtime_ns,
        size: if kind == Kind::Dir { 0 } else { stat.size },
        hash,
        target: None,
        link: None,
        etag: None,
        pieces: Pieces::None,
    }
}

/// Adds the ignored directories that lead to something stored.
fn add_leading(rows: &mut Rows, mut leading: Vec<(RelPath, Row)>) {
    leading.sort_unstable_by(|one, other| other.0.cmp(&one.0));
    // The deepest of a line come first, so that each sees the one below it.
    for (path, row) in leading {
        let mut first_below = path.as_bytes().to_vec();
        first_below.push(b'/');
        let next = rows.range::<RelPath, _>((std::ops::Bound::Excluded(&path), std::ops::Bound::Unbounded));
        let mut next = next.skip_while(|(other, _)| other.as_bytes() < &first_below[..]);
        if next.next().is_some_and(|(other, _)| other.is_below(&path)) {
            rows.insert(path, row);
        }
    }
}

/// Notes at every further name of an inode the first one, in path order.
fn add_links(rows: &mut Rows, mut linked: Vec<(RelPath, (u64, u64))>) {
    linked.sort_unstable();
    let mut first_names: HashMap<(u64, u64), RelPath> = HashMap::new();
    for (path, inode) in linked {
        match first_names.get(&inode) {
            None => {
                first_names.insert(inode, path);
            }
            Some(first) => {
                let same = rows.get(first).zip(rows.get(&path)).is_some_and(|(first, row)| first.same_content(row));
                if same && let Some(row) = rows.get_mut(&path) {
                    row.link = Some(first.clone());
                }
            }
        }
    }
}

fn sort(scan: &mut Scan) {
    scan.unreadable.sort_unstable();
    scan.changing.sort_unstable();
    scan.special.sort_unstable();
    scan.mounts.sort_unstable();
    scan.mounts.dedup();
    scan.refused.sort_unstable();
    scan.warnings.sort_unstable();
    scan.ignored.sort_by(|one, other| {
        (other.bytes, other.files).cmp(&(one.bytes, one.files)).then_with(|| one.rule.cmp(&other.rule))
    });
}
