//! Commits, end to end: what an app left in its directory lies in the bucket, and in the next container's directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

/// Nine MiB that no compression makes small.
fn large() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..9 << 17).flat_map(|_| next()).collect()
}

/// The copies that lie beside a file, by name.
fn copies(directory: &Directory, of: &str) -> Vec<String> {
    let start = format!("{of}.theirs-");
    directory.paths().into_iter().filter(|path| path.starts_with(&start)).collect()
}

fn has_text(directory: &Directory, paths: &[String], text: &str) -> bool {
    paths.iter().any(|path| directory.text(path) == text)
}

#[test]
fn what_one_container_leaves_the_next_one_finds() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("kept.txt", "kept").object("edited.txt", "before").object("sub/removed.txt", "removed");
        let first = story.directory("first");
        let large = large();
        first.file("../large.bin", &large);
        first
            .run_script(&format!(
                "cd {} && printf after > edited.txt && rm sub/removed.txt && printf '#!/bin/sh\n' > tool && \
                 chmod 755 tool && ln -s kept.txt link && ln -s nowhere dangling && mkdir -p empty/inner && \
                 chmod 700 empty && mv ../large.bin . && : > nothing && printf odd > 'ä b+%41 &=?#.txt' && \
                 printf quote > \"it's\" && chmod 640 kept.txt",
                first.path.display()
            ))
            .exits(0);
        let second = story.directory("second");
        second.run_script("true").exits(0);
        assert_eq!(second.paths(), first.paths(), "on {}", server.name());
        assert_eq!(second.text("kept.txt"), "kept");
        assert_eq!(second.text("edited.txt"), "after");
        assert_eq!(second.text("tool"), "#!/bin/sh\n");
        assert_eq!(
            (second.mode_of("tool"), second.mode_of("kept.txt"), second.mode_of("empty")),
            (0o755, 0o640, 0o700)
        );
        assert_eq!(second.text("link"), "kept");
        assert_eq!(std::fs::read_link(second.path.join("dangling")).unwrap().to_str(), Some("nowhere"));
        assert!(second.has("empty/inner") && !second.has("sub/removed.txt"));
        assert_eq!(std::fs::read(second.path.join("large.bin")).unwrap(), large);
        assert_eq!((second.text("nothing"), second.text("it's")), (String::new(), "quote".to_owned()));
        assert_eq!(second.text("ä b+%41 &=?#.txt"), "odd");
        assert_eq!(story.object_text("edited.txt"), "after");
        assert_eq!(story.object_text("ä b+%41 &=?#.txt"), "odd");
        assert!(!story.has_object("sub/removed.txt") && !story.has_object("link"));
    }
}

#[test]
fn where_nothing_changed_nothing_is_put() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("a.txt", "a");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("b.txt", "b").folder("empty").link("link", "a.txt").mode("a.txt", 0o600);
        here.commit().exits(0);
        let puts = || {
            let written = |op: &str| matches!(op, "PutObject" | "CreateMultipartUpload" | "DeleteObject");
            front.seen().iter().filter(|request| written(request.op) && request.class != Class::Own).count()
        };
        let before = puts();
        assert!(before >= 3);
        here.commit().exits(0);
        here.pull().exits(0);
        here.commit().exits(0);
        let there = story.directory("there");
        there.pull().exits(0);
        there.commit().exits(0);
        assert_eq!(puts(), before, "on {}: {:?}", server.name(), front.seen());
    }
}

#[test]
fn two_directories_that_edit_different_files_keep_both() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("one.txt", "1").object("two.txt", "2");
        let (left, right) = (story.directory("left"), story.directory("right"));
        left.pull().exits(0);
        right.pull().exits(0);
        left.file("one.txt", "1 by left").file("new left", "l").commit().exits(0);
        right.file("two.txt", "2 by right").file("new right", "r").commit().exits(0);
        // Nobody told the left one of the right one's changes: its next commit must not take them back.
        left.file("three.txt", "3").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["new left", "new right", "one.txt", "three.txt", "two.txt"], "on {}", server.name());
        assert_eq!((next.text("one.txt"), next.text("two.txt")), ("1 by left".to_owned(), "2 by right".to_owned()));
    }
}

#[test]
fn two_directories_that_edit_the_same_file_keep_both_contents() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("notes.txt", "before");
        let (left, right) = (story.directory("left"), story.directory("right"));
        left.pull().exits(0);
        right.pull().exits(0);
        left.file("notes.txt", "by left").commit().exits(0);
        right.file("notes.txt", "by right").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        let copies = copies(&next, "notes.txt");
        assert_eq!((next.text("notes.txt").as_str(), copies.len()), ("by right", 1), "on {}", server.name());
        assert_eq!(next.text(&copies[0]), "by left");
        assert_eq!(story.objects(), next.paths());
    }
}

#[test]
fn what_somebody_else_put_meanwhile_is_kept() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("both.txt", "before").object("theirs.txt", "before").object("ours.txt", "before");
        let here = story.directory("here");
        here.pull().exits(0);
        story.object("both.txt", "from outside").object("theirs.txt", "from outside").object("new.txt", "from outside");
        here.file("both.txt", "from here").file("ours.txt", "from here").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        let copies = copies(&next, "both.txt");
        assert_eq!((next.text("both.txt").as_str(), copies.len()), ("from here", 1), "on {}", server.name());
        assert!(has_text(&next, &copies, "from outside"));
        assert_eq!(next.text("theirs.txt"), "from outside");
        assert_eq!(next.text("new.txt"), "from outside");
        assert_eq!(next.text("ours.txt"), "from here");
    }
}

#[test]
fn what_somebody_else_put_after_a_commit_is_kept_too() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("both.txt", "1").file("theirs.txt", "1").commit().exits(0);
        story.object("both.txt", "from outside").object("theirs.txt", "from outside");
        here.file("both.txt", "2").commit().exits(0);
        here.file("both.txt", "3").commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        let copies = copies(&next, "both.txt");
        assert_eq!((next.text("both.txt").as_str(), copies.len()), ("3", 1), "on {}", server.name());
        assert!(has_text(&next, &copies, "from outside"));
        assert_eq!(next.text("theirs.txt"), "from outside");
    }
}

#[test]
fn a_removed_file_is_removed_there_and_an_ignored_one_is_not() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("gone.txt", "gone").object("stays.txt", "stays").object("node_modules/x/index.js", "x");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file(".gitignore", "*.log\nstays.txt\n").file("app.log", "log").file("node_modules/y.js", "y");
        here.remove("gone.txt").commit().exits(0);
        let name = server.name();
        assert_eq!(story.objects(), [".gitignore", "node_modules/x/index.js", "stays.txt"], "on {name}");
        here.commit().exits(0);
        let next = story.directory("next");
        next.pull().exits(0);
        assert!(!next.has("gone.txt") && !next.has("app.log"));
        next.commit().exits(0);
        assert_eq!(story.objects(), [".gitignore", "node_modules/x/index.js", "stays.txt"], "on {name}");
    }
}

#[test]
fn what_an_app_writes_when_it_is_told_to_stop_is_stored() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        let script = format!(
            "cd {}; printf early > early.txt; trap 'printf late > late.txt; exit 3' TERM; echo up; \
             while :; do sleep 0.05; done",
            here.path.display()
        );
        let running = here.with("STOPOVER_STOP_TIMEOUT", "60s").start_run(&["sh", "-c", &script]);
        running.prints("up");
        running.term();
        running.ends().exits(3);
        assert_eq!(story.object_text("early.txt"), "early", "on {}", server.name());
        assert_eq!(story.object_text("late.txt"), "late", "on {}", server.name());
    }
}

#[test]
fn a_head_whose_reply_was_lost_is_durable_and_once() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "1").commit().exits(0);
        let heads = any().op("PutObject").class(Class::Head);
        let before = front.count(&heads);
        front.on(heads.clone().once(), Fault::DropReply);
        here.file("a.txt", "2").commit().exits(0);
        front.heal();
        let after = front.count(&heads);
        assert!(after > before);
        here.commit().exits(0);
        assert_eq!(front.count(&heads), after, "on {}: it was durable", server.name());
        let head: serde_json::Value = serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap();
        assert_eq!(head["seq"], 2, "on {}: {head}", server.name());
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.paths(), next.text("a.txt")), (vec!["a.txt".to_owned()], "2".to_owned()));
    }
}

#[test]
fn a_file_whose_reply_was_lost_is_no_conflict() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("old.txt", "1");
        let here = story.directory("here");
        here.pull().exits(0);
        for key in ["old.txt", "new.txt"] {
            front.on(any().op("PutObject").key(key).once(), Fault::DropReply);
        }
        here.file("old.txt", "2").file("new.txt", "2").commit().exits(0);
        front.heal();
        assert_eq!(story.objects(), ["new.txt", "old.txt"], "on {}", server.name());
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!(next.paths(), ["new.txt", "old.txt"], "on {}", server.name());
        assert_eq!((next.text("old.txt"), next.text("new.txt")), ("2".to_owned(), "2".to_owned()));
    }
}

#[test]
fn a_last_commit_measures_nothing_on_its_way() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("gone.txt", "gone");
        let here = story.directory("here");
        here.pull().exits(0);
        here.commit().exits(0);
        here.file("new.txt", "new").commit().exits(0);
        here.file("new.txt", "newer").remove("gone.txt").file("large.bin", large()).commit().exits(0);
        assert_eq!(front.count(&any().class(Class::Own)), 0, "on {}: each trip of a stop counts", server.name());
        let next = story.directory("next");
        next.pull().exits(0);
        assert_eq!((next.paths(), next.text("new.txt")), (vec!["large.bin".into(), "new.txt".into()], "newer".into()));
    }
}

#[test]
fn a_commit_that_is_cancelled_leaves_no_parts_behind() {
    let server = Server::best();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("large.bin", large());
    let held = front.hold(any().op("UploadPart").key("large.bin").after(1));
    let running = here.start(&["commit"]);
    held.reached();
    let (begun, aborted) =
        (any().op("CreateMultipartUpload").key("large.bin"), any().op("AbortMultipartUpload").key("large.bin"));
    assert_eq!((front.count(&begun), front.count(&aborted)), (1, 0));
    running.term();
    running.ends().exits(143);
    assert_eq!(front.count(&aborted), 1);
    held.release();
    front.heal();
    here.commit().exits(0);
    assert_eq!(story.objects(), ["large.bin"]);
}

#[test]
fn a_workspace_that_is_read_only_is_neither_uploaded_to_nor_deleted() {
    let server = Server::here();
    let story = Story::on(&server);
    story.object("a.txt", "1");
    let here = story.directory("here").with("STOPOVER_MODE", "read-only");
    here.file("b.txt", "1");
    let url = story.url();
    let path = here.path.display().to_string();
    here.stopover(&["upload", &url, &path]).exits(4).says("read-only");
    here.stopover(&["delete", &url, "--yes"]).exits(4).says("read-only");
    assert_eq!(story.objects(), ["a.txt"]);
}

#[test]
fn a_container_whose_notes_are_gone_does_not_revive_a_workspace_that_was_deleted() {
    let server = Server::here();
    for anew in [false, true] {
        let story = Story::on(&server);
        story.object("a.txt", "1");
        let first = story.directory("first");
        first.pull().exits(0);
        first.file("b.txt", "1").commit().exits(0);
        let here = story.directory(&format!("here-{anew}")).with("STOPOVER_CHECKPOINT", "off");
        let running = here.start_run(&["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done"]);
        running.prints("up");
        first.flag(&["--yes"]).stopover(&["delete", &story.url()]).exits(0);
        // Even the tombstone may go.
        for key in story.outsider.keys("") {
            story.outsider.delete(&key);
        }
        if anew {
            let other = story.directory("other");
            other.pull().exits(0);
            other.file("anew.txt", "1").commit().exits(0);
        }
        here.remove(".stopover").file("c.txt", "1");
        running.term();
        running.ends().exits(82).says("was deleted");
        assert_eq!(story.objects(), if anew { vec!["anew.txt"] } else { vec![] });
    }
}

#[test]
fn an_edit_of_a_stored_file_that_the_rules_ignore_by_now_is_named() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("kept.txt", "1").object("edited.txt", "1");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file(".gitignore", "*.txt\n").commit().exits(0).never_says("edited.txt");
        here.file("edited.txt", "2").file("other", "1");
        let ended = here.flag(&["--json"]).commit().exits(0).says("edited.txt");
        assert!(!ended.stderr.contains("kept.txt"), "{}", ended.stderr);
        assert_eq!(story.object_text("edited.txt"), "1", "on {}", server.name());
    }
}

/// The most memory that a running process has had so far, MiB.
fn most_memory(running: &support::story::Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn many_files_of_eight_mib_are_not_all_in_memory_at_once() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = story.directory("here").with("STOPOVER_CONCURRENCY", "48/48");
    here.pull().exits(0);
    let mut bytes = vec![7; 8 << 20];
    for number in 0..48_u8 {
        bytes[0] = number;
        here.file(&format!("{number}.bin"), &bytes);
    }
    let held = front.hold(any().op("PutObject").class(Class::Head).once());
    let running = here.start(&["commit"]);
    held.reached();
    let used = most_memory(&running);
    assert!(used < 200, "a commit used {used} MiB");
    held.release();
    running.ends().exits(0);
    story.object("zz-last", "z");
    let next = story.directory("next").with("STOPOVER_CONCURRENCY", "48/48");
    let held = front.hold(any().op("GetObject").key("zz-last").once());
    let running = next.start(&["pull"]);
    held.reached();
    // It is on its way beside the last of the others.
    let used = most_memory(&running);
    assert!(used < 200, "a pull used {used} MiB");
    held.release();
    running.ends().exits(0);
    assert_eq!(next.paths().len(), 49);
}

#[test]
fn keys_below_a_state_directory_inside_the_workspace_are_not_written_there() {
    let server = Server::here();
    let story = Story::on(&server);
    story.object("a.txt", "1").object("var/state/mine", "{}").object("var/state/aside/x", "x").object("var/y", "y");
    let here = story.directory("here");
    here.folder("var");
    let state = here.path.join("var/state");
    let here = here.with("STOPOVER_STATE", &state.display().to_string());
    here.pull();
    assert_eq!(here.text("var/y"), "y");
    assert!(!here.has("var/state/aside/x"));
    here.file("b.txt", "1").commit().exits(0);
    assert_eq!(story.objects(), ["a.txt", "b.txt", "var/state/aside/x", "var/state/mine", "var/y"]);
}
