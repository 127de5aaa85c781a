use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{Mutex, OnceLock},
};

use proptest::prelude::*;

use super::*;
use crate::{
    report::{Receipt, Unheard},
    rows::{Frame, Hash, PackName, PieceHasher, Pieces, Place, Rows},
    store::{GetIf, Got, Put, PutIf},
    sync::{
        packs::Known,
        test_ground::{Ground, noise, path},
    },
    worktree::WriteError,
};

fn all(rows: &Rows) -> Vec<Wanted> {
    let wanted =
        |(path, row): (&RelPath, &Row)| Wanted { path: path.clone(), row: row.clone(), expected: Expected::Absent };
    rows.iter().map(wanted).collect()
}

/// Packs what lies in the ground's directory.
async fn packed(ground: &Ground) -> Rows {
    let packed = ground.pack(1, &ground.scan(), &mut Known::default()).await;
    assert!(packed.not_stored.is_empty());
    packed.stored
}

/// Writes `wanted`, and what became of each, in the order of their ends.
async fn unpacked(ground: &Ground, writer: &Writer, wanted: Vec<Wanted>) -> Vec<(String, Written)> {
    let mut ends = Vec::new();
    let done = |path: RelPath, _, written| {
        ends.push((path.to_string(), written));
        Ok(())
    };
    unpack(&ground.store, writer, wanted, &Unheard, done).await.unwrap();
    ends
}

/// The same, as what is there and what is lost.
async fn sorted(ground: &Ground, writer: &Writer, rows: &Rows) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut done, mut lost) = (Vec::new(), BTreeMap::new());
    for (path, written) in unpacked(ground, writer, all(rows)).await {
        match written {
            Written::Done(_) => done.push(path),
            Written::Lost(why) => drop(lost.insert(path, why)),
            Written::Refused(error) => panic!("{path}: {error}"),
        }
    }
    done.sort();
    (done, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_packed_is_written_as_it_was() {
    let ground = Ground::new().await;
    for number in 0..300_u64 {
        ground.write(&format!("d{}/f{number}", number % 7), format!("content of {number}").as_bytes());
    }
    ground.write("empty", b"").write("zeros", &[0; 5000]).write("same", b"content of 5");
    ground.write("text", &b"all alike ".repeat(500_000)).write("large", &noise(1, (20 << 20) + 7));
    let rows = packed(&ground).await;
    let (to, writer) = ground.writer();
    let ends = unpacked(&ground, &writer, all(&rows)).await;
    assert_eq!(ends.len(), rows.len());
    for (name, written) in ends {
        assert!(matches!(written, Written::Done(Some(_))), "{name}: {written:?}");
        let (is, should) = (to.path().join(&name), ground.on_disk(&name));
        assert_eq!(std::fs::read(&is).unwrap(), std::fs::read(&should).unwrap(), "{name}");
        assert_eq!(is.metadata().unwrap().mtime_nsec(), should.metadata().unwrap().mtime_nsec(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_file_stays_sparse_and_keeps_its_length() {
    let ground = Ground::new().await;
    let sparse = std::fs::File::create(ground.on_disk("sparse")).unwrap();
    sparse.set_len((60 << 20) + 9).unwrap();
    sparse.write_all_at(b"here", 30 << 20).unwrap();
    std::fs::File::create(ground.on_disk("void")).unwrap().set_len(5 << 20).unwrap();
    let rows = packed(&ground).await;
    let (to, writer) = ground.writer();
    assert_eq!(sorted(&ground, &writer, &rows).await.0, ["sparse", "void"]);
    let (is, void) = (to.path().join("sparse").metadata().unwrap(), to.path().join("void").metadata().unwrap());
    assert_eq!((is.len(), void.len()), ((60 << 20) + 9, 5 << 20));
    assert!(is.blocks() * 512 < 4 << 20, "{} blocks", is.blocks());
    assert!(std::fs::read(to.path().join("sparse")).unwrap() == std::fs::read(ground.on_disk("sparse")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_lie_near_each_other_are_one_request() {
    let ground = Ground::new().await;
    for number in 0..15 {
        ground.write(&format!("f{number:02}"), &noise(number, 1 << 20));
    }
    let rows = packed(&ground).await;
    let asked = async |numbers: &[usize]| {
        let (_to, writer) = ground.writer();
        let some = numbers.iter().map(|number| path(&format!("f{number:02}")));
        let some: Rows = some.map(|path| (path.clone(), rows[&path].clone())).collect();
        let before = ground.requests();
        assert_eq!(sorted(&ground, &writer, &some).await.0.len(), numbers.len());
        ground.requests() - before
    };
    assert_eq!(asked(&[0, 1, 2, 3]).await, 1);
    assert_eq!(asked(&[0, 3]).await, 2, "a gap of two frames is longer than 1 MiB");
    assert_eq!(asked(&[0, 14]).await, 2);
    assert_eq!(asked(&(0..15).collect::<Vec<_>>()).await, 3, "no range is longer than 8 MiB");
}

#[test]
fn gaps_up_to_a_mebibyte_are_fetched_along() {
    let frame = |pack: &str, at, length| Frame { pack: PackName::new(pack), at, length, inflated: 1 << 20 };
    let spans = |frames: &[Frame]| {
        let parts = frames.iter().map(|frame| {
            let place = Place::In { frame: Arc::new(frame.clone()), at: 0 };
            let row = Row { pieces: Pieces::One(place), ..Row::file(Hash::of(b"x"), 1, 0o644) };
            let (frame, part) = Part::all_of(&row, 0..1).next().unwrap();
            (frame, part)
        });
        ranges(parts).iter().map(Range::bytes).collect::<Vec<_>>()
    };
    let mib = 1_u64 << 20;
    assert_eq!(spans(&[frame("a", 0, 100), frame("a", 100 + mib, 100)]), [200 + mib]);
    assert_eq!(spans(&[frame("a", 0, 100), frame("a", 101 + mib, 100)]), [100, 100]);
    assert_eq!(spans(&[frame("b", 0, 100), frame("a", 100, 100)]), [100, 100]);
    assert_eq!(spans(&[frame("a", 0, 16 << 20)]), [16 << 20]);
    // Such a tree nobody makes; it must do no harm.
    assert_eq!(spans(&[frame("a", 0, 100), frame("a", 50, 100)]), [100, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_gone_loses_what_lies_in_it_and_nothing_else() {
    let ground = Ground::new().await;
    for number in 0..10 {
        ground.write(&format!("f{number}"), &noise(number, (2 << 20) + 1));
    }
    ground.write("empty", b"");
    let rows = packed(&ground).await;
    let packs = ground.packs();
    assert_eq!(packs.len(), 2);
    std::fs::remove_file(&packs[1]).unwrap();
    let (to, writer) = ground.writer();
    let (done, lost) = sorted(&ground, &writer, &rows).await;
    let name = packs[1].file_name().unwrap().to_str().unwrap();
    assert_eq!((done.len(), lost.len()), (8, 3), "{lost:?}");
    assert!(lost.values().all(|why| *why == format!("pack {name} is gone")), "{lost:?}");
    assert!(lost.keys().all(|name| !to.path().join(name).exists()), "nothing half stays");
    for (name, why) in lost {
        assert_eq!(content(&ground.store, &rows[&path(&name)]).await.unwrap(), Err(why));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_cut_short_keeps_what_is_in_it() {
    for length in [100, 1 << 20, (4 << 20) + 30, (9 << 20) + 100] {
        let ground = Ground::new().await;
        for number in 0..10 {
            ground.write(&format!("f{number}"), &noise(number, 1 << 20));
        }
        let rows = packed(&ground).await;
        let pack = &ground.packs()[0];
        OpenOptions::new().write(true).open(pack).unwrap().set_len(length).unwrap();
        let (_to, writer) = ground.writer();
        let (done, lost) = sorted(&ground, &writer, &rows).await;
        assert_eq!(done.len() as u64, length / ((1 << 20) + 20), "of {length} bytes: {lost:?}");
        let name = pack.file_name().unwrap().to_str().unwrap();
        assert!(lost.len() == 10 - done.len() && lost.values().all(|why| why.contains(name)), "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_fell_over_loses_the_files_of_its_frame_by_name() {
    let ground = Ground::new().await;
    ground.write("a", &noise(1, 3 << 20)).write("b", &noise(2, 1 << 20)).write("c", &b"text ".repeat(1000));
    let rows = packed(&ground).await;
    let pack = &ground.packs()[0];
    let whole = std::fs::read(pack).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    for (at, names) in [(50, &["a"][..]), (3 << 20, &["a"]), ((3 << 20) + 500, &["b"]), (whole.len() - 3, &["c"])] {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        std::fs::write(pack, broken).unwrap();
        let (_to, writer) = ground.writer();
        let (done, lost) = sorted(&ground, &writer, &rows).await;
        assert_eq!(lost.keys().collect::<Vec<_>>(), names, "bit at {at}");
        assert!(done.len() == 2 && lost.values().all(|why| why.contains(name)), "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_refused_is_told_and_the_others_go_on() {
    let ground = Ground::new().await;
    ground.write("a", b"ours").write("b", b"b").write("c/d", b"d").write("large", &noise(1, 20 << 20));
    let rows = packed(&ground).await;
    let (to, writer) = ground.writer();
    std::fs::write(to.path().join("a"), "theirs").unwrap();
    std::fs::write(to.path().join("c"), "no directory").unwrap();
    let mut ends: BTreeMap<_, _> = unpacked(&ground, &writer, all(&rows)).await.into_iter().collect();
    assert!(matches!(ends.remove("a"), Some(Written::Refused(WriteError::Moved { .. }))));
    assert!(matches!(ends.remove("c/d"), Some(Written::Refused(WriteError::ParentNotDirectory { .. }))));
    assert!(ends.len() == 2 && ends.values().all(|end| matches!(end, Written::Done(_))), "{ends:?}");
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_is_refused_the_rest_is_not_fetched() {
    let ground = Ground::new().await;
    ground.write("c/large", &noise(1, 200 << 20));
    let rows = packed(&ground).await;
    let (to, writer) = ground.writer();
    std::fs::write(to.path().join("c"), "no directory").unwrap();
    let before = ground.requests();
    let ends = unpacked(&ground, &writer, all(&rows)).await;
    assert!(matches!(ends[0].1, Written::Refused(_)) && ends.len() == 1);
    assert!(ground.requests() - before < 20, "{} requests", ground.requests() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_first_comes_first() {
    let ground = Ground::new().await;
    for number in 0..60 {
        ground.write(&format!("f{number:02}"), &noise(number, 2 << 20));
    }
    let rows = packed(&ground).await;
    let mut wanted = all(&rows);
    wanted.rotate_right(1);
    let jobs: Vec<Job> = Waves(wanted.into_iter().peekable()).flat_map(jobs).collect();
    let Some(Job::Range(range)) = jobs.into_iter().next() else { panic!("all of them lie in packs") };
    assert!(range.parts().any(|part| part.of.row().hash == rows[&path("f59")].hash));
    assert_eq!(range.order(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_of_an_end_can_end_it_all() {
    let ground = Ground::new().await;
    ground.write("a", b"a").write("b", b"b");
    let rows = packed(&ground).await;
    let (_to, writer) = ground.writer();
    let mut heard = 0;
    let done = |_: RelPath, _, _| {
        heard += 1;
        Err(SyncError::System("enough".to_owned()))
    };
    let error = unpack(&ground.store, &writer, all(&rows), &Unheard, done).await.unwrap_err();
    assert_eq!((error.to_string(), heard), ("enough".to_owned(), 1));
}

#[test]
fn no_more_files_are_begun_than_may_be_open() {
    let row = |number: u64| {
        let content = noise(number, 2 << 20);
        let mut hasher = PieceHasher::new(2 << 20);
        hasher.update(&content);
        let cut = hasher.finish();
        let mut row = Row { pieces: cut.pieces, ..Row::file(cut.hash, cut.size, 0o644) };
        for piece in 0..2 {
            let frame = Frame { pack: PackName::new("p"), at: number * 9, length: 8, inflated: 4 << 20 };
            assert!(row.set_place(piece, Place::In { frame: Arc::new(frame), at: piece as u32 }));
        }
        row
    };
    let scattered = row(1);
    let small = Row { pieces: Pieces::One(Place::Zeros), ..Row::file(Hash::of(&[0]), 1, 0o644) };
    let wanted = (0..3 * OPEN).map(|number| Wanted {
        path: path(&format!("f{number}")),
        row: if number % 2 == 0 { scattered.clone() } else { small.clone() },
        expected: Expected::Absent,
    });
    let waves: Vec<usize> = Waves(wanted.peekable()).map(|wave| wave.len()).collect();
    assert_eq!(waves, [2 * OPEN - 1, OPEN + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_lies_about_its_content_writes_nothing() {
    let ground = Ground::new().await;
    ground.write("a", b"content").write("large", &noise(1, 2 << 20));
    let rows = packed(&ground).await;
    let (a, large) = (rows[&path("a")].clone(), rows[&path("large")].clone());
    let zeros = |row: &Row| {
        let mut row = row.clone();
        assert!(row.set_place(0, Place::Zeros));
        row
    };
    let lies = [
        Row { pieces: Pieces::None, ..a.clone() },
        Row { pieces: Pieces::None, ..large.clone() },
        Row { pieces: large.pieces.without_places(), ..large.clone() },
        Row { hash: Hash::of(b"other"), ..a.clone() },
        Row { hash: Hash::of(b"other"), ..large.clone() },
        Row { size: 6, ..a.clone() },
        zeros(&a),
        zeros(&large),
    ];
    let (to, writer) = ground.writer();
    for (number, row) in lies.into_iter().enumerate() {
        let rows = Rows::from([(path("f"), row.clone())]);
        let (done, lost) = sorted(&ground, &writer, &rows).await;
        assert!(done.is_empty() && lost.len() == 1, "{number}: {done:?}");
        assert!(!to.path().join("f").exists(), "{number}");
        assert!(content(&ground.store, &row).await.unwrap().is_err(), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_an_error_and_no_loss() {
    let ground = Ground::new().await;
    ground.write("a", b"content");
    let rows = packed(&ground).await;
    ground.lose_bucket();
    let (to, writer) = ground.writer();
    let done = |path: RelPath, _, written| panic!("{path}: {written:?}");
    assert!(unpack(&ground.store, &writer, all(&rows), &Unheard, done).await.is_err());
    assert!(!to.path().join("a").exists());
    assert!(content(&ground.store, &rows[&path("a")]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_content_goes_from_packs_to_an_object() {
    let ground = Ground::new().await;
    let mut bytes = noise(1, (21 << 20) + 77);
    bytes[9 << 20..12 << 20].fill(0);
    ground.write("large", &bytes);
    let rows = packed(&ground).await;
    let row = &rows[&path("large")];
    let lost = Arc::new(OnceLock::new());
    let source = PackSource::new(&ground.store, row, Arc::clone(&lost));
    let put = ground.store.put_file("large", source, row.size, PutIf::Any, None).await.unwrap();
    assert!(matches!(put, Put::Done(_)) && lost.get().is_none());
    let Got::Found(object) = ground.store.get("large", GetIf::Always).await.unwrap() else { panic!("it is there") };
    assert!(object.bytes == bytes);

    std::fs::remove_file(&ground.packs()[1]).unwrap();
    let source = PackSource::new(&ground.store, row, Arc::clone(&lost));
    assert!(ground.store.put_file("other", source, row.size, PutIf::Any, None).await.is_err());
    assert!(lost.get().is_some_and(|why| why.ends_with("-1 is gone")), "{lost:?}");
    assert_eq!(ground.store.head("other").await.unwrap(), None);
}

#[test]
fn a_source_seals_only_what_was_taken_whole() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (ground, rows, source) = runtime.block_on(async {
        let ground = Ground::new().await;
        ground.write("large", &noise(1, (9 << 20) + 1));
        let rows = packed(&ground).await;
        let source = PackSource::new(&ground.store, &rows[&path("large")], Arc::default());
        (ground, rows, source)
    });
    use crate::store::Source;
    let mut source = source;
    let mut found = Vec::new();
    for length in [1, (1 << 20) - 1, 5, (3 << 20) + 7, 0] {
        found.extend_from_slice(&source.take(length).unwrap());
        assert!(source.seal().is_err());
    }
    found.extend_from_slice(&source.take((9 << 20) + 1 - found.len()).unwrap());
    source.seal().unwrap();
    assert_eq!(Hash::of(&found), rows[&path("large")].hash);
    assert!(source.take(1).is_err());
    runtime.block_on(async { drop(ground) });
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_at_all_of_it() {
    struct Heard(Mutex<Vec<Progress>>);
    impl Events for Heard {
        fn progress(&self, progress: Progress) {
            self.0.lock().unwrap().push(progress);
        }
        fn ready(&self) {}
        fn durable(&self, _: &Receipt) {}
    }
    let ground = Ground::new().await;
    let mut large = noise(1, 20 << 20);
    large[3 << 20..5 << 20].fill(0);
    ground.write("a", b"content").write("large", &large).write("zeros", &[0; 100]).write("lost", b"x");
    let mut rows = packed(&ground).await;
    rows.get_mut(&path("lost")).unwrap().pieces = Pieces::None;
    let (_to, writer) = ground.writer();
    let heard = Heard(Mutex::default());
    unpack(&ground.store, &writer, all(&rows), &heard, |_, _, _| Ok(())).await.unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert!(heard.is_sorted_by_key(|progress| progress.current) && heard.len() > 3, "a large file has steps");
    let last = heard.last().unwrap();
    assert_eq!((last.current, last.percentage), ((20 << 20) + 108, 100.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn whatever_was_packed_is_written_as_it_was(
        files in proptest::collection::btree_map("[a-d]{1,2}|e[a-d]?/[a-d]{3}", (0..5_u64, 0..(3 << 20) + 3_usize, 0..3_u8), 1..9),
        cuts in proptest::collection::vec((0..(3 << 20) + 3_usize, 1..200_000_usize), 0..6))
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let ground = Ground::new().await;
            for (name, (seed, length, kind)) in &files {
                let mut content = match kind {
                    0 => vec![0; *length],
                    1 => noise(*seed, *length),
                    _ => format!("{seed} is all there is ").into_bytes().into_iter().cycle().take(*length).collect(),
                };
                for (at, zeros) in &cuts {
                    let end = (at + zeros).min(content.len());
                    content.get_mut(*at..end).into_iter().for_each(|part| part.fill(0));
                }
                ground.write(name, &content);
            }
            let rows = packed(&ground).await;
            let (to, writer) = ground.writer();
            assert_eq!(sorted(&ground, &writer, &rows).await.0.len(), rows.len());
            for path in rows.keys() {
                let (is, should) = (to.path().join(path.as_path()), ground.on_disk(&path.to_string()));
                assert!(std::fs::read(is).unwrap() == std::fs::read(should).unwrap(), "{path}");
            }
        });
    }
}
