//! Pull, commit, live tree, publish, import: the orchestration of the rooms below.
//!
//! What to do is computed by `plan`; here it is only done, in the order that loses nothing: contents before the names
//! that promise them, deletes last, head by one conditional write. This room alone knows all the others; it must not
//! know who called it (a person, a child of PID 1) nor how its results are printed.

mod base;
mod catch_up;
mod commit;
mod commit_notes;
#[allow(dead_code, unused_imports, reason = "catch-ups read large files with it")]
mod contents;
mod control;
mod delete;
mod error;
mod first_live;
mod found;
mod groups;
mod healing;
mod hidden;
mod history;
mod import;
mod inventory;
mod lacking;
mod laying;
mod live_commit;
mod live_pull;
mod live_restore;
mod live_tree;
mod live_upload;
mod local;
mod making;
mod mirrors;
mod outgoing;
mod packed;
mod packs;
mod past;
mod plain_commit;
mod prune;
mod publish;
mod pull;
mod remote;
mod restore;
mod retain;
mod rewind;
mod room;
mod session;
mod snapshots;
mod sources;
mod taken_in;
#[cfg(test)]
mod test_bucket;
#[cfg(test)]
mod test_ground;
mod tidy;
mod upload;
mod watch;
mod which;

pub use commit::{commit, look};
pub use control::Control;
pub use delete::{Removed, delete};
pub use error::SyncError;
pub use history::{History, Tagging, diff, snapshots, tag};
pub use inventory::{list, status};
pub use prune::prune;
pub use pull::{Pulled, download, pull};
pub use rewind::{extract, rewind, snapshot_named, unfinished_restores};
pub use session::{Setting, settle};
pub use upload::upload;
