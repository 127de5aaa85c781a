//! A commit of a live workspace, or the one that makes a plain workspace live: packs and tree, then head by one
//! conditional write. From then on the change is durable; the live tree follows, as far as time allows.
//!
//! No tree is written that names content which is not in a pack.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use futures_util::FutureExt;

use super::{
    SyncError,
    base::{base_of, theirs_of},
    catch_up::{CatchingUp, CaughtUp},
    commit::{Attempt, Committer},
    first_live,
    healing::can_heal,
    local::{Local, Part},
    making::{contents, counts, cuts_of, encode, place},
    packs::Packer,
    publish::{Published, publish_for, put_tree},
    remote::{HeadAt, is_still, present_tree, random, written},
    retain::retain,
    session::{owners, with_abilities, with_noted_abilities},
    snapshots::{Snapshot, forget_head, is_mirror_kept, keep_head, keep_tree, kept_mirror, present_snapshot},
};
use crate::{
    config::{LiveTree, OnDeadline},
    plan::{self, ChangeKind, Merged, Order, changes},
    report::{LiveTreeState, NotDeleted, Receipt},
    rows::{ETag, RelPath, Removed, Rows},
    snapshot::{Head, HeadState, SnapshotId, Tree, TreeHeader},
    store::Probed,
};

/// What moving head needs to know of the server.
const FOR_HEAD: Probed = Probed { puts: true, completes: false, deletes: false, lists: false };
/// What a catch-up needs to know of it.
const FOR_LIVE: Probed = Probed { puts: true, completes: true, deletes: true, lists: false };

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
        let origin = self.origin_over(head, &theirs.rows).boxed_local().await?;
        let mut local = Local::new(scan, before, owners, origin.as_ref(), &theirs.rows, &self.dir);
        local.group(origin.as_ref(), &self.config.together);
        let base = base_of(&self.mine, head, origin.as_ref());
        let Part { merged, .. } = local.part(base, &theirs.rows, false);
        if self.config.call.dry_run {
            let planned = self.receipt(&theirs.rows, &merged, &local, quiet, None);
            return Ok(Some(Receipt { durable: false, ..planned }));
        }
        let is_live = head.is_some_and(|at| at.head.state == HeadState::Live);
        if self.explain_taken_in(attempt, &theirs, local.rows(), base).boxed_local().await? {
            return Ok(None);
        }
        let damaged = self.damaged_packs(&theirs.rows);
        let has_changes =
            !changes(&theirs.rows, &merged.rows).is_empty() || can_heal(&damaged, &theirs.rows, local.rows());
        let is_first = !is_live && (head.is_some() || !merged.rows.is_empty());
        if !has_changes && !is_first {
            return self.nothing_to_commit(attempt, &theirs, &merged, &local).await.map(Some);
        }
        if is_first && first_live::explain(self, head, &theirs, &merged.rows, quiet).await? {
            return Ok(None);
        }
        let id = SnapshotId::new(head.map_or(1, |at| at.head.next_seq()), random()?);
        self.known.plan_against(head.map(|at| at.head.gc), &theirs.rows);
        self.known.leave_out(damaged.iter().cloned());
        if is_live && !control.is_last() {
            self.known.leave_out(self.packs_to_tidy(&theirs.rows));
        }
        let mut cuts = cuts_of(&theirs.rows);
        let order = if control.is_last() { Order::NewestFirst } else { Order::ByPath };
        let wanted = contents(&merged.rows, local.rows(), &self.known, &cuts, local.groups(), order);
        let stop = || !quiet && control.app_is_gone() || control.time_is_up();
        // Nothing is measured before the change is safe: what is not known of the server by now is not relied on.
        self.store = with_noted_abilities(self.store.clone(), Some(&self.state));
        let store = self.store.clone();
        let dir = self.dir.try_clone()?;
        let (store, dir, hurry) = (&store, &dir, control.is_last());
        let mut packer = Packer { store, dir, attempt: id, next: 0, hurry, stop: &stop, control, events };
        let (mut packed, mut last) = packer.pack_but_last(wanted, &mut self.known).boxed_local().await?;
        cuts.extend(cuts_of(&packed.stored));
        if packed.is_cut_short() && !control.time_is_up() || !quiet && control.app_is_gone() {
            // The app is gone: the second scan begins at once, and what went up counts.
            return Ok(Some(self.receipt(&theirs.rows, &merged, &local, quiet, None)));
        }
        let written = written(&self.store)?;
        let mut id = id;
        let (ours, mut merged, tree, bytes, is_whole) = loop {
            let is_partial = local.take_packed(&packed);
            if packed.is_cut_short() && self.config.on_deadline == OnDeadline::Old {
                let receipt = self.receipt(&theirs.rows, &merged, &local, quiet, None);
                return Ok(Some(Receipt { durable: false, ..receipt }));
            }
            let Part { ours, mut merged } = local.part(base, &theirs.rows, is_partial);
            let mut lost = place(&mut merged.rows, &self.known, &cuts);
            if !lost.is_empty() && !is_live {
                cuts.extend(cuts_of(&first_live::fetch(self, attempt, id.seq(), &lost, &theirs.rows).await?));
                lost = place(&mut merged.rows, &self.known, &cuts);
            }
            if !lost.is_empty() {
                return self.without_place(attempt, &lost).await;
            }
            let header = TreeHeader {
                id,
                parent: head.and_then(|at| at.head.snapshot),
                writer: written.writer.clone(),
                quiet,
                partial: is_partial,
                missing: local.lacking().names(),
                base: None,
                time: written.time,
            };
            let tree = Tree { header, rows: std::mem::take(&mut merged.rows), removed: Removed::new() };
            let (bytes, is_whole) = encode(&tree, theirs.snapshot.as_ref(), hurry, &self.url)?;
            // The tree goes beside the last of the packs that it names: nobody reads it before head says so.
            let put = put_tree(store, &id, tree.rows.len() as u64, bytes.clone());
            let Some(pack) = last.take() else {
                put.await?;
                break (ours, merged, tree, bytes, is_whole);
            };
            let (sent, put) = futures_util::future::join(packer.send_last(pack, &mut self.known), put).await;
            put?;
            if sent?.is_some() {
                break (ours, merged, tree, bytes, is_whole);
            }
            // Too late for that pack: a smaller tree, under a name of its own.
            packed.forget_lost(&self.known);
            if !quiet && control.app_is_gone() && !control.time_is_up() {
                return Ok(Some(self.receipt(&theirs.rows, &merged, &local, quiet, None)));
            }
            id = SnapshotId::new(id.seq(), random()?);
        };
        let counts = counts(&theirs.rows, &tree.rows, quiet, tree.header.partial);
        let old = head.map(|at| &at.head);
        let mirror = kept_mirror(&self.state).filter(|id| old.is_some_and(|head| head.has_in_lineage(id)));
        let mut next = Head::live_over(old, id, mirror, counts, random()?, written);
        let now = next.time;
        retain(&mut next, self.config, now);
        let noted = self.note_pending(&next, &ours)?;
        let begun = Instant::now();
        let published = publish_for(&self.mine, &self.store, head, &next).await?;
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
        self.tell_durable(events, &receipt);
        self.committed = self.committed_files(&theirs.rows, &merged);
        let imported = match is_live {
            true => None,
            // Without it the catch-up looks at every object.
            false => match first_live::mirror(self, &theirs).await {
                Ok(mirror) => Some(mirror),
                Err(error) => {
                    tracing::debug!("{error}");
                    None
                }
            },
        };
        self.forget_healed(&damaged, &merged.rows);
        self.settle(&next, ours, noted)?;
        keep_tree(&self.state, &bytes, is_whole);
        match &at {
            Some(at) => keep_head(&self.state, at),
            None => forget_head(&self.state),
        }
        self.warn_of_size(&merged.rows);
        for path in &merged.overflow {
            tracing::warn!("{path} has too many conflicting copies: what others wrote last is in history only");
        }
        // An early commit is followed by the last one at once.
        if quiet || !control.is_last() {
            let at_hand = [(id, &merged.rows)];
            // Of a plain one the rows are not all that it says: its tombstones explain objects, too.
            let theirs_at_hand = head.filter(|_| is_live).and_then(|at| at.head.snapshot).map(|id| (id, &theirs.rows));
            let at_hand: Vec<(SnapshotId, &Rows)> = at_hand.into_iter().chain(theirs_at_hand).collect();
            if let Some(at) = at {
                self.follow(attempt, &at, &merged.rows, &at_hand, imported.as_ref(), &mut receipt).await;
                self.look_at_packs(id.seq(), &merged.rows, control).boxed_local().await;
            }
        }
        Ok(Some(receipt))
    }

    /// The workspace as the others left it; `None` where its tree is gone because head has moved.
    async fn theirs(&self, head: Option<&HeadAt>) -> Result<Option<Theirs>, SyncError> {
        match head {
            Some(at) if at.head.state == HeadState::Live => {
                let snapshot = match present_snapshot(&self.store, Some(&self.state), at).await {
                    // What names it may be an old head: its snapshot was dropped and swept meanwhile.
                    Err(SyncError::Damaged { .. }) if !is_still(&self.store, head).await? => return Ok(None),
                    snapshot => snapshot?,
                };
                let Some(snapshot) = snapshot else { return Ok(None) };
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
            self.tell_durable(attempt.events, &receipt);
            if !attempt.control.is_last() {
                // What the server honours is measured now, so that no stop has to: there each trip counts.
                self.store = with_abilities(self.store.clone(), Some(&self.state), self.is_used()).await?;
            }
            let is_current = at.head.snapshot.is_some_and(|id| is_mirror_kept(&self.state, &id));
            let is_noted = self.mine.refused.is_empty() && self.mine.markers.is_empty();
            if is_current && is_noted && self.config.live_tree == LiveTree::On {
                receipt.live_tree = LiveTreeState::Current;
                return Ok(receipt);
            }
            if attempt.quiet || !attempt.control.is_last() {
                let at_hand: Vec<_> = at.head.snapshot.map(|id| (id, &theirs.rows)).into_iter().collect();
                self.follow(attempt, at, &theirs.rows, &at_hand, None, &mut receipt).await;
            }
        } else {
            self.tell_durable(attempt.events, &receipt);
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
        let control = attempt.control;
        if off && imported.is_none() && control.is_last() {
            return;
        }
        let stop = || control.time_is_up();
        let measured = tokio::select! {
            biased;
            measured = with_abilities(self.store.clone(), Some(&self.state), self.is_used()) => measured,
            () = control.until_time_is_up() => return,
        };
        match measured {
            Ok(store) => self.store = store,
            Err(error) => return tracing::warn!("the commit is durable, but the live tree is behind: {error}"),
        }
        if off && imported.is_none() {
            return;
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
            Ok(CaughtUp { current, not_deleted, .. }) => {
                receipt.add_not_deleted(not_deleted.keys().map(|path| {
                    let was_counted = self.committed.get(path) == Some(&ChangeKind::Deleted);
                    (NotDeleted { path: path.to_string(), reason: "denied".to_owned() }, was_counted)
                }));
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

    /// What of the server is used after head was moved.
    fn is_used(&self) -> Probed {
        match self.config.live_tree {
            LiveTree::On => FOR_LIVE,
            LiveTree::Off => FOR_HEAD,
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
