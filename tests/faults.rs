//! Every fault that the front can make, at each kind of request of everything that talks to the bucket: the command
//! succeeds or says honestly that it did not, the bucket holds every invariant, nothing that was promised is missing, a
//! pull gives what was promised, and without the fault the next command goes on as if nothing had been.
//!
//! Kills are in tests/crash_points.rs; here the client lives on. Servers that misbehave all the time are in
//! tests/misbehaving.rs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(unreachable_pub, reason = "a module of one test")]
#[path = "crash/disk.rs"]
mod disk;
#[path = "faults/mod.rs"]
mod machine;
mod support;

use machine::{Depth, sweep};

/// Each fault once at each kind of request of each thing that is done, where it matters.
#[test]
fn a_fault_at_any_kind_of_request_loses_nothing_and_is_in_nobodys_way() {
    sweep(Depth::Thinned);
}

#[test]
#[ignore = "takes half an hour: each fault at each single request, and for good at each kind"]
fn a_fault_at_any_single_request_loses_nothing_and_is_in_nobodys_way() {
    sweep(Depth::Full);
}
