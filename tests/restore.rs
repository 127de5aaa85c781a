//! Restores, end to end: a workspace is there as a whole before the app starts, or the app does not start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::{
    front::{Fault, Front, any},
    outsider::Outsider,
    servers::Server,
    story::Story,
};

/// All keys and contents of a bucket.
fn everything(outsider: &Outsider) -> Vec<(String, Vec<u8>)> {
    let keys = outsider.keys("").into_iter();
    keys.map(|key| (outsider.get(&key).unwrap().bytes, key)).map(|(bytes, key)| (key, bytes)).collect()
}

#[test]
fn what_others_put_there_is_there_before_the_app_starts() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let large: Vec<u8> =
            (0..9_u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        story.object("notes.txt", "from somebody else").object("deep/er/file", "deep").object("empty", "");
        story.object("large.bin", large.clone());
        let here = story.directory("here");
        let script = format!("cd {} && cat notes.txt deep/er/file && wc -c < large.bin", here.path.display());
        here.run_script(&script).exits(0).printed("from somebody elsedeep9437184");
        assert_eq!(here.paths(), ["deep/", "deep/er/", "deep/er/file", "empty", "large.bin", "notes.txt"]);
        assert_eq!(std::fs::read(here.path.join("large.bin")).unwrap(), large, "on {}", server.name());
        let pulled = story.directory("pulled");
        pulled.pull().exits(0);
        assert_eq!(pulled.paths(), here.paths());
    }
}

#[test]
fn what_others_change_is_in_the_next_pull_and_local_edits_stay() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        story.object("a.txt", "1").object("b.txt", "1").object("c.txt", "1");
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("b.txt", "edited");
        story.object("a.txt", "22").object("new.txt", "new").no_object("c.txt");
        here.pull().exits(0);
        assert_eq!(here.paths(), ["a.txt", "b.txt", "new.txt"], "on {}", server.name());
        assert_eq!((here.text("a.txt").as_str(), here.text("b.txt").as_str()), ("22", "edited"));
    }
}

#[test]
fn a_workspace_of_which_a_file_is_denied_starts_no_app() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("a.txt", "a").object("secret.txt", "s").object("z.txt", "z");
        front.on(any().op("GetObject").key("secret.txt"), Fault::DENIED);
        no_app_starts(&front, &story, "secret.txt");
    }
}

#[test]
fn a_workspace_that_never_answers_starts_no_app() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("a.txt", "a").object("lost.txt", "l");
        front.on(any().op("GetObject").key("lost.txt"), Fault::BlackHole);
        let here = story.directory("here").with("STOPOVER_RESTORE_TIMEOUT", "2s");
        let before = everything(&story.outsider);
        let mark = story.path("mark");
        here.run(&["touch", mark.to_str().unwrap()]).exits(80).says("STOPOVER_RESTORE_TIMEOUT");
        assert!(!mark.exists() && everything(&story.outsider) == before, "on {}", server.name());
    }
}

#[test]
fn a_workspace_of_which_a_file_comes_short_starts_no_app() {
    // It is asked for again and again until patience ends: on all servers at once.
    std::thread::scope(|scope| {
        for server in Server::all_with(&[]) {
            scope.spawn(move || {
                let front = Front::before(&server.endpoint);
                let story = Story::behind(&front, &server);
                story.object("a.txt", "a").object("short.txt", "0123456789");
                front.on(any().op("GetObject").key("short.txt"), Fault::Cut(4));
                no_app_starts(&front, &story, "short.txt");
            });
        }
    });
}

#[test]
fn a_body_that_breaks_once_is_asked_for_again() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("short.txt", "0123456789");
        front.on(any().op("GetObject").key("short.txt").once(), Fault::Cut(4));
        let here = story.directory("here");
        here.pull().exits(0);
        assert_eq!(here.text("short.txt"), "0123456789", "on {}", server.name());
    }
}

/// `run` ends with 80, names the file, and neither started the app nor wrote to the bucket.
fn no_app_starts(front: &Front, story: &Story, named: &str) {
    let before = everything(&story.outsider);
    let mark = story.path("mark");
    let here = story.directory("here");
    here.run(&["touch", mark.to_str().unwrap()]).exits(80).says(named);
    assert!(!mark.exists(), "on {}", story.server.name());
    here.commit().says("pull");
    assert_eq!(everything(&story.outsider), before, "on {}", story.server.name());
    front.heal();
    here.run(&["touch", mark.to_str().unwrap()]).exits(0);
    assert!(mark.exists() && here.has(named), "on {}", story.server.name());
}

#[test]
fn what_a_newer_stopover_made_is_left_alone() {
    for server in Server::all_with(&[]) {
        let story = Story::on(&server);
        let here = story.directory("here");
        here.pull().exits(0);
        here.file("a.txt", "a").commit().exits(0);
        let plain = story.object_text(".stopover/head.json");
        let newer = plain.replace("\"format\": 1", "\"format\": 99");
        assert_ne!(plain, newer);
        story.object(".stopover/head.json", newer);
        let before = everything(&story.outsider);
        let mark = story.path("mark");
        let next = story.directory("next");
        next.run(&["touch", mark.to_str().unwrap()]).exits(80).says("was made by a newer stopover");
        here.file("a.txt", "b").commit().says("was made by a newer stopover");
        assert!(!mark.exists() && next.paths().is_empty(), "on {}", server.name());
        assert_eq!(everything(&story.outsider), before, "on {}", server.name());
    }
}

#[test]
fn hostile_keys_are_refused_by_name_and_nothing_outside_is_written() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("good.txt", "good");
        let keys = ["../escaped", "sub/../../escaped", "a//b", "./dot", "/absolute"].map(|key| story.key(key));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        front.on(any().op("ListObjectsV2"), Fault::list_also(&keys));
        let here = story.directory("deep/here");
        let pulled = here.pull().exits(3);
        let mut pulled = pulled;
        for key in ["../escaped", "sub/../../escaped", "a//b", "./dot", "/absolute"] {
            pulled = pulled.says(key);
        }
        assert_eq!(here.paths(), ["good.txt"], "on {}", server.name());
        let beside: Vec<_> =
            std::fs::read_dir(story.path("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, ["here"], "on {}", server.name());
        assert!(!story.path("escaped").exists());
        // They are no reason not to start the app.
        let next = story.directory("next");
        next.run(&["true"]).exits(0);
        assert_eq!(next.paths(), ["good.txt"]);
    }
}

/// Makes the notes of `here` those of another boot of the machine.
fn restart_the_machine(here: &support::story::Directory) {
    let note = here.path.join(".stopover/ready");
    let mut ready: serde_json::Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    ready["boot"] = "another".into();
    std::fs::write(note, ready.to_string()).unwrap();
}

#[test]
fn what_a_crash_of_the_machine_did_to_a_fresh_restore_is_no_edit() {
    let story = Story::on(&Server::here());
    story.object("kept.txt", "kept").object("lost.txt", "lost");
    let here = story.directory("here").with("STOPOVER_CHECKPOINT", "off");
    let run = here.start_run(&["sh", "-c", "echo runs; while kill -0 $PPID 2>/dev/null; do sleep 0.02; done"]);
    run.prints("runs");
    run.kill();
    run.ends();
    // What was on its way to the disk is not there.
    here.file("lost.txt", "").file("new.txt", "the app's");
    restart_the_machine(&here);
    here.commit().says("restarted before what was restored into").says("stopover pull").exits(1);
    here.run_script("cat lost.txt kept.txt new.txt").exits(0).printed("lostkeptthe app's");
    assert_eq!((story.object_text("lost.txt").as_str(), story.object_text("new.txt").as_str()), ("lost", "the app's"));
}

#[test]
fn edits_after_a_restore_that_reached_the_disk_outlive_a_restart() {
    let story = Story::on(&Server::here());
    story.object("a.txt", "a");
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a.txt", "edited");
    restart_the_machine(&here);
    here.commit().exits(0);
    assert_eq!(story.object_text("a.txt"), "edited");
}

#[test]
fn what_a_killed_restore_left_and_others_deleted_since_is_not_brought_back() {
    for server in Server::all_with(&[]) {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("d/first.txt", "1").object("package.json", "{}").object("stays.txt", "1");
        let here = story.directory("here");
        let held = front.hold(any().op("GetObject").key("stays.txt"));
        let running = here.start(&["pull"]);
        held.reached();
        support::story::until(|| here.has("package.json"));
        running.kill();
        assert_eq!(running.ends().code(), 137);
        front.heal();
        story.no_object("package.json").no_object("d/first.txt");
        // What somebody made here meanwhile is his.
        here.file("new.txt", "new");
        here.pull().exits(0).says("package.json");
        assert_eq!(here.paths(), ["new.txt", "stays.txt"], "on {}", server.name());
        here.commit().exits(0);
        assert_eq!(story.objects(), ["new.txt", "stays.txt"], "on {}", server.name());
    }
}

#[test]
fn the_start_command_is_looked_for_when_the_whole_workspace_is_there() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    story.object("requirements.txt", "").object("main.py", "print('found')");
    let hold = front.hold(any().op("GetObject").key("main.py"));
    let here = story.directory("here").with("STOPOVER_INSTALL", "touch installed");
    let run = here.start_run(&[]);
    hold.reached();
    // What must not come cannot be waited for: an install that begins by now does so within this time, mostly.
    for _ in 0..50 {
        assert!(!here.has("installed"), "an install may need any file");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    hold.release();
    let ended = run.ends();
    ended.exits(0).printed("found");
    assert!(here.has("installed"));
}
