//! Signal masks and dispositions by raw system calls: libc's functions refuse or change signals 32 to 34.

/// The kernel's `struct sigaction` begins with the handler; the rest is not read here.
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

/// The present mask.
pub(super) fn blocked() -> u64 {
    let mut mask = 0_u64;
    // SAFETY: no new set is given, the old one is written to eight bytes of ours.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, std::ptr::null::<u64>(), &raw mut mask, SET);
    }
    mask
}

/// Makes `mask` the present mask.
pub(super) fn set_mask(mask: u64) {
    // SAFETY: the set is read from eight bytes of ours; blocking signals breaks no memory.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut::<u64>(), SET);
    }
}
