use proptest::prelude::*;

use super::*;
use crate::{
    rows::{Hash, Piece, PieceOf, Pieces, Row, cut},
    snapshot::{
        SnapshotId,
        frame::{self, Coding, FrameReader, FrameWriter, HEAD_BYTES},
    },
};

fn pack(number: u32) -> PackId {
    PackId { id: SnapshotId::new(5, [5; 6]), number }
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; size];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn words(size: usize, seed: u64) -> Vec<u8> {
    let line = format!("line {seed} of a source file that repeats itself\n");
    line.bytes().cycle().take(size).collect()
}

fn coded(pieces: &[Vec<u8>]) -> Vec<CodedFrame<usize>> {
    let mut writer = FrameWriter::new().unwrap();
    let mut frames = Vec::new();
    for (index, content) in pieces.iter().enumerate() {
        frames.extend(writer.add(index, content).unwrap());
    }
    frames.extend(writer.finish().unwrap());
    assert!(writer.finish().unwrap().is_none());
    frames
}

/// Packs of these pieces, and where each piece lies.
fn packed(pieces: &[Vec<u8>]) -> Vec<Pack<usize, Vec<u8>>> {
    let mut packs = Vec::new();
    let mut writer = PackWriter::new(pack(0), Vec::new());
    for frame in coded(pieces) {
        if !writer.takes(&frame) {
            let next = PackWriter::new(pack(packs.len() as u32 + 1), Vec::new());
            packs.extend(std::mem::replace(&mut writer, next).finish().unwrap());
        }
        writer.append(frame).unwrap();
    }
    packs.extend(writer.finish().unwrap());
    packs
}

fn whole_file<'a>(content: &[u8], place: &'a Place) -> PieceOf<'a> {
    PieceOf { at: 0, length: content.len() as u32, hash: Hash::of(content), alone: true, place: Some(place) }
}

/// Reads every piece back as a restore does: its frame's range of the pack, and itself out of it.
fn assert_all_there(pieces: &[Vec<u8>], packs: &[Pack<usize, Vec<u8>>]) {
    let mut reader = FrameReader::new().unwrap();
    let mut seen = 0;
    for pack in packs {
        assert_eq!(pack.length, pack.to.len() as u64);
        for (index, place) in &pack.places {
            let frame = place.frame().unwrap();
            assert_eq!(frame.pack, pack.name);
            let range = frame.range();
            let content = reader.inflate(frame, &pack.to[range.start as usize..range.end as usize]).unwrap();
            let piece = whole_file(&pieces[*index], place);
            assert_eq!(frame::piece(content, &piece).unwrap(), &pieces[*index][..]);
            assert_eq!(*index, seen);
            seen += 1;
        }
        let heads: Vec<(u64, FrameHead)> = frames(&pack.to).map(Result::unwrap).collect();
        assert_eq!(heads.iter().map(|(_, head)| u64::from(head.length())).sum::<u64>(), pack.length);
    }
    assert_eq!(seen, pieces.len());
}

#[test]
fn small_files_share_a_frame_of_a_mebibyte() {
    let pieces: Vec<Vec<u8>> = (0..300).map(|n| words(10_000, n)).collect();
    let packs = packed(&pieces);
    assert_all_there(&pieces, &packs);
    let heads: Vec<FrameHead> = frames(&packs[0].to).map(|head| head.unwrap().1).collect();
    assert_eq!(heads.iter().map(|head| head.inflated).collect::<Vec<_>>(), [1_040_000, 1_040_000, 920_000]);
    assert!(heads.iter().all(|head| head.coding == Coding::Zstd && head.body < head.inflated / 20));
}

#[test]
fn what_does_not_shrink_stays_as_it_is() {
    let pieces = [noise(1 << 20, 1), noise(1, 2), noise(700, 3), words(5000, 1)];
    let packs = packed(&pieces);
    assert_all_there(&pieces, &packs);
    let heads: Vec<FrameHead> = frames(&packs[0].to).map(|head| head.unwrap().1).collect();
    assert_eq!(heads[0], FrameHead { coding: Coding::Raw, inflated: 1 << 20, body: 1 << 20 });
    assert_eq!(heads[1].coding, Coding::Zstd);
    // As `dd` finds it.
    assert_eq!(packs[0].to[HEAD_BYTES as usize..][..1 << 20], pieces[0][..]);
}

#[test]
fn zstd_alone_reads_a_compressed_frame() {
    let pieces = [words(3000, 1), words(3000, 2)];
    let packs = packed(&pieces);
    // The head is a frame that zstd skips.
    assert_eq!(zstd::decode_all(&packs[0].to[..]).unwrap(), pieces.concat());
}

#[test]
fn packs_are_of_16_to_32_mebibytes_but_for_the_last() {
    // Pieces of 16 MiB that do not shrink, then many small ones.
    let mut pieces: Vec<Vec<u8>> = (0..2).map(|n| noise(16 << 20, n)).collect();
    pieces.insert(1, noise(100, 9));
    pieces.extend((0..20).map(|n| noise(1 << 20, 100 + n)));
    let packs = packed(&pieces);
    assert_all_there(&pieces, &packs);
    for (number, pack) in packs.iter().enumerate() {
        assert_eq!(pack.name, self::pack(number as u32).name());
        assert!(pack.length <= PACK_BYTES);
        assert!(pack.length >= FULL_PACK_BYTES || number + 1 == packs.len(), "{}", pack.length);
    }
    assert!(packs.len() >= 3);
}

#[test]
fn pieces_of_a_large_file_are_found_by_their_place_in_it() {
    let content = [noise(1 << 20, 1), words(1 << 20, 2), vec![0; 1 << 20], words(77, 3)].concat();
    let found = cut(&content);
    let row = Row { pieces: found.pieces, ..Row::file(found.hash, found.size, 0o644) };
    let parts: Vec<Vec<u8>> = (row.each_piece().unwrap().filter(|piece| piece.place.is_none()))
        .map(|piece| content[piece.at as usize..][..piece.length as usize].to_vec())
        .collect();
    let packs = packed(&parts);
    let Pieces::Many(mut pieces) = row.pieces.clone() else { panic!("one piece") };
    let missing: Vec<&mut Piece> = pieces.iter_mut().filter(|piece| piece.place.is_none()).collect();
    for (piece, (_, place)) in missing.into_iter().zip(&packs[0].places) {
        piece.place = Some(place.clone());
    }
    let row = Row { pieces: Pieces::Many(pieces), ..row };
    assert!(row.is_stored() && row.pieces_fit());
    let mut reader = FrameReader::new().unwrap();
    let mut restored = Vec::new();
    for piece in row.each_piece().unwrap() {
        let Some(Place::In { frame, .. }) = piece.place else {
            assert!(piece.holds_zeros());
            restored.resize(restored.len() + piece.length as usize, 0);
            continue;
        };
        let range = frame.range();
        let inflated = reader.inflate(frame, &packs[0].to[range.start as usize..range.end as usize]).unwrap();
        restored.extend_from_slice(frame::piece(inflated, &piece).unwrap());
        // The same bytes are no other piece of the file.
        assert!(frame::piece(inflated, &PieceOf { at: piece.at + (1 << 20), ..piece }).is_err());
    }
    assert_eq!(restored, content);
}

#[test]
fn a_piece_that_is_none_is_not_taken() {
    let mut writer = FrameWriter::new().unwrap();
    assert!(writer.add(0, b"").is_err());
    assert!(writer.add(0, &vec![1; (16 << 20) + 1]).is_err());
    assert!(PackWriter::<u8, Vec<u8>>::new(pack(0), Vec::new()).finish().unwrap().is_none());
    let mut full = PackWriter::new(pack(0), Vec::new());
    for frame in coded(&(0..16).map(|n| noise(1 << 20, n)).collect::<Vec<_>>()) {
        full.append(frame).unwrap();
    }
    let more = coded(&[words(10, 1)]).pop().unwrap();
    assert!(full.is_full() && !full.takes(&more) && full.append(more).is_err());
}

/// A frame of two pieces, its bytes, and what a tree says of it.
fn sample() -> (Vec<u8>, Frame, Vec<Vec<u8>>) {
    let pieces = vec![words(3000, 1), words(500, 2)];
    let packs = packed(&pieces);
    let frame = packs[0].places[0].1.frame().unwrap();
    (packs[0].to.clone(), (**frame).clone(), pieces)
}

fn said(frame: &Frame, bytes: &[u8]) -> String {
    FrameReader::new().unwrap().inflate(frame, bytes).map(<[u8]>::len).unwrap_err().to_string()
}

#[test]
fn a_frame_must_be_what_the_tree_says_and_no_longer_than_it_says_itself() {
    let (bytes, frame, pieces) = sample();
    let change = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        bytes
    };
    assert!(said(&Frame { inflated: 3501, ..frame.clone() }, &bytes).contains("not as long as the tree says"));
    assert!(
        said(&Frame { length: frame.length + 1, ..frame.clone() }, &bytes).contains("not as long as the tree says")
    );
    assert!(said(&frame, &bytes[..bytes.len() - 1]).contains("cut off"));
    assert!(said(&frame, &[&bytes[..], b"x"].concat()).contains("cut off, or more follows"));
    assert!(said(&frame, b"").contains("shorter than"));
    assert!(said(&frame, &change(0, 0)).contains("no frame begins here"));
    assert!(said(&frame, &change(8, 0)).contains("the frame at 0 of pack 0000000005-050505050505-0 is damaged"));
    for (at, value) in [(10, 2), (11, 2), (11, 255)] {
        let error = FrameReader::new().unwrap().inflate(&frame, &change(at, value)).map(<[u8]>::len).unwrap_err();
        assert!(error.is_newer(), "{error}");
    }
    assert!(said(&frame, &change(11, 0)).contains("cannot be as long"));
    // It says 4 GiB.
    let huge = [&bytes[..12], &[0xff; 4], &bytes[16..]].concat();
    assert!(said(&frame, &huge).contains("cannot be as long"));
    // A bomb: a body that inflates to more than is said.
    let body = zstd::bulk::compress(&vec![0; 10 << 20], 1).unwrap();
    let mut bomb = [&bytes[..16], &(body.len() as u32).to_le_bytes(), &body].concat();
    let told = Frame { length: bomb.len() as u32, ..frame.clone() };
    assert!(said(&told, &bomb).contains("cannot be inflated"));
    bomb[12..16].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    assert!(said(&Frame { inflated: 1 << 20, ..told }, &bomb).contains("cannot be inflated"));
    // Less than is said.
    let body = zstd::bulk::compress(&[7; 3000], 1).unwrap();
    let short = [&bytes[..16], &(body.len() as u32).to_le_bytes(), &body].concat();
    assert!(said(&Frame { length: short.len() as u32, ..frame.clone() }, &short).contains("less than it says"));
    // Right frame, other content.
    let place = Place::In { frame: Arc::new(frame.clone()), at: 1 };
    let mut reader = FrameReader::new().unwrap();
    let content = reader.inflate(&frame, &bytes).unwrap();
    assert!(frame::piece(content, &whole_file(&pieces[0], &place)).is_err());
    let outside = Place::In { frame: Arc::new(frame), at: u32::MAX };
    assert!(frame::piece(content, &whole_file(&pieces[0], &outside)).is_err());
    assert!(frame::piece(content, &whole_file(&pieces[0], &Place::Zeros)).is_err());
}

#[test]
fn a_version_or_coding_that_is_not_known_was_made_by_a_newer_stopover() {
    let frame =
        |version, coding| [0x5f, 0x2a, 0x4d, 0x18, 12, 0, 0, 0, b's', b'f', version, coding, 5, 0, 0, 0, 5, 0, 0, 0];
    assert_eq!(FrameHead::read(&frame(1, 0)).unwrap().coding, Coding::Raw);
    for (version, coding) in [(1, 2), (2, 0)] {
        let read = FrameHead::read(&frame(version, coding));
        assert!(matches!(read, Err(FormatError::NewerKind { .. })), "{version} {coding}: {read:?}");
    }
}

#[test]
fn the_frames_of_a_pack_end_where_it_is_damaged() {
    let pieces: Vec<Vec<u8>> = (0..3).map(|n| words(1 << 20, n)).collect();
    let bytes = packed(&pieces).remove(0).to;
    assert_eq!(frames(&bytes).count(), 3);
    let cut: Vec<bool> = frames(&bytes[..bytes.len() - 1]).map(|head| head.is_ok()).collect();
    assert_eq!(cut, [true, true, false]);
    assert_eq!(frames(&[&bytes[..], &[0; 30]].concat()).filter(Result::is_err).count(), 1);
    assert_eq!(frames(b"").count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_piece_comes_back(sizes in proptest::collection::vec((1..200_000usize, any::<bool>(), any::<u64>()), 0..40)) {
        let pieces: Vec<Vec<u8>> =
            sizes.into_iter().map(|(size, plain, seed)| if plain { words(size, seed) } else { noise(size, seed) }).collect();
        assert_all_there(&pieces, &packed(&pieces));
    }

    #[test]
    fn hostile_frames_are_refused_or_inflate_to_what_they_say(at in 0..10_000usize, byte: u8, cut in 0..10_000usize, what in 0..3) {
        let (mut bytes, frame, pieces) = sample();
        let at = at % bytes.len();
        match what {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => bytes.truncate(cut % bytes.len()),
        }
        let mut reader = FrameReader::new().unwrap();
        if let Ok(content) = reader.inflate_alone(&bytes) {
            prop_assert!(content.len() <= 16 << 20);
        }
        if let Ok(content) = reader.inflate(&frame, &bytes) {
            prop_assert_eq!(content.len(), frame.inflated as usize);
            let place = Place::In { frame: Arc::new(frame.clone()), at: 0 };
            if let Ok(found) = frame::piece(content, &whole_file(&pieces[0], &place)) {
                prop_assert_eq!(found, &pieces[0][..]);
            }
        }
        prop_assert!(frames(&bytes).count() <= 1 + bytes.len() / 20);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), begin: bool) {
        let (sample, ..) = sample();
        let bytes = if begin { [&sample[..12], &bytes].concat() } else { bytes };
        let _ = FrameReader::new().unwrap().inflate_alone(&bytes).map(<[u8]>::len);
        let _ = frames(&bytes).count();
    }
}
