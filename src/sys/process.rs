//! What a process says about itself to the kernel: subreaper, dumpable, capabilities, groups.

use std::io;

/// Number of CAP_CHOWN.
pub const CAP_CHOWN: u32 = 0;
/// Number of CAP_SETGID.
pub const CAP_SETGID: u32 = 6;
/// Number of CAP_SETUID.
pub const CAP_SETUID: u32 = 7;

/// This process's id.
#[must_use]
pub fn id() -> i32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::getpid() }
}

/// The parent's id; 0 where it lives outside the PID namespace.
#[must_use]
pub fn parent() -> i32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::getppid() }
}

/// The process group of `pid` (0: of this process).
#[must_use]
pub fn group(pid: i32) -> Option<i32> {
    // SAFETY: takes a number, touches no memory.
    let group = unsafe { libc::getpgid(pid) };
    (group >= 0).then_some(group)
}

/// The session of `pid` (0: of this process).
#[must_use]
pub fn session(pid: i32) -> Option<i32> {
    // SAFETY: takes a number, touches no memory.
    let session = unsafe { libc::getsid(pid) };
    (session >= 0).then_some(session)
}

/// The effective user id.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::geteuid() }
}

/// Orphaned descendants become children of this process, as they do for PID 1.
///
/// # Errors
/// The kernel is older than 3.4.
pub fn become_subreaper() -> io::Result<()> {
    control(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Nobody without CAP_SYS_PTRACE reads this process's memory or environment any more.
///
/// # Errors
/// None on Linux.
pub fn set_not_dumpable() -> io::Result<()> {
    control(libc::PR_SET_DUMPABLE, 0)
}

fn control(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: these options take a number and touch no memory of ours.
    if unsafe { libc::prctl(option, value, 0, 0, 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The effective capabilities, bit n for capability n; `None` where the kernel does not say.
#[must_use]
pub fn capabilities() -> Option<u64> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 of this call writes two `Data`, which `data` has.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    (done == 0).then(|| u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}
