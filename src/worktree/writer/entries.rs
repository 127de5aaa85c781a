//! Directories, links, attributes, removals, and what has to step aside.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat},
    unistd::{UnlinkatFlags, symlinkat, unlinkat},
};

use super::{Expected, Stat, Writer, meta, staging};
use crate::{
    rows::{Kind, RelPath, Row},
    sys::fs::rename_to_a_free_name,
    worktree::{
        WriteError,
        directory::{Handle, open_beneath, open_own},
    },
};

/// The mode of directories that no row speaks of.
const PLAIN_DIR: u16 = 0o755;
/// How many things of one name may step aside at one time.
const ASIDE_TRIES: u32 = 1000;

impl Writer {
    /// Makes a directory (its mode with `u+rwx`, so that it can be filled: [`Writer::set_meta`] comes last). A
    /// directory that is there is left as it is.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn make_dir(&self, path: &RelPath, row: &Row) -> Result<(), WriteError> {
        self.unlocked(path, || self.make_dir_now(path, row))
    }

    fn make_dir_now(&self, path: &RelPath, row: &Row) -> Result<(), WriteError> {
        let parent = self.parent(path)?;
        let failed = |error| WriteError::of("make", path, error);
        match mkdirat(&parent, path.name(), Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return self.check_dir(&parent, path),
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let fd = open_beneath(parent.as_fd(), path.name(), flags, Mode::empty(), self.0.dir.is_stepwise())
            .map_err(failed)?;
        meta::set(&fd, row, row.mode | 0o700, self.0.options.owner).map_err(failed)?;
        Ok(())
    }

    /// A directory that some path needs and no row speaks of.
    pub(super) fn make_plain_dir(&self, path: &RelPath) -> Result<(), WriteError> {
        let parent = self.0.dir.parent(path).map_err(|error| WriteError::of("reach", path, error))?;
        let failed = |error| WriteError::of("make", path, error);
        match mkdirat(&parent, path.name(), Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let fd = open_beneath(parent.as_fd(), path.name(), flags, Mode::empty(), self.0.dir.is_stepwise())
            .map_err(failed)?;
        if let super::Owner::RunUser { uid, gid } = self.0.options.owner {
            nix::unistd::fchown(&fd, Some(uid.into()), Some(gid.into())).map_err(failed)?;
        }
        fchmod(&fd, Mode::from_bits_truncate(u32::from(PLAIN_DIR))).map_err(failed)
    }

    /// Whether what has the name of a directory to be made is one.
    fn check_dir(&self, parent: &Handle<'_>, path: &RelPath) -> Result<(), WriteError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match open_beneath(parent.as_fd(), path.name(), flags, Mode::empty(), self.0.dir.is_stepwise()) {
            Ok(_) if self.0.folds && !self.is_listed(parent, path.name()) => {
                Err(WriteError::Folds { path: path.clone() })
            }
            Ok(_) => Ok(()),
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => Err(WriteError::Moved { path: path.clone() }),
            Err(error) => Err(WriteError::of("look at", path, error)),
        }
    }

    /// Makes a symlink, or replaces what is expected there.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn make_symlink(&self, path: &RelPath, row: &Row, expected: Expected) -> Result<(), WriteError> {
        let Some(target) = row.target.as_deref() else {
            let reason = std::io::Error::other("its row is no symbolic link's");
            return Err(WriteError::of_io("link", path, reason));
        };
        let parent = self.parent(path)?;
        let failed = |error| WriteError::of("link", path, error);
        let owner = self.0.options.owner;
        let temporary = self.temporary_name();
        symlinkat(target, &self.0.staging, &temporary[..]).map_err(failed)?;
        let staging = Handle::Top(self.0.staging.as_fd());
        let made = fstatat(&self.0.staging, &temporary[..], AtFlags::AT_SYMLINK_NOFOLLOW)
            .and_then(|stat| meta::set_by_name(&staging, temporary.as_bytes(), row, &stat.into(), owner, true))
            .map_err(failed)
            .and_then(|()| self.rename_into_place(&temporary, &parent, path, expected));
        if made.is_err() {
            let _ = unlinkat(&self.0.staging, &temporary[..], UnlinkatFlags::NoRemoveDir);
        }
        made
    }

    /// Sets owner, mode and mtime of what is expected there, and returns its stat afterwards. Of a directory it is
    /// enough that it is one where [`Expected::Absent`] is given: the restore made it.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn set_meta(&self, path: &RelPath, row: &Row, expected: Expected) -> Result<Stat, WriteError> {
        let parent = self.0.dir.parent(path).map_err(|error| WriteError::of("reach", path, error))?;
        let moved = || WriteError::Moved { path: path.clone() };
        let failed = |error| WriteError::of("set the mode of", path, error);
        let look = || match fstatat(&parent, path.name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Stat::from(stat)),
            Err(Errno::ENOENT) => Err(moved()),
            Err(error) => Err(failed(error)),
        };
        let is_expected = |now: &Stat| match expected {
            Expected::Same(wanted) => self.is_still(&wanted, now),
            Expected::Absent => now.kind == Some(Kind::Dir),
        };
        let now = look()?;
        if now.kind != Some(row.kind) || !is_expected(&now) {
            return Err(moved());
        }
        let owner = self.0.options.owner;
        let kind_flag = if row.kind == Kind::Dir { OFlag::O_DIRECTORY } else { OFlag::O_NONBLOCK | OFlag::O_NOCTTY };
        if row.kind != Kind::Symlink {
            let flags = OFlag::O_RDONLY | kind_flag;
            match open_beneath(parent.as_fd(), path.name(), flags, Mode::empty(), self.0.dir.is_stepwise()) {
                Ok(fd) => {
                    let opened = Stat::from(fstat(&fd).map_err(failed)?);
                    if opened.kind != now.kind || !is_expected(&opened) {
                        return Err(moved());
                    }
                    return meta::set(&fd, row, row.mode, owner).map_err(failed);
                }
                // Not ours to read, but perhaps to change.
                Err(Errno::EACCES) => {}
                Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => return Err(moved()),
                Err(error) => return Err(failed(error)),
            }
        }
        meta::set_by_name(&parent, path.name(), row, &now, owner, row.kind == Kind::Symlink).map_err(failed)?;
        look()
    }

    /// Removes a file, link or special file that is still the expected one; gone already is well.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is there.
    pub fn remove_file(&self, path: &RelPath, expected: Expected) -> Result<(), WriteError> {
        self.unlocked(path, || self.remove_file_now(path, expected))
    }

    fn remove_file_now(&self, path: &RelPath, expected: Expected) -> Result<(), WriteError> {
        let parent = match self.0.dir.parent(path) {
            Ok(parent) => parent,
            // Without a directory to be in, it is not there.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(error) => return Err(WriteError::of("reach", path, error)),
        };
        match fstatat(&parent, path.name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            Ok(stat) if Stat::from(stat).kind == Some(Kind::Dir) => {
                return Err(WriteError::Moved { path: path.clone() });
            }
            _ => {}
        }
        let old = self.expect(&parent, path, expected)?;
        match unlinkat(parent.as_fd(), path.name(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {
                self.note_relinked(old);
                Ok(())
            }
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => Err(WriteError::Moved { path: path.clone() }),
            Err(error) => Err(WriteError::of("remove", path, error)),
        }
    }

    /// Removes a directory if nothing is in it; says whether it is gone.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where no directory is there, else as the file system says.
    pub fn remove_dir_if_empty(&self, path: &RelPath) -> Result<bool, WriteError> {
        self.unlocked(path, || self.remove_dir_now(path))
    }

    fn remove_dir_now(&self, path: &RelPath) -> Result<bool, WriteError> {
        let parent = match self.0.dir.parent(path) {
            Ok(parent) => parent,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(true),
            Err(error) => return Err(WriteError::of("reach", path, error)),
        };
        match unlinkat(parent.as_fd(), path.name(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
            Err(Errno::ENOTDIR) => Err(WriteError::Moved { path: path.clone() }),
            Err(error) => Err(WriteError::of("remove", path, error)),
        }
    }

    /// Gives the file or link at `from`, if it is still the expected one, the name `to`, which must be free.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else is at `from`, or anything at `to`.
    pub fn rename(&self, from: &RelPath, to: &RelPath, expected: Expected) -> Result<(), WriteError> {
        self.unlocked(from, || {
            let here = self.parent(from)?;
            let there = self.parent(to)?;
            self.expect(&here, from, expected)?;
            self.expect(&there, to, Expected::Absent)?;
            let renamed = match rename_to_a_free_name(here.as_fd(), from.name(), there.as_fd(), to.name()) {
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    nix::fcntl::renameat(here.as_fd(), from.name(), there.as_fd(), to.name())
                }
                other => other,
            };
            renamed.map_err(|error| match error {
                Errno::EEXIST => WriteError::Moved { path: to.clone() },
                Errno::ENOENT => WriteError::Moved { path: from.clone() },
                error => WriteError::of("rename", from, error),
            })
        })
    }

    /// Moves what is at `path`, of whatever kind, to `aside`/`path` and says where it is now. `aside` is a directory
    /// on the same file system, made where missing; what stepped aside there before stays.
    ///
    /// # Errors
    /// As the file system says.
    pub fn move_aside(&self, path: &RelPath, aside: &Path) -> Result<PathBuf, WriteError> {
        self.unlocked(path, || self.move_aside_now(path, aside))
    }

    fn move_aside_now(&self, path: &RelPath, aside: &Path) -> Result<PathBuf, WriteError> {
        let failed = |error| WriteError::of("move aside", path, error);
        let parent = self.0.dir.parent(path).map_err(failed)?;
        let elsewhere;
        let (top, mut below) = match self.0.dir.below(aside) {
            Some(below) => (self.0.dir.fd(), below.to_vec()),
            None => {
                std::fs::create_dir_all(aside).map_err(|error| WriteError::of_io("move aside", path, error))?;
                elsewhere = open_own(aside).map_err(failed)?;
                (elsewhere.as_fd(), Vec::new())
            }
        };
        if let Some(parent) = path.parent() {
            below.push(b'/');
            below.extend_from_slice(parent.as_bytes());
        }
        let target = staging::make_below(top, &below, 0o755).map_err(failed)?;
        for number in 1..=ASIDE_TRIES {
            let mut name = path.name().to_vec();
            if number > 1 {
                name.truncate(crate::rows::MAX_SEGMENT_BYTES - 5);
                name.extend_from_slice(format!(".{number}").as_bytes());
            }
            if fstatat(&target, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                continue;
            }
            let moved = match rename_to_a_free_name(parent.as_fd(), path.name(), &target, &name[..]) {
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    nix::fcntl::renameat(parent.as_fd(), path.name(), &target, &name[..])
                }
                other => other,
            };
            match moved {
                Ok(()) => {
                    let directory =
                        path.parent().map_or_else(|| aside.to_owned(), |parent| aside.join(parent.as_path()));
                    let name = std::os::unix::ffi::OsStringExt::from_vec(name);
                    return Ok(directory.join::<std::ffi::OsString>(name));
                }
                Err(Errno::EEXIST) => {}
                Err(Errno::ENOENT) => return Err(WriteError::Moved { path: path.clone() }),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(Errno::EEXIST))
    }
}
