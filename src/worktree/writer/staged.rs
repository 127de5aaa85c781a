//! A file on its way.

use std::{
    fs::File,
    io::Write,
    os::{fd::AsFd, unix::fs::FileExt},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{Mode, fstat, fstatat},
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{Expected, Stat, Writer, meta};
use crate::{
    rows::{RelPath, Row},
    worktree::{IndexRow, WriteError},
};

/// From this size on the free space is asked for before the first byte.
const CHECKED_BYTES: u64 = 1 << 20;

/// A file on its way; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    writer: Writer,
    path: RelPath,
    file: File,
    /// Its temporary name; none where it was begun under its own.
    temporary: Option<String>,
    finished: bool,
}

impl Writer {
    /// Begins a file; missing parents are made.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin(&self, path: &RelPath, size: u64) -> Result<Staged, WriteError> {
        self.unlocked(path, || self.begin_now(path, size))
    }

    fn begin_now(&self, path: &RelPath, size: u64) -> Result<Staged, WriteError> {
        if size >= CHECKED_BYTES {
            self.check_space(size, 1)?;
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let staged = |file, temporary| Staged {
            writer: self.clone(),
            path: path.clone(),
            file: File::from(file),
            temporary,
            finished: false,
        };
        if self.0.options.fresh {
            let parent = self.parent(path)?;
            match openat(&parent, path.name(), flags, private) {
                Ok(file) => return Ok(staged(file, None)),
                // Something is there: what becomes of it is decided at the end.
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(WriteError::of("create", path, error)),
            }
        }
        let temporary = self.temporary_name();
        let file = openat(&self.0.staging, &temporary[..], flags, private)
            .map_err(|error| WriteError::of("create", path, error))?;
        Ok(staged(file, Some(temporary)))
    }
}

impl Staged {
    /// The path it is for.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// Appends.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|error| WriteError::of_io("write", &self.path, error))
    }

    /// Writes at an offset, from any thread.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        self.file.write_all_at(bytes, offset).map_err(|error| WriteError::of_io("write", &self.path, error))
    }

    /// What was written so far, from the beginning.
    ///
    /// # Errors
    /// As the file system says.
    pub fn reader(&self) -> Result<impl std::io::Read + '_, WriteError> {
        use std::io::Seek;
        let mut file = &self.file;
        file.rewind().map_err(|error| WriteError::of_io("read", &self.path, error))?;
        Ok(file)
    }

    /// Begins anew, as after a download that broke off.
    ///
    /// # Errors
    /// As the file system says.
    pub fn restart(&mut self) -> Result<(), WriteError> {
        use std::io::Seek;
        let again = self.file.set_len(0).and_then(|()| self.file.rewind());
        again.map_err(|error| WriteError::of_io("write", &self.path, error))
    }

    /// Gives the file its owner, mode, mtime and name; `row.hash` is taken on trust, `row.size` is checked. The index
    /// row is `None` where somebody has changed the file since, which is no error: the next scan reads it.
    ///
    /// # Errors
    /// [`WriteError::Moved`] where something else than `expected` is at the path; then nothing has changed.
    pub fn finish(mut self, row: &Row, expected: Expected) -> Result<Option<IndexRow>, WriteError> {
        let path = self.path.clone();
        let failed = |doing: &'static str| {
            let path = path.clone();
            move |error| WriteError::of(doing, &path, error)
        };
        let set =
            meta::set(&self.file, row, row.mode, self.writer.0.options.owner).map_err(failed("set the mode of"))?;
        if set.size != row.size {
            let reason = format!("{} bytes were written instead of {}", set.size, row.size);
            return Err(WriteError::of_io("finish", &self.path, std::io::Error::other(reason)));
        }
        let parent = self.writer.parent(&self.path)?;
        match &self.temporary {
            Some(temporary) => self.writer.rename_into_place(temporary, &parent, &self.path, expected)?,
            None => {
                let there = fstatat(&parent, self.path.name(), AtFlags::AT_SYMLINK_NOFOLLOW).map(Stat::from);
                let is_ours = there.is_ok_and(|there| (there.dev, there.ino) == (set.dev, set.ino));
                if expected != Expected::Absent || !is_ours {
                    return Err(WriteError::Moved { path });
                }
            }
        }
        drop(parent);
        self.finished = true;
        let now = Stat::from(fstat(&self.file).map_err(failed("look at"))?);
        let untouched = now.nlink == 1 && (now.size, now.mtime_ns, now.mode) == (set.size, set.mtime_ns, set.mode);
        Ok(untouched.then(|| IndexRow { restored: true, ..IndexRow::new(&now, row.hash) }))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let Some(temporary) = &self.temporary else {
            // Only if the name is still our file's.
            let (Ok(parent), Ok(ours)) = (self.writer.0.dir.parent(&self.path), fstat(&self.file)) else { return };
            let there = fstatat(&parent, self.path.name(), AtFlags::AT_SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)) {
                let _ = unlinkat(parent.as_fd(), self.path.name(), UnlinkatFlags::NoRemoveDir);
            }
            return;
        };
        let _ = unlinkat(&self.writer.0.staging, &temporary[..], UnlinkatFlags::NoRemoveDir);
    }
}
