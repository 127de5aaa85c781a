//! Safe writes for a restore.
//!
//! A file comes under a temporary name in a private directory of the same file system, is written, gets its owner,
//! mode and mtime, and then its name by one rename: nobody sees half a file. Only a path that is not there may be
//! written under its own name at once, in a directory that no app has been given yet. Before anything is replaced or
//! removed, its stat must still be the one that the plan was made from; what somebody changed meanwhile stays.
//! Everything goes by handles and through no link.

mod entries;
mod meta;
mod staged;
mod staging;

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, renameat},
    sys::{
        stat::{Mode, fchmod, fstat},
        statvfs::fstatvfs,
    },
};

pub use staged::Staged;

use super::{
    Directory, Stat, WorktreeError, WriteError,
    directory::{Handle, open_beneath},
};
use crate::{
    rows::{Kind, RelPath},
    sys::fs::rename_to_a_free_name,
};

/// To whom written files belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The stored numbers.
    Keep,
    /// The app's user.
    RunUser {
        /// Its uid.
        uid: u32,
        /// Its gid.
        gid: u32,
    },
    /// Whoever writes.
    Caller,
}

/// How to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// Owner policy.
    pub owner: Owner,
    /// The directory was never `ready`: new files may be written under their own names.
    pub fresh: bool,
}

/// What must be at a path for a write to go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Exactly this. Of a directory only that it is this one: writing into it moves its times.
    Same(Stat),
}

/// Writes below a directory. Cheap to clone; shared by threads.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: Directory,
    staging: OwnedFd,
    options: WriteOptions,
    /// The next temporary name.
    next: AtomicU64,
    /// The file system takes some different names for one.
    folds: bool,
    /// Inodes that lost a name through us, with their ctime as scanned and as it is now: their other names are still
    /// the expected ones.
    relinked: Mutex<HashMap<(u64, u64), (i64, i64)>>,
    /// One directory at a time is made writable for a moment.
    unlocking: Mutex<()>,
}

impl Writer {
    /// A writer below `dir`; `staging` is a private directory on the same file system, made where missing and swept
    /// now.
    ///
    /// # Errors
    /// Where `staging` cannot be made, is a link, or lies on another file system.
    pub fn new(dir: &Directory, staging: &Path, options: WriteOptions) -> Result<Self, WorktreeError> {
        let fd = staging::open(dir, staging)?;
        staging::sweep(&fd).map_err(|error| WorktreeError::io("sweep", &staging.display(), error))?;
        let folds = staging::folds_names(fd.as_fd());
        Ok(Self(Arc::new(Inner {
            dir: dir.try_clone()?,
            staging: fd,
            options,
            next: AtomicU64::new(0),
            folds,
            relinked: Mutex::default(),
            unlocking: Mutex::default(),
        })))
    }

    /// Fails early where so much more would not fit.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`].
    pub fn check_space(&self, bytes: u64, files: u64) -> Result<(), WriteError> {
        // Where the file system does not say, the writes themselves will.
        let Ok(free) = fstatvfs(&self.0.staging) else { return Ok(()) };
        #[allow(clippy::unnecessary_cast, reason = "32 bits wide on some targets")]
        let (available, total_inodes) =
            (free.blocks_available() as u64 * free.fragment_size() as u64, free.files() as u64);
        if bytes > available {
            let path = format!("{} MiB more, {} MiB are free", bytes >> 20, available >> 20);
            return Err(WriteError::NoSpace { path });
        }
        // btrfs and others count no inodes and say 0.
        #[allow(clippy::unnecessary_cast, reason = "32 bits wide on some targets")]
        if total_inodes > 0 && files > free.files_available() as u64 {
            let path = format!("{files} more files, {} inodes are free", free.files_available());
            return Err(WriteError::NoSpace { path });
        }
        Ok(())
    }

    /// Does what changes an entry of a directory; where that is ours but closed to us (0555, as Go keeps its modules),
    /// it is opened for the moment.
    fn unlocked<T>(&self, path: &RelPath, mut change: impl FnMut() -> Result<T, WriteError>) -> Result<T, WriteError> {
        const WRITE_AND_SEARCH: u32 = 0o300;
        let denied = match change() {
            Err(error @ WriteError::Denied { .. }) => error,
            other => return other,
        };
        let _alone = self.0.unlocking.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match path.parent() {
            None => self.0.dir.open_top(),
            Some(above) => self.0.dir.open_at(above.as_bytes(), OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()),
        };
        let Ok(fd) = opened else { return Err(denied) };
        let Ok(mode) = fstat(&fd).map(|stat| stat.st_mode & 0o7777) else { return Err(denied) };
        if mode & WRITE_AND_SEARCH == WRITE_AND_SEARCH
            || fchmod(&fd, Mode::from_bits_truncate(mode | WRITE_AND_SEARCH)).is_err()
        {
            return Err(denied);
        }
        let changed = change();
        let _ = fchmod(&fd, Mode::from_bits_truncate(mode));
        changed
    }

    fn temporary_name(&self) -> String {
        self.0.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// The directory that holds `path`; made with its parents where missing.
    fn parent(&self, path: &RelPath) -> Result<Handle<'_>, WriteError> {
        match self.0.dir.parent(path) {
            Err(Errno::ENOENT) => {
                let mut missing: Vec<RelPath> = path.ancestors().collect();
                missing.reverse();
                for above in &missing {
                    self.make_plain_dir(above)?;
                }
                self.0.dir.parent(path)
            }
            other => other,
        }
        .map_err(|error| WriteError::of("reach", path, error))
    }

    /// What is at `path` now, held open, if it is what is expected there.
    fn expect(
        &self,
        parent: &Handle<'_>,
        path: &RelPath,
        expected: Expected,
    ) -> Result<Option<(OwnedFd, Stat)>, WriteError> {
        let opened = open_beneath(parent.as_fd(), path.name(), OFlag::O_PATH, Mode::empty(), self.0.dir.is_stepwise());
        let there = match opened {
            Ok(fd) => {
                let stat = fstat(&fd).map_err(|error| WriteError::of("look at", path, error))?;
                Some((fd, Stat::from(stat)))
            }
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(WriteError::of("look at", path, error)),
        };
        match (there, expected) {
            (None, Expected::Absent) => Ok(None),
            (Some((fd, stat)), Expected::Same(wanted)) if self.is_still(&wanted, &stat) => Ok(Some((fd, stat))),
            (Some(_), Expected::Absent) => Err(self.occupied(parent, path)),
            _ => Err(WriteError::Moved { path: path.clone() }),
        }
    }

    /// Whether what is there is still what was scanned.
    fn is_still(&self, scanned: &Stat, now: &Stat) -> bool {
        if (scanned.kind, scanned.dev, scanned.ino) != (now.kind, now.dev, now.ino) {
            return false;
        }
        if scanned.kind == Some(Kind::Dir) {
            return true;
        }
        let relinked = self.0.relinked.lock().unwrap_or_else(PoisonError::into_inner);
        let same_change = scanned.ctime_ns == now.ctime_ns
            || relinked.get(&(now.dev, now.ino)) == Some(&(scanned.ctime_ns, now.ctime_ns));
        same_change && (scanned.size, scanned.mtime_ns) == (now.size, now.mtime_ns)
    }

    /// After a name of `old` was taken away: its other names have a new ctime now, through no fault of their own.
    fn note_relinked(&self, old: Option<(OwnedFd, Stat)>) {
        let Some((fd, stat)) = old.filter(|(_, stat)| stat.nlink > 1 && stat.kind == Some(Kind::File)) else { return };
        let Ok(now) = fstat(&fd).map(Stat::from) else { return };
        let mut relinked = self.0.relinked.lock().unwrap_or_else(PoisonError::into_inner);
        let known = relinked.entry((stat.dev, stat.ino)).or_insert((stat.ctime_ns, stat.ctime_ns));
        if known.1 == stat.ctime_ns {
            known.1 = now.ctime_ns;
        }
    }

    /// Why a name that should be free is not: somebody made it, or the file system takes it for another one.
    fn occupied(&self, parent: &Handle<'_>, path: &RelPath) -> WriteError {
        if self.0.folds && !self.is_listed(parent, path.name()) {
            WriteError::Folds { path: path.clone() }
        } else {
            WriteError::Moved { path: path.clone() }
        }
    }

    /// Whether the directory has exactly this name.
    fn is_listed(&self, parent: &Handle<'_>, name: &[u8]) -> bool {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut listing) = Dir::openat(parent.as_fd(), c".", flags, Mode::empty()) else { return true };
        listing.iter().any(|entry| entry.is_ok_and(|entry| entry.file_name().to_bytes() == name))
    }

    /// Gives what has a temporary name in the staging directory the name `path`.
    fn rename_into_place(
        &self,
        temporary: &str,
        parent: &Handle<'_>,
        path: &RelPath,
        expected: Expected,
    ) -> Result<(), WriteError> {
        self.unlocked(path, || self.rename_now(temporary, parent, path, expected))
    }

    fn rename_now(
        &self,
        temporary: &str,
        parent: &Handle<'_>,
        path: &RelPath,
        expected: Expected,
    ) -> Result<(), WriteError> {
        let old = self.expect(parent, path, expected)?;
        let staging = &self.0.staging;
        let renamed = match expected {
            Expected::Absent => match rename_to_a_free_name(staging, temporary, parent, path.name()) {
                // A file system (or sandbox) that cannot promise it.
                Err(Errno::EINVAL | Errno::ENOSYS) => renameat(staging, temporary, parent, path.name()),
                other => other,
            },
            Expected::Same(_) => renameat(staging, temporary, parent, path.name()),
        };
        match renamed {
            Ok(()) => {
                self.note_relinked(old);
                Ok(())
            }
            Err(Errno::EEXIST) => Err(self.occupied(parent, path)),
            Err(Errno::EISDIR | Errno::ENOTEMPTY) => Err(WriteError::Moved { path: path.clone() }),
            Err(error) => Err(WriteError::of("name", path, error)),
        }
    }
}

/// Whether this process may give files away (CAP_CHOWN): then owners are kept by default.
#[must_use]
pub fn may_chown() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.map(|text| u64::from_str_radix(text.trim(), 16)) {
        // CAP_CHOWN is capability 0.
        Some(Ok(capabilities)) => capabilities & 1 == 1,
        _ => nix::unistd::geteuid().is_root(),
    }
}
