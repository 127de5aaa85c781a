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
mod overlay;
pub mod pack;
mod places;
mod row;
mod succession;
mod tree;

pub use error::FormatError;
pub use head::{HEAD_FORMAT, HISTORY_LIMIT, Head, HeadState, HistoryEntry, LINEAGE_LIMIT, Written};
pub use id::{Gc, SnapshotId, WriteId};
pub use keys::{PackId, Stored, pack_key};
pub use mirror::{MIRROR_FORMAT, Mirror, MirrorHeader, MirrorRow, MirrorRows, Mirrored};
pub use overlay::outgrown;
pub use succession::{Counts, TagError};
pub use tree::{Limits, TREE_FORMAT, Tree, TreeHeader};

/// The key of head.json below the workspace's prefix.
pub const HEAD_KEY: &str = ".stopover/head.json";

#[cfg(test)]
mod tests {
    use super::*;

    /// The fenced block of this language in docs/format.md.
    fn example(language: &str) -> String {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md")).unwrap();
        let (_, from) = page.split_once(&format!("```{language}\n")).unwrap();
        from.split_once("```").unwrap().0.to_owned()
    }

    #[test]
    fn the_examples_of_the_format_page_are_what_is_read_and_written() {
        let head = example("json");
        assert_eq!(String::from_utf8(Head::decode(head.as_bytes()).unwrap().encode()).unwrap(), head);
        let text = example("jsonl");
        let tree = Tree::decode(&zstd::encode_all(text.as_bytes(), 3).unwrap()[..], &Limits::default()).unwrap();
        assert_eq!(String::from_utf8(zstd::decode_all(&tree.encode().unwrap()[..]).unwrap()).unwrap(), text);
        assert_eq!(tree.header.id, Head::decode(head.as_bytes()).unwrap().snapshot.unwrap());
        let (one, other) = (tree.rows.iter().next().unwrap().1, tree.rows.iter().next_back().unwrap().1);
        assert!(one.same(other) && one.hash == crate::rows::Hash::of(b"hello"));
    }
}
