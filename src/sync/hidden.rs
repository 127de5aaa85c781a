//! What lies under the tombstones of plain snapshots. A tombstone names the version that is removed although its object
//! is still there; between the first live head and its mirror nothing else in the bucket says that this object is
//! nobody's edit.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::SyncError;
use crate::{
    rows::{ETag, Hasher, RelPath, Removed, Row, Rows},
    store::{Opened, Store, StoreErrorKind},
};

/// What was found under tombstones so far: one snapshot after the other has the same.
pub(super) type Known = HashMap<(RelPath, ETag), Option<Row>>;

/// The objects that tombstones hide and that are still there, as rows that name their versions: with these among the
/// rows of its snapshot a tombstone explains like any other row.
///
/// # Errors
/// The server. An object that may not be read is passed over: nobody can take it in, either.
pub(super) async fn hidden_rows(store: &Store, tombstones: &Removed, known: &mut Known) -> Result<Rows, SyncError> {
    let named = tombstones.iter().filter_map(|(path, etag)| Some((path.clone(), etag.clone()?)));
    let named: Vec<(RelPath, ETag)> = named.collect();
    let new: Vec<_> = named.iter().filter(|version| !known.contains_key(*version)).cloned().collect();
    let read = stream::iter(new.into_iter().map(|version| async move {
        let row = read_version(store, &version.0, &version.1).await?;
        Ok::<_, SyncError>((version, row))
    }));
    let read: Vec<_> = read.buffer_unordered(store.widths().0.max(1)).try_collect().await?;
    known.extend(read);
    let row = |version: (RelPath, ETag)| known.get(&version).cloned().flatten().map(|row| (version.0, row));
    Ok(named.into_iter().filter_map(row).collect())
}

/// The row of this version; `None` where it is not there any more, or may not be read. A folder's mark has the same path
/// and another key.
async fn read_version(store: &Store, path: &RelPath, etag: &ETag) -> Result<Option<Row>, SyncError> {
    let opened = match store.open(&path.to_text(), None, Some(etag)).await {
        Err(error) if error.kind == StoreErrorKind::Denied => {
            tracing::debug!("{path}: {error}");
            return Ok(None);
        }
        opened => opened?,
    };
    let Opened::Found(mut reader) = opened else { return Ok(None) };
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(chunk) = reader.next_chunk().await? {
        hasher.update(&chunk);
        size += chunk.len() as u64;
    }
    Ok(Some(Row { etag: Some(etag.clone()), ..Row::file(hasher.finish(), size, 0o644) }))
}
