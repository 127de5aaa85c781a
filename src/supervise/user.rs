//! `--user NAME|UID[:GROUP|:GID]`: whom install and app run as. Read from the image's own /etc/passwd and /etc/group,
//! by hand: a static libc has no other sources.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt};

use thiserror::Error;

use crate::sys::{process, spawn::Identity};

/// Whom the app runs as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct User {
    pub(super) identity: Identity,
    pub(super) home: OsString,
    /// The name, where there is one, for USER and LOGNAME.
    pub(super) name: Option<OsString>,
}

/// Why `--user` cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum UserError {
    #[error("--user needs {0}: start the container as root with it (docker run --cap-add), or leave --user out")]
    Capability(String),
    #[error("--user {0}: no such user in /etc/passwd; name a user of the image, or give the number")]
    NoUser(String),
    #[error("--user {0}: no such group in /etc/group; name a group of the image, or give the number")]
    NoGroup(String),
}

impl User {
    /// Looks `text` up in the image, and checks that we may become it.
    pub(super) fn find(text: &str) -> Result<Self, UserError> {
        let capabilities = process::capabilities().unwrap_or(0);
        let missing: Vec<&str> = [(process::CAP_SETUID, "CAP_SETUID"), (process::CAP_SETGID, "CAP_SETGID")]
            .into_iter()
            .filter(|(number, _)| capabilities & (1 << number) == 0)
            .map(|(_, name)| name)
            .collect();
        if !missing.is_empty() {
            return Err(UserError::Capability(missing.join(" and ")));
        }
        let read = |path| fs::read(path).unwrap_or_default();
        let user = Self::parse(text, &read("/etc/passwd"), &read("/etc/group"))?;
        // Without it not even a TERM would reach the app.
        if capabilities & (1 << process::CAP_KILL) == 0 && user.identity.uid != process::effective_user() {
            return Err(UserError::Capability("CAP_KILL".to_owned()));
        }
        Ok(user)
    }

    fn parse(text: &str, passwd: &[u8], groups: &[u8]) -> Result<Self, UserError> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        // A name of digits is a name first, as in chown.
        let entry = lines(passwd).find(|fields| field(fields, 0) == user.as_bytes()).or_else(|| {
            lines(passwd).find(|fields| number(fields, 2).is_some() && number(fields, 2) == user.parse().ok())
        });
        let uid = match &entry {
            Some(fields) => number(fields, 2),
            None => user.parse().ok(),
        };
        let uid = uid.ok_or_else(|| UserError::NoUser(text.to_owned()))?;
        let gid = match group {
            Some(group) => lines(groups)
                .find(|fields| field(fields, 0) == group.as_bytes())
                .and_then(|fields| number(&fields, 2))
                .or_else(|| group.parse().ok())
                .ok_or_else(|| UserError::NoGroup(text.to_owned()))?,
            // A number that nobody knows gets the group of the same number, never root's.
            None => entry.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(uid),
        };
        let name = entry.as_ref().map(|fields| field(fields, 0).to_vec());
        let mut all = vec![gid];
        // A group that was named is the only one, as in Docker; else all that list the user.
        if let (Some(name), None) = (&name, group) {
            for fields in lines(groups) {
                let member = field(&fields, 3).split(|byte| *byte == b',').any(|member| member == name.as_slice());
                if let (true, Some(gid)) = (member, number(&fields, 2))
                    && !all.contains(&gid)
                {
                    all.push(gid);
                }
            }
        }
        let home = entry.as_ref().map(|fields| field(fields, 5).to_vec()).filter(|home| !home.is_empty());
        Ok(Self {
            identity: Identity { uid, gid, groups: all },
            home: OsString::from_vec(home.unwrap_or_else(|| b"/".to_vec())),
            name: name.map(OsString::from_vec),
        })
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split(|byte| *byte == b':').collect())
}

fn field<'a>(fields: &[&'a [u8]], at: usize) -> &'a [u8] {
    fields.get(at).copied().unwrap_or_default()
}

fn number(fields: &[&[u8]], at: usize) -> Option<u32> {
    std::str::from_utf8(field(fields, at)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/bash\nbare:x:7:8\n";
    const GROUPS: &[u8] = b"root:x:0:\nnode:x:1000:\ndocker:x:999:node,other\naudio:x:29:node\n";

    #[test]
    fn names_numbers_and_groups_are_found() {
        for (text, uid, gid, groups, home) in [
            ("node", 1000, 1000, vec![1000, 999, 29], "/home/node"),
            ("1000", 1000, 1000, vec![1000, 999, 29], "/home/node"),
            ("node:docker", 1000, 999, vec![999], "/home/node"),
            ("node:5", 1000, 5, vec![5], "/home/node"),
            ("4242", 4242, 4242, vec![4242], "/"),
            ("4242:0", 4242, 0, vec![0], "/"),
            ("bare", 7, 8, vec![8], "/"),
        ] {
            let user = User::parse(text, PASSWD, GROUPS).expect(text);
            assert_eq!(user.identity, Identity { uid, gid, groups }, "{text}");
            assert_eq!(user.home, home, "{text}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        assert_eq!(User::parse("nobody2", PASSWD, GROUPS), Err(UserError::NoUser("nobody2".into())));
        assert_eq!(User::parse("node:x", PASSWD, GROUPS), Err(UserError::NoGroup("node:x".into())));
        assert_eq!(User::parse("", PASSWD, GROUPS), Err(UserError::NoUser(String::new())));
        assert_eq!(User::parse("-1", PASSWD, GROUPS), Err(UserError::NoUser("-1".into())));
    }
}
