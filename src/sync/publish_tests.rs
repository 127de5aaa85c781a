use super::*;
use crate::{
    rows::{ETag, Place},
    snapshot::{Counts, WriteId, Written},
    store::{GetIf, Got},
    sync::{
        test_bucket::{Bucket, Fate},
        test_ground::{Ground, noise, path},
    },
};

#[test]
fn a_head_is_found_again_by_its_snapshot_or_by_what_else_is_new_in_it() {
    let id = |seq: u8| SnapshotId::new(seq.into(), [seq; 6]);
    let written = |write: u8| Written {
        write_id: WriteId::new([write; 6]),
        writer: String::new(),
        time: jiff::Timestamp::UNIX_EPOCH,
    };
    let commit = |old: Option<&Head>, seq: u8, write: u8| {
        Head::live_over(old, id(seq), None, Counts::default(), [1; 6], written(write))
    };
    let old = commit(None, 1, 1);
    let (ours, theirs) = (commit(Some(&old), 2, 2), commit(Some(&old), 9, 3));
    let on_top = commit(Some(&ours), 3, 4);
    for (now, expected) in [(&ours, true), (&on_top, true), (&old, false), (&theirs, false)] {
        assert_eq!(is_ours(now, Some(&old), &ours), expected);
    }
    // Every head from now on has the snapshot that a prune names, whether it was applied or not.
    let pruned = old.pruned([2; 6], written(5));
    let after = commit(Some(&pruned), 2, 6);
    for (now, expected) in [(&pruned, true), (&after, true), (&ours, false), (&old, false)] {
        assert_eq!(is_ours(now, Some(&old), &pruned), expected);
    }
    let tagged = old.tagged(&id(1), "x", written(7)).unwrap();
    for (now, expected) in [(&tagged, true), (&commit(Some(&tagged), 2, 8), false), (&ours, false)] {
        assert_eq!(is_ours(now, Some(&old), &tagged), expected);
    }
    let stone = old.tombstone([3; 6], written(9));
    for (now, expected) in [(&stone, true), (&pruned, false), (&stone.tombstone([4; 6], written(10)), false)] {
        assert_eq!(is_ours(now, Some(&old), &stone), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_of_a_plain_workspace_says_nothing_of_pieces() {
    let ground = Ground::new().await;
    ground.write("large", &noise(1, 2 << 20)).write("zeros", &[0; 100]);
    let mut rows = ground.scan();
    assert!(matches!(rows[&path("large")].pieces, Pieces::Many(_)));
    let zeros = rows.get_mut(&path("zeros")).unwrap();
    zeros.pieces = Pieces::One(Place::Zeros);
    let head = next_head(&ground.store, None, true, None, &rows, Removed::new()).await.unwrap();
    let Got::Found(object) = ground.store.get(&head.snapshot.unwrap().tree_key(), GetIf::Always).await.unwrap() else {
        panic!("the tree is there")
    };
    let tree = Tree::decode(&object.bytes[..], &Limits::default()).unwrap();
    assert!(tree.rows.len() == 2 && tree.rows.values().all(|row| row.pieces == Pieces::None));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    assert!(check_size(5_000_000, MAX_WHOLE, "s3://b/w").is_ok());
    for (rows, bytes) in [(5_000_001, 1), (1, MAX_WHOLE + 1)] {
        let error = check_size(rows, bytes, "s3://b/w").unwrap_err().to_string();
        assert!(error.contains("s3://b/w") && error.contains(".stopoverignore"), "{error}");
    }
}

fn id(seq: u64, random: u8) -> SnapshotId {
    SnapshotId::new(seq, [random; 6])
}

fn written(write: u8) -> Written {
    Written { write_id: WriteId::new([write; 6]), writer: String::new(), time: jiff::Timestamp::UNIX_EPOCH }
}

/// The head of a commit over `old`, told from others by its number.
fn live(old: &Head, write: u8) -> Head {
    Head::live_over(Some(old), id(old.next_seq(), write), None, Counts::default(), [write; 6], written(write))
}

fn first() -> Head {
    Head::live_over(None, id(1, 1), None, Counts::default(), [1; 6], written(1))
}

/// A bucket where this is head.
async fn bucket(head: &Head) -> (Bucket, HeadAt) {
    let bucket = Bucket::new().await;
    let etag = bucket.shelf().put(HEAD_KEY, &head.encode());
    let at = HeadAt { head: head.clone(), etag: ETag::new(etag) };
    assert_eq!(read_head(&bucket.store).await.unwrap().unwrap().etag, at.etag);
    (bucket, at)
}

/// The next writes of head meet these fates, one after the other.
fn answer_writes(bucket: &Bucket, fates: Vec<Fate>) {
    let mut fates = fates.into_iter();
    bucket.on_request(move |asked, _| match asked.key == HEAD_KEY && asked.is_change() {
        true => fates.next().unwrap_or(Fate::Served),
        false => Fate::Served,
    });
}

/// In a word what became of it.
fn word(published: &Published) -> &'static str {
    match published {
        Published::Won(Some(_)) => "won",
        Published::Won(None) => "won, and others on top",
        Published::Lost => "lost",
        Published::Gone => "gone",
    }
}

fn of(head: &Head) -> Mine {
    Mine { birth: Some(head.birth.to_string()), ..Mine::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_server_answers_a_commit_that_nobody_outran_is_head_in_the_end() {
    let old = first();
    let new = live(&old, 2);
    let burst = || (0..4).map(|_| Fate::Refused(503, "SlowDown")).collect();
    for (what, fates) in [
        ("200", vec![]),
        ("409", vec![Fate::Refused(409, "ConditionalRequestConflict")]),
        ("412", vec![Fate::Refused(412, "PreconditionFailed")]),
        ("404", vec![Fate::Refused(404, "NoSuchKey")]),
        ("500, not applied", vec![Fate::Refused(500, "InternalError")]),
        ("500, applied", vec![Fate::Lost]),
        ("cut, not applied", vec![Fate::Cut { applied: false }]),
        ("cut, applied", vec![Fate::Cut { applied: true }]),
        (
            "applied, then cut and refused",
            vec![Fate::Lost, Fate::Cut { applied: false }, Fate::Refused(503, "SlowDown")],
        ),
        ("503, again and again", burst()),
    ] {
        let (bucket, at) = bucket(&old).await;
        answer_writes(&bucket, fates);
        let published = publish_for(&of(&old), &bucket.store, Some(&at), &new).await.unwrap();
        assert_eq!(word(&published), "won", "{what}");
        let now = read_head(&bucket.store).await.unwrap().unwrap();
        assert_eq!(now.head, new, "{what}");
        assert!(matches!(published, Published::Won(Some(won)) if won.etag == now.etag), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_written_is_no_failure_where_it_cannot_be_read_back() {
    let old = first();
    let new = live(&old, 2);
    let (bucket, at) = bucket(&old).await;
    let mut is_written = false;
    bucket.on_request(move |asked, _| match asked.key == HEAD_KEY {
        true if asked.is_change() => {
            is_written = true;
            Fate::Served
        }
        true if is_written => Fate::Refused(403, "AccessDenied"),
        _ => Fate::Served,
    });
    let published = publish_for(&of(&old), &bucket.unmeasured, Some(&at), &new).await.unwrap();
    assert!(matches!(published, Published::Won(Some(won)) if won.head == new));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_meanwhile_is_read_by_the_table_whatever_the_answer_was() {
    let old = first();
    let new = live(&old, 2);
    let stone = old.tombstone([7; 6], written(7));
    let anew = live(&stone, 8);
    let (on_top, dug_in) = (live(&new, 9), new.tombstone([9; 6], written(9)));
    let nobodys = Mine::default();
    for (what, mine, meanwhile, expected) in [
        ("a commit", of(&old), Some(live(&old, 5)), "lost"),
        ("a prune", of(&old), Some(old.pruned([6; 6], written(6))), "lost"),
        ("a tag", of(&old), Some(old.tagged(&id(1, 1), "v", written(6)).unwrap()), "lost"),
        ("a tombstone", of(&old), Some(stone.clone()), "gone"),
        ("a tombstone, to an import", nobodys.clone(), Some(stone), "gone"),
        ("another birth", of(&old), Some(anew.clone()), "gone"),
        ("another birth, to who had none", nobodys, Some(anew), "lost"),
        ("nothing is left", of(&old), None, "gone"),
        ("ours, and another on top", of(&old), Some(on_top), "won, and others on top"),
        ("ours, and a tombstone on top", of(&old), Some(dug_in), "won, and others on top"),
    ] {
        for answer in ["as it is", "500", "cut"] {
            let (bucket, at) = bucket(&old).await;
            let mut meanwhile = Some(meanwhile.clone());
            bucket.on_request(move |asked, shelf| {
                let Some(head) = meanwhile.take_if(|_| asked.key == HEAD_KEY && asked.is_change()) else {
                    return Fate::Served;
                };
                match head {
                    Some(head) => drop(shelf.put(HEAD_KEY, &head.encode())),
                    None => drop(shelf.objects.remove(HEAD_KEY)),
                }
                match answer {
                    "500" => Fate::Refused(500, "InternalError"),
                    "cut" => Fate::Cut { applied: false },
                    _ => Fate::Served,
                }
            });
            let before = bucket.shelf().objects.len();
            let published = publish_for(&mine, &bucket.store, Some(&at), &new).await.unwrap();
            assert_eq!(word(&published), expected, "{what}, {answer}");
            // Nothing was created, nothing overwritten.
            let now = read_head(&bucket.store).await.unwrap().map(|now| now.head);
            assert!(now != Some(new.clone()) && bucket.shelf().objects.len() <= before, "{what}, {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_first_commits_over_one_tombstone_the_slower_has_only_lost_a_race() {
    let stone = first().tombstone([7; 6], written(7));
    let plain = |write| stone.reborn_plain(id(stone.next_seq(), write), [write; 6], written(write));
    for (kind, new, faster) in [("plain", plain(2), plain(3)), ("live", live(&stone, 2), live(&stone, 3))] {
        for (what, meanwhile, expected) in [
            ("nobody", None, "won"),
            ("the other one", Some(faster.clone()), "lost"),
            ("the other one, and more", Some(live(&faster, 4)), "lost"),
            ("deleted once more", Some(stone.tombstone([8; 6], written(8))), "gone"),
            ("made anew and deleted", Some(faster.tombstone([8; 6], written(8))), "gone"),
        ] {
            let (bucket, at) = bucket(&stone).await;
            let mine = Mine { tombstone: Some(at.etag.as_str().to_owned()), ..Mine::default() };
            match meanwhile {
                // The tombstone that this began from is not what ends it.
                None => answer_writes(&bucket, vec![Fate::Refused(409, "ConditionalRequestConflict")]),
                Some(head) => drop(bucket.shelf().put(HEAD_KEY, &head.encode())),
            }
            let published = publish_for(&mine, &bucket.store, Some(&at), &new).await.unwrap();
            assert_eq!(word(&published), expected, "{kind}: {what}");
        }
    }
}
