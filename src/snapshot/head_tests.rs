use proptest::prelude::*;

use super::*;

fn id(seq: u64) -> SnapshotId {
    SnapshotId::new(seq, [seq as u8; 6])
}

fn written(n: u8) -> Written {
    Written {
        write_id: WriteId::new([n; 6]),
        writer: format!("writer-{n}"),
        time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }
}

fn first() -> Head {
    Head::first_plain(id(1), [9; 6], written(1))
}

#[test]
fn a_head_comes_back_as_it_was_and_a_person_can_read_it() {
    let head = Head {
        history: vec![HistoryEntry {
            snapshot: id(1),
            time: written(1).time,
            tags: vec!["good".to_owned()],
            files: 3,
            bytes: 4,
            changed: 1,
            writer: "w".to_owned(),
            quiet: true,
            partial: false,
        }],
        ..first()
    };
    assert_eq!(Head::decode(&head.encode()).unwrap(), head);
    let text = String::from_utf8(first().encode()).unwrap();
    for line in [
        "\"format\": 1,",
        "\"state\": \"plain\",",
        "\"birth\": \"0000000001-010101010101\",",
        "\"gc\": \"0-090909090909\",",
        "\"time\": \"2026-01-02T03:04:05.678Z\",",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn commits_count_up_and_keep_birth_and_gc() {
    let mut head = first();
    for n in 2..=300 {
        head = head.next(id(head.next_seq()), written(n as u8));
        assert_eq!((head.seq, head.birth, head.gc), (n, id(1), first().gc));
    }
    assert_eq!(head.lineage.len(), LINEAGE_LIMIT);
    assert_eq!((head.lineage[0], head.lineage[255]), (id(45), id(300)));
    assert_eq!(Head::decode(&head.encode()).unwrap(), head);
}

#[test]
fn a_head_no_reader_would_take_is_known_before_it_is_written() {
    let long = Written { writer: "é".repeat(2000), ..written(2) };
    let head = first().next(id(2), long);
    assert!(head.check().is_ok() && Head::decode(&head.encode()).is_ok());
    assert!(first().next(id(1), written(2)).check().is_err());
}

#[test]
fn a_deleted_workspace_is_born_again_from_its_tombstone() {
    let head = first().next(id(2), written(2));
    let stone = head.tombstone([5; 6], written(3));
    assert_eq!((stone.state, stone.snapshot, stone.gc.count()), (HeadState::Deleted, None, 1));
    assert!(stone.has_in_lineage(&id(2)));
    assert_eq!(Head::decode(&stone.encode()).unwrap(), stone);
    let born = stone.reborn_plain(id(stone.next_seq()), [6; 6], written(4));
    assert_eq!((born.birth, born.seq, born.gc.count()), (id(3), 3, 2));
    assert_eq!(born.lineage, [id(3)]);
    assert!(!born.knows(&id(2)));
}

#[test]
fn a_newer_head_is_refused_as_such_whatever_else_it_says() {
    let newer = Head::decode(br#"{"format": 2, "state": ["sharded"]}"#).unwrap_err();
    assert!(newer.is_newer());
    assert_eq!(
        newer.to_string(),
        "head.json has format 2, this version reads up to 1: it was made by a newer stopover, use that one"
    );
    let text = String::from_utf8(first().encode()).unwrap();
    assert!(Head::decode(text.replacen('{', "{\"colour\": {\"x\": []},", 1).as_bytes()).is_ok());
}

#[test]
fn a_head_that_contradicts_itself_is_refused() {
    let text = String::from_utf8(first().encode()).unwrap();
    for (from, to) in [
        ("\"format\": 1", "\"format\": 0"),
        ("\"seq\": 1", "\"seq\": 2"),
        ("\"seq\": 1", "\"seq\": 9999999999"),
        ("\"seq\": 1", "\"seq\": -1"),
        ("\"state\": \"plain\"", "\"state\": \"deleted\""),
        ("\"state\": \"plain\"", "\"state\": \"odd\""),
        ("\"snapshot\": \"0000000001-010101010101\"", "\"snapshot\": null"),
        ("\"snapshot\": \"0000000001-010101010101\"", "\"snapshot\": \"../../x\""),
        ("2026-01-02T", "yesterday "),
        ("\"0-0909", "\"-0909"),
    ] {
        assert!(text.contains(from), "{from}");
        let said = Head::decode(text.replacen(from, to, 1).as_bytes());
        assert!(matches!(said, Err(FormatError::Malformed { .. })), "{to}: {said:?}");
    }
    let mut long = first();
    long.lineage = (0..300).map(id).collect();
    assert!(matches!(Head::decode(&long.encode()), Err(FormatError::TooLarge { .. })));
    assert!(matches!(Head::decode(&vec![b' '; BYTES_LIMIT + 1]), Err(FormatError::TooLarge { .. })));
    assert!(Head::decode("[".repeat(100_000).as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Head::decode(&bytes).is_err());
    }

    #[test]
    fn a_mutated_head_is_refused_or_read_as_a_head_that_can_be_written(at in 0..10_000usize, byte: u8, insert: bool) {
        let mut bytes = first().next(id(2), written(2)).encode();
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        if let Ok(head) = Head::decode(&bytes) {
            prop_assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        }
    }
}
