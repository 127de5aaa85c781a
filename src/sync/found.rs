//! A workspace as a pull finds it: a plain one, which is its live tree, or a live one, which is its snapshot and what
//! others did to the live tree since.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{
    SyncError, import,
    live_pull::{Live, Read, Tables},
    remote::{HeadAt, read_head_since},
};
use crate::{
    plan::{Contents, ImportOptions, RefusedKey, Unread},
    report::{Refused, counted},
    rows::{ETag, Kind, RelPath, Rows},
    snapshot::{HeadState, Missing},
    state::State,
    store::{Listed, Store, StoreErrorKind},
    worktree::RuleOptions,
};

/// What a pull asks for, and what it knows already.
pub(super) struct Ask<'a> {
    pub(super) rules: &'a RuleOptions,
    pub(super) options: ImportOptions<'a>,
    /// Where copies of the newest snapshot are kept.
    pub(super) cache: Option<&'a State>,
    /// The head that this directory knows of this workspace.
    pub(super) known: Option<HeadAt>,
    /// Whether there is a live tree to look at, once the workspace is live.
    pub(super) live_tree: bool,
    /// Outside deletes that were refused before.
    pub(super) refused: BTreeMap<RelPath, ETag>,
    /// What versions of live objects are known to hold.
    pub(super) contents: Contents,
    /// `--accept-deletes`.
    pub(super) accept_deletes: bool,
}

/// A workspace, read.
pub(super) enum Found {
    Plain(Box<import::Found>),
    Live(Box<Live>),
}

/// Reads head, and what belongs to it, until all belong together.
pub(super) async fn look(store: &Store, ask: &Ask<'_>) -> Result<Found, SyncError> {
    let mut known = ask.known.clone();
    let mut treeless: Option<ETag> = None;
    for _ in 0..import::TRIES {
        let (tell, cuts) = oneshot::channel();
        let first = async {
            let head = import::first_answer(store, read_head_since(store, known.take())).await?;
            match head {
                Some(head) if head.head.state == HeadState::Live => {
                    let tables = Tables::read(store, ask, &head, Some(tell)).await?;
                    Ok((Some(head), tables))
                }
                head => Ok((head, None)),
            }
        };
        let ((head, tables), listed) = if ask.live_tree {
            let (first, listed) =
                futures_util::future::try_join(first.boxed_local(), listing(store, cuts).boxed_local()).await?;
            (first, Some(listed))
        } else {
            (first.await?, None)
        };
        match head {
            Some(head) if head.head.state == HeadState::Live => {
                let (etag, id) = (head.etag.clone(), head.head.snapshot);
                match Live::read(store, ask, head, tables, listed).await? {
                    Read::Done(live) => return Ok(Found::Live(live)),
                    Read::Moved => {}
                    // A newer commit and a prune took it away: head tells.
                    Read::NoTree if treeless.as_ref() != Some(&etag) => treeless = Some(etag),
                    Read::NoTree => {
                        return Err(SyncError::Damaged {
                            what: id.map_or_else(|| "the snapshot".to_owned(), |id| format!("tree {id}")),
                            workspace: store.url(),
                            why: "head.json names it, but it, or the tree it builds on, is not there".to_owned(),
                        });
                    }
                }
            }
            head => {
                let listed = match listed {
                    Some(listed) => listed?,
                    None => import::list(store).await?,
                };
                if let Some(found) = import::once(store, ask.rules, ask.options, head, listed).await? {
                    return Ok(Found::Plain(Box::new(found)));
                }
            }
        }
    }
    Err(SyncError::Contended(store.url(), import::TRIES))
}

/// A listing, or that these credentials get none: a live workspace can be restored without.
pub(super) type Listing = Result<Vec<Listed>, SyncError>;

/// The operation that such credentials may not do.
const LIST: &str = "ListObjectsV2";

async fn listing(store: &Store, cuts: oneshot::Receiver<Vec<String>>) -> Result<Listing, SyncError> {
    match store.list_live_in_parts(cuts).await {
        Err(error) if error.kind == StoreErrorKind::Denied && error.op == LIST => Ok(Err(error.into())),
        listed => Ok(Ok(listed?)),
    }
}

impl Found {
    pub(super) fn head(&self) -> Option<&HeadAt> {
        match self {
            Self::Plain(found) => found.head.as_ref(),
            Self::Live(live) => Some(&live.head),
        }
    }

    pub(super) const fn live(&self) -> Option<&Live> {
        match self {
            Self::Plain(_) => None,
            Self::Live(live) => Some(live),
        }
    }

    /// Whether there is a workspace: a head that is not deleted, or any object.
    pub(super) const fn exists(&self) -> bool {
        match self {
            Self::Plain(found) => found.exists,
            Self::Live(_) => true,
        }
    }

    /// Takes what the directory took in before, of the very same versions: it need not be read.
    pub(super) fn learn(&mut self, origin: &Rows) {
        if let Self::Plain(found) = self {
            found.import.learn(origin);
        }
    }

    /// Reads the contents that a merge needs to know before it can be planned. Says whether objects of a live workspace
    /// are others than were listed: they may be a sibling's, if head has moved.
    pub(super) async fn read_what_meets(
        &mut self,
        store: &Store,
        local: &Rows,
        origin: Option<&Rows>,
    ) -> Result<bool, SyncError> {
        match self {
            Self::Plain(found) => {
                import::read_what_meets(store, &mut found.import, local, origin).await?;
                Ok(false)
            }
            Self::Live(live) => live.read_what_meets(store, local, origin).await,
        }
    }

    /// The paths that the workspace has.
    pub(super) fn paths(&self) -> Box<dyn Iterator<Item = &RelPath> + '_> {
        match self {
            Self::Plain(found) => Box::new(found.import.rows.keys().chain(found.import.unread.keys())),
            Self::Live(live) => Box::new(live.wanted.merged.rows.keys()),
        }
    }

    /// What the workspace has, contents that were not read yet as placeholders.
    pub(super) fn theirs(&self) -> Rows {
        match self {
            Self::Plain(found) => {
                let mut theirs = found.import.rows.clone();
                let unread = &found.import.unread;
                theirs.extend(unread.iter().map(|(path, unread)| (path.clone(), unread.placeholder())));
                theirs
            }
            Self::Live(live) => live.wanted.merged.rows.clone(),
        }
    }

    /// Objects whose content was not read yet.
    pub(super) const fn unread(&self) -> &BTreeMap<RelPath, Unread> {
        match self {
            Self::Plain(found) => &found.import.unread,
            Self::Live(live) => &live.outside.unread,
        }
    }

    /// The empty objects that stand for directories, those too that stood for one that is removed by now: they are still
    /// there. `None` where nobody looked.
    pub(super) fn markers(&self) -> Option<BTreeMap<RelPath, ETag>> {
        match self {
            Self::Plain(found) => {
                let markers = found.import.markers.iter().chain(&found.import.hidden_markers);
                Some(markers.map(|(path, etag)| (path.clone(), etag.clone())).collect())
            }
            Self::Live(live) => live.is_listed().then(|| live.outside.markers.clone()),
        }
    }

    /// How many objects the rules ignore.
    pub(super) const fn ignored(&self) -> usize {
        match self {
            Self::Plain(found) => found.import.ignored.len(),
            Self::Live(live) => live.outside.ignored.len(),
        }
    }

    /// What the container that made this snapshot had and could not store; `None` where it stored everything.
    pub(super) fn missing(&self) -> Option<&Missing> {
        match self {
            Self::Plain(found) => found.missing.as_ref(),
            Self::Live(live) => Some(&live.tree.header).filter(|header| header.partial).map(|header| &header.missing),
        }
    }

    /// Names it: the container that could have told is gone.
    pub(super) fn tell_missing(&self) {
        let Some(missing) = self.missing() else { return };
        let id = self.head().and_then(|at| at.head.snapshot).map_or(0, |id| id.seq());
        if missing.names().is_empty() {
            tracing::warn!("snapshot {id} is partial: some of what its container had is not in it");
            return;
        }
        let count = missing.names().len() as u64 + missing.more();
        tracing::warn!(
            "snapshot {id} is partial: of {} its container had another content, or none of it is there",
            counted(count, "file", "files")
        );
        for name in missing.names() {
            tracing::warn!("not in snapshot {id}: {name}");
        }
        if missing.more() > 0 {
            tracing::warn!("not in snapshot {id}: {} more", missing.more());
        }
    }

    /// The keys that are not taken.
    pub(super) fn refused(&self) -> Vec<Refused> {
        let named = |refused: &RefusedKey| Refused { key: refused.key.clone(), reason: refused.reason.to_string() };
        match self {
            Self::Plain(found) => found.import.refused.iter().map(named).collect(),
            Self::Live(live) => live.refused_keys.iter().chain(&live.outside.refused).map(named).collect(),
        }
    }

    /// Files and bytes of all of it.
    pub(super) fn totals(&self) -> (u64, u64) {
        let theirs = self.theirs();
        let files = theirs.values().filter(|row| row.kind == Kind::File);
        files.fold((0, 0), |(files, bytes), row| (files + 1, bytes + row.size))
    }
}

#[cfg(test)]
#[path = "found_tests.rs"]
mod tests;
