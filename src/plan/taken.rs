//! Edits of others that a pull took in and that no snapshot has yet.
//!
//! The directory has had their contents: what the app makes of them then is an edit, or a deletion, by someone who had
//! them. But until a snapshot has such a content nothing else does, and nobody else can know that it was taken in.

use std::collections::{BTreeMap, BTreeSet};

use super::{Content, Explained, Merged, Mirror, Unread, Whose};
use crate::rows::{ETag, Kind, Pieces, RelPath, Row, Rows};

/// An edit that was taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakenIn {
    /// The object.
    pub key: RelPath,
    /// Its version.
    pub etag: ETag,
    /// Where the merge with head put its content: at the key, or beside it.
    pub path: RelPath,
    /// What it held.
    pub row: Row,
}

/// Which of the edits a directory has taken in when a pull has ended: those it has now, and of those it had `before`
/// the ones whose object is still of that version. `wanted` is head's merge with the edits, `merged` that one's with the
/// directory; `written` are the rows that came, `missed` the paths that are not as they should be.
#[must_use]
pub fn taken_in(
    (edits, unread): (&Rows, &BTreeMap<RelPath, Unread>),
    wanted: &Merged,
    merged: &Merged,
    written: &Rows,
    missed: &BTreeSet<RelPath>,
    before: &[TakenIn],
) -> Vec<TakenIn> {
    let place = |merged: &Merged, path: &RelPath, row: &Row| {
        if merged.rows.get(path).is_some_and(|there| there.same_content(row)) {
            return Some(path.clone());
        }
        let is_it =
            |copy: &&super::Copy| copy.path == *path && copy.whose == Whose::Theirs && copy.row.same_content(row);
        merged.copies.iter().find(is_it).map(|copy| copy.copy.clone())
    };
    let files = edits.iter().filter(|(_, row)| row.kind == Kind::File);
    files
        .filter_map(|(key, row)| {
            let etag = row.etag.clone()?;
            if let Some(known) = before.iter().find(|known| known.key == *key && known.etag == etag) {
                return Some(known.clone());
            }
            let path = place(wanted, key, row)?;
            let at = place(merged, &path, row)?;
            if missed.contains(&at) {
                return None;
            }
            let row = match written.get(&at) {
                // Another version may have come than was listed.
                Some(came) if unread.contains_key(key) => Some(came).filter(|came| came.etag.as_ref() == Some(&etag)),
                Some(came) => Some(came).filter(|came| came.same_content(row)),
                None => Some(row).filter(|_| !unread.contains_key(key)),
            }?;
            Some(TakenIn { key: key.clone(), etag, path, row: row.clone() })
        })
        .collect()
}

/// Notes in `origin` what of `theirs` the directory has had: there theirs is the base of the next merge.
pub fn add_taken_in(origin: &mut Rows, taken: &[TakenIn], theirs: &Rows) {
    for edit in taken {
        let Some(row) = theirs.get(&edit.path).filter(|row| row.same_content(&edit.row)) else { continue };
        origin.insert(edit.path.clone(), row.clone());
        for parent in edit.path.ancestors() {
            if let Some(row) = theirs.get(&parent).filter(|row| row.kind == Kind::Dir) {
                origin.entry(parent).or_insert_with(|| row.clone());
            }
        }
    }
}

/// The edits that would meet their object as nobody's, should `ours` be committed over `theirs`: neither has the
/// content, at the key or in a copy. Where others changed the path since `origin` it is theirs to be merged.
#[must_use]
pub fn unexplained<'a>(taken: &'a [TakenIn], origin: &Rows, ours: &Rows, theirs: &Rows) -> Vec<&'a TakenIn> {
    let (mirror, nothing) = (Mirror::default(), BTreeMap::new());
    let explained = Explained { mirror: &mirror, recent: &[ours], refused: &nothing };
    let is_file = |row: &Row| row.kind != Kind::Dir;
    let has_place = |path: &RelPath| match (origin.get(path), theirs.get(path)) {
        (None, None) => path.ancestors().all(|up| theirs.get(&up).is_none_or(|row| row.kind == Kind::Dir)),
        (Some(origin), Some(theirs)) => is_file(theirs) && origin.same_content(theirs),
        _ => false,
    };
    let is_known = |edit: &TakenIn| {
        Content::of(&edit.row).is_none_or(|content| explained.known(theirs, &edit.key).contains(&content))
    };
    taken.iter().filter(|edit| has_place(&edit.path) && !is_known(edit)).collect()
}

/// `theirs` with these edits: what the workspace was for whoever took them in.
#[must_use]
pub fn with_edits<'a>(theirs: &Rows, edits: impl IntoIterator<Item = &'a TakenIn>) -> Rows {
    let mut rows = theirs.clone();
    for edit in edits {
        let like = rows.get(&edit.path).filter(|row| row.kind == Kind::File).unwrap_or(&edit.row);
        let (mode, uid, gid) = (like.mode, like.uid, like.gid);
        for parent in edit.path.ancestors() {
            rows.entry(parent).or_insert_with(|| Row { uid, gid, ..Row::dir(0o755) });
        }
        let row = Row { mode, uid, gid, etag: None, pieces: Pieces::None, ..edit.row.clone() };
        rows.insert(edit.path.clone(), row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        Base, Whose, merge3,
        tables::{dir, file, path, shown, table},
    };

    fn edit(key: &str, content: &str) -> TakenIn {
        let etag = ETag::new(format!("\"{content}\""));
        TakenIn { key: path(key), etag: etag.clone(), path: path(key), row: Row { etag: Some(etag), ..file(content) } }
    }

    fn edits(list: &[(&str, &str)]) -> Rows {
        list.iter().map(|(key, content)| (path(key), edit(key, content).row)).collect()
    }

    fn merged(rows: Rows) -> Merged {
        Merged { rows, ..Merged::default() }
    }

    #[test]
    fn what_came_was_taken_in_and_what_did_not_come_was_not() {
        let edits = edits(&[("came", "1"), ("here", "1"), ("missed", "1"), ("replaced", "1"), ("deleted", "1")]);
        let wanted = merged(edits.clone());
        let mut result = wanted.clone();
        result.rows.remove(&path("deleted"));
        let written = table(&[("came", file("1")), ("replaced", file("2"))]);
        let missed = BTreeSet::from([path("missed")]);
        let taken = |before: &[TakenIn]| {
            let taken = taken_in((&edits, &BTreeMap::new()), &wanted, &result, &written, &missed, before);
            taken.into_iter().map(|edit| edit.key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(taken(&[]), ["came", "here"]);
        // What was had before was had, whatever became of it; but not of another version.
        assert_eq!(
            taken(&[edit("deleted", "1"), edit("replaced", "0"), edit("gone", "1")]),
            ["came", "deleted", "here"]
        );
    }

    #[test]
    fn of_what_was_not_read_before_the_version_that_was_listed_must_have_come() {
        let unread = |content: &str| {
            let etag = ETag::new(format!("\"{content}\""));
            Unread { etag, size: 1, mtime_ns: 0, owner: (0, 0) }
        };
        let listed = unread("1");
        let edits = Rows::from([(path("new"), listed.placeholder())]);
        let wanted = merged(edits.clone());
        let table = BTreeMap::from([(path("new"), listed.clone())]);
        let taken = |written: &Rows| taken_in((&edits, &table), &wanted, &wanted, written, &BTreeSet::new(), &[]);
        assert!(taken(&Rows::new()).is_empty());
        let came = |unread: &Unread, content| Rows::from([(path("new"), unread.row(file(content).hash))]);
        assert_eq!(taken(&came(&listed, "1")), [TakenIn { row: listed.row(file("1").hash), ..edit("new", "1") }]);
        assert!(taken(&came(&unread("2"), "2")).is_empty());
    }

    #[test]
    fn an_edit_beside_a_local_one_was_taken_in_as_a_copy() {
        let edits = edits(&[("a", "outside")]);
        let wanted = merged(edits.clone());
        let merged = merge3(Base::Known(&table(&[("a", file("0"))])), &table(&[("a", file("here"))]), &wanted.rows);
        assert_eq!((merged.copies.len(), merged.copies[0].whose), (1, Whose::Theirs));
        let written = Rows::from([(merged.copies[0].copy.clone(), file("outside"))]);
        let taken =
            |missed: &BTreeSet<RelPath>| taken_in((&edits, &BTreeMap::new()), &wanted, &merged, &written, missed, &[]);
        assert_eq!(taken(&BTreeSet::new()), [TakenIn { row: file("outside"), ..edit("a", "outside") }]);
        assert!(taken(&BTreeSet::from([merged.copies[0].copy.clone()])).is_empty());
    }

    #[test]
    fn what_no_side_has_needs_a_snapshot_of_its_own() {
        let taken =
            [edit("changed", "1"), edit("new/er", "1"), edit("kept", "1"), edit("copied", "1"), edit("theirs", "1")];
        let origin = table(&[("changed", file("0")), ("kept", file("0")), ("theirs", file("0"))]);
        let copy = format!("copied.theirs-{}", file("1").hash.short());
        let ours = table(&[("changed", file("2")), ("kept", file("1")), (&copy, file("1"))]);
        let theirs = table(&[("changed", file("0")), ("kept", file("0")), ("theirs", file("3"))]);
        let found = unexplained(&taken, &origin, &ours, &theirs);
        assert_eq!(found, [&taken[0], &taken[1]]);
        // With that snapshot the next merge makes no copy, and brings nothing back.
        let head = with_edits(&theirs, found);
        let mut base = origin;
        add_taken_in(&mut base, &taken, &head);
        let result = merge3(Base::Known(&base), &ours, &head);
        let wanted = table(&[("changed", file("2")), ("kept", file("1")), (&copy, file("1")), ("theirs", file("3"))]);
        assert!(result.copies.is_empty());
        assert_eq!(shown(&result.rows), shown(&wanted));
        assert!(unexplained(&taken, &base, &ours, &head).is_empty());
    }

    #[test]
    fn an_edit_has_no_place_where_others_have_a_file_above_it_or_a_directory_there() {
        let taken = [edit("a/b", "1"), edit("d", "1")];
        let theirs = table(&[("a", file("0")), ("d", dir()), ("d/x", file("0"))]);
        assert!(unexplained(&taken, &theirs, &Rows::new(), &theirs).is_empty());
    }
}
