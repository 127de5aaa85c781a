//! What users set: the table of variables, their sources and forms, merged into one validated [`Config`].
//!
//! Each variable stands once in [`VARIABLES`]; its flag is made from there, flags win over the environment, and one
//! struct per family of names is filled by `envy`. An error names the source of the value it is about.
//!
//! Knows no other room; does no I/O: what it looks at is in [`Sources`].

mod error;
mod families;
mod flags;
mod forms;
mod handover;
mod load;
mod names;
mod signals;
mod sources;
mod table;
mod types;

pub use error::ConfigError;
pub use flags::{flag_args, flag_values, flag_words};
pub use forms::duration;
pub use handover::HandoverError;
pub use load::{Loaded, load};
pub use names::Need;
pub use signals::{signal_name, signal_number};
pub use sources::Sources;
pub use table::{Form, Group, SECRET_VARIABLES, VARIABLES, Variable, variable_named};
pub use types::{
    Access, Call, Config, Credentials, Duration, Endpoint, Expect, GitPolicy, Handover, Install, LiveTree, LogFormat,
    LogLevel, Mode, OnDeadline, OnRestoreFailure, OwnerPolicy, Retention, Rewrite, SignalScope, StoreUrl, Workspace,
};
