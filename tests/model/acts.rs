//! The orchestration in small: a commit, a catch-up, a pull, a prune, a delete, as DESIGN tells them, around the
//! planner's own functions. Between any two requests the others act, and a process may die.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    task::Poll,
};

use stopover::{
    plan::{
        Base, Cas, Content, Contents, Ended, Entry, Explained, Groups, Held, ImportOptions, Met, Mirror, Named, Object,
        Order, Past, Present, Request, Retention, Seen, There, Uploads, after_cas, base, catch_up, descends, is_gone,
        kept, merge3, met, next_mirror, outside, recent, roots, stored_part, sweep, units, wanted,
    },
    rows::{Hash, Kind, RelPath, Rows},
    snapshot::lineage_with,
};

use super::world::{
    Body, Change, Claim, Handed, Head, Id, Key, LINEAGE, Reply, Rule, Shared, World, etag, file, files,
};

/// One request's time: anything may happen before it.
async fn tick() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

fn past_of<'a>(mine: &'a Option<Id>, seen: &'a Option<Id>, birth: &'a Option<Id>) -> Past<'a, Id> {
    Past { mine: mine.as_ref(), seen: seen.as_ref(), birth: birth.as_ref() }
}

/// GET head, and what a directory notes when it reads one.
async fn read_head(shared: &Shared, me: usize) -> Option<(u64, Head)> {
    tick().await;
    let mut world = shared.borrow_mut();
    let found = world.head.clone();
    if world.writers[me].lost {
        remember(&mut world, me);
    }
    let uses_seen = world.rule(Rule::Seen);
    if let Some((_, head)) = &found {
        let writer = &mut world.writers[me];
        if let Some((id, rows, birth)) = writer.pending.clone()
            && head.lineage.contains(&id)
        {
            (writer.origin, writer.mine, writer.seen) = (Some(rows), Some(id), Some(id));
            (writer.birth, writer.life, writer.pending, writer.tombstone) = (Some(birth), Some(birth), None, None);
        }
        if let Some(id) = head.snapshot {
            writer.read.push((id, head.lineage.clone()));
        }
        let past = past_of(&writer.mine, &writer.seen, &writer.birth);
        if uses_seen && descends(&past, &head.present(false)) {
            writer.seen = head.snapshot;
        }
    }
    found
}

/// O, `mine` and `birth` are the pulled snapshot's, as PID 1 remembers it.
fn remember(world: &mut World, me: usize) {
    let handed = world.writers[me].handed;
    let origin = handed.pulled.and_then(|id| world.tree(&id).map(|(rows, ..)| rows.clone()));
    let present = world.head.as_ref().map(|(_, head)| head.birth);
    let knows = world.rule(Rule::HandedOver);
    let writer = &mut world.writers[me];
    (writer.mine, writer.seen, writer.origin) = (handed.pulled, handed.pulled, origin);
    // Off: whatever lives there now is taken for what was pulled, and nobody knows of tombstones.
    writer.birth = if knows { handed.birth } else { handed.pulled.and(present) };
    writer.tombstone = handed.tombstone.filter(|_| knows);
    if handed.birth.is_none() {
        // Whether it committed since, and where, was in the notes alone.
        writer.life = None;
    }
    writer.lost = false;
}

/// Whether heads that the directory read prove that `mine` is an ancestor of this lineage.
fn is_proven(world: &World, me: usize, head: &Head) -> bool {
    let Some(mine) = world.writers[me].mine else { return false };
    let mut proven = BTreeSet::from([mine]);
    for (id, lineage) in &world.writers[me].read {
        if lineage.iter().any(|id| proven.contains(id)) {
            proven.insert(*id);
        }
    }
    head.lineage.iter().any(|id| proven.contains(id))
}

pub(crate) enum Committed {
    Nothing,
    Gone,
    Durable(Id),
    Failed,
}

/// Section 2.
pub(crate) async fn commit(shared: Shared, me: usize) {
    let done = try_commit(&shared, me).await;
    match done {
        Committed::Durable(id) => {
            shared.borrow_mut().count("commits");
            catch_up_to(&shared, me, id).await;
        }
        Committed::Nothing => {
            let head = read_head(&shared, me).await;
            if let Some(id) = head.filter(|(_, head)| !head.deleted).and_then(|(_, head)| head.snapshot) {
                let missing = !shared.borrow().objects.contains_key(&Key::Mirror(id));
                if missing && shared.borrow().writers[me].mine.is_some() {
                    catch_up_to(&shared, me, id).await;
                }
            }
        }
        Committed::Gone => {
            shared.borrow_mut().count("gone");
            shared.borrow_mut().check_gone(me);
            shared.borrow_mut().writers[me] = super::world::Writer::default();
        }
        Committed::Failed => {}
    }
}

fn is_as_taken(writer: &super::world::Writer, at: &RelPath) -> bool {
    let taken = writer.origin.as_ref().and_then(|origin| origin.get(at));
    taken.is_some_and(|row| writer.dir.get(at).is_some_and(|there| there.same_content(row)))
}

async fn try_commit(shared: &Shared, me: usize) -> Committed {
    let mut found = read_head(shared, me).await;
    let mut uploads: Uploads<(u64, u64), Key> =
        Uploads::since(found.as_ref().map_or((u64::MAX, 0), |(_, head)| head.gc));
    // The scan: what it cannot read it lacks, what is ignored it lacks too, and neither is gone.
    let (scan, unreadable, hidden, hurry, stale) = {
        let mut world = shared.borrow_mut();
        let scan = world.writers[me].dir.clone();
        let mut unreadable = BTreeSet::new();
        let mut hidden = BTreeSet::new();
        for at in files(&scan).map(|(at, _)| at.clone()).collect::<Vec<_>>() {
            if !world.calm && world.one_in(30) {
                unreadable.insert(at);
            } else if !world.calm && world.one_in(60) && is_as_taken(&world.writers[me], &at) {
                // What users move to an ignored name is theirs to lose: here only what was stored is ignored by now.
                hidden.insert(at);
            }
        }
        let hurry = !world.calm && world.one_in(4);
        let stale = world.next();
        (scan, unreadable, hidden, hurry, stale)
    };
    let mut rows = scan.clone();
    rows.retain(|at, _| !unreadable.contains(at) && !hidden.contains(at));
    // What the scan promises: everything but what the rules ignore.
    let visible: Rows =
        scan.iter().filter(|(at, _)| !hidden.contains(*at)).map(|(at, row)| (at.clone(), row.clone())).collect();
    let unread = unreadable.clone();
    let mut not_stored: BTreeSet<RelPath> = unreadable;
    let mut packs = 0;
    for attempt in 0..6 {
        let Some((tag, head)) = found.clone() else { return Committed::Failed };
        uploads_under(shared, &mut uploads, &head);
        let writer = shared.borrow().writers[me].clone();
        let past = past_of(&writer.mine, &writer.seen, &writer.birth);
        let is_start = writer.tombstone == Some(tag);
        let checks_birth = shared.borrow().rule(Rule::Birth);
        if is_gone(&past, &head.present(is_start)) && (checks_birth || head.deleted) {
            return Committed::Gone;
        }
        tick().await;
        let theirs = match &head.snapshot {
            None => Some((writer.origin.clone().unwrap_or_default(), BTreeMap::new(), None)),
            Some(id) => {
                let world = shared.borrow();
                world.tree(id).map(|(rows, packs, base)| (rows.clone(), packs.clone(), base))
            }
        };
        let Some((theirs, their_packs, their_base)) = theirs else {
            found = read_head(shared, me).await;
            continue;
        };
        let origin = writer.origin.as_ref();
        let merge_base = match (shared.borrow().rule(Rule::Lineage), origin) {
            (false, Some(origin)) => Base::Known(origin),
            _ => base(origin, &past, &head.present(is_start)),
        };
        let empty = Rows::new();
        let gone: BTreeSet<RelPath> =
            origin.unwrap_or(&empty).keys().filter(|at| !scan.contains_key(*at)).cloned().collect();
        let tables = [&rows, origin.unwrap_or(&empty)];
        let groups = Groups::of(&tables, &unread, |_| Vec::new());
        let plan = |not_stored: &BTreeSet<RelPath>| {
            let seen = Seen { rows: &rows, gone: &gone, not_stored, partial: !not_stored.is_empty(), groups: &groups };
            let part = stored_part(&seen, merge_base);
            let merged = merge3(merge_base, &part.rows, &theirs);
            (part, merged)
        };
        let (mut part, mut merged) = plan(&not_stored);
        let alike = |one: &Rows, other: &Rows| {
            one.iter()
                .map(|(at, row)| (at, row.kind, row.hash))
                .eq(other.iter().map(|(at, row)| (at, row.kind, row.hash)))
        };
        if alike(&merged.rows, &theirs) && head.snapshot.is_some() {
            return Committed::Nothing;
        }
        let id = {
            let mut world = shared.borrow_mut();
            let fresh = world.next();
            // Off: one name for all attempts of a process.
            if world.rule(Rule::FreshNames) { Id(head.seq + 1, fresh) } else { Id(head.seq + 1, stale) }
        };
        if !shared.borrow().rule(Rule::FreshNames) {
            packs = 0;
        }
        // Packs.
        let order = if hurry { Order::NewestFirst } else { Order::ByPath };
        let to_go = units(&merged.rows, &groups, order);
        let pieces = to_go.into_iter().flatten().filter_map(|at| merged.rows.get(&at).map(|row| row.hash));
        let (mut to_send, _) = lacking(pieces, &[&their_packs, uploads.places()]);
        let limit = if hurry { shared.borrow_mut().below(to_send.len() + 1) } else { to_send.len() };
        let mut missing: BTreeSet<Hash> = to_send.split_off(limit).into_iter().collect();
        for chunk in to_send.chunks(2) {
            tick().await;
            let key = Key::Pack(id, packs);
            packs += 1;
            // From the disk, and only what still hashes to its row.
            let (mut world, mut stored) = (shared.borrow_mut(), BTreeSet::new());
            for piece in chunk {
                if files(&world.writers[me].dir).any(|(_, row)| row.hash == *piece) {
                    stored.insert(*piece);
                } else {
                    missing.insert(*piece);
                }
            }
            if stored.is_empty() {
                continue;
            }
            let sent = world.send(Change::Put(key, Body::Pack(stored.clone())));
            let sent = match sent {
                // The same bytes again.
                Reply::Unknown => world.send(Change::Put(key, Body::Pack(stored.clone()))),
                reply => reply,
            };
            if matches!(sent, Reply::Done(_)) {
                for piece in stored {
                    uploads.note(piece, key);
                }
            } else {
                missing.extend(stored);
            }
        }
        if !missing.is_empty() {
            let late = files(&rows).filter(|(_, row)| missing.contains(&row.hash)).map(|(at, _)| at.clone());
            not_stored.extend(late);
            shared.borrow_mut().count("partial");
            if shared.borrow().rule(Rule::PartialBeforeMerge) {
                (part, merged) = plan(&not_stored);
            } else {
                // Off: the whole scan is merged, and rows that are not stored are replaced in the result.
                let (old_part, old_merged) = plan(&BTreeSet::new());
                let kept = |at: &RelPath| origin.and_then(|origin| origin.get(at)).cloned();
                let replaced = |rows: Rows| {
                    rows.into_iter()
                        .filter_map(|(at, row)| match missing.contains(&row.hash) || not_stored.contains(&at) {
                            true => kept(&at).map(|row| (at, row)),
                            false => Some((at, row)),
                        })
                        .collect::<Rows>()
                };
                part.rows = replaced(old_part.rows);
                merged = old_merged;
                merged.rows = replaced(merged.rows);
            }
        }
        let history: Vec<BTreeMap<Hash, Key>> = {
            let world = shared.borrow();
            head.kept.iter().filter_map(|id| world.tree(id).map(|(_, packs, _)| packs.clone())).collect()
        };
        let places: Vec<&BTreeMap<Hash, Key>> =
            std::iter::once(&their_packs).chain([uploads.places()]).chain(&history).collect();
        let (still_lacking, reuse) = lacking(files(&merged.rows).map(|(_, row)| row.hash), &places);
        if !still_lacking.is_empty() {
            // What replaced a late file is needed, but lies nowhere: another round, or the next commit.
            return Committed::Failed;
        }
        if alike(&merged.rows, &theirs) && head.snapshot.is_some() {
            return Committed::Nothing;
        }
        // The tree.
        tick().await;
        let tree_base = {
            let mut world = shared.borrow_mut();
            let whole = head.snapshot.is_none() || world.one_in(4);
            if whole { None } else { their_base.or(head.snapshot) }
        };
        let body = Body::Tree { rows: merged.rows.clone(), packs: reuse, base: tree_base };
        let mut sent = Reply::Unknown;
        for _ in 0..3 {
            if sent == Reply::Unknown {
                sent = shared.borrow_mut().send(Change::Put(Key::Tree(id), body.clone()));
                tick().await;
            }
        }
        if sent == Reply::Unknown {
            return Committed::Failed;
        }
        // Head.
        let new = next_head(shared, &head, id);
        let named: BTreeSet<RelPath> = part.named.keys().cloned().collect();
        let claim = Claim {
            writer: me,
            life: writer.life,
            scan: visible.clone(),
            ours: part.rows.clone(),
            origin: writer.origin.clone().unwrap_or_default(),
            theirs: theirs.clone(),
            result: merged.rows.clone(),
            named,
            unread: unread.clone(),
            groups: groups.clone(),
            proven: is_proven(&shared.borrow(), me, &head) && writer.life == Some(head.birth),
        };
        {
            let mut world = shared.borrow_mut();
            for at in &merged.overflow {
                for hash in
                    [theirs.get(at), part.rows.get(at)].into_iter().flatten().map(|row| row.hash).collect::<Vec<_>>()
                {
                    world.release(hash);
                }
            }
            let pending = world.rule(Rule::PendingOrigin);
            let writer = &mut world.writers[me];
            if pending {
                writer.pending = Some((id, part.rows.clone(), new.birth));
            } else {
                // Off: noted as taken in before it is known to be.
                writer.origin = Some(part.rows.clone());
            }
        }
        let won = loop {
            tick().await;
            let claim = Some(Box::new(claim.clone()));
            let reply = shared.borrow_mut().send(Change::Head(Some(tag), new.clone(), claim));
            if matches!(reply, Reply::Done(_)) {
                break true;
            }
            found = read_head(shared, me).await;
            let now = found.as_ref();
            let is_old = now.map(|(tag, _)| *tag) == Some(tag);
            let present = now.map_or(Present::Nothing, |(now, head)| head.present(writer.tombstone == Some(*now)));
            let is_ours = now.is_some_and(|(_, head)| head.lineage.contains(&id));
            let is_race = writer.birth.is_none() && head.deleted && now.is_some_and(|(_, now)| !now.deleted);
            match after_cas(is_ours, is_old, &past, &present) {
                // Off: what another made anew over the same tombstone is taken for a deletion of our own.
                Cas::Lost if is_race && !shared.borrow().rule(Rule::FirstCommitsRace) => return Committed::Gone,
                Cas::Durable => break true,
                Cas::Again => {}
                Cas::Gone if checks_birth || matches!(present, Present::Tombstone { .. } | Present::Nothing) => {
                    return Committed::Gone;
                }
                Cas::Gone | Cas::Lost => break false,
            }
        };
        if won {
            let mut world = shared.borrow_mut();
            let takes_scan = world.rule(Rule::MergeBase);
            let writer = &mut world.writers[me];
            // Off: R is taken for what the directory took in.
            writer.origin = Some(if takes_scan { part.rows } else { merged.rows });
            (writer.mine, writer.seen, writer.pending) = (Some(id), Some(id), None);
            (writer.birth, writer.life, writer.tombstone) = (Some(new.birth), Some(new.birth), None);
            return Committed::Durable(id);
        }
        shared.borrow_mut().count("lost races");
        let _ = attempt;
    }
    Committed::Failed
}

/// The pieces that lie in none of these places, each once and in order; and where the others lie.
fn lacking(
    pieces: impl IntoIterator<Item = Hash>,
    places: &[&BTreeMap<Hash, Key>],
) -> (Vec<Hash>, BTreeMap<Hash, Key>) {
    let (mut lacking, mut there) = (Vec::new(), BTreeMap::new());
    for piece in pieces {
        match places.iter().find_map(|places| places.get(&piece)) {
            Some(place) => drop(there.insert(piece, *place)),
            None if lacking.contains(&piece) => {}
            None => lacking.push(piece),
        }
    }
    (lacking, there)
}

fn uploads_under(shared: &Shared, uploads: &mut Uploads<(u64, u64), Key>, head: &Head) {
    let world = shared.borrow();
    if world.rule(Rule::Gc) {
        uploads.forget_before(head.gc);
    }
}

fn next_head(shared: &Shared, head: &Head, id: Id) -> Head {
    let mut world = shared.borrow_mut();
    world.clock += 1500;
    let (write_id, now) = (world.next(), world.clock);
    if head.deleted {
        let gc = (head.gc.0 + 1, world.next());
        return Head {
            deleted: false,
            birth: id,
            seq: id.0,
            snapshot: Some(id),
            mirror: None,
            gc,
            write_id,
            lineage: vec![id],
            history: vec![(id, now)],
            kept: vec![id],
        };
    }
    let finished = head.snapshot.filter(|id| world.objects.contains_key(&Key::Mirror(*id)));
    let mut history = head.history.clone();
    history.push((id, now));
    let entries: Vec<Entry> = history.iter().map(|(_, time)| Entry { time: *time, tagged: false }).collect();
    let policy = Retention { last: 2, within_seconds: 0, daily: 0 };
    let keep = kept(&entries, policy, now);
    let history: Vec<(Id, i64)> =
        history.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(entry, _)| entry).collect();
    Head {
        seq: id.0,
        snapshot: Some(id),
        mirror: finished.or(head.mirror),
        write_id,
        lineage: lineage_with(&head.lineage, id, LINEAGE),
        kept: history.iter().map(|(id, _)| *id).collect(),
        history,
        ..head.clone()
    }
}

/// The newest mirror, the one it was built from, its snapshot, and the recent trees.
fn explanation(world: &World, head: &Head) -> (Mirror, Option<Id>, Vec<Rows>, bool) {
    let at = |id: &Id| match world.objects.get(&Key::Mirror(*id)) {
        Some(Body::Mirror { mirror, from }) => Some((mirror.clone(), *from, *id)),
        _ => None,
    };
    let newest = head.snapshot.as_ref().and_then(at).or_else(|| head.mirror.as_ref().and_then(at));
    let from = newest.as_ref().and_then(|(_, from, _)| *from);
    let from = if world.rule(Rule::Recent) { from } else { newest.as_ref().map(|(.., id)| *id) };
    let ids = recent(&head.lineage, from.as_ref());
    let trees: Vec<Option<Rows>> = ids.iter().map(|id| world.tree(id).map(|(rows, ..)| rows.clone())).collect();
    let complete = trees.iter().all(Option::is_some);
    let id = newest.as_ref().map(|(.., id)| *id);
    (newest.map(|(mirror, ..)| mirror).unwrap_or_default(), id, trees.into_iter().flatten().collect(), complete)
}

fn newest_from(world: &World, head: &Head) -> Option<Id> {
    let at = |id: &Id| match world.objects.get(&Key::Mirror(*id)) {
        Some(Body::Mirror { from, .. }) => Some(*from),
        _ => None,
    };
    head.snapshot.as_ref().and_then(at).or_else(|| head.mirror.as_ref().and_then(at)).flatten()
}

/// Whether the lineage reaches back to where the mirror's recent ones begin.
fn explains(world: &World, head: &Head) -> bool {
    head.lineage.contains(&head.birth) || newest_from(world, head).is_some_and(|id| head.lineage.contains(&id))
}

fn there(world: &World, at: &RelPath) -> There {
    world.live.get(at).map_or(There::Absent, |(tag, hash)| There::Object {
        etag: tag.clone(),
        size: 8,
        hash: Some(*hash),
    })
}

/// Steps 6 and 7.
async fn catch_up_to(shared: &Shared, me: usize, id: Id) {
    let is_still = |world: &World| world.head.as_ref().is_some_and(|(_, head)| head.snapshot == Some(id));
    tick().await;
    let Some((_, head)) = shared.borrow().head.clone().filter(|(_, head)| head.snapshot == Some(id)) else { return };
    let (mut mirror, from, trees, _) = explanation(&shared.borrow(), &head);
    shared.borrow_mut().catch_up_begins(from.map_or(0, |from| from.0));
    if !explains(&shared.borrow(), &head) {
        shared.borrow_mut().unexplained = true;
    }
    if let Some(import) = shared.borrow().writers[me].import.clone().filter(|_| from.is_none()) {
        mirror = import;
    }
    let Some(result) = shared.borrow().tree(&id).map(|(rows, ..)| rows.clone()) else { return };
    let refused = shared.borrow().writers[me].refused.clone();
    let tables: Vec<&Rows> = trees.iter().collect();
    let explained = Explained { mirror: &mirror, recent: &tables, refused: &refused };
    let plan = catch_up(&result, &explained, &BTreeSet::new(), Order::ByPath);
    let mut ended = BTreeMap::new();
    for step in plan.steps() {
        let known = explained.known(&result, &step.path);
        let mut request = step.request.clone();
        for _ in 0..8 {
            tick().await;
            // A request is on its way at most as long as one whole catch-up; what waits longer is in the world's hands.
            if !is_still(&shared.borrow()) {
                return;
            }
            let reply = match &request {
                Request::Look => Reply::Refused,
                Request::Put(expected) => {
                    let hash = step.wanted.map(|content| content.hash).unwrap_or_else(|| Hash::of(b""));
                    shared.borrow_mut().send(Change::PutLive(step.path.clone(), expected.clone(), hash))
                }
                Request::Delete(expected) => {
                    shared.borrow_mut().send(Change::DeleteLive(step.path.clone(), expected.clone()))
                }
            };
            if let Reply::Done(n) = reply {
                let held = step.wanted.map(|content| Held { etag: etag(n), content });
                ended.insert(step.path.clone(), Ended::Done(held));
                break;
            }
            tick().await;
            if !is_still(&shared.borrow()) {
                return;
            }
            let there = there(&shared.borrow(), &step.path);
            let outside_rule = shared.borrow().rule(Rule::OutsideEdits);
            match met(step, mirror.rows.get(&step.path), &known, &there) {
                Met::Done(held) => {
                    ended.insert(step.path.clone(), Ended::Done(held));
                    break;
                }
                Met::Write(tag) => request = Request::Put(tag),
                Met::Delete(held) => request = Request::Delete(held.etag),
                // Off: whatever is there is overwritten.
                Met::Outside | Met::Read if !outside_rule => {
                    let There::Object { etag, .. } = there else { return };
                    request = if step.wanted.is_some() { Request::Put(Some(etag)) } else { Request::Delete(etag) };
                }
                Met::Outside => {
                    ended.insert(step.path.clone(), Ended::Outside);
                    break;
                }
                Met::Read => unreachable!("it was read"),
            }
        }
    }
    let Some(next) = next_mirror(&mirror, &plan, &ended, &BTreeMap::new()) else { return };
    tick().await;
    let mut world = shared.borrow_mut();
    if matches!(world.send(Change::Put(Key::Mirror(id), Body::Mirror { mirror: next, from })), Reply::Done(_)) {
        world.writers[me].refused.clear();
        world.writers[me].import = None;
        world.count("catch-ups");
    }
}

/// Section 3.
pub(crate) async fn pull(shared: Shared, me: usize) {
    for _ in 0..5 {
        if try_pull(&shared, me).await {
            shared.borrow_mut().count("pulls");
            return;
        }
    }
}

async fn try_pull(shared: &Shared, me: usize) -> bool {
    let Some((tag, mut head)) = read_head(shared, me).await else { return false };
    let listing = list(shared).await;
    if head.deleted {
        return import(shared, me, tag, &listing).await;
    }
    tick().await;
    let Some((_, now)) = shared.borrow().head.clone() else { return false };
    if now.snapshot != head.snapshot {
        if now.deleted || now.birth != head.birth {
            return false;
        }
        head = now;
    }
    let before = shared.borrow().writers[me].clone();
    if before.ready && (before.birth != Some(head.birth) || before.seen.is_some_and(|seen| seen.0 > head.seq)) {
        // Guards: another birth, an older head.
        return true;
    }
    let Some(id) = head.snapshot else { return false };
    let (mirror, mirrored_by, trees, complete) = explanation(&shared.borrow(), &head);
    let Some(rows) = shared.borrow().tree(&id).map(|(rows, ..)| rows.clone()) else { return false };
    let tables: Vec<&Rows> = trees.iter().collect();
    let explained = Explained { mirror: &mirror, recent: &tables, refused: &before.refused };
    let mut contents = Contents::new();
    let look = |contents: &Contents| {
        outside(&listing, &rows, &explained, complete, contents, |_, _| false, ImportOptions::default())
    };
    let first = look(&contents);
    for (at, unread) in first.read.iter().chain(&first.unread) {
        tick().await;
        match shared.borrow().live.get(at) {
            Some((tag, hash)) if *tag == unread.etag => {
                contents.insert(at.clone(), (tag.clone(), *hash));
            }
            // GET If-Match: somebody was faster.
            _ => return false,
        }
    }
    let found = look(&contents);
    let mut gone = BTreeSet::new();
    for at in found.missing.keys() {
        tick().await;
        if shared.borrow().live.contains_key(at) {
            return false;
        }
        gone.insert(at.clone());
    }
    let result = wanted(&rows, &found, &explained, &gone, false);
    let mut world = shared.borrow_mut();
    // A mirror from before the lineage explains less: what trimmed snapshots put there is like anybody's.
    let mirrored_from = newest_from(&world, &head);
    if explains(&world, &head)
        && !world.unexplained
        && !world.outsiders
        && !world.outsider_came
        && (!found.edits.is_empty() || !result.deleted.is_empty() || !result.refused.is_empty())
    {
        let edits: Vec<_> = found.edits.iter().map(|(at, row)| (at, row.hash)).collect();
        let text = format!(
            "P: nobody but us writes, yet a pull of {id:?} (mirror {mirrored_by:?}, recent after {mirrored_from:?}) finds edits {edits:?} and deletes {gone:?} in {:?}",
            listing.iter().map(|object| (&*object.key, object.etag.as_str())).collect::<Vec<_>>()
        );
        world.fail(text);
    }
    let overflow: Vec<Hash> =
        result.merged.overflow.iter().filter_map(|at| found.edits.get(at)).map(|row| row.hash).collect();
    for hash in overflow {
        // It stays where it is: in the live tree.
        world.unexplained = true;
        world.overflowed = true;
        world.release(hash);
    }
    let writer = &mut world.writers[me];
    let mut dir = result.merged.rows;
    if before.ready {
        let scan = writer.dir.clone();
        let origin = writer.origin.clone().unwrap_or_default();
        let gone: BTreeSet<RelPath> = origin.keys().filter(|at| !scan.contains_key(*at)).cloned().collect();
        let (none, groups) = (BTreeSet::new(), Groups::default());
        let seen = Seen { rows: &scan, gone: &gone, not_stored: &none, partial: false, groups: &groups };
        let past = past_of(&writer.mine, &writer.seen, &writer.birth);
        let merge_base = base(writer.origin.as_ref(), &past, &head.present(false));
        dir = merge3(merge_base, &stopover::plan::ours_for_merge(&seen, merge_base), &dir).rows;
    }
    let note =
        |rows: &Rows| files(rows).map(|(at, row)| format!("{at}={}", row.hash.short())).collect::<Vec<_>>().join(" ");
    let said = format!(
        "writer {me} pulls {id:?} (ready {}): {} -> {}; O {} -> {}",
        before.ready,
        note(&writer.dir),
        note(&dir),
        writer.origin.as_ref().map(note).unwrap_or_default(),
        note(&rows)
    );
    writer.dir = dir
        .into_iter()
        .map(|(at, mut row)| {
            row.etag = None;
            (at, row)
        })
        .collect();
    writer.origin = Some(rows);
    (writer.mine, writer.seen, writer.birth, writer.life) = (Some(id), Some(id), Some(head.birth), Some(head.birth));
    (writer.pending, writer.tombstone, writer.began, writer.ready) = (None, None, None, true);
    writer.handed = Handed { pulled: Some(id), birth: Some(head.birth), tombstone: None };
    writer.refused.extend(result.refused);
    world.say(said);
    true
}

/// LIST in two pages: what is written between them is seen or not.
async fn list(shared: &Shared) -> Vec<Object> {
    let object = |(at, (tag, _)): (&RelPath, &(stopover::rows::ETag, Hash))| Object {
        key: at.to_string(),
        etag: tag.clone(),
        size: 8,
        last_modified_ns: 0,
    };
    let middle = b"b".to_vec();
    tick().await;
    let mut found: Vec<Object> =
        shared.borrow().live.iter().filter(|(at, _)| at.as_bytes() < &middle[..]).map(object).collect();
    tick().await;
    found.extend(shared.borrow().live.iter().filter(|(at, _)| at.as_bytes() >= &middle[..]).map(object));
    found
}

/// A workspace that starts from a tombstone: the live tree, as far as it is still there.
async fn import(shared: &Shared, me: usize, tag: u64, listing: &[Object]) -> bool {
    let (mut rows, mut mirror) = (Rows::new(), Mirror::default());
    for object in listing {
        let at = super::world::path(&object.key);
        tick().await;
        if let Some((etag, hash)) = shared.borrow().live.get(&at).filter(|(etag, _)| *etag == object.etag) {
            let row = file(*hash);
            mirror.rows.insert(at.clone(), Held { etag: etag.clone(), content: Content::of(&row).unwrap() });
            rows.insert(at, row);
        }
    }
    let rows = merge3(Base::None, &rows, &Rows::new()).rows;
    let mut world = shared.borrow_mut();
    world.writers[me] = super::world::Writer {
        ready: true,
        dir: rows.clone(),
        origin: Some(rows),
        tombstone: Some(tag),
        began: Some(tag),
        handed: Handed { tombstone: Some(tag), ..Handed::default() },
        import: Some(mirror),
        ..super::world::Writer::default()
    };
    world.count("imports");
    true
}

/// An idle container reads head.
pub(crate) async fn poll_head(shared: Shared, me: usize) {
    read_head(&shared, me).await;
}

/// Prune, without a courtesy to anybody.
pub(crate) async fn prune(shared: Shared) {
    for _ in 0..3 {
        tick().await;
        let Some((tag, head)) = shared.borrow().head.clone().filter(|(_, head)| !head.deleted) else { return };
        tick().await;
        let listed: Vec<Key> = shared.borrow().objects.keys().copied().collect();
        tick().await;
        let built_from = head.mirror.and_then(|id| match shared.borrow().objects.get(&Key::Mirror(id)) {
            Some(Body::Mirror { from, .. }) => *from,
            _ => None,
        });
        let named = Named {
            snapshot: head.snapshot.as_ref(),
            history: &head.kept,
            lineage: &head.lineage,
            mirror: head.mirror.as_ref(),
            built_from: built_from.as_ref(),
        };
        let mut keep = BTreeSet::new();
        for id in roots(&named).into_keys() {
            tick().await;
            let world = shared.borrow();
            let Some((_, packs, base)) = world.tree(&id) else { continue };
            keep.extend([Key::Tree(id), Key::Mirror(id)]);
            keep.extend(packs.values().copied());
            if let Some(base) = base {
                keep.insert(Key::Tree(base));
                keep.extend(world.tree(&base).into_iter().flat_map(|(_, packs, _)| packs.values().copied()));
            }
        }
        let surplus: Vec<Key> = {
            let none = Key::Pack(Id(0, 0), 0);
            sweep(listed.iter().map(|key| (key, 0)), &none, &keep, false).into_iter().copied().collect()
        };
        tick().await;
        let (new, reply) = {
            let mut world = shared.borrow_mut();
            let (gc, write_id) = ((head.gc.0 + 1, world.next()), world.next());
            let new = Head { gc, write_id, ..head };
            let reply = world.send(Change::Head(Some(tag), new.clone(), None));
            (new, reply)
        };
        tick().await;
        let moved = match reply {
            Reply::Done(_) => true,
            Reply::Refused => false,
            Reply::Unknown => shared.borrow().head.as_ref().is_some_and(|(_, head)| head.gc == new.gc),
        };
        if !moved {
            continue;
        }
        for key in surplus {
            tick().await;
            shared.borrow_mut().send(Change::Delete(key));
        }
        shared.borrow_mut().count("prunes");
        return;
    }
}

/// `delete WORKSPACE`.
pub(crate) async fn delete(shared: Shared) {
    for round in 0..6 {
        tick().await;
        let Some((tag, head)) = shared.borrow().head.clone() else { return };
        if round > 0 && !head.deleted {
            return;
        }
        tick().await;
        let (objects, live) = {
            let world = shared.borrow();
            (world.objects.keys().copied().collect::<Vec<_>>(), world.live.clone())
        };
        if head.deleted && objects.is_empty() && live.is_empty() {
            return;
        }
        if round == 0 || shared.borrow().rule(Rule::DeleteMovesHeadEachRound) {
            tick().await;
            let mut world = shared.borrow_mut();
            let (gc, write_id) = ((head.gc.0 + 1, world.next()), world.next());
            let stone = Head {
                deleted: true,
                snapshot: None,
                mirror: None,
                gc,
                write_id,
                history: Vec::new(),
                kept: Vec::new(),
                ..head
            };
            if !matches!(world.apply(Change::Head(Some(tag), stone, None)), Reply::Done(_)) {
                continue;
            }
            world.owed.clear();
            // To whoever imports what is still there, these are the deletes of others.
            world.outsider_came = true;
            world.count("deletes");
        }
        for (_, hash) in live.values() {
            shared.borrow_mut().release(*hash);
        }
        for key in objects {
            tick().await;
            shared.borrow_mut().send(Change::Delete(key));
        }
        for (at, (tag, _)) in live {
            tick().await;
            if !shared.borrow().head.as_ref().is_some_and(|(_, head)| head.deleted) {
                return;
            }
            shared.borrow_mut().send(Change::DeleteLive(at, tag));
        }
    }
}

/// What users and apps do to the directory.
pub(crate) fn edit(world: &mut World, me: usize) {
    if !world.writers[me].ready {
        return;
    }
    let names = ["a", "b", "c", "d", "d/x", "e/x", "e/y", "db", "db-wal"];
    let mut at = super::world::path(names[world.below(names.len())]);
    let there: Vec<RelPath> = files(&world.writers[me].dir).map(|(at, _)| at.clone()).collect();
    let what = world.below(10);
    if what < 4 && !there.is_empty() {
        at = there[world.below(there.len())].clone();
    }
    let fresh = world.fresh();
    let mut dir = std::mem::take(&mut world.writers[me].dir);
    let mut dropped = Vec::new();
    match what {
        0..=2 => {
            dropped.extend(dir.remove(&at).map(|row| row.hash));
        }
        3 if dir.get(&at).is_some_and(|row| row.kind == Kind::File) => {
            // A rename.
            let to = super::world::path(["a", "b", "c"][world.below(3)]);
            if to != at
                && at.name() != b"db-wal"
                && dir.get(&to).is_none_or(|row| row.kind == Kind::File)
                && let Some(row) = dir.remove(&at)
            {
                dropped.extend(dir.insert(to, row).map(|row| row.hash));
            }
        }
        _ => {
            for up in at.ancestors() {
                match dir.get(&up) {
                    Some(row) if row.kind != Kind::Dir => {
                        dropped.push(row.hash);
                        dir.insert(up, stopover::rows::Row::dir(0o755));
                    }
                    Some(_) => {}
                    None => {
                        dir.insert(up, stopover::rows::Row::dir(0o755));
                    }
                }
            }
            let below: Vec<RelPath> = dir.keys().filter(|other| other.is_below(&at)).cloned().collect();
            dropped.extend(below.iter().filter_map(|other| dir.remove(other)).map(|row| row.hash));
            let old = dir.insert(at.clone(), file(fresh));
            dropped.extend(old.map(|row| row.hash));
            world.say(format!("writer {me} writes {at}: {fresh:?}"));
            // What was there before comes back, now and then: it is nobody's loss any more.
            let released: Vec<Hash> = world.released.iter().copied().collect();
            if world.one_in(8) && !released.is_empty() {
                let old = released[world.below(released.len())];
                dir.insert(at.clone(), file(old));
                world.say(format!("writer {me} writes {at} back: {old:?}"));
            }
        }
    }
    for hash in dropped {
        world.say(format!("writer {me} drops {hash:?}"));
        world.release(hash);
    }
    world.writers[me].dir = dir;
}

/// Another program writes to the live tree, or deletes there.
pub(crate) fn outsider(world: &mut World) {
    let names = ["a", "b", "c", "e/x", "f"];
    let at = super::world::path(names[world.below(names.len())]);
    world.outsider_came = true;
    if let Some((_, hash)) = world.live.get(&at).cloned() {
        world.release(hash);
    }
    if world.one_in(4) {
        world.live.remove(&at);
        world.say(format!("an outsider deletes {at}"));
        return;
    }
    let (hash, n) = (world.fresh(), world.next());
    world.put_live(at.clone(), n, hash);
    world.owed.insert(hash, format!("{at}, left by an outsider"));
    world.say(format!("an outsider writes {at}: {hash:?} as {n}"));
}
