//! The terminal is the app's while the app lives: `^C` and `^Z` reach it once, and job control works in it.

use std::os::fd::RawFd;

use super::log::Log;
use crate::sys::{process, signals, tty};

/// The terminal of this session, if we may hand it over.
pub(super) struct Terminal {
    /// Descriptor and our own group.
    ours: Option<(RawFd, i32)>,
    handed: bool,
    /// Whether we stopped because the app had.
    stopped: bool,
}

impl Terminal {
    /// Nothing was handed over.
    pub(super) fn new() -> Self {
        Self { ours: None, handed: false, stopped: false }
    }

    /// What the app's process is to become the foreground group of. Only a foreground group may hand the terminal
    /// over: from the background, with SIGTTOU blocked, the call would succeed and steal it.
    pub(super) fn for_the_app(&mut self) -> Option<RawFd> {
        let own = process::group(0)?;
        let (fd, foreground) = tty::controlling()?;
        self.ours = Some((fd, own));
        if foreground != own {
            return None;
        }
        self.handed = true;
        Some(fd)
    }

    /// The app has ended: what follows is ours again.
    pub(super) fn take_back(&mut self) {
        if let (Some((fd, own)), true) = (self.ours, self.handed) {
            // All signals are blocked, so this works from the background. Where the terminal is gone, so be it.
            let _ = tty::set_foreground(fd, own);
            self.handed = false;
        }
    }

    /// The app was stopped by `signal` (`^Z`, or reading in the background). Where a shell of our session can continue
    /// us, we stop too, as sudo does. Else nobody could ever continue the app: it goes on at once.
    pub(super) fn app_stopped(&mut self, app: i32, signal: i32, log: &mut Log) {
        if !is_job_control(signal) {
            return;
        }
        if has_a_shell() {
            self.take_back();
            self.stopped = true;
            // Others of our pipeline were not in the app's group, and did not hear the `^Z`. Our own copy stays
            // blocked and is recognised by its sender.
            let _ = signals::send(0, signal);
            let _ = signals::send(process::id(), libc::SIGSTOP);
        } else if signal == libc::SIGTSTP {
            log.warn("the app stopped itself (SIGTSTP), and no shell could continue it: it goes on");
            let _ = signals::send(-app, libc::SIGCONT);
        }
    }

    /// Somebody sent SIGCONT. If it ended a stop of ours, the app's group goes on too, with the terminal if we are in
    /// the foreground again; `false`: it is a signal like any other.
    pub(super) fn continued(&mut self, app: i32) -> bool {
        if !std::mem::take(&mut self.stopped) {
            return false;
        }
        if let Some((fd, own)) = self.ours
            && !self.handed
            && tty::foreground(fd) == Some(own)
            && tty::set_foreground(fd, app).is_ok()
        {
            self.handed = true;
        }
        let _ = signals::send(-app, libc::SIGCONT);
        true
    }
}

fn is_job_control(signal: i32) -> bool {
    [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal)
}

/// Whether our parent can continue us: it is of our session and of another group. PID 1 has nobody, an orphan neither.
fn has_a_shell() -> bool {
    let parent = process::parent();
    process::id() != 1
        && parent > 1
        && process::session(parent) == process::session(0)
        && process::group(parent) != process::group(0)
}
