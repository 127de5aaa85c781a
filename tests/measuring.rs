//! What a server honours is measured beside the durable path, never on it; and until it is known, nothing is
//! overwritten without a look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;

use support::{
    front::{Class, Fault, Front, Request, any},
    servers::{Server, memory::Mode},
    story::{Directory, Story},
};

/// A live workspace behind a front, and a directory that has just taken it in: nobody there has measured anything.
fn restored(server: &Arc<Server>) -> (Front, Story, Directory) {
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, server);
    let first = past_the_front(&story, "first");
    first.pull().exits(0);
    first.file("a.txt", "1").file("b.txt", "1").checkpoint().exits(0);
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    here.pull().exits(0);
    front.forget();
    (front, story, here)
}

/// A directory whose requests no fault meets.
fn past_the_front(story: &Story, name: &str) -> Directory {
    story.directory(name).with("S3_ENDPOINT", &story.server.endpoint)
}

/// The requests before head was first written.
fn before_head(front: &Front) -> Vec<Request> {
    let seen = front.seen();
    let head = seen.iter().position(|seen| seen.op == "PutObject" && seen.class == Class::Head).expect("a new head");
    seen[..head].to_vec()
}

fn is_probe(request: &Request) -> bool {
    request.class == Class::Own
}

#[test]
fn a_stop_before_anything_was_measured_measures_nothing_before_its_head() {
    for server in Server::each_with(&[]) {
        let (front, story, here) = restored(&server);
        here.file("a.txt", "2").commit().exits(0);
        let before = before_head(&front);
        assert!(!before.iter().any(is_probe), "on {}: {before:?}", server.name());
        // Head, its tree, the pack, the new tree, and a look at head.
        assert!(before.len() <= 6, "on {}: {before:?}", server.name());
        assert_eq!(story.object_text("a.txt"), "2", "on {}", server.name());
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.text("a.txt"), "2", "on {}", server.name());
    }
}

#[test]
fn a_stop_of_a_plain_workspace_measures_nothing_before_its_head() {
    for server in Server::each_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("a.txt", "1").object("gone.txt", "1");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "2").file("new.txt", "2").remove("gone.txt").commit().exits(0);
        let before = before_head(&front);
        assert!(!before.iter().any(is_probe), "on {}: {before:?}", server.name());
        assert_eq!(story.objects(), ["a.txt", "new.txt"], "on {}", server.name());
        assert_eq!(story.object_text("a.txt"), "2", "on {}", server.name());
    }
}

#[test]
fn a_checkpoint_measures_once_and_when_it_is_durable() {
    for server in Server::each_with(&[]) {
        let (front, _story, here) = restored(&server);
        here.file("a.txt", "2").stopover(&["commit"]).exits(0);
        let (before, probes) = (before_head(&front), any().class(Class::Own));
        assert!(!before.iter().any(is_probe), "on {}: {before:?}", server.name());
        assert!(front.count(&probes) > 0, "on {}", server.name());
        front.forget();
        here.file("a.txt", "3").stopover(&["commit"]).exits(0);
        assert_eq!(front.count(&probes), 0, "on {}", server.name());
    }
}

#[test]
fn a_first_snapshot_is_durable_before_anything_is_measured() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("a.txt", "1").object("gone.txt", "1");
    for live_tree in ["on", "off"] {
        let here = story.directory(live_tree).with("STOPOVER_LIVE_TREE", live_tree);
        here.pull().exits(0);
        front.forget();
        here.file("a.txt", live_tree).file(&format!("{live_tree}.txt"), "2").stopover(&["commit"]).exits(0);
        let before = before_head(&front);
        assert!(!before.iter().any(is_probe), "{live_tree}: {before:?}");
        assert!(front.seen().iter().any(is_probe), "{live_tree}: it is measured all the same");
    }
}

#[test]
fn an_idle_checkpoint_without_live_tree_measures_what_a_commit_needs_and_no_more() {
    let server = Server::here();
    let (front, _story, here) = restored(&server);
    let here = here.with("STOPOVER_LIVE_TREE", "off");
    here.stopover(&["commit"]).exits(0);
    let probes: Vec<Request> = front.seen().into_iter().filter(is_probe).collect();
    assert!(probes.iter().any(|seen| seen.op == "PutObject"), "{probes:?}");
    assert!(!probes.iter().any(|seen| seen.op == "CompleteMultipartUpload"), "{probes:?}");
    let keys = |part: &str| probes.iter().filter(|seen| seen.key.ends_with(part)).count();
    assert_eq!((keys("-parts"), keys("-delete")), (0, 0), "{probes:?}");
}

#[test]
fn who_may_not_list_measures_all_the_same() {
    let server = Server::in_memory();
    let (_front, _story, here) = restored(&server);
    server.memory().behave(Mode::MissingIs403);
    here.file("a.txt", "2").file("new.txt", "2").remove("b.txt");
    here.stopover(&["commit"]).exits(0).never_says("could not be measured").never_says("one writer at a time");
}

/// A server in memory that behaves so; what measures it is refused.
fn unmeasured(mode: Option<Mode>) -> (Arc<Server>, Front, Story, Directory) {
    let server = Server::in_memory();
    let (front, story, here) = restored(&server);
    if let Some(mode) = mode {
        server.memory().behave(mode);
    }
    front.on(any().class(Class::Own), Fault::DENIED);
    (server, front, story, here)
}

const MODES: [Option<Mode>; 5] = [
    None,
    Some(Mode::IgnoresConditions),
    Some(Mode::ConditionsAre501),
    Some(Mode::CreatesMissing),
    Some(Mode::DeleteIgnoresConditions),
];

#[test]
fn a_server_that_could_not_be_measured_takes_commits_and_it_is_said_what_is_assumed() {
    for mode in MODES {
        let (_server, _front, story, here) = unmeasured(mode);
        here.file("a.txt", "2").file("new.txt", "2").remove("b.txt");
        let ended = here.stopover(&["commit", "--json"]).exits(0);
        assert_eq!(ended.json()["durable"], true, "{mode:?}");
        ended.says("could not be measured").says("one writer at a time");
        let next = past_the_front(&story, "next");
        next.pull().exits(0);
        assert_eq!(
            (next.paths(), next.text("a.txt")),
            (vec!["a.txt".into(), "new.txt".into()], "2".into()),
            "{mode:?}"
        );
        assert_eq!(story.objects(), ["a.txt", "new.txt"], "{mode:?}");
    }
}

#[test]
fn nothing_of_others_is_overwritten_on_a_server_that_could_not_be_measured() {
    for mode in MODES {
        let (_server, front, story, here) = unmeasured(mode);
        // It plans against the head that it knows; others have moved it since.
        let other = past_the_front(&story, "other");
        other.pull().exits(0);
        here.file("mine.txt", "2").file("a.txt", "2").file("new.txt", "2").remove("b.txt");
        let pack = front.hold(any().op("PutObject").class(Class::Pack).once());
        let running = here.start(&["commit"]);
        pack.reached();
        other.file("others.txt", "2").checkpoint().exits(0);
        // And somebody writes to the live tree.
        story.object("a.txt", "from outside").object("b.txt", "from outside").object("new.txt", "from outside");
        pack.release();
        running.ends().exits(0);
        let next = past_the_front(&story, "next");
        next.pull().exits(0);
        assert_eq!((next.text("others.txt"), next.text("mine.txt")), ("2".into(), "2".into()), "{mode:?}");
        for path in ["a.txt", "b.txt", "new.txt"] {
            assert_eq!(story.object_text(path), "from outside", "{path} under {mode:?}");
        }
    }
}

#[test]
fn a_last_commit_moves_head_on_any_server() {
    for mode in [
        None,
        Some(Mode::IgnoresConditions),
        Some(Mode::RefusesConditions),
        Some(Mode::ConditionsAre501),
        Some(Mode::CreatesMissing),
        Some(Mode::RandomEtags),
        Some(Mode::MissingIs403),
    ] {
        let server = Server::in_memory();
        let (_front, story, here) = restored(&server);
        if let Some(mode) = mode {
            server.memory().behave(mode);
        }
        here.file("a.txt", "2").remove("b.txt").commit().exits(0);
        server.memory().behaves_well();
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.paths(), next.text("a.txt")), (vec!["a.txt".into()], "2".into()), "{mode:?}");
    }
}

#[test]
fn a_last_commit_overwrites_no_head_that_others_moved() {
    for mode in [None, Some(Mode::IgnoresConditions), Some(Mode::ConditionsAre501)] {
        let server = Server::in_memory();
        let (front, story, here) = restored(&server);
        let other = past_the_front(&story, "other");
        other.pull().exits(0);
        if let Some(mode) = mode {
            server.memory().behave(mode);
        }
        here.file("mine.txt", "2");
        let pack = front.hold(any().op("PutObject").class(Class::Pack).once());
        let running = here.start_commit();
        pack.reached();
        other.file("others.txt", "2").checkpoint().exits(0);
        pack.release();
        running.ends().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.text("others.txt"), next.text("mine.txt")), ("2".into(), "2".into()), "{mode:?}");
    }
}
