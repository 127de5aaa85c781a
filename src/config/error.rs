//! What is wrong with what was set: which source, which value, which form.

/// Why there is no configuration. Exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that does not have its variable's form.
    #[error("{source_name} is {value}: {form}")]
    Value {
        /// The variable, or the flag and the variable.
        source_name: String,
        /// The value, quoted; a secret one is never shown.
        value: String,
        /// What it should be.
        form: String,
    },
    /// A variable that is needed, and what to do.
    #[error("{name} is not set: {remedy}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What to do.
        remedy: String,
    },
    /// Two sources that name different workspaces.
    #[error("{first} names {first_url}, {second} names {second_url}: two different workspaces; unset one of them")]
    Conflict {
        /// One source.
        first: String,
        /// What it names.
        first_url: String,
        /// The other.
        second: String,
        /// What that names.
        second_url: String,
    },
    /// An endpoint without `http://` or `https://`.
    #[error("{0}: http:// or https:// is missing")]
    Scheme(String),
}
