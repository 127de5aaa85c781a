//! Servers that are not what S3 is: whatever they do, what a commit says it stored is what a pull gets, and what it
//! failed to store is still in the directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    checker::{Checker, on_disk},
    front::{Class, Fault, Front, any},
    servers::{Server, memory::Mode},
    story::{Directory, Story},
};

/// Edits, a deletion, a new file.
fn change(here: &Directory, round: usize) {
    here.file("a.txt", format!("edit {round}")).file(&format!("sub/new-{round}.txt"), "new");
    if round == 0 {
        here.remove("b.txt");
    }
}

/// A live workspace; from then on its server behaves in this way. Says which commits went well.
fn holds_under(mode: Mode) -> Vec<bool> {
    let server = Server::in_memory();
    let story = Story::on(&server);
    let checker = Checker::new(&story.outsider, story.key(""));
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a.txt", "0").file("b.txt", "0").file("c.txt", "0").file("sub/d.txt", "0");
    here.checkpoint().exits(0);
    let other = story.directory("other");
    other.pull().exits(0);
    other.file("other.txt", "not committed");
    // As if this were another server: nothing is known of it.
    for directory in [&here, &other] {
        std::fs::remove_file(directory.path.join(".stopover/abilities")).ok();
    }
    let mut stored = on_disk(&here.path);
    let mut went = Vec::new();
    for round in 0..3 {
        server.memory().behave(mode);
        change(&here, round);
        let ended = here.checkpoint();
        let well = ended.code() == 0;
        if !well {
            println!("{mode:?}, round {round}: exit {}: {}", ended.code(), ended.stderr);
        }
        if well {
            stored = on_disk(&here.path);
        }
        let fresh = story.directory("fresh");
        let pulled = fresh.pull();
        if pulled.code() != 0 {
            assert_eq!(mode, Mode::MissingIs403, "{}", pulled.stderr);
            server.memory().behaves_well();
            fresh.pull().exits(0);
        }
        assert!(on_disk(&fresh.path) == stored, "{mode:?}, round {round}: {}\n{}", ended.stderr, pulled.stderr);
        std::fs::remove_dir_all(&fresh.path).unwrap();
        let pulled = other.pull();
        if pulled.code() != 0 {
            assert_eq!(mode, Mode::MissingIs403, "{}", pulled.stderr);
            server.memory().behaves_well();
            other.pull().exits(0);
        }
        let mut with_own = stored.clone();
        with_own.insert("other.txt".to_owned(), on_disk(&other.path)["other.txt"].clone());
        assert!(on_disk(&other.path) == with_own, "{mode:?}, round {round}: {:?}\n{}", other.paths(), pulled.stderr);
        server.memory().behaves_well();
        checker.bucket().unwrap_or_else(|wrong| panic!("{mode:?}, round {round}: {wrong}"));
        went.push(well);
    }
    // Of a prune nothing goes that somebody wants; at worst nothing goes.
    server.memory().behave(mode);
    let words = ["prune", "--keep-last", "1", "--keep-within", "0s", "--keep-daily", "0"];
    let mut pruned = here.stopover(&words);
    if pruned.code() == 4 {
        pruned = here.stopover(&[&words[..], &["--sole-writer"]].concat());
    }
    server.memory().behaves_well();
    assert!([0, 1].contains(&pruned.code()), "{mode:?}: {}", pruned.stderr);
    let checked = checker.bucket().unwrap_or_else(|wrong| panic!("{mode:?}, after a prune: {wrong}"));
    assert!(checked.tree == stored, "{mode:?}: {}", pruned.stderr);
    println!("{mode:?}: prune exits {}, garbage: {:?}", pruned.code(), checked.garbage());
    // Where the server is a good one again, nothing is in the way.
    change(&here, 3);
    here.checkpoint().exits(0);
    let fresh = story.directory("fresh");
    fresh.pull().exits(0);
    assert!(on_disk(&fresh.path) == on_disk(&here.path), "{mode:?}: {:?}", fresh.paths());
    went
}

#[test]
fn a_server_without_conditions_on_deletes_loses_nothing() {
    assert_eq!(holds_under(Mode::DeleteIgnoresConditions), [true; 3]);
}

#[test]
fn a_server_that_ignores_conditions_loses_nothing_of_a_single_writer() {
    assert_eq!(holds_under(Mode::IgnoresConditions), [true; 3]);
}

#[test]
fn a_server_that_refuses_what_matches_is_no_lost_race_for_ever() {
    assert_eq!(holds_under(Mode::RefusesConditions), [true; 3]);
}

#[test]
fn a_server_that_does_not_implement_conditions_loses_nothing() {
    assert_eq!(holds_under(Mode::ConditionsAre501), [true; 3]);
}

#[test]
fn a_server_that_creates_what_is_missing_loses_nothing() {
    assert_eq!(holds_under(Mode::CreatesMissing), [true; 3]);
}

#[test]
fn versions_that_say_nothing_of_the_content_are_as_good() {
    assert_eq!(holds_under(Mode::RandomEtags), [true; 3]);
}

#[test]
fn listings_in_no_order_are_as_good() {
    assert_eq!(holds_under(Mode::ListsUnordered), [true; 3]);
}

#[test]
fn what_a_listing_leaves_out_is_not_deleted() {
    assert_eq!(holds_under(Mode::ListsWithGaps), [true; 3]);
}

#[test]
fn a_server_that_denies_what_is_missing_loses_nothing() {
    assert_eq!(holds_under(Mode::MissingIs403), [true; 3]);
}

#[test]
fn a_write_that_arrives_late_harms_nothing() {
    for class in [Class::Pack, Class::Tree, Class::Head, Class::Live, Class::Mirror] {
        let server = Server::in_memory();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "0");
        here.checkpoint().exits(0);
        let late = front.late(any().op("PutObject").class(class).once());
        here.file("a.txt", "1");
        here.checkpoint().exits(0);
        here.file("a.txt", "2");
        here.checkpoint().exits(0);
        // What nobody waits for any more reaches the server now.
        front.all_met();
        let before = front.done().len();
        late.add_permits(1);
        support::story::until(|| front.done().len() > before);
        front.settles();
        here.file("b.txt", "after");
        here.checkpoint().exits(0);
        let fresh = story.directory("fresh");
        fresh.pull().exits(0);
        assert_eq!((fresh.text("a.txt"), fresh.text("b.txt")), ("2".into(), "after".into()), "{class:?}");
        assert_eq!(fresh.paths(), ["a.txt", "b.txt"], "{class:?}");
        assert_eq!(story.object_text("a.txt"), "2", "{class:?}");
        Checker::new(&story.outsider, story.key("")).bucket().unwrap_or_else(|wrong| panic!("{class:?}: {wrong}"));
    }
}

#[test]
fn a_writer_that_was_asleep_while_others_committed_takes_nothing_back() {
    let server = Server::in_memory();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a.txt", "0").file("b.txt", "0");
    here.checkpoint().exits(0);
    let other = story.directory("other");
    other.pull().exits(0);
    here.file("a.txt", "here");
    // It falls asleep with its first object on the way.
    let stop = Fault::Signal { number: 19, applied: true };
    front.on(any().op("PutObject").class(Class::Live).once(), stop);
    front.forget();
    let asleep = here.start(&["commit"]);
    front.client(asleep.pid());
    support::story::until(|| front.count(&any().op("PutObject").class(Class::Live)) == 1);
    front.settles();
    other.pull().exits(0);
    other.file("a.txt", "other").file("b.txt", "other");
    other.checkpoint().exits(0);
    asleep.signal(18);
    asleep.ends().exits(0);
    let fresh = story.directory("fresh");
    fresh.pull().exits(0);
    assert_eq!((fresh.text("a.txt"), fresh.text("b.txt")), ("other".into(), "other".into()));
    assert_eq!((story.object_text("a.txt"), fresh.paths().len()), ("other".into(), 2));
}

/// A live workspace behind a front: `here` has committed "first" of each path.
fn behind_a_front(paths: &[&str], first: &[u8]) -> (Front, Story, Directory) {
    let server = Server::in_memory();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    for path in paths {
        here.file(path, first);
    }
    here.checkpoint().exits(0);
    (front, story, here)
}

#[test]
fn where_conditions_are_ignored_a_commit_sees_that_others_wrote_over_its_head() {
    let server = Server::in_memory();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a.txt", "1").checkpoint().exits(0);
    let other = story.directory("other");
    other.pull().exits(0);
    story.is_spoiled();
    server.memory().behave(Mode::IgnoresConditions);
    for directory in [&here, &other] {
        std::fs::remove_file(directory.path.join(".stopover/abilities")).ok();
    }
    // Both have looked; then the one writes, and the other one over it.
    let puts = [(); 2].map(|()| front.hold(any().op("PutObject").class(Class::Head).once()));
    let first = here.file("a.txt", "2").start(&["commit"]);
    puts[0].reached();
    let second = other.file("b.txt", "2").start(&["commit"]);
    puts[1].reached();
    let look = front.hold(any().op("GetObject").class(Class::Head).once());
    puts[0].release();
    look.reached();
    puts[1].release();
    second.ends().exits(0);
    look.release();
    first.ends().exits(0);
    let fresh = story.directory("fresh");
    fresh.pull().exits(0);
    assert_eq!((fresh.text("a.txt"), fresh.text("b.txt")), ("2".into(), "2".into()));
}

#[test]
fn a_conflict_is_waited_for_where_no_condition_was_asked_for() {
    let large = vec![7; 9 << 20];
    let (front, story, here) = behind_a_front(&["a.txt", "large"], &large);
    let conflict = Fault::Refuse { status: 409, code: "OperationAborted" };
    for (op, class) in [
        ("PutObject", Class::Pack),
        ("PutObject", Class::Tree),
        ("CreateMultipartUpload", Class::Live),
        ("UploadPart", Class::Live),
    ] {
        front.on(any().op(op).class(class).once(), conflict.clone());
    }
    here.file("a.txt", "second").file("large", [&large[..], b"more"].concat());
    let ended = here.start(&["commit", "--json"]).ends().exits(0).never_says("warning");
    front.all_met();
    assert_eq!(ended.json()["live_tree"], "current", "{}", ended.stderr);
    assert_eq!(story.object_text("a.txt"), "second");
    assert_eq!(story.live()["large"].len(), large.len() + 4);
}

#[test]
fn an_object_that_the_server_does_not_replace_is_no_edit_of_an_outsider() {
    let (front, story, here) = behind_a_front(&["a.txt", "b.txt"], b"first");
    let refusal = Fault::Refuse { status: 400, code: "InvalidArgument" };
    front.on(any().op("PutObject").class(Class::Live).key("a.txt"), refusal);
    here.file("a.txt", "second");
    here.checkpoint().exits(0).says("a.txt").says("keeps its old plain object");
    assert_eq!(story.object_text("a.txt"), "first");
    let fresh = story.directory("fresh");
    fresh.pull().exits(0);
    assert_eq!((fresh.text("a.txt").as_str(), fresh.paths().len()), ("second", 2), "{:?}", fresh.paths());
    // It is known to be ours: when the file goes, so does the object.
    here.remove("a.txt").checkpoint().exits(0);
    assert_eq!(story.objects(), ["b.txt"]);
}

#[test]
fn an_upload_that_somebody_ended_is_begun_again() {
    let large = vec![7; 9 << 20];
    let (front, story, here) = behind_a_front(&["large"], &large);
    let ended = Fault::Refuse { status: 404, code: "NoSuchUpload" };
    front.on(any().op("UploadPart").class(Class::Live).once(), ended);
    here.file("large", [&large[..], b"more"].concat());
    let ended = here.start(&["commit", "--json"]).ends().exits(0);
    assert_eq!(ended.json()["live_tree"], "behind", "{}", ended.stderr);
    let ended = here.start(&["commit", "--json"]).ends().exits(0);
    assert_eq!(ended.json()["live_tree"], "current", "{}", ended.stderr);
    assert_eq!(story.live()["large"].len(), large.len() + 4);
}

/// What is between the two has no name of its own to be told by: ETags are hashes of contents.
#[test]
fn a_late_write_over_what_was_put_back_counts_as_an_outsiders_edit_and_takes_nothing_away() {
    let (front, story, here) = behind_a_front(&["a.txt", "b.txt"], b"first");
    let late = front.late(any().op("PutObject").class(Class::Live).once());
    here.file("a.txt", "second").checkpoint().exits(0);
    here.file("a.txt", "first").checkpoint().exits(0);
    front.all_met();
    late.add_permits(1);
    support::story::until(|| story.object_text("a.txt") == "second");
    front.settles();
    let fresh = story.directory("fresh");
    fresh.pull().exits(0);
    assert_eq!((fresh.text("a.txt").as_str(), fresh.paths().len()), ("second", 2), "{:?}", fresh.paths());
    // All three snapshots are as they were committed.
    let checked = Checker::new(&story.outsider, story.key("")).bucket().unwrap();
    assert_eq!(checked.files()["a.txt"], b"first");
    fresh.checkpoint().exits(0);
    here.pull().exits(0);
    assert_eq!((here.text("a.txt"), story.object_text("a.txt")), ("second".into(), "second".into()));
}

#[test]
fn a_delete_that_is_refused_for_an_instant_is_sent_again() {
    for (status, code) in [(409, "ConditionalRequestConflict"), (404, "NoSuchKey"), (412, "PreconditionFailed")] {
        let (front, story, here) = behind_a_front(&["a.txt", "b.txt"], b"first");
        let refusal = Fault::Refuse { status, code };
        front.on(any().op("DeleteObject").class(Class::Live).once(), refusal.clone());
        here.remove("a.txt").checkpoint().exits(0);
        front.all_met();
        assert_eq!(story.objects(), ["b.txt"], "{code}");

        // A plain workspace has no catch-up that would go on.
        let server = Server::in_memory();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("a.txt", "a").object("b.txt", "b");
        let here = story.directory("here");
        here.pull().exits(0);
        front.on(any().op("DeleteObject").class(Class::Live).once(), refusal);
        here.remove("a.txt").commit().exits(0).never_says("it stays");
        front.all_met();
        assert_eq!(story.objects(), ["b.txt"], "{code}");
    }
}

#[test]
fn a_delete_that_is_never_done_brings_no_file_back() {
    let server = Server::in_memory();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("a.txt", "a").object("b.txt", "b");
    let here = story.directory("here");
    here.pull().exits(0);
    let refusal = Fault::Refuse { status: 409, code: "ConditionalRequestConflict" };
    front.on(any().op("DeleteObject").class(Class::Live), refusal);
    here.remove("a.txt").commit().exits(0).says("not deleted: a.txt");
    for checkpoint in [false, true] {
        let fresh = story.directory("fresh");
        fresh.pull().exits(0);
        assert_eq!(fresh.paths(), ["b.txt"]);
        std::fs::remove_dir_all(&fresh.path).unwrap();
        if !checkpoint {
            here.checkpoint().exits(0);
        }
    }
    front.heal();
    here.file("c.txt", "c").checkpoint().exits(0);
    assert_eq!(story.objects(), ["b.txt", "c.txt"]);
}
