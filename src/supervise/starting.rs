//! Before the app: restore, install, and what cancels them. The app never sees half a workspace.

use std::{
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    time::Duration,
};

use nix::unistd::write;

use super::{
    budget::Budget,
    children::{Child, Pipes, Role},
    life::{Life, Stop},
    phase::State,
    shorten,
    socket::Door,
};
use crate::{
    config::{Handover, Mode, OnRestoreFailure},
    report::Exit,
    sys::{
        entry, poll, signals,
        spawn::{Spawn, Step},
        wait::Ending,
    },
};

/// How long a pull that ran out of `STOPOVER_RESTORE_TIMEOUT` may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a pull told: the snapshot, and the directory it restored into.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Pulled {
    pub(super) snapshot: Option<String>,
    /// The workspace is plain: the snapshot is for commits alone.
    pub(super) plain: bool,
    /// Not all of the snapshot was written: it does not say what the directory took in.
    pub(super) part: bool,
    pub(super) directory: Option<(u64, u64)>,
    /// The birth of the workspace, and the mark of the tombstone that was found instead of one: for commits to compare.
    pub(super) birth: Option<String>,
    pub(super) tombstone: Option<String>,
    /// Its report, JSON.
    pub(super) report: Option<String>,
}

/// Where the restore is.
pub(super) enum Restore {
    /// A plain init.
    NotNeeded,
    NotBegun,
    Pulling,
    /// All is there: the directory is ready.
    Done(Pulled),
    /// It failed, and so nothing is committed in this life. The app starts only where that was asked for.
    Failed {
        start_anyway: bool,
        usage: bool,
    },
}

/// Where the install is.
pub(super) enum Installed {
    NotNeeded,
    Waiting,
    Running,
    /// Its report, JSON.
    Done(Option<String>),
    Failed,
}

impl Installed {
    pub(super) fn new(needed: bool) -> Self {
        if needed { Self::Waiting } else { Self::NotNeeded }
    }
}

impl Life<'_> {
    /// One step of the preparation.
    pub(super) fn prepare(&mut self, now: Duration) {
        if self.cancelled.is_some() {
            if self.children.is_empty() {
                self.begin_drain(now);
            }
            return;
        }
        let restored = match self.restore {
            Restore::NotBegun => {
                self.begin_restore(now);
                return;
            }
            Restore::Pulling => false,
            Restore::NotNeeded | Restore::Done(_) => true,
            Restore::Failed { start_anyway, .. } => {
                if !start_anyway {
                    self.give_up_install(now);
                    return;
                }
                true
            }
        };
        match self.installed {
            // Install scripts and the search for a start command may look at any file.
            Installed::Waiting if restored => self.begin_install(now),
            Installed::Failed
                // What an earlier life left is being stored by the checkpoint that began when the restore ended.
                if self.children.is_empty() => {
                    self.begin_drain(now);
                }
            Installed::NotNeeded | Installed::Done(_) if restored => {
                if self.app.command.is_empty() {
                    self.log.error("no command was given, and none was detected: name one after `--`");
                    self.installed = Installed::Failed;
                } else {
                    self.start_the_app();
                }
            }
            _ => {}
        }
    }

    fn begin_restore(&mut self, now: Duration) {
        self.enter(State::Restoring);
        let workspace = self.config.workspace.as_ref().map(crate::config::Workspace::url).unwrap_or_default();
        self.log.info(format_args!("restoring {workspace} to {}", self.config.dir.display()));
        self.oom.look();
        match self.start_sync_child(Role::Pull, &Handover::default()) {
            Ok(child) => {
                self.children.push(child);
                self.restore = Restore::Pulling;
            }
            Err(error) => {
                self.log.error(format_args!("the restore cannot be started: {error}"));
                self.restore_failed(false, now);
            }
        }
    }

    /// Starts `stopover pull`, `install` or `commit` with the options of this command line and one more.
    pub(super) fn start_sync_child(&mut self, role: Role, handover: &Handover) -> io::Result<Child> {
        let (status, status_end) = poll::pipe_from_child()?;
        let (receipt, receipt_end) = poll::pipe_from_child()?;
        let mut keep = vec![status_end.as_raw_fd(), receipt_end.as_raw_fd()];
        let mut handover = Handover {
            status: Some(status_end.as_raw_fd()),
            receipt: Some(receipt_end.as_raw_fd()),
            user: self.user.as_ref().map(|user| (user.identity.uid, user.identity.gid)),
            ..handover.clone()
        };
        let mut ends: Vec<OwnedFd> = vec![status_end, receipt_end];
        let mut pipes = Pipes { status: Some(status), receipt: Some(receipt), control: None };
        let keys = self.environment.keys(self.config);
        let install = role == Role::Install;
        if !keys.is_empty() && !install {
            let (end, pipe) = poll::pipe_to_child()?;
            // They fit into an empty pipe (64 KiB); then the child reads to the end whenever it is ready to.
            if write(&pipe, &keys)? != keys.len() {
                return Err(io::Error::other("the credentials are longer than a pipe holds"));
            }
            handover.credentials = Some(end.as_raw_fd());
            keep.push(end.as_raw_fd());
            ends.push(end);
        }
        if role == Role::LastCommit {
            let (end, pipe) = poll::pipe_to_child()?;
            handover.control = Some(end.as_raw_fd());
            keep.push(end.as_raw_fd());
            ends.push(end);
            pipes.control = Some(pipe);
        }
        handover.look = role == Role::Look;
        let name = match role {
            Role::Pull => "pull",
            Role::Install => "install",
            _ => "commit",
        };
        let mut words: Vec<OsString> = vec!["stopover".into(), name.into()];
        words.extend(self.options.iter().cloned());
        words.extend(["--handover".into(), handover.to_words().into()]);
        if install && self.app.command.is_empty() {
            words.push("--find-start".into());
        }
        let environment = if install {
            self.environment.for_the_app(self.config.hide_credentials, self.user.as_ref(), &[])
        } else {
            self.environment.for_a_sync_child()
        };
        let bit = |signal: i32| 1_u64 << (signal - 1);
        // The last commit does not hear a TERM or a `^C`: PID 1 alone decides how long it lives.
        let deaf = if role == Role::LastCommit { bit(libc::SIGTERM) | bit(libc::SIGINT) } else { 0 };
        let program = Spawn {
            programs: CString::new(self.around.program.as_os_str().as_bytes()).into_iter().collect(),
            words: super::environment::words(&words),
            environment,
            directory: None,
            mask: entry::inherited_mask() | bit(libc::SIGTTOU) | bit(libc::SIGTTIN),
            // With SIGCHLD ignored it could not wait for children of its own.
            ignored: (entry::inherited_ignored() | deaf) & !bit(libc::SIGCHLD),
            reset: bit(libc::SIGPIPE) | bit(libc::SIGCHLD),
            terminal: None,
            without_stdin: true,
            keep,
            identity: if install { self.user.as_ref().map(|user| user.identity.clone()) } else { None },
        };
        Child::start(role, &program, pipes)
    }

    /// When a pull has run out of `STOPOVER_RESTORE_TIMEOUT`.
    pub(super) fn restore_deadline(&self) -> Option<Duration> {
        let limit = self.config.restore_timeout?;
        let pull = self.children.iter().find(|child| child.role == Role::Pull && child.kill_at.is_none())?;
        // The pull keeps this time itself, and says more about it; this is for one that hangs.
        Some(pull.begun.saturating_add(limit).saturating_add(PATIENCE))
    }

    pub(super) fn restore_takes_too_long(&mut self, now: Duration) {
        self.log.error("the restore did not end within STOPOVER_RESTORE_TIMEOUT: cancelled");
        for child in self.children.iter_mut().filter(|child| child.role == Role::Pull) {
            child.cancel(now, PATIENCE);
        }
    }

    /// The pull has ended.
    pub(super) fn pull_ended(&mut self, mut child: Child, ending: Ending) {
        let now = poll::monotonic();
        if self.cancelled.is_some() {
            return;
        }
        match ending {
            // 3: done, but keys had to be refused; its report names them.
            Ending::Exited(0 | 3) if child.failure.is_none() => {
                let pulled = parse(child.take_receipt().unwrap_or_default());
                if pulled.directory.is_none() {
                    self.log.debug("the restore did not say which directory it restored into");
                }
                if let Some(phase) = &mut self.phase {
                    phase.snapshot = pulled.snapshot.clone().filter(|_| !pulled.plain);
                }
                self.restore = Restore::Done(pulled);
                if self.config.mode == Mode::ReadOnly {
                    self.log.info("nothing that changes here will be stored, as STOPOVER_MODE=read-only says");
                }
                self.commits.restored(now, self.config.checkpoint, self.around.look);
                self.open_door();
            }
            ending => {
                let usage = ending == Ending::Exited(Exit::Usage.code());
                let how =
                    child.failure.map_or_else(|| told(ending), |failure| not_executed(failure.step, failure.errno));
                self.log.error(format_args!("the restore failed ({how}); nothing will be committed"));
                self.restore_failed(usage, now);
            }
        }
    }

    fn restore_failed(&mut self, usage: bool, now: Duration) {
        let start_anyway = self.config.on_restore_failure == OnRestoreFailure::Run && !usage;
        if start_anyway {
            self.log.warn("starting the app with what is there, as STOPOVER_ON_RESTORE_FAILURE=run says");
        }
        self.restore = Restore::Failed { start_anyway, usage };
        if !start_anyway {
            self.give_up_install(now);
        }
    }

    /// An install that began beside a restore that failed is cancelled; then it is over.
    fn give_up_install(&mut self, now: Duration) {
        let patience = self.config.grace;
        for child in self.children.iter_mut().filter(|child| child.kill_at.is_none()) {
            child.cancel(now, patience);
        }
        if self.children.is_empty() {
            self.begin_drain(now);
        }
    }

    fn begin_install(&mut self, now: Duration) {
        self.enter(State::Installing);
        match self.start_sync_child(Role::Install, &Handover::default()) {
            Ok(child) => {
                self.children.push(child);
                self.installed = Installed::Running;
            }
            Err(error) => {
                self.log.error(format_args!("the install cannot be started: {error}"));
                self.installed = Installed::Failed;
                self.prepare(now);
            }
        }
    }

    /// The install has ended: its report, and the start command where none was given.
    pub(super) fn install_ended(&mut self, mut child: Child, ending: Ending) {
        if self.cancelled.is_some() {
            return;
        }
        if ending != Ending::Exited(0) || child.failure.is_some() {
            let how = child.failure.map_or_else(|| told(ending), |failure| not_executed(failure.step, failure.errno));
            // What failed it has said itself: an install, or the search for a start command.
            if ending == Ending::Exited(Exit::InstallFailed.code()) {
                self.log.error("the app is not started");
            } else {
                self.log.error(format_args!("the install failed ({how}); the app is not started"));
            }
            self.installed = Installed::Failed;
            return;
        }
        let record = record(&child.take_receipt().unwrap_or_default());
        let report = record.report.filter(|text| shorten::is_list(text));
        self.app.assigned = record.assigned;
        if self.app.command.is_empty() {
            self.app.command = record.command;
        }
        self.installed = Installed::Done(report);
    }

    /// TERM, INT or QUIT before the app exists: everything is cancelled, and nothing half restored is committed.
    pub(super) fn cancel(&mut self, signal: i32, now: Duration) {
        if self.cancelled.is_some() {
            return;
        }
        self.cancelled = Some(signal);
        if self.phase.is_some() {
            self.log.warn(format_args!("SIG{} before the app began: the start is cancelled", signals::name(signal)));
        }
        let budget = Budget::new(self.config.stop_timeout, self.config.grace, &[]);
        self.stop = Some(Stop { at: now, budget });
        self.enter(State::Stopping);
        for child in &mut self.children {
            child.cancel(now, budget.end / 2);
        }
    }

    /// Opens the commit socket, again where its name was removed.
    pub(super) fn open_door(&mut self) {
        if !self.may_commit() {
            return;
        }
        let Some(phase) = &mut self.phase else { return };
        phase.look_again();
        if self.door.as_ref().is_some_and(|door| door.is_there(phase)) {
            return;
        }
        match Door::open(phase) {
            Ok(mut door) => {
                if let Some(old) = self.door.take() {
                    door.inherit(old);
                }
                self.door = Some(door);
            }
            Err(error) => {
                let place = self.config.state.display();
                self.log
                    .warn(format_args!("stopover commit cannot reach this supervisor: {place}/commit.sock: {error}"));
            }
        }
    }
}

/// How a child ended, in words.
pub(super) fn told(ending: Ending) -> String {
    match ending {
        Ending::Exited(code) => format!("exit {code}"),
        Ending::Signalled(signal) => format!("SIG{}", signals::name(signal)),
    }
}

fn not_executed(step: Step, errno: i32) -> String {
    let error = io::Error::from_raw_os_error(errno);
    match step {
        Step::Identity => format!("cannot become that user: {error}"),
        _ => format!("stopover cannot execute itself: {error}"),
    }
}

/// What an install told.
#[derive(PartialEq, Eq, Debug)]
struct Record {
    report: Option<String>,
    assigned: Vec<(OsString, OsString)>,
    command: Vec<OsString>,
}

/// JSON and a NUL, then words that each end in a NUL: `NAME=VALUE` for the app, an empty one, the start command.
fn record(bytes: &[u8]) -> Record {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let report = std::str::from_utf8(&bytes[..end]).ok().map(|text| text.trim().to_owned());
    let rest = bytes.get(end + 1..).unwrap_or_default();
    let mut words = rest.split_inclusive(|byte| *byte == 0).map(|word| word.strip_suffix(b"\0").unwrap_or(word));
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let assignments = words.by_ref().take_while(|word| !word.is_empty());
    let assigned = assignments.filter_map(|word| {
        let equals = word.iter().position(|byte| *byte == b'=')?;
        Some((owned(&word[..equals]), owned(&word[equals + 1..])))
    });
    let assigned = assigned.collect();
    Record { report, assigned, command: words.map(owned).collect() }
}

/// `SNAPSHOT-or-dash DEV INODE`, then any of `plain` (users are told of no snapshot), `part` (not all of it was written), `birth=ID` and `tombstone=MARK`,
/// then JSON from the next line on.
fn parse(bytes: Vec<u8>) -> Pulled {
    let Ok(text) = String::from_utf8(bytes) else { return Pulled::default() };
    let (line, report) = text.split_once('\n').unwrap_or((&text, ""));
    let mut words = line.split(' ');
    let snapshot = words.next().filter(|word| !word.is_empty() && *word != "-").map(ToOwned::to_owned);
    let directory =
        words.next().and_then(|word| word.parse().ok()).zip(words.next().and_then(|word| word.parse().ok()));
    let report = super::commits::last_object(report);
    if directory.is_none() {
        return Pulled { report, ..Pulled::default() };
    }
    let mut pulled = Pulled { snapshot, directory, report, ..Pulled::default() };
    for word in words {
        match word.split_once('=') {
            None if word == "plain" => pulled.plain = true,
            None if word == "part" => pulled.part = true,
            Some(("birth", id)) => pulled.birth = Some(id.to_owned()),
            Some(("tombstone", mark)) => pulled.tombstone = Some(mark.to_owned()),
            _ => {}
        }
    }
    pulled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_an_install_holds_report_assignments_and_command() {
        let all = record(b"[]\0PATH=/a:/b\0A=x=y\0\0node\0\0a b\0");
        assert_eq!(all.report.as_deref(), Some("[]"));
        assert_eq!(all.assigned, [("PATH".into(), "/a:/b".into()), ("A".into(), "x=y".into())]);
        assert_eq!(all.command, ["node", "", "a b"]);
        let none = record(b"[]\0\0");
        assert_eq!((none.assigned, none.command), (Vec::new(), Vec::new()));
        let command = record(b"[]\0\0node\0");
        assert_eq!((command.assigned, command.command), (Vec::new(), vec![OsString::from("node")]));
        assert_eq!(record(b"").command, Vec::<OsString>::new());
    }

    #[test]
    fn the_first_line_of_a_pull_names_snapshot_and_directory() {
        let pulled = parse(b"0000000041-0123456789ab 65024 12\n{\"files\":1}\n".to_vec());
        assert_eq!(pulled.snapshot.as_deref(), Some("0000000041-0123456789ab"));
        assert_eq!(pulled.directory, Some((65024, 12)));
        assert_eq!(pulled.report.as_deref(), Some("{\"files\":1}"));
        assert!(!pulled.plain && parse(b"0000000041-0123456789ab 1 2 plain\n{}".to_vec()).plain);
        assert!(!pulled.part && parse(b"0000000041-0123456789ab 1 2 part\n{}".to_vec()).part);
        assert_eq!(parse(b"- 1 2\n{}".to_vec()).snapshot, None);
        let born = parse(b"0000000041-0123456789ab 1 2 plain birth=0000000001-000000000000\n{}".to_vec());
        assert!(born.plain && born.birth.as_deref() == Some("0000000001-000000000000") && born.tombstone.is_none());
        let over = parse(b"- 1 2 plain tombstone=00ff\n{}".to_vec());
        assert_eq!((over.snapshot, over.birth, over.tombstone.as_deref()), (None, None, Some("00ff")));
        assert_eq!(parse(b"".to_vec()), Pulled::default());
        assert_eq!(parse(b"{\"files\":1}".to_vec()).directory, None);
    }
}
