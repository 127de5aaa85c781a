//! A mirror: for one snapshot, which version each live object had when it held which content.
//!
//! Every row is a fact about the past and stays true: a missing or an old mirror costs comparisons, never data. That a
//! mirror exists says that the catch-up of its snapshot finished. What is not in it is nobody's to delete: what a
//! catch-up left to an outsider keeps its old row, and what was refused, is ignored or came later has none.
//!
//! Zstd JSON lines like a tree, whole or an overlay.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    FormatError, Limits, SnapshotId,
    head::{read_time, short, write_time},
    lines::{self, LineWriter, Lines, Subject},
    overlay::{belongs, join, whole},
    row::{content_fits, etag_fits},
};
use crate::rows::{ETag, Hash, RelPath};

/// The newest format of mirrors this version reads, and the one it writes.
pub const MIRROR_FORMAT: u64 = 1;

const SUBJECT: Subject = Subject { name: "mirror", line: "a line of a mirror", format: MIRROR_FORMAT };
const NAME_LIMIT: usize = 1024;

/// The first line of a mirror.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorHeader {
    /// The snapshot whose live tree this is.
    pub id: SnapshotId,
    /// The snapshot of the mirror that the catch-up began with; none where it began without one. Snapshots after that
    /// one are *recent*: another's catch-up of one of them may still have been on its way.
    pub built_from: Option<SnapshotId>,
    /// The whole mirror this is an overlay of; none for a whole one.
    pub base: Option<SnapshotId>,
    /// Who wrote it.
    pub writer: String,
    /// When, by the server's clock.
    pub time: Timestamp,
}

/// A live object that held this content when it had this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirrored {
    /// The version.
    pub etag: ETag,
    /// Bytes of the content.
    pub size: u64,
    /// Hash of the content.
    pub hash: Hash,
}

/// What is known of a path of the live tree.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MirrorRow {
    /// The object at the path.
    pub object: Option<Mirrored>,
    /// There was an empty object at the path with a `/` behind it, as consoles make folders. It was taken in: from
    /// then on head's row says whether the directory is there.
    pub folder: bool,
}

impl MirrorRow {
    /// The row of an object.
    #[must_use]
    pub const fn object(etag: ETag, size: u64, hash: Hash) -> Self {
        Self { object: Some(Mirrored { etag, size, hash }), folder: false }
    }
}

/// The rows of a mirror, by path; the key of an object is its path's spelling.
pub type MirrorRows = BTreeMap<RelPath, MirrorRow>;

/// What the live tree was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// Where it comes from.
    pub header: MirrorHeader,
    /// The rows.
    pub rows: MirrorRows,
    /// Of an overlay: paths of the base that are gone.
    pub removed: BTreeSet<RelPath>,
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    format: u64,
    id: SnapshotId,
    #[serde(default)]
    built_from: Option<SnapshotId>,
    #[serde(default)]
    base: Option<SnapshotId>,
    #[serde(default)]
    writer: String,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    time: Timestamp,
    lines: u64,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    folder: bool,
}

const OBJECT: &str = "object";
const FOLDER: &str = "folder";
const REMOVED: &str = "removed";

impl Mirror {
    /// The object's bytes.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for rows that [`Mirror::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        for (line, (path, row)) in (2..).zip(&self.rows) {
            let fits = match &row.object {
                Some(object) => etag_fits(object.etag.as_str()) && content_fits(object.size, &object.hash),
                None => row.folder,
            };
            if !fits {
                return Err(SUBJECT.malformed(line, format!("{path}: its row contradicts itself: {row:?}")));
            }
        }
        if let Some(path) = self.removed.iter().find(|path| self.header.base.is_none() || self.rows.contains_key(*path))
        {
            return Err(SUBJECT.malformed(1, format!("{path} is removed from nothing, or not removed")));
        }
        self.write().map_err(|error| SUBJECT.unwritable(error))
    }

    fn write(&self) -> std::io::Result<Vec<u8>> {
        let mut to = LineWriter::new(Vec::new())?;
        to.line(&HeaderLine {
            format: MIRROR_FORMAT,
            id: self.header.id,
            built_from: self.header.built_from,
            base: self.header.base,
            writer: short(self.header.writer.clone()),
            time: self.header.time,
            lines: (self.rows.len() + self.removed.len()) as u64,
        })?;
        let mut removed = self.removed.iter().peekable();
        for (path, row) in &self.rows {
            while let Some(path) = removed.next_if(|removed| *removed < path) {
                to.line(&line(path, None))?;
            }
            to.line(&line(path, Some(row)))?;
        }
        removed.try_for_each(|path| to.line(&line(path, None)))?;
        to.finish()
    }

    /// Reads a mirror as it arrives; memory grows with its rows only.
    ///
    /// # Errors
    /// [`FormatError::Newer`] for a later format, else what is wrong with the bytes.
    pub fn decode(from: impl Read, limits: &Limits) -> Result<Self, FormatError> {
        let mut lines = lines::open(SUBJECT, from, limits)?;
        let HeaderLine { id, built_from, base, writer, time, lines: count, .. } = lines.header()?;
        if writer.len() > NAME_LIMIT {
            return Err(lines.malformed("its header is above its limits"));
        }
        let header = MirrorHeader { id, built_from, base, writer, time };
        let mut mirror = Self { header, rows: MirrorRows::new(), removed: BTreeSet::new() };
        let mut last: Option<RelPath> = None;
        lines.rows(count, |lines| {
            let (path, row) = read(lines)?;
            if last.as_ref().is_some_and(|last| *last >= path) {
                return Err(lines.malformed(format!("{path} does not come after the line before")));
            }
            match row {
                Some(row) => drop(mirror.rows.insert(path.clone(), row)),
                None if mirror.header.base.is_some() => drop(mirror.removed.insert(path.clone())),
                None => return Err(lines.malformed(format!("{path} is removed from nothing"))),
            }
            last = Some(path);
            Ok(())
        })?;
        Ok(mirror)
    }

    /// Reads no more than the header.
    ///
    /// # Errors
    /// As [`Mirror::decode`], of the header.
    pub fn decode_header(from: impl Read, limits: &Limits) -> Result<MirrorHeader, FormatError> {
        let mut lines = lines::open(SUBJECT, from, limits)?;
        let HeaderLine { id, built_from, base, writer, time, .. } = lines.header()?;
        if writer.len() > NAME_LIMIT {
            return Err(lines.malformed("its header is above its limits"));
        }
        Ok(MirrorHeader { id, built_from, base, writer, time })
    }

    /// What of `wanted` differs from `base`, as an overlay with the header of `wanted`.
    ///
    /// # Errors
    /// Where either is an overlay itself.
    pub fn overlay(base: &Self, wanted: &Self) -> Result<Self, FormatError> {
        whole(SUBJECT, &base.header.id, base.header.base)?;
        whole(SUBJECT, &wanted.header.id, wanted.header.base)?;
        let header = MirrorHeader { base: Some(base.header.id), ..wanted.header.clone() };
        let mut overlay = Self { header, rows: MirrorRows::new(), removed: BTreeSet::new() };
        for (path, _, new) in join(&base.rows, &wanted.rows).filter(|(_, old, new)| old != new) {
            match new {
                Some(row) => drop(overlay.rows.insert(path.clone(), row.clone())),
                None => drop(overlay.removed.insert(path.clone())),
            }
        }
        Ok(overlay)
    }

    /// The whole mirror that `overlay` means over `base`, with the header of `overlay`.
    ///
    /// # Errors
    /// Where `base` is not the mirror that `overlay` names, or is an overlay itself.
    pub fn whole(base: Self, overlay: Self) -> Result<Self, FormatError> {
        belongs(SUBJECT, &base.header.id, base.header.base, &overlay.header.id, overlay.header.base)?;
        let mut rows = base.rows;
        for path in &overlay.removed {
            rows.remove(path);
        }
        rows.extend(overlay.rows);
        Ok(Self { header: MirrorHeader { base: None, ..overlay.header }, rows, removed: BTreeSet::new() })
    }
}

fn line<'a>(path: &'a RelPath, row: Option<&'a MirrorRow>) -> Line<'a> {
    let object = row.and_then(|row| row.object.as_ref());
    let kind = match (row, object) {
        (None, _) => REMOVED,
        (Some(_), None) => FOLDER,
        (Some(_), Some(_)) => OBJECT,
    };
    Line {
        path: path.to_text(),
        kind: kind.into(),
        size: object.map(|object| object.size),
        hash: object.map(|object| object.hash.to_string().into()),
        etag: object.map(|object| object.etag.as_str().into()),
        folder: object.is_some() && row.is_some_and(|row| row.folder),
    }
}

fn read<R: std::io::BufRead>(lines: &Lines<'_, R>) -> Result<(RelPath, Option<MirrorRow>), FormatError> {
    let line: Line<'_> = serde_json::from_slice(lines.line()).map_err(|error| lines.malformed(error.to_string()))?;
    let path = RelPath::from_text(&line.path)
        .map_err(|error| lines.malformed(format!("path {:?}: {error}", FormatError::begin_of(&line.path))))?;
    let wrong = |why: &str| lines.malformed(format!("{path}: {why}"));
    let row = match (&*line.kind, line.size, line.hash, line.etag) {
        (REMOVED, None, None, None) if !line.folder => None,
        (FOLDER, None, None, None) => Some(MirrorRow { object: None, folder: true }),
        (OBJECT, Some(size), Some(hash), Some(etag)) => {
            let hash = Hash::from_hex(&hash).ok_or_else(|| wrong("its hash is none"))?;
            if !content_fits(size, &hash) {
                return Err(wrong("its size and hash do not belong together"));
            }
            if !etag_fits(&etag) {
                return Err(wrong("its ETag is none"));
            }
            Some(MirrorRow { folder: line.folder, ..MirrorRow::object(ETag::new(&*etag), size, hash) })
        }
        (REMOVED | FOLDER | OBJECT, ..) => return Err(wrong(&format!("it is no row of kind {}", line.kind))),
        (other, ..) => {
            return Err(FormatError::NewerKind {
                what: SUBJECT.name,
                found: format!("a row of kind {:?}", FormatError::begin_of(other)),
            });
        }
    };
    Ok((path, row))
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
