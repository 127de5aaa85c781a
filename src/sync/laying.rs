//! What an upload makes of a workspace: the directory laid over it. There is no base, so nothing is merged; and nothing
//! goes away that was not asked for, but the log of a database that this one replaces.

use std::collections::{BTreeMap, BTreeSet};

use super::{groups::groups, lacking::Lacking};
use crate::{
    plan::{Base, Groups, Seen, Stored, database_of, stored_part},
    report::{NotDeleted, NotStoredReason},
    rows::{Kind, RelPath, Row, Rows},
    worktree::{Directory, Presence, Scan},
};

/// A directory over a workspace, and what of it is not stored.
pub(super) struct Laying<'a> {
    theirs: &'a Rows,
    rows: Rows,
    /// What goes away.
    gone: BTreeSet<RelPath>,
    lacking: Lacking,
    pub(super) groups: Groups,
}

impl<'a> Laying<'a> {
    /// `scan` over `theirs`; with `delete` the workspace loses what is not here.
    pub(super) fn new(theirs: &'a Rows, scan: &Scan, dir: &Directory, delete: bool, together: &[String]) -> Self {
        let lacking = Lacking::of(scan);
        let rows = scan.rows.clone();
        // An old log beside a new database is no database.
        let is_replaced = |database: RelPath| {
            let here = rows.get(&database).filter(|row| row.kind == Kind::File);
            here.is_some_and(|row| theirs.get(&database).is_none_or(|there| !there.same_content(row)))
        };
        let missing = theirs.keys().filter(|path| !rows.contains_key(*path));
        let goes = missing.filter(|path| delete || database_of(path).is_some_and(is_replaced));
        let gone = goes.filter(|path| matches!(dir.look(path), Presence::Gone)).cloned().collect();
        let groups = groups(&[&rows, theirs], &lacking.paths(), together);
        Self { theirs, rows, gone, lacking, groups }
    }

    /// What is here, as far as it could be read.
    pub(super) const fn here(&self) -> &Rows {
        &self.rows
    }

    /// What the workspace holds afterwards.
    pub(super) fn result(&mut self) -> Rows {
        let not_stored = self.lacking.paths();
        let mut partial = self.is_partial();
        let mut rows = loop {
            let (rows, gone, groups) = (&self.rows, &self.gone, &self.groups);
            let seen = Seen { rows, gone, not_stored: &not_stored, partial, groups };
            let Stored { rows, named } = stored_part(&seen, Base::Known(self.theirs));
            self.lacking.hold_back(&named, &self.gone);
            if partial || !self.is_partial() {
                break rows;
            }
            // What is held back makes it partial, and then nothing is deleted.
            partial = true;
        };
        let parents = rows.keys().flat_map(RelPath::ancestors).filter(|up| !rows.contains_key(up));
        let missing: Vec<RelPath> = parents.collect();
        rows.extend(missing.into_iter().map(|up| {
            let row = self.theirs.get(&up).filter(|row| row.kind == Kind::Dir).cloned();
            (up, row.unwrap_or_else(|| Row::dir(0o755)))
        }));
        rows
    }

    /// Takes in contents as they were stored, and what was not. Says whether that is news.
    pub(super) fn take(&mut self, stored: &Rows, not_stored: &BTreeMap<RelPath, NotStoredReason>) -> bool {
        for (path, stored) in stored {
            if let Some(row) = self.rows.get_mut(path) {
                if !row.same_content(stored) {
                    row.pieces = stored.pieces.clone();
                }
                (row.hash, row.size, row.mtime_ns, row.mode) = (stored.hash, stored.size, stored.mtime_ns, stored.mode);
            }
        }
        self.lacking.add(not_stored)
    }

    /// Whether something that is here is not stored.
    pub(super) fn is_partial(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// What of it is not stored.
    pub(super) const fn lacking(&self) -> &Lacking {
        &self.lacking
    }

    /// Files that were to go and stay, because what they follow is not stored.
    pub(super) fn left(&self, result: &Rows) -> Vec<NotDeleted> {
        let files = self.gone.iter().filter(|path| result.get(*path).is_some_and(|row| row.kind != Kind::Dir));
        files.map(|path| NotDeleted { path: path.to_string(), reason: "partial".to_owned() }).collect()
    }
}
