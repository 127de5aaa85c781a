//! Signals on their way to the app: kept until it exists, rewritten, sent to the child or its group, real-time ones
//! with their value. None is lost; what cannot be delivered is said.

use std::collections::VecDeque;

use super::{log::Log, processes};
use crate::{
    config::{Rewrite, SignalScope},
    sys::signals::{self, Info},
};

/// Those that mean nothing to a process that did not exist when they were sent: they are not kept.
const MEANINGLESS_BEFORE: [i32; 7] =
    [libc::SIGCHLD, libc::SIGCONT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH, libc::SIGURG];

/// The first real-time signal, as the kernel counts.
const REAL_TIME: i32 = 32;

/// Whether `signal`, received before the app exists, cancels the start.
pub(super) fn cancels(signal: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].contains(&signal)
}

/// Forwards signals to the app.
pub(super) struct Forwarder {
    scope: SignalScope,
    rewrite: Vec<Rewrite>,
    /// Received before the app existed.
    kept: VecDeque<Info>,
    /// Real-time signals that found the receiver's queue full: process (or group, negative), number, content.
    full: VecDeque<(i32, i32, Info)>,
}

impl Forwarder {
    pub(super) fn new(scope: SignalScope, rewrite: &[Rewrite]) -> Self {
        Self { scope, rewrite: rewrite.to_vec(), kept: VecDeque::new(), full: VecDeque::new() }
    }

    /// What `signal` is sent as; `None`: it is dropped.
    pub(super) fn rewritten(&self, signal: i32) -> Option<i32> {
        let to = self.rewrite.iter().find(|rewrite| rewrite.from == signal).map_or(signal, |rewrite| rewrite.to);
        (to != 0).then_some(to)
    }

    /// Keeps a signal until the app exists.
    pub(super) fn keep(&mut self, info: Info) {
        if !MEANINGLESS_BEFORE.contains(&info.signal()) {
            self.kept.push_back(info);
        }
    }

    /// Whether signals are kept.
    pub(super) fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The next kept signal.
    pub(super) fn next_kept(&mut self) -> Option<Info> {
        self.kept.pop_front()
    }

    /// Whether some receiver's queue was full, so that [`Self::retry`] is due soon.
    pub(super) fn waits(&self) -> bool {
        !self.full.is_empty()
    }

    /// Sends a signal to the app, whose process and group is `app`.
    pub(super) fn forward(&mut self, app: i32, info: &Info, log: &mut Log) {
        let Some(signal) = self.rewritten(info.signal()) else {
            log.debug(format_args!("dropped SIG{} as --rewrite says", signals::name(info.signal())));
            return;
        };
        // SIGCHLD is about our own children, and no part of the conversation with the app.
        if signal == libc::SIGCHLD {
            return;
        }
        if !self.full.is_empty() && signal >= REAL_TIME {
            // Order among real-time signals is part of their meaning; no other ever finds a full queue, or waits for them.
            self.full.push_back((self.target(app), signal, *info));
            return;
        }
        self.send(self.target(app), signal, info, log);
    }

    /// Sends again what found a full queue.
    pub(super) fn retry(&mut self, log: &mut Log) {
        for (target, signal, info) in std::mem::take(&mut self.full) {
            if self.full.is_empty() {
                self.send(target, signal, &info, log);
            } else {
                self.full.push_back((target, signal, info));
            }
        }
    }

    fn target(&self, app: i32) -> i32 {
        match self.scope {
            SignalScope::Child => app,
            SignalScope::Group => -app,
        }
    }

    fn send(&mut self, target: i32, signal: i32, info: &Info, log: &mut Log) {
        let sent = match send(target, signal, info) {
            // The group is not there (yet): the process is, or nobody is.
            Err(error) if target < 0 && error.raw_os_error() == Some(libc::ESRCH) => send(-target, signal, info),
            sent => sent,
        };
        let Err(error) = sent else { return };
        match error.raw_os_error() {
            Some(libc::EAGAIN) => self.full.push_back((target, signal, *info)),
            // It has ended meanwhile; its end is what counts.
            Some(libc::ESRCH) => {}
            _ => log.warn(format_args!(
                "the app (process {}) did not take SIG{}: {error}",
                target.abs(),
                signals::name(signal)
            )),
        }
    }
}

/// The kernel has no call that sends a value to a group: then each member gets it.
fn send(target: i32, signal: i32, info: &Info) -> std::io::Result<()> {
    if !info.has_value() {
        return signals::send(target, signal);
    }
    if target > 0 {
        return signals::queue(target, signal, info);
    }
    let mut sent = Err(std::io::Error::from_raw_os_error(libc::ESRCH));
    for process in processes::all().unwrap_or_default() {
        if process.group == -target && !process.ended() {
            let this = signals::queue(process.pid, signal, info);
            if sent.is_err() || this.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EAGAIN)) {
                sent = this;
            }
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_maps_one_signal_and_zero_drops_it() {
        let rules = [Rewrite { from: 15, to: 3 }, Rewrite { from: 28, to: 0 }];
        let forwarder = Forwarder::new(SignalScope::Child, &rules);
        assert_eq!(forwarder.rewritten(15), Some(3));
        assert_eq!(forwarder.rewritten(28), None);
        assert_eq!(forwarder.rewritten(1), Some(1));
    }
}
