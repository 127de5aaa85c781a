use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    rows::{Frame, cut},
    sync::{
        contents::content,
        test_ground::{Ground, noise, path, wanted},
    },
};

/// That each of `rows` lies in packs with the content it says.
async fn assert_readable(ground: &Ground, rows: &Rows) {
    for (path, row) in rows {
        assert!(row.is_stored() && row.pieces_fit(), "{path}");
        let content = content(&ground.store, row).await.unwrap().unwrap();
        assert_eq!((Hash::of(&content), content.len() as u64), (row.hash, row.size), "{path}");
    }
}

fn gc(number: u8) -> Gc {
    Gc::first([number; 6])
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_go_up_in_one_pack_and_each_can_be_read() {
    let ground = Ground::new().await;
    for number in 0..300_u64 {
        ground.write(&format!("d{}/f{number}", number % 7), format!("content of {number}").as_bytes());
    }
    ground.write("empty", b"").write("zeros", &[0; 4096]).write("same", b"content of 5");
    let rows = ground.scan();
    let packed = ground.pack(1, &rows, &mut Known::default()).await;
    assert_eq!((packed.stored.len(), packed.not_stored.len()), (303, 0));
    assert_eq!((ground.packs().len(), ground.requests()), (1, 1));
    assert_eq!(packed.bytes, ground.packs()[0].metadata().unwrap().len());
    assert_eq!(packed.stored[&path("zeros")].pieces, Pieces::One(Place::Zeros));
    assert_eq!(packed.stored[&path("same")].pieces, packed.stored[&path("d5/f5")].pieces);
    assert_readable(&ground, &packed.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_long_goes_up_in_packs_of_16_to_32_mib() {
    let ground = Ground::new().await;
    ground.write("large", &noise(1, 37 << 20)).write("more", &noise(2, 3 << 20));
    let packed = ground.pack(1, &ground.scan(), &mut Known::default()).await;
    let lengths: Vec<u64> = ground.packs().iter().map(|pack| pack.metadata().unwrap().len() >> 20).collect();
    assert_eq!(lengths, [16, 16, 8]);
    assert_readable(&ground, &packed.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_file_only_the_piece_that_changed_goes_up() {
    for size in [3 << 20, (11 << 20) + 5] {
        let ground = Ground::new().await;
        ground.write("db", &noise(1, size));
        let mut known = Known::default();
        let first = ground.pack(1, &ground.scan(), &mut known).await;
        known.plan_against(Some(gc(1)), &first.stored);
        OpenOptions::new().write(true).open(ground.on_disk("db")).unwrap().write_all_at(b"!", 1 << 20).unwrap();
        let second = ground.pack(2, &ground.scan(), &mut known).await;
        assert_eq!(second.bytes, (1 << 20) + 20, "one piece, raw, and the head of its frame");
        assert_eq!(second.stored.len(), 1);
        if size <= 8 << 20 {
            assert_readable(&ground, &second.stored).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_file_costs_what_is_in_it() {
    let ground = Ground::new().await;
    let sparse = File::create(ground.on_disk("sparse")).unwrap();
    sparse.set_len(200 << 20).unwrap();
    sparse.write_all_at(b"here", 100 << 20).unwrap();
    let packed = ground.pack(1, &ground.scan(), &mut Known::default()).await;
    assert!(packed.bytes < 4096, "{} bytes", packed.bytes);
    assert!(packed.stored[&path("sparse")].is_stored());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_stored_once() {
    let ground = Ground::new().await;
    ground.write("a", &noise(1, 2 << 20)).write("b", &noise(1, 2 << 20)).write("c", b"x").write("d", b"x");
    let packed = ground.pack(1, &ground.scan(), &mut Known::default()).await;
    assert!(packed.bytes < (2 << 20) + 200, "{} bytes", packed.bytes);
    assert_eq!(packed.stored.len(), 4);
    assert_readable(&ground, &packed.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_goes_as_it_is_now_and_a_large_one_as_it_was_scanned() {
    let ground = Ground::new().await;
    ground.write("small", b"old").write("grows", b"old").write("gone", b"old").write("becomes", b"old");
    for name in ["large", "touched", "longer"] {
        ground.write(name, &noise(1, 9 << 20));
    }
    let rows = ground.scan();
    std::fs::write(ground.on_disk("small"), b"new").unwrap();
    std::fs::write(ground.on_disk("grows"), noise(2, 3 << 20)).unwrap();
    std::fs::remove_file(ground.on_disk("gone")).unwrap();
    std::fs::remove_file(ground.on_disk("becomes")).unwrap();
    std::os::unix::fs::symlink("small", ground.on_disk("becomes")).unwrap();
    OpenOptions::new().write(true).open(ground.on_disk("large")).unwrap().write_all_at(b"!", 5 << 20).unwrap();
    File::open(ground.on_disk("touched")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    OpenOptions::new().append(true).open(ground.on_disk("longer")).unwrap().write_all(b"!").unwrap();
    let packed = ground.pack(1, &rows, &mut Known::default()).await;
    let changing = |name| (path(name), NotStoredReason::Changing);
    assert_eq!(packed.not_stored, ["gone", "becomes", "large", "longer"].map(changing).into());
    let found = |name| packed.stored[&path(name)].hash;
    assert_eq!(found("small"), Hash::of(b"new"));
    assert_eq!(found("grows"), Hash::of(&noise(2, 3 << 20)));
    assert_eq!(found("touched"), rows[&path("touched")].hash);
    let now = ground.scan();
    assert_eq!(packed.stored[&path("small")].mtime_ns, now[&path("small")].mtime_ns);
    assert_readable(&ground, &packed.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_was_written_without_a_trace_is_not_stored_under_its_old_hash() {
    let ground = Ground::new().await;
    ground.write("db", &noise(1, 9 << 20));
    let rows = ground.scan();
    let file = OpenOptions::new().write(true).open(ground.on_disk("db")).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"!", 4 << 20).unwrap();
    file.set_modified(before).unwrap();
    let mut known = Known::default();
    let packed = ground.pack(1, &rows, &mut known).await;
    assert_eq!(packed.not_stored, [(path("db"), NotStoredReason::Changing)].into());
    assert!(
        known
            .uploads
            .places()
            .keys()
            .all(|hash| { rows[&path("db")].each_piece().unwrap().take(4).any(|piece| piece.hash == *hash) })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_moved_since_its_scan_waits_though_all_that_is_missing_is_there() {
    let ground = Ground::new().await;
    ground.write("db", &noise(1, 9 << 20));
    let mut known = Known::default();
    ground.pack(1, &ground.scan(), &mut known).await;
    let file = OpenOptions::new().write(true).open(ground.on_disk("db")).unwrap();
    file.write_all_at(b"!", 1 << 20).unwrap();
    let rows = ground.scan();
    file.write_all_at(b"!", 5 << 20).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let packed = ground.pack(2, &rows, &mut known).await;
    assert_eq!(packed.not_stored, [(path("db"), NotStoredReason::Changing)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_may_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let ground = Ground::new().await;
    ground.write("secret", b"x");
    let rows = ground.scan();
    std::fs::set_permissions(ground.on_disk("secret"), PermissionsExt::from_mode(0o000)).unwrap();
    if File::open(ground.on_disk("secret")).is_ok() {
        eprintln!("skipped: root reads everything");
        return;
    }
    let packed = ground.pack(1, &rows, &mut Known::default()).await;
    assert_eq!(packed.not_stored, [(path("secret"), NotStoredReason::Unreadable)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_what_arrived_is_stored_and_the_rest_is_named() {
    let ground = Ground::new().await;
    for number in 0..12 {
        ground.write(&format!("f{number:02}"), &noise(number, 3 << 20));
    }
    let rows = ground.scan();
    let asked = AtomicU32::new(0);
    let stop = || !ground.packs().is_empty() && asked.fetch_add(1, Ordering::Relaxed) > 0;
    let control = Control::default();
    let mut packer = ground.packer(1, &stop, &control);
    packer.hurry = true;
    let mut known = Known::default();
    let packed = packer.pack(wanted(&rows), &mut known).await.unwrap();
    assert!(!packed.stored.is_empty() && !packed.not_stored.is_empty(), "{packed:?}");
    let all: Vec<&RelPath> = packed.stored.keys().chain(packed.not_stored.keys()).collect();
    assert_eq!(all.len(), rows.len());
    assert!(packed.not_stored.values().all(|reason| *reason == NotStoredReason::Deadline));
    assert_readable(&ground, &packed.stored).await;
    // What went up of the others need not go up again.
    let before = ground.packs().iter().map(|pack| pack.metadata().unwrap().len()).sum::<u64>();
    let rest = ground.pack(2, &rows, &mut known).await;
    assert_eq!((rest.stored.len(), rest.not_stored.len()), (12, 0));
    let sum = before + rest.bytes;
    assert!((36 << 20..(36 << 20) + 4096).contains(&sum), "{sum} bytes for 36 MiB");
    assert_readable(&ground, &rest.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_stopped_before_he_begins_sends_nothing_and_names_all_that_is_not_there() {
    let ground = Ground::new().await;
    ground.write("there", b"x").write("new", b"y").write("large", &noise(1, 30 << 20)).write("empty", b"");
    let rows = ground.scan();
    let mut known = Known::default();
    let there = Rows::from([(path("there"), rows[&path("there")].clone())]);
    ground.pack(1, &there, &mut known).await;
    let before = ground.requests();
    let control = Control::default();
    let packed = ground.packer(2, &|| true, &control).pack(wanted(&rows), &mut known).await.unwrap();
    assert_eq!(ground.requests(), before);
    assert_eq!(packed.stored.into_keys().collect::<Vec<_>>(), ["empty", "there"].map(path));
    assert_eq!(packed.not_stored, ["large", "new"].map(|name| (path(name), NotStoredReason::Deadline)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_keeps_nobody_from_his_deadline() {
    let ground = Ground::new().await;
    for number in 0..9 {
        ground.write(&format!("f{number}"), &noise(number, 4 << 20));
    }
    let rows = ground.scan();
    ground.answer_uploads(2);
    let (read, mut write) = std::io::pipe().unwrap();
    let control = Control::listen(File::from(OwnedFd::from(read)), false);
    let stop = || control.time_is_up();
    let mut packer = ground.packer(1, &stop, &control);
    packer.hurry = true;
    let mut known = Known::default();
    let deadline = async {
        ground.until_one_hangs().await;
        while ground.packs().len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut now = vec![b'D'];
        now.extend(0_u64.to_le_bytes());
        write.write_all(&now).unwrap();
    };
    let (packed, ()) = futures_util::future::join(packer.pack(wanted(&rows), &mut known), deadline).await;
    let packed = packed.unwrap();
    assert!(packer.next > 2, "the names of packs that hang are used");
    assert_eq!(packed.stored.len() + packed.not_stored.len(), 9);
    assert!(packed.not_stored.len() >= 6, "{:?}", packed.not_stored);
    assert!(packed.not_stored.values().all(|reason| *reason == NotStoredReason::Deadline));
    assert_readable(&ground, &packed.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_dropped_has_used_the_names_of_what_he_sent() {
    let ground = Ground::new().await;
    for number in 0..4 {
        ground.write(&format!("f{number}"), &noise(number, 5 << 20));
    }
    let rows = ground.scan();
    ground.answer_uploads(1);
    let (stop, control) = (|| false, Control::default());
    let mut packer = ground.packer(1, &stop, &control);
    packer.hurry = true;
    let mut known = Known::default();
    {
        let packing = std::pin::pin!(packer.pack(wanted(&rows), &mut known));
        futures_util::future::select(packing, std::pin::pin!(ground.until_one_hangs())).await;
    }
    ground.answer_uploads(i64::MAX);
    let packed = packer.pack(wanted(&rows), &mut known).await.unwrap();
    assert_eq!(packed.stored.len(), 4);
    assert_readable(&ground, &packed.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_pack_counts_until_the_next_plan_unless_it_went() {
    let ground = Ground::new().await;
    ground.write("f", b"content");
    let rows = ground.scan();
    let (stop, control) = (|| false, Control::default());
    let mut known = Known::default();
    known.plan_against(Some(gc(1)), &Rows::new());
    for goes in [false, true] {
        let mut packer = ground.packer(1, &stop, &control);
        let (packed, last) = packer.pack_but_last(wanted(&rows), &mut known).await.unwrap();
        let row = &packed.stored[&path("f")];
        assert!(last.is_some() && known.placed(row).is_some(), "the tree beside it names it");
        if goes {
            assert!(packer.send_last(last.unwrap(), &mut known).await.unwrap().is_some());
        }
        // As after any error in between.
        known.plan_against(Some(gc(1)), &Rows::new());
        assert_eq!(known.placed(row).is_some(), goes);
        assert_eq!(ground.packs().len(), usize::from(goes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_pack_counts_although_others_go_before_it() {
    let ground = Ground::new().await;
    ground.write("first", b"first").write("other", b"other");
    let mut first = ground.scan();
    let other = Rows::from([(path("other"), first.remove(&path("other")).unwrap())]);
    let (stop, control) = (|| false, Control::default());
    let mut known = Known::default();
    let (packed, last) = ground.packer(1, &stop, &control).pack_but_last(wanted(&first), &mut known).await.unwrap();
    ground.pack(2, &other, &mut known).await;
    let (first, other) = (&packed.stored[&path("first")], &other[&path("other")]);
    assert!(last.is_some() && known.placed(first).is_some() && known.placed(other).is_some());
    known.plan_against(None, &Rows::new());
    assert!(known.placed(first).is_none() && known.placed(other).is_some(), "it did not go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_packs_is_an_error() {
    let ground = Ground::new().await;
    ground.write("a", b"x");
    let rows = ground.scan();
    ground.lose_bucket();
    let (stop, control) = (|| false, Control::default());
    let mut packer = ground.packer(1, &stop, &control);
    let mut known = Known::default();
    assert!(packer.pack(wanted(&rows), &mut known).await.is_err());
    assert!(known.uploads.places().is_empty());
}

#[test]
fn what_was_uploaded_under_another_gc_is_forgotten_and_what_head_names_counts() {
    let lies = |name: &str, at| {
        let frame = Frame { pack: PackName::new(name), at: 0, length: 40, inflated: 20 };
        Place::In { frame: Arc::new(frame), at }
    };
    let (one, two) = (Row::file(Hash::of(b"1"), 1, 0o644), Row::file(Hash::of(b"2"), 1, 0o644));
    let theirs = Rows::from([(path("two"), Row { pieces: Pieces::One(lies("theirs", 1)), ..two.clone() })]);
    let mut known = Known::default();
    known.plan_against(Some(gc(1)), &Rows::new());
    known.uploads.note(one.hash, lies("ours", 0));
    assert!(known.placed(&one).is_some() && known.placed(&two).is_none());
    known.plan_against(Some(gc(1)), &theirs);
    assert_eq!(known.placed(&one).unwrap().pieces, Pieces::One(lies("ours", 0)));
    assert_eq!(known.placed(&two).unwrap().pieces, Pieces::One(lies("theirs", 1)));
    known.plan_against(Some(gc(2)), &theirs);
    assert!(known.placed(&one).is_none() && known.placed(&two).is_some());
    known.plan_against(Some(gc(1)), &theirs);
    assert!(known.placed(&one).is_none(), "it does not come back");
    known.leave_out([PackName::new("theirs")]);
    known.plan_against(Some(gc(1)), &theirs);
    assert!(known.placed(&two).is_none() && !known.lies_somewhere()(&two.hash));
    known.uploads.note(two.hash, lies("anew", 0));
    assert_eq!(known.placed(&two).unwrap().pieces, Pieces::One(lies("anew", 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_packs_that_are_left_out_is_packed_again() {
    let ground = Ground::new().await;
    ground.write("a", b"first").write("b", &noise(1, 2 << 20));
    let rows = ground.scan();
    let mut known = Known::default();
    let first = ground.pack(1, &rows, &mut known).await;
    known.plan_against(None, &first.stored);
    assert_eq!(ground.pack(2, &rows, &mut known).await.bytes, 0);
    known.leave_out(
        first.stored.values().flat_map(|row| row.pieces.places()).map(|place| place.frame().unwrap().pack.clone()),
    );
    // Rows of a tree say where they lay.
    let again = ground.pack(3, &first.stored, &mut known).await;
    assert_eq!(again.stored.len(), 2);
    assert!(
        again
            .stored
            .values()
            .flat_map(|row| row.pieces.places())
            .all(|place| { place.frame().unwrap().pack.as_str().starts_with("0000000003-") })
    );
    std::fs::remove_file(&ground.packs()[0]).unwrap();
    assert_readable(&ground, &again.stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_tree_need_no_scan_that_cut_them() {
    let ground = Ground::new().await;
    let content = noise(3, (9 << 20) + 1);
    ground.write("large", &content);
    let scanned = ground.scan();
    let row = &scanned[&path("large")];
    assert_eq!(row.pieces, cut(&content).pieces);
    let uncut = Rows::from([(path("large"), Row { pieces: Pieces::None, ..row.clone() })]);
    let mut known = Known::default();
    let packed = ground.pack(1, &uncut, &mut known).await;
    assert_readable(&ground, &packed.stored).await;
    // Nothing of it has to go up, whoever cuts it.
    for rows in [&uncut, &scanned] {
        assert_eq!(ground.pack(2, rows, &mut known).await.bytes, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_is_packed_is_read_as_it_was(
        files in proptest::collection::btree_map("[a-e]{1,3}", (0..6_u64, 0..(3 << 20) + 3_usize, any::<bool>()), 1..9),
        hurry in any::<bool>())
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let ground = Ground::new().await;
            for (name, (seed, length, zeros)) in &files {
                let content = if *zeros { vec![0; *length] } else { noise(*seed, *length) };
                ground.write(name, &content);
            }
            let rows = ground.scan();
            let (stop, control) = (|| false, Control::default());
            let mut packer = ground.packer(1, &stop, &control);
            packer.hurry = hurry;
            let packed = packer.pack(wanted(&rows), &mut Known::default()).await.unwrap();
            assert_eq!(packed.stored.len(), rows.len());
            assert!(packed.stored.iter().all(|(path, row)| row.same(&rows[path])));
            assert_readable(&ground, &packed.stored).await;
        });
    }
}
