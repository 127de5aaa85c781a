//! What an install did, and the bytes in which PID 1 gets it.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use serde::{Deserialize, Serialize};

use super::plan::{InstallError, Start};
use crate::report::Exit;

/// One tool that ran: a row of `install` in the summary.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// The package manager.
    pub tool: String,
    /// The command line.
    pub command: String,
    /// Its exit code, 128+n for a signal, 127 where it is not there.
    pub exit_code: i32,
    /// Wall time.
    pub seconds: f64,
}

/// What an install did.
#[derive(Debug, Default)]
pub struct InstallOutcome {
    /// The tools that ran, in order.
    pub ran: Vec<Ran>,
    /// Variables the app needs.
    pub environment: Vec<(OsString, OsString)>,
    /// The start command, where it was looked for and found.
    pub start: Option<Start>,
    /// What the user should know; each was logged when it was found.
    pub warnings: Vec<String>,
    /// Why the install did not succeed.
    pub error: Option<InstallError>,
}

impl InstallOutcome {
    /// Logs a warning and keeps it.
    pub(super) fn warn(&mut self, warning: String) {
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }

    /// Sets a variable of the app; the last word on it counts.
    pub(super) fn set(&mut self, name: OsString, value: OsString) {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value));
    }

    /// 0, 81, or 143 after a cancel.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.error {
            None => Exit::Success.code(),
            Some(InstallError::Cancelled) => 143,
            Some(_) => Exit::InstallFailed.code(),
        }
    }

    /// The bytes for the receipt pipe; their form stands at the top of this room.
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.ran).unwrap_or_else(|_| b"[]".to_vec());
        bytes.push(0);
        for (name, value) in &self.environment {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        bytes.push(0);
        for word in self.start.iter().flat_map(|start| &start.command) {
            bytes.extend_from_slice(word.as_bytes());
            bytes.push(0);
        }
        bytes
    }
}
