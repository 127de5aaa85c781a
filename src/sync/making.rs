//! Making a snapshot of rows: their contents into packs, each row with the places of its pieces, the tree over its base.
//! What the rows are was decided before; nothing here moves head.

use std::collections::{BTreeSet, HashMap};

use super::{
    SyncError,
    packs::{Known, Wanted},
    snapshots::Snapshot,
};
use crate::{
    plan::{Groups, Order, changes, units},
    rows::{Hash, Kind, PIECE_BYTES, Pieces, RelPath, Row, Rows},
    snapshot::{Counts, FormatError, Tree, outgrown},
};

/// Where pieces of large files are known of, by the hash of the whole file.
pub(super) type Cuts = HashMap<Hash, Pieces>;

/// The files of `rows` whose content lies in no pack that may be named, where `local` has that content, in the order in
/// which they go up.
pub(super) fn contents(
    rows: &Rows,
    local: &Rows,
    known: &Known,
    cuts: &Cuts,
    groups: &Groups,
    order: Order,
) -> Vec<Wanted> {
    let mut by_hash: HashMap<Hash, &RelPath> = HashMap::new();
    let mut wanted = Rows::new();
    for (path, row) in rows.iter().filter(|(_, row)| row.kind == Kind::File && row.size > 0) {
        if known.placed(&cut(row, cuts)).is_some() {
            continue;
        }
        if by_hash.is_empty() {
            let files = local.iter().filter(|(_, row)| row.kind == Kind::File);
            by_hash = files.map(|(path, row)| (row.hash, path)).collect();
        }
        let here = local.get(path).filter(|here| here.same_content(row)).map(|_| path);
        let there = here.or_else(|| by_hash.get(&row.hash).copied());
        wanted.extend(there.and_then(|path| Some((path.clone(), local.get(path)?.clone()))));
    }
    let in_order = units(&wanted, groups, order).into_iter().flatten();
    let with_row = |path: RelPath| Some(Wanted { row: cut(wanted.get(&path)?, cuts), path });
    in_order.filter_map(with_row).collect()
}

/// Gives every file the place of its content, and takes away what only plain trees have. The files that have none are
/// given back.
pub(super) fn place(rows: &mut Rows, known: &Known, cuts: &Cuts) -> BTreeSet<RelPath> {
    let mut lost = BTreeSet::new();
    for (path, row) in rows.iter_mut() {
        row.etag = None;
        if row.kind != Kind::File {
            continue;
        }
        match known.placed(&cut(row, cuts)) {
            Some(placed) => *row = placed,
            // As theirs has it, whatever became of it.
            None if row.is_stored() => {}
            None => drop(lost.insert(path.clone())),
        }
    }
    lost
}

/// The bytes of a tree, and whether it is whole: an overlay over the base of `theirs` where that is possible and, unless
/// time is short, still worth it.
pub(super) fn encode(
    whole: &Tree,
    theirs: Option<&Snapshot>,
    hurry: bool,
    workspace: &str,
) -> Result<(Vec<u8>, bool), SyncError> {
    let wrong = |error: &FormatError| SyncError::format(error, &format!("the new tree {}", whole.header.id), workspace);
    if let Some(theirs) = theirs {
        let overlay = Tree::overlay(&theirs.base, whole).map_err(|error| wrong(&error))?;
        let bytes = overlay.encode().map_err(|error| wrong(&error))?;
        if hurry || !outgrown(bytes.len() as u64, theirs.base_bytes) {
            return Ok((bytes, false));
        }
    }
    Ok((whole.encode().map_err(|error| wrong(&error))?, true))
}

/// The pieces of large files, by the hash of the whole.
pub(super) fn cuts_of(rows: &Rows) -> Cuts {
    let large = rows.values().filter(|row| row.kind == Kind::File && row.size > PIECE_BYTES);
    large.filter(|row| row.pieces != Pieces::None).map(|row| (row.hash, row.pieces.clone())).collect()
}

/// The row with the pieces that its content is known to have.
pub(super) fn cut(row: &Row, cuts: &Cuts) -> Row {
    let mut row = row.clone();
    if row.pieces == Pieces::None
        && row.size > PIECE_BYTES
        && let Some(pieces) = cuts.get(&row.hash)
    {
        row.pieces = pieces.without_places();
    }
    row
}

pub(super) fn counts(theirs: &Rows, rows: &Rows, quiet: bool, partial: bool) -> Counts {
    let files = rows.values().filter(|row| row.kind == Kind::File);
    let (files, bytes) = files.fold((0, 0), |(files, bytes), row| (files + 1, bytes + row.size));
    let changed = changes(theirs, rows).iter().filter(|change| change.kind == Kind::File).count() as u64;
    Counts { files, bytes, changed, quiet, partial }
}
