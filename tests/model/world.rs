//! The abstract bucket: keys with versions, conditions, requests that are lost, applied with the reply lost, or applied
//! late; and the invariants, which are checked after every change of it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use stopover::{
    plan::{Ancestry, Content, Groups, Held, Mirror, Numbered, Present},
    rows::{ETag, Hash, Kind, RelPath, Row, Rows},
};

pub(crate) const LINEAGE: usize = 6;

/// Each rule that a test of the test switches off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    MergeBase,
    PendingOrigin,
    PartialBeforeMerge,
    Gc,
    FreshNames,
    Lineage,
    Birth,
    Seen,
    Recent,
    OutsideEdits,
    DeleteMovesHeadEachRound,
    HandedOver,
    FirstCommitsRace,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub u64, pub u64);

impl Numbered for Id {
    fn seq(&self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "#{}-{:x}", self.0, self.1)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    Tree(Id),
    Pack(Id, u64),
    Mirror(Id),
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Body {
    Tree { rows: Rows, packs: BTreeMap<Hash, Key>, base: Option<Id> },
    Pack(BTreeSet<Hash>),
    Mirror { mirror: Mirror, from: Option<Id> },
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Head {
    pub(crate) deleted: bool,
    pub(crate) birth: Id,
    pub(crate) seq: u64,
    pub(crate) snapshot: Option<Id>,
    pub(crate) mirror: Option<Id>,
    pub(crate) gc: (u64, u64),
    pub(crate) write_id: u64,
    pub(crate) lineage: Vec<Id>,
    pub(crate) history: Vec<(Id, i64)>,
    pub(crate) kept: Vec<Id>,
}

impl Head {
    pub(crate) fn present(&self, is_start: bool) -> Present<'_, Id> {
        if self.deleted {
            return Present::Tombstone { is_start };
        }
        Present::Head(Ancestry { birth: &self.birth, lineage: &self.lineage, history: &self.kept })
    }
}

/// What a commit claims: checked when its head is applied.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) writer: usize,
    /// The birth of the workspace that the directory restored.
    pub(crate) life: Option<Id>,
    pub(crate) scan: Rows,
    pub(crate) ours: Rows,
    pub(crate) origin: Rows,
    pub(crate) theirs: Rows,
    pub(crate) result: Rows,
    pub(crate) named: BTreeSet<RelPath>,
    /// Of those the ones whose content nobody could read: it may be the one in the tree.
    pub(crate) unread: BTreeSet<RelPath>,
    pub(crate) groups: Groups,
    /// Whether a chain of heads that this directory read proves its base.
    pub(crate) proven: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Head(Option<u64>, Head, Option<Box<Claim>>),
    Put(Key, Body),
    Delete(Key),
    PutLive(RelPath, Option<ETag>, Hash),
    DeleteLive(RelPath, ETag),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Done(u64),
    Refused,
    Unknown,
}

/// What a pull told.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Handed {
    pub(crate) pulled: Option<Id>,
    pub(crate) birth: Option<Id>,
    pub(crate) tombstone: Option<u64>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Writer {
    pub(crate) ready: bool,
    pub(crate) dir: Rows,
    pub(crate) origin: Option<Rows>,
    pub(crate) mine: Option<Id>,
    pub(crate) seen: Option<Id>,
    pub(crate) birth: Option<Id>,
    pub(crate) pending: Option<(Id, Rows, Id)>,
    pub(crate) tombstone: Option<u64>,
    pub(crate) import: Option<Mirror>,
    pub(crate) refused: BTreeMap<RelPath, ETag>,
    /// What PID 1 remembers.
    pub(crate) handed: Handed,
    /// Whether the notes are gone.
    pub(crate) lost: bool,
    /// The truth, for the invariants: the birth of the workspace that it belongs to, and the tombstone it began from.
    pub(crate) life: Option<Id>,
    pub(crate) began: Option<u64>,
    /// Every head that this directory read.
    pub(crate) read: Vec<(Id, Vec<Id>)>,
}

pub(crate) struct World {
    random: Option<u64>,
    pub(crate) off: Option<Rule>,
    pub(crate) clock: i64,
    pub(crate) count: u64,
    pub(crate) head: Option<(u64, Head)>,
    pub(crate) objects: BTreeMap<Key, Body>,
    pub(crate) live: BTreeMap<RelPath, (ETag, Hash)>,
    pub(crate) delayed: Vec<(u64, Change)>,
    pub(crate) writers: Vec<Writer>,
    pub(crate) calm: bool,
    pub(crate) outsiders: bool,
    /// Whether many requests are late.
    pub(crate) slow: bool,
    pub(crate) outsider_came: bool,
    /// Whether a mirror fell behind the lineage: then objects of trimmed snapshots may stay.
    pub(crate) unexplained: bool,
    /// Whether a path had as many copies as it gets: then an outside edit stays in the live tree alone.
    pub(crate) overflowed: bool,
    pub(crate) old_heads: Vec<Head>,
    ever: BTreeMap<Key, Body>,
    swept: BTreeSet<Key>,
    held: BTreeMap<ETag, Hash>,
    /// Contents that must not be lost, and those that somebody who had them replaced or deleted.
    pub(crate) owed: BTreeMap<Hash, String>,
    pub(crate) released: BTreeSet<Hash>,
    pub(crate) violation: Option<String>,
    pub(crate) log: Vec<String>,
    pub(crate) stats: BTreeMap<&'static str, u64>,
}

pub(crate) type Shared = Rc<RefCell<World>>;

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub(crate) fn file(hash: Hash) -> Row {
    Row::file(hash, 8, 0o644)
}

pub(crate) fn files(rows: &Rows) -> impl Iterator<Item = (&RelPath, &Row)> {
    rows.iter().filter(|(_, row)| row.kind == Kind::File)
}

pub(crate) fn etag(n: u64) -> ETag {
    ETag::new(format!("{n}"))
}

impl World {
    pub(crate) fn new(outsiders: bool, slow: bool, off: Option<Rule>, writers: usize) -> Self {
        let mut world = Self {
            random: None,
            off,
            clock: 1_000_000,
            count: 0,
            head: None,
            objects: BTreeMap::new(),
            live: BTreeMap::new(),
            delayed: Vec::new(),
            writers: vec![Writer::default(); writers],
            calm: false,
            outsiders,
            slow,
            outsider_came: false,
            unexplained: false,
            overflowed: false,
            old_heads: Vec::new(),
            ever: BTreeMap::new(),
            swept: BTreeSet::new(),
            held: BTreeMap::new(),
            owed: BTreeMap::new(),
            released: BTreeSet::new(),
            violation: None,
            log: Vec::new(),
            stats: BTreeMap::new(),
        };
        world.begin();
        world
    }

    /// A workspace with a first snapshot, caught up.
    fn begin(&mut self) {
        let id = Id(1, self.next());
        let mut rows = Rows::new();
        for name in ["a", "b", "d", "db", "db-wal"] {
            let hash = self.fresh();
            rows.insert(path(name), file(hash));
        }
        rows.insert(path("e"), Row::dir(0o755));
        let hash = self.fresh();
        rows.insert(path("e/x"), file(hash));
        let pack = Key::Pack(id, 0);
        let hashes: BTreeSet<Hash> = files(&rows).map(|(_, row)| row.hash).collect();
        let packs = hashes.iter().map(|hash| (*hash, pack)).collect();
        let mut mirror = Mirror::default();
        for (at, row) in files(&rows) {
            let tag = etag(self.next());
            self.held.insert(tag.clone(), row.hash);
            self.live.insert(at.clone(), (tag.clone(), row.hash));
            mirror.rows.insert(at.clone(), Held { etag: tag, content: Content::of(row).unwrap() });
        }
        self.objects.insert(pack, Body::Pack(hashes));
        self.objects.insert(Key::Tree(id), Body::Tree { rows, packs, base: None });
        self.objects.insert(Key::Mirror(id), Body::Mirror { mirror, from: None });
        self.ever = self.objects.clone();
        let head = Head {
            deleted: false,
            birth: id,
            seq: 1,
            snapshot: Some(id),
            mirror: Some(id),
            gc: (0, self.next()),
            write_id: 0,
            lineage: vec![id],
            history: vec![(id, self.clock)],
            kept: vec![id],
        };
        self.head = Some((self.next(), head));
    }

    pub(crate) fn rule(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    /// From now on everything is drawn from this number: a step that goes leaves the others what they were. 0 is for
    /// what is nothing special.
    pub(crate) fn draw_from(&mut self, chance: u16) {
        self.random = (chance > 0).then(|| u64::from(chance).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678);
    }

    /// Below `limit`, and the last of them is nothing special.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let Some(random) = &mut self.random else { return limit.saturating_sub(1) };
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(crate) fn fresh(&mut self) -> Hash {
        let n = self.next();
        Hash::of(&n.to_le_bytes())
    }

    pub(crate) fn say(&mut self, text: String) {
        self.log.push(text);
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.stats.entry(what).or_default() += 1;
    }

    pub(crate) fn fail(&mut self, text: String) {
        if self.violation.is_none() {
            self.log.push(format!("VIOLATION {text}"));
            self.violation = Some(text);
        }
    }

    /// Sends a request: applied or not, answered or not, now or later.
    pub(crate) fn send(&mut self, change: Change) -> Reply {
        let fate = if self.calm { 99 } else { self.below(40) };
        match fate {
            0 => Reply::Unknown,
            1 => {
                self.apply(change);
                Reply::Unknown
            }
            2.. if fate < if self.slow { 10 } else { 4 } => {
                let seq = self.head.as_ref().map_or(0, |(_, head)| head.seq);
                self.delayed.push((seq, change));
                Reply::Unknown
            }
            _ => self.apply(change),
        }
    }

    pub(crate) fn apply(&mut self, change: Change) -> Reply {
        let shown = match &change {
            Change::Head(old, head, claim) => {
                format!(
                    "head {old:?} -> {:?} gc {:?} by {:?}",
                    head.snapshot,
                    head.gc,
                    claim.as_ref().map(|claim| claim.writer)
                )
            }
            Change::Put(key, _) => format!("put {key:?}"),
            Change::Delete(key) => format!("delete {key:?}"),
            Change::PutLive(at, tag, hash) => format!("put {at} if {tag:?}: {hash:?}"),
            Change::DeleteLive(at, tag) => format!("delete {at} if {tag:?}"),
        };
        let reply = self.do_apply(change);
        self.say(format!("{shown}: {reply:?}"));
        self.check(&shown);
        reply
    }

    fn do_apply(&mut self, change: Change) -> Reply {
        match change {
            Change::Head(expected, head, claim) => {
                if self.head.as_ref().map(|(tag, _)| *tag) != expected {
                    return Reply::Refused;
                }
                self.check_head(&head, claim.as_deref());
                let tag = self.next();
                self.old_heads.extend(self.head.take().map(|(_, head)| head));
                self.head = Some((tag, head));
                Reply::Done(tag)
            }
            Change::Put(key, body) => {
                let is_mirror = matches!(key, Key::Mirror(_));
                if self.ever.get(&key).is_some_and(|before| *before != body) && !is_mirror {
                    self.fail(format!("I5: {key:?} is written with another body"));
                }
                self.ever.insert(key, body.clone());
                self.objects.insert(key, body);
                Reply::Done(0)
            }
            Change::Delete(key) => {
                self.swept.insert(key);
                self.objects.remove(&key);
                Reply::Done(0)
            }
            Change::PutLive(at, expected, hash) => {
                if self.live.get(&at).map(|(tag, _)| tag) != expected.as_ref() {
                    return Reply::Refused;
                }
                let n = self.next();
                self.put_live(at, n, hash);
                Reply::Done(n)
            }
            Change::DeleteLive(at, expected) => {
                if self.live.get(&at).map(|(tag, _)| tag) != Some(&expected) {
                    return Reply::Refused;
                }
                self.live.remove(&at);
                Reply::Done(0)
            }
        }
    }

    pub(crate) fn put_live(&mut self, at: RelPath, n: u64, hash: Hash) {
        self.held.insert(etag(n), hash);
        self.live.insert(at, (etag(n), hash));
    }

    /// A catch-up begins from the mirror of `from`. What section 2 step 7 builds on: no request of a catch-up up to
    /// that one is on its way any more; those after it are the recent ones.
    pub(crate) fn catch_up_begins(&mut self, from: u64) {
        let waiting = std::mem::take(&mut self.delayed);
        for (seq, change) in waiting {
            if seq <= from && matches!(change, Change::PutLive(..) | Change::DeleteLive(..)) {
                self.apply(change);
            } else {
                self.delayed.push((seq, change));
            }
        }
    }

    pub(crate) fn tree(&self, id: &Id) -> Option<(&Rows, &BTreeMap<Hash, Key>, Option<Id>)> {
        match self.objects.get(&Key::Tree(*id))? {
            Body::Tree { rows, packs, base } => Some((rows, packs, *base)),
            _ => None,
        }
    }

    fn check_head(&mut self, head: &Head, claim: Option<&Claim>) {
        let old = self.head.as_ref().map(|(_, head)| head.clone());
        if let Some(old) = &old {
            if head.gc.0 < old.gc.0 {
                self.fail(format!("I7: gc went from {:?} to {:?}", old.gc, head.gc));
            }
            if head.birth == old.birth && head.mirror.zip(old.mirror).is_some_and(|(new, old)| new < old) {
                self.fail(format!("I7: head.mirror went from {:?} to {:?}", old.mirror, head.mirror));
            }
            if claim.is_some() && head.seq != old.seq + 1 {
                self.fail(format!("I7: seq went from {} to {}", old.seq, head.seq));
            }
            if !head.deleted && head.birth == old.birth {
                for id in old.lineage.iter().rev().take(LINEAGE - 1) {
                    if !head.lineage.contains(id) {
                        self.fail(format!("I2: {id:?} is not in the lineage any more"));
                    }
                }
            }
        }
        let Some(claim) = claim else { return };
        let writer = claim.writer;
        let tables = [&claim.origin, &claim.ours, &claim.theirs, &claim.result];
        let paths: BTreeSet<&RelPath> = tables.iter().flat_map(|rows| rows.keys()).collect();
        for at in paths {
            let each = tables.map(|rows| match rows.get(at) {
                Some(row) if row.kind == Kind::File => row.hash.short(),
                Some(_) => "dir".to_owned(),
                None => "-".to_owned(),
            });
            if each.iter().any(|one| *one != each[0]) {
                self.say(format!("    {at}: O {} ours {} theirs {} -> {}", each[0], each[1], each[2], each[3]));
            }
        }
        if claim.life.is_some_and(|life| life != head.birth) {
            self.fail(format!("birth: writer {writer} of {:?} commits into {:?}", claim.life, head.birth));
        }
        let has = |rows: &Rows, hash: &Hash| files(rows).any(|(_, row)| row.hash == *hash);
        for (at, row) in files(&claim.scan) {
            let is_same = |rows: &Rows| rows.get(at).is_some_and(|there| there.same_content(row));
            if !claim.named.contains(at) {
                if !is_same(&claim.origin) && !has(&claim.result, &row.hash) && !self.released.contains(&row.hash) {
                    self.fail(format!("I8: {at} {:?} of writer {writer} is not in the tree, and not named", row.hash));
                }
                self.owed.entry(row.hash).or_insert_with(|| format!("{at}, committed by writer {writer}"));
            }
            if claim.named.contains(at) && !claim.unread.contains(at) && is_same(&claim.ours) {
                self.fail(format!("I8: {at} is named, and in the tree"));
            }
            // A conflict may make the same copy again; a file may have to make room for a directory.
            let simple = ["a", "b", "c", "e/y"].iter().any(|name| at.as_bytes() == name.as_bytes());
            if claim.proven && simple && is_same(&claim.origin) && !claim.named.contains(at) {
                let theirs = claim.theirs.get(at);
                let result = claim.result.get(at);
                let alike = theirs.map(|row| (row.kind, row.hash)) == result.map(|row| (row.kind, row.hash));
                if !alike {
                    self.fail(format!(
                        "N: writer {writer} did not edit {at}, yet changes it: {theirs:?} -> {result:?}"
                    ));
                }
            }
        }
        if let Some(members) = claim.groups.with(&path("db")) {
            let whole = |rows: &Rows| {
                members.iter().all(|at| claim.ours.get(at).map(|row| row.hash) == rows.get(at).map(|row| row.hash))
            };
            let unseen = members.iter().any(|at| claim.named.contains(at) && !claim.scan.contains_key(at));
            if !whole(&claim.scan) && !whole(&claim.origin) && !unseen && claim.ours.contains_key(&path("db")) {
                self.fail(format!("groups: writer {writer} stores half a database"));
            }
        }
    }

    fn check_tree(&mut self, id: Id, whose: &str, after: &str) {
        let Some((rows, packs, base)) = self.tree(&id) else {
            return self.fail(format!("I1: {whose} tree {id:?} is not there after {after}"));
        };
        if base.is_some_and(|base| !self.objects.contains_key(&Key::Tree(base))) {
            return self.fail(format!("I1: the base {base:?} of {whose} tree {id:?} is not there after {after}"));
        }
        let lost = files(rows).find(|(_, row)| {
            let pack = packs.get(&row.hash).and_then(|key| self.objects.get(key));
            !matches!(pack, Some(Body::Pack(pieces)) if pieces.contains(&row.hash))
        });
        if let Some((at, row)) = lost {
            let text = format!(
                "I1: {at} {:?} of {whose} tree {id:?} has no pack ({:?}) after {after}",
                row.hash,
                packs.get(&row.hash)
            );
            self.fail(text);
        }
    }

    /// The invariants, from the bucket alone.
    pub(crate) fn check(&mut self, after: &str) {
        let Some((_, head)) = self.head.clone() else { return };
        for id in head.snapshot.iter().chain(&head.kept) {
            let whose = if Some(*id) == head.snapshot { "head's" } else { "history's" };
            self.check_tree(*id, whose, after);
        }
        let mirrors: Vec<(Id, RelPath, Held)> = head
            .mirror
            .iter()
            .filter_map(|id| match self.objects.get(&Key::Mirror(*id)) {
                Some(Body::Mirror { mirror, .. }) => Some((*id, mirror.clone())),
                _ => None,
            })
            .flat_map(|(id, mirror)| mirror.rows.into_iter().map(move |(at, held)| (id, at, held)))
            .collect();
        for (id, at, held) in mirrors {
            if self.held.get(&held.etag) != Some(&held.content.hash) {
                self.fail(format!("I6: the mirror {id:?} says of {at} what never was"));
            }
        }
        if head.deleted {
            return;
        }
        let mut kept: BTreeSet<Hash> = self.live.values().map(|(_, hash)| *hash).collect();
        for id in head.snapshot.iter().chain(&head.kept) {
            kept.extend(self.tree(id).into_iter().flat_map(|(rows, ..)| files(rows).map(|(_, row)| row.hash)));
        }
        let lost = self.owed.iter().find(|(hash, _)| !self.released.contains(*hash) && !kept.contains(*hash));
        if let Some((hash, whence)) = lost {
            let text = format!("I2/I3/I4: {hash:?} ({whence}) is nowhere after {after}");
            self.fail(text);
        }
    }

    /// A writer says that its workspace was deleted, and its container ends with all that it has.
    pub(crate) fn check_gone(&mut self, me: usize) {
        let Some((tag, head)) = self.head.clone() else { return };
        let writer = &self.writers[me];
        let is_its_own = match head.deleted {
            true => writer.began == Some(tag),
            false => writer.life.is_none_or(|life| life == head.birth),
        };
        if is_its_own {
            self.fail(format!("gone: writer {me} of {:?} gives up, and head is {:?}", writer.life, head.snapshot));
        }
    }

    pub(crate) fn release(&mut self, hash: Hash) {
        self.released.insert(hash);
    }
}
