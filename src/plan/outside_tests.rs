use proptest::prelude::*;

use super::*;
use crate::plan::{
    Mirror, Whose,
    tables::{any_table, dir, etag, file, path, shown, table},
};

fn object(key: &str, content: &str) -> Object {
    Object { key: key.to_owned(), etag: etag(content), size: content.len() as u64, last_modified_ns: 7 }
}

fn mirror_of(rows: &Rows) -> Mirror {
    let files = rows.iter().filter_map(|(at, row)| Some((at.clone(), Content::of(row)?, row.etag.clone()?)));
    Mirror { rows: files.map(|(at, content, etag)| (at, Held { etag, content })).collect(), ..Mirror::default() }
}

fn listing(rows: &Rows) -> Vec<Object> {
    let files = rows.iter().filter(|(_, row)| row.kind == Kind::File);
    files
        .map(|(at, row)| Object {
            key: at.to_string(),
            etag: row.etag.clone().unwrap(),
            size: row.size,
            last_modified_ns: 7,
        })
        .collect()
}

/// Every object's content, by the ETags of these tests.
fn contents(objects: &[Object]) -> Contents {
    let hash = |object: &Object| Hash::of(object.etag.as_str().trim_matches('"').as_bytes());
    objects
        .iter()
        .filter(|object| !object.key.ends_with('/'))
        .map(|object| (path(&object.key), (object.etag.clone(), hash(object))))
        .collect()
}

static NO_REFUSED: BTreeMap<RelPath, ETag> = BTreeMap::new();

fn explained<'a>(mirror: &'a Mirror, recent: &'a [&'a Rows]) -> Explained<'a> {
    Explained { mirror, recent, refused: &NO_REFUSED }
}

fn looked(objects: &[Object], head: &Rows, explained: &Explained<'_>, contents: &Contents) -> Outside {
    outside(objects, head, explained, true, contents, |_, _| false, ImportOptions { owner: (5, 6), state: None })
}

fn all(objects: &[Object], head: &Rows, explained: &Explained<'_>) -> Wanted {
    let found = looked(objects, head, explained, &contents(objects));
    assert!(found.read.is_empty());
    let gone = found.missing.keys().cloned().collect();
    wanted(head, &found, explained, &gone, false)
}

#[test]
fn each_object_is_as_mirrored_or_ours_or_must_be_read_or_an_edit() {
    let copy = format!("took.theirs-{}", file("x9").hash.short());
    let head = table(&[
        ("same", file("1")),
        ("late", file("22")),
        ("took", file("33")),
        (&copy, file("x9")),
        ("e", file("1")),
    ]);
    let before = table(&[("same", file("1")), ("late", file("1")), ("took", file("33")), ("e", file("1"))]);
    // Rows of live snapshots name no versions.
    let between = table(&[("late", Row { etag: None, ..file("44") })]);
    let mirror = mirror_of(&before);
    let recent = [&between];
    let explained = explained(&mirror, &recent);
    let objects = [
        object("same", "1"),
        object("late", "44"),
        object("took", "x9"),
        object("e", "long"),
        object("new", "n"),
        object(&copy, "x9"),
    ];
    let unread = looked(&objects, &head, &explained, &Contents::new());
    assert_eq!(unread.read.keys().map(ToString::to_string).collect::<Vec<_>>(), ["e", "late", "took", &copy]);
    assert_eq!(unread.unread.keys().collect::<Vec<_>>(), [&path("new")]);
    let read = looked(&objects, &head, &explained, &contents(&objects));
    assert!(read.read.is_empty() && read.missing.is_empty());
    assert_eq!(read.edits.keys().collect::<Vec<_>>(), [&path("e"), &path("new")]);
    assert_eq!(read.edits[&path("new")].uid, 5);
}

#[test]
fn a_file_in_the_way_of_a_directory_is_refused_unless_a_recent_snapshot_had_it() {
    let head = table(&[("f/inner", file("1")), ("d/inner", file("1"))]);
    // Rows of live snapshots name no versions.
    let before = table(&[("f", Row { etag: None, ..file("2") }), ("d", Row { etag: None, ..file("long") })]);
    let mirror = mirror_of(&head);
    let recent = [&before];
    let explained = explained(&mirror, &recent);
    let refused = |found: &Outside| found.in_the_way().map(|path| path.to_string()).collect::<Vec<_>>();
    let objects = |f, d| [object("d/inner", "1"), object("f/inner", "1"), object("f", f), object("d", d)];
    // What is as long as one that was there is read; nothing else is.
    let found = looked(&objects("2", "1"), &head, &explained, &Contents::new());
    assert_eq!(found.read.keys().collect::<Vec<_>>(), [&path("f")]);
    assert_eq!(refused(&found), ["d"]);
    let of = |f| looked(&objects(f, "1"), &head, &explained, &contents(&objects(f, "1")));
    assert_eq!(refused(&of("2")), ["d"], "a late write of stopover's own");
    assert_eq!(refused(&of("3")), ["d", "f"], "an edit of somebody else's");
    assert!(of("2").read.is_empty() && of("3").read.is_empty() && of("3").edits.is_empty());
}

#[test]
fn what_is_left_of_a_directory_that_head_has_no_more_is_in_nobodys_way() {
    let head = table(&[("marked", file("1")), ("was", file("1")), ("late", file("1"))]);
    let before = table(&[("late/x", Row { etag: None, ..file("2") })]);
    // A delete that was denied is mirrored still, and so is the mark of a folder.
    let mut mirror = mirror_of(&table(&[("marked", file("1")), ("was", file("1")), ("was/x", file("1"))]));
    mirror.markers.insert(path("marked"), etag(""));
    let recent = [&before];
    let explained = explained(&mirror, &recent);
    let left = [object("marked/", ""), object("was/x", "1"), object("late/x", "2")];
    let edited = ["marked", "was", "late"].map(|key| object(key, "edited"));
    let objects = [left, edited.clone()].concat();
    let found = looked(&objects, &head, &explained, &contents(&objects));
    assert!(found.refused.is_empty() && found.read.is_empty(), "{found:?}");
    assert_eq!(found.edits.keys().map(ToString::to_string).collect::<Vec<_>>(), ["late", "marked", "was"]);
    // What somebody puts there now is a directory's.
    let objects = [&edited[1..2], &[object("was/new", "n")]].concat();
    let found = looked(&objects, &head, &explained, &contents(&objects));
    assert_eq!(found.in_the_way().collect::<Vec<_>>(), [path("was")]);
}

#[test]
fn an_edit_is_taken_over_what_nobody_changed_and_put_beside_what_somebody_did() {
    let before = table(&[("a", file("1")), ("b", file("1")), ("gone", file("1"))]);
    let head = table(&[("a", Row { mode: 0o755, ..file("1") }), ("b", file("2"))]);
    let mirror = mirror_of(&before);
    let recent = [&head];
    let objects = [object("a", "edited"), object("b", "other"), object("gone", "back"), object("new", "n")];
    let result = all(&objects, &head, &explained(&mirror, &recent));
    let copy = format!("b.theirs-{}", file("other").hash.short());
    let expected = table(&[
        ("a", file("edited")),
        ("b", file("2")),
        (&copy, file("other")),
        ("gone", file("back")),
        ("new", file("n")),
    ]);
    assert_eq!(shown(&result.merged.rows), shown(&expected));
    assert_eq!(result.merged.rows[&path("a")].mode, 0o755);
    assert_eq!(
        (result.merged.copies[0].whose, &result.merged.copies[0].row.etag),
        (Whose::Theirs, &Some(etag("other")))
    );
}

#[test]
fn a_sibling_that_is_not_done_yet_has_edited_nothing() {
    let before = table(&[("a", file("1")), ("b", file("1")), ("c", file("1"))]);
    let head = table(&[("a", file("2")), ("n", file("2")), ("b", file("2"))]);
    let mirror = mirror_of(&before);
    let recent = [&head];
    // "a" and "n" are written, "b" and the delete of "c" are not.
    let objects = [object("a", "2"), object("b", "1"), object("c", "1"), object("n", "2")];
    let result = all(&objects, &head, &explained(&mirror, &recent));
    assert_eq!(shown(&result.merged.rows), shown(&head));
    // Nor has it deleted what it has not written yet.
    let result = all(&objects[1..3], &head, &explained(&mirror, &recent));
    assert_eq!(shown(&result.merged.rows), shown(&head));
    assert!(result.deleted.is_empty() && result.refused.is_empty());
}

#[test]
fn a_missing_object_is_a_delete_only_if_nothing_else_explains_it() {
    let rows = table(&[("a", file("1")), ("b", file("1")), ("c", file("1")), ("d", file("1"))]);
    let mirror = mirror_of(&rows);
    let others = table(&[("a", file("1")), ("b", file("2")), ("c", file("1")), ("d", file("1"))]);
    let recent = [&others, &rows];
    let there = [object("d", "1")];
    let found = looked(&there, &rows, &explained(&mirror, &recent), &contents(&there));
    assert_eq!(found.missing.keys().collect::<Vec<_>>(), [&path("a"), &path("c")]);
    assert_eq!(found.unproven, BTreeSet::from([path("b")]));
    // Head has another one there, and its catch-up may not have come so far.
    let newer = table(&[("a", file("2")), ("b", file("1")), ("c", file("1")), ("d", file("1"))]);
    let behind = looked(&there, &newer, &explained(&mirror, &[&rows]), &contents(&there));
    assert_eq!(behind.missing.keys().collect::<Vec<_>>(), [&path("b"), &path("c")]);
    let explained = explained(&mirror, &recent);
    let only_a = wanted(&rows, &found, &explained, &BTreeSet::from([path("a")]), false);
    assert_eq!(shown(&only_a.merged.rows), shown(&table(&[("b", file("1")), ("c", file("1")), ("d", file("1"))])));
    let unread = outside(&there, &rows, &explained, false, &Contents::new(), |_, _| false, ImportOptions::default());
    assert!(unread.missing.is_empty());
    let refused = BTreeMap::from([(path("a"), etag("1"))]);
    let before = Explained { refused: &refused, ..explained };
    assert_eq!(looked(&there, &rows, &before, &Contents::new()).missing.keys().collect::<Vec<_>>(), [&path("c")]);
}

#[test]
fn more_than_half_is_nobodys_delete_unless_it_was_asked_for() {
    let rows = table(&[("a", file("1")), ("b", file("1")), ("c", file("1"))]);
    let mirror = mirror_of(&rows);
    let recent = [&rows];
    let explained = explained(&mirror, &recent);
    let there = [object("a", "1")];
    let found = looked(&there, &rows, &explained, &Contents::new());
    let gone = found.missing.keys().cloned().collect();
    let refused = wanted(&rows, &found, &explained, &gone, false);
    assert_eq!(shown(&refused.merged.rows), shown(&rows));
    assert_eq!(refused.refused, BTreeMap::from([(path("b"), etag("1")), (path("c"), etag("1"))]));
    let accepted = wanted(&rows, &found, &explained, &gone, true);
    assert_eq!(shown(&accepted.merged.rows), shown(&table(&[("a", file("1"))])));
    assert!(accepted.refused.is_empty());
}

#[test]
fn deletes_that_were_refused_before_count_among_those_of_now() {
    let rows = table(&[("a", file("1")), ("b", file("1")), ("c", file("1")), ("d", file("1")), ("e", file("1"))]);
    let mirror = mirror_of(&rows);
    let recent = [&rows];
    let refused = BTreeMap::from(["a", "b", "c"].map(|name| (path(name), etag("1"))));
    let before = Explained { refused: &refused, ..explained(&mirror, &recent) };
    let with = |there: &[Object]| {
        let found = looked(there, &rows, &before, &contents(there));
        let gone = found.missing.keys().cloned().collect();
        wanted(&rows, &found, &before, &gone, false)
    };
    let all_gone = with(&[]);
    assert_eq!(shown(&all_gone.merged.rows), shown(&rows));
    assert_eq!(all_gone.refused.keys().collect::<Vec<_>>(), [&path("d"), &path("e")]);
    // What is there again is not missing.
    let back = with(&["a", "b", "c"].map(|name| object(name, "1")));
    assert_eq!(back.deleted, BTreeSet::from(["d", "e"].map(path)));
    let edited = with(&["a", "b"].map(|name| object(name, "edited")));
    assert!(edited.deleted.is_empty(), "`c` is");
    let edited = with(&["a", "b", "c"].map(|name| object(name, "edited")));
    assert_eq!(edited.deleted.len(), 2);
}

#[test]
fn the_version_in_a_plain_snapshots_row_says_what_an_object_holds() {
    let plain = table(&[("a", file("1")), ("b", file("1")), ("c", file("1"))]);
    let head = table(&[("a", file("1")), ("b", file("2")), ("c", file("1"))]);
    let recent = [&plain];
    let mirror = Mirror::default();
    let objects = [object("a", "1"), object("b", "1"), object("c", "x")];
    let found = looked(&objects, &head, &explained(&mirror, &recent), &Contents::new());
    assert_eq!(found.read.keys().collect::<Vec<_>>(), [&path("c")], "it has another version");
    assert!(found.edits.is_empty());
}

#[test]
fn a_directory_marker_counts_until_a_mirror_has_it() {
    let head = table(&[("a", file("1"))]);
    let mut mirror = mirror_of(&head);
    let recent = [&head];
    let objects = [object("a", "1"), Object { size: 0, ..object("empty/", "") }];
    let result = all(&objects, &head, &explained(&mirror, &recent));
    assert_eq!(shown(&result.merged.rows), shown(&table(&[("a", file("1")), ("empty", dir())])));
    mirror.markers.insert(path("empty"), etag(""));
    let result = all(&objects, &head, &explained(&mirror, &recent));
    assert_eq!(shown(&result.merged.rows), shown(&head));
}

#[test]
fn hostile_ignored_and_colliding_keys_change_nothing() {
    let head = table(&[("d/x", file("1")), ("keep.log", file("1"))]);
    let mirror = mirror_of(&head);
    let recent = [&head];
    let explained = explained(&mirror, &recent);
    let objects =
        [object("d/x", "1"), object("keep.log", "edit"), object("new.log", "1"), object("d", "2"), object("../x", "1")];
    let logs = |at: &RelPath, _: Kind| at.name().ends_with(b".log");
    let found = outside(&objects, &head, &explained, true, &contents(&objects[..4]), logs, ImportOptions::default());
    assert_eq!(found.ignored, [path("new.log")]);
    assert_eq!(found.edits.keys().collect::<Vec<_>>(), [&path("keep.log")]);
    assert_eq!(found.refused.len(), 2);
    assert!(found.missing.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_mix_of_mirrored_recent_and_present_objects_is_no_edit(
        mirrored in any_table(), recent in any_table(), head in any_table(), mixed in any::<u64>())
    {
        let mut live = Rows::new();
        let keys: BTreeSet<&RelPath> = mirrored.keys().chain(recent.keys()).chain(head.keys()).collect();
        for (n, at) in keys.into_iter().enumerate() {
            let table = [&mirrored, &recent, &head][(mixed >> (2 * (n % 32)) & 3).min(2) as usize];
            live.extend(table.get(at).filter(|row| row.kind == Kind::File).map(|row| (at.clone(), row.clone())));
        }
        let mirror = mirror_of(&mirrored);
        let tables = [&recent, &head];
        let objects = listing(&live);
        let found = looked(&objects, &head, &explained(&mirror, &tables), &contents(&objects));
        prop_assert!(found.read.is_empty());
        prop_assert!(found.edits.is_empty(), "{:?}", shown(&found.edits));
    }

    #[test]
    fn every_edit_is_kept_and_every_row_of_head_too_but_for_what_an_edit_replaces(
        mirrored in any_table(), head in any_table(), live in any_table(), gone: bool)
    {
        let live: Rows = live.into_iter().filter(|(_, row)| row.kind == Kind::File)
            .map(|(at, row)| (at, Row { size: row.size + 10, hash: Hash::of(row.hash.as_bytes()), etag: Some(ETag::new(format!("out-{}", row.hash))), ..row })).collect();
        let objects = listing(&live);
        let read: Contents = live.iter().map(|(at, row)| (at.clone(), (row.etag.clone().unwrap(), row.hash))).collect();
        let mirror = mirror_of(&mirrored);
        let recent = [&head];
        let explained = explained(&mirror, &recent);
        let found = looked(&objects, &head, &explained, &read);
        let none = BTreeSet::new();
        let all = found.missing.keys().cloned().collect();
        let result = wanted(&head, &found, &explained, if gone { &all } else { &none }, false);
        let kept: BTreeSet<Hash> = result.merged.rows.values().map(|row| row.hash).collect();
        for row in live.values() {
            prop_assert!(kept.contains(&row.hash) || found.refused.iter().any(|refused| path(&refused.key) == *live.iter().find(|(_, other)| other.hash == row.hash).unwrap().0));
        }
        for (at, row) in head.iter().filter(|(_, row)| row.kind != Kind::Dir) {
            let mirrored = mirror.rows.get(at).is_some_and(|held| Some(held.content) == Content::of(row));
            let replaced = mirrored && (found.edits.contains_key(at) || result.deleted.contains(at));
            prop_assert!(replaced || kept.contains(&row.hash), "{at}");
        }
    }
}
