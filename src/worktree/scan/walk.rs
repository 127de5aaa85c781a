//! The walk: one stat a file, by handles of their directories, through the rules and the index.

use std::{
    collections::HashSet,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::MetadataExt,
        },
    },
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag, readlinkat},
    sys::stat::{Mode, fstatat},
};

use super::{Directory, Index, Scan, ScanOptions, Stat, WorktreeError, count::ToCount, queue::Queue, row_of};
use crate::{
    rows::{Hash, Kind, RelPath, Row},
    worktree::{
        index::Group,
        rules::{Decision, InputNames, Inputs, Scope, read_inputs},
    },
};

/// A file to be hashed, and the digest of the rules of its directory.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: RelPath,
    pub(super) rules: Option<[u8; 16]>,
}

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) scan: Scan,
    pub(super) jobs: Vec<Job>,
    /// Rows that need no reading; the index has the files among them.
    pub(super) proven: Vec<(RelPath, Row)>,
    /// Ignored directories below which something may be stored.
    pub(super) leading: Vec<(RelPath, Row)>,
    pub(super) to_count: ToCount,
    /// Proven files with further names.
    pub(super) linked: Vec<(RelPath, (u64, u64))>,
}

/// A directory still to be walked: how it was decided, in which scope.
struct Pending {
    path: RelPath,
    above: Scope,
    decision: Decision,
}

/// What all threads of a walk share.
struct Ground<'a> {
    dir: &'a Directory,
    index: &'a Index,
    options: &'a ScanOptions,
    mounts: HashSet<Vec<u8>>,
    state_dir: Option<(u64, u64)>,
}

/// One thread of a walk.
struct Walk<'a> {
    ground: &'a Ground<'a>,
    found: Found,
    pending: Vec<Pending>,
}

/// Walks the whole directory.
pub(super) fn walk(dir: &Directory, index: &Index, options: &ScanOptions) -> Result<Found, WorktreeError> {
    let state_dir = fs::symlink_metadata(&options.state_dir).ok().map(|meta| (meta.dev(), meta.ino()));
    let ground = Ground { dir, index, options, mounts: mounts_below(dir), state_dir };
    let new_walk = || Walk { ground: &ground, found: Found::default(), pending: Vec::new() };
    let mut top = new_walk();
    let fd = dir.open_top().map_err(|error| WorktreeError::io("list", &dir.path().display(), error))?;
    if let Some(error) = top.directory(None, fd, None)? {
        return Err(WorktreeError::io("list", &dir.path().display(), error));
    }
    let queue = Queue::new(std::mem::take(&mut top.pending));
    let work = |mut walk: Walk<'_>| {
        while let Some(next) = queue.take() {
            walk.enter(&next.work)?;
            queue.add(&mut walk.pending);
        }
        Ok(walk.found)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..options.threads)
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, || work(new_walk())).ok())
            .collect();
        let mut found = work(top)?;
        for other in others {
            found.take_in(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(found)
    })
}

impl Found {
    /// Adds what another thread found.
    fn take_in(&mut self, mut other: Self) {
        self.jobs.append(&mut other.jobs);
        self.proven.append(&mut other.proven);
        self.leading.append(&mut other.leading);
        self.linked.append(&mut other.linked);
        self.to_count.take_in(other.to_count);
        self.scan.take_in(other.scan);
    }
}

impl Walk<'_> {
    fn enter(&mut self, next: &Pending) -> Result<(), WorktreeError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
        match self.ground.dir.open_at(next.path.as_bytes(), flags, Mode::empty()) {
            Ok(fd) => {
                if let Some(error) = self.directory(Some(&next.path), fd, Some(next))? {
                    self.unreadable(next.path.clone(), error);
                }
            }
            // It went away, or something else has its name: nothing is known of what was in it.
            Err(Errno::ENOENT) => {}
            Err(Errno::ENOTDIR | Errno::ELOOP) => self.found.scan.changing.push(next.path.clone()),
            Err(Errno::EXDEV) => self.found.scan.mounts.push(next.path.clone()),
            Err(error) => self.unreadable(next.path.clone(), error),
        }
        Ok(())
    }

    fn unreadable(&mut self, path: RelPath, error: Errno) {
        self.found.scan.unreadable.push((path, error.desc().to_owned()));
    }

    /// Lists one directory and takes in its entries; says what kept it from seeing all of them.
    fn directory(
        &mut self,
        path: Option<&RelPath>,
        fd: OwnedFd,
        pending: Option<&Pending>,
    ) -> Result<Option<Errno>, WorktreeError> {
        self.ground.options.check()?;
        let mut listing = match Dir::from_fd(fd) {
            Ok(listing) => listing,
            Err(error) => return Ok(Some(error)),
        };
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut inputs = InputNames::default();
        let mut trouble = None;
        let mut has_our_name = false;
        for entry in listing.iter() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            match name {
                b"." | b".." => {}
                // The rules ignore a directory of that name; no rule speaks of a file.
                b".stopover" if matches!(entry.file_type(), None | Some(Type::Directory)) => has_our_name = true,
                _ => {
                    inputs.see(name);
                    names.push(name.into());
                }
            }
        }
        names.sort_unstable();
        let mut prefix = path.map_or(Vec::new(), |path| path.as_bytes().to_vec());
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        if has_our_name && let Some(path) = path {
            let warning = format!("{path}/.stopover is not stored: that name is stopover's own at every level");
            self.found.scan.warnings.push(warning);
        }
        let (scope, mut complaints) = self.scope(&listing, &prefix, inputs, pending);
        self.found.scan.warnings.append(&mut complaints);
        let group = self.ground.index.group(path.map_or(b"", RelPath::as_bytes));
        // The same rules as when the index was written: what it has is stored, without asking them.
        let known = group.filter(|group| group.rules.is_some() && group.rules == scope.digest());
        let mut kept = Group::new(scope.digest());
        for (number, name) in names.iter().enumerate() {
            if number % 64 == 63 {
                self.ground.options.check()?;
            }
            prefix.extend_from_slice(name);
            match RelPath::new(&prefix[..]) {
                Ok(entry) => self.entry(&listing, entry, &scope, group, known, &mut kept),
                Err(reason) => {
                    let shown = String::from_utf8_lossy(&prefix).into_owned();
                    self.found.scan.refused.push((shown, reason.to_string()));
                }
            }
            prefix.truncate(prefix.len() - name.len());
        }
        self.found.scan.index.put_group(path.map_or(b"", RelPath::as_bytes), kept);
        Ok(trouble)
    }

    fn scope(
        &mut self,
        listing: &Dir,
        prefix: &[u8],
        names: InputNames,
        pending: Option<&Pending>,
    ) -> (Scope, Vec<String>) {
        let warnings = &mut self.found.scan.warnings;
        match pending {
            None => {
                let inputs = read_inputs(listing.as_fd(), prefix, names, warnings);
                Scope::outside(&self.ground.options.rules).enter_top(&inputs)
            }
            Some(Pending { path, above, decision }) => {
                let inputs = if above.reads_ignore_files(decision) {
                    read_inputs(listing.as_fd(), prefix, names, warnings)
                } else {
                    Inputs::default()
                };
                above.enter(path.as_bytes(), decision, &inputs)
            }
        }
    }

    fn entry(
        &mut self,
        listing: &Dir,
        path: RelPath,
        scope: &Scope,
        group: Option<&Group>,
        known: Option<&Group>,
        kept: &mut Group,
    ) {
        let stat = match fstatat(listing, path.name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Stat::from(stat),
            Err(Errno::ENOENT) => return,
            Err(error) => return self.unreadable(path, error),
        };
        let is_dir = stat.kind == Some(Kind::Dir);
        if is_dir && self.ground.state_dir == Some((stat.dev, stat.ino)) {
            return;
        }
        let is_known = stat.kind == Some(Kind::File) && known.is_some_and(|known| known.row(path.name()).is_some());
        let decision = if is_known { Decision::Stored(None) } else { scope.decide(path.as_bytes(), is_dir) };
        if let Decision::Ignored { by, leads, .. } = &decision {
            let leads = *leads && !self.ground.mounts.contains(path.as_bytes());
            self.found.to_count.add(by, &path, &stat, leads);
            if leads {
                self.found.leading.push((path.clone(), row_of(&stat, Kind::Dir, Hash::of(b""))));
                self.pending.push(Pending { path, above: scope.clone(), decision });
            }
            return;
        }
        if self.ground.mounts.contains(path.as_bytes()) {
            self.found.scan.mounts.push(path);
            return;
        }
        let Some(kind) = stat.kind else {
            self.found.scan.special.push(path);
            return;
        };
        self.found.scan.dropped_bits += u64::from(kind != Kind::Symlink && stat.mode & 0o7000 != 0);
        match kind {
            Kind::Dir => {
                let row = row_of(&stat, Kind::Dir, Hash::of(b""));
                self.found.proven.push((path.clone(), row));
                self.pending.push(Pending { path, above: scope.clone(), decision });
            }
            Kind::Symlink => self.symlink(listing, path, &stat),
            Kind::File => {
                let proven = group.and_then(|group| group.row(path.name())).filter(|row| row.proves(&stat));
                let Some(index) = proven.copied() else {
                    self.found.jobs.push(Job { path, rules: scope.digest() });
                    return;
                };
                if stat.nlink > 1 {
                    self.found.linked.push((path.clone(), (stat.dev, stat.ino)));
                }
                let row = row_of(&stat, Kind::File, index.hash);
                kept.insert(path.name(), index);
                self.found.proven.push((path, row));
            }
        }
    }

    fn symlink(&mut self, listing: &Dir, path: RelPath, stat: &Stat) {
        match readlinkat(listing, path.name()) {
            Ok(target) => {
                let target = target.into_vec();
                let mut row = row_of(stat, Kind::Symlink, Hash::of(&target));
                row.size = target.len() as u64;
                row.target = Some(target.into());
                self.found.proven.push((path, row));
            }
            Err(Errno::ENOENT) => {}
            // Something else has the name now.
            Err(Errno::EINVAL) => self.found.scan.changing.push(path),
            Err(error) => self.unreadable(path, error),
        }
    }
}

/// Mount points below `dir`, as paths in it: a bind mount of the same device shows in no stat.
fn mounts_below(dir: &Directory) -> HashSet<Vec<u8>> {
    let text =
        fs::read("/proc/thread-self/mountinfo").or_else(|_| fs::read("/proc/self/mountinfo")).unwrap_or_default();
    let mut top = dir.path().as_os_str().as_bytes().to_vec();
    if !top.ends_with(b"/") {
        top.push(b'/');
    }
    let points = text.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    points
        .filter_map(|point| Some(unescaped(point).strip_prefix(&top[..])?.to_vec()))
        .filter(|path| !path.is_empty())
        .collect()
}

/// Undoes the `\040` of mountinfo.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_odd_names() {
        assert_eq!(unescaped(b"/a\\040b\\134c\\q"), b"/a b\\c\\q");
    }
}
