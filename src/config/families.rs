//! The three families of variables as the environment has them: one struct each, filled by `envy`.
//!
//! Every field may be missing: defaults and rules that span several variables are `load`'s.

use serde::Deserialize;

use super::forms::{
    Command, Concurrency, Count, ExitCodes, ExpectForm, GitForm, InstallForm, LiveTreeForm, LogFormatForm,
    LogLevelForm, LongerSpan, MaybeSpan, Mebibytes, ModeForm, OnDeadlineForm, OnRestoreFailureForm, OwnerForm,
    Patterns, Rewrites, SignalScopeForm, Signals, Span, Switch,
};

/// `STOPOVER_*`.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct Stopover {
    pub(super) workspace: Option<String>,
    pub(super) store: Option<String>,
    pub(super) dir: Option<String>,
    pub(super) state: Option<String>,
    pub(super) ignore: Option<Patterns>,
    pub(super) git: Option<GitForm>,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) mode: Option<ModeForm>,
    pub(super) expect: Option<ExpectForm>,
    pub(super) on_restore_failure: Option<OnRestoreFailureForm>,
    pub(super) restore_timeout: Option<MaybeSpan>,
    pub(super) owner: Option<OwnerForm>,
    pub(super) install: Option<InstallForm>,
    pub(super) install_timeout: Option<LongerSpan>,
    pub(super) user: Option<String>,
    pub(super) hide_credentials: Option<Switch>,
    pub(super) stop_timeout: Option<LongerSpan>,
    pub(super) grace: Option<Span>,
    pub(super) stop_signals: Option<Signals>,
    pub(super) signal_scope: Option<SignalScopeForm>,
    pub(super) rewrite: Option<Rewrites>,
    pub(super) expect_exit: Option<ExitCodes>,
    pub(super) checkpoint: Option<MaybeSpan>,
    pub(super) before_checkpoint: Option<Command>,
    pub(super) after_checkpoint: Option<Command>,
    pub(super) on_deadline: Option<OnDeadlineForm>,
    pub(super) together: Option<Patterns>,
    pub(super) live_tree: Option<LiveTreeForm>,
    pub(super) keep_last: Option<Count>,
    pub(super) keep_within: Option<Span>,
    pub(super) keep_daily: Option<Count>,
    pub(super) summary: Option<String>,
    pub(super) log: Option<LogLevelForm>,
    pub(super) log_format: Option<LogFormatForm>,
}

/// `S3_*`, and the names AWS has for the same.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct S3 {
    pub(super) workspace_bucket: Option<String>,
    pub(super) workspace_prefix: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) access_key: Option<String>,
    pub(super) secret_key: Option<String>,
    pub(super) region: Option<String>,
}

/// `WORKSPACE_*`.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct Workspace {
    pub(super) user: Option<String>,
    pub(super) name: Option<String>,
    pub(super) base_path: Option<String>,
    pub(super) size_warning_mb: Option<Mebibytes>,
}
