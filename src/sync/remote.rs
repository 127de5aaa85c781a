//! What a workspace says of itself in the bucket: head and tree, read and checked.

use std::time::Duration;

use jiff::Timestamp;

use super::SyncError;
use crate::{
    rows::{ETag, Removed, Rows},
    snapshot::{HEAD_KEY, Head, HeadState, Limits, SnapshotId, Tree, Written},
    store::{GetIf, Got, Store},
};

/// How long the first answer of an endpoint may take, retries included, before a restore gives up: somewhat more than
/// the store gives it (30 s), which says better what it met.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(35);

/// A head and the version it was read at.
#[derive(Clone, Debug)]
pub(super) struct HeadAt {
    pub(super) head: Head,
    pub(super) etag: ETag,
}

/// The head; `None` where there is none.
pub(super) async fn read_head(store: &Store) -> Result<Option<HeadAt>, SyncError> {
    match store.get(HEAD_KEY, GetIf::Always).await? {
        Got::Found(object) => {
            let head = Head::decode(&object.bytes).map_err(|error| damaged_head(store, &error))?;
            Ok(Some(HeadAt { head, etag: object.meta.etag }))
        }
        Got::Absent | Got::NotModified | Got::Moved => Ok(None),
    }
}

/// The head, for those who can only work on a plain workspace.
pub(super) async fn read_plain_head(store: &Store) -> Result<Option<HeadAt>, SyncError> {
    let head = read_head(store).await?;
    if head.as_ref().is_some_and(|at| at.head.state == HeadState::Live) {
        return Err(SyncError::Newer(store.url()));
    }
    Ok(head)
}

/// The head, asked for only if it is not `known` any more; `None` where there is none.
pub(super) async fn read_head_since(store: &Store, known: Option<HeadAt>) -> Result<Option<HeadAt>, SyncError> {
    let Some(known) = known else { return read_head(store).await };
    match store.get(HEAD_KEY, GetIf::NoneMatch(&known.etag)).await? {
        Got::NotModified => Ok(Some(known)),
        Got::Found(object) => {
            let head = Head::decode(&object.bytes).map_err(|error| damaged_head(store, &error))?;
            Ok(Some(HeadAt { head, etag: object.meta.etag }))
        }
        Got::Absent | Got::Moved => Ok(None),
    }
}

/// Whether the head is still the one that was read (a cheap 304 where it is).
pub(super) async fn is_still(store: &Store, known: Option<&HeadAt>) -> Result<bool, SyncError> {
    let condition = known.map_or(GetIf::Always, |known| GetIf::NoneMatch(&known.etag));
    Ok(match store.get(HEAD_KEY, condition).await? {
        Got::NotModified => known.is_some(),
        Got::Absent | Got::Moved => known.is_none(),
        // A server that does not know If-None-Match sends it again.
        Got::Found(object) => known.is_some_and(|known| known.etag == object.meta.etag),
    })
}

/// The tree of a snapshot; `None` where it is gone.
pub(super) async fn read_tree(store: &Store, id: &SnapshotId) -> Result<Option<Tree>, SyncError> {
    let Got::Found(object) = store.get(&id.tree_key(), GetIf::Always).await? else {
        return Ok(None);
    };
    let tree = blocking(move || Tree::decode(&object.bytes[..], &Limits::default())).await?;
    let tree = tree.map_err(|error| SyncError::format(&error, &format!("tree {id}"), &store.url()))?;
    if tree.header.base.is_some() {
        return Err(SyncError::Newer(store.url()));
    }
    Ok(Some(tree))
}

/// Rows and tombstones of the present snapshot.
pub(super) async fn present_tree(store: &Store, head: Option<&HeadAt>) -> Result<Option<(Rows, Removed)>, SyncError> {
    Ok(present_plain(store, head).await?.map(|tree| (tree.rows, tree.removed)))
}

/// The tree of the present snapshot; a head of state `plain` always has one.
pub(super) async fn present_plain(store: &Store, head: Option<&HeadAt>) -> Result<Option<Tree>, SyncError> {
    let Some(id) = head.filter(|at| at.head.state == HeadState::Plain).and_then(|at| at.head.snapshot.as_ref()) else {
        return Ok(None);
    };
    match read_tree(store, id).await? {
        Some(tree) => Ok(Some(tree)),
        None => Err(SyncError::Damaged {
            what: format!("tree {id}"),
            workspace: store.url(),
            why: "head.json names it, but there is no such object".to_owned(),
        }),
    }
}

/// What every write of a head brings along: a new id, who we are, the server's time.
pub(super) fn written(store: &Store) -> Result<Written, SyncError> {
    Ok(Written { write_id: crate::snapshot::WriteId::new(random()?), writer: writer(), time: now(store) })
}

/// The time, by the server's clock where it has said it.
pub(super) fn now(store: &Store) -> Timestamp {
    store.server_now().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_else(Timestamp::now)
}

/// Who writes, for people: the host's name (in a container its id) and the process.
fn writer() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    format!("{host}:{}", std::process::id())
}

/// Six random bytes.
pub(super) fn random() -> Result<[u8; 6], SyncError> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| SyncError::System(format!("the system gave no random bytes: {error}")))?;
    Ok(bytes)
}

/// Runs what blocks on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SyncError::System(format!("a thread ended before its work was done: {error}")))
}

fn damaged_head(store: &Store, error: &crate::snapshot::FormatError) -> SyncError {
    SyncError::format(error, "head.json", &store.url())
}
