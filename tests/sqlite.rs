//! A database in the workspace: SQLite in WAL mode, written to while snapshots are made, and killed. A quiet snapshot
//! always holds a whole database; what one that was made beside the app holds is counted (docs/design/sqlite.md).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::{
    front::{Class, Front, any},
    servers::Server,
    story::{Directory, Running, Story, until},
};

/// Commits transactions as fast as told, and notes outside of the workspace how many of them have returned. What it
/// writes again and again moves pages out of the log soon.
const APP: &str = r#"
import os, random, signal, sqlite3, sys, time
acknowledged, pause, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
db = sqlite3.connect("app.db", isolation_level=None, timeout=60)
db.execute("pragma journal_mode=wal")
db.execute("pragma synchronous=normal")
db.execute("pragma wal_autocheckpoint=40")
db.execute("create table if not exists total(n integer)")
db.execute("create table if not exists t(id integer primary key, name text unique, body blob)")
if not db.execute("select n from total").fetchone():
    db.execute("insert into total values(0)")
if size:
    db.execute("insert or replace into t(name, body) values('large', randomblob(?))", (size,))
n = db.execute("select n from total").fetchone()[0]
print("runs", flush=True)
while not stopped:
    n += 1
    db.execute("begin immediate")
    for k in range(6):
        db.execute("insert or replace into t(name, body) values(?, randomblob(?))",
                   (f"row {random.randrange(400)}", random.randrange(50, 3000)))
    db.execute("delete from t where name = ?", (f"row {random.randrange(400)}",))
    db.execute("update total set n = ?", (n,))
    db.execute("commit")
    with open(acknowledged + ".new", "w") as note:
        note.write(str(n))
    os.replace(acknowledged + ".new", acknowledged)
    time.sleep(pause)
if pause < 1:
    os._exit(0)  # without closing the database: the log stays
db.close()
"#;

/// What SQLite says of the database of a directory, and how many transactions it holds.
const CHECK: &str = r#"
import sqlite3, sys
try:
    db = sqlite3.connect(sys.argv[1])
    print(db.execute("pragma integrity_check").fetchone()[0].split("\n")[0])
    print(db.execute("select n from total").fetchone()[0])
    db.execute("select sum(length(body)) from t").fetchone()
except sqlite3.Error as error:
    print(error)
    print(-1)
"#;

fn has_python() -> bool {
    let has = Command::new("python3").args(["-c", "import sqlite3"]).status().is_ok_and(|status| status.success());
    if !has {
        println!("skipped: needs python3 with sqlite3: apt-get install python3");
    }
    has
}

fn check(directory: &Directory) -> (String, i64) {
    let path = directory.path.join("app.db");
    let output = Command::new("python3").args(["-c", CHECK]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let (said, count) = text.trim().rsplit_once('\n').unwrap_or_else(|| panic!("{text:?} {:?}", output.stderr));
    (said.to_owned(), count.parse().unwrap())
}

/// The children of a process whose command line has this word.
fn children_of(parent: u32, word: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let has_word = line.split(|&byte| byte == 0).any(|part| part.ends_with(word.as_bytes()));
        if has_word && rest.split(' ').nth(1) == Some(parent.to_string().as_str()) {
            found.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    found
}

/// Kills the one child of a supervisor whose command line has this word.
fn kill_child_of(parent: u32, word: &str) {
    let children = children_of(parent, word);
    assert_eq!(children.len(), 1, "{word}");
    send(children[0], Signal::SIGKILL);
}

/// Kills a container: its first process and all others, and none of them does anything between the first and the last.
fn kill_container(first: u32) {
    let mut all = vec![first];
    let mut at = 0;
    while at < all.len() {
        send(all[at], Signal::SIGSTOP);
        all.extend(children_of(all[at], ""));
        at += 1;
    }
    assert!(all.len() >= 3, "supervisor, app and commit: {all:?}");
    // The first one last: as long as it is there, the others' numbers are nobody else's.
    for pid in all.into_iter().rev() {
        let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        assert!([Ok(()), Err(nix::errno::Errno::ESRCH)].contains(&killed), "{pid}: {killed:?}");
    }
}

fn send(pid: u32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

struct App<'a> {
    story: &'a Story,
    directory: Directory,
    running: Running,
}

impl<'a> App<'a> {
    fn starts(story: &'a Story, name: &str, pause: &str, size: usize) -> Self {
        Self::starts_with(story, name, pause, size, "20s")
    }

    fn starts_with(story: &'a Story, name: &str, pause: &str, size: usize, stop_timeout: &str) -> Self {
        let directory = story.directory(name).with("STOPOVER_CHECKPOINT", "off");
        let directory = directory.with("STOPOVER_STOP_TIMEOUT", stop_timeout);
        let acknowledged = story.path("acknowledged").display().to_string();
        let running = directory.start_run(&["python3", "-c", APP, &acknowledged, pause, &size.to_string()]);
        running.prints("runs");
        Self { story, directory, running }
    }

    /// How many transactions have returned.
    fn acknowledged(&self) -> i64 {
        std::fs::read_to_string(self.story.path("acknowledged")).map_or(0, |text| text.parse().unwrap())
    }

    fn works_for(&self, transactions: i64) -> &Self {
        let until_now = self.acknowledged();
        until(|| self.acknowledged() >= until_now + transactions);
        self
    }
}

#[test]
fn a_quiet_snapshot_holds_every_transaction_however_the_app_ended() {
    if !has_python() {
        return;
    }
    let story = Story::on(&Server::here());
    for round in 0..6 {
        let app = App::starts(&story, &format!("container-{round}"), "0", 0);
        app.works_for(20);
        // Beside it a checkpoint, whatever that one holds.
        if round % 2 == 0 {
            app.directory.stopover(&["commit"]);
        }
        if round % 3 == 2 {
            // The app is killed in the middle of a transaction, and nobody else.
            kill_child_of(app.running.pid(), "python3");
        } else {
            app.running.term();
        }
        let returned =
            |story: &Story| -> i64 { std::fs::read_to_string(story.path("acknowledged")).unwrap().parse().unwrap() };
        let ended = app.running.ends();
        assert!([0, 137].contains(&ended.code()), "{}", ended.stderr);
        assert!(ended.stderr.contains("everything is stored"), "{}", ended.stderr);
        let next = story.directory(&format!("check-{round}"));
        next.pull().exits(0);
        let log = std::fs::metadata(next.path.join("app.db-wal")).map_or(0, |meta| meta.len());
        let (said, count) = check(&next);
        assert_eq!(said, "ok", "round {round}");
        // The last one may not have been noted.
        let returned = returned(&story);
        assert!(count == returned || count == returned + 1, "round {round}: {count} of {returned}");
        assert!(log > 0, "round {round}: the database was closed");
    }
}

/// All snapshots, the newest last, and whether each is quiet.
fn snapshots(story: &Story) -> Vec<(String, bool)> {
    let listed = story.directory("asked").stopover(&["snapshots", "--json"]).exits(0).stdout;
    let snapshots = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut snapshots: Vec<_> =
        snapshots.map(|snapshot| (snapshot["id"].as_str().unwrap().to_owned(), snapshot["quiet"] == true)).collect();
    snapshots.sort();
    snapshots
}

/// What the newest quiet snapshot holds.
fn newest_quiet(story: &Story, name: &str) -> (String, i64) {
    let quiet = snapshots(story).into_iter().rfind(|(_, is_quiet)| *is_quiet).unwrap().0;
    let to = story.directory(name);
    story.directory("asked").stopover(&["restore", &quiet, "--to", to.path.to_str().unwrap()]).exits(0);
    check(&to)
}

/// Stops the app with a quiet snapshot, and says what it had acknowledged. Where the early commit has stored all there is
/// already, there is none: then it runs once more.
fn stops_quietly<'a>(story: &'a Story, mut app: App<'a>) -> i64 {
    for _ in 0..20 {
        app.running.term();
        app.running.ends().exits(0).says("everything is stored");
        if snapshots(story).last().unwrap().1 {
            return std::fs::read_to_string(story.path("acknowledged")).unwrap().parse().unwrap();
        }
        app = App::starts(story, "one", "0", 0);
        app.works_for(5);
    }
    panic!("no stop leaves a quiet snapshot");
}

/// Kills a checkpoint, or the container with it, when a request of this class is on its way. Then the disk is still
/// there, and another container goes on with it.
fn survives_a_kill(at: Class, all: bool) {
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let app = App::starts(&story, "one", "0", 0);
    app.works_for(20);
    app.directory.stopover(&["commit"]);
    let stopped_at = stops_quietly(&story, app);

    let app = App::starts(&story, "one", "0", 0);
    app.works_for(20);
    let held = front.hold(any().op("PutObject").class(at));
    let checkpoint = app.directory.start(&["commit"]);
    held.reached();
    if all {
        kill_container(app.running.pid());
    } else {
        kill_child_of(app.running.pid(), "commit");
    }
    held.abandon();
    front.settles();
    front.heal();
    assert_ne!(checkpoint.ends().code(), 0);
    let (said, count) = newest_quiet(&story, "quiet");
    assert_eq!(said, "ok", "{at:?}");
    assert!([0, 1].contains(&(count - stopped_at)), "{at:?}: {count} of {stopped_at}");

    let app = if all {
        assert_eq!(app.running.ends().code(), 137);
        App::starts(&story, "one", "0", 0)
    } else {
        app
    };
    app.works_for(20);
    let returned = stops_quietly(&story, app);
    assert!(returned >= stopped_at + 40);
    let (said, count) = newest_quiet(&story, "last");
    assert_eq!(said, "ok", "{at:?}");
    assert!([0, 1].contains(&(count - returned)), "{at:?}: {count} of {returned}");
    // Who comes next has it, too.
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(check(&next), ("ok".to_owned(), count));
}

#[test]
fn quiet_snapshots_are_whole_after_a_checkpoint_was_killed() {
    if has_python() {
        for at in [Class::Pack, Class::Tree, Class::Head, Class::Live] {
            survives_a_kill(at, false);
        }
    }
}

#[test]
fn quiet_snapshots_are_whole_after_the_container_was_killed_in_a_checkpoint() {
    if has_python() {
        for at in [Class::Pack, Class::Tree, Class::Head, Class::Live] {
            survives_a_kill(at, true);
        }
    }
}

/// How many of so many snapshots that are made beside an app hold a database that SQLite complains about.
fn measure(pause: &str, size: usize, snapshots: usize) -> (usize, usize, usize) {
    let story = Story::on(&Server::here());
    let app = App::starts(&story, "container", pause, size);
    let (mut broken, mut changing, mut old) = (0, 0, 0);
    for n in 0..snapshots {
        app.works_for(3);
        let before = app.acknowledged();
        let ended = app.directory.stopover(&["commit", "--json"]);
        let receipt = ended.json();
        assert_eq!((&receipt["quiet"], &receipt["durable"]), (&false.into(), &true.into()), "{receipt}");
        let next = story.directory(&format!("snapshot-{n}"));
        next.pull().exits(0);
        let left = receipt["not_stored"].as_array().unwrap();
        changing += usize::from(!left.is_empty());
        if !next.has("app.db") {
            // Not stored yet, and then its log is not either.
            assert!(!next.has("app.db-wal") && !left.is_empty(), "{receipt}");
            continue;
        }
        let (said, count) = check(&next);
        broken += usize::from(said != "ok");
        old += usize::from(said == "ok" && count < before);
        if said != "ok" {
            println!("snapshot {n}: {said}");
        }
        std::fs::remove_dir_all(&next.path).unwrap();
    }
    app.running.term();
    app.running.ends().exits(0).says("everything is stored");
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(check(&next).0, "ok");
    println!(
        "of {snapshots} snapshots beside an app (a pause of {pause} s, {size} bytes more): {broken} not whole, {old} \
         whole without the last transactions, {changing} with a file that never stood still"
    );
    (broken, changing, old)
}

#[test]
fn what_snapshots_beside_the_app_hold_is_counted_and_the_last_one_is_whole() {
    if has_python() {
        measure("0", 0, 6);
        measure("0.05", 0, 6);
    }
}

/// The numbers of docs/design/sqlite.md.
#[test]
#[ignore = "takes minutes"]
fn many_snapshots_beside_the_app_are_counted() {
    for (pause, size) in [("0", 0), ("0.01", 0), ("0.1", 0), ("0", 30 << 20), ("0.1", 30 << 20)] {
        measure(pause, size, 40);
    }
}

#[test]
fn a_database_goes_with_its_log_or_not_at_all() {
    if !has_python() {
        return;
    }
    let server = Server::here();
    let front = Front::before(&server.endpoint);
    let story = Story::behind(&front, &server);
    let app = App::starts(&story, "one", "0.02", 12 << 20);
    app.works_for(10);
    app.running.term();
    app.running.ends().exits(0);
    // It is live, and this is what the next stop falls back to.
    let seed = story.directory("seed");
    seed.pull().exits(0);
    seed.checkpoint().exits(0);
    let (said, old) = check(&seed);
    assert_eq!(said, "ok");
    // At the next stop there is only time for the first pack, which has what is small.
    let app = App::starts_with(&story, "two", "0.02", 12 << 20, "6s");
    app.works_for(10);
    app.directory.file("small.txt", "small");
    let held = front.hold(any().op("PutObject").class(Class::Pack).after(1));
    let short = app.directory.clone();
    app.running.term();
    let ended = app.running.ends();
    assert_eq!(ended.code(), 82, "{}", ended.stderr);
    held.abandon();
    front.settles();
    front.heal();
    assert!(ended.stderr.contains("app.db (deadline)") && ended.stderr.contains("app.db-wal"), "{}", ended.stderr);
    let next = story.directory("next");
    next.pull().exits(0);
    assert_eq!(next.text("small.txt"), "small");
    assert_eq!(check(&next), ("ok".to_owned(), old), "the old database with its old log");
    // Nothing is lost: it is in the directory, and the next commit stores it.
    short.commit().exits(0);
    let last = story.directory("last");
    last.pull().exits(0);
    let (said, count) = check(&last);
    assert!(said == "ok" && count >= old + 10, "{said} {count} {old}");
}
