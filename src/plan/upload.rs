//! What a commit does to the live tree.

use super::{Merged, Source};
use crate::rows::{ETag, RelPath, Row, Rows};

/// Files up to this size go before larger ones when time is short.
pub const SMALL_FILE: u64 = 1 << 20;

/// In which order files go up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// By path.
    #[default]
    ByPath,
    /// A deadline looms: those up to [`SMALL_FILE`], newest first, then large ones, newest first.
    NewestFirst,
}

/// Writes an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Its path.
    pub path: RelPath,
    /// The row it should hold.
    pub row: Row,
    /// The version that is to be replaced; `None`: there must be none.
    pub expected: Option<ETag>,
    /// Where the content is.
    pub from: Source,
}

/// Deletes an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// Its path.
    pub path: RelPath,
    /// The version that is to be deleted, and no other.
    pub expected: ETag,
}

/// What a commit does to the live tree: field after field. Within one the order is advice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UploadPlan {
    /// Copies of theirs: they are made of the objects that later steps overwrite or delete.
    pub copies: Vec<Put>,
    /// Deletes where a directory takes the place of a file, or a file that of a directory.
    pub deletes_first: Vec<Delete>,
    /// Ours.
    pub puts: Vec<Put>,
    /// All other deletes.
    pub deletes: Vec<Delete>,
}

impl UploadPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.deletes_first.is_empty() && self.puts.is_empty() && self.deletes.is_empty()
    }
}

/// Plans the requests that turn the live tree of `theirs` (each row with its ETag) into that of `result`.
#[must_use]
pub fn upload_plan(_theirs: &Rows, _result: &Merged, _order: Order) -> UploadPlan {
    UploadPlan::default()
}
