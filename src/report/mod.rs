//! What users and scripts read: receipt, summary, status, proof line, progress, exit codes. Types and texts, no I/O.
//!
//! The JSON shapes are a contract: every key is always present, null where it does not apply. Keys may be added.

mod exit;
mod progress;
mod receipt;

pub use exit::Exit;
pub use progress::{Events, Phase, Progress, Unheard};
pub use receipt::{Conflict, LiveTreeState, NotDeleted, NotStored, NotStoredReason, Receipt, Refused, Restored};
