//! What can go wrong with a directory, in words for users.

use std::io;

use nix::errno::Errno;

use crate::rows::RelPath;

/// Why the local side could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// A call failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was to be done, as a verb: `open`, `create`, `read`.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A path is no regular file any more.
    #[error("{path} is no regular file")]
    NotRegular {
        /// The path.
        path: RelPath,
    },
    /// The caller's flag was raised.
    #[error("cancelled")]
    Cancelled,
}

impl WorktreeError {
    pub(super) fn io(doing: &'static str, path: &impl ToString, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_string(), source: source.into() }
    }
}

/// Why a path was not written. Nothing of the path has changed then.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What is there is not what was expected: somebody changed it meanwhile.
    #[error("{path} was changed by somebody else meanwhile; it is left as it is")]
    Moved {
        /// The path.
        path: RelPath,
    },
    /// The path is a mount point, or lies on one.
    #[error("{path} is on another mount inside the workspace; it is left as it is")]
    MountPoint {
        /// The path.
        path: RelPath,
    },
    /// The file system takes two names for one.
    #[error("{path} would replace another file: this file system takes both names for one; it is not written")]
    Folds {
        /// The path.
        path: RelPath,
    },
    /// A parent of the path is a symbolic link or no directory.
    #[error("{path} cannot be written: a parent of it is no directory")]
    ParentNotDirectory {
        /// The path.
        path: RelPath,
    },
    /// The disk is full.
    #[error("no space left for {path} on its file system; free some space or give the container a larger disk")]
    NoSpace {
        /// The path, or a description of all that was to be written.
        path: String,
    },
    /// The file system is read only.
    #[error("{path} cannot be written: its file system is read-only; mount the workspace's directory writable")]
    ReadOnly {
        /// The path.
        path: String,
    },
    /// Permission denied.
    #[error("{path} cannot be written: {source}; the directory must be writable by the user stopover runs as")]
    Denied {
        /// The path.
        path: String,
        /// EACCES or EPERM.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was to be done, as a verb.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl WriteError {
    /// What a failed call on `path` means to a user.
    pub(super) fn of(doing: &'static str, path: &RelPath, error: Errno) -> Self {
        let text = || path.to_string();
        match error {
            Errno::ENOSPC | Errno::EDQUOT => Self::NoSpace { path: text() },
            Errno::EROFS => Self::ReadOnly { path: text() },
            Errno::EACCES | Errno::EPERM => Self::Denied { path: text(), source: error.into() },
            Errno::EXDEV | Errno::EBUSY => Self::MountPoint { path: path.clone() },
            Errno::ENOTDIR | Errno::ELOOP => Self::ParentNotDirectory { path: path.clone() },
            _ => Self::Io { doing, path: text(), source: error.into() },
        }
    }

    /// The same for an error of the standard library.
    pub(super) fn of_io(doing: &'static str, path: &RelPath, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::of(doing, path, Errno::from_raw(code)),
            None => Self::Io { doing, path: path.to_string(), source: error },
        }
    }
}
