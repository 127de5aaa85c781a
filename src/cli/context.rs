//! What a command was given: flags, environment, and, as a child of PID 1, what that handed over.

use std::{env, ffi::OsString, path::Path};

use clap::ArgMatches;

use super::{failure::Failure, log};
use crate::{
    config::{Call, Config, ConfigError, Handover, Loaded, LogFormat, Need, Sources, flag_values, load},
    report::Level,
    sync::Setting,
    sys,
};

/// Everything that was given.
pub(super) struct Context {
    sources: Sources,
    handover: Option<Handover>,
}

impl Context {
    pub(super) fn new(matches: &ArgMatches) -> Self {
        Self {
            sources: Sources {
                environment: env::vars_os().collect(),
                flags: flag_values(matches),
                secrets: Vec::new(),
                // Without one (it was removed) relative paths lead nowhere, and say so when they are used.
                working_directory: env::current_dir().unwrap_or_default(),
            },
            handover: None,
        }
    }

    pub(super) fn set_handover(&mut self, handover: Handover, secrets: Vec<(OsString, OsString)>) {
        let text = |word: OsString| word.into_string().ok();
        self.sources.secrets =
            secrets.into_iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        self.handover = Some(handover);
    }

    /// What PID 1 handed over, if this is a child of it.
    pub(super) fn handover(&self) -> Option<&Handover> {
        self.handover.as_ref()
    }

    /// What a sync runs with besides the configuration.
    pub(super) fn setting(&self) -> Setting {
        let handover = self.handover.clone().unwrap_or_default();
        let own_processes = if self.handover.is_some() { vec![sys::process::parent()] } else { Vec::new() };
        Setting { run_user: handover.user, own_processes, handover }
    }

    /// Where the command was started.
    pub(super) fn working_directory(&self) -> &Path {
        &self.sources.working_directory
    }

    /// Checks what is set. Misspelt names are warned about, but once: by PID 1, not by its children.
    pub(super) fn config(&self, need: &Need, call: Call) -> Result<Config, Failure> {
        let Loaded { config, warnings } = self.load(need, call)?;
        log::start(&config);
        if self.handover.is_none() {
            for warning in warnings {
                log::line(config.log_format, Level::Warn, &warning);
            }
        }
        Ok(config)
    }

    /// The same without a word.
    pub(super) fn load(&self, need: &Need, call: Call) -> Result<Loaded, ConfigError> {
        load(&self.sources, need, call)
    }

    /// The same for a directory given as an argument: it wins over what the environment says of the container's own.
    pub(super) fn config_of_directory(
        &self,
        need: &Need,
        call: Call,
        directory: Option<&Path>,
    ) -> Result<Config, Failure> {
        let is_set = |name: &str| {
            self.sources.flags.iter().any(|(flag, _)| *flag == name)
                || self.sources.environment.iter().any(|(known, value)| known == name && !value.is_empty())
        };
        let directory = match directory {
            Some(directory) => directory,
            None if is_set("STOPOVER_DIR") || is_set("WORKSPACE_BASE_PATH") => return self.config(need, call),
            None => Path::new("."),
        };
        let directory = self.working_directory().join(directory.strip_prefix(".").unwrap_or(directory));
        let given_state = self.sources.flags.iter().find(|(flag, _)| *flag == "STOPOVER_STATE");
        let state = match given_state {
            Some((_, state)) => self.working_directory().join(state),
            None => directory.join(".stopover"),
        };
        let mut config = self.config(need, call)?;
        config.dir = directory;
        config.dir_given = true;
        config.state = state;
        Ok(config)
    }

    /// The format that was asked for, if what was set says so much: for errors about what was set.
    pub(super) fn log_format(&self) -> LogFormat {
        let name = "STOPOVER_LOG_FORMAT";
        let flag = self.sources.flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str());
        let variable = || self.sources.environment.iter().find(|(known, _)| known == name)?.1.to_str();
        if flag.or_else(variable) == Some("json") { LogFormat::Json } else { LogFormat::Text }
    }
}
