//! The machine of the crash tests: prepares a scenario once, runs it once as it should be, and then time and again with
//! a kill at one request, each time from the same bucket and the same directory.

#![allow(unreachable_pub, reason = "a module of one test")]

mod disk;
mod points;
mod scenarios;
mod table;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use self::points::{Seen, kill_everywhere};
pub use self::scenarios::{LARGE, SCENARIOS};
pub use self::table::Table;
use crate::support::{
    front::Front,
    servers::Server,
    story::{Directory, Story},
};

/// How many of the points are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Of each kind of request that writes the first and the last.
    Thinned,
    /// All.
    Full,
}

/// Something that writes to a bucket.
pub struct Scenario {
    pub name: &'static str,
    /// What is there before; the directory is `Ground::here`.
    pub prepare: fn(&Ground),
    pub act: Act,
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
    pub story: Story,
}

impl Ground {
    pub fn new() -> Self {
        let server = Server::in_memory();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        Self { server, front, story }
    }

    /// A directory of that name. One request at a time: then a kill is at the same place each time.
    pub fn directory(&self, name: &str) -> Directory {
        self.story.directory(name).with("STOPOVER_CONCURRENCY", "1")
    }

    /// The directory that everything is about.
    pub fn here(&self) -> Directory {
        self.directory("here")
    }
}

/// Runs all these, as many at once as is sensible, and gives the table of what was seen. `STOPOVER_TEST_ONLY` names one,
/// or some.
pub fn run(scenarios: &[Scenario], depth: Depth) -> Table {
    let only = std::env::var("STOPOVER_TEST_ONLY").unwrap_or_default();
    let meant = scenarios.iter().filter(|scenario| scenario.name.contains(&only));
    let open: Mutex<VecDeque<(usize, &Scenario)>> = Mutex::new(meant.enumerate().collect());
    let seen: Mutex<Vec<(usize, &str, Vec<Seen>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) {
            scope.spawn(|| {
                loop {
                    let next = open.lock().unwrap().pop_front();
                    let Some((at, scenario)) = next else { break };
                    let began = std::time::Instant::now();
                    let points = kill_everywhere(scenario, depth);
                    println!("{}: {} kills in {:?}", scenario.name, points.len(), began.elapsed());
                    seen.lock().unwrap().push((at, scenario.name, points));
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_by_key(|(at, ..)| *at);
    Table::of(only.is_empty(), seen.into_iter().map(|(_, name, points)| (name, points)))
}
