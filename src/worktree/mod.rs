//! The local side: handles, scan, ignore rules, index, safe writes, who maps what. Knows disks, no network.
//!
//! Every access goes through a handle of the workspace's directory and never through a symbolic link, so that nothing
//! an app does to its tree while stopover works can lead a read or a write out of it. A scan turns the directory into
//! rows; an [`Index`] of what earlier scans hashed spares it the reading; [`Rules`] say what is not stored; a
//! [`Writer`] puts rows back without ever showing half a file or replacing one it was not meant to.
//!
//! This room must not know of S3, of snapshots or of what is decided with its rows.

mod directory;
mod error;
mod index;
mod mapped;
mod rules;
mod scan;
mod stat;
mod writer;

pub use directory::Directory;
pub use error::{WorktreeError, WriteError};
pub use index::{Index, IndexRow};
pub use rules::{BUILT_IN, RuleOptions, Rules, Verdict, explain, is_rule_input};
pub use scan::{IgnoredRule, Scan, ScanOptions, scan};
pub use stat::{Presence, Stat};
pub use writer::{Expected, Owner, Staged, WriteOptions, Writer, may_chown};
