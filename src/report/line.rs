//! One line of the log, as PID 1, its children and the command line all write it.

use std::{fmt::Write as _, time::SystemTime};

use super::timestamp;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may surprise.
    Warn,
    /// A phase.
    Info,
    /// A decision.
    Debug,
    /// A request.
    Trace,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A line for people: `stopover: warning: …`, its newline included. Control characters in `message`, which may be part
/// of a name somebody else chose, are escaped: a log line is one line, and moves no cursor.
#[must_use]
pub fn text_line(level: Level, message: &str) -> String {
    let mut line = String::with_capacity(message.len() + 24);
    line.push_str("stopover: ");
    if level != Level::Info {
        line.push_str(level.word());
        line.push_str(": ");
    }
    for character in message.chars() {
        if character.is_control() {
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// The same as one JSON object: `{time, level, message}`, its newline included.
#[must_use]
pub fn json_line(time: SystemTime, level: Level, message: &str) -> String {
    let mut line = String::with_capacity(message.len() + 80);
    let _ = write!(line, r#"{{"time":"{}","level":"{}","message":"#, timestamp(time), level.word());
    push_json_string(&mut line, message);
    line.push_str("}\n");
    line
}

/// `text` as a JSON string.
pub(super) fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if (character as u32) < 0x20 || character as u32 == 0x7f => {
                let _ = write!(out, "\\u{:04x}", character as u32);
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_a_newline_makes_no_second_line() {
        assert_eq!(text_line(Level::Warn, "left \"a\nb\x1b[2J\""), "stopover: warning: left \"a\\nb\\u{1b}[2J\"\n");
        assert_eq!(text_line(Level::Info, "ready"), "stopover: ready\n");
    }

    proptest! {
        #[test]
        fn every_text_is_a_json_string(text: String) {
            let mut out = String::new();
            push_json_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn every_line_is_one_object(message: String) {
            let line = json_line(SystemTime::UNIX_EPOCH, Level::Error, &message);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["message"].as_str(), Some(message.as_str()));
            prop_assert_eq!(value["time"].as_str(), Some("1970-01-01T00:00:00.000Z"));
        }
    }
}
