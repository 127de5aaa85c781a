//! Which snapshots are kept for users.

use std::collections::BTreeSet;

/// What the workspace was in the last hour can always be brought back.
const FLOOR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * 3600;

/// What is kept; each part keeps by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// So many of the last.
    pub last: u64,
    /// Those of so many last seconds.
    pub within_seconds: u64,
    /// The last of each of so many last days that have one (UTC).
    pub daily: u64,
}

/// A kept snapshot, as retention sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    /// Whether users gave it a name.
    pub tagged: bool,
}

/// Of `history`, oldest first, which entries are kept: one answer each. The last one, tagged ones and whatever was head
/// within the last hour always are, however many that makes. (What a head can hold at all is the format's business.)
#[must_use]
pub fn kept(history: &[Entry], policy: Retention, now: i64) -> Vec<bool> {
    let count = history.len();
    let within = now.saturating_sub(policy.within_seconds.try_into().unwrap_or(i64::MAX));
    let mut days = BTreeSet::new();
    let mut keep = vec![false; count];
    for (at, entry) in history.iter().enumerate().rev() {
        // It was head until the next one came.
        let until = history.get(at + 1).map(|next| next.time.max(entry.time));
        let floor = until.is_none_or(|until| until > now.saturating_sub(FLOOR_SECONDS));
        let last = (count - at) as u64 <= policy.last;
        let day = entry.time.div_euclid(DAY_SECONDS);
        let daily = (days.len() as u64) < policy.daily && days.insert(day);
        keep[at] = entry.tagged || floor || last || daily || entry.time > within;
    }
    keep
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_000 * DAY_SECONDS + 12 * 3600;
    const NONE: Retention = Retention { last: 0, within_seconds: 0, daily: 0 };

    fn at(hours: &[i64]) -> Vec<Entry> {
        hours.iter().map(|hours| Entry { time: NOW - hours * 3600, tagged: false }).collect()
    }

    fn hours_kept(hours: &[i64], policy: Retention) -> Vec<i64> {
        let kept = kept(&at(hours), policy, NOW);
        hours.iter().zip(kept).filter(|(_, kept)| *kept).map(|(hours, _)| *hours).collect()
    }

    #[test]
    fn each_part_keeps_by_itself() {
        let hours = [75, 60, 50, 40, 30, 20, 10, 5];
        assert_eq!(hours_kept(&hours, NONE), [5]);
        assert_eq!(hours_kept(&hours, Retention { last: 3, ..NONE }), [20, 10, 5]);
        assert_eq!(hours_kept(&hours, Retention { within_seconds: 31 * 3600, ..NONE }), [30, 20, 10, 5]);
        // Noon: today is 12 hours long.
        assert_eq!(hours_kept(&hours, Retention { daily: 3, ..NONE }), [40, 20, 5]);
    }

    #[test]
    fn what_was_head_within_the_hour_is_kept() {
        let history = [7200, 4000, 3000, 60].map(|ago| Entry { time: NOW - ago, tagged: false });
        assert_eq!(kept(&history, NONE, NOW), [false, true, true, true]);
    }

    #[test]
    fn tags_and_the_last_hour_stay_however_many_they_are() {
        let (tagged, busy) = (12_000_i64, 15_000_i64);
        let old = (0..tagged).map(|n| Entry { time: NOW - 40 * DAY_SECONDS + n, tagged: true });
        let young = (0..busy).map(|n| Entry { time: NOW - 3000 + n / 5, tagged: false });
        let history: Vec<Entry> = old.chain(young).collect();
        assert!(kept(&history, NONE, NOW).into_iter().all(|kept| kept));
    }

    proptest! {
        #[test]
        fn trimming_again_changes_nothing_and_the_last_and_the_tagged_stay(
            mut times in proptest::collection::vec((0..40i64 * DAY_SECONDS, any::<bool>()), 1..60),
            last in 0..5u64, within_seconds in 0..3 * DAY_SECONDS as u64, daily in 0..9u64)
        {
            times.sort();
            let history: Vec<Entry> = times.iter().map(|(ago, tagged)| Entry { time: NOW - 40 * DAY_SECONDS + ago, tagged: *tagged }).collect();
            let policy = Retention { last, within_seconds, daily };
            let first = kept(&history, policy, NOW);
            prop_assert!(*first.last().unwrap());
            prop_assert!(history.iter().zip(&first).all(|(entry, kept)| *kept || !entry.tagged));
            let rest: Vec<Entry> = history.iter().zip(&first).filter(|(_, kept)| **kept).map(|(entry, _)| *entry).collect();
            prop_assert!(kept(&rest, policy, NOW).iter().all(|kept| *kept));
        }
    }
}
