//! Packs and frames: hostile bytes are refused or inflate to what they say; what is written comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stopover_fuzz::{
    rows::{Hash, PieceOf, Place},
    snapshot::{
        PackId, SnapshotId,
        frame::{self, FrameReader, FrameWriter},
        pack::{self, PackWriter},
    },
};

fuzz_target!(|input: &[u8]| {
    let mut reader = FrameReader::new().expect("memory");
    // As a pack.
    for found in pack::frames(input) {
        let Ok((at, head)) = found else { break };
        let bytes = &input[at as usize..][..head.length() as usize];
        if let Ok(content) = reader.inflate_alone(bytes) {
            assert_eq!(content.len(), head.inflated as usize);
        }
    }
    // As content: pieces, each as long as the byte before it says.
    let mut writer = FrameWriter::new().expect("memory");
    let id = PackId { id: SnapshotId::new(1, [1; 6]), number: 0 };
    let mut packing = PackWriter::new(id, Vec::new());
    let (mut rest, mut pieces) = (input, Vec::new());
    while let Some((length, after)) = rest.split_first() {
        let (piece, later) = after.split_at(after.len().min(usize::from(*length) * 16 + 1));
        if piece.is_empty() {
            break;
        }
        if let Some(frame) = writer.add(pieces.len(), piece).expect("a piece") {
            packing.append(frame).expect("room");
        }
        pieces.push(piece);
        rest = later;
    }
    if let Some(frame) = writer.finish().expect("a frame") {
        packing.append(frame).expect("room");
    }
    let Some(packed) = packing.finish().expect("a pack") else { return };
    for (index, place) in &packed.places {
        let Place::In { frame, .. } = place else { panic!("no frame") };
        let range = frame.range();
        let content = reader.inflate(frame, &packed.to[range.start as usize..range.end as usize]).expect("a frame");
        let length = pieces[*index].len() as u32;
        let piece = PieceOf { at: 0, length, hash: Hash::of(pieces[*index]), alone: true, place: Some(place) };
        assert_eq!(frame::piece(content, &piece).expect("the piece"), pieces[*index]);
    }
    assert_eq!(packed.places.len(), pieces.len());
});
