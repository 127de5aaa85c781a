//! Pull: the workspace into the directory. It never writes to the bucket, and it ends with one line that can be
//! checked, or it fails and the directory is not `ready`: then nobody commits it.

mod notes;

use std::{borrow::Cow, time::Instant};

use jiff::Timestamp;

use super::{
    Setting, SyncError,
    base::{base_of, first_trees, had_since, is_gone},
    found::{Ask, Found, look},
    past::Past,
    remote::{HeadAt, read_head_since},
    restore::{Done, Restorer, unwritten},
    rewind::unfinished,
    room::Room,
    session::{
        adopt, connect, flush, lock, note_told, open_directory, origin, owners, refuse_elsewhere, rules, say_no_more,
        scan_directory, set_origin, settle_pending, staging, told, totals, workspace,
    },
    snapshots::kept_head,
    taken_in::noted,
};
use crate::{
    config::{Config, Expect, LiveTree},
    plan::{
        Base, Groups, ImportOptions, Merged, Owners, RestoreOptions, RestorePlan, Seen, add_taken_in, merge3,
        merge3_plain, ours_for_merge, restore_plan, take_unseen,
    },
    report::{Events, Exit, Proof, Refused, Restored, proof_line},
    rows::{ETag, Hash, Kind, RelPath, Row, Rows},
    snapshot::{HeadState, Missing, SnapshotId},
    state::{Mine, Pulling, State},
    store::Store,
    worktree::{Directory, Index, Presence, RuleOptions, Scan, WriteOptions, Writer},
};

/// How often a workspace that others commit to while it is restored is begun again.
const TRIES: u32 = 4;

/// A restore that succeeded.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What it did.
    pub restored: Restored,
    /// The snapshot that commits start from, of a plain workspace too.
    pub base: Option<String>,
    /// The birth of the workspace, if it has a snapshot.
    pub birth: Option<String>,
    /// The hash of the ETag of the tombstone that this began from, if it was one.
    pub tombstone: Option<String>,
    /// Not all of the snapshot was written: something was refused, left alone, or is in the state directory's place.
    pub part: bool,
    /// Device and inode of the directory.
    pub directory: (u64, u64),
    /// The line that can be checked.
    pub proof: String,
    /// [`Exit::Success`], or [`Exit::Incomplete`] where something was refused or left alone.
    pub exit: Exit,
}

/// Restores the workspace into the directory.
///
/// # Errors
/// A guard, the server, the disk; the directory is then as ready as it was before, or not at all.
pub async fn pull(config: &Config, setting: &Setting, events: &dyn Events) -> Result<Pulled, SyncError> {
    pull_in_time(config, setting, events, false).await
}

/// Fetches the workspace into a directory that a person looks after: files that differ are only replaced when asked
/// for.
///
/// # Errors
/// As [`pull`], and a guard where the directory is a running container's own.
pub async fn download(config: &Config, setting: &Setting, events: &dyn Events) -> Result<Pulled, SyncError> {
    super::session::refuse_supervised(config)?;
    pull_in_time(config, setting, events, true).await
}

async fn pull_in_time(
    config: &Config,
    setting: &Setting,
    events: &dyn Events,
    guarded: bool,
) -> Result<Pulled, SyncError> {
    match config.restore_timeout {
        None => pull_untimed(config, setting, events, guarded).await,
        Some(limit) => {
            tokio::time::timeout(limit, pull_untimed(config, setting, events, guarded)).await.map_err(|_| {
                SyncError::TimedOut(format!(
                    "the restore took longer than {limit:?}: raise STOPOVER_RESTORE_TIMEOUT, or look at the network"
                ))
            })?
        }
    }
}

async fn pull_untimed(
    config: &Config,
    setting: &Setting,
    events: &dyn Events,
    guarded: bool,
) -> Result<Pulled, SyncError> {
    let begun = Instant::now();
    let url = workspace(config)?.url();
    if config.call.dry_run && !config.dir.exists() {
        return dry_run_into_nothing(config, begun).await;
    }
    let dir = open_directory(config, true)?;
    let state = if config.call.dry_run { State::open(&config.state)? } else { Some(State::create(&config.state)?) };
    let (state, _lock) = match state {
        Some(state) if !config.call.dry_run => {
            if !state.shares_filesystem(&config.dir)? {
                return Err(SyncError::Directory(format!(
                    "{} is on another filesystem than {}: set STOPOVER_STATE to a place on the same one",
                    config.state.display(),
                    config.dir.display()
                )));
            }
            let (state, lock) = lock(state).await?;
            (Some(state), Some(lock))
        }
        state => (state, None),
    };
    // PID 1 has said so already.
    if setting.handover.status.is_none() {
        tracing::info!("restoring {url} to {}", config.dir.display());
    }
    let store = connect(config).await?;
    if let Some(state) = &state {
        say_no_more(&store, state, setting);
        for told in unfinished(state) {
            tracing::warn!("{told}");
        }
    }
    for first in std::iter::once(true).chain(std::iter::repeat_n(false, TRIES as usize - 1)) {
        let past = Past::read(state.as_ref(), &dir)?;
        let local_scan = scan_local(config, setting, &dir, past.index.clone());
        let found_rules = rules(config);
        let own = dir.state_below(&config.state);
        let options = ImportOptions { owner: setting.run_user.unwrap_or((0, 0)), state: own.as_ref() };
        let cache = state.as_ref().filter(|_| !config.call.dry_run);
        let ask = Ask { cache, ..ask(config, &found_rules, options, state.as_ref(), past.mine.as_ref(), &url) };
        let (scan, found) = futures_util::future::try_join(local_scan, look(&store, &ask)).await?;
        let url = url.clone();
        let makes_equal = guarded && config.call.delete;
        // What the first try wrote was not there before it.
        let guarded = guarded && first;
        let (store, dir) = (&store, &dir);
        let mut puller = Puller { guarded, makes_equal, config, setting, store, dir, past, found, scan, url, begun };
        puller.settle(state.as_ref())?;
        puller.check_guards()?;
        // What was written stays: the next try finds it.
        if let Some(pulled) = puller.run(state.as_ref(), events).await? {
            if let Some(state) = &state {
                note_told(store, state, setting);
            }
            return Ok(pulled);
        }
    }
    Err(SyncError::Contended(url, TRIES))
}

/// What a pull asks of the workspace, with what the directory knows of it.
fn ask<'a>(
    config: &Config,
    rules: &'a RuleOptions,
    options: ImportOptions<'a>,
    state: Option<&State>,
    mine: Option<&Mine>,
    url: &str,
) -> Ask<'a> {
    let mine = mine.filter(|mine| mine.workspace == url);
    let known = mine.into_iter().flat_map(|mine| noted(mine, options.owner));
    let refused = mine.into_iter().flat_map(|mine| &mine.refused);
    let refused = refused.filter_map(|(path, etag)| Some((RelPath::from_text(path).ok()?, ETag::new(etag.clone()))));
    Ask {
        rules,
        options,
        cache: None,
        known: state.filter(|_| mine.is_some()).and_then(kept_head),
        live_tree: config.live_tree == LiveTree::On,
        refused: refused.collect(),
        contents: known.map(|edit| (edit.key, (edit.etag, edit.row.hash))).collect(),
        accept_deletes: config.call.accept_deletes,
    }
}

async fn scan_local(config: &Config, setting: &Setting, dir: &Directory, index: Index) -> Result<Scan, SyncError> {
    if dir.is_empty()? {
        return Ok(Scan::default());
    }
    scan_directory(config, setting, dir, index, true).await
}

/// What a dry run says where the directory does not exist yet.
async fn dry_run_into_nothing(config: &Config, begun: Instant) -> Result<Pulled, SyncError> {
    let store = connect(config).await?;
    let rules = rules(config);
    let found = look(&store, &ask(config, &rules, ImportOptions::default(), None, None, "")).await?;
    let (files, bytes) = found.totals();
    let restored = Restored {
        snapshot: found.head().and_then(|at| told(&at.head)),
        files,
        bytes,
        requests: store.counters().requests,
        seconds: begun.elapsed().as_secs_f64(),
        refused: found.refused(),
        missing: found.missing().map(|missing| missing.names().to_vec()).unwrap_or_default(),
        omitted: found.missing().map_or(0, Missing::more),
    };
    let proof = format!("would restore {files} files, {bytes} bytes to {}", config.dir.display());
    let restored = restored.bounded();
    Ok(Pulled {
        restored,
        base: None,
        birth: None,
        tombstone: None,
        part: false,
        directory: (0, 0),
        proof,
        exit: Exit::Success,
    })
}

fn snapshot_of(head: Option<&HeadAt>) -> Option<String> {
    let at = head.filter(|at| at.head.state != HeadState::Deleted)?;
    at.head.snapshot.as_ref().map(ToString::to_string)
}

struct Puller<'a> {
    /// Whether files that differ may only be replaced when asked for (`download`).
    guarded: bool,
    /// Whether what was made or kept here goes, too, where the workspace does not have it (`download --delete`). A
    /// container may have been killed before it committed that.
    makes_equal: bool,
    config: &'a Config,
    setting: &'a Setting,
    store: &'a Store,
    dir: &'a Directory,
    past: Past,
    found: Found,
    scan: Scan,
    url: String,
    begun: Instant,
}

impl Puller<'_> {
    /// A commit whose reply was lost may be in the head that was read.
    fn settle(&mut self, state: Option<&State>) -> Result<(), SyncError> {
        let (Some(state), Some(mine)) = (state, self.past.mine.as_mut()) else { return Ok(()) };
        if settle_pending(state, mine, self.found.head())? && self.past.origin.is_some() {
            self.past.origin = origin(state, "origin")?;
        }
        Ok(())
    }

    fn check_guards(&self) -> Result<(), SyncError> {
        let url = &self.url;
        match self.config.expect {
            Expect::Existing if !self.found.exists() => {
                return Err(SyncError::Guard(format!(
                    "{url} does not exist, and STOPOVER_EXPECT=existing: check the name, or set STOPOVER_EXPECT=any"
                )));
            }
            Expect::New if self.found.exists() => {
                return Err(SyncError::Guard(format!(
                    "{url} exists already, and STOPOVER_EXPECT=new: choose another name, or set STOPOVER_EXPECT=any"
                )));
            }
            _ => {}
        }
        let Some(mine) = self.past.mine.as_ref().filter(|_| self.past.is_ready()) else { return Ok(()) };
        let dir = self.dir.path().display();
        if mine.workspace != *url {
            return Err(SyncError::Guard(format!(
                "{dir} holds {}, not {url}: use another directory, or remove {}",
                mine.workspace,
                self.config.state.display()
            )));
        }
        refuse_elsewhere(self.config, self.store, Some(mine), self.found.head())?;
        if is_gone(mine, self.found.head()) {
            return Err(SyncError::Guard(format!(
                "{url} was deleted, or deleted and made anew, since {dir} was restored: use another directory, or \
                 remove {} to take what is there as new files",
                self.config.state.display()
            )));
        }
        let seq = self.found.head().map_or(0, |at| at.head.seq);
        if seq < mine.seq && !self.config.call.allow_older {
            return Err(SyncError::Guard(format!(
                "{url} is at commit {seq}, older than commit {} that {dir} has seen: if it was put back on purpose, \
                 pull with --allow-older",
                mine.seq
            )));
        }
        Ok(())
    }

    async fn run(&mut self, state: Option<&State>, events: &dyn Events) -> Result<Option<Pulled>, SyncError> {
        let (writer_owner, owners) = owners(self.config, self.setting);
        let is_ready = self.past.is_ready();
        if let Some(origin) = &self.past.origin {
            self.found.learn(origin);
        }
        let local = self.local_rows().await?;
        if self.found.live().is_some() && self.past.amend(self.store, self.dir, &local).await? {
            // This pull may not end, either, and notes another snapshot then.
            self.keep_amended(state)?;
        }
        let others = self.found.read_what_meets(self.store, &local, self.past.origin.as_ref()).await?;
        if others && self.has_moved().await? {
            return Ok(None);
        }
        self.found.tell_missing();
        if let Some(live) = self.found.live() {
            live.tell();
        }
        self.keep_unseen().await?;
        let theirs = self.found.theirs();
        let taken = self.taken_in_before();
        if let (Some(at), Some(mine), Some(origin)) = (self.found.head(), &self.past.mine, &mut self.past.origin) {
            let had = had_since(self.store, mine, at, (origin, &theirs), &taken).await?;
            origin.extend(had);
        }
        let (merged, plan) = self.plan(&local, &theirs, owners);
        let wanted = &merged.rows;
        if !is_ready && !self.config.call.overwrite && self.guarded {
            guard_overwrite(&plan, self.dir)?;
        }
        if self.config.call.dry_run {
            return Ok(Some(self.report(&Done::default(), &theirs, Some(&plan))));
        }
        let Some(state) = state else {
            return Err(SyncError::System("a pull without state directory".to_owned()));
        };
        let abandoned = self.past.abandoned.as_ref();
        let empty = abandoned.is_some() || self.past.pulling.is_none() && !is_ready && self.dir.is_empty()?;
        let options = WriteOptions { owner: writer_owner, fresh: !is_ready };
        let writer = Writer::new(self.dir, &staging(self.config), options)?;
        let bytes = plan.fetch.iter().map(|fetch| fetch.row.size).sum();
        // Before it is noted that a pull began: one that is refused has touched nothing, and a commit may follow.
        writer.check_space(bytes, plan.fetch.len() as u64)?;
        if empty {
            state.set_wanted(wanted.keys().chain(abandoned.into_iter().flatten()))?;
        }
        state.set_pulling(&Pulling { snapshot: snapshot_of(self.found.head()), empty })?;
        let aside = self.config.state.join("aside").join(Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
        let restorer = Restorer {
            store: self.store,
            dir: self.dir,
            writer: &writer,
            unread: self.found.unread(),
            live: self.found.live(),
            scanned: &self.scan.index,
            room: Room::new(),
            aside,
            events,
        };
        let done = restorer.run(&plan).await?;
        for (path, reason) in &done.left {
            tracing::warn!("{path} is not restored: {reason}");
        }
        if let Some((path, why)) = done.failed.first() {
            if self.has_moved().await? {
                self.save_index(state, &done)?;
                return Ok(None);
            }
            for (path, why) in &done.failed {
                tracing::error!("{path} could not be restored: {why}");
            }
            if !self.config.call.allow_partial {
                return Err(SyncError::Incomplete {
                    count: done.failed.len(),
                    first: path.to_string(),
                    why: why.clone(),
                });
            }
        }
        let taken_in = self.taken_in(theirs, &merged, &plan, &done);
        for path in plan.kept.iter().filter(|path| wanted.contains_key(*path)) {
            tracing::warn!("{path} was edited here and is left as it is");
        }
        // A person waits for the disk. A container must not: a flush takes what its neighbours have written too, no signal
        // ends it, and a stop would have to wait. Its directory is restored anew after a restart of the machine.
        let flushed = self.setting.handover.status.is_none();
        if flushed {
            flush(self.dir).await?;
        }
        let edits = self.edits_taken_in(&merged, &plan, &done);
        self.note(state, &taken_in, edits, &done, flushed)?;
        events.ready();
        let mut pulled = self.report(&done, &taken_in, None);
        let left_out = self.found.live().is_some_and(|live| !live.refused_keys.is_empty());
        pulled.part = left_out || !plan.kept.is_empty() || !unwritten(&done).is_empty();
        Ok(Some(pulled))
    }

    /// What is on the disk, also where the rules ignore it and the workspace has it.
    async fn local_rows(&self) -> Result<Rows, SyncError> {
        let mut local = self.scan.rows.clone();
        let mut missing: Vec<RelPath> = self.found.paths().filter(|path| !local.contains_key(*path)).cloned().collect();
        if self.scan.rows.is_empty() && self.dir.is_empty()? {
            missing.clear();
        }
        let dir = self.dir.try_clone()?;
        let found = super::remote::blocking(move || {
            missing.into_iter().filter_map(|path| Some((path.clone(), look_closely(&dir, &path)?))).collect::<Rows>()
        })
        .await?;
        local.extend(found);
        Ok(local)
    }

    fn keep_amended(&self, state: Option<&State>) -> Result<(), SyncError> {
        let state = state.filter(|_| !self.config.call.dry_run);
        let (Some(state), Some(origin), Some(mine)) = (state, &self.past.origin, &self.past.mine) else {
            return Ok(());
        };
        let id = mine.snapshot.as_deref().and_then(|id| id.parse().ok());
        set_origin(state, "origin", origin, &id.unwrap_or_else(|| SnapshotId::new(0, [0; 6])))
    }

    /// Nobody looks at the live tree: what was imported here alone is there, as far as anybody knows, and that the first
    /// snapshots lack it is no deletion.
    async fn keep_unseen(&mut self) -> Result<(), SyncError> {
        let imported = self.past.mine.as_ref().filter(|mine| mine.imported && self.past.is_ready());
        let live = self.found.live().filter(|live| !live.is_listed());
        if let (Some(mine), Some(live), true) = (imported, live, self.past.origin.is_some()) {
            let trees = first_trees(self.store, mine, &live.head).await?;
            if let Some(origin) = &mut self.past.origin {
                take_unseen(origin, &trees);
            }
        }
        Ok(())
    }

    /// Whether others committed meanwhile, and their snapshot may have what this one lacks.
    async fn has_moved(&self) -> Result<bool, SyncError> {
        let Some(live) = self.found.live() else { return Ok(false) };
        let now = read_head_since(self.store, Some(live.head.clone())).await?;
        Ok(now.is_none_or(|now| now.head.snapshot != live.head.head.snapshot))
    }

    fn plan(&self, local: &Rows, theirs: &Rows, owners: Owners) -> (Merged, RestorePlan) {
        let delete = self.config.call.delete;
        let (Some(origin), Some(mine)) = (self.origin_over(theirs), &self.past.mine) else {
            let options = RestoreOptions { delete, owners, abandoned: self.past.abandoned.as_ref(), copies: &[] };
            let merged = Merged { rows: theirs.clone(), ..Merged::default() };
            return (merged, restore_plan(theirs, local, None, &options));
        };
        let (origin, mut scanned) = (&*origin, local.clone());
        adopt(owners, &mut scanned, &[origin, theirs]);
        let gone = self.gone(origin, &scanned);
        let not_stored = self.scan.changing.iter().chain(self.scan.unreadable.iter().map(|(path, _)| path)).cloned();
        let not_stored = not_stored.collect();
        let base = base_of(mine, self.found.head(), Some(origin));
        let groups = Groups::default();
        let seen = Seen { rows: &scanned, gone: &gone, not_stored: &not_stored, partial: false, groups: &groups };
        let ours = ours_for_merge(&seen, base);
        // A live workspace has a history for what gets no copy.
        let merge = if self.found.live().is_some() { merge3 } else { merge3_plain };
        let mut merged = merge(base, &ours, theirs);
        if self.makes_equal {
            merged.leave_out_ours(theirs);
        }
        for path in &merged.overflow {
            tracing::warn!(
                "{path} has too many copies already: what others committed there stays in the history alone"
            );
        }
        let options = RestoreOptions { delete, owners, abandoned: None, copies: &merged.copies };
        let known = matches!(base, Base::Known(_)).then_some(origin);
        let plan = restore_plan(&merged.rows, local, known.or(Some(origin)), &options);
        (merged, plan)
    }

    /// What the directory took in before, edits of others that it has had already among it: what it made of them is
    /// its own edit.
    fn origin_over(&self, theirs: &Rows) -> Option<Cow<'_, Rows>> {
        let mut origin = Cow::Borrowed(self.past.origin.as_ref()?);
        let taken = self.taken_in_before();
        if !taken.is_empty() {
            add_taken_in(origin.to_mut(), &taken, theirs);
        }
        Some(origin)
    }

    fn gone(&self, origin: &Rows, local: &Rows) -> std::collections::BTreeSet<RelPath> {
        let missing = origin.keys().filter(|path| !local.contains_key(*path));
        missing.filter(|path| matches!(self.dir.look(path), Presence::Gone)).cloned().collect()
    }

    fn report(&self, done: &Done, rows: &Rows, planned: Option<&RestorePlan>) -> Pulled {
        let (files, bytes, digest) = totals(rows);
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut refused = self.found.refused();
        let not_written = done.left.iter().chain(&done.failed);
        refused
            .extend(not_written.map(|(path, why)| Refused { key: path.to_text().into_owned(), reason: why.clone() }));
        for key in &refused {
            tracing::warn!("{:?} is not restored: {}", key.key, key.reason);
        }
        let ignored = self.found.ignored();
        if ignored > 0 {
            tracing::info!("{ignored} objects are ignored by the rules and were left in the bucket");
        }
        let exit = if refused.is_empty() { Exit::Success } else { Exit::Incomplete };
        let proof = match planned {
            Some(plan) => format!(
                "would restore {files} files, {bytes} bytes: {} to fetch, {} to move aside or replace, {} to remove",
                plan.fetch.len(),
                plan.clear.len(),
                plan.remove.len()
            ),
            None => {
                let snapshot = self.found.live().and_then(|live| told(&live.head.head));
                let proof = snapshot.as_deref().map_or(Proof::Import, Proof::Snapshot);
                proof_line(proof, files, bytes, &digest, seconds)
            }
        };
        let restored = Restored {
            snapshot: self.found.head().and_then(|at| told(&at.head)),
            files,
            bytes,
            requests: self.store.counters().requests,
            seconds,
            refused,
            missing: self.found.missing().map(|missing| missing.names().to_vec()).unwrap_or_default(),
            omitted: self.found.missing().map_or(0, Missing::more),
        };
        let head = self.found.head();
        let (stones, heads) = (
            head.filter(|at| at.head.state == HeadState::Deleted),
            head.filter(|at| at.head.state != HeadState::Deleted),
        );
        Pulled {
            restored: restored.bounded(),
            base: snapshot_of(head),
            birth: heads.map(|at| at.head.birth.to_string()),
            tombstone: stones.map(|at| Hash::of(at.etag.as_str().as_bytes()).to_string()),
            part: false,
            directory: self.dir.identity(),
            proof,
            exit,
        }
    }
}

/// A row for what is there although the scan passed it over; its content as it is now.
pub(super) fn look_closely(dir: &Directory, path: &RelPath) -> Option<Row> {
    let Presence::There(stat) = dir.look(path) else { return None };
    let meta = |row: Row| Row { uid: stat.uid, gid: stat.gid, mtime_ns: stat.mtime_ns, ..row };
    match stat.kind {
        Some(Kind::Dir) => Some(meta(Row::dir(stat.permissions()))),
        Some(Kind::Symlink) => Some(meta(Row::symlink(&dir.read_link(path).ok()?))),
        Some(Kind::File) => {
            let hash = dir.open_file(path).ok().and_then(|(file, _)| {
                let mut hasher = crate::rows::Hasher::new();
                let mut reader = std::io::BufReader::with_capacity(1 << 18, file);
                loop {
                    let part = std::io::BufRead::fill_buf(&mut reader).ok()?;
                    if part.is_empty() {
                        return Some(hasher.finish());
                    }
                    hasher.update(part);
                    let read = part.len();
                    std::io::BufRead::consume(&mut reader, read);
                }
            });
            // What cannot be read is like nothing else.
            let hash = hash.unwrap_or_else(|| Hash::of(format!("unreadable {path} {}", stat.ctime_ns).as_bytes()));
            Some(meta(Row::file(hash, stat.size, stat.permissions())))
        }
        None => Some(meta(Row::file(Hash::of(format!("special {path}").as_bytes()), stat.size, stat.permissions()))),
    }
}

fn guard_overwrite(plan: &RestorePlan, dir: &Directory) -> Result<(), SyncError> {
    use crate::plan::Clear;
    let differs = plan.clear.iter().find_map(|clear| match clear {
        Clear::MoveAside { path, .. } | Clear::Remove { path, .. } | Clear::RemoveDir { path } => Some(path),
        Clear::Rename { .. } => None,
    });
    match differs {
        None => Ok(()),
        Some(path) => Err(SyncError::Guard(format!(
            "{} has files that differ from the workspace's ({path}): nothing was written; --overwrite replaces them \
             (they are kept in .stopover/aside/)",
            dir.path().display()
        ))),
    }
}
