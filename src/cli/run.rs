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

use super::{
    args::RestoreGuards,
    context::Context,
    failure::Failure,
    log, output,
    preview::Preview,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Config, ConfigError, Loaded, LogFormat, Need, flag_words},
    install::{self, ExplainedStart, Explanation},
    report::{Exit, Level, Unheard},
    supervise, sync,
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
    /// A run without flags.
    pub(super) fn of(command: Vec<OsString>) -> Self {
        Self { guards: RestoreGuards::default(), dry_run: false, command }
    }

    #[cfg(test)]
    pub(super) fn command(&self) -> &[OsString] {
        &self.command
    }

    #[cfg(test)]
    pub(super) fn guards(&self) -> RestoreGuards {
        self.guards
    }

    pub(super) fn run(self, context: &Context, matches: &ArgMatches) -> u8 {
        if !self.dry_run {
            log::as_container();
        }
        match context.load(&Need::IfSet, self.guards.call(self.dry_run)) {
            Ok(loaded) => self.live(context, loaded, matches),
            Err(error) => misconfigured(context, matches, &error),
        }
    }

    fn live(self, context: &Context, loaded: Loaded, matches: &ArgMatches) -> u8 {
        let Loaded { config, warnings } = loaded;
        for warning in warnings {
            log::line(config.log_format, Level::Warn, &warning);
        }
        if self.dry_run {
            crate::sys::entry::restore_inherited_mask();
            return self.preview(context, &config).unwrap_or_else(|failure| {
                failure.print(config.log_format);
                failure.code()
            });
        }
        let mut options = flag_words(matches);
        options.extend(self.guards.words().map(OsString::from));
        supervise::run(&config, self.command, options)
    }
}

impl Run {
    /// What would be restored, installed and started. Nothing is PID 1 here, and nothing is written.
    // A stack of its own, kilobytes large, that no PID 1 should have to touch.
    #[inline(never)]
    fn preview(&self, context: &Context, config: &Config) -> Result<u8, Failure> {
        let given = self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let mut explanation = if config.workspace.is_some() {
            log::start(config);
            let (pulled, preview) = block_on(Cancel::BySignals, async {
                let pulled = sync::pull(config, &context.setting(), &Unheard).await?;
                Ok((pulled, Preview::of(config).await?))
            })?;
            output::text(&format!("{}\n", pulled.proof))?;
            install::explain(&preview, &config.dir, &config.install)
                .map_err(|error| Failure::new(Exit::InstallFailed, error))?
        } else if given.is_empty() {
            return Err(Failure::new(Exit::Usage, "nothing to run: give a command (stopover run -- CMD)"));
        } else {
            Explanation { install: Vec::new(), start: None, warnings: Vec::new() }
        };
        if !given.is_empty() {
            explanation.start = Some(ExplainedStart { command: given, because: "the command line".to_owned() });
            explanation.warnings.retain(|warning| !warning.starts_with("no start command"));
        }
        output::text(&explanation.to_string())?;
        Ok(Exit::Success.code())
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
