//! What proves nothing is taken for nothing: notes that came along with a copy of the directory, and what else could look
//! like a deletion or an edit and is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    checker::Checker,
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story, until},
};

/// `cp -a FROM TO`, notes and all.
fn copy(story: &Story, from: &Directory, name: &str) -> Directory {
    let to = story.directory(name);
    let copied = std::process::Command::new("cp").arg("-aT").args([&from.path, &to.path]).status().unwrap();
    assert!(copied.success());
    to
}

fn head(story: &Story) -> serde_json::Value {
    serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap()
}

#[test]
fn notes_that_came_along_with_a_copy_of_a_directory_say_nothing_of_the_copy() {
    let story = Story::on(&Server::here());
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1").file("b", "1").file("c", "1").checkpoint().exits(0);
    // An image that was made of a container, edited since.
    let there = copy(&story, &here, "there");
    there.file("a", "edited").remove("b");
    let before = head(&story);
    for ended in [there.checkpoint(), there.commit()] {
        assert_ne!(ended.code(), 0);
        ended.says("is not the directory that");
    }
    assert_eq!(head(&story), before);
    // To a pull nothing in it is an edit, and nothing that it lacks was deleted.
    there.pull().exits(0).says("it is restored anew");
    assert_eq!((there.text("a"), there.text("b")), ("1".to_owned(), "1".to_owned()));
    there.checkpoint().exits(0);
    here.pull().exits(0);
    assert_eq!(here.files(), there.files());
    assert_eq!(here.paths(), ["a", "b", "c"]);
}

/// A scan can look for it in each of two directories at the moment when it is in the other one.
#[test]
fn a_file_that_moves_while_a_scan_goes_on_is_in_the_snapshot() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    // What a scan takes its time for, and does not store.
    here.file(".stopoverignore", "m?/*\n");
    for directory in ["m1", "m2", "m3", "m4"] {
        for n in 0..800 {
            here.file(&format!("{directory}/{n}"), "");
        }
    }
    here.file("a/other", "1").file("z/other", "1").file("z/f", "f").checkpoint().exits(0);
    for round in 0..8 {
        // Without it head is read when the scan begins.
        std::fs::remove_file(here.path.join(".stopover/cache.head")).unwrap();
        let held = front.hold(any().op("GetObject").class(Class::Head).once());
        let running = here.start(&["commit"]);
        held.reached();
        std::thread::sleep(std::time::Duration::from_millis(round * 3));
        let [from, to] = if round % 2 == 0 { ["z/f", "a/f"] } else { ["a/f", "z/f"] };
        std::fs::rename(here.path.join(from), here.path.join(to)).unwrap();
        held.release();
        running.ends().exits(0);
        assert!(story.has_object("a/f") || story.has_object("z/f"), "round {round}");
        front.heal();
        here.checkpoint().exits(0);
        assert!(story.has_object(to) && !story.has_object(from), "round {round}");
    }
}

/// Somebody put back an old head.json, and others went on from there.
#[test]
fn a_commit_that_is_no_ancestor_of_the_present_one_is_no_base() {
    let story = Story::on(&Server::here());
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1").file("b", "1").checkpoint().exits(0);
    let first = story.object_text(".stopover/head.json");
    here.file("a", "2").checkpoint().exits(0);
    story.object(".stopover/head.json", first);
    let other = story.directory("other");
    other.pull().exits(0);
    other.file("c", "3").checkpoint().exits(0);
    // It was there in both, and it is not known from where.
    here.remove("b").checkpoint().exits(0);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!((next.text("b"), next.text("c")), ("1".to_owned(), "3".to_owned()));
    let of_a = next.files().into_iter().filter(|(path, _)| path.starts_with('a'));
    let mut of_a: Vec<String> = of_a.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect();
    of_a.sort();
    assert!(of_a.contains(&"2".to_owned()), "{of_a:?}: what was committed here is lost");
}

#[test]
fn a_directory_that_may_not_be_looked_into_loses_nothing() {
    let story = Story::on(&Server::here());
    let Some(here) = story.directory("here").without_rights() else { return };
    here.pull().exits(0);
    here.file("closed/a", "1").file("listed/b", "1").file("open", "1").checkpoint().exits(0);
    let other = story.directory("other");
    other.pull().exits(0);
    other.file("open", "2").checkpoint().exits(0);
    // One can be neither listed nor entered, one can be listed.
    here.mode("closed", 0).mode("listed", 0o400).file("new", "1");
    here.checkpoint().says("closed");
    here.file("new", "2").checkpoint().says("closed");
    here.mode("closed", 0o755).mode("listed", 0o755);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.paths(), ["closed/", "closed/a", "listed/", "listed/b", "new", "open"]);
    here.checkpoint().exits(0);
    here.pull().exits(0);
    next.pull().exits(0);
    assert_eq!(here.files(), next.files());
    assert_eq!(here.paths(), ["closed/", "closed/a", "listed/", "listed/b", "new", "open"]);
}

/// A write that was slow arrives when another commit of the same number is head already.
#[test]
fn two_attempts_of_one_number_have_no_name_in_common() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let (here, other) = (story.directory("here"), story.directory("other"));
    here.pull().exits(0);
    here.file("a", "1").checkpoint().exits(0);
    other.pull().exits(0);
    let held = front.hold(any().op("PutObject").class(Class::Pack).once());
    let committing = here.file("mine", "stored late").start(&["commit"]);
    held.reached();
    other.file("theirs", "stored meanwhile").checkpoint().exits(0);
    held.release();
    committing.ends().exits(0);
    // A restore would not tell: what is missing in a pack it takes from the live object.
    Checker::new(&story.outsider, story.key("")).bucket().unwrap();
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.paths(), ["a", "mine", "theirs"]);
}

/// The last commit of a stop comes after an early one, in the same process.
#[test]
fn what_an_early_commit_merged_is_neither_taken_in_nor_quiet() {
    let story = Story::on(&Server::here());
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off").with("STOPOVER_STOP_TIMEOUT", "100s");
    here.pull().exits(0);
    here.file("a", "1").checkpoint().exits(0);
    let script = "trap 'while ! [ -e \"$0\" ]; do sleep 0.02; done; echo late > late; exit 0' TERM; echo early > early; \
                  echo runs; while :; do sleep 0.02; done";
    let stored = story.path("stored");
    let running = here.start_run(&["sh", "-c", script, &stored.display().to_string()]);
    running.prints("runs");
    let other = story.directory("other");
    other.pull().exits(0);
    other.file("theirs", "1").checkpoint().exits(0);
    running.term();
    until(|| head(&story)["seq"] == 3);
    std::fs::write(&stored, "").unwrap();
    running.ends().exits(0);
    let head = head(&story);
    let quiet: Vec<_> = head["history"].as_array().unwrap().iter().map(|entry| entry["quiet"].clone()).collect();
    assert_eq!(quiet, [false, false, false, true]);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.paths(), ["a", "early", "late", "theirs"]);
}

#[test]
fn what_a_listing_of_a_plain_workspace_lacks_is_looked_for_by_name() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1").file("b", "1").commit().exits(0);
    front.on(any().op("ListObjectsV2"), Fault::list_without("ws/b"));
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.paths(), ["a", "b"]);
}

#[test]
fn a_commit_with_nothing_to_store_finishes_the_catch_up_of_one_that_was_killed() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a", "1").checkpoint().exits(0);
    let held = front.hold(any().op("PutObject").class(Class::Live).once());
    let killed = here.file("a", "2").start(&["commit"]);
    held.reached();
    killed.kill();
    killed.ends();
    held.abandon();
    front.settles();
    assert_eq!((head(&story)["seq"].as_u64(), story.object_text("a")), (Some(2), "1".to_owned()));
    here.checkpoint().exits(0);
    assert_eq!((head(&story)["seq"].as_u64(), story.object_text("a")), (Some(2), "2".to_owned()));
}
