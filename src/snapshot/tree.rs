//! A tree: the rows of one snapshot as zstd JSON lines.
//!
//! The first line is the header, every further one a row or a removed path, in strictly ascending order of path bytes,
//! each with its line end. The header says how many there are, so that a tree that was cut short is not taken for a
//! smaller one.

use std::io::{BufRead, BufReader, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    FormatError, SnapshotId,
    head::{read_time, short, write_time},
    row::{self, BadRow},
};
use crate::rows::{ETag, Kind, RelPath, Removed, Row, Rows};

/// The newest format of trees this version reads, and the one it writes.
pub const TREE_FORMAT: u64 = 1;

const WHAT: &str = "tree";
/// zstd's level: a tree compresses some 15 to 1, and level 3 costs little more than 1.
const LEVEL: i32 = 3;
/// The largest window that is inflated (8 MiB); what this version writes needs 2 MiB.
const WINDOW_LOG: u32 = 23;
/// The most packs a header names.
const PACKS_LIMIT: usize = 100_000;
/// The longest name in a header.
const NAME_LIMIT: usize = 1024;

/// The first line of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeHeader {
    /// The snapshot this is the tree of.
    pub id: SnapshotId,
    /// The snapshot before it; none for the first.
    pub parent: Option<SnapshotId>,
    /// Who wrote it.
    pub writer: String,
    /// No process of the app lived during the scan.
    pub quiet: bool,
    /// Some scanned contents are not in it.
    pub partial: bool,
    /// The whole tree this is an overlay of; none for a whole tree.
    pub base: Option<SnapshotId>,
    /// The packs its rows use, by name; none in a plain workspace.
    pub packs: Vec<String>,
    /// When it was written, by the server's clock.
    pub time: Timestamp,
}

/// A snapshot's rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Where it comes from.
    pub header: TreeHeader,
    /// The rows. In a plain workspace each file's row has the ETag that it is true for.
    pub rows: Rows,
    /// An overlay's removed paths; in a whole tree the tombstones: an object at the path that has this ETag counts as
    /// removed. A path may be here and, as a directory or symlink, in `rows` too.
    pub removed: Removed,
}

/// What a decoder may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes after inflating.
    pub bytes: u64,
    /// Bytes of one line.
    pub line: u64,
    /// Rows and removed paths.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, line: 4 << 20, rows: 5_000_000 }
    }
}

/// The header as JSON has it.
#[derive(Serialize, Deserialize)]
struct HeaderLine {
    format: u64,
    id: SnapshotId,
    #[serde(default)]
    parent: Option<SnapshotId>,
    #[serde(default)]
    writer: String,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    time: Timestamp,
    #[serde(default)]
    quiet: bool,
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    base: Option<SnapshotId>,
    #[serde(default)]
    packs: Vec<String>,
    lines: u64,
}

impl Tree {
    /// The object's bytes. A tombstone under a file's row is left out: the row says what the path is.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for rows that [`Tree::decode`] would refuse, so that nothing is written that nobody
    /// can read.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut order = Order::new(self.header.base.is_none());
        for (line, (path, row)) in (2..).zip(&self.rows) {
            row::check(path, row).and_then(|()| order.take(path, Some(row))).map_err(|why| FormatError::Malformed {
                what: WHAT,
                line,
                why,
            })?;
        }
        self.write_to(Vec::new()).map_err(|error| FormatError::Read { what: WHAT, error })
    }

    fn write_to<W: Write>(&self, to: W) -> std::io::Result<W> {
        let mut to = zstd::Encoder::new(to, LEVEL)?;
        to.include_checksum(true)?;
        let lone: Vec<(&RelPath, &Option<ETag>)> =
            self.removed.iter().filter(|(path, _)| !self.rows.contains_key(*path)).collect();
        let header = HeaderLine {
            format: TREE_FORMAT,
            id: self.header.id,
            parent: self.header.parent,
            writer: short(self.header.writer.clone()),
            time: self.header.time,
            quiet: self.header.quiet,
            partial: self.header.partial,
            base: self.header.base,
            packs: self.header.packs.clone(),
            lines: (self.rows.len() + lone.len()) as u64,
        };
        serde_json::to_writer(&mut to, &header)?;
        to.write_all(b"\n")?;
        let mut lone = lone.into_iter().peekable();
        for (path, row) in &self.rows {
            while let Some((path, hides)) = lone.next_if(|(removed, _)| *removed < path) {
                row::write(&mut to, path, None, hides.as_ref())?;
                to.write_all(b"\n")?;
            }
            let hides = self.removed.get(path).and_then(Option::as_ref);
            row::write(&mut to, path, Some(row), hides)?;
            to.write_all(b"\n")?;
        }
        for (path, hides) in lone {
            row::write(&mut to, path, None, hides.as_ref())?;
            to.write_all(b"\n")?;
        }
        to.finish()
    }

    /// Reads a tree as it arrives; memory grows with its rows only.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a later format, else what is wrong with the bytes.
    pub fn decode(from: impl Read, limits: &Limits) -> Result<Self, FormatError> {
        let mut inflated = zstd::Decoder::new(from).map_err(|error| FormatError::Read { what: WHAT, error })?;
        inflated.window_log_max(WINDOW_LOG).map_err(|error| FormatError::Read { what: WHAT, error })?;
        let mut lines = Lines {
            from: BufReader::with_capacity(64 << 10, inflated),
            line: Vec::new(),
            number: 0,
            left: limits.bytes,
            limits,
        };
        let (header, count) = lines.header()?;
        if count > limits.rows {
            return Err(FormatError::TooLarge { what: WHAT, limit: limits.rows, unit: "rows" });
        }
        let mut tree = Self { header, rows: Rows::new(), removed: Removed::new() };
        let mut order = Order::new(tree.header.base.is_none());
        while lines.next()? {
            let entry = row::read(&lines.line).map_err(|bad| match bad {
                BadRow::Newer(found) => FormatError::NewerKind { what: WHAT, found },
                BadRow::Wrong(why) => lines.malformed(why),
            })?;
            if lines.number - 1 > count {
                return Err(lines.malformed("it has more lines than its header says"));
            }
            order.take(&entry.path, entry.row.as_ref()).map_err(|why| lines.malformed(why))?;
            if entry.row.is_none() || entry.hides.is_some() {
                tree.removed.insert(entry.path.clone(), entry.hides);
            }
            tree.rows.extend(entry.row.map(|row| (entry.path, row)));
        }
        if lines.number - 1 != count {
            return Err(lines.malformed(format!("it has {} lines, its header says {count}", lines.number - 1)));
        }
        Ok(tree)
    }
}

/// Holds the rows of a tree to their order: paths ascend, nothing lies below a file or symlink, and in a whole tree
/// each parent is there (so that a short tree cannot mean a long one).
struct Order {
    whole: bool,
    last: Option<RelPath>,
    /// Files and symlinks whose path the last path begins with. Paths that begin alike stand together.
    files: Vec<RelPath>,
    /// Directories that the last path lies in or is.
    dirs: Vec<RelPath>,
}

impl Order {
    const fn new(whole: bool) -> Self {
        Self { whole, last: None, files: Vec::new(), dirs: Vec::new() }
    }

    fn take(&mut self, path: &RelPath, row: Option<&Row>) -> Result<(), String> {
        if self.last.as_ref().is_some_and(|last| last >= path) {
            return Err(format!("{path} does not come after the line before"));
        }
        self.last = Some(path.clone());
        let Some(row) = row else { return Ok(()) };
        let begins = |up: &RelPath| path.as_bytes().starts_with(up.as_bytes());
        while self.files.pop_if(|file| !begins(file)).is_some() {}
        if let Some(file) = self.files.iter().find(|file| path.is_below(file)) {
            return Err(format!("{path} lies below {file}, which is no directory"));
        }
        while self.dirs.pop_if(|dir| !begins(dir)).is_some() {}
        if self.whole && path.parent().is_some_and(|parent| !self.dirs.contains(&parent)) {
            return Err(format!("{path} has no row for its parent"));
        }
        if row.kind == Kind::Dir { &mut self.dirs } else { &mut self.files }.push(path.clone());
        Ok(())
    }
}

/// Lines of bounded length from bounded bytes.
struct Lines<'a, R: BufRead> {
    from: R,
    line: Vec<u8>,
    /// Of the present line, counted from 1.
    number: u64,
    left: u64,
    limits: &'a Limits,
}

impl<R: BufRead> Lines<'_, R> {
    fn header(&mut self) -> Result<(TreeHeader, u64), FormatError> {
        /// The one key every format has.
        #[derive(Deserialize)]
        struct Number {
            format: u64,
        }
        if !self.next()? {
            return Err(self.malformed("it is empty"));
        }
        let Number { format } =
            serde_json::from_slice(&self.line).map_err(|error| self.malformed(error.to_string()))?;
        if format > TREE_FORMAT {
            return Err(FormatError::Newer { what: WHAT, format, known: TREE_FORMAT });
        }
        let line: HeaderLine = serde_json::from_slice(&self.line).map_err(|error| self.malformed(error.to_string()))?;
        if format == 0
            || line.packs.len() > PACKS_LIMIT
            || line.packs.iter().chain([&line.writer]).any(|name| name.len() > NAME_LIMIT)
        {
            return Err(self.malformed("its header is above its limits"));
        }
        let HeaderLine { id, parent, writer, time, quiet, partial, base, packs, lines, .. } = line;
        Ok((TreeHeader { id, parent, writer, quiet, partial, base, packs, time }, lines))
    }

    /// Goes to the next line; false at the end.
    fn next(&mut self) -> Result<bool, FormatError> {
        self.line.clear();
        let most = self.limits.line.min(self.left);
        let read = (&mut self.from).take(most.saturating_add(1)).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| FormatError::Read { what: WHAT, error })? as u64;
        if read == 0 {
            return Ok(false);
        }
        if read > self.limits.line {
            return Err(FormatError::TooLarge { what: "a line of a tree", limit: self.limits.line, unit: "bytes" });
        }
        if read > self.left {
            return Err(FormatError::TooLarge { what: WHAT, limit: self.limits.bytes, unit: "bytes" });
        }
        self.left -= read;
        self.number += 1;
        if self.line.pop() == Some(b'\n') { Ok(true) } else { Err(self.malformed("its last line has no end")) }
    }

    fn malformed(&self, why: impl Into<String>) -> FormatError {
        FormatError::Malformed { what: WHAT, line: self.number, why: why.into() }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
