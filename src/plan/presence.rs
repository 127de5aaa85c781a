//! What a table says about paths it does not list: next to nothing.

use std::collections::BTreeSet;

use super::{
    Base, Groups,
    copies::{below, has_below},
};
use crate::rows::{Kind, RelPath, Removed, Row, Rows};

/// What a scan found, and what it proved.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The rows it found.
    pub rows: &'a Rows,
    /// Paths whose own lstat said ENOENT (or ENOTDIR): the only proof that something is gone.
    pub gone: &'a BTreeSet<RelPath>,
    /// Paths whose scanned content is not stored: unreadable, changing, out of time.
    pub not_stored: &'a BTreeSet<RelPath>,
    /// Time ran out: nothing is deleted but what a stored row needs the place of, and what belongs to a stored group.
    pub partial: bool,
    /// What is stored whole or not at all.
    pub groups: &'a Groups,
}

/// What goes into the merge as ours.
///
/// O counts only as `Base::Known`: there its row stands for every path that the scan lacks without proof, and for
/// content that could not be stored; else those are absent. A row of O goes only where it is in `gone`, or where a
/// stored row shows that a parent is no directory any more.
#[must_use]
pub fn ours_for_merge(seen: &Seen<'_>, base: Base<'_>) -> Rows {
    let lacking = lacking(seen, base);
    let waiting = seen.groups.waiting(&lacking);
    let held_back = |path: &RelPath| seen.not_stored.contains(path) || waiting.contains_key(path);
    // A directory has no content that could be missing.
    let stored = |path: &RelPath, row: &Row| row.kind == Kind::Dir || !held_back(path);
    let mut ours = seen.rows.clone();
    ours.retain(|path, row| stored(path, row));
    let Base::Known(origin) = base else {
        return ours;
    };
    for (path, row) in origin {
        if let Some(there) = ours.get(path) {
            // A directory needs the place only for what it holds.
            let late = seen.partial || below(seen.rows, path).any(|(at, _)| held_back(at));
            if late && there.kind == Kind::Dir && row.kind != Kind::Dir {
                let dirs: Vec<RelPath> = below(&ours, path).map(|(at, _)| at.clone()).collect();
                if dirs.iter().all(|at| ours.get(at).is_some_and(|row| row.kind == Kind::Dir)) {
                    ours.retain(|at, _| !at.is_below(path));
                    ours.insert(path.clone(), row.clone());
                }
            }
            continue;
        }
        let displaced = path.ancestors().any(|up| ours.get(&up).is_some_and(|row| row.kind != Kind::Dir))
            || row.kind != Kind::Dir && has_below(&ours, path);
        // What follows something that is not stored waits for it: a deletion, too.
        let waits = seen.partial && !seen.groups.may_lack(path, &lacking)
            || held_back(path)
            || path.ancestors().any(|up| seen.not_stored.contains(&up));
        if !displaced && (waits || !seen.gone.contains(path)) {
            ours.insert(path.clone(), row.clone());
        }
    }
    ours
}

/// What keeps a group from being stored: contents that are not, and members for which an old row stands in, because the
/// scan lacks them without proof (they are ignored by now) or because nothing is deleted.
pub(super) fn lacking(seen: &Seen<'_>, base: Base<'_>) -> BTreeSet<RelPath> {
    let mut lacking = seen.not_stored.clone();
    if let Base::Known(origin) = base {
        let stands_in = |path: &RelPath| !seen.gone.contains(path) || seen.partial && !seen.groups.is_part(path);
        let absent = seen.groups.members().filter(|path| !seen.rows.contains_key(*path) && stands_in(path));
        lacking.extend(absent.filter(|path| origin.get(*path).is_some_and(|row| row.kind != Kind::Dir)).cloned());
    }
    lacking
}

/// Gives each row the owner that the first of `known` has for its path: for owner policies under which the disk does
/// not hold the workspace's owners.
pub fn adopt_owners(ours: &mut Rows, known: &[&Rows]) {
    for (path, row) in ours {
        if let Some(other) = known.iter().find_map(|rows| rows.get(path)) {
            (row.uid, row.gid) = (other.uid, other.gid);
        }
    }
}

/// The rows and tombstones of a plain head's tree.
#[derive(Clone, Copy, Debug)]
pub struct TreeRows<'a> {
    /// Its rows.
    pub rows: &'a Rows,
    /// Its tombstones.
    pub removed: &'a Removed,
}

/// What a plain workspace holds for a directory that imported it: `origin` (the imported rows) with what heads since
/// then changed over it. `mine` is the tree of the plain head at the import, if there was one; `now` the present one.
///
/// Content, mode and owner each count as changed only if `now` differs from `mine` in them, for `origin` may have
/// outside edits that neither tree knows. A row that heads removed stays if `origin` has other content there.
///
/// Only while `origin` is an import's: after a commit of this directory the present tree holds all of it, and is
/// theirs by itself.
#[must_use]
pub fn theirs_over(origin: &Rows, mine: Option<TreeRows<'_>>, now: TreeRows<'_>) -> Rows {
    let mut theirs = Rows::new();
    for path in origin.keys().chain(now.rows.keys().filter(|path| !origin.contains_key(*path))) {
        let before = mine.and_then(|mine| mine.rows.get(path));
        let row = match (origin.get(path), now.rows.get(path)) {
            (Some(held), Some(now)) => Some(changed_over(held, before, now)),
            (Some(held), None) => {
                let hidden = held.etag.is_some() && now.removed.get(path) == Some(&held.etag);
                let removed = before.is_some_and(|before| before.same_content(held));
                (!hidden && !removed).then(|| held.clone())
            }
            // In both trees, yet not imported: it was ignored or gone, and nobody brought it back.
            (None, Some(now)) => {
                before.is_none_or(|before| !before.same(now) || before.etag != now.etag).then(|| now.clone())
            }
            (None, None) => None,
        };
        theirs.extend(row.map(|row| (path.clone(), row)));
    }
    theirs
}

/// Takes out of `origin`, which was imported, what none of `seen` has: the trees of those who made the workspace live.
/// They had not imported it, so that it is not in their trees, or differs there, is neither a deletion nor an edit. To
/// them it is news, and is given back.
pub fn take_unseen(origin: &mut Rows, seen: &[Rows]) -> Rows {
    let had =
        |path: &RelPath, row: &Row| seen.iter().filter_map(|rows| rows.get(path)).any(|other| other.same_content(row));
    let (known, unseen) = std::mem::take(origin).into_iter().partition(|(path, row)| had(path, row));
    *origin = known;
    unseen
}

/// One path that was imported and is in the present tree.
fn changed_over(held: &Row, before: Option<&Row>, now: &Row) -> Row {
    let rewritten = before.is_none_or(|before| !before.same_content(now) || before.etag != now.etag);
    let mut row = if before.is_none_or(|before| !before.same_content(now)) { now.clone() } else { held.clone() };
    row.etag = match (now.same_content(&row), held.same_content(&row)) {
        (true, true) if rewritten => now.etag.clone().or_else(|| held.etag.clone()),
        (true, true) => held.etag.clone().or_else(|| now.etag.clone()),
        (true, false) => now.etag.clone(),
        (false, _) => held.etag.clone(),
    };
    if now.kind == row.kind && before.is_none_or(|before| before.mode != now.mode) {
        row.mode = now.mode;
    }
    if now.kind == row.kind && before.is_none_or(|before| (before.uid, before.gid) != (now.uid, now.gid)) {
        (row.uid, row.gid) = (now.uid, now.gid);
    }
    row
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        plan::{
            merge3,
            tables::{alike, any_table, any_three, dir, etag, file, link, path, shown, table, well_formed},
        },
        rows::ETag,
    };

    #[test]
    fn what_others_had_not_imported_is_no_base_of_a_merge_with_them() {
        let mut origin = table(&[
            ("both", file("1")),
            ("edited", file("1")),
            ("later", file("1")),
            ("new", file("1")),
            ("d", dir()),
        ]);
        let plain = table(&[("both", file("1")), ("edited", file("1")), ("later", file("0")), ("d", dir())]);
        let live = table(&[("both", file("1")), ("edited", file("2")), ("later", file("0")), ("theirs", file("1"))]);
        let unseen = take_unseen(&mut origin, &[plain, live.clone()]);
        assert_eq!(shown(&unseen), shown(&table(&[("later", file("1")), ("new", file("1"))])));
        let ours = table(&[("both", file("1")), ("edited", file("1")), ("later", file("1")), ("new", file("1"))]);
        let merged = merge3(Base::Known(&origin), &ours, &live);
        let paths: Vec<String> = merged.rows.keys().map(ToString::to_string).collect();
        let [copy] = &merged.copies[..] else { panic!("{:?}", merged.copies) };
        assert_eq!(copy.path, path("later"));
        assert_eq!(paths, ["both", "edited", "later", &copy.copy.to_string(), "new", "theirs"]);
        assert!(merged.rows[&path("edited")].same_content(&file("2")));
    }

    fn paths(list: &[&str]) -> BTreeSet<RelPath> {
        list.iter().map(|at| path(at)).collect()
    }

    fn ours(scan: &Rows, origin: &Rows, gone: &[&str], not_stored: &[&str], partial: bool) -> Rows {
        let (gone, not_stored) = (paths(gone), paths(not_stored));
        ours_for_merge(
            &Seen { rows: scan, gone: &gone, not_stored: &not_stored, partial, groups: &Groups::default() },
            Base::Known(origin),
        )
    }

    #[test]
    fn what_a_scan_lacks_without_proof_stays_as_it_was_taken_in() {
        let origin =
            table(&[("ignored", file("1")), ("gone", file("1")), ("closed/x", file("1")), ("here", file("1"))]);
        let scan = table(&[("here", file("2")), ("closed", dir())]);
        // Whatever a look said of what lies in a directory that could not be read.
        let found = ours(&scan, &origin, &["gone", "closed/x"], &["closed"], false);
        let wanted = table(&[("ignored", file("1")), ("closed/x", file("1")), ("here", file("2"))]);
        assert_eq!(shown(&found), shown(&wanted));
    }

    #[test]
    fn a_parent_that_became_a_file_is_proof_only_when_that_file_is_stored() {
        let origin = table(&[("d/x", file("1"))]);
        let scan = table(&[("d", file("2"))]);
        assert_eq!(shown(&ours(&scan, &origin, &[], &[], false)), shown(&scan));
        assert_eq!(shown(&ours(&scan, &origin, &["d/x"], &["d"], false)), shown(&origin));
    }

    #[test]
    fn a_content_not_stored_gives_way_to_the_row_before_or_to_nothing() {
        let origin = table(&[("a", file("1"))]);
        let scan = table(&[("a", file("2")), ("new", file("n"))]);
        assert_eq!(shown(&ours(&scan, &origin, &[], &["a", "new"], false)), shown(&origin));
        let (gone, not_stored) = (paths(&[]), paths(&["a", "new"]));
        let groups = Groups::default();
        let seen = Seen { rows: &scan, gone: &gone, not_stored: &not_stored, partial: false, groups: &groups };
        assert!(ours_for_merge(&seen, Base::None).is_empty());
        assert!(ours_for_merge(&seen, Base::Older(&origin)).is_empty());
    }

    #[test]
    fn out_of_time_nothing_is_deleted_but_what_stands_in_the_way() {
        let origin = table(&[("gone", file("1")), ("d/x", file("1")), ("f", file("1"))]);
        let scan = table(&[("d", file("2")), ("f/y", file("2"))]);
        let found = ours(&scan, &origin, &["gone", "d/x"], &["late"], true);
        assert_eq!(shown(&found), shown(&table(&[("gone", file("1")), ("d", file("2")), ("f/y", file("2"))])));
    }

    fn rows(rows: &Rows) -> TreeRows<'_> {
        static NONE: Removed = Removed::new();
        TreeRows { rows, removed: &NONE }
    }

    #[test]
    fn theirs_is_the_import_with_what_heads_since_changed() {
        let origin = table(&[("a", file("outside")), ("b", file("1")), ("c", file("1")), ("foreign", file("f"))]);
        let mine =
            table(&[("a", file("1")), ("b", file("1")), ("c", file("1")), ("l", link("x")), ("missing", file("m"))]);
        let now = table(&[
            ("a", Row { mode: 0o755, ..file("1") }),
            ("b", file("2")),
            ("l", link("y")),
            ("missing", file("m")),
            ("n", file("n")),
        ]);
        let theirs = theirs_over(&origin, Some(rows(&mine)), rows(&now));
        let wanted = table(&[
            ("a", file("outside")),
            ("b", file("2")),
            ("foreign", file("f")),
            ("l", link("y")),
            ("n", file("n")),
        ]);
        assert_eq!(shown(&theirs), shown(&wanted));
        assert_eq!((theirs[&path("a")].mode, &theirs[&path("a")].etag), (0o755, &Some(etag("outside"))));
        assert_eq!(theirs[&path("b")].etag, Some(etag("2")));
    }

    #[test]
    fn a_tombstone_takes_only_the_version_it_names() {
        let origin = table(&[("a", file("1")), ("b", file("outside"))]);
        let removed = Removed::from([(path("a"), Some(etag("1"))), (path("b"), Some(etag("1")))]);
        let theirs = theirs_over(&origin, None, TreeRows { rows: &Rows::new(), removed: &removed });
        assert_eq!(shown(&theirs), shown(&table(&[("b", file("outside"))])));
    }

    #[test]
    fn the_same_content_put_again_since_has_the_new_version() {
        let again = Row { etag: Some(ETag::new("\"again\"")), ..file("1") };
        let (origin, now) = (table(&[("a", file("1"))]), table(&[("a", again)]));
        let theirs = theirs_over(&origin, Some(rows(&origin)), rows(&now));
        assert_eq!(theirs[&path("a")].etag, Some(ETag::new("\"again\"")));
        let unchanged = theirs_over(&origin, Some(rows(&now)), rows(&now));
        assert_eq!(unchanged[&path("a")].etag, Some(etag("1")));
    }

    #[test]
    fn owners_come_from_the_first_table_that_knows() {
        let mut mine = table(&[("a", Row { uid: 9, ..file("1") }), ("b", Row { uid: 9, ..file("1") })]);
        let known = table(&[("a", Row { uid: 3, gid: 4, ..file("2") })]);
        adopt_owners(&mut mine, &[&Rows::new(), &known]);
        assert_eq!((mine[&path("a")].uid, mine[&path("a")].gid, mine[&path("b")].uid), (3, 4, 9));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn nothing_unproven_leaves_the_workspace((origin, scan, theirs) in any_three(), proofs: u64, losses: u64, partial: bool) {
            let pick = |bits: u64, rows: &Rows| -> BTreeSet<RelPath> {
                rows.keys().enumerate().filter(|(n, _)| bits >> (n % 64) & 1 == 1).map(|(_, at)| at.clone()).collect()
            };
            let missing: Rows = origin.iter().filter(|(at, _)| !scan.contains_key(*at)).map(|(at, row)| (at.clone(), row.clone())).collect();
            let (gone, not_stored) = (pick(proofs, &missing), pick(losses, &scan));
            let groups = Groups::default();
            let seen = Seen { rows: &scan, gone: &gone, not_stored: &not_stored, partial, groups: &groups };
            let ours = ours_for_merge(&seen, Base::Known(&origin));
            for at in origin.keys().filter(|at| !ours.contains_key(*at)) {
                let file_above = at.ancestors().any(|up| scan.get(&up).is_some_and(|row| row.kind != Kind::Dir) && !not_stored.contains(&up));
                let needed = has_below(&scan, at);
                prop_assert!(gone.contains(at) && !partial || file_above || needed, "{at}");
            }
            let merged = merge3(Base::Known(&origin), &ours, &theirs).rows;
            prop_assert!(well_formed(&merged));
            for (at, row) in &theirs {
                let known = origin.get(at).is_some_and(|base| base.same_content(row));
                prop_assert!(known || merged.values().any(|there| there.same_content(row)), "{at}");
            }
        }

        #[test]
        fn heads_that_changed_nothing_leave_the_import_as_it_is(origin in any_table(), mine in any_table()) {
            prop_assert!(alike(&theirs_over(&origin, Some(rows(&mine)), rows(&mine)), &origin));
            prop_assert!(alike(&theirs_over(&mine, Some(rows(&mine)), rows(&origin)), &origin));
        }

        #[test]
        fn an_outside_edit_or_a_change_of_a_head_is_never_dropped_for_an_old_row((mine, origin, now) in any_three()) {
            let theirs = theirs_over(&origin, Some(rows(&mine)), rows(&now));
            for (at, row) in &theirs {
                prop_assert!([&origin, &now].iter().any(|side| side.get(at).is_some_and(|there| there.same_content(row))));
            }
            for (at, row) in &now {
                if !mine.get(at).is_some_and(|before| before.same_content(row)) {
                    prop_assert!(theirs[at].same_content(row));
                }
            }
            for (at, row) in &origin {
                if !mine.get(at).is_some_and(|before| before.same_content(row)) && !now.contains_key(at) {
                    prop_assert!(theirs[at].same_content(row));
                }
            }
        }
    }
}
