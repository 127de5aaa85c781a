//! `stopover install`: detect and install; `--explain` only says what, why and from which file.

use std::{env, fs::File, os::fd::AsFd};

use clap::Args;

use super::{args::PassedGuards, child, context::Context, failure::Failure, log, output};
use crate::{
    config::{Call, Need},
    install::{self, CancelSignals, Disk, InstallRequest},
    report::{Exit, Level},
};

/// Detect the package managers of the directory and run them
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stopover install\n  stopover install --explain --json")]
pub(super) struct Install {
    /// Only say what would run, why and from which file, and the start command
    #[arg(long)]
    explain: bool,
    /// The same as --explain
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: what --explain says, or the tools that ran
    #[arg(long)]
    json: bool,
    /// Look for the start command too
    #[arg(long, hide = true, requires = "handover")]
    find_start: bool,
    #[command(flatten)]
    _passed: PassedGuards,
}

impl Install {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Nothing, Call::default())?;
        if self.explain || self.dry_run {
            let view = Disk::open(&config.dir)
                .map_err(|_| Failure::failed(format!("directory does not exist: {}", config.dir.display())))?;
            let explanation = install::explain(&view, &config.dir, &config.install).map_err(Failure::failed)?;
            output::either(self.json, &explanation)?;
            return Ok(Exit::Success.code());
        }
        let mut receipt: Option<File> = child::pipe(context.handover().and_then(|handover| handover.receipt))?;
        let cancel = CancelSignals::block()?;
        let outcome = install::run(&InstallRequest {
            directory: config.dir.clone(),
            state: config.state.clone(),
            choice: config.install.clone(),
            timeout: config.install_timeout,
            environment: env::vars_os().collect(),
            find_start: self.find_start,
            tools_to_stderr: self.json,
            cancel: Some(cancel.as_fd()),
        });
        child::write_receipt(receipt.as_mut(), &outcome.record());
        if self.json {
            output::json(&outcome.ran)?;
        }
        if let Some(error) = &outcome.error {
            log::line(config.log_format, Level::Error, &error.to_string());
        }
        // 81 and 143 are words between PID 1 and its child; for everybody else a failure is a failure.
        let code = outcome.exit_code();
        let of_run = code == Exit::InstallFailed.code() && context.handover().is_none();
        Ok(if of_run { Exit::Failed.code() } else { code })
    }
}
