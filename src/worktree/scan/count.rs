//! How much is not stored, by rule: nobody should discover by loss that a file was ignored.
//!
//! Looking into `node_modules` costs as much as scanning it, so that is done last, up to a number of entries, and the
//! answer says when it stopped there.

use std::collections::HashMap;

use nix::{
    dir::Dir,
    fcntl::{AtFlags, OFlag},
    sys::stat::{Mode, fstatat},
};

use super::{Directory, IgnoredRule, Scan, ScanOptions, Stat, WorktreeError};
use crate::{
    rows::{Kind, RelPath},
    worktree::rules::Hit,
};

/// What the walk passed by.
#[derive(Debug, Default)]
pub(super) struct ToCount {
    rules: HashMap<(usize, usize), (Hit, IgnoredRule)>,
    directories: Vec<(RelPath, (usize, usize))>,
}

impl ToCount {
    /// Adds what another thread passed by.
    pub(super) fn take_in(&mut self, mut other: Self) {
        self.directories.append(&mut other.directories);
        for (key, (hit, rule)) in other.rules {
            let known =
                self.rules.entry(key).or_insert_with(|| (hit, IgnoredRule { files: 0, bytes: 0, ..rule.clone() }));
            known.1.files += rule.files;
            known.1.bytes += rule.bytes;
        }
    }

    /// An ignored entry; a directory is counted later, unless the walk goes on into it.
    pub(super) fn add(&mut self, by: &Hit, path: &RelPath, stat: &Stat, walked: bool) {
        let (_, rule) = self.rules.entry(by.key()).or_insert_with(|| {
            let rule = IgnoredRule {
                rule: by.rule().to_owned(),
                source: by.source().to_owned(),
                files: 0,
                bytes: 0,
                at_least: false,
            };
            (by.clone(), rule)
        });
        match stat.kind {
            Some(Kind::File | Kind::Symlink) => {
                rule.files += 1;
                rule.bytes += stat.size;
            }
            Some(Kind::Dir) if !walked => self.directories.push((path.clone(), by.key())),
            _ => {}
        }
    }
}

/// Counts what is below the ignored directories and writes the sums down.
pub(super) fn count(
    dir: &Directory,
    mut to_count: ToCount,
    scan: &mut Scan,
    options: &ScanOptions,
) -> Result<(), WorktreeError> {
    let mut left = options.count_ignored;
    let mut stack = std::mem::take(&mut to_count.directories);
    // Whoever walked where: the same ones are counted each time.
    stack.sort_unstable_by(|one, other| other.0.cmp(&one.0));
    while let Some((path, key)) = stack.pop() {
        options.check()?;
        let Some((_, rule)) = to_count.rules.get_mut(&key) else { continue };
        if left == 0 {
            rule.at_least = true;
            continue;
        }
        // What cannot be listed cannot be counted either; a mount is not ours to count.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let Ok(mut listing) = dir.open_at(path.as_bytes(), flags, Mode::empty()).and_then(Dir::from_fd) else {
            rule.at_least = true;
            continue;
        };
        let names: Vec<Vec<u8>> = listing.iter().flatten().map(|entry| entry.file_name().to_bytes().to_vec()).collect();
        for name in names.iter().filter(|name| ![&b"."[..], b".."].contains(&&name[..])) {
            if left == 0 {
                rule.at_least = true;
                break;
            }
            left -= 1;
            let Ok(stat) = fstatat(&listing, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW).map(Stat::from) else { continue };
            match stat.kind {
                Some(Kind::Dir) => match path.join(name) {
                    Ok(below) => stack.push((below, key)),
                    Err(_) => rule.at_least = true,
                },
                Some(Kind::File | Kind::Symlink) => {
                    rule.files += 1;
                    rule.bytes += stat.size;
                }
                None => {}
            }
        }
    }
    scan.ignored = to_count.rules.into_values().map(|(_, rule)| rule).collect();
    Ok(())
}
