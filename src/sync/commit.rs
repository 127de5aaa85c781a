//! Commit: what changed in the directory goes to the bucket.
//!
//! Read head, scan, then one try after the other until no other writer was faster. How a try goes depends on the
//! workspace: `live_commit` makes a change durable before the live tree follows, `plain_commit` writes that one first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::Either};

use super::{
    Setting, SyncError,
    base::{descends, is_gone},
    commit_notes::remember,
    control::Control,
    first_live,
    local::{Local, missing},
    packs::Known,
    remote::{HeadAt, read_head, read_head_since},
    rewind::unfinished,
    session::{
        connect, lock, note_told, open_directory, origin, refuse_elsewhere, refuse_read_only, say_no_more,
        scan_directory, settle_pending, told, workspace,
    },
    snapshots::{keep_head, kept_head, kept_head_since},
};
use crate::{
    config::Config,
    plan::{Change, ChangeKind, Merged, TakenIn, changes},
    report::{Conflict, Events, LiveTreeState, NotDeleted, NotStored, NotStoredReason, Receipt},
    rows::{ETag, Hash, Kind, RelPath, Rows},
    snapshot::{Head, HeadState},
    state::{Mine, State},
    store::{Counters, Store},
    worktree::{Directory, Index, Presence, Scan},
};

/// How long the last head known is taken to be the present one while nothing is written.
const HEAD_IS_READ_EVERY: Duration = Duration::from_secs(3600);
/// How often a lost race is run again.
const TRIES: u32 = 12;

/// One try of a commit.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) scan: &'a Scan,
    /// What the scan before lacked already, where there was one.
    pub(super) before: Option<&'a BTreeSet<RelPath>>,
    /// The head that is planned against.
    pub(super) head: Option<&'a HeadAt>,
    /// Whether no process of the app lives, from before the scan on: only PID 1 knows, and says so in a last commit.
    pub(super) quiet: bool,
    pub(super) control: &'a Control,
    pub(super) events: &'a dyn Events,
}

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
        // Not even PID 1 knows: an app may begin while the commit is at work.
        return committer.commit(false, &control, events).await;
    }
    // The early one must not be waited for when the app is gone: what it uploaded counts all the same.
    let mut early = None;
    if !control.app_is_gone() {
        match committer.commit(false, &control.of_early(), events).await {
            Ok(receipt) => early = Some(receipt),
            Err(error @ (SyncError::Guard(_) | SyncError::Deleted(..) | SyncError::Newer(_))) => return Err(error),
            Err(error) => tracing::warn!("the early commit failed and is tried again: {error}"),
        }
        control.wait_until_app_is_gone().await;
    }
    let mut receipt = committer.commit_in_time(&control, events).await?;
    if let Some(early) = early {
        receipt.requests += early.requests;
        receipt.bytes_sent += early.bytes_sent;
        receipt.seconds += early.seconds;
    }
    Ok(receipt)
}

/// Reads head and commits nothing: what an idle directory took in stays provable, and a workspace that was deleted is
/// heard of.
///
/// # Errors
/// A guard, the server, the disk; the next commit, or look, reads head all the same.
pub async fn look(config: &Config, setting: &Setting) -> Result<(), SyncError> {
    refuse_read_only(config, "committed")?;
    let mut committer = Committer::open(config, setting).await?;
    let head = read_head_since(&committer.store, kept_head(&committer.state)).await?;
    committer.keep(head.as_ref());
    committer.check(head.as_ref())
}

pub(super) struct Committer<'a> {
    pub(super) config: &'a Config,
    pub(super) setting: &'a Setting,
    pub(super) store: Store,
    pub(super) dir: Directory,
    pub(super) state: State,
    _lock: crate::state::Lock,
    pub(super) mine: Mine,
    pub(super) origin: Option<Rows>,
    pub(super) index: Index,
    pub(super) sent: Mutex<HashMap<RelPath, (ETag, Hash)>>,
    /// What became of the files that this process has committed: the receipt of the last commit tells all of it.
    pub(super) committed: BTreeMap<RelPath, ChangeKind>,
    /// Files that the rules ignore by now, and whose edits are not stored.
    pub(super) ignored_edits: Vec<RelPath>,
    /// What the scan saw, until the commit of it is durable: what is not stored when the time is over.
    scanned: Arc<Mutex<Option<Rows>>>,
    /// What was imported here alone, where others made the workspace live meanwhile.
    pub(super) unseen: Vec<TakenIn>,
    /// Where pieces lie that need not be stored again.
    pub(super) known: Known,
    pub(super) url: String,
    /// When the present commit began, and what had been sent by then.
    pub(super) began: (Instant, Counters),
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
        first_live::sweep(state.path());
        let store = connect(config).await?;
        say_no_more(&store, &state, setting);
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
            None if handover.ready => remember(&store, &state, &dir, &url, handover).await?,
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
            ignored_edits: Vec::new(),
            scanned: Arc::default(),
            unseen: Vec::new(),
            known: Known::default(),
            url,
        })
    }

    /// The last commit. Whoever waits for it kills it at the deadline: shortly before that it says what is not stored,
    /// and goes on as long as it may.
    async fn commit_in_time(&mut self, control: &Control, events: &dyn Events) -> Result<Receipt, SyncError> {
        let (scanned, origin) = (Arc::clone(&self.scanned), self.origin.clone().unwrap_or_default());
        let (began, store, dir) = (self.began, self.store.clone(), self.dir.try_clone()?);
        let committing = self.commit(true, control, events).boxed_local();
        let over = std::pin::pin!(control.until_it_is_over());
        let committing = match futures_util::future::select(committing, over).await {
            Either::Left((committed, _)) => return committed,
            Either::Right(((), committing)) => committing,
        };
        // Nothing is left where nothing was scanned yet, or where it is durable and told so.
        if let Some(rows) = scanned.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A row that the scan lacks was deleted only if nothing is there: else it is ignored, or cannot be read.
            let is_there = |path: &RelPath| !matches!(dir.look(path), Presence::Gone);
            let receipt = late(&changes(&origin, &rows), is_there);
            if !receipt.not_stored.is_empty() || !receipt.not_deleted.is_empty() {
                events.late(&stamped(receipt, began, &store));
            }
        }
        committing.await
    }

    /// One commit, tried again as long as other writers are faster.
    async fn commit(&mut self, quiet: bool, control: &Control, events: &dyn Events) -> Result<Receipt, SyncError> {
        self.began = (Instant::now(), self.store.counters());
        let hurry = control.is_last();
        let index = std::mem::take(&mut self.index);
        let scanned = Arc::clone(&self.scanned);
        let note = move |rows: &Rows| {
            if hurry {
                *scanned.lock().unwrap_or_else(PoisonError::into_inner) = Some(rows.clone());
            }
        };
        let scan = async {
            let scan = scan_directory(self.config, self.setting, &self.dir, index, hurry).await?;
            note(&scan.rows);
            Ok::<_, SyncError>(scan)
        };
        // The last head known will do for a plan where nothing says that it moved: if it has, the write of the next one
        // finds out. The last commit reads it beside its scan; a checkpoint that finds nothing to do reads nothing.
        let kept = if hurry { None } else { self.kept_head() };
        let mut is_asked = kept.is_none();
        let (mut scan, mut head) = match kept {
            Some(kept) => (scan.await?, Some(kept)),
            None => {
                // When the app is gone nobody waits for an early one that hears nothing: the next scan begins at once.
                let is_late = async {
                    match quiet || !hurry {
                        true => std::future::pending().await,
                        false => control.wait_until_app_is_gone().await,
                    }
                };
                let head = async {
                    tokio::select! {
                        biased;
                        head = read_head(&self.store) => head,
                        () = is_late => Err(SyncError::TimedOut("no answer when the app had ended".to_owned())),
                    }
                };
                let (scan, head) = futures_util::future::join(scan, head).await;
                let (scan, head) = match (scan, head) {
                    (Ok(scan), Err(error)) => {
                        // The next one need not read everything again.
                        self.index = scan.index;
                        return Err(error);
                    }
                    (scan, head) => (scan?, head?),
                };
                self.keep(head.as_ref());
                (scan, head)
            }
        };
        let mut before = None;
        let missed = self.missed(&scan.rows);
        let is_alone = quiet && control.is_last();
        if !is_alone && !missed.is_empty() {
            // Somebody may be moving things: what is to be deleted must be missing twice.
            before = Some(missed);
            let index = std::mem::take(&mut scan.index);
            scan = scan_directory(self.config, self.setting, &self.dir, index, hurry).await?;
            note(&scan.rows);
        }
        self.index = scan.index.clone();
        for warning in &scan.warnings {
            tracing::debug!("{warning}");
        }
        if !hurry {
            self.find_ignored_edits(&scan).await?;
        }
        for _ in 0..TRIES {
            self.check(head.as_ref())?;
            let attempt = Attempt { scan: &scan, before: before.as_ref(), head: head.as_ref(), quiet, control, events };
            if let Some(mut receipt) = self.try_once(attempt).await? {
                if !is_asked && receipt.snapshot.is_none() && self.setting.handover.status.is_none() {
                    // Nobody's PID 1 looks at head now and then: who asks by hand is told of a deletion, or of what a
                    // head that moved still needs.
                    is_asked = true;
                    match read_head_since(&self.store, head.clone()).await {
                        Ok(now) => {
                            let is_same = now.as_ref().map(|at| &at.etag) == head.as_ref().map(|at| &at.etag);
                            head = now;
                            self.keep(head.as_ref());
                            if !is_same {
                                continue;
                            }
                        }
                        Err(SyncError::Store(error)) => tracing::warn!(
                            "nothing to commit since the last look at {}; whether others moved it meanwhile could not be \
                             asked: {error}",
                            self.url
                        ),
                        Err(error) => return Err(error),
                    }
                }
                self.warn(&scan);
                if hurry && quiet {
                    // First what is to be stored, then what is not.
                    tokio::select! {
                        biased;
                        found = self.find_ignored_edits(&scan) => found?,
                        () = control.until_time_is_up() => {}
                    }
                    self.name_ignored_edits(&mut receipt.not_stored);
                }
                // A checkpoint that stores nothing has nothing to say.
                if receipt.snapshot.is_some() || self.setting.handover.status.is_none() {
                    for told in unfinished(&self.state) {
                        tracing::warn!("{told}");
                    }
                }
                note_told(&self.store, &self.state, self.setting);
                return Ok(self.stamped(receipt));
            }
            head = read_head(&self.store).await?;
            is_asked = true;
            self.keep(head.as_ref());
        }
        Err(SyncError::Contended(self.url.clone(), TRIES))
    }

    /// What the directory took in and the scan lacks.
    fn missed(&self, rows: &Rows) -> BTreeSet<RelPath> {
        let mut missed: BTreeSet<RelPath> = missing(rows, self.origin.as_ref()).cloned().collect();
        for edit in self.taken_in() {
            missed.extend(edit.path.ancestors().chain([edit.path.clone()]).filter(|path| !rows.contains_key(path)));
        }
        missed
    }

    fn keep(&self, head: Option<&HeadAt>) {
        if let Some(at) = head.filter(|at| at.head.state == HeadState::Live) {
            keep_head(&self.state, at);
        }
    }

    /// The head this directory read or wrote lately, if it is live and nothing is pending.
    fn kept_head(&self) -> Option<HeadAt> {
        let (at, age) = kept_head_since(&self.state)?;
        let is_usable = at.head.state == HeadState::Live && self.mine.pending.is_none() && age < HEAD_IS_READ_EVERY;
        // It may be the head of another server, or one that a pull from there was refused for.
        let is_here = self.mine.endpoint.as_ref() == Some(&self.store.server());
        let is_ours = self.mine.birth.as_ref() == Some(&at.head.birth.to_string());
        (is_usable && is_here && is_ours).then_some(at)
    }

    /// One try; `None` where another writer was faster. A commit in the stop budget leaves a plain workspace plain: all
    /// of its content would have to go into packs.
    async fn try_once(&mut self, attempt: Attempt<'_>) -> Result<Option<Receipt>, SyncError> {
        let is_live = attempt.head.is_some_and(|at| at.head.state == HeadState::Live);
        if is_live || !attempt.control.is_last() {
            self.try_live(attempt).boxed_local().await
        } else {
            self.try_plain(attempt).boxed_local().await
        }
    }

    /// The commit is durable, and whoever waits is told so.
    pub(super) fn tell_durable(&self, events: &dyn Events, receipt: &Receipt) {
        self.scanned.lock().unwrap_or_else(PoisonError::into_inner).take();
        events.durable(&self.stamped(receipt.clone()));
    }

    /// The receipt with what the commit has cost so far.
    pub(super) fn stamped(&self, receipt: Receipt) -> Receipt {
        stamped(receipt, self.began, &self.store)
    }

    /// What head says about this directory's past.
    fn check(&mut self, head: Option<&HeadAt>) -> Result<(), SyncError> {
        refuse_elsewhere(self.config, &self.store, Some(&self.mine), head)?;
        let server = Some(self.store.server());
        if head.is_some() && self.mine.endpoint != server && !self.config.call.dry_run {
            self.mine.endpoint = server;
            if let Err(error) = self.state.set_mine(&self.mine) {
                tracing::debug!("{error}");
            }
        }
        if settle_pending(&self.state, &mut self.mine, head)? {
            self.origin = origin(&self.state, "origin")?;
        }
        if is_gone(&self.mine, head) {
            return Err(SyncError::Deleted(self.url.clone(), self.config.dir.display().to_string()));
        }
        // A head that descends from what this directory took in proves as much, and stays in the lineage longer.
        if let Some(at) = head.filter(|at| descends(&self.mine, at)) {
            let seen = at.head.snapshot.map(|id| id.to_string());
            if seen.is_some() && self.mine.seen != seen {
                let mine = Mine { seen, seq: self.mine.seq.max(at.head.seq), ..self.mine.clone() };
                match self.state.set_mine(&mine) {
                    Ok(()) => self.mine = mine,
                    Err(error) => tracing::debug!("{error}"),
                }
            }
        }
        Ok(())
    }

    /// What this process has committed, and what `merged` changes beyond it.
    pub(super) fn committed_files(&self, theirs: &Rows, merged: &Merged) -> BTreeMap<RelPath, ChangeKind> {
        let changed = changes(theirs, &merged.rows).into_iter().filter(|change| change.kind == Kind::File);
        let mut files = self.committed.clone();
        files.extend(changed.map(|change| (change.path, change.change)));
        files
    }

    pub(super) fn receipt(
        &self,
        theirs: &Rows,
        merged: &Merged,
        local: &Local,
        quiet: bool,
        next: Option<&Head>,
    ) -> Receipt {
        let files = self.committed_files(theirs, merged);
        let mut not_stored = local.lacking().named();
        self.name_ignored_edits(&mut not_stored);
        let deleted = files.values().filter(|change| **change == ChangeKind::Deleted).count() as u64;
        let conflicts = merged.copies.iter();
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
            not_stored,
            not_deleted: local.left(),
            conflicts: conflicts
                .map(|copy| Conflict { path: copy.path.to_string(), copy: copy.copy.to_string() })
                .collect(),
            omitted: 0,
            error: None,
        }
    }
}

/// What a commit that is late has not stored, as far as it knows.
fn late(changed: &[Change], is_there: impl Fn(&RelPath) -> bool) -> Receipt {
    let mut receipt = Receipt::failed(&"the server did not answer in time: nothing is known to be stored");
    for change in changed.iter().filter(|change| change.kind == Kind::File) {
        let path = change.path.to_string();
        match change.change {
            ChangeKind::Deleted if is_there(&change.path) => {}
            ChangeKind::Deleted => receipt.not_deleted.push(NotDeleted { path, reason: "deadline".to_owned() }),
            _ => receipt.not_stored.push(NotStored { path, reason: NotStoredReason::Deadline }),
        }
    }
    receipt
}

/// A receipt with what was sent since the commit began.
fn stamped(receipt: Receipt, (begun, before): (Instant, Counters), store: &Store) -> Receipt {
    let now = store.counters();
    Receipt {
        requests: now.requests - before.requests,
        bytes_sent: now.bytes_sent - before.bytes_sent,
        seconds: begun.elapsed().as_secs_f64(),
        ..receipt
    }
    .bounded()
}
