//! What a directory knows of its past before a pull, and what a restore that did not end makes of it.

use std::collections::BTreeSet;

use super::{SyncError, session::origin, snapshots::read_snapshot};
use crate::{
    rows::{RelPath, Rows},
    state::{Mine, Pulling, State},
    store::Store,
    worktree::{Directory, Index, Presence},
};

/// What the directory knows of its past.
pub(super) struct Past {
    pub(super) mine: Option<Mine>,
    /// Only where the directory is `ready`.
    pub(super) origin: Option<Rows>,
    pub(super) index: Index,
    /// A restore that did not end.
    pub(super) pulling: Option<Pulling>,
    /// What a restore into this directory may have made that found it empty and did not end.
    pub(super) abandoned: Option<BTreeSet<RelPath>>,
}

impl Past {
    pub(super) fn read(state: Option<&State>, dir: &Directory) -> Result<Self, SyncError> {
        let nothing = Self { mine: None, origin: None, index: Index::default(), pulling: None, abandoned: None };
        let Some(state) = state else { return Ok(nothing) };
        let mine = state.mine()?;
        // A state directory that came along with a copy of the directory says nothing about this one.
        if mine.as_ref().is_some_and(|mine| mine.directory != Some(dir.identity())) {
            tracing::warn!("{} was restored as another directory: it is restored anew", dir.path().display());
            return Ok(nothing);
        }
        let ready = state.ready()?.is_some();
        let origin = if ready { origin(state, "origin")? } else { None };
        let pulling = state.pulling()?;
        let was_empty = pulling.as_ref().is_some_and(|pulling| pulling.empty) && origin.is_none();
        let abandoned = if was_empty { Some(state.wanted()?) } else { None };
        let index = Index::load(&state.path().join("index"));
        Ok(Self { mine, origin, index, pulling, abandoned })
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.origin.is_some() && self.mine.is_some()
    }

    /// A restore into a `ready` directory that did not end has taken in some of its snapshot: O has that snapshot's
    /// row, or its absence, wherever the disk equals it. Says whether there was one.
    pub(super) async fn amend(&mut self, store: &Store, dir: &Directory, local: &Rows) -> Result<bool, SyncError> {
        let (Some(pulling), Some(origin)) = (&self.pulling, &mut self.origin) else { return Ok(false) };
        let Some(id) = pulling.snapshot.as_deref().and_then(|id| id.parse().ok()) else { return Ok(false) };
        let is_gone = |path: &RelPath| !local.contains_key(path) && matches!(dir.look(path), Presence::Gone);
        let snapshot = match read_snapshot(store, None, &id).await {
            Err(SyncError::Damaged { .. } | SyncError::Newer(_)) => None,
            read => read?,
        };
        let Some(snapshot) = snapshot else {
            // Nobody knows what it made: that something is not there proves nothing then.
            origin.retain(|path, _| !is_gone(path));
            return Ok(true);
        };
        let rows = &snapshot.whole.rows;
        origin.retain(|path, _| rows.contains_key(path) || !is_gone(path));
        for (path, row) in rows {
            if local.get(path).is_some_and(|there| there.same_content(row)) {
                origin.insert(path.clone(), row.clone());
            }
        }
        Ok(true)
    }
}
