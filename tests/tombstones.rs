//! What was removed or replaced, and whose object stays in the bucket all the same: marks of folders, which are nobody's
//! to delete, and objects that the credentials may not delete. None of it comes back as somebody's edit (I2, I3).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;

use support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

fn pulled(story: &Story, name: &str) -> Directory {
    let directory = story.directory(name);
    directory.pull().exits(0);
    directory
}

/// Nothing may be deleted but what is stopover's own.
fn deny_deletes(front: &Front) {
    front.on(any().op("DeleteObject").class(Class::Live), Fault::DENIED);
    front.on(any().op("DeleteObjects"), Fault::DENIED);
}

fn servers() -> Vec<Arc<Server>> {
    Server::all_with(&[]).into_iter().chain([Server::in_memory()]).collect()
}

/// Commits as the last one of a plain container, or as one that makes the workspace live.
fn commit(directory: &Directory, is_live: bool) {
    let ended = if is_live { directory.checkpoint() } else { directory.commit() };
    ended.exits(0);
}

/// A commit whose catch-up has done everything, and is killed before its mirror is there.
fn commit_without_mirror(front: &Front, directory: &Directory) {
    let held = front.hold(any().op("PutObject").class(Class::Mirror).once());
    let running = directory.start(&["commit"]);
    held.reached();
    running.kill();
    running.ends();
    held.abandon();
    front.settles();
}

#[test]
fn a_marked_folder_that_one_container_removed_stays_removed_through_the_commits_of_the_next() {
    for server in Server::all_with(&["folder-markers"]) {
        for is_live in [[false, false], [false, true], [true, true]] {
            let what = format!("on {}, live: {is_live:?}", server.name());
            let story = Story::on(&server);
            story.object("drafts/", "").object("kept.txt", "1");
            let first = pulled(&story, "first");
            first.remove("drafts");
            commit(&first, is_live[0]);
            let second = pulled(&story, "second");
            assert_eq!(second.paths(), ["kept.txt"], "{what}");
            second.file("more.txt", "1");
            commit(&second, is_live[1]);
            let third = pulled(&story, "third");
            assert_eq!(third.paths(), ["kept.txt", "more.txt"], "{what}");
            assert!(story.has_object("drafts/"), "{what}: it is nobody's to delete");
        }
    }
}

#[test]
fn what_took_the_place_of_a_marked_folder_is_restored() {
    for server in Server::all_with(&["folder-markers", "file-and-folder"]) {
        for is_live in [false, true] {
            let what = format!("on {}, live: {is_live}", server.name());
            let story = Story::on(&server);
            story.object("notes/", "").object("links/", "").object("kept.txt", "1");
            let here = pulled(&story, "here");
            here.remove("notes").remove("links").file("notes", "a file").link("links", "kept.txt");
            commit(&here, is_live);
            let tree = here.tree();
            // It is there for others, it stays where it was made, and an edit of it is one.
            assert_eq!(pulled(&story, "there").tree(), tree, "{what}");
            here.pull().exits(0);
            assert_eq!(here.tree(), tree, "{what}");
            story.object("notes", "edited by others");
            let next = pulled(&story, "next");
            assert_eq!(next.text("notes"), "edited by others", "{what}");
            here.pull().exits(0);
            commit(&here, true);
            assert_eq!(pulled(&story, "last").tree(), here.tree(), "{what}");
            // With the file the mark does not bring the folder back.
            here.remove("notes").remove("links");
            commit(&here, true);
            assert_eq!(pulled(&story, "empty").paths(), ["kept.txt"], "{what}");
        }
    }
}

#[test]
fn what_was_removed_before_a_mirror_had_it_and_may_not_be_deleted_stays_removed() {
    for server in servers() {
        for was_mirrored in [false, true] {
            let what = format!("on {}, mirrored before: {was_mirrored}", server.name());
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            let here = pulled(&story, "here");
            here.file("kept", "1");
            if was_mirrored {
                here.file("lock", "older");
            }
            here.checkpoint().exits(0);
            here.file("lock", "newer");
            commit_without_mirror(&front, &here);
            front.heal();
            deny_deletes(&front);
            here.remove("lock");
            for n in 0..3 {
                here.file("kept", format!("{n}"));
                let ended = here.checkpoint();
                assert!([0, 3].contains(&ended.code()), "{what}: {}", ended.stderr);
            }
            assert_eq!(story.object_text("lock"), "newer", "{what}");
            assert_eq!(pulled(&story, "next").paths(), ["kept"], "{what}");
            // Who may delete it does.
            front.heal();
            here.file("kept", "4").checkpoint().exits(0);
            assert!(!story.has_object("lock"), "{what}");
        }
    }
}

#[test]
fn what_a_plain_container_could_not_delete_stays_removed_until_the_first_mirror_says_so() {
    for server in servers() {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("old", "1").object("kept", "1");
        deny_deletes(&front);
        let first = pulled(&story, "first");
        let ended = first.remove("old").commit();
        assert!([0, 3].contains(&ended.code()), "{}", ended.stderr);
        // The first live head is there, and its catch-up is not.
        let second = pulled(&story, "second");
        assert_eq!(second.paths(), ["kept"], "on {}", server.name());
        second.file("new", "1");
        commit_without_mirror(&front, &second);
        assert_eq!(pulled(&story, "between").paths(), ["kept", "new"], "on {}", server.name());
        for n in 0..2 {
            let ended = second.file("new", format!("{n}2")).checkpoint();
            assert!([0, 3].contains(&ended.code()), "{}", ended.stderr);
            assert_eq!(pulled(&story, &format!("after {n}")).paths(), ["kept", "new"], "on {}", server.name());
        }
        assert!(story.has_object("old"));
        front.heal();
        second.file("new", "3").checkpoint().exits(0);
        assert!(!story.has_object("old"), "on {}: who may delete it does", server.name());
        assert_eq!(pulled(&story, "last").paths(), ["kept", "new"]);
    }
}
