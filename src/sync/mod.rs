//! Pull, commit, live tree, publish, import: the orchestration of the rooms below.
//!
//! What to do is computed by `plan`; here it is only done, in the order that loses nothing: contents before the names
//! that promise them, deletes last, head by one conditional write. This room alone knows all the others; it must not
//! know who called it (a person, a child of PID 1) nor how its results are printed.

mod base;
#[allow(dead_code, reason = "live workspaces are written and read by what comes next")]
mod catch_up;
mod commit;
mod commit_notes;
#[allow(dead_code, unused_imports, reason = "live workspaces are written and read by what comes next")]
mod contents;
mod control;
mod delete;
mod error;
mod first_live;
mod found;
mod history;
mod import;
mod inventory;
mod live_commit;
mod live_pull;
mod live_restore;
mod live_tree;
mod local;
#[allow(dead_code, reason = "commits of live workspaces are built on it")]
mod mirrors;
mod outgoing;
#[allow(dead_code, reason = "commits of live workspaces are built on it")]
mod packed;
#[allow(dead_code, reason = "live workspaces are written and read by what comes next")]
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
#[allow(dead_code, reason = "commits of live workspaces are built on it")]
mod snapshots;
mod sources;
#[cfg(test)]
mod test_bucket;
#[cfg(test)]
mod test_ground;
mod upload;
#[allow(dead_code, reason = "commits of live workspaces are built on it")]
mod watch;
mod which;

pub use commit::commit;
pub use control::Control;
pub use delete::{Removed, delete};
pub use error::SyncError;
pub use history::{History, Tagging, diff, snapshots, tag};
pub use inventory::{list, status};
pub use prune::prune;
pub use pull::{Pulled, download, pull};
pub use rewind::{extract, rewind, snapshot_named};
pub use session::{Setting, settle};
pub use upload::upload;
