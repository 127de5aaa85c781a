//! Pull, commit, live tree, publish, import: the orchestration of the rooms below.
//!
//! What to do is computed by `plan`; here it is only done, in the order that loses nothing: contents before the names
//! that promise them, deletes last, head by one conditional write. This room alone knows all the others; it must not
//! know who called it (a person, a child of PID 1) nor how its results are printed.

mod base;
mod error;
mod import;
mod publish;
mod pull;
mod remote;
mod restore;
mod session;

pub use error::SyncError;
pub use pull::{Pulled, download, pull};
pub use session::Setting;
