//! Commits that others cross: races, deaths and lost replies, end to end. Every content that anybody wrote survives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Fault, Front, any},
    servers::{Kind, Server},
    story::{Directory, Story},
};

/// What lies beside a file under its name and `.theirs-`.
fn kept_beside(directory: &Directory, of: &str) -> Vec<Vec<u8>> {
    let start = format!("{of}.theirs-");
    let copies = directory.paths().into_iter().filter(|path| path.starts_with(&start));
    copies.map(|path| std::fs::read(directory.path.join(path)).unwrap()).collect()
}

#[test]
fn of_two_commits_at_once_neither_is_lost() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("both.txt", "0");
        let (slow, fast) = (story.directory("slow"), story.directory("fast"));
        slow.pull().exits(0);
        fast.pull().exits(0);
        let held = front.hold(any().op("PutObject").class(Class::Head).once());
        slow.file("slow.txt", "slow").file("both.txt", "by slow");
        let running = slow.start(&["commit"]);
        held.reached();
        fast.file("fast.txt", "fast").file("both.txt", "by fast").commit().exits(0);
        held.release();
        running.ends().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.text("slow.txt").as_str(), next.text("fast.txt").as_str()), ("slow", "fast"));
        let mut contents = kept_beside(&next, "both.txt");
        contents.push(next.text("both.txt").into_bytes());
        contents.sort();
        assert_eq!(contents, [b"by fast".to_vec(), b"by slow".to_vec()], "on {}", server.name());
    }
}

#[test]
fn what_is_put_in_the_middle_of_a_commit_is_kept() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("old.txt", "0");
        let here = story.directory("here");
        here.pull().exits(0);
        let old = front.hold(any().op("PutObject").key("old.txt").once());
        let new = front.hold(any().op("PutObject").key("new.txt").once());
        here.file("old.txt", "from here").file("new.txt", "from here");
        let running = here.start(&["commit"]);
        old.reached();
        new.reached();
        story.object("old.txt", "from outside").object("new.txt", "from outside");
        old.release();
        new.release();
        running.ends().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        for file in ["old.txt", "new.txt"] {
            assert_eq!(next.text(file), "from here", "on {}", server.name());
            assert_eq!(kept_beside(&next, file), [b"from outside"], "on {}", server.name());
        }
    }
}

#[test]
fn what_was_edited_outside_is_not_removed_by_who_did_not_see_it() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "1").file("b.txt", "1").commit().exits(0);
        story.object("a.txt", "from outside");
        here.remove("a.txt").remove("b.txt").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["a.txt"], "on {}", server.name());
        assert_eq!(next.text("a.txt"), "from outside");
    }
}

#[test]
fn a_commit_that_died_before_or_after_its_head_is_finished_by_the_next_one() {
    for server in Server::all_with(&[]) {
        for after in [false, true] {
            let front = Front::before(&server.endpoint);
            let story = Story::behind(&front, &server);
            let here = story.directory("here");
            here.pull().exits(0);
            here.file("a.txt", "1").commit().exits(0);
            here.file("a.txt", "2").file("b.txt", "2");
            let heads = any().op("PutObject").class(Class::Head);
            let running;
            if after {
                front.on(heads.once(), Fault::DropReply);
                let held = front.hold(any().op("GetObject").class(Class::Head).after(1));
                running = here.start(&["commit"]);
                held.reached();
            } else {
                let held = front.hold(heads.once());
                running = here.start(&["commit"]);
                held.reached();
            }
            running.kill();
            assert_eq!(running.ends().code(), 137);
            front.all_met();
            front.settles();
            front.heal();
            here.file("a.txt", "3").commit().exits(0);
            let next = story.directory("next");
            next.pull().exits(0);
            assert_eq!(next.paths(), ["a.txt", "b.txt"], "on {}, {after}", server.name());
            assert_eq!((next.text("a.txt").as_str(), next.text("b.txt").as_str()), ("3", "2"));
        }
    }
}

#[test]
fn a_file_may_become_a_directory_and_a_directory_a_file() {
    // s3s-fs keeps the folder of a key that was deleted, and answers 500 for a key of that name.
    for server in Server::all_with(&[]).into_iter().filter(|server| server.kind != Kind::S3sFs) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("one", "file").file("two/x/y", "file").file("three", "file").commit().exits(0);
        here.remove("one").remove("two").remove("three");
        here.file("one/inner", "now").file("two", "now").link("three", "two").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["one/", "one/inner", "three", "two"], "on {}", server.name());
        assert_eq!((next.text("one/inner").as_str(), next.text("three").as_str()), ("now", "now"));
        let there = story.directory("here");
        there.commit().exits(0);
        assert_eq!(story.objects(), ["one/inner", "two"], "on {}", server.name());
    }
}

#[test]
fn a_pull_over_edits_of_both_keeps_both_and_the_commit_stores_them() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("a.txt", "0").object("gone.txt", "0").object("kept.txt", "0");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "from here").remove("gone.txt").file("kept.txt", "from here");
        story.object("a.txt", "from outside").object("gone.txt", "from outside").no_object("kept.txt");
        here.pull().exits(0);
        let edits = |directory: &Directory| {
            let mut all = kept_beside(directory, "a.txt");
            all.push(directory.text("a.txt").into_bytes());
            all.sort();
            all
        };
        let both = [b"from here".to_vec(), b"from outside".to_vec()];
        assert_eq!(edits(&here), both, "on {}", server.name());
        assert_eq!((here.text("gone.txt").as_str(), here.text("kept.txt").as_str()), ("from outside", "from here"));
        here.commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(edits(&next), both, "on {}", server.name());
        assert_eq!(next.paths(), here.paths(), "on {}", server.name());
        assert_eq!((next.text("gone.txt").as_str(), next.text("kept.txt").as_str()), ("from outside", "from here"));
    }
}

#[test]
fn a_large_file_whose_last_reply_was_lost_is_stored_once() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = story.directory("here");
        here.pull().exits(0);
        let large: Vec<u8> = (0..9_u32 << 18).flat_map(u32::to_le_bytes).collect();
        front.on(any().op("CompleteMultipartUpload").once(), Fault::DropReply);
        here.file("large.bin", &large).commit().exits(0);
        front.all_met();
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["large.bin"], "on {}", server.name());
        assert!(std::fs::read(next.path.join("large.bin")).unwrap() == large, "on {}", server.name());
    }
}

#[test]
fn a_large_file_that_both_edited_is_kept_twice() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("l.bin", vec![1; 9 << 20]);
        let here = story.directory("here");
        here.pull().exits(0);
        story.object("l.bin", vec![2; 9 << 20]);
        here.file("l.bin", vec![3; 9 << 20]).commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert!(std::fs::read(next.path.join("l.bin")).unwrap() == vec![3; 9 << 20], "on {}", server.name());
        assert!(kept_beside(&next, "l.bin") == [vec![2; 9 << 20]], "on {}", server.name());
    }
}

#[test]
fn what_the_server_refuses_is_named_and_stored_by_the_next_commit() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("gone.txt", "x");
        let here = story.directory("here");
        here.pull().exits(0);
        front.on(any().op("PutObject").key("no.txt"), Fault::DENIED);
        here.file("no.txt", "n").file("yes.txt", "y").remove("gone.txt");
        here.commit().exits(3).says("no.txt");
        assert_eq!(story.objects(), ["gone.txt", "yes.txt"], "on {}: deletes come last", server.name());
        front.heal();
        here.commit().exits(0);
        assert_eq!(story.objects(), ["no.txt", "yes.txt"], "on {}", server.name());
    }
}

#[test]
fn a_file_that_both_edit_again_and_again_keeps_every_content() {
    let server = Server::here();
    let story = Story::on(&server);
    story.object("both.txt", "0");
    let (left, right) = (story.directory("left"), story.directory("right"));
    left.pull().exits(0);
    right.pull().exits(0);
    let mut wanted = Vec::new();
    for round in 0..12 {
        for (name, directory) in [("left", &left), ("right", &right)] {
            let text = format!("{name} {round}");
            directory.file("both.txt", &text).commit().exits(0);
            wanted.push(text.into_bytes());
        }
    }
    let next = story.directory("next");
    next.pull().exits(0);
    let mut found = kept_beside(&next, "both.txt");
    found.push(next.text("both.txt").into_bytes());
    // Each edit replaces what its own directory wrote before and nobody edited since; what the other wrote stays.
    let texts = |all: &[Vec<u8>]| all.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect::<Vec<_>>();
    wanted.retain(|text| !found.contains(text));
    assert!(wanted.is_empty(), "lost {:?}, kept {:?}", texts(&wanted), texts(&found));
}

#[test]
fn an_edit_during_a_pull_that_keeps_size_and_time_is_not_replaced() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("a.txt", "1").object("gone.txt", "1");
    let here = story.directory("here");
    here.pull().exits(0);
    story.object("a.txt", "from outside").no_object("gone.txt");
    let held = front.hold(any().op("GetObject").key("a.txt").once());
    let running = here.start(&["pull"]);
    held.reached();
    for name in ["a.txt", "gone.txt"] {
        let path = here.path.join(name);
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "2").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    }
    held.release();
    running.ends().exits(3).says("changed by somebody else");
    assert_eq!((here.text("a.txt").as_str(), here.text("gone.txt").as_str()), ("2", "2"));
    here.commit().exits(0);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!((next.text("a.txt").as_str(), next.text("gone.txt").as_str()), ("2", "2"));
    assert_eq!(kept_beside(&next, "a.txt"), [b"from outside"]);
}

#[test]
fn what_was_edited_outside_where_a_file_takes_the_place_of_its_directory_is_kept_beside() {
    // s3s-fs keeps the folder of a key that was deleted, and answers 500 for a key of that name.
    for server in Server::all_with(&[]).into_iter().filter(|server| server.kind != Kind::S3sFs) {
        let story = Story::on(&server);
        story.object("d/x", "1").object("f", "1");
        let here = story.directory("here");
        here.pull().exits(0);
        story.object("d/x", "from outside").object("f", "from outside");
        here.remove("d").file("d", "a file").remove("f").file("f/y", "below").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.text("d").as_str(), next.text("f/y").as_str()), ("a file", "below"), "on {}", server.name());
        for name in ["x", "f"] {
            assert_eq!(kept_beside(&next, name), [b"from outside"], "{name} on {}", server.name());
        }
    }
}
