//! What a sync child does first: lower itself before the OOM killer, close its memory to others, then take the keys.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    sync::atomic::{AtomicU64, Ordering},
};

/// How many descriptors [`inherited`] knows. PID 1 may have been started with many of its own caller's open.
const MOST: RawFd = 1024;
/// Those that it has given away, a bit for each.
static TAKEN: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// The most that is read from the credentials pipe: an STS session token has a few KiB.
const CREDENTIALS_LIMIT: u64 = 64 * 1024;

/// Takes a descriptor that the parent process named. Each can be taken once; it is closed by the next exec.
///
/// # Errors
/// It is not open, was taken before, or is one that a parent never hands over (below 3, above 1023).
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if !(3..MOST).contains(&fd) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{fd} is no handed-over descriptor")));
    }
    // SAFETY: takes numbers only; a closed descriptor is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(clippy::cast_sign_loss, reason = "it is in range")]
    let (word, bit) = (&TAKEN[fd as usize / 64], 1_u64 << (fd % 64));
    if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {fd} was taken before")));
    }
    // SAFETY: it is open, was handed to this process for this purpose, and is given away once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The first act of a sync child. The order matters: a process that is not dumpable cannot write its own
/// `oom_score_adj` unless it is root; and the keys are read only when nobody can read this memory any more.
///
/// Returns the credentials as name and value, none where PID 1 handed none over.
///
/// # Errors
/// The memory could not be closed, or the pipe could not be read.
pub fn prepare(credentials: Option<RawFd>) -> io::Result<Vec<(OsString, OsString)>> {
    // Where /proc is read-only or absent the OOM killer has no hint, which is no reason to fail.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    super::process::set_not_dumpable()?;
    let Some(fd) = credentials else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    fs::File::from(inherited(fd)?).take(CREDENTIALS_LIMIT).read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

/// `NAME=VALUE NUL` pairs.
fn parse(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((OsStr::from_bytes(&pair[..at]).to_owned(), OsStr::from_bytes(&pair[at + 1..]).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_equal_signs_and_no_pair_is_invented() {
        let pairs = parse(b"S3_ACCESS_KEY=a\0AWS_SESSION_TOKEN=x==\0");
        assert_eq!(pairs, [("S3_ACCESS_KEY".into(), "a".into()), ("AWS_SESSION_TOKEN".into(), "x==".into())]);
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn a_standard_descriptor_is_never_taken_for_a_handed_over_one() {
        assert!(inherited(0).is_err());
        assert!(inherited(-1).is_err());
        assert!(inherited(MOST).is_err());
    }
}
