//! Several containers of one workspace, all of them alive, on real servers: each edits, deletes and renames its own and
//! shared files, commits, pulls, runs, is killed and falls asleep at any moment, while somebody prunes without any
//! courtesy: one who goes by the page of the formats alone, and `stopover prune`, to which all garbage looks old. At
//! the end everybody has the same, and everything that a receipt promised is there, unless somebody who had
//! it edited or deleted it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{
    checker::{Checker, on_disk},
    front::{Fault, Front, any},
    ledger::{Ledger, content, contents},
    outsider::Outsider,
    pruner::{Pruner, Swept},
    servers::{Kind, Server},
    story::{Directory, Ended, Running, Story},
};

/// After this time the long one begins no further course.
const LONG: Duration = Duration::from_secs(12 * 60);

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, of: u64) -> Self {
        Self((seed << 8 | of).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % most
    }

    fn milliseconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most))
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[usize::try_from(self.below(of.len() as u64)).unwrap()])
    }
}

/// What all writers share.
struct Zoo {
    story: Story,
    seed: u64,
    ledger: Mutex<Ledger>,
    /// Copies that no directory has any more, because there were too many.
    crowded: AtomicUsize,
    commits: AtomicUsize,
    kills: AtomicUsize,
    sleeps: AtomicUsize,
    contended: AtomicUsize,
}

struct Writer<'a> {
    zoo: &'a Zoo,
    name: String,
    directory: Directory,
    dice: Dice,
    written: u64,
    /// The directory was never restored, or a restore did not end.
    must_pull: bool,
}

impl<'a> Writer<'a> {
    fn new(zoo: &'a Zoo, number: u64) -> Self {
        let name = format!("w{number}");
        let directory = zoo.story.directory(&name);
        Self { zoo, name, directory, dice: Dice::new(zoo.seed, number), written: 0, must_pull: true }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path.join(path)
    }

    // What the app does.

    /// Takes away what is there, for a reason.
    fn clear(&self, path: &Path) {
        self.zoo.ledger.lock().unwrap().take_back(path);
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
    }

    /// Makes room for a file or directory of that name.
    fn make_room(&self, path: &str) -> PathBuf {
        let full = self.at(path);
        for up in Path::new(path).ancestors().skip(1).filter(|up| !up.as_os_str().is_empty()) {
            let up = self.directory.path.join(up);
            if up.is_file() {
                self.clear(&up);
            }
        }
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        self.clear(&full);
        full
    }

    fn write(&mut self, path: &str) {
        let full = self.make_room(path);
        self.written += 1;
        let size = match self.dice.below(12) {
            0 => 1_200_000 + self.dice.below(1 << 21),
            1 => 100_000,
            _ => 40 + self.dice.below(3000),
        };
        let name = format!("{}-{}", self.name, self.written);
        // As good programs do it: whoever looks sees the old or the new, never a part.
        let beside = full.with_file_name(format!(".{}.tmp", self.name));
        fs::write(&beside, content(&name, usize::try_from(size).unwrap())).unwrap();
        fs::rename(beside, full).unwrap();
    }

    fn own(&mut self) -> String {
        format!("own/{}/{}", self.name, self.dice.below(6))
    }

    fn shared(&mut self) -> String {
        match self.dice.below(8) {
            // A file for some, a directory for others.
            0 => "turn".to_owned(),
            1 => "turn/inner".to_owned(),
            n => format!("shared/{}", n % 3),
        }
    }

    fn edit(&mut self) {
        let files: Vec<String> = contents(&self.directory.path).into_keys().collect();
        match self.dice.below(10) {
            0..4 => {
                let path = self.own();
                self.write(&path);
            }
            4..6 => {
                let path = self.shared();
                self.write(&path);
            }
            6 => {
                if let Some(path) = self.dice.one_of(&files) {
                    self.clear(&self.at(path));
                }
            }
            7 => {
                let to = if self.dice.below(2) == 0 { self.own() } else { self.shared() };
                let is_below = |one: &str, other: &str| one.starts_with(&format!("{other}/"));
                let is_apart = |from: &&String| **from != to && !is_below(from, &to) && !is_below(&to, from);
                let from = self.dice.one_of(&files).filter(is_apart);
                if let Some(from) = from {
                    let room = self.make_room(&to);
                    // It may have been in the way.
                    if self.at(from).exists() {
                        fs::rename(self.at(from), room).unwrap();
                    }
                }
            }
            _ => {
                // Somebody looks at what was kept twice, and throws it away.
                for path in files.iter().filter(|path| path.contains(".theirs-") || path.contains(".ours-")) {
                    self.clear(&self.at(path));
                }
            }
        }
    }

    fn edits(&mut self) {
        for _ in 0..=self.dice.below(4) {
            self.edit();
        }
    }

    // What stopover does.

    fn heard(&self, ended: &Ended) {
        if ended.stderr.contains("too many") {
            println!("{}: {}", self.name, ended.stderr);
            self.zoo.crowded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A commit that is let be.
    fn commits(&mut self, words: &[&str]) {
        let held = contents(&self.directory.path);
        let ended = self.directory.stopover(&[&["commit", "--json"], words].concat());
        self.committed(&held, &ended);
    }

    fn committed(&self, held: &BTreeMap<String, String>, ended: &Ended) {
        self.heard(ended);
        if ended.code() == 1 && ended.stderr.contains("another container committed") {
            self.zoo.contended.fetch_add(1, Ordering::Relaxed);
            return;
        }
        assert_eq!(ended.code(), 0, "{}: {}\n{}", self.name, ended.stdout, ended.stderr);
        let receipt = ended.json();
        assert_eq!((&receipt["durable"], &receipt["partial"]), (&true.into(), &false.into()), "{receipt}");
        self.zoo.commits.fetch_add(1, Ordering::Relaxed);
        self.zoo.ledger.lock().unwrap().promise(held, &self.name);
    }

    /// A subcommand that is killed or asleep for a while, unless it has ended before.
    fn disturbed(&mut self, words: &[&str], kill: bool) {
        let held = contents(&self.directory.path);
        let running = self.directory.start(words);
        std::thread::sleep(self.dice.milliseconds(250));
        let is_pull = words == ["pull"];
        if kill {
            running.kill();
            self.zoo.kills.fetch_add(1, Ordering::Relaxed);
        } else {
            running.sleeps();
            self.zoo.sleeps.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.dice.milliseconds(700));
            running.wakes();
        }
        let ended = running.ends();
        match (ended.code(), is_pull) {
            (137, _) => self.must_pull |= is_pull,
            (_, true) => self.pulled(&ended),
            (_, false) => self.committed(&held, &ended),
        }
    }

    fn pulls(&mut self) {
        let ended = self.directory.pull();
        self.pulled(&ended);
    }

    fn pulled(&mut self, ended: &Ended) {
        self.heard(ended);
        assert!([0, 3].contains(&ended.code()), "{}: {}\n{}", self.name, ended.stdout, ended.stderr);
        self.must_pull = false;
    }

    /// A container that lives for a moment.
    fn runs(&mut self, kill: bool) {
        let app = "trap 'exit 0' TERM; echo runs; while kill -0 $PPID 2>/dev/null; do sleep 0.03; done";
        let directory = self.directory.clone().with("STOPOVER_STOP_TIMEOUT", "60s");
        let running = directory.start_run(&["sh", "-c", app]);
        running.prints("runs");
        self.edits();
        let held = contents(&self.directory.path);
        std::thread::sleep(self.dice.milliseconds(150));
        if kill {
            kill_with_all_below(&running);
            running.ends();
            self.zoo.kills.fetch_add(1, Ordering::Relaxed);
            return;
        }
        running.term();
        let ended = running.ends();
        self.heard(&ended);
        if ended.code() == 82 && ended.stderr.contains("another container committed") {
            self.zoo.contended.fetch_add(1, Ordering::Relaxed);
            self.must_pull = false;
            return;
        }
        assert_eq!(ended.code(), 0, "{}: {}\n{}", self.name, ended.stdout, ended.stderr);
        assert!(ended.stderr.contains("everything is stored"), "{}: {}", self.name, ended.stderr);
        self.zoo.commits.fetch_add(1, Ordering::Relaxed);
        self.zoo.ledger.lock().unwrap().promise(&held, &self.name);
        self.must_pull = false;
    }

    fn round(&mut self) {
        if self.must_pull {
            self.pulls();
        }
        self.edits();
        match self.dice.below(14) {
            0..4 => self.commits(&[]),
            4 => self.commits(&["--durable"]),
            5 => self.disturbed(&["commit", "--json"], true),
            6 | 7 => self.disturbed(&["commit", "--json"], false),
            8 => self.disturbed(&["pull"], true),
            9 => self.disturbed(&["pull"], false),
            10 => self.runs(false),
            11 => self.runs(true),
            12 => {
                // Another machine: what was not committed is gone with the old one.
                fs::remove_dir_all(&self.directory.path).unwrap();
                fs::create_dir(&self.directory.path).unwrap();
                self.pulls();
            }
            _ => self.pulls(),
        }
    }
}

/// As a container ends whose PID 1 is killed: nobody in it lives on.
fn kill_with_all_below(running: &Running) {
    running.sleeps();
    let mut killed = vec![i32::try_from(running.pid()).unwrap()];
    // Whoever is found is asleep, and begins nothing more.
    let mut looked = 0;
    while looked < killed.len() {
        looked = killed.len();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
            let Some(parent) = rest.split(' ').nth(1).and_then(|parent| parent.parse().ok()) else { continue };
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if killed.contains(&parent) && !killed.contains(&pid) {
                kill(Pid::from_raw(pid), Signal::SIGSTOP).ok();
                killed.push(pid);
            }
        }
    }
    for pid in killed {
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

/// The servers of a zoo. moto looks first and writes then: what is to be atomic there takes turns before it.
fn zoos(seed: u64) -> impl Iterator<Item = (Option<Front>, Zoo)> {
    [Kind::Moto, Kind::MinIo].into_iter().filter_map(Server::of).map(move |server| {
        let front = (server.kind == Kind::Moto).then(|| {
            let front = Front::before(&server.endpoint);
            let turn = Arc::new(tokio::sync::Mutex::new(()));
            for op in ["PutObject", "DeleteObject", "CompleteMultipartUpload"] {
                front.on(any().op(op), Fault::InTurn(Arc::clone(&turn)));
            }
            front
        });
        let story = match &front {
            Some(front) => Story::behind(front, &server),
            None => Story::on(&server),
        };
        let zoo = Zoo {
            story,
            seed,
            ledger: Mutex::default(),
            crowded: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            sleeps: AtomicUsize::new(0),
            contended: AtomicUsize::new(0),
        };
        (front, zoo)
    })
}

/// `stopover prune`, with as little courtesy as the other one.
const PRUNE: &[&str] = &["prune", "--json", "--keep-last", "2", "--keep-within", "0s", "--keep-daily", "0"];

/// What pruners did.
#[derive(Default)]
struct Pruning {
    sweeps: usize,
    /// Sweeps that met a commit.
    lost: usize,
    /// How much is gone.
    objects: usize,
    /// What `stopover prune` did: how often it ended well, and how much of it is gone.
    own_sweeps: usize,
    own_objects: u64,
}

/// Prunes until it is told to stop. Beside writers that are fast most sweeps are lost: it rests only after the others.
fn prunes(zoo: &Zoo, pruner: &mut Pruner, endpoint: &str, stop: &AtomicBool) -> Pruning {
    let mut dice = Dice::new(zoo.seed, 99);
    let mut done = Pruning::default();
    let old = Front::before(endpoint);
    old.on(any().op("ListObjectsV2"), Fault::list_old_but(&[]));
    let here = zoo.story.directory("pruner").with("S3_ENDPOINT", &old.endpoint);
    while !stop.load(Ordering::Relaxed) {
        if dice.below(3) == 0 && zoo.story.has_object(".stopover/head.json") {
            // What was a snapshot within the last hour it would keep.
            pruner.forgets();
            let ended = here.stopover(PRUNE);
            match ended.code() {
                0 => {
                    done.own_sweeps += 1;
                    done.own_objects += ended.json()["objects"].as_u64().unwrap();
                }
                code => assert_eq!(code, 1, "{}\n{}", ended.stdout, ended.stderr),
            }
            // The others want to move head, too.
            std::thread::sleep(dice.milliseconds(400));
            continue;
        }
        match pruner.sweep() {
            Swept::Done(objects) => {
                done.sweeps += 1;
                done.objects += objects;
            }
            Swept::Lost => {
                done.lost += 1;
                continue;
            }
            Swept::Nothing => {}
        }
        std::thread::sleep(dice.milliseconds(400));
    }
    done
}

/// Lets so many writers live for so many rounds each, and looks at what is left.
fn live(writers: u64, rounds: u64, seed: u64) {
    for (front, zoo) in zoos(seed) {
        let began = Instant::now();
        let what = format!("{} writers on {}, seed {seed}", writers, zoo.story.server.name());
        let endpoint = front.as_ref().map_or_else(|| zoo.story.server.endpoint.clone(), |front| front.endpoint.clone());
        let mut pruner = Pruner::of(&Outsider::new(&endpoint, &zoo.story.outsider.bucket), &zoo.story.workspace);
        let stop = AtomicBool::new(false);
        let mut all: Vec<Writer<'_>> = (0..writers).map(|number| Writer::new(&zoo, number)).collect();
        let swept = std::thread::scope(|scope| {
            let pruning = scope.spawn(|| prunes(&zoo, &mut pruner, &endpoint, &stop));
            let running: Vec<_> =
                all.iter_mut().map(|writer| scope.spawn(move || (0..rounds).for_each(|_| writer.round()))).collect();
            let ended: Vec<_> = running.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            stop.store(true, Ordering::Relaxed);
            let swept = pruning.join();
            for ended in ended {
                assert!(ended.is_ok(), "{what}: a writer failed, see above");
            }
            swept.expect("the pruner failed")
        });
        // Beside writers each sweep may be lost, where there are few rounds. Now only what a killed one had on its way
        // can be in the way of one.
        all[0].pulls();
        all[0].commits(&[]);
        let is_swept = (0..20).any(|_| matches!(pruner.sweep(), Swept::Done(_)));
        assert!(is_swept, "{what}: no prune went through when the writers were gone");
        converge(&mut all, &what);
        let held = contents(&all[0].directory.path);
        let ledger = zoo.ledger.lock().unwrap();
        let crowded = zoo.crowded.load(Ordering::Relaxed);
        println!(
            "{what}: {} rounds in {:.0?}, {} commits, {} kills, {} sleeps, {} prunes of {} objects ({} lost to a commit), \
             {} of stopover's own of {} objects, {} contents promised, {} files left, {crowded} too many copies, {} gave up",
            writers * rounds,
            began.elapsed(),
            zoo.commits.load(Ordering::Relaxed),
            zoo.kills.load(Ordering::Relaxed),
            zoo.sleeps.load(Ordering::Relaxed),
            swept.sweeps,
            swept.objects,
            swept.lost,
            swept.own_sweeps,
            swept.own_objects,
            ledger.promises(),
            held.len(),
            zoo.contended.load(Ordering::Relaxed),
        );
        assert!(
            rounds < 20 || swept.sweeps > 0,
            "{what}: no prune ever met a moment between two commits, {} tried",
            swept.lost
        );
        assert!(rounds < 20 || swept.own_objects > 0, "{what}: `stopover prune` never swept anything");
        let missing = ledger.missing(held.values());
        assert!(missing.len() <= crowded, "{what}: lost {missing:?}");
        all_is_in_the_bucket(&zoo, &all[0], &what);
    }
}

/// Everybody commits and pulls until nothing moves any more.
fn converge(all: &mut [Writer<'_>], what: &str) {
    for writer in all.iter_mut() {
        writer.pulls();
        writer.commits(&[]);
    }
    // What a conflict left beside, and what a zombie put late, is taken in.
    for _ in 0..2 {
        for writer in all.iter_mut() {
            writer.pulls();
            writer.commits(&[]);
        }
    }
    let [first, others @ ..] = all else { return };
    for other in others {
        other.pulls();
        assert_eq!(contents(&first.directory.path), contents(&other.directory.path), "{what}: {}", other.name);
        assert_eq!(first.directory.paths(), other.directory.paths(), "{what}: {}", other.name);
    }
}

/// What a container that comes now finds, and what an outsider sees, is what `writer` has; and what history keeps can be
/// restored.
fn all_is_in_the_bucket(zoo: &Zoo, writer: &Writer<'_>, what: &str) {
    let story = &zoo.story;
    let checked =
        Checker::new(&story.outsider, story.key("")).bucket().unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    assert!(checked.tree == on_disk(&writer.directory.path), "{what}");
    let next = story.directory("next");
    next.pull().exits(0);
    assert!(next.tree() == writer.directory.tree(), "{what}");
    assert!(
        story.live() == next.files(),
        "{what}: the live tree has {:?}, the snapshot {:?}",
        story.objects(),
        next.paths()
    );
    let snapshots = next.stopover(&["snapshots", "--json"]).exits(0).stdout;
    for (n, line) in snapshots.lines().rev().take(5).enumerate() {
        let snapshot: serde_json::Value = serde_json::from_str(line).unwrap();
        let to = story.path(&format!("past-{n}"));
        let id = snapshot["id"].as_str().unwrap();
        next.stopover(&["restore", id, "--to", to.to_str().unwrap()]).exits(0);
        contents(&to);
    }
}

fn seed() -> u64 {
    std::env::var("STOPOVER_TEST_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

#[test]
fn two_containers_that_are_killed_and_fall_asleep_lose_nothing() {
    live(2, 6, seed());
}

#[test]
fn five_containers_that_are_killed_and_fall_asleep_lose_nothing() {
    live(5, 2, seed());
}

/// `just zoo`. Always two courses of all: 560 rounds; then as many more as fit, each with the next seed.
#[test]
#[ignore = "takes a quarter of an hour"]
fn hundreds_of_rounds_lose_nothing() {
    let began = Instant::now();
    let mut courses = 0;
    while courses < 2 || began.elapsed() < LONG {
        let seed = seed() + courses;
        live(2, 20, seed);
        live(5, 20, seed);
        courses += 1;
    }
    println!("{courses} courses, {} rounds in {:.0?}", courses * 280, began.elapsed());
}
