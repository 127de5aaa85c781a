//! Ranges of packs: frames that lie near each other are one request.

use std::{collections::BTreeMap, sync::Arc};

use super::super::SyncError;
use crate::{
    rows::{Frame, Hash, PackName, PieceOf, Place, Row},
    snapshot::{
        frame::{self, FrameReader},
        pack_key,
    },
    store::{Opened, Store, StoreError, StoreErrorKind},
};

/// Bytes between two frames that are fetched along rather than asked for apart.
const GAP: u64 = 1 << 20;
/// The longest range that is asked for at once, unless one frame alone is longer.
const LONGEST: u64 = 8 << 20;

/// One piece within a frame, for whom it is, and his place in the order of all.
#[derive(Debug)]
pub(super) struct Part<T> {
    /// Where it begins in its file.
    pub(super) at: u64,
    pub(super) length: u32,
    hash: Hash,
    alone: bool,
    /// Where it begins in the inflated frame.
    in_frame: u32,
    order: u32,
    pub(super) of: T,
}

impl Part<()> {
    /// The pieces of `row` with these numbers that lie in frames.
    pub(super) fn all_of(row: &Row, numbers: std::ops::Range<usize>) -> impl Iterator<Item = (Arc<Frame>, Self)> {
        let pieces = row.each_piece().into_iter().flatten().skip(numbers.start).take(numbers.len());
        pieces.filter_map(|piece| {
            let Some(Place::In { frame, at: in_frame }) = piece.place else { return None };
            let PieceOf { at, length, hash, alone, .. } = piece;
            Some((Arc::clone(frame), Self { at, length, hash, alone, in_frame: *in_frame, order: 0, of: () }))
        })
    }

    pub(super) fn of<T>(self, order: u32, of: T) -> Part<T> {
        let Self { at, length, hash, alone, in_frame, .. } = self;
        Part { at, length, hash, alone, in_frame, order, of }
    }
}

/// Frames of one pack that are fetched together.
#[derive(Debug)]
pub(super) struct Range<T> {
    pack: PackName,
    begin: u64,
    end: u64,
    frames: Vec<(Arc<Frame>, Vec<Part<T>>)>,
}

/// The ranges in which `parts` lie.
pub(super) fn ranges<T>(parts: impl Iterator<Item = (Arc<Frame>, Part<T>)>) -> Vec<Range<T>> {
    let mut frames: BTreeMap<Arc<Frame>, Vec<Part<T>>> = BTreeMap::new();
    for (frame, part) in parts {
        frames.entry(frame).or_default().push(part);
    }
    let mut ranges: Vec<Range<T>> = Vec::new();
    for (frame, parts) in frames {
        let span = frame.range();
        let is_near = |last: &&mut Range<T>| {
            last.pack == frame.pack
                && span.start >= last.end
                && span.start - last.end <= GAP
                && span.end - last.begin <= LONGEST
        };
        match ranges.last_mut().filter(is_near) {
            Some(last) => {
                last.end = span.end;
                last.frames.push((frame, parts));
            }
            None => {
                let pack = frame.pack.clone();
                ranges.push(Range { pack, begin: span.start, end: span.end, frames: vec![(frame, parts)] });
            }
        }
    }
    ranges
}

impl<T> Range<T> {
    pub(super) const fn bytes(&self) -> u64 {
        self.end - self.begin
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part<T>> {
        self.frames.iter().flat_map(|(_, parts)| parts)
    }

    /// The place of the first that it is for.
    pub(super) fn order(&self) -> u32 {
        self.parts().map(|part| part.order).min().unwrap_or(0)
    }

    /// Each part out of `bytes`, which are this range's or why there are none; what is given was checked.
    pub(super) fn inflate(
        &self,
        bytes: &Result<Vec<u8>, String>,
        mut take: impl FnMut(&Part<T>, Result<&[u8], String>),
    ) {
        let mut reader = FrameReader::new().map_err(|error| error.to_string());
        for (frame, parts) in &self.frames {
            let span = frame.range();
            let content = match (bytes, &mut reader) {
                (Err(why), _) => Err(why.clone()),
                (Ok(_), Err(why)) => Err(why.clone()),
                (Ok(bytes), Ok(reader)) => bytes
                    .get((span.start - self.begin) as usize..(span.end - self.begin) as usize)
                    .ok_or_else(|| format!("pack {} is cut short", self.pack))
                    .and_then(|bytes| reader.inflate(frame, bytes).map_err(|error| error.to_string())),
            };
            for part in parts {
                let place = Place::In { frame: Arc::clone(frame), at: part.in_frame };
                let Part { at, length, hash, alone, .. } = *part;
                let piece = PieceOf { at, length, hash, alone, place: Some(&place) };
                let found = match &content {
                    Ok(content) => frame::piece(content, &piece).map_err(|error| error.to_string()),
                    Err(why) => Err(why.clone()),
                };
                take(part, found);
            }
        }
    }
}

/// The bytes of a range (fewer where the pack is cut short), or why there are none.
pub(super) async fn fetch<T>(store: &Store, range: &Range<T>) -> Result<Result<Vec<u8>, String>, SyncError> {
    let why = |error: StoreError| match error.kind {
        // Nothing begins there.
        StoreErrorKind::BadRequest if error.code.as_deref() == Some("InvalidRange") => {
            Ok(Err(format!("pack {} is cut short", range.pack)))
        }
        kind if concerns_one(kind) => Ok(Err(format!("pack {} cannot be read: {error}", range.pack))),
        _ => Err(SyncError::from(error)),
    };
    let mut reader = match store.open(&pack_key(&range.pack), Some(range.begin..range.end), None).await {
        Ok(Opened::Found(reader)) => reader,
        Ok(Opened::Absent | Opened::Moved) => return Ok(Err(format!("pack {} is gone", range.pack))),
        Err(error) => return why(error),
    };
    // Frames are bounded, whoever made the tree.
    let mut bytes = Vec::with_capacity(range.bytes() as usize);
    loop {
        match reader.next_chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(Ok(bytes)),
            Err(error) => return why(error),
        }
    }
}

/// Whether a failed read says something about this pack only.
const fn concerns_one(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Denied | StoreErrorKind::BrokenAnswer | StoreErrorKind::Moved | StoreErrorKind::BadRequest
    )
}
