//! PID 1. It starts children, forwards signals, reaps, keeps time, and knows nothing of S3.
//!
//! No network client, no TLS, no parser of remote data: sync work runs in short-lived children of the same binary. No
//! tokio and no threads either; it is asleep in one system call, and woken by signals, its children's pipes, the commit
//! socket and deadlines. [`life`] is where to begin reading.

mod app;
mod budget;
mod children;
mod clock;
mod commits;
mod ending;
mod environment;
mod forward;
mod life;
mod log;
mod oom;
mod outside;
mod phase;
mod processes;
mod shorten;
mod socket;
mod starting;
mod summary;
mod terminal;
mod user;

use std::{ffi::OsString, path::PathBuf, time::Duration};

pub use outside::app_of_the_init;
pub use socket::{Answer, Wait, request};

use crate::{
    config::{Config, Install},
    report::Exit,
    sys::{entry, process, signals},
};
use life::Life;
use log::Log;
use user::User;

/// What PID 1 finds around it. A test puts other things there.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The program whose subcommands `pull`, `install` and `commit` it starts.
    pub program: PathBuf,
    /// Where a summary goes when no file is named, if the file exists.
    pub termination_log: PathBuf,
    /// How often an idle container has head read, where no checkpoint does.
    pub look: Duration,
}

/// The workspaces that others commit to grow past a container that never looks: what it took in long ago must be found
/// in what head says of its past.
const LOOK: Duration = Duration::from_secs(3600);

impl Default for Surroundings {
    fn default() -> Self {
        // The running binary itself, even when its file was replaced meanwhile.
        Self {
            program: PathBuf::from("/proc/self/exe"),
            termination_log: PathBuf::from("/dev/termination-log"),
            look: LOOK,
        }
    }
}

/// The whole life of a container: restore, install, run `command`, commit. `options` are the option flags of this
/// command line, which the sync children get again. Returns the exit code.
#[must_use]
pub fn run(config: &Config, command: Vec<OsString>, options: Vec<OsString>) -> u8 {
    run_in(config, command, options, &Surroundings::default())
}

/// [`run`], in given surroundings.
#[must_use]
pub fn run_in(config: &Config, command: Vec<OsString>, options: Vec<OsString>, around: &Surroundings) -> u8 {
    entry::block_all_signals();
    signals::hear_of_children();
    let mut log = Log::new(config.log, config.log_format);
    if let Err(error) = process::set_not_dumpable() {
        log.warn(format_args!("the memory of this process stays readable to its user: {error}"));
    }
    if process::id() != 1
        && let Err(error) = process::become_subreaper()
    {
        log.warn(format_args!("orphans of the app go to PID 1 of this machine, not here: {error}"));
    }
    if command.is_empty() && config.workspace.is_none() {
        log.error("nothing to run: give a command (stopover run -- CMD), or a workspace to detect one in (STOPOVER_WORKSPACE)");
        return Exit::Usage.code();
    }
    let user = match config.user.as_deref().map(User::find).transpose() {
        Ok(user) => user,
        Err(error) => {
            log.error(error);
            return Exit::Usage.code();
        }
    };
    if config.workspace.is_none() && !config.plain_init_asked_for {
        log.warn(
            "no workspace is named: nothing will be restored or stored; set STOPOVER_WORKSPACE, or STOPOVER_WORKSPACE=none for a plain init",
        );
    }
    match Life::new(config, command, options, around, user, log) {
        Ok(life) => life.live(),
        Err((mut log, error)) => {
            log.error(format_args!("cannot begin: {error}; raise the limit of open files"));
            Exit::Failed.code()
        }
    }
}

/// Whether a child has to be asked what to install, or what to start.
fn asks_install(config: &Config, command: &[OsString]) -> bool {
    config.workspace.is_some() && (config.install != Install::None || command.is_empty())
}
