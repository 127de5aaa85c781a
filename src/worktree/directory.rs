//! A directory held open, and access below it that no symbolic link can lead astray.
//!
//! Paths are resolved by `openat2` with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_XDEV: the kernel itself
//! refuses a link, a way up and another mount, however the tree is changed meanwhile. Where kernel or sandbox do not
//! have that call (ENOSYS; old seccomp filters say EPERM) each step is taken by itself with O_NOFOLLOW.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat},
    sys::stat::{Mode, fstat},
};

use super::{Presence, Stat, WorktreeError};
use crate::rows::RelPath;

/// Whether `openat2` was refused. Failure is remembered for good, success never: a filter may be installed later.
static OPENAT2_REFUSED: AtomicBool = AtomicBool::new(false);

/// How often a resolution that raced with a rename is tried again.
const EAGAIN_TRIES: u32 = 64;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    /// The same as it was given, perhaps through links.
    given: PathBuf,
    identity: (u64, u64),
    /// Do not even try `openat2`.
    stepwise: bool,
}

/// A directory below (or the top itself), to work in.
#[derive(Debug)]
pub(super) enum Handle<'a> {
    Top(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Top(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

impl Directory {
    /// Opens `path`.
    ///
    /// # Errors
    /// Where it is missing, no directory, or not permitted.
    pub fn open(path: &Path) -> Result<Self, WorktreeError> {
        let failed = |error: Errno| WorktreeError::io("open", &path.display(), error);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = Stat::from(fstat(&fd).map_err(failed)?);
        let given = path.to_owned();
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { fd, path, given, identity: (stat.dev, stat.ino), stepwise: false })
    }

    /// Opens `path`, made with its parents where missing.
    ///
    /// # Errors
    /// As [`Directory::open`], and where it cannot be made.
    pub fn create(path: &Path) -> Result<Self, WorktreeError> {
        std::fs::create_dir_all(path).map_err(|error| WorktreeError::io("create", &path.display(), error))?;
        Self::open(path)
    }

    /// Another handle of the same directory.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self, WorktreeError> {
        let fd = self.fd.try_clone().map_err(|error| WorktreeError::io("open", &self.path.display(), error))?;
        let (path, given) = (self.path.clone(), self.given.clone());
        Ok(Self { fd, path, given, identity: self.identity, stepwise: self.stepwise })
    }

    /// The same, but each path is walked step by step, as without `openat2`.
    #[doc(hidden)]
    #[must_use]
    pub fn stepwise(mut self) -> Self {
        self.stepwise = true;
        self
    }

    /// Device and inode.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Where it was opened, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all that its filesystem holds back to the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn flush(&self) -> std::io::Result<()> {
        Ok(nix::unistd::syncfs(&self.fd)?)
    }

    /// Whether the directory itself was removed while it was held: then nothing below it proves anything.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether nothing is in it but stopover's own directory (and `lost+found`, which a new ext4 volume has).
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn is_empty(&self) -> Result<bool, WorktreeError> {
        let failed = |error: Errno| WorktreeError::io("list", &self.path.display(), error);
        for entry in Dir::from_fd(self.open_top().map_err(failed)?).map_err(failed)?.iter() {
            let entry = entry.map_err(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b".." | b".stopover" | b"lost+found") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether `path` is there, and what it is.
    #[must_use]
    pub fn look(&self, path: &RelPath) -> Presence {
        let found = self
            .open_at(path.as_bytes(), OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty())
            .and_then(|fd| fstat(fd).map(Stat::from));
        match found {
            Ok(stat) => Presence::There(stat),
            // ELOOP: a parent is a symbolic link, which is no directory either.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) if !self.is_removed() => Presence::Gone,
            Err(error) => Presence::Unknown(error.into()),
        }
    }

    /// Opens a regular file for reading; a fifo cannot block it.
    ///
    /// # Errors
    /// Where it is gone, no regular file, or not permitted.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, Stat), WorktreeError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
        let fd = match self.open_at(path.as_bytes(), flags, Mode::empty()) {
            Ok(fd) => fd,
            // A link, a socket, a device without a driver.
            Err(Errno::ELOOP | Errno::ENXIO | Errno::ENODEV) => {
                return Err(WorktreeError::NotRegular { path: path.clone() });
            }
            Err(error) => return Err(WorktreeError::io("open", path, error)),
        };
        let stat = Stat::from(fstat(&fd).map_err(|error| WorktreeError::io("read", path, error))?);
        if stat.kind != Some(crate::rows::Kind::File) {
            return Err(WorktreeError::NotRegular { path: path.clone() });
        }
        Ok((File::from(fd), stat))
    }

    /// A symlink's target.
    ///
    /// # Errors
    /// Where it is gone or no symlink.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, WorktreeError> {
        let failed = |error: Errno| WorktreeError::io("read", path, error);
        let parent = self.parent(path).map_err(failed)?;
        let target = readlinkat(&parent, path.name()).map_err(failed)?;
        Ok(std::os::unix::ffi::OsStringExt::into_vec(target))
    }

    pub(super) const fn is_stepwise(&self) -> bool {
        self.stepwise
    }

    /// The path below this directory of a state directory that is not `.stopover`.
    #[must_use]
    pub fn state_below(&self, state: &Path) -> Option<RelPath> {
        RelPath::new(self.below(state)?).ok()
    }

    /// An absolute path as one below this directory, if it is.
    pub(super) fn below<'a>(&self, path: &'a Path) -> Option<&'a [u8]> {
        let below = path.strip_prefix(&self.path).or_else(|_| path.strip_prefix(&self.given)).ok()?;
        Some(below.as_os_str().as_encoded_bytes())
    }

    /// The handle itself.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A description of the top of its own, to list it without moving the position of another.
    pub(super) fn open_top(&self) -> nix::Result<OwnedFd> {
        openat(&self.fd, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// The directory that holds `path`.
    pub(super) fn parent(&self, path: &RelPath) -> nix::Result<Handle<'_>> {
        match path.parent() {
            None => Ok(Handle::Top(self.fd())),
            Some(parent) => {
                self.open_at(parent.as_bytes(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).map(Handle::Below)
            }
        }
    }

    /// Opens `path`, below this directory and through no link; O_CLOEXEC and O_NOFOLLOW are added.
    pub(super) fn open_at(&self, path: &[u8], flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
        open_beneath(self.fd(), path, flags, mode, self.stepwise)
    }
}

/// Opens a directory of stopover's own by its path, unless its last segment is a link: whoever may write the workspace
/// could put one there.
pub(super) fn open_own(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// Opens `path` below `top` through no symbolic link and onto no other mount (EXDEV).
pub(super) fn open_beneath(
    top: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    mode: Mode,
    stepwise: bool,
) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    if stepwise || OPENAT2_REFUSED.load(Ordering::Relaxed) {
        return open_step_by_step(top, path, flags, mode);
    }
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let mut tries = 0;
    loop {
        let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
        match openat2(top, path, how) {
            Err(Errno::EAGAIN) if tries < EAGAIN_TRIES => tries += 1,
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSYS) => {
                OPENAT2_REFUSED.store(true, Ordering::Relaxed);
                return open_step_by_step(top, path, flags, mode);
            }
            // A filter that knows no openat2, or a file that may not be opened so: the plain call tells.
            Err(Errno::EPERM) => {
                let opened = open_step_by_step(top, path, flags, mode);
                if opened.is_ok() {
                    OPENAT2_REFUSED.store(true, Ordering::Relaxed);
                }
                return opened;
            }
            other => return other,
        }
    }
}

fn open_step_by_step(top: BorrowedFd<'_>, path: &[u8], flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let device = fstat(top)?.st_dev;
    let mut reached: Option<OwnedFd> = None;
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let at = reached.as_ref().map_or(top, AsFd::as_fd);
        let last = segments.peek().is_none();
        let step = if last { flags } else { OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC };
        let fd = retry(|| openat(at, segment, step, mode))?;
        // Only a directory tells by its device that it is another mount: files of an overlay have many.
        let stat = Stat::from(fstat(&fd)?);
        if stat.kind == Some(crate::rows::Kind::Dir) && stat.dev != device {
            return Err(Errno::EXDEV);
        }
        reached = Some(fd);
    }
    reached.ok_or(Errno::ENOENT)
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    /// Runs `check` with `openat2` and without.
    fn both_ways(check: impl Fn(&Path, &Directory)) {
        for stepwise in [false, true] {
            let temp = tempfile::tempdir().unwrap();
            let dir = Directory::open(temp.path()).unwrap();
            check(temp.path(), &if stepwise { dir.stepwise() } else { dir });
        }
    }

    #[test]
    fn a_link_in_the_way_is_no_directory_and_leads_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        both_ways(|top, dir| {
            symlink(outside.path(), top.join("way")).unwrap();
            symlink(outside.path().join("secret"), top.join("link")).unwrap();
            assert!(matches!(dir.look(&path("way/secret")), Presence::Gone));
            assert!(dir.open_file(&path("way/secret")).is_err());
            assert!(matches!(dir.open_file(&path("link")), Err(WorktreeError::NotRegular { .. })));
            let Presence::There(stat) = dir.look(&path("link")) else { panic!("the link is there") };
            assert_eq!(stat.kind, Some(crate::rows::Kind::Symlink));
            assert_eq!(
                dir.read_link(&path("link")).unwrap(),
                outside.path().join("secret").as_os_str().as_encoded_bytes()
            );
        });
    }

    #[test]
    fn only_what_was_looked_at_is_gone() {
        both_ways(|top, dir| {
            std::fs::write(top.join("file"), "x").unwrap();
            assert!(matches!(dir.look(&path("none")), Presence::Gone));
            assert!(matches!(dir.look(&path("none/below")), Presence::Gone));
            assert!(matches!(dir.look(&path("file/below")), Presence::Gone));
            assert!(matches!(dir.look(&path("file")), Presence::There(Stat { size: 1, .. })));
            assert!(!dir.is_empty().unwrap());
        });
    }

    #[test]
    fn nothing_is_gone_from_a_directory_that_was_removed_itself() {
        both_ways(|top, dir| {
            std::fs::remove_dir(top).unwrap();
            assert!(dir.is_removed());
            assert!(matches!(dir.look(&path("none")), Presence::Unknown(_)));
            std::fs::create_dir(top).unwrap();
        });
    }

    #[test]
    fn a_fifo_blocks_nobody() {
        both_ways(|top, dir| {
            nix::unistd::mkfifo(&top.join("pipe"), Mode::S_IRWXU).unwrap();
            assert!(matches!(dir.open_file(&path("pipe")), Err(WorktreeError::NotRegular { .. })));
            assert!(matches!(dir.look(&path("pipe")), Presence::There(Stat { kind: None, .. })));
        });
    }

    #[test]
    fn another_mount_is_neither_gone_nor_entered() {
        let dir = Directory::open(Path::new("/")).unwrap();
        if !Path::new("/proc/self/mountinfo").exists() {
            eprintln!("skipped: no /proc");
            return;
        }
        assert!(matches!(dir.look(&path("proc/self")), Presence::Unknown(_)));
        assert!(matches!(dir.stepwise().look(&path("proc/self")), Presence::Unknown(_)));
    }

    #[test]
    fn a_new_directory_holds_at_most_our_own() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Directory::create(&temp.path().join("a/b")).unwrap();
        assert!(dir.is_empty().unwrap());
        std::fs::create_dir(temp.path().join("a/b/.stopover")).unwrap();
        assert!(dir.is_empty().unwrap());
        std::fs::write(temp.path().join("a/b/file"), "").unwrap();
        assert!(!dir.is_empty().unwrap());
    }
}
