//! Files of an older snapshot: over what is in the directory, or in a place of their own.
//!
//! In the directory this is editing, like any program's: whoever asks for it commits before and after. What the
//! directory took in, and which snapshot that was, is only what those two commits make of it; so what others added
//! stays. Nothing is replaced or removed that the commit before did not store as it is.

use std::{collections::BTreeMap, time::Instant};

use jiff::Timestamp;

use super::{
    Setting, SyncError,
    history::{choose, live_head, open},
    live_pull::Live,
    past::Past,
    pull::look_closely,
    remote::{HeadAt, blocking},
    restore::{Done, Restorer},
    room::Room,
    session::{
        connect, lock, open_directory, origin, owners, refuse_elsewhere, scan_directory, settle_pending, staging,
        totals, workspace,
    },
    which::Which,
};
use crate::{
    config::Config,
    plan::{Clear, RestoreOptions, RestorePlan, nowhere, restore_plan, rewound},
    report::{Events, Proof, Refused, Rewound, proof_line},
    rows::{Kind, RelPath, Rows},
    snapshot::SnapshotId,
    state::{Rewinding, State},
    store::Store,
    worktree::{Directory, Index, Scan, WriteOptions, Writer},
};

/// The id of the snapshot that people mean: a time means another one after the next commit.
///
/// # Errors
/// There is none; it says what there is.
pub async fn snapshot_named(config: &Config, text: &str) -> Result<String, SyncError> {
    let store = connect(config).await?;
    let at = live_head(&store).await?;
    let which = choose(&store, &at, text)?;
    if let Which::Unnamed(_) = which {
        open(&store, which).await?;
    }
    Ok(which.id().to_string())
}

/// Makes `paths` of the directory (all of it, if there are none) what they were in a snapshot, given by its id. Commits
/// nothing.
///
/// # Errors
/// A guard, the server, the disk. What was written until then is an edit of the directory.
pub async fn rewind(
    config: &Config,
    setting: &Setting,
    id: &str,
    paths: &[RelPath],
    events: &dyn Events,
) -> Result<Rewound, SyncError> {
    let begun = Instant::now();
    let url = workspace(config)?.url();
    let dir = open_directory(config, false)?;
    let never = || {
        SyncError::Guard(format!(
            "{} is no directory that {url} was restored into: `stopover pull` first, or name a place with --to",
            dir.path().display()
        ))
    };
    let Some(state) = State::open(&config.state)? else { return Err(never()) };
    let (state, _lock) = lock(state).await?;
    let mut past = Past::read(Some(&state), &dir)?;
    if !past.is_ready() || past.mine.as_ref().is_none_or(|mine| mine.workspace != url) {
        return Err(never());
    }
    let store = connect(config).await?;
    let at = live_head(&store).await?;
    refuse_elsewhere(config, &store, past.mine.as_ref(), Some(&at))?;
    if let Some(mine) = past.mine.as_mut()
        && settle_pending(&state, mine, Some(&at))?
    {
        past.origin = origin(&state, "origin")?;
    }
    let scan = scan_directory(config, setting, &dir, past.index.clone(), true);
    let own = dir.state_below(&config.state);
    let old = past_of(&store, &at, id, own.as_ref());
    let (scan, old) = futures_util::future::try_join(scan, old).await?;
    let local = local_rows(&dir, &scan, &old.tree.rows).await?;
    refuse_nowhere(&old.tree.rows, &local, paths, id)?;
    let wanted = rewound(&old.tree.rows, &local, paths);
    let (owner, owners) = owners(config, setting);
    let options = RestoreOptions { owners, ..RestoreOptions::default() };
    // A dry run is not preceded by a commit: it takes for stored what that one would store.
    let stored = if config.call.dry_run { Some(&local) } else { past.origin.as_ref() };
    let plan = restore_plan(&wanted, &local, stored, &options);
    let mut done = Done::default();
    if !config.call.dry_run {
        begin(&state, id, paths, past.mine.as_ref().and_then(|mine| mine.snapshot.clone()))?;
        let writer = Writer::new(&dir, &staging(config), WriteOptions { owner, fresh: false })?;
        let aside = config.state.join("aside").join(Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
        let ground = Ground { store: &store, dir: &dir, writer: &writer, scanned: &scan.index, aside, live: &old };
        done = ground.restore(&plan, events).await?;
        let mut index = scan.index.clone();
        for (path, row) in &done.index {
            index.insert(path, *row);
        }
        index.save(&state.path().join("index"))?;
    }
    let mut told = report(config, id, &plan, &done, &store, begun);
    let kept = plan.kept.iter().filter(|path| wanted.get(*path) != local.get(*path));
    told.refused.extend(kept.map(|path| Refused {
        key: path.to_text().into_owned(),
        reason: "what is there is not stored as it is: it is left alone".to_owned(),
    }));
    let told = finish(config, told, &done)?;
    if !config.call.dry_run {
        let mut begun = state.rewinding()?;
        begun.retain(|begun| !begun.is_covered_by(paths));
        state.set_rewinding(&begun)?;
    }
    Ok(told)
}

/// Notes, before the first write, that the directory will be neither what it was nor what is brought back: whoever
/// commits it then commits that, and says so.
fn begin(state: &State, id: &str, paths: &[RelPath], before: Option<String>) -> Result<(), SyncError> {
    let mut begun = state.rewinding()?;
    // What the oldest of those that did not end began with is what people want back.
    let before = begun.iter().find(|begun| begun.is_covered_by(paths)).map_or(before, |first| first.before.clone());
    begun.retain(|begun| !begun.is_covered_by(paths));
    let paths = paths.iter().map(ToString::to_string).collect();
    begun.push(Rewinding { snapshot: id.to_owned(), paths, before });
    Ok(state.set_rewinding(&begun)?)
}

/// The restores in place that did not end, in words.
pub(super) fn unfinished(state: &State) -> Vec<String> {
    let told = |begun: Rewinding| {
        let paths: String = begun.paths.iter().map(|path| format!(" {path}")).collect();
        let id = begun.snapshot;
        let back = begun
            .before
            .filter(|before| *before != id)
            .map(|before| format!(", `stopover restore {before}{paths}` takes it back"));
        format!(
            "the restore of snapshot {id} did not finish: some files are as they were then, others are not; `stopover \
             restore {id}{paths}` finishes it{}",
            back.unwrap_or_default()
        )
    };
    state.rewinding().unwrap_or_default().into_iter().map(told).collect()
}

/// The same for somebody who asks a supervisor, which says it in its own log. Without the right to read the notes
/// nothing is known.
#[must_use]
pub fn unfinished_restores(config: &Config) -> Vec<String> {
    State::open(&config.state).ok().flatten().map(|state| unfinished(&state)).unwrap_or_default()
}

/// Writes a snapshot, or `paths` of it, into the directory of `config`, which is new or empty, and nothing else.
///
/// # Errors
/// A guard, the server, the disk.
pub async fn extract(
    config: &Config,
    setting: &Setting,
    text: &str,
    paths: &[RelPath],
    events: &dyn Events,
) -> Result<Rewound, SyncError> {
    let begun = Instant::now();
    let place = config.dir.display();
    if std::fs::read_dir(&config.dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(SyncError::Guard(format!("{place} is not empty: name a new or an empty directory")));
    }
    let store = connect(config).await?;
    let at = live_head(&store).await?;
    let id = choose(&store, &at, text)?.id().to_string();
    let old = past_of(&store, &at, &id, None).await?;
    refuse_nowhere(&old.tree.rows, &Rows::new(), paths, &id)?;
    let wanted = rewound(&old.tree.rows, &Rows::new(), paths);
    let (owner, owners) = owners(config, setting);
    let options = RestoreOptions { owners, ..RestoreOptions::default() };
    let plan = restore_plan(&wanted, &Rows::new(), None, &options);
    let mut done = Done::default();
    if !config.call.dry_run {
        let dir = open_directory(config, true)?;
        let written = async {
            let writer = Writer::new(&dir, &staging(config), WriteOptions { owner, fresh: true })?;
            writer.check_space(plan.fetch.iter().map(|fetch| fetch.row.size).sum(), plan.fetch.len() as u64)?;
            let (scanned, aside) = (Index::default(), config.state.join("aside"));
            let ground = Ground { store: &store, dir: &dir, writer: &writer, scanned: &scanned, aside, live: &old };
            ground.restore(&plan, events).await
        };
        let written = written.await;
        // Made here, in a directory that was empty. No state: this is no directory of a workspace.
        for own in [staging(config), config.state.clone()] {
            if let Err(error) = std::fs::remove_dir(&own) {
                tracing::debug!("{}: {error}", own.display());
            }
        }
        done = written?;
        super::session::flush(&dir).await?;
    }
    let mut told = report(config, &id, &plan, &done, &store, begun);
    let (files, bytes, digest) = totals(&wanted);
    if !config.call.dry_run {
        told.proof = Some(proof_line(Proof::Snapshot(&id), files, bytes, &digest, told.seconds));
    }
    finish(config, told, &done)
}

/// A snapshot for its contents: nobody looks at the live tree, unless a pack is gone.
async fn past_of(store: &Store, at: &HeadAt, id: &str, state: Option<&RelPath>) -> Result<Live, SyncError> {
    let none = |_| SyncError::Snapshot(format!("{id:?} is no snapshot"));
    let id: SnapshotId = id.parse().map_err(none)?;
    let which = if at.head.knows(&id) { Which::Known(id) } else { Which::Unnamed(id) };
    Ok(Live::of_past(at, open(store, which).await?, state))
}

/// What is on the disk, also where the rules ignore it and the snapshot has it.
async fn local_rows(dir: &Directory, scan: &Scan, old: &Rows) -> Result<Rows, SyncError> {
    let mut local = scan.rows.clone();
    let missing: Vec<RelPath> = old.keys().filter(|path| !local.contains_key(*path)).cloned().collect();
    let dir = dir.try_clone()?;
    let found = blocking(move || {
        missing.into_iter().filter_map(|path| Some((path.clone(), look_closely(&dir, &path)?))).collect::<Rows>()
    });
    local.extend(found.await?);
    Ok(local)
}

fn refuse_nowhere(old: &Rows, local: &Rows, paths: &[RelPath], id: &str) -> Result<(), SyncError> {
    let lost = nowhere(old, local, paths);
    let Some(first) = lost.first() else { return Ok(()) };
    let more = if lost.len() > 1 { format!(" (nor {} more)", lost.len() - 1) } else { String::new() };
    Err(SyncError::Snapshot(format!("{first} is not in snapshot {id}{more}: nothing was written")))
}

/// Where files are written.
struct Ground<'a> {
    store: &'a Store,
    dir: &'a Directory,
    writer: &'a Writer,
    scanned: &'a Index,
    aside: std::path::PathBuf,
    live: &'a Live,
}

impl Ground<'_> {
    async fn restore(self, plan: &RestorePlan, events: &dyn Events) -> Result<Done, SyncError> {
        let restorer = Restorer {
            store: self.store,
            dir: self.dir,
            writer: self.writer,
            unread: &BTreeMap::new(),
            live: Some(self.live),
            scanned: self.scanned,
            aside: self.aside,
            room: Room::new(),
            events,
        };
        restorer.run(plan).await
    }
}

fn report(config: &Config, id: &str, plan: &RestorePlan, done: &Done, store: &Store, begun: Instant) -> Rewound {
    let is_left = |path: &RelPath| done.left.iter().chain(&done.failed).any(|(left, _)| left == path);
    let fetched = plan.fetch.iter().chain(&plan.symlinks).filter(|fetch| !is_left(&fetch.path));
    let (files, bytes) = fetched.fold((0, 0), |(files, bytes), fetch| (files + 1, bytes + fetch.row.size));
    let files = files + plan.meta.iter().filter(|meta| !is_left(&meta.path)).count() as u64;
    let cleared = plan.clear.iter().filter(|clear| match clear {
        // What takes its place is counted.
        Clear::Remove { path, .. } => !plan.fetch.iter().chain(&plan.symlinks).any(|fetch| fetch.path == *path),
        _ => false,
    });
    let removed = plan.remove.iter().filter(|(path, row)| row.kind != Kind::Dir && !is_left(path)).count();
    let not_written = done.left.iter().chain(&done.failed);
    Rewound {
        snapshot: id.to_owned(),
        before: None,
        after: None,
        files,
        removed: (removed + cleared.count()) as u64,
        bytes,
        requests: store.counters().requests,
        seconds: crate::report::rounded(begun.elapsed().as_secs_f64()),
        refused: not_written
            .map(|(path, why)| Refused { key: path.to_text().into_owned(), reason: why.clone() })
            .collect(),
        omitted: 0,
        dry_run: config.call.dry_run,
        proof: None,
    }
}

/// Contents that could not be had are a failure, unless that was allowed for.
fn finish(config: &Config, told: Rewound, done: &Done) -> Result<Rewound, SyncError> {
    match done.failed.first() {
        Some((path, why)) if !config.call.allow_partial => {
            Err(SyncError::Incomplete { count: done.failed.len(), first: path.to_string(), why: why.clone() })
        }
        _ => Ok(told.bounded()),
    }
}
