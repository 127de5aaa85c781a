//! What several containers took in from outside, and what each of them made of it: imports of one plain workspace at
//! different moments, of which one makes it live, and edits of others that two pulls met (I2, I3, I4).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    servers::Server,
    story::{Directory, Story},
};

/// What lies under `of` and in the copies beside it.
fn contents(directory: &Directory, of: &str) -> Vec<String> {
    let start = format!("{of}.theirs-");
    let paths = directory.paths().into_iter().filter(|path| path == of || path.starts_with(&start));
    let mut contents: Vec<String> = paths.map(|path| directory.text(&path)).collect();
    contents.sort();
    contents
}

/// `first` makes the workspace live; `late` has imported what an outsider put there in between.
fn imported(story: &Story, live_tree: &str, plain_before: bool) -> (Directory, Directory) {
    let directory = |name| story.directory(name).with("STOPOVER_LIVE_TREE", live_tree);
    story.object("kept", "1").object("replaced", "before").object("edited", "1").object("removed", "1");
    if plain_before {
        let before = directory("before");
        before.pull().exits(0);
        before.file("plain", "1").commit().exits(0);
    }
    let (first, late) = (directory("first"), directory("late"));
    first.pull().exits(0);
    story.object("later", "later").object("replaced", "after");
    late.pull().exits(0);
    first.file("edited", "by the first").file("new", "1").remove("removed").checkpoint().exits(0);
    (first, late)
}

fn each(test: impl Fn(&Story, &str, Directory, Directory)) {
    for (live_tree, plain_before) in [("on", false), ("on", true), ("off", false), ("off", true)] {
        let story = Story::on(&Server::here());
        let (first, late) = imported(&story, live_tree, plain_before);
        let what = format!("live tree {live_tree}, plain before: {plain_before}");
        test(&story, &what, first, late);
    }
}

fn next(story: &Story, like: &str) -> Directory {
    let off = like.contains("live tree off");
    let next = story.directory("next").with("STOPOVER_LIVE_TREE", if off { "off" } else { "on" });
    next.pull().exits(0);
    next
}

#[test]
fn what_only_the_slower_of_two_imports_saw_is_in_its_commit() {
    each(|story, what, first, late| {
        late.file("mine", "1").checkpoint().exits(0);
        let next = next(story, what);
        assert_eq!(next.text("later"), "later", "{what}");
        assert_eq!(contents(&next, "replaced"), ["after", "before"], "{what}");
        // What the first one made of what both had is no conflict.
        assert_eq!(contents(&next, "edited"), ["by the first"], "{what}");
        assert!(next.has("new") && next.has("mine") && next.has("kept") && !next.has("removed"), "{what}");
        for directory in [&first, &late] {
            directory.pull().exits(0);
            assert_eq!(directory.files(), next.files(), "{what}");
        }
    });
}

#[test]
fn what_an_app_made_of_what_only_its_import_saw_holds() {
    each(|story, what, first, late| {
        late.file("later", "edited").commit().exits(0);
        let next_one = next(story, what);
        assert_eq!(contents(&next_one, "later"), ["edited"], "{what}");
        // Head's tree alone tells, and the live tree says the same.
        first.pull().exits(0);
        assert_eq!(first.files(), next_one.files(), "{what}");
        late.remove("later").checkpoint().exits(0);
        first.pull().exits(0);
        assert!(!first.has("later"), "{what}");
    });
}

#[test]
fn a_file_that_only_one_import_saw_and_its_app_removed_stays_removed() {
    each(|story, what, first, late| {
        late.remove("later").file("mine", "1").checkpoint().exits(0);
        let next = next(story, what);
        assert!(!next.has("later") && next.has("mine"), "{what}: {:?}", next.paths());
        first.pull().exits(0);
        late.pull().exits(0);
        assert!(!first.has("later") && !late.has("later"), "{what}");
    });
}

#[test]
fn a_pull_takes_nothing_that_only_its_import_saw_off_the_disk() {
    each(|story, what, _, late| {
        late.pull().exits(0);
        assert_eq!(late.text("later"), "later", "{what}");
        assert!(contents(&late, "replaced").contains(&"after".to_owned()), "{what}");
        assert!(late.has("new") && !late.has("removed"), "{what}: {:?}", late.paths());
        late.file("mine", "1").checkpoint().exits(0);
        let next = next(story, what);
        assert_eq!(
            (next.text("later"), contents(&next, "edited")),
            ("later".to_owned(), vec!["by the first".to_owned()])
        );
    });
}

#[test]
fn an_edit_of_others_that_two_took_in_is_the_past_of_what_one_of_them_made_of_it() {
    for server in [Server::here(), Server::best()] {
        for (edits, pulls) in [(true, true), (true, false), (false, true), (false, false)] {
            let what = format!("on {}, edited: {edits}, pulled: {pulls}", server.name());
            let story = Story::on(&server);
            let (one, other) = (story.directory("one"), story.directory("other"));
            one.pull().exits(0);
            one.file("base", "1").file("kept", "1").checkpoint().exits(0);
            other.pull().exits(0);
            story.object("base", "from outside").object("new", "from outside");
            one.pull().exits(0);
            other.pull().exits(0);
            for name in ["base", "new"] {
                if edits {
                    one.file(name, "edited")
                } else {
                    one.remove(name)
                };
            }
            one.checkpoint().exits(0);
            other.file("beside", "1");
            if pulls {
                other.pull().exits(0);
            }
            other.checkpoint().exits(0);
            let next = story.directory("next");
            for directory in [&next, &one, &other] {
                directory.pull().exits(0);
                let expected: &[&str] = if edits { &["base", "beside", "kept", "new"] } else { &["beside", "kept"] };
                assert_eq!(directory.paths(), expected, "{what}");
                assert!(!edits || directory.text("base") == "edited" && directory.text("new") == "edited", "{what}");
            }
        }
    }
}
