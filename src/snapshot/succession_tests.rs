use proptest::prelude::*;

use super::*;
use crate::snapshot::{Gc, LINEAGE_LIMIT, WriteId};

fn id(seq: u64) -> SnapshotId {
    SnapshotId::new(seq, [seq as u8; 6])
}

fn written(n: u64) -> Written {
    Written {
        write_id: WriteId::new([n as u8; 6]),
        writer: format!("writer-{n}"),
        time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }
}

fn counts(files: u64) -> Counts {
    Counts { files, bytes: files * 10, changed: 1, quiet: true, partial: false }
}

fn live(old: Option<&Head>, mirror: Option<SnapshotId>) -> Head {
    let next = id(old.map_or(1, Head::next_seq));
    Head::live_over(old, next, mirror, counts(next.seq()), [7; 6], written(next.seq()))
}

#[test]
fn a_workspace_becomes_live_over_whatever_was_there() {
    let first = live(None, None);
    assert_eq!((first.state, first.seq, first.birth, first.gc), (HeadState::Live, 1, id(1), Gc::first([7; 6])));
    assert_eq!(first.entry(&id(1)).unwrap().bytes, 10);

    let plain = Head::first_plain(id(1), [9; 6], written(1));
    let over_plain = live(Some(&plain), None);
    assert_eq!((over_plain.state, over_plain.seq, over_plain.birth), (HeadState::Live, 2, id(1)));
    assert_eq!((over_plain.gc, &over_plain.lineage[..]), (plain.gc, &[id(1), id(2)][..]));

    let over_live = live(Some(&over_plain), Some(id(2)));
    assert_eq!((over_live.seq, over_live.mirror), (3, Some(id(2))));
    assert_eq!(over_live.history.iter().map(|entry| entry.snapshot).collect::<Vec<_>>(), [id(2), id(3)]);

    let stone = over_live.tombstone([8; 6], written(9));
    let born = live(Some(&stone), None);
    assert_eq!((born.state, born.seq, born.birth), (HeadState::Live, 4, id(4)));
    assert_eq!((born.gc.count(), born.mirror, born.history.len()), (2, None, 1));
    assert_eq!(born.lineage, [id(4)]);

    for head in [first, over_plain, over_live, stone, born] {
        head.check().unwrap();
        assert_eq!(Head::decode(&head.encode()).unwrap(), head);
    }
}

#[test]
fn a_head_never_names_an_older_mirror_than_before() {
    let head = live(Some(&live(Some(&live(None, None)), Some(id(1)))), Some(id(2)));
    assert_eq!(head.mirror, Some(id(2)));
    assert_eq!(live(Some(&head), Some(id(1))).mirror, Some(id(2)));
    assert_eq!(live(Some(&head), None).mirror, Some(id(2)));
    assert_eq!(live(Some(&head), Some(id(3))).mirror, Some(id(3)));
}

#[test]
fn prune_moves_nothing_but_gc() {
    let head = live(Some(&live(None, None)), Some(id(1)));
    let pruned = head.pruned([3; 6], written(50));
    assert_eq!(pruned.gc, head.gc.next([3; 6]));
    assert_eq!(Head { gc: head.gc, write_id: head.write_id, writer: head.writer.clone(), ..pruned.clone() }, head);
    assert_ne!(pruned.write_id, head.write_id);
    assert_eq!(Head::decode(&pruned.encode()).unwrap(), pruned);
}

#[test]
fn a_tag_is_on_one_kept_snapshot() {
    let head = live(Some(&live(None, None)), None);
    let tagged = head.tagged(&id(1), "before-migration", written(5)).unwrap();
    assert_eq!(tagged.tag("before-migration").map(|entry| entry.snapshot), Some(id(1)));
    assert_eq!((tagged.seq, tagged.gc, &tagged.lineage), (head.seq, head.gc, &head.lineage));
    let again = tagged.tagged(&id(1), "before-migration", written(6)).unwrap();
    assert_eq!(again.entry(&id(1)).unwrap().tags, ["before-migration"]);
    let moved = again.tagged(&id(2), "before-migration", written(7)).unwrap();
    assert_eq!(moved.tag("before-migration").map(|entry| entry.snapshot), Some(id(2)));
    assert!(moved.entry(&id(1)).unwrap().tags.is_empty());
    assert_eq!(moved.untagged("before-migration", written(8)).tag("before-migration"), None);
    assert_eq!(head.tagged(&id(9), "x", written(5)), Err(TagError::NotKept(id(9))));
    for wrong in ["", "1", "2026-01-02", "0000000001-010101010101", "a b", "a\nb", "-x", &"x".repeat(256)] {
        assert_eq!(head.tagged(&id(1), wrong, written(5)), Err(TagError::NoName(wrong.to_owned())));
    }
    let mut many = head;
    for n in 0..TAGS_LIMIT {
        many = many.tagged(&id(1), &format!("t{n}"), written(5)).unwrap();
    }
    assert_eq!(many.tagged(&id(1), "more", written(5)), Err(TagError::TooMany(id(1))));
    assert_eq!(Head::decode(&many.encode()).unwrap(), many);
}

#[test]
fn retention_never_takes_the_present() {
    let mut head = live(Some(&live(Some(&live(None, None)), None)), None);
    head.keep(|entry| entry.snapshot == id(1));
    assert_eq!(head.history.iter().map(|entry| entry.snapshot).collect::<Vec<_>>(), [id(1), id(3)]);
    assert!(head.knows(&id(2)));
}

#[test]
fn a_full_history_forgets_the_oldest_without_tags_and_stops_no_commit() {
    let mut head = live(Some(&live(None, None)), None).tagged(&id(1), "kept", written(3)).unwrap();
    let entry = |seq: u64, writer: &str| HistoryEntry {
        snapshot: id(seq),
        writer: writer.to_owned(),
        ..head.entry(&id(2)).unwrap().clone()
    };
    let long: Vec<HistoryEntry> = (3..9_000).map(|seq| entry(seq, &"\u{1}".repeat(TEXT_LIMIT))).collect();
    let many: Vec<HistoryEntry> = (3..11_000).map(|seq| entry(seq, "w")).collect();
    for past in [long, many] {
        let last = past.last().unwrap().snapshot;
        let mut full = head.clone();
        full.history.extend(past);
        (full.seq, full.snapshot, full.lineage) = (last.seq(), Some(last), vec![last]);
        let next = live(Some(&full), None);
        next.check().unwrap();
        assert_eq!(Head::decode(&next.encode()).unwrap(), next);
        assert!(next.tag("kept").is_some() && next.entry(&id(2)).is_none());
        assert_eq!(next.history.last().unwrap().snapshot, id(last.seq() + 1));
    }
    head.history.truncate(1);
    let many = (2..6_000).map(|seq| HistoryEntry {
        snapshot: id(seq),
        tags: vec![format!("t{seq}")],
        ..head.history[0].clone()
    });
    let mut tags = head.clone();
    tags.history.extend(many.collect::<Vec<_>>());
    assert_eq!(tags.tagged(&id(5), "one-more", written(1)), Err(TagError::Full));
}

#[test]
fn a_history_that_contradicts_its_head_is_refused() {
    let head = live(Some(&live(None, None)), Some(id(1)));
    let mut younger = head.clone();
    younger.history[1].snapshot = id(9);
    let mut twice = head.clone();
    twice.history[1].snapshot = id(1);
    let mirror = Head { mirror: Some(id(3)), ..head.clone() };
    let birth = Head { birth: id(4), ..head };
    for wrong in [younger, twice, mirror, birth] {
        assert!(matches!(wrong.check(), Err(crate::snapshot::FormatError::Malformed { .. })));
        assert!(Head::decode(&wrong.encode()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_follows_can_be_read_and_counts_on(steps in proptest::collection::vec((0..5u8, any::<[u8; 6]>(), 0..40u64), 1..100)) {
        let mut head = live(None, None);
        for (step, random, n) in steps {
            let before = head.clone();
            head = match step {
                0 if head.state == HeadState::Live => head.pruned(random, written(n)),
                1 if head.state == HeadState::Live && n == 0 => head.tombstone(random, written(n)),
                2 => head.tagged(&id(n), &format!("t{n}"), written(n)).unwrap_or(head),
                _ => live(Some(&head), (n < head.seq && n >= head.birth.seq()).then(|| id(n))),
            };
            prop_assert!(head.check().is_ok());
            prop_assert!(head.gc.count() >= before.gc.count());
            prop_assert!(head.seq == before.seq || head.seq == before.seq + 1);
            prop_assert!(head.birth != before.birth || head.state == HeadState::Deleted
                || head.mirror.map(|id| id.seq()) >= before.mirror.map(|id| id.seq()));
            prop_assert!(head.lineage.len() <= LINEAGE_LIMIT);
            prop_assert_eq!(head.birth == before.birth, before.state != HeadState::Deleted || head == before);
        }
        prop_assert_eq!(Head::decode(&head.encode()).unwrap(), head);
    }
}
