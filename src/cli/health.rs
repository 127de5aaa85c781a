//! `stopover health`: whether the app runs, as PID 1 notes it in the state directory; a plain init notes nothing, and is
//! found in the process table.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
};

use clap::Args;
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

use super::{context::Context, failure::Failure, output};
use crate::{
    config::{Call, Need},
    report::{Exit, Health as Report, State},
    supervise::app_of_the_init,
};

/// The note is a few hundred bytes.
const NOTE_LIMIT: u64 = 64 * 1024;

/// Exit 0 when the app runs, 1 otherwise
///
/// Prints the state: restoring, installing, running, stopping, committing, committed or failed.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover health --dir /workspace --json")]
pub(super) struct Health {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Health {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let (config, plain) = match context.config(&Need::IfSet, Call::default()) {
            Ok(config) => {
                let plain = config.workspace.is_none();
                (config, plain)
            }
            // A workspace that is set wrongly is told by the run.
            Err(_) => (context.config(&Need::Nothing, Call::default())?, false),
        };
        let path = config.state.join("phase");
        let noted = match read(&path) {
            Ok(bytes) => serde_json::from_slice::<Report>(&bytes)
                .map_err(|error| format!("{} is damaged: {error}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("no run has noted its phase in {}: is --dir that of the run?", path.display()))
            }
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        };
        let (health, why) = match noted {
            Ok(health) if health.state == Some(State::Running) && health.pid.is_some_and(exists) => (health, None),
            // What lies there may be of another life, or nothing; a plain init is there with its app or not at all.
            _ if plain && let Some(pid) = app_of_the_init() => {
                let state = Some(State::Running);
                (Report { state, since: None, pid: Some(pid), snapshot: None, last_commit: None }, None)
            }
            // The app is gone without a word of PID 1's: killed both, and what is noted is not so any more.
            Ok(health) if health.state == Some(State::Running) && health.pid.is_some() => {
                let why = format!("the run that noted {} is gone", path.display());
                (Report { state: Some(State::Failed), ..health }, Some(why))
            }
            Ok(health) => (health, None),
            Err(why) => (Report { state: None, since: None, pid: None, snapshot: None, last_commit: None }, Some(why)),
        };
        if self.json {
            output::json(&health)?;
        } else if let Some(state) = health.state {
            output::text(&format!("{}\n", state.word()))?;
        }
        if health.state.is_some_and(State::is_healthy) {
            return Ok(Exit::Success.code());
        }
        match why {
            Some(why) => Err(Failure::failed(why)),
            None => Ok(Exit::Failed.code()),
        }
    }
}

fn read(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Whatever lies there must not be waited for: a health check that hangs is none.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(NOTE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a process of that number exists, whoever it belongs to.
fn exists(pid: i32) -> bool {
    pid > 0 && !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}
