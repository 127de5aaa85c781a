//! The pure rooms of stopover, as they are, and what holds for any bytes.

pub mod checks;
#[path = "../../src/rows/mod.rs"]
pub mod rows;
#[path = "../../src/snapshot/mod.rs"]
pub mod snapshot;
