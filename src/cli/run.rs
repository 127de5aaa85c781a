//! `stopover run [-- CMD ARG…]`: the whole life, as PID 1. No thread, no runtime, no network in here.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args};
use serde_json::json;

use super::{args::RestoreGuards, context::Context, failure::Failure, log};
use crate::{
    config::{ConfigError, Loaded, LogFormat, Need, flag_words},
    report::{Exit, Level},
    supervise,
};

/// Where Kubernetes and ECS look for last words.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Restore the workspace, install its dependencies, run the app, commit what changed
///
/// Without CMD the start command is detected. Without a workspace (STOPOVER_WORKSPACE=none) it is a plain init.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover run --workspace s3://BUCKET/PREFIX/USER/NAME -- npm run dev")]
pub(super) struct Run {
    #[command(flatten)]
    guards: RestoreGuards,
    /// Say what would be restored, installed and started, then exit
    #[arg(long)]
    dry_run: bool,
    /// The app and its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    #[cfg(test)]
    pub(super) fn command(&self) -> &[OsString] {
        &self.command
    }

    #[cfg(test)]
    pub(super) fn guards(&self) -> RestoreGuards {
        self.guards
    }

    pub(super) fn run(self, context: &Context, matches: &ArgMatches) -> u8 {
        log::as_container();
        match context.load(&Need::IfSet, self.guards.call(self.dry_run)) {
            Ok(loaded) => self.live(loaded, matches),
            Err(error) => misconfigured(context, matches, &error),
        }
    }

    fn live(self, loaded: Loaded, matches: &ArgMatches) -> u8 {
        let Loaded { config, warnings } = loaded;
        for warning in warnings {
            log::line(config.log_format, Level::Warn, &warning);
        }
        let mut options = flag_words(matches);
        options.extend(self.guards.words().map(OsString::from));
        supervise::run(&config, self.command, options)
    }
}

/// A run that cannot begin: one sentence, and the summary that scripts wait for.
fn misconfigured(context: &Context, matches: &ArgMatches, error: &ConfigError) -> u8 {
    crate::sys::entry::restore_inherited_mask();
    let format = context.log_format();
    Failure::from(error.clone()).print(format);
    let set = |name: &str| {
        matches
            .try_get_one::<String>(name)
            .ok()
            .flatten()
            .map(OsString::from)
            .or_else(|| env::var_os(name))
            .filter(|value| !value.is_empty())
    };
    let summary = json!({
        "workspace": null,
        "directory": set("STOPOVER_DIR").unwrap_or_else(|| "/workspace".into()).to_string_lossy(),
        "exit_code": Exit::Usage.code(),
        "reason": "usage",
        "restore": null,
        "install": null,
        "app": null,
        "commit": null,
    });
    if format == LogFormat::Json {
        log::raw(&format!("{summary}\n"));
    }
    let file = set("STOPOVER_SUMMARY")
        .map(PathBuf::from)
        .or_else(|| Path::new(TERMINATION_LOG).exists().then(|| PathBuf::from(TERMINATION_LOG)));
    if let Some(file) = file {
        // A named pipe that nobody reads must not hold up the exit.
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&file)
            .and_then(|mut file| file.write_all(format!("{summary}\n").as_bytes()));
        if let Err(error) = written {
            log::line(format, Level::Warn, &format!("the summary could not be written to {}: {error}", file.display()));
        }
    }
    Exit::Usage.code()
}
