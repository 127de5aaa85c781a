//! Pure decisions over tables of rows: what a listing means, what the merge of three tables is, what a restore writes
//! and what a commit sends.
//!
//! Nothing here is ever deleted on the strength of what was not seen: each function says which evidence it takes. All
//! of them are total, for any tables.
//!
//! This room is pure: it must not know of disks, networks, clocks or formats.

mod changes;
mod copies;
mod imports;
mod merge;
mod presence;
mod restore;
mod upload;

#[cfg(test)]
mod tables;

pub use changes::{Change, ChangeKind, changes};
pub use imports::{Import, ImportOptions, Object, Refusal, RefusedKey, Unread, import};
pub use merge::{Base, COPIES_LIMIT, Copy, Merged, Whose, merge3, merge3_plain};
pub use presence::{Seen, TreeRows, adopt_owners, ours_for_merge, theirs_over};
pub use restore::{Clear, Fetch, Meta, Owners, RestoreOptions, RestorePlan, restore_plan};
pub use upload::{Delete, Order, Put, SMALL_FILE, UploadPlan, tombstones, upload_plan};

use crate::rows::{ETag, RelPath};

/// Where the content of a file lies that is to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// In the directory, at this path.
    Local(RelPath),
    /// In the bucket, as the object at this path; of this version, where one is known.
    Object {
        /// The path of the object.
        path: RelPath,
        /// Its version.
        etag: Option<ETag>,
    },
}
