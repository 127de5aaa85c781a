//! A directory held open, and access below it that no symbolic link can lead astray.

use std::{fs::File, path::Path};

use super::{Presence, Stat, WorktreeError};
use crate::rows::RelPath;

/// An open directory.
#[derive(Debug)]
pub struct Directory {}

impl Directory {
    /// Opens `path`.
    ///
    /// # Errors
    /// Where it is missing, no directory, or not permitted.
    pub fn open(path: &Path) -> Result<Self, WorktreeError> {
        let _ = path;
        todo!()
    }

    /// Opens `path`, made with its parents where missing.
    ///
    /// # Errors
    /// As [`Directory::open`], and where it cannot be made.
    pub fn create(path: &Path) -> Result<Self, WorktreeError> {
        let _ = path;
        todo!()
    }

    /// Device and inode.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        todo!()
    }

    /// Where it was opened, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// Whether nothing is in it but stopover's own directory.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn is_empty(&self) -> Result<bool, WorktreeError> {
        todo!()
    }

    /// Whether `path` is there, and what it is.
    #[must_use]
    pub fn look(&self, path: &RelPath) -> Presence {
        let _ = path;
        todo!()
    }

    /// Opens a regular file for reading; a fifo cannot block it.
    ///
    /// # Errors
    /// Where it is gone, no regular file, or not permitted.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, Stat), WorktreeError> {
        let _ = path;
        todo!()
    }

    /// A symlink's target.
    ///
    /// # Errors
    /// Where it is gone or no symlink.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, WorktreeError> {
        let _ = path;
        todo!()
    }
}
