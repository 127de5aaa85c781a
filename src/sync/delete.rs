//! Deleting a workspace: a tombstone, so that every container of it knows; then exactly what was listed.
//!
//! Whoever is still at work on it goes on for a while: a commit writes packs and a tree before it meets the tombstone, a
//! catch-up some objects. So it is listed again and again. And each time the tombstone moves before anything goes: a
//! new workspace of that name may have begun meanwhile, and what its first commit uploaded before its own write of head
//! must not count any more once it was listed here.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use super::{
    SyncError,
    prune::uploads,
    publish::{Published, publish},
    remote::{HeadAt, is_still, random, read_head, written},
    session::{connect, refuse_read_only, with_abilities},
};
use crate::{
    config::Config,
    report::{Events, Phase, Progress},
    snapshot::{HEAD_KEY, Head, HeadState, SnapshotId},
    store::{Deleted, Listed, Probed, Store},
};

/// How often a workspace that others write to while it is deleted is listed again.
const ROUNDS: u32 = 20;
/// Deletions at once, where the settings allow it.
const WIDTH: usize = 8;
/// So long ago head may have been seen when a live object is deleted.
const FRESH: Duration = Duration::from_secs(5);
/// Listed so often and gone each time: a listing that lags.
const LAGS: u32 = 3;
/// What lies below it is stopover's own.
const OWN: &str = ".stopover/";

/// What a delete did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Objects deleted (in a dry run: that would be).
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Deletes a workspace, until only the tombstone is left or somebody makes the workspace anew.
///
/// # Errors
/// The server; what is not deleted then is garbage below a tombstone, and the next `delete` goes on.
pub async fn delete(config: &Config, events: &dyn Events) -> Result<Removed, SyncError> {
    refuse_read_only(config, "deleted")?;
    let mut store = connect(config).await?;
    let mut removed = Removed::default();
    if config.call.dry_run {
        let listed = everything(&store).await?;
        removed.objects = listed.len() as u64;
        removed.bytes = listed.iter().map(|listed| listed.size).sum();
        return Ok(removed);
    }
    let (mut begun, mut measured) = (false, false);
    // The one that is to be deleted: one of another birth began over a tombstone, perhaps over ours.
    let mut birth = None;
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let head = read_head(&store).await?;
        let is_deleted = head.as_ref().is_some_and(|at| at.head.state == HeadState::Deleted);
        let alive = head.as_ref().filter(|_| !is_deleted).map(|at| at.head.birth);
        if begun && !is_deleted || alive.is_some_and(|alive| *birth.get_or_insert(alive) != alive) {
            return Ok(removed);
        }
        let listed = everything(&store).await?;
        if listed.is_empty() && is_deleted {
            uploads::give_up(&store, None, false).await;
            return Ok(removed);
        }
        if listed.is_empty() && head.is_none() {
            return Err(SyncError::Directory(format!("{} does not exist: check the name", store.url())));
        }
        // Listed again and again, and gone each time it is looked at.
        if begun && listed.iter().all(|listed| tried.get(&listed.key).is_some_and(|times| *times >= LAGS)) {
            return Ok(removed);
        }
        if !measured {
            store = with_abilities(store, None, Probed { puts: true, deletes: true, ..Probed::default() }).await?;
            measured = true;
        }
        match bury(&store, head).await? {
            Buried::Stone(stone) => {
                begun = true;
                sweep(&store, &stone, listed, events, &mut removed, &mut tried).await?;
            }
            Buried::Built => begun = true,
            Buried::Lost => {}
        }
    }
    Err(SyncError::Contended(store.url(), ROUNDS))
}

/// What became of a tombstone.
enum Buried {
    /// It lies there.
    Stone(Box<HeadAt>),
    /// It lay there, and others wrote over it: a new workspace, or their own tombstone.
    Built,
    /// Others were faster.
    Lost,
}

/// Moves head to a tombstone.
async fn bury(store: &Store, head: Option<HeadAt>) -> Result<Buried, SyncError> {
    let old = match &head {
        Some(at) => at.head.clone(),
        None => Head::first_plain(SnapshotId::new(1, random()?), random()?, written(store)?),
    };
    let stone = old.tombstone(random()?, written(store)?);
    Ok(match publish(store, head.as_ref(), &stone).await? {
        Published::Won(Some(at)) => Buried::Stone(at),
        Published::Won(None) => Buried::Built,
        Published::Lost | Published::Gone => Buried::Lost,
    })
}

/// Deletes exactly what was listed, the live objects only in the version that was listed, and as long as the tombstone
/// lies.
async fn sweep(
    store: &Store,
    stone: &HeadAt,
    listed: Vec<Listed>,
    events: &dyn Events,
    removed: &mut Removed,
    tried: &mut BTreeMap<String, u32>,
) -> Result<(), SyncError> {
    let total = listed.len() as u64;
    let seen = Mutex::new(Some(Instant::now()));
    let seen = &seen;
    let deletions = stream::iter(listed.into_iter().map(|listed| async move {
        let deleted = delete_one(store, stone, seen, &listed).await;
        (listed, deleted)
    }));
    let mut deletions = std::pin::pin!(deletions.buffer_unordered(WIDTH.min(store.widths().1.max(1))));
    let mut at = 0;
    while let Some((listed, deleted)) = deletions.next().await {
        match deleted? {
            Some(Deleted::Done) => {
                removed.objects += 1;
                removed.bytes += listed.size;
            }
            Some(Deleted::Absent) => *tried.entry(listed.key.clone()).or_default() += 1,
            // Another version by now: the next round lists that one.
            Some(Deleted::Refused) => {}
            Some(Deleted::Denied(error)) => return Err(error.into()),
            // Head has moved: the next round sees what that means.
            None => return Ok(()),
        }
        at += 1;
        events.progress(Progress::new(Phase::Cleanup, at, total, Some(listed.key)));
    }
    Ok(())
}

/// Deletes one object; `None` if the tombstone does not lie there any more.
async fn delete_one(
    store: &Store,
    stone: &HeadAt,
    seen: &Mutex<Option<Instant>>,
    listed: &Listed,
) -> Result<Option<Deleted>, SyncError> {
    // Names below it are never used twice.
    if listed.key.starts_with(OWN) {
        return Ok(Some(store.delete(&listed.key, None).await?));
    }
    {
        let mut seen = seen.lock().await;
        match *seen {
            Some(at) if at.elapsed() < FRESH => {}
            Some(_) if is_still(store, Some(stone)).await? => *seen = Some(Instant::now()),
            _ => {
                *seen = None;
                return Ok(None);
            }
        }
    }
    Ok(Some(store.delete(&listed.key, Some(&listed.etag)).await?))
}

/// Every object of the workspace but its head.
async fn everything(store: &Store) -> Result<Vec<Listed>, SyncError> {
    let mut listed = store.list("").all().await?;
    listed.retain(|listed| listed.key != HEAD_KEY);
    Ok(listed)
}
