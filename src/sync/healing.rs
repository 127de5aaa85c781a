//! Packing again what a pull did not find in the packs of the snapshot: whatever lies in the same packs and is in the
//! directory goes up anew, although nothing changed.
//!
//! A pull only learns of what it had to fetch. What else lay in such a pack is as much in danger, and the next container
//! may have it nowhere else.

use std::collections::{BTreeSet, HashSet};

use super::commit::Committer;
use crate::rows::{Hash, Kind, PackName, Place, Row, Rows};

impl Committer<'_> {
    /// The packs in which something lies, as `theirs` says, that a pull did not find there.
    pub(super) fn damaged_packs(&self, theirs: &Rows) -> BTreeSet<PackName> {
        let lost: HashSet<Hash> = self.mine.lost.iter().filter_map(|hash| Hash::from_hex(hash)).collect();
        if lost.is_empty() {
            return BTreeSet::new();
        }
        files(theirs).filter(|row| lost.contains(&row.hash)).flat_map(packs).cloned().collect()
    }

    /// The commit is durable: what lies in no damaged pack any more need not be packed again.
    pub(super) fn forget_healed(&mut self, damaged: &BTreeSet<PackName>, rows: &Rows) {
        if self.mine.lost.is_empty() {
            return;
        }
        let left: HashSet<Hash> = files(rows).filter(|row| is_in(row, damaged)).map(|row| row.hash).collect();
        self.mine.lost.retain(|hash| Hash::from_hex(hash).is_some_and(|hash| left.contains(&hash)));
    }
}

/// Whether something that lies in a damaged pack is in the directory.
pub(super) fn can_heal(damaged: &BTreeSet<PackName>, theirs: &Rows, local: &Rows) -> bool {
    if damaged.is_empty() {
        return false;
    }
    let here: HashSet<Hash> = files(local).map(|row| row.hash).collect();
    files(theirs).any(|row| here.contains(&row.hash) && is_in(row, damaged))
}

fn files(rows: &Rows) -> impl Iterator<Item = &Row> {
    rows.values().filter(|row| row.kind == Kind::File)
}

fn packs(row: &Row) -> impl Iterator<Item = &PackName> {
    row.pieces.places().filter_map(Place::frame).map(|frame| &frame.pack)
}

fn is_in(row: &Row, damaged: &BTreeSet<PackName>) -> bool {
    packs(row).any(|pack| damaged.contains(pack))
}
