//! The commands beside `run`, with a real server: what they do, print as JSON, and exit with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{servers::Server, story::Story};

/// The keys of an object, in their order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

const RECEIPT: [&str; 14] = [
    "snapshot",
    "durable",
    "partial",
    "quiet",
    "files_changed",
    "files_deleted",
    "bytes_sent",
    "requests",
    "seconds",
    "live_tree",
    "not_stored",
    "not_deleted",
    "conflicts",
    "error",
];

#[test]
fn pull_and_commit_print_one_object_with_every_key() {
    let story = Story::on(&Server::best());
    story.object("src/a.js", "1");
    let here = story.directory("here");
    let pulled = here.stopover(&["pull", "--json"]).exits(0).json();
    assert_eq!(keys(&pulled), ["snapshot", "files", "bytes", "requests", "seconds", "refused", "missing"]);
    assert_eq!((&pulled["files"], &pulled["bytes"]), (&json!(1), &json!(1)));
    here.file("src/b.js", "22");
    let receipt = here.stopover(&["commit", "--json"]).exits(0).json();
    assert_eq!(keys(&receipt), RECEIPT);
    assert_eq!((&receipt["files_changed"], &receipt["durable"]), (&json!(1), &json!(true)));
    assert_eq!(story.object_text("src/b.js"), "22");
}

#[test]
fn refused_keys_are_exit_3_and_named() {
    let story = Story::on(&Server::best());
    story.object("sub/.stopover/x", "1").object("c", "2");
    let here = story.directory("here");
    let pulled = here.stopover(&["pull", "--json"]).exits(3).says("not taken: sub/.stopover/x");
    assert_eq!(pulled.json()["refused"][0]["key"], "sub/.stopover/x");
    assert_eq!(here.text("c"), "2");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let story = Story::on(&Server::best());
    story.object("package.json", r#"{"scripts":{"start":"node src/a.js"}}"#).object("package-lock.json", "{}");
    let nowhere = story.directory("nowhere").with("STOPOVER_INSTALL", "");
    fs::remove_dir(&nowhere.path).expect("it is empty");
    nowhere.stopover(&["pull", "--dry-run"]).exits(0).printed("would restore 2 files");
    let planned = nowhere.stopover(&["run", "--dry-run"]).exits(0).printed("would restore 2 files");
    planned.printed("install: npm ci").printed("because of package-lock.json").printed("start: node src/a.js");
    nowhere
        .stopover(&["run", "--dry-run", "--", "sh", "-c", "echo it runs"])
        .exits(0)
        .printed("because of the command line");
    assert!(!nowhere.path.exists(), "nothing is written");
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("new", "1");
    here.stopover(&["commit", "--dry-run"]).exits(0).printed("would commit 1 file changed, 0 deleted");
    let planned = here.stopover(&["commit", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(
        (&planned["durable"], &planned["files_changed"], &planned["bytes_sent"]),
        (&json!(false), &json!(1), &json!(0))
    );
    let laptop = story.directory("laptop");
    laptop.file("index.html", "<p>");
    laptop
        .stopover(&["upload", &story.url(), "--dry-run"])
        .exits(0)
        .printed("would commit 1 file changed")
        .never_says("committed");
    assert_eq!(story.objects(), ["package-lock.json", "package.json"]);
    assert_eq!(story.outsider.keys(&story.key(".stopover/")), Vec::<String>::new());
}

#[test]
fn status_says_what_a_commit_would_send() {
    let story = Story::on(&Server::best());
    story.object("kept", "1").object("gone", "2").object("edited", "3");
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("added", "four").file("edited", "33").file("dist/built.js", "x").remove("gone");
    let status = here.stopover(&["status", "--json"]).exits(0).json();
    assert_eq!(
        keys(&status),
        [
            "workspace",
            "directory",
            "exists",
            "files",
            "dirs",
            "bytes",
            "ready",
            "snapshot",
            "last_commit",
            "changes",
            "ignored",
            "conflicts"
        ]
    );
    assert_eq!(status["workspace"], story.url());
    assert_eq!((&status["ready"], &status["exists"]), (&json!(true), &json!(true)));
    let changes: Vec<_> = status["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|change| (change["path"].as_str().unwrap_or_default(), change["change"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(changes, [("added", "added"), ("edited", "modified"), ("gone", "deleted")]);
    let ignored = status["ignored"].as_array().expect("rules");
    assert!(ignored.iter().any(|rule| rule["rule"] == "dist/"), "{ignored:?}");
    here.stopover(&["status"]).exits(0).printed("A added").printed("D gone").printed("dist/");
    assert!(story.has_object("gone"), "status changes nothing");
}

#[test]
fn a_directory_goes_up_and_comes_down_again_by_name() {
    let story = Story::on(&Server::best());
    let store = story.url().rsplit_once('/').expect("a store").0.to_owned();
    let laptop = story.directory("laptop").with("STOPOVER_WORKSPACE", "").with("STOPOVER_STORE", &store);
    laptop.file("index.html", "<p>hello</p>").file("img/logo.svg", "<svg/>");
    let up = laptop.stopover(&["upload", "site", "--json"]).exits(0).json();
    assert_eq!(keys(&up), RECEIPT);
    assert_eq!(up["files_changed"], 2);

    let listed = laptop.stopover(&["list", "--json"]).exits(0);
    let item: Value = serde_json::from_str(listed.stdout.lines().next().expect("a line")).expect("JSON");
    assert_eq!(keys(&item), ["name", "url", "files", "bytes", "snapshot", "last_commit", "writer"]);
    assert_eq!(item["snapshot"], Value::Null);
    assert_eq!(
        (&item["name"], &item["url"], &item["files"]),
        (&json!("site"), &json!(format!("{store}/site")), &json!(2))
    );
    laptop.stopover(&["list"]).exits(0).printed("NAME").printed("site");

    let down = story.path("down");
    let target = down.to_str().expect("UTF-8");
    laptop.stopover(&["download", "site", target, "--json"]).exits(0);
    assert_eq!(fs::read_to_string(down.join("img/logo.svg")).expect("a file"), "<svg/>");

    let other = story.directory("other").with("STOPOVER_WORKSPACE", "").with("STOPOVER_STORE", &store);
    other.file("index.html", "mine");
    other.stopover(&["download", "site"]).exits(4);
    assert_eq!(other.text("index.html"), "mine", "a guard writes nothing");
    other.stopover(&["download", "site", "--overwrite"]).exits(0);
    assert_eq!(other.text("index.html"), "<p>hello</p>");

    laptop.stopover(&["delete", "site"]).exits(4).says("is not deleted without --yes");
    let removed = laptop.stopover(&["delete", "site", "--yes", "--json"]).exits(0).json();
    assert!(removed["objects"].as_u64().is_some_and(|objects| objects >= 2), "{removed}");
    assert!(!laptop.stopover(&["list"]).exits(0).stdout.contains("site"));
}

#[test]
fn a_download_removes_what_the_workspace_lacks_from_a_directory_that_was_downloaded_before_too() {
    for is_live in [true, false] {
        let story = Story::on(&Server::best());
        let url = story.url();
        let sender = story.directory("sender");
        let sends = || if is_live { sender.checkpoint() } else { sender.commit() };
        sender.pull().exits(0);
        sender
            .file("kept", "1")
            .file("edited", "1")
            .file("gone", "1")
            .file("folder/gone", "1")
            .file("replaced", "1")
            .file(".gitignore", "skip/");
        sends().exits(0);
        let reader = story.directory("reader");
        reader.stopover(&["download", &url]).exits(0);
        reader.file("mine", "1").file("made/here", "1").file("edited", "mine").file("gone", "mine").file("skip/x", "1");
        reader.remove("replaced").file("replaced/inside", "1");
        sender.remove("gone").remove("folder").file("new", "2");
        sends().exits(0);
        reader.stopover(&["download", &url]).exits(0);
        let all = [".gitignore", "edited", "gone", "kept", "made/here", "mine", "new", "replaced/inside", "skip/x"];
        assert_eq!(reader.files().keys().collect::<Vec<_>>(), all, "live: {is_live}");
        reader.stopover(&["download", &url, "--delete", "--dry-run"]).exits(0).printed(" to remove");
        reader.stopover(&["download", &url, "--delete"]).exits(0);
        let left = [".gitignore", "edited", "kept", "new", "replaced", "skip/x"];
        assert_eq!(reader.files().keys().collect::<Vec<_>>(), left, "live: {is_live}");
        assert_eq!(reader.text("edited"), "mine");
        assert!(!reader.has("made"), "live: {is_live}");
        let status = reader.stopover(&["status", "--json"]).exits(0).json();
        let changes: Vec<_> =
            status["changes"].as_array().expect("changes").iter().map(|change| &change["path"]).collect();
        assert_eq!(changes, ["edited"], "{status}");
    }
}

#[test]
fn a_watched_directory_is_sent_again_when_it_changes() {
    let story = Story::on(&Server::best());
    let laptop = story.directory("laptop");
    laptop.file("a", "1");
    let watching = laptop.start(&["upload", &story.url(), "--watch"]);
    watching.prints("committed 1 file changed");
    assert_eq!(story.object_text("a"), "1");
    laptop.file("sub/b", "2").file("c", "3");
    watching.prints("committed 2 files changed");
    assert_eq!(story.object_text("sub/b"), "2");
    watching.signal(2);
    assert_eq!(watching.ends().code(), 130);
}

#[test]
fn doctor_knows_this_server() {
    let server = Server::best();
    let story = Story::on(&server);
    let here = story.directory("here");
    let diagnosis = here.stopover(&["doctor", "--json"]).exits(0).json();
    assert_eq!(keys(&diagnosis), ["server", "checks"]);
    let checks = diagnosis["checks"].as_array().expect("checks");
    for check in checks {
        assert_eq!(keys(check), ["name", "ok", "seen", "follows"]);
    }
    let delete = checks.iter().find(|check| check["name"] == "DELETE If-Match").expect("a check");
    assert_eq!(delete["ok"], server.has("delete-condition"), "{delete}");
    assert_eq!(story.outsider.keys(&story.key("")), Vec::<String>::new(), "it leaves nothing behind");
}

#[test]
fn keys_given_as_flags_reach_the_children() {
    let story = Story::on(&Server::best());
    story.object("a", "1");
    let here = story.directory("here");
    here.with("S3_ACCESS_KEY", "")
        .with("S3_SECRET_KEY", "")
        .flag(&["--s3-access-key", support::servers::ACCESS_KEY, "--s3-secret-key", support::servers::SECRET_KEY])
        .run_script("cat a; echo 2 > b")
        .exits(0)
        .printed("1");
    assert_eq!(story.object_text("b"), "2\n");
}

#[test]
fn the_summary_of_a_run_has_every_key_whatever_happened() {
    let story = Story::on(&Server::best());
    story.object("a", "1");
    let file = story.path("summary");
    let here = story
        .directory("here")
        .with("STOPOVER_SUMMARY", file.to_str().expect("UTF-8"))
        .with("STOPOVER_CHECKPOINT", "off")
        .with("STOPOVER_LOG_FORMAT", "json")
        .with("STOPOVER_INSTALL", "sh -c 'true and so on'");
    let summary = || -> Value { serde_json::from_slice(&fs::read(&file).expect("a summary")).expect("JSON") };
    let ended = here.run_script("echo 2 > b; exit 3").exits(3);
    let whole = summary();
    let last: Value = serde_json::from_str(ended.stderr.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last, whole, "the last line of the log is the summary");
    let all = ["workspace", "directory", "exit_code", "reason", "restore", "install", "app", "commit"];
    assert_eq!(keys(&whole), all);
    assert_eq!((&whole["workspace"], &whole["reason"]), (&json!(story.url()), &json!("exited")));
    assert_eq!(whole["directory"], here.path.display().to_string());
    assert_eq!(keys(&whole["restore"]), ["snapshot", "files", "bytes", "requests", "seconds", "refused", "missing"]);
    assert_eq!(keys(&whole["install"][0]), ["tool", "command", "exit_code", "seconds"]);
    assert_eq!(whole["install"][0]["command"], "sh -c 'true and so on'");
    assert_eq!(keys(&whole["app"]), ["command", "exit_code", "signal", "seconds"]);
    assert_eq!(whole["app"]["command"], "sh -c 'echo 2 > b; exit 3'");
    assert_eq!((&whole["app"]["exit_code"], &whole["app"]["signal"]), (&json!(3), &Value::Null));
    assert_eq!(keys(&whole["commit"]), RECEIPT);
    // A plain workspace has no snapshot that anybody could restore.
    assert_eq!((&whole["commit"]["snapshot"], &whole["restore"]["snapshot"]), (&Value::Null, &Value::Null));
    assert_eq!(whole["commit"]["quiet"], true);

    for (name, value, code, reason) in [
        ("STOPOVER_EXPECT", "new", 80, "restore-failed"),
        ("STOPOVER_INSTALL", "false", 81, "install-failed"),
        ("STOPOVER_GRACE", "x", 2, "usage"),
        ("STOPOVER_USER", "no-such-user", 2, "usage"),
    ] {
        story
            .directory("here")
            .with("STOPOVER_SUMMARY", file.to_str().expect("UTF-8"))
            .with(name, value)
            .run(&["true"])
            .exits(code);
        let summary = summary();
        assert_eq!((keys(&summary), &summary["reason"]), (all.to_vec(), &json!(reason)), "{name}");
        assert_eq!((&summary["exit_code"], &summary["app"]), (&json!(code), &Value::Null), "{name}");
    }
}

#[test]
fn what_explains_prints_every_key() {
    let story = Story::on(&Server::best());
    let here = story.directory("here").with("STOPOVER_INSTALL", "");
    here.file("package.json", r#"{"scripts":{"start":"node a.js"}}"#).file("package-lock.json", "{}").file("x.log", "");
    let explained = here.stopover(&["explain", "--json", "x.log", "package.json"]).exits(0);
    for line in explained.stdout.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(keys(&line), ["path", "stored", "rule", "source", "line"]);
    }
    let plan = here.stopover(&["install", "--explain", "--json"]).exits(0).json();
    assert_eq!(keys(&plan), ["install", "start", "warnings"]);
    assert_eq!(keys(&plan["install"][0]), ["tool", "command", "directory", "because", "cache"]);
    assert_eq!((keys(&plan["start"]), &plan["start"]["command"]), (vec!["command", "because"], &json!("node a.js")));
    let health = here.stopover(&["health", "--json"]).exits(1);
    assert_eq!(keys(&health.json()), ["state", "since", "pid", "snapshot", "last_commit"]);
}

#[test]
fn an_upload_that_would_cost_what_lies_below_a_name_is_refused_unless_deletes_are_asked_for() {
    let story = Story::on(&Server::best());
    story.object("docs/one", "1").object("docs/two", "2").object("notes", "n");
    let laptop = story.directory("laptop");
    laptop.file("docs", "a file").file("new", "new");
    laptop.stopover(&["upload", &story.url()]).exits(4).says("docs/one").says("--delete");
    assert_eq!(story.objects(), ["docs/one", "docs/two", "notes"]);
    laptop.remove("docs").file("docs/one", "1").file("notes/today", "n");
    laptop.stopover(&["upload", &story.url()]).exits(4).says("has notes");
    assert_eq!(story.objects(), ["docs/one", "docs/two", "notes"]);
    laptop.stopover(&["upload", &story.url(), "--delete"]).exits(0);
    assert_eq!(story.objects(), ["docs/one", "new", "notes/today"]);
}
