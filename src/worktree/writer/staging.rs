//! The private directory of temporary names.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::worktree::{
    Directory, WorktreeError,
    directory::{open_beneath, open_own},
};

/// Opens the directory `path`, made where missing: below `dir` through no link, elsewhere at least not being one.
pub(super) fn open(dir: &Directory, path: &Path) -> Result<OwnedFd, WorktreeError> {
    let failed = |error: Errno| WorktreeError::io("open", &path.display(), error);
    let fd = match dir.below(path) {
        Some(below) => make_below(dir.fd(), below, 0o700).map_err(failed)?,
        None => {
            std::fs::create_dir_all(path).map_err(|error| WorktreeError::io("create", &path.display(), error))?;
            open_own(path).map_err(failed)?
        }
    };
    let _ = fchmod(&fd, Mode::S_IRWXU);
    if fstat(&fd).map_err(failed)?.st_dev != dir.identity().0 {
        let reason = std::io::Error::new(
            std::io::ErrorKind::CrossesDevices,
            "it is on another file system than the workspace; set STOPOVER_STATE to a directory on the same one",
        );
        return Err(WorktreeError::io("use", &path.display(), reason));
    }
    Ok(fd)
}

/// Opens the directory at `path` below `top`, with what is missing on the way made with `mode`.
pub(super) fn make_below(top: BorrowedFd<'_>, path: &[u8], mode: u32) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let mut at = openat(top, c".", flags | OFlag::O_CLOEXEC, Mode::empty())?;
    for segment in path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()) {
        match mkdirat(&at, segment, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        at = open_beneath(at.as_fd(), segment, flags, Mode::empty(), false)?;
    }
    Ok(at)
}

/// Removes what an earlier process left: files and links, and directories of such.
pub(super) fn sweep(staging: &OwnedFd) -> nix::Result<()> {
    remove_all(staging, |name| {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        if let Ok(folder) = openat(staging, name, flags, Mode::empty()) {
            let _ = remove_all(&folder, |_| {});
        }
        let _ = unlinkat(staging, name, UnlinkatFlags::RemoveDir);
    })
}

/// Removes the files and links of a directory; what is a directory itself is given to `folder`.
fn remove_all(staging: &OwnedFd, folder: impl Fn(&[u8])) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(staging, c".", flags, Mode::empty())?;
    let names: Vec<Vec<u8>> = listing.iter().flatten().map(|entry| entry.file_name().to_bytes().to_vec()).collect();
    for name in names.iter().filter(|name| ![&b"."[..], b".."].contains(&&name[..])) {
        match unlinkat(staging, &name[..], UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => folder(name),
            Err(Errno::ENOENT) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the file system takes names of different case, or differently composed ones, for the same.
pub(super) fn folds_names(staging: BorrowedFd<'_>) -> bool {
    let name = "fold-\u{e9}";
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Whether it folds only decides the words of a refusal.
    let Ok(probe) = openat(staging, name, flags, Mode::S_IRUSR) else { return false };
    drop(probe);
    let folds = ["FOLD-\u{e9}", "fold-e\u{301}"]
        .iter()
        .any(|other| fstatat(staging, *other, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok());
    let _ = unlinkat(staging, name, UnlinkatFlags::NoRemoveDir);
    folds
}
