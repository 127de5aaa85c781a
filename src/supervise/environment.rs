//! Whose environment holds what: the app's is the inherited one, a sync child's has no keys in it.

use std::{
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use super::user::User;
use crate::config::{Config, SECRET_VARIABLES};

/// What leads to keys: ECS, EKS and web identity. A sync child needs it, install and app may be denied it.
const WAYS: [&str; 7] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
];

/// Where a name is looked for when PATH is not set.
const PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// The inherited environment, read once.
pub(super) struct Environment {
    all: Vec<(OsString, OsString)>,
}

impl Environment {
    pub(super) fn inherited() -> Self {
        Self { all: std::env::vars_os().collect() }
    }

    /// For install, app and hooks. `assigned` is what the install says the app needs, `PATH` say.
    pub(super) fn for_the_app(
        &self,
        hide: bool,
        user: Option<&User>,
        assigned: &[(OsString, OsString)],
    ) -> Vec<CString> {
        let mut all = self.all.clone();
        if hide {
            all.retain(|(name, _)| !is_in(&SECRET_VARIABLES, name) && !is_in(&WAYS, name));
        }
        if let Some(user) = user {
            set(&mut all, "HOME", user.home.clone());
            if let Some(name) = &user.name {
                for variable in ["USER", "LOGNAME"] {
                    if all.iter().any(|(known, _)| known == variable) {
                        set(&mut all, variable, name.clone());
                    }
                }
            }
        }
        for (name, value) in assigned {
            set(&mut all, name, value.clone());
        }
        strings(&all)
    }

    /// For a sync child: without keys.
    pub(super) fn for_a_sync_child(&self) -> Vec<CString> {
        let all: Vec<_> = self.all.iter().filter(|(name, _)| !is_in(&SECRET_VARIABLES, name)).cloned().collect();
        strings(&all)
    }

    /// The keys, as `NAME=VALUE NUL`, those that came by flags too; empty where there are none.
    pub(super) fn keys(&self, config: &Config) -> Vec<u8> {
        config.credentials_for_children(&self.all)
    }
}

fn is_in(list: &[&str], name: &OsStr) -> bool {
    list.iter().any(|known| name == *known)
}

fn set(all: &mut Vec<(OsString, OsString)>, name: impl AsRef<OsStr>, value: OsString) {
    let name = name.as_ref();
    match all.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => all.push((name.into(), value)),
    }
}

/// `NAME=VALUE` strings. None holds a NUL: they came from strings that ended with one.
fn strings(all: &[(OsString, OsString)]) -> Vec<CString> {
    all.iter()
        .filter_map(|(name, value)| {
            let mut text = name.clone().into_vec();
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            CString::new(text).ok()
        })
        .collect()
}

/// Words as exec takes them.
pub(super) fn words(words: &[OsString]) -> Vec<CString> {
    words.iter().filter_map(|word| CString::new(word.as_bytes()).ok()).collect()
}

/// The files that `name` may mean: itself where it has a slash, else one in each directory of the PATH that the new
/// program will have.
pub(super) fn programs(name: &OsStr, environment: &[CString]) -> Vec<CString> {
    let name = name.as_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return CString::new(name).into_iter().collect();
    }
    let path = environment.iter().find_map(|text| text.to_bytes().strip_prefix(b"PATH=")).unwrap_or(PATH.as_bytes());
    path.split(|byte| *byte == b':')
        .filter_map(|directory| {
            let mut file = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
            file.push(b'/');
            file.extend_from_slice(name);
            CString::new(file).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment { all: pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect() }
    }

    fn texts(strings: &[CString]) -> Vec<&str> {
        strings.iter().map(|text| text.to_str().expect("utf-8")).collect()
    }

    #[test]
    fn keys_are_in_no_sync_childs_environment_and_hidden_from_the_app_when_asked() {
        let all =
            environment(&[("A", "1"), ("S3_SECRET_KEY", "s"), ("AWS_ROLE_ARN", "r"), ("AWS_SESSION_TOKEN", "t=")]);
        assert_eq!(texts(&all.for_a_sync_child()), ["A=1", "AWS_ROLE_ARN=r"]);
        assert_eq!(texts(&all.for_the_app(true, None, &[])), ["A=1"]);
        assert_eq!(all.for_the_app(false, None, &[]).len(), 4);
    }

    #[test]
    fn what_the_install_assigns_counts_for_the_app_and_its_lookup() {
        let all = environment(&[("PATH", "/usr/bin"), ("A", "1")]);
        let assigned = [("PATH".into(), "/w/.venv/bin:/usr/bin".into()), ("B".into(), "2".into())];
        let found = all.for_the_app(false, None, &assigned);
        assert_eq!(texts(&found), ["PATH=/w/.venv/bin:/usr/bin", "A=1", "B=2"]);
        assert_eq!(texts(&programs(OsStr::new("x"), &found)), ["/w/.venv/bin/x", "/usr/bin/x"]);
    }

    #[test]
    fn a_name_with_a_slash_is_not_looked_for() {
        assert_eq!(texts(&programs(OsStr::new("./x"), &[])), ["./x"]);
        assert_eq!(texts(&programs(OsStr::new("x"), &[])), ["/usr/local/bin/x", "/bin/x", "/usr/bin/x"]);
        assert_eq!(texts(&programs(OsStr::new("x"), &[c"PATH=:/a".to_owned()])), ["./x", "/a/x"]);
        assert!(programs(OsStr::new(""), &[]).is_empty());
    }
}
