//! The machine of the crash tests: prepares a scenario once, runs it once as it should be, and then time and again with
//! a kill at one request, each time from the same bucket and the same directory.

#![allow(unreachable_pub, reason = "a module of one test")]

mod disk;
mod ends;
mod meetings;
mod points;
mod pulls;
mod scenarios;
mod table;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use self::{
    meetings::{Meeting, Met, meet_everywhere},
    points::{Seen, kill_everywhere},
    pulls::{Pull, Pulled},
};
pub use self::{
    scenarios::{LARGE, MEETINGS, PULLS, SCENARIOS},
    table::{Place, Table},
};
use crate::support::{
    front::{Fault, Front, any},
    servers::Server,
    story::{Directory, Story},
};

/// How many of the points are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Of each kind of request that writes the first and the last.
    Thinned,
    /// And a dozen in between: where there are thousands of a kind.
    Sampled,
    /// All.
    Full,
}

/// Something that writes to a bucket.
pub struct Scenario {
    pub name: &'static str,
    /// What is there before; the directory is `Ground::here`.
    pub prepare: fn(&Ground),
    pub act: Act,
    /// That it is about what its name says: holds after it.
    pub shows: fn(&Ground),
}

impl Scenario {
    const fn of(name: &'static str, prepare: fn(&Ground), act: Act) -> Self {
        Self { name, prepare, act, shows: |_| {} }
    }

    const fn shows(self, shows: fn(&Ground)) -> Self {
        Self { shows, ..self }
    }
}

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A checkpoint.
    Commit,
    /// The last commit of a container.
    LastCommit,
    /// A checkpoint without the right to read everything.
    CommitWithoutRights,
    Prune,
    Delete,
    /// Back to the first snapshot, in the directory.
    Restore,
}

/// A bucket behind a front, and a directory.
pub struct Ground {
    pub server: Arc<Server>,
    pub front: Front,
    /// Before that one: there the clock is many years ahead, so that nothing is too young to be pruned, no snapshot and
    /// no garbage.
    later: Front,
    pub story: Story,
}

impl Ground {
    pub fn new() -> Self {
        let server = Server::in_memory();
        let front = Front::before(&server.endpoint);
        let later = Front::before(&front.endpoint);
        later.on(any(), Fault::MUCH_LATER);
        let story = Story::behind(&front, &server);
        Self { server, front, later, story }
    }

    /// The same directory, for a prune that finds nothing too young.
    pub fn later(&self, directory: &Directory) -> Directory {
        directory.clone().with("S3_ENDPOINT", &self.later.endpoint)
    }

    /// A directory of that name. One request at a time: then a kill is at the same place each time.
    pub fn directory(&self, name: &str) -> Directory {
        self.story.directory(name).with("STOPOVER_CONCURRENCY", "1")
    }

    /// The header of the tree that head names.
    pub fn tree_header(&self) -> Value {
        let tree = format!(".stopover/trees/{}", self.head().unwrap()["snapshot"].as_str().unwrap());
        let tree = self.story.outsider.get(&self.story.key(&tree)).unwrap();
        let lines = zstd::decode_all(&tree.bytes[..]).unwrap();
        serde_json::from_slice(lines.split(|byte| *byte == b'\n').next().unwrap()).unwrap()
    }

    /// The directory that everything is about.
    pub fn here(&self) -> Directory {
        self.directory("here")
    }

    /// That of somebody else.
    pub fn there(&self) -> Directory {
        self.directory("there")
    }

    /// The present head.
    pub fn head(&self) -> Option<Value> {
        let seen = self.story.outsider.get(&self.story.key(".stopover/head.json"))?;
        Some(serde_json::from_slice(&seen.bytes).unwrap())
    }
}

/// Runs all these, and gives the table of what was seen. `STOPOVER_TEST_ONLY` names one, or some.
pub fn run(scenarios: &[Scenario], place: Place, depth: Depth) -> Table {
    let (all, seen): (bool, Vec<(&str, Vec<Seen>)>) =
        each(scenarios, |scenario| scenario.name, |scenario| kill_everywhere(scenario, depth));
    Table::of_kills(place, all, seen.into_iter())
}

/// Has all these meet, and gives the table of what was seen.
pub fn meet(meetings: &[Meeting], depth: Depth) -> Table {
    let (all, met): (bool, Vec<(&str, Vec<Met>)>) =
        each(meetings, |meeting| meeting.name, |meeting| meet_everywhere(meeting, depth));
    Table::of_meetings(all, met.into_iter())
}

/// Kills all these pulls, and gives the table of what was seen.
pub fn pull(pulls: &[Pull], depth: Depth) -> Table {
    let (all, seen): (bool, Vec<(&str, Vec<Pulled>)>) =
        each(pulls, |pull| pull.name, |pull| pulls::kill_everywhere(pull, depth));
    Table::of_pulls(all, seen.into_iter())
}

/// What comes of those that are meant, as many at once as is sensible, in their order; and whether these are all.
fn each<'a, T: Sync, S: Send>(
    of: &'a [T],
    name: fn(&T) -> &'a str,
    run: impl Fn(&T) -> Vec<S> + Sync,
) -> (bool, Vec<(&'a str, Vec<S>)>) {
    let only = std::env::var("STOPOVER_TEST_ONLY").unwrap_or_default();
    let meant = of.iter().filter(|one| name(one).contains(&only));
    let open: Mutex<VecDeque<(usize, &T)>> = Mutex::new(meant.enumerate().collect());
    let seen: Mutex<Vec<(usize, &str, Vec<S>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) {
            scope.spawn(|| {
                loop {
                    // Those that were written last first: they fail sooner.
                    let next = open.lock().unwrap().pop_back();
                    let Some((at, one)) = next else { break };
                    let began = std::time::Instant::now();
                    let points = run(one);
                    println!("{}: {} kills in {:?}", name(one), points.len(), began.elapsed());
                    seen.lock().unwrap().push((at, name(one), points));
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_by_key(|(at, ..)| *at);
    (only.is_empty(), seen.into_iter().map(|(_, name, points)| (name, points)).collect())
}
