//! What a process says about itself to the kernel: subreaper, dumpable, capabilities, groups.

use std::io;

/// Number of CAP_CHOWN.
pub const CAP_CHOWN: u32 = 0;
/// Number of CAP_KILL.
pub const CAP_KILL: u32 = 5;
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

/// Gives back the pages of this program that can be read from its file again. What starts a process touches most of
/// it, what it does afterwards touches little; a page that is needed after all comes back from the page cache.
pub fn forget_clean_pages() {
    extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
        const PAGE: usize = 4096;
        // SAFETY: libc calls this with a valid description, whose program headers stay mapped while the program runs.
        let (base, headers) = unsafe {
            let info = &*info;
            (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
        };
        for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
        {
            let (Ok(from), Ok(size)) = (usize::try_from(base + header.p_vaddr), usize::try_from(header.p_memsz)) else {
                continue;
            };
            let start = from & !(PAGE - 1);
            // SAFETY: a private mapping of a file that nobody writes: its pages equal the file's, so dropping them
            // changes no byte that anyone reads.
            unsafe {
                libc::madvise(start as *mut libc::c_void, from + size - start, libc::MADV_DONTNEED);
            }
        }
        // The first object is the program itself; libraries are not ours.
        1
    }
    // SAFETY: the callback reads what it is given, calls nothing of the linker, and unwinds nowhere.
    unsafe {
        libc::dl_iterate_phdr(Some(visit), std::ptr::null_mut());
    }
}
