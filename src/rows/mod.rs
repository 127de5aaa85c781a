//! The floor of the house: paths, content hashes, rows and tables of rows.
//!
//! A *row* says what one path of a workspace is: its kind, permission bits, owner, time, size and content hash. A
//! *table* is the sorted set of rows of one directory, snapshot or listing. A *piece* is the part of a file that is
//! hashed and stored by itself. Everything that decides (`plan`) and
//! everything that acts (`worktree`, `store`, `sync`) speaks in these words.
//!
//! This room is pure: it must not know of disks, networks, clocks or any other module of this crate.

mod hash;
mod path;
mod pieces;
mod row;

pub use hash::{Hash, Hasher};
pub use path::{MAX_PATH_BYTES, MAX_SEGMENT_BYTES, PathError, RelPath, read_spelling, spell};
pub use pieces::{
    Cut, Frame, MAX_PIECE_BYTES, PIECE_BYTES, PackName, Piece, PieceHasher, PieceOf, Pieces, Place, cut, is_zero,
    piece_bytes, piece_count,
};
pub use row::{ETag, Kind, PERMISSION_BITS, Removed, Row, Rows, tree_digest};
