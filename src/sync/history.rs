//! The history of a live workspace, for people: what is kept, what differs, and names for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SyncError,
    publish::{Published, publish},
    remote::{HeadAt, now, read_head, written},
    session::{connect, refuse_read_only, with_abilities, with_noted_abilities},
    snapshots::{Snapshot, read_snapshot},
    which::{Which, which},
};
use crate::{
    config::Config,
    plan::{ChangeKind as Planned, Named, changes, strays},
    report::{ChangeKind, PathChange, SnapshotItem, Tagged, timestamp},
    rows::{PackName, Place},
    snapshot::{Head, HeadState, HistoryEntry, SnapshotId, Stored, pack_key},
    state::State,
    store::{Listed, Probed, Store},
};

/// How often a head that others move meanwhile is read anew.
const ROUNDS: u32 = 20;
/// Below it lie the trees.
const TREES: &str = ".stopover/trees/";
/// And here the packs.
const PACKS: &str = ".stopover/packs/";

/// What is kept of a workspace's past.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The kept snapshots, oldest first.
    pub kept: Vec<SnapshotItem>,
    /// Snapshots that no history holds and that can be brought back: perhaps another's commit that was overwritten, on a server that cannot see to
    /// it that this does not happen.
    pub strays: Vec<String>,
}

/// What a tag is to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tagging<'a> {
    /// The tag of this snapshot, `.` for the present one.
    Of(&'a str),
    /// No tag any more.
    Nothing,
}

/// The history of the workspace that is set.
///
/// # Errors
/// There is no such workspace; the server.
pub async fn snapshots(config: &Config) -> Result<History, SyncError> {
    let store = connect(config).await?;
    let Some(at) = read_head(&store).await?.filter(|at| at.head.state != HeadState::Deleted) else {
        if store.list_live().next_page().await?.is_none_or(|page| page.is_empty()) {
            return Err(no_workspace(&store));
        }
        return Ok(History::default());
    };
    let store = with_noted_abilities(store, State::open(&config.state).ok().flatten().as_ref());
    let strays = strays_of(&store, &at.head).await?;
    Ok(History { kept: at.head.history.iter().map(item).collect(), strays })
}

/// Where a server is known not to honour conditions: the snapshots that no history holds.
pub(super) async fn strays_of(store: &Store, head: &Head) -> Result<Vec<String>, SyncError> {
    if store.abilities().is_none_or(|able| able.conditional_puts()) {
        return Ok(Vec::new());
    }
    let listed = store.list(TREES).all().await?;
    let strays = strays_among(store, head, &listed);
    if strays.is_empty() {
        return Ok(Vec::new());
    }
    let packs = store.list(PACKS).all().await?;
    Ok(whole(store, strays, &packs).await?.iter().map(ToString::to_string).collect())
}

/// Of strays those that can be brought back: a commit that was killed can have written its tree and not its last pack.
/// `listed` has at least all packs.
pub(super) async fn whole(
    store: &Store,
    strays: BTreeSet<SnapshotId>,
    listed: &[Listed],
) -> Result<BTreeSet<SnapshotId>, SyncError> {
    let there: BTreeSet<&str> = listed.iter().map(|listed| listed.key.as_str()).collect();
    let mut whole = BTreeSet::new();
    for id in strays {
        let rows = match read_snapshot(store, None, &id).await {
            Ok(Some(snapshot)) => snapshot.whole,
            Ok(None) | Err(SyncError::Damaged { .. } | SyncError::Newer(_)) => continue,
            Err(error) => return Err(error),
        };
        let places = rows.rows.values().flat_map(|row| row.pieces.places());
        let packs: BTreeSet<&PackName> = places.filter_map(Place::frame).map(|frame| &frame.pack).collect();
        if packs.into_iter().all(|pack| there.contains(pack_key(pack).as_str())) {
            whole.insert(id);
        }
    }
    Ok(whole)
}

fn item(entry: &HistoryEntry) -> SnapshotItem {
    SnapshotItem {
        id: entry.snapshot.to_string(),
        time: timestamp(entry.time.into()),
        files: entry.files,
        bytes: entry.bytes,
        changed: entry.changed,
        writer: entry.writer.clone(),
        tags: entry.tags.clone(),
        quiet: entry.quiet,
        partial: entry.partial,
    }
}

/// Of listed trees those that no lineage and no history holds, and that are not too old to be looked for.
pub(super) fn strays_among(store: &Store, head: &Head, listed: &[Listed]) -> BTreeSet<SnapshotId> {
    let trees = listed.iter().filter_map(|listed| match Stored::under(&listed.key) {
        Some(Stored::Tree(id)) => Some((id, age(store, listed))),
        _ => None,
    });
    let trees: BTreeMap<SnapshotId, u64> = trees.collect();
    let history: Vec<SnapshotId> = head.history.iter().map(|entry| entry.snapshot).collect();
    strays(&trees, &named(head, &history, None))
}

/// What the plan wants to know of a head.
pub(super) fn named<'a>(
    head: &'a Head,
    history: &'a [SnapshotId],
    built_from: Option<&'a SnapshotId>,
) -> Named<'a, SnapshotId> {
    let (snapshot, mirror) = (head.snapshot.as_ref(), head.mirror.as_ref());
    Named { snapshot, history, lineage: &head.lineage, mirror, built_from }
}

/// Seconds since an object was written, by the server's clock; none have passed where it does not say.
pub(super) fn age(store: &Store, listed: &Listed) -> u64 {
    let now = store.server_now().unwrap_or_else(std::time::SystemTime::now);
    let since = listed.last_modified.and_then(|written| now.duration_since(written).ok());
    since.map_or(0, |since| since.as_secs())
}

/// In what two snapshots differ; without the second the first and the present one.
///
/// # Errors
/// There is no such snapshot; the server.
pub async fn diff(config: &Config, from: &str, to: Option<&str>) -> Result<Vec<PathChange>, SyncError> {
    let store = connect(config).await?;
    let at = live_head(&store).await?;
    let (from, to) = (choose(&store, &at, from)?, choose(&store, &at, to.unwrap_or("."))?);
    let (from, to) = futures_util::future::try_join(open(&store, from), open(&store, to)).await?;
    let found = changes(&from.whole.rows, &to.whole.rows);
    Ok(found.into_iter().map(|found| PathChange { path: found.path.to_string(), change: told(found.change) }).collect())
}

const fn told(change: Planned) -> ChangeKind {
    match change {
        Planned::Added => ChangeKind::Added,
        Planned::Modified => ChangeKind::Modified,
        Planned::Deleted => ChangeKind::Deleted,
        Planned::Metadata => ChangeKind::Metadata,
    }
}

/// Gives a kept snapshot a name, or takes the name away. A snapshot that has one is kept for ever.
///
/// # Errors
/// There is no such snapshot; it is no name; the server.
pub async fn tag(config: &Config, tag: &str, becomes: Tagging<'_>) -> Result<Tagged, SyncError> {
    refuse_read_only(config, "tagged")?;
    let mut store = connect(config).await?;
    for round in 0..ROUNDS {
        let at = live_head(&store).await?;
        let snapshot = match becomes {
            Tagging::Of(text) => Some(*choose(&store, &at, text)?.id()),
            Tagging::Nothing => None,
        };
        let before = at.head.tag(tag).map(|entry| entry.snapshot);
        let next = match &snapshot {
            Some(id) => at.head.tagged(id, tag, written(&store)?)?,
            None => at.head.untagged(tag, written(&store)?),
        };
        let tagged = Tagged {
            tag: tag.to_owned(),
            snapshot: snapshot.map(|id| id.to_string()),
            before: before.map(|id| id.to_string()),
        };
        if snapshot == before || config.call.dry_run {
            return Ok(tagged);
        }
        if round == 0 {
            let state = State::open(&config.state).ok().flatten();
            store = with_abilities(store, state.as_ref(), Probed { puts: true, ..Probed::default() }).await?;
        }
        if let Published::Won(_) = publish(&store, Some(&at), &next).await? {
            return Ok(tagged);
        }
    }
    Err(SyncError::Contended(store.url(), ROUNDS))
}

/// The head of a workspace that has a history.
pub(super) async fn live_head(store: &Store) -> Result<HeadAt, SyncError> {
    match read_head(store).await? {
        Some(at) if at.head.state == HeadState::Live => Ok(at),
        Some(at) if at.head.state == HeadState::Plain => Err(no_history(store)),
        found => {
            let empty = store.list_live().next_page().await?.is_none_or(|page| page.is_empty());
            Err(if found.is_some() || empty { no_workspace(store) } else { no_history(store) })
        }
    }
}

fn no_workspace(store: &Store) -> SyncError {
    SyncError::Snapshot(format!("{} does not exist: check the name", store.url()))
}

fn no_history(store: &Store) -> SyncError {
    SyncError::Snapshot(format!("{} has no snapshots yet: the first checkpoint of a container makes one", store.url()))
}

/// The snapshot that people mean.
pub(super) fn choose(store: &Store, at: &HeadAt, text: &str) -> Result<Which, SyncError> {
    which(&at.head, text, now(store)).map_err(|why| SyncError::Snapshot(format!("{}: {why}", store.url())))
}

/// The rows of a snapshot that people mean.
pub(super) async fn open(store: &Store, which: Which) -> Result<Snapshot, SyncError> {
    let id = which.id();
    match (read_snapshot(store, None, id).await?, which) {
        (Some(snapshot), _) => Ok(snapshot),
        (None, Which::Known(_)) => Err(SyncError::Damaged {
            what: format!("tree {id}"),
            workspace: store.url(),
            why: "head.json names it, but it, or the tree it builds on, is not there".to_owned(),
        }),
        (None, Which::Unnamed(_)) => {
            Err(SyncError::Snapshot(format!("{} has no snapshot {id}: it is not kept (any more)", store.url())))
        }
    }
}
