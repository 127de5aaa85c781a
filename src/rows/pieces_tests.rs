use proptest::prelude::*;

use super::*;

const MIB: usize = 1 << 20;

fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn row(cut: Cut) -> Row {
    Row { pieces: cut.pieces, ..Row::file(cut.hash, cut.size, 0o644) }
}

#[test]
fn pieces_grow_with_the_file() {
    for (size, step, count) in [
        (0, 1, 0),
        (1, 1, 1),
        (1 << 20, 1, 1),
        ((1 << 20) + 1, 1, 2),
        (4 << 30, 1, 4096),
        ((4 << 30) + 1, 4, 1025),
        (64 << 30, 4, 16384),
        ((64 << 30) + 1, 16, 4097),
    ] {
        assert_eq!((piece_bytes(size), piece_count(size)), (step << 20, count), "{size}");
    }
    assert!(piece_count(u64::MAX) > 1 << 39);
}

#[test]
fn a_file_of_one_piece_is_its_own_piece() {
    for size in [1, 1000, MIB] {
        let bytes = content(size, 3);
        let row = row(cut(&bytes));
        assert_eq!((row.hash, &row.pieces), (Hash::of(&bytes), &Pieces::None));
        let pieces: Vec<_> = row.each_piece().unwrap().collect();
        assert!(pieces.len() == 1 && pieces[0].holds(&bytes) && !pieces[0].holds(&bytes[1..]));
    }
    assert_eq!(row(cut(b"")).each_piece().unwrap().len(), 0);
    assert!(row(cut(b"")).is_stored() && Row::dir(0o755).is_stored() && !row(cut(b"x")).is_stored());
}

#[test]
fn zeros_are_known_without_being_stored() {
    assert_eq!(cut(&[0; 10]).pieces, Pieces::One(Place::Zeros));
    let mut bytes = vec![0; 3 * MIB + 5];
    bytes[MIB + 7] = 1;
    let row = row(cut(&bytes));
    assert!(row.each_piece().unwrap().all(|piece| piece.holds_zeros() == piece.place.is_some()));
    let stored: Vec<bool> = row.each_piece().unwrap().map(|piece| piece.place.is_some()).collect();
    assert_eq!(stored, [true, false, true, true]);
    assert!(row.pieces_fit() && row.hash == Hash::of(&bytes));
    assert_eq!(row.pieces.without_places(), row.pieces);
    assert!(is_zero(&[0; 100_000]) && !is_zero(&[&[0; 99_999][..], &[1]].concat()) && is_zero(b""));
}

#[test]
fn a_file_that_is_not_as_long_as_announced_has_its_hash_all_the_same() {
    let bytes = content(3 * MIB, 9);
    for announced in [0, MIB as u64, 5 << 30, 100 << 30] {
        let mut hasher = PieceHasher::new(announced);
        hasher.update(&bytes);
        let found = hasher.finish();
        assert_eq!((found.hash, found.size), (Hash::of(&bytes), bytes.len() as u64));
        assert!(found.pieces == Pieces::None || found == cut(&bytes), "{announced}");
    }
    let uncut = Row::file(Hash::of(&bytes), bytes.len() as u64, 0o644);
    assert!(uncut.each_piece().is_none() && uncut.pieces_fit() && !uncut.is_stored());
}

#[test]
fn one_changed_page_is_one_changed_piece() {
    let mut bytes = content(5 * MIB + 100, 1);
    let before = row(cut(&bytes));
    bytes[2 * MIB + 4096] ^= 1;
    let after = row(cut(&bytes));
    let changed: Vec<usize> = (before.each_piece().unwrap().zip(after.each_piece().unwrap()).enumerate())
        .filter_map(|(index, (one, other))| (one.hash != other.hash).then_some(index))
        .collect();
    assert_eq!(changed, [2]);
    assert!(!before.same_content(&after));
}

#[test]
fn pieces_that_are_not_the_files_are_found_out_without_its_content() {
    let right = row(cut(&content(2 * MIB + 1, 5)));
    assert!(right.pieces_fit());
    let Pieces::Many(pieces) = &right.pieces else { panic!("one piece") };
    let mut swapped = pieces.clone();
    swapped.swap(0, 1);
    for wrong in [
        Pieces::Many(swapped),
        Pieces::Many(pieces[..2].into()),
        Pieces::Many(Box::default()),
        Pieces::One(Place::Zeros),
    ] {
        assert!(!Row { pieces: wrong, ..right.clone() }.pieces_fit());
    }
    assert!(!Row { pieces: right.pieces.clone(), ..Row::dir(0o755) }.pieces_fit());
    assert!(!Row { size: u64::MAX, ..right.clone() }.pieces_fit());
    assert_eq!(right.clone().with_content(Hash::of(b"y"), 1).pieces, Pieces::None);
}

#[test]
fn a_row_takes_in_where_its_pieces_were_stored() {
    let frame = Arc::new(Frame { pack: PackName::new("p"), at: 0, length: 30, inflated: 10 });
    let place = |at| Place::In { frame: Arc::clone(&frame), at };
    let mut small = row(cut(b"x"));
    assert!(small.set_place(0, place(3)) && !small.set_place(1, place(3)));
    assert!(small.is_stored() && small.set_place(0, place(4)));
    assert_eq!(small.pieces, Pieces::One(place(4)));
    let mut large = row(cut(&content(2 * MIB + 1, 5)));
    let hash = large.hash;
    assert!((0..3).all(|index| !large.is_stored() && large.set_place(index, place(index as u32))));
    assert!(large.is_stored() && large.pieces_fit() && large.hash == hash && !large.set_place(3, place(0)));
    let uncut = Row::file(Hash::of(b"?"), 2 * MIB as u64, 0o644);
    for mut other in [uncut, row(cut(b"")), Row::dir(0o755), Row::symlink(b"x")] {
        assert!(!other.set_place(0, place(0)) && other.pieces == Pieces::None);
    }
}

#[test]
fn a_place_is_no_change() {
    let frame = Arc::new(Frame { pack: PackName::new("p"), at: 0, length: 30, inflated: 10 });
    let row = Row::file(Hash::of(b"x"), 1, 0o644);
    let stored = Row { pieces: Pieces::One(Place::In { frame, at: 4 }), ..row.clone() };
    assert!(row.same(&stored) && row.same_content(&stored) && stored.is_stored() && !row.is_stored());
    assert_eq!(stored.pieces.without_places(), row.pieces);
    assert_eq!(stored.pieces.places().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_cover_a_file_exactly_and_hash_to_it(
        size in prop_oneof![0..5000usize, Just(MIB), Just(MIB + 1), Just(4 * MIB), 0..7 * MIB],
        seed: u64, parts in proptest::collection::vec(1..3 * MIB, 1..6))
    {
        let bytes = content(size, seed);
        let mut hasher = PieceHasher::new(size as u64);
        let mut rest = &bytes[..];
        for part in parts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*part));
            hasher.update(now);
            rest = later;
            if rest.is_empty() { break }
        }
        let found = row(hasher.finish());
        prop_assert_eq!(found.hash, Hash::of(&bytes));
        prop_assert_eq!(found.size, size as u64);
        prop_assert!(found.pieces_fit());
        let mut at = 0;
        for piece in found.each_piece().unwrap() {
            prop_assert_eq!(piece.at, at as u64);
            let end = at + piece.length as usize;
            prop_assert!(piece.length > 0 && piece.holds(&bytes[at..end]));
            at = end;
        }
        prop_assert_eq!(at, size);
    }

    #[test]
    fn any_number_of_values_merges_as_blake3_merges(count in 2..70usize) {
        // Chunks of 1,024 bytes stand for pieces: the tree is the same.
        let bytes = content(count * 1024 - 24, 8);
        let values: Vec<Hash> = bytes.chunks(1024).enumerate()
            .map(|(index, chunk)| chaining_value(chunk, index as u64 * 1024)).collect();
        prop_assert_eq!(merge(count, &|index| *values[index].as_bytes()), Some(Hash::of(&bytes)));
    }
}
