//! The catch-up of a live workspace: after a commit, the live tree is made what its snapshot says, and a mirror says
//! what came of it.
//!
//! What is to be done is planned by `plan`; one key at a time is done by `key`. Nothing here is needed for a commit to
//! be safe: where it is broken off, the next commit goes on, and whatever another one did meanwhile is met and told
//! apart. What nobody of us put there is left alone.

mod explained;
mod key;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use self::{
    explained::{Known, Recent, Recents, Sent},
    key::{How, Key, Outcome},
};
use super::{
    Control, SyncError,
    hidden::{self, hidden_rows},
    mirrors,
    packed::Packs,
    remote::{HeadAt, blocking, written},
    room::Room,
    snapshots::{MirrorAt, is_no_mirror, keep_mirror, read_mirror, read_snapshot},
    watch::Watch,
};
use crate::{
    plan::{self, Order, Step},
    report::{Events, Phase, Progress},
    rows::{ETag, RelPath, Removed, Rows},
    snapshot::{FormatError, HeadState, Mirror, MirrorHeader, SnapshotId, Tree, outgrown},
    state::State,
    store::{Put, PutIf, Store, StoreErrorKind},
    worktree::Directory,
};

/// How often the caller is asked whether to stop while requests are on their way.
const ASK: Duration = Duration::from_millis(50);
/// How often the mirror is written where the answer gets lost.
const TRIES: u32 = 4;
/// So many recent tables are held as they are.
const WHOLE_TABLES: usize = 8;
/// Trees that are read at once: each is whole in memory for a while.
const TREES_AT_ONCE: usize = 2;
/// So many unfinished keys are named; the others are counted.
const NAMED: usize = 5;

/// A catch-up to be done.
pub(super) struct CatchingUp<'a> {
    /// The workspace; its abilities are known.
    pub(super) store: &'a Store,
    /// Where contents are read from, if they are still the same.
    pub(super) dir: &'a Directory,
    /// Where own writes and the mirror are noted.
    pub(super) state: Option<&'a State>,
    /// The head that names the snapshot, as it was written or read.
    pub(super) head: &'a HeadAt,
    /// The rows of head's snapshot, with the places of their pieces.
    pub(super) rows: &'a Rows,
    /// Snapshots that are at hand already, so that they need not be read.
    pub(super) at_hand: &'a [(SnapshotId, &'a Rows)],
    /// What to begin with where there is no mirror in the bucket: what the import took in, of the first snapshot that
    /// is made over a plain workspace.
    pub(super) imported: Option<&'a plan::Mirror>,
    /// Outside deletes that were refused: the version that the mirror had.
    pub(super) refused: &'a BTreeMap<RelPath, ETag>,
    /// Empty objects that stand for directories, as a pull has seen them.
    pub(super) markers: &'a BTreeMap<RelPath, ETag>,
    /// What goes first.
    pub(super) order: Order,
    /// Whether to stop before the next request.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    /// Knows when no request may be waited for any more.
    pub(super) control: &'a Control,
    pub(super) events: &'a dyn Events,
}

/// What came of a catch-up.
#[derive(Clone, Debug, Default)]
pub(super) struct CaughtUp {
    /// It is finished, and its mirror is there.
    pub(super) current: bool,
    /// Objects that these credentials may not delete.
    pub(super) not_deleted: BTreeMap<RelPath, ETag>,
    /// Objects of others, which were left alone.
    pub(super) outside: BTreeSet<RelPath>,
    /// Keys that the server will not have: the file is in the snapshot, and has no object.
    pub(super) name_refused: BTreeSet<RelPath>,
    /// Head names another snapshot by now: its writer goes on.
    pub(super) moved: bool,
}

/// Whether a snapshot has a mirror that can be read. It is kept then.
async fn is_there(store: &Store, state: Option<&State>, id: &SnapshotId) -> Result<bool, SyncError> {
    match read_mirror(store, state, id).await {
        Ok(found) => Ok(found.is_some()),
        Err(error) if is_no_mirror(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

impl CatchingUp<'_> {
    /// Catches up, as far as it may. What is broken off is gone on with by the next one.
    ///
    /// # Errors
    /// What is not about single keys: the server, the directory.
    pub(super) async fn run(&self) -> Result<CaughtUp, SyncError> {
        let found = Mutex::new(CaughtUp::default());
        tokio::select! {
            biased;
            done = Box::pin(self.catch_up(&found)) => done?,
            // A request on its way, perhaps to a server that is gone, keeps nobody.
            () = self.control.until_time_is_up() => {}
            () = self.until_stopped() => {}
        }
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the mirror of what was imported as it is, for the first snapshot of a workspace without live tree.
    ///
    /// # Errors
    /// As [`CatchingUp::run`].
    pub(super) async fn write_imported(&self) -> Result<CaughtUp, SyncError> {
        let mut found = CaughtUp::default();
        if let (Some(imported), Some(id)) = (self.imported, self.head.head.snapshot) {
            let watch = Watch::new(self.store, self.head);
            let begun = Begun { id, old: None, replace: false, built_from: self.before_import() };
            found.current = Box::pin(self.write_mirror(&begun, imported, &watch)).await?;
            found.moved = watch.has_moved();
        }
        Ok(found)
    }

    async fn until_stopped(&self) {
        let mut ticks = tokio::time::interval(ASK);
        while !(self.stop)() {
            ticks.tick().await;
        }
    }

    async fn catch_up(&self, found: &Mutex<CaughtUp>) -> Result<(), SyncError> {
        let tell = || found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = Box::pin(self.begin()).await? else {
            tell().moved = true;
            return Ok(());
        };
        let mirror = match (&begun.old, self.imported) {
            (Some(old), _) => mirrors::known(&old.whole),
            (None, Some(imported)) => imported.clone(),
            (None, None) => plan::Mirror::default(),
        };
        let is_refused = |(path, etag): (&RelPath, &ETag)| mirror.rows.get(path).is_some_and(|row| row.etag == *etag);
        let knows_marks = self.markers.keys().all(|path| mirror.markers.contains_key(path));
        if begun.is_own() && knows_marks && !self.refused.iter().any(is_refused) {
            tell().current = true;
            return Ok(());
        }
        let recent = Box::pin(self.recent(&begun)).await?;
        let watch = Watch::new(self.store, self.head);
        let known = Known::new(self.rows, &mirror, &recent.tables, self.refused);
        let plan = plan::catch_up(self.rows, &known.of_whole_tables(), &recent.differing, self.order);
        let key = Key {
            store: self.store,
            dir: self.dir,
            state: self.state,
            rows: self.rows,
            known: &known,
            sent: self.sent(),
            packs: Packs::new(self.store),
            room: Room::new(),
            watch: Arc::clone(&watch),
        };
        let mut ended = BTreeMap::new();
        let mut left = Vec::new();
        for (steps, phase) in [(&plan.first, Phase::Cleanup), (&plan.puts, Phase::Upload), (&plan.last, Phase::Cleanup)]
        {
            let width = self.store.widths().1.max(1);
            let size =
                |step: &Step| if phase == Phase::Upload { step.wanted.map_or(0, |content| content.size) } else { 1 };
            let total = steps.iter().map(size).sum();
            let mut done = 0;
            let mut running = stream::iter(steps.iter().map(|step| {
                let key = &key;
                async move {
                    let stop = (self.stop)() || key.watch.has_moved();
                    (step, if stop { Ok(Outcome::Not) } else { Box::pin(key.run(step)).await })
                }
            }))
            .buffer_unordered(width);
            while let Some((step, outcome)) = running.next().await {
                done += size(step);
                self.events.progress(Progress::new(phase, done, total, Some(step.path.to_string())));
                match outcome? {
                    Outcome::Ended(how) => {
                        note(&step.path, &how, &mut tell());
                        ended.insert(step.path.clone(), how.into());
                    }
                    Outcome::Left(why) => left.push(format!("{} ({why})", step.path)),
                    Outcome::Not => {}
                }
            }
        }
        if watch.has_moved() {
            tell().moved = true;
            return Ok(());
        }
        if !left.is_empty() {
            let more = left.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            left.truncate(NAMED);
            tracing::warn!(
                "the plain objects of some files are not what the snapshot says yet (in it they are safe): {}{more}; the \
                 next commit tries again",
                left.join(", ")
            );
        }
        let Some(next) = plan::next_mirror(&mirror, &plan, &ended, self.markers) else { return Ok(()) };
        let current = Box::pin(self.write_mirror(&begun, &next, &watch)).await?;
        if let (true, Some(state)) = (current, self.state) {
            // From now on the mirror says it.
            if let Err(error) = state.forget("sent") {
                tracing::debug!("{error}");
            }
        }
        let mut found = tell();
        (found.current, found.moved) = (current, watch.has_moved());
        Ok(())
    }
}

/// Where a catch-up begins.
struct Begun {
    /// The snapshot to catch up with.
    id: SnapshotId,
    /// The newest mirror.
    old: Option<MirrorAt>,
    /// There is a mirror of this snapshot already, and it is to be written over.
    replace: bool,
    /// What the new mirror says it was built from.
    built_from: Option<SnapshotId>,
}

impl Begun {
    /// Whether the newest mirror is that of the snapshot itself: it caught up before.
    fn is_own(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.whole.header.id == self.id)
    }
}

impl CatchingUp<'_> {
    /// Finds the newest mirror; `None` where head names no live snapshot.
    async fn begin(&self) -> Result<Option<Begun>, SyncError> {
        let head = &self.head.head;
        let Some(id) = head.snapshot.filter(|_| head.state == HeadState::Live) else { return Ok(None) };
        let (mut old, mut replace) = (None, false);
        for named in std::iter::once(id).chain(head.mirror.filter(|named| *named != id)) {
            match read_mirror(self.store, self.state, &named).await {
                Ok(found) => old = found,
                // Without the right to list, what is not there is denied, too.
                Err(SyncError::Store(error)) if error.kind == StoreErrorKind::Denied => tracing::debug!("{error}"),
                // It says what is known already, at best: without it there are more comparisons.
                Err(error) if is_no_mirror(&error) => {
                    tracing::warn!(
                        "the mirror of snapshot {named} cannot be read ({error}): every object is looked at"
                    );
                    replace = replace || named == id;
                }
                Err(error) => return Err(error),
            }
            if old.is_some() {
                break;
            }
        }
        let built_from = match &old {
            // The same catch-up once more, for what was refused: what was recent is.
            Some(old) if old.whole.header.id == id => {
                replace = true;
                old.whole.header.built_from
            }
            Some(old) => Some(old.whole.header.id),
            None => self.before_import(),
        };
        Ok(Some(Begun { id, old, replace, built_from }))
    }

    /// The last snapshot of the plain workspace that was imported. Plain commits write objects first and head then: of
    /// none of them a catch-up is on its way.
    fn before_import(&self) -> Option<SnapshotId> {
        let head = &self.head.head;
        let is_first = self.imported.is_some() && head.history.len() == 1;
        head.lineage.iter().rev().nth(1).filter(|_| is_first).copied()
    }

    /// The rows of the recent snapshots but for head's. One that is gone counts as empty: then nothing is held to be
    /// settled.
    async fn recent(&self, begun: &Begun) -> Result<Recents<'_>, SyncError> {
        let from = match &begun.old {
            Some(old) => old.whole.header.built_from,
            None => begun.built_from,
        };
        let ids = plan::recent(&self.head.head.lineage, from.as_ref()).iter().filter(|id| **id != begun.id);
        let ids: Vec<&SnapshotId> = ids.rev().collect();
        let trees = ids.into_iter().enumerate().map(|(n, id)| async move {
            if let Some((_, rows)) = self.at_hand.iter().find(|(at_hand, _)| at_hand == id) {
                return Ok((n, Recent::At(rows), Removed::new()));
            }
            let rows = match read_snapshot(self.store, None, id).await {
                Ok(Some(tree)) => {
                    let Tree { rows, removed, .. } = Arc::unwrap_or_clone(tree.whole);
                    return Ok((n, Recent::Read(rows), removed));
                }
                Ok(None) => Rows::new(),
                Err(SyncError::Damaged { what, why, .. }) => {
                    tracing::warn!("{what} cannot be read ({why}): every object is looked at");
                    Rows::new()
                }
                Err(error) => return Err(error),
            };
            Ok::<_, SyncError>((n, Recent::Read(rows), Removed::new()))
        });
        let mut trees = stream::iter(trees).buffered(TREES_AT_ONCE);
        let mut recent = Recents::default();
        let mut known = hidden::Known::new();
        while let Some((n, mut table, removed)) = trees.try_next().await? {
            if let Recent::Read(rows) = &mut table {
                rows.extend(hidden_rows(self.store, &removed, &mut known).await?);
            }
            recent.tables.push(match table {
                // Hundreds of large tables have no place in memory.
                Recent::Read(rows) if n >= WHOLE_TABLES => {
                    Recent::Differing(explained::differing(rows, self.rows, &mut recent.differing))
                }
                table => table,
            });
        }
        Ok(recent)
    }

    /// What was put before and is in no mirror yet.
    fn sent(&self) -> Sent {
        // What cannot be read was not noted.
        Sent::new(self.state.and_then(|state| state.sent().ok()).unwrap_or_default())
    }

    /// Writes the mirror of head's snapshot, if head is still there; says whether it exists now.
    async fn write_mirror(&self, begun: &Begun, next: &plan::Mirror, watch: &Watch) -> Result<bool, SyncError> {
        let written = written(self.store)?;
        let header = MirrorHeader {
            id: begun.id,
            built_from: begun.built_from,
            base: None,
            writer: written.writer,
            time: written.time,
        };
        let (next, old) = (mirrors::stored(next, header), begun.old.clone());
        // A whole one can be a base by now: another that takes its place must be whole, too.
        let base = old.filter(|old| old.base.header.id != begun.id).map(|old| (old.base, old.base_bytes));
        let in_a_hurry = self.control.is_last();
        let encoded = blocking(move || {
            if let Some((base, base_bytes)) = base {
                let overlay = Mirror::overlay(&base, &next)?.encode()?;
                if in_a_hurry || !outgrown(overlay.len() as u64, base_bytes) {
                    return Ok((overlay, false));
                }
            }
            Ok((next.encode()?, true))
        });
        let (bytes, is_whole) = encoded.await?.map_err(|error: FormatError| {
            SyncError::System(format!("the mirror of snapshot {} cannot be written: {error}", begun.id))
        })?;
        let bytes = Bytes::from(bytes);
        // A sibling's is as true as this one; but overlays may have been made over it already.
        let mut replace = begun.replace;
        let key = begun.id.mirror_key();
        let mut pause = ASK;
        for _ in 0..TRIES {
            if (self.stop)() || !watch.is_still_after(Instant::now()).await? {
                return Ok(false);
            }
            let condition = if replace { PutIf::Any } else { PutIf::Absent };
            if let Put::Done(_) = self.store.put(&key, bytes.clone(), condition, Some("application/zstd")).await? {
                if let Some(state) = self.state {
                    keep_mirror(state, &bytes, is_whole);
                }
                return Ok(true);
            }
            if Box::pin(is_there(self.store, self.state, &begun.id)).await? {
                return Ok(true);
            }
            // Something is, but no mirror; or its base is gone.
            replace = match self.store.head(&key).await {
                Err(error) if error.kind == StoreErrorKind::Denied => false,
                found => found?.is_some(),
            };
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        tracing::warn!("the mirror of snapshot {} could not be written: the next commit tries again", begun.id);
        Ok(false)
    }
}

/// Takes down how a key ended.
fn note(path: &RelPath, how: &How, found: &mut CaughtUp) {
    match how {
        How::Done(_) => {}
        How::Outside => {
            tracing::info!("{path}: its object was changed by others and is left as it is; the next pull merges it");
            found.outside.insert(path.clone());
        }
        How::Unseen(why) => tracing::info!("{path} is removed; what may lie there is left as it is: {why}"),
        How::Denied(etag, _) => drop(found.not_deleted.insert(path.clone(), etag.clone())),
        How::NameRefused => drop(found.name_refused.insert(path.clone())),
    }
}

#[cfg(test)]
#[path = "catch_up_tests.rs"]
mod tests;
