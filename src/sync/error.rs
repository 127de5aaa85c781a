//! Why a sync did not do what was asked.

use crate::{
    snapshot::{FormatError, TagError},
    state::StateError,
    store::StoreError,
    worktree::{WorktreeError, WriteError},
};

/// A sync that failed. Each sentence says what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A guard refused: nothing was changed.
    #[error("{0}")]
    Guard(String),
    /// The workspace was deleted (and perhaps made anew) since this directory was restored.
    #[error(
        "{0} was deleted since this directory was restored: what changed here is not stored, and is only in {1}. \
         `stopover upload` makes a workspace of it again"
    )]
    Deleted(String, String),
    /// A newer stopover wrote what lies there.
    #[error("{0} was made by a newer stopover: update this one")]
    Newer(String),
    /// What lies in the bucket below `.stopover/` is damaged.
    #[error("{what} of {workspace} cannot be read: {why}")]
    Damaged {
        /// What: `head.json`, `tree …`.
        what: String,
        /// Of which workspace.
        workspace: String,
        /// Why.
        why: String,
    },
    /// There is no such snapshot, or no history; says what there is.
    #[error("{0}")]
    Snapshot(String),
    /// A snapshot cannot have this tag.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The directory is not what was restored.
    #[error("{0}")]
    Directory(String),
    /// Another writer was faster again and again.
    #[error("{0}: another container committed each of the {1} times this one tried; what is here is still here")]
    Contended(String, u32),
    /// The server.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The directory.
    #[error(transparent)]
    Worktree(#[from] WorktreeError),
    /// A file of the directory.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Some files could not be restored.
    #[error("{count} of the workspace's files could not be restored, the first is {first}: {why}")]
    Incomplete {
        /// How many.
        count: usize,
        /// The first.
        first: String,
        /// Why.
        why: String,
    },
    /// No answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// A thread of ours ended badly, or the system gave no random bytes.
    #[error("{0}")]
    System(String),
}

impl SyncError {
    /// Whether a guard refused it (exit code 4).
    #[must_use]
    pub const fn is_guard(&self) -> bool {
        matches!(self, Self::Guard(_) | Self::State(StateError::Locked { .. }))
    }

    pub(super) fn format(error: &FormatError, what: &str, workspace: &str) -> Self {
        if error.is_newer() {
            Self::Newer(workspace.to_owned())
        } else {
            Self::Damaged { what: what.to_owned(), workspace: workspace.to_owned(), why: error.to_string() }
        }
    }
}
