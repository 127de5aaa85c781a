//! Numbers, sizes and times as people read them, and times as scripts do.

use std::time::SystemTime;

/// `10,214`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `10,214 files`, `1 file`.
#[must_use]
pub fn counted(number: u64, singular: &str, plural: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { singular } else { plural })
}

/// `98 MB`, `1.2 GB`, `512 B`: decimal units, two digits below ten.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1000 {
        return format!("{number} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut scaled = number as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to 1000 of a unit is 1 of the next.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(scaled < 9.95);
    format!("{scaled:.decimals$} {}", UNITS[unit])
}

/// `0.8 s`, `95 s`, `12 min 5 s`.
#[must_use]
pub fn seconds(number: f64) -> String {
    if !number.is_finite() || number < 0.0 {
        return "0.0 s".to_owned();
    }
    if number < 9.95 {
        return format!("{number:.1} s");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite and not negative")]
    let whole = number.round() as u64;
    if whole < 120 {
        return format!("{whole} s");
    }
    match (whole / 3600, whole % 3600 / 60, whole % 60) {
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// RFC 3339, UTC, milliseconds. A clock outside of the calendar gives its nearest end.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    let stamp = jiff::Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{stamp:.3}")
}

/// What [`timestamp`] wrote.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

/// Three decimals: what a receipt has.
#[must_use]
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (10_214, "10,214"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(counted(1, "file", "files"), "1 file");
    }

    #[test]
    fn sizes_have_two_digits_at_most_below_ten() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_960, "10 kB"),
            (98_000_000, "98 MB"),
            (999_600, "1.0 MB"),
            (1_234_000_000, "1.2 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn durations_are_short() {
        for (number, text) in [
            (0.04, "0.0 s"),
            (0.84, "0.8 s"),
            (9.97, "10 s"),
            (95.2, "95 s"),
            (300.0, "5 min"),
            (725.0, "12 min 5 s"),
            (7_260.0, "2 h 1 min"),
            (f64::NAN, "0.0 s"),
        ] {
            assert_eq!(seconds(number), text, "{number}");
        }
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042);
        assert_eq!(timestamp(time), "2023-11-14T22:13:20.042Z");
        assert_eq!(parse_timestamp(&timestamp(time)), Some(time));
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
