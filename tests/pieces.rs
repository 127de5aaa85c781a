//! Large files, piece by piece: whatever is done to a part of one, a commit stores what it holds, and a restore brings it
//! back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    fs::{self, FileTimes, OpenOptions},
    os::unix::fs::FileExt,
};

use stopover::sys::fs::Mapping;
use support::{servers::Server, story::Story};

const PIECE: usize = 1 << 20;

/// What is done to a file between two commits.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Store a byte in its first page through a mapping that stays.
    Store(u8),
    /// Write all of a piece in place, and set the times back.
    Piece(usize, u8),
    /// Truncate, and write as many bytes with another piece.
    Rewrite(usize, u8),
    /// One byte in the middle of a piece.
    Byte(usize, u8),
    /// A shorter or longer one.
    Length(usize),
    /// A hole where a piece was.
    Hole(usize),
    /// The app lets go of its mapping.
    Unmap,
}

fn content(size: usize, piece: usize, byte: u8) -> Vec<u8> {
    let mut content: Vec<u8> = (0..size).map(|at| (at / PIECE) as u8 ^ (at % 251) as u8).collect();
    content.chunks_mut(PIECE).nth(piece).unwrap().fill(byte);
    content
}

#[test]
fn what_is_done_to_a_part_of_a_file_is_stored_and_restored() {
    use Act::{Byte, Hole, Length, Piece, Rewrite, Store, Unmap};
    let story = Story::on(&Server::here());
    let here = story.directory("here");
    here.pull().exits(0);
    let size = 2 * PIECE + 17;
    let path = here.path.join("large");
    fs::write(&path, content(size, 0, 1)).unwrap();
    here.checkpoint().exits(0);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut kept = None;
    for (number, acts) in [
        &[Store(2)][..],
        // The page is dirty already: this moves no time.
        &[Store(3)],
        &[Store(4), Piece(1, 5)],
        &[Piece(2, 6)],
        &[Rewrite(1, 7)],
        &[Rewrite(0, 7), Store(8)],
        &[Unmap, Byte(1, 9)],
        &[Hole(1)],
        &[Length(PIECE), Byte(0, 10)],
        &[Length(3 * PIECE), Store(11)],
        &[Store(12), Byte(2, 13), Hole(0)],
        &[Piece(0, 14), Piece(0, 15)],
    ]
    .into_iter()
    .enumerate()
    {
        for act in acts {
            let before = file.metadata().unwrap();
            match *act {
                Store(byte) => kept.get_or_insert_with(|| Mapping::new(&file).unwrap()).store(byte),
                Piece(piece, byte) => {
                    let length = PIECE.min(before.len() as usize - piece * PIECE);
                    file.write_all_at(&vec![byte; length], (piece * PIECE) as u64).unwrap();
                    let times = FileTimes::new().set_modified(before.modified().unwrap());
                    file.set_times(times.set_accessed(before.accessed().unwrap())).unwrap();
                }
                Rewrite(piece, byte) => fs::write(&path, content(before.len() as usize, piece, byte)).unwrap(),
                Byte(piece, byte) => file.write_all_at(&[byte], (piece * PIECE + PIECE / 2) as u64).unwrap(),
                Length(size) => file.set_len(size as u64).unwrap(),
                Hole(piece) => file.write_all_at(&vec![0; PIECE], (piece * PIECE) as u64).unwrap(),
                Unmap => kept = None,
            }
        }
        let receipt = here.stopover(&["commit", "--json"]).exits(0).json();
        assert_eq!(receipt["files_changed"], 1, "{acts:?}: {receipt}");
        let next = story.directory(&format!("next-{number}"));
        next.pull().exits(0);
        let (wanted, found) = (fs::read(&path).unwrap(), fs::read(next.path.join("large")).unwrap());
        assert!(wanted == found, "{number}: {acts:?}");
        assert!(story.outsider.get(&story.key("large")).unwrap().bytes == wanted, "{number}: {acts:?}");
        fs::remove_dir_all(&next.path).unwrap();
    }
}
