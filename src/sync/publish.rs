//! Moving head: the one write that makes a commit what the workspace is. Nothing else in this crate writes head.json.
//!
//! Whatever the answer, head is read back until it is clear whether the write was applied: a lost reply must not look
//! like a lost race, and a retry must not be taken for somebody else's commit.

use std::time::Duration;

use bytes::Bytes;

use super::{
    SyncError,
    base::after_cas,
    remote::{HeadAt, is_still, random, read_head, written},
};
use crate::{
    plan::Cas,
    rows::{Pieces, Removed, Row, Rows},
    snapshot::{HEAD_KEY, Head, HeadState, Limits, Missing, SnapshotId, Tree, TreeHeader},
    state::Mine,
    store::{Abilities, MAX_WHOLE, Probed, Put, PutIf, Store},
};

/// How often the same bytes are sent again while head is still the old one.
const TRIES: u32 = 8;
/// So many refusals that nothing explains are taken for chance, of a server that nobody has measured.
const TRUSTED: u32 = 2;

/// What became of a head.
#[derive(Debug)]
pub(super) enum Published {
    /// It is, or was, the workspace's head: the commit is durable. With the version it has, where others are not on top
    /// of it already.
    Won(Option<Box<HeadAt>>),
    /// Another writer's is; plan again.
    Lost,
    /// The workspace was deleted, or made anew.
    Gone,
}

/// Moves head from `old` to `new`, for somebody without a directory that belongs to the workspace.
pub(super) async fn publish(store: &Store, old: Option<&HeadAt>, new: &Head) -> Result<Published, SyncError> {
    publish_for(&Mine::default(), store, old, new).await
}

/// Moves head from `old` to `new`, for a directory with this past: which heads are still those of its workspace.
pub(super) async fn publish_for(
    mine: &Mine,
    store: &Store,
    old: Option<&HeadAt>,
    new: &Head,
) -> Result<Published, SyncError> {
    new.check().map_err(|error| SyncError::format(&error, "the new head.json", &store.url()))?;
    let bytes = Bytes::from(new.encode());
    let mut pause = Duration::from_millis(100);
    let mut last = None;
    let mut store = store.clone();
    let mut refused = 0;
    for _ in 0..TRIES {
        let known = store.abilities().map(|abilities| abilities.conditional_puts());
        let is_conditional = known == Some(true);
        // Where the server keeps no condition, the next best is to look at once before, and once after. Of one that
        // nobody has measured (the last commit of a container measures nothing) no more is expected: it gets the
        // condition, behind a look of the store's own.
        if known == Some(false) && !is_still(&store, old).await? {
            return Ok(Published::Lost);
        }
        let condition = old.map_or(PutIf::Absent, |old| PutIf::Match(&old.etag));
        let mut done = None;
        match store.put(HEAD_KEY, bytes.clone(), condition, Some("application/json")).await? {
            Put::Done(etag) if is_conditional => {
                return Ok(Published::Won(Some(Box::new(HeadAt { head: new.clone(), etag }))));
            }
            Put::Done(etag) => done = Some(etag),
            Put::Refused | Put::Missing => refused += 1,
            Put::Uncertain(error) => last = Some(error),
        }
        let now = match (read_head(&store).await, done) {
            // It was looked before, and it is written: where no condition counts nobody promises more than that.
            (Err(error), Some(etag)) => {
                tracing::warn!("{HEAD_KEY} of {} is written, and cannot be read back: {error}", store.url());
                return Ok(Published::Won(Some(Box::new(HeadAt { head: new.clone(), etag }))));
            }
            (now, _) => now?,
        };
        let is_ours = now.as_ref().is_some_and(|now| is_ours(&now.head, old.map(|old| &old.head), new));
        let is_old = now.as_ref().map(|now| &now.etag) == old.map(|old| &old.etag);
        match after_cas(is_ours, is_old, mine, now.as_ref()) {
            Cas::Durable => {
                let on_top = now.filter(|now| now.head.write_id == new.write_id);
                return Ok(Published::Won(on_top.map(Box::new)));
            }
            Cas::Again => {}
            Cas::Gone => return Ok(Published::Gone),
            Cas::Lost => return Ok(Published::Lost),
        }
        // Refused, and nobody else has moved it: there are servers that refuse what matches.
        if known.is_none() && refused >= TRUSTED {
            match store.probe_some(Probed { puts: true, ..Probed::default() }, Abilities::default()).await {
                Ok(abilities) => store = store.with_abilities(abilities),
                Err(error) => tracing::debug!("what {} honours could not be measured: {error}", store.endpoint()),
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    Err(last.map_or_else(|| useless_conditions(&store), SyncError::from))
}

fn useless_conditions(store: &Store) -> SyncError {
    SyncError::System(format!(
        "{} refuses each write of {HEAD_KEY} although nobody else writes it: this server's conditional PUT does not \
         work; `stopover doctor` says more",
        store.url()
    ))
}

/// A tree that nobody could read back must not be written.
fn check_size(rows: u64, bytes: u64, workspace: &str) -> Result<(), SyncError> {
    if rows <= Limits::default().rows && bytes <= MAX_WHOLE {
        return Ok(());
    }
    Err(SyncError::System(format!(
        "{workspace} would hold {rows} paths, more than a workspace can have: nothing was committed; ignore some of \
         them (.stopoverignore)"
    )))
}

/// Writes the tree of `id`, which has so many rows.
pub(super) async fn put_tree(store: &Store, id: &SnapshotId, rows: u64, bytes: Vec<u8>) -> Result<(), SyncError> {
    check_size(rows, bytes.len() as u64, &store.url())?;
    // No name is used twice: there is nothing to be careful of, and a retry writes the same bytes.
    match store.put(&id.tree_key(), bytes.into(), PutIf::Any, Some("application/zstd")).await? {
        Put::Done(_) => Ok(()),
        Put::Refused | Put::Missing => Err(SyncError::System(format!(
            "{} took tree {id} and does not have it: nothing was committed",
            store.url()
        ))),
        Put::Uncertain(error) => Err(error.into()),
    }
}

/// Writes the tree of a plain workspace, and makes the head that names it. It is partial where `missing` is given.
pub(super) async fn next_head(
    store: &Store,
    head: Option<&HeadAt>,
    quiet: bool,
    missing: Option<Missing>,
    rows: &Rows,
    removed: Removed,
) -> Result<Head, SyncError> {
    let written = written(store)?;
    let old = head.map(|at| &at.head);
    let id = SnapshotId::new(old.map_or(1, Head::next_seq), random()?);
    let lines = rows.len() + removed.len();
    let tree = Tree {
        header: TreeHeader {
            id,
            parent: old.and_then(|head| head.snapshot),
            writer: written.writer.clone(),
            quiet,
            partial: missing.is_some(),
            missing: missing.unwrap_or_default(),
            base: None,
            time: written.time,
        },
        // In a plain workspace no content lies in pieces, so none is said to have any.
        rows: rows.iter().map(|(path, row)| (path.clone(), Row { pieces: Pieces::None, ..row.clone() })).collect(),
        removed,
    };
    let bytes =
        tree.encode().map_err(|error| SyncError::format(&error, &format!("the new tree {id}"), &store.url()))?;
    put_tree(store, &id, lines as u64, bytes).await?;
    Ok(match old {
        None => Head::first_plain(id, random()?, written),
        Some(head) if head.state == HeadState::Deleted => head.reborn_plain(id, random()?, written),
        Some(head) => head.next(id, written),
    })
}

/// Whether `now` is the head that was written, or one that came after it.
fn is_ours(now: &Head, old: Option<&Head>, new: &Head) -> bool {
    match &new.snapshot {
        Some(id) if old.is_none_or(|old| old.snapshot != new.snapshot) => now.has_in_lineage(id),
        // A prune, a tag, a tombstone: the snapshot, if it names one, is in every lineage from before, too. But `gc`
        // never repeats.
        _ => now.write_id == new.write_id || old.is_none_or(|old| old.gc != new.gc) && now.gc == new.gc,
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
