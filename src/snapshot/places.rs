//! The frames that a tree's rows lie in, as its header lists them: rows name a frame by its number.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use super::{
    PackId,
    frame::{self, MAX_FRAME_BYTES},
    pack::MAX_PACK_BYTES,
};
use crate::rows::{Frame, PackName, Place, Row, Rows};

/// The most frames of one tree: some 4 TiB of content.
const FRAMES_LIMIT: usize = 4_000_000;

/// A frame as the header has it: number of its pack, where it begins there, its length there, its length inflated.
type Listed = (u32, u64, u32, u32);

/// Frames to be written: each with its number.
#[derive(Default)]
pub(super) struct FrameNumbers<'a> {
    numbers: BTreeMap<&'a Frame, u32>,
    /// Rows in path order mostly lie in the frame of the row before.
    last: Option<(&'a Arc<Frame>, u32)>,
}

impl<'a> FrameNumbers<'a> {
    /// The frames that `rows` lie in, checked as a reader checks them.
    pub(super) fn of(rows: &'a Rows) -> Result<Self, String> {
        let mut frames: BTreeSet<&Frame> = BTreeSet::new();
        let mut last: Option<&Arc<Frame>> = None;
        for frame in rows.values().flat_map(|row| row.pieces.places()).filter_map(Place::frame) {
            if !last.is_some_and(|last| Arc::ptr_eq(last, frame)) {
                frames.insert(frame);
                last = Some(frame);
            }
        }
        if frames.len() > FRAMES_LIMIT {
            return Err(format!("it lies in more than {FRAMES_LIMIT} frames"));
        }
        let mut before = None;
        for frame in &frames {
            check(before, frame)?;
            before = Some(frame);
        }
        Ok(Self { numbers: frames.into_iter().zip(0..).collect(), last: None })
    }

    /// The number of a frame; it is one of those that [`FrameNumbers::of`] saw.
    pub(super) fn number(&mut self, frame: &'a Arc<Frame>) -> Option<u32> {
        if let Some((last, number)) = self.last
            && Arc::ptr_eq(last, frame)
        {
            return Some(number);
        }
        let number = *self.numbers.get(&**frame)?;
        self.last = Some((frame, number));
        Some(number)
    }

    /// Packs and frames for the header.
    pub(super) fn listed(&self) -> (Vec<PackName>, Vec<Listed>) {
        let mut packs: Vec<PackName> = Vec::new();
        let mut frames = Vec::with_capacity(self.numbers.len());
        for frame in self.numbers.keys() {
            if packs.last() != Some(&frame.pack) {
                packs.push(frame.pack.clone());
            }
            // There are no more packs than frames, whose number was checked.
            frames.push(((packs.len() - 1) as u32, frame.at, frame.length, frame.inflated));
        }
        (packs, frames)
    }
}

/// The packs that a header lists, each a name that is one, in ascending order.
pub(super) fn read_packs(listed: Vec<String>) -> Result<Vec<PackName>, String> {
    if let Some(wrong) = listed.iter().find(|name| name.parse::<PackId>().is_err()) {
        return Err(format!("{wrong:?} is no pack"));
    }
    if !listed.is_sorted_by(|one, next| one < next) {
        return Err("its packs do not ascend".to_owned());
    }
    Ok(listed.into_iter().map(PackName::new).collect())
}

/// The frames that a header lists.
pub(super) fn read_frames(packs: &[PackName], listed: &[Listed]) -> Result<Vec<Arc<Frame>>, String> {
    if listed.len() > FRAMES_LIMIT {
        return Err(format!("it lists more than {FRAMES_LIMIT} frames"));
    }
    let mut frames: Vec<Arc<Frame>> = Vec::with_capacity(listed.len());
    for &(pack, at, length, inflated) in listed {
        let pack = packs.get(pack as usize).ok_or("a frame lies in a pack that is not listed")?.clone();
        let frame = Frame { pack, at, length, inflated };
        check(frames.last().map(|last| &**last), &frame)?;
        frames.push(Arc::new(frame));
    }
    Ok(frames)
}

/// Frames ascend, lie apart, and are within what frames and packs can be.
fn check(before: Option<&Frame>, frame: &Frame) -> Result<(), String> {
    let end = frame.at.saturating_add(frame.length.into());
    let fits = frame.pack.as_str().parse::<PackId>().is_ok()
        && frame.inflated > 0
        && frame.inflated <= MAX_FRAME_BYTES
        && frame.length > frame::HEAD_BYTES
        && frame.length - frame::HEAD_BYTES <= frame.inflated
        && end <= MAX_PACK_BYTES;
    let apart = before
        .is_none_or(|before| before.pack < frame.pack || before.pack == frame.pack && before.range().end <= frame.at);
    if fits && apart { Ok(()) } else { Err(format!("it lists what can be no frame: {frame:?}")) }
}

/// Whether every piece of `row` lies within its frame, and its pieces are those of its content.
pub(super) fn fit(row: &Row) -> bool {
    let inside = |place: &Place, length: u32| match place {
        Place::Zeros => true,
        Place::In { frame, at } => at.checked_add(length).is_some_and(|end| end <= frame.inflated),
    };
    row.pieces_fit()
        && row
            .each_piece()
            .is_none_or(|mut pieces| pieces.all(|piece| piece.place.is_none_or(|place| inside(place, piece.length))))
}
