//! Which snapshots a head goes on naming, by what is configured. Every write of a live head asks; what is not named
//! any more stays in the bucket until a prune.

use jiff::Timestamp;

use crate::{
    config::Config,
    plan::{Entry, Retention, kept},
    snapshot::Head,
};

/// Forgets the kept snapshots that `STOPOVER_KEEP_*` does not want. The present one, tagged ones and whatever was head
/// within the last hour stay. `now` is the server's time, as the head's.
pub(super) fn retain(head: &mut Head, config: &Config, now: Timestamp) {
    let policy = Retention {
        last: config.keep.last.into(),
        within_seconds: config.keep.within.as_secs(),
        daily: config.keep.daily.into(),
    };
    let history: Vec<Entry> = head
        .history
        .iter()
        .map(|entry| Entry { time: entry.time.as_second(), tagged: !entry.tags.is_empty() })
        .collect();
    let mut keep = kept(&history, policy, now.as_second()).into_iter();
    // What nobody decided on stays.
    head.history.retain(|_| keep.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::{Call, Need, Sources, load},
        snapshot::{Counts, SnapshotId, WriteId, Written},
    };

    fn config(settings: &[(&str, &str)]) -> Config {
        let sources = Sources {
            environment: settings.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            flags: Vec::new(),
            secrets: Vec::new(),
            working_directory: "/".into(),
        };
        load(&sources, &Need::Nothing, Call::default()).unwrap().config
    }

    /// A head whose snapshots were committed so many hours ago, the first of them tagged.
    fn head(now: Timestamp, hours: &[u64]) -> Head {
        let mut head: Option<Head> = None;
        for (number, ago) in (1..).zip(hours) {
            let time = now - Duration::from_secs(ago * 3600);
            let written = Written { write_id: WriteId::new([number; 6]), writer: String::new(), time };
            let id = SnapshotId::new(number.into(), [number; 6]);
            let next = Head::live_over(head.as_ref(), id, None, Counts::default(), [0; 6], written.clone());
            head = Some(if number == 1 { next.tagged(&id, "first", written).unwrap() } else { next });
        }
        head.unwrap()
    }

    #[test]
    fn what_is_configured_is_kept_and_the_tagged_the_last_hour_and_the_present_one() {
        let now: Timestamp = "2026-01-20T12:00:00Z".parse().unwrap();
        let kept = |settings: &[(&str, &str)], hours: &[u64]| {
            let mut head = head(now, hours);
            retain(&mut head, &config(settings), now);
            head.check().unwrap();
            head.history.iter().map(|entry| entry.snapshot.seq()).collect::<Vec<_>>()
        };
        let hours = [100, 60, 50, 30, 10, 3, 0, 0];
        let none = [("STOPOVER_KEEP_LAST", "0"), ("STOPOVER_KEEP_WITHIN", "0s"), ("STOPOVER_KEEP_DAILY", "0")];
        // The sixth was head until the seventh came, within the hour.
        assert_eq!(kept(&none, &hours), [1, 6, 7, 8]);
        let few = |name, value| none.map(|(known, zero)| (known, if known == name { value } else { zero }));
        assert_eq!(kept(&few("STOPOVER_KEEP_LAST", "4"), &hours), [1, 5, 6, 7, 8]);
        assert_eq!(kept(&few("STOPOVER_KEEP_WITHIN", "31h"), &hours), [1, 4, 5, 6, 7, 8]);
        assert_eq!(kept(&few("STOPOVER_KEEP_DAILY", "3"), &hours), [1, 3, 4, 6, 7, 8]);
        assert_eq!(kept(&[], &hours), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
