//! Where values come from: flags before the environment, each under the name of its variable.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use serde::de::DeserializeOwned;

use super::{
    error::ConfigError,
    table::{SECRET_VARIABLES, VARIABLES, variable_named},
};

/// Everything the configuration is made of, read by the caller: this room looks at nothing by itself.
#[derive(Default)]
pub struct Sources {
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags given, under the names of their variables.
    pub flags: Vec<(&'static str, String)>,
    /// What PID 1 handed over: the secrets that it took out of this process's environment.
    pub secrets: Vec<(String, String)>,
    /// The working directory, for relative paths.
    pub working_directory: PathBuf,
}

/// Where one value came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Flag,
    Environment,
    Pipe,
}

/// The values that count, one for each variable that is set. An empty value is as good as none: compose files and
/// scripts write `NAME=${NAME:-}`.
pub(super) struct Values(BTreeMap<&'static str, (Source, String)>);

impl Values {
    pub(super) fn collect(sources: &Sources) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        let aws = SECRET_VARIABLES.iter().copied().filter(|name| name.starts_with("AWS_"));
        for name in VARIABLES.iter().map(|variable| variable.name).chain(aws) {
            let flag = sources.flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| value.clone());
            let pipe = sources.secrets.iter().find(|(secret, _)| secret == name).map(|(_, value)| value.clone());
            let value = if let Some(value) = flag {
                (Source::Flag, value)
            } else if let Some(value) = pipe {
                (Source::Pipe, value)
            } else if let Some((_, value)) = sources.environment.iter().find(|(known, _)| known == name)
                && variable_named(name).is_some()
            {
                let Some(value) = value.to_str() else {
                    return Err(ConfigError::Value {
                        source_name: name.to_owned(),
                        value: shown(name, &value.to_string_lossy()),
                        form: "it is not UTF-8".to_owned(),
                    });
                };
                (Source::Environment, value.to_owned())
            } else {
                continue;
            };
            if !value.1.trim().is_empty() {
                values.insert(name, value);
            }
        }
        Ok(Self(values))
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(_, value)| value.as_str())
    }

    /// The value that PID 1 handed over; the SDK reads this process's own environment by itself.
    pub(super) fn handed_over(&self, name: &str) -> Option<&str> {
        self.0.get(name).filter(|(source, _)| *source == Source::Pipe).map(|(_, value)| value.as_str())
    }

    /// How messages name a variable that is set: as it was set.
    pub(super) fn source_of(&self, name: &str) -> String {
        match (self.0.get(name), variable_named(name)) {
            (Some((Source::Flag, _)), Some(variable)) => format!("--{} ({name})", variable.flag),
            _ => name.to_owned(),
        }
    }

    /// An error about the value of `name`.
    pub(super) fn wrong(&self, name: &str, form: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            source_name: self.source_of(name),
            value: shown(name, self.get(name).unwrap_or_default()),
            form: form.into(),
        }
    }

    /// One family. What `envy` says about a value names no variable, so the one that fails alone is looked for.
    pub(super) fn family<T: DeserializeOwned>(&self, prefix: &str) -> Result<T, ConfigError> {
        let one = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all = || self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        let family = envy::prefixed(prefix);
        family.from_iter(all().map(|(name, (_, value))| one(name, value))).map_err(|error| {
            let alone = all().find_map(|(name, (_, value))| {
                let error = family.from_iter::<_, T>([one(name, value)]).err()?;
                Some(self.wrong(name, form_of(error)))
            });
            alone.unwrap_or_else(|| ConfigError::Value {
                source_name: format!("{prefix}*"),
                value: "set".to_owned(),
                form: form_of(error),
            })
        })
    }
}

fn form_of(error: envy::Error) -> String {
    match error {
        envy::Error::Custom(text) => text,
        envy::Error::MissingValue(field) => format!("{field} is missing"),
    }
}

/// A value as a message shows it: quoted, on one line, not too long, and never a secret.
fn shown(name: &str, value: &str) -> String {
    if SECRET_VARIABLES.contains(&name) {
        return "set (its value is not shown)".to_owned();
    }
    let mut short: String = value.chars().take(200).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Names of our families in the environment that no variable has, but nearly: one warning for each.
pub(super) fn misspelt(environment: &[(OsString, OsString)]) -> Vec<String> {
    let mut warnings: Vec<_> = environment
        .iter()
        .filter_map(|(name, _)| {
            let name = name.to_str()?;
            let known = nearest(name)?;
            Some(format!("{name} is not known, did you mean {known}?"))
        })
        .collect();
    warnings.sort();
    warnings
}

fn nearest(name: &str) -> Option<&'static str> {
    let family = ["STOPOVER_", "S3_", "WORKSPACE_"].into_iter().find(|family| name.starts_with(family))?;
    if variable_named(name).is_some() {
        return None;
    }
    let tail = &name[family.len()..];
    let of_family =
        || VARIABLES.iter().filter_map(|variable| Some((variable.name, variable.name.strip_prefix(family)?)));
    let (distance, near) = of_family()
        .map(|(known, known_tail)| (strsim::damerau_levenshtein(tail, known_tail), known))
        .min_by_key(|(distance, _)| *distance)?;
    // Two slips in a long name, one in a short one: `STOPOVER_LOT` is a slip, `S3_PORT` (as Kubernetes makes it for a
    // service called s3) is none.
    if distance <= if tail.len() >= 6 { 2 } else { 1 } {
        return Some(near);
    }
    // A middle word left out: `S3_BUCKET`.
    let mut longer = of_family().filter(|(_, known_tail)| known_tail.ends_with(&format!("_{tail}")));
    match (longer.next(), longer.next()) {
        (Some((known, _)), None) if tail.len() >= 4 => Some(known),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_known_is_warned_about() {
        for (name, meant) in [
            ("STOPOVER_CHECKPIONT", Some("STOPOVER_CHECKPOINT")),
            ("STOPOVER_STOPTIMEOUT", Some("STOPOVER_STOP_TIMEOUT")),
            ("S3_BUCKET", Some("S3_WORKSPACE_BUCKET")),
            ("S3_ACESS_KEY", Some("S3_ACCESS_KEY")),
            ("WORKSPACE_USERS", Some("WORKSPACE_USER")),
            ("STOPOVER_DIR", None),
            ("S3_PORT", None),
            ("STOPOVER_SERVICE_HOST", None),
            ("WORKSPACE_FOLDER", None),
            ("HOME", None),
        ] {
            assert_eq!(nearest(name), meant, "{name}");
        }
    }
}
