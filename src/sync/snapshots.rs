//! Snapshots and mirrors as they lie in the bucket, put together from base and overlay; and the copies of the newest
//! ones that the state directory keeps, so that a checkpoint need not fetch what it wrote itself.
//!
//! A kept copy is a cache: what is damaged, cut or of another snapshot counts as missing.

use std::{
    io::Read,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::FutureExt;

use super::{
    SyncError,
    remote::{HeadAt, blocking},
};
use crate::{
    rows::ETag,
    snapshot::{FormatError, Head, Limits, Mirror, SnapshotId, Tree},
    state::State,
    store::{GetIf, Got, Store, StoreErrorKind},
};

/// The names of the copies in the state directory.
const HEAD: &str = "cache.head";
const TREE: Copies = Copies { own: "cache.tree", base: "cache.tree-base" };
const MIRROR: Copies = Copies { own: "cache.mirror", base: "cache.mirror-base" };

#[derive(Clone, Copy)]
struct Copies {
    own: &'static str,
    base: &'static str,
}

/// A table of the bucket: its own rows, and those of the base it says what differs from.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Base and overlay put together.
    pub(super) whole: Arc<T>,
    /// The whole one that the next overlay is made over: itself, if it is whole.
    pub(super) base: Arc<T>,
    /// Bytes of the base's object.
    pub(super) base_bytes: u64,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { whole: Arc::clone(&self.whole), base: Arc::clone(&self.base), base_bytes: self.base_bytes }
    }
}

/// The tree of a snapshot.
pub(super) type Snapshot = Table<Tree>;
/// The mirror of a snapshot.
pub(super) type MirrorAt = Table<Mirror>;

/// What trees and mirrors have in common.
trait Stored: Sized + Clone + Send + Sync + 'static {
    const NAME: &'static str;
    const COPIES: Copies;
    fn key(id: &SnapshotId) -> String;
    fn decode(from: impl Read) -> Result<Self, FormatError>;
    fn names(&self) -> (SnapshotId, Option<SnapshotId>);
    fn named(from: impl Read) -> Result<SnapshotId, FormatError>;
    fn put_together(base: Self, overlay: Self) -> Result<Self, FormatError>;
}

impl Stored for Tree {
    const NAME: &'static str = "tree";
    const COPIES: Copies = TREE;

    fn key(id: &SnapshotId) -> String {
        id.tree_key()
    }

    fn decode(from: impl Read) -> Result<Self, FormatError> {
        Self::decode(from, &Limits::default())
    }

    fn names(&self) -> (SnapshotId, Option<SnapshotId>) {
        (self.header.id, self.header.base)
    }

    fn named(from: impl Read) -> Result<SnapshotId, FormatError> {
        Ok(Self::decode_header(from, &Limits::default())?.0.id)
    }

    fn put_together(base: Self, overlay: Self) -> Result<Self, FormatError> {
        Self::whole(base, overlay)
    }
}

impl Stored for Mirror {
    const NAME: &'static str = "mirror";
    const COPIES: Copies = MIRROR;

    fn key(id: &SnapshotId) -> String {
        id.mirror_key()
    }

    fn decode(from: impl Read) -> Result<Self, FormatError> {
        Self::decode(from, &Limits::default())
    }

    fn names(&self) -> (SnapshotId, Option<SnapshotId>) {
        (self.header.id, self.header.base)
    }

    fn named(from: impl Read) -> Result<SnapshotId, FormatError> {
        Ok(Self::decode_header(from, &Limits::default())?.id)
    }

    fn put_together(base: Self, overlay: Self) -> Result<Self, FormatError> {
        Self::whole(base, overlay)
    }
}

/// The snapshot `id`, with its base; `None` where one of the two is gone. `cache` is given for the newest one only.
pub(super) async fn read_snapshot(
    store: &Store,
    cache: Option<&State>,
    id: &SnapshotId,
) -> Result<Option<Snapshot>, SyncError> {
    read(store, cache, id).boxed_local().await
}

/// The snapshot that `head` names, which must be there.
pub(super) async fn present_snapshot(
    store: &Store,
    cache: Option<&State>,
    head: &HeadAt,
) -> Result<Option<Snapshot>, SyncError> {
    let Some(id) = &head.head.snapshot else { return Ok(None) };
    match read_snapshot(store, cache, id).await? {
        Some(snapshot) => Ok(Some(snapshot)),
        None => Err(SyncError::Damaged {
            what: format!("tree {id}"),
            workspace: store.url(),
            why: "head.json names it, but it, or the tree it builds on, is not there".to_owned(),
        }),
    }
}

/// The mirror of snapshot `id`; `None` where there is none: its catch-up has not finished.
pub(super) async fn read_mirror(
    store: &Store,
    cache: Option<&State>,
    id: &SnapshotId,
) -> Result<Option<MirrorAt>, SyncError> {
    read(store, cache, id).boxed_local().await
}

/// Whether it is about the mirror alone, without which there are more comparisons: it is damaged, of a newer format,
/// or, for those who may not list, most likely not there.
pub(super) fn is_no_mirror(error: &SyncError) -> bool {
    match error {
        SyncError::Damaged { .. } | SyncError::Newer(_) => true,
        SyncError::Store(error) => error.kind == StoreErrorKind::Denied,
        _ => false,
    }
}

/// The newest mirror that can be read: that of head's snapshot, else the one that head names.
pub(super) async fn newest_mirror(
    store: &Store,
    cache: Option<&State>,
    head: &Head,
) -> Result<Option<MirrorAt>, SyncError> {
    for id in head.snapshot.iter().chain(&head.mirror) {
        match read_mirror(store, cache, id).await {
            Ok(Some(mirror)) => return Ok(Some(mirror)),
            Ok(None) => {}
            Err(SyncError::Store(error)) if error.kind == StoreErrorKind::Denied => tracing::debug!("{error}"),
            Err(error) if is_no_mirror(&error) => {
                tracing::warn!(
                    "the mirror of snapshot {id} cannot be read ({error}): objects are compared with snapshots instead, \
                     and the next commit writes a new one"
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

async fn read<T: Stored>(store: &Store, cache: Option<&State>, id: &SnapshotId) -> Result<Option<Table<T>>, SyncError> {
    let Some((own, bytes)) = read_one::<T>(store, cache, id, T::COPIES.own).await? else { return Ok(None) };
    let Some(base) = own.names().1 else {
        let whole = Arc::new(own);
        return Ok(Some(Table { base: Arc::clone(&whole), whole, base_bytes: bytes }));
    };
    let Some((base, base_bytes)) = read_one::<T>(store, cache, &base, T::COPIES.base).await? else { return Ok(None) };
    let base = Arc::new(base);
    let under = T::clone(&base);
    let whole = blocking(move || T::put_together(under, own)).await?;
    let whole = whole.map_err(|error| SyncError::format(&error, &format!("{} {id}", T::NAME), &store.url()))?;
    Ok(Some(Table { whole: Arc::new(whole), base, base_bytes }))
}

/// One object and its length, from the cache if it is there; what is fetched is kept.
async fn read_one<T: Stored>(
    store: &Store,
    cache: Option<&State>,
    id: &SnapshotId,
    copy: &str,
) -> Result<Option<(T, u64)>, SyncError> {
    if let Some(state) = cache
        && let Ok(Some(bytes)) = state.read(copy)
        && T::named(&bytes[..]).is_ok_and(|named| named == *id)
        && let Ok(table) = T::decode(&bytes[..])
    {
        return Ok(Some((table, bytes.len() as u64)));
    }
    let Got::Found(object) = store.get(&T::key(id), GetIf::Always).await? else { return Ok(None) };
    let (bytes, decoded) = (object.bytes.clone(), object.bytes);
    let length = bytes.len() as u64;
    let table = blocking(move || T::decode(&decoded[..])).await?;
    let table = table.map_err(|error| SyncError::format(&error, &format!("{} {id}", T::NAME), &store.url()))?;
    let found = table.names().0;
    if found != *id {
        return Err(SyncError::Damaged {
            what: format!("{} {id}", T::NAME),
            workspace: store.url(),
            why: format!("it says of itself that it is {found}"),
        });
    }
    // That it is kept says that it is whole.
    if let Some(state) = cache {
        keep(state, copy, &bytes);
    }
    Ok(Some((table, length)))
}

/// Keeps the objects of a tree that was written: its own, and that of its base if that is a new one.
pub(super) fn keep_tree(state: &State, own: &[u8], is_whole: bool) {
    keep(state, TREE.own, own);
    if is_whole {
        // What builds on it finds it under the other name.
        keep(state, TREE.base, own);
    }
}

/// The same for a mirror.
pub(super) fn keep_mirror(state: &State, own: &[u8], is_whole: bool) {
    keep(state, MIRROR.own, own);
    if is_whole {
        keep(state, MIRROR.base, own);
    }
}

/// A copy that cannot be kept is fetched again.
fn keep(state: &State, name: &str, bytes: &[u8]) {
    if let Err(error) = state.write(name, bytes) {
        tracing::debug!("{error}");
        let _ = state.forget(name);
    }
}

/// The snapshot of the mirror that was kept.
pub(super) fn kept_mirror(state: &State) -> Option<SnapshotId> {
    let bytes = state.read(MIRROR.own).ok()??;
    Mirror::decode_header(&bytes[..], &Limits::default()).ok().map(|header| header.id)
}

/// Keeps the head that was read or written last, with the time.
pub(super) fn keep_head(state: &State, head: &HeadAt) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut bytes = format!("{now} {}\n", head.etag.as_str()).into_bytes();
    bytes.extend(head.head.encode());
    keep(state, HEAD, &bytes);
}

/// What was written is head no more, and nothing was read since.
pub(super) fn forget_head(state: &State) {
    if let Err(error) = state.forget(HEAD) {
        tracing::debug!("{error}");
    }
}

/// The head that was kept.
pub(super) fn kept_head(state: &State) -> Option<HeadAt> {
    Some(kept_head_since(state)?.0)
}

/// The head that was kept, and when it was read or written; a time in the future counts as very old.
pub(super) fn kept_head_since(state: &State) -> Option<(HeadAt, Duration)> {
    let bytes = state.read(HEAD).ok()??;
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    let (time, etag) = std::str::from_utf8(&bytes[..at]).ok()?.split_once(' ').filter(|(_, etag)| !etag.is_empty())?;
    let time = UNIX_EPOCH + Duration::from_secs(time.parse().ok()?);
    let age = SystemTime::now().duration_since(time).unwrap_or(Duration::MAX);
    Some((HeadAt { head: Head::decode(&bytes[at + 1..]).ok()?, etag: ETag::new(etag) }, age))
}

/// Whether the mirror of this snapshot is kept, so that it surely exists.
pub(super) fn is_mirror_kept(state: &State, id: &SnapshotId) -> bool {
    let named = |bytes: Vec<u8>| <Mirror as Stored>::named(&bytes[..]).is_ok_and(|named| named == *id);
    state.read(MIRROR.own).ok().flatten().is_some_and(named)
}
