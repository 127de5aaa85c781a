//! What a head reaches: trees, the trees they build on, their packs and mirrors. Reads headers only, and fails rather
//! than take something for unreachable that it could not read.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{SyncError, remote::blocking};
use crate::{
    plan::Need,
    rows::PackName,
    snapshot::{FormatError, Limits, Mirror, MirrorHeader, SnapshotId, Stored, Tree, TreeHeader, pack_key},
    store::{GetIf, Got, Listed, Store},
};

/// Trees that are looked at beside each other: each is in memory as a whole.
const WIDTH: usize = 4;

/// The keys that must stay: of each root its tree, the one that builds on, the packs of both, its mirror, and the
/// mirror that builds on.
pub(super) async fn reachable(
    store: &Store,
    roots: &BTreeMap<SnapshotId, Need>,
    listed: &[Listed],
) -> Result<BTreeSet<String>, SyncError> {
    let mut trees = read_trees(store, roots.clone()).await?;
    // A tree that is there and needs another one that is not: of one that may be gone nothing follows.
    let mut bases: BTreeMap<SnapshotId, Need> = BTreeMap::new();
    for (id, (header, _)) in &trees {
        if let Some(base) = header.base {
            let need = roots.get(id).copied().unwrap_or(Need::May);
            bases.entry(base).and_modify(|known| *known = stricter(*known, need)).or_insert(need);
        }
    }
    bases.retain(|id, _| !trees.contains_key(id));
    let bases = read_trees(store, bases).await?;
    if let Some((id, (header, _))) = bases.iter().find(|(_, (header, _))| header.base.is_some()) {
        return Err(damaged(store, &format!("tree {id}"), format!("it builds on {:?} itself", header.base)));
    }
    trees.extend(bases);
    let mut kept = BTreeSet::new();
    for (id, (_, packs)) in &trees {
        kept.insert(id.tree_key());
        kept.extend(packs.iter().map(pack_key));
    }
    // One that came after the listing is not swept: only those that were listed are asked for.
    let there: BTreeSet<&str> = listed.iter().map(|listed| listed.key.as_str()).collect();
    let mirrors = roots.keys().filter(|id| there.contains(id.mirror_key().as_str()));
    let mirrors = stream::iter(mirrors.map(|id| mirror_header(store, id))).buffer_unordered(WIDTH);
    let mirrors: Vec<Option<MirrorHeader>> = mirrors.try_collect().await?;
    if mirrors.iter().any(Option::is_none) {
        // It was listed: gone meanwhile, or a server that errs. What it builds on is not known, so that none goes.
        let is_mirror = |key: &&&str| matches!(Stored::under(key), Some(Stored::Mirror(_)));
        kept.extend(there.iter().filter(is_mirror).map(|key| (*key).to_owned()));
    }
    for header in mirrors.into_iter().flatten() {
        kept.insert(header.id.mirror_key());
        kept.extend(header.base.map(|base| base.mirror_key()));
    }
    Ok(kept)
}

const fn stricter(one: Need, other: Need) -> Need {
    match (one, other) {
        (Need::May, Need::May) => Need::May,
        _ => Need::Must,
    }
}

type Trees = BTreeMap<SnapshotId, (TreeHeader, Vec<PackName>)>;

async fn read_trees(store: &Store, wanted: BTreeMap<SnapshotId, Need>) -> Result<Trees, SyncError> {
    let trees = stream::iter(wanted.into_iter().map(|(id, need)| read_tree(store, id, need)));
    let trees: Vec<Option<(SnapshotId, _)>> = trees.buffer_unordered(WIDTH).try_collect().await?;
    Ok(trees.into_iter().flatten().collect())
}

async fn read_tree(
    store: &Store,
    id: SnapshotId,
    need: Need,
) -> Result<Option<(SnapshotId, (TreeHeader, Vec<PackName>))>, SyncError> {
    let what = format!("tree {id}");
    let read = |bytes: &[u8]| Tree::decode_header(bytes, &Limits::default());
    match (read_header(store, &id.tree_key(), &what, read).await?, need) {
        (Some((header, packs)), _) if header.id == id => Ok(Some((id, (header, packs)))),
        (Some((header, _)), _) => Err(damaged(store, &what, format!("it says of itself that it is {}", header.id))),
        (None, Need::May) => Ok(None),
        (None, Need::Must) => {
            Err(damaged(store, &what, "it is kept, or one that is kept builds on it, and it is not there".to_owned()))
        }
    }
}

/// The header of a mirror; `None` where there is none.
pub(super) async fn mirror_header(store: &Store, id: &SnapshotId) -> Result<Option<MirrorHeader>, SyncError> {
    let what = format!("mirror {id}");
    let read = |bytes: &[u8]| Mirror::decode_header(bytes, &Limits::default());
    match read_header(store, &id.mirror_key(), &what, read).await? {
        Some(header) if header.id != *id => {
            Err(damaged(store, &what, format!("it says of itself that it is {}", header.id)))
        }
        found => Ok(found),
    }
}

async fn read_header<T: Send + 'static>(
    store: &Store,
    key: &str,
    what: &str,
    read: impl FnOnce(&[u8]) -> Result<T, FormatError> + Send + 'static,
) -> Result<Option<T>, SyncError> {
    let Got::Found(object) = store.get(key, GetIf::Always).await? else { return Ok(None) };
    let header = blocking(move || read(&object.bytes)).await?;
    Ok(Some(header.map_err(|error| SyncError::format(&error, what, &store.url()))?))
}

fn damaged(store: &Store, what: &str, why: String) -> SyncError {
    SyncError::Damaged { what: what.to_owned(), workspace: store.url(), why }
}
