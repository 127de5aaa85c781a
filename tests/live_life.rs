//! Containers whose workspace is live, or becomes it in their life: what a stop, a deadline and a kill leave, what a
//! container that only reads does, and what PID 1 costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    checker::{Checker, on_disk},
    front::{Class, Fault, Front, any},
    servers::Server,
    story::{Directory, Story, binary},
};

const WAIT: &str = "while :; do sleep 0.02; done";

fn head(story: &Story) -> Value {
    serde_json::from_str(&story.object_text(".stopover/head.json")).unwrap()
}

fn container(story: &Story, checkpoint: &str) -> Directory {
    let summary = story.path("summary").display().to_string();
    story.directory("container").with("STOPOVER_CHECKPOINT", checkpoint).with("STOPOVER_SUMMARY", &summary)
}

fn summary(story: &Story) -> Value {
    serde_json::from_slice(&fs::read(story.path("summary")).unwrap()).expect("a summary")
}

/// All keys and contents of the bucket.
fn everything(story: &Story) -> BTreeMap<String, Vec<u8>> {
    let keys = story.outsider.keys("").into_iter();
    keys.map(|key| (key.clone(), story.outsider.get(&key).unwrap().bytes)).collect()
}

/// A live workspace that has caught up.
fn live(story: &Story) -> Directory {
    let here = story.directory("here");
    here.pull().exits(0);
    here.file("a.txt", "1").file("gone.txt", "1").file("d/b.txt", "1").checkpoint().exits(0);
    assert_eq!(head(story)["state"], "live");
    here
}

/// What a container that comes now has is what `directory` has, and all that the bucket says of it holds.
#[track_caller]
fn all_is_as_in(directory: &Directory, story: &Story, what: &str) {
    let next = story.directory("checks");
    next.pull().exits(0);
    assert!(next.tree() == directory.tree(), "{what}: {:?}, not {:?}", next.paths(), directory.paths());
    let checked = Checker::new(&story.outsider, story.key("")).bucket();
    assert!(checked.unwrap_or_else(|wrong| panic!("{what}: {wrong}")).tree == on_disk(&directory.path), "{what}");
}

#[test]
fn a_term_in_the_first_checkpoint_on_a_slow_line_costs_nothing_and_the_next_container_goes_on() {
    let server = Server::here();
    for point in [Class::Pack, Class::Tree, Class::Head, Class::Live] {
        let what = format!("{point:?}");
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        for n in 0..8 {
            story.object(&format!("{n:02}.txt"), format!("{n} from before"));
        }
        let directory = container(&story, "1h").with("STOPOVER_STOP_TIMEOUT", "20s");
        directory.file("early.txt", "early");
        let held = front.hold(any().op("PutObject").class(point).once());
        front.on(any(), Fault::Delay(Duration::from_millis(40)));
        let script = format!("trap 'echo late > late.txt; exit 0' TERM; echo runs; {WAIT}");
        let run = directory.start_run(&["sh", "-c", &script]);
        run.prints("runs");
        held.reached();
        let told = Instant::now();
        run.term();
        run.ends().exits(0).says("everything is stored");
        assert!(told.elapsed() < Duration::from_secs(20) * 2, "{what}: {:?}", told.elapsed());
        held.abandon();
        let receipt = summary(&story)["commit"].clone();
        assert_eq!((&receipt["durable"], &receipt["partial"]), (&json!(true), &json!(false)), "{what}: {receipt}");
        // Before its head the first snapshot is nothing: the stop stores what is here in the plain way.
        let state = if point == Class::Live { "live" } else { "plain" };
        assert_eq!(head(&story)["state"], state, "{what}");
        front.heal();
        let next = story.directory("next");
        next.run_script("cat early.txt late.txt 07.txt").exits(0).printed("earlylate\n7 from before");
        next.checkpoint().exits(0);
        assert_eq!(head(&story)["state"], "live", "{what}");
        assert_eq!(next.paths().len(), 10, "{what}");
        assert_eq!(story.live(), next.files(), "{what}");
        all_is_as_in(&next, &story, &what);
    }
}

#[test]
fn who_only_reads_restores_says_so_and_never_writes() {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let here = live(&story);
    // There would be something to do: an edit from outside, a catch-up that did not end.
    let held = front.hold(any().op("PutObject").class(Class::Live));
    here.file("a.txt", "2");
    let running = here.start(&["commit"]);
    held.reached();
    running.kill();
    running.ends();
    held.abandon();
    front.settles();
    front.heal();
    story.object("outside.txt", "outside");
    let (before, begun) = (everything(&story), front.seen().len());
    let script = format!(
        "cat a.txt outside.txt; echo 3 > a.txt; echo 3 > new.txt; rm gone.txt; {} commit; echo code $?; echo runs; \
         trap 'echo late > late.txt; exit 0' TERM; {WAIT}",
        binary().to_string_lossy()
    );
    let run = container(&story, "30ms").with("STOPOVER_MODE", "read-only").start_run(&["sh", "-c", &script]);
    run.prints("2outside").prints("code 4").prints("runs");
    // Time for many a checkpoint.
    std::thread::sleep(Duration::from_millis(500));
    run.term();
    run.ends().exits(0).says("STOPOVER_MODE=read-only").says("nothing was to be stored");
    assert_eq!(summary(&story)["commit"], Value::Null);
    let seen = front.seen().split_off(begun);
    let writes: Vec<_> =
        seen.iter().filter(|seen| !matches!(seen.op, "GetObject" | "HeadObject" | "ListObjectsV2")).collect();
    assert!(writes.is_empty() && seen.len() > 3, "{writes:?} of {}", seen.len());
    assert!(everything(&story) == before);
    // By hand neither; and with nothing changed as little.
    container(&story, "off").with("STOPOVER_MODE", "read-only").stopover(&["commit"]).exits(4).says("read-only");
    assert!(everything(&story) == before);
    // The same container, allowed to write, has all of it.
    container(&story, "off").run_script("cat a.txt late.txt").exits(0).printed("3\nlate");
    assert_eq!(head(&story)["seq"], 3);
    all_is_as_in(&container(&story, "off"), &story, "then");
}

#[test]
fn whoever_wants_all_or_the_old_keeps_the_old_snapshot_of_a_live_workspace_at_the_deadline() {
    let server = Server::here();
    for on_deadline in ["old", "partial"] {
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        live(&story);
        let before = story.object_text(".stopover/head.json");
        let directory = container(&story, "off").with("STOPOVER_STOP_TIMEOUT", "5s");
        let directory = directory.with("STOPOVER_ON_DEADLINE", on_deadline);
        let script = format!("trap 'echo 2 > a.txt; chmod 750 d/b.txt; rm gone.txt; exit 0' TERM; echo runs; {WAIT}");
        let run = directory.start_run(&["sh", "-c", &script]);
        run.prints("runs");
        let held = front.hold(any().op("PutObject").class(Class::Pack));
        run.term();
        run.ends().exits(82).says("not stored: a.txt (deadline)");
        held.abandon();
        let receipt = summary(&story)["commit"].clone();
        assert_eq!(receipt["not_stored"], json!([{"path": "a.txt", "reason": "deadline"}]), "{receipt}");
        let is_old = on_deadline == "old";
        assert_eq!(receipt["durable"], !is_old, "{receipt}");
        assert_eq!(receipt["snapshot"].is_null(), is_old, "{receipt}");
        assert_eq!(story.object_text(".stopover/head.json") == before, is_old, "{on_deadline}");
        front.heal();
        let next = story.directory("next");
        next.pull().exits(0);
        let mode = if is_old { 0o644 } else { 0o750 };
        assert_eq!((next.text("a.txt").as_str(), next.mode_of("d/b.txt")), ("1", mode), "{on_deadline}");
        assert!(next.has("gone.txt"), "{on_deadline}: a partial tree deletes nothing, an old one neither");
        // The next commit has all.
        directory.run_script("cat a.txt").exits(0).printed("2");
        assert_eq!(head(&story)["seq"], if is_old { 2 } else { 3 });
        assert!(!directory.has("gone.txt"));
        all_is_as_in(&directory, &story, on_deadline);
    }
}

#[test]
fn what_a_killed_first_checkpoint_left_in_its_staging_is_cleared_away_and_never_committed() {
    let server = Server::here();
    // Whoever comes next; and where the state lies inside the workspace.
    for (next, state) in [("commit", None), ("pull", None), ("commit", Some("var/state")), ("pull", Some("var/state"))]
    {
        let what = format!("{next} {state:?}");
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        story.object("kept.bin", "x".repeat(100_000)).object("b.txt", "1");
        let mut here = story.directory("here");
        if let Some(state) = state {
            here.folder("var");
            let state = here.path.join(state).display().to_string();
            here = here.with("STOPOVER_STATE", &state);
        }
        here.pull().exits(0);
        // What is ignored and was edited is in the live tree alone: from there it goes to a pack.
        here.file(".gitignore", "kept.bin\n").file("kept.bin", "edited");
        let held = front.hold(any().op("PutObject").class(Class::Pack));
        let running = here.start(&["commit"]);
        held.reached();
        let staging = here.path.join(state.unwrap_or(".stopover")).join("staging");
        let packing = || {
            let entries = fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap());
            let mut found: Vec<_> = entries.filter(|entry| entry.file_type().unwrap().is_dir()).collect();
            found.pop().map(|entry| entry.path())
        };
        let left = packing().unwrap_or_else(|| panic!("{what}: nothing lies in {}", staging.display()));
        assert!(left.file_name().unwrap().to_string_lossy().starts_with("packing-"), "{what}");
        assert_eq!(fs::read(left.join("0")).unwrap().len(), 100_000, "{what}");
        running.kill();
        running.ends();
        held.abandon();
        front.settles();
        front.heal();
        assert!(left.exists(), "{what}: nobody could clear it away");
        here.stopover(&[next]).exits(0);
        assert_eq!(packing(), None, "{what}");
        here.checkpoint().exits(0);
        assert_eq!(packing(), None, "{what}");
        assert_eq!(head(&story)["state"], "live", "{what}");
        assert_eq!(story.objects(), [".gitignore", "b.txt", "kept.bin"], "{what}");
        let fresh = story.directory("fresh");
        fresh.pull().exits(0);
        let mut paths = fresh.paths();
        paths.retain(|path| path != "var/");
        assert_eq!(paths, [".gitignore", "b.txt", "kept.bin"], "{what}");
        assert_eq!(fresh.text("kept.bin").len(), 100_000, "{what}");
    }
}

/// Resident memory, KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The least that a process has within a while, in which it gives back what it needs no more.
fn settled(pid: u32, enough: u64) -> u64 {
    let begun = Instant::now();
    let mut least = resident(pid);
    while least > enough && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
        least = least.min(resident(pid));
    }
    least
}

/// What a process has when that has not changed for two seconds.
fn at_rest(pid: u32) -> u64 {
    let begun = Instant::now();
    let (mut last, mut since) = (resident(pid), begun);
    while since.elapsed() < Duration::from_secs(2) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is never at rest");
        std::thread::sleep(Duration::from_millis(20));
        let now = resident(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn pid_1_over_a_live_workspace_is_as_small_as_a_plain_init() {
    let mut plain = Command::new(binary());
    plain.args(["run", "--", "sh", "-c", "echo runs; exec sleep 600"]).env("STOPOVER_WORKSPACE", "none");
    let mut plain = plain.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut word = [0; 4];
    plain.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    let bare = at_rest(plain.id());
    plain.kill().unwrap();
    plain.wait().unwrap();

    let story = Story::on(&Server::here());
    let here = live(&story);
    for n in 0..300 {
        here.file(&format!("many/{}/{n}.txt", n % 50), n.to_string());
    }
    here.checkpoint().exits(0);
    let directory = container(&story, "200ms");
    let run = directory.start_run(&["sh", "-c", &format!("trap 'exit 0' TERM; echo runs; {WAIT}")]);
    run.prints("runs");
    for round in 0..3 {
        for n in 0..30 {
            directory.file(&format!("many/{}/{n}.txt", n % 50), format!("{n} {round}"));
        }
        directory.stopover(&["commit"]).exits(0);
    }
    // Of a static release build it is two MiB, by tests/startup.rs; others are as large as they are, and no larger here.
    let enough = bare + bare / 8 + 256;
    let found = settled(run.pid(), enough);
    println!("resident: {found} KiB over a live workspace, {bare} KiB as a plain init");
    assert!(found <= enough, "{found} KiB, and {bare} KiB as a plain init");
    if std::env::var_os("STOPOVER_TEST_BINARY").is_some() {
        assert!(found <= 2048 + 256, "{found} KiB");
    }
    run.term();
    run.ends().exits(0);
}
