//! Tables for tests: written by hand, or made up by proptest from few names and few contents, so that they meet.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::rows::{ETag, Hash, Kind, RelPath, Row, Rows};

pub(super) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// A file's row with an ETag made of its content.
pub(super) fn file(content: &str) -> Row {
    Row { etag: Some(etag(content)), ..Row::file(Hash::of(content.as_bytes()), content.len() as u64, 0o644) }
}

pub(super) fn etag(content: &str) -> ETag {
    ETag::new(format!("\"{content}\""))
}

pub(super) fn dir() -> Row {
    Row::dir(0o755)
}

pub(super) fn link(target: &str) -> Row {
    Row::symlink(target.as_bytes())
}

/// A table with a row for every parent.
pub(super) fn table(rows: &[(&str, Row)]) -> Rows {
    let mut table: Rows = rows.iter().map(|(at, row)| (path(at), row.clone())).collect();
    for at in table.keys().cloned().collect::<Vec<_>>() {
        for parent in at.ancestors() {
            table.entry(parent).or_insert_with(dir);
        }
    }
    table
}

/// A table as the scan has it: without ETags.
pub(super) fn scanned(rows: &Rows) -> Rows {
    rows.iter().map(|(at, row)| (at.clone(), Row { etag: None, ..row.clone() })).collect()
}

/// `a`, `d a/x [dir]` and so on: what a person compares.
pub(super) fn shown(rows: &Rows) -> Vec<String> {
    rows.iter().map(|(at, row)| format!("{at} {} {}", row.kind.as_str(), row.hash.short())).collect()
}

/// Whether every row's parent is a directory's row.
pub(super) fn well_formed(rows: &Rows) -> bool {
    rows.keys().all(|at| at.parent().is_none_or(|parent| rows.get(&parent).is_some_and(|row| row.kind == Kind::Dir)))
}

/// Whether both have the same paths with the same content, mode and owner.
pub(super) fn alike(one: &Rows, other: &Rows) -> bool {
    one.len() == other.len() && one.iter().all(|(at, row)| other.get(at).is_some_and(|there| there.same(row)))
}

pub(super) fn hashes(rows: &Rows) -> BTreeSet<Hash> {
    rows.values().filter(|row| row.kind != Kind::Dir).map(|row| row.hash).collect()
}

fn any_row() -> impl Strategy<Value = Row> {
    let mode = prop_oneof![4 => Just(0o644), 1 => Just(0o755), 1 => Just(0o600)];
    (0..8u8, 0..4u8, mode, 0..2u32, 0..3i64).prop_map(|(kind, content, mode, owner, mtime_ns)| {
        let content = ["w", "x", "yy", "zzz"][usize::from(content)];
        let row = match kind {
            0 | 1 => dir(),
            2 => link(content),
            _ => file(content),
        };
        let mode = if row.kind == Kind::Symlink { row.mode } else { mode };
        Row { mode, uid: owner, mtime_ns, ..row }
    })
}

/// Any table, files below files included.
pub(super) fn any_rows() -> impl Strategy<Value = Rows> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("a-b"), Just("c")];
    let at = proptest::collection::vec(segment, 1..4).prop_map(|segments| path(&segments.join("/")));
    proptest::collection::btree_map(at, any_row(), 0..9)
}

/// A table as a scan, an import or a merge makes it.
pub(super) fn any_table() -> impl Strategy<Value = Rows> {
    any_rows().prop_map(repaired)
}

/// Drops what lies below a file or symlink and adds missing parents.
pub(super) fn repaired(rows: Rows) -> Rows {
    let mut table = Rows::new();
    for (at, row) in rows {
        if at.ancestors().any(|up| table.get(&up).is_some_and(|row: &Row| row.kind != Kind::Dir)) {
            continue;
        }
        for parent in at.ancestors() {
            table.entry(parent).or_insert_with(dir);
        }
        table.insert(at, row);
    }
    table
}

/// Three tables of which two are edits of the first.
pub(super) fn any_three() -> impl Strategy<Value = (Rows, Rows, Rows)> {
    (any_table(), any_rows(), any_rows(), any::<u64>(), any::<u64>()).prop_map(|(base, ours, theirs, one, other)| {
        let edited = |edits: Rows, dropped: u64| {
            let kept = base.iter().enumerate().filter(|(n, _)| dropped >> (n % 64) & 3 != 0);
            let mut rows: Rows = kept.map(|(_, (at, row))| (at.clone(), row.clone())).collect();
            for (at, row) in edits {
                // An edit of a file into a directory or the reverse clears the place.
                rows.retain(|there, _| !there.is_below(&at) || row.kind == Kind::Dir);
                for up in at.ancestors() {
                    if rows.get(&up).is_some_and(|row| row.kind != Kind::Dir) {
                        rows.remove(&up);
                    }
                }
                rows.insert(at, row);
            }
            repaired(rows)
        };
        (base.clone(), edited(ours, one), edited(theirs, other))
    })
}
