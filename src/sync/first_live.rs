//! What only the first snapshot needs, the one that makes a plain workspace live: content that is in the live tree alone
//! (ignored by now, or changed here without being stored), and the mirror that the import stands for.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File, OpenOptions, read_dir},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::{
    SyncError,
    commit::{Attempt, Committer},
    hidden::{Known, hidden_rows},
    live_commit::Theirs,
    packs::{Packer, Wanted},
    publish::{next_head, publish_for},
    remote::{HeadAt, present_tree, random},
    session::with_noted_abilities,
};
use crate::{
    config::LiveTree,
    plan::{Content, Held, Mirror},
    rows::{Kind, RelPath, Row, Rows},
    snapshot::SnapshotId,
    store::{Fetched, Sink, Store},
    worktree::Directory,
};

/// What the names of directories begin with that content of the bucket passes through.
const PACKING: &str = "packing-";

/// Puts the content of `lost` files into packs, from their live objects. What is not there any more stays lost.
/// Gives back what was stored, with its pieces.
pub(super) async fn fetch(
    committer: &mut Committer<'_>,
    attempt: Attempt<'_>,
    seq: u64,
    lost: &BTreeSet<RelPath>,
    theirs: &Rows,
) -> Result<Rows, SyncError> {
    let staging = Staging::new(&committer.state.path().join("staging"))?;
    let versions = lost.iter().filter_map(|path| {
        let row = theirs.get(path).filter(|row| row.etag.is_some() && row.kind == Kind::File)?;
        Some((path, row))
    });
    let (store, into) = (&committer.store, &staging);
    let fetched = versions.enumerate().map(|(number, (path, row))| async move {
        let name = number.to_string();
        if !into.fetch(store, path, row, &name).await? {
            return Ok(None);
        }
        let path = RelPath::new(name).map_err(|error| SyncError::System(error.to_string()))?;
        Ok::<_, SyncError>(Some(Wanted { path, row: row.clone() }))
    });
    let fetched: Vec<_> = stream::iter(fetched).buffered(store.widths().0.max(1)).try_collect().await?;
    let wanted = fetched.into_iter().flatten().collect();
    let stop = || attempt.control.time_is_up();
    let mut packer = Packer {
        store: &committer.store,
        dir: &Directory::open(&staging.0)?,
        attempt: SnapshotId::new(seq, random()?),
        next: 0,
        hurry: false,
        stop: &stop,
        control: attempt.control,
        events: attempt.events,
    };
    Ok(packer.pack(wanted, &mut committer.known).boxed_local().await?.stored)
}

/// Sees to it that every object that the first snapshot changes or deletes is explained by a snapshot before it: what was
/// imported gets a plain head, where it has none yet. Says whether head was moved, or is to be read again.
///
/// The mirror of the import is only written when the catch-up ends. Until then, and after a kill for good, nothing else
/// in the bucket would say that these objects were taken in, and the next pull would bring them back as edits of others.
pub(super) async fn explain(
    committer: &mut Committer<'_>,
    head: Option<&HeadAt>,
    theirs: &Theirs,
    result: &Rows,
    quiet: bool,
) -> Result<bool, SyncError> {
    let same = |rows: &Rows, path: &RelPath, row: &Row| rows.get(path).is_some_and(|other| other.same_content(row));
    let imported = theirs.rows.iter().filter(|(_, row)| row.kind == Kind::File && row.etag.is_some());
    let mut changed = imported.filter(|(path, row)| !same(result, path, row)).peekable();
    if changed.peek().is_none() {
        return Ok(false);
    }
    let now = present_tree(&committer.store, head).await?.map(|(rows, _)| rows).unwrap_or_default();
    if changed.all(|(path, row)| same(&now, path, row)) {
        return Ok(false);
    }
    committer.store = with_noted_abilities(committer.store.clone(), Some(&committer.state));
    let mut rows = theirs.rows.clone();
    rows.retain(|_, row| row.kind != Kind::File || row.etag.is_some());
    let next = next_head(&committer.store, head, quiet, None, &rows, theirs.removed.clone()).await?;
    // Lost or won: the next try reads what there is now.
    publish_for(&committer.mine, &committer.store, head, &next).await?;
    Ok(true)
}

/// The live tree as the import found it: which version held which content. What was refused, is ignored or came later
/// is not in it, and so never deleted.
///
/// # Errors
/// Of an object that these credentials could not delete it could not be found out what it holds. A mirror without it
/// would make it an edit of somebody's; where nobody looks at the live tree that does not matter now.
pub(super) async fn mirror(committer: &Committer<'_>, theirs: &Theirs) -> Result<Mirror, SyncError> {
    let held = |row: &Row| {
        let content = Content::of(row)?;
        Some(Held { etag: row.etag.clone()?, content })
    };
    let rows = theirs.rows.iter().filter_map(|(path, row)| Some((path.clone(), held(row)?)));
    let mut mirror = Mirror { rows: rows.collect(), markers: committer.markers() };
    // An object that these credentials could not delete is explained, so that it does not come back.
    let hidden = match hidden_rows(&committer.store, &theirs.removed, &mut Known::new()).await {
        Err(error) if committer.config.live_tree == LiveTree::Off => {
            tracing::debug!("{error}");
            Rows::new()
        }
        hidden => hidden?,
    };
    for (path, row) in hidden {
        if let Some(held) = held(&row) {
            mirror.rows.entry(path).or_insert(held);
        }
    }
    Ok(mirror)
}

/// Removes what a process that was killed left on its way from the bucket to packs. Only who has the lock may.
pub(super) fn sweep(state: &Path) {
    for entry in read_dir(state.join("staging")).into_iter().flatten().flatten() {
        let left = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(PACKING.as_bytes())
            && let Err(error) = std::fs::remove_dir_all(&left)
        {
            tracing::debug!("{} stays: {error}", left.display());
        }
    }
}

/// A private directory for what comes from the bucket only to go there again.
struct Staging(PathBuf);

impl Staging {
    fn new(below: &Path) -> Result<Self, SyncError> {
        let name: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = below.join(format!("{PACKING}{name}"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| SyncError::System(format!("{} cannot be made: {error}", path.display())))?;
        Ok(Self(path))
    }

    /// Fetches the version that `row` tells of; says whether it is there and what it should be.
    async fn fetch(&self, store: &Store, path: &RelPath, row: &Row, name: &str) -> Result<bool, SyncError> {
        let Some(etag) = &row.etag else { return Ok(false) };
        let to = self.0.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
        let file = file.map_err(|error| SyncError::System(format!("{} cannot be made: {error}", to.display())))?;
        let fetched = store.fetch(&path.to_text(), etag, row.size, Arc::new(Incoming(file))).await?;
        Ok(matches!(fetched, Fetched::Done(_)))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Incoming(File);

impl Sink for Incoming {
    fn write_at(&self, offset: u64, part: &[u8]) -> std::io::Result<()> {
        self.0.write_all_at(part, offset)
    }
}
