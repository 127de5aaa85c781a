//! One line of the log, as the children of PID 1 and the command line write it. PID 1's own lines look the same.

use std::{fmt::Write as _, time::SystemTime};

use serde::Serialize;

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
    /// The word for it in a log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// What a command says to whoever called it: `stopover: warning: …`, its newline included.
#[must_use]
pub fn command_line(level: Level, message: &str) -> String {
    let prefix = match level {
        Level::Error => "stopover: error: ",
        Level::Warn => "stopover: warning: ",
        Level::Info => "stopover: ",
        Level::Debug => "stopover: debug: ",
        Level::Trace => "stopover: trace: ",
    };
    let mut line = prefix.to_owned();
    push_on_one_line(&mut line, message);
    line
}

/// A line of a container's log: time, level, message, its newline included.
#[must_use]
pub fn log_line(time: SystemTime, level: Level, message: &str) -> String {
    let mut line = format!("{} {:>5} ", timestamp(time), level.word());
    push_on_one_line(&mut line, message);
    line
}

/// The same as one JSON object: `{timestamp, level, message}`, its newline included.
#[must_use]
pub fn json_line(time: SystemTime, level: Level, message: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        level: &'static str,
        message: &'a str,
    }
    let line = Line { timestamp: timestamp(time), level: level.word(), message };
    // Three texts are always JSON.
    let mut line = serde_json::to_string(&line).unwrap_or_default();
    line.push('\n');
    line
}

/// Control characters in `message`, which may be part of a name somebody else chose, are escaped: a log line is one
/// line, and moves no cursor.
fn push_on_one_line(line: &mut String, message: &str) {
    for character in message.chars() {
        if character.is_control() {
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_a_newline_makes_no_second_line() {
        let message = "left \"a\nb\x1b[2J\"";
        assert_eq!(command_line(Level::Warn, message), "stopover: warning: left \"a\\nb\\u{1b}[2J\"\n");
        assert_eq!(log_line(SystemTime::UNIX_EPOCH, Level::Info, "ready"), "1970-01-01T00:00:00.000Z  INFO ready\n");
    }

    proptest! {
        #[test]
        fn every_line_is_one_object(message: String) {
            let line = json_line(SystemTime::UNIX_EPOCH, Level::Error, &message);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["message"].as_str(), Some(message.as_str()));
            prop_assert_eq!(value["timestamp"].as_str(), Some("1970-01-01T00:00:00.000Z"));
        }
    }
}
