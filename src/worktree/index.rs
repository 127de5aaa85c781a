//! What earlier scans and restores know of files: stat and hash, so that what did not change is not read again.

use std::path::Path;

use super::{Stat, WorktreeError};
use crate::rows::{Hash, RelPath};

/// What is known of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexRow {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime_ns: i64,
    /// Last change of anything.
    pub ctime_ns: i64,
    /// Hash of the content.
    pub hash: Hash,
    /// Its ctime is too young to tell a later change from an earlier one: to be read again.
    pub racy: bool,
    /// Somebody had it mapped while it was hashed: to be read again.
    pub warm: bool,
    /// A restore wrote it and knew the content.
    pub restored: bool,
}

impl IndexRow {
    /// Whether `stat` proves that the content is still the hashed one.
    #[must_use]
    pub fn proves(&self, stat: &Stat) -> bool {
        let _ = stat;
        todo!()
    }
}

/// The table of them, kept in the state directory. A cache: where it is missing or foreign, everything is read.
#[derive(Debug, Default)]
pub struct Index {}

impl Index {
    /// Reads it; empty where it is missing, damaged, or of another version.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let _ = path;
        todo!()
    }

    /// Writes it atomically, mode 0600.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WorktreeError> {
        let _ = path;
        todo!()
    }

    /// The row of `path`.
    #[must_use]
    pub fn row(&self, path: &RelPath) -> Option<&IndexRow> {
        let _ = path;
        todo!()
    }

    /// Adds or replaces a row, as for a file that a restore wrote.
    pub fn insert(&mut self, path: &RelPath, row: IndexRow) {
        let _ = (path, row);
        todo!()
    }

    /// Forgets a row.
    pub fn remove(&mut self, path: &RelPath) {
        let _ = path;
        todo!()
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
