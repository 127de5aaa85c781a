//! Reading a live workspace: its snapshot, and what others did to the live tree since.
//!
//! What an object means is `plan::outside`'s; here it is only given what it asks for, until it asks for nothing more:
//! contents, a HEAD for what a listing lacks, the recent snapshots. Nothing is written to the bucket.

mod holders;
mod rules;
mod words;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;

use super::{
    SyncError,
    found::{Ask, Listing},
    hidden::{self, hidden_rows},
    import::{TRIES, hash_object, object},
    remote::{HeadAt, read_head_since},
    snapshots::{MirrorAt, Snapshot, newest_mirror, read_snapshot},
};
use crate::{
    plan::{
        Content, Contents, Explained, Held, ImportOptions, Merged, Mirror, Object, Outside, Refusal, RefusedKey,
        Unread, Wanted, outside, recent, wanted,
    },
    rows::{ETag, Kind, RelPath, Row, Rows},
    snapshot::{self, HeadState, SnapshotId, Tree},
    store::{Listed, Store},
    worktree::{RuleOptions, Rules},
};

/// Snapshots that are read beside each other: each is whole in memory for a moment.
const WIDTH: usize = 2;
/// Keys of a page of a listing.
const PAGE: usize = 1000;

/// A live workspace, read.
pub(super) struct Live {
    pub(super) head: HeadAt,
    /// Head's snapshot, less what lies in the state directory.
    pub(super) tree: Arc<Tree>,
    /// What the live tree was; empty where there is no mirror, or nobody looked.
    mirror: Mirror,
    built_from: Option<SnapshotId>,
    /// The live tree, if it was listed.
    objects: Option<Vec<Object>>,
    /// Of the recent snapshots, the present one left out, what says something about the objects that no other explains.
    recent: Vec<Rows>,
    /// Whether all of them could be read.
    complete: bool,
    contents: Contents,
    /// Missing objects of which a HEAD said 404.
    gone: BTreeSet<RelPath>,
    rules: Option<Rules>,
    owner: (u32, u32),
    refused_before: BTreeMap<RelPath, ETag>,
    accept_deletes: bool,
    /// Keys and rows that lie in the state directory.
    pub(super) refused_keys: Vec<RefusedKey>,
    /// What others did.
    pub(super) outside: Outside,
    /// Head's rows, merged with it.
    pub(super) wanted: Wanted,
}

/// How reading it went.
pub(super) enum Read {
    Done(Box<Live>),
    /// Head is another kind of head by now: all of it again.
    Moved,
    /// Its tree, or the one that builds on, is not there.
    NoTree,
}

/// A snapshot and the newest mirror, as they lie in the bucket.
pub(super) struct Tables {
    snapshot: Snapshot,
    mirror: Option<MirrorAt>,
}

impl Tables {
    /// Those of `head`; `None` where its tree, or the one that builds on, is not there. Who does not look at the live
    /// tree needs no mirror. Who lists it meanwhile is told where that can be cut.
    pub(super) async fn read(
        store: &Store,
        ask: &Ask<'_>,
        head: &HeadAt,
        tell: Option<oneshot::Sender<Vec<String>>>,
    ) -> Result<Option<Self>, SyncError> {
        let mirror = async {
            if !ask.live_tree {
                return Ok(None);
            }
            let mirror = newest_mirror(store, ask.cache, &head.head).await?;
            if let (Some(tell), Some(mirror)) = (tell, &mirror) {
                // Whoever listed may be done by now.
                drop(tell.send(cuts(mirror)));
            }
            Ok(mirror)
        };
        let snapshot = async {
            match &head.head.snapshot {
                Some(id) => read_snapshot(store, ask.cache, id).await,
                None => Ok(None),
            }
        };
        let (snapshot, mirror) = futures_util::future::try_join(snapshot, mirror).await?;
        Ok(snapshot.map(|snapshot| Self { snapshot, mirror }))
    }
}

/// Keys of the mirror, in their order, as far from one another as a page of a listing is long.
fn cuts(mirror: &MirrorAt) -> Vec<String> {
    let mut cuts: Vec<String> =
        mirror.whole.rows.keys().step_by(PAGE).skip(1).map(|path| path.to_text().into_owned()).collect();
    // Names that had to be spelt differently may stand elsewhere there.
    cuts.sort_unstable();
    cuts
}

impl Live {
    /// Reads what others did since `head`, whose `tables` were read beside the listing. Without one the live tree says
    /// nothing.
    pub(super) async fn read(
        store: &Store,
        ask: &Ask<'_>,
        mut head: HeadAt,
        mut tables: Option<Tables>,
        listed: Option<Listing>,
    ) -> Result<Read, SyncError> {
        let listed = match listed {
            Some(Err(error)) => {
                tracing::warn!("edits of others in the live tree are not looked for: {error}");
                None
            }
            Some(Ok(listed)) => Some(listed),
            None => None,
        };
        // Whether head was read after the listing: then its lineage has whatever a sibling's catch-up wrote until then.
        let mut is_after = false;
        let mut met: Option<Vec<Object>> = None;
        for _ in 0..TRIES {
            let Some(tables_now) = tables.take() else { return Ok(Read::NoTree) };
            let mut live = Self::of(ask, head.clone(), tables_now, listed.as_deref());
            // The versions that were met since, so that each is met once. What they hold, and which are gone, is found
            // out anew: the mirror of a newer head explains less of what was before it.
            if met.is_some() {
                live.objects = met.take();
            }
            if live.looks_untouched(store, ask.rules).await? {
                return Ok(Read::Done(Box::new(live)));
            }
            let known = live.head.head.snapshot;
            let mut now = match is_after {
                true => Some(live.head.clone()),
                // What a sibling's catch-up wrote until the listing came is no edit of an outsider.
                false => read_head_since(store, Some(live.head.clone())).await?,
            };
            is_after = true;
            if let Some(same) = now.take_if(|now| now.head.snapshot == known) {
                live.head = same;
                if !live.investigate(store).await? {
                    return Ok(Read::Done(Box::new(live)));
                }
                // Nor is what one wrote, or deleted, until an object was looked for that the listing does not have.
                now = read_head_since(store, Some(live.head.clone())).await?;
                if let Some(same) = now.take_if(|now| now.head.snapshot == known) {
                    live.head = same;
                    return Ok(Read::Done(Box::new(live)));
                }
            }
            met = live.objects;
            match now {
                Some(now) if now.head.state == HeadState::Live && now.head.birth == head.head.birth => {
                    tables = Tables::read(store, ask, &now, None).await?;
                    head = now;
                }
                _ => return Ok(Read::Moved),
            }
        }
        Err(SyncError::Contended(store.url(), TRIES))
    }

    fn of(ask: &Ask<'_>, head: HeadAt, tables: Tables, listed: Option<&[Listed]>) -> Self {
        let Tables { snapshot, mirror } = tables;
        let mut refused_keys = Vec::new();
        let tree = match ask.options.state {
            Some(state) => without_state(snapshot.whole, state, &mut refused_keys),
            None => snapshot.whole,
        };
        let objects = listed.map(|listed| {
            let objects = listed.iter().cloned().map(object);
            let (own, objects): (Vec<_>, Vec<_>) = objects.partition(|object| {
                let text = object.key.trim_end_matches('/');
                let kind = if text.len() < object.key.len() { Kind::Dir } else { Kind::File };
                let path = RelPath::from_text(text).ok();
                path.zip(ask.options.state).is_some_and(|(path, state)| is_state(state, &path, kind))
            });
            refused_keys.extend(own.into_iter().map(|own| RefusedKey { key: own.key, reason: Refusal::State }));
            objects
        });
        refused_keys.sort_by(|a, b| a.key.cmp(&b.key));
        refused_keys.dedup();
        let refused_before = if ask.accept_deletes { BTreeMap::new() } else { ask.refused.clone() };
        let built_from = mirror.as_ref().and_then(|mirror| mirror.whole.header.built_from);
        let merged = Merged { rows: tree.rows.clone(), ..Merged::default() };
        Self {
            head,
            tree,
            built_from,
            mirror: mirror.as_ref().map(as_planned).unwrap_or_default(),
            objects,
            recent: Vec::new(),
            complete: true,
            contents: ask.contents.clone(),
            gone: BTreeSet::new(),
            rules: None,
            owner: ask.options.owner,
            refused_before,
            accept_deletes: ask.accept_deletes,
            refused_keys,
            outside: Outside::default(),
            wanted: Wanted { merged, ..Wanted::default() },
        }
    }

    /// A snapshot of the past, for its contents: others did nothing to it, and nobody looks at the live tree unless
    /// a pack is gone.
    pub(super) fn of_past(now: &HeadAt, snapshot: Snapshot, state: Option<&RelPath>) -> Self {
        let mut refused_keys = Vec::new();
        let tree = match state {
            Some(state) => without_state(snapshot.whole, state, &mut refused_keys),
            None => snapshot.whole,
        };
        let mut head = now.clone();
        head.head.snapshot = Some(tree.header.id);
        Self {
            head,
            wanted: Wanted { merged: Merged { rows: tree.rows.clone(), ..Merged::default() }, ..Wanted::default() },
            tree,
            built_from: None,
            mirror: Mirror::default(),
            objects: None,
            recent: Vec::new(),
            complete: true,
            contents: Contents::new(),
            gone: BTreeSet::new(),
            rules: None,
            owner: (0, 0),
            refused_before: BTreeMap::new(),
            accept_deletes: false,
            refused_keys,
            outside: Outside::default(),
        }
    }

    /// Whether there is a listing of the live tree.
    pub(super) const fn is_listed(&self) -> bool {
        self.objects.is_some()
    }

    /// Whether mirror and head alone explain every object, and none is missing.
    async fn looks_untouched(&mut self, store: &Store, rules: &RuleOptions) -> Result<bool, SyncError> {
        let (mut found, asked) = self.compare();
        if asked {
            self.rules = Some(self.read_rules(store, rules).await?);
            found = self.compare().0;
        }
        self.outside = found;
        let found = &self.outside;
        Ok(found.edits.is_empty()
            && found.read.is_empty()
            && found.missing.is_empty()
            && found.in_the_way().next().is_none())
    }

    /// What the listing says, as far as is known; and whether somebody asked for the rules, and there are none yet.
    fn compare(&self) -> (Outside, bool) {
        let Some(objects) = &self.objects else { return (Outside::default(), false) };
        let asked = Cell::new(false);
        let ignored = |path: &RelPath, kind| match &self.rules {
            Some(rules) => !rules.verdict(path, kind).stored,
            None => {
                asked.set(true);
                true
            }
        };
        let options = ImportOptions { owner: self.owner, state: None };
        let recent: Vec<&Rows> = self.recent.iter().collect();
        let found = outside(
            objects,
            &self.tree.rows,
            &self.explained(&recent),
            self.complete,
            &self.contents,
            ignored,
            options,
        );
        (found, asked.get())
    }

    const fn explained<'a>(&'a self, recent: &'a [&'a Rows]) -> Explained<'a> {
        Explained { mirror: &self.mirror, recent, refused: &self.refused_before }
    }

    /// Finds out what the objects are that mirror and head do not explain, and which of the missing ones are gone. Says
    /// whether anything was learnt that the listing did not have: then head may have moved before that.
    async fn investigate(&mut self, store: &Store) -> Result<bool, SyncError> {
        self.read_recent(store).await?;
        self.ask_until_known(store).await
    }

    async fn ask_until_known(&mut self, store: &Store) -> Result<bool, SyncError> {
        let (mut first, mut others) = (None, false);
        for _ in 0..TRIES {
            let found = self.compare().0;
            let unproven: Vec<RelPath> =
                found.missing.keys().filter(|path| !self.gone.contains(*path)).cloned().collect();
            if found.read.is_empty() && unproven.is_empty() {
                let recent: Vec<&Rows> = self.recent.iter().collect();
                let explained = self.explained(&recent);
                let wanted = wanted(&self.tree.rows, &found, &explained, &self.gone, self.accept_deletes);
                (self.outside, self.wanted) = (found, wanted);
                return Ok(others);
            }
            first = found.read.keys().next().cloned().or(first);
            // A 404, too, is news of whoever has committed since: a sibling's own delete is no outsider's.
            others |= !unproven.is_empty();
            let moved = self.read_contents(store, found.read).await?;
            others |= !moved.is_empty();
            others |= self.look(store, moved.into_iter().chain(unproven).collect()).await?;
        }
        Err(SyncError::Incomplete {
            count: 1,
            first: first.map(|path| path.to_string()).unwrap_or_default(),
            why: "others replaced it each time it was read".to_owned(),
        })
    }

    /// Reads contents; gives the paths where there is another version by now.
    async fn read_contents(
        &mut self,
        store: &Store,
        wanted: BTreeMap<RelPath, Unread>,
    ) -> Result<Vec<RelPath>, SyncError> {
        let read: Vec<_> = stream::iter(wanted.into_iter().map(|(path, unread)| async move {
            let hash = hash_object(store, &path, &unread.etag).await?;
            Ok::<_, SyncError>((path, unread.etag, hash))
        }))
        .buffer_unordered(store.widths().0.max(1))
        .try_collect()
        .await?;
        let mut moved = Vec::new();
        for (path, etag, hash) in read {
            match hash {
                Some(hash) => drop(self.contents.insert(path, (etag, hash))),
                None => moved.push(path),
            }
        }
        Ok(moved)
    }

    /// Asks for these objects by name: what the listing said of them is no more, or it said nothing. Says whether any is
    /// there.
    async fn look(&mut self, store: &Store, paths: Vec<RelPath>) -> Result<bool, SyncError> {
        if paths.is_empty() {
            return Ok(false);
        }
        let looked: Vec<(RelPath, String, Option<Object>)> = stream::iter(paths.into_iter().map(|path| async move {
            let key = path.to_text().into_owned();
            let there = store.head(&key).await?.map(|meta| {
                let (key, last_modified) = (key.clone(), meta.last_modified);
                object(Listed { key, etag: meta.etag, size: meta.size, last_modified })
            });
            Ok::<_, SyncError>((path, key, there))
        }))
        .buffer_unordered(store.widths().0.max(1))
        .try_collect()
        .await?;
        let objects = self.objects.get_or_insert_default();
        let keys: BTreeSet<&String> = looked.iter().map(|(_, key, _)| key).collect();
        objects.retain(|object| !keys.contains(&object.key));
        let any = looked.iter().any(|(.., there)| there.is_some());
        for (path, _, there) in looked {
            match there {
                Some(there) => {
                    self.gone.remove(&path);
                    objects.push(there);
                }
                None => drop(self.gone.insert(path)),
            }
        }
        Ok(any)
    }

    /// Reads the recent snapshots; of each only what may explain something is kept.
    async fn read_recent(&mut self, store: &Store) -> Result<(), SyncError> {
        let present = self.head.head.snapshot;
        let recent = recent(&self.head.head.lineage, self.built_from.as_ref());
        let ids: Vec<SnapshotId> = recent.iter().filter(|id| Some(**id) != present).copied().collect();
        let missing: BTreeSet<RelPath> = self.outside.missing.keys().cloned().collect();
        let others = self.outside.edits.keys().chain(self.outside.read.keys()).cloned();
        let others = others.chain(self.outside.in_the_way());
        let asked: BTreeSet<RelPath> = others.chain(missing.iter().cloned()).collect();
        let mut trees =
            stream::iter(ids.into_iter().map(|id| async move { (id, read_snapshot(store, None, &id).await) }))
                .buffered(WIDTH);
        // The same content again says nothing, but for what is missing: all of them must have that one. A row of a plain
        // snapshot says which version has it, too.
        let mut told: BTreeSet<(RelPath, Content, Option<ETag>)> = BTreeSet::new();
        let mut known = hidden::Known::new();
        while let Some((id, read)) = trees.next().await {
            let why = match read {
                Ok(Some(snapshot)) => {
                    let mut tombstones = snapshot.whole.removed.clone();
                    tombstones.retain(|path, _| asked.contains(path));
                    let hidden = hidden_rows(store, &tombstones, &mut known).await?;
                    let rows =
                        snapshot.whole.rows.iter().filter(|(path, _)| !hidden.contains_key(*path)).chain(&hidden);
                    let rows = rows.filter(|(path, _)| asked.contains(*path) || may_be_copy(path));
                    let rows = rows.filter(|(path, row)| {
                        missing.contains(*path)
                            || Content::of(row)
                                .is_some_and(|content| told.insert(((*path).clone(), content, row.etag.clone())))
                    });
                    self.recent.push(rows.map(|(path, row)| (path.clone(), row.clone())).collect());
                    continue;
                }
                Ok(None) => "it is not there".to_owned(),
                Err(error @ (SyncError::Damaged { .. } | SyncError::Newer(_))) => error.to_string(),
                Err(error) => return Err(error),
            };
            tracing::warn!("no file counts as deleted by others, for the recent snapshot {id} cannot be read: {why}");
            self.complete = false;
        }
        Ok(())
    }

    /// Reads the edits that meet something in the directory; says whether there are others than were listed.
    pub(super) async fn read_what_meets(
        &mut self,
        store: &Store,
        local: &Rows,
        origin: Option<&Rows>,
    ) -> Result<bool, SyncError> {
        let meets = |path: &RelPath, unread: &Unread| {
            let may_meet = |row: &Row| origin.is_some() || row.kind == Kind::File && row.size == unread.size;
            local.get(path).is_some_and(may_meet) || origin.is_some_and(|origin| origin.contains_key(path))
        };
        let unread = self.outside.unread.iter().filter(|(path, unread)| meets(path, unread));
        let unread: BTreeMap<RelPath, Unread> = unread.map(|(path, unread)| (path.clone(), unread.clone())).collect();
        if unread.is_empty() {
            return Ok(false);
        }
        let moved = self.read_contents(store, unread).await?;
        let others = !moved.is_empty();
        self.look(store, moved).await?;
        Ok(self.ask_until_known(store).await? || others)
    }

    /// The outside deletes that are refused, those of before that still are among them.
    pub(super) fn refused_deletes(&self) -> BTreeMap<RelPath, ETag> {
        let mut refused = self.wanted.refused.clone();
        if self.refused_before.is_empty() {
            return refused;
        }
        let listed: BTreeSet<&str> = self.objects.iter().flatten().map(|object| &*object.key).collect();
        let still = self.refused_before.iter().filter(|(path, etag)| {
            let mirrored = self.mirror.rows.get(*path).is_some_and(|held| held.etag == **etag);
            // Where nobody looked nothing is known to have changed.
            let unchanged = if self.is_listed() { mirrored && !listed.contains(&*path.to_text()) } else { true };
            unchanged && Content::at(&self.tree.rows, path).is_some()
        });
        refused.extend(still.map(|(path, etag)| (path.clone(), etag.clone())));
        refused
    }
}

/// A mirror in the words of the plan, which has no use for the version of a folder's mark.
pub(super) fn as_planned(mirror: &MirrorAt) -> Mirror {
    let mut planned = Mirror::default();
    for (path, row) in &mirror.whole.rows {
        if let Some(snapshot::Mirrored { etag, size, hash }) = &row.object {
            let content = Content { hash: *hash, size: *size };
            planned.rows.insert(path.clone(), Held { etag: etag.clone(), content });
        }
        if row.folder {
            planned.markers.insert(path.clone(), ETag::new(""));
        }
    }
    planned
}

/// Whether `path` is, or lies in, the state directory, or is a file in its way.
fn is_state(state: &RelPath, path: &RelPath, kind: Kind) -> bool {
    path == state || path.is_below(state) || kind != Kind::Dir && state.is_below(path)
}

fn without_state(tree: Arc<Tree>, state: &RelPath, refused: &mut Vec<RefusedKey>) -> Arc<Tree> {
    let own: Vec<RelPath> =
        tree.rows.iter().filter(|(path, row)| is_state(state, path, row.kind)).map(|(path, _)| path.clone()).collect();
    if own.is_empty() {
        return tree;
    }
    let mut tree = Tree::clone(&tree);
    for path in own {
        tree.rows.remove(&path);
        refused.push(RefusedKey { key: path.to_text().into_owned(), reason: Refusal::State });
    }
    Arc::new(tree)
}

/// Whether `path` has the name of a copy of theirs.
fn may_be_copy(path: &RelPath) -> bool {
    path.name().windows(8).any(|part| part == b".theirs-")
}
