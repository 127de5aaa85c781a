//! What lies under the tombstones of plain snapshots. A tombstone names the version that is removed although its object
//! is still there; between the first live head and its mirror nothing else in the bucket says that this object is
//! nobody's edit.

use super::{SyncError, import::hash_object};
use crate::{
    rows::{Removed, Row, Rows},
    store::{Store, StoreErrorKind},
};

/// The objects that tombstones hide and that are still there, as rows that name their versions: with these among the
/// rows of its snapshot a tombstone explains like any other row.
///
/// # Errors
/// The server. An object that may not be read is passed over: nobody can take it in, either.
pub(super) async fn hidden_rows(store: &Store, tombstones: &Removed) -> Result<Rows, SyncError> {
    let mut rows = Rows::new();
    for (path, etag) in tombstones {
        let Some(etag) = etag else { continue };
        let read = async {
            // A folder's mark has the same path and another key: nothing is there then, or another version.
            let meta = store.head(&path.to_text()).await?.filter(|meta| meta.etag == *etag);
            let Some(meta) = meta else { return Ok(None) };
            Ok::<_, SyncError>(hash_object(store, path, etag).await?.map(|hash| (hash, meta.size)))
        };
        match read.await {
            Ok(Some((hash, size))) => {
                let row = Row { etag: Some(etag.clone()), ..Row::file(hash, size, 0o644) };
                rows.insert(path.clone(), row);
            }
            Ok(None) => {}
            Err(SyncError::Store(error)) if error.kind == StoreErrorKind::Denied => tracing::debug!("{path}: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}
