//! Why a command did not do what was asked: one sentence on stderr, one exit code.

use std::io;

use super::log;
use crate::{
    config::{ConfigError, LogFormat},
    report::{Exit, Level},
    snapshot::TagError,
    store::StoreErrorKind,
    sync::SyncError,
};

/// A command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: Option<String>,
}

impl Failure {
    /// With one of our own exit codes.
    #[allow(clippy::needless_pass_by_value, reason = "errors are handed over, so that `map_err` takes it by name")]
    pub(super) fn new(exit: Exit, message: impl ToString) -> Self {
        Self { code: exit.code(), message: Some(message.to_string()) }
    }

    /// It failed: exit code 1.
    pub(super) fn failed(message: impl ToString) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A guard refused it: exit code 4.
    pub(super) fn guard(message: impl ToString) -> Self {
        Self::new(Exit::Guard, message)
    }

    /// Stopped by a signal.
    pub(super) fn cancelled(signal: i32) -> Self {
        Self { code: 128 + u8::try_from(signal).unwrap_or(0), message: None }
    }

    /// Nobody reads our output any more (`stopover list | head -1`): nothing is wrong, and nothing is to be said.
    pub(super) fn unread() -> Self {
        Self { code: Exit::Success.code(), message: None }
    }

    /// The same for everybody but PID 1: 82 is a word of `run` alone.
    pub(super) fn of_a_command(self) -> Self {
        let code = if self.code == Exit::NotStored.code() { Exit::Failed.code() } else { self.code };
        Self { code, ..self }
    }

    /// The same with something more to say.
    pub(super) fn and(self, more: &str) -> Self {
        Self { message: self.message.map(|message| format!("{message}; {more}")), ..self }
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// Says it, once.
    pub(super) fn print(&self, format: LogFormat) {
        if let Some(message) = &self.message {
            log::line(format, Level::Error, message);
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        let exit = match &error {
            error if error.is_guard() => Exit::Guard,
            SyncError::Store(error) if error.kind == StoreErrorKind::Settings => Exit::Usage,
            SyncError::Tag(TagError::NoName(_)) => Exit::Usage,
            SyncError::Deleted(..) => Exit::NotStored,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::unread() } else { Self::failed(error) }
    }
}
