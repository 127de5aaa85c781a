//! Much to do in little time: thousands of changed files, a server that is far away, and a stop that does not wait. The
//! durable point comes first; the live tree has what is left. And what a commit costs in requests and bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::time::{Duration, Instant};

use support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

const WAIT: &str = "trap 'exit 0' TERM; echo runs; while :; do sleep 0.02; done";

fn summary(story: &Story) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(story.path("summary")).unwrap()).expect("a summary")
}

fn container(story: &Story, name: &str) -> Directory {
    let summary = story.path("summary").display().to_string();
    story.directory(name).with("STOPOVER_CHECKPOINT", "off").with("STOPOVER_SUMMARY", &summary)
}

/// A live workspace with this many small files.
fn live(story: &Story, files: usize) -> Directory {
    let here = story.directory("here");
    here.pull().exits(0);
    change(&here, files, 0);
    here.checkpoint().exits(0);
    here
}

fn text(n: usize, round: usize) -> String {
    format!("{round}: {}\n", blake3::hash(format!("{n} {round}").as_bytes()).to_hex()).repeat(1 + n % 9)
}

fn change(directory: &Directory, files: usize, round: usize) {
    for n in 0..files {
        directory.file(&format!("src/{}/{n}.txt", n % 40), text(n, round));
    }
}

/// The requests, and their bytes, from `begun` to the write of head.
fn until_durable(front: &Front, begun: usize) -> (usize, usize) {
    let seen = front.seen().split_off(begun);
    let head = seen.iter().position(|seen| seen.op == "PutObject" && seen.class == Class::Head).expect("a head");
    (head + 1, seen[..=head].iter().map(|seen| seen.bytes).sum())
}

#[test]
fn thousands_of_changes_are_durable_when_the_stop_is_over_and_the_next_container_has_them() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    live(&story, 100);
    let directory = container(&story, "container").with("STOPOVER_STOP_TIMEOUT", "30s");
    front.on(any(), Fault::Delay(Duration::from_millis(60)));
    let run = directory.start_run(&["sh", "-c", WAIT]);
    run.prints("runs");
    // A checkpoint that has nothing to do, as the first one of a container, has measured what this server can.
    directory.stopover(&["commit"]).exits(0);
    change(&directory, 5000, 1);
    let (begun, told) = (front.seen().len(), Instant::now());
    run.term();
    run.ends().exits(0).says("everything is stored");
    let took = told.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    let receipt = summary(&story)["commit"].clone();
    assert_eq!((&receipt["durable"], &receipt["partial"]), (&true.into(), &false.into()), "{receipt}");
    let (requests, bytes) = until_durable(&front, begun);
    println!(
        "5,000 changed files: durable after {requests} requests and {bytes} bytes; the stop took {took:?}, and its live \
         tree was {}",
        receipt["live_tree"]
    );
    assert!(requests <= 5, "no request a file stands on the way to the durable point: {requests}");
    front.heal();
    let next = story.directory("next");
    next.pull().exits(0).printed("5,000 files");
    assert!(next.tree() == directory.tree());
}

#[test]
fn a_stop_during_a_catch_up_that_hangs_does_not_wait_for_it() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    live(&story, 20);
    let directory = container(&story, "container").with("STOPOVER_STOP_TIMEOUT", "20s");
    let run = directory.start_run(&["sh", "-c", WAIT]);
    run.prints("runs");
    change(&directory, 300, 1);
    let held = front.hold(any().class(Class::Live).after(9));
    let checkpoint = directory.start(&["commit"]);
    held.reached();
    directory.file("late.txt", "late");
    let (begun, told) = (front.seen().len(), Instant::now());
    run.term();
    // The next thing that matters: head, moved by the last commit.
    let moved = || {
        let seen = front.seen().split_off(begun);
        seen.iter().any(|seen| seen.op == "PutObject" && seen.class == Class::Head)
    };
    support::story::until(moved);
    let durable = told.elapsed();
    run.ends().exits(0).says("everything is stored");
    assert!(durable < Duration::from_secs(25), "{durable:?}");
    assert!(told.elapsed() < Duration::from_secs(30), "{:?}", told.elapsed());
    // Who had asked for it is served by the commit of the stop.
    checkpoint.ends().exits(0).printed("snapshot 3");
    let receipt = summary(&story)["commit"].clone();
    assert_eq!((&receipt["durable"], &receipt["live_tree"]), (&true.into(), &"behind".into()), "{receipt}");
    println!("the commit of the stop was durable {durable:?} after the signal, beside a catch-up that hung");
    held.abandon();
    front.heal();
    // The next one finishes what was begun.
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.text("late.txt"), "late");
    let receipt = next.stopover(&["commit", "--json"]).exits(0).json();
    assert_eq!(receipt["live_tree"], "current", "{receipt}");
    assert!(story.live() == next.files());
}

/// What a commit of so many changed files costs: up to the durable point, and in all.
fn cost(files: usize) {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = live(&story, 200);
    // The second one: the first has measured what this server can.
    here.file("src/0/0.txt", "warm");
    here.checkpoint().exits(0);
    change(&here, files, 1);
    let begun = front.seen().len();
    let receipt = here.stopover(&["commit", "--json"]).exits(0).json();
    let (requests, bytes) = until_durable(&front, begun);
    let sent: usize = (0..files).map(|n| text(n, 1).len()).sum();
    println!(
        "{files} changed files of {sent} bytes: {requests} requests and {bytes} bytes until durable, {} requests and {} \
         bytes with the live tree",
        receipt["requests"], receipt["bytes_sent"]
    );
    assert_eq!(receipt["files_changed"], files, "{receipt}");
    assert!(requests <= 4, "a pack, a tree, head: {requests}");
    // Each object, the mirror, and head whenever it was not seen for five seconds.
    let looks = (receipt["seconds"].as_f64().unwrap() / 5.0) as usize;
    assert!(receipt["requests"].as_u64().unwrap() <= (files + looks + 8) as u64, "{receipt}");
}

#[test]
fn a_commit_costs_three_requests_until_it_is_durable_and_one_a_file_after_that() {
    cost(1);
    cost(100);
}

#[test]
#[ignore = "takes its time: 5,000 objects"]
fn a_commit_of_thousands_of_files_costs_as_many_requests_until_it_is_durable() {
    cost(5000);
}

#[test]
fn one_page_of_a_large_file_costs_one_piece_until_it_is_durable() {
    let server = Server::best();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = live(&story, 1);
    let mut large: Vec<u8> = (0..3_u32 << 20).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    here.file("large.bin", &large).checkpoint().exits(0);
    large[9_000_000..9_004_096].fill(7);
    here.file("large.bin", &large);
    let begun = front.seen().len();
    let receipt = here.stopover(&["commit", "--json"]).exits(0).json();
    let (requests, bytes) = until_durable(&front, begun);
    println!(
        "one page of a file of {} bytes: {requests} requests and {bytes} bytes until durable, {} requests and {} bytes \
         with the live tree on {}",
        large.len(),
        receipt["requests"],
        receipt["bytes_sent"],
        server.name()
    );
    assert!(requests <= 4 && bytes < 1_200_000, "{requests} {bytes}");
    let next = story.directory("next");
    next.pull().exits(0);
    assert!(next.tree() == here.tree() && story.live() == here.files());
}
