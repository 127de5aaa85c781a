//! The terminal: which process group reads it.

use std::os::fd::{BorrowedFd, RawFd};

/// The first of stdin, stdout and stderr that is the controlling terminal, with its foreground process group.
#[must_use]
pub fn controlling() -> Option<(RawFd, i32)> {
    (0..3).find_map(|fd| Some((fd, foreground(fd)?)))
}

/// The foreground process group of the terminal `fd`; `None` where it is not this process's terminal.
#[must_use]
pub fn foreground(fd: RawFd) -> Option<i32> {
    // SAFETY: takes numbers only; a closed descriptor is an error, not undefined.
    let group = unsafe { libc::tcgetpgrp(fd) };
    (group >= 0).then_some(group)
}

/// Makes `group` the foreground process group. SIGTTOU must be blocked, or a caller in the background is stopped.
///
/// # Errors
/// It is not this process's terminal, or no group of its session.
pub fn set_foreground(fd: RawFd, group: i32) -> std::io::Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::tcsetpgrp(fd, group) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Borrows one of the three standard descriptors, which Rust's runtime keeps open (it opens /dev/null for a closed one).
#[must_use]
pub fn standard_error() -> BorrowedFd<'static> {
    // SAFETY: descriptor 2 is never closed by this program.
    unsafe { BorrowedFd::borrow_raw(2) }
}
