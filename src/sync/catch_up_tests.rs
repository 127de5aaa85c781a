use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use tempfile::TempDir;

use super::*;
use crate::{
    plan::{Content, Held, ImportOptions},
    report::Unheard,
    rows::{Hash, Row, cut},
    snapshot::{
        Counts, HEAD_KEY, Head, PackId, Tree, TreeHeader, WriteId, Written, frame::FrameWriter, pack::PackWriter,
        pack_key,
    },
    store::{Abilities, plain_etag},
    sync::{
        found::{Ask, look},
        test_bucket::{Asked, Bucket, Fate, Shelf},
    },
    worktree::RuleOptions,
};

/// Whether the live tree is known to have caught up with head's snapshot: its mirror exists.
async fn is_caught_up(store: &Store, state: Option<&State>, head: &Head) -> Result<bool, SyncError> {
    match head.snapshot {
        Some(id) => Ok(read_mirror(store, state, &id).await?.is_some()),
        None => Ok(true),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Bytes that no compressor makes smaller.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A snapshot that was committed.
#[derive(Clone)]
struct Committed {
    head: HeadAt,
    id: SnapshotId,
    rows: Rows,
}

/// A container: its directory and what it notes.
struct Container {
    place: TempDir,
    dir: Directory,
    state: State,
}

impl Container {
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        let state = State::create(&place.path().join(".stopover")).unwrap();
        let dir = Directory::open(place.path()).unwrap();
        Self { place, dir, state }
    }

    fn write(&self, name: &str, content: &[u8]) {
        let at = self.place.path().join(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, content).unwrap();
    }
}

struct Stage {
    bucket: Bucket,
    here: Container,
    commits: Mutex<Vec<Committed>>,
    none: BTreeMap<RelPath, ETag>,
    control: Control,
}

impl Stage {
    async fn new() -> Self {
        Self {
            bucket: Bucket::new().await,
            here: Container::new(),
            commits: Mutex::default(),
            none: BTreeMap::new(),
            control: Control::default(),
        }
    }

    /// An empty bucket, a new container.
    fn start_over(&mut self) {
        self.bucket.shelf().objects.clear();
        self.here = Container::new();
        self.commits.lock().unwrap().clear();
    }

    /// A commit of these files, as far as the bucket goes, by somebody else: packs, tree, head.
    fn commit(&self, files: &[(&str, &[u8])]) -> Committed {
        let mut commits = self.commits.lock().unwrap();
        let seq = commits.len() as u64 + 1;
        let id = SnapshotId::new(seq, [seq as u8; 6]);
        let mut rows = Rows::new();
        let mut frames = FrameWriter::new().unwrap();
        let mut coded = Vec::new();
        for (name, content) in files {
            let cut = cut(content);
            let row = Row { pieces: cut.pieces, ..Row::file(cut.hash, cut.size, 0o644) };
            for (n, piece) in row.each_piece().unwrap().enumerate().filter(|(_, piece)| piece.place.is_none()) {
                let part = &content[piece.at as usize..][..piece.length as usize];
                coded.extend(frames.add((path(name), n), part).unwrap());
            }
            rows.extend(path(name).ancestors().map(|up| (up, Row::dir(0o755))));
            rows.insert(path(name), row);
        }
        coded.extend(frames.finish().unwrap());
        let mut shelf = self.bucket.shelf();
        // One frame a pack: what is read must not depend on it.
        for (number, frame) in (0..).zip(coded) {
            let mut pack = PackWriter::new(PackId { id, number }, Vec::new());
            pack.append(frame).unwrap();
            let pack = pack.finish().unwrap().unwrap();
            shelf.put(&pack_key(&pack.name), &pack.to);
            for ((at, n), place) in pack.places {
                assert!(rows.get_mut(&at).unwrap().set_place(n, place));
            }
        }
        let time = jiff::Timestamp::UNIX_EPOCH;
        let header = TreeHeader {
            id,
            parent: None,
            writer: String::new(),
            quiet: true,
            partial: false,
            missing: crate::snapshot::Missing::default(),
            base: None,
            time,
        };
        let tree = Tree { header, rows: rows.clone(), removed: BTreeMap::new() };
        shelf.put(&id.tree_key(), &tree.encode().unwrap());
        let old = commits.last().map(|last| &last.head.head);
        // As a commit does: it names the newest mirror that it knows.
        let mirror = commits.iter().rev().map(|last| last.id).find(|id| shelf.objects.contains_key(&id.mirror_key()));
        let written = Written { write_id: WriteId::new([seq as u8; 6]), writer: "test".to_owned(), time };
        let head = Head::live_over(old, id, mirror, Counts::default(), [0; 6], written);
        let etag = ETag::new(shelf.put(HEAD_KEY, &head.encode()));
        let committed = Committed { head: HeadAt { head, etag }, id, rows };
        commits.push(committed.clone());
        committed
    }

    /// The same by this container, which has the files on its disk.
    fn commit_here(&self, files: &[(&str, &[u8])]) -> Committed {
        for (name, content) in files {
            self.here.write(name, content);
        }
        self.commit(files)
    }

    async fn catch_up(&self, to: &Committed) -> CaughtUp {
        self.catch_up_with(to, &self.here, |_| {}).await.unwrap()
    }

    fn catching_up<'a>(&'a self, to: &'a Committed, container: &'a Container) -> CatchingUp<'a> {
        CatchingUp {
            store: &self.bucket.store,
            dir: &container.dir,
            state: Some(&container.state),
            head: &to.head,
            rows: &to.rows,
            at_hand: &[],
            imported: None,
            refused: &self.none,
            markers: &self.none,
            order: Order::ByPath,
            stop: &|| false,
            control: &self.control,
            events: &Unheard,
        }
    }

    async fn catch_up_with<'a>(
        &'a self,
        to: &'a Committed,
        container: &'a Container,
        other: impl FnOnce(&mut CatchingUp<'a>),
    ) -> Result<CaughtUp, SyncError> {
        let mut catching = self.catching_up(to, container);
        other(&mut catching);
        Box::pin(catching.run()).await
    }

    /// The mirror of a snapshot, as anybody reads it.
    async fn mirror(&self, id: SnapshotId) -> Option<plan::Mirror> {
        Some(mirrors::known(&read_mirror(&self.bucket.store, None, &id).await.unwrap()?.whole))
    }

    /// The live tree is what `to` says, and its mirror tells the truth of it.
    async fn is_caught_up(&self, to: &Committed) {
        let wanted: BTreeMap<String, Hash> =
            to.rows.iter().filter_map(|(at, row)| Some((at.to_string(), Content::of(row)?.hash))).collect();
        let shelf = || {
            let shelf = self.bucket.shelf();
            let live = shelf.objects.iter().filter(|(key, _)| !key.starts_with(".stopover/"));
            live.map(|(key, object)| (key.clone(), (ETag::new(&*object.etag), Hash::of(&object.bytes))))
                .collect::<BTreeMap<_, _>>()
        };
        let live = shelf();
        assert_eq!(live.iter().map(|(key, (_, hash))| (key.clone(), *hash)).collect::<BTreeMap<_, _>>(), wanted);
        let mirror = self.mirror(to.id).await.expect("the mirror is there");
        let mirrored = mirror.rows.into_iter().map(|(at, held)| (at.to_string(), (held.etag, held.content.hash)));
        assert_eq!(mirrored.collect::<BTreeMap<_, _>>(), live);
    }
}

/// Somebody else moves head.
fn others_commit(shelf: &mut Shelf) {
    let head = Head::decode(&shelf.objects[HEAD_KEY].bytes).unwrap();
    let id = SnapshotId::new(head.next_seq(), [9; 6]);
    let written = Written { write_id: WriteId::new([9; 6]), writer: String::new(), time: head.time };
    let next = Head::live_over(Some(&head), id, None, Counts::default(), [0; 6], written);
    shelf.put(HEAD_KEY, &next.encode());
}

fn names(paths: &[&str]) -> BTreeSet<RelPath> {
    paths.iter().map(|text| path(text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_catch_up_writes_every_file_and_the_next_one_has_nothing_to_do() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a.txt", b"1"), ("d/b.json", b"{}"), ("empty", b"")]);
    let store = &stage.bucket.store;
    assert!(!is_caught_up(store, Some(&stage.here.state), &first.head.head).await.unwrap());
    let done = stage.catch_up(&first).await;
    assert!(done.current && !done.moved && done.outside.is_empty());
    stage.is_caught_up(&first).await;
    assert_eq!(stage.bucket.shelf().objects["d/b.json"].kind, "application/json; charset=utf-8");
    stage.bucket.asked();
    assert!(is_caught_up(store, Some(&stage.here.state), &first.head.head).await.unwrap());
    assert_eq!(stage.bucket.asked(), [], "what was written here is known here");
    assert!(stage.catch_up(&first).await.current);
    assert_eq!(stage.bucket.changes(), [""; 0]);
    // Another container asks once.
    let other = Container::new();
    assert!(is_caught_up(store, Some(&other.state), &first.head.head).await.unwrap());
    stage.bucket.asked();
    assert!(is_caught_up(store, Some(&other.state), &first.head.head).await.unwrap());
    assert_eq!(stage.bucket.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_sent_each_on_the_version_that_is_known() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("edit", b"1"), ("gone", b"1"), ("keep", b"1")])).await;
    stage.bucket.asked();
    let second = stage.commit_here(&[("edit", b"2"), ("keep", b"1"), ("new", b"n")]);
    assert!(stage.catch_up(&second).await.current);
    let changes = stage.bucket.changes();
    assert_eq!(changes.last().unwrap(), "DELETE gone", "deletes come last");
    assert_eq!(BTreeSet::from_iter(changes), ["PUT edit", "PUT new", "DELETE gone"].map(str::to_owned).into());
    stage.is_caught_up(&second).await;
    let mirror = read_mirror(&stage.bucket.store, None, &second.id).await.unwrap().unwrap();
    let first = stage.commits.lock().unwrap()[0].id;
    assert_eq!(
        (mirror.whole.header.built_from, mirror.base.header.id),
        (Some(first), first),
        "an overlay over the first"
    );
}

#[derive(Clone, Copy, Debug)]
enum Next {
    TheSame,
    Another,
    TheNextCommit,
}

/// A catch-up that is stopped after so many changes, and another that goes on.
async fn stopped_and_gone_on_with(stage: &mut Stage, opaque: bool, next: Next, stopped_after: u32) {
    let before: &[(&str, &[u8])] =
        &[("a", b"1"), ("b", b"1"), ("fd", b"1"), ("df/x", b"1"), ("z", b"1"), ("same", b"s")];
    let after: &[(&str, &[u8])] =
        &[("a", b"2"), ("b", b"longer"), ("fd/x", b"2"), ("df", b"2"), ("n", b"n"), ("same", b"s")];
    let later: &[(&str, &[u8])] = &[("a", b"3"), ("b", b"1"), ("df", b"2"), ("n", b"m"), ("same", b"s")];
    stage.start_over();
    stage.bucket.shelf().opaque = opaque;
    stage.catch_up(&stage.commit_here(before)).await;
    std::fs::remove_file(stage.here.place.path().join("fd")).unwrap();
    std::fs::remove_dir_all(stage.here.place.path().join("df")).unwrap();
    let second = stage.commit_here(after);
    let (stop, mut changes) = (Arc::new(AtomicBool::new(stopped_after == 0)), 0);
    let stops = Arc::clone(&stop);
    stage.bucket.on_request(move |asked, _| {
        changes += u32::from(asked.is_change());
        if changes >= stopped_after {
            stops.store(true, Ordering::SeqCst);
        }
        if changes > stopped_after { Fate::Hangs } else { Fate::Served }
    });
    let is_stopped = || stop.load(Ordering::SeqCst);
    let done = stage.catch_up_with(&second, &stage.here, |catching| catching.stop = &is_stopped).await;
    assert!(!done.unwrap().current, "{stopped_after}");
    stage.bucket.heal();
    let other = Container::new();
    let (to, container) = match next {
        Next::TheSame => (second, &stage.here),
        Next::Another => (second, &other),
        Next::TheNextCommit => (stage.commit(later), &other),
    };
    let done = stage.catch_up_with(&to, container, |_| {}).await.unwrap();
    assert!(done.current && done.outside.is_empty(), "{opaque} {next:?} {stopped_after}: {done:?}");
    stage.is_caught_up(&to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_that_is_stopped_anywhere_is_finished_by_the_next_of_anyone() {
    // A client is not made in no time.
    let mut stage = Stage::new().await;
    for opaque in [false, true] {
        for next in [Next::TheSame, Next::Another, Next::TheNextCommit] {
            // Eight requests change the live tree, and then comes the mirror.
            for stopped_after in 0..=8 {
                Box::pin(stopped_and_gone_on_with(&mut stage, opaque, next, stopped_after)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_edit_is_left_alone_and_keeps_its_old_row() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1"), ("c", b"1")]);
    stage.catch_up(&first).await;
    let old = stage.mirror(first.id).await.unwrap();
    // Of the same length, another length, and where nothing was.
    for (key, content) in [("a", "x"), ("b", "outside"), ("new", "theirs")] {
        stage.bucket.shelf().put(key, content.as_bytes());
    }
    let second = stage.commit_here(&[("a", b"2"), ("c", b"2"), ("new", b"n")]);
    let done = stage.catch_up(&second).await;
    assert!(done.current);
    assert_eq!(done.outside, names(&["a", "b", "new"]));
    let live = stage.bucket.shelf().live();
    let wanted = [("a", "x"), ("b", "outside"), ("c", "2"), ("new", "theirs")];
    assert_eq!(live, wanted.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
    let next = stage.mirror(second.id).await.unwrap();
    assert_eq!((&next.rows[&path("a")], &next.rows[&path("b")]), (&old.rows[&path("a")], &old.rows[&path("b")]));
    assert!(!next.rows.contains_key(&path("new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_delete_loses_against_a_change_and_wins_with_a_delete() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1")])).await;
    for key in ["a", "b"] {
        stage.bucket.shelf().objects.remove(key);
    }
    let second = stage.commit_here(&[("a", b"2")]);
    assert!(stage.catch_up(&second).await.current);
    stage.is_caught_up(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sibling_left_of_a_recent_catch_up_is_met_and_replaced() {
    for opaque in [false, true] {
        let stage = Stage::new().await;
        stage.bucket.shelf().opaque = opaque;
        stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1"), ("c", b"1"), ("d", b"1")])).await;
        stage.commit(&[("a", b"2"), ("b", b"two"), ("c", b"1"), ("new", b"n")]);
        // The sibling came so far. Then this one commits; of `c` and `d` it takes back what the sibling did.
        for (key, content) in [("a", "2"), ("b", "two"), ("new", "n")] {
            stage.bucket.shelf().put(key, content.as_bytes());
        }
        stage.bucket.shelf().objects.remove("d");
        let third = stage.commit_here(&[("a", b"3"), ("b", b"1"), ("c", b"1"), ("d", b"1")]);
        let done = stage.catch_up(&third).await;
        assert!(done.current && done.outside.is_empty(), "{done:?}");
        stage.is_caught_up(&third).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recent_tree_that_is_gone_costs_looks_and_never_an_object() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1")])).await;
    let second = stage.commit(&[("a", b"2"), ("b", b"1")]);
    stage.bucket.shelf().put("a", b"2");
    stage.bucket.shelf().objects.remove(&second.id.tree_key());
    stage.bucket.asked();
    let third = stage.commit_here(&[("a", b"3"), ("b", b"1")]);
    let done = stage.catch_up(&third).await;
    assert!(done.current && done.outside == names(&["a"]), "{done:?}");
    assert_eq!(stage.bucket.shelf().live()["a"], "2");
    let asked = stage.bucket.asked();
    assert!(asked.iter().any(|asked| asked.key == "b" && asked.method == "HEAD"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_files_and_directories_change_places_the_deletes_come_first() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit(&[("df/x", b"1"), ("fd", b"1"), ("z", b"1")])).await;
    stage.bucket.asked();
    let second = stage.commit(&[("df", b"2"), ("fd/x", b"2")]);
    assert!(stage.catch_up(&second).await.current);
    let changes = stage.bucket.changes();
    let kinds: Vec<&str> = changes.iter().map(|change| change.split_once(' ').unwrap().0).collect();
    assert_eq!(kinds, ["DELETE", "DELETE", "PUT", "PUT", "DELETE"], "{changes:?}");
    stage.is_caught_up(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deleted_is_named_and_tried_again_after_the_next_commit() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1")]);
    stage.catch_up(&first).await;
    let second = stage.commit(&[("b", b"1")]);
    stage.bucket.on_request(|asked, _| match asked.method.as_str() {
        "DELETE" => Fate::Refused(403, "AccessDenied"),
        _ => Fate::Served,
    });
    let done = stage.catch_up(&second).await;
    assert!(done.current);
    assert_eq!(done.not_deleted.keys().cloned().collect::<BTreeSet<_>>(), names(&["a"]));
    assert!(stage.mirror(second.id).await.unwrap().rows.contains_key(&path("a")));
    stage.bucket.heal();
    let third = stage.commit(&[("b", b"2")]);
    let done = stage.catch_up(&third).await;
    assert!(done.current && done.not_deleted.is_empty());
    stage.is_caught_up(&third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_sent_when_head_has_moved() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("a", b"1")])).await;
    let second = stage.commit_here(&[("a", b"2"), ("b", b"2"), ("c", b"2")]);
    stage.bucket.shelf().put("b", b"?");
    // A conflict makes it look at head: there a new one is.
    stage.bucket.on_request(|asked, shelf| {
        if asked.key == "b" && asked.method == "PUT" {
            others_commit(shelf);
        }
        Fate::Served
    });
    let done = stage.catch_up(&second).await;
    assert!(done.moved && !done.current, "{done:?}");
    assert_eq!(stage.bucket.shelf().live()["b"], "?");
    assert!(stage.mirror(second.id).await.is_none());
    stage.bucket.asked();
    // From the beginning too.
    assert!(stage.catch_up(&second).await.moved);
    assert_eq!(stage.bucket.changes(), [""; 0]);
}

/// A container that was put to sleep sends what was on its way when it wakes, and not one request more.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_out_on_the_strength_of_a_head_that_was_seen_long_ago() {
    let stage = Stage::new().await;
    let names: Vec<String> = (0..400).map(|n| format!("{n:03}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    let first = stage.commit_here(&files);
    let mut is_first = true;
    stage.bucket.on_request(move |asked, shelf| {
        if asked.is_change() && asked.is_live() && std::mem::take(&mut is_first) {
            std::thread::sleep(Duration::from_millis(5_100));
            others_commit(shelf);
        }
        Fate::Served
    });
    let done = stage.catch_up(&first).await;
    assert!(done.moved && !done.current, "{done:?}");
    let sent = stage.bucket.shelf().live().len();
    assert!(sent <= stage.bucket.store.widths().1, "{sent} objects were written");
}

/// Its content is one that a recent snapshot had: without a look at head it would be taken for a catch-up that did not
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_commit_put_back_is_not_overwritten() {
    let stage = Stage::new().await;
    stage.bucket.shelf().opaque = true;
    stage.catch_up(&stage.commit_here(&[("a", b"1")])).await;
    let second = stage.commit_here(&[("a", b"2")]);
    let mut is_first = true;
    stage.bucket.on_request(move |asked, shelf| {
        if asked.key == "a" && asked.method == "PUT" && std::mem::take(&mut is_first) {
            others_commit(shelf);
            shelf.put("a", b"1");
        }
        Fate::Served
    });
    let done = stage.catch_up(&second).await;
    assert!(done.moved && !done.current, "{done:?}");
    assert_eq!(stage.bucket.shelf().live()["a"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mirror_is_written_when_head_has_moved_since_the_last_object() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1")]);
    stage.bucket.on_request(|asked, shelf| {
        if asked.key == "a" && asked.method == "PUT" {
            others_commit(shelf);
        }
        Fate::Served
    });
    let done = stage.catch_up(&first).await;
    assert!(done.moved && !done.current, "{done:?}");
    assert!(stage.mirror(first.id).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_only_tagged_or_pruned_stops_nothing() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1")]);
    let mut number = 0;
    stage.bucket.on_request(move |asked, shelf| {
        if asked.is_change() && asked.is_live() {
            number += 1;
            let head = Head::decode(&shelf.objects[HEAD_KEY].bytes).unwrap();
            let written = Written { write_id: WriteId::new([number; 6]), writer: String::new(), time: head.time };
            shelf.put(HEAD_KEY, &head.pruned([number; 6], written).encode());
        }
        Fate::Served
    });
    assert!(stage.catch_up(&first).await.current);
    stage.is_caught_up(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_deleted_meanwhile_gets_nothing() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1")]);
    stage.bucket.shelf().objects.remove(HEAD_KEY);
    assert!(stage.catch_up(&first).await.moved);
    assert_eq!(stage.bucket.changes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_on_the_disk_by_now_comes_out_of_the_packs() {
    let stage = Stage::new().await;
    let large = noise(1, (9 << 20) + 5);
    let (one, sparse) = (noise(2, 3 << 20), [vec![0; 2 << 20], b"end".to_vec()].concat());
    let files: &[(&str, &[u8])] = &[
        ("changed", b"1"),
        ("gone", b"g"),
        ("large", &large),
        ("medium", &one),
        ("other/large", &large),
        ("sparse", &sparse),
    ];
    let first = stage.commit(files);
    stage.here.write("changed", b"2");
    stage.here.write("large", &large);
    // As long as it was, and another at its end.
    stage.here.write("other/large", &[&large[..large.len() - 1], b"!"].concat());
    assert!(stage.catch_up(&first).await.current);
    stage.is_caught_up(&first).await;
    assert_eq!(stage.bucket.shelf().live()["changed"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_is_nowhere_any_more_leaves_the_catch_up_unfinished_and_nothing_else_undone() {
    let stage = Stage::new().await;
    let first = stage.commit(&[("lost", b"1"), ("there", b"2")]);
    stage.here.write("there", b"2");
    stage.bucket.shelf().objects.retain(|key, _| !key.contains("/packs/"));
    let done = stage.catch_up(&first).await;
    assert!(!done.current && !done.moved);
    assert_eq!(stage.bucket.shelf().live().keys().collect::<Vec<_>>(), ["there"]);
    assert!(stage.mirror(first.id).await.is_none());
    stage.here.write("lost", b"1");
    assert!(stage.catch_up(&first).await.current);
    stage.is_caught_up(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_the_server_will_not_have_is_named_and_the_catch_up_counts_as_finished() {
    // moto says 404 to a key with a line feed in it.
    for (status, code) in [(400, "KeyTooLongError"), (400, "BadRequest"), (404, "NotFound")] {
        let stage = Stage::new().await;
        let first = stage.commit_here(&[("a", b"1"), ("odd", b"1"), ("z", b"1")]);
        stage.bucket.on_request(move |asked, _| match asked.key.as_str() {
            "odd" if asked.is_change() => Fate::Refused(status, code),
            _ => Fate::Served,
        });
        let done = stage.catch_up(&first).await;
        assert!(done.current && done.name_refused == names(&["odd"]), "{status} {code}: {done:?}");
        let mirrored = stage.mirror(first.id).await.unwrap().rows;
        assert_eq!(mirrored.keys().collect::<Vec<_>>(), [&path("a"), &path("z")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_the_server_will_not_have_is_named_by_every_catch_up_and_stops_none() {
    let large = noise(5, 9 << 20);
    for (status, code) in [(400, "KeyTooLongError"), (400, "BadRequest"), (404, "NotFound")] {
        let stage = Stage::new().await;
        stage.bucket.on_request(move |asked, _| match asked.key.as_str() {
            "odd" => Fate::Refused(status, code),
            _ => Fate::Served,
        });
        let mut before = None;
        let odd: [&[u8]; 7] = [b"1", b"1", b"3", b"", &large, &large, b"7"];
        for (n, odd) in odd.into_iter().enumerate() {
            let text = n.to_string();
            let mut files: Vec<(&str, &[u8])> = vec![("a", text.as_bytes()), ("odd", odd)];
            // In one of them it is removed.
            files.truncate(if odd.is_empty() { 1 } else { 2 });
            let commit = stage.commit_here(&files);
            let done = stage.catch_up(&commit).await;
            assert!(done.current && done.outside.is_empty(), "{status} {code}, {n}: {done:?}");
            assert_eq!(done.name_refused, if odd.is_empty() { names(&[]) } else { names(&["odd"]) }, "{code}, {n}");
            let mirror = read_mirror(&stage.bucket.store, None, &commit.id).await.unwrap().unwrap().whole;
            assert_eq!(mirror.rows.keys().collect::<Vec<_>>(), [&path("a")]);
            assert_eq!(mirror.header.built_from, before, "{code}, {n}: it is built from the one before");
            before = Some(commit.id);
        }
    }
}

/// What is not there is denied to those who may not list.
fn without_listing(asked: &Asked, shelf: &mut crate::sync::test_bucket::Shelf) -> Fate {
    let is_read = matches!(asked.method.as_str(), "GET" | "HEAD");
    if is_read && !shelf.objects.contains_key(&asked.key) { Fate::Refused(403, "AccessDenied") } else { Fate::Served }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_catch_ups_end() {
    let large = noise(6, 9 << 20);
    for blindly in [false, true] {
        let stage = Stage::new().await;
        stage.bucket.on_request(without_listing);
        let store = stage.bucket.store.clone().with_abilities(Abilities { delete: !blindly, ..Abilities::AWS });
        stage.bucket.shelf().deletes_blindly = blindly;
        let commits: [&[(&str, &[u8])]; 5] = [
            &[("a", b"1"), ("b", b"1"), ("large", &large)],
            &[("a", b"2"), ("b", b"1"), ("large", &large), ("new", b"2")],
            &[("a", b"2"), ("b", b"3")],
            &[("a", b"2"), ("b", b"4"), ("large", &large), ("new", b"2")],
            &[("b", b"4")],
        ];
        for (n, files) in commits.into_iter().enumerate() {
            let commit = stage.commit_here(files);
            if n == 4 && !blindly {
                // Somebody was faster.
                stage.bucket.shelf().objects.remove("a");
            }
            let done = stage.catch_up_with(&commit, &stage.here, |catching| catching.store = &store).await.unwrap();
            assert!(done.current && done.outside.is_empty(), "{done:?}");
            stage.is_caught_up(&commit).await;
        }
        // One that is broken off, the next takes everything back.
        let cut = stage.commit_here(&[("b", b"5"), ("brief", b"5"), ("c", b"5")]);
        stage.bucket.on_request(|asked, shelf| {
            if asked.is_change() && asked.is_live() && asked.key != "b" {
                return Fate::Refused(403, "AccessDenied");
            }
            without_listing(asked, shelf)
        });
        let done = stage.catch_up_with(&cut, &stage.here, |catching| catching.store = &store).await.unwrap();
        assert!(!done.current);
        stage.bucket.on_request(without_listing);
        let back = stage.commit_here(&[("b", b"4"), ("c", b"6")]);
        let done = stage.catch_up_with(&back, &stage.here, |catching| catching.store = &store).await.unwrap();
        assert!(done.current && done.outside.is_empty(), "{done:?}");
        stage.is_caught_up(&back).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_looked_at_is_never_overwritten_as_if_it_were_not_there() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1")])).await;
    for key in ["b", "new"] {
        stage.bucket.shelf().put(key, b"from outside");
    }
    stage.bucket.on_request(|asked, _| match (asked.key.as_str(), asked.method.as_str()) {
        ("b" | "new", "GET" | "HEAD") => Fate::Refused(403, "AccessDenied"),
        _ => Fate::Served,
    });
    let second = stage.commit_here(&[("a", b"2"), ("b", b"2"), ("new", b"2")]);
    assert!(!stage.catch_up(&second).await.current);
    // As before, and for both the other request would come first now.
    let third = stage.commit_here(&[("a", b"3"), ("new", b"3")]);
    stage.catch_up(&third).await;
    let live = stage.bucket.shelf().live();
    let wanted = [("a", "3"), ("b", "from outside"), ("new", "from outside")];
    assert_eq!(live, wanted.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_many_catch_ups_that_did_not_finish_only_what_differs_is_looked_at() {
    let stage = Stage::new().await;
    let same: [(&str, &[u8]); 4] = [("s1", b"s"), ("s2", b"s"), ("s3", b"s"), ("d/s4", b"s")];
    let with = |more: &[(&'static str, &'static [u8])]| [&same[..], more].concat();
    stage.catch_up(&stage.commit_here(&with(&[("a", b"0"), ("again", b"0")]))).await;
    // The first of them came far enough to take one away and to add one.
    stage.commit(&with(&[("a", b"1"), ("brief", b"1")]));
    stage.bucket.shelf().put("brief", b"1");
    stage.bucket.shelf().objects.remove("again");
    for text in ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
        stage.commit(&with(&[("a", text.as_bytes()), ("again", b"0")]));
    }
    stage.bucket.shelf().put("a", b"5");
    stage.bucket.asked();
    let last = stage.commit_here(&with(&[("a", b"13"), ("again", b"0")]));
    let done = stage.catch_up(&last).await;
    assert!(done.current && done.outside.is_empty(), "{done:?}");
    let live = stage.bucket.asked().into_iter().filter(Asked::is_live).map(|asked| asked.key);
    assert_eq!(live.collect::<BTreeSet<_>>(), ["a", "again", "brief"].map(str::to_owned).into());
    stage.is_caught_up(&last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_writes_fail_every_time_keeps_no_other_from_being_written() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("odd", b"1"), ("z", b"1")]);
    stage.bucket.on_request(move |asked, _| match asked.key.as_str() {
        "odd" if asked.is_change() => Fate::Refused(500, "InternalError"),
        _ => Fate::Served,
    });
    let done = stage.catch_up(&first).await;
    assert!(!done.current && !done.moved, "{done:?}");
    assert_eq!(stage.bucket.shelf().live().keys().collect::<Vec<_>>(), ["a", "z"]);
    stage.bucket.on_request(|_, _| Fate::Served);
    assert!(stage.catch_up(&first).await.current);
    stage.is_caught_up(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_got_lost_is_no_edit_of_somebody_else() {
    for opaque in [false, true] {
        let stage = Stage::new().await;
        stage.bucket.shelf().opaque = opaque;
        stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1")])).await;
        let large = noise(3, 9 << 20);
        let second = stage.commit_here(&[("a", b"2"), ("large", &large)]);
        let mut lost = BTreeSet::new();
        stage.bucket.on_request(move |asked, _| {
            let is_first = asked.is_change() && lost.insert(asked.key.clone());
            if is_first { Fate::Lost } else { Fate::Served }
        });
        let done = stage.catch_up(&second).await;
        assert!(done.outside.is_empty() && done.current, "{done:?}");
        stage.is_caught_up(&second).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delete_is_written_again_and_the_mirror_stays_whole() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1")]);
    stage.catch_up(&first).await;
    let held = stage.mirror(first.id).await.unwrap().rows[&path("a")].clone();
    stage.bucket.shelf().objects.remove("a");
    stage.bucket.asked();
    let refused = BTreeMap::from([(path("a"), held.etag.clone())]);
    let done = stage.catch_up_with(&first, &stage.here, |catching| catching.refused = &refused).await.unwrap();
    assert!(done.current);
    assert_eq!(stage.bucket.changes(), ["PUT a"]);
    stage.is_caught_up(&first).await;
    let again = read_mirror(&stage.bucket.store, None, &first.id).await.unwrap().unwrap();
    assert_eq!((again.whole.header.base, again.whole.header.built_from), (None, None));
    // Of another version nothing was refused.
    let refused = BTreeMap::from([(path("a"), ETag::new("\"old\""))]);
    let done = stage.catch_up_with(&first, &stage.here, |catching| catching.refused = &refused).await.unwrap();
    assert!(done.current && stage.bucket.changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_whole_again_when_its_overlay_has_grown_unless_time_is_short() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit(&[("a", b"1")])).await;
    let second = stage.commit(&[("a", b"2")]);
    let row = |n: u32| {
        let bytes = n.to_le_bytes();
        let content = Content { hash: Hash::of(&bytes), size: 4 };
        (path(&format!("f{n}")), Held { etag: plain_etag(&bytes), content })
    };
    let next = plan::Mirror { rows: (0..2000).map(row).collect(), ..plan::Mirror::default() };
    let (read, _write) = std::io::pipe().unwrap();
    let hurried = Control::listen(File::from(OwnedFd::from(read)), true);
    for (control, is_whole) in [(&hurried, false), (&stage.control, true)] {
        let catching = CatchingUp { state: None, control, ..stage.catching_up(&second, &stage.here) };
        stage.bucket.shelf().objects.remove(&second.id.mirror_key());
        let begun = Box::pin(catching.begin()).await.unwrap().unwrap();
        let watch = Watch::new(&stage.bucket.store, &second.head);
        assert!(Box::pin(catching.write_mirror(&begun, &next, &watch)).await.unwrap());
        let bytes = stage.bucket.shelf().objects[&second.id.mirror_key()].bytes.clone();
        let header = Mirror::decode_header(&bytes[..], &crate::snapshot::Limits::default()).unwrap();
        assert_eq!(header.base.is_none(), is_whole);
        assert_eq!(stage.mirror(second.id).await.unwrap(), next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_a_sibling_wrote_first_stays() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1")]);
    let other = Container::new();
    let theirs = stage.catch_up_with(&first, &other, |_| {}).await.unwrap();
    assert!(theirs.current);
    let mirror = stage.bucket.shelf().objects[&first.id.mirror_key()].clone();
    let key = first.id.mirror_key();
    // It was not there when this one began.
    let (mut asked_for, hidden) = (0, key.clone());
    stage.bucket.on_request(move |asked, _| {
        asked_for += u32::from(asked.key == hidden && asked.method == "GET");
        if asked.key == hidden && asked.method == "GET" && asked_for == 1 {
            return Fate::Refused(404, "NoSuchKey");
        }
        Fate::Served
    });
    assert!(stage.catch_up(&first).await.current);
    assert_eq!(stage.bucket.shelf().objects[&key], mirror);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_conditions_on_deletes_it_is_looked_at_just_before() {
    let stage = Stage::new().await;
    stage.bucket.shelf().deletes_blindly = true;
    let store = stage.bucket.store.clone().with_abilities(Abilities { delete: false, ..Abilities::AWS });
    stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1")])).await;
    let second = stage.commit(&[]);
    stage.bucket.shelf().put("b", b"outside");
    let done = stage.catch_up_with(&second, &stage.here, |catching| catching.store = &store).await.unwrap();
    assert!(done.current && done.outside == names(&["b"]));
    assert_eq!(stage.bucket.shelf().live().into_iter().collect::<Vec<_>>(), [("b".to_owned(), "outside".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_snapshot_over_a_plain_workspace_begins_with_what_was_imported() {
    let stage = Stage::new().await;
    let [kept, edited, _] = ["a", "b", "ignored.log"].map(|key| stage.bucket.shelf().put(key, b"1"));
    let held = |etag: &str| Held { etag: ETag::new(etag), content: Content { hash: Hash::of(b"1"), size: 1 } };
    let rows = [(path("a"), held(&kept)), (path("b"), held(&edited))].into();
    let imported = plan::Mirror { rows, ..plan::Mirror::default() };
    let first = stage.commit_here(&[("a", b"1"), ("b", b"2")]);
    let off = stage.catch_up_with(&first, &stage.here, |catching| catching.imported = Some(&imported));
    assert!(off.await.unwrap().current);
    assert_eq!(stage.bucket.changes(), ["PUT b"]);
    assert_eq!(stage.bucket.shelf().live()["ignored.log"], "1");
    assert_eq!(stage.mirror(first.id).await.unwrap().rows.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mirror_objects_that_are_as_wanted_are_not_sent_again() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("a", b"1"), ("b", b"1")])).await;
    let second = stage.commit_here(&[("a", b"1"), ("b", b"2")]);
    stage.bucket.shelf().objects.retain(|key, _| !key.contains("/mirrors/"));
    let other = Container::new();
    other.write("a", b"1");
    stage.bucket.asked();
    assert!(stage.catch_up_with(&second, &other, |_| {}).await.unwrap().current);
    assert_eq!(stage.bucket.changes(), ["PUT b"]);
    stage.is_caught_up(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_mirror_costs_looks_and_is_written_anew() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1")]);
    stage.catch_up(&first).await;
    stage.bucket.shelf().put(&first.id.mirror_key(), b"no mirror");
    let other = Container::new();
    assert!(stage.catch_up_with(&first, &other, |_| {}).await.unwrap().current);
    stage.is_caught_up(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_hangs_keeps_nobody_past_the_deadline() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1")]);
    stage.bucket.on_request(|asked, _| if asked.key == "b" { Fate::Hangs } else { Fate::Served });
    let (read, mut write) = std::io::pipe().unwrap();
    let control = Control::listen(File::from(OwnedFd::from(read)), true);
    let late = async {
        stage.bucket.until_one_hangs().await;
        let mut message = vec![b'D'];
        message.extend(0_u64.to_le_bytes());
        write.write_all(&message).unwrap();
    };
    let done = stage.catch_up_with(&first, &stage.here, |catching| catching.control = &control);
    let (done, ()) = tokio::join!(done, late);
    assert!(!done.unwrap().current);
    assert!(stage.mirror(first.id).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_that_was_sent_before_is_neither_sent_nor_read_again() {
    let stage = Stage::new().await;
    let large = noise(4, 9 << 20);
    let first = stage.commit_here(&[("a", b"1"), ("large", &large)]);
    stage.bucket.on_request(|asked, _| {
        if asked.key.contains("/mirrors/") && asked.is_change() { Fate::Hangs } else { Fate::Served }
    });
    let stop = AtomicBool::new(false);
    let is_stopped = || stop.load(Ordering::SeqCst);
    let cut = stage.catch_up_with(&first, &stage.here, |catching| catching.stop = &is_stopped);
    let at_the_mirror = async {
        stage.bucket.until_one_hangs().await;
        stop.store(true, Ordering::SeqCst);
    };
    assert!(!tokio::join!(cut, at_the_mirror).0.unwrap().current);
    stage.bucket.heal();
    stage.bucket.asked();
    assert!(stage.catch_up(&first).await.current);
    let asked = stage.bucket.asked().into_iter().filter(Asked::is_live);
    assert_eq!(
        asked.map(|asked| format!("{} {}", asked.method, asked.key)).collect::<BTreeSet<_>>(),
        ["HEAD a", "HEAD large"].map(str::to_owned).into()
    );
    stage.is_caught_up(&first).await;
    assert!(stage.here.state.sent().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_snapshots_from_before_the_import_are_not_recent_and_say_what_their_objects_held() {
    for with_import in [true, false] {
        let stage = Stage::new().await;
        stage.bucket.shelf().opaque = true;
        let mut plain = stage.commit(&[("a", b"1"), ("b", b"1")]);
        let mut imported = plan::Mirror::default();
        for (at, row) in &mut plain.rows {
            row.etag = Some(ETag::new(stage.bucket.shelf().put(&at.to_string(), b"1")));
            let held = Held { etag: row.etag.clone().unwrap(), content: Content::of(row).unwrap() };
            imported.rows.insert(at.clone(), held);
        }
        let mut head = plain.head.head.clone();
        (head.state, head.history) = (HeadState::Plain, Vec::new());
        let time = head.time;
        let header = TreeHeader {
            id: plain.id,
            parent: None,
            writer: String::new(),
            quiet: true,
            partial: false,
            missing: crate::snapshot::Missing::default(),
            base: None,
            time,
        };
        let rows =
            plain.rows.iter().map(|(at, row)| (at.clone(), Row { pieces: crate::rows::Pieces::None, ..row.clone() }));
        let tree = Tree { header, rows: rows.collect(), removed: BTreeMap::new() };
        stage.bucket.shelf().put(&plain.id.tree_key(), &tree.encode().unwrap());
        stage.commits.lock().unwrap()[0].head.head = head;
        let first = stage.commit(&[("a", b"1"), ("b", b"2")]);
        stage.bucket.asked();
        let done = stage.catch_up_with(&first, &stage.here, |catching| {
            catching.imported = Some(&imported).filter(|_| with_import);
        });
        assert!(done.await.unwrap().current);
        let asked = stage.bucket.asked();
        let is_read = |asked: &Asked| asked.method == "GET" && (asked.is_live() || asked.key == plain.id.tree_key());
        let read: Vec<_> = asked.iter().filter(|asked| is_read(asked)).map(|asked| asked.key.clone()).collect();
        assert_eq!(read, if with_import { vec![] } else { vec![plain.id.tree_key()] });
        stage.is_caught_up(&first).await;
        let mirror = read_mirror(&stage.bucket.store, None, &first.id).await.unwrap().unwrap();
        assert_eq!(mirror.whole.header.built_from, Some(plain.id).filter(|_| with_import));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_live_tree_the_first_mirror_says_what_was_imported() {
    let stage = Stage::new().await;
    let held = Held { etag: ETag::new("\"1\""), content: Content { hash: Hash::of(b"1"), size: 1 } };
    let imported = plan::Mirror { rows: [(path("a"), held)].into(), ..plan::Mirror::default() };
    let first = stage.commit_here(&[("a", b"1"), ("b", b"2")]);
    let catching = CatchingUp { imported: Some(&imported), ..stage.catching_up(&first, &stage.here) };
    assert!(catching.write_imported().await.unwrap().current);
    assert_eq!(stage.mirror(first.id).await.unwrap(), imported);
    assert!(stage.bucket.shelf().live().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_base_is_gone_counts_as_missing_and_is_written_anew() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1")]);
    stage.catch_up(&first).await;
    let second = stage.commit_here(&[("a", b"2"), ("b", b"1")]);
    assert!(stage.catch_up(&second).await.current);
    stage.bucket.shelf().objects.remove(&first.id.mirror_key());
    let other = Container::new();
    let store = &stage.bucket.store;
    assert!(!is_caught_up(store, Some(&other.state), &second.head.head).await.unwrap());
    assert!(stage.catch_up_with(&second, &other, |_| {}).await.unwrap().current);
    stage.is_caught_up(&second).await;
    assert!(is_caught_up(store, Some(&other.state), &second.head.head).await.unwrap());
}

/// What a new container asks for.
fn ask(rules: &RuleOptions) -> Ask<'_> {
    Ask {
        rules,
        options: ImportOptions::default(),
        cache: None,
        known: None,
        live_tree: true,
        refused: BTreeMap::new(),
        contents: plan::Contents::default(),
        accept_deletes: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_says_where_the_next_pull_cuts_its_listing() {
    let stage = Stage::new().await;
    let names: Vec<String> = (0..1_100).map(|n| format!("{n:04}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    stage.catch_up(&stage.commit_here(&files)).await;
    // So short that the mirror is there before the last of them.
    stage.bucket.shelf().page = Some(10);
    stage.bucket.asked();
    let rules = RuleOptions::default();
    let found = Box::pin(look(&stage.bucket.store, &ask(&rules))).await.unwrap();
    assert_eq!(found.totals().0, 1_100);
    let asked = stage.bucket.asked();
    assert!(asked.iter().any(|asked| asked.query.contains("start-after=users%2Falice%2Fws%2F1000")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_comes_to_its_end_though_others_commit_each_time_it_looks() {
    let stage = Stage::new().await;
    let first = stage.commit_here(&[("a", b"1"), ("b", b"1")]);
    stage.catch_up(&first).await;
    stage.bucket.shelf().put("a", b"outside");
    let rows = first.rows.clone();
    stage.bucket.on_request(move |asked, shelf| {
        if asked.method == "GET" && asked.key == HEAD_KEY {
            others_commit(shelf);
            let head = Head::decode(&shelf.objects[HEAD_KEY].bytes).unwrap();
            let header = TreeHeader {
                id: head.snapshot.unwrap(),
                parent: None,
                writer: String::new(),
                quiet: true,
                partial: false,
                missing: crate::snapshot::Missing::default(),
                base: None,
                time: head.time,
            };
            let tree = Tree { header, rows: rows.clone(), removed: BTreeMap::new() };
            shelf.put(&tree.header.id.tree_key(), &tree.encode().unwrap());
        }
        Fate::Served
    });
    let rules = RuleOptions::default();
    let found = Box::pin(look(&stage.bucket.store, &ask(&rules))).await.unwrap();
    let edits: Vec<String> = found.live().unwrap().outside.edits.keys().map(ToString::to_string).collect();
    assert_eq!(edits, ["a"]);
}

/// A 404 that was heard under one head proves nothing under the next, whose mirror explains less of what was before.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_sibling_put_back_while_a_pull_looked_is_not_deleted() {
    let stage = Stage::new().await;
    stage.catch_up(&stage.commit_here(&[("back", b"1"), ("edited", b"1"), ("x", b"1"), ("y", b"1")])).await;
    let mut found_by_the_pull = stage.bucket.shelf().objects.clone();
    let second = stage.commit_here(&[("back", b"2"), ("edited", b"1"), ("x", b"1"), ("y", b"1")]);
    stage.catch_up(&second).await;
    let siblings = stage.bucket.shelf().objects.clone();
    found_by_the_pull.remove("back");
    stage.bucket.shelf().objects = found_by_the_pull;
    stage.bucket.shelf().put("edited", b"outside");
    let (mut is_edited_again, mut is_asked) = (false, false);
    stage.bucket.on_request(move |asked, shelf| {
        match (asked.method.as_str(), asked.key.as_str()) {
            ("GET", "edited") if !std::mem::replace(&mut is_edited_again, true) => drop(shelf.put("edited", b"again")),
            ("HEAD", "back") => is_asked = true,
            ("GET", HEAD_KEY) if std::mem::take(&mut is_asked) => {
                let edited = shelf.objects["edited"].clone();
                shelf.objects.clone_from(&siblings);
                shelf.objects.insert("edited".to_owned(), edited);
            }
            _ => {}
        }
        Fate::Served
    });
    let rules = RuleOptions::default();
    let found = Box::pin(look(&stage.bucket.store, &ask(&rules))).await.unwrap();
    let live = found.live().unwrap();
    assert_eq!(live.head.head.snapshot, Some(second.id));
    assert_eq!(live.wanted.merged.rows.get(&path("back")).map(|row| row.hash), Some(Hash::of(b"2")));
}
