//! `stopover commit`: what changed goes to the bucket. Where a supervisor runs it is asked; else the work is done here.

use clap::Args;

use super::{
    args::PassedGuards,
    child,
    context::Context,
    failure::Failure,
    log, output,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Config, LogFormat, Need},
    report::{Exit, Level, Receipt},
    supervise::{self, Wait},
    sync::{self, Control},
};

/// Store what changed, and print a receipt
///
/// In a container where `stopover run` is PID 1 it asks that one. Returns when the change is safe and the live tree
/// has caught up.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stopover commit\n  stopover commit --durable --json")]
pub(super) struct Commit {
    /// Return as soon as the change is safe
    #[arg(long)]
    durable: bool,
    /// Say what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _passed: PassedGuards,
}

impl Commit {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let call = Call { durable: self.durable, dry_run: self.dry_run, ..Call::default() };
        if context.handover().is_none() && !self.dry_run {
            // Asking needs no workspace and no keys: those are the supervisor's.
            let config = context.config(&Need::Nothing, call)?;
            let wait = if self.durable { Wait::Durable } else { Wait::All };
            let answer = supervise::request(&config.state, wait)
                .map_err(|error| Failure::failed(format!("{}/commit.sock: {error}", config.state.display())))?;
            if let Some(answer) = answer {
                return self.print_answer(&config, answer.code, &answer.receipt);
            }
        }
        let config = context.config(&Need::Workspace, call)?;
        let handover = context.handover();
        if handover.is_some_and(|handover| handover.look) {
            let setting = context.setting();
            block_on(Cancel::BySignals, async { Ok(sync::look(&config, &setting).await?) })?;
            return Ok(Exit::Success.code());
        }
        let app_alive = handover.is_some_and(|handover| handover.app_alive);
        let control = child::pipe(handover.and_then(|handover| handover.control))?;
        let control = control.map(|pipe| Control::listen(pipe, app_alive));
        // The last commit of a container ends by its deadline alone.
        let cancel = if control.is_some() { Cancel::Never } else { Cancel::BySignals };
        let listener = Listener::of_commit(context, &config)?;
        let setting = context.setting();
        let work = async { Ok(sync::commit(&config, &setting, control, &listener).await) };
        let receipt = match block_on(cancel, work)? {
            Ok(receipt) => receipt.bounded(),
            Err(error) => {
                listener.write_receipt(&Receipt::failed(&error));
                let failure = Failure::from(error);
                // 82 is a word between PID 1 and its child.
                return Err(if handover.is_some() { failure } else { failure.of_a_command() });
            }
        };
        listener.write_receipt(&receipt);
        drop(listener);
        if handover.is_some() {
            name_missing(&receipt, config.log_format);
            log::info(&config, &receipt.line());
        } else {
            print_receipt(&receipt, self.json, &config)?;
        }
        Ok(verdict(&receipt, self.dry_run))
    }

    /// Prints the supervisor's answer: its receipt as it came, its exit code as one of ours.
    fn print_answer(&self, config: &Config, code: u8, receipt: &[u8]) -> Result<u8, Failure> {
        name_unfinished(config);
        match serde_json::from_slice::<Receipt>(receipt) {
            Ok(receipt) => print_receipt(&receipt, self.json, config)?,
            Err(_) if self.json && !receipt.is_empty() => {
                // Of another version than this binary: scripts may understand it all the same.
                output::text(&format!("{}\n", String::from_utf8_lossy(receipt).trim_end()))?;
            }
            Err(_) => return Err(Failure::failed("the supervisor's commit left no receipt; its log says why")),
        }
        // 82 is a word of run's alone.
        Ok(if code == Exit::NotStored.code() { Exit::Failed.code() } else { code })
    }
}

/// All is stored, or something is named that is not.
pub(super) fn verdict(receipt: &Receipt, dry_run: bool) -> u8 {
    if receipt.is_whole() || dry_run { Exit::Success } else { Exit::Incomplete }.code()
}

/// A receipt as JSON, or as one line; what is not stored is named on stderr either way.
pub(super) fn print_receipt(receipt: &Receipt, as_json: bool, config: &Config) -> Result<(), Failure> {
    name_missing(receipt, config.log_format);
    if as_json {
        return output::json(receipt);
    }
    let line = if config.call.dry_run { receipt.planned_line() } else { receipt.line() };
    output::text(&format!("{line}\n"))
}

/// Names restores in place that did not end.
pub(super) fn name_unfinished(config: &Config) {
    for told in sync::unfinished_restores(config) {
        log::line(config.log_format, Level::Warn, &told);
    }
}

/// Names what is not stored, and what could not be deleted.
pub(super) fn name_missing(receipt: &Receipt, format: LogFormat) {
    for file in &receipt.not_stored {
        let reason = serde_json::to_value(file.reason).ok();
        let reason = reason.as_ref().and_then(|reason| reason.as_str()).unwrap_or_default();
        log::line(format, Level::Warn, &format!("not stored: {} ({reason})", file.path));
    }
    for file in &receipt.not_deleted {
        log::line(format, Level::Warn, &format!("not deleted: {} ({})", file.path, file.reason));
    }
}
