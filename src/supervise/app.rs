//! The app: started once everything is there, and its end.

use std::{
    ffi::{CString, OsString},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::Duration,
};

use super::{
    environment,
    life::{Life, SETTLED, Stage},
    phase::State,
    processes,
};
use crate::{
    report::Exit,
    sys::{
        entry, poll, signals,
        spawn::{self, Failure, Spawn, Step},
        wait::Ending,
    },
};

/// Where the app is.
pub(super) enum AppState {
    /// It does not exist.
    NotStarted,
    /// It was forked; whether its program can be executed is not known yet.
    Executing { pid: i32, begun: Duration, failure: OwnedFd },
    /// It runs.
    Running { pid: i32, begun: Duration },
    /// It has ended.
    Ended { ending: Ending, time: Duration },
    /// It could not be started.
    Failed { code: u8 },
}

/// The app and its command.
pub(super) struct App {
    pub(super) command: Vec<OsString>,
    /// Variables that the install says it needs.
    pub(super) assigned: Vec<(OsString, OsString)>,
    pub(super) state: AppState,
    /// Whether the supervisor killed it at its deadline.
    pub(super) killed: bool,
}

impl App {
    pub(super) fn new(command: Vec<OsString>) -> Self {
        Self { command, assigned: Vec::new(), state: AppState::NotStarted, killed: false }
    }

    /// The process, while it is not reaped.
    pub(super) fn pid(&self) -> Option<i32> {
        match self.state {
            AppState::Executing { pid, .. } | AppState::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }
}

impl Life<'_> {
    /// A program that runs as the app does: its user, directory, environment, mask and dispositions.
    pub(super) fn as_the_app(&self, command: &[OsString]) -> Spawn {
        let hide = self.config.hide_credentials;
        let environment = self.environment.for_the_app(hide, self.user.as_ref(), &self.app.assigned);
        let programs = command.first().map(|name| environment::programs(name, &environment)).unwrap_or_default();
        // A plain init keeps its working directory; with a workspace the app starts in the workspace.
        let directory = self.config.workspace.as_ref().and_then(|_| path(&self.config.dir));
        Spawn {
            programs,
            words: environment::words(command),
            environment,
            directory,
            mask: entry::inherited_mask(),
            ignored: entry::inherited_ignored(),
            // Rust's runtime ignores SIGPIPE, and we hear SIGCHLD; all others are as they were inherited.
            reset: 1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGCHLD - 1),
            terminal: None,
            without_stdin: false,
            keep: Vec::new(),
            identity: self.user.as_ref().map(|user| user.identity.clone()),
        }
    }

    /// Forks the app. Signals are kept until its program is executed.
    pub(super) fn start_the_app(&mut self) {
        let mut program = self.as_the_app(&self.app.command);
        program.terminal = self.terminal.for_the_app();
        self.stage = Stage::Running;
        match spawn::spawn(&program) {
            Ok(started) => {
                let begun = poll::monotonic();
                self.app.state = AppState::Executing { pid: started.pid, begun, failure: started.failure };
                self.slim_at = Some(begun + SETTLED);
                if self.phase.is_some() {
                    self.log.info(format_args!("running {}", self.shown_command()));
                }
                if let Some(phase) = &mut self.phase {
                    phase.pid = Some(started.pid);
                }
                self.enter(State::Running);
                // After the fork, so that the app does not wait for it.
                self.oom.look();
            }
            Err(error) => {
                self.log.error(format_args!("cannot start {}: {error}", self.shown_command()));
                self.app.state = AppState::Failed { code: Exit::NotExecutable.code() };
                self.begin_drain(poll::monotonic());
            }
        }
    }

    /// What tells that the app's program was executed, if somebody waits for it: a signal that is kept for the app, or
    /// a workspace. Else it is enough to look when something happens, or when the app has settled; to be woken for it
    /// would cost a plain init more than all else that it does meanwhile.
    pub(super) fn awaited_execution(&self, now: Duration) -> Option<&OwnedFd> {
        let AppState::Executing { failure, .. } = &self.app.state else { return None };
        self.execution_deadline(now).is_none().then_some(failure)
    }

    /// When it is looked whether the app's program was executed, although nobody waits for it.
    pub(super) fn execution_deadline(&self, now: Duration) -> Option<Duration> {
        let AppState::Executing { begun, .. } = &self.app.state else { return None };
        let settled = *begun + SETTLED;
        let nobody_waits = self.phase.is_none() && !self.forwarder.keeps() && now < settled;
        nobody_waits.then_some(settled)
    }

    /// Looks whether the app's program was executed, and then delivers what was kept.
    pub(super) fn app_executes(&mut self) {
        let AppState::Executing { pid, begun, failure } = &self.app.state else { return };
        let (pid, begun) = (*pid, *begun);
        match Failure::read(failure) {
            None => {}
            Some(Ok(())) => {
                self.app.state = AppState::Running { pid, begun };
                while let Some(info) = self.forwarder.next_kept() {
                    self.hear(info);
                }
            }
            Some(Err(failure)) => {
                let code = self.explain(failure);
                // The process itself is reaped like an orphan.
                self.app.state = AppState::Failed { code };
                self.terminal.take_back();
                self.begin_drain(poll::monotonic());
            }
        }
    }

    /// The app has ended.
    pub(super) fn app_ended(&mut self, ending: Ending) {
        // It may have said why it could not be executed before it ended.
        self.app_executes();
        let (AppState::Executing { begun, .. } | AppState::Running { begun, .. }) = self.app.state else { return };
        let now = poll::monotonic();
        self.app.state = AppState::Ended { ending, time: now.saturating_sub(begun) };
        if let Some(phase) = &mut self.phase {
            phase.pid = None;
        }
        // An app that ended well is not looked after: it may be one of thousands that end in a millisecond.
        if ending != Ending::Exited(0) && !self.app.killed && self.oom.grew() {
            let whom = if ending == Ending::Signalled(libc::SIGKILL) { "the app" } else { "a process of the app" };
            self.log.error(format_args!("{whom} was killed because the container's memory is used up (oom_kill)"));
        }
        self.terminal.take_back();
        self.begin_drain(now);
    }

    /// The app overstays: it is killed, with all that descends from it in its group, to save the data.
    pub(super) fn kill_the_app(&mut self) {
        let Some(pid) = self.app.pid() else { return };
        self.app.killed = true;
        self.log.warn("the app did not end in its share of the stop timeout: killed, so that its data can be stored");
        let _ = signals::send(-pid, libc::SIGKILL);
        let _ = signals::send(pid, libc::SIGKILL);
    }

    /// Says why the command could not be executed; 127 where it is not there, 126 where it is.
    fn explain(&mut self, failure: Failure) -> u8 {
        let error = std::io::Error::from_raw_os_error(failure.errno);
        let name = self.app.command.first().cloned().unwrap_or_default();
        let shown = name.to_string_lossy().into_owned();
        match failure.step {
            Step::Directory => {
                let place = self.config.dir.display();
                self.log.error(format_args!("cannot start {shown}: its directory {place}: {error}"));
                Exit::NotExecutable.code()
            }
            Step::Identity => {
                let user = self.config.user.as_deref().unwrap_or_default();
                self.log.error(format_args!("cannot start {shown} as user {user}: {error}"));
                Exit::NotExecutable.code()
            }
            Step::Stdin => {
                self.log.error(format_args!("cannot start {shown}: /dev/null: {error}"));
                Exit::NotExecutable.code()
            }
            Step::Exec => {
                let absent = [libc::ENOENT, libc::ENOTDIR].contains(&failure.errno);
                let in_the_way = name.as_bytes().contains(&b'/') && self.resolved(&name).exists();
                if absent && in_the_way {
                    self.log
                        .error(format_args!("cannot execute {shown}: the interpreter or loader it names is not there"));
                    Exit::NotExecutable.code()
                } else if absent {
                    let hint = if name.as_bytes().contains(&b'/') { "" } else { " in PATH" };
                    self.log.error(format_args!("command not found{hint}: {shown}"));
                    Exit::NotFound.code()
                } else {
                    self.log.error(format_args!("cannot execute {shown}: {error}"));
                    Exit::NotExecutable.code()
                }
            }
        }
    }

    fn resolved(&self, name: &std::ffi::OsStr) -> std::path::PathBuf {
        if self.config.workspace.is_some() { self.config.dir.join(name) } else { name.into() }
    }

    fn shown_command(&self) -> String {
        let words: Vec<_> = self.app.command.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// What descends from the app, as far as `/proc` shows it.
    pub(super) fn left_of_the_app(&self) -> Option<Vec<processes::Process>> {
        processes::of_the_app(&self.our_own())
    }
}

fn path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}
