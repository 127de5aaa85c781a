//! Which snapshot people mean: by id or the begin of one, by number, tag or time. Pure; the one place for it.

use std::fmt;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use crate::{
    config::duration,
    snapshot::{Head, HistoryEntry, SnapshotId},
};

/// So many ids and tags are named in a message.
const NAMED: usize = 8;

/// What a text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// A snapshot that head names.
    Known(SnapshotId),
    /// An id that head does not name: perhaps another's commit that was overwritten, or one that was forgotten and is
    /// not swept yet.
    Unnamed(SnapshotId),
}

impl Which {
    pub(super) const fn id(&self) -> &SnapshotId {
        match self {
            Self::Known(id) | Self::Unnamed(id) => id,
        }
    }
}

/// The text means no snapshot; it says what there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Meaningless {
    why: String,
    there_is: String,
}

impl fmt::Display for Meaningless {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; {}", self.why, self.there_is)
    }
}

/// The snapshot that `text` means: `.` for the present one, a tag, a number, an id or the begin of one, or a time. A
/// time (RFC 3339, UTC where it does not say; a day, which is its end; `2h`, so long ago) means the newest snapshot
/// that is not younger. `now` is the server's time.
pub(super) fn which(head: &Head, text: &str, now: Timestamp) -> Result<Which, Meaningless> {
    let none = |why: String| Err(Meaningless { why, there_is: there_is(head) });
    let text = text.trim();
    if text == "." {
        return match head.snapshot {
            Some(id) => Ok(Which::Known(id)),
            None => none("there is no present snapshot".to_owned()),
        };
    }
    // A tag begins with a letter: it is never taken for anything else, nor anything else for it.
    if text.starts_with(char::is_alphabetic) {
        return match head.tag(text) {
            Some(entry) => Ok(Which::Known(entry.snapshot)),
            None => none(format!("no kept snapshot has the tag {text:?}")),
        };
    }
    if let Some(found) = by_number(head, text) {
        return match found[..] {
            [id] => Ok(Which::Known(id)),
            [] => match text.parse() {
                Ok(id) => Ok(Which::Unnamed(id)),
                Err(_) => none(format!("no kept snapshot is {text:?}")),
            },
            _ => none(format!("{text:?} is {}", listed(found.iter()))),
        };
    }
    let Some(until) = time(text, now) else {
        return none(format!(
            "{text:?} is no snapshot: it is an id, a number, a tag, a time such as 2026-01-02T15:04:05Z, a day such as \
             2026-01-02, or so long ago such as 2h"
        ));
    };
    match named(head).filter(|(_, time)| *time <= until).map(|(id, _)| id).last() {
        Some(id) => Ok(Which::Known(id)),
        None => none(format!("no kept snapshot is as old as {until:.3}")),
    }
}

/// What head names, oldest first, each with its time.
fn named(head: &Head) -> impl Iterator<Item = (SnapshotId, Timestamp)> {
    let present = head.snapshot.filter(|id| head.entry(id).is_none()).map(|id| (id, head.time));
    head.history.iter().map(|entry| (entry.snapshot, entry.time)).chain(present)
}

/// What a number, an id or the begin of one means; `None` where the text is nothing of the kind.
fn by_number(head: &Head, text: &str) -> Option<Vec<SnapshotId>> {
    let (number, digits) = match text.split_once('-') {
        Some((number, digits)) => (number, Some(digits)),
        None => (text, None),
    };
    let is_number = (1..=10).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = |digits: &str| digits.len() <= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_number || !digits.is_none_or(is_hex) {
        return None;
    }
    let digits = digits.unwrap_or_default().to_ascii_lowercase();
    let seq: u64 = number.parse().ok()?;
    let begins =
        |id: &SnapshotId| id.to_string().split_once('-').is_some_and(|(_, random)| random.starts_with(&digits));
    Some(named(head).map(|(id, _)| id).filter(|id| id.seq() == seq && begins(id)).collect())
}

/// The time that a text means.
fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = duration(text) {
        return now.checked_sub(ago).ok();
    }
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let at = |time: DateTime| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp());
    // A day first: a time of day that is not said would be midnight.
    if text.len() == "2026-01-02".len() {
        let day: Date = text.parse().ok()?;
        return at(day.at(23, 59, 59, 999_999_999));
    }
    at(text.parse().ok()?)
}

/// What could be meant, for people.
fn there_is(head: &Head) -> String {
    let Some(oldest) = head.history.first() else {
        return "the workspace has no history yet: the first checkpoint of a container begins it".to_owned();
    };
    let count = crate::report::counted(head.history.len() as u64, "snapshot is", "snapshots are");
    let mut text = format!("{count} kept, the oldest is {} of {:.3}", oldest.snapshot, oldest.time);
    let tags: Vec<&str> =
        head.history.iter().flat_map(|entry: &HistoryEntry| &entry.tags).map(String::as_str).collect();
    if !tags.is_empty() {
        text.push_str(", tags: ");
        text.push_str(&listed(tags.iter()));
    }
    text.push_str(" (`stopover snapshots` lists them)");
    text
}

/// `a, b or 3 more`.
fn listed<T: fmt::Display>(items: impl ExactSizeIterator<Item = T>) -> String {
    let more = items.len().saturating_sub(NAMED);
    let mut text: Vec<String> = items.take(NAMED).map(|item| item.to_string()).collect();
    if more > 0 {
        text.push(format!("and {more} more"));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Counts, WriteId, Written};

    fn head() -> Head {
        let written =
            |time: &str| Written { write_id: WriteId::new([0; 6]), writer: String::new(), time: time.parse().unwrap() };
        let mut head: Option<Head> = None;
        for (number, time) in [
            (1, "2026-01-01T10:00:00Z"),
            (2, "2026-01-02T10:00:00.500Z"),
            (3, "2026-01-02T23:00:00Z"),
            (41, "2026-01-04T10:00:00Z"),
        ] {
            let id = SnapshotId::new(number, [0xa0 + number as u8; 6]);
            let counts = Counts::default();
            head = Some(Head::live_over(head.as_ref(), id, None, counts, [0; 6], written(time)));
        }
        let head = head.unwrap();
        let id = head.history[1].snapshot;
        let mut head = head.tagged(&id, "release-1", written("2026-01-04T11:00:00Z")).unwrap();
        // 1 is forgotten, but an ancestor.
        head.history.remove(0);
        head
    }

    #[test]
    fn a_snapshot_is_meant_by_id_number_tag_or_time() {
        let (head, now) = (head(), "2026-01-04T12:00:00Z".parse().unwrap());
        for (text, number) in [
            (".", 41),
            ("41", 41),
            (" 41 ", 41),
            ("0000000041", 41),
            ("0000000002-a2a2a2a2a2a2", 2),
            ("0000000002-A2a2", 2),
            ("0000000002-", 2),
            ("2-a2", 2),
            ("release-1", 2),
            ("2026-01-02T10:00:00.500Z", 2),
            ("2026-01-02T22:59:59Z", 2),
            ("2026-01-03T00:00:00+01:00", 3),
            ("2026-01-03T00:00:00+02:00", 2),
            ("2026-01-02T10:00:01", 2),
            ("2026-01-02 10:01", 2),
            ("2026-01-02", 3),
            ("2026-01-03", 3),
            ("2026-01-04", 41),
            ("2030-01-01", 41),
            ("0s", 41),
            ("1h", 41),
            ("2h30m", 3),
            ("2d", 2),
        ] {
            assert_eq!(which(&head, text, now).map(|which| which.id().seq()), Ok(number), "{text}");
            assert!(matches!(which(&head, text, now), Ok(Which::Known(_))), "{text}");
        }
        for text in ["0000000001-a1a1a1a1a1a1", "0000000041-000000000000"] {
            assert_eq!(which(&head, text, now), Ok(Which::Unnamed(text.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_answered_by_what_there_is() {
        let (head, now) = (head(), "2026-01-04T12:00:00Z".parse().unwrap());
        for (text, why) in [
            ("1", "no kept snapshot is \"1\""),
            ("2-b", "no kept snapshot is \"2-b\""),
            ("release", "no kept snapshot has the tag \"release\""),
            ("2026-01-02T09:00:00Z", "no kept snapshot is as old as 2026-01-02T09:00:00.000Z"),
            ("2026-01-01", "no kept snapshot is as old as 2026-01-01T23:59:59.999Z"),
            ("3d", "no kept snapshot is as old as 2026-01-01T12:00:00.000Z"),
            ("2026-13-01", "is no snapshot: it is an id"),
            ("", "is no snapshot: it is an id"),
            ("-1h", "is no snapshot: it is an id"),
            ("2-xyz", "is no snapshot: it is an id"),
            ("99999999999", "is no snapshot: it is an id"),
        ] {
            let said = which(&head, text, now).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
            assert!(said.contains("3 snapshots are kept, the oldest is 0000000002-a2a2a2a2a2a2"), "{text}: {said}");
            assert!(said.contains("tags: release-1"), "{text}: {said}");
        }
        let mut empty = head;
        empty.history.clear();
        assert!(which(&empty, "x", now).unwrap_err().to_string().contains("no history yet"));
    }
}
