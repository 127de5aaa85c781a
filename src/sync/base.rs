//! What a merge may start from, and what the other side is: the evidence a directory has of its own past.

use super::{
    SyncError,
    remote::{HeadAt, read_tree},
    snapshots::read_snapshot,
};
use crate::{
    plan::{self, Ancestry, Base, Cas, Numbered, Past, Present, TakenIn, TreeRows, base, theirs_over},
    rows::{Removed, Rows},
    snapshot::{HeadState, SnapshotId},
    state::Mine,
    store::Store,
};

impl Numbered for SnapshotId {
    fn seq(&self) -> u64 {
        Self::seq(self)
    }
}

/// Gives `work` the past that a directory noted and the head that was read, in the words of the plan.
pub(super) fn with_past<T>(
    mine: &Mine,
    head: Option<&HeadAt>,
    work: impl FnOnce(&Past<'_, SnapshotId>, &Present<'_, SnapshotId>) -> T,
) -> T {
    let id = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<SnapshotId>().ok());
    let (snapshot, seen) = (id(&mine.snapshot), id(&mine.seen));
    // One that is none is nobody's: no workspace was born at 0.
    let nobodys = || SnapshotId::new(0, [0; 6]);
    let birth = mine.birth.as_ref().map(|text| text.parse().unwrap_or_else(|_| nobodys()));
    let past = Past { mine: snapshot.as_ref(), seen: seen.as_ref(), birth: birth.as_ref() };
    let Some(at) = head else { return work(&past, &Present::Nothing) };
    if at.head.state == HeadState::Deleted {
        return work(&past, &Present::Tombstone { is_start: mine.tombstone.as_deref() == Some(at.etag.as_str()) });
    }
    let history: Vec<SnapshotId> = at.head.history.iter().map(|entry| entry.snapshot).collect();
    let ancestry = Ancestry { birth: &at.head.birth, lineage: &at.head.lineage, history: &history };
    work(&past, &Present::Head(ancestry))
}

/// The merge base, as far as the lineage proves it.
pub(super) fn base_of<'a>(mine: &Mine, head: Option<&HeadAt>, origin: Option<&'a Rows>) -> Base<'a> {
    with_past(mine, head, |past, present| base(origin, past, present))
}

/// The workspace as the others left it, and its tombstones.
pub(super) async fn theirs_of(
    store: &Store,
    mine: &Mine,
    head: Option<&HeadAt>,
    origin: Option<&Rows>,
    now: Option<(Rows, Removed)>,
) -> Result<(Rows, Removed), SyncError> {
    let Some((rows, removed)) = now else {
        // No snapshot yet: what was imported is what lies there, as far as anybody knows.
        return Ok((origin.cloned().unwrap_or_default(), Removed::new()));
    };
    let Some(origin) = origin.filter(|_| mine.imported) else { return Ok((rows, removed)) };
    let present = head.and_then(|at| at.head.snapshot.as_ref()).map(ToString::to_string);
    let theirs = if mine.snapshot.is_some() && mine.snapshot == present {
        let tree = TreeRows { rows: &rows, removed: &removed };
        theirs_over(origin, Some(tree), tree)
    } else {
        let before = match mine.snapshot.as_deref().and_then(|id| id.parse::<SnapshotId>().ok()) {
            Some(id) => read_tree(store, &id).await?,
            None => None,
        };
        let before = before.as_ref().map(|tree| TreeRows { rows: &tree.rows, removed: &tree.removed });
        theirs_over(origin, before, TreeRows { rows: &rows, removed: &removed })
    };
    Ok((theirs, removed))
}

/// The trees of a live workspace that tell what those who made it live had imported: the last plain one, which has what
/// they changed then, and the first live one, which has the rest. A workspace is plain first and live from then on, so
/// few of the lineage have to be read. What was swept tells nothing.
pub(super) async fn first_trees(store: &Store, mine: &Mine, head: &HeadAt) -> Result<Vec<Rows>, SyncError> {
    let lineage = &head.head.lineage;
    let from = lineage.iter().position(|id| mine.snapshot.as_deref() == Some(&*id.to_string())).unwrap_or(0);
    let (mut plain, mut live) = (None, None);
    let (mut begin, mut end) = (from, lineage.len());
    while begin < end {
        let at = begin + (end - begin) / 2;
        let rows = match read_snapshot(store, None, &lineage[at]).await {
            Ok(tree) => tree.map(|tree| tree.whole.rows.clone()),
            Err(SyncError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(rows) = rows else {
            begin = at + 1;
            continue;
        };
        // Only the rows of plain trees tell of objects.
        if rows.values().any(|row| row.etag.is_some()) {
            (begin, plain) = (at + 1, Some(rows));
        } else {
            (end, live) = (at, Some(rows));
        }
    }
    Ok([plain, live].into_iter().flatten().collect())
}

/// So many snapshots are looked through for what was taken in.
const LOOKED_THROUGH: usize = 32;

/// What of `taken`, edits of others that are neither in O nor at the head, a snapshot since `mine` had: somebody else
/// took it in as well, stored it, and went on from there. As that snapshot has it.
pub(super) async fn had_since(
    store: &Store,
    mine: &Mine,
    head: &HeadAt,
    (origin, theirs): (&Rows, &Rows),
    taken: &[TakenIn],
) -> Result<Rows, SyncError> {
    let has = |rows: &Rows, edit: &TakenIn| rows.get(&edit.path).is_some_and(|row| row.same_content(&edit.row));
    let mut wanted: Vec<&TakenIn> = taken.iter().filter(|edit| !has(theirs, edit) && !has(origin, edit)).collect();
    let mut had = Rows::new();
    let lineage = &head.head.lineage;
    let since = lineage.iter().position(|id| mine.snapshot.as_deref() == Some(&*id.to_string())).map_or(0, |at| at + 1);
    for id in lineage[since..].iter().rev().filter(|id| head.head.snapshot != Some(**id)).take(LOOKED_THROUGH) {
        if wanted.is_empty() {
            break;
        }
        let tree = match read_snapshot(store, None, id).await {
            Ok(tree) => tree,
            Err(SyncError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(tree) = tree else { continue };
        let rows = &tree.whole.rows;
        wanted.retain(|edit| {
            let found = has(rows, edit);
            had.extend(rows.get(&edit.path).filter(|_| found).map(|row| (edit.path.clone(), row.clone())));
            !found
        });
    }
    Ok(had)
}

/// Whether this head surely descends from what the directory took in.
pub(super) fn descends(mine: &Mine, head: &HeadAt) -> bool {
    with_past(mine, Some(head), plan::descends)
}

/// What became of a write of head, by the head that was found after it.
pub(super) fn after_cas(is_ours: bool, is_old: bool, mine: &Mine, head: Option<&HeadAt>) -> Cas {
    with_past(mine, head, |past, present| plan::after_cas(is_ours, is_old, past, present))
}

/// Whether the workspace this directory belongs to was deleted, or made anew.
pub(super) fn is_gone(mine: &Mine, head: Option<&HeadAt>) -> bool {
    with_past(mine, head, plan::is_gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rows::{ETag, Hash, RelPath, Row},
        snapshot::{Head, WriteId, Written},
    };

    fn id(seq: u64, random: u8) -> SnapshotId {
        SnapshotId::new(seq, [random; 6])
    }

    fn written() -> Written {
        Written { write_id: WriteId::new([1; 6]), writer: String::new(), time: jiff::Timestamp::UNIX_EPOCH }
    }

    /// A head with the lineage 1 to 3.
    fn head() -> HeadAt {
        let first = Head::first_plain(id(1, 0), [0; 6], written());
        let head = first.next(id(2, 0), written()).next(id(3, 0), written());
        HeadAt { head, etag: ETag::new("\"3\"") }
    }

    fn mine(snapshot: Option<SnapshotId>) -> Mine {
        let snapshot = snapshot.map(|id| id.to_string());
        Mine { seen: snapshot.clone(), birth: Some(id(1, 0).to_string()), snapshot, ..Mine::default() }
    }

    #[test]
    fn the_origin_is_a_base_as_far_as_the_head_proves_it() {
        let origin = Rows::from([(RelPath::new("a").unwrap(), Row::file(Hash::of(b"1"), 1, 0o644))]);
        let base = |mine: &Mine, head: Option<&HeadAt>| match base_of(mine, head, Some(&origin)) {
            Base::Known(_) => "known",
            Base::Older(_) => "older",
            Base::None => "none",
        };
        let mut cut = head();
        cut.head.lineage.drain(..2);
        let imported = Mine { birth: None, ..mine(None) };
        for (mine, head, expected) in [
            (&mine(Some(id(2, 0))), Some(&head()), "known"),
            (&mine(Some(id(2, 1))), Some(&head()), "none"),
            (&mine(Some(id(2, 0))), Some(&cut), "older"),
            (&imported, Some(&head()), "known"),
            (&imported, Some(&cut), "none"),
            (&imported, None, "known"),
        ] {
            assert_eq!(base(mine, head), expected, "{mine:?}");
        }
        let tombstone = HeadAt { head: head().head.tombstone([2; 6], written()), ..head() };
        let start = Mine { tombstone: Some("\"3\"".to_owned()), ..imported.clone() };
        assert_eq!((base(&start, Some(&tombstone)), base(&imported, Some(&tombstone))), ("known", "none"));
    }

    #[test]
    fn a_workspace_of_another_birth_or_without_one_is_gone() {
        let (here, head) = (mine(Some(id(2, 0))), head());
        let tombstone = HeadAt { head: head.head.tombstone([2; 6], written()), ..head.clone() };
        let start = Mine { tombstone: Some("\"3\"".to_owned()), ..here.clone() };
        let damaged = Mine { birth: Some("damaged".to_owned()), ..here.clone() };
        let fresh = Mine::default();
        for (mine, head, expected) in [
            (&here, Some(&head), false),
            (&here, None, true),
            (&here, Some(&tombstone), true),
            (&start, Some(&tombstone), false),
            (&damaged, Some(&head), true),
            (&fresh, Some(&head), false),
            (&fresh, None, false),
        ] {
            assert_eq!(is_gone(mine, head), expected, "{mine:?}");
        }
    }
}
