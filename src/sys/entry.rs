//! The first instructions of the binary, and what it inherited.
//!
//! A signal sent to PID 1 that it neither blocks nor handles is dropped by the kernel. libc's and Rust's start take their
//! time, and relocating a static-pie of this size 200 microseconds more; so the ELF entry point is a dozen instructions of
//! our own that block all 64 signals, keep the mask that was inherited, and go on to libc's `_start`. They run before any
//! relocation: hidden symbols, addressed relative to the program counter, nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

use super::raw;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.stopover_entry,\"ax\",@progbits",
    ".globl stopover_entry",
    ".hidden stopover_entry",
    ".hidden stopover_inherited_mask",
    ".hidden stopover_entry_ran",
    ".type stopover_entry,@function",
    "stopover_entry:",
    // rdx holds the dynamic linker's exit function, which _start wants; a system call changes rax, rcx, r11 only.
    "mov r9, rdx",
    "mov eax, 14",  // rt_sigprocmask
    "xor edi, edi", // SIG_BLOCK
    // All ones, on the stack: it is there already, a page of data would have to be faulted in first.
    "push -1",
    "mov rsi, rsp",
    "lea rdx, [rip + stopover_inherited_mask]",
    "mov r10d, 8",
    "syscall",
    "pop rcx",
    "mov qword ptr [rip + stopover_entry_ran], 1",
    "mov rdx, r9",
    "jmp _start",
    ".size stopover_entry, . - stopover_entry",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.stopover_entry,\"ax\",@progbits",
    ".globl stopover_entry",
    ".hidden stopover_entry",
    ".hidden stopover_inherited_mask",
    ".hidden stopover_entry_ran",
    ".type stopover_entry,@function",
    "stopover_entry:",
    // x0 holds the dynamic linker's exit function, which _start wants.
    "mov x9, x0",
    "mov x0, #0", // SIG_BLOCK
    // All ones, on the stack: it is there already.
    "mov x1, #-1",
    "stp x1, x1, [sp, #-16]!",
    "mov x1, sp",
    "adrp x2, stopover_inherited_mask",
    "add x2, x2, :lo12:stopover_inherited_mask",
    "mov x3, #8",
    "mov x8, #135", // rt_sigprocmask
    "svc #0",
    "add sp, sp, #16",
    "adrp x2, stopover_entry_ran",
    "add x2, x2, :lo12:stopover_entry_ran",
    "mov x1, #1",
    "str x1, [x2]",
    "mov x0, x9",
    "b _start",
    ".size stopover_entry, . - stopover_entry",
    ".popsection",
);

// SAFETY: the two names are ours alone; the assembly above writes them before any Rust code runs.
#[unsafe(no_mangle)]
static stopover_inherited_mask: AtomicU64 = AtomicU64::new(0);
// SAFETY: see above.
#[unsafe(no_mangle)]
static stopover_entry_ran: AtomicU64 = AtomicU64::new(0);

/// Bit n - 1: signal n was ignored when the process began, for those of [`CHANGED`].
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Signals whose disposition this program changes: Rust's runtime ignores SIGPIPE, and PID 1 hears SIGCHLD. All others
/// are for every child what they were for us.
const CHANGED: [i32; 2] = [libc::SIGPIPE, libc::SIGCHLD];

/// Runs before `main`, and so before Rust's runtime touches a disposition.
// SAFETY: the section holds pointers to functions that libc calls once, single threaded, before main; the function
// makes system calls and writes an atomic, and needs nothing of Rust's runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_DISPOSITIONS: extern "C" fn() = {
    extern "C" fn note() {
        // A program that does not begin at our entry point (a test) has its inherited mask still.
        if stopover_entry_ran.load(Ordering::Relaxed) == 0 {
            stopover_inherited_mask.store(raw::blocked(), Ordering::Relaxed);
        }
        let mut ignored = 0;
        for signal in CHANGED {
            if raw::is_ignored(signal) {
                ignored |= 1 << (signal - 1);
            }
        }
        IGNORED.store(ignored, Ordering::Relaxed);
    }
    note
};

/// Which of SIGPIPE and SIGCHLD were ignored when the process began: bit n - 1 for signal n. No other disposition is
/// changed, so that a child inherits it without help.
#[must_use]
pub fn inherited_ignored() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// The signal mask that the process began with: bit n - 1 for signal n.
#[must_use]
pub fn inherited_mask() -> u64 {
    stopover_inherited_mask.load(Ordering::Relaxed)
}

/// Gives back the mask that the process began with. Every subcommand but `run` calls this first; `run` keeps all
/// signals blocked, and hands mask and dispositions to the app.
pub fn restore_inherited_mask() {
    if stopover_entry_ran.load(Ordering::Relaxed) == 1 {
        raw::set_mask(inherited_mask());
    }
}

/// In `main`: blocks 33 and 34 again, which musl unblocks in its first `sigaction`, before `main`.
pub fn stay_deaf() {
    if stopover_entry_ran.load(Ordering::Relaxed) == 1 {
        block_all_signals();
    }
}

/// Blocks every signal, 33 and 34 too, which musl unblocks in its first `sigaction`.
pub fn block_all_signals() {
    raw::set_mask(u64::MAX);
}
