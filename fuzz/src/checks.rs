//! What holds for any bytes that are read from the bucket: the fuzz targets, and a test that needs no fuzzer, call these.

use std::sync::LazyLock;

use crate::{
    rows::{Hash, PieceOf, Place, RelPath, read_spelling, spell},
    snapshot::{
        Counts, Head, HeadState, Limits, Mirror, PackId, SnapshotId, Tree, WriteId, Written,
        frame::{self, FrameReader, FrameWriter},
        pack::{self, PackWriter},
    },
};

/// Small enough that whoever takes more memory than this allows is seen at once (`-malloc_limit_mb`).
pub const LIMITS: Limits = Limits { bytes: 1 << 20, line: 64 << 10, rows: 10_000 };

/// What a target reads: the input as it is, or as the content of a zstd frame if it begins with `t`, so that the fuzzer
/// need not learn to compress.
pub fn object(input: &[u8]) -> Vec<u8> {
    let Some((b't', text)) = input.split_first() else { return input.to_vec() };
    // A frame without content size, of raw blocks: 8 KiB window, no checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let mut blocks = text.chunks(100 << 10).peekable();
    while let Some(block) = blocks.next() {
        let head = (block.len() as u32) << 3 | u32::from(blocks.peek().is_none());
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    if text.is_empty() {
        frame.extend_from_slice(&[1, 0, 0]);
    }
    frame
}

/// head.json: what is read can be written and read again, and every head that follows it, too.
pub fn head(bytes: &[u8]) {
    let Ok(head) = Head::decode(bytes) else { return };
    assert_eq!(Head::decode(&head.encode()).expect("it can be read again"), head);
    let written = || Written { write_id: WriteId::new([1; 6]), writer: "w".to_owned(), time: head.time };
    let id = SnapshotId::new(head.next_seq(), [2; 6]);
    let next = Head::live_over(Some(&head), id, head.mirror, Counts::default(), [3; 6], written());
    // The very last number has no head after it; that is said, not written.
    if next.check().is_ok() {
        assert_eq!(Head::decode(&next.encode()).expect("the next one can be read"), next);
    }
    if head.state != HeadState::Deleted {
        for other in [head.pruned([4; 6], written()), head.tombstone([5; 6], written())] {
            assert_eq!(Head::decode(&other.encode()).expect("what follows can be read"), other);
        }
    }
    for entry in &head.history {
        if let Ok(tagged) = head.tagged(&entry.snapshot, "tag", written()) {
            assert_eq!(tagged.tag("tag").map(|entry| entry.snapshot), Some(entry.snapshot));
        }
    }
}

/// A whole tree of another snapshot.
static OTHER_TREE: LazyLock<Tree> = LazyLock::new(|| {
    let text = include_bytes!("../seeds/tree/live");
    Tree::decode(&object(text)[..], &LIMITS).expect("the seed is a tree")
});

/// Trees: what is read can be written and read again; an overlay over its base is the tree it was made of.
pub fn tree(input: &[u8]) {
    let bytes = object(input);
    let header = Tree::decode_header(&bytes[..], &LIMITS);
    let Ok(tree) = Tree::decode(&bytes[..], &LIMITS) else { return };
    assert_eq!(header.expect("a tree has a header").0, tree.header);
    let again = Tree::decode(&tree.encode().expect("it can be written")[..], &LIMITS).expect("it can be read again");
    assert_eq!(again.rows, tree.rows);
    for (_, row) in tree.not_stored() {
        assert!(row.pieces_fit());
    }
    if let Some(id) = tree.header.base {
        let mut base = OTHER_TREE.clone();
        base.header.id = id;
        let _ = Tree::whole(base, tree);
    } else if tree.header.id != OTHER_TREE.header.id {
        let overlay = Tree::overlay(&OTHER_TREE, &again).expect("both are whole");
        let whole = Tree::whole(OTHER_TREE.clone(), overlay).expect("both are one tree");
        assert_eq!(whole.rows, again.rows);
    }
}

/// A whole mirror of another snapshot.
static OTHER_MIRROR: LazyLock<Mirror> = LazyLock::new(|| {
    let text = include_bytes!("../seeds/mirror/whole");
    Mirror::decode(&object(text)[..], &LIMITS).expect("the seed is a mirror")
});

/// Mirrors: what is read can be written and read again; an overlay over its base is the mirror it was made of.
pub fn mirror(input: &[u8]) {
    let bytes = object(input);
    let header = Mirror::decode_header(&bytes[..], &LIMITS);
    let Ok(mirror) = Mirror::decode(&bytes[..], &LIMITS) else { return };
    assert_eq!(header.expect("a mirror has a header"), mirror.header);
    let again =
        Mirror::decode(&mirror.encode().expect("it can be written")[..], &LIMITS).expect("it can be read again");
    assert_eq!(again, mirror);
    if let Some(base) = mirror.header.base {
        let mut other = OTHER_MIRROR.clone();
        other.header.id = base;
        let rows = mirror.rows.clone();
        let whole = Mirror::whole(other, mirror).expect("any base has facts");
        assert!(rows.iter().all(|(path, row)| whole.rows.get(path) == Some(row)));
    } else {
        let overlay = Mirror::overlay(&OTHER_MIRROR, &mirror).expect("both are whole");
        assert_eq!(Mirror::whole(OTHER_MIRROR.clone(), overlay).expect("both are one mirror"), mirror);
    }
}

/// Packs and frames: hostile bytes are refused or inflate to what they say; what is written comes back.
pub fn frame(input: &[u8]) {
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
}

fn assert_inside(path: &RelPath) {
    assert!(path.segments().all(|name| !matches!(name, b"" | b"." | b".." | b".stopover") && !name.contains(&0)));
    assert!(path.as_path().is_relative() && path.as_bytes().len() < 4096);
}

/// Paths and spellings: nothing leads out of the workspace, and no two texts mean one path.
pub fn path(bytes: &[u8]) {
    assert_eq!(read_spelling(&spell(bytes)).expect("it is spelt by the rule"), bytes);
    if let Ok(path) = RelPath::new(bytes) {
        assert_inside(&path);
        assert_eq!(RelPath::from_text(&path.to_text()).expect("it is spelt by the rule"), path);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(path) = RelPath::from_text(text) {
            assert_inside(&path);
            assert_eq!(path.to_text(), text);
        }
        if let Ok(read) = read_spelling(text) {
            assert_eq!(spell(&read), text);
        }
    }
}
