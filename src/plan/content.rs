//! Which places of contents that went up may be named, and when it is time to tidy up.

use std::collections::BTreeMap;

use crate::rows::Hash;

const SMALL_PACK: u64 = 4 << 20;
const MANY_PACKS: usize = 64;

/// What this process has uploaded since it first read the present `gc`. After a prune none of it counts: it may have
/// been swept as nobody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uploads<G, P> {
    gc: G,
    places: BTreeMap<Hash, P>,
}

impl<G: Default, P> Default for Uploads<G, P> {
    fn default() -> Self {
        Self { gc: G::default(), places: BTreeMap::new() }
    }
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

    /// Of what did not arrive after all nothing is known.
    pub fn forget(&mut self, piece: &Hash) {
        self.places.remove(piece);
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

/// How much of a pack a tree uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackUse<K> {
    /// The pack.
    pub pack: K,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of the pieces of the tree in it, as they lie there.
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
    use super::*;

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
        uploads.note(hash(2), "b");
        uploads.forget(&hash(2));
        assert!(uploads.places().is_empty());
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
}
