//! What a directory knows of its past: which heads descend from it, whether the workspace is still the one it restored,
//! also after its notes were lost, and that losing a race for a first commit is no more than that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Running, Story, until},
};

const WAIT: &str = "trap 'echo late > late.txt; exit 0' TERM; echo runs; while :; do sleep 0.02; done";

/// A container that does nothing until it is stopped.
fn container(story: &Story, name: &str) -> (Directory, Running) {
    let directory = story.directory(name).with("STOPOVER_CHECKPOINT", "off").with("STOPOVER_STOP_TIMEOUT", "60s");
    let running = directory.start_run(&["sh", "-c", WAIT]);
    running.prints("runs");
    (directory, running)
}

/// `git clean -fdx`.
fn lose_notes(directory: &Directory) {
    let state = directory.path.join(".stopover");
    until(|| std::fs::remove_dir_all(&state).is_ok());
}

fn live(story: &Story) {
    let first = story.directory("first");
    first.pull().exits(0);
    first.file("a.txt", "1").file("b/c.txt", "1").checkpoint().exits(0);
}

fn delete(story: &Story) {
    story.directory("operator").stopover(&["delete", &story.url(), "--yes"]).exits(0);
}

/// What the next container finds.
fn next(story: &Story) -> Directory {
    let next = story.directory("next");
    next.pull().exits(0);
    next
}

fn mine(directory: &Directory) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(directory.path.join(".stopover/mine")).unwrap()).unwrap()
}

/// The lineage forgets its oldest, as after hundreds of commits, and the history as after a prune.
fn forget_oldest(story: &Story) {
    let mut head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
    for list in ["lineage", "history"] {
        head[list].as_array_mut().unwrap().remove(0);
    }
    story.object(".stopover/head.json", head.to_string());
}

#[test]
fn what_was_seen_proves_the_base_however_far_the_lineage_has_gone() {
    let story = Story::on(&Server::best());
    let (idle, busy) = (story.directory("idle"), story.directory("busy"));
    idle.pull().exits(0);
    idle.file("deleted.txt", "1").file("edited.txt", "1").file("n.txt", "0").checkpoint().exits(0);
    busy.pull().exits(0);
    for n in 1..4 {
        busy.file("n.txt", n.to_string()).checkpoint().exits(0);
        // It has nothing to store, and reads head.
        idle.commit().exits(0);
        assert_ne!(mine(&idle)["seen"], mine(&idle)["snapshot"]);
        forget_oldest(&story);
    }
    // Each step was proven by the one before; nothing that head still tells of leads to the first one directly.
    busy.file("edited.txt", "2").checkpoint().exits(0);
    idle.remove("deleted.txt").checkpoint().exits(0);
    let next = next(&story);
    assert_eq!(next.paths(), ["edited.txt", "n.txt"]);
    assert_eq!((next.text("edited.txt").as_str(), next.text("n.txt").as_str()), ("2", "3"));
}

#[test]
fn a_look_at_head_notes_what_it_saw_and_stores_nothing() {
    let server = Server::best();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    live(&story);
    let here = story.directory("here");
    here.pull().exits(0);
    story.directory("first").file("a.txt", "2").checkpoint().exits(0);
    here.file("new.txt", "1");
    let before = story.object_text(".stopover/head.json");
    front.forget();
    let look = ["commit", "--handover", "look"];
    here.stopover(&look).exits(0);
    let asked: Vec<String> = front.seen().iter().map(|request| format!("{request:?}")).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let seen = mine(&here)["seen"].clone();
    let head: serde_json::Value = serde_json::from_str(&before).unwrap();
    assert!(seen == head["snapshot"] && mine(&here)["snapshot"] != seen);
    assert_eq!(story.object_text(".stopover/head.json"), before);
    assert!(!story.has_object("new.txt"));
    delete(&story);
    here.stopover(&look).exits(82).says("was deleted");
}

#[test]
fn of_two_containers_that_begin_over_one_tombstone_the_slower_stores_all_the_same() {
    let server = Server::best();
    for is_plain in [true, false] {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        live(&story);
        delete(&story);
        let (slow, fast) = (story.directory("slow"), story.directory("fast"));
        for (here, name) in [(&slow, "slow.txt"), (&fast, "fast.txt")] {
            here.pull().exits(0);
            here.file(name, name);
        }
        let held = front.hold(any().op("PutObject").class(Class::Head).once());
        let slower = if is_plain { slow.start_commit() } else { slow.start(&["commit"]) };
        held.reached();
        let faster = if is_plain { fast.commit() } else { fast.checkpoint() };
        faster.exits(0);
        held.release();
        slower.ends().exits(0);
        assert_eq!(next(&story).paths(), ["fast.txt", "slow.txt"], "plain: {is_plain}");
    }
}

#[test]
fn a_container_that_lost_its_notes_stores_nothing_in_a_workspace_that_was_made_anew() {
    let story = Story::on(&Server::best());
    live(&story);
    let (here, running) = container(&story, "here");
    let start = story.key("");
    let trees: Vec<(String, Vec<u8>)> = story
        .outsider
        .keys(&story.key(".stopover/trees/"))
        .into_iter()
        .map(|key| (key[start.len()..].to_owned(), story.outsider.get(&key).unwrap().bytes.to_vec()))
        .collect();
    delete(&story);
    let new = story.directory("new");
    new.pull().exits(0);
    new.file("n.txt", "new").checkpoint().exits(0);
    // What a `delete` leaves that stops where somebody has begun anew.
    for (key, bytes) in trees {
        story.object(&key, bytes);
    }
    lose_notes(&here);
    here.file("a.txt", "2");
    running.term();
    running.ends().exits(82).says("was deleted");
    assert_eq!((next(&story).paths(), story.objects()), (vec!["n.txt".to_owned()], vec!["n.txt".to_owned()]));
}

#[test]
fn a_container_that_began_over_a_tombstone_and_lost_its_notes_stores_what_it_has() {
    for (is_deleted_again, code) in [(false, 0), (true, 82)] {
        let story = Story::on(&Server::best());
        live(&story);
        delete(&story);
        let (here, running) = container(&story, "here");
        lose_notes(&here);
        here.file("a.txt", "2");
        if is_deleted_again {
            story.object("left.txt", "by a program that did not know");
            delete(&story);
        }
        running.term();
        running.ends().exits(code);
        let found: &[&str] = if is_deleted_again { &[] } else { &["a.txt", "late.txt"] };
        assert_eq!(story.objects(), found);
        assert_eq!(next(&story).paths(), found);
    }
}

#[test]
fn a_plain_container_that_lost_its_notes_deletes_nothing_that_it_did_not_take_in() {
    let story = Story::on(&Server::best());
    let first = story.directory("first");
    first.pull().exits(0);
    first.file("a.txt", "1").file("again.txt", "precious").file("edited.txt", "1").commit().exits(0);
    // Others delete and edit, and the container takes in what they left; then they think better of it.
    story.no_object("again.txt").object("edited.txt", "by somebody else");
    let (here, running) = container(&story, "here");
    assert!(!here.has("again.txt"));
    story.object("again.txt", "precious");
    lose_notes(&here);
    here.file("a.txt", "2");
    running.term();
    let ended = running.ends().exits(0);
    println!("{}\n{:?}", ended.stderr, story.objects());
    let text = |path: &str| story.object_text(path);
    assert_eq!((text("a.txt").as_str(), text("late.txt").as_str()), ("2", "late\n"));
    assert_eq!((text("again.txt").as_str(), text("edited.txt").as_str()), ("precious", "by somebody else"));
}

#[test]
fn what_a_restore_could_not_write_is_deleted_by_no_container_that_lost_its_notes() {
    for loses in [false, true] {
        let server = Server::here();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        live(&story);
        let writer = story.directory("writer");
        writer.pull().exits(0);
        let before: Vec<String> = story.outsider.keys("");
        writer.file("denied.txt", "there").checkpoint().exits(0);
        let mut packs = story.outsider.keys("");
        packs.retain(|key| key.contains(".stopover/packs/") && !before.contains(key));
        front.on(any().op("GetObject").key(&packs[0]), Fault::DENIED);
        front.on(any().op("GetObject").key("/denied.txt"), Fault::DENIED);
        let directory = story.directory("part").with("STOPOVER_CHECKPOINT", "off").flag(&["--allow-partial"]);
        let running = directory.start_run(&["sh", "-c", WAIT]);
        running.prints("runs");
        front.heal();
        if loses {
            lose_notes(&directory);
        }
        running.term();
        running.ends().exits(0);
        assert!(directory.has("late.txt") && !directory.has("denied.txt"));
        let next = next(&story);
        assert_eq!(next.text("denied.txt"), "there", "loses its notes: {loses}");
        assert!(next.has("late.txt") && next.has("b/c.txt"));
    }
}

#[test]
fn an_odd_key_beside_the_workspace_costs_nobody_his_past() {
    let story = Story::on(&Server::best());
    live(&story);
    story.object("odd/", "a folder with a body");
    let (directory, running) = container(&story, "odd");
    directory.file("a.txt", "2").remove("b/c.txt");
    lose_notes(&directory);
    running.term();
    running.ends().exits(0);
    let next = story.directory("next");
    next.pull().exits(3);
    assert_eq!(next.files().keys().collect::<Vec<_>>(), ["a.txt", "late.txt"]);
    assert_eq!(next.text("a.txt"), "2");
}
