//! From sources to one validated [`Config`]: defaults, and the rules that span several variables.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Access, Call, Config, ConfigError, Credentials, Endpoint, Expect, GitPolicy, Install, LiveTree, LogFormat,
    LogLevel, Mode, OnDeadline, OnRestoreFailure, Retention, SignalScope, Sources,
    families::{S3, Stopover, Workspace},
    names::{Named, Need, resolve},
    sources::{Values, misspelt},
};

/// A configuration, and what is odd about where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Names that are nearly known ones, a sentence each.
    pub warnings: Vec<String>,
}

/// Merges and checks what is set.
///
/// # Errors
/// The first thing that is wrong: exit code 2.
pub fn load(sources: &Sources, need: &Need, call: Call) -> Result<Loaded, ConfigError> {
    let values = Values::collect(sources)?;
    let stopover: Stopover = values.family("STOPOVER_")?;
    let s3: S3 = values.family("S3_")?;
    let parts: Workspace = values.family("WORKSPACE_")?;
    let named = resolve(&values, need)?;

    let dir = directory(&values, &stopover, &parts, &named, &sources.working_directory)?;
    let absolute = |path: &str| sources.working_directory.join(path);
    let state = stopover.state.as_deref().map_or_else(|| dir.join(".stopover"), absolute);
    let retention = Retention {
        last: stopover.keep_last.map_or(288, |form| form.0),
        within: stopover.keep_within.map_or(Duration::from_secs(24 * 3600), |form| form.0),
        daily: stopover.keep_daily.map_or(14, |form| form.0),
    };
    let config = Config {
        workspace: named.workspace,
        plain_init_asked_for: named.plain,
        store: named.store,
        access: Access {
            endpoint: endpoint(&values)?,
            credentials: credentials(&values, &s3)?,
            concurrency: stopover.concurrency.map(|form| form.0),
        },
        dir_given: stopover.dir.is_some() || parts.base_path.is_some(),
        state,
        dir,
        ignore: stopover.ignore.map_or_else(Vec::new, |form| form.0),
        size_warning_mb: parts.size_warning_mb.map_or(1000, |form| form.0),
        mode: stopover.mode.map_or(Mode::ReadWrite, |form| form.0),
        expect: stopover.expect.map_or(Expect::Any, |form| form.0),
        on_restore_failure: stopover.on_restore_failure.map_or(OnRestoreFailure::Fail, |form| form.0),
        install: stopover.install.map_or(Install::Auto, |form| form.0),
        install_timeout: stopover.install_timeout.map_or(Duration::from_secs(15 * 60), |form| form.0),
        user: stopover.user.as_deref().map(|user| checked_user(&values, user)).transpose()?,
        owner: stopover.owner.map(|form| form.0),
        hide_credentials: stopover.hide_credentials.is_some_and(|form| form.0),
        stop_timeout: stopover.stop_timeout.map_or(Duration::from_secs(10), |form| form.0),
        grace: stopover.grace.map_or(Duration::from_secs(3), |form| form.0),
        stop_signals: stopover.stop_signals.map_or_else(|| BTreeSet::from([libc::SIGTERM]), |form| form.0),
        restore_timeout: stopover.restore_timeout.and_then(|form| form.0),
        checkpoint: stopover.checkpoint.map_or(Some(Duration::from_secs(5 * 60)), |form| form.0),
        before_checkpoint: stopover.before_checkpoint.map(|form| form.0),
        after_checkpoint: stopover.after_checkpoint.map(|form| form.0),
        on_deadline: stopover.on_deadline.map_or(OnDeadline::Partial, |form| form.0),
        together: stopover.together.map_or_else(Vec::new, |form| form.0),
        live_tree: stopover.live_tree.map_or(LiveTree::On, |form| form.0),
        git: stopover.git.map_or(GitPolicy::Exclude, |form| form.0),
        keep: retention,
        signal_scope: stopover.signal_scope.map_or(SignalScope::Child, |form| form.0),
        rewrite: stopover.rewrite.map_or_else(Vec::new, |form| form.0),
        expect_exit: stopover.expect_exit.map_or_else(BTreeSet::new, |form| form.0),
        summary: stopover.summary.as_deref().map(absolute),
        log: stopover.log.map_or(LogLevel::Info, |form| form.0),
        log_format: stopover.log_format.map_or(LogFormat::Text, |form| form.0),
        call,
    };
    Ok(Loaded { config, warnings: misspelt(&sources.environment) })
}

fn directory(
    values: &Values,
    stopover: &Stopover,
    parts: &Workspace,
    named: &Named,
    working_directory: &Path,
) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = &stopover.dir {
        return Ok(working_directory.join(dir));
    }
    let Some(base) = &parts.base_path else { return Ok(PathBuf::from("/workspace")) };
    // A workspace named by its URL has its user there.
    let of_store =
        named.store.as_ref().and_then(|store| store.prefix.rsplit('/').next()).filter(|user| !user.is_empty());
    match parts.user.as_deref().or(of_store) {
        // One segment, whatever the command needs of the workspace: the user must not lead out of the base.
        Some("." | "..") => Err(values.wrong("WORKSPACE_USER", "it is one segment of a path")),
        Some(user) if user.contains('/') => Err(values.wrong("WORKSPACE_USER", "it is one segment of a path")),
        Some(user) => Ok(working_directory.join(base).join(user)),
        None if named.workspace.is_none() && named.plain => Ok(PathBuf::from("/workspace")),
        None => Err(ConfigError::Missing {
            name: "WORKSPACE_USER",
            remedy: "the directory is WORKSPACE_BASE_PATH/WORKSPACE_USER; name the user, or set STOPOVER_DIR"
                .to_owned(),
        }),
    }
}

fn endpoint(values: &Values) -> Result<Endpoint, ConfigError> {
    let set = |names: &[&'static str]| {
        names.iter().find_map(|name| values.get(name).map(|value| (*name, value.trim().to_owned())))
    };
    let url = match set(&["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]) {
        Some((name, url)) => Some(checked_endpoint(values, name, &url)?),
        None => None,
    };
    let off_aws = url.as_deref().is_some_and(|url| !is_aws(url));
    let region = set(&["S3_REGION", "AWS_REGION"]).map(|(_, region)| region);
    Ok(Endpoint { url, region: region.or_else(|| off_aws.then(|| "us-east-1".to_owned())) })
}

fn checked_endpoint(values: &Values, name: &'static str, url: &str) -> Result<String, ConfigError> {
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://")) else {
        return Err(ConfigError::Scheme(values.source_of(name)));
    };
    let host = rest.split('/').next().unwrap_or_default();
    // What stands before an @ may be a secret: the value is not repeated.
    if host.contains('@') {
        return Err(ConfigError::Value {
            source_name: values.source_of(name),
            value: "set".to_owned(),
            form: "it has a user in it; keys go into S3_ACCESS_KEY and S3_SECRET_KEY".to_owned(),
        });
    }
    let clean = !host.is_empty()
        && !host.starts_with(':')
        && !rest.contains(['?', '#'])
        && !rest.contains(|character: char| character.is_whitespace() || character.is_control());
    if clean {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err(values.wrong(name, "it is a URL such as http://minio:9000"))
    }
}

fn is_aws(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    ["amazonaws.com", "amazonaws.com.cn", "api.aws"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

fn credentials(values: &Values, s3: &S3) -> Result<Option<Credentials>, ConfigError> {
    let missing = |name, other| {
        Err(ConfigError::Missing { name, remedy: format!("{other} is; set both, or neither for the AWS chain") })
    };
    match (&s3.access_key, &s3.secret_key) {
        (Some(access), Some(secret)) => Ok(Some(Credentials {
            access_key: access.trim().to_owned(),
            secret_key: secret.trim().to_owned(),
            session_token: None,
        })),
        (Some(_), None) => missing("S3_SECRET_KEY", "S3_ACCESS_KEY"),
        (None, Some(_)) => missing("S3_ACCESS_KEY", "S3_SECRET_KEY"),
        (None, None) => {
            let handed = |name| values.handed_over(name).map(str::to_owned);
            let keys = handed("AWS_ACCESS_KEY_ID").zip(handed("AWS_SECRET_ACCESS_KEY"));
            Ok(keys.map(|(access_key, secret_key)| Credentials {
                access_key,
                secret_key,
                session_token: handed("AWS_SESSION_TOKEN"),
            }))
        }
    }
}

/// `NAME|UID[:GROUP|:GID]`; whether they exist is seen when they are needed.
fn checked_user(values: &Values, user: &str) -> Result<String, ConfigError> {
    let user = user.trim();
    let fine =
        |part: &str| !part.is_empty() && !part.contains(|character: char| character == ':' || character.is_control());
    let good = match user.split_once(':') {
        Some((name, group)) => fine(name) && fine(group),
        None => fine(user),
    };
    if good { Ok(user.to_owned()) } else { Err(values.wrong("STOPOVER_USER", "it is NAME or UID, and :GROUP or :GID")) }
}

impl Config {
    /// What PID 1 writes into a sync child's credentials pipe: `NAME=VALUE NUL` for each secret that is set, whether by
    /// variable or by flag. `environment` is PID 1's own, read once.
    #[must_use]
    pub fn credentials_for_children(&self, environment: &[(std::ffi::OsString, std::ffi::OsString)]) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;

        let mut bytes = Vec::new();
        let mut push = |name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value);
            bytes.push(0);
        };
        if let Some(keys) = &self.access.credentials {
            push("S3_ACCESS_KEY", keys.access_key.as_bytes());
            push("S3_SECRET_KEY", keys.secret_key.as_bytes());
        }
        for name in super::SECRET_VARIABLES.iter().filter(|name| name.starts_with("AWS_")) {
            if let Some((_, value)) = environment.iter().find(|(known, _)| known == name) {
                push(name, value.as_bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
