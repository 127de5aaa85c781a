//! One scan of a commit: what becomes of it in the merge, what of it could not be stored, and the rows that a tree may
//! have of it. Decides nothing about requests, and sends none.

use std::collections::{BTreeMap, BTreeSet};

use super::{groups::groups, lacking::Lacking, live_tree::Outcome, outgoing::WHOLE, packs::Packed, session::adopt};
use crate::{
    plan::{Base, Groups, Merged, Owners, Seen, Stored, UploadPlan, merge3, merge3_plain, stored_part},
    report::NotDeleted,
    rows::{ETag, Kind, RelPath, Removed, Row, Rows},
    store::Probed,
    worktree::{Directory, Presence, Scan},
};

/// The paths that the directory took in and that `rows` lacks.
pub(super) fn missing<'a>(rows: &Rows, origin: Option<&'a Rows>) -> impl Iterator<Item = &'a RelPath> {
    origin.into_iter().flat_map(BTreeMap::keys).filter(|path| !rows.contains_key(*path))
}

/// What of a scan goes into a live workspace's tree.
pub(super) struct Part {
    /// Ours, as it went into the merge.
    pub(super) ours: Rows,
    /// R.
    pub(super) merged: Merged,
}

/// One scan, and what could not be stored of it.
pub(super) struct Local {
    rows: Rows,
    gone: BTreeSet<RelPath>,
    lacking: Lacking,
    /// What is stored whole or not at all.
    groups: Groups,
    /// Removed files that the workspace keeps, because something is not stored that they might have become.
    left: Vec<RelPath>,
}

impl Local {
    /// What of the scan counts. A path is only gone if the scan before lacked it too, where there was one: a directory
    /// that is renamed while a scan goes on can be in none of the places where it looked.
    pub(super) fn new(
        scan: &Scan,
        before: Option<&BTreeSet<RelPath>>,
        owners: Owners,
        origin: Option<&Rows>,
        theirs: &Rows,
        dir: &Directory,
    ) -> Self {
        let mut rows = scan.rows.clone();
        let nothing = Rows::new();
        adopt(owners, &mut rows, &[origin.unwrap_or(&nothing), theirs]);
        let missing = missing(&rows, origin).filter(|path| before.is_none_or(|before| before.contains(*path)));
        let gone = missing.filter(|path| matches!(dir.look(path), Presence::Gone)).cloned().collect();
        Self { rows, gone, lacking: Lacking::of(scan), groups: Groups::default(), left: Vec::new() }
    }

    /// Finds out which files go whole or not at all: databases with what lies beside them, copies with what replaced
    /// their content, and what each of the patterns `together` matches.
    pub(super) fn group(&mut self, origin: Option<&Rows>, together: &[String]) {
        let nothing = Rows::new();
        self.groups = groups(&[&self.rows, origin.unwrap_or(&nothing)], &self.lacking.paths(), together);
    }

    /// The scan's rows, with owners as the workspace knows them.
    pub(super) const fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(super) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What of the scan may be committed to a live workspace, and the merge of it.
    pub(super) fn part(&mut self, base: Base<'_>, theirs: &Rows, partial: bool) -> Part {
        let ours = self.ours(base, partial);
        let merged = merge3(base, &ours, theirs);
        Part { ours, merged }
    }

    /// What may be committed; what is held back by it is noted.
    fn ours(&mut self, base: Base<'_>, partial: bool) -> Rows {
        let not_stored = self.lacking.paths();
        let mut partial = partial || self.is_partial();
        let ours = loop {
            let (rows, gone, groups) = (&self.rows, &self.gone, &self.groups);
            let seen = Seen { rows, gone, not_stored: &not_stored, partial, groups };
            let Stored { rows: ours, named } = stored_part(&seen, base);
            self.lacking.hold_back(&named, &self.gone);
            if partial || !self.is_partial() {
                break ours;
            }
            // What is held back makes it partial, and then nothing is deleted.
            partial = true;
        };
        let stays = |path: &&RelPath| ours.get(*path).is_some_and(|row| row.kind != Kind::Dir);
        self.left = self.gone.iter().filter(stays).cloned().collect();
        ours
    }

    /// Takes in what became of the contents: those that were stored as they are by now, and what was not stored. Says
    /// whether something was not.
    pub(super) fn take_packed(&mut self, packed: &Packed) -> bool {
        for (path, stored) in &packed.stored {
            if let Some(row) = self.rows.get_mut(path) {
                (row.hash, row.size, row.mtime_ns, row.mode) = (stored.hash, stored.size, stored.mtime_ns, stored.mode);
                row.pieces = stored.pieces.without_places();
            }
        }
        self.lacking.add(&packed.not_stored);
        self.is_partial()
    }

    /// The same of a plain workspace.
    pub(super) fn merge(&mut self, base: Base<'_>, theirs: &Rows, partial: bool) -> (Rows, Merged) {
        let ours = self.ours(base, partial);
        let merged = merge3_plain(base, &ours, theirs);
        (ours, merged)
    }

    /// Groups of which a part is in the live tree of a plain workspace are none any more: see [`part`].
    pub(super) fn part_groups(&mut self, plan: &UploadPlan, outcome: &mut Outcome, url: &str) {
        part(&mut self.groups, plan, outcome, url);
    }

    /// Takes in what the live tree says: contents as they were put, and what was not put. Says whether some was not.
    pub(super) fn take(&mut self, outcome: &Outcome) -> bool {
        for (path, stored) in &outcome.stored {
            if let Some(row) = self.rows.get_mut(path)
                && !outcome.copies.values().any(|copy| copy == path)
            {
                if !row.same_content(stored) {
                    row.pieces = stored.pieces.clone();
                }
                (row.hash, row.size, row.mtime_ns, row.mode) = (stored.hash, stored.size, stored.mtime_ns, stored.mode);
            }
        }
        self.lacking.add(&outcome.not_stored);
        self.is_partial() || !outcome.deleted
    }

    /// Whether something of the scan is not stored.
    pub(super) fn is_partial(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// Removed files that the workspace keeps for now, for the receipt.
    pub(super) fn left(&self) -> Vec<NotDeleted> {
        let left = self.left.iter().map(ToString::to_string);
        left.map(|path| NotDeleted { path, reason: "partial".to_owned() }).collect()
    }

    /// What of the scan is not stored.
    pub(super) const fn lacking(&self) -> &Lacking {
        &self.lacking
    }
}

/// Removed files that are still there, each with the reason.
pub(super) fn not_deleted(outcome: &Outcome) -> Vec<NotDeleted> {
    // A tree that lacks contents deletes nothing: they might be what was removed, under another name.
    let left = if outcome.stopped { "deadline" } else { "partial" };
    let denied = outcome.undeleted.keys().map(|path| (path, "denied"));
    let all = denied.chain(outcome.left.iter().map(|path| (path, left)));
    all.map(|(path, reason)| NotDeleted { path: path.to_string(), reason: reason.to_owned() }).collect()
}

/// What became of the groups in a live tree, whose objects are written one by one. What should be removed with files
/// that are stored counts as removed, although its delete was not reached. A group of which only a part is there cannot
/// be put back: it is named, and counts as what it is.
pub(super) fn part(groups: &mut Groups, plan: &UploadPlan, outcome: &mut Outcome, url: &str) {
    let not_stored: BTreeSet<RelPath> = outcome.not_stored.keys().cloned().collect();
    let moved = |path: &RelPath| outcome.stored.contains_key(path) || outcome.removed.contains(path);
    for (there, late) in groups.dissolve(moved, &not_stored) {
        tracing::warn!(
            "{there} and {late} belong together, and {url} has the new {there} beside the old {late} (or none): the \
             workspace is not live yet, its objects are written one by one, and time ran out between them"
        );
    }
    let reached = outcome.deleted;
    let late = plan.deletes.iter().filter(|delete| !reached && !outcome.removed.contains(&delete.path));
    let late = late.filter(|delete| groups.may_lack(&delete.path, &not_stored));
    outcome.hidden = late.map(|delete| (delete.path.clone(), delete.expected.clone())).collect();
}

/// What the requests of `plan` need to know of the server.
pub(super) fn needed(plan: &UploadPlan) -> Probed {
    let mut files = plan.puts.iter().chain(&plan.copies);
    Probed {
        puts: true,
        completes: files.any(|put| put.row.size > WHOLE),
        deletes: !plan.deletes_first.is_empty() || !plan.deletes.is_empty(),
        lists: false,
    }
}

/// R with the version of each object it is true for. A file that has none is in no object: it has no row.
pub(super) fn stored_rows(merged: &Merged, theirs: &Rows, outcome: &Outcome) -> Rows {
    let mut rows = merged.rows.clone();
    for (path, row) in &mut rows {
        if row.kind != Kind::File {
            row.etag = None;
            continue;
        }
        let known = [outcome.stored.get(path), theirs.get(path)].into_iter().flatten();
        let version = known.filter(|known| known.same_content(row)).find_map(|known| known.etag.clone());
        row.etag = version;
    }
    // Copies of outside edits that were met on the way.
    for copy in outcome.copies.values() {
        rows.extend(outcome.stored.get(copy).map(|row| (copy.clone(), row.clone())));
    }
    rows.retain(|_, row| row.kind != Kind::File || row.etag.is_some());
    rows
}

/// Objects that stay although they are removed: those that could not be deleted now, and where the deletes were not
/// reached those of before.
pub(super) fn undeleted(removed: &Removed, outcome: &Outcome) -> BTreeMap<RelPath, ETag> {
    let mut undeleted = outcome.undeleted.clone();
    undeleted.extend(outcome.hidden.clone());
    if !outcome.deleted {
        undeleted.extend(removed.iter().filter_map(|(path, etag)| Some((path.clone(), etag.clone()?))));
    }
    undeleted
}

/// O: what the scan saw, with the versions that are known.
pub(super) fn with_versions(mut ours: Rows, stored: &Rows) -> Rows {
    for (path, row) in &mut ours {
        let known = stored.get(path).filter(|known| known.same_content(row));
        if let Some(Row { etag, .. }) = known {
            row.etag.clone_from(etag);
        }
    }
    ours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Hash;

    #[test]
    fn what_was_on_its_way_from_one_directory_to_another_is_not_gone() {
        let place = tempfile::tempdir().unwrap();
        let dir = Directory::open(place.path()).unwrap();
        let path = |text| RelPath::new(text).unwrap();
        let origin: Rows = ["moved", "removed"].map(|name| (path(name), Row::file(Hash::of(b""), 0, 0o644))).into();
        let local = |before: Option<&BTreeSet<RelPath>>| {
            Local::new(&Scan::default(), before, Owners::Ignore, Some(&origin), &Rows::new(), &dir)
        };
        // The scan before saw `moved` in its old place, this one looked into the new one too early.
        let before = BTreeSet::from([path("removed")]);
        assert_eq!(local(Some(&before)).gone, before);
        assert_eq!(local(None).gone.len(), 2, "nobody moves anything when no app is left");
    }
}
