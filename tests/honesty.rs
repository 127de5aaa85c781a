//! What receipts, lists and messages say is what happened: what is quiet, what comes back, what was deleted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use serde_json::Value;
use support::{
    front::{Class, Fault, Front, any},
    servers::{Kind, Server},
    story::{Directory, Ended, Story, until},
};

fn restored(story: &Story, name: &str) -> Directory {
    let directory = story.directory(name).with("STOPOVER_CHECKPOINT", "off");
    directory.pull().exits(0);
    directory
}

fn receipt(directory: &Directory) -> Value {
    directory.stopover(&["commit", "--json"]).exits(0).json()
}

/// Whether the newest snapshot is said to be quiet.
fn is_quiet(directory: &Directory) -> bool {
    let listed = directory.stopover(&["snapshots", "--json"]).exits(0);
    let newest: Value = serde_json::from_str(listed.stdout.lines().last().unwrap()).unwrap();
    newest["quiet"].as_bool().unwrap()
}

#[test]
fn quiet_is_claimed_only_by_who_knows_that_no_app_runs() {
    let story = Story::on(&Server::here());
    let here = restored(&story, "here");
    here.file("a", "1");
    // Without a supervisor nobody knows who writes here.
    assert_eq!((&receipt(&here)["quiet"], is_quiet(&here)), (&false.into(), false));
    here.run_script("echo 2 > a").exits(0);
    assert!(is_quiet(&here), "the last commit of a container is");
    let running = here.start_run(&["sh", "-c", "echo runs; exec sleep 1000"]);
    running.prints("runs");
    here.file("a", "3");
    assert_eq!((&receipt(&here)["quiet"], is_quiet(&here)), (&false.into(), false));
    running.term();
    running.ends();
    let from = story.directory("from");
    from.file("b", "1");
    let sent = from.stopover(&["upload", &story.url(), "--json"]).exits(0).json();
    assert_eq!((&sent["quiet"], is_quiet(&here)), (&false.into(), false));
    let plain = Story::on(&Server::here());
    let sent = plain.directory("from").file("b", "1").stopover(&["upload", &plain.url(), "--json"]).exits(0).json();
    assert_eq!(sent["quiet"], false);
}

/// The id of the tree that was written last.
fn last_tree(front: &Front) -> String {
    let trees =
        front.done().into_iter().filter(|done| done.request.op == "PutObject" && done.request.class == Class::Tree);
    trees.last().unwrap().request.key.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_stray_is_named_only_if_it_can_be_brought_back() {
    let Some(server) = Server::of(Kind::Rclone) else { return };
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = restored(&story, "here");
    here.file("a", "1").checkpoint().exits(0);
    let other = restored(&story, "other");
    let dies_at = |class| {
        front.forget();
        let held = front.hold(any().op("PutObject").class(class));
        let running = other.start(&["commit"]);
        held.reached();
        until(|| front.done().iter().any(|done| done.request.class == Class::Tree && done.request.op == "PutObject"));
        running.kill();
        running.ends();
        held.abandon();
        front.settles();
        let id = last_tree(&front);
        front.heal();
        id
    };
    other.file("lost", "its pack never came");
    let lost = dies_at(Class::Pack);
    other.file("lost", "its pack came");
    let kept = dies_at(Class::Head);
    for command in ["snapshots", "status"] {
        here.stopover(&[command]).exits(0).says(&kept).never_says(&lost);
    }
    here.stopover(&["prune", "--sole-writer"]).exits(0).says(&kept).never_says(&lost);
    let place = story.path("place");
    here.stopover(&["restore", &kept, "--to", place.to_str().unwrap()]).exits(0);
    assert_eq!(std::fs::read_to_string(place.join("lost")).unwrap(), "its pack came");
}

#[test]
fn a_file_that_could_not_be_deleted_is_named_and_not_counted() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("a", "1").object("b", "2").object("c", "3");
    let here = restored(&story, "here");
    front.on(any().op("DeleteObject").class(Class::Live).key("ws/a"), Fault::DENIED);
    let plain = here.remove("a").remove("b").commit().exits(0);
    plain.says("not deleted: a (denied)").says("1 deleted");
    front.heal();
    let live = receipt(&here);
    assert_eq!(live["files_deleted"], 0, "{live}");
    front.on(any().op("DeleteObject").class(Class::Live), Fault::DENIED);
    here.remove("c");
    let live = receipt(&here);
    assert_eq!((&live["files_deleted"], &live["not_deleted"][0]["path"]), (&0.into(), &"c".into()), "{live}");
    let from = story.directory("from");
    from.file("d", "4").stopover(&["upload", &story.url()]).exits(0);
    from.remove("d");
    let sent = from.stopover(&["upload", &story.url(), "--delete", "--json"]).exits(0).json();
    // c is still there as well, and refused once more.
    let not_deleted: Vec<_> = sent["not_deleted"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!((&sent["files_deleted"], &*not_deleted), (&0.into(), &[&"c".into(), &"d".into()][..]), "{sent}");
}

#[test]
fn a_removed_file_that_waits_for_something_that_is_not_stored_is_named() {
    for plain in [true, false] {
        let story = Story::on(&Server::here());
        let here = restored(&story, "here");
        here.file("app.db", "1").file("app.db-wal", "1").file("removed", "1").file("kept", "1");
        here.commit().exits(0);
        if !plain {
            here.checkpoint().exits(0);
        }
        // The database cannot be stored without its log, and nothing is deleted beside what is not stored.
        here.file(".stopoverignore", "*-wal\n").file("app.db", "2").remove("removed");
        let left = serde_json::json!([{ "path": "removed", "reason": "partial" }]);
        if plain {
            here.commit().exits(3).says("not deleted: removed (partial)");
            let next = restored(&story, "next");
            assert!(next.has("removed"));
        } else {
            for edit in ["2", "3"] {
                let receipt = here.file("kept", edit).stopover(&["commit", "--json"]).json();
                assert_eq!((&receipt["not_deleted"], &receipt["files_deleted"]), (&left, &0.into()), "{receipt}");
            }
        }
    }
}

#[test]
fn a_commit_to_a_deleted_workspace_says_no_more_than_is_true() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = restored(&story, "here");
    here.file("a", "1").checkpoint().exits(0);
    here.file("a", "2");
    let held = front.hold(any().op("PutObject").class(Class::Head).once());
    let running = here.start(&["commit"]);
    held.reached();
    story.directory("operator").stopover(&["delete", &story.url(), "--yes"]).exits(0);
    held.release();
    let ended: Ended = running.ends().exits(1);
    // Its packs were on their way by then.
    ended.says("was deleted").says("is not stored").never_says("nothing was written");
}
