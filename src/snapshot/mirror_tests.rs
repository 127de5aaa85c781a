use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn header(seq: u64) -> MirrorHeader {
    MirrorHeader {
        id: SnapshotId::new(seq, [seq as u8; 6]),
        built_from: Some(SnapshotId::new(2, [2; 6])),
        base: None,
        writer: "host-1".to_owned(),
        time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }
}

fn object(content: &str) -> MirrorRow {
    MirrorRow::object(ETag::new(format!("\"{content}\"")), content.len() as u64, Hash::of(content.as_bytes()))
}

fn sample() -> Mirror {
    let rows = MirrorRows::from([
        (path("a"), object("one")),
        (path("a/below"), object("")),
        (path("dir"), MirrorRow { object: None, folder: true }),
        (path("dir/x"), MirrorRow { folder: true, ..object("two") }),
        (RelPath::new(b"\xff".to_vec()).unwrap(), object("three")),
    ]);
    Mirror { header: header(7), rows, removed: BTreeSet::new() }
}

fn decode(bytes: &[u8]) -> Result<Mirror, FormatError> {
    Mirror::decode(bytes, &Limits::default())
}

fn text(mirror: &Mirror) -> String {
    String::from_utf8(zstd::decode_all(&mirror.encode().unwrap()[..]).unwrap()).unwrap()
}

fn packed(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

#[test]
fn a_mirror_comes_back_as_it_was_and_a_person_can_read_it() {
    let mirror = sample();
    let bytes = mirror.encode().unwrap();
    assert_eq!(decode(&bytes).unwrap(), mirror);
    assert_eq!(Mirror::decode_header(&bytes[..], &Limits::default()).unwrap(), mirror.header);
    let text = text(&mirror);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"format":1,"id":"0000000007-070707070707","built_from":"0000000002-020202020202","base":null,"writer":"host-1","time":"2026-01-02T03:04:05.678Z","lines":5}"#
    );
    assert!(lines[1].starts_with(r#"{"path":"a","kind":"object","size":3,"hash":""#), "{}", lines[1]);
    assert!(lines[1].ends_with(r#","etag":"\"one\""}"#), "{}", lines[1]);
    assert_eq!(lines[3], r#"{"path":"dir","kind":"folder"}"#);
    assert!(lines[4].ends_with(r#","folder":true}"#), "{}", lines[4]);
    assert!(lines[5].starts_with(r#"{"path":"\\xff","#), "{}", lines[5]);
}

#[test]
fn hostile_rows_are_refused_with_what_is_wrong() {
    let text = text(&sample());
    for (from, to, why) in [
        ("\"path\":\"a\"", "\"path\":\"../a\"", "\"..\""),
        ("\"path\":\"a/below\"", "\"path\":\"A\"", "does not come after"),
        ("\"path\":\"a/below\"", "\"path\":\"a\"", "does not come after"),
        ("\"size\":3", "\"size\":0", "size and hash"),
        ("\"size\":3,", "", "no row of kind object"),
        ("\"kind\":\"folder\"", "\"kind\":\"folder\",\"size\":1", "no row of kind folder"),
        ("\"kind\":\"folder\"", "\"kind\":\"removed\"", "removed from nothing"),
        ("\"\\\"one\\\"\"", "\"\"", "ETag"),
        ("\"\\\"one\\\"\"", "\"a\\nb\"", "ETag"),
        ("\"lines\":5", "\"lines\":4", "more lines"),
        ("\"lines\":5", "\"lines\":6", "its header says 6"),
        ("\"lines\":5", "\"lines\":18446744073709551615", "too large"),
        ("\"format\":1", "\"format\":0", "format 0"),
        ("{\"format\":1", "[\"format\":1", "expected"),
    ] {
        assert!(text.contains(from), "{from}");
        let said = decode(&packed(&text.replacen(from, to, 1))).unwrap_err().to_string();
        assert!(said.contains(why), "{to}: {said}");
    }
    for newer in [text.replace("\"format\":1", "\"format\":2"), text.replace("\"folder\"}", "\"archived\"}")] {
        let error = decode(&packed(&newer)).unwrap_err();
        assert!(error.is_newer() && error.to_string().starts_with("mirror has"), "{error}");
    }
    assert!(decode(&packed(&text.replace("\"kind\"", "\"colour\":[],\"kind\""))).is_ok());
    for end in 0..text.len() {
        assert!(decode(&packed(&text[..end])).is_err(), "{end}");
    }
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let mut none = sample();
    none.rows.insert(path("none"), MirrorRow::default());
    let mut lying = sample();
    lying.rows.insert(path("x"), MirrorRow::object(ETag::new("e"), 1, Hash::of(b"")));
    let removing = Mirror { removed: BTreeSet::from([path("z")]), ..sample() };
    for mirror in [none, lying, removing] {
        assert!(mirror.encode().is_err());
    }
}

#[test]
fn an_overlay_of_an_overlay_or_of_another_base_is_refused() {
    let base = Mirror { header: header(3), ..sample() };
    let overlay = Mirror::overlay(&base, &sample()).unwrap();
    assert!(overlay.rows.is_empty() && overlay.removed.is_empty());
    assert_eq!(Mirror::whole(base.clone(), overlay.clone()).unwrap(), sample());
    assert!(Mirror::overlay(&overlay, &sample()).is_err() && Mirror::overlay(&base, &overlay).is_err());
    assert!(Mirror::whole(sample(), overlay.clone()).is_err() && Mirror::whole(overlay.clone(), overlay).is_err());
    assert!(Mirror::whole(base.clone(), base).is_err());
}

fn any_mirror(seq: u64) -> impl Strategy<Value = Mirror> {
    let names = prop::sample::select(vec!["a", "a-b", "a/x", "b", "b/c", "z"]);
    prop::collection::btree_map(names, (0..4u8, any::<bool>()), 0..6).prop_map(move |rows| {
        let row = |(n, folder)| match n {
            0 => MirrorRow { object: None, folder: true },
            n => MirrorRow { folder, ..object(&"x".repeat(usize::from(n) - 1)) },
        };
        let rows = rows.into_iter().map(|(at, what)| (path(at), row(what))).collect();
        Mirror { header: header(seq), rows, removed: BTreeSet::new() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_overlay_over_its_base_is_the_mirror_it_was_made_of(base in any_mirror(3), wanted in any_mirror(7), again in any_mirror(3)) {
        let overlay = Mirror::overlay(&base, &wanted).unwrap();
        let overlay = decode(&overlay.encode().unwrap()).unwrap();
        prop_assert!(overlay.rows.iter().all(|(at, row)| base.rows.get(at) != Some(row)));
        prop_assert_eq!(Mirror::whole(base, overlay.clone()).unwrap(), wanted.clone());
        // A base that was written twice: what comes of it is still made of facts alone.
        let mixed = Mirror::whole(again.clone(), overlay).unwrap();
        prop_assert!(mixed.rows.iter().all(|(at, row)| again.rows.get(at) == Some(row) || wanted.rows.get(at) == Some(row)));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
        let _ = decode(&zstd::encode_all(&bytes[..], 1).unwrap());
    }

    #[test]
    fn a_mutated_mirror_is_refused_or_read_as_one_that_can_be_written(at in 0..10_000usize, byte: u8, insert: bool, inside: bool) {
        let mut bytes = if inside { text(&sample()).into_bytes() } else { sample().encode().unwrap() };
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        let bytes = if inside { zstd::encode_all(&bytes[..], 1).unwrap() } else { bytes };
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(decode(&read.encode().unwrap()).unwrap(), read);
        }
    }
}
