//! Live workspaces where one thing meets another: a kill between the first snapshot and its live tree, a state directory
//! that goes while a container stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;

use support::{
    checker::Checker,
    front::{Class, Front, any},
    live::LiveWorkspace,
    servers::Server,
    story::{Directory, Story},
};

#[test]
fn what_the_first_snapshot_deleted_and_changed_stays_so_where_it_was_killed_before_the_live_tree_followed() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("gone.txt", "gone").object("changed.txt", "before").object("kept.txt", "kept");
        let here = story.directory("here");
        here.pull().exits(0);
        here.remove("gone.txt").file("changed.txt", "after");
        let held = front.hold(any().op("PutObject").class(Class::Live));
        let checkpoint = here.start(&["commit"]);
        held.reached();
        checkpoint.kill();
        checkpoint.ends();
        held.abandon();
        front.settles();
        front.heal();
        let there = story.directory("there");
        there.pull().exits(0);
        assert_eq!(there.paths(), ["changed.txt", "kept.txt"], "on {}", server.name());
        assert_eq!(there.text("changed.txt"), "after");
        // The next commit goes on with the live tree.
        here.file("more.txt", "more").checkpoint().exits(0);
        let live = ["changed.txt", "kept.txt", "more.txt"];
        let objects = story.objects().into_iter().filter(|key| !key.contains(".stopover")).collect::<Vec<_>>();
        assert_eq!((objects, story.object_text("changed.txt")), (live.map(str::to_owned).into(), "after".into()));
    }
}

#[test]
fn a_state_directory_that_goes_while_the_app_shuts_down_costs_no_file() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("old.txt", "old");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("seed", "seed").checkpoint().exits(0);
        // The early commit is at work when the app begins to clean up, and nobody else's; how long it all takes is not
        // the point.
        let here = here.with("STOPOVER_STOP_TIMEOUT", "100s").with("STOPOVER_CHECKPOINT", "off");
        let script = "trap 'while ! [ -e ../go ]; do sleep 0.01; done; rm -rf .stopover; echo last >last.txt; exit 0' \
                      TERM; echo early >early.txt; echo up; while :; do sleep 0.01; done";
        let held = front.hold(any().op("PutObject").class(Class::Pack));
        let container = here.start_run(&["sh", "-c", script]);
        container.prints("up");
        container.term();
        held.reached();
        std::fs::write(here.path.parent().unwrap().join("go"), "").unwrap();
        support::story::until(|| here.has("last.txt"));
        held.release();
        front.heal();
        let ended = container.ends();
        let there = story.directory("there");
        there.pull().exits(0);
        assert_eq!(there.paths(), ["early.txt", "last.txt", "old.txt", "seed"], "on {}", server.name());
        ended.exits(0);
    }
}

#[test]
fn a_container_has_measured_its_server_before_it_stops() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let first = story.directory("first");
        first.pull().exits(0);
        first.file("seed", "seed").checkpoint().exits(0);
        let here = story.directory("here").with("STOPOVER_STOP_TIMEOUT", "60s");
        let script = "trap 'echo last >last.txt; exit 0' TERM; echo up; while :; do sleep 0.01; done";
        let container = here.start_run(&["sh", "-c", script]);
        container.prints("up");
        container.logs("nothing to commit");
        let before = front.count(&any().class(Class::Own));
        container.term();
        container.ends().exits(0);
        assert_eq!(front.count(&any().class(Class::Own)), before, "on {}: {:?}", server.name(), front.seen());
        assert_eq!(story.object_text("last.txt"), "last\n");
    }
}

#[test]
fn a_folder_that_consoles_marked_stays_removed() {
    for server in Server::all_with(&["folder-markers"]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("d/x", "x").file("kept", "kept").checkpoint().exits(0);
        story.object("d/", "");
        let there = story.directory("there");
        there.pull().exits(0);
        // What the directory keeps of the mirror is a cache.
        std::fs::remove_file(there.path.join(".stopover/cache.mirror")).unwrap();
        there.checkpoint().exits(0);
        std::fs::remove_dir_all(there.path.join("d")).unwrap();
        there.checkpoint().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["kept"], "on {}", server.name());
    }
}

#[test]
fn what_lies_in_no_pack_any_more_is_packed_again_though_others_committed_in_between() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "content of a").checkpoint().exits(0);
        let keys = story.outsider.keys("").into_iter();
        let pack = keys.filter(|key| key.contains(".stopover/packs/")).collect::<Vec<_>>();
        assert_eq!(pack.len(), 1);
        story.outsider.delete(&pack[0]);
        let there = story.directory("there");
        there.pull().exits(0).says("packs are damaged");
        here.file("b.txt", "b").checkpoint().exits(0);
        there.pull().exits(0);
        there.checkpoint().exits(0);
        let next = story.directory("next");
        next.pull().exits(0).never_says("packs are damaged");
        assert_eq!((next.text("a.txt"), next.text("b.txt")), ("content of a".into(), "b".into()));
    }
}

/// Two versions of a file of 10 MiB that share all pieces but one.
fn versions() -> [Vec<u8>; 2] {
    let first: Vec<u8> = (0..10_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut second = first.clone();
    second[5 << 20..(5 << 20) + 4].copy_from_slice(b"here");
    [first, second]
}

fn delete_all(story: &Story, what: &str) {
    let keys = story.outsider.keys("").into_iter().filter(|key| key.contains(what)).collect::<Vec<_>>();
    assert!(!keys.is_empty(), "{what}");
    keys.iter().for_each(|key| story.outsider.delete(key));
}

#[test]
fn whatever_shares_a_pack_with_what_was_lost_is_packed_again_as_far_as_it_is_here() {
    let [first, second] = versions();
    let server = Server::here();
    for is_new in [true, false] {
        let what = format!("{is_new}");
        let story = Story::on(&server);
        let directory = |name| story.directory(name).with("STOPOVER_LIVE_TREE", "off");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.bin", &first).file("small.txt", "small").checkpoint().exits(0);
        let there = directory("there");
        if !is_new {
            there.pull().exits(0);
        }
        here.file("b.bin", &second).checkpoint().exits(0);
        // One of both versions is left in the live tree for a new directory, or on the disk of an old one.
        delete_all(&story, ".stopover/packs/");
        story.no_object("b.bin");
        there.stopover(&["pull", "--allow-partial"]).exits(3).says("b.bin could not be restored");
        assert!(std::fs::read(there.path.join("a.bin")).unwrap() == first, "{what}");
        there.checkpoint().exits(0);
        delete_all(&story, "/ws/a.bin");
        story.no_object("small.txt");
        let next = directory("next");
        next.pull().exits(1).says("b.bin could not be restored").never_says("a.bin could");
        next.stopover(&["pull", "--allow-partial"]).exits(3).says("b.bin could not be restored");
        assert!(std::fs::read(next.path.join("a.bin")).unwrap() == first, "{what}");
        assert_eq!((next.text("small.txt").as_str(), next.has("b.bin")), ("small", false), "{what}");
        // Once is enough.
        let keys = story.outsider.keys("");
        there.checkpoint().exits(0);
        assert_eq!(story.outsider.keys(""), keys, "{what}");
        // And what is lost comes back with whoever has it.
        there.file("b.bin", &second).checkpoint().exits(0);
        let last = directory("last");
        last.pull().exits(0);
        assert!(std::fs::read(last.path.join("b.bin")).unwrap() == second, "{what}");
    }
}

#[test]
fn a_checkpoint_whose_last_known_snapshot_was_swept_plans_against_the_present_one() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let mut live = LiveWorkspace::of(&story);
        let first = live.file("a.txt", "a").commit();
        let here = story.directory("here");
        here.pull().exits(0);
        let second = live.file("b.txt", "b").commit();
        story.no_object(&first.tree_key());
        // What the directory keeps of the tree is a cache; that of head is an hour old at most.
        let forget = || {
            for copy in ["cache.tree", "cache.tree-base"] {
                drop(std::fs::remove_file(here.path.join(".stopover").join(copy)));
            }
        };
        forget();
        here.file("c.txt", "c").checkpoint().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["a.txt", "b.txt", "c.txt"], "on {}", server.name());
        // Where head names it still, it is damage.
        forget();
        story.no_object(&second.tree_key());
        let present: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
        story.no_object(&format!(".stopover/trees/{}", present["snapshot"].as_str().unwrap()));
        here.file("c.txt", "d").checkpoint().exits(1).says("head.json names it");
    }
}

/// A workspace with files that others then edit: one that is to be changed here, one to be deleted, one to be left, and
/// new ones to be deleted and moved.
fn edited_by_others(story: &Story) -> Directory {
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("changed.txt", "0").file("deleted.txt", "0").file("left.txt", "0").checkpoint().exits(0);
    story.object("changed.txt", "outside 1").object("deleted.txt", "outside 2").object("left.txt", "outside 3");
    story.object("new/deleted.txt", "outside 4").object("moved.txt", "outside 5");
    here
}

/// What the app makes of them.
fn edit_over(directory: &Directory) {
    directory.file("changed.txt", "here").remove("deleted.txt").remove("new").remove("moved.txt");
    directory.file("elsewhere.txt", "outside 5");
}

fn edited_over() -> BTreeMap<String, Vec<u8>> {
    let files = [("changed.txt", "here"), ("elsewhere.txt", "outside 5"), ("left.txt", "outside 3")];
    files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into()
}

/// Everything that any snapshot holds.
fn in_history(story: &Story) -> Vec<String> {
    let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
    let mut texts = Vec::new();
    for (n, entry) in head["history"].as_array().unwrap().iter().enumerate() {
        let place = story.path(&format!("of the past {n}"));
        let id = entry["snapshot"].as_str().unwrap();
        story.directory("here").stopover(&["restore", id, "--to", place.to_str().unwrap()]).exits(0);
        let past = story.directory(&format!("of the past {n}"));
        texts.extend(past.files().into_values().map(|bytes| String::from_utf8(bytes).unwrap()));
    }
    texts
}

#[test]
fn what_others_wrote_and_a_pull_took_in_stays_as_the_app_left_it_and_is_in_history() {
    let all = [(true, false, false), (false, true, false), (true, true, true)];
    for (n, server) in Server::all_with(&[]).into_iter().enumerate() {
        for (is_new, pulls_again, is_last) in if n == 0 { all.to_vec() } else { vec![all[n % all.len()]] } {
            let what = format!("on {}, {is_new}, {pulls_again}, {is_last}", server.name());
            let story = Story::on(&server);
            let here = edited_by_others(&story);
            let there = if is_new { story.directory("there") } else { here };
            there.pull().exits(0);
            edit_over(&there);
            if pulls_again {
                there.pull().exits(0);
                assert_eq!(there.files(), edited_over(), "{what}");
            }
            let ended = if is_last { there.commit() } else { there.checkpoint() };
            ended.exits(0).never_says("changed by others");
            let next = story.directory("next");
            next.pull().exits(0).never_says("edits of others");
            assert_eq!(next.files(), edited_over(), "{what}");
            assert_eq!(next.paths(), ["changed.txt", "elsewhere.txt", "left.txt"], "{what}");
            assert_eq!(story.live(), edited_over(), "{what}");
            Checker::new(&story.outsider, story.key("")).bucket().unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            let texts = in_history(&story);
            for n in 1..=5 {
                assert!(texts.contains(&format!("outside {n}")), "{what}: {n} is not in {texts:?}");
            }
            // And that was all: nothing is done twice.
            let head = story.object_text(".stopover/head.json");
            there.checkpoint().exits(0);
            there.pull().exits(0);
            assert_eq!((story.object_text(".stopover/head.json"), there.files()), (head, edited_over()), "{what}");
        }
    }
}

#[test]
fn what_others_wrote_after_a_pull_took_in_what_was_there_is_kept() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = edited_by_others(&story);
        here.pull().exits(0);
        edit_over(&here);
        story.object("changed.txt", "newer 1").object("deleted.txt", "newer 2").object("new/deleted.txt", "newer 4");
        here.checkpoint().exits(0);
        for (path, text) in [("changed.txt", "newer 1"), ("deleted.txt", "newer 2"), ("new/deleted.txt", "newer 4")] {
            assert_eq!(story.object_text(path), text, "on {}", server.name());
        }
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.text("deleted.txt"), next.text("new/deleted.txt")), ("newer 2".into(), "newer 4".into()));
        let mut of_changed: Vec<String> =
            next.paths().iter().filter(|path| path.starts_with("changed.txt")).map(|path| next.text(path)).collect();
        of_changed.sort();
        assert_eq!((of_changed, next.has("moved.txt")), (vec!["here".into(), "newer 1".into()], false));
    }
}

#[test]
fn where_the_notes_of_what_a_pull_took_in_are_gone_nothing_is_lost() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = edited_by_others(&story);
        here.pull().exits(0);
        edit_over(&here);
        let place = here.path.join(".stopover/mine");
        let mut mine: serde_json::Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
        assert_eq!(mine["taken_in"].as_array().unwrap().len(), 5, "{mine}");
        mine.as_object_mut().unwrap().remove("taken_in");
        std::fs::write(&place, mine.to_string()).unwrap();
        here.checkpoint().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        let texts: Vec<Vec<u8>> = next.files().into_values().collect();
        for text in ["here", "outside 1", "outside 2", "outside 3", "outside 4", "outside 5"] {
            assert!(texts.contains(&text.as_bytes().to_vec()), "on {}: {text}", server.name());
        }
    }
}

#[test]
fn a_commit_that_is_killed_when_it_has_stored_what_others_wrote_loses_nothing() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = edited_by_others(&story);
        here.pull().exits(0);
        edit_over(&here);
        let held = front.hold(any().op("PutObject").class(Class::Head).after(1).once());
        let committing = here.start(&["commit"]);
        held.reached();
        committing.kill();
        committing.ends();
        held.abandon();
        front.settles();
        front.heal();
        let between = story.directory("between");
        between.pull().exits(0);
        assert_eq!(between.text("deleted.txt"), "outside 2", "on {}", server.name());
        here.checkpoint().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.files(), story.live()), (edited_over(), edited_over()), "on {}", server.name());
    }
}

#[test]
fn an_edit_that_two_containers_took_in_is_deleted_by_one_of_them_when_the_other_has_stored_it() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = edited_by_others(&story);
        let there = story.directory("there");
        for directory in [&here, &there] {
            directory.pull().exits(0);
        }
        here.checkpoint().exits(0);
        edit_over(&there);
        there.checkpoint().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.files(), story.live()), (edited_over(), edited_over()), "on {}", server.name());
        assert_eq!(next.paths().len(), 3);
    }
}
