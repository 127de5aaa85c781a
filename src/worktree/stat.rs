//! What the file system says of one path.

use std::io;

use nix::sys::stat::{FileStat, SFlag};

use crate::rows::{Kind, PERMISSION_BITS};

/// What the file system says of one path, its own (never a link's target's).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its kind; `None` for a socket, fifo or device.
    pub kind: Option<Kind>,
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Permission bits with setuid, setgid and sticky: twelve bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names this inode has.
    pub nlink: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of anything, nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl Stat {
    /// The nine bits that travel.
    #[must_use]
    pub const fn permissions(&self) -> u16 {
        self.mode & PERMISSION_BITS
    }
}

impl From<FileStat> for Stat {
    fn from(stat: FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Some(Kind::File),
            SFlag::S_IFDIR => Some(Kind::Dir),
            SFlag::S_IFLNK => Some(Kind::Symlink),
            _ => None,
        };
        Self {
            kind,
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            #[allow(clippy::unnecessary_cast, reason = "32 bits wide on some targets")]
            nlink: stat.st_nlink as u64,
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn nanoseconds(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Whether a path is there: only [`Presence::Gone`] proves that it is not.
#[derive(Debug)]
pub enum Presence {
    /// Its own lstat said ENOENT, or a parent of it is seen to be no directory.
    Gone,
    /// It is there.
    There(Stat),
    /// Nobody can tell: no permission, another mount, a broken disk.
    Unknown(io::Error),
}
