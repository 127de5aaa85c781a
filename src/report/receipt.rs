//! The receipt of a commit and the report of a restore.

use serde::{Deserialize, Serialize};

/// How far the live tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveTreeState {
    /// It is what the snapshot says.
    Current,
    /// The next commit goes on with it.
    Behind,
    /// There is none.
    Off,
}

/// Why a file's scanned content is not in the committed tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotStoredReason {
    /// It could not be read.
    Unreadable,
    /// It changed each time it was read.
    Changing,
    /// Time ran out.
    Deadline,
    /// The server does not take such a key.
    NameRefused,
    /// It is larger than the server takes.
    TooLarge,
    /// The server denied it.
    Denied,
}

/// A file that is not in the committed tree as it was scanned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotStored {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: NotStoredReason,
}

/// A removed file whose object could not be deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotDeleted {
    /// Its path.
    pub path: String,
    /// Why, `denied` so far.
    pub reason: String,
}

/// A path that two sides changed differently.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// The path, which has our content.
    pub path: String,
    /// The copy, which has theirs.
    pub copy: String,
}

/// A key that a restore does not take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The key below the workspace.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What a commit did. Lists hold at most 1,000 entries, `omitted` counts the rest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The snapshot; null where none was made and none is known.
    pub snapshot: Option<String>,
    /// Whether what was scanned is safe now.
    pub durable: bool,
    /// Whether some scanned contents are not in the tree.
    pub partial: bool,
    /// Whether no process of the app lived during the scan.
    pub quiet: bool,
    /// Files added or modified.
    pub files_changed: u64,
    /// Files removed.
    pub files_deleted: u64,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// Requests, retries included.
    pub requests: u64,
    /// Wall time.
    pub seconds: f64,
    /// The live tree.
    pub live_tree: LiveTreeState,
    /// What is not stored.
    pub not_stored: Vec<NotStored>,
    /// What is not deleted.
    pub not_deleted: Vec<NotDeleted>,
    /// Conflicts of this commit.
    pub conflicts: Vec<Conflict>,
    /// Entries cut from the lists above.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// What failed, in words; null where nothing did.
    pub error: Option<String>,
}

/// What a restore did: `restore` of the summary.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// The snapshot; null for a workspace without one.
    pub snapshot: Option<String>,
    /// Files of the workspace.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests, retries included.
    pub requests: u64,
    /// Wall time.
    pub seconds: f64,
    /// Keys not taken.
    pub refused: Vec<Refused>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
