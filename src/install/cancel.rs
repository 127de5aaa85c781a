//! How a running install learns that it is to stop: something to poll, never a flag that somebody must look at.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// TERM, INT, QUIT and HUP as a descriptor that becomes readable.
#[derive(Debug)]
pub struct CancelSignals(SignalFd);

impl CancelSignals {
    /// Blocks the four in the calling thread, and so in those it starts later; in tools they are unblocked again.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub fn block() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }
}

impl AsFd for CancelSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
