//! A workspace that is deleted while containers of it run: each of them hears of it, says so, and none brings anything
//! of it back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

const WAIT: &str = "trap 'echo late > late.txt; exit 0' TERM; echo runs; while :; do sleep 0.02; done";

fn live(story: &Story, name: &str) -> Directory {
    // How long a stop takes is not the point here.
    let directory = story.directory(name).with("STOPOVER_CHECKPOINT", "off").with("STOPOVER_STOP_TIMEOUT", "60s");
    directory.pull().exits(0);
    directory.file("a.txt", "1").file("b/c.txt", "1").checkpoint().exits(0);
    directory
}

/// Only the tombstone is left.
#[track_caller]
fn is_gone(story: &Story, what: &str) {
    let start = story.key("");
    let keys: Vec<String> = story.outsider.keys(&start).into_iter().map(|key| key[start.len()..].to_owned()).collect();
    assert_eq!(keys, [".stopover/head.json"], "{what}");
    let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
    assert_eq!((&head["state"], &head["snapshot"]), (&"deleted".into(), &serde_json::Value::Null), "{what}");
}

fn delete(story: &Story) {
    story.directory("operator").stopover(&["delete", &story.url(), "--yes"]).exits(0);
}

#[test]
fn a_container_whose_workspace_was_deleted_says_so_and_brings_nothing_back() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = live(&story, "here");
        let running = here.start_run(&["sh", "-c", WAIT]);
        running.prints("runs");
        delete(&story);
        is_gone(&story, server.name());
        // A checkpoint, with something to store and without.
        here.file("a.txt", "2");
        let ended = here.stopover(&["commit"]);
        assert_eq!(ended.code(), 1, "on {}: {}{}", server.name(), ended.stdout, ended.stderr);
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains("was deleted"), "on {}", server.name());
        // The stop: the app ends well, and what it wrote is not stored.
        running.term();
        running.ends().exits(82).says("was deleted");
        // What swept may have met the garbage of a commit that found out late.
        delete(&story);
        is_gone(&story, server.name());
        // Later, without any container.
        here.commit().exits(82).says("was deleted");
        here.pull().exits(4);
        assert_eq!((here.text("a.txt").as_str(), here.text("late.txt").as_str()), ("2", "late\n"));
        let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
        assert_eq!(head["state"], "deleted", "on {}", server.name());
        assert!(story.objects().is_empty(), "on {}: {:?}", server.name(), story.objects());
    }
}

#[test]
fn a_commit_by_hand_without_changes_hears_of_a_deletion() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let (here, dry) = (live(&story, "here"), live(&story, "dry"));
        delete(&story);
        for (directory, words) in [(&here, vec!["commit"]), (&dry, vec!["commit", "--dry-run"])] {
            let ended = directory.stopover(&words);
            assert_eq!(ended.code(), 1, "on {}: {}{}", server.name(), ended.stdout, ended.stderr);
            ended.says("was deleted");
        }
        is_gone(&story, server.name());
    }
}

#[test]
fn a_commit_by_hand_without_changes_is_no_error_where_head_cannot_be_read() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = live(&story, "here");
    front.on(any().op("GetObject").class(Class::Head), Fault::DENIED);
    let ended = here.stopover(&["commit", "--json"]).exits(0).says("could not be asked");
    assert_eq!(ended.json()["snapshot"], serde_json::Value::Null);
}

#[test]
fn a_workspace_made_anew_takes_nothing_of_the_old_ones_containers() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let old = live(&story, "old");
        let running = old.start_run(&["sh", "-c", WAIT]);
        running.prints("runs");
        delete(&story);
        let new = story.directory("new");
        new.pull().exits(0);
        new.file("n.txt", "new").checkpoint().exits(0);
        old.file("a.txt", "2");
        running.term();
        running.ends().exits(82).says("was deleted");
        new.pull().exits(0);
        assert_eq!(new.paths(), ["n.txt"], "on {}", server.name());
        assert_eq!(story.objects(), ["n.txt"], "on {}", server.name());
    }
}

#[test]
fn a_commit_that_sleeps_while_its_workspace_is_deleted_revives_nothing() {
    let server = Server::best();
    // Before its head, and before each request of its catch-up.
    let points = [any().op("PutObject").class(Class::Head)].into_iter();
    let points = points.chain((0..3).map(|k| any().class(Class::Live).after(k)));
    for (n, point) in points.chain([any().op("PutObject").class(Class::Mirror)]).enumerate() {
        let what = format!("on {} at {n}", server.name());
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = live(&story, "here").with("STOPOVER_CONCURRENCY", "1");
        here.file("a.txt", "2").file("b/c.txt", "2").file("new.txt", "2");
        let held = front.hold(point.once());
        let zombie = here.start(&["commit"]);
        held.reached();
        zombie.sleeps();
        delete(&story);
        is_gone(&story, &what);
        // What was on its way is lost with its connection; the zombie asks again, if it still wants to.
        held.abandon();
        zombie.wakes();
        let ended = zombie.ends();
        let expected: &[i32] = if n == 0 { &[1] } else { &[0, 1] };
        assert!(expected.contains(&ended.code()), "{what}: {} {}{}", ended.code(), ended.stdout, ended.stderr);
        assert!(story.objects().is_empty(), "{what}: {:?}\n{}", story.objects(), ended.stderr);
        let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
        assert_eq!(head["state"], "deleted", "{what}");
        here.commit().exits(82).says("was deleted");
    }
}

#[test]
fn a_delete_that_does_not_hear_of_its_tombstone_leaves_what_was_made_over_it() {
    let server = Server::best();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    live(&story, "old");
    front.on(any().op("PutObject").class(Class::Head).once(), Fault::DropReply);
    // Head is read for the delete, and again to find out what became of the tombstone.
    let held = front.hold(any().op("GetObject").class(Class::Head).after(1).once());
    let deleter = story.directory("deleter");
    let deleting = deleter.start(&["delete", &story.url(), "--yes"]);
    held.reached();
    let new = story.directory("new");
    new.pull().exits(0);
    new.file("n.txt", "new").checkpoint().exits(0);
    held.release();
    deleting.ends().exits(0);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.text("n.txt"), "new");
    assert!(story.has_object("n.txt"));
}
