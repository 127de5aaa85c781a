//! One scenario, killed at one request after the other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Act, Depth, Ground, Scenario, disk::Disk};
use crate::support::{
    checker::{Checked, Checker, Things, files, on_disk},
    front::{Class, Done, Fault, Request, any},
    story::{Directory, Ended, Running},
};

const KILL: i32 = 9;
/// So many of a kind are tried where not all are.
const SAMPLES: usize = 12;
/// All that is not needed for the present snapshot goes, where the clock says that it is old (`Ground::later`).
pub(super) const PRUNE: &[&str] = &["prune", "--keep-last", "1", "--keep-within", "0s", "--keep-daily", "0"];

/// What was seen after one kill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The request, if it is one that writes.
    pub at: Option<Kind>,
    pub applied: bool,
    pub pull: &'static str,
    pub sync: &'static str,
    /// What is in the bucket for nobody, or still to be done.
    pub left: BTreeSet<&'static str>,
}

/// What kind of request it is, and whether it comes after the write of head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    pub op: &'static str,
    pub class: Class,
    pub after_head: bool,
}

/// How the scenario ends where nobody kills it.
struct Good {
    requests: Vec<Request>,
    /// Which of them the server refused.
    refused: Vec<bool>,
    /// How often head was moved.
    heads: usize,
    code: i32,
    /// What a pull gives before, and after.
    before: Things,
    after: Things,
    live_before: BTreeMap<String, Vec<u8>>,
    live_after: BTreeMap<String, Vec<u8>>,
    /// All that matters to a pull of the bucket before, and after.
    known: [Known; 2],
    own_before: BTreeSet<String>,
    own_after: BTreeSet<String>,
    /// The directory, where the act changes nothing in it.
    directory: Things,
    /// Its tree is the directory: nobody else added anything, and nothing was left out.
    is_directory: bool,
}

/// What a pull goes by: state, tree, live tree, and whether this snapshot has a mirror.
type Known = (Option<String>, Things, BTreeMap<String, Vec<u8>>, bool);

fn known(checked: &Checked) -> Known {
    (checked.state.clone(), checked.tree.clone(), checked.live.clone(), has_mirror(checked))
}

fn has_mirror(checked: &Checked) -> bool {
    checked.snapshot.as_ref().is_some_and(|id| checked.own.contains(&format!("mirrors/{id}")))
}

struct Point<'a> {
    scenario: &'a Scenario,
    ground: &'a Ground,
    here: &'a Directory,
    checker: &'a Checker<'a>,
    first_head: Option<Value>,
    place: String,
}

pub fn kill_everywhere(scenario: &Scenario, depth: Depth) -> Vec<Seen> {
    let ground = Ground::new();
    (scenario.prepare)(&ground);
    ground.front.heal();
    let memory = ground.server.memory();
    let Some(here) = here(&ground, scenario.act) else { return Vec::new() };
    let (image, disk) = (memory.image(), Disk::of(&here.path));
    let checker = Checker::new(&ground.story.outsider, ground.story.key(""));
    let first_head = ground.story.outsider.get(&ground.story.key(".stopover/head.json"));
    let first_head = first_head.map(|seen| serde_json::from_slice(&seen.bytes).unwrap());
    let point = |place: String| Point {
        scenario,
        ground: &ground,
        here: &here,
        checker: &checker,
        first_head: first_head.clone(),
        place,
    };
    let good = point("no kill".to_owned()).goes_well();
    let mut seen = Vec::new();
    for (k, applied) in chosen(&good, depth) {
        memory.bring_back(&image);
        match scenario.act {
            Act::Restore => disk.bring_back(&here.path),
            _ => disk.bring_back(&here.path.join(".stopover")),
        }
        let request = &good.requests[k];
        let what = if applied { "applied" } else { "not applied" };
        let place = format!("request {k} ({} {:?}, {what})", request.op, request.class);
        seen.extend(point(place).killed(&good, k, applied));
    }
    seen
}

fn here(ground: &Ground, act: Act) -> Option<Directory> {
    match act {
        Act::CommitWithoutRights => ground.here().without_rights(),
        _ => Some(ground.here()),
    }
}

/// Which of these were refused: those for one key are answered in their order.
fn refused(requests: &[Request], done: &[Done]) -> Vec<bool> {
    let mut open: Vec<&Done> = done.iter().collect();
    let mut is_refused = |request: &Request| {
        let at = open.iter().position(|one| one.request == *request);
        at.is_some_and(|at| open.remove(at).status >= 400)
    };
    requests.iter().map(&mut is_refused).collect()
}

/// Begins what may be killed.
pub(super) fn start(ground: &Ground, here: &Directory, act: Act) -> Running {
    match act {
        Act::Commit | Act::CommitWithoutRights => here.start(&["commit", "--json"]),
        Act::LastCommit => here.start_commit(),
        Act::Prune => ground.later(here).start(PRUNE),
        Act::Delete => here.start(&["delete", &ground.story.url(), "--yes"]),
        Act::Restore => here.start(&["restore", "1"]),
    }
}

pub(super) fn writes(request: &Request) -> bool {
    !["GetObject", "HeadObject", "ListObjectsV2", "ListMultipartUploads"].contains(&request.op)
}

pub(super) fn is_head(request: &Request) -> bool {
    request.op == "PutObject" && request.class == Class::Head
}

/// The requests to be killed at, before and after they are applied.
fn chosen(good: &Good, depth: Depth) -> Vec<(usize, bool)> {
    let requests = &good.requests;
    let all = 0..requests.len();
    if depth == Depth::Full {
        // Whether a request that reads was carried out shows nowhere. How a server is measured is no part of what is done;
        // it begins and ends, and is killed there.
        let is_probe = |at: usize| requests[at].class == Class::Own;
        let is_within = |at: usize| {
            is_probe(at)
                && at > 0
                && is_probe(at - 1)
                && requests.get(at + 1).is_some_and(|next| next.class == Class::Own)
        };
        let ways = |at: usize| if writes(&requests[at]) { [Some(false), Some(true)] } else { [Some(false), None] };
        let at_all = all.filter(|at| !is_within(*at));
        return at_all.flat_map(|at| ways(at).into_iter().flatten().map(move |applied| (at, applied))).collect();
    }
    let last_head = requests.iter().rposition(is_head).unwrap_or(requests.len());
    let kind = |at: usize| {
        let request = &requests[at];
        (request.op, request.class, at > last_head, good.refused[at])
    };
    let mut kinds = Vec::new();
    for at in all.filter(|at| writes(&requests[*at]) && requests[*at].class != Class::Own) {
        match kinds.iter_mut().find(|(of, _): &&mut (_, Vec<usize>)| *of == kind(at)) {
            Some((_, places)) => places.push(at),
            None => kinds.push((kind(at), vec![at])),
        }
    }
    // What reads leaves what the write before it left.
    let mut chosen = BTreeSet::from([(0, false)]);
    for (_, places) in &kinds {
        let ends = [places[0], places[places.len() - 1]];
        chosen.extend(ends.into_iter().flat_map(|at| [(at, false), (at, true)]));
        if depth == Depth::Sampled {
            let count = places.len().min(SAMPLES);
            chosen.extend((0..count).map(|n| (places[n * places.len() / count], n % 2 == 1)));
        }
    }
    chosen.into_iter().collect()
}

impl Point<'_> {
    #[track_caller]
    fn must<T>(&self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|wrong| panic!("{}, {}: {wrong}", self.scenario.name, self.place))
    }

    #[track_caller]
    fn ended(&self, ended: Ended, codes: &[i32]) -> Ended {
        let (name, place) = (self.scenario.name, &self.place);
        assert!(
            codes.contains(&ended.code()),
            "{name}, {place}: exit {}\n{}\n{}",
            ended.code(),
            ended.stdout,
            ended.stderr
        );
        ended
    }

    fn start(&self) -> Running {
        start(self.ground, self.here, self.scenario.act)
    }

    /// What a container gets that starts now; I9.
    fn pulled(&self) -> Things {
        let front = &self.ground.front;
        let from = front.done().len();
        let fresh = self.ground.directory("fresh");
        self.ended(fresh.pull(), &[0]);
        self.must(self.checker.read_only(&front.done()[from..]));
        let things = on_disk(&fresh.path);
        std::fs::remove_dir_all(&fresh.path).unwrap();
        things
    }

    fn checked(&self) -> Checked {
        self.must(self.checker.requests(self.first_head.as_ref(), &self.ground.front.done()));
        self.must(self.checker.bucket())
    }

    fn goes_well(&self) -> Good {
        let front = &self.ground.front;
        front.forget();
        let first = self.checked();
        let before = self.pulled();
        let directory = on_disk(&self.here.path);
        front.forget();
        let ended = self.start().ends();
        let (requests, heads) = (front.seen(), self.moves());
        let refused = refused(&requests, &front.done());
        let ended = self.ended(ended, &[0, 3]);
        (self.scenario.shows)(self.ground);
        let last = self.checked();
        if self.scenario.act == Act::Delete {
            assert_eq!(last.own, ["head.json".to_owned()].into(), "{}", self.scenario.name);
        }
        let after = self.pulled();
        let code = ended.code();
        if matches!(self.scenario.act, Act::Commit | Act::CommitWithoutRights) {
            self.must(self.checker.honest(&ended.json(), &directory, &last.tree));
        }
        Good {
            requests,
            refused,
            heads,
            code,
            is_directory: after == directory,
            before,
            after,
            known: [known(&first), known(&last)],
            live_after: last.live,
            live_before: first.live,
            own_before: first.own,
            own_after: last.own,
            directory,
        }
    }

    /// What a container gets that starts now. Where the bucket is as it was in the good run, to the last content, that is
    /// known.
    fn pulls(&self, good: &Good, checked: &Checked) -> Things {
        let is_known = |one: &Known| *one == known(checked);
        match good.known.iter().position(is_known) {
            Some(0) => good.before.clone(),
            Some(_) => good.after.clone(),
            None => self.pulled(),
        }
    }

    /// How often head was moved since the last look.
    fn moves(&self) -> usize {
        self.ground.front.done().iter().filter(|one| is_head(&one.request) && one.succeeded()).count()
    }

    fn killed(&self, good: &Good, k: usize, applied: bool) -> Option<Seen> {
        let front = &self.ground.front;
        front.heal();
        front.forget();
        // The same one of its kind: how often head is looked at in between depends on the time.
        let wanted = &good.requests[k];
        let is_of_kind = |other: &&Request| (other.op, other.class) == (wanted.op, wanted.class);
        let nth = good.requests[..k].iter().filter(is_of_kind).count();
        let which = any().op(wanted.op).class(wanted.class).after(nth).once();
        front.on(which, Fault::Signal { number: KILL, applied });
        let running = self.start();
        front.client(running.pid());
        let ended = running.ends();
        if ended.code() != 128 + KILL {
            // Reads may be fewer this time.
            self.ended(ended, &[good.code]);
            assert!(!writes(&good.requests[k]), "{}: no kill at {}", self.scenario.name, self.place);
            return None;
        }
        front.settles();
        front.heal();
        let seen = front.seen();
        let at = seen.iter().filter(is_of_kind).nth(nth).expect("it was killed there").clone();
        let moved = self.moves() == good.heads && good.heads > 0;
        let checked = self.checked();
        let pull = self.pull_sees(good, &checked, moved);
        let sync = self.sync_sees(good, &checked);
        let mut left = left(good, &checked, self.scenario.act);
        if !self.uploads().is_empty() {
            left.insert("parts of an object");
        }
        self.goes_on(good);
        self.no_upload_stays();
        // What a server can do is measured with several requests at once, so that these are not the same each time.
        let at = (writes(&at) && at.class != Class::Own).then_some(Kind {
            op: at.op,
            class: at.class,
            after_head: moved && !is_head(&at),
        });
        Some(Seen { at, applied, pull, sync, left })
    }

    fn uploads(&self) -> Vec<String> {
        self.ground.server.memory().window().uploads()
    }

    /// Nobody sees them, and everybody pays.
    fn no_upload_stays(&self) {
        if !self.uploads().is_empty() {
            let pruned = self.ended(self.ground.later(self.here).stopover(&["prune", "--json"]), &[0]).json();
            assert!(pruned["uploads"] != 0, "{}, {}: {pruned}", self.scenario.name, self.place);
            assert_eq!(self.uploads(), Vec::<String>::new(), "{}, {}", self.scenario.name, self.place);
            self.checked();
        }
    }

    fn pull_sees(&self, good: &Good, checked: &Checked, moved: bool) -> &'static str {
        let things = self.pulls(good, checked);
        let (name, place) = (self.scenario.name, &self.place);
        if self.scenario.act == Act::Delete && moved {
            let left = files(&things).iter().all(|(path, bytes)| good.live_before.get(path) == Some(bytes));
            assert!(left, "{name}, {place}: a deleted workspace has {:?}", things.keys());
            assert_eq!(checked.state.as_deref(), Some("deleted"), "{name}, {place}");
            return "what is not deleted yet";
        }
        let expected = if moved { &good.after } else { &good.before };
        assert_same(&things, expected, &format!("{name}, {place}: a pull"));
        if checked.state.as_deref() == Some("live") {
            assert_same(&checked.tree, expected, &format!("{name}, {place}: the tree"));
        }
        if good.before == good.after {
            "the snapshot"
        } else if moved {
            "**N+1**"
        } else {
            "N"
        }
    }

    fn sync_sees(&self, good: &Good, checked: &Checked) -> &'static str {
        for (path, bytes) in &checked.live {
            let known = [&good.live_before, &good.live_after].iter().any(|live| live.get(path) == Some(bytes));
            assert!(known, "{}, {}: {path} is no whole file", self.scenario.name, self.place);
        }
        let (before, after) = (checked.live == files(&good.before), checked.live == files(&good.after));
        match (before, after) {
            (true, true) => "the tree",
            (true, false) => "tree N",
            (false, true) => "tree N+1",
            (false, false) => "mixed",
        }
    }

    /// The same again, in the same directory: nothing is in its way.
    fn goes_on(&self, good: &Good) {
        let (name, place) = (self.scenario.name, &self.place);
        let ended = self.ended(self.start().ends(), &[good.code]);
        let checked = self.checked();
        let after = self.pulls(good, &checked);
        assert_same(&after, &good.after, &format!("{name}, {place}: a pull after the next"));
        if checked.live != good.live_after {
            let keys = |live: &BTreeMap<String, Vec<u8>>| live.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&checked.live), keys(&good.live_after), "{name}, {place}: objects\n{}", ended.stderr);
            panic!("{name}, {place}: some object has another content after the next:\n{}", ended.stderr);
        }
        match self.scenario.act {
            Act::Delete => assert_eq!(checked.own, ["head.json".to_owned()].into(), "{name}, {place}"),
            Act::Prune => assert_eq!(checked.own, good.own_after, "{name}, {place}: what is left"),
            Act::Commit | Act::CommitWithoutRights => {
                let receipt = ended.json();
                self.must(self.checker.honest(&receipt, &good.directory, &checked.tree));
                assert_eq!(receipt["live_tree"], "current", "{name}, {place}: {receipt}");
                if good.is_directory {
                    assert_same(&after, &on_disk(&self.here.path), &format!("{name}, {place}: the directory"));
                }
            }
            Act::LastCommit | Act::Restore => {}
        }
    }
}

fn left(good: &Good, checked: &Checked, act: Act) -> BTreeSet<&'static str> {
    let mut left = BTreeSet::new();
    let is_new = |key: &&str| match act {
        Act::Prune => !good.own_after.contains(*key),
        Act::Delete => true,
        _ => !good.own_before.contains(*key),
    };
    for key in checked.garbage().into_iter().filter(is_new) {
        left.insert(match key.split('/').next() {
            Some("packs") => "packs",
            Some("trees") => "trees",
            Some("mirrors") => "mirrors",
            _ => "other objects",
        });
    }
    if checked.state.as_deref() == Some("live") && !has_mirror(checked) {
        left.insert("a catch-up");
    }
    left
}

#[track_caller]
pub(super) fn assert_same(found: &Things, expected: &Things, what: &str) {
    if found == expected {
        return;
    }
    let differs = |path: &&String| found.get(*path) != expected.get(*path);
    let paths: BTreeSet<&String> = found.keys().chain(expected.keys()).filter(differs).collect();
    let show = |things: &Things, path: &String| match things.get(path) {
        Some(thing) => format!("{thing:?}").chars().take(200).collect(),
        None => "nothing".to_owned(),
    };
    let lines: Vec<String> = paths
        .iter()
        .map(|path| format!("  {path}: {} instead of {}", show(found, path), show(expected, path)))
        .collect();
    panic!("{what} is not as expected:\n{}", lines.join("\n"));
}
