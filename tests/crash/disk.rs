//! A directory as it was, brought back in place: it stays the same directory, with its own inode.

use std::{
    fs::{self, File, FileTimes, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What lay in a directory.
pub struct Disk(Vec<(PathBuf, Entry)>);

enum Entry {
    Dir(u32),
    File(u32, SystemTime, Vec<u8>),
    Link(PathBuf),
}

impl Disk {
    pub fn of(directory: &Path) -> Self {
        let mut entries = Vec::new();
        let mut open = vec![directory.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let mode = meta.permissions().mode() & 0o7777;
                let entry = match meta.file_type() {
                    kind if kind.is_dir() => {
                        open.push(path.clone());
                        Entry::Dir(mode)
                    }
                    kind if kind.is_symlink() => Entry::Link(fs::read_link(&path).unwrap()),
                    kind if kind.is_file() => Entry::File(mode, meta.modified().unwrap(), fs::read(&path).unwrap()),
                    _ => continue,
                };
                entries.push((path, entry));
            }
        }
        Self(entries)
    }

    /// Brings back what lay in `directory`, which may be one below the one that was noted.
    pub fn bring_back(&self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, entry) in self.0.iter().filter(|(path, _)| path.starts_with(directory) && path != directory) {
            match entry {
                Entry::Dir(_) => fs::create_dir(path).unwrap(),
                Entry::File(mode, modified, bytes) => {
                    fs::write(path, bytes).unwrap();
                    let file = File::options().write(true).open(path).unwrap();
                    file.set_times(FileTimes::new().set_modified(*modified)).unwrap();
                    fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
                }
                Entry::Link(target) => symlink(target, path).unwrap(),
            }
        }
        for (path, entry) in self.0.iter().filter(|(path, _)| path.starts_with(directory) && path != directory) {
            if let Entry::Dir(mode) = entry {
                fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}
