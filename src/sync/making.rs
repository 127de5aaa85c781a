//! Making a snapshot of rows: their contents into packs, each row with the places of its pieces, the tree over its base.
//! What the rows are was decided before; nothing here moves head.

use std::collections::{BTreeSet, HashMap, HashSet};

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

/// The files of `local` with contents that `rows` have and that lie in no pack that may be named, in the order in which
/// they go up.
pub(super) fn contents(
    rows: &Rows,
    local: &Rows,
    known: &Known,
    cuts: &Cuts,
    groups: &Groups,
    order: Order,
) -> Vec<Wanted> {
    let files = rows.values().filter(|row| row.kind == Kind::File && row.size > 0);
    let lacking: HashSet<Hash> =
        files.filter(|row| known.placed(&cut(row, cuts)).is_none()).map(|row| row.hash).collect();
    // All that have it, not one of them: a copy has the content of another name, and whichever of them is written to
    // meanwhile, the others are stored as they are then.
    let here = local.iter().filter(|(_, row)| row.kind == Kind::File && lacking.contains(&row.hash));
    let wanted: Rows = here.map(|(path, row)| (path.clone(), row.clone())).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Base, Owners},
        rows::Place,
        sync::{
            Control,
            local::Local,
            test_ground::{Ground, path},
        },
        worktree::Scan,
    };

    /// Ours moves aside, for nobody knows whether it was edited here; another file has the same content.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_is_stored_whichever_of_the_files_with_its_content_is_written_to_meanwhile() {
        let copy = format!("a.ours-{}", Hash::of(b"ours").short());
        for written in [&["a"][..], &["z"], &["a", "z"], &[&copy], &["a", "z", &copy]] {
            let ground = Ground::new().await;
            ground.write("a", b"ours").write("z", b"ours");
            if written.contains(&&*copy) {
                ground.write(&copy, b"ours");
            }
            let scan = Scan { rows: ground.scan(), ..Scan::default() };
            let origin = Rows::from([(path("a"), scan.rows[&path("a")].clone())]);
            let theirs = Row { pieces: Pieces::One(Place::Zeros), ..Row::file(Hash::of(&[0; 9]), 9, 0o644) };
            let theirs = Rows::from([(path("a"), theirs)]);
            let base = Base::Older(&origin);
            let mut local = Local::new(&scan, None, Owners::Ignore, Some(&origin), &theirs, &ground.dir);
            let merged = local.part(base, &theirs, false).merged;
            assert!(merged.rows.contains_key(&path(&copy)));
            let (mut known, cuts) = (Known::default(), Cuts::new());
            known.plan_against(None, &theirs);
            let wanted = contents(&merged.rows, local.rows(), &known, &cuts, &Groups::default(), Order::ByPath);
            for name in written {
                ground.write(name, format!("written to {name} since").as_bytes());
            }
            let (stop, control) = (|| false, Control::default());
            let packed = ground.packer(1, &stop, &control).pack(wanted, &mut known).await.unwrap();
            assert!(!local.take_packed(&packed));
            let mut merged = local.part(base, &theirs, false).merged;
            assert_eq!(place(&mut merged.rows, &known, &cuts), BTreeSet::new(), "{written:?}");
            assert!(merged.rows.len() >= 3 && merged.rows.values().all(Row::is_stored), "{written:?}");
        }
    }
}
