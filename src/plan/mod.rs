//! Pure decisions over tables of rows: what a listing means, what the merge of three tables is, what a restore writes
//! and what a commit sends.
//!
//! Nothing here is ever deleted on the strength of what was not seen: each function says which evidence it takes. All
//! of them are total, for any tables.
//!
//! This room is pure: it must not know of disks, networks, clocks or formats.

mod ancestry;
mod changes;
mod content;
mod copies;
mod deadline;
mod imports;
mod live;
mod manifests;
mod merge;
mod outside;
mod presence;
mod prune;
mod restore;
mod retention;
mod rewind;
mod taken;
mod unchanged;
mod upload;

#[cfg(test)]
mod tables;

pub use ancestry::{Ancestry, Cas, Numbered, Past, Present, after_cas, base, descends, is_gone, recent};
pub use changes::{Change, ChangeKind, changes};
pub use content::{PackUse, Uploads, packs_to_renew};
pub use deadline::{Groups, Stored, Unstored, database_of, reserve_for_head, stored_part, units};
pub use imports::{Import, ImportOptions, Object, Refusal, RefusedKey, Unread, import};
pub use live::{
    CatchUp, Content, Ended, Explained, Held, Met, Mirror, Request, Step, There, catch_up, met, next_mirror,
};
pub use merge::{Base, COPIES_LIMIT, Copy, Merged, Whose, merge3, merge3_plain};
pub use outside::{Contents, Outside, Wanted, outside, wanted};
pub use presence::{Seen, TreeRows, adopt_owners, ours_for_merge, take_unseen, theirs_over};
pub use prune::{COURTESY_SECONDS, Named, Need, roots, strays, sweep};
pub use restore::{Clear, Fetch, Meta, Owners, RestoreOptions, RestorePlan, restore_plan};
pub use retention::{Entry, Retention, kept};
pub use rewind::{nowhere, rewound};
pub use taken::{TakenIn, add_taken_in, taken_in, unexplained, with_edits};
pub use unchanged::unchanged;
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
