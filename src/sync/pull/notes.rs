//! What a directory notes when a pull has succeeded: what it took in, of which snapshot, and what the next commit should
//! know.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        SyncError,
        restore::{Done, unwritten},
        session::{boot_id, set_origin},
        snapshots::keep_head,
        taken_in::{note_of, noted},
    },
    Puller, snapshot_of,
};
use crate::{
    plan::{Merged, RestorePlan, TakenIn, taken_in},
    rows::{ETag, RelPath, Row, Rows},
    snapshot::{HeadState, SnapshotId},
    state::{Mine, Ready, State},
};

impl Puller<'_> {
    /// O: what the bucket has, as far as the directory took it in. Of a live workspace what its snapshot has: edits of
    /// others are changes that the next commit stores.
    pub(super) fn taken_in(&self, theirs: Rows, merged: &Merged, plan: &RestorePlan, done: &Done) -> Rows {
        let live = self.found.live();
        let mut taken = live.map_or(theirs, |live| live.tree.rows.clone());
        let before = self.past.origin.as_ref();
        let unwritten = unwritten(done);
        // What was to lie beside a local edit and does not was not taken in either.
        let beside = merged.copies.iter().filter(|copy| unwritten.contains(&copy.copy)).map(|copy| &copy.path);
        for path in unwritten.iter().chain(&plan.kept).chain(beside) {
            match before.and_then(|rows| rows.get(path)) {
                Some(row) => taken.insert(path.clone(), row.clone()),
                None => taken.remove(path),
            };
        }
        if live.is_some() {
            return taken;
        }
        for (path, row) in &done.written {
            // A copy's name is ours alone until a commit stores it.
            if let Some(place) = taken.get_mut(path) {
                let (uid, gid) = (place.uid, place.gid);
                *place = Row { uid, gid, ..row.clone() };
            }
        }
        // A placeholder that was not fetched is no content that anybody took in.
        for (path, unread) in self.found.unread() {
            if taken.get(path).is_some_and(|row| row.hash == unread.placeholder().hash) {
                taken.remove(path);
            }
        }
        taken
    }

    pub(super) fn save_index(&self, state: &State, done: &Done) -> Result<(), SyncError> {
        let mut index = self.scan.index.clone();
        for (path, row) in &done.index {
            index.insert(path, *row);
        }
        Ok(index.save(&state.path().join("index"))?)
    }

    /// Edits of others that the directory took in before, and that no commit has met yet.
    pub(super) fn taken_in_before(&self) -> Vec<TakenIn> {
        let mine = self.past.mine.as_ref().filter(|mine| self.past.is_ready() && mine.workspace == self.url);
        mine.map(|mine| noted(mine, self.setting.run_user.unwrap_or((0, 0)))).unwrap_or_default()
    }

    /// The same from now on.
    pub(super) fn edits_taken_in(&self, merged: &Merged, plan: &RestorePlan, done: &Done) -> Vec<TakenIn> {
        let before = self.taken_in_before();
        let Some(live) = self.found.live() else { return Vec::new() };
        if !live.is_listed() {
            return before;
        }
        let mut missed = unwritten(done);
        missed.extend(plan.kept.iter().cloned());
        let edits = (&live.outside.edits, &live.outside.unread);
        taken_in(edits, &live.wanted.merged, merged, &done.written, &missed, &before)
    }

    pub(super) fn note(
        &self,
        state: &State,
        taken_in: &Rows,
        edits: Vec<TakenIn>,
        done: &Done,
        flushed: bool,
    ) -> Result<(), SyncError> {
        self.save_index(state, done)?;
        let snapshot = snapshot_of(self.found.head());
        let id = snapshot.as_deref().and_then(|id| id.parse().ok()).unwrap_or_else(|| SnapshotId::new(0, [0; 6]));
        set_origin(state, "origin", taken_in, &id)?;
        let head = self.found.head();
        let is_tombstone = head.is_some_and(|at| at.head.state == HeadState::Deleted);
        let before = self.past.mine.as_ref().filter(|mine| mine.workspace == self.url);
        let markers = match (self.found.markers(), before) {
            (Some(markers), _) => named_versions(&markers),
            (None, before) => before.map(|mine| mine.markers.clone()).unwrap_or_default(),
        };
        let live = self.found.live();
        // What an earlier pull missed was not looked for again, if the directory has it by now: as long as the snapshot
        // has such content, the next commit packs it again.
        let missed = before.filter(|_| live.is_some()).into_iter().flat_map(|mine| mine.lost.clone());
        let wanted: BTreeSet<String> = match live.filter(|_| before.is_some_and(|mine| !mine.lost.is_empty())) {
            Some(live) => live.tree.rows.values().map(|row| row.hash.to_string()).collect(),
            None => BTreeSet::new(),
        };
        let lost = done.lost.iter().map(ToString::to_string).chain(missed.filter(|hash| wanted.contains(hash)));
        state.set_mine(&Mine {
            workspace: self.url.clone(),
            endpoint: Some(self.store.server()),
            snapshot: snapshot.clone(),
            birth: head.filter(|_| !is_tombstone).map(|at| at.head.birth.to_string()),
            seen: snapshot.clone(),
            seq: head.map_or(0, |at| at.head.seq),
            directory: Some(self.dir.identity()),
            pending: None,
            imported: live.is_none(),
            tombstone: head.filter(|_| is_tombstone).map(|at| at.etag.as_str().to_owned()),
            markers,
            refused: live.map(|live| named_versions(&live.refused_deletes())).unwrap_or_default(),
            lost: lost.collect::<BTreeSet<_>>().into_iter().collect(),
            taken_in: edits.iter().map(note_of).collect(),
        })?;
        state.forget("origin.pending")?;
        state.forget("sent")?;
        if before.is_none() || self.past.origin.is_none() {
            // Nothing of what a restore in place may have left half done is there any more: it has moved aside.
            state.set_rewinding(&[])?;
        }
        if let Some(live) = live {
            keep_head(state, &live.head);
        }
        Ok(state.set_ready(&Ready { pulled: snapshot, boot: boot_id(), flushed })?)
    }
}

fn named_versions(versions: &BTreeMap<RelPath, ETag>) -> Vec<(String, String)> {
    versions.iter().map(|(path, etag)| (path.to_string(), etag.as_str().to_owned())).collect()
}
