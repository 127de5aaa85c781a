//! Which files some process has mapped shared, read from `/proc/*/maps`.
//!
//! A store to a page that is already dirty moves no timestamp. So a file that is mapped shared while it is hashed may
//! change afterwards without a trace, and its index row is *warm*: not believed. (A store to a clean page takes a
//! fault, which moves the times; that needs no help from here.) Also a mapping that is read-only just now counts: it
//! may have been writable a moment ago and become so again, its pages still dirty.
//!
//! Root without CAP_SYS_PTRACE, which is Docker's default, may not look into the processes of another uid, though it
//! may take that uid: a thread does so, for its file system identity alone, and ends. What still cannot be read (a
//! process that made itself not dumpable) makes the answer incomplete, and then every row is warm.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// A kernel thread's flag in `/proc/PID/stat`: it maps nothing.
const PF_KTHREAD: u64 = 0x0020_0000;
/// No process has more text in its maps than this (65,530 mappings of a long line).
const MAX_MAPS_BYTES: u64 = 64 << 20;

/// Who maps what.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Every process could be read.
    pub(super) complete: bool,
    /// Inodes, whatever their device: an overlay and btrfs show another one here than stat does.
    inodes: HashSet<u64>,
    /// Paths as the kernel tells them: on older kernels an overlay shows another inode, too.
    paths: HashSet<PathBuf>,
}

impl Mapped {
    /// Looks at all processes of `/proc`, or of what a test puts there, but this one and `trusted` ones.
    pub(super) fn look(proc: &Path, trusted: &[i32]) -> Self {
        let mut mapped = Self { complete: !hides_processes(proc), ..Self::default() };
        let Ok(entries) = fs::read_dir(proc) else {
            return Self::default();
        };
        let me = std::process::id().cast_signed();
        let mut processes = 0;
        for entry in entries {
            let Ok(entry) = entry else {
                mapped.complete = false;
                continue;
            };
            let pid = std::str::from_utf8(entry.file_name().as_bytes()).ok().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = pid else { continue };
            processes += 1;
            if pid == me || trusted.contains(&pid) {
                continue;
            }
            if !mapped.add_process(&entry.path()) {
                mapped.complete = false;
            }
        }
        // We are a process ourselves: a /proc that shows none is not one.
        mapped.complete &= processes > 0;
        mapped
    }

    /// Whether rows of this file are warm.
    pub(super) fn has(&self, inode: u64, path: &Path) -> bool {
        !self.complete || self.inodes.contains(&inode) || self.paths.contains(path)
    }

    /// Both looks together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.complete &= other.complete;
        self.inodes.extend(other.inodes);
        self.paths.extend(other.paths);
        self
    }

    /// Takes in one process; false where it could not be read.
    fn add_process(&mut self, process: &Path) -> bool {
        match state_of(process) {
            Ok(State::KernelThread) => return true,
            // Its first thread is gone, others may go on; they map the same.
            Ok(State::Zombie) => {
                let Ok(tasks) = fs::read_dir(process.join("task")) else { return gone(process) };
                return tasks.flatten().all(|task| self.add_maps(process, &task.path().join("maps")));
            }
            Ok(State::Other) => {}
            Err(_) => return gone(process),
        }
        self.add_maps(process, &process.join("maps"))
    }

    fn add_maps(&mut self, process: &Path, maps: &Path) -> bool {
        let text = match read_bounded(maps) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => read_as_owner(process, maps),
            other => other,
        };
        match text {
            Ok(text) => {
                self.add_text(&text);
                true
            }
            // ESRCH: it has no memory any more.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => true,
            Err(_) => gone(process),
        }
    }

    /// Takes in the lines of a maps file: `start-end rwxs offset dev inode path`.
    fn add_text(&mut self, text: &[u8]) {
        for line in text.split(|&byte| byte == b'\n') {
            let mut words = line.splitn(6, |&byte| byte == b' ');
            let (Some(_), Some(rights), Some(_), Some(_), Some(inode)) =
                (words.next(), words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let inode = std::str::from_utf8(inode).ok().and_then(|inode| inode.parse().ok()).unwrap_or(0);
            if rights.get(3) != Some(&b's') || inode == 0 {
                continue;
            }
            self.inodes.insert(inode);
            if let Some(path) = words.next() {
                let path = path.trim_ascii_start();
                self.paths.insert(PathBuf::from(std::ffi::OsStr::from_bytes(&unescaped(path))));
            }
        }
    }
}

enum State {
    KernelThread,
    Zombie,
    Other,
}

/// Reads `/proc/PID/stat`, which everybody may.
fn state_of(process: &Path) -> io::Result<State> {
    let text = fs::read(process.join("stat"))?;
    // The name stands in parentheses and may hold any byte, so the last one closes it.
    let after = text.iter().rposition(|&byte| byte == b')').map_or(&text[..], |at| &text[at + 1..]);
    let words: Vec<&[u8]> = after.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let flags = words.get(6).and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok()).unwrap_or(0);
    Ok(match words.first() {
        _ if flags & PF_KTHREAD != 0 => State::KernelThread,
        Some(&(b"Z" | b"X")) => State::Zombie,
        _ => State::Other,
    })
}

/// Whether a process that could not be read has simply ended.
fn gone(process: &Path) -> bool {
    !process.join("stat").exists()
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(MAX_MAPS_BYTES).read_to_end(&mut text)?;
    if text.len() as u64 == MAX_MAPS_BYTES {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(text)
}

/// Reads as the user whose process it is.
fn read_as_owner(process: &Path, maps: &Path) -> io::Result<Vec<u8>> {
    let status = fs::read_to_string(process.join("status"))?;
    let (Some(uid), Some(gid)) = (the_one_id(&status, "Uid:"), the_one_id(&status, "Gid:")) else {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    };
    let maps = maps.to_owned();
    // The kernel keeps these two per thread, and the thread keeps them to its end: nobody else is touched.
    let reader = std::thread::Builder::new().spawn(move || {
        setfsgid(Gid::from_raw(gid));
        setfsuid(Uid::from_raw(uid));
        read_bounded(&maps)
    })?;
    reader.join().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Other)))
}

/// The id of a status line whose real, effective and saved one are the same.
fn the_one_id(status: &str, line: &str) -> Option<u32> {
    let ids = status.lines().find_map(|text| text.strip_prefix(line))?;
    let mut ids = ids.split_whitespace().map(str::parse::<u32>);
    match (ids.next()?, ids.next()?, ids.next()?) {
        (Ok(real), Ok(effective), Ok(saved)) if real == effective && effective == saved => Some(real),
        _ => None,
    }
}

/// Whether this `/proc` does not show everybody's processes to everybody (`hidepid`) and we are not allowed to see all.
fn hides_processes(proc: &Path) -> bool {
    if may_see_all(proc) {
        return false;
    }
    let Ok(mounts) = fs::read_to_string(proc.join("self/mountinfo")) else { return true };
    mounts.lines().any(|line| {
        line.split(' ').nth(4) == proc.to_str()
            && line
                .rsplit([' ', ','])
                .any(|option| option.strip_prefix("hidepid=").is_some_and(|value| !matches!(value, "0" | "off")))
    })
}

/// Whether we have CAP_SYS_PTRACE.
fn may_see_all(proc: &Path) -> bool {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")?.trim().into());
    effective.and_then(|text: &str| u64::from_str_radix(text, 16).ok()).is_some_and(|caps| caps & CAP_SYS_PTRACE != 0)
}

/// Undoes the kernel's `\012` for a newline in a path.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        if let [b'\\', b'0', b'1', b'2', after @ ..] = rest {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_mappings_of_files_count() {
        let mut mapped = Mapped { complete: true, ..Mapped::default() };
        mapped.add_text(
            b"7f00-7f01 rw-s 00000000 fd:00 17 /w/a b\\012c\n\
              7f01-7f02 r--s 00000000 fd:00 18 /w/d\n\
              7f02-7f03 rw-p 00000000 fd:00 19 /w/e\n\
              7f03-7f04 rw-s 00000000 00:00 0 /dev/zero\n\
              nonsense\n",
        );
        assert!(mapped.has(17, Path::new("/elsewhere")));
        assert!(mapped.has(99, Path::new("/w/a b\nc")));
        assert!(mapped.has(18, Path::new("/")));
        assert!(!mapped.has(19, Path::new("/w/e")));
    }

    #[test]
    fn what_shows_no_process_is_not_complete() {
        let empty = tempfile::tempdir().unwrap();
        assert!(!Mapped::look(empty.path(), &[]).complete);
        assert!(!Mapped::look(&empty.path().join("none"), &[]).complete);
        assert!(Mapped::look(empty.path(), &[]).has(1, Path::new("/any")));
    }

    #[test]
    fn an_id_counts_only_if_it_is_one() {
        assert_eq!(the_one_id("Name:\tx\nUid:\t5\t5\t5\t5\n", "Uid:"), Some(5));
        assert_eq!(the_one_id("Uid:\t5\t0\t0\t0\n", "Uid:"), None);
        assert_eq!(the_one_id("", "Uid:"), None);
    }
}
