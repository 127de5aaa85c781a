//! What a snapshot may lack, and who is told: files that are stored whole or not at all, in live and plain workspaces
//! and by `upload`; the names of what is missing; files that the rules ignore by now.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Fault, Front, any},
    servers::Server,
    story::{Directory, Ended, Story},
};

/// A live workspace with these files, and a directory that holds it and may not read everything.
fn live(story: &Story, files: &[(&str, &str)]) -> Option<Directory> {
    let first = story.directory("first");
    first.pull().exits(0);
    for (path, content) in files {
        first.file(path, content);
    }
    first.checkpoint().exits(0);
    let here = story.directory("here").without_rights()?;
    here.pull().exits(0);
    Some(here)
}

/// What the next container gets.
fn next(story: &Story, name: &str) -> Directory {
    let next = story.directory(name);
    next.pull().exits(0);
    next
}

#[test]
fn a_database_whose_new_log_cannot_be_read_stays_as_it_was() {
    let story = Story::on(&Server::here());
    let Some(here) = live(&story, &[("app.db", "old"), ("x", "old")]) else { return };
    here.file("app.db", "new").file("app.db-wal", "log").mode("app.db-wal", 0).file("x", "new");
    here.checkpoint().exits(3).says("not stored: app.db (unreadable)").says("not stored: app.db-wal (unreadable)");
    let after = next(&story, "after");
    assert_eq!((after.text("app.db"), after.text("x"), after.has("app.db-wal")), ("old".into(), "new".into(), false));
    // Then it can be read, and both go.
    here.mode("app.db-wal", 0o600).checkpoint().exits(0);
    let last = next(&story, "last");
    assert_eq!((last.text("app.db"), last.text("app.db-wal")), ("new".into(), "log".into()));
}

#[test]
fn the_log_of_a_new_database_that_cannot_be_read_is_not_stored_alone() {
    let story = Story::on(&Server::here());
    let Some(here) = live(&story, &[("x", "old")]) else { return };
    here.file("app.db", "new").file("app.db-wal", "log").mode("app.db", 0);
    here.checkpoint().exits(3).says("not stored: app.db-wal (unreadable)");
    assert!(!next(&story, "after").has("app.db-wal"));
}

#[test]
fn what_a_pattern_names_waits_for_a_new_file_that_cannot_be_read() {
    let story = Story::on(&Server::here());
    let Some(here) = live(&story, &[("a.idx", "old"), ("b.idx", "old")]) else { return };
    let here = here.with("STOPOVER_TOGETHER", "*.idx");
    here.file("a.idx", "new").file("b.idx", "new").file("c.idx", "new").mode("c.idx", 0);
    here.checkpoint().exits(3).says("not stored: a.idx (unreadable)").says("not stored: c.idx (unreadable)");
    let after = next(&story, "after");
    assert_eq!((after.text("a.idx"), after.text("b.idx"), after.has("c.idx")), ("old".into(), "old".into(), false));
}

const WAIT: &str = "while :; do sleep 0.02; done";

/// An app that does this when it is told to stop, in a workspace that never gets live.
fn stops(directory: &Directory, script: &str) -> Ended {
    let directory = directory.clone().with("STOPOVER_CHECKPOINT", "off").with("STOPOVER_STOP_TIMEOUT", "15s");
    let run = directory.start_run(&["sh", "-c", &format!("trap '{script}; exit 0' TERM; echo runs; {WAIT}")]);
    run.prints("runs").term();
    run.ends()
}

#[test]
fn in_a_plain_workspace_too_a_database_waits_for_a_log_that_cannot_be_read() {
    let story = Story::on(&Server::here());
    story.object("app.db", "old").object("x", "old");
    let Some(here) = story.directory("here").without_rights() else { return };
    here.pull().exits(0);
    here.file("app.db", "new").file("app.db-wal", "log").mode("app.db-wal", 0).file("x", "new");
    here.commit().exits(3).says("not stored: app.db (unreadable)");
    assert_eq!((story.object_text("app.db"), story.object_text("x")), ("old".into(), "new".into()));
    assert!(!story.has_object("app.db-wal"));
}

#[test]
fn in_a_plain_workspace_a_log_is_not_put_before_its_database() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("app.db", "the old one").object("app.db-wal", "old");
    let here = story.directory("here");
    front.on(any().op("PutObject").key("app.db-wal"), Fault::Nothing);
    let _held = front.hold(any().op("PutObject").key("app.db"));
    let ended = stops(&here, "echo the new one > app.db; echo new > app.db-wal; echo 1 > x").exits(82);
    ended.says("not stored: app.db (deadline)").says("not stored: app.db-wal (deadline)");
    assert_eq!((story.object_text("app.db"), story.object_text("app.db-wal")), ("the old one".into(), "old".into()));
    let after = next(&story, "after");
    assert_eq!((after.text("app.db-wal"), after.text("x")), ("old".into(), "1\n".into()));
    front.heal();
    here.run_script("true").exits(0);
    assert_eq!(story.object_text("app.db-wal"), "new\n");
}

#[test]
fn in_a_plain_workspace_a_pair_that_parts_at_the_deadline_is_named() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("app.db", "the old one").object("app.db-wal", "old");
    let here = story.directory("here");
    let _held = front.hold(any().op("PutObject").key("app.db-wal"));
    let ended = stops(&here, "echo the new one > app.db; echo new > app.db-wal").exits(82);
    ended.says("app.db and app.db-wal belong together").says("not stored: app.db-wal (deadline)");
    assert_eq!(next(&story, "after").text("app.db"), "the new one\n");
}

#[test]
fn in_a_plain_workspace_an_old_log_is_not_found_beside_a_new_database() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("app.db", "old").object("app.db-wal", "old").object("gone", "old");
    let here = story.directory("here");
    let held = front.hold(any().op("PutObject").key("stuck"));
    let ended = stops(&here, "echo new > app.db; rm app.db-wal gone; echo 1 > stuck").exits(82);
    ended.says("not stored: stuck (deadline)").says("not deleted: app.db-wal (deadline)");
    let after = next(&story, "after");
    assert_eq!((after.paths(), after.text("app.db")), (vec!["app.db".into(), "gone".into()], "new\n".into()));
    held.abandon();
    front.heal();
    here.run_script("true").exits(0);
    assert_eq!(story.objects(), ["app.db", "stuck"]);
}

/// A directory without a past that somebody sends to the workspace.
fn upload(story: &Story, directory: &Directory, words: &[&str]) -> Ended {
    directory.stopover(&[&["upload", &story.url()][..], words].concat())
}

#[test]
fn an_upload_keeps_a_database_with_its_log() {
    for is_live in [true, false] {
        let story = Story::on(&Server::here());
        story.object("app.db", "old").object("d/app.db", "old").object("d/app.db-wal", "old").object("x", "old");
        if is_live {
            let first = story.directory("first");
            first.pull().exits(0);
            first.checkpoint().exits(0);
        }
        let Some(laptop) = story.directory("laptop").without_rights() else { return };
        laptop.file("app.db", "new").file("app.db-wal", "log").mode("app.db-wal", 0).file("x", "new");
        laptop.file("d/app.db", "new").mode("d/app.db", 0).file("d/app.db-wal", "new");
        upload(&story, &laptop, &[])
            .exits(3)
            .says("not stored: app.db (unreadable)")
            .says("not stored: app.db-wal (unreadable)")
            .says("not stored: d/app.db-wal (unreadable)");
        let after = next(&story, "after");
        let held = ["app.db", "d/app.db", "d/app.db-wal", "x"].map(|path| after.text(path));
        assert_eq!(held, ["old", "old", "old", "new"], "{is_live}");
        assert!(!after.has("app.db-wal"));
        laptop.mode("app.db-wal", 0o600).mode("d/app.db", 0o600);
        upload(&story, &laptop, &[]).exits(0);
        let last = next(&story, "last");
        let held = ["app.db", "app.db-wal", "d/app.db", "d/app.db-wal"].map(|path| last.text(path));
        assert_eq!(held, ["new", "log", "new", "new"], "{is_live}");
    }
}

#[test]
fn an_upload_takes_the_log_of_a_database_that_it_replaces_and_nothing_else() {
    for is_live in [true, false] {
        let story = Story::on(&Server::best());
        for path in ["app.db", "app.db-wal", "same.db", "same.db-wal", "other-wal", "x", "folder.db-wal"] {
            story.object(path, "old");
        }
        if is_live {
            let first = story.directory("first");
            first.pull().exits(0);
            first.checkpoint().exits(0);
        }
        let laptop = story.directory("laptop");
        laptop.file("app.db", "new").file("same.db", "old").folder("folder.db");
        upload(&story, &laptop, &[]).exits(0);
        let left = ["app.db", "folder.db-wal", "other-wal", "same.db", "same.db-wal", "x"];
        assert_eq!(story.objects(), left, "{is_live}");
        // Asked to delete, it deletes; but where it could not read all, only what belongs to what it could.
        let Some(laptop) = laptop.without_rights() else { return };
        laptop.file("secret", "1").mode("secret", 0);
        upload(&story, &laptop, &["--delete"]).exits(3).says("not stored: secret").says("not deleted: x (partial)");
        assert_eq!(story.objects(), ["app.db", "folder.db-wal", "other-wal", "same.db", "x"], "{is_live}");
        laptop.remove("secret");
        upload(&story, &laptop, &["--delete"]).exits(0);
        assert_eq!(story.objects(), ["app.db", "same.db"], "{is_live}");
    }
}

#[test]
fn the_next_pull_names_what_a_snapshot_lacks() {
    for is_live in [true, false] {
        let story = Story::on(&Server::here());
        story.object("a", "old").object("x", "old");
        let Some(here) = story.directory("here").without_rights() else { return };
        here.pull().exits(0);
        let commit = |directory: &Directory| if is_live { directory.checkpoint() } else { directory.commit() };
        commit(&here).exits(0);
        here.file("a", "new").mode("a", 0).file("x", "new").file("caf\u{e9} \n", "new").mode("caf\u{e9} \n", 0);
        commit(&here).exits(3);
        let after = story.directory("after");
        let ended = after.stopover(&["pull", "--json"]).exits(0).says("is partial").says(": a\n");
        let pulled = ended.json();
        assert_eq!(pulled["missing"], serde_json::json!(["a", "caf\u{e9} \n"]), "{is_live} {pulled}");
        // Whoever runs an app there has it in the summary; its own commit is whole, and then nobody hears of it.
        let run = story.directory("run").with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
        run.with("STOPOVER_CHECKPOINT", "off").run_script("echo 1 > y").exits(0).says(": a\n");
        let summary: serde_json::Value =
            serde_json::from_slice(&std::fs::read(story.path("summary")).unwrap()).unwrap();
        assert_eq!(summary["restore"]["missing"], pulled["missing"], "{summary}");
        let last = story.directory("last").stopover(&["pull", "--json"]).exits(0).never_says("partial").json();
        assert_eq!(last["missing"], serde_json::json!([]));
    }
}

#[test]
fn edits_of_a_file_that_the_rules_ignore_by_now_are_in_the_receipt_and_the_summary() {
    for is_live in [true, false] {
        let story = Story::on(&Server::here());
        story.object("seen", "old").object("same", "old").object("x", "old");
        let here = story.directory("here");
        here.pull().exits(0);
        if is_live {
            here.checkpoint().exits(0);
        }
        here.file(".stopoverignore", "seen\nsame\nnew\n").file("seen", "edit").file("new", "new").file("same", "old");
        let ended = here.stopover(&["commit", "--json"]);
        let receipt = ended.exits(0).says("not stored: seen (ignored)").json();
        let ignored = serde_json::json!([{"path": "seen", "reason": "ignored"}]);
        assert_eq!((&receipt["not_stored"], &receipt["partial"]), (&ignored, &false.into()), "{receipt}");
        // Still there as it was, and the exit code of the app is its own.
        let run = here.clone().with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
        run.with("STOPOVER_CHECKPOINT", "off").run_script("echo more >> seen; echo 1 > y").exits(0);
        let summary: serde_json::Value =
            serde_json::from_slice(&std::fs::read(story.path("summary")).unwrap()).unwrap();
        assert_eq!(summary["commit"]["not_stored"], ignored, "{summary}");
        assert_eq!(next(&story, "after").text("seen"), "old");
        here.remove("seen");
        here.checkpoint().exits(0).never_says("not stored: ");
        assert!(!story.has_object("seen"));
    }
}
