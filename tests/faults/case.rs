//! One scenario, with one fault after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    Act, Depth, Ground, Scenario,
    happens::{Happens, Where},
};
use crate::{
    disk::Disk,
    support::{
        checker::{Checked, Checker, Thing, Things, files, on_disk},
        front::{Class, Fault, Request, any},
        ledger::Kept,
        servers::memory::Image,
        story::{Directory, Ended, Running, until},
    },
};

/// How long a client sleeps.
const NAP: Duration = Duration::from_millis(100);
/// For so long it is woken whenever it sleeps.
const WOKEN: Duration = Duration::from_secs(300);

/// A scenario that is prepared.
pub struct Stage {
    pub scenario: &'static Scenario,
    ground: Ground,
    here: Directory,
    kept: Kept,
    image: Image,
    disk: Disk,
    first_head: Option<Value>,
    good: Good,
}

/// How the scenario ends where there is no fault.
#[derive(Default)]
struct Good {
    requests: Vec<Request>,
    /// How often head was moved.
    heads: usize,
    code: i32,
    /// What a pull elsewhere gives before, and after.
    before: Things,
    after: Things,
    live_before: BTreeMap<String, Vec<u8>>,
    live_after: BTreeMap<String, Vec<u8>>,
    /// All that matters to a pull of the bucket before, and after.
    known: [Known; 2],
    own_after: BTreeSet<String>,
    /// The directory, before and after.
    directory: Things,
    directory_after: Things,
}

/// What a pull goes by: state, tree, live tree, and whether this snapshot has a mirror.
type Known = (Option<String>, Things, BTreeMap<String, Vec<u8>>, bool);

fn known(checked: &Checked) -> Known {
    let has_mirror = checked.snapshot.as_ref().is_some_and(|id| checked.own.contains(&format!("mirrors/{id}")));
    (checked.state.clone(), checked.tree.clone(), checked.live.clone(), has_mirror)
}

/// A case that is being tried.
struct Try<'a> {
    stage: &'a Stage,
    what: &'a str,
    kept: Kept,
    /// Whether what a pull elsewhere gives is looked at even where the bucket is as it was in the good run.
    pulls: bool,
    /// Whether the command can know what the server honours.
    is_measured: bool,
    /// Whether it may not read any mirror: then an edit of others and ours are there twice, and their deletions are
    /// none.
    is_blind: bool,
    /// Whether the server says that there is no head: who looks for it must take the workspace for deleted.
    is_headless: bool,
    /// Objects that a write has come back to, late: the file had been put back to what it was, and so had the ETag.
    came_back: BTreeMap<String, Vec<u8>>,
}

impl Stage {
    pub fn of(scenario: &'static Scenario) -> Self {
        let ground = Ground::new();
        let kept = (scenario.prepare)(&ground);
        ground.front.heal();
        let here = ground.here();
        let (image, disk) = (ground.server.memory().image(), Disk::of(&here.path));
        let first_head = ground.story.outsider.get(&ground.story.key(".stopover/head.json"));
        let first_head = first_head.map(|seen| serde_json::from_slice(&seen.bytes).unwrap());
        let mut stage = Self { scenario, ground, here, kept, image, disk, first_head, good: Good::default() };
        stage.good = Try::new(&stage, scenario.name, true, true).goes_well();
        stage
    }

    /// The requests of the good run.
    pub fn requests(&self) -> &[Request] {
        &self.good.requests
    }

    /// Tries one case, from what was there before.
    pub fn try_case(&self, place: Where, happens: Happens, depth: Depth, what: &str) {
        self.ground.server.memory().bring_back(&self.image);
        match self.scenario.act {
            Act::Restore | Act::Pull => self.disk.bring_back(&self.here.path),
            _ => self.disk.bring_back(&self.here.path.join(".stopover")),
        }
        let is_measured = place.class() != Class::Own;
        let pulls = depth == Depth::Full && place.writes() && [Class::Head, Class::Live].contains(&place.class());
        let is_blind = happens == Happens::Denied && matches!(place, Where::Each { class: Class::Mirror, .. });
        let is_headless = happens == Happens::Missing && !place.writes() && place.class() == Class::Head;
        Try { is_blind, is_headless, ..Try::new(self, what, pulls, is_measured) }.meets(place, happens);
    }
}

impl<'a> Try<'a> {
    fn new(stage: &'a Stage, what: &'a str, pulls: bool, is_measured: bool) -> Self {
        Self {
            stage,
            what,
            kept: stage.kept.clone(),
            pulls,
            is_measured,
            is_blind: false,
            is_headless: false,
            came_back: BTreeMap::new(),
        }
    }

    #[track_caller]
    fn must<T>(&self, result: Result<T, String>, ended: &Ended) -> T {
        result.unwrap_or_else(|wrong| panic!("{}: {wrong}\n{}", self.what, said(ended)))
    }

    fn start(&self) -> Running {
        let Stage { scenario, here, ground, .. } = self.stage;
        if scenario.act == Act::Prune {
            // What is younger than a day would stay.
            ground.front.on(any().op("ListObjectsV2"), Fault::list_old_but(&[]));
        }
        match scenario.act {
            Act::Commit => here.start(&["commit", "--json"]),
            Act::LastCommit | Act::PlainCommit => here.start_commit(),
            Act::Pull => here.start(&["pull"]),
            Act::Prune => here.start(&["prune", "--keep-last", "1", "--keep-within", "0s", "--keep-daily", "0"]),
            Act::Delete => here.start(&["delete", &ground.story.url(), "--yes"]),
            Act::Restore => here.start(&["restore", "1"]),
        }
    }

    /// I1 to I7, but for what is only known of contents.
    fn checked(&self, ended: &Ended) -> Checked {
        let Stage { ground, first_head, .. } = self.stage;
        let checker = Checker::new(&ground.story.outsider, ground.story.key(""));
        // What could not be measured is not relied on.
        let has = |_: &str| self.is_measured;
        self.must(checker.requests_on(has, first_head.as_ref(), &ground.front.done()), ended);
        self.must(checker.bucket(), ended)
    }

    /// What a container gets that starts now. Where the bucket is as it was in the good run, that is known.
    fn pulls(&self, checked: &Checked, ended: &Ended) -> Things {
        let good = &self.stage.good;
        match good.known.iter().position(|known_one| !self.pulls && *known_one == known(checked)) {
            Some(0) => good.before.clone(),
            Some(_) => good.after.clone(),
            None => self.pulled(ended),
        }
    }

    /// What a container gets that starts now; I9.
    fn pulled(&self, before: &Ended) -> Things {
        let Stage { ground, .. } = self.stage;
        let from = ground.front.done().len();
        let fresh = ground.directory("fresh");
        let ended = fresh.pull();
        assert!(ended.code() == 0, "{}: a pull elsewhere: {}\nafter {}", self.what, said(&ended), said(before));
        let checker = Checker::new(&ground.story.outsider, ground.story.key(""));
        self.must(checker.read_only(&ground.front.done()[from..]), &ended);
        let things = on_disk(&fresh.path);
        std::fs::remove_dir_all(&fresh.path).unwrap();
        things
    }

    /// How often head was moved since the last look.
    fn moves(&self) -> usize {
        let is_head = |request: &Request| request.op == "PutObject" && request.class == Class::Head;
        self.stage.ground.front.done().iter().filter(|one| is_head(&one.request) && one.succeeded()).count()
    }

    /// I3 and I4.
    fn keeps(&mut self, checked: &Checked, ended: &Ended) {
        let held = self.kept.holds(checked);
        self.must(held, ended);
    }

    /// I8, where there is a receipt.
    fn honest(&self, ended: &Ended, checked: &Checked) {
        if self.stage.scenario.act != Act::Commit || ![0, 3].contains(&ended.code()) {
            return;
        }
        let (receipt, Stage { ground, good, .. }) = (ended.json(), self.stage);
        assert_eq!(receipt["durable"], true, "{}: {}", self.what, said(ended));
        let checker = Checker::new(&ground.story.outsider, ground.story.key(""));
        self.must(checker.honest(&receipt, &good.directory, &checked.tree), ended);
    }

    fn goes_well(mut self) -> Good {
        let Stage { ground, here, scenario, .. } = self.stage;
        let directory = on_disk(&here.path);
        let none = here.stopover(&["--version"]).exits(0);
        ground.front.forget();
        let first = self.checked(&none);
        self.must(self.kept.clone().holds(&first), &none);
        let before = self.pulled(&none);
        ground.front.forget();
        let ended = self.start().ends();
        let (requests, heads) = (ground.front.seen(), self.moves());
        assert!([0, 3].contains(&ended.code()), "{}: {}", self.what, said(&ended));
        let last = self.checked(&ended);
        if scenario.act != Act::Delete {
            self.keeps(&last, &ended);
        }
        let (after, own_after) = (self.pulled(&ended), without_probes(&last));
        Good {
            requests,
            heads,
            code: ended.code(),
            before,
            after,
            known: [known(&first), known(&last)],
            live_before: first.live,
            live_after: last.live,
            own_after,
            directory,
            directory_after: on_disk(&here.path),
        }
    }

    /// The scenario, with this fault.
    fn meets(mut self, place: Where, happens: Happens) {
        let Stage { ground: Ground { front, .. }, scenario: Scenario { act, .. }, good, .. } = self.stage;
        front.heal();
        front.forget();
        let which = place.which(happens);
        let nth = if let Where::Nth { nth, .. } = place { nth } else { 0 };
        let late = happens.fault().map_or_else(
            || Some(front.late(which.clone())),
            |fault| {
                front.on(which.clone(), fault);
                None
            },
        );
        let mut running = self.start();
        front.client(running.pid());
        if matches!(happens, Happens::Asleep | Happens::AsleepAfter) {
            while front.count(&which) <= nth && !running.has_ended() {
                std::thread::sleep(Duration::from_millis(2));
            }
            // On a busy machine the signal may come when it was woken already: then it is woken again.
            let began = Instant::now();
            while !running.has_ended() && began.elapsed() < WOKEN {
                std::thread::sleep(NAP);
                if !running.has_ended() {
                    running.wakes();
                }
            }
        }
        let ended = running.may_be_silent().ends();
        front.settles();
        // How often something is read may depend on how long a run takes.
        let has_come = front.count(&which) > nth;
        assert!(has_come || !place.writes(), "{}: no such request came: {}", self.what, said(&ended));
        if happens == Happens::Late && has_come {
            self.arrives(late.as_ref(), place);
        }
        front.heal();
        self.said_honestly(&ended);
        let moves = self.moves();
        let checked = self.checked(&ended);
        let is_deleted = *act == Act::Delete && moves > 0;
        if !is_deleted {
            self.keeps(&checked, &ended);
        }
        self.honest(&ended, &checked);
        if matches!(act, Act::Commit | Act::LastCommit | Act::PlainCommit) && ended.code() == 0 {
            self.kept.promise(&good.directory, "here");
        }
        self.is_what_it_says(&ended, &checked, moves);
        let pulled = self.pulls(&checked, &ended);
        if is_deleted {
            let left = files(&pulled).iter().all(|(path, bytes)| good.live_before.get(path) == Some(bytes));
            assert!(left, "{}: a deleted workspace has {:?}", self.what, pulled.keys());
        } else if *act == Act::PlainCommit && (ended.code() != good.code || is_left(&ended)) {
            // Its objects are changed one by one, before head is.
            self.is_between(&pulled, &ended);
        } else if moves == 0 {
            self.same(&pulled, &good.before, "a pull elsewhere", &ended);
        } else if moves == good.heads {
            self.same(&pulled, &self.after(), "a pull elsewhere", &ended);
        }
        self.goes_on(&ended);
        if happens == Happens::VeryLate && has_come {
            self.arrives(late.as_ref(), place);
            self.goes_on(&ended);
        }
    }

    /// What is late reaches the server.
    fn arrives(&mut self, late: Option<&Arc<Semaphore>>, place: Where) {
        let Stage { ground: Ground { front, story, .. }, scenario, good, .. } = self.stage;
        let before = front.done().len();
        late.unwrap().add_permits(1);
        until(|| front.done().len() > before);
        front.settles();
        if scenario.act == Act::Restore && place.class() == Class::Live && self.moves() > 0 {
            // It is taken for an outsider's, as whoever sees it must: tests/misbehaving.rs.
            let is_another =
                |(path, bytes): &(String, Vec<u8>)| good.live_after.get(path).is_some_and(|was| was != bytes);
            self.came_back = story.live().into_iter().filter(is_another).collect();
        }
    }

    /// What a pull elsewhere gives after this.
    fn after(&self) -> Things {
        let mut after = self.stage.good.after.clone();
        for (path, back) in &self.came_back {
            if let Some(Thing::File { bytes, .. }) = after.get_mut(path) {
                bytes.clone_from(back);
            }
        }
        after
    }

    /// An exit code that is one of its own, and words.
    fn said_honestly(&self, ended: &Ended) {
        let codes: &[i32] = match self.stage.scenario.act {
            Act::LastCommit | Act::PlainCommit => &[0, 82, 1, 3],
            _ => &[0, 1, 3],
        };
        let what = self.what;
        assert!(codes.contains(&ended.code()), "{what}: {}", said(ended));
        assert!(!ended.stderr.contains("panicked"), "{what}: {}", said(ended));
        assert!(ended.code() == 0 || !ended.stderr.trim().is_empty(), "{what}: {}", said(ended));
    }

    /// Success is success, and a failure that says that nothing was done is one.
    fn is_what_it_says(&self, ended: &Ended, checked: &Checked, moves: usize) {
        let (good, what) = (&self.stage.good, self.what);
        let is_done = ended.code() == good.code;
        match self.stage.scenario.act {
            Act::Pull => {
                let disk = on_disk(&self.stage.here.path);
                // Without the right to list there are no outside edits.
                if is_done && !self.is_blind && !ended.stderr.contains("are not looked for") {
                    self.same(&disk, &good.directory_after, "the directory", ended);
                }
                // Whatever lay here lies here still, or aside, or in the bucket.
                let aside = self.stage.here.path.join(".stopover/aside");
                let mut left: Vec<Vec<u8>> = files(&disk).into_values().collect();
                if aside.is_dir() {
                    left.extend(files(&on_disk(&aside)).into_values());
                }
                for (path, bytes) in files(&good.directory) {
                    let is_there = left.contains(&bytes)
                        || checked.live.values().any(|there| *there == bytes)
                        || files(&checked.tree).values().any(|there| *there == bytes)
                        || checked.kept.contains(blake3::hash(&bytes).as_bytes());
                    assert!(is_there, "{what}: {path} of the directory is lost: {}", said(ended));
                }
            }
            Act::Commit | Act::LastCommit | Act::PlainCommit => {
                if [0, 3].contains(&ended.code()) {
                    assert_eq!(moves, good.heads, "{what}: {}", said(ended));
                } else if moves == good.heads && !(self.is_headless && ended.stderr.contains("was deleted since")) {
                    assert!(!ended.stderr.contains("nothing was committed"), "{what}: {}", said(ended));
                    assert!(ended.code() != 1, "{what}: it was durable: {}", said(ended));
                }
                if self.stage.scenario.act == Act::Commit && ended.code() == 0 {
                    let receipt = ended.json();
                    let is_current = receipt["live_tree"] == "current" && !is_left(ended);
                    assert!(!is_current || checked.live == good.live_after, "{what}: objects {}", said(ended));
                }
            }
            Act::Prune | Act::Delete => {
                let left = without_probes(checked);
                assert!(!is_done || left == self.left(), "{what}: left {left:?}: {}", said(ended));
            }
            Act::Restore => {
                let disk = on_disk(&self.stage.here.path);
                if is_done {
                    self.same(&disk, &good.directory_after, "the directory", ended);
                }
            }
        }
    }

    /// What a prune or a delete leaves.
    fn left(&self) -> BTreeSet<String> {
        match self.stage.scenario.act {
            Act::Delete => ["head.json".to_owned()].into(),
            _ => self.stage.good.own_after.clone(),
        }
    }

    /// The same again, without any fault: nothing is in its way.
    fn goes_on(&mut self, before: &Ended) {
        let Stage { here, scenario, good, .. } = self.stage;
        let what = self.what;
        let ended = self.start().ends();
        assert!(ended.code() == good.code, "{what}: the next: {}\nafter {}", said(&ended), said(before));
        let checked = self.checked(&ended);
        if scenario.act != Act::Delete {
            self.keeps(&checked, &ended);
        }
        let after = self.pulls(&checked, &ended);
        self.same(&after, &self.after(), "a pull after the next", &ended);
        let mut live = checked.live.clone();
        for path in self.came_back.keys() {
            live.insert(path.clone(), good.live_after[path].clone());
        }
        if live != good.live_after && is_left(before) {
            // What the first one named as left is put right with the next change.
            let (name, text) = ("again.txt", "once more");
            here.file(name, text);
            let again = here.checkpoint();
            here.remove(name);
            live = self.checked(&again).live;
            assert_eq!(live.remove(name).as_deref(), Some(text.as_bytes()), "{what}: {}", said(&again));
        }
        if live != good.live_after {
            let keys = |live: &BTreeMap<String, Vec<u8>>| live.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&live), keys(&good.live_after), "{what}: objects: {}", said(&ended));
            panic!("{what}: some object has another content: {}", said(&ended));
        }
        match scenario.act {
            Act::Prune | Act::Delete => {
                let left = without_probes(&checked);
                assert!(left == self.left(), "{what}: left {left:?}: {}", said(&ended));
            }
            Act::Commit => {
                self.honest(&ended, &checked);
                let receipt = ended.json();
                assert_eq!(receipt["live_tree"], "current", "{what}: {}", said(&ended));
            }
            Act::Pull if self.is_blind => {
                let disk = on_disk(&here.path);
                let lacks = |bytes: &&Vec<u8>| !files(&disk).values().any(|there| there == *bytes);
                let lost: Vec<_> = good.live_after.values().filter(lacks).collect();
                assert!(lost.is_empty(), "{what}: the directory lacks {lost:?}: {}", said(&ended));
            }
            Act::Pull | Act::Restore => {
                self.same(&on_disk(&here.path), &good.directory_after, "the directory after the next", &ended);
            }
            Act::LastCommit | Act::PlainCommit => {}
        }
    }

    /// Each path is what it was, or what it should become.
    fn is_between(&self, pulled: &Things, ended: &Ended) {
        let good = &self.stage.good;
        for path in good.before.keys().chain(good.after.keys()).chain(pulled.keys()) {
            let now = pulled.get(path);
            let is_good = now == good.before.get(path) || now == good.after.get(path);
            assert!(is_good, "{}: {path} is neither as it was nor as it should be: {}", self.what, said(ended));
        }
    }

    #[track_caller]
    fn same(&self, found: &Things, expected: &Things, which: &str, ended: &Ended) {
        if found == expected {
            return;
        }
        let differs = |path: &&String| found.get(*path) != expected.get(*path);
        let paths: BTreeSet<&String> = found.keys().chain(expected.keys()).filter(differs).collect();
        let show = |things: &Things, path: &String| match things.get(path) {
            Some(thing) => format!("{thing:?}").chars().take(100).collect(),
            None => "nothing".to_owned(),
        };
        let lines: Vec<String> = paths
            .iter()
            .map(|path| format!("  {path}: {} instead of {}", show(found, path), show(expected, path)))
            .collect();
        panic!("{}: {which} is not as expected:\n{}\n{}", self.what, lines.join("\n"), said(ended));
    }
}

/// What lies below `.stopover/`. A measurement may leave something, or reach the server late: the next prune has it.
fn without_probes(checked: &Checked) -> BTreeSet<String> {
    checked.own.iter().filter(|key| !key.starts_with("probe-")).cloned().collect()
}

/// Whether it names objects that it left as they are.
fn is_left(ended: &Ended) -> bool {
    let words = [
        "not deleted: ",
        "the next pull merges it",
        "has no plain object",
        "keeps its old plain object",
        "while it was deleted here: it stays",
    ];
    words.iter().any(|words| ended.stderr.contains(words))
}

fn said(ended: &Ended) -> String {
    format!("exit {}\n{}\n{}", ended.code(), ended.stdout.trim(), ended.stderr.trim())
}
