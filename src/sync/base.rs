//! What a merge may start from, and what the other side is: the evidence a directory has of its own past.

use super::{
    SyncError,
    remote::{HeadAt, read_tree},
};
use crate::{
    plan::{Base, TreeRows, theirs_over},
    rows::{Removed, Rows},
    snapshot::{HeadState, SnapshotId},
    state::Mine,
    store::Store,
};

/// The merge base, as far as the lineage proves it.
pub(super) fn base_of<'a>(mine: &Mine, head: Option<&HeadAt>, origin: Option<&'a Rows>) -> Base<'a> {
    let Some(origin) = origin else { return Base::None };
    let head = match head {
        // The workspace never had a head, or starts from the tombstone it was imported at: nobody else committed.
        None => return if mine.snapshot.is_none() { Base::Known(origin) } else { Base::None },
        Some(at) if at.head.state == HeadState::Deleted => {
            return if mine.tombstone.is_some() { Base::Known(origin) } else { Base::None };
        }
        Some(at) => &at.head,
    };
    let ids = [mine.snapshot.as_ref(), mine.seen.as_ref()];
    let ids: Vec<SnapshotId> = ids.into_iter().flatten().filter_map(|id| id.parse().ok()).collect();
    if ids.is_empty() {
        return if head.reaches_birth() { Base::Known(origin) } else { Base::None };
    }
    if ids.iter().any(|id| head.knows(id)) {
        Base::Known(origin)
    } else if ids.iter().all(|id| head.is_older_than_lineage(id)) {
        Base::Older(origin)
    } else {
        Base::None
    }
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

/// Whether the workspace this directory belongs to was deleted, or made anew.
pub(super) fn is_gone(mine: &Mine, head: Option<&HeadAt>) -> bool {
    match (head, &mine.birth) {
        (None, birth) => birth.is_some(),
        (Some(at), _) if at.head.state == HeadState::Deleted => mine.tombstone.as_deref() != Some(at.etag.as_str()),
        (Some(at), Some(birth)) => at.head.birth.to_string() != *birth,
        (Some(_), None) => false,
    }
}
