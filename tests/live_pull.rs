//! Restores of live workspaces, end to end: the snapshot out of its packs, with what others did to the live tree since.
//! A pull writes nothing to the bucket (I9): each one here is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Fault, Front, any},
    live::LiveWorkspace,
    servers::Server,
    story::{Directory, Ended, Story},
};

/// All keys of the bucket with their bytes and versions.
fn everything(story: &Story) -> Vec<(String, Vec<u8>, String)> {
    let keys = story.outsider.keys("").into_iter();
    keys.map(|key| (story.outsider.get(&key).unwrap(), key)).map(|(seen, key)| (key, seen.bytes, seen.etag)).collect()
}

/// A pull that writes nothing to the bucket.
fn pull(story: &Story, directory: &Directory) -> Ended {
    pull_with(story, directory, &[])
}

fn pull_with(story: &Story, directory: &Directory, words: &[&str]) -> Ended {
    let before = everything(story);
    let all: Vec<&str> = ["pull"].iter().chain(words).copied().collect();
    let ended = directory.stopover(&all);
    assert!(everything(story) == before, "a pull wrote to the bucket");
    ended
}

fn large() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..5_u32 << 17).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    bytes[1 << 20..2 << 20].fill(0);
    bytes.extend(vec![0; (1 << 20) + 77]);
    bytes
}

#[test]
fn a_snapshot_comes_out_of_its_packs() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        live.file("a.txt", "one").file("deep/er/file", "two").file("empty", "").file("large.bin", large());
        live.file("zeros.bin", vec![0; 4096]).folder("bare").link("current", "deep/er").mode("a.txt", 0o600);
        live.file("odd \\xff name", "odd").file("same.txt", "one");
        live.commit();
        let here = story.directory("here");
        pull(&story, &here).exits(0).printed("restored snapshot 1 (7 files").printed("every file verified");
        assert_eq!((here.text("a.txt").as_str(), here.mode_of("a.txt")), ("one", 0o600));
        assert_eq!((here.text("deep/er/file").as_str(), here.text("current/file").as_str()), ("two", "two"));
        assert!(std::fs::read(here.path.join("large.bin")).unwrap() == large(), "on {}", server.name());
        assert_eq!(std::fs::read(here.path.join("zeros.bin")).unwrap(), vec![0; 4096]);
        assert_eq!(here.text("empty"), "");
        use std::os::unix::ffi::OsStrExt;
        let odd = here.path.join(std::ffi::OsStr::from_bytes(b"odd \xff name"));
        assert_eq!(std::fs::read(odd).unwrap(), b"odd");
        assert!(here.has("bare"));
        // Once more: nothing is fetched.
        pull(&story, &here).exits(0).printed("restored snapshot 1 (7 files");
        let run = story.directory("run").with("STOPOVER_MODE", "read-only");
        run.run(&["true"]).exits(0);
        assert_eq!(run.paths(), here.paths());
    }
}

#[test]
fn an_overlay_is_read_with_its_base() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        live.file("kept.txt", "1").file("gone.txt", "1").file("d/x", "1").commit();
        live.file("new.txt", "2").file("kept.txt", "22").remove("gone.txt").remove("d").commit_overlay();
        let here = story.directory("here");
        pull(&story, &here).exits(0).printed("restored snapshot 2 (2 files");
        assert_eq!(here.paths(), ["kept.txt", "new.txt"], "on {}", server.name());
        assert_eq!((here.text("kept.txt").as_str(), here.text("new.txt").as_str()), ("22", "2"));
        live.file("kept.txt", "333").commit_overlay();
        pull(&story, &here).exits(0).printed("restored snapshot 3");
        assert_eq!(here.text("kept.txt"), "333");
    }
}

/// A workspace of six files, `a` to `f`, each with its name in it.
fn six<'a>(story: &'a Story) -> LiveWorkspace<'a> {
    let mut live = LiveWorkspace::of(story);
    for name in ["a", "b", "c", "d", "e", "f"] {
        live.file(name, name);
    }
    live.commit();
    live
}

#[test]
fn what_others_did_to_the_live_tree_is_merged() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let _live = six(&story);
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        story.object("a", "edited").object("new/er", "new").no_object("b");
        // In a new directory, and in one that had all of it before.
        for directory in [&story.directory("new"), &here] {
            pull(&story, directory).exits(0).printed("restored snapshot 1 (6 files");
            assert_eq!(directory.paths(), ["a", "c", "d", "e", "f", "new/", "new/er"], "on {}", server.name());
            assert_eq!((directory.text("a").as_str(), directory.text("new/er").as_str()), ("edited", "new"));
            // And again nothing else.
            pull(&story, directory).exits(0);
            assert_eq!((directory.text("a").as_str(), directory.paths().len()), ("edited", 7));
        }
    }
}

#[test]
fn an_edit_of_others_in_the_place_of_a_local_one_is_kept_beside_it() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = six(&story);
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        here.file("a", "here").file("b", "here too").remove("c");
        live.file("a", "in the snapshot").file("d", "also in the snapshot").commit();
        story.object("b", "outside");
        pull(&story, &here).exits(0);
        let paths = here.paths();
        assert_eq!(paths.len(), 7, "on {}: {paths:?}", server.name());
        assert_eq!((here.text("a").as_str(), here.text("b").as_str()), ("here", "here too"));
        assert_eq!((here.text("d").as_str(), here.has("c")), ("also in the snapshot", false));
        for (of, text) in [("a", "in the snapshot"), ("b", "outside")] {
            let copy = paths.iter().find(|path| path.starts_with(&format!("{of}.theirs-"))).expect("a copy");
            assert_eq!(here.text(copy), text);
        }
        pull(&story, &here).exits(0);
        assert_eq!(here.paths(), paths);
    }
}

#[test]
fn an_edit_of_others_in_the_place_of_a_new_snapshots_is_kept_beside_it() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = six(&story);
        // Committed, and not yet in the live tree, where somebody edits what was there before.
        live.file("a", "in the snapshot").commit_only(false);
        story.object("a", "outside");
        let here = story.directory("here");
        pull(&story, &here).exits(0).never_says("damaged");
        let paths = here.paths();
        assert_eq!((here.text("a").as_str(), paths.len()), ("in the snapshot", 7), "on {}: {paths:?}", server.name());
        assert!(paths[1].starts_with("a.theirs-") && here.text(&paths[1]) == "outside");
        pull(&story, &here).exits(0);
        assert_eq!(here.paths(), paths);
    }
}

#[test]
fn when_most_of_the_live_tree_is_gone_nothing_is_deleted() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let _live = six(&story);
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        for name in ["a", "b", "c", "d", "e", "f"] {
            story.no_object(name);
        }
        for directory in [&here, &story.directory("new")] {
            for _ in 0..2 {
                pull(&story, directory).exits(0).says("--accept-deletes").says("6 files missing");
                assert_eq!(directory.paths(), ["a", "b", "c", "d", "e", "f"], "on {}", server.name());
            }
        }
        let noted = std::fs::read_to_string(here.path.join(".stopover/mine")).unwrap();
        let noted: serde_json::Value = serde_json::from_str(&noted).unwrap();
        assert_eq!(noted["refused"].as_array().unwrap().len(), 6);
        // Six edits in their places.
        for name in ["a", "b", "c", "d", "e", "f"] {
            story.object(name, format!("{name} edited"));
        }
        for _ in 0..2 {
            pull(&story, &here).exits(0).never_says("missing");
            assert_eq!(here.paths(), ["a", "b", "c", "d", "e", "f"]);
            assert_eq!(here.text("f"), "f edited");
        }
    }
}

#[test]
fn most_of_the_live_tree_is_deleted_by_others_only_where_that_was_asked_for() {
    let server = Server::here();
    let story = Story::on(&server);
    let _live = six(&story);
    let here = story.directory("here");
    pull(&story, &here).exits(0);
    for name in ["a", "b", "c", "d", "e"] {
        story.no_object(name);
    }
    pull(&story, &here).exits(0).says("--accept-deletes");
    assert_eq!(here.paths().len(), 6);
    pull_with(&story, &here, &["--accept-deletes"]).exits(0).says("5 files deleted");
    assert_eq!(here.paths(), ["f"]);
    pull(&story, &here).exits(0);
    assert_eq!(here.paths(), ["f"], "what was deleted here stays deleted");
}

#[test]
fn a_catch_up_on_its_way_is_nobodys_edit() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = six(&story);
        live.file("a", "22").file("b", "22").file("new", "22").remove("c").commit_only(false);
        live.catch_up_only("a").catch_up_only("new");
        // Of an older one, too: its writer was slow.
        live.file("a", "333").file("d", "333").commit_only(true);
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        assert_eq!(here.paths(), ["a", "b", "d", "e", "f", "new"], "on {}", server.name());
        assert_eq!((here.text("a").as_str(), here.text("d").as_str()), ("333", "333"));
    }
}

#[test]
fn a_siblings_catch_up_while_the_live_tree_is_listed_is_nobodys_edit() {
    for server in Server::all_with(&[]) {
        for (held, what) in [
            (any().op("ListObjectsV2"), "an early head and a late listing"),
            (any().op("GetObject").class(Class::Head).once(), "an early listing and a late head"),
        ] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            let mut live = six(&story);
            let here = story.directory("here");
            let held = front.hold(held);
            let pulling = here.start(&["pull"]);
            held.reached();
            if what.starts_with("an early listing") {
                support::story::until(|| front.count(&any().op("ListObjectsV2")) > 0);
            }
            live.file("a", "22").file("new", "22").remove("c").commit();
            held.release();
            pulling.ends().exits(0).printed("restored snapshot 2");
            assert_eq!(here.paths(), ["a", "b", "d", "e", "f", "new"], "{what} on {}", server.name());
            assert_eq!(here.text("a"), "22");
        }
    }
}

#[test]
fn what_a_pack_does_not_have_comes_from_the_live_tree() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = six(&story);
        live.file("large.bin", large()).commit();
        let key = live.pack_of("a");
        story.no_object(&key);
        let mut bytes = story.outsider.get(&story.key(&live.pack_of("large.bin"))).unwrap().bytes;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        story.object(&live.pack_of("large.bin"), bytes);
        let here = story.directory("here");
        pull(&story, &here).exits(0).says("7 files were taken from the live tree").printed("every file verified");
        assert_eq!(here.text("f"), "f", "on {}", server.name());
        assert!(std::fs::read(here.path.join("large.bin")).unwrap() == large());
        let noted = std::fs::read_to_string(here.path.join(".stopover/mine")).unwrap();
        let noted: serde_json::Value = serde_json::from_str(&noted).unwrap();
        assert_eq!(noted["lost"].as_array().unwrap().len(), 7, "the next commit stores them again");
    }
}

#[test]
fn what_lies_nowhere_fails_the_restore_by_name() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = six(&story);
        // Its container died before the catch-up.
        live.file("g", "gone").commit_only(false);
        story.no_object(&live.pack_of("g"));
        let here = story.directory("here");
        pull(&story, &here).exits(1).says("g could not be restored");
        assert!(!here.path.join(".stopover/ready").exists());
        let run = story.directory("run");
        run.run(&["true"]).exits(80).says("g could not be restored");
        pull_with(&story, &here, &["--allow-partial"]).exits(3).says("not taken: g");
        assert_eq!(here.paths(), ["a", "b", "c", "d", "e", "f"], "on {}", server.name());
        assert!(here.path.join(".stopover/ready").exists());
        // What was not written is nothing that anybody deleted.
        live.file("g", "back").commit();
        pull(&story, &here).exits(0);
        assert_eq!(here.text("g"), "back");
    }
}

#[test]
fn a_snapshot_that_was_swept_while_it_was_read_is_read_anew() {
    for server in Server::all_with(&[]) {
        for class in [Class::Tree, Class::Pack] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            let mut live = six(&story);
            let first = live.head.as_ref().unwrap().snapshot.unwrap();
            let pack = live.pack_of("a");
            let here = story.directory("here");
            let held = front.hold(any().op("GetObject").class(class).once());
            let pulling = here.start(&["pull"]);
            held.reached();
            for name in ["a", "b", "c", "d", "e", "f"] {
                live.file(name, format!("{name}{name}"));
            }
            live.commit();
            story.no_object(&first.tree_key()).no_object(&pack);
            held.release();
            pulling.ends().exits(0).printed("restored snapshot 2");
            assert_eq!((here.text("f").as_str(), here.paths().len()), ("ff", 6), "{class:?} on {}", server.name());
        }
    }
}

#[test]
fn what_comes_from_the_live_tree_is_held_against_the_snapshot() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let live = six(&story);
    story.no_object(&live.pack_of("a"));
    front.on(any().op("GetObject").class(Class::Live), Fault::Flip(0));
    let here = story.directory("here");
    pull(&story, &here).exits(1).says("is gone, and no live object has this content");
    assert!(here.paths().is_empty(), "{:?}", here.paths());
    front.heal();
    pull(&story, &here).exits(0);
    assert_eq!(here.text("c"), "c");
}

#[test]
fn a_tree_that_is_another_one_is_no_tree_of_head() {
    let server = Server::here();
    let story = Story::on(&server);
    let mut live = six(&story);
    let key = |live: &LiveWorkspace<'_>| live.head.as_ref().unwrap().snapshot.unwrap().tree_key();
    let first = story.outsider.get(&story.key(&key(&live))).unwrap().bytes;
    live.file("a", "changed").commit();
    story.object(&key(&live), first);
    let here = story.directory("here");
    pull(&story, &here).exits(1).says("it says of itself that it is 0000000001");
    assert!(here.paths().is_empty());
}

#[test]
fn a_snapshot_without_its_tree_is_said_and_nothing_is_written() {
    let server = Server::here();
    let story = Story::on(&server);
    let live = six(&story);
    story.no_object(&live.head.as_ref().unwrap().snapshot.unwrap().tree_key());
    let here = story.directory("here");
    pull(&story, &here).exits(1).says("head.json names it");
    assert!(here.paths().is_empty());
}

#[test]
fn a_pull_where_nothing_is_new_asks_for_head_and_the_listing_alone() {
    for server in Server::all_with(&["list-etags"]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let _live = six(&story);
        let asked = |before: usize| -> Vec<&str> { front.seen()[before..].iter().map(|request| request.op).collect() };
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        let before = front.seen().len();
        pull(&story, &here).exits(0);
        let mut requests = asked(before);
        requests.sort_unstable();
        assert_eq!(requests, ["GetObject", "ListObjectsV2"], "on {}", server.name());
        let off = here.clone().with("STOPOVER_LIVE_TREE", "off");
        let before = front.seen().len();
        pull(&story, &off).exits(0);
        assert_eq!(asked(before), ["GetObject"]);
        // What is not there any more is a local change, and nothing is fetched for it.
        off.remove("a");
        pull(&story, &off).exits(0);
        assert!(!off.has("a"));
    }
}

#[test]
fn without_a_listing_the_snapshot_is_restored_and_that_is_said() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let _live = six(&story);
        story.object("a", "edited").no_object("b");
        front.on(any().op("ListObjectsV2"), Fault::DENIED);
        let here = story.directory("here");
        pull(&story, &here).exits(0).says("edits of others in the live tree are not looked for");
        assert_eq!((here.text("a").as_str(), here.paths().len()), ("a", 6), "on {}", server.name());
        front.heal();
        let off = story.directory("off").with("STOPOVER_LIVE_TREE", "off");
        let before = front.seen().len();
        pull(&story, &off).exits(0).never_says("edits of others");
        assert_eq!((off.text("a").as_str(), off.paths().len()), ("a", 6));
        assert!(front.seen()[before..].iter().all(|request| request.op == "GetObject"));
    }
}

#[test]
fn a_workspace_made_anew_is_no_newer_state_of_the_old_one() {
    let server = Server::here();
    let story = Story::on(&server);
    let _live = six(&story);
    let here = story.directory("here");
    pull(&story, &here).exits(0);
    let mut anew = LiveWorkspace::of(&story);
    anew.anew(9).file("a", "another").commit();
    pull(&story, &here).exits(4).says("made anew");
    assert_eq!((here.text("a").as_str(), here.paths().len()), ("a", 6));
}

#[test]
fn an_older_head_is_refused_unless_it_was_asked_for() {
    let server = Server::here();
    let story = Story::on(&server);
    let mut live = six(&story);
    let old = story.object_text(".stopover/head.json");
    live.file("a", "22").commit_only(false);
    let here = story.directory("here");
    pull(&story, &here).exits(0);
    story.object(".stopover/head.json", old);
    pull(&story, &here).exits(4).says("--allow-older");
    assert_eq!(here.text("a"), "22");
    pull_with(&story, &here, &["--allow-older"]).exits(0);
    // The later commit is no ancestor: nobody knows which of both is newer.
    let copy = here.paths().into_iter().find(|path| path.starts_with("a.theirs-")).expect("a copy");
    assert_eq!((here.text("a").as_str(), here.text(&copy).as_str()), ("22", "a"));
}

#[test]
fn a_pull_that_was_killed_in_a_directory_that_was_ready_edited_nothing_there() {
    let server = Server::here();
    let story = Story::on(&server);
    let mut live = six(&story);
    let here = story.directory("here");
    pull(&story, &here).exits(0);
    let second = live.file("a", "22").file("b", "22").remove("c").remove("d").commit();
    // Of the second snapshot it had taken in `a`, and that `c` and `d` are gone.
    here.file("a", "22").remove("c").remove("d");
    let note = format!("{{\"snapshot\":\"{second}\",\"empty\":false}}");
    std::fs::write(here.path.join(".stopover/pulling"), note).unwrap();
    live.file("a", "333").file("c", "333").file("d", "d").commit();
    pull(&story, &here).exits(0);
    assert_eq!(here.paths(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(["a", "b", "c", "d"].map(|name| here.text(name)), ["333", "22", "333", "d"]);
}

#[test]
fn where_the_snapshot_of_a_killed_pull_is_gone_nothing_counts_as_deleted() {
    let server = Server::here();
    let story = Story::on(&server);
    let mut live = six(&story);
    let here = story.directory("here");
    pull(&story, &here).exits(0);
    let second = live.remove("c").remove("d").commit();
    here.remove("c").remove("d");
    let note = format!("{{\"snapshot\":\"{second}\",\"empty\":false}}");
    std::fs::write(here.path.join(".stopover/pulling"), note).unwrap();
    live.file("c", "333").file("d", "d").commit();
    story.no_object(&second.tree_key());
    pull(&story, &here).exits(0);
    assert_eq!(here.paths(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(["c", "d"].map(|name| here.text(name)), ["333", "d"]);
}

#[test]
fn keys_that_the_rules_ignore_and_nobody_stored_are_left_in_the_bucket() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        live.file(".gitignore", "*.tmp\n").file("a", "a").file("kept.tmp", "stored before").commit();
        story.object("other.tmp", "x").object(".env", "secret").object("kept.tmp", "edited").object("b", "new");
        let here = story.directory("here");
        pull(&story, &here).exits(0).says("2 objects are ignored");
        assert_eq!(here.paths(), [".gitignore", "a", "b", "kept.tmp"], "on {}", server.name());
        assert_eq!(here.text("kept.tmp"), "edited");
    }
}

#[test]
fn an_edit_that_is_deleted_again_before_it_came_edited_nothing() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let _live = six(&story);
    story.object("a", "edited");
    let here = story.directory("here");
    // It is read once to be known, and then to be written.
    let held = front.hold(any().op("GetObject").key("ws/a").class(Class::Live).after(1));
    let pulling = here.start(&["pull"]);
    held.reached();
    story.no_object("a");
    held.release();
    pulling.ends().exits(0);
    assert_eq!((here.text("a").as_str(), here.paths().len()), ("a", 6));
}

#[test]
fn a_snapshot_that_lies_in_the_state_directory_is_refused_by_name() {
    let server = Server::here();
    let story = Story::on(&server);
    let mut live = six(&story);
    live.file("state/mine", "foreign").commit();
    story.object("state/ready", "foreign, too");
    let here = story.directory("here");
    let state = here.path.join("state").display().to_string();
    let here = here.with("STOPOVER_STATE", &state);
    pull(&story, &here).exits(3).says("state/mine").says("state/ready");
    assert_ne!(here.text("state/mine"), "foreign");
}

#[test]
fn a_live_workspace_is_downloaded_listed_and_compared() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let live = six(&story);
        let id = live.head.as_ref().unwrap().snapshot.unwrap().to_string();
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        here.file("a", "edited").file("new", "n");
        let status = here.stopover(&["status", "--json"]).exits(0).json();
        assert_eq!(status["snapshot"], id);
        assert_eq!(status["changes"].as_array().unwrap().len(), 2, "on {}: {status}", server.name());
        let before = everything(&story);
        let there = story.path("there");
        let name = "ws";
        let store = story.url().trim_end_matches("/ws").to_owned();
        let loader =
            here.clone().with("STOPOVER_WORKSPACE", "").with("STOPOVER_DIR", "").with("STOPOVER_STORE", &store);
        let downloaded = loader.stopover(&["download", name, there.to_str().unwrap()]).exits(0);
        downloaded.printed("restored snapshot 1");
        assert_eq!(std::fs::read_to_string(there.join("f")).unwrap(), "f");
        let listed = loader.stopover(&["list", "--json"]).exits(0).json();
        assert_eq!((&listed["snapshot"], &listed["files"]), (&serde_json::json!(id), &serde_json::json!(6)));
        assert!(everything(&story) == before);
    }
}

#[test]
fn while_a_recent_snapshot_cannot_be_read_nothing_counts_as_deleted_by_others() {
    let server = Server::here();
    let story = Story::on(&server);
    let mut live = six(&story);
    let second = live.file("a", "22").commit_only(false);
    live.file("b", "22").commit_only(false);
    story.no_object("f");
    let new = |name: &str| {
        let directory = story.directory(name);
        (pull(&story, &directory).exits(0), directory.paths())
    };
    let (said, paths) = new("before");
    said.says("1 file deleted from the live tree by others: f");
    assert_eq!(paths, ["a", "b", "c", "d", "e"]);
    story.no_object(&second.tree_key());
    let (said, paths) = new("after");
    said.says("cannot be read");
    assert_eq!(paths, ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_directory_that_imported_the_workspace_takes_in_its_first_snapshots() {
    for live_tree in ["on", "off"] {
        let server = Server::here();
        let story = Story::on(&server);
        story.object("a", "a").object("b", "b").object("c", "c").object("later", "l");
        let here = story.directory("here").with("STOPOVER_LIVE_TREE", live_tree);
        pull(&story, &here).exits(0).printed("imported 4 files");
        here.file("b", "edited here");
        // A sibling's: it came before `later` was there.
        let mut live = LiveWorkspace::of(&story);
        live.file("a", "a").file("b", "b").file("c", "c").commit_only(false);
        live.file("a", "22").file("new", "22").remove("c").commit_only(false);
        pull(&story, &here).exits(0).printed("restored snapshot 2");
        // The sibling had imported `c`, so it is removed; `later` it had not.
        let expected = ["a", "b", "later", "new"];
        assert_eq!(here.paths(), expected, "live tree {live_tree}");
        assert_eq!((here.text("a").as_str(), here.text("b").as_str()), ("22", "edited here"));
    }
}

#[test]
fn what_lies_in_a_directory_that_was_never_ready_moves_aside_where_it_differs() {
    let server = Server::here();
    let story = Story::on(&server);
    let _live = six(&story);
    let here = story.directory("here");
    here.file("a", "of the image").file("b", "b").file("image", "of the image");
    pull(&story, &here).exits(0).says("a differs from what the workspace has");
    assert_eq!((here.text("a").as_str(), here.paths().len()), ("a", 7));
    let aside = std::fs::read_dir(here.path.join(".stopover/aside")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(aside.path().join("a")).unwrap(), "of the image");
    let there = story.directory("there");
    there.file("a", "of the image").file("image", "of the image");
    pull_with(&story, &there, &["--delete"]).exits(0);
    assert_eq!(there.paths(), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn others_put_directories_where_files_were_and_files_where_directories_were() {
    for server in Server::all_with(&["file-and-folder"]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        live.file("file", "f").file("dir/x", "x").file("3", "3").file("4", "4").commit();
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        story.no_object("file").object("file/below", "now a directory");
        story.no_object("dir/x").object("dir", "now a file");
        for directory in [&story.directory("new"), &here] {
            pull(&story, directory).exits(0);
            let paths = directory.paths();
            assert_eq!(directory.text("file/below"), "now a directory", "on {}: {paths:?}", server.name());
            let file =
                paths.iter().find(|path| directory.path.join(path).is_file() && directory.text(path) == "now a file");
            assert!(file.is_some(), "on {}: {paths:?}", server.name());
            assert!(directory.has("3") && directory.has("4") && !directory.has("dir/x"));
        }
    }
}

#[test]
fn an_edit_that_is_replaced_while_it_is_fetched_is_the_content_of_no_other() {
    for (content, then) in [("", Some("code")), ("same", Some("code")), ("", None), ("same", None)] {
        let server = Server::here();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let _live = six(&story);
        for key in ["g/twin", "h/twin", "z/twin"] {
            story.object(key, content);
        }
        let here = story.directory("here");
        let held = front.hold(any().op("GetObject").key("/twin"));
        let running = here.start(&["pull"]);
        held.reached();
        match then {
            Some(then) => story.object("z/twin", then),
            None => story.no_object("z/twin"),
        };
        held.release();
        running.ends().exits(0);
        for path in ["g/twin", "h/twin"] {
            assert!(here.has(path) && here.text(path) == content, "{content:?}, {then:?}: {:?}", here.tree());
        }
        match then {
            Some(then) => assert_eq!(here.text("z/twin"), then),
            None => assert!(!here.has("z/twin")),
        }
        here.checkpoint().exits(0);
        let next = story.directory("next");
        pull(&story, &next).exits(0);
        assert_eq!(next.files(), here.files(), "{content:?}, {then:?}");
    }
}

#[test]
fn what_a_sibling_deletes_while_a_pull_asks_for_it_by_name_is_nobodys_outside_delete() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let (story, beside) = (Story::behind(&front, &server), Front::before(&server.endpoint));
    let reader = story.directory("reader");
    reader.pull().exits(0);
    reader.file("kept", "1").checkpoint().exits(0);
    let sibling = story.directory("sibling").with("AWS_ENDPOINT_URL", &beside.endpoint);
    sibling.pull().exits(0);
    sibling.file("lock", "").checkpoint().exits(0);
    // The listing is older than that; head and the mirror are not.
    front.on(any().op("ListObjectsV2"), Fault::list_without("/lock"));
    let held = front.hold(any().op("HeadObject").key("/lock").once());
    let running = reader.start(&["pull"]);
    held.reached();
    sibling.remove("lock").checkpoint().exits(0);
    held.release();
    running.ends().exits(0);
    front.heal();
    assert_eq!(reader.paths(), ["kept"]);
    // The reader has it from nobody: that it is not here deletes nothing.
    sibling.file("lock", "").checkpoint().exits(0);
    reader.file("mine", "1").checkpoint().exits(0);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.paths(), ["kept", "lock", "mine"]);
}

#[test]
fn a_listing_with_gaps_deletes_nothing() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let _live = six(&story);
        front.on(any().op("ListObjectsV2"), Fault::list_without("ws/a"));
        for name in ["here", "here", "there"] {
            let here = story.directory(name);
            pull(&story, &here).exits(0);
            assert_eq!(here.paths().len(), 6, "on {}", server.name());
        }
        front.heal();
        // A HEAD that is refused is no 404.
        story.no_object("a");
        front.on(any().op("HeadObject").class(Class::Live), Fault::DENIED);
        let there = story.directory("there");
        pull(&story, &there).exits(1);
        assert!(there.has("a"));
    }
}

#[test]
fn what_a_killed_restore_of_a_snapshot_left_is_no_ones_new_file() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let mut live = LiveWorkspace::of(&story);
    live.file("a", "a").file("gone", "gone").commit();
    live.file("b", "b").commit();
    let here = story.directory("here");
    let held = front.hold(any().op("GetObject").key(&live.pack_of("b")));
    let pulling = here.start(&["pull"]);
    held.reached();
    support::story::until(|| here.has("gone"));
    pulling.kill();
    pulling.ends();
    front.heal();
    here.commit().exits(1).says("did not finish");
    live.file("a", "22").remove("gone").commit();
    pull(&story, &here).exits(0).printed("restored snapshot 3 (2 files");
    assert_eq!((here.paths(), here.text("a")), (vec!["a".to_owned(), "b".to_owned()], "22".to_owned()));
}

#[test]
fn pulls_that_are_killed_one_after_the_other_edit_nothing_in_a_directory_that_was_ready() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let mut live = six(&story);
    let here = story.directory("here");
    pull(&story, &here).exits(0);
    for (a, b) in [("22", "22"), ("333", "333")] {
        // Two packs: `a` comes, `b` does not.
        live.file("a", a).remove("c").commit();
        live.file("b", b).commit();
        let held = front.hold(any().op("GetObject").key(&live.pack_of("b")));
        let pulling = here.start(&["pull"]);
        held.reached();
        support::story::until(|| here.text("a") == a);
        pulling.kill();
        pulling.ends();
        front.heal();
        here.commit().exits(1).says("did not finish");
    }
    here.remove("d").file("e", "edited here");
    live.file("a", "4444").file("c", "back").commit();
    pull(&story, &here).exits(0);
    assert_eq!(here.paths(), ["a", "b", "c", "e", "f"]);
    let texts = ["a", "b", "c", "e"].map(|name| here.text(name));
    assert_eq!(texts, ["4444", "333", "back", "edited here"]);
}

#[test]
fn a_damaged_pack_is_no_loss_where_the_live_tree_is_not_listed() {
    let server = Server::here();
    let story = Story::on(&server);
    let live = six(&story);
    story.no_object(&live.pack_of("a"));
    let here = story.directory("here").with("STOPOVER_LIVE_TREE", "off");
    pull(&story, &here).exits(0).says("6 files were taken from the live tree");
    assert_eq!(here.paths().len(), 6);
    // Nothing is taken for the content that is not.
    for name in ["a", "b", "c", "d", "e", "f"] {
        story.object(name, "?");
    }
    let there = story.directory("there").with("STOPOVER_LIVE_TREE", "off");
    pull(&story, &there).exits(1).says("could not be restored");
    assert!(!there.has("a"));
}

/// A mirror that this binary cannot read, in two ways.
fn unreadable(story: &Story, live: &LiveWorkspace<'_>) -> [(&'static str, Vec<u8>); 2] {
    let key = live.head.as_ref().unwrap().snapshot.unwrap().mirror_key();
    let whole = story.outsider.get(&story.key(&key)).unwrap().bytes;
    let lines = String::from_utf8(zstd::decode_all(&whole[..]).unwrap()).unwrap();
    let newer = lines.replacen("\"format\":1", "\"format\":999", 1);
    assert_ne!(lines, newer);
    [("damaged", whole[..whole.len() / 2].to_vec()), ("newer", zstd::encode_all(newer.as_bytes(), 1).unwrap())]
}

#[test]
fn a_mirror_that_cannot_be_read_costs_comparisons_and_no_restore() {
    for server in Server::all_with(&[]) {
        for (n, what) in ["damaged", "newer"].into_iter().enumerate() {
            let story = Story::on(&server);
            let mut live = six(&story);
            live.file("a", "22").commit();
            let (_, bytes) = unreadable(&story, &live)[n].clone();
            let key = live.head.as_ref().unwrap().snapshot.unwrap().mirror_key();
            story.object(&key, bytes).object("b", "from outside");
            let here = story.directory("here");
            pull(&story, &here).exits(0).says("mirror").printed("restored snapshot 2");
            assert_eq!((here.text("a").as_str(), here.text("c").as_str()), ("22", "c"), "{what} on {}", server.name());
            assert_eq!((here.text("b").as_str(), here.paths().len()), ("from outside", 6), "{what}");
            // Nothing has changed but what others did, and then nothing at all.
            here.checkpoint().exits(0);
            here.checkpoint().exits(0);
            let next = story.directory("next");
            pull(&story, &next).exits(0).never_says("cannot be read").never_says("edits of others");
            assert_eq!(next.files(), here.files(), "{what} on {}", server.name());
        }
    }
}

#[test]
fn a_mirror_that_cannot_be_read_is_written_anew_though_nothing_changed() {
    let server = Server::here();
    for n in 0..2 {
        let story = Story::on(&server);
        let live = six(&story);
        let (what, bytes) = unreadable(&story, &live)[n].clone();
        story.object(&live.head.as_ref().unwrap().snapshot.unwrap().mirror_key(), bytes);
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        here.checkpoint().exits(0);
        pull(&story, &story.directory("next")).exits(0).never_says("cannot be read");
        assert_eq!(story.live(), here.files(), "{what}");
    }
}

#[test]
fn deletes_of_others_that_go_on_between_two_pulls_are_refused_all_together() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        let names: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
        for name in &names {
            live.file(name, name.as_str());
        }
        live.commit();
        let here = story.directory("here");
        pull(&story, &here).exits(0);
        for name in &names[..12] {
            story.no_object(name);
        }
        pull(&story, &here).exits(0).says("12 files missing");
        for name in &names[12..] {
            story.no_object(name);
        }
        for _ in 0..2 {
            pull(&story, &here).exits(0).says("20 files missing").never_says("deleted from the live tree by others");
            assert_eq!(here.paths(), names, "on {}", server.name());
        }
        pull_with(&story, &here, &["--accept-deletes"]).exits(0).says("20 files deleted");
        assert!(here.paths().is_empty());
    }
}

#[test]
fn a_siblings_catch_up_while_objects_are_read_is_nobodys_edit() {
    for server in Server::all_with(&[]) {
        for is_again in [false, true] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            let mut live = six(&story);
            let here = if is_again { story.directory("here") } else { story.directory("fresh") };
            if is_again {
                pull(&story, &here).exits(0);
            }
            // It came so far.
            live.file("a", "22").commit_only(false);
            live.catch_up_only("a");
            let held = front.hold(any().op("GetObject").key("ws/a").class(Class::Live).once());
            let pulling = here.start(&["pull"]);
            held.reached();
            live.file("a", "333").commit();
            held.release();
            pulling.ends().exits(0).printed("restored snapshot 3");
            assert_eq!(here.paths(), ["a", "b", "c", "d", "e", "f"], "on {}", server.name());
            assert_eq!(here.text("a"), "333");
        }
    }
}

#[test]
fn before_the_first_mirror_objects_are_known_by_the_versions_of_the_plain_snapshot() {
    for server in Server::all_with(&["list-etags"]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        for name in ["a", "b", "c", "d"] {
            story.object(name, format!("{name} of before"));
        }
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a", "plain").commit().exits(0);
        // The first snapshot's catch-up comes to nothing.
        let held = front.hold(any().op("PutObject").class(Class::Mirror));
        let running = here.start(&["commit"]);
        held.reached();
        running.kill();
        running.ends();
        held.abandon();
        front.heal();
        assert!(story.object_text(".stopover/head.json").contains("\"live\""));
        front.forget();
        let next = story.directory("next");
        pull(&story, &next).exits(0).never_says("edits of others");
        assert_eq!(next.files(), here.files(), "on {}", server.name());
        let read = front.count(&any().op("GetObject").class(Class::Live));
        assert_eq!(read, 0, "on {}: nothing has to be read to be known", server.name());
    }
}
