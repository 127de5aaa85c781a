//! Safe writes for a restore.

use std::path::{Path, PathBuf};

use super::{Directory, IndexRow, Stat, WorktreeError, WriteError};
use crate::rows::{RelPath, Row};

/// To whom written files belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The stored numbers.
    Keep,
    /// The app's user.
    RunUser {
        /// Its uid.
        uid: u32,
        /// Its gid.
        gid: u32,
    },
    /// Whoever writes.
    Caller,
}

/// How to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// Owner policy.
    pub owner: Owner,
    /// The directory was never `ready`: new files may be written under their own names.
    pub fresh: bool,
}

/// What must be at a path for a write to go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Exactly this.
    Same(Stat),
}

/// Writes below a directory. Shared by threads.
#[derive(Debug)]
pub struct Writer {}

/// A file on its way; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {}

impl Writer {
    /// A writer below `dir`; `staging` is a private directory on the same file system, swept now.
    ///
    /// # Errors
    /// Where `staging` cannot be made or lies on another file system.
    pub fn new(dir: &Directory, staging: &Path, options: WriteOptions) -> Result<Self, WorktreeError> {
        let _ = (dir, staging, options);
        todo!()
    }

    /// Fails early where so much more would not fit.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`].
    pub fn check_space(&self, bytes: u64, files: u64) -> Result<(), WriteError> {
        let _ = (bytes, files);
        todo!()
    }

    /// Begins a file; missing parents are made.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin(&self, path: &RelPath, size: u64) -> Result<Staged, WriteError> {
        let _ = (path, size);
        todo!()
    }

    /// Makes a directory (its mode with `u+rwx` so that it can be filled: [`Writer::set_meta`] comes last). A
    /// directory that is there is left as it is.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn make_dir(&self, path: &RelPath, row: &Row) -> Result<(), WriteError> {
        let _ = (path, row);
        todo!()
    }

    /// Makes a symlink, or replaces what is expected there.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn make_symlink(&self, path: &RelPath, row: &Row, expected: Expected) -> Result<(), WriteError> {
        let _ = (path, row, expected);
        todo!()
    }

    /// Sets mode, owner and mtime of what is expected there; returns the stat afterwards.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn set_meta(&self, path: &RelPath, row: &Row, expected: Expected) -> Result<Stat, WriteError> {
        let _ = (path, row, expected);
        todo!()
    }

    /// Removes a file or symlink that is still the expected one; gone already is well.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn remove_file(&self, path: &RelPath, expected: Expected) -> Result<(), WriteError> {
        let _ = (path, expected);
        todo!()
    }

    /// Removes a directory if nothing is in it; says whether it is gone.
    ///
    /// # Errors
    /// As the file system says.
    pub fn remove_dir_if_empty(&self, path: &RelPath) -> Result<bool, WriteError> {
        let _ = path;
        todo!()
    }

    /// Moves what is at `path`, of whatever kind, to `aside`/`path` and says where it is now.
    ///
    /// # Errors
    /// As the file system says.
    pub fn move_aside(&self, path: &RelPath, aside: &Path) -> Result<PathBuf, WriteError> {
        let _ = (path, aside);
        todo!()
    }
}

impl Staged {
    /// Appends.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let _ = bytes;
        todo!()
    }

    /// Writes at an offset, from any thread.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        let _ = (bytes, offset);
        todo!()
    }

    /// Gives the file its mode, owner, mtime and name. The index row is `None` where somebody has changed the file
    /// since, which is no error: the next scan reads it.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else than `expected` is at the path; then nothing has changed.
    pub fn finish(self, row: &Row, expected: Expected) -> Result<Option<IndexRow>, WriteError> {
        let _ = (row, expected);
        todo!()
    }
}
