//! Looking without changing: the workspaces of a store, and what a commit of a directory would send.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Setting, SyncError,
    history::strays_of,
    remote::read_head,
    rewind::unfinished,
    session::{
        adopt, connect, open_directory, origin, owners, refuse_elsewhere, scan_directory, told, totals,
        with_noted_abilities, workspace,
    },
};
use crate::{
    config::Config,
    plan::changes,
    report::{Change, ChangeKind, Conflict, Ignored, Status, WorkspaceItem, timestamp},
    rows::{Kind, Rows},
    snapshot::{HEAD_KEY, Head, HeadState},
    state::State,
    store::{GetIf, Got, Store},
    worktree::{Index, Presence},
};

/// How many workspaces are looked at beside each other.
const WIDTH: usize = 4;

/// The workspaces of the store, by name.
///
/// # Errors
/// The server.
pub async fn list(config: &Config) -> Result<Vec<WorkspaceItem>, SyncError> {
    let place =
        config.store.as_ref().ok_or_else(|| SyncError::Guard("no store is set: set STOPOVER_STORE".to_owned()))?;
    let store = Store::connect(&config.access, &place.bucket, &place.prefix).await?;
    let names = store.list_prefixes().await?;
    let items: Vec<Option<WorkspaceItem>> = stream::iter(names.into_iter().map(|name| {
        let below = store.below(&name);
        async move { item(&below, name).await }
    }))
    .buffered(WIDTH)
    .try_collect()
    .await?;
    Ok(items.into_iter().flatten().collect())
}

/// One workspace; `None` for a tombstone with nothing left.
async fn item(store: &Store, name: String) -> Result<Option<WorkspaceItem>, SyncError> {
    // Of any state, also one that only a newer version restores: it is there, and people should see it.
    let head = match store.get(HEAD_KEY, GetIf::Always).await? {
        Got::Found(object) => Head::decode(&object.bytes).ok(),
        _ => None,
    };
    let counted = head.as_ref().and_then(|head| head.entry(&head.snapshot?)).map(|entry| (entry.files, entry.bytes));
    let (files, bytes) = match counted {
        Some(counts) => counts,
        None => {
            let listed = store.list_live().all().await?;
            if listed.is_empty() && head.as_ref().is_some_and(|head| head.state == HeadState::Deleted) {
                return Ok(None);
            }
            let files = listed.iter().filter(|listed| !listed.key.ends_with('/'));
            files.fold((0, 0), |(files, bytes), listed| (files + 1, bytes + listed.size))
        }
    };
    let head = head.filter(|head| head.state != HeadState::Deleted);
    Ok(Some(WorkspaceItem {
        name,
        url: store.url(),
        files,
        bytes,
        snapshot: head.as_ref().and_then(told),
        last_commit: head.as_ref().map(|head| timestamp(head.time.into())),
        writer: head.map(|head| head.writer),
    }))
}

/// What a commit of the directory would send.
///
/// # Errors
/// The disk, the server.
pub async fn status(config: &Config, setting: &Setting) -> Result<Status, SyncError> {
    let dir = open_directory(config, false)?;
    let state = State::open(&config.state)?;
    let (mut mine, mut taken_in, mut index) = (None, None, Index::default());
    if let Some(state) = &state {
        mine = state.mine()?;
        index = Index::load(&state.path().join("index"));
        if state.ready()?.is_some() {
            taken_in = origin(state, "origin")?;
        }
    }
    let scan = scan_directory(config, setting, &dir, index, false);
    let store = connect(config).await?;
    let (scan, head) = futures_util::future::try_join(scan, read_head(&store)).await?;
    let exists = match &head {
        Some(at) if at.head.state != HeadState::Deleted => true,
        _ => store.list_live().next_page().await?.is_some_and(|page| !page.is_empty()),
    };
    let store = with_noted_abilities(store, state.as_ref());
    if let Err(error) = refuse_elsewhere(config, &store, mine.as_ref(), head.as_ref()) {
        tracing::warn!("{error}");
    }
    for told in state.iter().flat_map(unfinished) {
        tracing::warn!("{told}");
    }
    if let Some(at) = head.as_ref().filter(|at| at.head.state == HeadState::Live) {
        for stray in strays_of(&store, &at.head).await? {
            tracing::warn!(
                "snapshot {stray} is in no history: another's commit that was overwritten, or one that never ended; \
                 `stopover restore {stray} --to DIR` brings it back"
            );
        }
    }
    let (_, policy) = owners(config, setting);
    let nothing = Rows::new();
    let base = taken_in.as_ref().unwrap_or(&nothing);
    let mut ours = scan.rows.clone();
    adopt(policy, &mut ours, &[base]);
    // What is not seen is not gone, unless the disk says so.
    for (path, row) in base.iter().filter(|(path, _)| !scan.rows.contains_key(*path)) {
        if !matches!(dir.look(path), Presence::Gone) {
            ours.insert(path.clone(), row.clone());
        }
    }
    let (files, bytes, _) = totals(&ours);
    Ok(Status {
        workspace: Some(workspace(config)?.url()),
        directory: config.dir.display().to_string(),
        exists: Some(exists),
        files,
        dirs: ours.values().filter(|row| row.kind == Kind::Dir).count() as u64,
        bytes,
        ready: taken_in.is_some(),
        snapshot: mine
            .and_then(|mine| mine.snapshot)
            .filter(|_| head.as_ref().is_some_and(|at| told(&at.head).is_some())),
        last_commit: head.filter(|at| at.head.state != HeadState::Deleted).map(|at| timestamp(at.head.time.into())),
        changes: changes(base, &ours).into_iter().map(change).collect(),
        ignored: scan
            .ignored
            .iter()
            .map(|rule| Ignored {
                rule: rule.rule.clone(),
                source: rule.source.clone(),
                files: rule.files,
                bytes: rule.bytes,
            })
            .collect(),
        conflicts: conflicts(&ours),
    })
}

fn change(change: crate::plan::Change) -> Change {
    use crate::plan::ChangeKind as Planned;
    let kind = match change.change {
        Planned::Added => ChangeKind::Added,
        Planned::Modified => ChangeKind::Modified,
        Planned::Deleted => ChangeKind::Deleted,
        Planned::Metadata => ChangeKind::Metadata,
    };
    Change { path: change.path.to_string(), change: kind, size: change.size }
}

/// Copies that merges left, by their names.
fn conflicts(rows: &Rows) -> Vec<Conflict> {
    let copies = rows.keys().filter_map(|path| {
        let text = path.to_text().into_owned();
        let at = text.rfind(".theirs-").or_else(|| text.rfind(".ours-"))?;
        let digits = text[at + 1..].split_once('-')?.1;
        let is_hash = digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then(|| Conflict { path: text[..at].to_owned(), copy: text.clone() })
    });
    copies.collect()
}
