//! Frames: about 1 MiB of pieces, compressed together. What is fetched, and what a pack is made of.
//!
//! A frame begins with 20 bytes that say how it is coded and how long it is; then come its pieces, one after the other.
//! Those 20 bytes are a *skippable frame* of zstd, so that `dd | zstd -d` gives the content of a compressed frame.
//!
//! ```text
//!  0  5f 2a 4d 18   magic of a skippable frame
//!  4  0c 00 00 00   12 bytes follow in it
//!  8  73 66 01      "sf", version 1
//! 11  CODING        0 raw, 1 zstd
//! 12  INFLATED      bytes of all pieces, u32 little-endian
//! 16  BODY          bytes after these 20, u32 little-endian
//! ```
//!
//! A tree says of each frame where it lies and how long it is, inflated too. What the frame says of itself must be the
//! same; what its pieces are is proven by their hashes alone.

use zstd::bulk::{Compressor, Decompressor};

use super::FormatError;
use crate::rows::{Frame, MAX_PIECE_BYTES, PIECE_BYTES, PieceOf, Place};

/// How many bytes a frame says of itself before its content.
pub const HEAD_BYTES: u32 = 20;
/// The most bytes of pieces in a frame: one of the longest.
pub const MAX_FRAME_BYTES: u32 = MAX_PIECE_BYTES as u32;
/// When pieces are no more gathered.
const FULL_BYTES: usize = PIECE_BYTES as usize;

const MAGIC: [u8; 11] = [0x5f, 0x2a, 0x4d, 0x18, 12, 0, 0, 0, b's', b'f', 1];
/// Where the magic ends and the version stands.
const VERSION_AT: usize = 10;
/// Level 3 costs 1.4 times the time and saves 3 % of bytes.
const LEVEL: i32 = 1;

/// How a frame is coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// As it is: what zstd does not make smaller.
    Raw,
    /// As a zstd frame.
    Zstd,
}

impl Coding {
    const fn as_byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// How its content is coded.
    pub coding: Coding,
    /// How long its content is.
    pub inflated: u32,
    /// How long its content is as it is coded.
    pub body: u32,
}

impl FrameHead {
    /// Reads the head that `bytes` begin with.
    ///
    /// # Errors
    /// [`FormatError::NewerKind`] for a version or coding that is not known here; else what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let head: &[u8; HEAD_BYTES as usize] =
            bytes.first_chunk().ok_or_else(|| damaged("it is shorter than what it says of itself"))?;
        if head[..VERSION_AT] != MAGIC[..VERSION_AT] {
            return Err(damaged("no frame begins here"));
        }
        if head[VERSION_AT] != MAGIC[VERSION_AT] {
            return Err(newer(format!("version {}", head[VERSION_AT])));
        }
        let coding = match head[11] {
            0 => Coding::Raw,
            1 => Coding::Zstd,
            other => return Err(newer(format!("coding {other}"))),
        };
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (inflated, body) = (number(12), number(16));
        let possible = match coding {
            Coding::Raw => body == inflated,
            Coding::Zstd => body < inflated,
        };
        if inflated == 0 || inflated > MAX_FRAME_BYTES || body == 0 || !possible {
            return Err(damaged("it cannot be as long as it says"));
        }
        Ok(Self { coding, inflated, body })
    }

    fn write(self) -> [u8; HEAD_BYTES as usize] {
        let mut head = [0; HEAD_BYTES as usize];
        head[..MAGIC.len()].copy_from_slice(&MAGIC);
        head[11] = self.coding.as_byte();
        head[12..16].copy_from_slice(&self.inflated.to_le_bytes());
        head[16..].copy_from_slice(&self.body.to_le_bytes());
        head
    }

    /// Its length in the pack, these bytes included.
    #[must_use]
    pub const fn length(&self) -> u32 {
        HEAD_BYTES + self.body
    }
}

/// A finished frame, which no pack has yet.
#[derive(Debug)]
pub struct CodedFrame<T> {
    /// What lies in the pack.
    pub(super) bytes: Vec<u8>,
    pub(super) inflated: u32,
    /// The pieces in it, each with where it begins when inflated.
    pub(super) pieces: Vec<(T, u32)>,
}

impl<T> CodedFrame<T> {
    /// Its length in a pack.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Gathers pieces into frames. It holds one frame's content; one for each thread that compresses.
///
/// `T` is whatever tells the caller's pieces apart.
pub struct FrameWriter<T> {
    content: Vec<u8>,
    pieces: Vec<(T, u32)>,
    compressor: Compressor<'static>,
}

impl<T> FrameWriter<T> {
    /// An empty one.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> Result<Self, FormatError> {
        let compressor = Compressor::new(LEVEL).map_err(|error| FormatError::Write { what: "a frame", error })?;
        Ok(Self { content: Vec::new(), pieces: Vec::new(), compressor })
    }

    /// Takes in a piece; gives the frame before if this piece begins a new one.
    ///
    /// # Errors
    /// A piece that is empty or longer than any is.
    pub fn add(&mut self, piece: T, content: &[u8]) -> Result<Option<CodedFrame<T>>, FormatError> {
        if content.is_empty() || content.len() > MAX_FRAME_BYTES as usize {
            return Err(damaged("a piece is empty or too long to be stored"));
        }
        let full = !self.content.is_empty() && self.content.len() + content.len() > FULL_BYTES;
        let before = if full { self.finish()? } else { None };
        // It holds less than a piece's longest length, here.
        self.pieces.push((piece, self.content.len() as u32));
        self.content.extend_from_slice(content);
        Ok(before)
    }

    /// Closes the frame that was begun, if there is one.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn finish(&mut self) -> Result<Option<CodedFrame<T>>, FormatError> {
        if self.content.is_empty() {
            return Ok(None);
        }
        let inflated = self.content.len() as u32;
        let mut bytes = vec![0; HEAD_BYTES as usize + self.content.len()];
        // No room for anything that is not shorter: then zstd refuses, and the content goes as it is.
        let (head, room) = bytes.split_at_mut(HEAD_BYTES as usize);
        let last = room.len() - 1;
        let coded = self.compressor.compress_to_buffer(&self.content, &mut room[..last]);
        let (coding, body) = match coded {
            Ok(body) => (Coding::Zstd, body),
            Err(_) => {
                room.copy_from_slice(&self.content);
                (Coding::Raw, room.len())
            }
        };
        head.copy_from_slice(&FrameHead { coding, inflated, body: body as u32 }.write());
        bytes.truncate(HEAD_BYTES as usize + body);
        bytes.shrink_to_fit();
        self.content.clear();
        Ok(Some(CodedFrame { bytes, inflated, pieces: std::mem::take(&mut self.pieces) }))
    }
}

/// Inflates frames, one after the other into the same memory; one for each thread.
pub struct FrameReader {
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
}

impl FrameReader {
    /// A reader that holds nothing.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> Result<Self, FormatError> {
        Ok(Self { decompressor: Decompressor::new().map_err(unreadable)?, content: Vec::new() })
    }

    /// The content of `frame`, whose range of its pack is `bytes`. Memory is taken for as much as the tree says.
    ///
    /// # Errors
    /// What is wrong with the bytes, or differs between them and the tree.
    pub fn inflate<'a>(&'a mut self, frame: &Frame, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        self.read(Some(frame), bytes).map_err(|error| error.about(|| what(frame)))
    }

    /// The content of a frame that no tree names.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn inflate_alone<'a>(&'a mut self, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        self.read(None, bytes)
    }

    fn read<'a>(&'a mut self, frame: Option<&Frame>, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let head = FrameHead::read(bytes)?;
        let told = frame.is_none_or(|frame| (frame.length, frame.inflated) == (head.length(), head.inflated));
        if !told {
            return Err(damaged("it is not as long as the tree says"));
        }
        let body = &bytes[HEAD_BYTES as usize..];
        if body.len() != head.body as usize {
            return Err(damaged("it is cut off, or more follows"));
        }
        if head.coding == Coding::Raw {
            return Ok(body);
        }
        self.content.resize(head.inflated as usize, 0);
        match self.decompressor.decompress_to_buffer(body, &mut self.content[..]) {
            Ok(length) if length == self.content.len() => Ok(&self.content),
            Ok(_) => Err(damaged("it inflates to less than it says")),
            Err(error) => Err(damaged(&format!("it cannot be inflated: {error}"))),
        }
    }
}

/// One piece out of the inflated frame it lies in, proven by its hash.
///
/// # Errors
/// Where the frame has other content there.
pub fn piece<'a>(content: &'a [u8], piece: &PieceOf<'_>) -> Result<&'a [u8], FormatError> {
    let Some(Place::In { frame, at }) = piece.place else {
        return Err(damaged("a piece lies in no frame"));
    };
    let begin = *at as usize;
    let found = begin.checked_add(piece.length as usize).and_then(|end| content.get(begin..end));
    found
        .filter(|found| piece.holds(found))
        .ok_or_else(|| damaged("the piece that should lie in it does not").about(|| what(frame)))
}

fn what(frame: &Frame) -> String {
    format!("the frame at {} of pack {}", frame.at, frame.pack)
}

fn damaged(why: &str) -> FormatError {
    FormatError::Damaged { what: "a frame".to_owned(), why: why.to_owned() }
}

fn newer(found: String) -> FormatError {
    FormatError::NewerKind { what: "a frame", found }
}

fn unreadable(error: std::io::Error) -> FormatError {
    FormatError::Read { what: "a frame", error }
}
