//! What users set: the table of variables, their sources and forms, merged into one validated [`Config`].
//!
//! Knows no other room; does no I/O but reading the environment it is given.

mod types;

pub use types::{
    Access, Config, Credentials, Duration, Endpoint, Expect, GitPolicy, Handover, Install, LiveTree, LogFormat,
    LogLevel, Mode, OnDeadline, OnRestoreFailure, OwnerPolicy, Retention, Rewrite, SignalScope, StoreUrl, Workspace,
};
