//! Receiving and sending signals by number, real-time ones with their value.
//!
//! nix's `Signal` knows 31 names, and musl's set functions refuse 32 to 34; so signals are plain integers here, and sets
//! are the kernel's 64 bits.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// The bytes of the kernel's signal set.
const SET: usize = 8;

/// What the kernel tells about a signal: its `siginfo_t`, 128 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Info {
    words: [i32; 32],
}

impl Info {
    /// What `sigqueue` sends: a signal from this process, with a value.
    #[must_use]
    pub fn with_value(signal: i32, value: i32) -> Self {
        let mut words = [0; 32];
        words[0] = signal;
        words[2] = libc::SI_QUEUE;
        words[4] = super::process::id();
        words[6] = value;
        Self { words }
    }

    /// The value it carries, as an integer.
    #[must_use]
    pub fn value(&self) -> i32 {
        self.words[6]
    }

    /// The signal's number.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.words[0]
    }

    /// Where it comes from: `SI_USER`, `SI_QUEUE`, `SI_KERNEL` …
    #[must_use]
    pub fn code(&self) -> i32 {
        self.words[2]
    }

    /// The sender's process id; 0 from outside the PID namespace, or from the kernel.
    #[must_use]
    pub fn sender(&self) -> i32 {
        self.words[4]
    }

    /// Whether it carries a value, which only `rt_sigqueueinfo` can pass on. The kernel lets nobody pretend to be
    /// `kill`, `tgkill` or itself, so those are sent anew.
    #[must_use]
    pub fn has_value(&self) -> bool {
        self.code() < 0 && self.code() != libc::SI_TKILL
    }
}

/// Makes this process hear of its children's ends. A parent that ignored SIGCHLD leaves that to what it executes, and
/// then the kernel reaps children itself: nobody learns how they ended.
pub fn hear_of_children() {
    super::raw::set_ignored(libc::SIGCHLD, false);
}

/// A descriptor that is readable while a signal is pending.
///
/// # Errors
/// No descriptor or memory is left.
pub fn descriptor() -> io::Result<OwnedFd> {
    let all = u64::MAX;
    // SAFETY: the kernel reads eight bytes of ours; SIGKILL and SIGSTOP in the set are ignored.
    let fd =
        unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const all, SET, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it. It fits: descriptors are ints.
    #[allow(clippy::cast_possible_truncation, reason = "descriptors are ints")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Takes the next pending signal, lowest number first; `None` when none is pending. All signals must be blocked.
#[must_use]
pub fn take() -> Option<Info> {
    let all = u64::MAX;
    let mut info = Info { words: [0; 32] };
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        // SAFETY: set and timeout are read from ours, at most 128 bytes are written to `info`, which has 128.
        let got =
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, &raw mut info, &raw const zero, SET) };
        if got > 0 {
            return Some(info);
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Sends `signal` to a process, or with a negative `pid` to a process group.
///
/// # Errors
/// `ESRCH`, `EPERM`, or `EAGAIN` where a real-time signal finds the queue full.
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers only. musl's kill passes every number on.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `signal` to a process with sender and value of `info`.
///
/// # Errors
/// As [`send`].
pub fn queue(pid: i32, signal: i32, info: &Info) -> io::Result<()> {
    let mut info = *info;
    info.words[0] = signal;
    // SAFETY: the kernel reads 128 bytes, `info` has them.
    if unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal, &raw const info) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The name without `SIG`, for messages: `TERM`, `RTMIN+3`.
#[must_use]
pub fn name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let at = usize::try_from(signal).ok().and_then(|number| number.checked_sub(1));
    match at.and_then(|at| NAMES.get(at)) {
        Some(name) => (*name).to_owned(),
        None if signal >= 34 => format!("RTMIN+{}", signal - 34),
        None => signal.to_string(),
    }
}
