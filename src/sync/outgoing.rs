//! Files of the directory on their way up: read once, small ones whole, large ones as they go. Knows nothing of why they
//! go, nor of what lies at their keys.

use std::{fs::File, io::Read};

use bytes::Bytes;

use super::{
    SyncError,
    remote::blocking,
    sources::{Checked, Hashing, is_same, stat_of},
};
use crate::{
    report::NotStoredReason,
    rows::{ETag, Hash, Hasher, Kind, PERMISSION_BITS, RelPath, Row},
    store::{Put, PutIf, SAMPLE, Store, StoreError, content_type, plain_etag},
    worktree::{Directory, Presence, Stat},
};

/// Up to this size a file is one request, read whole.
pub(super) const WHOLE: u64 = 8 << 20;

/// A file's content, ready to go.
pub(super) struct Outgoing {
    /// What it is.
    pub(super) row: Row,
    /// Its Content-Type.
    pub(super) kind: String,
    /// The bytes, or where they come from.
    pub(super) body: Body,
}

/// The bytes of a file.
pub(super) enum Body {
    /// All of them.
    Whole(Bytes),
    /// A large file, and its stat when it was opened.
    File(File, Stat),
}

/// The content to put: from the disk, and only if it can be read in one piece. A small file that was written since the
/// scan comes as it is now, with a row that says so; a large one does not.
pub(super) async fn read_file(
    dir: &Directory,
    path: &RelPath,
    row: &Row,
) -> Result<Result<Outgoing, NotStoredReason>, SyncError> {
    let (dir, path, row) = (dir.try_clone()?, path.clone(), row.clone());
    blocking(move || {
        for _ in 0..3 {
            let Ok((mut file, before)) = dir.open_file(&path) else {
                let there = matches!(dir.look(&path), Presence::There(stat) if stat.kind == Some(Kind::File));
                return Err(if there { NotStoredReason::Unreadable } else { NotStoredReason::Changing });
            };
            if before.size > WHOLE {
                let mut sample = vec![0; SAMPLE.min(before.size as usize)];
                if before.size != row.size || file.read_exact(&mut sample).is_err() {
                    return Err(NotStoredReason::Changing);
                }
                let kind = content_type(&path.to_text(), &sample);
                return Ok(Outgoing { row, kind, body: Body::File(file, before) });
            }
            let mut bytes = Vec::with_capacity(before.size as usize);
            if (&mut file).take(WHOLE + 1).read_to_end(&mut bytes).is_err() {
                return Err(NotStoredReason::Unreadable);
            }
            let Ok(after) = stat_of(&file) else { return Err(NotStoredReason::Unreadable) };
            if !is_same(&before, &after) || bytes.len() as u64 != after.size {
                continue;
            }
            let hash = Hash::of(&bytes);
            let mut row = row;
            if hash != row.hash {
                row = Row {
                    mtime_ns: after.mtime_ns,
                    mode: after.mode & PERMISSION_BITS,
                    ..row.with_content(hash, after.size)
                };
            }
            return Ok(Outgoing::whole(&path, row, bytes.into()));
        }
        Err(NotStoredReason::Changing)
    })
    .await
}

impl Outgoing {
    /// A content that is at hand.
    pub(super) fn whole(path: &RelPath, row: Row, bytes: Bytes) -> Self {
        let kind = content_type(&path.to_text(), &bytes[..bytes.len().min(SAMPLE)]);
        Self { row, kind, body: Body::Whole(bytes) }
    }

    /// Puts it.
    pub(super) async fn send(&self, store: &Store, key: &str, condition: PutIf<'_>) -> Result<Put, StoreError> {
        match &self.body {
            Body::Whole(bytes) => store.put(key, bytes.clone(), condition, Some(&self.kind)).await,
            Body::File(file, stat) => {
                let Some(source) = self.source(file, *stat) else { return Ok(Put::Refused) };
                store.put_file(key, source, self.row.size, condition, Some(&self.kind)).await
            }
        }
    }

    /// The bytes of a large file; none where the system has no more handles.
    pub(super) fn source(&self, file: &File, still: Stat) -> Option<Hashing> {
        let file = file.try_clone().ok()?;
        Some(Hashing { file, at: 0, hasher: Hasher::new(), wanted: self.row.hash, still })
    }

    /// The pieces of a large file, each checked; none where the system has no more handles.
    pub(super) fn pieces(&self, file: &File) -> Option<Checked> {
        Some(Checked { file: file.try_clone().ok()?, row: self.row.clone() })
    }

    /// Whether this version of an object is proven to hold it. That it is not proves nothing.
    pub(super) fn is_at(&self, etag: &ETag) -> bool {
        matches!(&self.body, Body::Whole(bytes) if plain_etag(bytes) == *etag)
    }
}
