//! fork and exec, with mask and dispositions chosen exactly.
//!
//! Everything is prepared before the fork; between fork and exec the child makes system calls only. It is a fork, not a
//! vfork: an exec that hangs on a dead file system must not hang PID 1. All signals are blocked in the parent, so the
//! child begins with all blocked, and what is sent to it waits until its mask is restored, right before exec.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use super::{poll, raw};

/// Whom a child becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A program to start.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// The files to try, in this order: a name is looked for in every directory of PATH.
    pub programs: Vec<CString>,
    /// The words, the program's own name first.
    pub words: Vec<CString>,
    /// The environment.
    pub environment: Vec<CString>,
    /// Where it starts; `None`: where the parent is.
    pub directory: Option<CString>,
    /// The signal mask: bit n - 1 for signal n.
    pub mask: u64,
    /// Signals that the child ignores.
    pub ignored: u64,
    /// Signals whose disposition is set at all; those neither here nor in `ignored` stay as they are.
    pub reset: u64,
    /// The terminal whose foreground group the child becomes.
    pub terminal: Option<RawFd>,
    /// Whether stdin is /dev/null.
    pub without_stdin: bool,
    /// Descriptors that the child keeps, by number.
    pub keep: Vec<RawFd>,
    /// Whom it becomes; it also loses every way to gain privileges.
    pub identity: Option<Identity>,
}

/// A child that was forked. Whether it could execute its program is read from `failure`.
#[derive(Debug)]
pub struct Started {
    /// Its process id, which is also its process group.
    pub pid: i32,
    /// See [`Failure::read`].
    pub failure: OwnedFd,
}

/// What a child was doing when it could not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Changing the directory.
    Directory,
    /// Becoming another user.
    Identity,
    /// Opening /dev/null.
    Stdin,
    /// Executing the program.
    Exec,
}

/// Why a child could not execute its program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What failed.
    pub step: Step,
    /// The error number.
    pub errno: i32,
}

impl Failure {
    /// Reads what the child reported: `None` while it has not executed anything, `Some(Ok(()))` when it has (or was
    /// killed before), `Some(Err(_))` when it could not.
    #[must_use]
    pub fn read(pipe: &OwnedFd) -> Option<Result<(), Self>> {
        let mut bytes = [0_u8; 8];
        match nix::unistd::read(pipe, &mut bytes) {
            Ok(8) => {
                let step = match bytes[0] {
                    0 => Step::Directory,
                    1 => Step::Identity,
                    2 => Step::Stdin,
                    _ => Step::Exec,
                };
                let errno = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                Some(Err(Self { step, errno }))
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => None,
            Ok(_) | Err(_) => Some(Ok(())),
        }
    }
}

/// What the child needs, as the kernel wants it; made before the fork because the child may not allocate.
struct Prepared<'a> {
    spawn: &'a Spawn,
    words: Vec<*const libc::c_char>,
    /// The words for a script without an interpreter line: `/bin/sh PROGRAM WORDS…`; the program is filled in later.
    shell_words: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    report: RawFd,
}

/// Forks and executes. Child and parent both make the child the leader of a process group of its own, so that no
/// signal to the group is lost between the two.
///
/// # Errors
/// No process or descriptor is left.
pub fn spawn(spawn: &Spawn) -> io::Result<Started> {
    let (failure, report) = poll::pipe_from_child()?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let words = pointers(&spawn.words);
    let mut shell_words = vec![SHELL.as_ptr(), std::ptr::null()];
    shell_words.extend(words.iter().skip(1));
    let environment = pointers(&spawn.environment);
    let mut prepared = Prepared { spawn, words, shell_words, environment, report: report.as_raw_fd() };
    // SAFETY: a plain fork by the raw call: libc's own would run handlers and take locks that this program does not
    // need. The child makes system calls only, on memory prepared above, and ends in exec or _exit.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // SAFETY: this is the child of the fork above, with one thread and all signals blocked.
        unsafe { become_program(&mut prepared) };
    }
    #[allow(clippy::cast_possible_truncation, reason = "process ids are ints")]
    let pid = pid as i32;
    // SAFETY: takes numbers only. Fails harmlessly when the child was faster, or has executed already.
    unsafe {
        libc::setpgid(pid, pid);
    }
    Ok(Started { pid, failure })
}

const SHELL: &CStr = c"/bin/sh";
const NULL: &CStr = c"/dev/null";

/// The child's half.
///
/// # Safety
/// Only in the child of a fork. Allocates nothing and does not return.
unsafe fn become_program(prepared: &mut Prepared<'_>) -> ! {
    let spawn = prepared.spawn;
    // SAFETY: system calls on numbers and on memory that was prepared before the fork and lives on.
    unsafe {
        libc::setpgid(0, 0);
        if let Some(terminal) = spawn.terminal {
            // With SIGTTOU blocked this is allowed from the background, which the child is in until now.
            let group = libc::getpid();
            libc::ioctl(terminal, libc::TIOCSPGRP as _, &raw const group);
        }
        if spawn.without_stdin {
            let null = libc::open(NULL.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if null < 0 || libc::dup2(null, 0) < 0 {
                fail(prepared.report, 2);
            }
        }
        for fd in &spawn.keep {
            libc::fcntl(*fd, libc::F_SETFD, 0);
        }
        if let Some(identity) = &spawn.identity {
            // The raw calls: libc's signal all threads to follow, and there is one.
            let done = libc::syscall(libc::SYS_setgroups, identity.groups.len(), identity.groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setgid, identity.gid) == 0
                && libc::syscall(libc::SYS_setuid, identity.uid) == 0
                && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
            if !done {
                fail(prepared.report, 1);
            }
        }
        if let Some(directory) = &spawn.directory
            && libc::chdir(directory.as_ptr()) != 0
        {
            fail(prepared.report, 0);
        }
        for signal in 1..=64 {
            let bit = 1_u64 << (signal - 1);
            if (spawn.ignored | spawn.reset) & bit != 0 {
                raw::set_ignored(signal, spawn.ignored & bit != 0);
            }
        }
        raw::set_mask(spawn.mask);
        let mut errno = libc::ENOENT;
        for program in &spawn.programs {
            libc::execve(program.as_ptr(), prepared.words.as_ptr(), prepared.environment.as_ptr());
            match *libc::__errno_location() {
                libc::ENOEXEC if is_script(program) => {
                    prepared.shell_words[1] = program.as_ptr();
                    libc::execve(SHELL.as_ptr(), prepared.shell_words.as_ptr(), prepared.environment.as_ptr());
                    errno = libc::ENOEXEC;
                    break;
                }
                // As execvp: these mean "look in the next directory"; a denied one is remembered.
                libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP => {}
                // A directory of PATH that may not be looked into is not where the program is.
                libc::EACCES if spawn.programs.len() > 1 && libc::access(program.as_ptr(), libc::F_OK) != 0 => {}
                libc::EACCES => errno = libc::EACCES,
                other => {
                    errno = other;
                    break;
                }
            }
        }
        *libc::__errno_location() = errno;
        fail(prepared.report, 3);
    }
}

/// Whether a file that the kernel cannot execute is text: then a shell runs it, as `execvp` does. An ELF file for
/// another machine is not.
///
/// # Safety
/// As [`become_program`].
unsafe fn is_script(program: &CStr) -> bool {
    let mut magic = [0_u8; 4];
    // SAFETY: system calls on a string that was prepared, and four bytes of the stack.
    unsafe {
        let fd = libc::open(program.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return false;
        }
        let got = libc::read(fd, magic.as_mut_ptr().cast(), magic.len());
        libc::close(fd);
        got >= 0 && magic != *b"\x7fELF" && !magic.contains(&0)
    }
}

/// Tells the parent which step failed, and ends.
///
/// # Safety
/// As [`become_program`].
unsafe fn fail(report: RawFd, step: u8) -> ! {
    // SAFETY: writes eight bytes of the stack to the pipe and ends the child without running anything of the parent's.
    unsafe {
        let errno = (*libc::__errno_location()).to_ne_bytes();
        let bytes = [step, 0, 0, 0, errno[0], errno[1], errno[2], errno[3]];
        libc::write(report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(127)
    }
}
