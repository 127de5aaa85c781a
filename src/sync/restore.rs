//! Carrying out a restore plan: room is made, directories, files from the bucket, links, removals, modes. Dumb code:
//! what is where, and why, was decided before.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, stream};

use super::{SyncError, live_pull::Live, remote::blocking, room::Room};
use crate::{
    plan::{Clear, Fetch, Meta, RestorePlan, Source, Unread},
    report::{Events, Phase, Progress},
    rows::{ETag, Hash, Hasher, Kind, RelPath, Row, Rows},
    store::{Fetched, GetIf, Got, Sink, Store, StoreError, StoreErrorKind},
    worktree::{Directory, Expected, Index, IndexRow, Presence, Stat, WriteError, Writer},
};

/// Up to this size a file comes whole into memory.
const WHOLE: u64 = 8 << 20;
/// How often an object that others keep replacing is read again.
const TRIES: u32 = 5;

/// What a restore did.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Rows of the files that were written, with the content and version that came.
    pub(super) written: Rows,
    /// What the next scan need not read.
    pub(super) index: Vec<(RelPath, IndexRow)>,
    /// Paths that were left alone, each with the reason.
    pub(super) left: Vec<(RelPath, String)>,
    /// Files that could not be fetched.
    pub(super) failed: Vec<(RelPath, String)>,
    /// Objects that were deleted by others meanwhile.
    pub(super) vanished: Vec<RelPath>,
    /// Contents that the packs do not have.
    pub(super) lost: BTreeSet<Hash>,
}

/// A restore at work.
pub(super) struct Restorer<'a> {
    pub(super) store: &'a Store,
    pub(super) dir: &'a Directory,
    pub(super) writer: &'a Writer,
    /// Objects whose content was not read yet.
    pub(super) unread: &'a BTreeMap<RelPath, Unread>,
    /// The live workspace, where it is one: its contents lie in packs.
    pub(super) live: Option<&'a Live>,
    /// The stats that the scan saw.
    pub(super) scanned: &'a Index,
    pub(super) aside: PathBuf,
    /// For files that come whole.
    pub(super) room: Room,
    pub(super) events: &'a dyn Events,
}

impl Restorer<'_> {
    /// Carries `plan` out.
    pub(super) async fn run(&self, plan: &RestorePlan) -> Result<Done, SyncError> {
        let mut done = Done::default();
        for clear in &plan.clear {
            let path = match clear {
                Clear::Rename { from, .. } => from,
                Clear::MoveAside { path, .. } | Clear::Remove { path, .. } | Clear::RemoveDir { path } => path,
            };
            self.tolerate(path, self.clear(clear), &mut done)?;
        }
        for (path, row) in &plan.make_dirs {
            self.tolerate(path, self.writer.make_dir(path, row), &mut done)?;
        }
        match self.live {
            None => self.fetch_all(&plan.fetch, self.events, &mut done).await?,
            Some(live) => self.fetch_live(live, &plan.fetch, &mut done).await?,
        }
        for meta in &plan.meta {
            let set = self.expected(&meta.path, meta.expected.as_ref());
            let set = set.and_then(|expected| self.writer.set_meta(&meta.path, &meta.row, expected));
            if let Some(stat) = self.tolerate(&meta.path, set, &mut done)? {
                self.note_meta(meta, &stat, &mut done);
            }
        }
        for link in &plan.symlinks {
            let made = self.expected(&link.path, link.expected.as_ref());
            let made = made.and_then(|expected| self.writer.make_symlink(&link.path, &link.row, expected));
            self.tolerate(&link.path, made, &mut done)?;
        }
        let total = plan.remove.len() as u64;
        for (at, (path, row)) in plan.remove.iter().enumerate() {
            self.events.progress(Progress::new(Phase::Cleanup, at as u64 + 1, total, Some(path.to_string())));
            let removed = if row.kind == Kind::Dir {
                self.writer.remove_dir_if_empty(path).map(|_| ())
            } else {
                self.expected(path, Some(row)).and_then(|expected| self.writer.remove_file(path, expected))
            };
            self.tolerate(path, removed, &mut done)?;
        }
        for meta in &plan.dir_meta {
            let set = match &meta.expected {
                None => Ok(Expected::Absent),
                some => self.expected(&meta.path, some.as_ref()),
            };
            let set = set.and_then(|expected| self.writer.set_meta(&meta.path, &meta.row, expected));
            self.tolerate(&meta.path, set, &mut done)?;
        }
        Ok(done)
    }

    /// What concerns one path alone is noted and gone on from; what concerns the disk ends the restore.
    pub(super) fn tolerate<T>(
        &self,
        path: &RelPath,
        result: Result<T, WriteError>,
        done: &mut Done,
    ) -> Result<Option<T>, SyncError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(
                error @ (WriteError::Moved { .. }
                | WriteError::MountPoint { .. }
                | WriteError::Folds { .. }
                | WriteError::ParentNotDirectory { .. }),
            ) => {
                done.left.push((path.clone(), error.to_string()));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn clear(&self, clear: &Clear) -> Result<(), WriteError> {
        match clear {
            Clear::Rename { from, to, expected } => {
                // By way of the copy's own content: the plan wrote nothing there.
                let expected = self.expected(from, Some(expected))?;
                self.writer.rename(from, to, expected)
            }
            Clear::MoveAside { path, expected } => {
                if expected.kind != Kind::Dir {
                    self.expected(path, Some(expected))?;
                }
                let to = self.writer.move_aside(path, &self.aside)?;
                tracing::warn!("{path} differs from what the workspace has and was moved to {}", to.display());
                Ok(())
            }
            Clear::Remove { path, expected } => {
                let expected = self.expected(path, Some(expected))?;
                self.writer.remove_file(path, expected)
            }
            Clear::RemoveDir { path } => {
                if !self.writer.remove_dir_if_empty(path)? {
                    let to = self.writer.move_aside(path, &self.aside)?;
                    tracing::warn!(
                        "{path} is no directory of the workspace; what was left in it is in {}",
                        to.display()
                    );
                }
                Ok(())
            }
        }
    }

    /// What must be at `path`: nothing, or what was scanned there.
    pub(super) fn expected(&self, path: &RelPath, scanned: Option<&Row>) -> Result<Expected, WriteError> {
        let Some(scanned) = scanned else { return Ok(Expected::Absent) };
        let Presence::There(stat) = self.dir.look(path) else { return Err(WriteError::Moved { path: path.clone() }) };
        if !is_row(&stat, scanned) {
            return Err(WriteError::Moved { path: path.clone() });
        }
        // Size and time can be kept through an edit, but not inode and ctime, which a row does not have.
        let seen = self.scanned.row(path).filter(|seen| scanned.kind == Kind::File && seen.hash == scanned.hash);
        Ok(Expected::Same(seen.map_or(stat, |seen| Stat {
            dev: seen.dev,
            ino: seen.ino,
            size: seen.size,
            mtime_ns: seen.mtime_ns,
            ctime_ns: seen.ctime_ns,
            ..stat
        })))
    }

    /// A mode or time was set: the content is still the one that was scanned.
    fn note_meta(&self, meta: &Meta, stat: &Stat, done: &mut Done) {
        let same = meta.expected.as_ref().is_some_and(|before| before.same_content(&meta.row));
        if same && meta.row.kind == Kind::File {
            done.index.push((meta.path.clone(), IndexRow { racy: true, ..IndexRow::new(stat, meta.row.hash) }));
        }
    }

    /// Files, many at once.
    pub(super) async fn fetch_all(
        &self,
        fetches: &[Fetch],
        events: &dyn Events,
        done: &mut Done,
    ) -> Result<(), SyncError> {
        let total: u64 = fetches.iter().map(|fetch| fetch.row.size).sum();
        let mut so_far = 0;
        let width = self.store.widths().0.max(1);
        let mut running = stream::iter(fetches.iter().map(|fetch| async move { (fetch, self.fetch(fetch).await) }))
            .buffer_unordered(width);
        while let Some((fetch, result)) = running.next().await {
            so_far += fetch.row.size;
            events.progress(Progress::new(Phase::Download, so_far, total, Some(fetch.path.to_string())));
            match result {
                Ok(Some((row, index))) => {
                    done.index.extend(index.map(|index| (fetch.path.clone(), index)));
                    done.written.insert(fetch.path.clone(), row);
                }
                Ok(None) => done.vanished.push(fetch.path.clone()),
                Err(SyncError::Write(error)) => {
                    self.tolerate::<()>(&fetch.path, Err(error), done)?;
                }
                Err(SyncError::Store(error)) if concerns_one(&error) => {
                    done.failed.push((fetch.path.clone(), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One file; `None` where its object is gone by now.
    async fn fetch(&self, fetch: &Fetch) -> Result<Option<(Row, Option<IndexRow>)>, SyncError> {
        let (object, mut etag) = match &fetch.from {
            Source::Local(path) => return self.copy_local(fetch, path).await.map(Some),
            Source::Object { path, etag: Some(etag) } => (path, etag.clone()),
            Source::Object { path, etag: None } => match self.store.head(&path.to_text()).await? {
                Some(meta) => (path, meta.etag),
                None => return Ok(None),
            },
        };
        let (key, mut row) = (object.to_text(), fetch.row.clone());
        let unread = self.unread.get(object);
        let mut is_known = unread.is_none_or(|unread| unread.placeholder().hash != row.hash);
        for _ in 0..TRIES {
            match self.fetch_version(fetch, &key, &etag, &row, is_known).await? {
                Version::Done(row, index) => return Ok(Some((*row, index))),
                Version::Moved => {}
            }
            // Another program replaced it since it was listed: its new content is what the workspace holds now.
            let Some(meta) = self.store.head(&key).await? else { return Ok(None) };
            etag = meta.etag;
            row = row.clone().with_content(row.hash, meta.size);
            row.etag = Some(etag.clone());
            is_known = false;
        }
        Err(SyncError::Incomplete {
            count: 1,
            first: fetch.path.to_string(),
            why: "others replaced it each time it was read".to_owned(),
        })
    }

    pub(super) async fn fetch_version(
        &self,
        fetch: &Fetch,
        key: &str,
        etag: &ETag,
        row: &Row,
        is_known: bool,
    ) -> Result<Version, SyncError> {
        let (writer, path) = (self.writer.clone(), fetch.path.clone());
        let (expected, mut row) = (self.expected(&fetch.path, fetch.expected.as_ref())?, row.clone());
        let check = move |row: &Row, hash: Hash| {
            if is_known && row.hash != hash {
                return Err(SyncError::Incomplete {
                    count: 1,
                    first: path.to_string(),
                    why: "its content is not what the snapshot says".to_owned(),
                });
            }
            Ok(())
        };
        let path = fetch.path.clone();
        if row.size <= WHOLE {
            let _place = self.room.take(row.size).await;
            let Got::Found(object) = self.store.get(key, GetIf::Match(etag)).await? else {
                return Ok(Version::Moved);
            };
            return blocking(move || {
                let hash = Hash::of(&object.bytes);
                check(&row, hash)?;
                row.hash = hash;
                row.size = object.bytes.len() as u64;
                row.etag = Some(object.meta.etag);
                let mut staged = writer.begin(&path, row.size)?;
                staged.write_all(&object.bytes)?;
                let index = staged.finish(&row, expected)?;
                Ok::<_, SyncError>(Version::Done(Box::new(row), index))
            })
            .await?;
        }
        let size = row.size;
        let begun = {
            let path = path.clone();
            blocking(move || writer.begin(&path, size)).await??
        };
        let sink = Arc::new(StagedSink { staged: begun, trouble: Mutex::new(None) });
        match self.store.fetch(key, etag, size, Arc::clone(&sink) as Arc<dyn Sink>).await {
            Ok(Fetched::Done(_)) => {}
            Ok(_) => return Ok(Version::Moved),
            Err(error) => {
                let trouble = sink.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(trouble.map_or_else(|| error.into(), SyncError::Write));
            }
        }
        let Some(sink) = Arc::into_inner(sink) else {
            return Err(SyncError::System(format!("{path} was still being written after its download")));
        };
        let etag = etag.clone();
        blocking(move || {
            let hash = hash_reader(sink.staged.reader()?)
                .map_err(|error| SyncError::System(format!("{path} cannot be read back: {error}")))?;
            check(&row, hash)?;
            row.hash = hash;
            row.etag = Some(etag);
            let index = sink.staged.finish(&row, expected)?;
            Ok(Version::Done(Box::new(row), index))
        })
        .await?
    }

    /// A file whose content lies in the directory already, under another name.
    async fn copy_local(&self, fetch: &Fetch, from: &RelPath) -> Result<(Row, Option<IndexRow>), SyncError> {
        let (dir, writer) = (self.dir.try_clone()?, self.writer.clone());
        let (from, path, row) = (from.clone(), fetch.path.clone(), fetch.row.clone());
        let expected = self.expected(&fetch.path, fetch.expected.as_ref())?;
        blocking(move || {
            let (mut file, _) = dir.open_file(&from)?;
            let mut staged = writer.begin(&path, row.size)?;
            let mut hasher = Hasher::new();
            let mut buffer = vec![0; 1 << 18];
            loop {
                let read = file
                    .read(&mut buffer)
                    .map_err(|error| SyncError::System(format!("{from} cannot be read: {error}")))?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                staged.write_all(&buffer[..read])?;
            }
            if hasher.finish() != row.hash {
                return Err(WriteError::Moved { path }.into());
            }
            let index = staged.finish(&row, expected)?;
            Ok((row, index))
        })
        .await?
    }
}

/// What became of one version of an object.
pub(super) enum Version {
    Done(Box<Row>, Option<IndexRow>),
    Moved,
}

struct StagedSink {
    staged: crate::worktree::Staged,
    /// The disk's own words, which say more than the store's.
    trouble: Mutex<Option<WriteError>>,
}

impl Sink for StagedSink {
    fn write_at(&self, offset: u64, part: &[u8]) -> std::io::Result<()> {
        self.staged.write_at(part, offset).map_err(|error| {
            let text = error.to_string();
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            std::io::Error::other(text)
        })
    }
}

fn hash_reader(mut from: impl Read) -> std::io::Result<Hash> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Whether what is on the disk is still what was scanned.
fn is_row(stat: &Stat, row: &Row) -> bool {
    stat.kind == Some(row.kind)
        && (row.kind == Kind::Dir
            || stat.mtime_ns == row.mtime_ns && (stat.size == row.size || row.kind == Kind::Symlink))
}

/// Whether a failed read says something about this object only.
pub(super) fn concerns_one(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::Denied
            | StoreErrorKind::BrokenAnswer
            | StoreErrorKind::Moved
            | StoreErrorKind::BadRequest
            | StoreErrorKind::TooLarge
    )
}

/// The paths that could not be written as wanted.
pub(super) fn unwritten(done: &Done) -> BTreeSet<RelPath> {
    done.left.iter().chain(&done.failed).map(|(path, _)| path.clone()).chain(done.vanished.iter().cloned()).collect()
}
