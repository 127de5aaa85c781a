//! One process at work on one directory and one workspace: handles, lock, notes, server.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{SyncError, remote::blocking};
use crate::{
    config::{Config, GitPolicy, Mode, OwnerPolicy, Workspace},
    plan::{Owners, adopt_owners},
    rows::{Rows, tree_digest},
    snapshot::{Head, HeadState, Limits, Missing, SnapshotId, Tree, TreeHeader},
    state::{Lock, Mine, Restart, State},
    store::{Abilities, Probed, Store},
    worktree::{Directory, Index, Owner, RuleOptions, Scan, ScanOptions, may_chown, scan},
};

/// How long another process may hold the lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a sync runs with besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// User and group of the app, where stopover gives privileges up for it.
    pub run_user: Option<(u32, u32)>,
    /// Processes of stopover's own, which map nothing of the workspace.
    pub own_processes: Vec<i32>,
    /// What PID 1 remembers of this life's restore.
    pub handover: crate::config::Handover,
}

/// The directory that is set, made where asked for.
pub(super) fn open_directory(config: &Config, make: bool) -> Result<Directory, SyncError> {
    let path = config.dir.display();
    match std::fs::metadata(&config.dir) {
        Ok(data) if !data.is_dir() => {
            return Err(SyncError::Directory(format!("{path} is not a directory: set STOPOVER_DIR to one")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !make => {
            return Err(SyncError::Directory(format!("directory does not exist: {path}")));
        }
        _ => {}
    }
    let opened = if make { Directory::create(&config.dir) } else { Directory::open(&config.dir) };
    opened.map_err(|error| {
        SyncError::Directory(format!(
            "{error}: it must be readable and writable by the user stopover runs as; or set STOPOVER_DIR to another place"
        ))
    })
}

/// The workspace that is set.
pub(super) fn workspace(config: &Config) -> Result<&Workspace, SyncError> {
    config.workspace.as_ref().ok_or_else(|| SyncError::Guard("no workspace is set: set STOPOVER_WORKSPACE".to_owned()))
}

/// The connections of this process: what they have begun and given up must be cleared away before it ends.
static CONNECTED: Mutex<Vec<Store>> = Mutex::new(Vec::new());

/// A client for the workspace.
pub(super) async fn connect(config: &Config) -> Result<Store, SyncError> {
    let workspace = workspace(config)?;
    let store = Store::connect(&config.access, &workspace.store.bucket, &workspace.prefix()).await?;
    CONNECTED.lock().unwrap_or_else(PoisonError::into_inner).push(store.clone());
    Ok(store)
}

/// Waits until uploads that were given up are aborted, at most so long: for the end of a process, after an error or a
/// cancel too.
pub async fn settle(most: Duration) {
    let stores = std::mem::take(&mut *CONNECTED.lock().unwrap_or_else(PoisonError::into_inner));
    futures_util::future::join_all(stores.iter().map(|store| store.settle(most))).await;
}

/// Takes the lock without blocking the runtime.
pub(super) async fn lock(state: State) -> Result<(State, Lock), SyncError> {
    blocking(move || {
        let lock = state.lock(PATIENCE)?;
        if state.after_restart(boot_id().as_deref())? == Restart::MayHaveLost {
            tracing::warn!(
                "this machine was restarted before what was restored into {} was surely on its disk: it has to be \
                 restored anew",
                state.path().parent().unwrap_or(state.path()).display()
            );
        }
        Ok::<_, SyncError>((state, lock))
    })
    .await?
}

/// The snapshot that users are told of. A plain workspace has none: its tree alone cannot be restored.
pub(super) fn told(head: &Head) -> Option<String> {
    head.snapshot.as_ref().filter(|_| head.state == HeadState::Live).map(ToString::to_string)
}

/// What tells this boot of the machine from others; `None` where the system does not say.
pub(super) fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Sees to it that all that was written to the directory's filesystem is on the disk.
pub(super) async fn flush(dir: &Directory) -> Result<(), SyncError> {
    let (dir, path) = (dir.try_clone()?, dir.path().to_owned());
    let flushed = blocking(move || dir.flush()).await?;
    flushed.map_err(|error| SyncError::System(format!("{} cannot be flushed to its disk: {error}", path.display())))
}

/// The rules' options.
pub(super) fn rules(config: &Config) -> RuleOptions {
    RuleOptions { git: config.git == GitPolicy::Include, extra: config.ignore.clone() }
}

/// Whom restored files belong to, as writer and planner say it.
pub(super) fn owners(config: &Config, setting: &Setting) -> (Owner, Owners) {
    let policy = config.owner.unwrap_or(match setting.run_user {
        Some(_) => OwnerPolicy::RunUser,
        None if may_chown() => OwnerPolicy::Keep,
        None => OwnerPolicy::None,
    });
    match (policy, setting.run_user) {
        (OwnerPolicy::Keep, _) => (Owner::Keep, Owners::Keep),
        (OwnerPolicy::RunUser, Some((uid, gid))) => (Owner::RunUser { uid, gid }, Owners::Are(uid, gid)),
        (OwnerPolicy::RunUser | OwnerPolicy::None, _) => (Owner::Caller, Owners::Ignore),
    }
}

/// Scans the directory on threads of its own. Dropping the future raises the scan's flag.
pub(super) async fn scan_directory(
    config: &Config,
    setting: &Setting,
    dir: &Directory,
    index: Index,
    hurry: bool,
) -> Result<Scan, SyncError> {
    struct Raise(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Raise {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut options = ScanOptions::new(rules(config), config.state.clone());
    options.own_processes.clone_from(&setting.own_processes);
    if hurry {
        options.count_ignored = 0;
    }
    let _raise = Raise(std::sync::Arc::clone(&options.cancelled));
    let dir = dir.try_clone()?;
    Ok(blocking(move || scan(&dir, &index, &options)).await??)
}

/// Gives scanned rows the owners that the workspace knows, where the disk does not hold them.
pub(super) fn adopt(policy: Owners, ours: &mut Rows, known: &[&Rows]) {
    if policy != Owners::Keep {
        adopt_owners(ours, known);
    }
}

/// The rows the directory last took in.
pub(super) fn origin(state: &State, name: &str) -> Result<Option<Rows>, SyncError> {
    let Some(bytes) = state.read(name)? else { return Ok(None) };
    // A note that cannot be read is none: without base nothing is deleted, and all is hashed again.
    Ok(Tree::decode(&bytes[..], &Limits::default()).ok().map(|tree| tree.rows))
}

/// The snapshot whose rows are noted under `name`.
fn noted_for(state: &State, name: &str) -> Result<Option<SnapshotId>, SyncError> {
    let Some(bytes) = state.read(name)? else { return Ok(None) };
    Ok(Tree::decode_header(&bytes[..], &Limits::default()).ok().map(|(header, _)| header.id))
}

/// Notes the rows the directory took in.
pub(super) fn set_origin(state: &State, name: &str, rows: &Rows, id: &SnapshotId) -> Result<(), SyncError> {
    let mut rows = rows.clone();
    add_parents(&mut rows);
    let header = TreeHeader {
        id: *id,
        parent: None,
        writer: String::new(),
        quiet: false,
        partial: false,
        missing: Missing::default(),
        base: None,
        time: jiff::Timestamp::UNIX_EPOCH,
    };
    let tree = Tree { header, rows, removed: crate::rows::Removed::new() };
    let bytes = tree.encode().map_err(|error| SyncError::System(format!("the rows cannot be noted: {error}")))?;
    Ok(state.write(name, &bytes)?)
}

/// Trees have a row for every parent; what a directory took in may lack one.
fn add_parents(rows: &mut Rows) {
    let missing: Vec<_> =
        rows.keys().flat_map(crate::rows::RelPath::ancestors).filter(|up| !rows.contains_key(up)).collect();
    rows.extend(missing.into_iter().map(|up| (up, crate::rows::Row::dir(0o755))));
}

/// Makes of a commit noted as pending what the directory belongs to, now that a head tells of it.
pub(super) fn settle_pending(
    state: &State,
    mine: &mut Mine,
    head: Option<&super::remote::HeadAt>,
) -> Result<bool, SyncError> {
    let Some(pending) = mine.pending.clone() else { return Ok(false) };
    let Some(id) = pending.snapshot.parse::<SnapshotId>().ok() else { return Ok(false) };
    // Its rows took their place as soon as it was known to be applied: a kill can have come before the note of that.
    let promoted = state.read("origin.pending")?.is_none() && noted_for(state, "origin")? == Some(id);
    if !promoted {
        if !head.is_some_and(|at| at.head.has_in_lineage(&id)) {
            return Ok(false);
        }
        // The rows of a later attempt, whose own note a kill prevented, are not what this one saw; nor are those of
        // before. What was noted before stays true.
        if noted_for(state, "origin.pending")? != Some(id) {
            return Ok(false);
        }
        state.promote("origin.pending", "origin")?;
    }
    mine.snapshot = Some(pending.snapshot);
    // An older one proves nothing of this one.
    mine.seen.clone_from(&mine.snapshot);
    mine.birth = Some(pending.birth);
    mine.seq = mine.seq.max(pending.seq);
    mine.imported = false;
    mine.pending = None;
    mine.taken_in.clear();
    state.set_mine(mine)?;
    Ok(true)
}

/// What was measured of a server, as it is noted.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Measured {
    what: Probed,
    found: Abilities,
}

/// The same store with what is known of its server already; nothing is measured.
pub(super) fn with_noted_abilities(store: Store, state: Option<&State>) -> Store {
    if store.known_abilities().is_some() {
        return store;
    }
    match noted(&store, state) {
        Ok(Some(measured)) if measured.what.puts => store.with_abilities(measured.found),
        _ => store,
    }
}

/// What was measured of this server before.
fn noted(store: &Store, state: Option<&State>) -> Result<Option<Measured>, SyncError> {
    let noted = state.map(|state| state.read("abilities")).transpose()?.flatten();
    let noted: Option<BTreeMap<String, Measured>> = noted.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(noted.and_then(|noted| noted.get(&store.endpoint()).copied()))
}

/// What the server honours, as far as `needed` says: known, measured before and noted, or measured now.
pub(super) async fn with_abilities(store: Store, state: Option<&State>, needed: Probed) -> Result<Store, SyncError> {
    if store.known_abilities().is_some() {
        return Ok(store);
    }
    let endpoint = store.endpoint();
    let known = noted(&store, state)?.unwrap_or_default();
    let missing = needed.without(known.what);
    if missing == Probed::default() {
        return Ok(store.with_abilities(known.found));
    }
    match store.probe_some(missing, known.found).await {
        Ok(abilities) => {
            if missing.puts && !abilities.conditional_puts() {
                tracing::warn!(
                    "{endpoint} does not honour conditional writes: one writer at a time is safe, two containers of one \
                     workspace can lose each other's commits"
                );
            }
            if let Some(state) = state {
                let measured = Measured { what: known.what.with(missing), found: abilities };
                let note = BTreeMap::from([(endpoint, measured)]);
                // Unnoted, they are measured again.
                if let Err(error) = state.write("abilities", &serde_json::to_vec(&note).unwrap_or_default()) {
                    tracing::debug!("{error}");
                }
            }
            Ok(store.with_abilities(abilities))
        }
        Err(error) => {
            tracing::warn!(
                "what {endpoint} honours could not be measured, so nothing is relied on: each write goes with its \
                 condition and behind a look, one writer at a time is safe, and the next commit measures again ({error})"
            );
            Ok(store)
        }
    }
}

/// Files, bytes and digest of a table.
pub(super) fn totals(rows: &Rows) -> (u64, u64, String) {
    let files = rows.values().filter(|row| row.kind == crate::rows::Kind::File);
    let (count, bytes) = files.fold((0, 0), |(count, bytes), row| (count + 1, bytes + row.size));
    (count, bytes, tree_digest(rows).to_string())
}

/// Where files are staged on their way in.
pub(super) fn staging(config: &Config) -> PathBuf {
    config.state.join("staging")
}

/// Refuses to write to a workspace that is only to be read.
pub(super) fn refuse_read_only(config: &Config, done: &str) -> Result<(), SyncError> {
    if config.mode == Mode::ReadOnly && !config.call.dry_run {
        return Err(SyncError::Guard(format!("STOPOVER_MODE=read-only: nothing is {done}")));
    }
    Ok(())
}

/// Refuses to work behind the back of a supervisor that looks after the directory.
pub(super) fn refuse_supervised(config: &Config) -> Result<(), SyncError> {
    if std::os::unix::net::UnixStream::connect(config.state.join("commit.sock")).is_ok() {
        return Err(SyncError::Guard(format!(
            "{} is the workspace of a running container: use `stopover commit`",
            config.dir.display()
        )));
    }
    Ok(())
}

/// Refuses a workspace of the same name on another server: what the directory took in says nothing of that one. One
/// that has the same birth is the same, by another name of its server.
pub(super) fn refuse_elsewhere(
    config: &Config,
    store: &Store,
    mine: Option<&Mine>,
    head: Option<&super::remote::HeadAt>,
) -> Result<(), SyncError> {
    let here = store.server();
    let Some((mine, there)) = mine.and_then(|mine| Some((mine, mine.endpoint.as_ref()?))) else { return Ok(()) };
    let birth = head.map(|at| at.head.birth.to_string());
    if *there == here || birth.is_some() && birth == mine.birth {
        return Ok(());
    }
    Err(SyncError::Guard(format!(
        "{} holds {} of {there}, not that of {here}: set S3_ENDPOINT to the first, or use another directory, or remove \
         {} to take what is there as new files",
        config.dir.display(),
        mine.workspace,
        config.state.display()
    )))
}

/// What a life of a container has said once.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Told {
    /// Which life.
    life: String,
    /// The lifecycle rule that will delete what is stored.
    expiration: Option<String>,
}

/// Which life of a container this process belongs to: PID 1's process, which no other has before the next boot.
fn life(setting: &Setting) -> Option<String> {
    let supervisor = setting.own_processes.first()?;
    let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).ok()?;
    // Behind the name, which may have any signs; there the 20th is when it began.
    let began = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?;
    Some(format!("{} {supervisor} {began}", boot_id()?))
}

/// Keeps `store` from saying what this life of a container has said already.
pub(super) fn say_no_more(store: &Store, state: &State, setting: &Setting) {
    let told: Option<Told> = state.read("told").ok().flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let told = told.filter(|told| life(setting).is_some_and(|life| life == told.life));
    if let Some(rule) = told.and_then(|told| told.expiration) {
        store.has_said_expiration(rule);
    }
}

/// Notes what `store` has said, for the rest of this life.
pub(super) fn note_told(store: &Store, state: &State, setting: &Setting) {
    let (Some(life), Some(rule)) = (life(setting), store.expiration()) else { return };
    let told = serde_json::to_vec(&Told { life, expiration: Some(rule) }).unwrap_or_default();
    if let Err(error) = state.write("told", &told) {
        tracing::debug!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Pending;

    #[test]
    fn rows_that_took_their_place_before_a_kill_belong_to_the_commit_that_was_pending() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        let ids = [1_u8, 2].map(|n| SnapshotId::new(n.into(), [n; 6]));
        set_origin(&state, "origin", &Rows::new(), &ids[0]).unwrap();
        set_origin(&state, "origin.pending", &Rows::new(), &ids[1]).unwrap();
        let pending = Pending { snapshot: ids[1].to_string(), birth: ids[0].to_string(), seq: 2 };
        let mut mine = Mine { snapshot: Some(ids[0].to_string()), pending: Some(pending), ..Mine::default() };
        // Not seen in a head: nobody knows, and both are kept.
        assert!(!settle_pending(&state, &mut mine, None).unwrap());
        assert!(mine.pending.is_some() && mine.snapshot == Some(ids[0].to_string()));
        // It was seen, and then the process was killed. Whatever head says now, these are that commit's rows.
        state.promote("origin.pending", "origin").unwrap();
        assert!(settle_pending(&state, &mut mine, None).unwrap());
        assert_eq!((mine.pending.clone(), mine.snapshot.clone()), (None, Some(ids[1].to_string())));
        assert_eq!(state.mine().unwrap(), Some(mine));
    }

    #[test]
    fn the_rows_of_another_attempt_are_not_what_a_commit_saw() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        let ids = [1_u8, 2, 3].map(|n| SnapshotId::new(n.into(), [n; 6]));
        let head = [1, 2].iter().fold(None::<crate::snapshot::Head>, |head, seq| {
            let written = crate::snapshot::Written {
                write_id: crate::snapshot::WriteId::new([1; 6]),
                writer: String::new(),
                time: jiff::Timestamp::UNIX_EPOCH,
            };
            let id = ids[seq - 1];
            Some(match head {
                None => crate::snapshot::Head::first_plain(id, [0; 6], written),
                Some(head) => head.next(id, written),
            })
        });
        let head = crate::sync::remote::HeadAt { head: head.unwrap(), etag: crate::rows::ETag::new("\"2\"") };
        let pending = Pending { snapshot: ids[1].to_string(), birth: ids[0].to_string(), seq: 2 };
        let seen = Some(ids[0].to_string());
        let before = Mine { snapshot: seen.clone(), seen, pending: Some(pending), ..Mine::default() };
        for (attempt, settles) in [(Some(ids[2]), false), (None, false), (Some(ids[1]), true)] {
            set_origin(&state, "origin", &Rows::new(), &ids[0]).unwrap();
            state.forget("origin.pending").unwrap();
            if let Some(id) = attempt {
                set_origin(&state, "origin.pending", &Rows::new(), &id).unwrap();
            }
            let mut mine = before.clone();
            assert_eq!(settle_pending(&state, &mut mine, Some(&head)).unwrap(), settles, "{attempt:?}");
            if settles {
                assert_eq!((&mine.snapshot, &mine.seen), (&Some(ids[1].to_string()), &Some(ids[1].to_string())));
                assert_eq!(noted_for(&state, "origin").unwrap(), Some(ids[1]));
            } else {
                assert_eq!(mine, before);
                assert_eq!(noted_for(&state, "origin").unwrap(), Some(ids[0]));
            }
        }
    }

    #[test]
    fn a_commit_that_lost_its_race_and_its_rows_is_not_what_the_directory_took_in() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        let ids = [1_u8, 2].map(|n| SnapshotId::new(n.into(), [n; 6]));
        set_origin(&state, "origin", &Rows::new(), &ids[0]).unwrap();
        // The disk was full when the next try noted its own: the rows went, the note of the id stayed.
        let pending = Pending { snapshot: ids[1].to_string(), birth: ids[1].to_string(), seq: 2 };
        let before = Mine { snapshot: Some(ids[0].to_string()), pending: Some(pending), ..Mine::default() };
        let mut mine = before.clone();
        assert!(!settle_pending(&state, &mut mine, None).unwrap());
        assert_eq!(mine, before);
    }
}
