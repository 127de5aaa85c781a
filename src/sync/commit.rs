//! Commit: what changed in the directory goes to the bucket.
//!
//! Read head, scan, merge, write the live tree, write the tree of all rows, move head. In a plain workspace the live
//! tree is the authority, so it is written first; the tree then says what plain objects cannot (modes, links, empty
//! directories), each row with the version of the object it is true for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Mutex,
    time::Instant,
};

use super::{
    Setting, SyncError,
    base::{base_of, is_gone, theirs_of},
    control::Control,
    live_tree::{LiveTree, Outcome},
    local::{Local, missing, needed, not_deleted, stored_rows, undeleted, with_versions},
    publish::{Published, next_head, publish},
    pull::look_closely,
    remote::{HeadAt, blocking, present_tree, read_plain_head, read_tree},
    room::Room,
    session::{
        boot_id, connect, lock, open_directory, origin, owners, refuse_read_only, scan_directory, set_origin,
        settle_pending, told, totals, with_abilities, workspace,
    },
};
use crate::{
    config::{Config, OnDeadline},
    plan::{ChangeKind, Merged, Order, changes, tombstones, upload_plan},
    report::{Conflict, Events, LiveTreeState, Receipt},
    rows::{ETag, Hash, Kind, RelPath, Row, Rows},
    snapshot::{Head, SnapshotId},
    state::{Mine, Pending, Ready, State},
    store::{Counters, Store},
    worktree::{Directory, Index, Presence, Scan},
};

/// How often a lost race is run again.
const TRIES: u32 = 12;

/// Commits the directory.
///
/// With a control (the last commit of a container) it is two commits in one process: one beside the app's shutdown,
/// one when no process of the app is left.
///
/// # Errors
/// A guard, the server, the disk. What was not committed is still in the directory, and the next commit stores it.
pub async fn commit(
    config: &Config,
    setting: &Setting,
    control: Option<Control>,
    events: &dyn Events,
) -> Result<Receipt, SyncError> {
    refuse_read_only(config, "committed")?;
    let mut committer = Committer::open(config, setting).await?;
    let control = control.unwrap_or_default();
    if !control.is_last() {
        return committer.commit(!setting.handover.app_alive, &control, events).await;
    }
    // The early one must not be waited for when the app is gone: what it uploaded counts all the same.
    let mut early = None;
    if !control.app_is_gone() {
        match committer.commit(false, &control, events).await {
            Ok(receipt) => early = Some(receipt),
            Err(error @ (SyncError::Guard(_) | SyncError::Deleted(..) | SyncError::Newer(_))) => return Err(error),
            Err(error) => tracing::warn!("the early commit failed and is tried again: {error}"),
        }
        control.wait_until_app_is_gone().await;
    }
    let mut receipt = committer.commit(true, &control, events).await?;
    if let Some(early) = early {
        receipt.requests += early.requests;
        receipt.bytes_sent += early.bytes_sent;
        receipt.seconds += early.seconds;
    }
    Ok(receipt)
}

struct Committer<'a> {
    config: &'a Config,
    setting: &'a Setting,
    store: Store,
    dir: Directory,
    state: State,
    _lock: crate::state::Lock,
    mine: Mine,
    origin: Option<Rows>,
    index: Index,
    sent: Mutex<HashMap<RelPath, (ETag, Hash)>>,
    /// What became of the files that this process has committed: the receipt of the last commit tells all of it.
    committed: BTreeMap<RelPath, ChangeKind>,
    url: String,
    /// When the present commit began, and what had been sent by then.
    began: (Instant, Counters),
}

impl<'a> Committer<'a> {
    async fn open(config: &'a Config, setting: &'a Setting) -> Result<Self, SyncError> {
        let url = workspace(config)?.url();
        let dir = open_directory(config, false)?;
        let handover = &setting.handover;
        if handover.directory.is_some_and(|known| known != dir.identity()) {
            return Err(SyncError::Directory(format!(
                "{} is not the directory that was restored: nothing of it is committed",
                config.dir.display()
            )));
        }
        let not_restored = || {
            SyncError::Directory(format!(
                "{} was never restored from {url}: `stopover pull` first, or `stopover upload` to add what is here",
                config.dir.display()
            ))
        };
        let state = match State::open(&config.state)? {
            Some(state) => state,
            None if handover.ready => State::create(&config.state)?,
            None => return Err(not_restored()),
        };
        let (state, lock) = lock(state).await?;
        let store = connect(config).await?;
        let noted = state.mine()?.filter(|_| matches!(state.ready(), Ok(Some(_))));
        if state.pulling()?.is_some() {
            return Err(SyncError::Directory(format!(
                "a restore of {} did not finish: `stopover pull` first; nothing half restored is committed",
                config.dir.display()
            )));
        }
        let (mine, origin) = match noted {
            Some(mine) => {
                if mine.directory != Some(dir.identity()) {
                    return Err(SyncError::Directory(format!(
                        "{} is not the directory that {} was restored into: `stopover pull` first",
                        config.dir.display(),
                        mine.workspace
                    )));
                }
                if mine.workspace != url {
                    return Err(SyncError::Guard(format!(
                        "{} holds {}, not {url}",
                        config.dir.display(),
                        mine.workspace
                    )));
                }
                (mine, origin(&state, "origin")?)
            }
            None if handover.ready => remember(&store, &state, &dir, &url, handover.pulled.as_deref()).await?,
            None => return Err(not_restored()),
        };
        let sent = state.sent()?.into_iter().filter_map(|sent| {
            let path = RelPath::from_text(&sent.path).ok()?;
            Some((path, (ETag::new(sent.etag), Hash::from_hex(&sent.hash)?)))
        });
        let sent = Mutex::new(sent.collect());
        let index = Index::load(&state.path().join("index"));
        let began = (Instant::now(), store.counters());
        Ok(Self {
            config,
            setting,
            began,
            store,
            dir,
            state,
            _lock: lock,
            mine,
            origin,
            index,
            sent,
            committed: BTreeMap::new(),
            url,
        })
    }

    /// One commit, tried again as long as other writers are faster.
    async fn commit(&mut self, quiet: bool, control: &Control, events: &dyn Events) -> Result<Receipt, SyncError> {
        self.began = (Instant::now(), self.store.counters());
        let hurry = control.is_last();
        let index = std::mem::take(&mut self.index);
        let scan = scan_directory(self.config, self.setting, &self.dir, index, hurry);
        let (mut scan, mut head) = futures_util::future::try_join(scan, read_plain_head(&self.store)).await?;
        let mut before = None;
        if !(quiet && control.is_last()) && missing(&scan.rows, self.origin.as_ref()).next().is_some() {
            // Somebody may be moving things: what is to be deleted must be missing twice.
            before = Some(missing(&scan.rows, self.origin.as_ref()).cloned().collect());
            let index = std::mem::take(&mut scan.index);
            scan = scan_directory(self.config, self.setting, &self.dir, index, hurry).await?;
        }
        self.index = scan.index.clone();
        for warning in &scan.warnings {
            tracing::debug!("{warning}");
        }
        for _ in 0..TRIES {
            self.check(head.as_ref())?;
            if let Some(receipt) =
                self.try_once((&scan, before.as_ref()), head.as_ref(), quiet, control, events).await?
            {
                self.warn(&scan);
                self.warn_of_ignored_edits(&scan).await?;
                return Ok(self.stamped(receipt));
            }
            head = read_plain_head(&self.store).await?;
        }
        Err(SyncError::Contended(self.url.clone(), TRIES))
    }

    /// The receipt with what the commit has cost so far.
    fn stamped(&self, receipt: Receipt) -> Receipt {
        let ((begun, before), now) = (self.began, self.store.counters());
        Receipt {
            requests: now.requests - before.requests,
            bytes_sent: now.bytes_sent - before.bytes_sent,
            seconds: begun.elapsed().as_secs_f64(),
            ..receipt
        }
        .bounded()
    }

    /// What head says about this directory's past.
    fn check(&mut self, head: Option<&HeadAt>) -> Result<(), SyncError> {
        if settle_pending(&self.state, &mut self.mine, head)? {
            self.origin = origin(&self.state, "origin")?;
        }
        if is_gone(&self.mine, head) {
            return Err(SyncError::Deleted(self.url.clone(), self.config.dir.display().to_string()));
        }
        Ok(())
    }

    /// One try; `None` where another writer was faster.
    async fn try_once(
        &mut self,
        (scan, before): (&Scan, Option<&BTreeSet<RelPath>>),
        head: Option<&HeadAt>,
        quiet: bool,
        control: &Control,
        events: &dyn Events,
    ) -> Result<Option<Receipt>, SyncError> {
        let now = present_tree(&self.store, head).await?;
        let (theirs, removed) = theirs_of(&self.store, &self.mine, head, self.origin.as_ref(), now).await?;
        let (_, owners) = owners(self.config, self.setting);
        let mut local = Local::new(scan, before, owners, self.origin.as_ref(), &theirs, &self.dir);
        let base = base_of(&self.mine, head, self.origin.as_ref());
        let (_, merged) = local.merge(base, &theirs, false);
        let order = if control.is_last() { Order::NewestFirst } else { Order::ByPath };
        let mut plan = upload_plan(&theirs, &merged, order);
        let has_changes = !changes(&theirs, &merged.rows).is_empty() || !plan.is_empty();
        if self.config.call.dry_run {
            let planned = self.receipt(&theirs, &merged, &Outcome::default(), &local, quiet, None);
            return Ok(Some(Receipt { durable: false, ..planned }));
        }
        if !has_changes {
            self.save_index();
            let receipt = self.receipt(&theirs, &merged, &Outcome::default(), &local, quiet, None);
            events.durable(&self.stamped(receipt.clone()));
            return Ok(Some(receipt));
        }
        plan = plan.with_tombstones(&removed, &merged);
        self.store = with_abilities(self.store.clone(), Some(&self.state), needed(&plan)).await?;
        let known: Vec<&Rows> = std::iter::once(&theirs).chain(self.origin.as_ref()).collect();
        let stop = || !quiet && control.app_is_gone() || control.time_is_up();
        let live_tree = LiveTree {
            store: &self.store,
            dir: &self.dir,
            state: Some(&self.state),
            head,
            sent: &self.sent,
            known: &known,
            stop: &stop,
            control,
            room: Room::new(),
            events,
        };
        let outcome = live_tree.run(&plan).await?;
        if outcome.lost {
            return Ok(None);
        }
        if outcome.stopped && !control.time_is_up() {
            // The app is gone: the second scan begins at once, and what was put is known again.
            return Ok(Some(self.receipt(&theirs, &merged, &outcome, &local, quiet, None)));
        }
        let is_partial = local.take(&outcome);
        if is_partial && outcome.stopped && self.config.on_deadline == OnDeadline::Old {
            let mut receipt = self.receipt(&theirs, &merged, &outcome, &local, quiet, None);
            receipt.durable = false;
            return Ok(Some(receipt));
        }
        if !quiet && control.app_is_gone() {
            return Ok(Some(self.receipt(&theirs, &merged, &outcome, &local, quiet, None)));
        }
        let (ours, merged) = local.merge(base, &theirs, is_partial);
        let rows = stored_rows(&merged, &theirs, &outcome);
        let (ours, markers) = (with_versions(ours, &rows), self.markers());
        let tombstones = tombstones(&undeleted(&removed, &outcome), &markers, &rows);
        let next = next_head(&self.store, head, quiet, is_partial, &rows, tombstones).await?;
        let noted = self.note_pending(&next, &ours)?;
        match publish(&self.store, head, &next).await? {
            Published::Won => {}
            Published::Lost => return Ok(None),
            Published::Gone => {
                return Err(SyncError::Deleted(self.url.clone(), self.config.dir.display().to_string()));
            }
        }
        let receipt = self.receipt(&theirs, &merged, &outcome, &local, quiet, Some(&next));
        events.durable(&self.stamped(receipt.clone()));
        self.committed = self.committed_files(&theirs, &merged);
        self.settle(&next, ours, noted)?;
        self.warn_of_size(&rows);
        Ok(Some(receipt))
    }

    fn markers(&self) -> BTreeMap<RelPath, ETag> {
        let markers = self.mine.markers.iter();
        markers.filter_map(|(path, etag)| Some((RelPath::from_text(path).ok()?, ETag::new(etag.clone())))).collect()
    }

    /// Notes what becomes O when this commit is found in a head. Says whether that was possible: what an app wrote
    /// until the disk was full must not be lost because of a note. The old ones stay true then: they are what the
    /// directory took in before, and a later merge finds both sides alike.
    fn note_pending(&mut self, next: &Head, ours: &Rows) -> Result<bool, SyncError> {
        let Some(id) = &next.snapshot else { return Ok(false) };
        let pending = Pending { snapshot: id.to_string(), birth: next.birth.to_string(), seq: next.seq };
        let mine = Mine { pending: Some(pending), ..self.mine.clone() };
        let note = || {
            set_origin(&self.state, "origin.pending", ours, id)?;
            Ok(self.state.set_mine(&mine)?)
        };
        let mut noted = note();
        if matches!(&noted, Err(SyncError::State(error)) if error.is_out_of_room()) {
            // Room is where the index was: that one is only made again.
            for name in ["origin.pending", "index", "touched"] {
                self.state.forget(name)?;
            }
            noted = note();
        }
        match noted {
            Ok(()) => {
                self.mine = mine;
                Ok(true)
            }
            Err(SyncError::State(error)) if error.is_out_of_room() => {
                tracing::warn!("the commit goes on, but the next one has to compare more: {error}");
                self.state.forget("origin.pending")?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The commit is durable: what its scan saw is what the directory took in.
    fn settle(&mut self, next: &Head, ours: Rows, noted: bool) -> Result<(), SyncError> {
        if noted {
            self.state.promote("origin.pending", "origin")?;
        }
        self.origin = Some(ours);
        let id = next.snapshot.as_ref().map(ToString::to_string);
        self.mine = Mine {
            snapshot: id.clone(),
            birth: Some(next.birth.to_string()),
            seen: id,
            seq: next.seq,
            pending: None,
            imported: false,
            tombstone: None,
            ..self.mine.clone()
        };
        // The commit is durable, whatever becomes of the notes; they say less then, nothing wrong.
        if noted && let Err(error) = self.state.set_mine(&self.mine) {
            tracing::warn!("the commit is durable, but could not be noted here: {error}");
        }
        self.state.forget("sent")?;
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        self.save_index();
        Ok(())
    }

    /// Without it the next scan reads more.
    fn save_index(&self) {
        if let Err(error) = self.index.save(&self.state.path().join("index")) {
            tracing::debug!("{error}");
        }
    }

    /// What this process has committed, and what `merged` changes beyond it.
    fn committed_files(&self, theirs: &Rows, merged: &Merged) -> BTreeMap<RelPath, ChangeKind> {
        let changed = changes(theirs, &merged.rows).into_iter().filter(|change| change.kind == Kind::File);
        let mut files = self.committed.clone();
        files.extend(changed.map(|change| (change.path, change.change)));
        files
    }

    fn receipt(
        &self,
        theirs: &Rows,
        merged: &Merged,
        outcome: &Outcome,
        local: &Local,
        quiet: bool,
        next: Option<&Head>,
    ) -> Receipt {
        let files = self.committed_files(theirs, merged);
        let deleted = files.values().filter(|change| **change == ChangeKind::Deleted).count() as u64;
        let merged_copies = merged.copies.iter().map(|copy| (&copy.path, &copy.copy));
        let conflicts = merged_copies.chain(&outcome.copies);
        Receipt {
            snapshot: next.and_then(told),
            durable: true,
            partial: local.is_partial(),
            quiet,
            files_changed: files.len() as u64 - deleted,
            files_deleted: deleted,
            bytes_sent: 0,
            requests: 0,
            seconds: 0.0,
            live_tree: LiveTreeState::Current,
            not_stored: local.lost(),
            not_deleted: not_deleted(outcome),
            conflicts: conflicts
                .map(|(path, copy)| Conflict { path: path.to_string(), copy: copy.to_string() })
                .collect(),
            omitted: 0,
            error: None,
        }
    }

    /// What users should not have to discover by loss.
    fn warn(&self, scan: &Scan) {
        let ignored: u64 = scan.ignored.iter().map(|rule| rule.files).sum();
        if ignored > 0 {
            let first = scan.ignored.first().map(|rule| format!("{:?} of {}", rule.rule, rule.source));
            tracing::info!(
                "{ignored} files are not stored because the rules ignore them, most by {}; `stopover status` says more",
                first.unwrap_or_default()
            );
        }
        if scan.dropped_bits > 0 {
            tracing::info!("{} files have setuid, setgid or sticky bits, which are not kept", scan.dropped_bits);
        }
        for mount in &scan.mounts {
            tracing::warn!("{mount} is a mount point: what is on it is not stored");
        }
    }

    /// A file that was stored before the rules ignored it keeps its object until it is removed; its edits are lost with
    /// this disk, so each such file is named.
    async fn warn_of_ignored_edits(&self, scan: &Scan) -> Result<(), SyncError> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let seen: BTreeSet<&RelPath> =
            scan.unreadable.iter().map(|(path, _)| path).chain(&scan.changing).chain(&scan.mounts).collect();
        let unseen = |path: &RelPath| {
            !scan.rows.contains_key(path) && !seen.contains(path) && !path.ancestors().any(|up| seen.contains(&up))
        };
        let ignored: Vec<(RelPath, Row)> = origin
            .iter()
            .filter(|(path, row)| row.kind == Kind::File && unseen(path))
            .map(|(path, row)| (path.clone(), row.clone()))
            .collect();
        if ignored.is_empty() {
            return Ok(());
        }
        let dir = self.dir.try_clone()?;
        let is_edited = move |(path, row): &(RelPath, Row)| match dir.look(path) {
            Presence::There(stat) if stat.kind == Some(Kind::File) => {
                (stat.size, stat.mtime_ns) != (row.size, row.mtime_ns)
                    && look_closely(&dir, path).is_some_and(|there| !there.same_content(row))
            }
            _ => false,
        };
        let edited: Vec<_> = blocking(move || ignored.into_iter().filter(is_edited).collect()).await?;
        for (path, _) in &edited {
            tracing::warn!(
                "{path} was stored before the rules ignored it, and was edited since: the edit is not stored; \
                 `stopover explain` names the rule"
            );
        }
        Ok(())
    }

    fn warn_of_size(&self, rows: &Rows) {
        let (_, bytes, _) = totals(rows);
        if bytes > self.config.size_warning_mb.saturating_mul(1 << 20) {
            tracing::warn!(
                "{} holds {} MiB, more than WORKSPACE_SIZE_WARNING_MB={}",
                self.url,
                bytes >> 20,
                self.config.size_warning_mb
            );
        }
    }
}

/// What a directory without notes belongs to, as PID 1 remembers it.
async fn remember(
    store: &Store,
    state: &State,
    dir: &Directory,
    url: &str,
    pulled: Option<&str>,
) -> Result<(Mine, Option<Rows>), SyncError> {
    tracing::warn!("{} was removed: everything is hashed again", state.path().display());
    let mut mine = Mine { workspace: url.to_owned(), directory: Some(dir.identity()), ..Mine::default() };
    let mut rows = None;
    if let Some(id) = pulled.and_then(|id| id.parse::<SnapshotId>().ok()) {
        let (tree, head) = futures_util::future::try_join(read_tree(store, &id), read_plain_head(store)).await?;
        // Only who deletes a workspace removes its trees, or its head.
        let Some(head) = head.filter(|at| tree.is_some() || at.head.knows(&id)) else {
            return Err(SyncError::Deleted(url.to_owned(), dir.path().display().to_string()));
        };
        mine.birth = Some(head.head.birth.to_string());
        mine.snapshot = Some(id.to_string());
        mine.seen = Some(id.to_string());
        mine.seq = id.seq();
        rows = tree.map(|tree| tree.rows);
    }
    state.set_mine(&mine)?;
    // What PID 1 restored it restored in this boot.
    state.set_ready(&Ready { pulled: mine.snapshot.clone(), boot: boot_id(), flushed: false })?;
    Ok((mine, rows))
}
