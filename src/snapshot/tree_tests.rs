use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{
    rows::{Frame, Hash, Pieces, cut},
    snapshot::{PackId, outgrown},
};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn header() -> TreeHeader {
    TreeHeader {
        id: SnapshotId::new(7, [1; 6]),
        parent: Some(SnapshotId::new(6, [2; 6])),
        writer: "host-1".to_owned(),
        quiet: true,
        partial: false,
        missing: Missing::default(),
        base: None,
        time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }
}

fn sample() -> Tree {
    let file = |content: &[u8]| Row::file(Hash::of(content), content.len() as u64, 0o640);
    let rows = Rows::from([
        (path("a"), Row { mtime_ns: -5, uid: 1000, gid: 50, etag: Some(ETag::new("\"e1\"")), ..file(b"one") }),
        (path("a-b"), file(b"")),
        (path("d"), Row { mtime_ns: i64::MAX, ..Row::dir(0o700) }),
        (path("d/é\u{1}"), Row { link: Some(path("a")), ..file(b"one") }),
        (RelPath::new(b"d/\xff\\xff".to_vec()).unwrap(), Row::symlink(b"../\xfe/\\x5c")),
        (path("s"), Row::symlink(b"/etc")),
    ]);
    let removed = Removed::from([
        (path("0"), Some(ETag::new("\"gone\""))),
        (path("d"), Some(ETag::new("\"was a file\""))),
        (path("s/below"), Some(ETag::new("W/\"x\""))),
        (path("zz"), None),
    ]);
    Tree { header: header(), rows, removed }
}

/// A frame of pack `pack`, the `n`th of its frames.
fn frame(pack: u32, n: u32) -> std::sync::Arc<Frame> {
    let pack = PackId { id: SnapshotId::new(6, [6; 6]), number: pack }.name();
    std::sync::Arc::new(Frame { pack, at: u64::from(n) * 1000, length: 500 + n, inflated: 1 << 20 })
}

fn within(frame: &std::sync::Arc<Frame>, at: u32) -> Place {
    Place::In { frame: frame.clone(), at }
}

/// A tree with content in packs.
fn stored() -> Tree {
    let file = |content: &[u8], pieces| Row { pieces, ..Row::file(Hash::of(content), content.len() as u64, 0o640) };
    let large = cut(&[&[7; 1 << 20][..], &[0; 1 << 20], b"end"].concat());
    let Pieces::Many(mut pieces) = large.pieces else { panic!("one piece") };
    pieces[0].place = Some(within(&frame(0, 3), 0));
    pieces[2].place = Some(within(&frame(10, 0), 5));
    let rows = Rows::from([
        (path("a"), file(b"one", Pieces::One(within(&frame(0, 0), 1 << 19)))),
        (path("b"), file(b"two", Pieces::One(within(&frame(0, 0), 7)))),
        (path("d"), Row::dir(0o755)),
        (path("d/empty"), file(b"", Pieces::None)),
        (path("d/large"), Row { pieces: Pieces::Many(pieces), ..Row::file(large.hash, large.size, 0o600) }),
        (path("d/zeros"), file(&[0; 9], Pieces::One(Place::Zeros))),
    ]);
    Tree { header: header(), rows, removed: Removed::new() }
}

fn text(tree: &Tree) -> String {
    String::from_utf8(zstd::decode_all(&tree.encode().unwrap()[..]).unwrap()).unwrap()
}

fn packed(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Tree, FormatError> {
    Tree::decode(bytes, &Limits::default())
}

fn refused(text: &str) -> String {
    decode(&packed(text)).map(|tree| tree.rows).unwrap_err().to_string()
}

/// A tree of these lines, with a true count.
fn lines(lines: &[&str]) -> String {
    let header = format!(
        r#"{{"format":1,"id":"0000000001-000000000000","time":"2026-01-01T00:00:00Z","lines":{}}}"#,
        lines.len()
    );
    std::iter::once(&*header).chain(lines.iter().copied()).flat_map(|line| [line, "\n"]).collect()
}

const HASH: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

fn file(path: &str) -> String {
    format!(r#"{{"path":{},"kind":"file","mode":"0644","size":0,"hash":"{HASH}"}}"#, serde_json::json!(path))
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let tree = sample();
    assert_eq!(decode(&tree.encode().unwrap()).unwrap(), tree);
}

#[test]
fn a_person_can_read_a_tree() {
    let text = text(&sample());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"format":1,"id":"0000000007-010101010101","parent":"0000000006-020202020202","writer":"host-1","time":"2026-01-02T03:04:05.678Z","quiet":true,"partial":false,"base":null,"packs":[],"lines":9}"#
    );
    assert_eq!(lines[1], r#"{"path":"0","kind":"removed","hides":"\"gone\""}"#);
    assert!(
        lines[2].starts_with(
            r#"{"path":"a","kind":"file","mode":"0640","uid":1000,"gid":50,"mtime_ns":-5,"size":3,"hash":""#
        )
    );
    assert!(lines[4].ends_with(r#""hides":"\"was a file\""}"#));
    assert!(text.contains(r#""target":"../\\xfe/\\x5cx5c""#), "{text}");
}

#[test]
fn unknown_keys_are_passed_over_and_a_newer_format_is_not() {
    let known = lines(&[&file("a").replace("\"kind\"", "\"colour\":\"red\",\"kind\"")]);
    assert!(decode(&packed(&known)).is_ok());
    assert!(decode(&packed(&known.replace("\"id\"", "\"shape\":{},\"id\""))).is_ok());
    let newer = decode(&packed(&known.replace("\"format\":1,\"id\"", "\"format\":2,\"name\""))).unwrap_err();
    assert!(newer.is_newer());
    assert!(newer.to_string().contains("made by a newer stopover"), "{newer}");
    let root = decode(&packed(&lines(&[&file("a").replace("\"kind\"", "\"root\":\"~/.claude\",\"kind\"")])));
    assert!(root.unwrap_err().is_newer());
    let kind = decode(&packed(&lines(&[&file("a").replace("\"file\"", "\"socket\"")])));
    assert!(kind.unwrap_err().is_newer());
}

#[test]
fn hostile_rows_are_refused_with_what_is_wrong() {
    let dir = r#"{"path":"d","kind":"dir","mode":"0755"}"#;
    for (rows, why) in [
        (vec![file("../x")], "\"..\""),
        (vec![file("a\0b")], "NUL"),
        (vec![file("/etc")], "empty segment"),
        (vec![file(".stopover/x")], ".stopover"),
        (vec![dir.to_owned(), file("d/.stopover")], ".stopover"),
        (vec![file("\\x2e\\x2e")], "escape"),
        (vec![file("b"), file("a")], "does not come after"),
        (vec![file("a"), file("a")], "does not come after"),
        (vec![file("a"), file("a-b"), file("a/x")], "lies below a"),
        (vec![file("d/x")], "no row for its parent"),
        (vec![file("a").replace("0644", "4755")], "mode"),
        (vec![file("a").replace("0644", "+644")], "mode"),
        (vec![file("a").replace("\"mode\":\"0644\",", "")], "no mode"),
        (vec![file("a").replace(HASH, &HASH.to_uppercase())], "hash"),
        (vec![file("a").replace("\"size\":0", "\"size\":1")], "size and hash"),
        (vec![file("a").replace("\"size\":0", "\"size\":-1")], "invalid value"),
        (vec![file("a").replace("\"size\"", "\"target\":\"x\",\"size\"")], "no row of a file"),
        (vec![file("a").replace("\"size\"", "\"hides\":\"x\",\"size\"")], "cannot have"),
        (vec![file("a").replace("\"size\"", "\"etag\":\"a\\nb\",\"size\"")], "ETag"),
        (vec![file("a").replace("\"size\"", "\"link\":\"../b\",\"size\"")], "first name"),
        (vec![dir.replace("\"mode\"", "\"size\":0,\"mode\"")], "no row of a dir"),
        (vec![r#"{"path":"s","kind":"symlink"}"#.to_owned()], "no row of a symlink"),
        (vec![r#"{"path":"s","kind":"symlink","target":""}"#.to_owned()], "no target"),
        (vec![r#"{"path":"s","kind":"symlink","target":"a\u0000"}"#.to_owned()], "no target"),
        (vec!["[]".to_owned()], "invalid"),
        (vec!["[".repeat(10_000)], "invalid"),
        (vec![String::new()], "EOF"),
    ] {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let said = refused(&lines(&rows));
        assert!(said.contains(why), "{rows:?}: {said}");
    }
}

#[test]
fn a_tree_cut_short_anywhere_is_no_smaller_tree() {
    let tree = sample();
    let bytes = tree.encode().unwrap();
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "{end}");
    }
    let text = text(&tree);
    for end in 0..text.len() {
        assert!(decode(&zstd::encode_all(&text.as_bytes()[..end], 1).unwrap()).is_err(), "{end}");
    }
    assert!(decode(&packed(&(text + &file("zzz") + "\n"))).is_err());
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let long = packed(&lines(&[&"x".repeat(1000)]));
    let limits = Limits { bytes: 10_000, line: 500, rows: 10 };
    assert!(matches!(Tree::decode(&long[..], &limits), Err(FormatError::TooLarge { what: "a line of a tree", .. })));
    let bytes = sample().encode().unwrap();
    assert!(matches!(
        Tree::decode(&bytes[..], &Limits { rows: 8, ..limits }),
        Err(FormatError::TooLarge { unit: "rows", .. })
    ));
    assert!(matches!(
        Tree::decode(&bytes[..], &Limits { bytes: 600, ..limits }),
        Err(FormatError::TooLarge { unit: "bytes", .. })
    ));
    // A frame that wants a window of 128 MiB.
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(lines(&[]).as_bytes()).unwrap();
    assert!(decode(&wide.finish().unwrap()).is_err());
}

#[test]
fn a_table_that_could_not_be_read_again_is_not_written() {
    let row = |change: fn(&mut Row)| {
        let mut row = Row::file(Hash::of(b"x"), 1, 0o644);
        change(&mut row);
        row
    };
    for (at, row) in [
        ("d/a", row(|_| ())),
        ("a", row(|row| row.mode = 0o1755)),
        ("a", row(|row| row.size = 0)),
        ("a", row(|row| row.kind = Kind::Symlink)),
        ("a", row(|row| row.etag = Some(ETag::new("")))),
    ] {
        let tree = Tree { header: header(), rows: Rows::from([(path(at), row)]), removed: Removed::new() };
        assert!(matches!(tree.encode(), Err(FormatError::Malformed { .. })), "{:?}", tree.rows);
    }
}

#[test]
fn a_partial_tree_names_what_it_lacks() {
    let missing = Missing::of((0..1200).map(|n| format!("d/{n} \u{e9}\n")));
    let tree = Tree { header: TreeHeader { partial: true, missing, ..header() }, ..sample() };
    let read = decode(&tree.encode().unwrap()).unwrap();
    assert_eq!((read.header.missing.names().len(), read.header.missing.more()), (1000, 200));
    assert_eq!(read, tree);
    let base = Tree { header: TreeHeader { id: SnapshotId::new(3, [3; 6]), ..header() }, ..stored() };
    let overlay = Tree::overlay(&base, &tree).unwrap();
    assert_eq!(Tree::whole(base, overlay).unwrap().header, tree.header);
    // Older ones say only that something is missing, and a whole one says nothing of it.
    let old = text(&tree).replacen(r#""missing":["#, r#""unknown":["#, 1).replacen(r#""more_missing":200,"#, "", 1);
    let old = decode(&zstd::encode_all(old.as_bytes(), 1).unwrap()).unwrap();
    assert!(old.header.partial && old.header.missing == Missing::default());
    assert!(!text(&sample()).contains("missing"));
    // Lists of any length are refused before they are held.
    let names = |count: usize| format!(r#""missing":[{}"d"]"#, r#""d","#.repeat(count - 1));
    for (from, to) in [
        (r#""partial":false"#, format!(r#""partial":true,{}"#, names(1001))),
        (r#""partial":false"#, r#""partial":true,"missing":["d"],"more_missing":18446744073709551615"#.to_owned()),
        (r#""partial":false"#, format!(r#""partial":true,"missing":["{}"]"#, "d".repeat(20_000))),
        (r#""partial":false"#, r#""partial":true,"missing":null"#.to_owned()),
    ] {
        let bytes = zstd::encode_all(text(&sample()).replacen(from, &to, 1).as_bytes(), 1).unwrap();
        assert!(matches!(decode(&bytes), Err(FormatError::Malformed { line: 1, .. })), "{}", &to[..40]);
    }
    let bytes = text(&sample()).replacen(r#""partial":false"#, &format!(r#""partial":true,{}"#, names(1000)), 1);
    assert!(decode(&zstd::encode_all(bytes.as_bytes(), 1).unwrap()).is_ok());
}

#[test]
fn an_overlay_needs_no_parents_and_keeps_its_removed_paths() {
    let tree = Tree {
        header: TreeHeader { base: Some(SnapshotId::new(3, [3; 6])), ..header() },
        rows: Rows::from([(path("d/e/f"), Row::file(Hash::of(b"x"), 1, 0o644))]),
        removed: Removed::from([(path("d/e"), None), (path("d/e/f/old"), None)]),
    };
    assert_eq!(decode(&tree.encode().unwrap()).unwrap(), tree);
}

#[test]
fn a_tree_says_where_its_content_lies() {
    let tree = stored();
    let bytes = tree.encode().unwrap();
    assert_eq!(decode(&bytes).unwrap(), tree);
    assert_eq!(tree.not_stored().count(), 0);
    let packs = ["0000000006-060606060606-0", "0000000006-060606060606-10"].map(PackName::new);
    assert_eq!(tree.packs(), packs);
    assert_eq!(Tree::decode_header(&bytes[..], &Limits::default()).unwrap(), (header(), packs.to_vec()));
    let text = text(&tree);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains(
            r#""packs":["0000000006-060606060606-0","0000000006-060606060606-10"],"frames":[[0,0,500,1048576],[0,3000,503,1048576],[1,0,500,1048576]],"#
        ),
        "{}",
        lines[0]
    );
    assert!(lines[1].ends_with(r#","frame":0,"at":524288}"#), "{}", lines[1]);
    assert!(lines[5].contains(r#","frame":1,"at":0},{"hash":""#) && lines[5].contains(r#"","zeros":true},{"#));
    assert!(lines[6].ends_with(r#","zeros":true}"#));
    // Frames are shared again.
    let read = decode(&bytes).unwrap();
    let frames: Vec<_> =
        ["a", "b"].map(|at| read.rows[&path(at)].pieces.places().next().unwrap().frame().unwrap()).into();
    assert!(std::sync::Arc::ptr_eq(frames[0], frames[1]));
}

#[test]
fn what_is_cut_but_not_stored_yet_can_be_noted_and_is_told() {
    let mut tree = stored();
    for row in tree.rows.values_mut() {
        row.pieces = row.pieces.without_places();
    }
    assert_eq!(decode(&tree.encode().unwrap()).unwrap(), tree);
    let found: Vec<String> = tree.not_stored().map(|(at, _)| at.to_string()).collect();
    assert_eq!(found, ["a", "b", "d/large"]);
    assert!(tree.packs().is_empty());
}

#[test]
fn places_that_no_frame_has_are_refused() {
    let text = text(&stored());
    for (from, to, why) in [
        ("[0,0,500,1048576]", "[0,0,500,16777217]", "no frame"),
        ("[0,0,500,1048576]", "[0,0,500,0]", "no frame"),
        ("[0,0,500,1048576]", "[0,0,20,1048576]", "no frame"),
        ("[0,0,500,1048576]", "[0,0,500,479]", "no frame"),
        ("[0,0,500,1048576]", "[0,0,3001,1048576]", "no frame"),
        ("[0,0,500,1048576]", "[0,67108864,500,1048576]", "no frame"),
        ("[0,0,500,1048576]", "[0,18446744073709551615,500,1048576]", "no frame"),
        ("[0,0,500,1048576]", "[0,0,500]", "invalid length"),
        ("[0,0,500,1048576],[0,3000,503,1048576]", "[0,3000,503,1048576],[0,0,500,1048576]", "no frame"),
        ("[1,0,500", "[2,0,500", "not listed"),
        ("606-10\"]", "606-100000000000\"]", "is no pack"),
        ("606-10\"]", "606-0\"]", "ascend"),
        ("606-10\"]", "606/../../x-1\"]", "is no pack"),
        ("\"frame\":0,\"at\":7}", "\"frame\":3,\"at\":7}", "not listed"),
        ("\"frame\":0,\"at\":7}", "\"frame\":0,\"at\":1048574}", "within their frames"),
        ("\"frame\":0,\"at\":7}", "\"frame\":0,\"at\":4294967295}", "within their frames"),
        ("\"frame\":0,\"at\":7}", "\"frame\":0}", "no place"),
        ("\"frame\":0,\"at\":7}", "\"frame\":0,\"at\":7,\"zeros\":true}", "no place"),
        ("\"frame\":0,\"at\":7}", "\"frame\":0,\"at\":7,\"pieces\":[]}", "one piece and several"),
        ("\"frame\":0,\"at\":7}", "\"pieces\":[]}", "not those of its content"),
        ("\"size\":2097155", "\"size\":2097156", ""),
        ("\"size\":2097155", "\"size\":3145729", "not those of its content"),
    ] {
        assert!(text.contains(from), "{from}");
        let said = decode(&packed(&text.replacen(from, to, 1)));
        // One byte more or less in the last piece is for its hash to find out.
        assert!(said.is_err() != why.is_empty(), "{from} {to}");
        assert!(said.is_ok() || said.as_ref().unwrap_err().to_string().contains(why), "{to}: {said:?}");
    }
    let mut swapped = stored();
    let row = swapped.rows.get_mut(&path("d/large")).unwrap();
    let Pieces::Many(pieces) = &mut row.pieces else { panic!("one piece") };
    pieces.swap(0, 1);
    assert!(swapped.encode().is_err());
    let on_dir = Row { pieces: Pieces::One(Place::Zeros), ..Row::dir(0o755) };
    assert!(Tree { rows: Rows::from([(path("d"), on_dir)]), ..stored() }.encode().is_err());
    let mut crossing = stored();
    let twin = Frame { at: 499, ..(*frame(0, 0)).clone() };
    crossing.rows.get_mut(&path("b")).unwrap().pieces = Pieces::One(within(&std::sync::Arc::new(twin), 7));
    assert!(crossing.encode().is_err());
}

fn over(base: &Tree, wanted: &Tree) -> Tree {
    let overlay = Tree::overlay(base, wanted).unwrap();
    // As an object: it must survive being one.
    let overlay = decode(&overlay.encode().unwrap()).unwrap();
    assert_eq!(overlay.header.base, Some(base.header.id));
    overlay
}

#[test]
fn an_overlay_holds_what_differs_and_nothing_else() {
    let base = Tree { header: TreeHeader { id: SnapshotId::new(3, [3; 6]), ..header() }, ..stored() };
    let mut wanted = stored();
    wanted.rows.remove(&path("a"));
    wanted.rows.get_mut(&path("b")).unwrap().mtime_ns = 1;
    wanted.rows.get_mut(&path("d/zeros")).unwrap().pieces = Pieces::None;
    wanted.rows.insert(path("d/new"), Row::symlink(b"x"));
    let overlay = over(&base, &wanted);
    let names: Vec<String> = overlay.rows.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["b", "d/new", "d/zeros"]);
    assert_eq!(overlay.removed, Removed::from([(path("a"), None)]));
    assert_eq!(Tree::whole(base.clone(), overlay).unwrap(), wanted);
    let nothing = over(&base, &Tree { header: header(), ..base.clone() });
    assert!(nothing.rows.is_empty() && nothing.removed.is_empty());
}

#[test]
fn an_overlay_of_an_overlay_or_of_another_base_is_refused() {
    let id = SnapshotId::new(3, [3; 6]);
    let base = Tree { header: TreeHeader { id, ..header() }, ..stored() };
    let overlay = over(&base, &stored());
    let said = |tree: Result<Tree, FormatError>| tree.unwrap_err().to_string();
    assert!(said(Tree::overlay(&overlay, &stored())).contains("is an overlay of"));
    assert!(said(Tree::overlay(&base, &overlay)).contains("is an overlay of"));
    assert!(said(Tree::whole(overlay.clone(), overlay.clone())).contains("is an overlay of"));
    assert!(said(Tree::whole(stored(), overlay.clone())).contains("not of"));
    assert!(said(Tree::whole(base.clone(), stored())).contains("has no base"));
    // Together they must be a tree, too.
    let lost = Tree { removed: Removed::from([(path("d"), None)]), ..overlay.clone() };
    assert!(said(Tree::whole(base.clone(), lost)).contains("no row for its parent"));
    let below = Tree { rows: Rows::from([(path("b/x"), Row::dir(0o755))]), ..overlay };
    assert!(said(Tree::whole(base, below)).contains("lies below"));
}

#[test]
fn a_base_is_left_when_the_overlay_outgrows_it() {
    for (overlay, base, due) in [
        (64 << 10, 0, false),
        ((64 << 10) + 1, 8 << 20, true),
        ((64 << 10) + 1, 9 << 20, false),
        (1 << 20, 127 << 20, true),
    ] {
        assert_eq!(outgrown(overlay, base), due, "{overlay} {base}");
    }
}

/// Any small table with its parents, tombstones and places.
fn any_tree(seq: u64) -> impl Strategy<Value = Tree> {
    let names = prop::sample::select(vec!["a", "a-b", "a/x", "a/y", "b", "b/c", "b/c/d", "z"]);
    let row = (0..6u8, 0..3u32, any::<bool>());
    (prop::collection::btree_map(names.clone(), row, 0..8), prop::collection::btree_map(names, 0..3u8, 0..4)).prop_map(
        move |(wanted, hidden)| {
            let mut rows = Rows::new();
            for (at, (kind, n, moved)) in wanted {
                let at = path(at);
                let above: Vec<RelPath> = at.ancestors().collect();
                if above.iter().any(|up| rows.get(up).is_some_and(|row: &Row| row.kind != Kind::Dir)) {
                    continue;
                }
                let content = format!("content {n}");
                let file = Row::file(Hash::of(content.as_bytes()), content.len() as u64, 0o644);
                let row = match kind {
                    0 => Row::dir(0o700 + n as u16),
                    1 => Row::symlink(content.as_bytes()),
                    2 => file,
                    _ => Row {
                        pieces: Pieces::One(within(&frame(n, u32::from(moved)), n)),
                        mtime_ns: i64::from(kind),
                        ..file
                    },
                };
                rows.extend(above.into_iter().map(|up| (up, Row::dir(0o755))));
                rows.insert(at, row);
            }
            let tombstone = |n: u8| ETag::new(format!("\"{n}\""));
            let removed = hidden
                .into_iter()
                .map(|(at, n)| (path(at), Some(tombstone(n))))
                .filter(|(at, _)| rows.get(at).is_none_or(|row| row.kind != Kind::File))
                .collect();
            Tree { header: TreeHeader { id: SnapshotId::new(seq, [seq as u8; 6]), ..header() }, rows, removed }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_overlay_over_its_base_is_the_tree_it_was_made_of(base in any_tree(3), wanted in any_tree(7)) {
        let overlay = over(&base, &wanted);
        for (at, row) in &overlay.rows {
            prop_assert!(base.rows.get(at) != Some(row) || base.removed.get(at) != wanted.removed.get(at));
        }
        prop_assert!(overlay.rows.len() + overlay.removed.len() <= 2 * (base.rows.len() + wanted.rows.len() + base.removed.len() + wanted.removed.len()));
        prop_assert_eq!(Tree::whole(base, overlay).unwrap(), wanted);
    }

    #[test]
    fn any_overlay_over_any_base_is_a_tree_that_can_be_written_or_refused(base in any_tree(3), wanted in any_tree(7), other in any_tree(3)) {
        let overlay = over(&base, &wanted);
        if let Ok(tree) = Tree::whole(other, overlay) {
            prop_assert_eq!(decode(&tree.encode().unwrap()).unwrap(), tree);
        }
    }

    #[test]
    fn a_mutated_tree_with_places_is_refused_or_can_be_written(at in 0..100_000usize, byte: u8, insert: bool) {
        static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| text(&stored()));
        let mut bytes = TEXT.clone().into_bytes();
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        if let Ok(read) = decode(&zstd::encode_all(&bytes[..], 1).unwrap()) {
            prop_assert_eq!(decode(&read.encode().unwrap()).unwrap(), read);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
        let _ = Tree::decode(&zstd::encode_all(&bytes[..], 1).unwrap()[..], &Limits::default());
    }

    #[test]
    fn a_mutated_tree_is_refused_or_read_as_a_tree_that_can_be_written(at in 0..10_000usize, byte: u8, insert: bool, inside: bool) {
        let tree = sample();
        let mut bytes = if inside { text(&tree).into_bytes() } else { tree.encode().unwrap() };
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        let bytes = if inside { zstd::encode_all(&bytes[..], 1).unwrap() } else { bytes };
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(decode(&read.encode().unwrap()).unwrap(), read);
        }
    }

    #[test]
    fn any_table_with_its_parents_survives(paths in proptest::collection::btree_map(
        proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'-'), Just(b'\\'), Just(b'x'), Just(b'/'), any::<u8>()], 1..12),
        (0..3u8, any::<u16>(), any::<u32>(), any::<i64>(), proptest::collection::vec(1..255u8, 1..6)), 0..12))
    {
        let mut rows = Rows::new();
        for (at, (kind, mode, uid, mtime_ns, content)) in paths {
            let Ok(at) = RelPath::new(at) else { continue };
            let above: Vec<RelPath> = at.ancestors().collect();
            if above.iter().any(|up| rows.get(up).is_some_and(|row: &Row| row.kind != Kind::Dir)) {
                continue;
            }
            let row = match kind {
                0 => Row::dir(mode),
                1 => Row::symlink(&content),
                _ => Row { etag: Some(ETag::new(format!("\"{uid}\""))), ..Row::file(Hash::of(&content), content.len() as u64, mode) },
            };
            rows.extend(above.into_iter().map(|up| (up, Row::dir(0o755))));
            rows.insert(at, Row { uid, gid: uid ^ 1, mtime_ns, ..row });
        }
        let tree = Tree { header: header(), rows, removed: Removed::new() };
        prop_assert_eq!(decode(&tree.encode().unwrap()).unwrap(), tree);
    }
}
