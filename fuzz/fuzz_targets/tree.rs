//! Trees: what is read can be written and read again; an overlay over its base is the tree it was made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use stopover_fuzz::{LIMITS, object, snapshot::Tree};

/// A whole tree of another snapshot.
static OTHER: LazyLock<Tree> = LazyLock::new(|| {
    let text = include_bytes!("../seeds/tree/live");
    Tree::decode(&object(text)[..], &LIMITS).expect("the seed is a tree")
});

fuzz_target!(|input: &[u8]| {
    let bytes = object(input);
    let header = Tree::decode_header(&bytes[..], &LIMITS);
    let Ok(tree) = Tree::decode(&bytes[..], &LIMITS) else { return };
    assert_eq!(header.expect("a tree has a header").0, tree.header);
    let again = Tree::decode(&tree.encode().expect("it can be written")[..], &LIMITS).expect("it can be read again");
    assert_eq!(again.rows, tree.rows);
    for (_, row) in tree.not_stored() {
        assert!(row.pieces_fit());
    }
    if tree.header.base.is_some() {
        let mut base = OTHER.clone();
        base.header.id = tree.header.base.expect("an overlay has a base");
        let _ = Tree::whole(base, tree);
    } else if tree.header.id != OTHER.header.id {
        let overlay = Tree::overlay(&OTHER, &again).expect("both are whole");
        let whole = Tree::whole(OTHER.clone(), overlay).expect("both are one tree");
        assert_eq!(whole.rows, again.rows);
    }
});
