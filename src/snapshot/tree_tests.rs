use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::rows::Hash;

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
        base: None,
        packs: Vec::new(),
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
fn an_overlay_needs_no_parents_and_keeps_its_removed_paths() {
    let tree = Tree {
        header: TreeHeader {
            base: Some(SnapshotId::new(3, [3; 6])),
            packs: vec!["0000000003-030303030303-0".to_owned()],
            ..header()
        },
        rows: Rows::from([(path("d/e/f"), Row::file(Hash::of(b"x"), 1, 0o644))]),
        removed: Removed::from([(path("d/e"), None), (path("d/e/f/old"), None)]),
    };
    assert_eq!(decode(&tree.encode().unwrap()).unwrap(), tree);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

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
