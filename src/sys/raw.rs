//! Signal masks and dispositions by raw system calls: libc's functions refuse or change signals 32 to 34.

/// What the kernel reads of its `struct sigaction` begins with the handler; the rest stays zero here.
#[repr(C)]
struct KernelAction {
    handler: usize,
    rest: [u64; 7],
}

/// The bytes of the kernel's signal set.
const SET: usize = 8;

/// Whether the disposition of `signal` is to be ignored.
pub(super) fn is_ignored(signal: i32) -> bool {
    let mut action = KernelAction { handler: 0, rest: [0; 7] };
    // SAFETY: the kernel writes at most its own `struct sigaction` (32 bytes), `action` has 64.
    let done = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<KernelAction>(), &raw mut action, SET)
    };
    done == 0 && action.handler == libc::SIG_IGN
}

/// Sets the disposition of `signal` to ignored or default. Async-signal-safe.
pub(super) fn set_ignored(signal: i32, ignored: bool) {
    let handler = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    let action = KernelAction { handler, rest: [0; 7] };
    // SAFETY: the kernel reads at most its own `struct sigaction` (32 bytes) of our 64: no flags, no restorer (none is
    // needed without a handler), an empty mask.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, std::ptr::null_mut::<KernelAction>(), SET);
    }
}

/// The present mask.
pub(super) fn blocked() -> u64 {
    let mut mask = 0_u64;
    // SAFETY: no new set is given, the old one is written to eight bytes of ours.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, std::ptr::null::<u64>(), &raw mut mask, SET);
    }
    mask
}

/// Makes `mask` the present mask. Async-signal-safe.
pub(super) fn set_mask(mask: u64) {
    // SAFETY: the set is read from eight bytes of ours; blocking signals breaks no memory.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut::<u64>(), SET);
    }
}
