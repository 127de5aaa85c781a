//! Reading a plain workspace: what lies in its live tree, joined with what the plain head's tree knows of it.
//!
//! Nothing is believed to be gone because a listing lacks it: a HEAD is asked.

use std::{collections::BTreeSet, future::Future, time::UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    SyncError,
    remote::{FIRST_ANSWER, HeadAt, is_still, present_plain, read_plain_head},
};
use crate::{
    plan::{Import, ImportOptions, Object, TreeRows, import},
    rows::{Hasher, RelPath, Rows},
    snapshot::{Missing, Tree},
    store::{GetIf, Got, Listed, Opened, Store},
    worktree::{RuleOptions, Rules, is_rule_input},
};

/// An ignore file larger than this is no ignore file.
pub(super) const MAX_RULES: u64 = 1 << 20;
/// How often a workspace that others keep committing to is read again.
pub(super) const TRIES: u32 = 8;

/// A workspace, read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: Option<HeadAt>,
    pub(super) import: Import,
    /// Whether there is a workspace: a head that is not deleted, or any object.
    pub(super) exists: bool,
    /// What its last commit did not store, if it is partial.
    pub(super) missing: Option<Missing>,
}

/// Reads head, listing and tree until they belong together.
pub(super) async fn look(store: &Store, rules: &RuleOptions, options: ImportOptions<'_>) -> Result<Found, SyncError> {
    for _ in 0..TRIES {
        let first = first_answer(store, read_plain_head(store));
        let (head, listed) = futures_util::future::try_join(first, list(store)).await?;
        if let Some(found) = once(store, rules, options, head, listed).await? {
            return Ok(found);
        }
    }
    Err(SyncError::Contended(store.url(), TRIES))
}

/// Waits for the first answer of an endpoint no longer than is useful.
pub(super) async fn first_answer<T>(
    store: &Store,
    answer: impl Future<Output = Result<T, SyncError>>,
) -> Result<T, SyncError> {
    tokio::time::timeout(FIRST_ANSWER, answer).await.map_err(|_| {
        SyncError::TimedOut(format!(
            "{} gave no answer within {} s: check the endpoint and the network",
            store.endpoint(),
            FIRST_ANSWER.as_secs()
        ))
    })?
}

/// What head and listing mean, with the tree that belongs to them; `None` where others moved head meanwhile.
pub(super) async fn once(
    store: &Store,
    rules: &RuleOptions,
    options: ImportOptions<'_>,
    head: Option<HeadAt>,
    listed: Vec<Listed>,
) -> Result<Option<Found>, SyncError> {
    let tree = present_plain(store, head.as_ref()).await?;
    if !is_still(store, head.as_ref()).await? {
        return Ok(None);
    }
    join(store, rules, options, head, tree, listed).await.map(Some)
}

/// The live tree.
pub(super) async fn list(store: &Store) -> Result<Vec<Listed>, SyncError> {
    Ok(store.list_live().all().await?)
}

async fn join(
    store: &Store,
    rules: &RuleOptions,
    options: ImportOptions<'_>,
    head: Option<HeadAt>,
    tree: Option<Tree>,
    listed: Vec<Listed>,
) -> Result<Found, SyncError> {
    let rules = rules_of(store, &listed, rules).await?;
    let mut objects: Vec<Object> = listed.into_iter().map(object).collect();
    let known = tree.as_ref().map(|tree| TreeRows { rows: &tree.rows, removed: &tree.removed });
    let ignored = |path: &RelPath, kind| !rules.verdict(path, kind).stored;
    let mut found = import(&objects, known, ignored, options);
    // What the listing lacks is looked for by name.
    let mut asked = BTreeSet::new();
    while !found.missing.is_empty() {
        let unasked: Vec<RelPath> = found.missing.keys().filter(|path| !asked.contains(*path)).cloned().collect();
        if unasked.is_empty() {
            break;
        }
        asked.extend(unasked.iter().cloned());
        let heads = stream::iter(unasked.into_iter().map(|path| async move {
            let key = path.to_text().into_owned();
            Ok::<_, SyncError>(store.head(&key).await?.map(|meta| Listed {
                key,
                etag: meta.etag,
                size: meta.size,
                last_modified: meta.last_modified,
            }))
        }));
        let there: Vec<Option<Listed>> = heads.buffer_unordered(store.widths().0.max(1)).try_collect().await?;
        let there: Vec<Object> = there.into_iter().flatten().map(object).collect();
        if there.is_empty() {
            break;
        }
        tracing::debug!("{} objects were not in the listing, but are there", there.len());
        objects.extend(there);
        found = import(&objects, known, ignored, options);
    }
    if !found.missing.is_empty() {
        tracing::info!("{} files were deleted from the live tree by others", found.missing.len());
    }
    let has_head = tree.is_some();
    let exists = has_head || !objects.is_empty();
    let missing = tree.map(|tree| tree.header).filter(|header| header.partial).map(|header| header.missing);
    Ok(Found { head, import: found, exists, missing })
}

/// An object as planning sees it.
pub(super) fn object(listed: Listed) -> Object {
    let since = listed.last_modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Object {
        key: listed.key,
        etag: listed.etag,
        size: listed.size,
        last_modified_ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
    }
}

/// The rules as the workspace's own ignore files have them.
async fn rules_of(store: &Store, listed: &[Listed], options: &RuleOptions) -> Result<Rules, SyncError> {
    let inputs = listed.iter().filter_map(|listed| {
        let path = RelPath::from_text(&listed.key).ok()?;
        is_rule_input(&path).map(|wanted| (path, wanted && listed.size <= MAX_RULES))
    });
    let files: Vec<(RelPath, Vec<u8>)> = stream::iter(inputs.map(|(path, wanted)| async move {
        if !wanted {
            return Ok::<_, SyncError>((path, Vec::new()));
        }
        let bytes = match store.get(&path.to_text(), GetIf::Always).await? {
            Got::Found(object) => object.bytes.to_vec(),
            _ => Vec::new(),
        };
        Ok((path, bytes))
    }))
    .buffer_unordered(store.widths().0.max(1))
    .try_collect()
    .await?;
    Ok(Rules::from_files(files, options))
}

/// The hash of an object's content, read as a stream; `None` where it is another version by now.
pub(super) async fn hash_object(
    store: &Store,
    path: &RelPath,
    etag: &crate::rows::ETag,
) -> Result<Option<crate::rows::Hash>, SyncError> {
    let Opened::Found(mut reader) = store.open(&path.to_text(), None, Some(etag)).await? else {
        return Ok(None);
    };
    let mut hasher = Hasher::new();
    while let Some(chunk) = reader.next_chunk().await? {
        hasher.update(&chunk);
    }
    Ok(Some(hasher.finish()))
}

/// Reads the contents that a merge needs to know before it can be planned.
pub(super) async fn read_what_meets(
    store: &Store,
    import: &mut Import,
    local: &Rows,
    origin: Option<&Rows>,
) -> Result<(), SyncError> {
    let meets: Vec<RelPath> =
        import.unread.keys().filter(|path| import.must_be_read(path, local, origin)).cloned().collect();
    let unread = &import.unread;
    let hashes: Vec<_> = stream::iter(meets.into_iter().filter_map(|path| {
        let unread = unread.get(&path)?.clone();
        Some(async move {
            let hash = hash_object(store, &path, &unread.etag).await?;
            Ok::<_, SyncError>(hash.map(|hash| (path, unread.row(hash))))
        })
    }))
    .buffer_unordered(store.widths().0.max(1))
    .try_collect()
    .await?;
    for (path, row) in hashes.into_iter().flatten() {
        import.unread.remove(&path);
        import.rows.insert(path, row);
    }
    Ok(())
}
