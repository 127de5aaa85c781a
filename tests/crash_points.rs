//! The client is killed at every request of everything that writes: the bucket is whole, before the write of head it is
//! the snapshot before, from then on the next, and the next commit goes on as if nothing had been.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod crash;
mod support;

use crash::{Depth, SCENARIOS};

/// What the table in docs/durability.md says is what happens. `STOPOVER_UPDATE_DOCS=1` writes it.
#[test]
fn a_kill_at_any_request_leaves_the_snapshot_before_or_the_next() {
    crash::run(SCENARIOS, Depth::Thinned);
}
