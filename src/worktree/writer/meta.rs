//! Owner, mode and time of what was written.

use std::os::fd::AsFd;

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::{
        stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, fstat, futimens, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, fchown, fchownat},
};

use super::{Owner, Stat};
use crate::{rows::Row, worktree::directory::Handle};

impl Owner {
    /// The owner that `row` shall have, where it is not the present one.
    fn differs(self, row: &Row, now: &Stat) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self {
            Self::Keep => (row.uid, row.gid),
            Self::RunUser { uid, gid } => (uid, gid),
            Self::Caller => return None,
        };
        ((uid, gid) != (now.uid, now.gid)).then(|| (Uid::from_raw(uid), Gid::from_raw(gid)))
    }
}

/// Sets owner, mode and mtime of an open file or directory, in this order: a chown takes bits of the mode away, and
/// both move no mtime.
pub(super) fn set(fd: impl AsFd, row: &Row, mode: u16, owner: Owner) -> nix::Result<Stat> {
    let now = Stat::from(fstat(&fd)?);
    if let Some((uid, gid)) = owner.differs(row, &now) {
        fchown(&fd, Some(uid), Some(gid))?;
    }
    // Twelve bits: a setgid that a directory inherited goes too.
    fchmod(&fd, Mode::from_bits_truncate(u32::from(mode)))?;
    futimens(&fd, &TimeSpec::UTIME_OMIT, &time(row.mtime_ns))?;
    fstat(&fd).map(Stat::from)
}

/// The same by name, of what may not be opened; `is_link`: of a link itself, which has no mode.
pub(super) fn set_by_name(
    parent: &Handle<'_>,
    name: &[u8],
    row: &Row,
    now: &Stat,
    owner: Owner,
    is_link: bool,
) -> nix::Result<()> {
    if let Some((uid, gid)) = owner.differs(row, now) {
        fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    if !is_link {
        let mode = Mode::from_bits_truncate(u32::from(row.mode));
        fchmodat(parent, name, mode, FchmodatFlags::NoFollowSymlink)?;
    }
    let set = utimensat(parent, name, &TimeSpec::UTIME_OMIT, &time(row.mtime_ns), UtimensatFlags::NoFollowSymlink);
    match set {
        // Some file systems keep no time of a link.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if is_link => Ok(()),
        other => other,
    }
}

fn time(nanoseconds: i64) -> TimeSpec {
    TimeSpec::new(nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))
}
