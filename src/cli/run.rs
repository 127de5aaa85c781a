//! `stopover run [-- CMD ARG…]`: the whole life.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use crate::config::{
    Access, Config, Expect, GitPolicy, Install, LiveTree, LogFormat, LogLevel, Mode, OnDeadline, OnRestoreFailure,
    Retention, SignalScope,
};

/// A plain init, until the command line is read in full.
pub(super) fn run(words: Vec<OsString>) -> ExitCode {
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let options = words[..at].to_vec();
    let command = words.get(at + 1..).unwrap_or_default().to_vec();
    let mut config = plain();
    for pair in options.chunks(2) {
        let value = pair.get(1).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        match pair[0].to_str() {
            Some("--signal-scope") if value == "group" => config.signal_scope = SignalScope::Group,
            Some("--user") => config.user = Some(value),
            Some("--expect-exit") => config.expect_exit.extend(value.parse::<u8>()),
            Some("--rewrite") => {
                if let Some((from, to)) = value.split_once(':') {
                    let number = |text: &str| text.parse().unwrap_or(0);
                    config.rewrite.push(crate::config::Rewrite { from: number(from), to: number(to) });
                }
            }
            _ => {}
        }
    }
    ExitCode::from(crate::supervise::run(&config, command, options))
}

fn plain() -> Config {
    Config {
        workspace: None,
        plain_init_asked_for: true,
        store: None,
        access: Access::default(),
        dir: PathBuf::from("/workspace"),
        dir_given: false,
        state: PathBuf::from("/workspace/.stopover"),
        ignore: Vec::new(),
        size_warning_mb: 1000,
        mode: Mode::ReadWrite,
        expect: Expect::Any,
        on_restore_failure: OnRestoreFailure::Fail,
        install: Install::Auto,
        install_timeout: Duration::from_secs(900),
        user: None,
        owner: None,
        hide_credentials: false,
        stop_timeout: Duration::from_secs(10),
        grace: Duration::from_secs(3),
        stop_signals: BTreeSet::from([15]),
        restore_timeout: None,
        checkpoint: Some(Duration::from_secs(300)),
        before_checkpoint: None,
        after_checkpoint: None,
        on_deadline: OnDeadline::Partial,
        together: Vec::new(),
        live_tree: LiveTree::On,
        git: GitPolicy::Exclude,
        keep: Retention { last: 288, within: Duration::from_secs(86_400), daily: 14 },
        signal_scope: SignalScope::Child,
        rewrite: Vec::new(),
        expect_exit: BTreeSet::new(),
        summary: None,
        log: LogLevel::Info,
        log_format: LogFormat::Text,
        call: crate::config::Call::default(),
    }
}
