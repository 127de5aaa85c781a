//! Which contents have to go up as packs, which places may be named again, and when it is time to tidy up.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::{Hash, RelPath};

const SMALL_PACK: u64 = 4 << 20;
const MANY_PACKS: usize = 64;

/// What this process has uploaded since it first read the present `gc`. After a prune none of it counts: it may have
/// been swept as nobody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uploads<G, P> {
    gc: G,
    places: BTreeMap<Hash, P>,
}

impl<G: PartialEq, P> Uploads<G, P> {
    /// Nothing yet, since this `gc` was read.
    #[must_use]
    pub const fn since(gc: G) -> Self {
        Self { gc, places: BTreeMap::new() }
    }

    /// Notes where a piece lies whose upload began after this `gc` was read.
    pub fn note(&mut self, piece: Hash, place: P) {
        self.places.insert(piece, place);
    }

    /// What counts under `gc`. Another one than before: everything is forgotten. Says whether it was.
    pub fn forget_before(&mut self, gc: G) -> bool {
        let moved = self.gc != gc;
        if moved {
            self.places.clear();
            self.gc = gc;
        }
        moved
    }

    /// The places that count.
    #[must_use]
    pub const fn places(&self) -> &BTreeMap<Hash, P> {
        &self.places
    }
}

/// What the contents of R need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Needed<P> {
    /// Pieces to upload, each once, with the file they are read from: in the order of the files.
    pub upload: Vec<(RelPath, Hash)>,
    /// Pieces that have a place already.
    pub reuse: BTreeMap<Hash, P>,
    /// Paths whose pieces all have a place.
    pub placed: BTreeSet<RelPath>,
}

/// Compares the pieces of R's files, in the order they are to go up, with the places that may be named: those of the
/// tables in `places`, the first first. Only the trees of head and of its history, and [`Uploads::places`], may be
/// among them. (Zero pieces are not stored: the caller leaves them out.)
#[must_use]
pub fn needed<'a, P: Clone>(
    files: impl IntoIterator<Item = (&'a RelPath, &'a [Hash])>,
    places: &[&BTreeMap<Hash, P>],
) -> Needed<P> {
    let mut needed = Needed { upload: Vec::new(), reuse: BTreeMap::new(), placed: BTreeSet::new() };
    let mut queued = BTreeSet::new();
    for (path, pieces) in files {
        let mut placed = true;
        for piece in pieces {
            if needed.reuse.contains_key(piece) {
                continue;
            }
            if let Some(place) = places.iter().find_map(|places| places.get(piece)) {
                needed.reuse.insert(*piece, place.clone());
                continue;
            }
            placed = false;
            if queued.insert(*piece) {
                needed.upload.push((path.clone(), *piece));
            }
        }
        if placed {
            needed.placed.insert(path.clone());
        }
    }
    needed
}

/// How much of a pack a tree uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackUse<K> {
    /// The pack.
    pub pack: K,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of the frames that hold pieces of the tree.
    pub used: u64,
}

/// The packs whose content a checkpoint packs again from the local disk: those less than half used, and small ones
/// where there are many.
#[must_use]
pub fn packs_to_renew<K: Clone>(packs: &[PackUse<K>]) -> Vec<K> {
    let many = packs.len() > MANY_PACKS;
    let due = |pack: &&PackUse<K>| many && pack.bytes < SMALL_PACK || pack.used < pack.bytes.div_ceil(2);
    packs.iter().filter(due).map(|pack| pack.pack.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::tables::path;

    fn hash(n: u8) -> Hash {
        Hash::of(&[n])
    }

    #[test]
    fn what_was_uploaded_before_a_prune_does_not_count() {
        let mut uploads = Uploads::since(1);
        uploads.note(hash(1), "a");
        assert!(!uploads.forget_before(1));
        assert_eq!(uploads.places().len(), 1);
        assert!(uploads.forget_before(2));
        assert!(uploads.places().is_empty());
    }

    #[test]
    fn each_missing_piece_goes_up_once_and_the_others_keep_their_places() {
        let (a, b, c) = (path("a"), path("b"), path("c"));
        let (head, uploaded) =
            (BTreeMap::from([(hash(1), "head")]), BTreeMap::from([(hash(1), "up"), (hash(2), "up")]));
        let files =
            [(&c, &[hash(3), hash(1)][..]), (&a, &[hash(1), hash(2)][..]), (&b, &[hash(4), hash(3), hash(4)][..])];
        let needed = needed(files, &[&head, &uploaded]);
        assert_eq!(needed.upload, [(c, hash(3)), (b, hash(4))]);
        assert_eq!(needed.reuse, [(hash(1), "head"), (hash(2), "up")].into());
        assert_eq!(needed.placed, [a].into());
    }

    #[test]
    fn tidying_is_due_by_the_numbers() {
        let pack = |pack: usize, bytes, used| PackUse { pack, bytes, used };
        let mut packs: Vec<_> = (0..64).map(|n| pack(n, 1 << 20, 1 << 20)).collect();
        packs[3].used = (1 << 19) - 1;
        assert_eq!(packs_to_renew(&packs), [3]);
        packs.push(pack(64, 16 << 20, 8 << 20));
        assert_eq!(packs_to_renew(&packs), (0..64).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_piece_is_reused_or_uploaded_and_none_is_both(
            files in proptest::collection::vec((0..20u8, proptest::collection::vec(0..12u8, 0..5)), 0..8),
            there in proptest::collection::btree_set(0..12u8, 0..8))
        {
            let files: Vec<_> = files.into_iter().map(|(n, pieces)|
                (path(&format!("f{n}")), pieces.into_iter().map(hash).collect::<Vec<_>>())).collect();
            let places: BTreeMap<Hash, u8> = there.into_iter().map(|n| (hash(n), n)).collect();
            let needed = needed(files.iter().map(|(at, pieces)| (at, &pieces[..])), &[&places]);
            let upload: BTreeSet<Hash> = needed.upload.iter().map(|(_, piece)| *piece).collect();
            prop_assert_eq!(upload.len(), needed.upload.len());
            for piece in files.iter().flat_map(|(_, pieces)| pieces) {
                prop_assert_eq!(places.contains_key(piece), needed.reuse.contains_key(piece));
                prop_assert_eq!(places.contains_key(piece), !upload.contains(piece));
            }
        }
    }
}
