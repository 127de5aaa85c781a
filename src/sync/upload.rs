//! Upload: a whole directory to a workspace, by a person. Adds and replaces; deletes only when asked to. It leaves no
//! state in the directory: from one that has state it is a commit.

use std::{collections::HashMap, sync::Mutex, time::Instant};

use futures_util::FutureExt;

use super::{
    Control, Setting, SyncError, commit, import,
    laying::Laying,
    live_tree::LiveTree,
    live_upload,
    local::{needed, not_deleted, part, stored_rows, undeleted},
    publish::{Published, next_head, publish},
    room::Room,
    session::{
        connect, open_directory, refuse_read_only, refuse_supervised, rules, scan_directory, told, with_abilities,
        workspace,
    },
};
use crate::{
    config::Config,
    plan::{ChangeKind, ImportOptions, Merged, Order, changes, tombstones, upload_plan},
    report::{Events, LiveTreeState, NotDeleted, Receipt},
    rows::{Kind, RelPath, Removed, Rows},
    state::State,
    worktree::{Index, Scan},
};

/// How often a lost race is run again.
const TRIES: u32 = 12;

/// Files that `--include-lock` takes whatever the rules say.
const LOCKFILES: &[&str] = &[
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    "deno.lock",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "composer.lock",
    "Gemfile.lock",
    "go.sum",
    "Cargo.lock",
    "mix.lock",
    "packages.lock.json",
];

/// Sends the directory to the workspace.
///
/// # Errors
/// A guard, the server, the disk.
pub async fn upload(config: &Config, setting: &Setting, events: &dyn Events) -> Result<Receipt, SyncError> {
    refuse_read_only(config, "uploaded")?;
    refuse_supervised(config)?;
    let dir = open_directory(config, false)?;
    let url = workspace(config)?.url();
    if let Some(state) = State::open(&config.state)?
        && state.ready()?.is_some()
        && state.mine()?.is_some_and(|mine| mine.workspace == url)
    {
        return commit(config, setting, None, events).await;
    }
    let mut config = config.clone();
    if config.call.include_lock {
        config.ignore.extend(LOCKFILES.iter().map(|name| format!("!{name}")));
    }
    let begun = Instant::now();
    let scan = scan_directory(&config, setting, &dir, Index::default(), false).await?;
    let mut store = connect(&config).await?;
    let sent = Mutex::new(HashMap::new());
    for _ in 0..TRIES {
        let live = live_upload::upload(&config, (&dir, &scan), &mut store, begun, events).boxed_local();
        if let Some(receipt) = live.await? {
            return Ok(receipt);
        }
        let mut found = match import::look(&store, &rules(&config), ImportOptions::default()).await {
            // Somebody made it live in between.
            Err(SyncError::Newer(_)) => continue,
            found => found?,
        };
        import::read_what_meets(&store, &mut found.import, &scan.rows, None).await?;
        let mut theirs = found.import.rows.clone();
        let unread: Vec<RelPath> = found.import.unread.keys().cloned().collect();
        theirs.extend(found.import.unread.iter().map(|(path, unread)| (path.clone(), unread.placeholder())));
        if !config.call.delete {
            guard_what_is_below(&theirs, &scan, &url)?;
        }
        let mut laying = Laying::new(&theirs, &scan, &dir, config.call.delete, &config.together);
        let mut result = Merged { rows: laying.result(), ..Merged::default() };
        let mut plan = upload_plan(&theirs, &result, Order::ByPath).in_groups(&laying.groups, Order::ByPath);
        let mut receipt = receipt(&theirs, &result.rows, &laying);
        let is_nothing = plan.is_empty() && changes(&theirs, &result.rows).is_empty();
        receipt.durable = !config.call.dry_run;
        if !config.call.dry_run && !is_nothing {
            let hidden = found.import.hidden.iter().map(|(path, etag)| (path.clone(), Some(etag.clone())));
            let hidden: Removed = hidden.collect();
            plan = plan.with_tombstones(&hidden, &result);
            store = with_abilities(store, None, needed(&plan)).await?;
            let head = found.head.as_ref();
            let live_tree = LiveTree {
                store: &store,
                dir: &dir,
                state: None,
                head,
                sent: &sent,
                known: &[&theirs],
                groups: &laying.groups,
                stop: &|| false,
                control: &Control::default(),
                room: Room::new(),
                events,
            };
            let mut outcome = live_tree.run(&plan).await?;
            if outcome.lost {
                continue;
            }
            laying.take(&outcome.stored, &outcome.not_stored);
            part(&mut laying.groups, &plan, &mut outcome, &url);
            result.rows = laying.result();
            receipt = self::receipt(&theirs, &result.rows, &laying);
            let left = std::mem::take(&mut receipt.not_deleted);
            let was_counted = |path: &str| {
                RelPath::from_text(path)
                    .is_ok_and(|path| theirs.contains_key(&path) && !result.rows.contains_key(&path))
            };
            receipt.add_not_deleted(not_deleted(&outcome).into_iter().map(|one| {
                let was_counted = was_counted(&one.path);
                (one, was_counted)
            }));
            let is_new = |one: &NotDeleted| outcome.left.iter().all(|path| path.to_string() != one.path);
            receipt.not_deleted.extend(left.into_iter().filter(is_new));
            for (path, stored) in &outcome.stored {
                result.rows.insert(path.clone(), stored.clone());
            }
            let mut rows = stored_rows(&result, &theirs, &outcome);
            // What was not read has no row: whoever imports it reads it.
            rows.retain(|path, row| {
                row.kind != Kind::File || outcome.stored.contains_key(path) || !unread.contains(path)
            });
            let markers = found.import.markers.iter().chain(&found.import.hidden_markers);
            let markers = markers.map(|(path, etag)| (path.clone(), etag.clone())).collect();
            let removed = tombstones(&undeleted(&hidden, &outcome), &markers, &rows);
            let missing = receipt.partial.then(|| laying.lacking().names());
            let next = next_head(&store, head, false, missing, &rows, removed).await?;
            match publish(&store, head, &next).await? {
                Published::Won(_) => receipt.snapshot = told(&next),
                Published::Lost | Published::Gone => continue,
            }
        }
        let counters = store.counters();
        (receipt.requests, receipt.bytes_sent) = (counters.requests, counters.bytes_sent);
        receipt.seconds = begun.elapsed().as_secs_f64();
        let receipt = receipt.bounded();
        if receipt.durable {
            events.durable(&receipt);
        }
        return Ok(receipt);
    }
    Err(SyncError::Contended(url, TRIES))
}

/// An upload deletes nothing that it was not asked to delete: not what lies below a name that is a file here, nor a file
/// whose name is a directory here.
pub(super) fn guard_what_is_below(theirs: &Rows, scan: &Scan, url: &str) -> Result<(), SyncError> {
    let in_the_way = theirs.iter().filter(|(_, row)| row.kind != Kind::Dir).find_map(|(path, _)| {
        let file = path.ancestors().find(|up| scan.rows.get(up).is_some_and(|row| row.kind != Kind::Dir));
        let dir = scan.rows.get(path).filter(|row| row.kind == Kind::Dir).map(|_| path.clone());
        file.or(dir).map(|here| (path, here))
    });
    match in_the_way {
        None => Ok(()),
        Some((path, here)) => Err(SyncError::Guard(format!(
            "{url} has {path}, and here {here} is something else: nothing was sent; --delete makes the workspace what \
             is here"
        ))),
    }
}

pub(super) fn receipt(theirs: &Rows, result: &Rows, laying: &Laying<'_>) -> Receipt {
    let changed = changes(theirs, result);
    let files = changed.iter().filter(|change| change.kind == Kind::File);
    let deleted = files.clone().filter(|change| change.change == ChangeKind::Deleted).count() as u64;
    Receipt {
        snapshot: None,
        durable: true,
        partial: laying.is_partial(),
        // Nobody knows who writes here meanwhile.
        quiet: false,
        files_changed: files.count() as u64 - deleted,
        files_deleted: deleted,
        bytes_sent: 0,
        requests: 0,
        seconds: 0.0,
        live_tree: LiveTreeState::Current,
        not_stored: laying.lacking().named(),
        not_deleted: laying.left(result),
        conflicts: Vec::new(),
        omitted: 0,
        error: None,
    }
}
