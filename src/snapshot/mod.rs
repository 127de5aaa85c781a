//! Formats of what lies below `.stopover/` in the bucket: head, tree, mirror, pack. `docs/format.md` describes them for people.
//!
//! Decoders take hostile bytes: every length is bounded before it is used, nothing panics, and what a newer stopover
//! wrote is refused as such. Unknown keys are passed over, so that a format can grow without a new number.
//!
//! This room is pure: it must not know where the bytes come from or go to, nor what is decided with them.

mod error;
pub mod frame;
mod head;
mod id;
mod keys;
mod lines;
mod mirror;
mod missing;
mod overlay;
pub mod pack;
mod places;
mod row;
mod succession;
mod tree;

pub use error::FormatError;
pub use head::{HEAD_FORMAT, HISTORY_LIMIT, Head, HeadState, HistoryEntry, LINEAGE_LIMIT, Written, lineage_with};
pub use id::{Gc, SnapshotId, WriteId};
pub use keys::{PackId, Stored, pack_key};
pub use mirror::{MIRROR_FORMAT, Mirror, MirrorHeader, MirrorRow, MirrorRows, Mirrored};
pub use missing::Missing;
pub use overlay::outgrown;
pub use succession::{Counts, TagError};
pub use tree::{Limits, TREE_FORMAT, Tree, TreeHeader};

/// The key of head.json below the workspace's prefix.
pub const HEAD_KEY: &str = ".stopover/head.json";

#[cfg(test)]
mod tests {
    use super::*;

    use crate::rows::{Hash, PieceOf, Pieces, Row, cut};

    /// The fenced blocks of this language in docs/format.md.
    fn examples(language: &str) -> Vec<String> {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md")).unwrap();
        let begin = format!("```{language}\n");
        let blocks = page.split(&begin).skip(1);
        blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
    }

    fn lines(bytes: &[u8]) -> String {
        String::from_utf8(zstd::decode_all(bytes).unwrap()).unwrap()
    }

    /// The tree of this example, which is written as it is read.
    fn tree(text: &str) -> Tree {
        let tree = Tree::decode(&zstd::encode_all(text.as_bytes(), 3).unwrap()[..], &Limits::default()).unwrap();
        assert_eq!(lines(&tree.encode().unwrap()), text);
        tree
    }

    #[test]
    fn the_examples_of_the_format_page_are_what_is_read_and_written() {
        let head = &examples("json")[0];
        assert_eq!(String::from_utf8(Head::decode(head.as_bytes()).unwrap().encode()).unwrap(), *head);
        let [plain, live, overlay, mirror] = &examples("jsonl")[..] else { panic!("other examples") };
        let plain = tree(plain);
        assert_eq!(plain.header.id, Head::decode(head.as_bytes()).unwrap().snapshot.unwrap());
        let (one, other) = (plain.rows.iter().next().unwrap().1, plain.rows.iter().next_back().unwrap().1);
        assert!(one.same(other) && one.hash == Hash::of(b"hello"));

        let live = tree(live);
        let content = [&[1; 1 << 20][..], &[0; 1 << 20], b"end"].concat();
        let found = |path: &str| live.rows.get(path.as_bytes()).unwrap();
        let row = Row { pieces: cut(&content).pieces, ..Row::file(Hash::of(&content), content.len() as u64, 0o600) };
        let hashes = |row: &Row| row.each_piece().unwrap().map(|piece| piece.hash).collect::<Vec<_>>();
        assert_eq!((found("app.db").hash, hashes(found("app.db"))), (row.hash, hashes(&row)));
        assert_eq!(found("spare").hash, Hash::of(&[0; 4096]));
        assert!(matches!(found("spare").pieces, Pieces::One(_)) && live.not_stored().next().is_none());

        let overlay = tree(overlay);
        let whole = Tree::whole(live.clone(), overlay).unwrap();
        assert_eq!(whole.rows.len(), live.rows.len() + 2);
        assert_eq!(whole.rows[&b"docs/README.md"[..]].pieces, found("README.md").pieces);

        let read = Mirror::decode(&zstd::encode_all(mirror.as_bytes(), 3).unwrap()[..], &Limits::default()).unwrap();
        assert_eq!(lines(&read.encode().unwrap()), *mirror);
        assert_eq!(read.header.id, live.header.id);

        let hex = &examples("hex")[0];
        let bytes: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let piece: PieceOf<'_> = found("README.md").each_piece().unwrap().next().unwrap();
        let mut reader = frame::FrameReader::new().unwrap();
        let content = reader.inflate(piece.place.unwrap().frame().unwrap(), &bytes).unwrap();
        assert_eq!(frame::piece(content, &piece).unwrap(), b"hello");
    }
}
