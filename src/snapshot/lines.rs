//! Zstd JSON lines: what trees and mirrors are made of.
//!
//! The first line is a header with the number of the format, and each line has its end. Reading is a stream whose every
//! length is bounded before it is used.

use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{FormatError, Limits};

/// zstd's level: lines compress some 15 to 1, and level 3 costs little more than 1.
const LEVEL: i32 = 3;
/// The largest window that is inflated (8 MiB); what this version writes needs 2 MiB.
const WINDOW_LOG: u32 = 23;
/// How much is gathered before zstd gets it: it is slow with crumbs.
const BUFFER_BYTES: usize = 64 << 10;

/// What is read or written, in the words of messages.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) line: &'static str,
    /// The newest number of the format known here.
    pub(super) format: u64,
}

impl Subject {
    pub(super) fn unreadable(&self, error: std::io::Error) -> FormatError {
        FormatError::Read { what: self.name, error }
    }

    pub(super) fn unwritable(&self, error: std::io::Error) -> FormatError {
        FormatError::Write { what: self.name, error }
    }

    pub(super) fn malformed(&self, line: u64, why: impl Into<String>) -> FormatError {
        FormatError::Malformed { what: self.name, line, why: why.into() }
    }
}

/// Writes lines.
pub(super) struct LineWriter<W: Write> {
    to: zstd::Encoder<'static, W>,
    buffer: Vec<u8>,
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(to: W) -> std::io::Result<Self> {
        let mut to = zstd::Encoder::new(to, LEVEL)?;
        to.include_checksum(true)?;
        Ok(Self { to, buffer: Vec::with_capacity(BUFFER_BYTES * 2) })
    }

    pub(super) fn line(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES {
            self.to.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> std::io::Result<W> {
        self.to.write_all(&self.buffer)?;
        self.to.finish()
    }
}

/// Lines of bounded length from bounded bytes.
pub(super) struct Lines<'a, R: BufRead> {
    subject: Subject,
    from: R,
    line: Vec<u8>,
    /// Of the present line, counted from 1.
    number: u64,
    left: u64,
    limits: &'a Limits,
}

/// Lines as they are inflated.
pub(super) type Inflating<'a, R> = Lines<'a, BufReader<zstd::Decoder<'static, BufReader<R>>>>;

/// Lines of what `from` holds.
pub(super) fn open<R: Read>(subject: Subject, from: R, limits: &Limits) -> Result<Inflating<'_, R>, FormatError> {
    let unreadable = |error| subject.unreadable(error);
    let mut inflated = zstd::Decoder::new(from).map_err(unreadable)?;
    inflated.window_log_max(WINDOW_LOG).map_err(unreadable)?;
    Ok(Lines {
        subject,
        from: BufReader::with_capacity(BUFFER_BYTES, inflated),
        line: Vec::new(),
        number: 0,
        left: limits.bytes,
        limits,
    })
}

impl<R: BufRead> Lines<'_, R> {
    /// Reads the header.
    pub(super) fn header<H: DeserializeOwned>(&mut self) -> Result<H, FormatError> {
        /// The one key every format has.
        #[derive(Deserialize)]
        struct Number {
            format: u64,
        }
        if !self.next()? {
            return Err(self.malformed("it is empty"));
        }
        // The number first: a later format may have any other shape.
        let Number { format } =
            serde_json::from_slice(&self.line).map_err(|error| self.malformed(error.to_string()))?;
        if format > self.subject.format {
            return Err(FormatError::Newer { what: self.subject.name, format, known: self.subject.format });
        }
        if format == 0 {
            return Err(self.malformed("format 0 was never used"));
        }
        serde_json::from_slice(&self.line).map_err(|error| self.malformed(error.to_string()))
    }

    /// Goes through the lines after the header, of which there are `count`.
    pub(super) fn rows(
        &mut self,
        count: u64,
        mut take: impl FnMut(&Self) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        if count > self.limits.rows {
            return Err(FormatError::TooLarge { what: self.subject.name, limit: self.limits.rows, unit: "rows" });
        }
        while self.next()? {
            if self.number - 1 > count {
                return Err(self.malformed("it has more lines than its header says"));
            }
            take(self)?;
        }
        if self.number - 1 != count {
            return Err(self.malformed(format!("it has {} lines, its header says {count}", self.number - 1)));
        }
        Ok(())
    }

    /// The present line, without its end.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Goes to the next line; false at the end.
    fn next(&mut self) -> Result<bool, FormatError> {
        self.line.clear();
        let most = self.limits.line.min(self.left);
        let read = (&mut self.from).take(most.saturating_add(1)).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.subject.unreadable(error))? as u64;
        if read == 0 {
            return Ok(false);
        }
        if read > self.limits.line {
            return Err(FormatError::TooLarge { what: self.subject.line, limit: self.limits.line, unit: "bytes" });
        }
        if read > self.left {
            return Err(FormatError::TooLarge { what: self.subject.name, limit: self.limits.bytes, unit: "bytes" });
        }
        self.left -= read;
        self.number += 1;
        if self.line.pop() == Some(b'\n') { Ok(true) } else { Err(self.malformed("its last line has no end")) }
    }

    pub(super) fn malformed(&self, why: impl Into<String>) -> FormatError {
        self.subject.malformed(self.number, why)
    }
}
