//! Pieces: the parts of a file that are hashed, and stored, each by itself.
//!
//! A file up to 1 MiB is one piece, whose hash is the file's. A larger one is cut into fixed pieces. BLAKE3 hashes a
//! file as a binary tree of chunks, and a piece is a whole subtree of it: the hash of a piece is the chaining value of
//! that subtree, and those of all pieces, merged, are the file's hash. So every byte is hashed once, the file's hash is
//! plain BLAKE3, a list of pieces that is not the file's is found out without its content, and pieces that were checked
//! in any order need no second look at the file.

use std::{fmt, ops::Range, sync::Arc};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{Hash, Kind, Row};

/// The length of the pieces of a file up to 4 GiB, and the longest file that is one piece.
pub const PIECE_BYTES: u64 = 1 << 20;
/// The length of the longest pieces there are.
pub const MAX_PIECE_BYTES: u64 = 16 << 20;

/// How long the pieces of a file of `size` bytes are; the last one may be shorter.
#[must_use]
pub const fn piece_bytes(size: u64) -> u64 {
    if size <= 4 << 30 {
        PIECE_BYTES
    } else if size <= 64 << 30 {
        4 << 20
    } else {
        MAX_PIECE_BYTES
    }
}

/// How many pieces a file of `size` bytes has.
#[must_use]
pub const fn piece_count(size: u64) -> u64 {
    size.div_ceil(piece_bytes(size))
}

/// The name of a pack. The format of names is the bucket's matter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName(Arc<str>);

impl PackName {
    /// Takes a name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for PackName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A frame: which bytes of which pack, and how many they are when inflated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frame {
    /// The pack it is in.
    pub pack: PackName,
    /// Where it begins there.
    pub at: u64,
    /// How long it is there, with what it says of itself.
    pub length: u32,
    /// How many bytes of pieces are in it.
    pub inflated: u32,
}

impl Frame {
    /// Its bytes in the pack.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.length.into())
    }
}

/// Where a piece lies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// Nowhere: all its bytes are zero.
    Zeros,
    /// In a frame of a pack.
    In {
        /// The frame, shared by all pieces in it.
        frame: Arc<Frame>,
        /// Where the piece begins in the inflated frame.
        at: u32,
    },
}

impl Place {
    /// The frame it is in.
    #[must_use]
    pub const fn frame(&self) -> Option<&Arc<Frame>> {
        match self {
            Self::Zeros => None,
            Self::In { frame, .. } => Some(frame),
        }
    }
}

/// One of several pieces of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The chaining value of the piece in the file's BLAKE3 tree.
    pub hash: Hash,
    /// Where it lies; `None` while it is not stored as a piece.
    pub place: Option<Place>,
}

/// What is known of a file's pieces.
///
/// Where content lies is not what it is: two rows with the same content and other places are the same to a user, to a
/// merge and to the digest of a tree.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Pieces {
    /// Nothing beyond the row's hash: an empty file, a file of one piece that is not stored as such, a file whose
    /// content was never cut (in a plain workspace), and whatever is no file.
    #[default]
    None,
    /// The file is one piece, which lies here.
    One(Place),
    /// The file is cut into these.
    Many(Box<[Piece]>),
}

impl Pieces {
    /// The same pieces, where nobody knows yet where they lie. Zeros stay zeros.
    #[must_use]
    pub fn without_places(&self) -> Self {
        let zeros = |place: &Place| *place == Place::Zeros;
        match self {
            Self::One(place) if zeros(place) => self.clone(),
            Self::None | Self::One(_) => Self::None,
            Self::Many(pieces) => Self::Many(
                pieces
                    .iter()
                    .map(|piece| Piece { hash: piece.hash, place: piece.place.clone().filter(zeros) })
                    .collect(),
            ),
        }
    }

    /// The places that are known, in the order of the content.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let (one, many) = match self {
            Self::None => (None, &[][..]),
            Self::One(place) => (Some(place), &[][..]),
            Self::Many(pieces) => (None, &pieces[..]),
        };
        one.into_iter().chain(many.iter().filter_map(|piece| piece.place.as_ref()))
    }
}

/// One piece of a row, and all that is needed to fetch or store it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PieceOf<'a> {
    /// Where it begins in the file.
    pub at: u64,
    /// How many bytes it has; never none.
    pub length: u32,
    /// Its hash: of a file of one piece the file's, else the chaining value.
    pub hash: Hash,
    /// Whether it is the whole file.
    pub alone: bool,
    /// Where it lies, if it is stored.
    pub place: Option<&'a Place>,
}

impl PieceOf<'_> {
    /// Whether `content` is this piece.
    #[must_use]
    pub fn holds(&self, content: &[u8]) -> bool {
        !content.is_empty()
            && content.len() as u64 == u64::from(self.length)
            && self.hash == if self.alone { Hash::of(content) } else { chaining_value(content, self.at) }
    }

    /// Whether this piece is nothing but zeros: asked once more of what a tree calls so, for a tree may lie.
    #[must_use]
    pub fn holds_zeros(&self) -> bool {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        if self.length == 0 || u64::from(self.length) > MAX_PIECE_BYTES {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        if !self.alone {
            hasher.set_input_offset(self.at);
        }
        let mut left = self.length as usize;
        while left > 0 {
            let now = left.min(ZEROS.len());
            hasher.update(&ZEROS[..now]);
            left -= now;
        }
        let value = if self.alone { *hasher.finalize().as_bytes() } else { hasher.finalize_non_root() };
        *self.hash.as_bytes() == value
    }
}

impl Row {
    /// The pieces of this row's content in their order, stored or not; none of an empty file or of what is no file.
    /// `None`: it is longer than one piece and nobody cut it yet.
    #[must_use]
    pub fn each_piece(&self) -> Option<impl ExactSizeIterator<Item = PieceOf<'_>>> {
        let step = piece_bytes(self.size);
        let (count, many, one) = match &self.pieces {
            _ if self.kind != Kind::File || self.size == 0 => (0, None, None),
            Pieces::None if self.size > PIECE_BYTES => return None,
            Pieces::None => (1, None, None),
            Pieces::One(place) => (1, None, Some(place)),
            Pieces::Many(pieces) => (pieces.len(), Some(pieces), None),
        };
        Some((0..count).map(move |index| {
            let at = (index as u64).saturating_mul(step);
            let length = self.size.saturating_sub(at).min(step);
            let piece = many.and_then(|pieces| pieces.get(index));
            PieceOf {
                at,
                length: u32::try_from(length).unwrap_or(u32::MAX),
                hash: piece.map_or(self.hash, |piece| piece.hash),
                alone: piece.is_none(),
                place: piece.map_or(one, |piece| piece.place.as_ref()),
            }
        }))
    }

    /// Notes where a piece was stored; false if there is no such piece, or nobody cut the content yet.
    #[must_use]
    pub fn set_place(&mut self, index: usize, place: Place) -> bool {
        if self.each_piece().is_none_or(|pieces| index >= pieces.len()) {
            return false;
        }
        match &mut self.pieces {
            Pieces::Many(pieces) => pieces[index].place = Some(place),
            one => *one = Pieces::One(place),
        }
        true
    }

    /// Whether all of its content lies where a tree can say.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.each_piece().is_some_and(|mut pieces| pieces.all(|piece| piece.place.is_some()))
    }

    /// Whether its pieces can be those of its content: as many as its size says, and with its hash.
    #[must_use]
    pub fn pieces_fit(&self) -> bool {
        let one = self.size > 0 && self.size <= PIECE_BYTES;
        match &self.pieces {
            Pieces::None => true,
            _ if self.kind != Kind::File => false,
            Pieces::One(_) => one,
            Pieces::Many(pieces) => {
                !one && pieces.len() as u64 == piece_count(self.size)
                    && merge(pieces.len(), &|index| *pieces[index].hash.as_bytes()) == Some(self.hash)
            }
        }
    }

    /// The row of another content at the same path: nothing that was said of the old one's versions and places holds.
    #[must_use]
    pub fn with_content(self, hash: Hash, size: u64) -> Self {
        Self { hash, size, etag: None, pieces: Pieces::None, ..self }
    }
}

/// What a content is, cut into pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Its hash: plain BLAKE3.
    pub hash: Hash,
    /// How many bytes came.
    pub size: u64,
    /// Its pieces, without places but for zeros.
    pub pieces: Pieces,
}

/// Hashes a content that arrives in parts, whole and in pieces, in one pass.
pub struct PieceHasher {
    step: u64,
    done: Vec<Piece>,
    /// The piece at hand, its length and whether all of it is zero so far.
    hasher: blake3::Hasher,
    length: u64,
    zeros: bool,
}

impl PieceHasher {
    /// For a content of `size` bytes, as a stat or a listing says. Where another number of bytes comes the hash is true
    /// all the same, and the pieces are left out if that size would be cut otherwise.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { step: piece_bytes(size), done: Vec::new(), hasher: blake3::Hasher::new(), length: 0, zeros: true }
    }

    /// Takes in the next part.
    pub fn update(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            // A full piece is closed when more comes: alone, it is the root of its tree.
            if self.length == self.step {
                self.close();
            }
            let room = usize::try_from(self.step - self.length).unwrap_or(usize::MAX);
            let (now, later) = part.split_at(part.len().min(room));
            self.zeros = self.zeros && is_zero(now);
            self.hasher.update(now);
            self.length += now.len() as u64;
            part = later;
        }
    }

    fn close(&mut self) {
        let hash = Hash::from_bytes(self.hasher.finalize_non_root());
        self.done.push(Piece { hash, place: self.zeros.then_some(Place::Zeros) });
        // Not reset(): in 1.8 that forgets only half of an offset.
        self.hasher = blake3::Hasher::new();
        self.hasher.set_input_offset((self.done.len() as u64).saturating_mul(self.step));
        (self.length, self.zeros) = (0, true);
    }

    /// The hash of all that came, and its pieces.
    #[must_use]
    pub fn finish(mut self) -> Cut {
        let size = (self.done.len() as u64).saturating_mul(self.step) + self.length;
        let lone = self.done.is_empty();
        if lone {
            let hash = Hash::from_bytes(*self.hasher.finalize().as_bytes());
            let zeros = size > 0 && size <= PIECE_BYTES && self.zeros;
            let pieces = if zeros { Pieces::One(Place::Zeros) } else { Pieces::None };
            return Cut { hash, size, pieces };
        }
        self.close();
        let pieces = std::mem::take(&mut self.done);
        let merged = merge(pieces.len(), &|index| *pieces[index].hash.as_bytes());
        // There are two at least: a lone one was finished above.
        let hash = merged.unwrap_or_else(|| Hash::of(b""));
        let fits = piece_bytes(size) == self.step;
        Cut { hash, size, pieces: if fits { Pieces::Many(pieces.into()) } else { Pieces::None } }
    }
}

/// Whether all of `part` is zero.
#[must_use]
pub fn is_zero(part: &[u8]) -> bool {
    // The first bytes answer for nearly every content; the rest goes by in wide steps.
    let (head, rest) = part.split_at(part.len().min(64));
    head.iter().all(|byte| *byte == 0)
        && rest.chunks(4096).all(|chunk| chunk.iter().fold(0, |bits, byte| bits | byte) == 0)
}

/// The hash of `content` as the piece of a file that begins at `at`.
fn chaining_value(content: &[u8], at: u64) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(at);
    hasher.update(content);
    Hash::from_bytes(hasher.finalize_non_root())
}

/// The hash of the file whose `count` pieces have these chaining values; none for fewer than two.
fn merge(count: usize, value: &impl Fn(usize) -> ChainingValue) -> Option<Hash> {
    /// The left side of each node is the largest full subtree that leaves something to the right.
    fn subtree(range: Range<usize>, value: &impl Fn(usize) -> ChainingValue) -> ChainingValue {
        if range.len() < 2 {
            return value(range.start);
        }
        let middle = split(&range);
        let (left, right) = (subtree(range.start..middle, value), subtree(middle..range.end, value));
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }
    fn split(range: &Range<usize>) -> usize {
        range.start + range.len().div_ceil(2).next_power_of_two()
    }
    if count < 2 {
        return None;
    }
    let middle = split(&(0..count));
    let (left, right) = (subtree(0..middle, value), subtree(middle..count, value));
    Some(Hash::from_bytes(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
}

/// The hash of a whole content that is at hand, and its pieces.
#[must_use]
pub fn cut(content: &[u8]) -> Cut {
    let mut hasher = PieceHasher::new(content.len() as u64);
    hasher.update(content);
    hasher.finish()
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
