//! Edits of others that a pull took in, and that the app changed or deleted before any snapshot had them.
//!
//! To the catch-up such an object is nobody's, and nothing that nobody of us has may be overwritten. So the commit first
//! makes a snapshot of what was taken in, out of the live objects: then their contents are in history, and the next
//! catch-up knows them. Who lost the notes of it leaves the objects to the next pull.

use std::collections::BTreeSet;

use futures_util::FutureExt;

use super::{
    SyncError,
    base::{first_trees, had_since},
    commit::{Attempt, Committer},
    first_live,
    live_commit::Theirs,
    making::{counts, cut, cuts_of, encode, place},
    publish::{Published, publish, put_tree},
    remote::{HeadAt, random, written},
    retain::retain,
    session::with_noted_abilities,
    snapshots::{forget_head, keep_head, keep_tree, kept_mirror},
};
use crate::{
    config::LiveTree,
    plan::{Base, TakenIn, add_taken_in, take_unseen, unexplained, with_edits},
    rows::{ETag, Hash, Kind, RelPath, Removed, Row, Rows},
    snapshot::{Head, HeadState, SnapshotId, Tree, TreeHeader},
    state::{self, Mine},
};

/// So many of them are named; the others are counted.
const NAMED: usize = 10;

/// The edits that are noted; new files among them belong to `owner`.
pub(super) fn noted(mine: &Mine, owner: (u32, u32)) -> Vec<TakenIn> {
    let edit = |note: &state::TakenIn| {
        let etag = ETag::new(note.etag.clone());
        let row = Row::file(Hash::from_hex(&note.hash)?, note.size, 0o644);
        let row = Row { uid: owner.0, gid: owner.1, mtime_ns: note.mtime_ns, etag: Some(etag.clone()), ..row };
        let [key, path] = [&note.key, &note.path].map(|text| RelPath::from_text(text).ok());
        Some(TakenIn { key: key?, etag, path: path?, row })
    };
    mine.taken_in.iter().filter_map(edit).collect()
}

/// The note of an edit.
pub(super) fn note_of(edit: &TakenIn) -> state::TakenIn {
    state::TakenIn {
        key: edit.key.to_text().into_owned(),
        etag: edit.etag.as_str().to_owned(),
        path: edit.path.to_text().into_owned(),
        hash: edit.row.hash.to_string(),
        size: edit.row.size,
        mtime_ns: edit.row.mtime_ns,
    }
}

impl Committer<'_> {
    pub(super) fn taken_in(&self) -> Vec<TakenIn> {
        let mut taken = noted(&self.mine, self.setting.run_user.unwrap_or((0, 0)));
        taken.extend(self.unseen.iter().cloned());
        taken
    }

    /// O, with what it has had of theirs besides; less what was imported here alone, where others made the workspace
    /// live: that counts as taken in.
    ///
    /// # Errors
    /// The trees that tell cannot be had.
    pub(super) async fn origin_over(
        &mut self,
        head: Option<&HeadAt>,
        theirs: &Rows,
    ) -> Result<Option<Rows>, SyncError> {
        self.unseen.clear();
        let Some(mut origin) = self.origin.clone() else { return Ok(None) };
        if let Some(at) = head.filter(|at| self.mine.imported && at.head.state == HeadState::Live) {
            let unseen = take_unseen(&mut origin, &first_trees(&self.store, &self.mine, at).await?);
            let files = unseen.into_iter().filter(|(_, row)| row.kind == Kind::File);
            let edits =
                files.filter_map(|(key, row)| Some(TakenIn { etag: row.etag.clone()?, path: key.clone(), key, row }));
            self.unseen = edits.collect();
        }
        let taken = self.taken_in();
        if let Some(at) = head {
            origin.extend(had_since(&self.store, &self.mine, at, (&origin, theirs), &taken).await?);
        }
        add_taken_in(&mut origin, &taken, theirs);
        Ok(Some(origin))
    }

    /// Sees to it that every object that was taken in and is to be changed or deleted is explained by a snapshot. Says
    /// whether head was moved, or is to be read again.
    ///
    /// # Errors
    /// None because of these edits: the commit of what is here does not wait for what others wrote.
    pub(super) async fn explain_taken_in(
        &mut self,
        attempt: Attempt<'_>,
        theirs: &Theirs,
        ours: &Rows,
        base: Base<'_>,
    ) -> Result<bool, SyncError> {
        let taken = self.taken_in();
        let (Some(at), Base::Known(origin)) = (attempt.head, base) else { return Ok(false) };
        // Before a deadline comes what the app has written.
        let is_time = !attempt.control.has_deadline();
        if taken.is_empty() || !is_time || at.head.state != HeadState::Live || self.config.live_tree == LiveTree::Off {
            return Ok(false);
        }
        let edits = unexplained(&taken, origin, ours, &theirs.rows);
        if edits.is_empty() {
            return Ok(false);
        }
        let control = attempt.control;
        let stored = tokio::select! {
            biased;
            stored = self.store_taken_in(attempt, at, theirs, &edits).boxed_local() => stored,
            () = control.until_time_is_up() => Ok(false),
        };
        stored.or_else(|error| {
            let first = edits.first().map(|edit| edit.key.to_string()).unwrap_or_default();
            tracing::warn!("{first} was written by others and cannot be kept in a snapshot now: {error}");
            Ok(false)
        })
    }

    async fn store_taken_in(
        &mut self,
        attempt: Attempt<'_>,
        at: &HeadAt,
        theirs: &Theirs,
        edits: &[&TakenIn],
    ) -> Result<bool, SyncError> {
        self.store = with_noted_abilities(self.store.clone(), Some(&self.state));
        self.known.plan_against(Some(at.head.gc), &theirs.rows);
        let objects: Rows = edits.iter().map(|edit| (edit.key.clone(), edit.row.clone())).collect();
        let keys: BTreeSet<RelPath> = objects.keys().cloned().collect();
        let mut cuts = cuts_of(&theirs.rows);
        cuts.extend(cuts_of(&first_live::fetch(self, attempt, at.head.next_seq(), &keys, &objects).await?));
        let (there, gone): (Vec<&TakenIn>, Vec<&TakenIn>) =
            edits.iter().partition(|edit| self.known.placed(&cut(&edit.row, &cuts)).is_some());
        if !gone.is_empty() && !attempt.control.time_is_up() {
            // Others wrote there again: that is for the next pull.
            self.mine.taken_in.retain(|note| !gone.iter().any(|edit| note_of(edit) == *note));
            self.state.set_mine(&self.mine)?;
        }
        if there.is_empty() {
            return Ok(false);
        }
        let mut rows = with_edits(&theirs.rows, there.iter().copied());
        if !place(&mut rows, &self.known, &cuts).is_empty() {
            return Ok(false);
        }
        let (written, old) = (written(&self.store)?, &at.head);
        let id = SnapshotId::new(old.next_seq(), random()?);
        // What the container before could not store is not here, either, and the next pull says so.
        let before = theirs.snapshot.as_ref().map(|snapshot| &snapshot.whole.header);
        let partial = before.is_some_and(|header| header.partial);
        let header = TreeHeader {
            id,
            parent: old.snapshot,
            writer: written.writer.clone(),
            quiet: false,
            partial,
            missing: before.map(|header| header.missing.clone()).unwrap_or_default(),
            base: None,
            time: written.time,
        };
        let counts = counts(&theirs.rows, &rows, false, partial);
        let tree = Tree { header, rows, removed: Removed::new() };
        let (bytes, is_whole) = encode(&tree, theirs.snapshot.as_ref(), false, &self.url)?;
        put_tree(&self.store, &id, tree.rows.len() as u64, bytes.clone()).await?;
        let mirror = kept_mirror(&self.state).filter(|id| old.has_in_lineage(id));
        let mut next = Head::live_over(Some(old), id, mirror, counts, random()?, written);
        let now = next.time;
        retain(&mut next, self.config, now);
        if let Published::Won(won) = publish(&self.store, Some(at), &next).await? {
            keep_tree(&self.state, &bytes, is_whole);
            match won {
                Some(won) => keep_head(&self.state, &won),
                None => forget_head(&self.state),
            }
            let mut names: Vec<String> = there.iter().take(NAMED).map(|edit| edit.key.to_string()).collect();
            if there.len() > NAMED {
                names.push(format!("and {} more", there.len() - NAMED));
            }
            tracing::info!(
                "snapshot {} has what others wrote before it was changed or removed here: {}",
                id.seq(),
                names.join(", ")
            );
        }
        // Lost or won: the next try reads what there is now.
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_noted_with_all_there_is_to_it_and_a_damaged_note_is_none() {
        let path = |bytes: &[u8]| RelPath::new(bytes).unwrap();
        let etag = ETag::new("\"e\"");
        let row = Row { uid: 7, gid: 8, mtime_ns: -1, etag: Some(etag.clone()), ..Row::file(Hash::of(b"x"), 1, 0o644) };
        let edit = TakenIn { key: path(b"odd \xff"), etag, path: path(b"d/odd \xff.theirs-0a"), row };
        let wrong = state::TakenIn { hash: "x".to_owned(), ..note_of(&edit) };
        let mine = Mine { taken_in: vec![wrong, note_of(&edit)], ..Mine::default() };
        assert_eq!(noted(&mine, (7, 8)), [edit]);
    }
}
