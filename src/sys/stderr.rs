//! stderr, without waiting for whoever reads it.
//!
//! A full pipe must stop neither PID 1 nor a commit: a log that nobody reads is no reason to lose a file. So lines go to
//! a description of our own that does not block (`/proc/self/fd/2` opened again); where that is refused (a socket,
//! another user's pipe), the shared one is asked first whether it takes bytes.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    time::Duration,
};

use super::{
    poll::{self, Watch},
    tty,
};

/// What a pipe that takes bytes takes without waiting.
const PIPE_BUF: usize = 4096;

/// Where lines go. Opened when the first one is written: a plain init says nothing, and pays nothing.
#[derive(Debug)]
pub enum Stderr {
    /// Not needed so far.
    Unopened,
    /// A description of our own that does not block, or a regular file.
    Own(File),
    /// The shared one, asked before each write.
    Asked(File),
    /// There is none.
    Closed,
}

impl Stderr {
    /// Writes a line, and waits for room up to `patience`. `false`: it was not taken, or not whole. A pipe takes a line
    /// of up to 4 KiB (`PIPE_BUF`) whole or not at all.
    pub fn take(&mut self, line: &[u8], patience: Duration) -> bool {
        if matches!(self, Self::Unopened) {
            *self = open();
        }
        let (file, ask) = match self {
            Self::Own(file) => (file, false),
            Self::Asked(file) => (file, true),
            Self::Unopened | Self::Closed => return false,
        };
        let mut until = None;
        let mut rest = line;
        let mut ready = !ask;
        while !rest.is_empty() {
            if !ready {
                let now = poll::monotonic();
                let left = until.get_or_insert(now.saturating_add(patience)).saturating_sub(now);
                let mut watch = [Watch::writable(file.as_raw_fd())];
                poll::wait(&mut watch, Some(left));
                if !watch[0].takes_bytes() {
                    if watch[0].woke() || left.is_zero() {
                        return false;
                    }
                    // Interrupted, or the time is over: the next round says which.
                    continue;
                }
            }
            // More at once could wait in the middle of it, where the description is shared.
            let now = if ask { &rest[..rest.len().min(PIPE_BUF)] } else { rest };
            match file.write(now) {
                Ok(0) => return false,
                Ok(count) => rest = &rest[count..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return false,
            }
            // More than fits at once, or nothing: ask before the next.
            ready = false;
        }
        true
    }
}

fn open() -> Stderr {
    let Ok(shared) = tty::standard_error().try_clone_to_owned().map(File::from) else { return Stderr::Closed };
    // A regular file never makes a writer wait, and a description of our own would have an offset of its own.
    let Ok(kind) = shared.metadata().map(|data| data.file_type()) else { return Stderr::Closed };
    if kind.is_file() {
        return Stderr::Own(shared);
    }
    if kind.is_socket() {
        return Stderr::Asked(shared);
    }
    let path = format!("/proc/self/fd/{}", shared.as_fd().as_raw_fd());
    match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(own) => Stderr::Own(own),
        Err(_) => Stderr::Asked(shared),
    }
}
