//! A file touched at the start of a scan: what the file system's clock says, and whether it sees all stores.

use std::{fs::File, path::Path};

use nix::{
    fcntl::{OFlag, openat},
    sys::{
        stat::{Mode, fstat, futimens},
        time::TimeSpec,
    },
};

use super::Stat;
use crate::{rows::Kind, sys, worktree::directory::open_own};

/// A ctime is old enough when it is older than the touched file's by this: a tick of the slowest kernel clock.
const TICK_NS: i64 = 10_000_000;
/// The same where the file system keeps whole seconds (or every second one, as FAT).
const COARSE_TICK_NS: i64 = 2_000_000_000;

/// What the touched file told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touched {
    ctime_ns: i64,
    /// A store through a shared mapping moves the times.
    pub(super) stores_are_seen: bool,
}

impl Touched {
    /// Whether a change after the touch could leave this very ctime.
    pub(super) const fn is_too_young(&self, ctime_ns: i64) -> bool {
        let whole_seconds = self.ctime_ns % 1_000_000_000 == 0;
        let tick = if whole_seconds { COARSE_TICK_NS } else { TICK_NS };
        ctime_ns.saturating_add(tick) > self.ctime_ns
    }
}

/// Touches a file in the state directory; `None` where that cannot be done.
pub(super) fn touch(state_dir: &Path) -> Option<Touched> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file =
        openat(open_own(state_dir).ok()?, "touched", flags, Mode::S_IRUSR | Mode::S_IWUSR).ok().map(File::from)?;
    // Somebody else's file with other names is not ours to overwrite.
    let stat = Stat::from(fstat(&file).ok()?);
    if stat.kind != Some(Kind::File) || stat.nlink != 1 {
        return None;
    }
    let stores_are_seen = sys::fs::mapped_store_moves_mtime(&file).unwrap_or(false);
    let now = TimeSpec::UTIME_NOW;
    futimens(&file, &now, &now).ok()?;
    let stat = Stat::from(fstat(&file).ok()?);
    Some(Touched { ctime_ns: stat.ctime_ns, stores_are_seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_milliseconds_make_a_ctime_old_and_seconds_where_the_clock_has_only_those() {
        let fine = Touched { ctime_ns: 5_123_456_789, stores_are_seen: true };
        assert!(fine.is_too_young(5_123_456_789));
        assert!(fine.is_too_young(5_113_456_790));
        assert!(!fine.is_too_young(5_113_456_789));
        assert!(fine.is_too_young(i64::MAX));
        let coarse = Touched { ctime_ns: 5_000_000_000, stores_are_seen: true };
        assert!(coarse.is_too_young(4_000_000_000));
        assert!(!coarse.is_too_young(3_000_000_000));
    }

    #[test]
    fn without_a_state_directory_nothing_is_touched() {
        let temp = tempfile::tempdir().unwrap();
        assert!(touch(&temp.path().join("none")).is_none());
        std::os::unix::fs::symlink("/etc/passwd", temp.path().join("touched")).unwrap();
        assert!(touch(temp.path()).is_none());
    }
}
