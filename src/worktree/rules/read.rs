//! Ignore files from the disk: regular files only, never through a link (git refuses that too), of bounded size.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::stat::{Mode, fstatat},
};

use super::scope::{IGNORE_FILES, Inputs, is_vendor_manifest};
use crate::{
    rows::{Kind, RelPath},
    worktree::{Directory, Stat, directory::open_beneath},
};

/// No ignore file that a person wrote is larger.
const MAX_BYTES: u64 = 8 << 20;

/// Which inputs a directory's listing has.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::worktree) struct InputNames {
    files: [bool; 4],
    vendor: bool,
}

impl InputNames {
    /// Takes note of a name.
    pub(in crate::worktree) fn see(&mut self, name: &[u8]) {
        if let Some(kind) = IGNORE_FILES.iter().position(|known| *known == name) {
            self.files[kind] = true;
        }
        self.vendor |= is_vendor_manifest(name);
    }
}

/// Reads what the listing of the open directory `at` (whose path, with a closing slash, is `prefix`) has; complaints
/// go to `warnings`.
pub(in crate::worktree) fn read_inputs(
    at: BorrowedFd<'_>,
    prefix: &[u8],
    names: InputNames,
    warnings: &mut Vec<String>,
) -> Inputs {
    let mut inputs = Inputs { vendor: names.vendor, ..Inputs::default() };
    for (kind, name) in IGNORE_FILES.iter().enumerate().filter(|(kind, _)| names.files[*kind]) {
        match read_file(at, name) {
            Ok(content) => inputs.files[kind] = content,
            Err(reason) => {
                let path = [prefix, name].concat();
                warnings.push(format!("{} is not read: {reason}", String::from_utf8_lossy(&path)));
            }
        }
    }
    inputs
}

fn read_file(at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match open_beneath(at, name, flags, Mode::empty(), false) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err("it is a symbolic link".to_owned()),
        Err(error) => return Err(error.desc().to_owned()),
    };
    let stat = nix::sys::stat::fstat(&file).map(Stat::from).map_err(|error| error.desc().to_owned())?;
    // A directory of that name says nothing.
    if stat.kind == Some(Kind::Dir) {
        return Ok(None);
    }
    if stat.kind != Some(Kind::File) {
        return Err("it is no regular file".to_owned());
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.len() as u64 > MAX_BYTES {
        return Err("it is larger than 8 MiB".to_owned());
    }
    Ok(Some(content))
}

/// Reads what there is in one directory of `dir`; the top for `None`.
pub(super) fn inputs_of(dir: &Directory, path: Option<&RelPath>) -> Inputs {
    let opened = match path {
        None => dir.open_top(),
        Some(path) => dir.open_at(path.as_bytes(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()),
    };
    let Ok(at) = opened else { return Inputs::default() };
    let mut names = InputNames { files: [true; 4], vendor: false };
    for name in super::builtin::VENDOR_MANIFESTS {
        names.vendor |= fstatat(at.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
    }
    read_inputs(at.as_fd(), b"", names, &mut Vec::new())
}
