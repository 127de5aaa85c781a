//! What ends a container, and what is in the bucket afterwards: real children, a real server, real signals.
//!
//! `life.rs` has the supervisor's side of it in detail, with stand-ins for the children.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

fn story() -> Story {
    Story::on(&Server::here())
}

/// A directory whose only commits are those that the test asks for.
fn workspace(story: &Story) -> Directory {
    story.directory("container").with("STOPOVER_CHECKPOINT", "off")
}

/// All keys and contents of the bucket.
fn everything(story: &Story) -> BTreeMap<String, Vec<u8>> {
    let keys = story.outsider.keys("").into_iter();
    keys.map(|key| (key.clone(), story.outsider.get(&key).unwrap().bytes)).collect()
}

/// The summary that a run of `directory` left.
fn summary(story: &Story) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(story.path("summary")).unwrap()).expect("a summary")
}

/// A busy machine may take its time, but what hangs on a server that is gone takes a minute and more.
#[track_caller]
fn within_the_budget(told: Instant, stop_timeout: Duration) {
    let took = told.elapsed();
    assert!(took < stop_timeout * 3, "{took:?} of {stop_timeout:?}");
}

const WAIT: &str = "while :; do sleep 0.02; done";

#[test]
fn the_next_container_finds_what_the_app_wrote_while_it_was_stopped() {
    let story = story();
    story.object("kept.txt", "from before");
    let script = format!("trap 'echo flushed > state; exit 0' TERM; cat kept.txt; echo runs; {WAIT}");
    let run = workspace(&story).start_run(&["sh", "-c", &script]);
    run.prints("runs").term();
    let ended = run.ends().exits(0).printed("from before").says("everything is stored");
    assert_eq!(ended.stderr.matches("restoring s3://").count(), 1, "one line per phase:\n{}", ended.stderr);
    assert_eq!(story.object_text("state"), "flushed\n");
    story.directory("next").run_script("cat kept.txt state").exits(0).printed("from before").printed("flushed");
}

#[test]
fn the_last_receipt_also_tells_what_the_early_commit_stored() {
    let story = story();
    let told = "until grep -q '\"last_commit\":\"' .stopover/phase; do sleep 0.02; done";
    let script = format!(
        "trap '{}; echo late > late; exit 0' TERM; echo early > early; echo runs; {WAIT}",
        told.replace('\'', "'\\''")
    );
    let run = workspace(&story).start_run(&["sh", "-c", &script]);
    run.prints("runs").term();
    run.ends().exits(0).says("committed 2 files changed");
    assert_eq!(story.objects(), ["early", "late"]);
}

#[test]
fn a_worker_that_outlives_its_shell_has_flushed_before_the_commit() {
    for detach in ["", "setsid"] {
        let story = story();
        let worker = format!("trap 'sleep 0.7; echo flushed > state; exit 0' TERM; echo runs; {WAIT}");
        // An eighth of the stop timeout is the most that the grace time can be.
        let directory = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "160s").with("STOPOVER_GRACE", "16s");
        let run = directory.start_run(&["sh", "-c", &format!("{detach} sh -c \"{worker}\" & wait")]);
        run.prints("runs").term();
        run.ends().exits(143);
        assert_eq!(story.object_text("state"), "flushed\n", "{detach}");
    }
}

#[test]
fn every_ending_of_the_app_is_followed_by_a_commit() {
    for (script, code, signal) in [
        ("exit 0", 0, None),
        ("exit 1", 1, None),
        ("exit 143", 143, None),
        ("kill -KILL $$", 137, Some(9)),
        ("kill -TERM $$", 143, Some(15)),
        ("kill -SEGV $$", 139, Some(11)),
    ] {
        let story = story();
        let directory = workspace(&story).with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
        directory.run_script(&format!("echo kept > file; {script}")).exits(code);
        assert_eq!(story.object_text("file"), "kept\n", "{script}");
        let summary = summary(&story);
        assert_eq!((&summary["exit_code"], &summary["commit"]["durable"]), (&code.into(), &true.into()), "{script}");
        let key = if signal.is_some() { "signal" } else { "exit_code" };
        assert_eq!(summary["app"][key], signal.unwrap_or(code), "{script}: {summary}");
    }
}

#[test]
fn where_the_commit_fails_the_apps_own_failure_is_the_exit_code_and_82_stands_for_a_good_end_only() {
    let trap_none = format!("echo runs; {WAIT}");
    for (script, told, code) in [
        ("exit 0", false, 82),
        ("exit 3", false, 3),
        ("kill -KILL $$", false, 137),
        // Ended by the very signal that the stop forwarded: it ended well.
        (&trap_none, true, 82),
    ] {
        let server = Server::here();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let directory = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "5s");
        front.on(any().op("PutObject"), Fault::DENIED);
        let run = directory.start_run(&["sh", "-c", &format!("echo kept > file; {script}")]);
        if told {
            run.prints("runs").term();
        }
        run.ends().exits(code).says("s3:PutObject");
        assert_eq!(everything(&story), BTreeMap::new(), "{script}");
        front.heal();
        directory.commit().exits(0);
        assert_eq!(story.object_text("file"), "kept\n", "{script}");
    }
}

#[test]
fn a_checkpoint_stores_what_a_sigkill_would_cost() {
    let story = story();
    let directory = story.directory("container").with("STOPOVER_CHECKPOINT", "200ms");
    // Nobody is left to end an app whose supervisor was killed: it looks for itself.
    let script = "echo early > file; echo runs; while kill -0 $PPID 2>/dev/null; do sleep 0.02; done";
    let run = directory.start_run(&["sh", "-c", script]);
    run.prints("runs");
    let until = Instant::now() + Duration::from_secs(30);
    while !story.has_object("file") {
        assert!(Instant::now() < until, "no checkpoint came");
        std::thread::sleep(Duration::from_millis(20));
    }
    run.kill();
    run.ends();
    story.directory("next").run_script("cat file").exits(0).printed("early");
}

#[test]
fn a_commit_from_inside_gives_a_receipt_while_the_app_goes_on() {
    let story = story();
    let binary = support::story::binary();
    let script = format!(
        "echo one > a; {binary} commit --json > ../receipt; echo code $?; echo two > b",
        binary = binary.to_string_lossy()
    );
    workspace(&story).run_script(&script).exits(0).printed("code 0");
    let receipt: serde_json::Value =
        serde_json::from_slice(&std::fs::read(story.path("receipt")).unwrap()).expect("a receipt");
    assert_eq!(receipt["durable"], true);
    assert_eq!(receipt["quiet"], false, "the app lived");
    assert_eq!(receipt["files_changed"], 1);
    assert_eq!(story.objects(), ["a", "b"]);
}

#[test]
fn a_term_during_the_restore_cancels_it_and_touches_nothing() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("slow.txt", "never arrives");
    let held = front.hold(any().op("GetObject").key("slow.txt"));
    let run = workspace(&story).start_run(&["sh", "-c", "echo started"]);
    held.reached();
    run.term();
    let ended = run.ends().exits(143);
    held.release();
    assert!(!ended.stdout.contains("started"));
    assert_eq!(story.objects(), ["slow.txt"]);
    // The next life is whole.
    story.directory("next").run_script("cat slow.txt").exits(0).printed("never arrives");
}

#[test]
fn what_was_half_restored_when_a_term_came_is_committed_by_nobody() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("first.txt", "there").object("slow.txt", "never arrives");
    let before = everything(&story);
    let directory = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "5s");
    let held = front.hold(any().op("GetObject").key("slow.txt"));
    let run = directory.start_run(&["sh", "-c", "echo started"]);
    held.reached();
    directory.file("first.txt", "half").file("own.txt", "own");
    let told = Instant::now();
    run.term();
    let ended = run.ends().exits(143);
    within_the_budget(told, Duration::from_secs(5));
    assert!(!ended.stdout.contains("started"));
    held.release();
    directory.commit().exits(1).says("did not finish").says("stopover pull");
    assert_eq!(everything(&story), before);
    // A restore that ends well makes it a workspace again; what was edited meanwhile stepped aside.
    directory.run_script("cat first.txt slow.txt own.txt").exits(0).printed("therenever arrivesown");
    assert_eq!(story.objects(), ["first.txt", "own.txt", "slow.txt"]);
}

#[test]
fn a_term_during_the_install_cancels_it_and_nothing_is_committed() {
    let story = story();
    story.object("there.txt", "there");
    let before = everything(&story);
    let install = format!("sh -c 'trap \"echo told > ../told; exit 0\" TERM; echo at work $((6*7)) >&2; {WAIT}'");
    let directory = workspace(&story).with("STOPOVER_INSTALL", &install);
    directory.file("own.txt", "own");
    let directory = directory.with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
    let run = directory.start_run(&["sh", "-c", "echo started"]);
    // The log shows the command: this is what it prints.
    run.logs("at work 42").term();
    let ended = run.ends().exits(143);
    assert!(!ended.stdout.contains("started"));
    assert_eq!(summary(&story)["reason"], "cancelled");
    assert_eq!(std::fs::read_to_string(story.path("told")).unwrap(), "told\n", "the install was told, not just killed");
    assert_eq!(everything(&story), before);
    directory.with("STOPOVER_INSTALL", "none").run_script("cat there.txt").exits(0).printed("there");
    assert_eq!(story.objects(), ["own.txt", "there.txt"]);
}

#[test]
fn an_install_that_fails_starts_no_app() {
    let story = story();
    let directory = workspace(&story).with("STOPOVER_INSTALL", "sh -c 'echo broken >&2; exit 7'");
    let ended = directory
        .run_script("echo started")
        .exits(81)
        .says("broken")
        .says("failed (exit code 7)")
        .says("the app is not started");
    assert!(!ended.stdout.contains("started"));
    assert_eq!(everything(&story), BTreeMap::new());
}

#[test]
fn a_server_that_is_gone_from_the_beginning_cannot_hold_up_a_stop() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let held = front.hold(any());
    let run = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "5s").start_run(&["sh", "-c", "echo started"]);
    held.reached();
    let told = Instant::now();
    run.term();
    let ended = run.ends().exits(143);
    within_the_budget(told, Duration::from_secs(5));
    assert!(!ended.stdout.contains("started"));
}

#[test]
fn a_term_while_the_last_commit_hangs_gives_it_the_budget_and_no_more() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let directory = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "4s");
    let held = front.hold(any().op("PutObject").key("file"));
    let run = directory.start_run(&["sh", "-c", "echo kept > file"]);
    // The app has ended by itself: there is no budget yet.
    held.reached();
    let told = Instant::now();
    run.term();
    run.ends().exits(82).says("not stored: file (deadline)");
    within_the_budget(told, Duration::from_secs(4));
    // What the dead one had on its way must not meet the next commit.
    held.abandon();
    front.settles();
    front.heal();
    directory.commit().exits(0);
    assert_eq!(story.object_text("file"), "kept\n");
}

/// An app that changes four files when it is told to stop, of which the server never takes one.
fn stops_with_a_put_that_hangs(story: &Story, front: &Front, directory: &Directory) -> serde_json::Value {
    let _held = front.hold(any().op("PutObject").key("stuck.txt"));
    let script = format!(
        "trap 'echo 1 > small.txt; chmod 750 small.txt; echo 2 > stuck.txt; rm gone.txt; exit 0' TERM; echo runs; {WAIT}"
    );
    let run = directory.start_run(&["sh", "-c", &script]);
    run.prints("runs");
    let told = Instant::now();
    run.term();
    run.ends().exits(82).says("not stored: stuck.txt (deadline)").says("not deleted: gone.txt (deadline)");
    within_the_budget(told, Duration::from_secs(5));
    summary(story)["commit"].clone()
}

#[test]
fn what_hangs_at_the_deadline_is_named_and_the_rest_is_committed() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("gone.txt", "gone");
    let directory = workspace(&story)
        .with("STOPOVER_STOP_TIMEOUT", "5s")
        .with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
    let receipt = stops_with_a_put_that_hangs(&story, &front, &directory);
    assert_eq!((&receipt["durable"], &receipt["partial"]), (&true.into(), &true.into()), "{receipt}");
    assert_eq!(receipt["not_stored"], serde_json::json!([{"path": "stuck.txt", "reason": "deadline"}]));
    assert_eq!(receipt["not_deleted"], serde_json::json!([{"path": "gone.txt", "reason": "deadline"}]));
    assert_eq!(story.objects(), ["gone.txt", "small.txt"]);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!((next.paths(), next.mode_of("small.txt")), (vec!["gone.txt".into(), "small.txt".into()], 0o750));
    front.heal();
    directory.run_script("true").exits(0);
    assert_eq!(story.objects(), ["small.txt", "stuck.txt"]);
}

#[test]
fn whoever_wants_all_or_the_old_gets_the_old_snapshot_at_the_deadline() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("gone.txt", "gone");
    let directory = workspace(&story)
        .with("STOPOVER_STOP_TIMEOUT", "5s")
        .with("STOPOVER_ON_DEADLINE", "old")
        .with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
    let receipt = stops_with_a_put_that_hangs(&story, &front, &directory);
    assert_eq!((&receipt["durable"], &receipt["snapshot"]), (&false.into(), &serde_json::Value::Null), "{receipt}");
    assert!(!story.has_object(".stopover/head.json"));
    front.heal();
    directory.run_script("true").exits(0);
    assert_eq!(story.objects(), ["small.txt", "stuck.txt"]);
}

#[test]
fn a_server_that_is_gone_at_the_end_cannot_overrun_the_stop_timeout() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("gone.txt", "gone").object("ignored.txt", "ignored by now");
    let script =
        format!("trap 'echo lost > file; rm gone.txt; echo ignored.txt > .gitignore; exit 0' TERM; echo runs; {WAIT}");
    let directory = workspace(&story)
        .with("STOPOVER_STOP_TIMEOUT", "10s")
        .with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
    let run = directory.start_run(&["sh", "-c", &script]);
    run.prints("runs");
    front.on(any(), Fault::BlackHole);
    let told = Instant::now();
    run.term();
    run.ends().exits(82).says("NOT stored");
    within_the_budget(told, Duration::from_secs(10));
    // What is lost with this disk is named.
    let receipt = summary(&story)["commit"].clone();
    let named = |names: &[&str]| -> serde_json::Value {
        names.iter().map(|name| serde_json::json!({"path": name, "reason": "deadline"})).collect()
    };
    let lost = named(&[".gitignore", "file"]);
    assert_eq!((&receipt["durable"], &receipt["not_stored"]), (&false.into(), &lost), "{receipt}");
    assert_eq!(receipt["not_deleted"], named(&["gone.txt"]), "{receipt}");
    // Nothing was lost: the directory has it still, and the next life stores it.
    front.heal();
    directory.run_script("cat file").exits(0).printed("lost");
    assert_eq!(
        (story.objects(), story.object_text("file").as_str()),
        (vec![".gitignore".into(), "file".into(), "ignored.txt".into()], "lost\n")
    );
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_restore_nor_commit() {
    let story = story();
    story.object("there.txt", "in the bucket");
    let directory = workspace(&story).with_a_log_that_nobody_reads();
    directory.run_script("cat there.txt; echo kept > file").exits(0).printed("in the bucket");
    assert_eq!(story.object_text("file"), "kept\n");
}

#[test]
fn a_pipe_in_place_of_the_phase_does_not_hold_up_a_health_check() {
    let story = story();
    let directory = workspace(&story);
    directory.folder(".stopover");
    nix::unistd::mkfifo(&directory.path.join(".stopover/phase"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    directory.stopover(&["health"]).exits(1).says("is damaged");
}

#[test]
fn an_app_that_never_ends_is_killed_and_its_data_stored_in_time() {
    let story = story();
    let script = format!("trap '' TERM; echo kept > file; echo runs; {WAIT}");
    let run = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "10s").start_run(&["sh", "-c", &script]);
    run.prints("runs");
    let told = Instant::now();
    run.term();
    run.ends().exits(137);
    within_the_budget(told, Duration::from_secs(10));
    assert_eq!(story.object_text("file"), "kept\n");
}

#[test]
fn who_asks_during_a_checkpoint_is_served_by_a_commit_that_began_after_he_asked() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let held = front.hold(any().op("PutObject").key("early.txt"));
    let directory = story.directory("container").with("STOPOVER_CHECKPOINT", "1h");
    // The first checkpoint begins when the restore ends, and stores what was here before.
    directory.file("early.txt", "early");
    let run = directory.start_run(&["sh", "-c", &format!("echo runs; {WAIT}")]);
    run.prints("runs");
    held.reached();
    directory.file("late.txt", "late");
    let (all, durable) = (directory.start(&["commit", "--json"]), directory.start(&["commit", "--json", "--durable"]));
    run.logs(&format!("process {} ", all.pid())).logs(&format!("process {} ", durable.pid()));
    assert!(!story.has_object("late.txt"));
    held.release();
    for asked in [all, durable] {
        let receipt = asked.ends().exits(0).json();
        assert_eq!((&receipt["durable"], &receipt["files_changed"]), (&true.into(), &1.into()), "{receipt}");
        assert!(receipt["requests"].as_u64() > Some(0) && receipt["seconds"].as_f64() > Some(0.0), "{receipt}");
    }
    assert_eq!(story.object_text("late.txt"), "late");
    // One commit was enough for both.
    let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
    assert_eq!(head["seq"], 2, "{head}");
    run.term();
    run.ends().exits(143);
}

#[test]
fn a_term_cancels_a_checkpoint_that_hangs_and_the_last_commit_stores_everything() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let held = front.hold(any().op("PutObject").class(Class::Live).once());
    let directory = story.directory("container").with("STOPOVER_CHECKPOINT", "1h");
    directory.file("early.txt", "early");
    let run =
        directory.start_run(&["sh", "-c", &format!("trap 'echo late > late.txt; exit 0' TERM; echo runs; {WAIT}")]);
    run.prints("runs");
    held.reached();
    run.term();
    run.ends().exits(0).says("everything is stored");
    assert_eq!((story.object_text("early.txt"), story.object_text("late.txt")), ("early".into(), "late\n".into()));
    assert_eq!(story.objects(), ["early.txt", "late.txt"]);
}

#[test]
fn a_failed_restore_is_committed_by_nobody_until_a_pull_succeeds() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("there.txt", "in the bucket");
    let before = everything(&story);
    front.on(any().op("GetObject").key("there.txt"), Fault::DENIED);
    let directory = workspace(&story);
    directory.file("local.txt", "was here");
    let ended = directory.run_script("echo started").exits(80).says("there.txt");
    assert!(!ended.stdout.contains("started"));
    directory.commit().exits(1).says("stopover pull");
    // Not by an app that was started all the same, nor by one that asks from inside, nor by what it leaves.
    let binary = support::story::binary();
    let script = format!(
        "trap 'echo last > last.txt; exit 0' TERM; echo started; echo new > new.txt; {} commit; echo code $?; {WAIT}",
        binary.to_string_lossy()
    );
    let anyway = workspace(&story)
        .with("STOPOVER_ON_RESTORE_FAILURE", "run")
        .with("STOPOVER_CHECKPOINT", "100ms")
        .with("STOPOVER_SUMMARY", story.path("summary").to_str().unwrap());
    let run = anyway.start_run(&["sh", "-c", &script]);
    run.prints("started").prints("code 1").term();
    run.ends().exits(0).says("STOPOVER_ON_RESTORE_FAILURE=run");
    assert_eq!(summary(&story)["commit"], serde_json::Value::Null);
    directory.commit().exits(1).says("stopover pull");
    assert_eq!(everything(&story), before);
    front.heal();
    directory.pull().exits(0);
    directory.commit().exits(0);
    assert_eq!(story.objects(), ["last.txt", "local.txt", "new.txt", "there.txt"]);
    assert_eq!(story.object_text("there.txt"), "in the bucket");
}

#[test]
fn what_is_expected_of_the_workspace_is_a_guard() {
    let story = story();
    let mark = story.path("mark");
    let touch = ["touch", mark.to_str().unwrap()];
    let directory = workspace(&story);
    directory.file("own.txt", "own");
    let existing = || workspace(&story).with("STOPOVER_EXPECT", "existing");
    existing().pull().exits(4).says("does not exist, and STOPOVER_EXPECT=existing");
    existing().run(&touch).exits(80).says("does not exist, and STOPOVER_EXPECT=existing");
    directory.commit().exits(1).says("stopover pull");
    assert!(!mark.exists());
    assert_eq!((everything(&story), directory.paths()), (BTreeMap::new(), vec!["own.txt".to_owned()]));
    // By flag as by variable; then it is there.
    workspace(&story).flag(&["--expect", "new"]).run(&touch).exits(0);
    assert_eq!(story.objects(), ["own.txt"]);
    let before = everything(&story);
    std::fs::remove_file(&mark).unwrap();
    let new = || story.directory("other").with("STOPOVER_EXPECT", "new");
    new().file("other.txt", "other");
    new().pull().exits(4).says("exists already, and STOPOVER_EXPECT=new");
    new().run(&touch).exits(80).says("exists already, and STOPOVER_EXPECT=new");
    assert!(!mark.exists());
    assert_eq!((everything(&story), new().paths()), (before, vec!["other.txt".to_owned()]));
    existing().run(&touch).exits(0);
    assert!(mark.exists());
}

#[test]
fn an_early_commit_that_hangs_leaves_the_last_one_its_time() {
    for is_live in [true, false] {
        let server = Server::here();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        if is_live {
            let before = story.directory("before");
            before.pull().exits(0);
            before.file("a.txt", "1").checkpoint().exits(0);
        }
        let directory = story.directory("container").with("STOPOVER_CHECKPOINT", "off");
        let directory = directory.with("STOPOVER_STOP_TIMEOUT", "40s");
        let script = format!(
            "trap 'until [ -e go ]; do sleep 0.02; done; echo late > late.txt; exit 0' TERM; echo runs; {WAIT}"
        );
        let run = directory.start_run(&["sh", "-c", &script]);
        run.prints("runs");
        directory.file("early.txt", "early");
        let held = front.hold(any().op("PutObject").class(if is_live { Class::Pack } else { Class::Live }).once());
        let told = Instant::now();
        run.term();
        held.reached();
        directory.file("go", "");
        run.ends().exits(0).says("everything is stored");
        // A quarter of what was left, and not the half minute that a request may take.
        assert!(told.elapsed() < Duration::from_secs(25), "{:?}", told.elapsed());
        held.abandon();
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.text("early.txt"), next.text("late.txt")), ("early".into(), "late\n".into()));
    }
}
