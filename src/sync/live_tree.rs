//! Making the live tree what the plan says: conditional puts, deletes last. No object is overwritten that is not the
//! one the plan was made from: what somebody else put there meanwhile is kept beside ours.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;

use super::{
    Control, SyncError,
    import::hash_object,
    outgoing::{Outgoing, WHOLE, read_file},
    remote::{HeadAt, is_still},
    room::Room,
    sources::Remote,
};
use crate::{
    plan::{Delete, Groups, Put as PlannedPut, Source as From, UploadPlan},
    report::{Events, NotStoredReason, Phase, Progress},
    rows::{ETag, Hash, Hasher, RelPath, Row, Rows},
    state::{Sent, State},
    store::{Deleted, GetIf, Got, Meta, Opened, Put, PutIf, SAMPLE, Store, StoreError, StoreErrorKind, content_type},
    worktree::Directory,
};

/// How often one object is tried while others keep changing it.
const TRIES: u32 = 6;
/// How many files of a group are on their way at once.
const AT_ONCE: usize = 4;
/// How old the last look at head may be before a delete without condition.
const FRESH: Duration = Duration::from_secs(5);

/// What was done to the live tree.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Rows as they lie in the bucket now, each with its version: what was put, and copies of outside edits.
    pub(super) stored: Rows,
    /// Outside edits that were found on the way, by path: the copy that holds them.
    pub(super) copies: BTreeMap<RelPath, RelPath>,
    /// Paths whose scanned content is not in the bucket.
    pub(super) not_stored: BTreeMap<RelPath, NotStoredReason>,
    /// Objects that these credentials may not delete.
    pub(super) undeleted: BTreeMap<RelPath, ETag>,
    /// Objects that were deleted.
    pub(super) removed: BTreeSet<RelPath>,
    /// Objects whose deletes were not reached, and that count as deleted all the same: they belong to what is stored.
    pub(super) hidden: BTreeMap<RelPath, ETag>,
    /// Removed files whose objects were left: the deletes were not reached.
    pub(super) left: Vec<RelPath>,
    /// Another writer moved head: plan again.
    pub(super) lost: bool,
    /// The caller asked to stop.
    pub(super) stopped: bool,
    /// Whether the deletes were reached.
    pub(super) deleted: bool,
}

/// A catch-up at work.
pub(super) struct LiveTree<'a> {
    pub(super) store: &'a Store,
    pub(super) dir: &'a Directory,
    /// Where own writes are noted; none for an upload without state.
    pub(super) state: Option<&'a State>,
    pub(super) head: Option<&'a HeadAt>,
    /// What this directory wrote before, in commits that did not end.
    pub(super) sent: &'a Mutex<HashMap<RelPath, (ETag, Hash)>>,
    /// Contents that may be replaced whatever their version: theirs and what was taken in.
    pub(super) known: &'a [&'a Rows],
    /// What should go whole or not at all.
    pub(super) groups: &'a Groups,
    /// Whether to stop before the next request.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    /// Knows when no request may be waited for any more.
    pub(super) control: &'a Control,
    /// For files that go whole.
    pub(super) room: Room,
    pub(super) events: &'a dyn Events,
}

impl LiveTree<'_> {
    /// Carries `plan` out, as far as it may.
    pub(super) async fn run(&self, plan: &UploadPlan) -> Result<Outcome, SyncError> {
        let mut outcome = Outcome::default();
        self.put_all(plan, &mut outcome).await?;
        if outcome.lost {
            return Ok(outcome);
        }
        if outcome.stopped {
            self.name_the_rest(plan, &mut outcome);
        }
        // Deletes come last, and only after everything they might follow: a rename's new name is stored first.
        if !outcome.stopped && outcome.not_stored.is_empty() {
            let refused = self.delete_all(&plan.deletes, &mut outcome).await?;
            outcome.deleted = refused.is_some();
            for path in refused.into_iter().flatten() {
                tracing::warn!("{path} was changed by others while it was deleted here: it stays");
            }
        }
        if !outcome.deleted {
            let left = plan.deletes.iter().map(|delete| &delete.path);
            outcome.left = left.filter(|path| !outcome.removed.contains(*path)).cloned().collect();
        }
        Ok(outcome)
    }

    /// Copies of theirs, deletes that make room, and puts.
    async fn put_all(&self, plan: &UploadPlan, outcome: &mut Outcome) -> Result<(), SyncError> {
        let total = plan.puts.iter().chain(&plan.copies).map(|put| put.row.size).sum();
        let mut done = 0;
        // Paths whose present object must not be overwritten yet.
        let mut blocked = BTreeSet::new();
        for copy in &plan.copies {
            if self.is_stopped(outcome) {
                return Ok(());
            }
            if !self.copy(copy, outcome).await? {
                blocked.extend(source(copy));
            }
            done += copy.row.size;
        }
        let refused = self.delete_all(&plan.deletes_first, outcome).await?;
        if refused.is_none() || self.is_stopped(outcome) {
            return Ok(());
        }
        for path in refused.into_iter().flatten() {
            self.make_room(path, plan, outcome).await?;
        }
        let puts: Vec<&PlannedPut> = plan.puts.iter().filter(|put| !blocked.contains(&put.path)).collect();
        let units =
            puts.chunk_by(|one, next| self.groups.with(&one.path).is_some_and(|members| members.contains(&next.path)));
        for path in &blocked {
            outcome.not_stored.insert(path.clone(), NotStoredReason::Changing);
        }
        let width = self.store.widths().1.max(1);
        let mut running = stream::iter(units.map(|unit| self.put_unit(unit))).buffer_unordered(width);
        loop {
            let unit = tokio::select! {
                biased;
                next = running.next() => match next {
                    Some(next) => next,
                    None => return Ok(()),
                },
                // What is on its way still, perhaps to a server that is gone, must not keep the rest from its head.
                () = self.control.until_time_is_up() => {
                    outcome.stopped = true;
                    return Ok(());
                }
            };
            for (put, one) in unit {
                done += put.row.size;
                self.events.progress(Progress::new(Phase::Upload, done, total, Some(put.path.to_string())));
                match one? {
                    One::Stored(stored) => {
                        let Stored { row, copy } = *stored;
                        outcome.stored.insert(put.path.clone(), row);
                        if let Some((path, row)) = copy {
                            outcome.copies.insert(put.path.clone(), path.clone());
                            outcome.stored.insert(path, row);
                        }
                    }
                    One::Not(reason) => {
                        outcome.not_stored.insert(put.path.clone(), reason);
                    }
                    One::Lost => outcome.lost = true,
                    One::Stopped => outcome.stopped = true,
                }
            }
        }
    }

    /// Puts a file, or the files of a group: the first alone, for it has the longest way, and the others at once when it
    /// is there. What was begun is finished as far as time allows; where one of them is not stored no other is begun.
    async fn put_unit<'p>(&self, unit: &[&'p PlannedPut]) -> Vec<(&'p PlannedPut, Result<One, SyncError>)> {
        let mut done = Vec::with_capacity(unit.len());
        let mut ended = (self.stop)().then_some(Err(()));
        let (first, others) = unit.split_at(unit.len().min(1));
        for part in std::iter::once(first).chain(others.chunks(AT_ONCE)) {
            if let Some(end) = ended {
                let not = |put: &&'p PlannedPut| (*put, Ok(end.map_or(One::Stopped, One::Not)));
                done.extend(part.iter().map(not));
                continue;
            }
            let puts = part.iter().map(|put| async move { (*put, self.put(put).await) });
            for (put, one) in futures_util::future::join_all(puts).await {
                ended = ended.or(match &one {
                    Ok(One::Stored(_)) => None,
                    Ok(One::Not(reason)) => Some(Ok(*reason)),
                    Ok(One::Lost | One::Stopped) | Err(_) => Some(Err(())),
                });
                done.push((put, one));
            }
        }
        done
    }

    /// No more requests: what an earlier scan of this commit has put counts, if it is still the content; the rest is
    /// named.
    fn name_the_rest(&self, plan: &UploadPlan, outcome: &mut Outcome) {
        for put in &plan.puts {
            if outcome.stored.contains_key(&put.path) || outcome.not_stored.contains_key(&put.path) {
                continue;
            }
            match self.sent_before(&put.path) {
                // True for this version only: where the object has another by now, the row says nothing.
                Some((etag, hash)) if hash == put.row.hash => {
                    outcome.stored.insert(put.path.clone(), Row { etag: Some(etag), ..put.row.clone() });
                }
                _ => {
                    outcome.not_stored.insert(put.path.clone(), NotStoredReason::Deadline);
                }
            }
        }
    }

    fn is_stopped(&self, outcome: &mut Outcome) -> bool {
        outcome.stopped = outcome.stopped || (self.stop)();
        outcome.stopped
    }

    /// Keeps another's content under the name of its copy, made of the object that will be overwritten. Says whether
    /// that one may be overwritten now.
    async fn copy(&self, copy: &PlannedPut, outcome: &mut Outcome) -> Result<bool, SyncError> {
        let From::Object { path, etag: Some(etag) } = &copy.from else { return Ok(false) };
        match self.copy_version(path, etag, &copy.path, &copy.row).await? {
            Copied::Done(stored) => {
                outcome.stored.insert(copy.path.clone(), stored);
                Ok(true)
            }
            // There is nothing of it left to overwrite. An earlier try of this commit may have kept it, and put ours
            // in its place; what others put there instead is met by the put.
            Copied::Moved => {
                outcome.stored.extend(self.kept_at(&copy.path, &copy.row).await?.map(|row| (copy.path.clone(), row)));
                Ok(true)
            }
            Copied::Taken => Ok(false),
        }
    }

    /// The row of the copy `to`, if it is there and holds the content of `row`.
    async fn kept_at(&self, to: &RelPath, row: &Row) -> Result<Option<Row>, SyncError> {
        let Some(meta) = self.store.head(&to.to_text()).await?.filter(|meta| meta.size == row.size) else {
            return Ok(None);
        };
        let same = hash_object(self.store, to, &meta.etag).await? == Some(row.hash);
        Ok(same.then(|| Row { etag: Some(meta.etag), ..row.clone() }))
    }

    /// Copies version `etag` of `from` to `to`.
    async fn copy_version(&self, from: &RelPath, etag: &ETag, to: &RelPath, row: &Row) -> Result<Copied, SyncError> {
        let key = to.to_text();
        let put = if row.size <= WHOLE {
            let Got::Found(object) = self.store.get(&from.to_text(), GetIf::Match(etag)).await? else {
                return Ok(Copied::Moved);
            };
            let kind = content_type(&to.to_text(), &object.bytes[..object.bytes.len().min(SAMPLE)]);
            self.store.put(&key, object.bytes, PutIf::Absent, Some(&kind)).await?
        } else {
            let Some(kind) = self.sample(from, etag, &key).await? else { return Ok(Copied::Moved) };
            let moved = Arc::new(AtomicBool::new(false));
            let source = Remote {
                store: self.store.clone(),
                runtime: Handle::current(),
                key: from.to_text().into_owned(),
                etag: etag.clone(),
                at: 0,
                hasher: Hasher::new(),
                wanted: row.hash,
                moved: Arc::clone(&moved),
            };
            match self.store.put_file(&key, source, row.size, PutIf::Absent, Some(&kind)).await {
                Err(_) if moved.load(Ordering::Relaxed) => return Ok(Copied::Moved),
                put => put?,
            }
        };
        match put {
            Put::Done(etag) => Ok(Copied::Done(Row { etag: Some(etag), ..row.clone() })),
            Put::Refused | Put::Missing | Put::Uncertain(_) => {
                Ok(self.kept_at(to, row).await?.map_or(Copied::Taken, Copied::Done))
            }
        }
    }

    /// The Content-Type of version `etag` of `from` under its new name; `None` where it is another version by now.
    async fn sample(&self, from: &RelPath, etag: &ETag, key: &str) -> Result<Option<String>, SyncError> {
        let opened = self.store.open(&from.to_text(), Some(0..SAMPLE as u64), Some(etag)).await?;
        let Opened::Found(mut reader) = opened else { return Ok(None) };
        let mut bytes = Vec::with_capacity(SAMPLE);
        while let Some(chunk) = reader.next_chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(content_type(key, &bytes)))
    }

    /// Puts one file of the directory.
    async fn put(&self, put: &PlannedPut) -> Result<One, SyncError> {
        let From::Local(local) = &put.from else { return Ok(One::Not(NotStoredReason::Changing)) };
        let _place = match put.row.size {
            size @ 0..=WHOLE => self.room.take(size).await,
            _ => None,
        };
        let content = match read_file(self.dir, local, &put.row).await? {
            Ok(content) => content,
            Err(reason) => return Ok(One::Not(reason)),
        };
        let row = content.row.clone();
        let key = put.path.to_text();
        let mut expected = put.expected.clone();
        let mut copy = None;
        let mut pause = Duration::from_millis(50);
        if let Some((etag, hash)) = self.sent_before(&put.path)
            && hash == row.hash
            && self.store.head(&key).await?.is_some_and(|meta| meta.etag == etag)
        {
            return Ok(One::Stored(Box::new(Stored { row: Row { etag: Some(etag), ..row }, copy })));
        }
        for _ in 0..TRIES {
            let condition = expected.as_ref().map_or(PutIf::Absent, PutIf::Match);
            let uncertain = match content.send(self.store, &key, condition).await {
                Ok(Put::Done(etag)) => {
                    self.note_sent(&put.path, &etag, row.hash)?;
                    return Ok(One::Stored(Box::new(Stored { row: Row { etag: Some(etag), ..row }, copy })));
                }
                Ok(Put::Refused | Put::Missing) => None,
                Ok(Put::Uncertain(error)) => Some(error),
                Err(error) => return refusal(error),
            };
            let Some(meta) = self.store.head(&key).await? else {
                // It is gone: the change wins over the delete.
                expected = None;
                continue;
            };
            if self.is_ours(&put.path, &meta, &content).await? {
                self.note_sent(&put.path, &meta.etag, row.hash)?;
                return Ok(One::Stored(Box::new(Stored { row: Row { etag: Some(meta.etag), ..row }, copy })));
            }
            if uncertain.is_some() || expected.as_ref() == Some(&meta.etag) {
                tokio::time::sleep(pause).await;
                pause *= 2;
                if expected.as_ref() == Some(&meta.etag) {
                    continue;
                }
            }
            if self.is_known(&put.path, &meta).await? {
                expected = Some(meta.etag);
                continue;
            }
            if !is_still(self.store, self.head).await? {
                return Ok(One::Lost);
            }
            // Somebody else's content, which no snapshot explains: it gets a name of its own before ours takes this.
            let Some(found) = self.keep_outside_edit(&put.path, &meta, &row).await? else { continue };
            copy = Some(found);
            expected = Some(meta.etag);
        }
        Ok(One::Not(NotStoredReason::Changing))
    }

    /// Whether the object holds our content already: a lost reply, or somebody with the same idea.
    async fn is_ours(&self, path: &RelPath, meta: &Meta, content: &Outgoing) -> Result<bool, SyncError> {
        if meta.size != content.row.size {
            return Ok(false);
        }
        if content.is_at(&meta.etag) {
            return Ok(true);
        }
        Ok(hash_object(self.store, path, &meta.etag).await? == Some(content.row.hash))
    }

    /// Whether the object holds content that the plan knew of, or that this directory wrote before.
    async fn is_known(&self, path: &RelPath, meta: &Meta) -> Result<bool, SyncError> {
        if self.sent_before(path).is_some_and(|(etag, _)| etag == meta.etag) {
            return Ok(true);
        }
        let rows = self.known.iter().filter_map(|rows| rows.get(path));
        let hashes: Vec<Hash> = rows.filter(|row| row.size == meta.size).map(|row| row.hash).collect();
        if hashes.is_empty() {
            return Ok(false);
        }
        Ok(hash_object(self.store, path, &meta.etag).await?.is_some_and(|hash| hashes.contains(&hash)))
    }

    async fn keep_outside_edit(
        &self,
        path: &RelPath,
        meta: &Meta,
        ours: &Row,
    ) -> Result<Option<(RelPath, Row)>, SyncError> {
        let Some(hash) = hash_object(self.store, path, &meta.etag).await? else { return Ok(None) };
        let row = ours.clone().with_content(hash, meta.size);
        let Some(to) = copy_name(path, path.name(), hash) else { return Ok(None) };
        Ok(match self.copy_version(path, &meta.etag, &to, &row).await? {
            Copied::Done(row) => Some((to, row)),
            Copied::Moved | Copied::Taken => None,
        })
    }

    /// Makes room for a file where a directory was, or the reverse, though others changed what is in the way: a server
    /// may refuse both beside each other, or list only one. Their content goes beside ours.
    async fn make_room(&self, path: &RelPath, plan: &UploadPlan, outcome: &mut Outcome) -> Result<(), SyncError> {
        let files: BTreeSet<&RelPath> = plan.puts.iter().map(|put| &put.path).collect();
        let beside = path.ancestors().find(|up| files.contains(up)).unwrap_or_else(|| path.clone());
        for _ in 0..TRIES {
            let Some(meta) = self.store.head(&path.to_text()).await? else { return Ok(()) };
            if !self.is_known(path, &meta).await? {
                let Some(hash) = hash_object(self.store, path, &meta.etag).await? else { continue };
                let row = Row::file(hash, meta.size, 0o644);
                let Some(to) = copy_name(&beside, path.name(), hash) else { break };
                match self.copy_version(path, &meta.etag, &to, &row).await? {
                    Copied::Done(row) => {
                        outcome.copies.insert(path.clone(), to.clone());
                        outcome.stored.insert(to, row);
                    }
                    Copied::Moved => continue,
                    Copied::Taken => break,
                }
            }
            match self.store.delete(&path.to_text(), Some(&meta.etag)).await? {
                Deleted::Done | Deleted::Absent => {
                    outcome.removed.insert(path.clone());
                    return Ok(());
                }
                Deleted::Refused => {}
                Deleted::Denied(error) => {
                    tracing::warn!("{error}");
                    outcome.undeleted.insert(path.clone(), meta.etag);
                    return Ok(());
                }
            }
        }
        tracing::warn!("{path} was changed by others while it was deleted here: it stays");
        Ok(())
    }

    /// Deletes; says what others changed meanwhile, and `None` where another writer moved head or time is up.
    async fn delete_all<'d>(
        &self,
        deletes: &'d [Delete],
        outcome: &mut Outcome,
    ) -> Result<Option<Vec<&'d RelPath>>, SyncError> {
        let mut refused = Vec::new();
        let has_condition = self.store.abilities().is_some_and(|abilities| abilities.delete);
        let mut seen: Option<Instant> = None;
        for (at, delete) in deletes.iter().enumerate() {
            if self.is_stopped(outcome) {
                return Ok(None);
            }
            if !has_condition && seen.is_none_or(|seen| seen.elapsed() >= FRESH) {
                if !is_still(self.store, self.head).await? {
                    outcome.lost = true;
                    return Ok(None);
                }
                seen = Some(Instant::now());
            }
            let (current, total) = (at as u64 + 1, deletes.len() as u64);
            self.events.progress(Progress::new(Phase::Cleanup, current, total, Some(delete.path.to_string())));
            match self.store.delete(&delete.path.to_text(), Some(&delete.expected)).await? {
                Deleted::Done | Deleted::Absent => {
                    outcome.removed.insert(delete.path.clone());
                }
                Deleted::Refused => refused.push(&delete.path),
                Deleted::Denied(error) => {
                    tracing::warn!("{error}");
                    outcome.undeleted.insert(delete.path.clone(), delete.expected.clone());
                }
            }
        }
        Ok(Some(refused))
    }

    fn sent_before(&self, path: &RelPath) -> Option<(ETag, Hash)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn note_sent(&self, path: &RelPath, etag: &ETag, hash: Hash) -> Result<(), SyncError> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), (etag.clone(), hash));
        if let Some(state) = self.state {
            let sent = Sent { path: path.to_string(), etag: etag.as_str().to_owned(), hash: hash.to_string() };
            match state.add_sent(&sent) {
                // Unnoted, a commit that dies here costs the next one a comparison.
                Err(error) if error.is_out_of_room() => tracing::debug!("{error}"),
                noted => noted?,
            }
        }
        Ok(())
    }
}

/// A file that is stored: its row, and where a copy of theirs was made first, that copy's.
struct Stored {
    row: Row,
    copy: Option<(RelPath, Row)>,
}

/// What became of a copy of theirs.
enum Copied {
    /// It is there, new or from before.
    Done(Row),
    /// The object is another version by now.
    Moved,
    /// The copy's name holds something else, or is not known to hold it.
    Taken,
}

/// What became of one put.
enum One {
    Stored(Box<Stored>),
    Not(NotStoredReason),
    Lost,
    Stopped,
}

/// `name.theirs-…` in the directory of `beside`.
fn copy_name(beside: &RelPath, name: &[u8], hash: Hash) -> Option<RelPath> {
    let suffix = format!(".theirs-{}", hash.short());
    let mut copy = name.to_vec();
    copy.truncate(crate::rows::MAX_SEGMENT_BYTES - suffix.len());
    copy.extend_from_slice(suffix.as_bytes());
    beside.with_name(&copy).ok()
}

fn source(put: &PlannedPut) -> Option<RelPath> {
    match &put.from {
        From::Object { path, .. } => Some(path.clone()),
        From::Local(_) => None,
    }
}

/// What a refused put says about this file; anything else ends the commit.
fn refusal(error: StoreError) -> Result<One, SyncError> {
    let reason = match error.kind {
        StoreErrorKind::NameRefused => NotStoredReason::NameRefused,
        StoreErrorKind::TooLarge => NotStoredReason::TooLarge,
        StoreErrorKind::Denied => NotStoredReason::Denied,
        StoreErrorKind::Source => NotStoredReason::Changing,
        _ => return Err(error.into()),
    };
    tracing::warn!("{error}");
    Ok(One::Not(reason))
}
