//! The children that work for PID 1: `stopover pull`, `install`, `commit`, and the commands around a checkpoint.
//!
//! They speak to it in three forms only: exit code, one-byte events on a status pipe, and opaque bytes on a receipt
//! pipe, of which at most 1 MiB is kept. A pipe is read until it would block, never waited for: a grandchild may hold
//! its other end open for ever.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    unistd::{read, write},
};

use crate::sys::{
    poll::{self, Watch},
    signals,
    spawn::{self, Failure, Spawn},
};

/// The most that is kept of a receipt.
const RECEIPT_LIMIT: usize = 1024 * 1024;

/// What a child is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// `stopover pull`.
    Pull,
    /// `stopover install`.
    Install,
    /// `stopover commit` while the app runs, or before it does.
    Checkpoint,
    /// The early commit and the last one, which are one process.
    LastCommit,
    /// `stopover commit` that commits nothing: an idle container reads head.
    Look,
    /// The command before a checkpoint.
    Before,
    /// The command after it.
    After,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pull => "restore",
            Self::Install => "install",
            Self::Checkpoint => "checkpoint",
            Self::LastCommit => "last commit",
            Self::Look => "look at the workspace",
            Self::Before => "command before the checkpoint",
            Self::After => "command after the checkpoint",
        }
    }

    /// Whether it is one of those of which only one may run: they share the lock and the directory's state.
    pub(super) fn is_sync(self) -> bool {
        self != Self::Install
    }
}

/// The ends of the pipes that the parent keeps.
#[derive(Default)]
pub(super) struct Pipes {
    pub(super) status: Option<OwnedFd>,
    pub(super) receipt: Option<OwnedFd>,
    pub(super) control: Option<OwnedFd>,
}

/// A running child.
pub(super) struct Child {
    pub(super) role: Role,
    pub(super) pid: i32,
    pub(super) begun: Duration,
    /// When it is killed.
    pub(super) kill_at: Option<Duration>,
    /// Whether a process of the app lived when it began.
    pub(super) app_lived: bool,
    /// Whether it said that its commit is durable.
    pub(super) durable: bool,
    /// What it wrote into the receipt pipe.
    pub(super) receipt: Vec<u8>,
    /// Why it could not execute its program.
    pub(super) failure: Option<Failure>,
    pipes: Pipes,
    exec: Option<OwnedFd>,
    too_long: bool,
}

impl Child {
    /// Starts it.
    pub(super) fn start(role: Role, program: &Spawn, pipes: Pipes) -> io::Result<Self> {
        let started = spawn::spawn(program)?;
        Ok(Self {
            role,
            pid: started.pid,
            begun: poll::monotonic(),
            kill_at: None,
            app_lived: false,
            durable: false,
            receipt: Vec::new(),
            failure: None,
            pipes,
            exec: Some(started.failure),
            too_long: false,
        })
    }

    /// What to wait for.
    pub(super) fn watch(&self, watches: &mut Vec<Watch>) {
        let ends = [&self.exec, &self.pipes.status, &self.pipes.receipt];
        watches.extend(ends.into_iter().flatten().map(|end| Watch::readable(end.as_raw_fd())));
    }

    /// Reads all pipes until they would block; returns the events, in order.
    pub(super) fn read(&mut self) -> Vec<u8> {
        if let Some(result) = self.exec.as_ref().and_then(Failure::read) {
            self.failure = result.err();
            self.exec = None;
        }
        let mut receipt = std::mem::take(&mut self.receipt);
        let too_long = &mut self.too_long;
        drain(&mut self.pipes.receipt, |bytes| {
            let room = RECEIPT_LIMIT - receipt.len();
            *too_long |= bytes.len() > room;
            receipt.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
        self.receipt = receipt;
        let mut events = Vec::new();
        // A child that floods its status pipe says nothing new: there are three events.
        drain(&mut self.pipes.status, |bytes| events.extend_from_slice(&bytes[..bytes.len().min(64)]));
        events
    }

    /// The receipt, unless it was longer than what is kept: half of it is none.
    pub(super) fn take_receipt(&mut self) -> Option<Vec<u8>> {
        (!self.too_long && !self.receipt.is_empty()).then(|| std::mem::take(&mut self.receipt))
    }

    /// Tells the last commit its deadline.
    pub(super) fn set_deadline(&self, deadline: Duration) {
        let Some(control) = &self.pipes.control else { return };
        let nanoseconds = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        let mut message = [b'D'; 9];
        message[1..].copy_from_slice(&nanoseconds);
        // Nine bytes fit into an empty pipe whole; a child that has ended needs no deadline.
        let _ = write(control, &message);
    }

    /// Tells the last commit that no process of the app lives any more.
    pub(super) fn close_control(&mut self) {
        self.pipes.control = None;
    }

    /// Whether its control pipe is open still.
    pub(super) fn has_control(&self) -> bool {
        self.pipes.control.is_some()
    }

    /// Asks its process group to end; after `patience` it is killed.
    pub(super) fn cancel(&mut self, now: Duration, patience: Duration) {
        if self.kill_at.is_none() {
            self.send(libc::SIGTERM);
        }
        let at = now.saturating_add(patience);
        self.kill_at = Some(self.kill_at.map_or(at, |before| before.min(at)));
    }

    /// Kills its process group.
    pub(super) fn kill(&mut self) {
        self.kill_at = None;
        self.send(libc::SIGKILL);
    }

    fn send(&self, signal: i32) {
        // The group is made on both sides of the fork; where neither has come to it yet, the process is there.
        if signals::send(-self.pid, signal).is_err() {
            let _ = signals::send(self.pid, signal);
        }
    }
}

/// Reads a pipe until it would block, and drops it at its end.
fn drain(pipe: &mut Option<OwnedFd>, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0_u8; 4096];
    // A child that writes without end must not keep PID 1 here: the rest is read at the next wake-up.
    for _ in 0..512 {
        let Some(end) = pipe.as_ref() else { return };
        match read(end, &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => take(&buffer[..count]),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return,
            Err(_) => *pipe = None,
        }
    }
}
