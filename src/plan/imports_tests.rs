use proptest::prelude::*;

use super::*;
use crate::plan::tables::{any_table, dir, etag, file, link, path, shown, table};

fn object(key: &str, content: &str) -> Object {
    Object { key: key.to_owned(), etag: etag(content), size: content.len() as u64, last_modified_ns: 7 }
}

fn rows(rows: &Rows) -> TreeRows<'_> {
    static NONE: Removed = Removed::new();
    TreeRows { rows, removed: &NONE }
}

fn plain(objects: &[Object], tree: Option<TreeRows<'_>>) -> Import {
    import(objects, tree, |_, _| false, ImportOptions { owner: (5, 6), state: None })
}

/// The live tree of these rows.
fn live(rows: &Rows) -> Vec<Object> {
    rows.iter()
        .filter(|(_, row)| row.kind == Kind::File)
        .map(|(at, row)| Object {
            key: at.to_string(),
            etag: row.etag.clone().unwrap(),
            size: row.size,
            last_modified_ns: 7,
        })
        .collect()
}

#[test]
fn foreign_objects_are_files_in_the_directories_of_their_keys() {
    let found = plain(&[object("a/b/c", "1"), object("d", "2")], None);
    assert_eq!(shown(&found.rows), shown(&table(&[("a", dir()), ("a/b", dir())])));
    assert_eq!((found.rows[&path("a")].mtime_ns, found.rows[&path("a")].uid), (7, 5));
    let row = found.unread[&path("a/b/c")].row(Hash::of(b"1"));
    assert_eq!((row.mode, row.uid, row.gid, row.mtime_ns, row.size), (0o644, 5, 6, 7, 1));
    assert_eq!(row.etag, Some(etag("1")));
    assert_eq!(found.unread.len(), 2);
}

#[test]
fn hostile_keys_are_refused_by_name_and_the_rest_goes_on() {
    let long = "x".repeat(256);
    let keys = [
        "../x",
        "a/./b",
        "a//b",
        "/etc/passwd",
        "a/.stopover/x",
        ".stopover/x",
        &long,
        "n\0ul",
        "\\x2e\\x2e/x",
        "/",
        "//",
    ];
    let mut objects: Vec<Object> = keys.iter().map(|key| object(key, "1")).collect();
    objects.push(object("body/", "1"));
    objects.push(object("fine", "1"));
    objects.push(object("", ""));
    let found = plain(&objects, None);
    assert_eq!(found.refused.len(), keys.len() + 1, "{:#?}", found.refused);
    assert_eq!(found.unread.keys().map(ToString::to_string).collect::<Vec<_>>(), ["fine"]);
    let reason = |key: &str| found.refused.iter().find(|refused| refused.key == key).unwrap().reason.to_string();
    assert_eq!(reason("body/"), "it ends in \"/\" but is not empty");
    assert_eq!(reason("../x"), "it has a segment \".\" or \"..\"");
    assert_eq!(reason(&long), "a segment is longer than 255 bytes");
}

#[test]
fn a_key_that_is_also_a_directory_is_refused_and_what_lies_below_is_taken() {
    let found = plain(&[object("fd/x", "2"), object("fd", "1"), object("m", "1"), object("m/", "")], None);
    let refused: Vec<_> = found.refused.iter().map(|refused| (&*refused.key, refused.reason)).collect();
    assert_eq!(refused, [("fd", Refusal::AlsoDirectory), ("m", Refusal::AlsoDirectory)]);
    assert!(found.unread.contains_key(&path("fd/x")));
    assert_eq!(found.rows[&path("m")].kind, Kind::Dir);
}

#[test]
fn a_file_of_the_tree_that_is_refused_now_is_not_missing() {
    let tree = table(&[("fd", file("1"))]);
    let found = plain(&[object("fd/x", "2"), object("fd", "1")], Some(rows(&tree)));
    assert_eq!((found.refused.len(), found.missing.len()), (1, 0));
}

#[test]
fn an_empty_object_that_ends_in_a_slash_is_a_directory() {
    let found = plain(&[object("d/e/", "")], None);
    assert_eq!(shown(&found.rows), shown(&table(&[("d/e", dir())])));
    assert_eq!(found.markers[&path("d/e")], etag(""));
    assert!(found.refused.is_empty());
}

#[test]
fn a_tree_row_counts_only_for_the_version_it_is_true_for() {
    let tree = table(&[
        ("d", Row { mode: 0o700, ..dir() }),
        ("d/same", Row { mode: 0o755, uid: 9, mtime_ns: 3, ..file("1") }),
        ("d/edited", Row { mode: 0o755, ..file("1") }),
        ("d/gone", file("3")),
        ("d/l", link("same")),
    ]);
    let found = plain(&[object("d/same", "1"), object("d/edited", "2")], Some(rows(&tree)));
    let expected: Rows = ["d", "d/l", "d/same"].iter().map(|at| (path(at), tree[&path(at)].clone())).collect();
    assert_eq!(found.rows, expected);
    assert_eq!(found.unread.keys().map(ToString::to_string).collect::<Vec<_>>(), ["d/edited"]);
    assert_eq!(shown(&found.missing), shown(&Rows::from([(path("d/gone"), file("3"))])));
}

#[test]
fn an_object_wins_over_a_symlink_or_directory_of_the_tree() {
    let tree = table(&[("l", link("x")), ("m", link("x")), ("d/e", dir()), ("d/s", link("x"))]);
    let found = plain(&[object("l", "1"), object("m/x", "1"), object("d", "1")], Some(rows(&tree)));
    assert_eq!(shown(&found.rows), shown(&table(&[("m", dir())])));
    assert_eq!(found.unread.keys().map(ToString::to_string).collect::<Vec<_>>(), ["d", "l", "m/x"]);
}

#[test]
fn a_tombstone_hides_the_version_it_names_and_no_other() {
    let removed = Removed::from([
        (path("old"), Some(etag("1"))),
        (path("new"), Some(etag("1"))),
        (path("fd"), Some(etag("1"))),
        (path("any"), None),
        (path("marker"), Some(etag(""))),
    ]);
    let tree = table(&[("fd/x", file("2"))]);
    let objects = [
        object("old", "1"),
        object("new", "2"),
        object("fd", "1"),
        object("fd/x", "2"),
        object("any", "1"),
        object("marker/", ""),
    ];
    let found = plain(&objects, Some(TreeRows { rows: &tree, removed: &removed }));
    assert_eq!(found.hidden.keys().map(ToString::to_string).collect::<Vec<_>>(), ["fd", "old"]);
    assert_eq!(found.hidden_markers.keys().map(ToString::to_string).collect::<Vec<_>>(), ["marker"]);
    assert_eq!(found.unread.keys().map(ToString::to_string).collect::<Vec<_>>(), ["any", "new"]);
    assert_eq!(found.rows, tree);
    assert!(found.refused.is_empty());
}

#[test]
fn what_is_ignored_is_dropped_unless_the_tree_vouches_for_it() {
    let tree = table(&[("dist/kept", file("1")), ("dist/edited", file("1"))]);
    let objects = [object("dist/kept", "1"), object("dist/edited", "2"), object("dist/new", "3"), object("a", "4")];
    let ignored = |at: &RelPath, _| at.as_bytes().starts_with(b"dist/");
    let found = import(&objects, Some(rows(&tree)), ignored, ImportOptions::default());
    assert_eq!(found.ignored, [path("dist/new")]);
    assert!(found.rows.contains_key(&path("dist/kept")));
    assert_eq!(found.unread.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a", "dist/edited"]);
    assert!(found.missing.is_empty());
}

#[test]
fn what_has_the_place_of_the_state_directory_is_refused() {
    let tree = table(&[("var/state/link", link("x")), ("var/state/old", file("1")), ("var/kept", file("1"))]);
    let objects =
        ["var", "var/state/mine", "var/state", "var/state/", "var/states", "var/kept"].map(|key| object(key, "1"));
    let state = path("var/state");
    let options = ImportOptions { state: Some(&state), ..ImportOptions::default() };
    let found = import(&objects, Some(rows(&tree)), |_, _| false, options);
    let mut refused: Vec<_> = found.refused.iter().map(|refused| &*refused.key).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["var", "var/state", "var/state/", "var/state/mine"]);
    assert_eq!(found.rows.keys().map(ToString::to_string).collect::<Vec<_>>(), ["var", "var/kept"]);
    assert_eq!(found.unread.keys().map(ToString::to_string).collect::<Vec<_>>(), ["var/states"]);
    assert!(found.missing.is_empty());
}

#[test]
fn a_version_that_the_directory_took_in_before_is_not_read_again() {
    let mut found = plain(&[object("a", "1"), object("b", "2"), object("c", "3"), object("d", "4")], None);
    let known = table(&[("a", Row { mode: 0o600, ..file("1") }), ("b", file("9"))]);
    found.learn(&known);
    assert_eq!(found.rows[&path("a")].mode, 0o600);
    assert_eq!(found.unread.len(), 3);
    let local = table(&[("b", file("x")), ("c", file("xx")), ("d", file("x"))]);
    let asked = |origin| ["a", "b", "c", "d", "e"].map(|at| found.must_be_read(&path(at), &local, origin));
    assert_eq!(asked(None), [false, true, false, true, false]);
    assert_eq!(asked(Some(&known)), [false, true, true, true, false]);
    assert!(!found.unread[&path("b")].placeholder().same_content(&file("2")));
}

#[test]
fn names_that_are_not_text_come_back_from_their_keys() {
    let at = RelPath::new(b"caf\xe9/\\xff".to_vec()).unwrap();
    let found = plain(&[object(&at.to_text(), "1")], None);
    assert!(found.unread.contains_key(&at));
}

fn any_key() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        8 => prop_oneof![Just("a"), Just("b"), Just("a-b")].prop_map(str::to_owned),
        1 => prop_oneof![Just(""), Just("."), Just(".."), Just(".stopover"), Just("\\xff"), Just("\\x2f")].prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (proptest::collection::vec(segment, 0..4), any::<bool>())
        .prop_map(|(segments, slash)| segments.join("/") + if slash { "/" } else { "" })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_key_is_taken_or_named(keys in proptest::collection::btree_map(any_key(), 0..3u8, 0..12), tree in any_table(), ignore: bool) {
        let objects: Vec<Object> = keys.iter().map(|(key, content)| object(key, ["", "w", "x"][usize::from(*content)])).collect();
        let ignored = |at: &RelPath, _| ignore && at.as_bytes().starts_with(b"b");
        let found = import(&objects, Some(rows(&tree)), ignored, ImportOptions::default());
        for object in &objects {
            let (text, marker) = object.key.strip_suffix('/').map_or((&*object.key, false), |text| (text, true));
            let named = found.refused.iter().any(|refused| refused.key == object.key);
            let taken = object.key.is_empty() && object.size == 0 || RelPath::from_text(text).is_ok_and(|at| {
                found.ignored.contains(&at)
                    || found.hidden_markers.contains_key(&at) && tree.get(&at).is_some_and(|row| row.kind != Kind::Dir)
                    || if marker { found.markers.contains_key(&at) } else { found.unread.contains_key(&at) || found.rows.get(&at).is_some_and(|row| row.kind == Kind::File) }
            });
            prop_assert!(named || taken, "{:?}", object.key);
        }
        let all: BTreeMap<&RelPath, bool> = found.rows.iter().map(|(at, row)| (at, row.kind == Kind::Dir)).chain(found.unread.keys().map(|at| (at, false))).collect();
        prop_assert_eq!(all.len(), found.rows.len() + found.unread.len());
        for at in all.keys() {
            prop_assert!(at.parent().is_none_or(|up| all.get(&up) == Some(&true)), "{at}");
        }
    }

    #[test]
    fn a_committed_tree_comes_back_whole_in_whatever_order_it_is_listed(tree in any_table(), turn in 0..8usize) {
        let mut objects = live(&tree);
        if !objects.is_empty() {
            let turn = turn % objects.len();
            objects.rotate_left(turn);
        }
        let found = plain(&objects, Some(rows(&tree)));
        prop_assert_eq!(&found.rows, &tree);
        prop_assert!(found.unread.is_empty() && found.missing.is_empty() && found.refused.is_empty());
        objects.reverse();
        prop_assert_eq!(plain(&objects, Some(rows(&tree))), found);
    }

    #[test]
    fn what_a_listing_lacks_is_only_called_missing(tree in any_table(), lacking: u16) {
        let mut n = 0;
        let mut objects = live(&tree);
        objects.retain(|_| { n += 1; lacking >> (n % 16) & 1 == 0 });
        let found = plain(&objects, Some(rows(&tree)));
        let mut all = found.rows.clone();
        all.extend(found.missing);
        prop_assert_eq!(all, tree);
    }
}
