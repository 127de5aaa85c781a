//! PID 1's own log: small, and never in the way.
//!
//! A full pipe must not stop PID 1, so it never waits for room. A line has at most 4 KiB, which a pipe takes whole or not
//! at all; what it does not take is dropped and counted.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use super::clock;
use crate::{
    config::{LogFormat, LogLevel},
    sys::stderr::Stderr,
};

/// `PIPE_BUF`: up to here a write to a pipe is whole or nothing.
const LINE: usize = 4096;

/// The log of PID 1.
pub(super) struct Log {
    level: LogLevel,
    format: LogFormat,
    out: Stderr,
    dropped: u64,
}

impl Log {
    pub(super) fn new(level: LogLevel, format: LogFormat) -> Self {
        Self { level, format, out: Stderr::Unopened, dropped: 0 }
    }

    pub(super) fn error(&mut self, message: impl Display) {
        self.say(LogLevel::Error, &message);
    }

    pub(super) fn warn(&mut self, message: impl Display) {
        self.say(LogLevel::Warn, &message);
    }

    pub(super) fn info(&mut self, message: impl Display) {
        self.say(LogLevel::Info, &message);
    }

    pub(super) fn debug(&mut self, message: impl Display) {
        self.say(LogLevel::Debug, &message);
    }

    /// The last line: in `json` format the summary itself as one object, in `text` its words.
    pub(super) fn summary(&mut self, json: &str, words: &str, level: LogLevel) {
        match self.format {
            LogFormat::Json => self.write(&format!("{json}\n")),
            LogFormat::Text => self.say(level, &words),
        }
    }

    /// How long a line of the log may be.
    pub(super) const fn longest() -> usize {
        LINE - 1
    }

    fn say(&mut self, level: LogLevel, message: &dyn Display) {
        if level > self.level {
            return;
        }
        if self.dropped > 0 {
            let lost = format!("{} lines of the log were dropped because stderr did not take them", self.dropped);
            let line = self.line(LogLevel::Warn, &lost);
            let dropped = std::mem::take(&mut self.dropped);
            self.write(&line);
            if self.dropped > 0 {
                self.dropped = dropped;
            }
        }
        let line = self.line(level, &message.to_string());
        self.write(&line);
    }

    fn line(&self, level: LogLevel, message: &str) -> String {
        let word = match level {
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        };
        let now = clock::now();
        match self.format {
            LogFormat::Text => {
                let mut line = format!("{now} {word:>5} ");
                for letter in message.chars() {
                    // A file name must not be able to begin a line of its own or to steer a terminal.
                    if letter.is_control() {
                        let _ = write!(line, "{}", letter.escape_default());
                    } else {
                        line.push(letter);
                    }
                }
                cut(&mut line, LINE - 1);
                line.push('\n');
                line
            }
            LogFormat::Json => {
                let mut message = message.to_owned();
                loop {
                    let text = serde_json::to_string(&message).unwrap_or_default();
                    let line = format!("{{\"timestamp\":\"{now}\",\"level\":\"{word}\",\"message\":{text}}}\n");
                    if line.len() <= LINE {
                        return line;
                    }
                    // Escapes make it longer, six times at most; half is enough sooner or later.
                    let half = message.len() / 2;
                    cut(&mut message, half);
                }
            }
        }
    }

    fn write(&mut self, line: &str) {
        let written = self.out.take(line.as_bytes(), Duration::ZERO);
        if !written {
            self.dropped += 1;
        }
    }
}

/// Cuts `text` to `bytes`, with an ellipsis.
fn cut(text: &mut String, bytes: usize) {
    if text.len() <= bytes {
        return;
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_at_most_four_kibibytes_and_stays_text_and_json() {
        for message in ["é".repeat(5000), "\u{1}".repeat(5000), "x".repeat(5000)] {
            let line = Log::new(LogLevel::Info, LogFormat::Text).line(LogLevel::Info, &message);
            assert!(line.len() <= LINE && line.ends_with("…\n"));
            let line = Log::new(LogLevel::Info, LogFormat::Json).line(LogLevel::Info, &message);
            assert!(line.len() <= LINE);
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        }
    }

    #[test]
    fn a_file_name_cannot_begin_a_line_of_the_log() {
        let line = Log::new(LogLevel::Info, LogFormat::Text).line(LogLevel::Info, "a\nb\u{1b}[2J");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\u{1b}'));
    }
}
