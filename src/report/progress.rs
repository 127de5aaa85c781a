//! What a running sync tells whoever started it: how far it is, and the three moments that others wait for.

use serde::Serialize;

use super::Receipt;

/// What is going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Content comes from the bucket.
    Download,
    /// Content goes to the bucket.
    Upload,
    /// What is no longer wanted is removed.
    Cleanup,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Cleanup => "cleanup",
        }
    }
}

/// How far a phase is. `current` and `total` are bytes, of a cleanup objects.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// How much is done.
    pub current: u64,
    /// Of how much.
    pub total: u64,
    /// The same as a share, 0 to 100, one decimal.
    pub percentage: f64,
    /// What is at work on; null between files.
    pub current_file: Option<String>,
}

impl Progress {
    /// With the percentage worked out; nothing to do is all done.
    #[must_use]
    pub fn new(phase: Phase, current: u64, total: u64, current_file: Option<String>) -> Self {
        let percentage = if total == 0 {
            100.0
        } else {
            #[allow(clippy::cast_precision_loss, reason = "a percentage with one decimal")]
            let share = current.min(total) as f64 / total as f64;
            (share * 1000.0).floor() / 10.0
        };
        Self { phase, current, total, percentage, current_file }
    }
}

/// Who listens to a running sync. Called from any thread and as often as it pleases the caller: a listener returns at
/// once and thins out by itself.
pub trait Events: Send + Sync {
    /// Some way further.
    fn progress(&self, progress: Progress);
    /// The restore has succeeded.
    fn ready(&self);
    /// The commit is durable; the catch-up goes on.
    fn durable(&self, receipt: &Receipt);
    /// The time is nearly over, and this is not stored: should there be no other receipt.
    fn late(&self, _: &Receipt) {}
}

/// Nobody listens.
#[derive(Clone, Copy, Default, Debug)]
pub struct Unheard;

impl Events for Unheard {
    fn progress(&self, _: Progress) {}
    fn ready(&self) {}
    fn durable(&self, _: &Receipt) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_hundred_percent() {
        let percentage = |current, total| Progress::new(Phase::Upload, current, total, None).percentage;
        assert_eq!(percentage(0, 0), 100.0);
        assert_eq!(percentage(9_999, 10_000), 99.9);
        assert_eq!(percentage(1, 3), 33.3);
        assert_eq!(percentage(5, 4), 100.0);
    }

    #[test]
    fn its_json_has_every_key() {
        let json = serde_json::to_string(&Progress::new(Phase::Download, 1, 2, None)).unwrap();
        assert_eq!(json, r#"{"phase":"download","current":1,"total":2,"percentage":50.0,"current_file":null}"#);
    }
}
