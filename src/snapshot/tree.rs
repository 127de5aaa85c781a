//! A tree: the rows of one snapshot as zstd JSON lines.
//!
//! The first line is the header, every further one a row or a removed path, in strictly ascending order of path bytes,
//! each with its line end. The header says how many there are, so that a tree that was cut short is not taken for a
//! smaller one, and lists the frames of packs that the rows lie in.

use std::io::{Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    FormatError, SnapshotId,
    head::{read_time, short, write_time},
    lines::{self, LineWriter, Lines, Subject},
    missing::{Missing, Names},
    places::{self, FrameNumbers},
    row::{self, BadRow},
};
use crate::rows::{ETag, Kind, PackName, Place, RelPath, Removed, Row, Rows};

/// The newest format of trees this version reads, and the one it writes.
pub const TREE_FORMAT: u64 = 1;

pub(super) const SUBJECT: Subject = Subject { name: "tree", line: "a line of a tree", format: TREE_FORMAT };
/// The most packs a header names.
const PACKS_LIMIT: usize = 1_000_000;
/// The most files that are missing without a name.
const MISSING_LIMIT: u64 = 1 << 32;
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
    /// Which; of a partial tree that an older stopover wrote nothing is known.
    pub missing: Missing,
    /// The whole tree this is an overlay of; none for a whole tree.
    pub base: Option<SnapshotId>,
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
        Self { bytes: 4 << 30, line: 64 << 20, rows: 5_000_000 }
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
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    missing: Names,
    #[serde(default, skip_serializing_if = "is_zero")]
    more_missing: u64,
    #[serde(default)]
    base: Option<SnapshotId>,
    #[serde(default)]
    packs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    frames: Vec<(u32, u64, u32, u32)>,
    lines: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl HeaderLine {
    /// The header, its packs by name, its frames as they are listed, and how many lines follow.
    #[expect(clippy::type_complexity, reason = "taken apart at once")]
    fn read(self) -> Result<(TreeHeader, Vec<PackName>, Vec<(u32, u64, u32, u32)>, u64), String> {
        let Self { id, parent, writer, time, quiet, partial, base, packs, frames, lines, .. } = self;
        let missing = Missing::read(self.missing, self.more_missing);
        if missing.more() > MISSING_LIMIT
            || packs.len() > PACKS_LIMIT
            || packs.iter().chain([&writer]).any(|name| name.len() > NAME_LIMIT)
        {
            return Err("its header is above its limits".to_owned());
        }
        let packs = places::read_packs(packs)?;
        Ok((TreeHeader { id, parent, writer, quiet, partial, missing, base, time }, packs, frames, lines))
    }
}

impl Tree {
    /// The object's bytes. A tombstone under a file's row is left out: the row says what the path is.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for rows that [`Tree::decode`] would refuse, so that nothing is written that nobody
    /// can read.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        self.check()?;
        let frames = FrameNumbers::of(&self.rows).map_err(|why| SUBJECT.malformed(1, why))?;
        self.write_to(Vec::new(), frames).map_err(|error| SUBJECT.unwritable(error))
    }

    /// Whether its rows are in order.
    pub(super) fn check_order(&self) -> Result<(), FormatError> {
        let mut order = Order::new(self.header.base.is_none());
        let mut lines = (2..).zip(&self.rows);
        lines
            .try_for_each(|(line, (path, row))| order.take(path, Some(row)).map_err(|why| SUBJECT.malformed(line, why)))
    }

    /// Whether its rows are in order and none contradicts itself.
    fn check(&self) -> Result<(), FormatError> {
        let mut lines = (2..).zip(&self.rows);
        lines.try_for_each(|(line, (path, row))| row::check(path, row).map_err(|why| SUBJECT.malformed(line, why)))?;
        self.check_order()
    }

    fn write_to<'a, W: Write>(&'a self, to: W, mut frames: FrameNumbers<'a>) -> std::io::Result<W> {
        let mut to = LineWriter::new(to)?;
        let lone: Vec<(&RelPath, &Option<ETag>)> =
            self.removed.iter().filter(|(path, _)| !self.rows.contains_key(*path)).collect();
        let (packs, listed) = frames.listed();
        let header = HeaderLine {
            format: TREE_FORMAT,
            id: self.header.id,
            parent: self.header.parent,
            writer: short(self.header.writer.clone()),
            time: self.header.time,
            quiet: self.header.quiet,
            partial: self.header.partial,
            missing: self.header.missing.written(),
            more_missing: self.header.missing.more(),
            base: self.header.base,
            packs: packs.iter().map(PackName::to_string).collect(),
            frames: listed,
            lines: (self.rows.len() + lone.len()) as u64,
        };
        to.line(&header)?;
        let mut lone = lone.into_iter().peekable();
        for (path, row) in &self.rows {
            while let Some((path, hides)) = lone.next_if(|(removed, _)| *removed < path) {
                to.line(&row::line(path, None, hides.as_ref(), &mut frames))?;
            }
            let hides = self.removed.get(path).and_then(Option::as_ref);
            to.line(&row::line(path, Some(row), hides, &mut frames))?;
        }
        for (path, hides) in lone {
            to.line(&row::line(path, None, hides.as_ref(), &mut frames))?;
        }
        to.finish()
    }

    /// Reads a tree as it arrives; memory grows with its rows only.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a later format, else what is wrong with the bytes.
    pub fn decode(from: impl Read, limits: &Limits) -> Result<Self, FormatError> {
        let mut lines = lines::open(SUBJECT, from, limits)?;
        let header: HeaderLine = lines.header()?;
        let (header, packs, listed, count) = header.read().map_err(|why| lines.malformed(why))?;
        let frames = places::read_frames(&packs, &listed).map_err(|why| lines.malformed(why))?;
        drop(listed);
        let mut tree = Self { header, rows: Rows::new(), removed: Removed::new() };
        let mut order = Order::new(tree.header.base.is_none());
        lines.rows(count, |lines: &Lines<'_, _>| {
            let entry = row::read(lines.line(), &frames).map_err(|bad| match bad {
                BadRow::Newer(found) => FormatError::NewerKind { what: SUBJECT.name, found },
                BadRow::Wrong(why) => lines.malformed(why),
            })?;
            order.take(&entry.path, entry.row.as_ref()).map_err(|why| lines.malformed(why))?;
            if entry.row.is_none() || entry.hides.is_some() {
                tree.removed.insert(entry.path.clone(), entry.hides);
            }
            tree.rows.extend(entry.row.map(|row| (entry.path, row)));
            Ok(())
        })?;
        Ok(tree)
    }

    /// Reads no more than the header, and which packs the rows lie in: what a sweep wants to know.
    ///
    /// # Errors
    /// As [`Tree::decode`], of the header.
    pub fn decode_header(from: impl Read, limits: &Limits) -> Result<(TreeHeader, Vec<PackName>), FormatError> {
        let mut lines = lines::open(SUBJECT, from, limits)?;
        let header: HeaderLine = lines.header()?;
        let (header, packs, ..) = header.read().map_err(|why| lines.malformed(why))?;
        Ok((header, packs))
    }

    /// The packs that its own rows lie in, in order; those of its base are the base's.
    #[must_use]
    pub fn packs(&self) -> Vec<PackName> {
        let frames = self.rows.values().flat_map(|row| row.pieces.places()).filter_map(Place::frame);
        let mut packs = std::collections::BTreeSet::new();
        let mut last: Option<&PackName> = None;
        for frame in frames {
            if last != Some(&frame.pack) {
                packs.insert(&frame.pack);
                last = Some(&frame.pack);
            }
        }
        packs.into_iter().cloned().collect()
    }

    /// The files whose content does not lie in packs. A snapshot of a live workspace must have none.
    pub fn not_stored(&self) -> impl Iterator<Item = (&RelPath, &Row)> {
        self.rows.iter().filter(|(_, row)| !row.is_stored())
    }
}

/// Holds the rows of a tree to their order: paths ascend, nothing lies below a file or symlink, and in a whole tree
/// each parent is there (so that a short tree cannot mean a long one).
pub(super) struct Order {
    whole: bool,
    last: Option<RelPath>,
    /// Files and symlinks whose path the last path begins with. Paths that begin alike stand together.
    files: Vec<RelPath>,
    /// Directories that the last path lies in or is.
    dirs: Vec<RelPath>,
}

impl Order {
    pub(super) const fn new(whole: bool) -> Self {
        Self { whole, last: None, files: Vec::new(), dirs: Vec::new() }
    }

    pub(super) fn take(&mut self, path: &RelPath, row: Option<&Row>) -> Result<(), String> {
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

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
