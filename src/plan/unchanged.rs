//! Which bytes of a content another content has at the same place: what a server can copy from the one for the other.

use std::ops::Range;

use crate::rows::{Row, piece_bytes};

/// The ranges in which `new` is what `old` is there: whole pieces, as long as can be, in order. None where nobody knows
/// the pieces of one, or they are cut otherwise.
#[must_use]
pub fn unchanged(old: &Row, new: &Row) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    // A piece's hash says where it lies, too. That it is a piece of this content only the sum of all of them says.
    let is_sound = old.pieces_fit() && new.pieces_fit() && piece_bytes(old.size) == piece_bytes(new.size);
    let (true, Some(before), Some(after)) = (is_sound, old.each_piece(), new.each_piece()) else { return ranges };
    for (before, after) in before.zip(after) {
        if before.alone || after.alone || before.hash != after.hash || before.length != after.length {
            continue;
        }
        let end = after.at + u64::from(after.length);
        match ranges.last_mut().filter(|last| last.end == after.at) {
            Some(last) => last.end = end,
            None => ranges.push(after.at..end),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Hash, PIECE_BYTES, Pieces, cut};

    fn row(content: &[u8]) -> Row {
        let cut = cut(content);
        Row { pieces: cut.pieces, ..Row::file(cut.hash, cut.size, 0o644) }
    }

    /// Each piece another one.
    fn content(length: u64) -> Vec<u8> {
        (0..length).map(|at| (at / PIECE_BYTES) as u8 ^ (at % 251) as u8).collect()
    }

    const M: u64 = PIECE_BYTES;

    fn same(old: &Row, new: &Row) -> Vec<(u64, u64)> {
        unchanged(old, new).into_iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn what_was_not_touched_is_unchanged_whole_pieces_at_a_time() {
        let old = content(6 * M + 9);
        let mut new = old.clone();
        assert_eq!(same(&row(&old), &row(&new)), [(0, 6 * M + 9)]);
        new[(2 * M) as usize] ^= 1;
        assert_eq!(same(&row(&old), &row(&new)), [(0, 2 * M), (3 * M, 6 * M + 9)]);
        new[(6 * M) as usize] ^= 1;
        assert_eq!(same(&row(&old), &row(&new)), [(0, 2 * M), (3 * M, 6 * M)]);
    }

    #[test]
    fn what_was_moved_is_not_unchanged() {
        let old = content(4 * M);
        let new = [&old[M as usize..], &old[..M as usize]].concat();
        assert_eq!(same(&row(&old), &row(&new)), []);
        // The same bytes everywhere, but where each piece lies counts.
        let first = [vec![7; M as usize], content(2 * M)].concat();
        let moved = [content(2 * M), vec![7; M as usize]].concat();
        assert_eq!(same(&row(&first), &row(&moved)), []);
    }

    #[test]
    fn a_file_that_grew_or_shrank_is_unchanged_up_to_there() {
        let (short, long) = (content(3 * M + 5), content(5 * M));
        assert_eq!(same(&row(&short), &row(&long)), [(0, 3 * M)]);
        assert_eq!(same(&row(&long), &row(&short)), [(0, 3 * M)]);
    }

    #[test]
    fn pieces_that_are_not_those_of_the_content_say_nothing() {
        let old = row(&content(4 * M));
        let lie = Row { hash: Hash::of(b"another"), ..old.clone() };
        assert_eq!(same(&lie, &old), []);
        assert_eq!(same(&old, &lie), []);
        assert_eq!(same(&Row { pieces: Pieces::None, ..old.clone() }, &old), []);
        assert_eq!(same(&row(b"small"), &row(b"small")), []);
        assert_eq!(same(&Row::dir(0o755), &Row::dir(0o755)), []);
    }
}
