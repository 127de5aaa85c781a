//! A commit of a live workspace, or the one that makes a plain workspace live: packs and tree, then head by one
//! conditional write. From then on the change is durable; the live tree follows, as far as time allows.
//!
//! No tree is written that names content which is not in a pack.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use futures_util::FutureExt;

use super::{
    SyncError,
    base::{base_of, theirs_of},
    catch_up::{CatchingUp, CaughtUp},
    commit::{Attempt, Committer},
    first_live,
    local::{Local, Part},
    packs::{Packed, Packer, Wanted},
    publish::{Published, publish, put_tree},
    remote::{HeadAt, present_tree, random, written},
    retain::retain,
    session::{owners, with_abilities},
    snapshots::{Snapshot, is_mirror_kept, keep_head, keep_tree, kept_mirror, present_snapshot},
};
use crate::{
    config::{LiveTree, OnDeadline},
    plan::{self, Merged, Order, changes, units},
    report::{LiveTreeState, NotDeleted, NotStoredReason, Receipt},
    rows::{ETag, Hash, Kind, PIECE_BYTES, Pieces, RelPath, Removed, Row, Rows},
    snapshot::{Counts, Head, HeadState, SnapshotId, Tree, TreeHeader, outgrown},
    store::Probed,
};

/// The other side of the merge.
pub(super) struct Theirs {
    pub(super) rows: Rows,
    /// Of a live head; what the next tree may be an overlay of.
    pub(super) snapshot: Option<Snapshot>,
    /// Of a plain one: the objects that count as removed.
    pub(super) removed: Removed,
}

impl Committer<'_> {
    /// One try; `None` where another writer was faster.
    pub(super) async fn try_live(&mut self, attempt: Attempt<'_>) -> Result<Option<Receipt>, SyncError> {
        let Attempt { scan, before, head, quiet, control, events } = attempt;
        let Some(theirs) = self.theirs(head).await? else { return Ok(None) };
        let (_, owners) = owners(self.config, self.setting);
        let mut local = Local::new(scan, before, owners, self.origin.as_ref(), &theirs.rows, &self.dir);
        local.group(self.origin.as_ref(), &self.config.together);
        let origin = self.origin.clone();
        let base = base_of(&self.mine, head, origin.as_ref());
        let Part { merged, .. } = local.part(base, &theirs.rows, false);
        if self.config.call.dry_run {
            let planned = self.receipt(&theirs.rows, &merged, &local, quiet, None);
            return Ok(Some(Receipt { durable: false, ..planned }));
        }
        let is_live = head.is_some_and(|at| at.head.state == HeadState::Live);
        let healing = self.found_again(&theirs.rows, &local);
        let has_changes = !changes(&theirs.rows, &merged.rows).is_empty() || !healing.is_empty();
        let is_first = !is_live && (head.is_some() || !merged.rows.is_empty());
        if !has_changes && !is_first {
            return self.nothing_to_commit(attempt, &theirs, &merged, &local).await.map(Some);
        }
        let id = SnapshotId::new(head.map_or(1, |at| at.head.next_seq()), random()?);
        if healing.is_empty() {
            self.known.plan_against(head.map(|at| at.head.gc), &theirs.rows);
        } else {
            let mut whole = theirs.rows.clone();
            whole.retain(|_, row| !healing.contains(&row.hash));
            self.known.plan_against(head.map(|at| at.head.gc), &whole);
        }
        let mut cuts = cuts_of(&theirs.rows);
        let packed = self.pack(attempt, id, &local, &merged, &cuts).await?;
        cuts.extend(cuts_of(&packed.stored));
        let was_cut_short = packed.not_stored.values().any(|reason| *reason == NotStoredReason::Deadline);
        if was_cut_short && !control.time_is_up() || !quiet && control.app_is_gone() {
            // The app is gone: the second scan begins at once, and what went up counts.
            return Ok(Some(self.receipt(&theirs.rows, &merged, &local, quiet, None)));
        }
        let is_partial = local.take_packed(&packed);
        if was_cut_short && self.config.on_deadline == OnDeadline::Old {
            let receipt = self.receipt(&theirs.rows, &merged, &local, quiet, None);
            return Ok(Some(Receipt { durable: false, ..receipt }));
        }
        let Part { ours, mut merged } = local.part(base, &theirs.rows, is_partial);
        let mut lost = self.place(&mut merged.rows, &cuts);
        if !lost.is_empty() && !is_live {
            first_live::fetch(self, attempt, id.seq(), &lost, &theirs.rows).await?;
            lost = self.place(&mut merged.rows, &cuts);
        }
        if !lost.is_empty() {
            return self.without_place(attempt, &lost).await;
        }
        let counts = counts(&theirs.rows, &merged, quiet, is_partial);
        let written = written(&self.store)?;
        let header = TreeHeader {
            id,
            parent: head.and_then(|at| at.head.snapshot),
            writer: written.writer.clone(),
            quiet,
            partial: is_partial,
            base: None,
            time: written.time,
        };
        let tree = Tree { header, rows: std::mem::take(&mut merged.rows), removed: Removed::new() };
        let (tree, bytes, is_whole) = self.encode(tree, theirs.snapshot.as_ref(), control.is_last())?;
        // Whether head can be moved by a condition decides how careful one must be; measured once, then noted.
        let probed = Probed { puts: true, ..Probed::default() };
        self.store = with_abilities(self.store.clone(), Some(&self.state), probed).await?;
        put_tree(&self.store, &id, tree.rows.len() as u64, bytes.clone()).await?;
        let old = head.map(|at| &at.head);
        let mirror = kept_mirror(&self.state).filter(|id| old.is_some_and(|head| head.has_in_lineage(id)));
        let mut next = Head::live_over(old, id, mirror, counts, random()?, written);
        let now = next.time;
        retain(&mut next, self.config, now);
        let noted = self.note_pending(&next, &ours)?;
        let begun = Instant::now();
        let published = publish(&self.store, head, &next).await?;
        control.head_took(begun.elapsed());
        let at = match published {
            Published::Won(at) => at,
            Published::Lost => return Ok(None),
            Published::Gone => {
                return Err(SyncError::Deleted(self.url.clone(), self.config.dir.display().to_string()));
            }
        };
        merged.rows = tree.rows;
        let off = self.config.live_tree == LiveTree::Off;
        let live_tree = if off { LiveTreeState::Off } else { LiveTreeState::Behind };
        let receipt = self.receipt(&theirs.rows, &merged, &local, quiet, Some(&next));
        let mut receipt = Receipt { live_tree, ..receipt };
        events.durable(&self.stamped(receipt.clone()));
        self.committed = self.committed_files(&theirs.rows, &merged);
        let imported = if is_live { None } else { Some(first_live::mirror(self, &theirs).await) };
        self.mine.lost.retain(|hash| Hash::from_hex(hash).is_none_or(|hash| !healing.contains(&hash)));
        self.settle(&next, ours, noted)?;
        keep_tree(&self.state, &bytes, is_whole);
        if let Some(at) = &at {
            keep_head(&self.state, at);
        }
        self.warn_of_size(&merged.rows);
        for path in &merged.overflow {
            tracing::warn!("{path} has too many conflicting copies: what others wrote last is in history only");
        }
        // An early commit is followed by the last one at once.
        if quiet || !control.is_last() {
            let at_hand = [(id, &merged.rows)];
            let theirs_at_hand = head.and_then(|at| at.head.snapshot).map(|id| (id, &theirs.rows));
            let at_hand: Vec<(SnapshotId, &Rows)> = at_hand.into_iter().chain(theirs_at_hand).collect();
            if let Some(at) = at {
                self.follow(attempt, &at, &merged.rows, &at_hand, imported.as_ref(), &mut receipt).await;
            }
        }
        Ok(Some(receipt))
    }

    /// Contents that a pull did not find in the packs of the snapshot, and that are in the directory all the same.
    fn found_again(&self, theirs: &Rows, local: &Local) -> BTreeSet<Hash> {
        if self.mine.lost.is_empty() {
            return BTreeSet::new();
        }
        let lost: BTreeSet<Hash> = self.mine.lost.iter().filter_map(|hash| Hash::from_hex(hash)).collect();
        let files = |rows: &Rows| -> BTreeSet<Hash> {
            rows.values().filter(|row| row.kind == Kind::File).map(|row| row.hash).collect()
        };
        let (theirs, here) = (files(theirs), files(local.rows()));
        lost.into_iter().filter(|hash| theirs.contains(hash) && here.contains(hash)).collect()
    }

    /// The workspace as the others left it; `None` where its tree is gone because head has moved.
    async fn theirs(&self, head: Option<&HeadAt>) -> Result<Option<Theirs>, SyncError> {
        match head {
            Some(at) if at.head.state == HeadState::Live => {
                let Some(snapshot) = present_snapshot(&self.store, Some(&self.state), at).await? else {
                    return Ok(None);
                };
                let rows = snapshot.whole.rows.clone();
                Ok(Some(Theirs { rows, snapshot: Some(snapshot), removed: Removed::new() }))
            }
            _ => {
                let now = present_tree(&self.store, head).await?;
                let origin = self.origin.as_ref();
                let (rows, removed) = theirs_of(&self.store, &self.mine, head, origin, now).await?;
                Ok(Some(Theirs { rows, snapshot: None, removed }))
            }
        }
    }

    /// Puts into packs what R has and no pack that may be named.
    async fn pack(
        &mut self,
        attempt: Attempt<'_>,
        id: SnapshotId,
        local: &Local,
        merged: &Merged,
        cuts: &HashMap<Hash, Pieces>,
    ) -> Result<Packed, SyncError> {
        let Attempt { quiet, control, events, .. } = attempt;
        let mut by_hash: HashMap<Hash, &RelPath> = HashMap::new();
        let mut wanted = Rows::new();
        for (path, row) in merged.rows.iter().filter(|(_, row)| row.kind == Kind::File && row.size > 0) {
            if self.known.placed(&cut(row, cuts)).is_some() {
                continue;
            }
            if by_hash.is_empty() {
                let files = local.rows().iter().filter(|(_, row)| row.kind == Kind::File);
                by_hash = files.map(|(path, row)| (row.hash, path)).collect();
            }
            let here = local.rows().get(path).filter(|here| here.same_content(row)).map(|_| path);
            let there = here.or_else(|| by_hash.get(&row.hash).copied());
            wanted.extend(there.and_then(|path| Some((path.clone(), local.rows().get(path)?.clone()))));
        }
        let order = if control.is_last() { Order::NewestFirst } else { Order::ByPath };
        let in_order = units(&wanted, local.groups(), order).into_iter().flatten();
        let wanted: Vec<Wanted> = in_order
            .filter_map(|path| {
                let row = cut(wanted.get(&path)?, cuts);
                Some(Wanted { path, row })
            })
            .collect();
        let stop = || !quiet && control.app_is_gone() || control.time_is_up();
        let mut packer = Packer {
            store: &self.store,
            dir: &self.dir,
            attempt: id,
            next: 0,
            hurry: control.is_last(),
            stop: &stop,
            control,
            events,
        };
        packer.pack(wanted, &mut self.known).boxed_local().await
    }

    /// Gives every file the place of its content, and takes away what only plain trees have. The files that have none
    /// are given back.
    fn place(&self, rows: &mut Rows, cuts: &HashMap<Hash, Pieces>) -> BTreeSet<RelPath> {
        let mut lost = BTreeSet::new();
        for (path, row) in rows.iter_mut() {
            row.etag = None;
            if row.kind != Kind::File {
                continue;
            }
            match self.known.placed(&cut(row, cuts)) {
                Some(placed) => *row = placed,
                // As theirs has it, whatever became of it.
                None if row.is_stored() => {}
                None => drop(lost.insert(path.clone())),
            }
        }
        lost
    }

    /// Some content lies nowhere that may be named. A plain workspace can stay plain for now; a live one was damaged by
    /// somebody.
    async fn without_place(
        &mut self,
        attempt: Attempt<'_>,
        lost: &BTreeSet<RelPath>,
    ) -> Result<Option<Receipt>, SyncError> {
        let first = lost.first().map(ToString::to_string).unwrap_or_default();
        if attempt.head.is_some_and(|at| at.head.state == HeadState::Live) {
            return Err(SyncError::Damaged {
                what: format!("the content of {first}"),
                workspace: self.url.clone(),
                why: "the snapshot does not say where it lies, and it is not in this directory".to_owned(),
            });
        }
        tracing::warn!(
            "{} cannot have a snapshot yet, because the content of {} files ({first}) is neither here nor where it was \
             in the bucket: changes are committed to the live tree alone",
            self.url,
            lost.len()
        );
        self.try_plain(attempt).boxed_local().await
    }

    /// The tree as it is written: an overlay where that is possible and, in a checkpoint, still worth it.
    fn encode(&self, whole: Tree, theirs: Option<&Snapshot>, hurry: bool) -> Result<(Tree, Vec<u8>, bool), SyncError> {
        let wrong = |error: &crate::snapshot::FormatError| {
            SyncError::format(error, &format!("the new tree {}", whole.header.id), &self.url)
        };
        if let Some(theirs) = theirs {
            let overlay = Tree::overlay(&theirs.base, &whole).map_err(|error| wrong(&error))?;
            let bytes = overlay.encode().map_err(|error| wrong(&error))?;
            if hurry || !outgrown(bytes.len() as u64, theirs.base_bytes) {
                return Ok((whole, bytes, false));
            }
        }
        let bytes = whole.encode().map_err(|error| wrong(&error))?;
        Ok((whole, bytes, true))
    }

    /// Nothing changed: no snapshot is made, but a catch-up that did not finish is finished.
    async fn nothing_to_commit(
        &mut self,
        attempt: Attempt<'_>,
        theirs: &Theirs,
        merged: &Merged,
        local: &Local,
    ) -> Result<Receipt, SyncError> {
        self.save_index();
        let mut receipt = self.receipt(&theirs.rows, merged, local, attempt.quiet, None);
        if let Some(at) = attempt.head.filter(|at| at.head.state == HeadState::Live) {
            receipt.live_tree = match self.config.live_tree {
                LiveTree::Off => LiveTreeState::Off,
                LiveTree::On => LiveTreeState::Behind,
            };
            attempt.events.durable(&self.stamped(receipt.clone()));
            let is_current = at.head.snapshot.is_some_and(|id| is_mirror_kept(&self.state, &id));
            if is_current && self.mine.refused.is_empty() && self.config.live_tree == LiveTree::On {
                receipt.live_tree = LiveTreeState::Current;
                return Ok(receipt);
            }
            if attempt.quiet || !attempt.control.is_last() {
                let at_hand: Vec<_> = at.head.snapshot.map(|id| (id, &theirs.rows)).into_iter().collect();
                self.follow(attempt, at, &theirs.rows, &at_hand, None, &mut receipt).await;
            }
        } else {
            attempt.events.durable(&self.stamped(receipt.clone()));
        }
        Ok(receipt)
    }

    /// Makes the live tree what the snapshot says. The commit is durable, whatever becomes of this.
    async fn follow(
        &mut self,
        attempt: Attempt<'_>,
        at: &HeadAt,
        rows: &Rows,
        at_hand: &[(SnapshotId, &Rows)],
        imported: Option<&plan::Mirror>,
        receipt: &mut Receipt,
    ) {
        let off = self.config.live_tree == LiveTree::Off;
        if off && imported.is_none() {
            return;
        }
        let control = attempt.control;
        let stop = || control.time_is_up();
        let probed = Probed { puts: true, completes: true, deletes: true, lists: false };
        match with_abilities(self.store.clone(), Some(&self.state), probed).await {
            Ok(store) => self.store = store,
            Err(error) => return tracing::warn!("the commit is durable, but the live tree is behind: {error}"),
        }
        let refused = self.refused();
        let markers = self.markers();
        let catching_up = CatchingUp {
            store: &self.store,
            dir: &self.dir,
            state: Some(&self.state),
            head: at,
            rows,
            at_hand,
            imported,
            refused: &refused,
            markers: &markers,
            order: if control.is_last() { Order::NewestFirst } else { Order::ByPath },
            stop: &stop,
            control,
            events: attempt.events,
        };
        let caught_up =
            if off { catching_up.write_imported().boxed_local().await } else { catching_up.run().boxed_local().await };
        match caught_up {
            Ok(CaughtUp { current, not_deleted, outside, name_refused, .. }) => {
                let denied = not_deleted.keys().map(|path| (path, "denied"));
                receipt.not_deleted.extend(
                    denied.map(|(path, reason)| NotDeleted { path: path.to_string(), reason: reason.to_owned() }),
                );
                for path in outside {
                    tracing::warn!(
                        "{path} was changed in the live tree by others: it stays, and the next pull takes it in"
                    );
                }
                for path in name_refused {
                    tracing::warn!("{path} is in the snapshot, but the server takes no object of that name");
                }
                if off {
                    receipt.live_tree = LiveTreeState::Off;
                } else if current {
                    receipt.live_tree = LiveTreeState::Current;
                    self.caught_up();
                } else {
                    tracing::info!("the live tree is behind: the next commit goes on with it");
                }
            }
            Err(error) => tracing::warn!("the commit is durable, but the live tree is behind: {error}"),
        }
    }

    fn refused(&self) -> BTreeMap<RelPath, ETag> {
        let refused = self.mine.refused.iter();
        refused.filter_map(|(path, etag)| Some((RelPath::from_text(path).ok()?, ETag::new(etag.clone())))).collect()
    }

    /// What pulls had left for the catch-up is done.
    fn caught_up(&mut self) {
        if self.mine.refused.is_empty() && self.mine.markers.is_empty() {
            return;
        }
        self.mine.refused.clear();
        self.mine.markers.clear();
        if let Err(error) = self.state.set_mine(&self.mine) {
            tracing::debug!("{error}");
        }
    }
}

/// The pieces of large files, by the hash of the whole.
fn cuts_of(rows: &Rows) -> HashMap<Hash, Pieces> {
    let large = rows.values().filter(|row| row.kind == Kind::File && row.size > PIECE_BYTES);
    large.filter(|row| row.pieces != Pieces::None).map(|row| (row.hash, row.pieces.clone())).collect()
}

/// The row with the pieces that its content is known to have.
fn cut(row: &Row, cuts: &HashMap<Hash, Pieces>) -> Row {
    let mut row = row.clone();
    if row.pieces == Pieces::None
        && row.size > PIECE_BYTES
        && let Some(pieces) = cuts.get(&row.hash)
    {
        row.pieces = pieces.without_places();
    }
    row
}

fn counts(theirs: &Rows, merged: &Merged, quiet: bool, partial: bool) -> Counts {
    let files = merged.rows.values().filter(|row| row.kind == Kind::File);
    let (files, bytes) = files.fold((0, 0), |(files, bytes), row| (files + 1, bytes + row.size));
    let changed = changes(theirs, &merged.rows).iter().filter(|change| change.kind == Kind::File).count() as u64;
    Counts { files, bytes, changed, quiet, partial }
}
