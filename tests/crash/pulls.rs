//! A pull, killed at one request after the other. The bucket is as it was (I9), and so is what lay in the directory, or
//! it lies aside; a directory that is not ready is not committed; and the next pull makes of it what it would have made
//! without the kill, of the same snapshot or of the one that others committed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Depth, Ground, disk::Disk, points::assert_same};
use crate::support::{
    checker::{Checked, Checker, Things, files, on_disk},
    front::{Class, Fault, Request, any},
    servers::memory::Image,
    story::{Directory, Ended},
};

const KILL: i32 = 9;

pub const COLUMNS: [&str; 4] =
    ["the directory", "a commit then", "the next pull", "a pull of what others committed since"];

/// What is pulled.
pub struct Pull {
    pub name: &'static str,
    /// What is there before; the directory that is pulled into is `Ground::here`, that of others is `Ground::there`.
    pub prepare: fn(&Ground),
    /// What somebody wrote in that directory, and nobody else has.
    pub edited: &'static [&'static str],
    /// What others do between the kill and the next pull, in their directory.
    pub meanwhile: fn(&Directory),
}

impl Pull {
    pub const fn of(
        name: &'static str,
        prepare: fn(&Ground),
        edited: &'static [&'static str],
        meanwhile: fn(&Directory),
    ) -> Self {
        Self { name, prepare, edited, meanwhile }
    }
}

/// What was seen after one kill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pulled {
    pub op: &'static str,
    pub class: Class,
    pub says: [&'static str; COLUMNS.len()],
}

/// A bucket, and what comes of a pull from it where nobody kills it, and of a commit then.
struct Bucket {
    image: Image,
    head: Option<Value>,
    code: i32,
    directory: Things,
    tree: Things,
    live: BTreeMap<String, Vec<u8>>,
}

struct Case<'a> {
    pull: &'a Pull,
    ground: &'a Ground,
    here: Directory,
    checker: Checker<'a>,
    disk: Disk,
    local: Things,
    /// It is a directory that a pull has made ready before.
    was_ready: bool,
}

/// Kills it at each request, or at some.
pub fn kill_everywhere(pull: &Pull, depth: Depth) -> Vec<Pulled> {
    let ground = Ground::new();
    (pull.prepare)(&ground);
    ground.front.heal();
    let (here, memory) = (ground.here(), ground.server.memory());
    let case = Case {
        pull,
        ground: &ground,
        checker: Checker::new(&ground.story.outsider, ground.story.key("")),
        disk: Disk::of(&here.path),
        local: on_disk(&here.path),
        was_ready: is_ready(&here),
        here,
    };
    let image = memory.image();
    let mut requests = Vec::new();
    let now = case.goes_well(image.clone(), &mut requests);
    case.bring_back(&image, &case.disk);
    (pull.meanwhile)(&ground.there());
    let since = case.goes_well(memory.image(), &mut Vec::new());
    let count = requests.len();
    let chosen: BTreeSet<usize> = match depth {
        Depth::Thinned => [count / 2, count - 1].into(),
        _ => (0..count).collect(),
    };
    chosen.into_iter().filter_map(|k| case.killed(k, &now, &since)).collect()
}

fn is_ready(directory: &Directory) -> bool {
    directory.has(".stopover/ready")
}

/// What lies aside, without the folder that says when.
fn aside(directory: &Directory) -> Things {
    let path = directory.path.join(".stopover/aside");
    if path.is_dir() { on_disk(&path) } else { Things::new() }
}

impl Case<'_> {
    fn bring_back(&self, image: &Image, disk: &Disk) {
        self.ground.front.heal();
        self.ground.server.memory().bring_back(image);
        disk.bring_back(&self.here.path);
        self.ground.front.forget();
    }

    #[track_caller]
    fn ended(&self, ended: Ended, codes: &[i32], place: &str) -> Ended {
        let text = format!("{place}: exit {}\n{}\n{}", ended.code(), ended.stdout, ended.stderr);
        assert!(codes.contains(&ended.code()), "{text}");
        ended
    }

    fn follows(&self, from: &Bucket, place: &str) {
        let done = self.ground.front.done();
        self.checker.requests(from.head.as_ref(), &done).unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
    }

    /// What a pull and a commit make of this bucket and of the directory as it was.
    fn goes_well(&self, image: Image, requests: &mut Vec<Request>) -> Bucket {
        let name = self.pull.name;
        self.bring_back(&image, &self.disk);
        let head = self.ground.head();
        let code = self.ended(self.here.pull(), &[0, 3], name).code();
        *requests = self.ground.front.seen();
        let directory = on_disk(&self.here.path);
        let Checked { tree, live, .. } = self.committed(name);
        Bucket { image, head, code, directory, tree, live }
    }

    fn committed(&self, place: &str) -> Checked {
        let receipt = self.ended(self.here.stopover(&["commit", "--json"]), &[0], place).json();
        assert_eq!(receipt["live_tree"], "current", "{place}: {receipt}");
        self.checker.bucket().unwrap_or_else(|wrong| panic!("{place}: {wrong}"))
    }

    fn killed(&self, k: usize, now: &Bucket, since: &Bucket) -> Option<Pulled> {
        let Ground { front, server, .. } = self.ground;
        self.bring_back(&now.image, &self.disk);
        front.on(any().after(k).once(), Fault::Signal { number: KILL, applied: true });
        let running = self.here.start(&["pull"]);
        front.client(running.pid());
        let ended = running.ends();
        if ended.code() != 128 + KILL {
            // Some go side by side, and one less may be needed.
            self.ended(ended, &[now.code], self.pull.name);
            return None;
        }
        front.settles();
        front.heal();
        let at = front.seen()[k].clone();
        let place = format!("{}: killed at request {k} ({} {:?})", self.pull.name, at.op, at.class);
        self.checker.read_only(&front.done()).unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
        let is_as_it_was = || server.memory().image() == now.image;
        assert!(is_as_it_was(), "{place}: I9: the bucket has changed");
        let found = on_disk(&self.here.path);
        self.nothing_is_lost(&place);
        let is_ready = is_ready(&self.here);
        assert!(is_ready == self.was_ready, "{place}: ready is {is_ready}, was {}", self.was_ready);
        let directory = match (is_ready, found == self.local) {
            (true, true) => "ready as before",
            (true, false) => "ready as before, some of it as in the bucket",
            (false, true) => "not ready",
            (false, false) => "not ready, some of it as in the bucket",
        };
        let half = Disk::of(&self.here.path);
        let committed = self.here.checkpoint();
        let commit = if [0, 3].contains(&committed.code()) {
            assert!(is_ready, "{place}: a directory that is not ready was committed");
            self.follows(now, &place);
            self.nothing_is_lost(&place);
            self.goes_on(now, &format!("{place}, and committed"), &Things::new());
            "is right"
        } else {
            let last = self.here.commit();
            assert!(![0, 3].contains(&last.code()), "{place}: committed: {}", last.stderr);
            assert!(committed.stderr.contains("stopover pull"), "{place}: {}", committed.stderr);
            assert!(is_as_it_was(), "{place}: a commit that is refused writes");
            assert_same(&on_disk(&self.here.path), &found, &format!("{place}: the directory after a commit"));
            "is refused"
        };
        self.bring_back(&now.image, &half);
        self.goes_on(now, &place, &Things::new());
        self.bring_back(&since.image, &half);
        // A file of an image's may have the content of a snapshot, and nobody can tell; and what was laid beside an edit
        // is there to be looked at.
        let mut may_stay = if self.local.is_empty() { Things::new() } else { found };
        may_stay.retain(|path, _| !is_ready || path.contains(".theirs-"));
        self.goes_on(since, &format!("{place}, and others committed"), &may_stay);
        let next = "as if nothing had been";
        Some(Pulled { op: at.op, class: at.class, says: [directory, commit, next, next] })
    }

    /// What somebody wrote in the directory lies there, or aside, or in the bucket.
    fn nothing_is_lost(&self, place: &str) {
        let checked = self.checker.bucket().unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
        let here = [on_disk(&self.here.path), aside(&self.here), checked.tree.clone()];
        let mut left: BTreeSet<Vec<u8>> = here.iter().flat_map(|things| files(things).into_values()).collect();
        left.extend(checked.live.into_values());
        let local = files(&self.local);
        for path in self.pull.edited {
            let bytes = &local[*path];
            let is_there = left.contains(bytes) || checked.kept.contains(blake3::hash(bytes).as_bytes());
            assert!(is_there, "{place}: {path} is lost");
        }
    }

    /// The next pull, and a commit after it, make what they make where nobody was killed.
    fn goes_on(&self, good: &Bucket, place: &str, may_stay: &Things) {
        self.ended(self.here.pull(), &[good.code], place);
        let found = on_disk(&self.here.path);
        let but = |things: &Things| {
            let mut things = things.clone();
            things.retain(|path, thing| good.directory.contains_key(path) || may_stay.get(path) != Some(thing));
            things
        };
        assert_same(&but(&found), &good.directory, &format!("{place}: the directory after the next pull"));
        self.nothing_is_lost(place);
        let checked = self.committed(place);
        self.follows(good, place);
        assert_same(&but(&checked.tree), &good.tree, &format!("{place}: what is committed then"));
        if may_stay.is_empty() {
            assert!(checked.live == good.live, "{place}: objects {:?}", checked.live.keys());
        }
    }
}
