//! Adding a directory without a past to a live workspace: what is here is laid over the present snapshot, and committed
//! as such. Nothing is merged, for there is no base; nothing is deleted that was not asked to be.

use std::{collections::BTreeMap, time::Instant};

use futures_util::FutureExt;

use super::{
    Control, SyncError,
    catch_up::CatchingUp,
    laying::Laying,
    making::{contents, counts, cuts_of, encode, place},
    packs::{Known, Packer},
    publish::{Published, publish, put_tree},
    remote::{HeadAt, random, read_head, written},
    retain::retain,
    session::with_abilities,
    snapshots::present_snapshot,
    upload::{guard_what_is_below, receipt},
};
use crate::{
    config::{Config, LiveTree},
    plan::{Order, changes},
    report::{Events, LiveTreeState, NotDeleted, NotStoredReason, Receipt},
    rows::{Kind, Removed, Row, Rows},
    snapshot::{Head, HeadState, SnapshotId, Tree, TreeHeader},
    store::{Probed, Store},
    worktree::{Directory, Scan},
};

/// How often a lost race is run again.
const TRIES: u32 = 12;

/// Uploads to a live workspace; `None` where the workspace is not one.
pub(super) async fn upload(
    config: &Config,
    (dir, scan): (&Directory, &Scan),
    store: &mut Store,
    begun: Instant,
    events: &dyn Events,
) -> Result<Option<Receipt>, SyncError> {
    let mut known = Known::default();
    for _ in 0..TRIES {
        let Some(at) = read_head(store).await?.filter(|at| at.head.state == HeadState::Live) else { return Ok(None) };
        let Some(theirs) = present_snapshot(store, None, &at).await? else { continue };
        let rows = &theirs.whole.rows;
        if !config.call.delete {
            guard_what_is_below(rows, scan, &store.url())?;
        }
        let mut laying = Laying::new(rows, scan, dir, config.call.delete, &config.together);
        let mut wanted = laying.result();
        let is_nothing = |wanted: &Rows| changes(rows, wanted).is_empty();
        if config.call.dry_run || is_nothing(&wanted) {
            let receipt = Receipt { durable: !config.call.dry_run, ..receipt(rows, &wanted, &laying) };
            return Ok(Some(finished(receipt, store, begun)));
        }
        let with_live_tree = config.live_tree == LiveTree::On;
        let probed = Probed { puts: true, completes: with_live_tree, deletes: with_live_tree, lists: false };
        *store = with_abilities(store.clone(), None, probed).await?;
        known.plan_against(Some(at.head.gc), rows);
        let mut cuts = cuts_of(rows);
        let to_go = contents(&wanted, laying.here(), &known, &cuts, &laying.groups, Order::ByPath);
        let id = SnapshotId::new(at.head.next_seq(), random()?);
        let control = Control::default();
        let mut packer =
            Packer { store, dir, attempt: id, next: 0, hurry: false, stop: &|| false, control: &control, events };
        let packed = packer.pack(to_go, &mut known).boxed_local().await?;
        cuts.extend(cuts_of(&packed.stored));
        // What could not be read stays as it was there, and with it what it belongs to.
        laying.take(&packed.stored, &packed.not_stored);
        loop {
            wanted = laying.result();
            let lost = place(&mut wanted, &known, &cuts);
            let Some(first) = lost.first() else { break };
            let changing = lost.iter().map(|path| (path.clone(), NotStoredReason::Changing)).collect();
            if !laying.take(&Rows::new(), &changing) {
                return Err(SyncError::Damaged {
                    what: format!("the content of {first}"),
                    workspace: store.url(),
                    why: "the snapshot does not say where it lies, and it is not in this directory".to_owned(),
                });
            }
        }
        let mut receipt = receipt(rows, &wanted, &laying);
        if is_nothing(&wanted) {
            return Ok(Some(finished(receipt, store, begun)));
        }
        let written = written(store)?;
        let counts = counts(rows, &wanted, false, receipt.partial);
        let header = TreeHeader {
            id,
            parent: at.head.snapshot,
            writer: written.writer.clone(),
            quiet: false,
            partial: receipt.partial,
            missing: laying.lacking().names(),
            base: None,
            time: written.time,
        };
        let tree = Tree { header, rows: wanted, removed: Removed::new() };
        let (bytes, _) = encode(&tree, Some(&theirs), false, &store.url())?;
        put_tree(store, &id, tree.rows.len() as u64, bytes).await?;
        let mut next = Head::live_over(Some(&at.head), id, None, counts, random()?, written);
        let now = next.time;
        retain(&mut next, config, now);
        let Published::Won(won) = publish(store, Some(&at), &next).await? else { continue };
        receipt.snapshot = Some(id.to_string());
        receipt.live_tree = match config.live_tree {
            LiveTree::Off => LiveTreeState::Off,
            LiveTree::On => LiveTreeState::Behind,
        };
        events.durable(&finished(receipt.clone(), store, begun));
        if let Some(won) = won.filter(|_| config.live_tree == LiveTree::On) {
            let at_hand = [(id, &tree.rows)];
            let before = at.head.snapshot.map(|id| (id, rows));
            let at_hand: Vec<(SnapshotId, &Rows)> = at_hand.into_iter().chain(before).collect();
            follow((dir, store), &won, &tree.rows, &at_hand, &mut receipt, events).await;
        }
        return Ok(Some(finished(receipt, store, begun)));
    }
    Err(SyncError::Contended(store.url(), TRIES))
}

/// The upload is durable, whatever becomes of this.
async fn follow(
    (dir, store): (&Directory, &Store),
    head: &HeadAt,
    rows: &Rows,
    at_hand: &[(SnapshotId, &Rows)],
    receipt: &mut Receipt,
    events: &dyn Events,
) {
    let (refused, markers) = (BTreeMap::new(), BTreeMap::new());
    let catching_up = CatchingUp {
        store,
        dir,
        state: None,
        head,
        rows,
        at_hand,
        imported: None,
        refused: &refused,
        markers: &markers,
        order: Order::ByPath,
        stop: &|| false,
        control: &Control::default(),
        events,
    };
    match catching_up.run().boxed_local().await {
        Ok(caught_up) => {
            if caught_up.current {
                receipt.live_tree = LiveTreeState::Current;
            }
            let is_file = |row: &Row| row.kind == Kind::File;
            let was_there = |path| at_hand.iter().any(|(_, rows)| rows.get(path).is_some_and(is_file));
            receipt.add_not_deleted(
                caught_up
                    .not_deleted
                    .keys()
                    .map(|path| (NotDeleted { path: path.to_string(), reason: "denied".to_owned() }, was_there(path))),
            );
        }
        Err(error) => tracing::warn!("the upload is durable, but the live tree is behind: {error}"),
    }
}

fn finished(receipt: Receipt, store: &Store, begun: Instant) -> Receipt {
    let counters = store.counters();
    let (requests, bytes_sent) = (counters.requests, counters.bytes_sent);
    Receipt { requests, bytes_sent, seconds: begun.elapsed().as_secs_f64(), ..receipt }.bounded()
}
