//! What an upload makes of a workspace: the directory laid over it. There is no base, so nothing is merged; and nothing
//! goes away that was not asked for, but the log of a database that this one replaces.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::{groups, held_back};
use crate::{
    plan::{Base, Groups, Seen, Stored, database_of, stored_part},
    report::{NotDeleted, NotStored, NotStoredReason},
    rows::{Kind, RelPath, Row, Rows},
    snapshot::Missing,
    worktree::{Directory, Presence, Scan},
};

/// A directory over a workspace, and what of it is not stored.
pub(super) struct Laying<'a> {
    theirs: &'a Rows,
    rows: Rows,
    /// What goes away.
    gone: BTreeSet<RelPath>,
    not_stored: BTreeMap<RelPath, NotStoredReason>,
    held_back: BTreeMap<RelPath, NotStoredReason>,
    refused: Vec<String>,
    pub(super) groups: Groups,
}

impl<'a> Laying<'a> {
    /// `scan` over `theirs`; with `delete` the workspace loses what is not here.
    pub(super) fn new(theirs: &'a Rows, scan: &Scan, dir: &Directory, delete: bool, together: &[String]) -> Self {
        let unreadable = scan.unreadable.iter().map(|(path, _)| (path.clone(), NotStoredReason::Unreadable));
        let changing = scan.changing.iter().map(|path| (path.clone(), NotStoredReason::Changing));
        let not_stored: BTreeMap<RelPath, NotStoredReason> = unreadable.chain(changing).collect();
        let rows = scan.rows.clone();
        // An old log beside a new database is no database.
        let is_replaced = |database: RelPath| {
            let here = rows.get(&database).filter(|row| row.kind == Kind::File);
            here.is_some_and(|row| theirs.get(&database).is_none_or(|there| !there.same_content(row)))
        };
        let missing = theirs.keys().filter(|path| !rows.contains_key(*path));
        let goes = missing.filter(|path| delete || database_of(path).is_some_and(is_replaced));
        let gone = goes.filter(|path| matches!(dir.look(path), Presence::Gone)).cloned().collect();
        let groups = groups(&[&rows, theirs], &not_stored.keys().cloned().collect(), together);
        let refused = scan.refused.iter().map(|(name, _)| name.clone()).collect();
        Self { theirs, rows, gone, not_stored, held_back: BTreeMap::new(), refused, groups }
    }

    /// What is here, as far as it could be read.
    pub(super) const fn here(&self) -> &Rows {
        &self.rows
    }

    /// What the workspace holds afterwards.
    pub(super) fn result(&mut self) -> Rows {
        let not_stored = self.not_stored.keys().cloned().collect();
        let (rows, gone, groups) = (&self.rows, &self.gone, &self.groups);
        let seen = Seen { rows, gone, not_stored: &not_stored, partial: self.is_partial(), groups };
        let Stored { mut rows, named } = stored_part(&seen, Base::Known(self.theirs));
        self.held_back = held_back(&named, &self.not_stored, &self.gone);
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
        let before = self.not_stored.len();
        self.not_stored.extend(not_stored.iter().map(|(path, reason)| (path.clone(), *reason)));
        self.not_stored.len() > before
    }

    /// Whether something that is here is not stored.
    pub(super) fn is_partial(&self) -> bool {
        !self.not_stored.is_empty() || !self.held_back.is_empty() || !self.refused.is_empty()
    }

    /// The same by name, for the tree.
    pub(super) fn missing(&self) -> Missing {
        Missing::of(self.lost().into_iter().map(|lost| lost.path))
    }

    /// What is not stored, for the receipt.
    pub(super) fn lost(&self) -> Vec<NotStored> {
        let refused = self.refused.iter().map(|name| (name.clone(), NotStoredReason::NameRefused));
        let paths = self.not_stored.iter().chain(&self.held_back).map(|(path, reason)| (path.to_string(), *reason));
        paths.chain(refused).map(|(path, reason)| NotStored { path, reason }).collect()
    }

    /// Files that were to go and stay, because what they follow is not stored.
    pub(super) fn left(&self, result: &Rows) -> Vec<NotDeleted> {
        let files = self.gone.iter().filter(|path| result.get(*path).is_some_and(|row| row.kind != Kind::Dir));
        files.map(|path| NotDeleted { path: path.to_string(), reason: "partial".to_owned() }).collect()
    }
}
