//! One line of a tree: a row, or a removed path.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    FormatError,
    places::{self, FrameNumbers},
};
use crate::rows::{ETag, Frame, Hash, Kind, PERMISSION_BITS, Piece, Pieces, Place, RelPath, Row, read_spelling, spell};

/// The longest target of a symlink, `PATH_MAX` less the closing NUL.
const TARGET_LIMIT: usize = 4095;
/// The longest ETag.
const ETAG_LIMIT: usize = 1024;

/// What a line of a tree says about a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) path: RelPath,
    /// Its row; none for a removed path.
    pub(super) row: Option<Row>,
    /// For a removed path, or a directory or symlink: the object at this path that counts as removed.
    pub(super) hides: Option<ETag>,
}

/// Why a line is no entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadRow {
    /// Only a later version writes this.
    Newer(String),
    /// It is damaged.
    Wrong(String),
}

/// The line as JSON has it. Keys without a value are left out.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hides: Option<Cow<'a, str>>,
    /// Where the one piece of a file lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    zeros: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pieces: Option<Vec<PieceKeys<'a>>>,
    /// Another root than the workspace: for later versions.
    #[serde(default, skip_serializing)]
    root: Option<Cow<'a, str>>,
}

/// One of several pieces.
#[derive(Serialize, Deserialize)]
struct PieceKeys<'a> {
    #[serde(borrow)]
    hash: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    zeros: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The word for a removed path where a row has its kind.
const REMOVED: &str = "removed";

/// The line of a path, to be serialized.
pub(super) fn line<'a>(
    path: &'a RelPath,
    row: Option<&'a Row>,
    hides: Option<&'a ETag>,
    frames: &mut FrameNumbers<'a>,
) -> impl Serialize + use<'a> {
    let file = row.filter(|row| row.kind == Kind::File);
    let (one, many) = match file.map(|row| &row.pieces) {
        None | Some(Pieces::None) => (None, None),
        Some(Pieces::One(place)) => (Some(place), None),
        Some(Pieces::Many(pieces)) => (None, Some(pieces)),
    };
    let (frame, at, zeros) = place_keys(one, frames);
    let pieces = many.map(|pieces| {
        let keys = |piece: &'a Piece, frames: &mut FrameNumbers<'a>| {
            let (frame, at, zeros) = place_keys(piece.place.as_ref(), frames);
            PieceKeys { hash: piece.hash.to_string().into(), frame, at, zeros }
        };
        pieces.iter().map(|piece| keys(piece, frames)).collect()
    });
    Line {
        path: path.to_text(),
        kind: row.map_or(REMOVED, |row| row.kind.as_str()).into(),
        // Linux has no modes of symlinks.
        mode: row
            .filter(|row| row.kind != Kind::Symlink)
            .map(|row| format!("{:04o}", row.mode & PERMISSION_BITS).into()),
        uid: row.map(|row| row.uid),
        gid: row.map(|row| row.gid),
        mtime_ns: row.map(|row| row.mtime_ns),
        size: file.map(|row| row.size),
        hash: file.map(|row| row.hash.to_string().into()),
        target: row.filter(|row| row.kind == Kind::Symlink).and_then(|row| row.target.as_deref()).map(spell),
        link: file.and_then(|row| row.link.as_ref()).map(RelPath::to_text),
        etag: file.and_then(|row| row.etag.as_ref()).map(|etag| etag.as_str().into()),
        hides: hides.filter(|_| file.is_none()).map(|etag| etag.as_str().into()),
        frame,
        at,
        zeros,
        pieces,
        root: None,
    }
}

fn place_keys<'a>(place: Option<&'a Place>, frames: &mut FrameNumbers<'a>) -> (Option<u32>, Option<u32>, bool) {
    match place {
        None => (None, None, false),
        Some(Place::Zeros) => (None, None, true),
        Some(Place::In { frame, at }) => (frames.number(frame), Some(*at), false),
    }
}

/// Whether [`read`] would take what [`line`] makes of this row; else why not.
pub(super) fn check(path: &RelPath, row: &Row) -> Result<(), String> {
    let fits = match row.kind {
        Kind::File => content_fits(row.size, &row.hash) && row.target.is_none(),
        Kind::Dir => row.target.is_none(),
        Kind::Symlink => {
            row.target.as_deref().is_some_and(|target| target_fits(target) && row.hash == Hash::of(target))
        }
    };
    if fits
        && places::fit(row)
        && row.mode & !PERMISSION_BITS == 0
        && row.etag.as_ref().is_none_or(|etag| etag_fits(etag.as_str()))
    {
        Ok(())
    } else {
        // Of its pieces there may be many.
        let row = Row { pieces: Pieces::None, ..row.clone() };
        Err(format!("{path}: its row contradicts itself: {row:?}"))
    }
}

pub(super) fn content_fits(size: u64, hash: &Hash) -> bool {
    (size == 0) == (*hash == Hash::of(b""))
}

fn target_fits(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= TARGET_LIMIT && !target.contains(&0)
}

pub(super) fn etag_fits(text: &str) -> bool {
    !text.is_empty() && text.len() <= ETAG_LIMIT && !text.contains(char::is_control)
}

/// Reads one line; it names its frames by their number in `frames`.
pub(super) fn read(line: &[u8], frames: &[Arc<Frame>]) -> Result<Entry, BadRow> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| BadRow::Wrong(error.to_string()))?;
    if line.root.is_some() {
        return Err(BadRow::Newer("a row of another root".to_owned()));
    }
    let path = RelPath::from_text(&line.path)
        .map_err(|error| BadRow::Wrong(format!("path {:?}: {error}", FormatError::begin_of(&line.path))))?;
    let wrong = |why: &str| BadRow::Wrong(format!("{path}: {why}"));
    let kind = match &*line.kind {
        REMOVED => None,
        "file" => Some(Kind::File),
        "dir" => Some(Kind::Dir),
        "symlink" => Some(Kind::Symlink),
        other => return Err(BadRow::Newer(format!("a row of kind {:?}", FormatError::begin_of(other)))),
    };
    let etag = |value: Option<Cow<'_, str>>| match value {
        Some(text) if !etag_fits(&text) => Err(wrong("its ETag is none")),
        value => Ok(value.map(|text| ETag::new(&*text))),
    };
    let hides = etag(line.hides)?;
    let held = etag(line.etag)?;
    let Some(kind) = kind else { return Ok(Entry { path, row: None, hides }) };
    let mode = match (kind, line.mode) {
        (Kind::Symlink, _) => 0o777,
        (_, Some(text)) => u16::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| text.len() == 4 && *mode & !PERMISSION_BITS == 0 && !text.starts_with('+'))
            .ok_or_else(|| wrong("its mode is no permission bits"))?,
        (_, None) => return Err(wrong("it has no mode")),
    };
    let mut row = match (kind, line.target, line.hash, line.size) {
        (Kind::File, None, Some(hash), Some(size)) => {
            let hash = Hash::from_hex(&hash).ok_or_else(|| wrong("its hash is none"))?;
            if !content_fits(size, &hash) {
                return Err(wrong("its size and hash do not belong together"));
            }
            Row::file(hash, size, mode)
        }
        (Kind::Dir, None, None, None) => Row::dir(mode),
        (Kind::Symlink, Some(target), None, None) => {
            let target = read_spelling(&target).map_err(|error| wrong(&format!("its target: {error}")))?;
            if !target_fits(&target) {
                return Err(wrong("its target is no target"));
            }
            Row::symlink(&target)
        }
        (kind, ..) => return Err(wrong(&format!("it is no row of a {}", kind.as_str()))),
    };
    let link = line.link.map(|text| RelPath::from_text(&text)).transpose();
    row.link = link.map_err(|error| wrong(&format!("its first name: {error}")))?;
    row.pieces = match (line.pieces, place(line.frame, line.at, line.zeros, frames)) {
        (None, Ok(None)) => Pieces::None,
        (None, Ok(Some(place))) => Pieces::One(place),
        (Some(listed), Ok(None)) => Pieces::Many(read_pieces(&listed, frames).map_err(|why| wrong(&why))?),
        (Some(_), Ok(Some(_))) => return Err(wrong("it is one piece and several")),
        (_, Err(why)) => return Err(wrong(&why)),
    };
    if row.pieces != Pieces::None && !places::fit(&row) {
        return Err(wrong("its pieces are not those of its content, or not within their frames"));
    }
    if kind == Kind::File && hides.is_some() || kind != Kind::File && (held.is_some() || row.link.is_some()) {
        return Err(wrong("it has what its kind cannot have"));
    }
    row.etag = held;
    row.uid = line.uid.unwrap_or(0);
    row.gid = line.gid.unwrap_or(0);
    row.mtime_ns = line.mtime_ns.unwrap_or(0);
    Ok(Entry { path, row: Some(row), hides })
}

fn place(frame: Option<u32>, at: Option<u32>, zeros: bool, frames: &[Arc<Frame>]) -> Result<Option<Place>, String> {
    match (frame, at, zeros) {
        (None, None, false) => Ok(None),
        (None, None, true) => Ok(Some(Place::Zeros)),
        (Some(number), Some(at), false) => {
            let frame = frames.get(number as usize).ok_or("it lies in a frame that is not listed")?;
            Ok(Some(Place::In { frame: Arc::clone(frame), at }))
        }
        _ => Err("a piece lies in no place that there is".to_owned()),
    }
}

fn read_pieces(listed: &[PieceKeys<'_>], frames: &[Arc<Frame>]) -> Result<Box<[Piece]>, String> {
    let read = |piece: &PieceKeys<'_>| {
        let hash = Hash::from_hex(&piece.hash).ok_or("the hash of a piece is none")?;
        Ok(Piece { hash, place: place(piece.frame, piece.at, piece.zeros, frames)? })
    };
    listed.iter().map(read).collect()
}
