//! Waiting for children: look first (`WNOWAIT`), so that each owned child is reaped by its owner.

use std::io;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It exited with this code.
    Exited(u8),
    /// This signal, real-time ones included, ended it.
    Signalled(i32),
}

impl Ending {
    /// What a shell makes of it: the code, or 128 + the signal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// What [`peek`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek {
    /// This child has ended and waits to be reaped.
    Ended(i32),
    /// Children live, none has ended.
    Nothing,
    /// There is no child at all.
    NoChildren,
}

/// Looks for a child that has ended, without reaping it.
#[must_use]
pub fn peek() -> Peek {
    match wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL) {
        Ok(words) if words[4] != 0 => Peek::Ended(words[4]),
        Ok(_) => Peek::Nothing,
        Err(_) => Peek::NoChildren,
    }
}

/// Reaps the child `pid`; `None` while it lives, or where it is no child.
#[must_use]
pub fn reap(pid: i32) -> Option<Ending> {
    let words = wait(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG | libc::__WALL).ok()?;
    if words[4] == 0 {
        return None;
    }
    Some(if words[2] == libc::CLD_EXITED {
        // Only the low byte of an exit status exists; the mask says so to the compiler.
        Ending::Exited(u8::try_from(words[6] & 0xff).unwrap_or(u8::MAX))
    } else {
        Ending::Signalled(words[6])
    })
}

/// The signal that stopped the child `pid` since this was last asked.
#[must_use]
pub fn stopped(pid: i32) -> Option<i32> {
    let words = wait(libc::P_PID, pid, libc::WSTOPPED | libc::WNOHANG | libc::__WALL).ok()?;
    (words[4] != 0).then_some(words[6])
}

/// `waitid` by the raw call: libc's would be as good, nix's cannot say "real-time signal". The words of `siginfo_t`:
/// 0 signal, 2 code, 4 pid, 5 uid, 6 status.
fn wait(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<[i32; 32]> {
    #[repr(align(8))]
    struct Buffer([i32; 32]);
    let mut buffer = Buffer([0; 32]);
    loop {
        // SAFETY: at most 128 bytes are written to `buffer`, which has 128 and is aligned; no resource usage is asked.
        let done = unsafe {
            libc::syscall(libc::SYS_waitid, kind, id, &raw mut buffer, options, std::ptr::null_mut::<libc::rusage>())
        };
        if done == 0 {
            return Ok(buffer.0);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
}
