//! Overlays: what of a table differs from an older one, and both put together again.
//!
//! An overlay is never made over an overlay, so that any snapshot is read with two GETs.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{FormatError, SnapshotId, Tree, TreeHeader, lines::Subject, tree};
use crate::rows::{ETag, Kind, RelPath, Removed, Row, Rows};

/// An overlay shorter than this is never worth a new base.
const SMALL_OVERLAY_BYTES: u64 = 64 << 10;
/// An overlay may be this part of its base.
const OVERLAY_PART: u64 = 128;

/// Whether a checkpoint writes a whole tree (or mirror) instead of an overlay that has `overlay` bytes as an object
/// over a base that has `base`.
#[must_use]
pub const fn outgrown(overlay: u64, base: u64) -> bool {
    overlay > SMALL_OVERLAY_BYTES && overlay > base / OVERLAY_PART
}

impl Tree {
    /// What of `wanted` differs from `base`, as an overlay with the header of `wanted`: rows that are new or other in
    /// anything at all, and paths that are gone.
    ///
    /// # Errors
    /// Where either is an overlay itself.
    pub fn overlay(base: &Self, wanted: &Self) -> Result<Self, FormatError> {
        whole(tree::SUBJECT, &base.header.id, base.header.base)?;
        whole(tree::SUBJECT, &wanted.header.id, wanted.header.base)?;
        let mut rows = Rows::new();
        let mut removed = Removed::new();
        for (path, old, new) in join(&base.rows, &wanted.rows) {
            let hides = wanted.hides(path, new);
            if old == new && base.hides(path, old) == hides {
                continue;
            }
            if new.is_none() || hides.is_some() {
                removed.insert(path.clone(), hides.cloned());
            }
            rows.extend(new.map(|row| (path.clone(), row.clone())));
        }
        // Tombstones where neither has a row.
        for (path, old, new) in join(&base.removed, &wanted.removed) {
            let (old, new) = (old.and_then(Option::as_ref), new.and_then(Option::as_ref));
            if old != new && !base.rows.contains_key(path) && !wanted.rows.contains_key(path) {
                removed.insert(path.clone(), new.cloned());
            }
        }
        let header = TreeHeader { base: Some(base.header.id), ..wanted.header.clone() };
        Ok(Self { header, rows, removed })
    }

    /// The whole tree that `overlay` means over `base`, with the header of `overlay`.
    ///
    /// # Errors
    /// Where `base` is not the tree that `overlay` names or is an overlay itself, and where both together are no tree.
    pub fn whole(base: Self, overlay: Self) -> Result<Self, FormatError> {
        belongs(tree::SUBJECT, &base.header.id, base.header.base, &overlay.header.id, overlay.header.base)?;
        let Self { mut rows, removed, .. } = base;
        // Where a base says no more than that a path is gone, it says nothing.
        let mut removed: Removed = removed.into_iter().filter(|(_, hides)| hides.is_some()).collect();
        for path in overlay.removed.keys().filter(|path| !overlay.rows.contains_key(*path)) {
            rows.remove(path);
        }
        for path in overlay.rows.keys() {
            removed.remove(path);
        }
        rows.extend(overlay.rows);
        for (path, hides) in overlay.removed {
            match hides {
                Some(etag) => removed.insert(path, Some(etag)),
                None => removed.remove(&path),
            };
        }
        let tree = Self { header: TreeHeader { base: None, ..overlay.header }, rows, removed };
        tree.check_order()?;
        Ok(tree)
    }

    /// The tombstone that counts at a path: none under a file's row.
    fn hides(&self, path: &RelPath, row: Option<&Row>) -> Option<&ETag> {
        let hides = self.removed.get(path).and_then(Option::as_ref);
        hides.filter(|_| row.is_none_or(|row| row.kind != Kind::File))
    }
}

/// Whether a table with this header is whole.
pub(super) fn whole(subject: Subject, id: &SnapshotId, base: Option<SnapshotId>) -> Result<(), FormatError> {
    base.map_or(Ok(()), |base| {
        Err(subject.malformed(1, format!("{id} is an overlay of {base} where only a whole {} counts", subject.name)))
    })
}

/// Whether `overlay` is one, and of this base, which is none.
pub(super) fn belongs(
    subject: Subject,
    base: &SnapshotId,
    base_of_base: Option<SnapshotId>,
    overlay: &SnapshotId,
    base_of_overlay: Option<SnapshotId>,
) -> Result<(), FormatError> {
    whole(subject, base, base_of_base)?;
    match base_of_overlay {
        Some(named) if named == *base => Ok(()),
        Some(named) => Err(subject.malformed(1, format!("{overlay} is an overlay of {named}, not of {base}"))),
        None => Err(subject.malformed(1, format!("{overlay} is whole and has no base"))),
    }
}

/// Goes through two tables at once: each key with what both have there.
pub(super) fn join<'a, K: Ord, V>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        match order {
            Ordering::Less => one.next().map(|(key, left)| (key, Some(left), None)),
            Ordering::Greater => other.next().map(|(key, right)| (key, None, Some(right))),
            Ordering::Equal => {
                one.next().zip(other.next()).map(|((key, left), (_, right))| (key, Some(left), Some(right)))
            }
        }
    })
}
