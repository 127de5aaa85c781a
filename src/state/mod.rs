//! `DIR/.stopover/`: what stopover notes in the directory it looks after.
//!
//! A cache: the bucket is the truth, and every note may be gone tomorrow (`git clean -fdx`). What is noted:
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | held by the one process that syncs |
//! | `ready` | a restore into this directory has succeeded |
//! | `pulling`, `wanted` | a restore has begun and not ended; what it makes, where the directory was empty |
//! | `rewinding` | a restore in place has begun and not ended |
//! | `told` | what this life of a container has said once |
//! | `mine` | the snapshot that `origin` belongs to, the workspace's birth, the directory's identity, what is pending |
//! | `origin`, `origin.pending` | the rows the directory last took in, and those of a commit not yet seen in a head |
//! | `sent` | live objects written by a commit that has not ended, so that it knows its own writes again |
//! | `index` | what the last scan saw, so that the next one need not read what has not changed |
//! | `abilities` | what the server was measured to honour |
//! | `staging/`, `aside/` | files on their way in; files that a restore had to move away |
//! | `phase`, `commit.sock` | written by PID 1 |
//!
//! Everything goes through one handle of the state directory, without following links: the app may own the directory
//! above it. Knows rows and report; no network, no policy.

mod lock;
mod notes;
mod restart;

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, openat, renameat},
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

pub use lock::Lock;
pub use notes::{Mine, Pending, Pulling, Ready, Rewinding, Sent, TakenIn};
pub use restart::Restart;

/// The largest note that is read back, bytes. Origin and index of a million files stay below it.
const MAX_NOTE_BYTES: u64 = 1 << 30;

/// What can go wrong with the state directory.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is a link or no directory.
    #[error("{0} is not a directory of stopover's own (a link, or a file): remove it, or set STOPOVER_STATE")]
    NotADirectory(PathBuf),
    /// It belongs to somebody else.
    #[error("{path} belongs to user {owner}, not to {us}: remove it, or run stopover as that user")]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our user.
        us: u32,
    },
    /// Another process syncs this directory.
    #[error("{path} is locked by another stopover process (waited {waited:?}): wait for it, or end it")]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// The system said no.
    #[error("cannot {what} {path}: {source}{}", hint(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StateError {
    /// Whether the disk takes nothing more: it is full, or read-only.
    #[must_use]
    pub fn is_out_of_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem))
    }
}

/// What to do about it.
fn hint(source: &io::Error) -> &'static str {
    use io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match source.kind() {
        PermissionDenied => {
            "; the directory must be writable by the user stopover runs as, or STOPOVER_STATE name another place on its \
             file system"
        }
        ReadOnlyFilesystem => "; mount the workspace's directory writable",
        StorageFull | QuotaExceeded => "; free some space or give the container a larger disk",
        NotFound => "; the directory above it must be there",
        _ => "",
    }
}

/// The state directory, open.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    handle: OwnedFd,
}

impl State {
    /// Opens the state directory at `path`; `None` where there is none.
    ///
    /// # Errors
    /// When it is a link, belongs to another user, or cannot be opened.
    pub fn open(path: &Path) -> Result<Option<Self>, StateError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let handle = match openat(AT_FDCWD, path, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(StateError::NotADirectory(path.to_owned())),
            Err(errno) => return Err(failed("open", path, errno)),
        };
        let state = Self { path: path.to_owned(), handle };
        let stat = nix::sys::stat::fstat(&state.handle).map_err(|errno| failed("look at", path, errno))?;
        let us = nix::unistd::geteuid().as_raw();
        if stat.st_uid != us {
            return Err(StateError::ForeignOwner { path: path.to_owned(), owner: stat.st_uid, us });
        }
        Ok(Some(state))
    }

    /// Opens the state directory at `path`, making it first if it is not there (mode 0711: the app may reach the
    /// commit socket, nothing else).
    ///
    /// # Errors
    /// As [`State::open`], and when it cannot be made.
    pub fn create(path: &Path) -> Result<Self, StateError> {
        let private = Mode::from_bits_truncate(0o711);
        match mkdirat(AT_FDCWD, path, private) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed("make", path, errno)),
        }
        let Some(state) = Self::open(path)? else {
            return Err(failed("open", path, Errno::ENOENT));
        };
        // The umask took bits away from mkdir's mode.
        fchmod(&state.handle, private).map_err(|errno| failed("set the mode of", path, errno))?;
        for directory in ["staging", "aside"] {
            match mkdirat(&state.handle, directory, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed("make", &path.join(directory), errno)),
            }
        }
        if state.read(".gitignore")?.is_none() {
            state.write(".gitignore", b"*\n")?;
        }
        Ok(state)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the state directory.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn identity(&self) -> Result<(u64, u64), StateError> {
        let stat = nix::sys::stat::fstat(&self.handle).map_err(|errno| failed("look at", &self.path, errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Takes the lock, waiting up to `patience` for another process.
    ///
    /// # Errors
    /// [`StateError::Locked`] when it did not come free in time.
    pub fn lock(&self, patience: Duration) -> Result<Lock, StateError> {
        let file = self.open_note("lock", OFlag::O_RDWR | OFlag::O_CREAT)?;
        Lock::take(file, patience, &self.path)
    }

    /// Reads the note `name`; `None` where there is none.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let file = match self.open_note(name, OFlag::O_RDONLY) {
            Ok(file) => file,
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let io = |source| StateError::Io { what: "read", path: self.path.join(name), source };
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let mut bytes = Vec::new();
        file.take(MAX_NOTE_BYTES).read_to_end(&mut bytes).map_err(io)?;
        Ok(Some(bytes))
    }

    /// Writes the note `name`, whole or not at all (mode 0600).
    ///
    /// # Errors
    /// When the disk is full or read-only, or the name cannot be replaced.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let temporary = format!("{name}.new");
        let io = |source| StateError::Io { what: "write", path: self.path.join(name), source };
        self.forget(&temporary)?;
        let mut file = self.open_note(&temporary, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        if let Err(error) = file.write_all(bytes) {
            // What is left of it would only take space.
            let _ = self.forget(&temporary);
            return Err(io(error));
        }
        drop(file);
        renameat(&self.handle, temporary.as_str(), &self.handle, name).map_err(|errno| io(errno.into()))
    }

    /// Removes the note `name`, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn forget(&self, name: &str) -> Result<(), StateError> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed("remove", &self.path.join(name), errno)),
        }
    }

    /// Makes `pending` the name `name`, in one step.
    ///
    /// # Errors
    /// When `pending` is not there or the name cannot be replaced.
    pub fn promote(&self, pending: &str, name: &str) -> Result<(), StateError> {
        renameat(&self.handle, pending, &self.handle, name)
            .map_err(|errno| failed("replace", &self.path.join(name), errno))
    }

    /// Opens `name` for appending, making it if needed (mode 0600).
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn append(&self, name: &str) -> Result<File, StateError> {
        self.open_note(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND)
    }

    /// Whether this is where the files of `directory` may be staged: on the same filesystem.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn shares_filesystem(&self, directory: &Path) -> Result<bool, StateError> {
        let there = std::fs::metadata(directory).map_err(|source| StateError::Io {
            what: "look at",
            path: directory.to_owned(),
            source,
        })?;
        Ok(there.dev() == self.identity()?.0)
    }

    fn open_note(&self, name: &str, flags: OFlag) -> Result<File, StateError> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        openat(self.handle.as_fd(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map(File::from)
            .map_err(|errno| failed("open", &self.path.join(name), errno))
    }
}

fn failed(what: &'static str, path: &Path, errno: Errno) -> StateError {
    StateError::Io { what, path: path.to_owned(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn fresh() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        (dir, state)
    }

    #[test]
    fn a_new_state_directory_is_private_and_ignored_by_git() {
        let (dir, state) = fresh();
        let path = dir.path().join(".stopover");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o711);
        assert_eq!(std::fs::read(path.join(".gitignore")).unwrap(), b"*\n");
        state.write("origin", b"rows").unwrap();
        assert_eq!(std::fs::metadata(path.join("origin")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(state.read("origin").unwrap().unwrap(), b"rows");
        state.forget("origin").unwrap();
        state.forget("origin").unwrap();
        assert_eq!(state.read("origin").unwrap(), None);
    }

    #[test]
    fn a_link_in_place_of_the_state_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
        symlink("elsewhere", dir.path().join(".stopover")).unwrap();
        assert!(matches!(State::create(&dir.path().join(".stopover")), Err(StateError::NotADirectory(_))));
    }

    #[test]
    fn a_link_in_place_of_a_note_is_not_followed() {
        let (dir, state) = fresh();
        std::fs::write(dir.path().join("secret"), b"secret").unwrap();
        symlink("../secret", dir.path().join(".stopover/mine")).unwrap();
        assert!(state.read("mine").is_err());
        state.write("mine", b"new").unwrap();
        assert_eq!(std::fs::read(dir.path().join("secret")).unwrap(), b"secret");
        assert_eq!(state.read("mine").unwrap().unwrap(), b"new");
    }

    #[test]
    fn one_process_holds_the_lock_and_the_next_gets_it_after() {
        let (_dir, state) = fresh();
        let held = state.lock(Duration::ZERO).unwrap();
        assert!(matches!(state.lock(Duration::ZERO), Err(StateError::Locked { .. })));
        drop(held);
        state.lock(Duration::ZERO).unwrap();
    }

    #[test]
    fn the_state_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can make a directory that belongs to another user");
            return;
        }
        let (dir, _state) = fresh();
        let path = dir.path().join(".stopover");
        nix::unistd::chown(&path, Some(12345.into()), None).unwrap();
        assert!(matches!(State::open(&path), Err(StateError::ForeignOwner { owner: 12345, .. })));
    }
}
