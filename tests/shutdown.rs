//! What ends a container, and what is in the bucket afterwards: real children, a real server, real signals.
//!
//! `life.rs` has the supervisor's side of it in detail, with stand-ins for the children.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::time::{Duration, Instant};

use support::{
    front::{Fault, Front, any},
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

const WAIT: &str = "while :; do sleep 0.02; done";

#[test]
fn the_next_container_finds_what_the_app_wrote_while_it_was_stopped() {
    let story = story();
    story.object("kept.txt", "from before");
    let script = format!("trap 'echo flushed > state; exit 0' TERM; cat kept.txt; echo runs; {WAIT}");
    let run = workspace(&story).start_run(&["sh", "-c", &script]);
    run.prints("runs").term();
    run.ends().exits(0).printed("from before").says("everything is stored");
    assert_eq!(story.object_text("state"), "flushed\n");
    story.directory("next").run_script("cat kept.txt state").exits(0).printed("from before").printed("flushed");
}

#[test]
fn a_worker_that_outlives_its_shell_has_flushed_before_the_commit() {
    for detach in ["", "setsid"] {
        let story = story();
        let worker = format!("trap 'sleep 0.7; echo flushed > state; exit 0' TERM; echo runs; {WAIT}");
        let run = workspace(&story).start_run(&["sh", "-c", &format!("{detach} sh -c \"{worker}\" & wait")]);
        run.prints("runs").term();
        run.ends().exits(143);
        assert_eq!(story.object_text("state"), "flushed\n", "{detach}");
    }
}

#[test]
fn every_ending_of_the_app_is_followed_by_a_commit() {
    for (script, code) in
        [("exit 0", 0), ("exit 1", 1), ("exit 143", 143), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        let story = story();
        workspace(&story).run_script(&format!("echo kept > file; {script}")).exits(code);
        assert_eq!(story.object_text("file"), "kept\n", "{script}");
    }
}

#[test]
fn a_checkpoint_stores_what_a_sigkill_would_cost() {
    let story = story();
    let directory = story.directory("container").with("STOPOVER_CHECKPOINT", "200ms");
    let run = directory.start_run(&["sh", "-c", &format!("echo early > file; echo runs; {WAIT}")]);
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
fn a_server_that_is_gone_at_the_end_cannot_overrun_the_stop_timeout() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let script = format!("trap 'echo lost > file; exit 0' TERM; echo runs; {WAIT}");
    let directory = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "4s");
    let run = directory.start_run(&["sh", "-c", &script]);
    run.prints("runs");
    front.on(any(), Fault::BlackHole);
    let told = Instant::now();
    run.term();
    run.ends().exits(82).says("NOT stored");
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
    // Nothing was lost: the directory has it still, and the next life stores it.
    front.heal();
    directory.run_script("cat file").exits(0).printed("lost");
    assert_eq!(story.object_text("file"), "lost\n");
}

#[test]
fn an_app_that_never_ends_is_killed_and_its_data_stored_in_time() {
    let story = story();
    let script = format!("trap '' TERM; echo kept > file; echo runs; {WAIT}");
    let run = workspace(&story).with("STOPOVER_STOP_TIMEOUT", "5s").start_run(&["sh", "-c", &script]);
    run.prints("runs");
    let told = Instant::now();
    run.term();
    run.ends().exits(137);
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert_eq!(story.object_text("file"), "kept\n");
}

#[test]
fn a_failed_restore_is_committed_by_nobody() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("there.txt", "in the bucket");
    front.on(any(), Fault::DENIED);
    let directory = workspace(&story);
    directory.file("local.txt", "was here");
    directory.run_script("echo started").exits(80).never_says("started");
    let anyway = workspace(&story).with("STOPOVER_ON_RESTORE_FAILURE", "run");
    anyway.run_script("echo started; echo new > file").exits(0).printed("started");
    front.heal();
    directory.commit().says("was never restored");
    assert_eq!(story.objects(), ["there.txt"]);
}
