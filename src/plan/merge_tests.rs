use proptest::prelude::*;

use super::*;
use crate::plan::tables::{
    alike, any_rows, any_table, any_three, dir, file, hashes, link, path, scanned, shown, table, well_formed,
};
use crate::rows::{Frame, PackName, Pieces, Place};

fn theirs_name(at: &str, content: &str) -> String {
    format!("{at}.theirs-{}", file(content).hash.short())
}

fn ours_name(at: &str, content: &str) -> String {
    format!("{at}.ours-{}", file(content).hash.short())
}

#[test]
fn one_sided_changes_are_taken_from_their_side() {
    let base =
        table(&[("kept", file("1")), ("mine", file("1")), ("his", file("1")), ("cut", file("1")), ("lost", file("1"))]);
    let ours =
        table(&[("kept", file("1")), ("mine", file("2")), ("his", file("1")), ("lost", file("1")), ("new", file("n"))]);
    let theirs =
        table(&[("kept", file("1")), ("mine", file("1")), ("his", file("3")), ("cut", file("1")), ("neu", file("m"))]);
    let merged = merge3(Base::Known(&base), &scanned(&ours), &theirs);
    let wanted =
        table(&[("kept", file("1")), ("mine", file("2")), ("his", file("3")), ("new", file("n")), ("neu", file("m"))]);
    assert_eq!(shown(&merged.rows), shown(&wanted));
    assert!(merged.copies.is_empty());
    assert_eq!(merged.rows[&path("his")].etag, file("3").etag);
    assert_eq!(merged.rows[&path("mine")].etag, None);
}

#[test]
fn where_content_lies_is_no_change_and_only_theirs_knows_where() {
    let at = |pack: &str| {
        let frame = Frame { pack: PackName::new(pack), at: 0, length: 40, inflated: 20 };
        Pieces::One(Place::In { frame: std::sync::Arc::new(frame), at: 3 })
    };
    let lying = |content: &str, pack: &str| Row { pieces: at(pack), ..file(content) };
    let base = table(&[("a", lying("1", "old")), ("b", lying("1", "old")), ("c", lying("1", "old"))]);
    let ours =
        table(&[("a", file("1")), ("b", lying("2", "mine")), ("c", lying("2", "mine")), ("n", lying("1", "old"))]);
    let theirs = table(&[("a", lying("1", "packed again")), ("b", lying("1", "now")), ("c", lying("3", "now"))]);
    let merged = merge3(Base::Known(&base), &ours, &theirs);
    let copy = theirs_name("c", "3");
    let found = |path: &str| merged.rows[&self::path(path)].pieces.clone();
    assert_eq!(found("a"), at("packed again"));
    assert_eq!((found("b"), found("c"), found("n")), (Pieces::None, Pieces::None, Pieces::None));
    assert_eq!(found(&copy), at("now"));
    assert_eq!(merged.copies.len(), 1);
}

#[test]
fn both_edits_of_one_file_survive_ours_under_the_name() {
    let base = table(&[("d/a", file("1"))]);
    let (ours, theirs) = (table(&[("d/a", file("2"))]), table(&[("d/a", file("3"))]));
    let merged = merge3(Base::Known(&base), &scanned(&ours), &theirs);
    let copy = theirs_name("d/a", "3");
    assert_eq!(shown(&merged.rows), shown(&table(&[("d/a", file("2")), (&copy, file("3"))])));
    let [found] = &merged.copies[..] else { panic!("{:?}", merged.copies) };
    assert_eq!((found.whose, &found.path, &found.copy), (Whose::Theirs, &path("d/a"), &path(&copy)));
    assert_eq!(found.row.etag, file("3").etag);
    assert_eq!(merged.rows[&path(&copy)].etag, None);
}

#[test]
fn what_the_other_side_has_met_and_kept_in_a_copy_makes_no_second_one() {
    let base = table(&[("a", file("1"))]);
    let ours = table(&[("a", file("2"))]);
    let met = theirs_name("a", "2");
    let theirs = table(&[("a", file("3")), (&met, file("2"))]);
    for base in [Base::Known(&base), Base::None, Base::Older(&base)] {
        let merged = merge3(base, &scanned(&ours), &theirs);
        assert_eq!(shown(&merged.rows), shown(&theirs));
        let [copy] = &merged.copies[..] else { panic!("{:?}", merged.copies) };
        assert_eq!((copy.whose, &copy.path, &copy.copy), (Whose::Ours, &path("a"), &path(&met)));
    }
    // An old copy says nothing about this edit.
    let old = table(&[("a", file("1")), (&met, file("2"))]);
    let ours = table(&[("a", file("2")), (&met, file("2"))]);
    let merged = merge3(Base::Known(&old), &scanned(&ours), &theirs);
    assert_eq!(merged.rows[&path("a")].hash, file("2").hash);
    assert!(merged.rows.contains_key(&path(&theirs_name("a", "3"))));
}

#[test]
fn a_change_wins_over_a_delete_on_either_side() {
    let base = table(&[("a", file("1")), ("b", file("1")), ("c", file("1"))]);
    let ours = table(&[("a", file("2")), ("c", Row { mode: 0o755, ..file("1") })]);
    let theirs = table(&[("b", file("3"))]);
    let merged = merge3(Base::Known(&base), &ours, &theirs);
    assert_eq!(shown(&merged.rows), shown(&table(&[("a", file("2")), ("b", file("3")), ("c", file("1"))])));
}

#[test]
fn content_mode_and_owner_merge_each_by_itself() {
    let base = table(&[("a", file("1")), ("b", file("1"))]);
    let ours = table(&[("a", Row { mode: 0o755, ..file("1") }), ("b", Row { mode: 0o700, ..file("1") })]);
    let theirs = table(&[("a", Row { uid: 7, gid: 8, ..file("2") }), ("b", Row { mode: 0o600, ..file("1") })]);
    let merged = merge3(Base::Known(&base), &ours, &theirs);
    let row = &merged.rows[&path("a")];
    assert_eq!((row.hash, row.mode, row.uid, row.gid), (file("2").hash, 0o755, 7, 8));
    assert_eq!(merged.rows[&path("b")].mode, 0o700);
    assert!(merged.copies.is_empty());
}

#[test]
fn a_file_moves_aside_where_the_other_side_made_a_directory() {
    let base = Rows::new();
    let (ours, theirs) = (table(&[("a", file("1"))]), table(&[("a/x", file("2"))]));
    let merged = merge3(Base::Known(&base), &ours, &theirs);
    let copy = ours_name("a", "1");
    assert_eq!(shown(&merged.rows), shown(&table(&[("a/x", file("2")), (&copy, file("1"))])));
    assert_eq!(merged.copies[0].whose, Whose::Ours);

    let merged = merge3(Base::Known(&base), &theirs, &ours);
    let copy = theirs_name("a", "1");
    assert_eq!(shown(&merged.rows), shown(&table(&[("a/x", file("2")), (&copy, file("1"))])));
    assert_eq!(merged.copies[0].whose, Whose::Theirs);
}

#[test]
fn a_directory_that_became_a_file_elsewhere_stays_for_what_was_edited_in_it() {
    let base = table(&[("a/x", file("1")), ("a/y", file("1"))]);
    let ours = table(&[("a/x", file("2")), ("a/y", file("1"))]);
    let theirs = table(&[("a", file("3"))]);
    let merged = merge3(Base::Known(&base), &ours, &theirs);
    let copy = theirs_name("a", "3");
    assert_eq!(shown(&merged.rows), shown(&table(&[("a/x", file("2")), (&copy, file("3"))])));

    let unedited = merge3(Base::Known(&base), &base, &theirs);
    assert_eq!(shown(&unedited.rows), shown(&theirs));
    assert!(unedited.copies.is_empty());
}

#[test]
fn a_symlink_conflicts_like_a_file() {
    let base = table(&[("l", link("1"))]);
    let merged = merge3(Base::Known(&base), &table(&[("l", link("2"))]), &table(&[("l", link("3"))]));
    let copy = path(&format!("l.theirs-{}", link("3").hash.short()));
    assert_eq!(merged.rows[&copy].target.as_deref(), Some(&b"3"[..]));
    assert_eq!(merged.rows[&path("l")].target.as_deref(), Some(&b"2"[..]));
}

#[test]
fn without_a_base_different_is_kept_twice_and_nothing_is_deleted() {
    let ours = table(&[("a", file("1")), ("b", file("1")), ("c", file("1"))]);
    let theirs = table(&[("b", file("1")), ("c", file("2")), ("d", file("1"))]);
    let merged = merge3(Base::None, &ours, &theirs);
    let copy = theirs_name("c", "2");
    let wanted = table(&[("a", file("1")), ("b", file("1")), ("c", file("1")), (&copy, file("2")), ("d", file("1"))]);
    assert_eq!(shown(&merged.rows), shown(&wanted));
}

#[test]
fn a_row_not_edited_since_a_base_too_old_gives_way_and_stays_beside() {
    let old = table(&[("a", file("1")), ("b", file("1")), ("gone", file("1"))]);
    let ours = table(&[("a", file("1")), ("b", file("2")), ("gone", file("1"))]);
    let theirs = table(&[("a", file("3")), ("b", file("3"))]);
    let merged = merge3(Base::Older(&old), &ours, &theirs);
    let (a, b) = (ours_name("a", "1"), theirs_name("b", "3"));
    let wanted = table(&[("a", file("3")), (&a, file("1")), ("b", file("2")), (&b, file("3")), ("gone", file("1"))]);
    assert_eq!(shown(&merged.rows), shown(&wanted));
    assert_eq!(merged.copies.iter().map(|copy| copy.whose).collect::<Vec<_>>(), [Whose::Ours, Whose::Theirs]);
}

#[test]
fn a_path_with_eight_copies_gets_no_more_and_is_named() {
    let mut theirs = table(&[("a", file("other"))]);
    for n in 0..8 {
        let content = n.to_string();
        theirs.insert(path(&theirs_name("a", &content)), file(&content));
    }
    let merged = merge3(Base::None, &table(&[("a", file("mine"))]), &theirs);
    assert_eq!(merged.overflow, [path("a")]);
    assert_eq!(merged.rows.len(), 9);
    assert!(merged.copies.is_empty());
}

#[test]
fn an_unchanged_directory_row_comes_back_for_what_lies_in_it() {
    let private = Row { mode: 0o700, ..dir() };
    let base = table(&[("d", private.clone()), ("d/a", file("1"))]);
    let ours = table(&[("d", private.clone()), ("d/a", file("2"))]);
    let merged = merge3(Base::Known(&base), &ours, &Rows::new());
    assert_eq!(merged.rows[&path("d")], private);
    let implied = merge3(Base::None, &Rows::from([(path("x/y/z"), Row { uid: 5, gid: 6, ..file("1") })]), &Rows::new());
    assert_eq!((implied.rows[&path("x")].uid, implied.rows[&path("x/y")].mode), (5, 0o755));
}

fn bases<'a>(base: &'a Rows) -> [Base<'a>; 3] {
    [Base::Known(base), Base::None, Base::Older(base)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_three_tables_merge_into_a_well_formed_one(base in any_rows(), ours in any_rows(), theirs in any_rows()) {
        for base in bases(&base) {
            prop_assert!(well_formed(&merge3(base, &ours, &theirs).rows));
        }
    }

    #[test]
    fn a_table_merged_with_itself_is_itself(rows in any_table(), other in any_table()) {
        for base in [Base::Known(&rows), Base::None, Base::Older(&rows), Base::Known(&other), Base::Older(&other)] {
            let merged = merge3(base, &rows, &rows);
            prop_assert_eq!(&merged.rows, &rows);
            prop_assert!(merged.copies.is_empty() && merged.overflow.is_empty());
        }
    }

    #[test]
    fn merging_twice_is_merging_once((base, ours, theirs) in any_three()) {
        for base in bases(&base) {
            let once = merge3(base, &ours, &theirs).rows;
            let again = merge3(base, &once, &theirs).rows;
            prop_assert!(alike(&once, &again), "ours again\n{:#?}\n{:#?}", shown(&once), shown(&again));
            let again = merge3(base, &ours, &once).rows;
            prop_assert!(alike(&once, &again), "theirs again\n{:#?}\n{:#?}", shown(&once), shown(&again));
        }
    }

    #[test]
    fn a_side_that_changed_nothing_takes_the_other((base, ours, _) in any_three()) {
        prop_assert!(alike(&merge3(Base::Known(&base), &ours, &base).rows, &ours));
        prop_assert!(alike(&merge3(Base::Known(&base), &base, &ours).rows, &ours));
    }

    #[test]
    fn no_content_is_lost_unless_the_other_side_knew_it((base, ours, theirs) in any_three()) {
        for known in bases(&base) {
            let merged = merge3(known, &ours, &theirs);
            let kept = hashes(&merged.rows);
            for (mine, other) in [(&ours, &theirs), (&theirs, &ours)] {
                for (at, row) in mine.iter().filter(|(_, row)| row.kind != Kind::Dir) {
                    let replaced = matches!(known, Base::Known(_))
                        && base.get(at).is_some_and(|base| base.same_content(row))
                        && other.get(at).is_none_or(|other| !other.same_content(row));
                    prop_assert!(replaced || kept.contains(&row.hash), "{at} of\n{:#?}\nis not in\n{:#?}", shown(mine), shown(&merged.rows));
                }
            }
        }
    }

    #[test]
    fn without_a_counting_base_no_path_goes((base, ours, theirs) in any_three()) {
        for base in [Base::None, Base::Older(&base)] {
            let merged = merge3(base, &ours, &theirs).rows;
            prop_assert!(ours.keys().chain(theirs.keys()).all(|at| merged.contains_key(at)));
        }
    }

    #[test]
    fn a_path_goes_only_if_the_base_had_it((base, ours, theirs) in any_three()) {
        let merged = merge3(Base::Known(&base), &ours, &theirs).rows;
        for at in ours.keys().chain(theirs.keys()) {
            prop_assert!(merged.contains_key(at) || base.contains_key(at), "{at}");
        }
    }

    #[test]
    fn a_mode_an_owner_or_a_time_never_makes_a_copy(base in any_table(), modes in proptest::collection::vec((0..4u16, 0..3u32, 0..3i64), 24)) {
        let changed = |skip: usize| -> Rows {
            base.iter().zip(modes.iter().skip(skip)).map(|((at, row), &(mode, uid, mtime_ns))| {
                (at.clone(), Row { mode: 0o600 | mode, uid, mtime_ns, ..row.clone() })
            }).collect()
        };
        prop_assume!(base.len() <= 20);
        let merged = merge3(Base::Known(&base), &changed(0), &changed(3));
        prop_assert!(merged.copies.is_empty());
        prop_assert_eq!(merged.rows.len(), base.len());
    }

    #[test]
    fn an_etag_of_the_result_is_theirs_for_that_path_and_content((base, ours, theirs) in any_three()) {
        for base in bases(&base) {
            for (at, row) in merge3(base, &scanned(&ours), &theirs).rows {
                if row.etag.is_some() {
                    prop_assert!(theirs.get(&at).is_some_and(|there| there.same_content(&row) && there.etag == row.etag));
                }
            }
        }
    }
}
