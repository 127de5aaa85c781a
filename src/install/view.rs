//! What detection may see: names and bounded contents below one directory, read only.

use std::{collections::BTreeMap, io};

/// What a path is, as far as detection cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Nothing, or nothing that can be used: a broken link, one that leads out of the directory, a socket.
    Absent,
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// The beginning of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// At most as many bytes as were asked for.
    pub bytes: Vec<u8>,
    /// Whether that is all of it.
    pub whole: bool,
}

/// A directory, seen from its top. Paths are relative, with `/`; links are followed only as long as they stay inside.
pub trait View {
    /// What `path` is.
    ///
    /// # Errors
    /// Where it cannot be looked at, which is not the same as absent.
    fn presence(&self, path: &str) -> io::Result<Presence>;

    /// The first `limit` bytes of a regular file; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Content>>;

    /// The names at the top, sorted; names that are not UTF-8 are left out, no package manager has one.
    ///
    /// # Errors
    /// Where they cannot be listed.
    fn names(&self) -> io::Result<Vec<String>>;
}

/// A directory in memory: for tables of cases.
#[derive(Clone, Default, Debug)]
pub struct Memory(BTreeMap<String, Vec<u8>>);

impl Memory {
    /// Files with their contents; directories are there because files are in them.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// The same with one file more.
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.to_owned(), text.as_bytes().to_vec());
        self
    }
}

impl View for Memory {
    fn presence(&self, path: &str) -> io::Result<Presence> {
        let inside = format!("{path}/");
        Ok(if self.0.contains_key(path) {
            Presence::File
        } else if self.0.range(inside.clone()..).next().is_some_and(|(other, _)| other.starts_with(&inside)) {
            Presence::Directory
        } else {
            Presence::Absent
        })
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Content>> {
        Ok(self
            .0
            .get(path)
            .map(|bytes| Content { bytes: bytes[..bytes.len().min(limit)].to_vec(), whole: bytes.len() <= limit }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names: Vec<_> = self.0.keys().filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }
}
