//! `install --explain`: what would run, why, from which file, and the start command; nothing is run.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    choose, detect,
    plan::{InstallError, as_command_line, command_line},
    start_command,
    view::View,
};
use crate::config::Install;

/// What `install --explain --json` prints; as text by [`fmt::Display`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// The tools, in order.
    pub install: Vec<ExplainedStep>,
    /// The start command; null where nothing tells (then a warning says what was looked for).
    pub start: Option<ExplainedStart>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One tool.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ExplainedStep {
    /// Its name.
    pub tool: String,
    /// The command line.
    #[serde(serialize_with = "as_command_line")]
    pub command: Vec<String>,
    /// Where it runs.
    pub directory: String,
    /// The file that decided.
    pub because: String,
    /// Where it keeps what it downloaded; null where it keeps nothing.
    pub cache: Option<String>,
}

/// The start command.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ExplainedStart {
    /// The command line.
    #[serde(serialize_with = "as_command_line")]
    pub command: Vec<String>,
    /// The file that decided.
    pub because: String,
}

/// Explains `view`, which shows `directory`.
///
/// # Errors
/// As [`detect`]. That no start command is found is a warning here: one may be given on the command line.
pub fn explain(view: &dyn View, directory: &Path, choice: &Install) -> Result<Explanation, InstallError> {
    let plan = choose(choice, || detect(view))?;
    let mut warnings = plan.warnings;
    let start = match start_command(view) {
        Ok(start) => Some(ExplainedStart { command: start.command, because: start.because }),
        Err(error @ InstallError::NoStart(_)) => {
            warnings.push(error.to_string());
            None
        }
        Err(error) => return Err(error),
    };
    let install = plan.steps.into_iter().map(|step| ExplainedStep {
        tool: step.tool,
        command: step.command,
        directory: directory.join(step.directory).to_string_lossy().trim_end_matches('/').to_owned(),
        because: step.because,
        cache: step.cache,
    });
    Ok(Explanation { install: install.collect(), start, warnings })
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.install.is_empty() {
            writeln!(out, "install: nothing")?;
        }
        for step in &self.install {
            writeln!(out, "install: {}", command_line(&step.command))?;
            writeln!(out, "  in {}, because of {}", step.directory, step.because)?;
            if let Some(cache) = &step.cache {
                writeln!(out, "  cache: {cache}")?;
            }
        }
        match &self.start {
            Some(start) => {
                writeln!(out, "start: {}", command_line(&start.command))?;
                writeln!(out, "  because of {}", start.because)?;
            }
            None => writeln!(out, "start: not found")?,
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))
    }
}
