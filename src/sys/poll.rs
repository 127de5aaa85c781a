//! The one system call that PID 1 sleeps in, and the clock it reads afterwards.

use std::{
    io,
    os::fd::{OwnedFd, RawFd},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::pipe2,
};

/// A descriptor to watch.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Watch(libc::pollfd);

impl Watch {
    /// Until it can be read, or its other end is closed.
    #[must_use]
    pub fn readable(fd: RawFd) -> Self {
        Self(libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
    }

    /// Until it takes bytes, or its other end is closed.
    #[must_use]
    pub fn writable(fd: RawFd) -> Self {
        Self(libc::pollfd { fd, events: libc::POLLOUT, revents: 0 })
    }

    /// Whether anything was reported.
    #[must_use]
    pub fn woke(&self) -> bool {
        self.0.revents != 0
    }

    /// Whether it takes bytes now, and its other end is open.
    #[must_use]
    pub fn takes_bytes(&self) -> bool {
        self.0.revents & libc::POLLOUT != 0
    }
}

/// Sleeps until something is reported or the time is over; `None`: as long as it takes.
pub fn wait(watches: &mut [Watch], time: Option<Duration>) {
    let spec = time.map(|time| libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    for watch in &mut *watches {
        watch.0.revents = 0;
    }
    let count = watches.len() as libc::nfds_t;
    // SAFETY: `Watch` is a transparent `pollfd`, and `watches` holds `count` of them; the time is read or null; the mask
    // stays as it is. An interruption or error leaves nothing reported, which is what callers see.
    unsafe {
        libc::ppoll(watches.as_mut_ptr().cast(), count, spec, std::ptr::null());
    }
}

/// `CLOCK_MONOTONIC`: it goes on while the container is frozen for a snapshot only as far as the kernel counts it, and
/// it is the same for all processes of the machine, so that a deadline can be handed to a child.
#[must_use]
pub fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to ours; this clock exists on every Linux.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
    }
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A pipe from a child: both ends are closed by exec, and the reading one does not block.
///
/// # Errors
/// No descriptor is left.
pub fn pipe_from_child() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// A pipe to a child: both ends are closed by exec, and the writing one does not block.
///
/// # Errors
/// No descriptor is left.
pub fn pipe_to_child() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}
