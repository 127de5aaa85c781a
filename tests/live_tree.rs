//! The live tree of a live workspace, case by case: catch-ups that end in the middle, that meet each other, that wake up
//! late; what outsiders put and took away; and what an import found. At the end the live tree is what the last snapshot
//! says, and a container that comes next has exactly that, without copies that nobody made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use support::{
    checker::{Checker, on_disk},
    front::{Class, Fault, Front, Held, Which, any},
    servers::{Kind, Server, memory::Mode},
    story::{Directory, Running, Story, until},
};

/// Servers that keep a key where a folder was; s3s-fs answers 500.
fn servers() -> Vec<Arc<Server>> {
    Server::all_with(&[]).into_iter().filter(|server| server.kind != Kind::S3sFs).collect()
}

fn pulled(story: &Story, name: &str) -> Directory {
    let directory = story.directory(name);
    directory.pull().exits(0);
    directory
}

fn receipt(directory: &Directory) -> serde_json::Value {
    directory.stopover(&["commit", "--json"]).exits(0).json()
}

/// A checkpoint that finishes its catch-up.
#[track_caller]
fn current(directory: &Directory) {
    let receipt = receipt(directory);
    assert_eq!(receipt["live_tree"], "current", "{receipt}");
}

/// What a container that comes now has is what `directory` has, and so has the live tree.
#[track_caller]
fn all_is_as_in(directory: &Directory, story: &Story, what: &str) {
    let next = story.directory("next");
    next.pull().exits(0).never_says("the live tree");
    assert_eq!(texts(next.tree()), texts(directory.tree()), "{what}");
    let checked =
        Checker::new(&story.outsider, story.key("")).bucket().unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    assert!(checked.tree == on_disk(&directory.path), "{what}: {:?}", checked.tree.keys());
    assert_eq!(texts(story.live()), texts(directory.files()), "{what}: the live tree");
}

/// Readable where an assertion fails.
fn texts(tree: std::collections::BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    tree.into_iter().map(|(path, bytes)| (path, text(bytes))).collect()
}

/// Every kind of change between two states of a directory.
fn before(directory: &Directory) {
    directory.file("edited", "1").file("moved/from", "m").file("gone", "1").file("folder/inner", "1").file("file", "1");
    directory.file("same", "1");
}

fn change(directory: &Directory) {
    directory.file("edited", "2").remove("moved").file("moved/to", "m").remove("gone").file("new", "2");
    directory.remove("folder").file("folder", "2").remove("file").file("file/inner", "2");
}

fn change_back(directory: &Directory) {
    for gone in ["moved", "new", "folder", "file"] {
        directory.remove(gone);
    }
    before(directory);
}

/// A request of a catch-up: one about a live object, or the mirror's.
#[derive(Clone, Copy)]
enum Point {
    Live(usize),
    Mirror,
}

impl Point {
    fn which(self) -> Which {
        match self {
            Self::Live(k) => any().class(Class::Live).after(k).once(),
            Self::Mirror => any().op("PutObject").class(Class::Mirror).once(),
        }
    }
}

/// Tries every request of a catch-up, on the server in memory; on the others, which take their time, every sixth, or all
/// of them in `just zoo`. `try_at` tells whether there was such a request, and is told whether something else happens at
/// this point, or the other way round.
fn everywhere(try_at: impl Fn(&Arc<Server>, Point, bool, &str) -> bool + Sync) {
    let all = std::env::var_os("STOPOVER_TEST_ALL").is_some();
    for (n, server) in [Server::in_memory()].into_iter().chain(servers()).enumerate() {
        let step = if all || server.kind == Kind::Memory { 1 } else { 6 };
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let at = |point, is_turned: bool| {
            let place = match point {
                Point::Live(k) => format!("request {k}"),
                Point::Mirror => "the mirror".to_owned(),
            };
            try_at(&server, point, is_turned, &format!("on {} at {place}, {is_turned}", server.name()))
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let k = next.fetch_add(step, Ordering::Relaxed) + n;
                        let turns = [(k + n) % 2 == 0, (k + n) % 2 != 0];
                        for turned in turns.into_iter().take(if all { 2 } else { 1 }) {
                            if !at(Point::Live(k), turned) {
                                assert!(k > 8, "there are no more than {k} requests on {}", server.name());
                                is_over.store(true, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                });
            }
            scope.spawn(|| assert!(at(Point::Mirror, n % 2 == 0)));
        });
    }
}

/// A checkpoint that is stopped where `held` holds it; `None` where it has ended before.
fn start_until(directory: &Directory, held: &Held) -> Option<Running> {
    // One request after the other, in one order.
    let mut running = directory.clone().with("STOPOVER_CONCURRENCY", "1").start(&["commit"]);
    while !held.reached_within(Duration::from_millis(10)) {
        if running.has_ended() {
            running.ends().exits(0);
            return None;
        }
    }
    Some(running)
}

#[test]
fn a_catch_up_that_was_cancelled_anywhere_and_then_reversed_leaves_no_trace() {
    everywhere(|server, point, by_the_same, what| {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, server);
        let here = pulled(&story, "here");
        before(&here);
        current(&here);
        let there = pulled(&story, "there");
        change(&here);
        let held = front.hold(point.which());
        let Some(running) = start_until(&here, &held) else { return false };
        running.term();
        assert_ne!(running.ends().code(), 0, "{what}");
        held.abandon();
        front.heal();
        // It is reversed where it was made, or by somebody else who has taken it in.
        if by_the_same {
            change_back(&here);
            current(&here);
        } else {
            there.pull().exits(0).never_says("the live tree");
            assert_eq!(texts(there.tree()), texts(here.tree()), "{what}");
            change_back(&there);
            current(&there);
            here.pull().exits(0);
        }
        all_is_as_in(&here, &story, what);
        true
    });
}

/// From now on the server will not have a key with this in it. To a HEAD it says so without words.
fn refuses(front: &Front, part: &str) {
    front.on(any().class(Class::Live).key(part), Fault::Refuse { status: 400, code: "KeyTooLongError" });
}

/// The live tree is what `directory` has, but for what the server will not have.
#[track_caller]
fn live_is_as_in(directory: &Directory, story: &Story, refused: &str, what: &str) {
    let mut files = directory.files();
    files.retain(|path, _| !path.contains(refused));
    assert_eq!(texts(story.live()), texts(files), "{what}: the live tree");
}

#[test]
fn a_name_that_the_server_refuses_holds_up_no_catch_up_that_was_cancelled_and_then_reversed() {
    let server = Server::in_memory();
    for k in 0.. {
        let by_the_same = k % 2 == 0;
        let what = format!("request {k}");
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        refuses(&front, "refused");
        let here = pulled(&story, "here");
        before(&here);
        here.file("refused/edited", "1").file("refused/gone", "1");
        current(&here);
        let there = pulled(&story, "there");
        change(&here);
        here.file("refused/edited", "2").remove("refused/gone").file("refused/large", vec![2; 9 << 20]);
        let held = front.hold(Point::Live(k).which());
        let Some(running) = start_until(&here, &held) else {
            assert!(k > 8, "there are no more than {k} requests");
            break;
        };
        running.term();
        assert_ne!(running.ends().code(), 0, "{what}");
        held.abandon();
        front.heal();
        refuses(&front, "refused");
        let back = |directory: &Directory| {
            change_back(directory);
            directory.file("refused/edited", "1").file("refused/gone", "1").remove("refused/large");
        };
        if by_the_same {
            back(&here);
            current(&here);
        } else {
            there.pull().exits(0).never_says("the live tree");
            assert_eq!(texts(there.tree()), texts(here.tree()), "{what}");
            back(&there);
            current(&there);
            here.pull().exits(0);
        }
        live_is_as_in(&here, &story, "refused", &what);
        let next = pulled(&story, "next");
        assert_eq!(texts(next.tree()), texts(here.tree()), "{what}");
        next.pull().exits(0).never_says("the live tree");
        // Nothing is left over for the next one.
        next.file("same", "2");
        current(&next);
        front.forget();
        next.file("same", "3");
        current(&next);
        let asked = front.count(&any().class(Class::Live).key("refused"));
        assert!(asked <= 8, "{what}: {:?}", front.seen());
    }
}

#[test]
fn catch_ups_end_where_a_name_is_refused_at_every_commit_and_where_nothing_may_be_listed() {
    for (rule, is_denied) in [("too long", false), ("no list", true)] {
        let server = Server::in_memory();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = pulled(&story, "here");
        here.file("a", "1").file("refused", "1").file("b", "1");
        if is_denied {
            here.checkpoint().exits(0);
            server.memory().behave(Mode::MissingIs403);
            front.on(any().op("ListObjectsV2"), Fault::DENIED);
        } else {
            refuses(&front, "refused");
        }
        let name = if is_denied { "b" } else { "refused" };
        let steps: [&dyn Fn(&Directory); 5] = [
            &|here| _ = here.file("a", "2").file("new", "2").file("large", vec![2; 9 << 20]),
            &|here| _ = here.file("a", "3").file(name, "3").remove("new"),
            &|here| _ = here.file("new", "4").remove(name),
            &|here| _ = here.file(name, vec![4; 9 << 20]).file("large", vec![4; 9 << 20]),
            &|here| _ = here.remove("large").file("new", "5"),
        ];
        for (n, step) in steps.into_iter().enumerate() {
            step(&here);
            current(&here);
            live_is_as_in(&here, &story, if is_denied { "nothing" } else { "refused" }, rule);
            let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
            let lineage = head["lineage"].as_array().unwrap();
            let before = n.checked_sub(1).map_or(&serde_json::Value::Null, |_| &lineage[lineage.len() - 2]);
            assert!(n == 0 || head["mirror"] == *before, "{rule}, {n}: {head}");
        }
        let next = pulled(&story, "next");
        assert_eq!(texts(next.tree()), texts(here.tree()), "{rule}");
    }
}

#[test]
fn a_zombie_that_wakes_before_any_request_of_its_catch_up_changes_nothing_of_its_siblings() {
    everywhere(|server, point, arrives, what| {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, server);
        let zombie = pulled(&story, "zombie");
        before(&zombie);
        current(&zombie);
        change(&zombie);
        let held = front.hold(point.which());
        let Some(running) = start_until(&zombie, &held) else { return false };
        running.sleeps();
        let is_delete = front.seen().pop().is_some_and(|seen| seen.op == "DeleteObject");
        // The zombie's commit is durable: the sibling takes it in, and puts everything back and on.
        let sibling = pulled(&story, "sibling");
        change_back(&sibling);
        sibling.file("edited", "3").file("since", "3");
        current(&sibling);
        if arrives && (server.has("delete-condition") || !is_delete) {
            // What was on its way when it fell asleep arrives now.
            let before = front.done().len();
            held.release();
            until(|| front.done().len() > before);
        } else {
            held.abandon();
        }
        running.wakes();
        running.ends();
        // What a request of the zombie's may have put after the sibling had looked is explained, and goes with the
        // next commit.
        let next = pulled(&story, "between");
        assert_eq!(texts(next.tree()), texts(sibling.tree()), "{what}");
        sibling.file("since", "4");
        current(&sibling);
        all_is_as_in(&sibling, &story, what);
        zombie.pull().exits(0);
        assert_eq!(texts(zombie.tree()), texts(sibling.tree()), "{what}");
        true
    });
}

/// Contents and names of the first pages are those of before, where a sibling commits and catches up while the next one
/// is on its way.
#[test]
fn a_listing_that_spans_a_siblings_catch_up_shows_nobodys_edit() {
    let servers = servers();
    for (server, pages) in
        servers.iter().chain([&Server::in_memory()]).flat_map(|server| (0..4).map(move |n| (server, n)))
    {
        let what = format!("page {pages} on {}", server.name());
        let pager = Front::before(&server.endpoint);
        // MinIO checks signatures; but where it goes on is written in its tokens.
        let fault = if server.kind == Kind::MinIo { Fault::list_in_pages(4) } else { Fault::Ask("max-keys=4") };
        pager.on(any().op("ListObjectsV2"), fault);
        let front = Front::before(&pager.endpoint);
        let story = Story::behind(&front, server);
        let (reader, sibling) = (pulled(&story, "reader"), pulled(&story, "sibling"));
        for n in 0..12 {
            reader.file(&format!("{n:02}.txt"), format!("{n} first"));
        }
        current(&reader);
        sibling.pull().exits(0);
        let held = front.hold(any().op("ListObjectsV2").after(pages).once());
        let running = if pages % 2 == 0 { reader.clone() } else { story.directory("fresh") }.start(&["pull"]);
        held.reached();
        for n in (0..12).step_by(2) {
            sibling.file(&format!("{n:02}.txt"), format!("{n} second"));
        }
        sibling.remove("01.txt").remove("11.txt").file("00b.txt", "new").file("11b.txt", "new");
        current(&sibling);
        held.release();
        running.ends().exits(0);
        if pages % 2 == 0 {
            assert_eq!(texts(reader.tree()), texts(sibling.tree()), "{what}");
            reader.pull().exits(0);
            current(&reader);
        }
        all_is_as_in(&sibling, &story, &what);
    }
}

#[test]
fn what_an_import_leaves_in_the_bucket_is_there_after_two_checkpoints() {
    for server in servers() {
        let story = Story::on(&server);
        let left = [".env", "dist/x", "fd", "notes.log", "fd/x"];
        for key in left.iter().chain(&["kept.txt", "gone.txt"]) {
            story.object(key, format!("{key} from outside"));
        }
        let here = story.directory("here");
        let ended = here.pull();
        assert!([0, 3].contains(&ended.code()), "{}", ended.stderr);
        here.file("kept.txt", "1").remove("gone.txt");
        current(&here);
        here.file("kept.txt", "2").file("new.txt", "2");
        current(&here);
        for key in left {
            assert_eq!(story.object_text(key), format!("{key} from outside"), "on {}", server.name());
        }
        assert_eq!((story.object_text("kept.txt").as_str(), story.has_object("gone.txt")), ("2", false));
        // And after one by a container that came later.
        let next = story.directory("next");
        next.pull();
        next.file("new.txt", "3");
        current(&next);
        for key in left {
            assert_eq!(story.object_text(key), format!("{key} from outside"), "on {}", server.name());
        }
    }
}

#[test]
fn a_first_live_head_that_meets_a_plain_commit_takes_it_in() {
    for server in servers() {
        for plain_first in [true, false] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            for name in ["both.txt", "plain.txt", "live.txt", "gone by plain.txt", "gone by live.txt", ".env"] {
                story.object(name, "0");
            }
            let (live, plain) = (pulled(&story, "live"), pulled(&story, "plain"));
            live.file("both.txt", "live").file("live.txt", "live").file("new live.txt", "live");
            live.remove("gone by live.txt");
            plain.file("both.txt", "plain").file("plain.txt", "plain").file("new plain.txt", "plain");
            plain.remove("gone by plain.txt");
            let held = front.hold(any().op("PutObject").class(Class::Head).once());
            let slow = if plain_first { live.start(&["commit"]) } else { plain.start_commit() };
            held.reached();
            if plain_first {
                plain.commit().exits(0);
            } else {
                current(&live);
            }
            held.release();
            slow.ends().exits(0);
            let what = format!("on {}, {plain_first}", server.name());
            let next = pulled(&story, "next");
            let copies: Vec<String> = next.paths().into_iter().filter(|path| path.contains(".theirs-")).collect();
            let [copy] = &copies[..] else { panic!("{what}: {copies:?}") };
            let mut both = [next.text("both.txt"), next.text(copy)];
            both.sort();
            assert_eq!(both, ["live", "plain"], "{what}");
            for (name, content) in
                [("live.txt", "live"), ("new live.txt", "live"), ("plain.txt", "plain"), ("new plain.txt", "plain")]
            {
                assert_eq!(next.text(name), content, "{what}");
            }
            assert!(!next.has("gone by live.txt") && !next.has("gone by plain.txt"), "{what}");
            // From here on it is live for both.
            live.pull().exits(0);
            plain.pull().exits(0);
            live.file("after.txt", "live");
            current(&live);
            plain.pull().exits(0);
            assert_eq!(texts(plain.tree()), texts(live.tree()), "{what}");
            assert_eq!(story.object_text(".env"), "0", "{what}");
            let mut files = live.files();
            files.insert(".env".to_owned(), b"0".to_vec());
            assert_eq!(texts(story.live()), texts(files), "{what}");
        }
    }
}

#[test]
fn a_first_live_head_that_meets_a_plain_commit_without_changes_is_what_it_was() {
    for server in servers() {
        for imports_alike in [true, false] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            for name in ["edited.txt", "gone.txt", "same.txt", ".env"] {
                story.object(name, "0");
            }
            let (live, plain) = (pulled(&story, "live"), pulled(&story, "plain"));
            live.file("edited.txt", "live").file("new.txt", "live").remove("gone.txt");
            if !imports_alike {
                // What an outsider put since is in the sibling's import alone.
                story.object("later.txt", "0");
                plain.pull().exits(0);
            }
            let held = front.hold(any().op("PutObject").class(Class::Head).once());
            let slow = live.start(&["commit"]);
            held.reached();
            plain.commit().exits(0);
            held.release();
            slow.ends().exits(0);
            let what = format!("on {}, {imports_alike}", server.name());
            let mut wanted = live.files();
            if !imports_alike {
                wanted.insert("later.txt".to_owned(), b"0".to_vec());
            }
            for name in ["next", "next", "plain", "live"] {
                let directory = story.directory(name);
                directory.pull().exits(0);
                assert_eq!(texts(directory.files()), texts(wanted.clone()), "{name} {what}");
            }
            plain.commit().exits(0);
            current(&live);
            wanted.insert(".env".to_owned(), b"0".to_vec());
            assert_eq!(texts(story.live()), texts(wanted), "{what}");
        }
    }
}

#[test]
fn a_copy_that_was_deleted_does_not_come_back() {
    for server in servers() {
        let story = Story::on(&server);
        story.object("both.txt", "0");
        let (one, other) = (pulled(&story, "one"), pulled(&story, "other"));
        current(&one);
        one.file("both.txt", "one");
        other.file("both.txt", "other");
        current(&one);
        let copy = receipt(&other)["conflicts"][0]["copy"].as_str().unwrap().to_owned();
        other.pull().exits(0);
        assert_eq!((other.text("both.txt").as_str(), other.text(&copy).as_str()), ("other", "one"));
        other.remove(&copy);
        current(&other);
        for directory in [&one, &other, &one, &other] {
            directory.pull().exits(0);
            assert_eq!(directory.paths(), ["both.txt"], "on {}", server.name());
            current(directory);
        }
        all_is_as_in(&one, &story, server.name());
    }
}

#[test]
fn six_edits_after_everything_was_deleted_outside_are_taken_in_and_nothing_else_is_lost() {
    for server in servers() {
        let story = Story::on(&server);
        let here = pulled(&story, "here");
        for n in 0..20 {
            here.file(&format!("{n:02}.txt"), format!("{n}"));
        }
        current(&here);
        for key in story.objects() {
            story.no_object(&key);
        }
        for n in 0..6 {
            story.object(&format!("{n:02}.txt"), format!("{n} from outside"));
        }
        let (fresh, again) = (story.directory("fresh"), story.directory("again"));
        for directory in [&fresh, &fresh, &here, &here, &again] {
            directory.pull().exits(0);
            for n in 0..20 {
                let wanted = if n < 6 { format!("{n} from outside") } else { format!("{n}") };
                assert_eq!(directory.text(&format!("{n:02}.txt")), wanted, "on {}", server.name());
            }
            assert_eq!(directory.paths().len(), 20, "on {}: {:?}", server.name(), directory.paths());
        }
        current(&fresh);
        all_is_as_in(&fresh, &story, server.name());
        here.pull().exits(0);
        assert_eq!(texts(here.tree()), texts(fresh.tree()));
    }
}

#[test]
fn six_edits_after_a_deletion_of_everything_that_went_on_during_a_pull_are_taken_in_and_nothing_else_is_lost() {
    for server in servers() {
        for looks in [0, 5, 11] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            let here = pulled(&story, "here");
            let names: Vec<String> = (0..20).map(|n| format!("{n:02}.txt")).collect();
            for name in &names {
                here.file(name, format!("{name} of before"));
            }
            current(&here);
            let what = format!("after {looks} looks on {}", server.name());
            // Most of them, and then the pull looks at the live tree; while it looks closer the rest goes.
            for name in &names[..12] {
                story.no_object(name);
            }
            let held = front.hold(any().op("HeadObject").class(Class::Live).after(looks).once());
            let pulling = here.start(&["pull"]);
            held.reached();
            for name in &names[12..] {
                story.no_object(name);
            }
            held.release();
            pulling.ends().exits(0).says("--accept-deletes");
            assert_eq!(here.paths(), names, "{what}");
            for name in &names[..6] {
                story.object(name, format!("{name} from outside"));
            }
            for _ in 0..2 {
                here.pull().exits(0);
                for (n, name) in names.iter().enumerate() {
                    let wanted = if n < 6 { "from outside" } else { "of before" };
                    assert_eq!(here.text(name), format!("{name} {wanted}"), "{what}");
                }
                assert_eq!(here.paths(), names, "{what}");
            }
            current(&here);
            all_is_as_in(&here, &story, &what);
        }
    }
}

#[test]
fn a_file_that_the_app_writes_again_between_scan_and_upload_is_whole_in_both_places() {
    for server in servers() {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = pulled(&story, "here");
        here.file("a.txt", "1").file("gone.txt", "1").file("large.bin", vec![1; 9 << 20]);
        let held = front.hold(any().op("PutObject").class(Class::Head).once());
        let running = here.start(&["commit"]);
        held.reached();
        here.file("a.txt", "2").remove("gone.txt").file("large.bin", vec![2; 9 << 20]);
        held.release();
        running.ends().exits(0);
        let next = pulled(&story, "next");
        assert_eq!((next.text("a.txt").as_str(), next.text("gone.txt").as_str()), ("1", "1"), "on {}", server.name());
        assert!(next.files()["large.bin"] == vec![1; 9 << 20], "on {}", server.name());
        assert!(story.live() == next.files(), "on {}: {:?}", server.name(), story.objects());
        current(&here);
        next.pull().exits(0);
        assert!(next.files() == here.files() && story.live() == here.files(), "on {}", server.name());
    }
}

#[test]
fn an_app_that_never_stops_writing_has_whole_files_in_every_snapshot() {
    let server = Server::best();
    let story = Story::on(&server);
    let here = pulled(&story, "here");
    let version = |n: u32| format!("{n:08} ").repeat(20_000).into_bytes();
    let stop = Arc::new(AtomicBool::new(false));
    let app = std::thread::spawn({
        let (stop, path) = (Arc::clone(&stop), here.path.clone());
        move || {
            for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                std::fs::write(path.join("new"), version(n)).unwrap();
                std::fs::rename(path.join("new"), path.join("renamed.txt")).unwrap();
                std::fs::write(path.join("in-place.txt"), version(n)).unwrap();
                std::thread::sleep(Duration::from_millis(7));
            }
        }
    });
    until(|| here.has("in-place.txt"));
    for _ in 0..12 {
        let ended = here.stopover(&["commit", "--json"]);
        let told = ended.json();
        let code = ended.code();
        assert!(code == 0 || code == 3 && !told["not_stored"].as_array().unwrap().is_empty(), "{told}");
        let next = story.directory("next");
        next.pull().exits(0);
        for (path, bytes) in next.files().into_iter().filter(|(path, _)| path != "new") {
            // Written in place it is empty for an instant, or some pages long.
            let n = bytes.first_chunk::<8>().map_or(0, |digits| std::str::from_utf8(digits).unwrap().parse().unwrap());
            let whole = version(n);
            let is_begin = path == "in-place.txt" && whole.starts_with(&bytes);
            assert!(bytes == whole || is_begin, "{path}: {} bytes", bytes.len());
        }
    }
    stop.store(true, Ordering::Relaxed);
    app.join().unwrap();
    current(&here);
    all_is_as_in(&here, &story, "at the end");
}
