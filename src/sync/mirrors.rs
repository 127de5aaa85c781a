//! Mirrors between their two shapes: what lies in the bucket, and what is planned with.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    plan::{Content, Held, Mirror as Known},
    rows::ETag,
    snapshot::{Mirror, MirrorHeader, MirrorRow},
};

/// What a mirror says, for planning. Of an empty object that stands for a directory it says no more than that there was
/// one: its version is none.
pub(super) fn known(mirror: &Mirror) -> Known {
    let mut known = Known::default();
    for (path, row) in &mirror.rows {
        if let Some(object) = &row.object {
            let content = Content { hash: object.hash, size: object.size };
            known.rows.insert(path.clone(), Held { etag: object.etag.clone(), content });
        }
        if row.folder {
            known.markers.insert(path.clone(), ETag::new(""));
        }
    }
    known
}

/// A whole mirror that says what is known.
pub(super) fn stored(known: &Known, header: MirrorHeader) -> Mirror {
    let mut rows: BTreeMap<_, MirrorRow> = known
        .rows
        .iter()
        .map(|(path, held)| (path.clone(), MirrorRow::object(held.etag.clone(), held.content.size, held.content.hash)))
        .collect();
    for path in known.markers.keys() {
        rows.entry(path.clone()).or_default().folder = true;
    }
    Mirror { header: MirrorHeader { base: None, ..header }, rows, removed: BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rows::{Hash, RelPath},
        snapshot::SnapshotId,
    };

    #[test]
    fn a_mirror_says_the_same_in_both_shapes() {
        let path = |text| RelPath::new(text).unwrap();
        let held = Held { etag: ETag::new("\"1\""), content: Content { hash: Hash::of(b"x"), size: 1 } };
        let both = Known {
            rows: [(path("a"), held.clone()), (path("d/x"), held)].into(),
            markers: [path("a"), path("d")].map(|at| (at, ETag::new(""))).into(),
        };
        let header = MirrorHeader {
            id: SnapshotId::new(1, [1; 6]),
            built_from: None,
            base: None,
            writer: "w".to_owned(),
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(known(&stored(&both, header)), both);
    }
}
