//! Commits beside the app: checkpoints, those that were asked for, and the early one of a stop. One at a time.

use std::time::Duration;

use super::{
    app::AppState,
    children::{Child, Pipes, Role},
    clock,
    life::{Life, SETTLED, Stage},
    phase::State,
    shorten,
    starting::{Restore, told},
};
use crate::{
    config::Handover,
    report::Exit,
    sys::{poll, wait::Ending},
};

/// How long a checkpoint, or a command around it, may take to hear that it is cancelled.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a look at head may take: a network that is away must not keep checkpoints from their turn.
const LOOK: Duration = Duration::from_secs(120);
/// How long a command around a checkpoint may take where checkpoints have no period.
const HOOK: Duration = Duration::from_secs(300);
/// How soon a last commit is tried again for which there was no process or descriptor, and for how long.
const AGAIN: Duration = Duration::from_millis(100);
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// What is known of this life's commits.
#[derive(Default)]
pub(super) struct Commits {
    /// How long each took to its durable point.
    pub(super) times: Vec<Duration>,
    /// When the next checkpoint is due.
    due: Option<Duration>,
    /// When head is to be read at the latest, where no checkpoint reads it.
    look: Option<Duration>,
    /// When the present one began, its first command included.
    begun: Duration,
    /// How the last commit of this life ended, and what it said.
    pub(super) last: Option<(Ending, Option<String>)>,
    /// Whether it was started.
    pub(super) last_began: bool,
    /// Whether one was started beside the app's shutdown.
    early_began: bool,
    /// Whether the last one failed or was killed by somebody else, and is tried again.
    tried_again: bool,
    /// Since when the last one could not be started, and when that is tried again.
    no_room: Option<(Duration, Duration)>,
}

impl Commits {
    /// A restore has ended: the first checkpoint starts. It stores what an earlier life left. The restore has read head,
    /// and is the first of those who do it `every` so often.
    pub(super) fn restored(&mut self, now: Duration, checkpoint: Option<Duration>, every: Duration) {
        self.due = Some(now);
        // A checkpoint reads it when nothing was read for an hour: of two that follow each other soon enough one does.
        self.look = checkpoint.is_none_or(|period| period > every / 2).then(|| now + every);
    }
}

impl Life<'_> {
    /// When a checkpoint is due.
    pub(super) fn commits_deadline(&self) -> Option<Duration> {
        if self.stage == Stage::Committing {
            return self.commits.no_room.filter(|_| self.children.is_empty()).map(|(_, again)| again);
        }
        if !self.may_checkpoint() || self.sync_runs() {
            return None;
        }
        [self.checkpoint_deadline(), self.commits.look].into_iter().flatten().min()
    }

    fn checkpoint_deadline(&self) -> Option<Duration> {
        self.config.checkpoint.and(self.commits.due)
    }

    fn may_checkpoint(&self) -> bool {
        self.may_commit()
            && self.stop.is_none()
            && self.cancelled.is_none()
            && matches!(self.stage, Stage::Preparing | Stage::Running)
    }

    fn sync_runs(&self) -> bool {
        self.children.iter().any(|child| child.role.is_sync())
    }

    /// Starts the commit that is due, if none runs.
    pub(super) fn commit_if_due(&mut self, now: Duration) {
        self.refuse_late_requests(now);
        if self.sync_runs() {
            return;
        }
        if self.may_checkpoint() {
            let asked = self.door.as_ref().is_some_and(super::socket::Door::has_requests);
            if asked || self.checkpoint_deadline().is_some_and(|at| at <= now) {
                self.begin_checkpoint(now);
            } else if self.commits.look.is_some_and(|at| at <= now) {
                self.begin_look(now);
            }
            return;
        }
        // Beside the app's own shutdown; when it has ended the same process scans again.
        let stopping = matches!(self.stage, Stage::Running | Stage::Draining { .. }) && self.stop.is_some();
        if stopping && self.commit_counts() && !self.commits.early_began {
            self.commits.early_began = true;
            self.begin_last_commit(now);
        }
    }

    /// Who asks while the last commit runs cannot be served by it: it ends after the app, which may be the one who
    /// asks, and waits.
    fn refuse_late_requests(&mut self, now: Duration) {
        let Some(door) = self.door.as_mut().filter(|door| door.has_requests() && self.commits.last_began) else {
            return;
        };
        self.log.warn(
            "asked for a commit while stopping: refused; the last commit, after the app's end, stores everything",
        );
        door.refuse(Exit::Failed.code(), now, &mut self.log);
    }

    fn begin_checkpoint(&mut self, now: Duration) {
        self.open_door();
        self.commits.begun = now;
        self.commits.due = self.config.checkpoint.map(|period| now + period);
        // Those who ask during the command wait for the next one: its commands' work is for those who asked before.
        if let Some(door) = &mut self.door {
            door.begin();
        }
        match self.config.before_checkpoint.as_deref() {
            Some(command) if self.app_lives() => self.begin_hook(Role::Before, command, now),
            _ => self.begin_checkpoint_itself(now),
        }
    }

    fn begin_checkpoint_itself(&mut self, now: Duration) {
        let handover = self.handover();
        match self.start_sync_child(Role::Checkpoint, &handover) {
            Ok(child) => self.children.push(child),
            Err(error) => {
                self.log.error(format_args!("the checkpoint cannot be started: {error}"));
                self.answer(Exit::Failed.code(), None, now);
            }
        }
    }

    /// Has head read. Whoever cannot do it now does it the next time.
    fn begin_look(&mut self, now: Duration) {
        self.commits.look = Some(now + self.around.look);
        let handover = self.handover();
        match self.start_sync_child(Role::Look, &handover) {
            Ok(mut child) => {
                child.kill_at = Some(now + LOOK);
                self.children.push(child);
            }
            Err(error) => self.log.debug(format_args!("the {} cannot be started: {error}", Role::Look.name())),
        }
    }

    pub(super) fn look_ended(&mut self, child: &Child, ending: Ending) {
        self.slim_at = Some(poll::monotonic() + SETTLED);
        match ending {
            Ending::Exited(0) => {}
            _ if !self.may_checkpoint() => {}
            Ending::Exited(82) => self.log.error("the workspace was deleted: nothing is stored any more"),
            _ => self.log.warn(format_args!("the {} failed ({})", child.role.name(), told(ending))),
        }
    }

    /// Starts the last commit: the early one, if the app lives still.
    pub(super) fn begin_last_commit(&mut self, now: Duration) {
        let since = match self.commits.no_room {
            Some((_, again)) if self.stage == Stage::Committing && now < again => return,
            Some((since, _)) => since,
            None => now,
        };
        self.commits.last_began = true;
        if let Some(door) = &mut self.door {
            door.begin();
        }
        let handover = self.handover();
        match self.start_sync_child(Role::LastCommit, &handover) {
            Ok(mut child) => {
                child.app_lived = handover.app_alive;
                if let Some(stop) = self.stop {
                    child.set_deadline(stop.end());
                }
                self.children.push(child);
            }
            // An app that has taken all processes or memory there are gives them back when it ends.
            Err(error) if self.stage != Stage::Committing => {
                self.log.warn(format_args!("the early commit cannot be started: {error}; the last one follows"));
                self.commits.last_began = false;
                self.postpone();
            }
            Err(error) if now >= since.saturating_add(LONG_ENOUGH) => {
                self.log.error(format_args!("the last commit cannot be started: {error}"));
                self.commits.last = Some((Ending::Exited(Exit::Failed.code()), None));
            }
            Err(error) => {
                if self.commits.no_room.is_none() {
                    self.log.warn(format_args!("the last commit cannot be started yet: {error}"));
                }
                self.commits.last_began = false;
                self.commits.no_room = Some((since, now + AGAIN));
                // Who waits for an answer holds a descriptor, and what the app left matters more.
                self.door = None;
            }
        }
    }

    fn handover(&self) -> Handover {
        let Restore::Done(pulled) = &self.restore else { return Handover::default() };
        Handover {
            ready: true,
            pulled: pulled.snapshot.clone(),
            plain: pulled.plain,
            part: pulled.part,
            birth: pulled.birth.clone(),
            tombstone: pulled.tombstone.clone(),
            directory: pulled.directory,
            app_alive: matches!(self.stage, Stage::Running | Stage::Draining { .. }),
            ..Handover::default()
        }
    }

    fn app_lives(&self) -> bool {
        matches!(self.app.state, AppState::Executing { .. } | AppState::Running { .. })
    }

    fn begin_hook(&mut self, role: Role, command: &[String], now: Duration) {
        let words: Vec<_> = command.iter().map(Into::into).collect();
        let mut program = self.as_the_app(&words);
        program.without_stdin = true;
        match Child::start(role, &program, Pipes::default()) {
            Ok(mut child) => {
                child.kill_at = Some(now + self.config.checkpoint.unwrap_or(HOOK));
                self.children.push(child);
            }
            Err(error) => {
                self.log.error(format_args!("the {} cannot be started: {error}", role.name()));
                if role == Role::Before {
                    self.answer(Exit::Failed.code(), None, now);
                }
            }
        }
    }

    pub(super) fn hook_ended(&mut self, child: &Child, ending: Ending) {
        let now = poll::monotonic();
        let well = ending == Ending::Exited(0) && child.failure.is_none();
        if !well {
            let skipped = if child.role == Role::Before { "; the checkpoint is skipped" } else { "" };
            let how = child
                .failure
                .map_or_else(|| told(ending), |failure| std::io::Error::from_raw_os_error(failure.errno).to_string());
            self.log.warn(format_args!("the {} failed ({how}){skipped}", child.role.name()));
        }
        if child.role == Role::Before {
            if !self.may_checkpoint() {
                self.postpone();
            } else if well {
                self.begin_checkpoint_itself(now);
            } else {
                self.answer(Exit::Failed.code(), None, now);
            }
        }
    }

    /// A stop begins, or the app has ended: what runs is cancelled, so that the last commit can begin.
    pub(super) fn cancel_checkpoint(&mut self, now: Duration) {
        let patience = self.stop.map_or(PATIENCE, |stop| (stop.budget.end / 8).min(PATIENCE));
        for child in &mut self.children {
            if matches!(child.role, Role::Checkpoint | Role::Look | Role::Before | Role::After) {
                // A command has a time to be killed at from its beginning; TERM goes to it all the same.
                child.kill_at = None;
                child.cancel(now, patience);
            }
        }
    }

    /// Those who wait for a commit that was cancelled wait for the next one.
    fn postpone(&mut self) {
        if let Some(door) = &mut self.door {
            door.postpone();
        }
    }

    /// Answers those whom the commit that has ended served.
    fn answer(&mut self, code: u8, receipt: Option<&str>, now: Duration) {
        if let Some(door) = &mut self.door {
            door.end(code, receipt.unwrap_or_default().as_bytes(), now, &mut self.log);
        }
    }

    /// A running commit said that it is durable.
    pub(super) fn commit_is_durable(&mut self, now: Duration) {
        let Some(child) = self.children.iter().find(|child| child.durable && child.role.is_sync()) else { return };
        let (begun, receipt) = (child.begun, last_object(&String::from_utf8_lossy(&child.receipt)));
        let early = child.role == Role::LastCommit && child.app_lived;
        self.note_durable(begun, now);
        // Without a receipt at this point, those who asked for it get the one of the end.
        if let (Some(door), Some(receipt)) = (&mut self.door, receipt) {
            if early {
                // All who have asked did so before this commit began; the end of it may be waiting for them.
                door.end(0, receipt.as_bytes(), now, &mut self.log);
            } else {
                door.durable(receipt.as_bytes(), now, &mut self.log);
            }
        }
    }

    pub(super) fn note_durable(&mut self, begun: Duration, now: Duration) {
        self.commits.times.push(now.saturating_sub(begun));
        if self.commits.times.len() > 5 {
            self.commits.times.remove(0);
        }
        if let Some(phase) = &mut self.phase {
            phase.last_commit = Some(clock::now());
            let _ = phase.write();
        }
    }

    pub(super) fn commit_ended(&mut self, mut child: Child, ending: Ending) {
        let now = poll::monotonic();
        let last = child.role == Role::LastCommit;
        self.slim_at = Some(now + SETTLED);
        let stored = matches!(ending, Ending::Exited(0 | 3));
        if stored && !child.durable {
            self.note_durable(child.begun, now);
        }
        let failed_to_execute = child.failure.is_some();
        let receipt = child.take_receipt().and_then(|bytes| last_object(&String::from_utf8_lossy(&bytes)));
        let cancelled = !last && (self.stop.is_some() || !matches!(self.stage, Stage::Preparing | Stage::Running));
        if cancelled && !stored {
            self.postpone();
            return;
        }
        match ending {
            Ending::Exited(0) => {}
            Ending::Exited(3) => self
                .log
                .warn(format_args!("the {} is not whole: its receipt names what is not stored", child.role.name())),
            Ending::Exited(82) => self.log.error("the workspace was deleted: nothing is stored any more"),
            _ if failed_to_execute => self.log.error("stopover cannot execute itself: nothing is stored"),
            _ => self.log.error(format_args!("the {} failed ({})", child.role.name(), told(ending))),
        }
        if last
            && matches!(ending, Ending::Signalled(_) | Ending::Exited(1))
            && self.stage == Stage::Committing
            && !self.commits.tried_again
        {
            // Killed for want of memory, most likely, and the app has given back its share; or the network was bad for
            // longer than a commit's own patience. There is no other chance, and the deadline stays what it is. Whoever
            // kills it here (the deadline, the second `^C`) does not wait for its end.
            self.log.warn("the last commit is tried again");
            self.commits.tried_again = true;
            self.commits.last_began = false;
            self.postpone();
            return;
        }
        self.answer(ending.code(), receipt.as_deref(), now);
        if last && self.stage != Stage::Committing {
            // The early one has ended before the app did; what the app leaves is stored by another.
            self.commits.last_began = false;
            return;
        }
        if last {
            self.commits.last = Some((ending, receipt));
            return;
        }
        // A commit that takes longer than its period is not begun again in the same instant.
        self.commits.due = self.commits.due.map(|due| due.max(now + Duration::from_secs(1)));
        if let Some(command) = self.config.after_checkpoint.as_deref()
            && self.app_lives()
            && self.stop.is_none()
        {
            self.begin_hook(Role::After, command, now);
        }
    }

    /// Enters the state of the last commit, once.
    pub(super) fn enter_committing(&mut self) {
        self.enter(State::Committing);
    }
}

/// The last whole JSON object among the lines of a receipt pipe: a commit may write one at its durable point, and one
/// at its end. Half of one, by a child that was killed, is none.
pub(super) fn last_object(text: &str) -> Option<String> {
    text.lines().rev().map(str::trim).find(|line| shorten::is_object(line)).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_object_counts() {
        assert_eq!(last_object("{\"a\":1}\n{\"b\":2}\n").as_deref(), Some("{\"b\":2}"));
        assert_eq!(last_object("{\"a\":1}\n{\"b\":").as_deref(), Some("{\"a\":1}"));
        assert_eq!(last_object(""), None);
    }
}
