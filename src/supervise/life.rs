//! The life of a container, as a loop: let begin what may begin, sleep, hear what happened.
//!
//! Four stages follow each other: [`Stage::Preparing`] (restore, install; `starting.rs`), [`Stage::Running`],
//! [`Stage::Draining`] (the app has ended, its descendants have not) and [`Stage::Committing`] (`ending.rs`). Commits
//! run beside them (`commits.rs`).

use std::{
    ffi::OsString,
    io,
    mem::discriminant,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use super::{
    Surroundings,
    app::{App, AppState},
    budget::Budget,
    children::{Child, Role},
    commits::Commits,
    environment::Environment,
    forward::{self, Forwarder},
    log::Log,
    oom::Oom,
    phase::{Phase, State},
    socket::Door,
    starting::{Installed, Restore},
    terminal::Terminal,
    user::User,
};
use crate::{
    config::{Config, Mode},
    sys::{
        poll::{self, Watch},
        process,
        signals::{self, Info},
        wait::{self, Ending, Peek},
    },
};

/// How soon a real-time signal is sent again that found its receiver's queue full.
const RETRY: Duration = Duration::from_millis(5);
/// How long an app runs before memory is given back: for one that ends at once it is not worth its while.
pub(super) const SETTLED: Duration = Duration::from_millis(100);

/// Where a life is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Restore and install.
    Preparing,
    /// The app was started.
    Running,
    /// The app has ended, or will never begin; what is left of its processes was told to end.
    Draining {
        /// When what is left is killed.
        kill_at: Duration,
        /// When it was killed.
        killed: Option<Duration>,
    },
    /// The last commit.
    Committing,
}

/// A stop with a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stop {
    /// When the signal was received.
    pub(super) at: Duration,
    /// Its shares.
    pub(super) budget: Budget,
}

impl Stop {
    /// When everything must be over.
    pub(super) fn end(&self) -> Duration {
        self.at + self.budget.end
    }
}

pub(super) struct Life<'a> {
    pub(super) config: &'a Config,
    pub(super) around: &'a Surroundings,
    pub(super) options: Vec<OsString>,
    pub(super) log: Log,
    pub(super) environment: Environment,
    pub(super) user: Option<User>,
    pub(super) forwarder: Forwarder,
    pub(super) terminal: Terminal,
    pub(super) oom: Oom,
    pub(super) phase: Option<Phase>,
    pub(super) door: Option<Door>,
    pub(super) children: Vec<Child>,
    /// Children that somebody else made before this program was executed.
    pub(super) before_us: Vec<i32>,
    pub(super) stage: Stage,
    pub(super) restore: Restore,
    pub(super) installed: Installed,
    pub(super) app: App,
    pub(super) commits: Commits,
    pub(super) stop: Option<Stop>,
    /// The signal that cancelled the start.
    pub(super) cancelled: Option<i32>,
    /// What the signals that began a stop were sent to the app as.
    pub(super) stopped_by: Vec<i32>,
    /// The first of two `^C` during the last commit.
    pub(super) interrupted: Option<Duration>,
    pub(super) over: Option<u8>,
    /// When the memory that only the start (or the end of a commit) needed is given back.
    pub(super) slim_at: Option<Duration>,
    ear: OwnedFd,
    watches: Vec<Watch>,
}

impl<'a> Life<'a> {
    pub(super) fn new(
        config: &'a Config,
        command: Vec<OsString>,
        options: Vec<OsString>,
        around: &'a Surroundings,
        user: Option<User>,
        log: Log,
    ) -> Result<Self, (Log, io::Error)> {
        let ear = match signals::descriptor() {
            Ok(ear) => ear,
            Err(error) => return Err((log, error)),
        };
        Ok(Self {
            config,
            around,
            options,
            log,
            environment: Environment::inherited(),
            user,
            forwarder: Forwarder::new(config.signal_scope, &config.rewrite),
            terminal: Terminal::new(),
            oom: Oom::default(),
            phase: config.workspace.as_ref().map(|_| Phase::new(&config.state)),
            door: None,
            children: Vec::new(),
            before_us: Vec::new(),
            stage: Stage::Preparing,
            restore: if config.workspace.is_some() { Restore::NotBegun } else { Restore::NotNeeded },
            installed: Installed::new(super::asks_install(config, &command)),
            app: App::new(command),
            commits: Commits::default(),
            stop: None,
            cancelled: None,
            stopped_by: Vec::new(),
            interrupted: None,
            over: None,
            slim_at: None,
            ear,
            watches: Vec::new(),
        })
    }

    /// Lives, and returns the exit code.
    pub(super) fn live(mut self) -> u8 {
        self.note_older_children();
        // What was sent since the first instruction: it is kept, or cancels the start.
        self.hear_signals();
        loop {
            let now = poll::monotonic();
            self.keep_time(now);
            self.go_on(now);
            if let Some(code) = self.over {
                return code;
            }
            self.sleep();
            self.hear_children();
            self.hear_signals();
            if let Some(door) = &mut self.door {
                door.work(poll::monotonic(), &mut self.log);
            }
        }
    }

    /// Lets begin what may begin.
    fn go_on(&mut self, now: Duration) {
        // One step can make the next possible; each moves the life forward, so this ends.
        loop {
            let before = self.where_it_is();
            match self.stage {
                Stage::Preparing => self.prepare(now),
                Stage::Running => {}
                Stage::Draining { .. } => self.drain(now),
                Stage::Committing => self.commit_last(now),
            }
            if self.over.is_none() {
                self.commit_if_due(now);
            }
            if self.over.is_some() || before == self.where_it_is() {
                return;
            }
        }
    }

    /// What a step changes, if it changes anything. A step that failed is one too: the next may be to give up, and
    /// nobody would wake us for it.
    fn where_it_is(&self) -> impl PartialEq + use<'a> {
        let parts = (discriminant(&self.restore), discriminant(&self.installed), discriminant(&self.app.state));
        (self.stage, self.children.len(), parts, self.commits.last.is_some())
    }

    /// Sleeps until something happens or is due.
    fn sleep(&mut self) {
        let mut watches = std::mem::take(&mut self.watches);
        watches.clear();
        watches.push(Watch::readable(self.ear.as_raw_fd()));
        // One time for both: what is not watched has a deadline.
        let now = poll::monotonic();
        if let Some(failure) = self.awaited_execution(now) {
            watches.push(Watch::readable(failure.as_raw_fd()));
        }
        for child in &self.children {
            child.watch(&mut watches);
        }
        if let Some(door) = &self.door {
            door.watch(&mut watches);
        }
        let time = self.deadline(now).map(|at| at.saturating_sub(now));
        poll::wait(&mut watches, time);
        self.watches = watches;
    }

    /// When something is due next.
    fn deadline(&self, now: Duration) -> Option<Duration> {
        let stage = match self.stage {
            Stage::Draining { kill_at, killed } => Some(killed.map_or(kill_at, |at| at + super::ending::UNKILLABLE)),
            _ => None,
        };
        [
            self.children.iter().filter_map(|child| child.kill_at).min(),
            self.door.as_ref().and_then(Door::deadline),
            self.forwarder.waits().then(|| now + RETRY),
            stage,
            self.app_deadline(),
            self.execution_deadline(now),
            self.slim_deadline(),
            self.restore_deadline(),
            self.commits_deadline(),
            self.end_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Duration) {
        if self.forwarder.waits() {
            self.forwarder.retry(&mut self.log);
        }
        if self.slim_deadline().is_some_and(|at| at <= now) {
            process::forget_clean_pages();
            self.slim_at = None;
        }
        for child in self.children.iter_mut().filter(|child| child.kill_at.is_some_and(|at| at <= now)) {
            self.log.warn(format_args!("the {} did not end in time: killed", child.role.name()));
            child.kill();
        }
        if self.app_deadline().is_some_and(|at| at <= now) {
            self.kill_the_app();
        }
        if self.restore_deadline().is_some_and(|at| at <= now) {
            self.restore_takes_too_long(now);
        }
        if self.end_deadline().is_some_and(|at| at <= now) && self.stage != Stage::Committing {
            // A killed process that hangs in the kernel: what is up is up.
            self.stage = Stage::Committing;
        }
    }

    /// Memory is given back once, while the app runs and nothing else goes on.
    fn slim_deadline(&self) -> Option<Duration> {
        self.slim_at.filter(|_| matches!(self.app.state, AppState::Running { .. }) && self.stop.is_none())
    }

    /// When a stop is over, whatever is not: for what must end by then, and has not been given up already.
    pub(super) fn end_deadline(&self) -> Option<Duration> {
        let awaited = self.stage != Stage::Preparing && (self.stage != Stage::Running || self.app.killed);
        self.stop.filter(|_| awaited && self.commit_counts()).map(|stop| stop.end())
    }

    /// When the app is killed so that its data can be saved; `None` where nothing would be gained by it.
    fn app_deadline(&self) -> Option<Duration> {
        let stop = self.stop.filter(|_| self.stage == Stage::Running && !self.app.killed && self.may_commit())?;
        Some(stop.at + stop.budget.app)
    }

    /// Whether the directory may be committed: a pull of this life has succeeded, and storing is wanted.
    pub(super) fn may_commit(&self) -> bool {
        self.config.mode == Mode::ReadWrite && matches!(self.restore, Restore::Done(_))
    }

    /// Whether a last commit belongs to this life.
    pub(super) fn commit_counts(&self) -> bool {
        self.may_commit() && self.cancelled.is_none() && !matches!(self.installed, Installed::Failed)
    }

    /// The process ids of our own children, which are not the app's.
    pub(super) fn our_own(&self) -> Vec<i32> {
        self.children.iter().map(|child| child.pid).chain(self.before_us.iter().copied()).collect()
    }

    /// A shell that executed us may have had children of its own: they are no descendants of the app.
    fn note_older_children(&mut self) {
        if wait::peek() != Peek::NoChildren {
            let own = process::id();
            let all = super::processes::all().unwrap_or_default();
            self.before_us = all.iter().filter(|process| process.parent == own).map(|process| process.pid).collect();
        }
    }

    pub(super) fn enter(&mut self, state: State) {
        let Some(phase) = &mut self.phase else { return };
        if let Err(error) = phase.enter(state) {
            let place = self.config.state.display();
            self.log.debug(format_args!("{place}/phase cannot be written: {error}; stopover health says nothing"));
        }
    }

    // ---- signals

    fn hear_signals(&mut self) {
        while let Some(info) = signals::take() {
            if info.signal() == libc::SIGCHLD {
                self.reap();
            } else if info.code() == libc::SI_USER && info.sender() == process::id() {
                // Our own: SIGPIPE of a log that nobody reads, or the stop signal sent to our group.
            } else {
                self.hear(info);
            }
        }
    }

    pub(super) fn hear(&mut self, info: Info) {
        let signal = info.signal();
        let now = poll::monotonic();
        match (&self.app.state, self.stage) {
            (AppState::NotStarted, Stage::Preparing) => {
                if forward::cancels(signal) || self.config.stop_signals.contains(&signal) {
                    self.cancel(signal, now);
                } else {
                    self.forwarder.keep(info);
                }
            }
            (AppState::Executing { .. }, _) => {
                // It is forwarded when the app's program is there; the time runs from now.
                if self.config.stop_signals.contains(&signal) {
                    self.begin_stop(now);
                }
                self.forwarder.keep(info);
            }
            (AppState::Running { pid, .. }, _) => {
                let pid = *pid;
                if self.config.stop_signals.contains(&signal) {
                    let known = |signal: &i32| !self.stopped_by.contains(signal);
                    self.stopped_by.extend(self.forwarder.rewritten(signal).filter(known));
                    self.begin_stop(now);
                }
                if signal == libc::SIGCONT && self.terminal.continued(pid) {
                    return;
                }
                self.forwarder.forward(pid, &info, &mut self.log);
            }
            _ => {
                if self.config.stop_signals.contains(&signal) {
                    self.begin_stop(now);
                }
                if signal == libc::SIGINT {
                    self.interrupt(now);
                }
            }
        }
    }

    /// A signal that starts the budget was received; a second one does not start it again.
    pub(super) fn begin_stop(&mut self, now: Duration) {
        if self.stop.is_some() {
            return;
        }
        let budget = Budget::new(self.config.stop_timeout, self.config.grace, &self.commits.times);
        let stop = Stop { at: now, budget };
        self.stop = Some(stop);
        if self.phase.is_some() {
            self.log.info(format_args!(
                "stopping: {:.1} s for the app, {:.1} s in all",
                budget.app.as_secs_f64(),
                budget.end.as_secs_f64()
            ));
        }
        match &mut self.stage {
            Stage::Preparing | Stage::Committing => {}
            Stage::Running => {
                self.enter(State::Stopping);
                self.cancel_checkpoint(now);
            }
            Stage::Draining { kill_at, .. } => *kill_at = (*kill_at).min(now + budget.grace),
        }
        // An app that ended by itself had no budget; now its last commit has one.
        for child in self.children.iter().filter(|child| child.role == Role::LastCommit) {
            child.set_deadline(stop.end());
        }
    }

    // ---- children

    fn hear_children(&mut self) {
        self.app_executes();
        let mut durable = false;
        let now = poll::monotonic();
        for at in 0..self.children.len() {
            for event in self.children[at].read() {
                match event {
                    b'd' if !self.children[at].durable => {
                        self.children[at].durable = true;
                        durable = true;
                    }
                    _ => {}
                }
            }
        }
        if durable {
            self.commit_is_durable(now);
        }
    }

    /// Reaps everything that has ended: owned children by their owner, adopted ones always.
    pub(super) fn reap(&mut self) {
        while let Peek::Ended(pid) = wait::peek() {
            let ending = wait::reap(pid);
            if self.app.pid() == Some(pid) {
                if let Some(ending) = ending {
                    self.app_ended(ending);
                }
            } else if let Some(at) = self.children.iter().position(|child| child.pid == pid) {
                let mut child = self.children.remove(at);
                self.last_words(&mut child);
                if let Some(ending) = ending {
                    self.child_ended(child, ending);
                }
            } else {
                self.adopted_ended(pid, ending);
            }
        }
        if let AppState::Running { pid, .. } = self.app.state
            && let Some(signal) = wait::stopped(pid)
        {
            self.terminal.app_stopped(pid, signal, &mut self.log);
        }
    }

    /// What a child wrote before it ended lies in its pipes still.
    fn last_words(&mut self, child: &mut Child) {
        let events = child.read();
        if events.contains(&b'd') && !child.durable {
            child.durable = true;
            self.note_durable(child.begun, poll::monotonic());
        }
    }

    fn adopted_ended(&mut self, pid: i32, ending: Option<Ending>) {
        self.before_us.retain(|known| *known != pid);
        if ending == Some(Ending::Signalled(libc::SIGKILL)) && self.oom.grew() {
            self.log
                .warn(format_args!("process {pid} was killed because the container's memory is used up (oom_kill)"));
        }
    }

    fn child_ended(&mut self, child: Child, ending: Ending) {
        if ending == Ending::Signalled(libc::SIGKILL) && self.oom.grew() {
            let name = child.role.name();
            self.log.error(format_args!("the {name} was killed because the container's memory is used up (oom_kill)"));
        }
        match child.role {
            Role::Pull => self.pull_ended(child, ending),
            Role::Install => self.install_ended(child, ending),
            Role::Checkpoint | Role::LastCommit => self.commit_ended(child, ending),
            Role::Look => self.look_ended(&child, ending),
            Role::Before | Role::After => self.hook_ended(&child, ending),
        }
    }
}
