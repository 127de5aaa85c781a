//! Formats of what lies below `.stopover/` in the bucket: head and tree. `docs/format.md` describes them for people.
//!
//! Decoders take hostile bytes: every length is bounded before it is used, nothing panics, and what a newer stopover
//! wrote is refused as such. Unknown keys are passed over, so that a format can grow without a new number.
//!
//! This room is pure: it must not know where the bytes come from or go to, nor what is decided with them.

mod error;
mod head;
mod id;
mod row;
mod tree;

pub use error::FormatError;
pub use head::{HEAD_FORMAT, HISTORY_LIMIT, Head, HeadState, HistoryEntry, LINEAGE_LIMIT, Written};
pub use id::{Gc, SnapshotId, WriteId};
pub use tree::{Limits, TREE_FORMAT, Tree, TreeHeader};

/// The key of head.json below the workspace's prefix.
pub const HEAD_KEY: &str = ".stopover/head.json";
