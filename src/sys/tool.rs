//! A program started with the standard library that hears the signals which this process waits for by descriptor.
//!
//! What is blocked here is inherited by what is executed, and no tool looks whether TERM is blocked.

use std::{os::unix::process::CommandExt, process::Command};

use super::{entry, raw};

/// What ends a tool: TERM, INT, QUIT and HUP.
const ENDING: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Makes `command` begin with the mask that this process was given, less the signals that end it.
pub fn hears_signals(command: &mut Command) -> &mut Command {
    let mask = ENDING.iter().fold(entry::inherited_mask(), |mask, signal| mask & !(1 << (signal - 1)));
    // SAFETY: between fork and exec the closure makes one system call on a number that it owns; it allocates nothing
    // and takes no lock.
    unsafe {
        command.pre_exec(move || {
            raw::set_mask(mask);
            Ok(())
        })
    }
}
