//! What a commit notes of itself in the state directory, and what it tells users by the way.

use std::collections::BTreeSet;

use super::{
    SyncError,
    commit::Committer,
    pull::look_closely,
    remote::{blocking, read_head},
    session::{boot_id, set_origin, totals},
    snapshots::read_snapshot,
};
use crate::{
    config::Handover,
    report::{NotStored, NotStoredReason, counted},
    rows::{Hash, Kind, RelPath, Row, Rows},
    snapshot::{Head, SnapshotId},
    state::{Mine, Pending, Ready, State},
    store::Store,
    worktree::{Directory, Presence, Scan},
};

impl Committer<'_> {
    /// Notes what becomes O when this commit is found in a head. Says whether that was possible: what an app wrote
    /// until the disk was full must not be lost because of a note. The old ones stay true then: they are what the
    /// directory took in before, and a later merge finds both sides alike.
    pub(super) fn note_pending(&mut self, next: &Head, ours: &Rows) -> Result<bool, SyncError> {
        let Some(id) = &next.snapshot else { return Ok(false) };
        let pending = Pending { snapshot: id.to_string(), birth: next.birth.to_string(), seq: next.seq };
        let mine = Mine { pending: Some(pending), ..self.mine.clone() };
        let note = || {
            set_origin(&self.state, "origin.pending", ours, id)?;
            Ok(self.state.set_mine(&mine)?)
        };
        let mut noted = note();
        if matches!(&noted, Err(SyncError::State(error)) if error.is_out_of_room()) {
            // Room is where the index was: that one is only made again.
            for name in ["origin.pending", "index", "touched"] {
                self.state.forget(name)?;
            }
            noted = note();
        }
        match noted {
            Ok(()) => {
                self.mine = mine;
                Ok(true)
            }
            Err(SyncError::State(error)) if error.is_out_of_room() => {
                tracing::warn!("the commit goes on, but the next one has to compare more: {error}");
                self.state.forget("origin.pending")?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The commit is durable: what its scan saw is what the directory took in.
    pub(super) fn settle(&mut self, next: &Head, ours: Rows, noted: bool) -> Result<(), SyncError> {
        if noted {
            self.state.promote("origin.pending", "origin")?;
        }
        self.origin = Some(ours);
        let id = next.snapshot.as_ref().map(ToString::to_string);
        self.mine = Mine {
            snapshot: id.clone(),
            birth: Some(next.birth.to_string()),
            seen: id,
            seq: next.seq,
            pending: None,
            imported: false,
            tombstone: None,
            // What this commit did not find in its scan it met before, or leaves to the next pull.
            taken_in: Vec::new(),
            ..self.mine.clone()
        };
        // The commit is durable, whatever becomes of the notes; they say less then, nothing wrong.
        if noted && let Err(error) = self.state.set_mine(&self.mine) {
            tracing::warn!("the commit is durable, but could not be noted here: {error}");
        }
        self.state.forget("sent")?;
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        self.save_index();
        Ok(())
    }

    /// Without it the next scan reads more.
    pub(super) fn save_index(&self) {
        if let Err(error) = self.index.save(&self.state.path().join("index")) {
            tracing::debug!("{error}");
        }
    }

    /// What users should not have to discover by loss.
    pub(super) fn warn(&self, scan: &Scan) {
        let ignored: u64 = scan.ignored.iter().map(|rule| rule.files).sum();
        if ignored > 0 {
            let first = scan.ignored.first().map(|rule| format!("{:?} of {}", rule.rule, rule.source));
            tracing::info!(
                "{ignored} files are not stored because the rules ignore them, most by {}; `stopover status` says more",
                first.unwrap_or_default()
            );
        }
        if scan.dropped_bits > 0 {
            tracing::info!("{} files have setuid, setgid or sticky bits, which are not kept", scan.dropped_bits);
        }
        for mount in &scan.mounts {
            tracing::warn!("{mount} is a mount point: what is on it is not stored");
        }
    }

    /// Finds files that were stored before the rules ignored them and that were edited since. Each keeps its row and its
    /// object until it is removed; its edits are lost with this disk, so receipts name it.
    pub(super) async fn find_ignored_edits(&mut self, scan: &Scan) -> Result<(), SyncError> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let seen: BTreeSet<&RelPath> =
            scan.unreadable.iter().map(|(path, _)| path).chain(&scan.changing).chain(&scan.mounts).collect();
        let unseen = |path: &RelPath| {
            !scan.rows.contains_key(path) && !seen.contains(path) && !path.ancestors().any(|up| seen.contains(&up))
        };
        let files = origin.iter().filter(|(path, row)| row.kind == Kind::File && unseen(path));
        let ignored: Vec<(RelPath, Row)> = files.map(|(path, row)| (path.clone(), row.clone())).collect();
        if ignored.is_empty() {
            self.ignored_edits.clear();
            return Ok(());
        }
        let dir = self.dir.try_clone()?;
        let is_edited = move |(path, row): &(RelPath, Row)| match dir.look(path) {
            Presence::There(stat) if stat.kind == Some(Kind::File) => {
                stat.size != row.size
                    || stat.mtime_ns != row.mtime_ns
                        && look_closely(&dir, path).is_some_and(|there| !there.same_content(row))
            }
            _ => false,
        };
        let edited: Vec<_> = blocking(move || ignored.into_iter().filter(is_edited).collect()).await?;
        self.ignored_edits = edited.into_iter().map(|(path, _)| path).collect();
        if let Some(path) = self.ignored_edits.first() {
            tracing::warn!(
                "{} stored before the rules ignored {path}, and edited since: edits are not stored; `stopover explain` \
                 names the rule",
                counted(self.ignored_edits.len() as u64, "file was", "files were")
            );
        }
        Ok(())
    }

    /// What of the receipt is about them.
    pub(super) fn name_ignored_edits(&self, not_stored: &mut Vec<NotStored>) {
        let there: BTreeSet<String> = not_stored.iter().map(|file| file.path.clone()).collect();
        let named = self.ignored_edits.iter().map(ToString::to_string).filter(|path| !there.contains(path));
        not_stored.extend(named.map(|path| NotStored { path, reason: NotStoredReason::Ignored }));
    }

    pub(super) fn warn_of_size(&self, rows: &Rows) {
        let (_, bytes, _) = totals(rows);
        if bytes > self.config.size_warning_mb.saturating_mul(1 << 20) {
            tracing::warn!(
                "{} holds {} MiB, more than WORKSPACE_SIZE_WARNING_MB={}",
                self.url,
                bytes >> 20,
                self.config.size_warning_mb
            );
        }
    }
}

/// Whether a snapshot can be of the life that a head tells of: numbers go on over deletions, so what was committed before
/// its birth belonged to an earlier one.
fn is_of(head: &Head, id: &SnapshotId) -> bool {
    head.birth.seq() < id.seq() || head.birth == *id
}

/// What a directory without notes belongs to, as PID 1 remembers it.
pub(super) async fn remember(
    store: &Store,
    state: &State,
    dir: &Directory,
    url: &str,
    handover: &Handover,
) -> Result<(Mine, Option<Rows>), SyncError> {
    tracing::warn!("{} was removed: everything is hashed again", state.path().display());
    let mut mine = Mine {
        workspace: url.to_owned(),
        endpoint: Some(store.server()),
        directory: Some(dir.identity()),
        ..Mine::default()
    };
    let id = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<SnapshotId>().ok());
    let mut rows = None;
    if let Some(pulled) = id(&handover.pulled) {
        let (tree, head) =
            futures_util::future::try_join(read_snapshot(store, None, &pulled), read_head(store)).await?;
        let is_its = |head: &Head| match id(&handover.birth) {
            Some(birth) => head.birth == birth,
            None => is_of(head, &pulled) && (tree.is_some() || head.knows(&pulled)),
        };
        let Some(head) = head.as_ref().filter(|at| is_its(&at.head)) else {
            return Err(SyncError::Deleted(url.to_owned(), dir.path().display().to_string()));
        };
        mine.birth = Some(head.head.birth.to_string());
        mine.snapshot = Some(pulled.to_string());
        mine.seen = Some(pulled.to_string());
        mine.seq = pulled.seq();
        // The tree of a plain workspace tells what a commit found, not what the import of this directory took in; and
        // what a restore did not write was not taken in: that it is not here deletes nothing.
        rows = tree.filter(|_| !handover.plain && !handover.part).map(|tree| tree.whole.rows.clone());
    } else if let Some(mark) = &handover.tombstone {
        let etag = read_head(store).await?.map(|at| at.etag.as_str().to_owned());
        mine.tombstone = etag.filter(|etag| Hash::of(etag.as_bytes()).to_string() == *mark);
    }
    state.set_mine(&mine)?;
    // What PID 1 restored it restored in this boot.
    state.set_ready(&Ready { pulled: mine.snapshot.clone(), boot: boot_id(), flushed: false })?;
    Ok((mine, rows))
}
