//! PID 1. It starts children, forwards signals, reaps, keeps time, and knows nothing of S3.

use std::ffi::OsString;

use crate::{config::Config, report::Exit};

/// The whole life of a container: restore, install, run `command`, commit. `options` are the option flags of this
/// command line, which the sync children get again. Returns the exit code.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "the final signature")]
pub fn run(config: &Config, command: Vec<OsString>, options: Vec<OsString>) -> u8 {
    let _ = (config, command, options);
    Exit::Success.code()
}
