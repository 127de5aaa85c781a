//! What users and scripts read: receipt, summary, status, proof line, progress, exit codes. Types and texts, no I/O.
//!
//! The JSON shapes are a contract: every key is always present, null where it does not apply. Keys may be added.

mod answers;
mod exit;
mod history;
mod line;
mod number;
mod progress;
mod proof;
mod receipt;
mod status;

pub use answers::{Check, Diagnosis, Explained, Health, State, WorkspaceItem, workspace_table};
pub use exit::Exit;
pub use history::{PathChange, Pruned, Rewound, SnapshotItem, Tagged, snapshot_table};
pub use line::{Level, command_line, json_line, log_line};
pub use number::{bytes, counted, grouped, parse_timestamp, rounded, seconds, timestamp};
pub use progress::{Events, Phase, Progress, Unheard};
pub use proof::{Proof, proof_line};
pub use receipt::{
    Conflict, LONGEST_LIST, LiveTreeState, NotDeleted, NotStored, NotStoredReason, Receipt, Refused, Restored,
};
pub use status::{Change, ChangeKind, Ignored, Status};
