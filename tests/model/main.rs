//! The model: writers, a pruner, users and outsiders on one abstract bucket, any step of theirs between any two of the
//! others', requests lost and late, processes killed, local state lost, the workspace deleted and made anew, an old
//! head brought back. They decide by the planner's own functions; the invariants of DESIGN section 8 hold after every
//! step. And each rule, switched off, is missed: the model finds what it prevents.
//!
//! Histories are drawn by `proptest`, each from its number, and one that ends badly is shrunk to the few steps it takes.
//!
//! `STOPOVER_MODEL_SEEDS=20000` runs more, `STOPOVER_MODEL_FROM=5000` others, `STOPOVER_MODEL_SEED=17` that one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod acts;
mod world;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Waker},
};

use proptest::{
    bool::weighted,
    collection::vec,
    prelude::{Strategy, any},
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use world::{Rule, Shared, World};

const WRITERS: usize = 3;
/// How many steps a history has at most.
const STEPS: usize = 1400;

type Process = Option<Pin<Box<dyn Future<Output = ()>>>>;

fn poll(process: &mut Process) {
    let done = process
        .as_mut()
        .is_some_and(|process| process.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    if done {
        *process = None;
    }
}

fn finish(process: &mut Process) {
    while process.is_some() {
        poll(process);
    }
}

struct Ran {
    violation: Option<String>,
    log: Vec<String>,
    stats: BTreeMap<&'static str, u64>,
}

/// A history to be: what kind of world it is, and who does what in it.
#[derive(Clone, Debug)]
struct Scenario {
    outsiders: bool,
    slow: bool,
    deletes: bool,
    old_heads: bool,
    losses: bool,
    idle: bool,
    steps: Vec<Step>,
}

/// Who may do what, and the number that everything else in it is drawn from.
#[derive(Clone, Copy)]
struct Step {
    who: u8,
    what: u8,
    chance: u16,
}

impl fmt::Debug for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.who, self.what, self.chance)
    }
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let step = (0..WRITERS as u8, 0..100_u8, any::<u16>()).prop_map(|(who, what, chance)| Step { who, what, chance });
    let one_in = |n: f64| weighted(1.0 / n);
    (one_in(2.0), one_in(3.0), one_in(4.0), one_in(5.0), one_in(3.0), one_in(3.0), vec(step, 0..=STEPS)).prop_map(
        |(outsiders, slow, deletes, old_heads, losses, idle, steps)| Scenario {
            outsiders,
            slow,
            deletes,
            old_heads,
            losses,
            idle,
            steps,
        },
    )
}

/// The run with this number: the same on every machine.
fn runner(number: u64) -> TestRunner {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_time: 300_000,
        max_shrink_iters: 100_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// The history with this number.
fn scenario_of(number: u64) -> Scenario {
    scenario().new_tree(&mut runner(number)).unwrap().current()
}

/// Runs a history.
fn run(scenario: &Scenario, off: Option<Rule>) -> Ran {
    let shared: Shared = Rc::new(RefCell::new(World::new(scenario.outsiders, scenario.slow, off, WRITERS)));
    let roll = |n: usize| shared.borrow_mut().below(n);
    let mut writers: Vec<Process> = (0..WRITERS).map(|_| None).collect();
    let (mut pruner, mut deleter): (Process, Process) = (None, None);
    for step in &scenario.steps {
        if shared.borrow().violation.is_some() {
            break;
        }
        shared.borrow_mut().draw_from(step.chance);
        let me = usize::from(step.who);
        match step.what {
            0..60 => {
                let running: Vec<usize> = (0..WRITERS).filter(|n| writers[*n].is_some()).collect();
                let others = usize::from(pruner.is_some()) + usize::from(deleter.is_some());
                let process = match roll(running.len() + others) {
                    n if n < running.len() => &mut writers[running[n]],
                    n if n == running.len() && pruner.is_some() => &mut pruner,
                    _ => &mut deleter,
                };
                // Where nothing special happens nobody comes between, either.
                if step.chance == 0 { finish(process) } else { poll(process) }
            }
            76 | 77 if scenario.losses && writers[me].is_none() => lose_state(&mut shared.borrow_mut(), me),
            60..78 => acts::edit(&mut shared.borrow_mut(), me),
            78..90 if writers[me].is_none() => {
                let ready = shared.borrow().writers[me].ready;
                let polls = roll(4) == 0;
                // One of the writers is mostly idle: the lineage grows past it.
                if me == 2 && scenario.idle && ready && roll(8) > 0 {
                    writers[me] = Some(Box::pin(acts::poll_head(Rc::clone(&shared), me)));
                } else if !ready || roll(10) == 0 {
                    writers[me] = Some(Box::pin(acts::pull(Rc::clone(&shared), me)));
                } else if polls {
                    writers[me] = Some(Box::pin(acts::poll_head(Rc::clone(&shared), me)));
                } else {
                    writers[me] = Some(Box::pin(acts::commit(Rc::clone(&shared), me)));
                }
            }
            90..92 => {
                let mut world = shared.borrow_mut();
                let waiting = world.delayed.len();
                if waiting > 0 {
                    let at = world.below(waiting);
                    let (_, change) = world.delayed.remove(at);
                    world.say("late:".to_owned());
                    world.apply(change);
                }
            }
            92 if writers[me].is_some() => {
                writers[me] = None;
                shared.borrow_mut().say(format!("writer {me} is killed"));
                // Now and then with its directory: another container comes.
                if roll(3) == 0 {
                    lose_container(&mut shared.borrow_mut(), me);
                }
            }
            94 | 95 if shared.borrow().outsiders => {
                let is_deleted = shared.borrow().head.as_ref().is_some_and(|(_, head)| head.deleted);
                if !is_deleted {
                    acts::outsider(&mut shared.borrow_mut());
                }
            }
            96 | 97 if pruner.is_none() => pruner = Some(Box::pin(acts::prune(Rc::clone(&shared)))),
            98 if scenario.deletes && deleter.is_none() && roll(3) == 0 => {
                deleter = Some(Box::pin(acts::delete(Rc::clone(&shared))));
            }
            // Not into a sweep: what it deletes is what the old head names.
            99 if scenario.old_heads && pruner.is_none() && deleter.is_none() && roll(3) == 0 => {
                bring_back(&mut shared.borrow_mut())
            }
            _ => {}
        }
        // A container whose workspace was deleted ends; the next one restores.
    }
    if shared.borrow().violation.is_none() {
        settle(&shared, &mut writers, &mut pruner, &mut deleter);
    }
    let world = shared.borrow();
    Ran { violation: world.violation.clone(), log: world.log.clone(), stats: world.stats.clone() }
}

/// What was only in the directory is lost with it.
fn lose_container(world: &mut World, me: usize) {
    world.say(format!("the container of writer {me} is lost"));
    world.writers[me] = world::Writer::default();
}

/// `git clean -fdx`: the next process that reads head finds no notes.
fn lose_state(world: &mut World, me: usize) {
    if !world.writers[me].ready {
        return;
    }
    world.say(format!("writer {me} loses its state"));
    let writer = &mut world.writers[me];
    (writer.mine, writer.seen, writer.birth, writer.origin) = (None, None, None, None);
    (writer.pending, writer.tombstone, writer.lost) = (None, None, true);
    writer.refused.clear();
    writer.read.clear();
}

/// An operator puts back an old head.json that is still whole.
fn bring_back(world: &mut World) {
    let Some((_, now)) = world.head.clone().filter(|(_, head)| !head.deleted) else { return };
    if world.delayed.iter().any(|(_, change)| matches!(change, world::Change::Delete(_))) {
        return;
    }
    let whole = |head: &&world::Head| {
        !head.deleted
            && head.birth == now.birth
            && head.snapshot.iter().chain(&head.kept).all(|id| {
                world.tree(id).is_some_and(|(_, packs, base)| {
                    packs.values().all(|key| world.objects.contains_key(key))
                        && base.is_none_or(|base| world.objects.contains_key(&world::Key::Tree(base)))
                })
            })
    };
    let Some(old) = world.old_heads.iter().rev().filter(whole).nth(3).cloned() else { return };
    let tag = world.next();
    world.say(format!("an operator brings back {:?}", old.snapshot));
    // What was committed since is his to answer for, but for what the directories commit from now on.
    world.owed.clear();
    world.outsider_came = true;
    world.head = Some((tag, old));
    world.check("an old head");
}

/// Everything ends well when nothing fails any more: live tree, head and a new container are one.
fn settle(shared: &Shared, writers: &mut [Process], pruner: &mut Process, deleter: &mut Process) {
    shared.borrow_mut().draw_from(0);
    shared.borrow_mut().calm = true;
    writers.iter_mut().chain([pruner, deleter]).for_each(finish);
    let late: Vec<_> = std::mem::take(&mut shared.borrow_mut().delayed);
    for (_, change) in late {
        shared.borrow_mut().apply(change);
    }
    if shared.borrow().head.as_ref().is_none_or(|(_, head)| head.deleted) {
        return;
    }
    let is_deleted = || shared.borrow().violation.is_some();
    for _ in 0..2 {
        shared.borrow_mut().writers[0] = world::Writer::default();
        for act in 0..3 {
            if act == 1 {
                // A commit of nothing writes no refused delete back.
                let mut world = shared.borrow_mut();
                let hash = world.fresh();
                world.writers[0].dir.insert(world::path("z"), world::file(hash));
            }
            let process = Rc::clone(shared);
            let mut process: Process = if act == 0 {
                Some(Box::pin(acts::pull(process, 0)))
            } else {
                Some(Box::pin(acts::commit(process, 0)))
            };
            finish(&mut process);
            if is_deleted() {
                return;
            }
        }
    }
    let mut world = shared.borrow_mut();
    let Some(id) = world.head.as_ref().and_then(|(_, head)| head.snapshot) else { return };
    let rows = world.tree(&id).map(|(rows, ..)| rows.clone()).unwrap_or_default();
    let wanted: Vec<_> = world::files(&rows).map(|(at, row)| (at.clone(), row.hash)).collect();
    // An object beside a directory of its name is refused, and said at each pull.
    let beside = |at: &stopover::rows::RelPath| world.live.keys().any(|other| other.is_below(at));
    let live: Vec<_> =
        world.live.iter().filter(|(at, _)| !beside(at)).map(|(at, (_, hash))| (at.clone(), *hash)).collect();
    let is_there = |file: &File| live.contains(file);
    if wanted != live && !world.overflowed && !(world.unexplained && wanted.iter().all(is_there)) {
        let (head, live) = (apart(&wanted, &live), apart(&live, &wanted));
        world.fail(format!("end: head alone has {head:?}, the live tree alone {live:?}"));
    }
    let dir: Vec<_> = world::files(&world.writers[0].dir).map(|(at, row)| (at.clone(), row.hash)).collect();
    if wanted != dir {
        let (head, dir) = (apart(&wanted, &dir), apart(&dir, &wanted));
        world.fail(format!("end: head alone has {head:?}, the directory alone {dir:?}"));
    }
}

type File = (stopover::rows::RelPath, stopover::rows::Hash);

fn apart<'a>(one: &'a [File], other: &[File]) -> Vec<&'a File> {
    one.iter().filter(|file| !other.contains(file)).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// `proptest` tries once to do without each step, and makes it simple then; a simple one may do nothing at all.
fn without_idle_steps(mut scenario: Scenario, off: Option<Rule>) -> (String, Scenario) {
    let mut why = run(&scenario, off).violation.unwrap();
    loop {
        let before = scenario.steps.len();
        for at in (0..before).rev() {
            let mut shorter = scenario.clone();
            shorter.steps.remove(at);
            if let Some(violation) = run(&shorter, off).violation {
                (why, scenario) = (violation, shorter);
            }
        }
        if scenario.steps.len() == before {
            return (why, scenario);
        }
    }
}

/// Runs the history with this number, and makes it as short as it can be where it ends badly.
fn check(number: u64, off: Option<Rule>) -> Result<BTreeMap<&'static str, u64>, (String, Scenario)> {
    let stats = RefCell::new(BTreeMap::new());
    let mut runner = runner(number);
    let tree = scenario().new_tree(&mut runner).unwrap();
    let ended = runner.run_one(tree, |scenario| {
        let ran = run(&scenario, off);
        *stats.borrow_mut() = ran.stats;
        ran.violation.map_or(Ok(()), |violation| Err(TestCaseError::fail(violation)))
    });
    match ended {
        Ok(_) => Ok(stats.into_inner()),
        Err(TestError::Fail(why, scenario)) => {
            // What panics here would not tell it again.
            println!("{why}: {scenario:?}");
            Err(without_idle_steps(scenario, off))
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn whatever_happens_nothing_committed_is_lost() {
    let (first, count) = match number("STOPOVER_MODEL_SEED") {
        Some(seed) => (seed, 1),
        None => (number("STOPOVER_MODEL_FROM").unwrap_or(0), number("STOPOVER_MODEL_SEEDS").unwrap_or(300)),
    };
    let begun = std::time::Instant::now();
    let mut stats: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + count {
        match check(seed, None) {
            Ok(found) => found.into_iter().for_each(|(what, n)| *stats.entry(what).or_default() += n),
            Err((why, scenario)) => panic!(
                "seed {seed}: {why}\n{scenario:?}\n{}\nSTOPOVER_MODEL_SEED={seed} runs it again",
                run(&scenario, None).log.join("\n")
            ),
        }
    }
    println!("{count} seeds in {:?}: {stats:?}", begun.elapsed());
    if count == 1 {
        println!("{}", run(&scenario_of(first), None).log.join("\n"));
        return;
    }
    for what in ["commits", "lost races", "partial", "catch-ups", "pulls", "prunes", "deletes", "imports", "gone"] {
        assert!(stats.get(what).is_some_and(|n| *n > 0), "the model never sees {what}: {stats:?}");
    }
}

#[test]
fn what_goes_wrong_is_told_in_few_steps() {
    let off = Some(Rule::MergeBase);
    let is_one = |number: &u64| {
        let scenario = scenario_of(*number);
        scenario.steps.len() < 700 && run(&scenario, off).violation.is_some()
    };
    let number = (0..BOUND).find(is_one).unwrap();
    let (why, scenario) = check(number, off).unwrap_err();
    println!("{} steps of {}: {why}", scenario.steps.len(), scenario_of(number).steps.len());
    assert!(scenario.steps.len() <= 40, "{scenario:?}");
    assert_eq!(run(&scenario, off).violation.as_deref(), Some(&*why));
    assert_eq!(run(&scenario, None).violation, None, "with the rule it ends well");
}

/// How many histories it may take to miss a rule.
const BOUND: u64 = 1500;

fn missed(rule: Rule) {
    let ends_badly = |number| run(&scenario_of(number), Some(rule)).violation.map(|violation| (number, violation));
    let Some((seed, violation)) = (0..BOUND).find_map(ends_badly) else {
        panic!("{rule:?} is off, and {BOUND} seeds miss nothing")
    };
    println!("{rule:?} off: seed {seed}: {violation}");
}

macro_rules! each_rule_is_needed {
    ($($name:ident: $rule:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            missed(Rule::$rule);
        }
    )*};
}
each_rule_is_needed! {
    the_merge_base_is_what_the_directory_took_in: MergeBase,
    o_is_pending_until_a_head_tells_of_it: PendingOrigin,
    rows_not_stored_are_replaced_before_the_merge: PartialBeforeMerge,
    uploads_from_before_a_prune_do_not_count: Gc,
    no_name_is_used_twice: FreshNames,
    o_counts_only_if_the_lineage_proves_it: Lineage,
    a_workspace_made_anew_is_another_one: Birth,
    a_head_that_was_seen_proves_as_much_as_mine: Seen,
    snapshots_since_the_mirror_before_explain_objects: Recent,
    what_nobody_explains_is_not_overwritten: OutsideEdits,
    a_delete_moves_head_before_each_sweep: DeleteMovesHeadEachRound,
    who_lost_his_notes_is_told_where_he_belongs: HandedOver,
    a_first_commit_may_lose_its_race_too: FirstCommitsRace,
}
