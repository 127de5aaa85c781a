//! The state directory as far as PID 1 uses it: `phase`, which `stopover health` reads, and the place of the socket.
//!
//! The directory is held open: what it is called, and how long that name is, no longer matters.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use super::clock;
use crate::sys::process;

/// `state` of `health`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Restoring,
    Installing,
    Running,
    Stopping,
    Committing,
    Committed,
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Installing => "installing",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Failed => "failed",
        }
    }
}

/// What `phase` holds.
pub(super) struct Phase {
    path: PathBuf,
    directory: Option<File>,
    state: Option<State>,
    since: String,
    pub(super) pid: Option<i32>,
    pub(super) snapshot: Option<String>,
    pub(super) last_commit: Option<String>,
}

impl Phase {
    /// For the state directory `path`, which is made if it is not there.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            directory: None,
            state: None,
            since: String::new(),
            pid: None,
            snapshot: None,
            last_commit: None,
        }
    }

    /// Enters a state. An error is told once per state; it stops nothing: the pull says what is wrong with the place.
    pub(super) fn enter(&mut self, state: State) -> io::Result<()> {
        if self.state == Some(state) {
            return Ok(());
        }
        self.state = Some(state);
        self.since = clock::now();
        self.write()
    }

    /// Writes the file again, in the same state.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(state) = self.state else { return Ok(()) };
        let text = |value: Option<&String>| {
            value.map_or_else(|| "null".to_owned(), |value| serde_json::to_string(value).unwrap_or_default())
        };
        let json = format!(
            "{{\"state\":\"{}\",\"since\":\"{}\",\"pid\":{},\"snapshot\":{},\"last_commit\":{}}}\n",
            state.name(),
            self.since,
            self.pid.map_or_else(|| "null".to_owned(), |pid| pid.to_string()),
            text(self.snapshot.as_ref()),
            text(self.last_commit.as_ref()),
        );
        match self.replace(&json) {
            // `git clean -fdx` took the directory: the handle names nothing any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directory = None;
                self.replace(&json)
            }
            done => done,
        }
    }

    /// The directory, reached through its handle: short enough for a socket's address.
    pub(super) fn handle(&mut self) -> io::Result<PathBuf> {
        if self.directory.is_none() {
            self.directory = Some(open(&self.path)?);
        }
        let number = self.directory.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        Ok(PathBuf::from(format!("/proc/self/fd/{number}")))
    }

    /// Lets go of the directory when its name leads elsewhere by now.
    pub(super) fn look_again(&mut self) {
        let named = fs::symlink_metadata(&self.path).map(|data| (data.dev(), data.ino())).ok();
        let held = self.directory.as_ref().and_then(|file| file.metadata().ok()).map(|data| (data.dev(), data.ino()));
        if named != held {
            self.directory = None;
        }
    }

    fn replace(&mut self, json: &str) -> io::Result<()> {
        let directory = self.handle()?;
        // One writer, PID 1, so one temporary name; what a crash leaves there is overwritten.
        let (temporary, name) = (directory.join("phase.new"), directory.join("phase"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&temporary)?;
        file.write_all(json.as_bytes())?;
        fs::rename(temporary, name)
    }
}

/// Opens the state directory; it must be ours, and no link.
fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    if file.metadata()?.uid() != process::effective_user() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> serde_json::Value {
        serde_json::from_slice(&fs::read(path.join("phase")).expect("phase")).expect("json")
    }

    #[test]
    fn a_phase_survives_the_loss_of_its_directory() {
        let place = tempfile::tempdir().expect("directory");
        let state = place.path().join("made/.stopover");
        let mut phase = Phase::new(&state);
        phase.enter(State::Restoring).expect("enters");
        assert_eq!(read(&state)["state"], "restoring");
        assert_eq!(fs::metadata(&state).expect("there").mode() & 0o777, 0o711);
        fs::remove_dir_all(&state).expect("removed");
        phase.pid = Some(7);
        phase.enter(State::Running).expect("enters");
        assert_eq!(read(&state)["pid"], 7);
        assert_eq!(read(&state)["last_commit"], serde_json::Value::Null);
    }

    #[test]
    fn a_state_directory_that_is_a_link_is_refused() {
        let place = tempfile::tempdir().expect("directory");
        std::os::unix::fs::symlink("/tmp", place.path().join("state")).expect("link");
        assert!(Phase::new(&place.path().join("state")).enter(State::Running).is_err());
    }
}
