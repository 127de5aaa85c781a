//! The machine of the fault tests: prepares a scenario once for each worker, runs it once as it should be, and then time
//! and again with one fault at one request, each time from the same bucket and the same directory.

#![allow(unreachable_pub, reason = "a module of one test")]

mod case;
mod happens;
mod scenarios;

use std::{
    collections::{BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Instant,
};

use self::{
    case::Stage,
    happens::{Happens, Where, writes},
    scenarios::SCENARIOS,
};
use crate::support::{
    front::{Class, Front, Request},
    ledger::Kept,
    servers::Server,
    story::{Directory, Story},
};

/// How many of the cases are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What matters to each kind of request at the first of its kind, in the first scenario of an act that has it; the
    /// rest once for reads, once for writes and once for deletes.
    Thinned,
    /// Each fault at each request, and for good at each kind.
    Full,
}

/// Something that talks to a bucket.
pub struct Scenario {
    pub name: &'static str,
    /// What is there before; the directory is `Ground::here`. Gives what must not be lost.
    pub prepare: fn(&Ground) -> Kept,
    pub act: Act,
}

/// What meets the faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Act {
    /// A checkpoint.
    Commit,
    /// The last commit of a container.
    LastCommit,
    /// The same of a plain workspace, which stays plain.
    PlainCommit,
    Pull,
    Prune,
    Delete,
    /// Back to the first snapshot, in the directory.
    Restore,
}

impl Act {
    /// The first act that sends requests of this class in the same way.
    fn way(self, class: Class) -> Self {
        match self {
            // A restore commits twice, and each live commit is followed by a catch-up.
            Self::Restore | Self::LastCommit if class != Class::Head => Self::Commit,
            Self::PlainCommit if ![Class::Head, Class::Live].contains(&class) => Self::Commit,
            way => way,
        }
    }
}

/// A bucket behind a front, and a directory.
pub struct Ground {
    pub server: Arc<Server>,
    pub front: Front,
    pub story: Story,
}

impl Ground {
    fn new() -> Self {
        let server = Server::in_memory();
        let front = Front::before(&server.endpoint);
        let story = Story::behind(&front, &server);
        Self { server, front, story }
    }

    /// A directory of that name. One request at a time: then a fault is at the same place each time.
    pub fn directory(&self, name: &str) -> Directory {
        self.story.directory(name).with("STOPOVER_CONCURRENCY", "1")
    }

    /// The directory that everything is about.
    pub fn here(&self) -> Directory {
        self.directory("here")
    }
}

/// One case: what happens where.
type Case = (Where, Happens);

/// The cases of one scenario, or some of them.
type Chunk = (&'static Scenario, Vec<Case>);

/// No worker takes more cases of one scenario at once.
const CHUNK: usize = 6;
/// So many at once of those where a fault stays: nearly all of their time they wait.
const WAITING: usize = 12;

/// Runs the cases of this depth, as many at once as is sensible. `STOPOVER_TEST_ONLY` names those that are
/// meant: part of a scenario's name, and of what follows it, as they are printed.
pub fn sweep(depth: Depth) {
    let began = Instant::now();
    let only = std::env::var("STOPOVER_TEST_ONLY").unwrap_or_default();
    let stages = Mutex::new(stages(&only));
    let cases = cases(&stages.lock().unwrap(), depth);
    let meant = cases.into_iter().map(|(scenario, mut cases)| {
        cases.retain(|case| name(scenario, case).contains(&only));
        (scenario, cases)
    });
    let stays = |case: &Case| matches!(case.0, Where::Each { .. });
    let (each, one): (Vec<Chunk>, Vec<Chunk>) = meant
        .map(|(scenario, cases)| {
            let (each, one) = cases.into_iter().partition(stays);
            ((scenario, each), (scenario, one))
        })
        .unzip();
    let count: usize = each.iter().chain(&one).map(|(_, cases)| cases.len()).sum();
    println!("{count} cases, after {:.1} s", began.elapsed().as_secs_f64());
    let failed: Mutex<Vec<String>> = Mutex::default();
    let width = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) * WIDER;
    let queues = [(Mutex::new(in_turns(one)), width), (Mutex::new(in_turns(each)), WAITING)];
    std::thread::scope(|scope| {
        for (open, width) in &queues {
            for _ in 0..*width {
                scope.spawn(|| {
                    loop {
                        let next = open.lock().unwrap().pop_front();
                        let Some((scenario, cases)) = next else { break };
                        work(scenario, &cases, depth, &stages, &failed);
                    }
                });
            }
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{count} cases, {} failed, {:.1} s", failed.len(), began.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "{} of {count} cases:\n\n{}", failed.len(), failed.join("\n\n"));
}

/// In small portions, one scenario after the other and from the beginning again: so few stages serve many workers.
fn in_turns(all: Vec<Chunk>) -> VecDeque<Chunk> {
    let mut turns: Vec<(usize, Chunk)> = Vec::new();
    for (scenario, cases) in all {
        turns.extend(cases.chunks(CHUNK).map(|some| (scenario, some.to_vec())).enumerate());
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, chunk)| chunk).collect()
}

/// So many more cases at once than there are cores.
const WIDER: usize = 3;

fn name(scenario: &Scenario, (place, happens): &Case) -> String {
    format!("{}, {place}: {happens:?}", scenario.name)
}

fn work(
    scenario: &'static Scenario,
    cases: &[Case],
    depth: Depth,
    stages: &Mutex<Vec<Stage>>,
    failed: &Mutex<Vec<String>>,
) {
    let began = Instant::now();
    let mut stage = {
        let mut stages = stages.lock().unwrap();
        stages.iter().position(|stage| stage.scenario.name == scenario.name).map(|at| stages.swap_remove(at))
    };
    for (place, happens) in cases {
        let what = name(scenario, &(*place, *happens));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let stage = stage.get_or_insert_with(|| Stage::of(scenario));
            stage.try_case(*place, *happens, depth, &what);
        }));
        if let Err(wrong) = result {
            let text = wrong.downcast_ref::<String>().cloned();
            let text = text.or_else(|| wrong.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            failed.lock().unwrap().push(format!("{what}\n{}", text.unwrap_or_default()));
        }
    }
    println!("{}: {} cases in {:.1} s", scenario.name, cases.len(), began.elapsed().as_secs_f64());
    stages.lock().unwrap().extend(stage);
}

/// Each scenario, prepared, with its good run.
fn stages(only: &str) -> Vec<Stage> {
    let of = only.split(", ").next().unwrap_or_default();
    let meant = SCENARIOS.iter().filter(|scenario| scenario.name.contains(of));
    std::thread::scope(|scope| {
        let running: Vec<_> = meant.map(|scenario| scope.spawn(|| Stage::of(scenario))).collect();
        running.into_iter().map(|run| run.join().expect("a good run failed, see above")).collect()
    })
}

/// What is tried: from the requests of one good run of each scenario.
fn cases(stages: &[Stage], depth: Depth) -> Vec<(&'static Scenario, Vec<Case>)> {
    let mut tried = BTreeSet::new();
    let of_stage = |stage: &Stage| {
        let mut cases = Vec::new();
        let requests = stage.requests();
        for (k, request) in requests.iter().enumerate() {
            let Request { op, class, .. } = *request;
            let nth = requests[..k].iter().filter(|before| before.op == op && before.class == class).count();
            for happens in Happens::to(request) {
                // In a plain workspace an object alone says that there is a file: who cannot see it deletes nothing.
                let is_blind = happens == Happens::Missing && op == "HeadObject" && class == Class::Live;
                if is_blind && stage.scenario.act == Act::PlainCommit {
                    continue;
                }
                let own = (stage.scenario.act.way(class), class as usize, op);
                let all = if writes(request) && op != "DeleteObject" { "a write" } else { op };
                let key = if happens.matters_to(request) { Ok(own) } else { Err(all) };
                let is_new = tried.insert((key, happens.number()));
                if is_new || depth == Depth::Full {
                    cases.push((Where::Nth { op, class, nth }, happens));
                }
            }
            if nth == 0 && depth == Depth::Full && class != Class::Own {
                cases.extend(Happens::for_good(request).into_iter().map(|each| (Where::Each { op, class }, each)));
            }
        }
        (stage.scenario, cases)
    };
    stages.iter().map(of_stage).collect()
}
