//! The client is killed at every request of everything that writes: the bucket is whole, before the write of head it is
//! the snapshot before, from then on the next, and the next commit goes on as if nothing had been.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod crash;
mod support;

use crash::{Depth, LARGE, MEETINGS, PULLS, Place, SCENARIOS, meet, pull, run};

/// Of each kind of request that writes the first and the last. What the table in docs/durability.md says is what happens;
/// `STOPOVER_UPDATE_DOCS=1` writes it.
#[test]
fn a_kill_at_any_request_leaves_the_snapshot_before_or_the_next() {
    run(SCENARIOS, Place::Kills, Depth::Thinned).is_in_the_docs();
}

#[test]
#[ignore = "takes minutes: a thousand kills"]
fn a_kill_at_every_single_request_leaves_the_snapshot_before_or_the_next() {
    run(SCENARIOS, Place::Kills, Depth::Full).is_in_the_docs();
}

#[test]
#[ignore = "takes minutes: thousands of requests at each kill"]
fn a_kill_among_thousands_or_between_parts_leaves_the_snapshot_before_or_the_next() {
    run(LARGE, Place::LargeKills, Depth::Sampled).is_in_the_docs();
}

/// Somewhere in each, and at its last request.
#[test]
fn a_pull_that_is_killed_loses_nothing() {
    pull(PULLS, Depth::Thinned).is_part_of_the_docs();
}

#[test]
#[ignore = "takes minutes"]
fn a_pull_that_is_killed_at_every_single_request_loses_nothing() {
    pull(PULLS, Depth::Full).is_in_the_docs();
}

/// A few of the next one's.
#[test]
fn two_that_meet_have_what_both_made() {
    meet(&MEETINGS[2..3], Depth::Thinned);
}

#[test]
#[ignore = "takes minutes: hundreds of meetings"]
fn two_that_meet_anywhere_have_what_both_made() {
    meet(MEETINGS, depth()).is_in_the_docs();
}

fn depth() -> Depth {
    if std::env::var_os("STOPOVER_TEST_SAMPLED").is_some() { Depth::Sampled } else { Depth::Full }
}
