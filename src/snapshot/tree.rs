//! A tree: the rows of one snapshot as zstd JSON lines.

use std::io::Read;

use super::{FormatError, SnapshotId};
use crate::rows::{Removed, Rows};
use jiff::Timestamp;

/// The newest format of trees this version reads, and the one it writes.
pub const TREE_FORMAT: u64 = 1;

/// The first line of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeHeader {
    /// The snapshot this is the tree of.
    pub id: SnapshotId,
    /// The snapshot before it; none for the first.
    pub parent: Option<SnapshotId>,
    /// Who wrote it.
    pub writer: String,
    /// No process of the app lived during the scan.
    pub quiet: bool,
    /// Some scanned contents are not in it.
    pub partial: bool,
    /// The whole tree this is an overlay of; none for a whole tree.
    pub base: Option<SnapshotId>,
    /// The packs its rows use, by name; none in a plain workspace.
    pub packs: Vec<String>,
    /// When it was written, by the server's clock.
    pub time: Timestamp,
}

/// A snapshot's rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Where it comes from.
    pub header: TreeHeader,
    /// The rows. In a plain workspace each file's row has the ETag that it is true for.
    pub rows: Rows,
    /// An overlay's removed paths; in a whole tree the tombstones: an object at the path that has this ETag counts as
    /// removed. A path may be here and, as a directory or symlink, in `rows` too.
    pub removed: Removed,
}

/// What a decoder may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes after inflating.
    pub bytes: u64,
    /// Bytes of one line.
    pub line: u64,
    /// Rows and removed paths.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, line: 256 << 10, rows: 5_000_000 }
    }
}

impl Tree {
    /// The object's bytes.
    ///
    /// # Errors
    /// What the compressor says.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        Err(FormatError::Read { what: "tree", error: std::io::ErrorKind::Unsupported.into() })
    }

    /// Reads a tree as it arrives.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a later format, else what is wrong with the bytes.
    pub fn decode(_from: impl Read, _limits: &Limits) -> Result<Self, FormatError> {
        Err(FormatError::Read { what: "tree", error: std::io::ErrorKind::Unsupported.into() })
    }
}
