//! After the app: its descendants end, then what it left is stored, then the exit code and the summary.

use std::{path::PathBuf, time::Duration};

use super::{
    app::AppState,
    children::Role,
    life::{Life, Stage},
    log::Log,
    phase::State,
    starting::{Installed, Restore, told},
    summary::{self, Reason, Summary},
};
use crate::{
    config::LogLevel,
    report::Exit,
    sys::{
        poll, signals,
        wait::{self, Ending, Peek},
    },
};

/// How long a killed process may take to go before the life goes on without it: it hangs in the kernel.
pub(super) const UNKILLABLE: Duration = Duration::from_secs(2);
/// Within this a second `^C` abandons the last commit.
const TWICE: Duration = Duration::from_secs(2);
/// What Kubernetes keeps of a termination log.
const TERMINATION_LOG: usize = 4096;

impl Life<'_> {
    /// The app has ended, or never began: TERM to what is left of its descendants.
    pub(super) fn begin_drain(&mut self, now: Duration) {
        if matches!(self.stage, Stage::Draining { .. } | Stage::Committing) {
            return;
        }
        self.enter(State::Stopping);
        // A checkpoint that runs is cancelled: the last commit stores more, and is quiet. One of a life that failed
        // before the app began has ended already.
        self.stage = Stage::Draining { kill_at: now + self.grace(now), killed: None };
        self.cancel_checkpoint(now);
        self.tell(libc::SIGTERM);
    }

    /// How long what outlives the app may take.
    fn grace(&self, now: Duration) -> Duration {
        match self.stop {
            Some(stop) if self.commit_counts() => stop.budget.grace,
            // With nothing to store the whole budget is the app's and what it left. A plain init has none.
            Some(stop) if self.phase.is_some() => self.config.grace.min(stop.end().saturating_sub(now)),
            _ => self.config.grace,
        }
    }

    /// Sends a signal to what is left of the app; returns how many were there.
    fn tell(&mut self, signal: i32) -> usize {
        if self.nobody_is_left() {
            return 0;
        }
        let Some(left) = self.left_of_the_app() else {
            self.log.warn("/proc cannot be read: processes that outlive the app are not told to end");
            return 0;
        };
        for process in &left {
            // EPERM: a setuid program. Said, and waited for like the others.
            if let Err(error) = signals::send(process.pid, signal)
                && error.raw_os_error() != Some(libc::ESRCH)
            {
                let name = signals::name(signal);
                self.log.warn(format_args!("process {} did not take SIG{name}: {error}", process.pid));
            }
            if signal == libc::SIGTERM && process.stopped() {
                // A stopped process hears nothing until it goes on.
                let _ = signals::send(process.pid, libc::SIGCONT);
            }
        }
        left.len()
    }

    /// Whether the kernel knows of no child of ours at all: then nothing descends from the app either.
    fn nobody_is_left(&self) -> bool {
        self.children.is_empty() && wait::peek() == Peek::NoChildren
    }

    /// Waits until nothing is left of the app; kills what overstays.
    pub(super) fn drain(&mut self, now: Duration) {
        let Stage::Draining { kill_at, killed } = self.stage else { return };
        let left = if self.nobody_is_left() { 0 } else { self.left_of_the_app().map_or(0, |left| left.len()) };
        // A process that forks and ends while `/proc` is read can be missed with all its children: then it waits to be
        // reaped by us, which wakes us again.
        if left == 0 && !matches!(wait::peek(), Peek::Ended(_)) {
            self.stage = Stage::Committing;
            return;
        }
        match killed {
            None if now >= kill_at => {
                let count = self.tell(libc::SIGKILL);
                self.log.warn(format_args!("{count} processes outlived the app by the grace time: killed"));
                self.stage = Stage::Draining { kill_at, killed: Some(now) };
            }
            Some(at) if now >= at + UNKILLABLE => {
                self.log.error(format_args!("{left} processes cannot be killed: going on without them"));
                self.stage = Stage::Committing;
            }
            // One that was born while the others were killed.
            Some(_) => {
                self.tell(libc::SIGKILL);
            }
            None => {}
        }
    }

    /// The last commit, and the end.
    pub(super) fn commit_last(&mut self, now: Duration) {
        for child in self.children.iter_mut().filter(|child| child.role == Role::LastCommit) {
            // No process of the app lives any more: the early commit becomes the last. One that began after the app
            // had ended keeps the pipe, through which it may still hear of a deadline.
            if child.app_lived && child.has_control() {
                child.close_control();
            }
        }
        if !self.commit_counts() {
            self.finish();
            return;
        }
        self.enter_committing();
        if self.commits.last.is_some() {
            self.finish();
            return;
        }
        if self.stop.is_some_and(|stop| now >= stop.end()) {
            self.log.error("the stop timeout is over before the last commit is: what is not stored stays here");
            for child in &mut self.children {
                child.kill();
            }
            self.commits.last = Some((Ending::Signalled(libc::SIGKILL), self.half_told()));
            self.finish();
            return;
        }
        if !self.commits.last_began && self.children.is_empty() {
            self.begin_last_commit(now);
        }
    }

    /// What the last commit said before it was killed.
    fn half_told(&mut self) -> Option<String> {
        let child = self.children.iter_mut().find(|child| child.role == Role::LastCommit)?;
        let bytes = child.take_receipt()?;
        super::commits::last_object(&String::from_utf8_lossy(&bytes))
    }

    /// `^C` while the last commit runs: the first says what is going on, a second one within 2 s abandons it.
    pub(super) fn interrupt(&mut self, now: Duration) {
        if !self.commit_counts() || !matches!(self.stage, Stage::Draining { .. } | Stage::Committing) {
            return;
        }
        if self.interrupted.is_some_and(|at| now <= at + TWICE) && self.stage == Stage::Committing {
            self.log.error("the last commit is abandoned: what is not stored stays here");
            for child in &mut self.children {
                child.kill();
            }
            self.commits.last = Some((Ending::Signalled(libc::SIGKILL), self.half_told()));
            return;
        }
        self.interrupted = Some(now);
        let workspace = self.config.workspace.as_ref().map(crate::config::Workspace::url).unwrap_or_default();
        self.log.warn(format_args!("the last commit to {workspace} is running; ^C again within 2 s abandons it"));
    }

    /// The end: exit code, summary, last line.
    fn finish(&mut self) {
        let now = poll::monotonic();
        for child in &mut self.children {
            child.kill();
        }
        let (code, reason) = self.verdict();
        let stored = !self.commit_counts() || self.is_whole();
        match (stored, self.commit_counts(), reason) {
            (false, ..) | (_, _, Reason::RestoreFailed | Reason::InstallFailed | Reason::Usage) => {
                self.enter(State::Failed);
            }
            (true, true, _) => self.enter(State::Committed),
            _ => {}
        }
        if let Some(door) = &mut self.door {
            // Nothing will serve those who ask now.
            door.postpone();
            door.refuse(Exit::Failed.code(), now, &mut self.log);
        }
        if let Some(phase) = &mut self.phase
            && let Ok(directory) = phase.handle()
            && self.door.is_some()
        {
            let _ = std::fs::remove_file(directory.join("commit.sock"));
        }
        self.say_goodbye(code, reason);
        self.over = Some(code);
    }

    /// Whether the last commit stored everything.
    fn is_whole(&self) -> bool {
        matches!(self.commits.last, Some((Ending::Exited(0), _)))
    }

    /// The exit code, and why.
    fn verdict(&self) -> (u8, Reason) {
        if let Some(signal) = self.cancelled {
            return (Ending::Signalled(signal).code(), Reason::Cancelled);
        }
        match self.restore {
            Restore::Failed { usage: true, .. } => return (Exit::Usage.code(), Reason::Usage),
            Restore::Failed { start_anyway: false, .. } => return (Exit::RestoreFailed.code(), Reason::RestoreFailed),
            _ => {}
        }
        if matches!(self.installed, Installed::Failed) {
            return (Exit::InstallFailed.code(), Reason::InstallFailed);
        }
        match self.app.state {
            AppState::Ended { ending, .. } => {
                let code = ending.code();
                let code = if self.config.expect_exit.contains(&code) { 0 } else { code };
                let by_our_signal = matches!(ending, Ending::Signalled(signal) if self.stopped_by.contains(&signal));
                let reason = match ending {
                    Ending::Signalled(libc::SIGKILL) if self.app.killed => Reason::KilledAtDeadline,
                    Ending::Signalled(_) => Reason::Signalled,
                    Ending::Exited(_) => Reason::Exited,
                };
                if (code == 0 || by_our_signal) && self.commit_counts() && !self.is_whole() {
                    (Exit::NotStored.code(), reason)
                } else {
                    (code, reason)
                }
            }
            AppState::Failed { code } => (code, Reason::NotStarted),
            AppState::Executing { .. } | AppState::Running { .. } if self.app.killed => {
                (Ending::Signalled(libc::SIGKILL).code(), Reason::KilledAtDeadline)
            }
            // The life ends in no other state.
            _ => (Exit::Failed.code(), Reason::NotStarted),
        }
    }

    fn say_goodbye(&mut self, code: u8, reason: Reason) {
        let plain = self.config.workspace.is_none();
        let report = match &self.restore {
            Restore::Done(pulled) => pulled.report.as_deref(),
            _ => None,
        };
        let install = match &self.installed {
            Installed::Done(report) => report.as_deref(),
            _ => None,
        };
        let app = match &self.app.state {
            AppState::Ended { ending, time } => Some((self.app.command.as_slice(), Some(*ending), *time)),
            AppState::Failed { .. } => Some((self.app.command.as_slice(), None, Duration::ZERO)),
            _ => None,
        };
        let summary = Summary {
            workspace: self.config.workspace.as_ref().map(crate::config::Workspace::url),
            directory: (!plain).then_some(self.config.dir.as_path()),
            exit_code: code,
            reason,
            restore: report,
            install,
            app,
            commit: self.commits.last.as_ref().and_then(|(_, receipt)| receipt.as_deref()),
        };
        let in_place = |path: &PathBuf| *path == self.around.termination_log;
        let file = match &self.config.summary {
            Some(path) => Some(path.clone()),
            // A plain init leaves the app's own message there alone.
            None => Some(self.around.termination_log.clone()).filter(|path| !plain && path.exists()),
        };
        if let Some(path) = file {
            let json = if in_place(&path) { summary.json_within(TERMINATION_LOG - 1) } else { summary.json() };
            if let Err(error) = summary::write(&path, &json, in_place(&path)) {
                self.log.warn(format_args!("the summary cannot be written to {}: {error}", path.display()));
            }
        }
        if plain {
            return;
        }
        let ended = match &self.app.state {
            AppState::Ended { ending, time } => {
                format!("the app ended ({}) after {:.1} s", told(*ending), time.as_secs_f64())
            }
            _ => "the app did not run".to_owned(),
        };
        let stored = match &self.commits.last {
            _ if !self.commit_counts() => "nothing was to be stored",
            Some((Ending::Exited(0), _)) => "everything is stored",
            Some((Ending::Exited(3), _)) => "stored, but not whole",
            _ => "NOT stored",
        };
        let level = if self.commit_counts() && !self.is_whole() { LogLevel::Error } else { LogLevel::Info };
        let words = format!("{ended}; {stored}; exit {code}");
        self.log.summary(&summary.json_within(Log::longest()), &words, level);
    }
}
