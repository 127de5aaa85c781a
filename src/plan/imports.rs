//! What the objects of a live tree say about a workspace.

use std::collections::BTreeMap;

use super::presence::TreeRows;
use crate::rows::{ETag, Kind, PathError, RelPath, Row, Rows};

/// An object of a LIST.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its key, less the workspace's prefix.
    pub key: String,
    /// Its version.
    pub etag: ETag,
    /// Its bytes.
    pub size: u64,
    /// When it was written, nanoseconds since 1970.
    pub last_modified_ns: i64,
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no path of a workspace.
    #[error("{0}")]
    Path(PathError),
    /// It ends in a slash, yet has a body.
    #[error("it ends in \"/\" but is not empty")]
    DirectoryWithBody,
    /// Other keys lie below it.
    #[error("it is also a directory of other keys")]
    AlsoDirectory,
}

/// A key that is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedKey {
    /// The key, less the workspace's prefix.
    pub key: String,
    /// Why.
    pub reason: Refusal,
}

/// An object whose content no row tells: its hash is known when it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// The object's version, for GET If-Match.
    pub etag: ETag,
    /// Its bytes.
    pub size: u64,
    /// When it was written.
    pub mtime_ns: i64,
    /// The owner it gets.
    pub owner: (u32, u32),
}

/// What an import should know besides keys and tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImportOptions {
    /// The owner, as user and group, of what no row knows.
    pub owner: (u32, u32),
}

/// What the live tree holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Import {
    /// Paths whose row is known: directories, symlinks, and files whose object is still the one the tree's row is
    /// true for.
    pub rows: Rows,
    /// Files whose content must be read first.
    pub unread: BTreeMap<RelPath, Unread>,
    /// Files of the tree whose object the LIST lacks: no proof that it is gone, a HEAD is.
    pub missing: Rows,
    /// Keys that are not taken.
    pub refused: Vec<RefusedKey>,
    /// Paths that the rules ignore.
    pub ignored: Vec<RelPath>,
    /// Objects that a tombstone hides: their delete was not allowed.
    pub hidden: BTreeMap<RelPath, ETag>,
    /// Empty objects that stand for a directory. If the directory is removed, a tombstone keeps it from coming back.
    pub markers: BTreeMap<RelPath, ETag>,
}

/// Reads a listing, joined with the rows of the plain head's tree, if there is one.
#[must_use]
pub fn import(
    _objects: &[Object],
    _tree: Option<TreeRows<'_>>,
    _ignored: impl Fn(&RelPath, Kind) -> bool,
    _options: ImportOptions,
) -> Import {
    Import::default()
}

impl Unread {
    /// The row, now that the content was read.
    #[must_use]
    pub fn row(&self, hash: crate::rows::Hash) -> Row {
        Row {
            uid: self.owner.0,
            gid: self.owner.1,
            mtime_ns: self.mtime_ns,
            etag: Some(self.etag.clone()),
            ..Row::file(hash, self.size, 0o644)
        }
    }
}
