//! Rows and tables.

use std::{collections::BTreeMap, fmt};

use super::{Hash, Hasher, Pieces, RelPath};

/// The bits of a mode that travel: read, write, execute for owner, group and others.
pub const PERMISSION_BITS: u16 = 0o777;

/// A table: the rows of one directory, snapshot or listing, sorted by path bytes.
pub type Rows = BTreeMap<RelPath, Row>;

/// Paths that are gone although something still lies there: for each the version of the object that counts as removed,
/// or `None` where only the path is said (an overlay's removed path).
pub type Removed = BTreeMap<RelPath, Option<ETag>>;

/// What a path is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
}

impl Kind {
    /// The word used in trees and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
        }
    }
}

/// The version token that a server gave an object: opaque, with its quotes, compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// Takes the header's value as it came.
    #[must_use]
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// The header's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What one path is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its kind.
    pub kind: Kind,
    /// Permission bits, never more than [`PERMISSION_BITS`].
    pub mode: u16,
    /// Owner, as a number.
    pub uid: u32,
    /// Group, as a number.
    pub gid: u32,
    /// Time of the last change of the content, nanoseconds since 1970; never a change by itself.
    pub mtime_ns: i64,
    /// Bytes of a file's content or of a symlink's target; 0 for a directory.
    pub size: u64,
    /// Hash of the content; of the target for a symlink; of nothing for a directory.
    pub hash: Hash,
    /// A symlink's target, as it is.
    pub target: Option<Box<[u8]>>,
    /// For a further name of a hard-linked file: the path of its first name. A hint; the row stands by itself.
    pub link: Option<RelPath>,
    /// The live object's version that holds this content, where one is known.
    pub etag: Option<ETag>,
    /// The pieces of a file's content and where they lie, as far as that is known; never a change by itself.
    pub pieces: Pieces,
}

impl Row {
    /// A regular file's row without a live object.
    #[must_use]
    pub fn file(hash: Hash, size: u64, mode: u16) -> Self {
        Self {
            kind: Kind::File,
            mode: mode & PERMISSION_BITS,
            uid: 0,
            gid: 0,
            mtime_ns: 0,
            size,
            hash,
            target: None,
            link: None,
            etag: None,
            pieces: Pieces::None,
        }
    }

    /// A directory's row.
    #[must_use]
    pub fn dir(mode: u16) -> Self {
        Self { kind: Kind::Dir, ..Self::file(Hash::of(b""), 0, mode) }
    }

    /// A symlink's row.
    #[must_use]
    pub fn symlink(target: &[u8]) -> Self {
        Self {
            kind: Kind::Symlink,
            target: Some(target.into()),
            ..Self::file(Hash::of(target), target.len() as u64, 0o777)
        }
    }

    /// Whether both are the same kind with the same content; mode, owner, time and places are left out.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.kind == other.kind && self.hash == other.hash && self.size == other.size
    }

    /// Whether both are the same to a user: content, mode and owner. A time is never a change, where its content
    /// lies neither, a symlink's mode neither (Linux does not have one).
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.same_content(other)
            && (self.mode == other.mode || self.kind == Kind::Symlink)
            && self.uid == other.uid
            && self.gid == other.gid
    }
}

/// The digest of a table that two containers can compare: BLAKE3 over path, kind, mode, size and hash of the sorted
/// rows, each row as `PATH NUL KIND NUL MODE(octal) NUL SIZE NUL HASH(hex) NEWLINE`.
#[must_use]
pub fn tree_digest(rows: &Rows) -> Hash {
    let mut hasher = Hasher::new();
    for (path, row) in rows {
        let mode = if row.kind == Kind::Symlink { 0o777 } else { row.mode };
        hasher.update(path.as_bytes());
        hasher.update(format!("\0{}\0{mode:o}\0{}\0{}\n", row.kind.as_str(), row.size, row.hash).as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_no_change_and_a_mode_is() {
        let row = Row::file(Hash::of(b"x"), 1, 0o644);
        let later = Row { mtime_ns: 5, etag: Some(ETag::new("\"e\"")), ..row.clone() };
        assert!(row.same(&later));
        let executable = Row { mode: 0o755, ..row.clone() };
        assert!(!row.same(&executable));
        assert!(row.same_content(&executable));
    }

    #[test]
    fn the_digest_sees_content_and_mode_but_no_time() {
        let table = |row: Row| Rows::from([(RelPath::new("a").unwrap(), row)]);
        let row = Row::file(Hash::of(b"x"), 1, 0o644);
        let digest = tree_digest(&table(row.clone()));
        assert_eq!(digest, tree_digest(&table(Row { mtime_ns: 9, uid: 7, ..row.clone() })));
        assert_ne!(digest, tree_digest(&table(Row { mode: 0o600, ..row.clone() })));
        assert_ne!(digest, tree_digest(&table(Row::file(Hash::of(b"y"), 1, 0o644))));
    }
}
