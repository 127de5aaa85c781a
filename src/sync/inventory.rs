//! Looking without changing: the workspaces of a store, and what a commit of a directory would send. And the one
//! thing that changes all of it: deleting a workspace.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Setting, SyncError,
    publish::{Published, publish},
    remote::{random, read_head, read_plain_head, written},
    session::{
        adopt, connect, open_directory, origin, owners, refuse_read_only, scan_directory, told, totals, with_abilities,
        workspace,
    },
};
use crate::{
    config::Config,
    plan::changes,
    report::{Change, ChangeKind, Conflict, Events, Ignored, Phase, Progress, Status, WorkspaceItem, timestamp},
    rows::{Kind, Rows},
    snapshot::{HEAD_KEY, Head, HeadState, SnapshotId},
    state::State,
    store::{Deleted, GetIf, Got, Listed, Probed, Store},
    worktree::{Index, Presence},
};

/// How many workspaces are looked at beside each other.
const WIDTH: usize = 4;
/// How often a workspace that others write to while it is deleted is listed again.
const ROUNDS: u32 = 20;

/// What a delete did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Objects deleted (in a dry run: that would be).
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The workspaces of the store, by name.
///
/// # Errors
/// The server.
pub async fn list(config: &Config) -> Result<Vec<WorkspaceItem>, SyncError> {
    let place =
        config.store.as_ref().ok_or_else(|| SyncError::Guard("no store is set: set STOPOVER_STORE".to_owned()))?;
    let store = Store::connect(&config.access, &place.bucket, &place.prefix).await?;
    let names = store.list_prefixes().await?;
    let items: Vec<Option<WorkspaceItem>> = stream::iter(names.into_iter().map(|name| {
        let below = store.below(&name);
        async move { item(&below, name).await }
    }))
    .buffered(WIDTH)
    .try_collect()
    .await?;
    Ok(items.into_iter().flatten().collect())
}

/// One workspace; `None` for a tombstone with nothing left.
async fn item(store: &Store, name: String) -> Result<Option<WorkspaceItem>, SyncError> {
    // Of any state, also one that only a newer version restores: it is there, and people should see it.
    let head = match store.get(HEAD_KEY, GetIf::Always).await? {
        Got::Found(object) => Head::decode(&object.bytes).ok(),
        _ => None,
    };
    let counted = head.as_ref().and_then(|head| head.entry(&head.snapshot?)).map(|entry| (entry.files, entry.bytes));
    let (files, bytes) = match counted {
        Some(counts) => counts,
        None => {
            let listed = store.list_live().all().await?;
            if listed.is_empty() && head.as_ref().is_some_and(|head| head.state == HeadState::Deleted) {
                return Ok(None);
            }
            let files = listed.iter().filter(|listed| !listed.key.ends_with('/'));
            files.fold((0, 0), |(files, bytes), listed| (files + 1, bytes + listed.size))
        }
    };
    let head = head.filter(|head| head.state != HeadState::Deleted);
    Ok(Some(WorkspaceItem {
        name,
        url: store.url(),
        files,
        bytes,
        snapshot: head.as_ref().and_then(told),
        last_commit: head.as_ref().map(|head| timestamp(head.time.into())),
        writer: head.map(|head| head.writer),
    }))
}

/// What a commit of the directory would send.
///
/// # Errors
/// The disk, the server.
pub async fn status(config: &Config, setting: &Setting) -> Result<Status, SyncError> {
    let dir = open_directory(config, false)?;
    let state = State::open(&config.state)?;
    let (mut mine, mut taken_in, mut index) = (None, None, Index::default());
    if let Some(state) = &state {
        mine = state.mine()?;
        index = Index::load(&state.path().join("index"));
        if state.ready()?.is_some() {
            taken_in = origin(state, "origin")?;
        }
    }
    let scan = scan_directory(config, setting, &dir, index, false);
    let store = connect(config).await?;
    let (scan, head) = futures_util::future::try_join(scan, read_head(&store)).await?;
    let exists = match &head {
        Some(at) if at.head.state != HeadState::Deleted => true,
        _ => store.list_live().next_page().await?.is_some_and(|page| !page.is_empty()),
    };
    let (_, policy) = owners(config, setting);
    let nothing = Rows::new();
    let base = taken_in.as_ref().unwrap_or(&nothing);
    let mut ours = scan.rows.clone();
    adopt(policy, &mut ours, &[base]);
    // What is not seen is not gone, unless the disk says so.
    for (path, row) in base.iter().filter(|(path, _)| !scan.rows.contains_key(*path)) {
        if !matches!(dir.look(path), Presence::Gone) {
            ours.insert(path.clone(), row.clone());
        }
    }
    let (files, bytes, _) = totals(&ours);
    Ok(Status {
        workspace: Some(workspace(config)?.url()),
        directory: config.dir.display().to_string(),
        exists: Some(exists),
        files,
        dirs: ours.values().filter(|row| row.kind == Kind::Dir).count() as u64,
        bytes,
        ready: taken_in.is_some(),
        snapshot: mine
            .and_then(|mine| mine.snapshot)
            .filter(|_| head.as_ref().is_some_and(|at| told(&at.head).is_some())),
        last_commit: head.filter(|at| at.head.state != HeadState::Deleted).map(|at| timestamp(at.head.time.into())),
        changes: changes(base, &ours).into_iter().map(change).collect(),
        ignored: scan
            .ignored
            .iter()
            .map(|rule| Ignored {
                rule: rule.rule.clone(),
                source: rule.source.clone(),
                files: rule.files,
                bytes: rule.bytes,
            })
            .collect(),
        conflicts: conflicts(&ours),
    })
}

fn change(change: crate::plan::Change) -> Change {
    use crate::plan::ChangeKind as Planned;
    let kind = match change.change {
        Planned::Added => ChangeKind::Added,
        Planned::Modified => ChangeKind::Modified,
        Planned::Deleted => ChangeKind::Deleted,
        Planned::Metadata => ChangeKind::Metadata,
    };
    Change { path: change.path.to_string(), change: kind, size: change.size }
}

/// Copies that merges left, by their names.
fn conflicts(rows: &Rows) -> Vec<Conflict> {
    let copies = rows.keys().filter_map(|path| {
        let text = path.to_text().into_owned();
        let at = text.rfind(".theirs-").or_else(|| text.rfind(".ours-"))?;
        let digits = text[at + 1..].split_once('-')?.1;
        let is_hash = digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then(|| Conflict { path: text[..at].to_owned(), copy: text.clone() })
    });
    copies.collect()
}

/// Deletes a workspace: a tombstone first, so that every container of it knows; then exactly what was listed, until
/// only the tombstone is left or somebody makes the workspace anew.
///
/// # Errors
/// The server; what is not deleted then is garbage below a tombstone, and the next `delete` goes on.
pub async fn delete(config: &Config, events: &dyn Events) -> Result<Removed, SyncError> {
    refuse_read_only(config, "deleted")?;
    let store = connect(config).await?;
    let listed = everything(&store).await?;
    let mut removed = Removed::default();
    if config.call.dry_run {
        removed.objects = listed.len() as u64;
        removed.bytes = listed.iter().map(|listed| listed.size).sum();
        return Ok(removed);
    }
    let head = read_plain_head(&store).await?;
    if head.is_none() && listed.is_empty() {
        return Err(SyncError::Directory(format!("{} does not exist: check the name", store.url())));
    }
    let store = with_abilities(store, None, Probed { puts: true, deletes: true, ..Probed::default() }).await?;
    if head.as_ref().is_none_or(|at| at.head.state != HeadState::Deleted) {
        let old = match &head {
            Some(at) => at.head.clone(),
            None => Head::first_plain(SnapshotId::new(1, random()?), random()?, written(&store)?),
        };
        let tombstone = old.tombstone(random()?, written(&store)?);
        match publish(&store, head.as_ref(), &tombstone).await? {
            Published::Won => {}
            Published::Lost | Published::Gone => {
                return Err(SyncError::Guard(format!(
                    "{} was committed to while it was being deleted: stop what runs on it, or delete it again",
                    store.url()
                )));
            }
        }
    }
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let listed = everything(&store).await?;
        if listed.is_empty() {
            return Ok(removed);
        }
        if read_plain_head(&store).await?.is_some_and(|at| at.head.state != HeadState::Deleted) {
            return Ok(removed);
        }
        let total = listed.len() as u64;
        let seen: BTreeSet<String> = listed.iter().map(|listed| listed.key.clone()).collect();
        for (at, listed) in listed.into_iter().enumerate() {
            events.progress(Progress::new(Phase::Cleanup, at as u64 + 1, total, Some(listed.key.clone())));
            match store.delete(&listed.key, Some(&listed.etag)).await? {
                Deleted::Done => {
                    removed.objects += 1;
                    removed.bytes += listed.size;
                }
                Deleted::Absent | Deleted::Refused => {
                    *tried.entry(listed.key).or_default() += 1;
                }
                Deleted::Denied(error) => return Err(error.into()),
            }
        }
        // Listed again and again, and gone each time it is looked at: a listing that lags.
        if seen.iter().all(|key| tried.get(key).is_some_and(|times| *times >= 3)) {
            return Ok(removed);
        }
    }
    Err(SyncError::Contended(store.url(), ROUNDS))
}

/// Every object of the workspace but its head.
async fn everything(store: &Store) -> Result<Vec<Listed>, SyncError> {
    let mut listed = store.list("").all().await?;
    listed.retain(|listed| listed.key != HEAD_KEY);
    Ok(listed)
}
