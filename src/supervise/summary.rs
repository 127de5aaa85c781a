//! The summary of a `run`: put together from what PID 1 knows and from its children's receipts, which it copies unread.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use super::shorten::shorten;
use crate::sys::wait::Ending;

/// `reason` of the summary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    Exited,
    Signalled,
    KilledAtDeadline,
    NotStarted,
    Cancelled,
    RestoreFailed,
    InstallFailed,
    Usage,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::KilledAtDeadline => "killed-at-deadline",
            Self::NotStarted => "not-started",
            Self::Cancelled => "cancelled",
            Self::RestoreFailed => "restore-failed",
            Self::InstallFailed => "install-failed",
            Self::Usage => "usage",
        }
    }
}

/// Everything a summary says.
pub(super) struct Summary<'a> {
    pub(super) workspace: Option<String>,
    pub(super) directory: Option<&'a Path>,
    pub(super) exit_code: u8,
    pub(super) reason: Reason,
    /// JSON of the pull.
    pub(super) restore: Option<&'a str>,
    /// JSON of the install.
    pub(super) install: Option<&'a str>,
    pub(super) app: Option<(&'a [OsString], Option<Ending>, Duration)>,
    /// JSON of the last commit.
    pub(super) commit: Option<&'a str>,
}

impl Summary<'_> {
    /// One JSON object; every key is present.
    pub(super) fn json(&self) -> String {
        let app = self.app.as_ref().map(|(command, ending, time)| {
            // A command line is one string here, as in the rows of the install.
            let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
            let command = shlex::try_join(words.iter().map(AsRef::as_ref)).unwrap_or_else(|_| words.join(" "));
            let (code, signal) = match ending {
                Some(Ending::Exited(code)) => (code.to_string(), None),
                Some(Ending::Signalled(signal)) => ("null".to_owned(), Some(signal)),
                None => ("null".to_owned(), None),
            };
            format!(
                "{{\"command\":{},\"exit_code\":{code},\"signal\":{},\"seconds\":{:.3}}}",
                serde_json::to_string(&command).unwrap_or_default(),
                signal.map_or_else(|| "null".to_owned(), i32::to_string),
                time.as_secs_f64(),
            )
        });
        format!(
            "{{\"workspace\":{},\"directory\":{},\"exit_code\":{},\"reason\":\"{}\",\"restore\":{},\"install\":{},\"app\":{},\"commit\":{}}}",
            text(self.workspace.as_deref()),
            text(self.directory.map(Path::to_string_lossy).as_deref()),
            self.exit_code,
            self.reason.name(),
            self.restore.unwrap_or("null"),
            self.install.unwrap_or("null"),
            app.as_deref().unwrap_or("null"),
            self.commit.unwrap_or("null"),
        )
    }

    /// At most `limit` bytes of it: lists shortened, and where that is not enough, without its parts.
    pub(super) fn json_within(&self, limit: usize) -> String {
        let whole = self.json();
        shorten(&whole, limit).unwrap_or_else(|| {
            let bare = Summary {
                workspace: self.workspace.clone(),
                restore: None,
                install: None,
                app: None,
                commit: None,
                ..*self
            };
            bare.json()
        })
    }
}

fn text(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| serde_json::to_string(value).unwrap_or_default())
}

/// Writes a summary file. A regular file is replaced whole; what is no regular file, or is mounted as one (the
/// termination log), is written in place, without waiting for a reader.
pub(super) fn write(path: &Path, json: &str, in_place: bool) -> io::Result<()> {
    let line = format!("{json}\n");
    let regular = fs::symlink_metadata(path).map_or(true, |data| data.is_file());
    if regular && !in_place {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        // Whatever has that name (of a life before, or a pipe that would be waited at) is not written through.
        let _ = fs::remove_file(&name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&name)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .and_then(|()| fs::rename(&name, path));
        if written.is_ok() {
            return written;
        }
        // A mount, or a directory that takes no new names: the file itself may still be written.
        let _ = fs::remove_file(&name);
    }
    OpenOptions::new()
        .write(true)
        .create(!in_place)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?
        .write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_object_with_every_key() {
        let command: [OsString; 2] = ["sh".into(), "-c \"x\"".into()];
        let summary = Summary {
            workspace: Some("s3://b/u/w".into()),
            directory: Some(Path::new("/workspace")),
            exit_code: 143,
            reason: Reason::Signalled,
            restore: None,
            install: Some("[]"),
            app: Some((&command, Some(Ending::Signalled(15)), Duration::from_millis(1500))),
            commit: Some("{\"durable\":true}"),
        };
        let value: serde_json::Value = serde_json::from_str(&summary.json()).expect("json");
        assert_eq!(value["app"]["signal"], 15);
        assert_eq!(value["app"]["command"], "sh '-c \"x\"'");
        assert_eq!(value["commit"]["durable"], true);
        assert_eq!(value["restore"], serde_json::Value::Null);
        assert_eq!(value.as_object().expect("object").len(), 8);
        let long = "x".repeat(6000);
        let long = format!("{{\"error\":\"{long}\"}}");
        let summary = Summary { commit: Some(&long), ..summary };
        let short = summary.json_within(4096);
        assert!(short.len() <= 4096);
        assert!(serde_json::from_str::<serde_json::Value>(&short).is_ok());
    }
}
