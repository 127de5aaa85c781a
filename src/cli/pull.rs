//! `stopover pull`: the restore alone. As a child of PID 1 it also says how far it is, and which directory it filled.

use std::fs::File;

use clap::Args;

use super::{
    args::RestoreGuards,
    child,
    context::Context,
    failure::Failure,
    log, output,
    progress::Listener,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Config, Need},
    report::Level,
    sync::{self, Pulled},
};

/// Restore the workspace into the directory
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover pull --workspace s3://BUCKET/PREFIX/USER/NAME --dir ./site")]
pub(super) struct Pull {
    /// Say what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guards: RestoreGuards,
}

impl Pull {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Workspace, self.guards.call(self.dry_run))?;
        let mut receipt: Option<File> = child::pipe(context.handover().and_then(|handover| handover.receipt))?;
        let listener = Listener::new(context, &config)?;
        let pulled =
            block_on(Cancel::BySignals, async { Ok(sync::pull(&config, &context.setting(), &listener).await?) })?;
        drop(listener);
        if context.handover().is_none() {
            return print(&config, &pulled, self.json);
        }
        let (device, inode) = pulled.directory;
        let base = pulled.base.as_deref().unwrap_or("-");
        let mut words = vec![base.to_owned(), device.to_string(), inode.to_string()];
        words.extend(pulled.restored.snapshot.is_none().then(|| "plain".to_owned()));
        words.extend(pulled.part.then(|| "part".to_owned()));
        words.extend(pulled.birth.as_ref().map(|id| format!("birth={id}")));
        words.extend(pulled.tombstone.as_ref().map(|hash| format!("tombstone={hash}")));
        let report = serde_json::to_string(&pulled.restored).map_err(Failure::failed)?;
        child::write_receipt(receipt.as_mut(), format!("{}\n{report}\n", words.join(" ")).as_bytes());
        name_refused(&config, &pulled);
        log::info(&config, &pulled.proof);
        Ok(pulled.exit.code())
    }
}

/// What was restored, as JSON or as its proof; what was refused is named on stderr either way.
pub(super) fn print(config: &Config, pulled: &Pulled, as_json: bool) -> Result<u8, Failure> {
    name_refused(config, pulled);
    if as_json {
        output::json(&pulled.restored)?;
    } else {
        output::text(&format!("{}\n", pulled.proof))?;
    }
    Ok(pulled.exit.code())
}

fn name_refused(config: &Config, pulled: &Pulled) {
    for refused in &pulled.restored.refused {
        log::line(config.log_format, Level::Warn, &format!("not taken: {} ({})", refused.key, refused.reason));
    }
}
