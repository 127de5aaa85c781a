//! One process at a time syncs a directory.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::StateError;

/// How often a held lock is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// The lock; given back when dropped, by the kernel if the process dies.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    pub(super) fn take(mut file: File, patience: Duration, path: &Path) -> Result<Self, StateError> {
        let begun = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { _held: held }),
                Err((_, errno)) if errno != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(StateError::Io { what: "lock", path: path.to_owned(), source: errno.into() });
                }
                Err((back, _)) => file = back,
            }
            if begun.elapsed() >= patience {
                return Err(StateError::Locked { path: path.to_owned(), waited: patience });
            }
            std::thread::sleep(BETWEEN_TRIES.min(patience));
        }
    }
}
