//! Sweeping what nothing can reach: what commits that failed left behind, and what history does not keep any more.
//!
//! Safe beside writers, without a lock and without a clock: head moves between the look and the deletions. Whoever
//! uploaded something that is swept here, and has not named it yet, meets that head at his own write, sees that `gc`
//! moved, and uploads again under new names. Whatever cannot be read on the way ends the prune before it deletes.

mod reach;
pub(super) mod uploads;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt, stream};

use super::{
    SyncError,
    history::{age, named, strays_among, whole},
    publish::{Published, publish},
    remote::{HeadAt, is_still, now, random, read_head, written},
    retain::retain,
    session::{connect, refuse_read_only, with_abilities, with_noted_abilities},
};
use crate::{
    config::Config,
    plan::{COURTESY_SECONDS, Need, roots, sweep},
    report::{Events, Phase, Progress, Pruned},
    snapshot::{HEAD_KEY, Head, HeadState, SnapshotId},
    state::State,
    store::{Deleted, Listed, Probed, Store},
};

/// How often a workspace that others write to meanwhile is looked at anew.
const ROUNDS: u32 = 20;
/// Deletions at once.
const WIDTH: usize = 8;
/// What lies below it is stopover's own.
const OWN: &str = ".stopover/";

/// So long an upload in parts may take.
const COURTESY: Duration = Duration::from_secs(COURTESY_SECONDS);

/// What can go.
struct Surplus {
    at: HeadAt,
    /// The same head without what history does not keep any more.
    trimmed: Head,
    objects: Vec<Listed>,
    pruned: Pruned,
}

/// Deletes what neither the present snapshot nor a kept one needs.
///
/// # Errors
/// A guard; the server, or something reachable that cannot be read: then nothing is deleted. An error while deleting
/// leaves garbage for the next prune.
pub async fn prune(config: &Config, events: &dyn Events) -> Result<Pruned, SyncError> {
    refuse_read_only(config, "pruned")?;
    let store = connect(config).await?;
    let state = State::open(&config.state).ok().flatten();
    let store = if config.call.dry_run {
        with_noted_abilities(store, state.as_ref())
    } else {
        with_abilities(store, state.as_ref(), Probed { puts: true, ..Probed::default() }).await?
    };
    let may_race = match store.abilities() {
        Some(able) => !able.conditional_puts(),
        // What a dry run may not measure it takes for the best.
        None => !config.call.dry_run,
    };
    if may_race && !config.call.sole_writer {
        return Err(SyncError::Guard(format!(
            "{} does not honour conditional writes, so a prune could delete what another container has just stored: \
             stop whatever runs on {}, then prune with --sole-writer",
            store.endpoint(),
            store.url()
        )));
    }
    let mut uploads = None;
    for _ in 0..ROUNDS {
        let at = head_to_prune(&store).await?;
        let mut surplus = match look(&store, config, may_race, at.clone()).await {
            Ok(surplus) => surplus,
            // What that head keeps may be gone because another prune, or a delete, has moved it since.
            Err(error) if is_still(&store, Some(&at)).await? => return Err(error),
            Err(error) => {
                tracing::debug!("head has moved since it was read ({error}): looking again");
                continue;
            }
        };
        // They are in nobody's way, and no head tells of them.
        let given_up = match uploads {
            Some(given_up) => given_up,
            None => *uploads.insert(uploads::give_up(&store, Some(COURTESY), config.call.dry_run).await),
        };
        surplus.pruned.uploads = given_up;
        let nothing = surplus.objects.is_empty() && surplus.pruned.forgotten == 0;
        if config.call.dry_run || nothing {
            return Ok(surplus.pruned);
        }
        let next = surplus.trimmed.pruned(random()?, written(&store)?);
        if let Published::Won(_) = publish(&store, Some(&surplus.at), &next).await? {
            delete(&store, std::mem::take(&mut surplus.objects), events).await?;
            return Ok(surplus.pruned);
        }
    }
    Err(SyncError::Contended(store.url(), ROUNDS))
}

/// The head of a workspace that something can be swept of.
async fn head_to_prune(store: &Store) -> Result<HeadAt, SyncError> {
    match read_head(store).await? {
        Some(at) if at.head.state != HeadState::Deleted => Ok(at),
        Some(_) => Err(SyncError::Snapshot(format!(
            "{} was deleted; `stopover delete` removes what is left of it",
            store.url()
        ))),
        None => Err(SyncError::Snapshot(format!(
            "{} has no {HEAD_KEY}: it does not exist, or nothing was ever committed to it",
            store.url()
        ))),
    }
}

/// Lists, and follows what the head names that was read before, in this order.
async fn look(store: &Store, config: &Config, may_race: bool, at: HeadAt) -> Result<Surplus, SyncError> {
    let listed = store.list(OWN).all().await?;
    let mut trimmed = at.head.clone();
    retain(&mut trimmed, config, now(store));
    let history: Vec<SnapshotId> = trimmed.history.iter().map(|entry| entry.snapshot).collect();
    let built_from = match &trimmed.mirror {
        Some(id) => reach::mirror_header(store, id).await?.and_then(|header| header.built_from),
        None => None,
    };
    let mut roots = roots(&named(&trimmed, &history, built_from.as_ref()));
    let strays = if may_race { strays_among(store, &trimmed, &listed) } else { BTreeSet::new() };
    for id in &strays {
        roots.entry(*id).or_insert(Need::May);
    }
    let kept = reach::reachable(store, &roots, &listed).await?;
    let strays = whole(store, strays, &listed).await?;
    let ages: BTreeMap<&String, u64> = listed.iter().map(|listed| (&listed.key, age(store, listed))).collect();
    let head_key = HEAD_KEY.to_owned();
    let unreachable = |courtesy| sweep(ages.iter().map(|(key, age)| (*key, *age)), &head_key, &kept, courtesy);
    let swept: BTreeSet<String> = unreachable(true).into_iter().cloned().collect();
    let young = (unreachable(false).len() - swept.len()) as u64;
    let objects: Vec<Listed> = listed.iter().filter(|listed| swept.contains(&listed.key)).cloned().collect();
    let pruned = Pruned {
        workspace: store.url(),
        kept: trimmed.history.len() as u64,
        forgotten: (at.head.history.len() - trimmed.history.len()) as u64,
        objects: objects.len() as u64,
        bytes: objects.iter().map(|listed| listed.size).sum(),
        young,
        uploads: 0,
        strays: strays.iter().map(ToString::to_string).collect(),
        dry_run: config.call.dry_run,
    };
    Ok(Surplus { at, trimmed, objects, pruned })
}

/// Deletes exactly these. No condition: nothing is ever written again under a name that was garbage once.
async fn delete(store: &Store, objects: Vec<Listed>, events: &dyn Events) -> Result<(), SyncError> {
    let total = objects.len() as u64;
    let deletions = stream::iter(objects.into_iter().map(|listed| async move {
        let deleted = store.delete(&listed.key, None).await;
        (listed.key, deleted)
    }));
    let mut deletions = std::pin::pin!(deletions.buffer_unordered(WIDTH));
    let mut done = 0;
    while let Some((key, deleted)) = deletions.next().await {
        match deleted? {
            Deleted::Done | Deleted::Absent | Deleted::Refused => done += 1,
            Deleted::Denied(error) => return Err(error.into()),
        }
        events.progress(Progress::new(Phase::Cleanup, done, total, Some(key)));
    }
    Ok(())
}
