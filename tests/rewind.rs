//! A restore in place that is killed: it is said until it is finished or taken back, and nothing is lost meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Front, any},
    servers::Server,
    story::{Directory, Story, until},
};

const LARGE: usize = 6 << 20;

fn noise(mut seed: u32) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..LARGE).map(|_| next()).collect()
}

/// A directory with two snapshots, and the ids of both: every file is another in the second.
fn two_snapshots(front: &Front, server: &std::sync::Arc<Server>) -> (Story, Directory, [String; 2]) {
    let story = Story::behind(front, server);
    let here = story.directory("here").with("STOPOVER_CONCURRENCY", "1");
    here.pull().exits(0);
    let commit = || here.stopover(&["commit", "--json"]).exits(0).json()["snapshot"].as_str().unwrap().to_owned();
    here.file("a.bin", noise(1)).file("b.bin", noise(2)).file("c.bin", noise(3));
    let one = commit();
    here.file("a.bin", "2").file("b.bin", "2").file("c.bin", "2").file("new", "2");
    let two = commit();
    (story, here, [one, two])
}

fn is_old(here: &Directory, name: &str) -> bool {
    std::fs::metadata(here.path.join(name)).unwrap().len() == LARGE as u64
}

/// `restore` of the first snapshot, killed when some files are written and others are not.
fn killed_between_two_writes(front: &Front, here: &Directory, words: &[&str]) {
    let held = front.hold(any().op("GetObject").class(Class::Pack).after(1));
    let all: Vec<&str> = ["restore"].into_iter().chain(words.iter().copied()).collect();
    let running = here.start(&all);
    held.reached();
    until(|| is_old(here, "a.bin"));
    running.kill();
    assert_eq!(running.ends().code(), 137);
    held.abandon();
    front.heal();
    assert!(!is_old(here, "c.bin") && here.has("new"), "it was not killed between two writes");
}

#[test]
fn a_restore_in_place_that_was_killed_is_said_until_it_is_finished() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let (story, here, [one, two]) = two_snapshots(&front, &server);
    killed_between_two_writes(&front, &here, &["1"]);
    let said = format!("the restore of snapshot {one} did not finish");
    let (again, back) = (format!("`stopover restore {one}`"), format!("`stopover restore {two}`"));
    here.stopover(&["status"]).exits(0).says(&said).says(&again).says(&back);
    // What is there is stored as it is: nothing is lost, and nothing is hidden.
    let half = here.stopover(&["commit", "--json"]).exits(0).says(&said).says(&again).json();
    assert_eq!(half["files_changed"], 1, "{half}");
    here.stopover(&["commit"]).exits(0).says(&said);
    here.pull().exits(0).says(&said);
    here.stopover(&["restore", "1"]).exits(0);
    assert_eq!(here.paths(), ["a.bin", "b.bin", "c.bin"]);
    assert!(["a.bin", "b.bin", "c.bin"].iter().all(|name| is_old(&here, name)));
    here.stopover(&["status"]).exits(0).never_says("did not finish");
    here.file("a.bin", "3").stopover(&["commit"]).exits(0).never_says("did not finish");
    assert_eq!(here.stopover(&["diff", &one]).exits(0).stdout, "M\ta.bin\n");
    drop(story);
}

#[test]
fn a_restore_in_place_that_was_killed_can_be_taken_back() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let (_story, here, [one, two]) = two_snapshots(&front, &server);
    here.file("mine", "not committed yet");
    killed_between_two_writes(&front, &here, &["1"]);
    // The commit before it is what is gone back to.
    let status = here.stopover(&["status"]).exits(0).says(&one).never_says(&two);
    let before = status.stderr.rsplit_once("`stopover restore ").unwrap().1.split_once('`').unwrap().0.to_owned();
    here.stopover(&["restore", &before]).exits(0);
    assert_eq!(here.paths(), ["a.bin", "b.bin", "c.bin", "mine", "new"]);
    assert_eq!((here.text("a.bin"), here.text("mine")), ("2".into(), "not committed yet".into()));
    here.stopover(&["status"]).exits(0).never_says("did not finish");
}

#[test]
fn a_restore_of_some_paths_is_finished_by_one_of_these_paths() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let (_story, here, [one, _]) = two_snapshots(&front, &server);
    let paths = |names: [&str; 2]| names.map(|name| here.path.join(name).display().to_string());
    let both = paths(["a.bin", "c.bin"]);
    killed_between_two_writes(&front, &here, &["1", &both[0], &both[1]]);
    let said = format!("`stopover restore {one} a.bin c.bin`");
    here.stopover(&["status"]).exits(0).says(&said);
    // Another path is another matter.
    here.stopover(&["restore", "1", &here.path.join("b.bin").display().to_string()]).exits(0);
    here.stopover(&["status"]).exits(0).says(&said);
    here.stopover(&["restore", "1", &both[0], &both[1]]).exits(0);
    here.stopover(&["status"]).exits(0).never_says("did not finish");
    assert!(["a.bin", "b.bin", "c.bin"].iter().all(|name| is_old(&here, name)) && here.has("new"));
}

#[test]
fn a_container_that_takes_such_a_directory_over_says_it() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let (_story, here, [one, _]) = two_snapshots(&front, &server);
    killed_between_two_writes(&front, &here, &["1"]);
    let ended = here.run_script("true").exits(0);
    let said = format!("the restore of snapshot {one} did not finish");
    assert!(ended.stderr.matches(&said).count() >= 2, "the pull and the commit: {}", ended.stderr);
}
