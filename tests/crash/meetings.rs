//! Two at once: one stops at a request, another one commits or prunes in between, and then the first one is killed, or
//! goes on as if nothing had been. Whatever the request and whenever it arrives, both have what both made, and both can
//! commit again.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    Act, Depth, Ground,
    disk::Disk,
    ends::{DELETED, is_refused},
    points::{PRUNE, assert_same, is_head, start, writes},
};
use crate::support::{
    checker::{Checked, Checker, Thing, Things, files, on_disk},
    front::{Class, Fault, Held, Request, any},
    servers::memory::Image,
    story::{Directory, Ended, until},
};

/// Something that is stopped, and what happens meanwhile.
pub struct Meeting {
    pub name: &'static str,
    /// What is there before; the directories are `Ground::here` and `Ground::there`.
    pub prepare: fn(&Ground),
    /// What is stopped.
    pub act: Act,
    /// What the other one does.
    pub meanwhile: Meanwhile,
    /// That it is about what its name says: holds after the two, where nobody was stopped.
    pub shows: fn(&Ground),
}

impl Meeting {
    pub const fn of(name: &'static str, prepare: fn(&Ground), act: Act, meanwhile: Meanwhile) -> Self {
        Self { name, prepare, act, meanwhile, shows: |_| {} }
    }

    pub const fn shows(self, shows: fn(&Ground)) -> Self {
        Self { shows, ..self }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meanwhile {
    Commits,
    Prunes,
    /// And forgets all history.
    CommitsAndPrunes,
    /// The whole workspace.
    Deletes,
    /// And somebody begins one of the same name.
    DeletesAndBegins,
}

/// What becomes of the request that the first one had on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// It is lost, and its sender dies.
    Lost,
    /// It is carried out before the other one begins; its sender dies.
    Before,
    /// It is carried out when the other one is done; its sender dies.
    After,
    /// It is carried out when the other one is done, and its sender goes on.
    Awake,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Lost, Self::Before, Self::After, Self::Awake];

    pub const fn words(self) -> &'static str {
        match self {
            Self::Lost => "lost, and its sender killed",
            Self::Before => "applied before, its sender killed",
            Self::After => "applied after, its sender killed",
            Self::Awake => "applied after, its sender goes on",
        }
    }
}

/// What was seen once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Met {
    pub op: &'static str,
    pub class: Class,
    pub way: Way,
    /// What a pull has of the two, when the one is dead (or done) and the other one done.
    pub pull: &'static str,
}

impl Met {
    pub fn is_write(&self) -> bool {
        !["GetObject", "HeadObject", "ListObjectsV2", "ListMultipartUploads"].contains(&self.op)
    }
}

/// Runs the meeting once for each request that is chosen, and each way.
pub fn meet_everywhere(meeting: &Meeting, depth: Depth) -> Vec<Met> {
    let ground = Ground::new();
    (meeting.prepare)(&ground);
    ground.front.heal();
    let (here, there) = (ground.here(), ground.there());
    let checker = Checker::new(&ground.story.outsider, ground.story.key(""));
    let mut case = Case {
        meeting,
        ground: &ground,
        before: ground.server.memory().image(),
        first_head: ground.head(),
        was: checker.bucket().unwrap().tree,
        checker,
        ours: on_disk(&here.path),
        theirs: on_disk(&there.path),
        disks: [Disk::of(&here.path), Disk::of(&there.path)],
        here,
        there,
    };
    let (requests, ours) = case.alone();
    if meeting.act == Act::Restore {
        case.ours = ours;
    }
    let mut met = Vec::new();
    for (k, request) in requests.iter().enumerate() {
        for way in Way::ALL.into_iter().filter(|way| is_tried(&requests, k, *way, depth)) {
            let place = format!("{}: request {k} ({} {:?}) {}", meeting.name, request.op, request.class, way.words());
            met.extend(case.met(k, way, &place));
        }
    }
    met
}

/// What only reads changes nothing by arriving late: it is stopped there, and goes on, or is killed.
fn is_tried(requests: &[Request], k: usize, way: Way, depth: Depth) -> bool {
    let request = &requests[k];
    let is_first = || !requests[..k].iter().any(|other| (other.op, other.class) == (request.op, request.class));
    match depth {
        // Measuring the server is no part of what is done.
        _ if request.class == Class::Own => false,
        Depth::Sampled => writes(request) && is_first(),
        Depth::Full => writes(request) || matches!(way, Way::Lost | Way::Awake),
        // One way for each kind of write that matters most.
        Depth::Thinned => {
            let ways = match request.class {
                Class::Pack => Way::Before,
                Class::Tree => Way::Awake,
                Class::Head => Way::After,
                Class::Live if request.op == "PutObject" => Way::Awake,
                _ => return false,
            };
            writes(request) && is_first() && way == ways
        }
    }
}

pub(super) struct Case<'a> {
    pub(super) meeting: &'a Meeting,
    pub(super) ground: &'a Ground,
    pub(super) here: Directory,
    pub(super) there: Directory,
    checker: Checker<'a>,
    // How all of it was at first.
    before: Image,
    disks: [Disk; 2],
    first_head: Option<Value>,
    /// What both had taken in.
    pub(super) was: Things,
    pub(super) ours: Things,
    pub(super) theirs: Things,
}

impl Case<'_> {
    fn bring_back(&self) {
        let front = &self.ground.front;
        front.heal();
        self.ground.server.memory().bring_back(&self.before);
        self.disks[0].bring_back(&self.here.path);
        self.disks[1].bring_back(&self.there.path);
        front.forget();
    }

    /// The requests of the first one where nothing is in its way, and its directory then; and then the other one, so that
    /// `shows` has both.
    fn alone(&self) -> (Vec<Request>, Things) {
        self.bring_back();
        start(self.ground, &self.here, self.meeting.act).ends().exits(0);
        let (requests, ours) = (self.ground.front.seen(), on_disk(&self.here.path));
        self.meanwhile(self.meeting.name);
        (self.meeting.shows)(self.ground);
        (requests, ours)
    }

    fn meanwhile(&self, place: &str) {
        let is_deleted = || self.ground.head().is_some_and(|head| head["state"] == "deleted");
        match self.meeting.meanwhile {
            Meanwhile::Commits => self.there_commits(place),
            Meanwhile::Prunes if is_deleted() => {
                let refused = self.ground.later(&self.there).stopover(PRUNE);
                let says = refused.stderr.contains("was deleted");
                assert!(refused.code() == 1 && says, "{place}: exit {}\n{}", refused.code(), refused.stderr);
            }
            Meanwhile::Prunes => drop(ended(self.ground.later(&self.there).stopover(PRUNE), place)),
            Meanwhile::CommitsAndPrunes => {
                self.there_commits(place);
                ended(self.ground.later(&self.there).stopover(PRUNE), place);
            }
            Meanwhile::Deletes => self.is_deleted(place),
            Meanwhile::DeletesAndBegins => {
                self.is_deleted(place);
                let anew = self.anew();
                ended(anew.pull(), place);
                anew.file("a.txt", "anew").file("anew/b.txt", "anew");
                ended(anew.checkpoint(), place);
            }
        }
    }

    /// Where the workspace was deleted it is refused, whatever else there is.
    fn there_commits(&self, place: &str) {
        let is_deleted = self.ground.head().is_some_and(|head| head["state"] == "deleted");
        match is_deleted {
            true => is_refused(&self.there.checkpoint(), place),
            false => drop(ended(self.there.checkpoint(), place)),
        }
    }

    fn met(&self, k: usize, way: Way, place: &str) -> Option<Met> {
        self.bring_back();
        let (front, which) = (&self.ground.front, any().after(k).once());
        let held = match way {
            Way::Before => {
                front.on(which, Fault::Signal { number: 19, applied: true });
                None
            }
            _ => Some(front.hold(which)),
        };
        let mut running = start(self.ground, &self.here, self.meeting.act);
        front.client(running.pid());
        let is_there = || match &held {
            Some(held) => held.reached_within(Duration::from_millis(5)),
            None => front.done().len() > k,
        };
        while !is_there() {
            // Reads may be fewer this time.
            if running.has_ended() {
                ended(running.ends(), place);
                return None;
            }
        }
        running.sleeps();
        front.settles();
        let at = front.seen()[k].clone();
        let before = front.done().len();
        self.meanwhile(place);
        let after = front.done().len();
        let arrives = || {
            held.iter().for_each(Held::release);
            until(|| front.done().len() > after);
            front.settles();
        };
        match way {
            Way::Awake => {
                held.iter().for_each(Held::release);
                running.wakes();
                let is_refused = self.meeting.act == Act::Commit && self.meeting.meanwhile == Meanwhile::Deletes;
                let codes: &[i32] = if is_refused { &[0, DELETED] } else { &[0] };
                let ended = running.ends();
                assert!(codes.contains(&ended.code()), "{place}:\n{}\n{}", ended.stdout, ended.stderr);
                let is_in = front.done()[..before].iter().any(|one| is_head(&one.request) && one.succeeded());
                assert!(
                    !is_refused || is_in == (ended.code() == 0),
                    "{place}: exit {}\n{}",
                    ended.code(),
                    ended.stderr
                );
            }
            Way::After => {
                arrives();
                running.kill();
                running.ends();
            }
            Way::Lost | Way::Before => {
                running.kill();
                running.ends();
                held.iter().for_each(Held::abandon);
            }
        }
        front.settles();
        front.heal();
        let done = front.done();
        let ours = done[..before].iter().chain(&done[after..]);
        let is_in = ours.filter(|one| is_head(&one.request) && one.succeeded()).count() > 0;
        let pull = match self.is_of_an_end() {
            true => self.end_is_seen(place),
            false => self.pull_sees(is_in, place),
        };
        match self.meeting.meanwhile {
            Meanwhile::DeletesAndBegins => self.new_one_goes_on(place),
            _ if self.is_of_an_end() => self.end_goes_on(place),
            _ => self.both_go_on(place),
        }
        Some(Met { op: at.op, class: at.class, way, pull })
    }

    pub(super) fn checked(&self, place: &str) -> Checked {
        let holds = |wrong| panic!("{place}: {wrong}");
        self.checker.requests(self.first_head.as_ref(), &self.ground.front.done()).unwrap_or_else(holds);
        self.checker.bucket().unwrap_or_else(|wrong| panic!("{place}: {wrong}"))
    }

    pub(super) fn pulled(&self, place: &str) -> Things {
        let fresh = self.ground.directory("fresh");
        ended(fresh.pull(), place);
        let things = on_disk(&fresh.path);
        std::fs::remove_dir_all(&fresh.path).unwrap();
        things
    }

    /// What a container gets that starts now.
    fn pull_sees(&self, ours_are_in: bool, place: &str) -> &'static str {
        let checked = self.checked(place);
        let things = self.pulled(place);
        assert_same(&checked.tree, &things, &format!("{place}: the tree, held against a pull,"));
        let ours = if ours_are_in { &self.ours } else { &self.was };
        is_merged(&self.was, ours, &self.theirs, &things).unwrap_or_else(|wrong| panic!("{place}: a pull: {wrong}"));
        let is_other = |things: &Things| *things != self.was;
        match (ours_are_in && is_other(&self.ours), is_other(&self.theirs)) {
            (true, true) => "both",
            (true, false) => "the stopped one's",
            (false, true) => "the other's",
            (false, false) => "as before",
        }
    }

    /// The first one does the same again, the other one something new, and then all have all.
    fn both_go_on(&self, place: &str) {
        ended(start(self.ground, &self.here, self.meeting.act).ends(), place);
        self.checked(place);
        self.there.file("again.txt", "again");
        let receipt = ended(self.there.stopover(&["commit", "--json"]), place).json();
        assert_eq!(receipt["live_tree"], "current", "{place}: {receipt}");
        let checked = self.checked(place);
        let mut things = self.pulled(place);
        assert_same(&checked.tree, &things, &format!("{place}: the tree at the end, held against a pull,"));
        assert!(
            checked.live == files(&things),
            "{place}: objects {:?} of {:?}",
            checked.live.keys(),
            files(&things).keys()
        );
        for directory in [&self.here, &self.there] {
            ended(directory.pull(), place);
            assert_same(&on_disk(&directory.path), &things, &format!("{place}: {}", directory.path.display()));
        }
        things.remove("again.txt");
        is_merged(&self.was, &self.ours, &self.theirs, &things)
            .unwrap_or_else(|wrong| panic!("{place}: at the end: {wrong}"));
    }
}

#[track_caller]
pub(super) fn ended(ended: Ended, place: &str) -> Ended {
    assert_eq!(ended.code(), 0, "{place}:\n{}\n{}", ended.stdout, ended.stderr);
    ended
}

/// Whether `found` is what becomes of both: what one of them changed is as that one has it; what they changed
/// differently is there twice; and there is nothing else.
pub(super) fn is_merged(was: &Things, ours: &Things, theirs: &Things, found: &Things) -> Result<(), String> {
    let mut rest = found.clone();
    let paths: BTreeSet<&String> = was.keys().chain(ours.keys()).chain(theirs.keys()).collect();
    for path in paths {
        let (base, our, their) = (was.get(path), ours.get(path), theirs.get(path));
        let here = rest.remove(path);
        let expected = match (our, their) {
            _ if our == their || their == base => our,
            _ if our == base => their,
            (Some(changed), None) | (None, Some(changed)) => Some(changed),
            (Some(one), Some(other)) => {
                let is_copy = |name: &String, with: &Thing| {
                    name.starts_with(&format!("{path}.theirs-")) && rest.get(name).is_some_and(|thing| thing == with)
                };
                let beside = [(one, other), (other, one)].into_iter().find_map(|(at, beside)| {
                    let copy = rest.keys().find(|name| is_copy(name, beside))?;
                    (here.as_ref() == Some(at)).then(|| copy.clone())
                });
                let Some(copy) = beside else { return Err(format!("{path} is {here:?}, and not there twice")) };
                rest.remove(&copy);
                continue;
            }
            (None, None) => None,
        };
        // A directory that one of them removed stays for what the other one put there.
        let is_needed = || found.keys().any(|other| other.starts_with(&format!("{path}/")));
        if here.as_ref() != expected && !(expected.is_none() && matches!(here, Some(Thing::Dir { .. })) && is_needed())
        {
            return Err(format!("{path} is {here:?} instead of {expected:?}"));
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("there is also {rest:?}")) }
}
