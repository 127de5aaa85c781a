//! A [`View`] of a real directory, through a handle: whatever a workspace holds, nothing outside it is read.
//!
//! Links are followed by hand, one name at a time below the handle, because a `Procfile` that links to a file beside
//! it is ordinary and one that links to `/etc/shadow` is not. A fifo is never waited for.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Component, Path},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, openat, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstat},
};

use super::view::{Content, Presence, View};

/// As many links as the kernel itself follows.
const MOST_LINKS: usize = 40;
/// A directory with more names than this at its top is read no further.
const MOST_NAMES: usize = 100_000;

/// A directory of the disk.
#[derive(Debug)]
pub struct Disk(OwnedFd);

/// What a walk found: a handle by which the thing can be read.
struct Found {
    handle: OwnedFd,
    stat: FileStat,
}

impl Disk {
    /// Opens `directory`.
    ///
    /// # Errors
    /// Where it is not there, or no directory.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(directory, flags, Mode::empty())?))
    }

    /// Walks to `path`; `None` where nothing is there, or a link leads out.
    fn find(&self, path: &str) -> io::Result<Option<Found>> {
        let mut left: VecDeque<OsString> = match inside(Path::new(path)) {
            Some(names) => names.into(),
            None => return Ok(None),
        };
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                if above.pop().is_none() {
                    return Ok(None);
                }
                continue;
            }
            let here = above.last().map_or(self.0.as_fd(), AsFd::as_fd);
            // NONBLOCK: opening a fifo would wait for its writer.
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            match openat(here, name.as_os_str(), flags, Mode::empty()) {
                Ok(handle) => {
                    let stat = fstat(&handle)?;
                    if left.is_empty() {
                        return Ok(Some(Found { handle, stat }));
                    }
                    if kind(&stat) != SFlag::S_IFDIR {
                        return Ok(None);
                    }
                    above.push(handle);
                }
                Err(Errno::ELOOP) => {
                    links += 1;
                    let target = readlinkat(here, name.as_os_str())?;
                    let Some(names) = inside(Path::new(&target)).filter(|_| links <= MOST_LINKS) else {
                        return Ok(None);
                    };
                    names.into_iter().rev().for_each(|name| left.push_front(name));
                }
                // ENXIO: a socket, or a device without driver.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ENXIO) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        // The path, or a link, named the top or a directory above where it stood.
        let handle = match above.pop() {
            Some(handle) => handle,
            None => self.0.try_clone()?,
        };
        let stat = fstat(&handle)?;
        Ok(Some(Found { handle, stat }))
    }
}

impl View for Disk {
    fn presence(&self, path: &str) -> io::Result<Presence> {
        Ok(match self.find(path)?.map(|found| kind(&found.stat)) {
            Some(SFlag::S_IFREG) => Presence::File,
            Some(SFlag::S_IFDIR) => Presence::Directory,
            _ => Presence::Absent,
        })
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Content>> {
        let Some(found) = self.find(path)?.filter(|found| kind(&found.stat) == SFlag::S_IFREG) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        // One more than the limit tells a file of just that size from a longer one.
        File::from(found.handle).take(limit as u64 + 1).read_to_end(&mut bytes)?;
        let whole = bytes.len() <= limit;
        bytes.truncate(limit);
        Ok(Some(Content { bytes, whole }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(self.0.as_fd(), ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter().take(MOST_NAMES) {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// The names of a relative path; `None` for an absolute one.
fn inside(path: &Path) -> Option<Vec<OsString>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => names.push(OsString::from_vec(b"..".to_vec())),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    debug_assert!(names.iter().all(|name: &OsString| !OsStr::as_bytes(name).is_empty()));
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    fn directory() -> (tempfile::TempDir, Disk) {
        let outer = tempfile::tempdir().unwrap();
        let top = outer.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(outer.path().join("secret"), "secret").unwrap();
        std::fs::write(top.join("a/b/file"), "inside").unwrap();
        let disk = Disk::open(&top).unwrap();
        (outer, disk)
    }

    fn text(disk: &Disk, path: &str) -> Option<String> {
        disk.read(path, 100).unwrap().map(|content| String::from_utf8(content.bytes).unwrap())
    }

    #[test]
    fn links_that_stay_inside_are_followed() {
        let (outer, disk) = directory();
        let top = outer.path().join("top");
        symlink("b/file", top.join("a/beside")).unwrap();
        symlink("../a/beside", top.join("a/up")).unwrap();
        symlink("a", top.join("directory")).unwrap();
        assert_eq!(text(&disk, "a/beside").as_deref(), Some("inside"));
        assert_eq!(text(&disk, "a/up").as_deref(), Some("inside"));
        assert_eq!(text(&disk, "directory/up").as_deref(), Some("inside"));
        assert_eq!(disk.presence("directory").unwrap(), Presence::Directory);
    }

    #[test]
    fn links_that_lead_out_are_absent() {
        let (outer, disk) = directory();
        let top = outer.path().join("top");
        symlink("../secret", top.join("up")).unwrap();
        symlink(outer.path().join("secret"), top.join("absolute")).unwrap();
        symlink("a/../../secret", top.join("around")).unwrap();
        symlink("..", top.join("parent")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        symlink("nothing", top.join("broken")).unwrap();
        for path in ["up", "absolute", "around", "parent/secret", "loop", "broken", "../secret", "/etc/passwd"] {
            assert_eq!(text(&disk, path), None, "{path}");
            assert_eq!(disk.presence(path).unwrap(), Presence::Absent, "{path}");
        }
    }

    #[test]
    fn a_fifo_or_socket_is_absent_and_nobody_waits_for_it() {
        let (outer, disk) = directory();
        let top = outer.path().join("top");
        nix::unistd::mkfifo(&top.join("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(top.join("socket")).unwrap();
        for path in ["fifo", "socket", "fifo/below"] {
            assert_eq!(disk.presence(path).unwrap(), Presence::Absent, "{path}");
            assert_eq!(text(&disk, path), None, "{path}");
        }
    }

    #[test]
    fn contents_end_at_the_limit_and_say_so() {
        let (_outer, disk) = directory();
        let cut = disk.read("a/b/file", 5).unwrap().unwrap();
        assert_eq!((cut.bytes.as_slice(), cut.whole), (&b"insid"[..], false));
        assert!(disk.read("a/b/file", 6).unwrap().unwrap().whole);
        assert_eq!(disk.names().unwrap(), ["a"]);
        assert_eq!(disk.read("a", 5).unwrap(), None);
    }
}
