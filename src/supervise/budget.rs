//! How the seconds between TERM and KILL are divided. Pure.

use std::time::Duration;

/// What the commit gets at least, where there is that much.
const COMMIT_AT_LEAST: Duration = Duration::from_millis(2500);

/// The shares of one stop, as offsets from the moment the signal was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Budget {
    /// When the app is killed, so that the data can be saved.
    pub(super) app: Duration,
    /// How long what outlives the app may take after its end.
    pub(super) grace: Duration,
    /// When everything must be over: T. The rest of the stop timeout is for the summary and the exit itself.
    pub(super) end: Duration,
}

impl Budget {
    /// Divides `stop_timeout`; `commits` are the times that the last commits took to their durable point.
    pub(super) fn new(stop_timeout: Duration, grace: Duration, commits: &[Duration]) -> Self {
        let margin = (stop_timeout / 20).clamp(Duration::from_millis(500), Duration::from_secs(2));
        let end = stop_timeout.saturating_sub(margin);
        let slowest = commits.iter().rev().take(5).max().copied().unwrap_or_default();
        let commit =
            (slowest.saturating_mul(3) / 2).saturating_add(Duration::from_secs(1)).max(COMMIT_AT_LEAST).min(end / 2);
        let grace = grace.min(end / 8);
        Self { app: end.saturating_sub(commit).saturating_sub(grace), grace, end }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_table_of_the_design() {
        // stop timeout, grace, slowest commit -> app, grace, end
        for (stop, grace, commit, app, rest, end) in [
            (10_000, 3_000, 0, 5_812, 1_187, 9_500),
            (30_000, 3_000, 0, 23_000, 3_000, 28_500),
            (120_000, 3_000, 0, 112_500, 3_000, 118_000),
            (10_000, 3_000, 2_000, 4_312, 1_187, 9_500),
            (10_000, 3_000, 60_000, 3_562, 1_187, 9_500),
            (30_000, 500, 4_000, 21_000, 500, 28_500),
            (1_000, 3_000, 0, 187, 62, 500),
            (300, 3_000, 0, 0, 0, 0),
            (0, 0, 0, 0, 0, 0),
        ] {
            let budget = Budget::new(millis(stop), millis(grace), &[millis(commit)]);
            let found = (budget.app.as_millis(), budget.grace.as_millis(), budget.end.as_millis());
            assert_eq!(found, (app, rest, end), "stop timeout {stop} ms, grace {grace} ms, commit {commit} ms");
        }
    }

    #[test]
    fn only_the_last_five_commits_count() {
        let slow = [millis(60_000), millis(1), millis(1), millis(1), millis(1), millis(1)];
        assert_eq!(Budget::new(millis(10_000), millis(0), &slow), Budget::new(millis(10_000), millis(0), &[]));
    }

    proptest! {
        #[test]
        fn the_shares_never_exceed_the_whole(stop in 0_u64..1_000_000, grace in 0_u64..100_000, commit in 0_u64..10_000_000) {
            let budget = Budget::new(millis(stop), millis(grace), &[millis(commit)]);
            prop_assert!(budget.app + budget.grace <= budget.end);
            prop_assert!(budget.end <= millis(stop));
            prop_assert!(budget.grace <= budget.end / 8);
            // Half of the time at least is never taken from the app by slow commits alone.
            prop_assert!(budget.app + budget.grace + millis(1) >= budget.end / 2);
        }
    }
}
