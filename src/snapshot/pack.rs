//! Packs: objects of 16 to 32 MiB, frames one after the other and nothing else.

use std::{io::Write, sync::Arc};

use super::{
    FormatError, PackId,
    frame::{CodedFrame, FrameHead, MAX_FRAME_BYTES},
};
use crate::rows::{Frame, PackName, Place};

/// From this length on a pack is finished.
pub const FULL_PACK_BYTES: u64 = 16 << 20;
/// The length that no pack exceeds which this version writes: one frame of the longest still fits.
pub const PACK_BYTES: u64 = 32 << 20;
/// The longest pack that is read.
pub(super) const MAX_PACK_BYTES: u64 = 64 << 20;

/// Writes one pack. It holds no content, only where each piece lies.
pub struct PackWriter<T, W: Write> {
    name: PackName,
    to: W,
    length: u64,
    places: Vec<(T, Place)>,
}

/// A finished pack.
#[derive(Debug)]
pub struct Pack<T, W> {
    /// Its name.
    pub name: PackName,
    /// What its bytes were written to.
    pub to: W,
    /// How many they are.
    pub length: u64,
    /// Where each piece lies, in the order of the bytes.
    pub places: Vec<(T, Place)>,
}

impl<T, W: Write> PackWriter<T, W> {
    /// A pack without frames, whose bytes go to `to`.
    pub fn new(pack: PackId, to: W) -> Self {
        Self { name: pack.name(), to, length: 0, places: Vec::new() }
    }

    /// Whether `frame` belongs into this pack; else this one is to be finished, and the next begun.
    #[must_use]
    pub fn takes(&self, frame: &CodedFrame<T>) -> bool {
        self.length == 0 || self.length < FULL_PACK_BYTES && self.length + frame.length() <= PACK_BYTES
    }

    /// Whether it is long enough to go.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.length >= FULL_PACK_BYTES
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a frame, whose memory is given back.
    ///
    /// # Errors
    /// What the writer says, and a frame that this pack has no room for.
    pub fn append(&mut self, frame: CodedFrame<T>) -> Result<(), FormatError> {
        if !self.takes(&frame) {
            return Err(FormatError::Damaged {
                what: format!("pack {}", self.name),
                why: "a frame is to be written behind its end".to_owned(),
            });
        }
        self.to.write_all(&frame.bytes).map_err(|error| FormatError::Write { what: "a new pack", error })?;
        let length = frame.length();
        let CodedFrame { inflated, pieces, bytes } = frame;
        // A frame's length was checked when it was made.
        let lies = Arc::new(Frame { pack: self.name.clone(), at: self.length, length: bytes.len() as u32, inflated });
        self.places.extend(pieces.into_iter().map(|(piece, at)| (piece, Place::In { frame: Arc::clone(&lies), at })));
        self.length += length;
        Ok(())
    }

    /// The pack as it is now; `None` if nothing is in it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> Result<Option<Pack<T, W>>, FormatError> {
        if self.is_empty() {
            return Ok(None);
        }
        self.to.flush().map_err(|error| FormatError::Write { what: "a new pack", error })?;
        let Self { name, to, length, places } = self;
        Ok(Some(Pack { name, to, length, places }))
    }
}

/// The frames of a whole pack, without a tree: where each lies and what it says of itself. Ends at the first error.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Result<(u64, FrameHead), FormatError>> {
    let mut at = 0_usize;
    let too_long = bytes.len() as u64 > MAX_PACK_BYTES;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let found = (at as u64, rest);
        at = usize::MAX;
        if too_long {
            return Some(Err(FormatError::TooLarge { what: "a pack", limit: MAX_PACK_BYTES, unit: "bytes" }));
        }
        let (begin, rest) = found;
        let head = match FrameHead::read(rest) {
            Ok(head) => head,
            Err(error) => return Some(Err(error.about(|| format!("the frame at {begin}")))),
        };
        if u64::from(head.length()) > rest.len() as u64 {
            return Some(Err(FormatError::Damaged {
                what: format!("the frame at {begin}"),
                why: "it is cut off".to_owned(),
            }));
        }
        at = begin as usize + head.length() as usize;
        Some(Ok((begin, head)))
    })
}

const _: () = assert!(FULL_PACK_BYTES + (MAX_FRAME_BYTES as u64) <= PACK_BYTES && PACK_BYTES <= MAX_PACK_BYTES);

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
