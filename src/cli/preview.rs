//! What a workspace will look like to the install, before it is restored: for `run --dry-run`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::failure::Failure;
use crate::{
    config::Config,
    install::{Content, Disk, Presence, View},
    rows::RelPath,
    store::{GetIf, Got, Store},
};

/// Manifests and lockfiles are smaller; what is larger is looked at as a name alone.
const LARGEST: u64 = 4 << 20;
/// So many files at the top are read; there are a few dozen in a project.
const MOST: usize = 200;

/// The live tree over the directory as it is.
pub(super) struct Preview {
    /// Every path of the live tree that a restore takes, with the content of those at the top.
    remote: BTreeMap<String, Option<Vec<u8>>>,
    /// What is there already.
    local: Option<Disk>,
}

impl Preview {
    /// Lists the workspace and reads what lies at its top.
    pub(super) async fn of(config: &Config) -> Result<Self, Failure> {
        let local = Disk::open(&config.dir).ok();
        let Some(workspace) = &config.workspace else { return Ok(Self { remote: BTreeMap::new(), local }) };
        let store = Store::connect(&config.access, &workspace.store.bucket, &workspace.prefix())
            .await
            .map_err(Failure::failed)?;
        let listed = store.list_live().all().await.map_err(Failure::failed)?;
        let top: BTreeSet<_> = listed
            .iter()
            .filter(|object| !object.key.contains('/') && object.size <= LARGEST)
            .take(MOST)
            .map(|object| object.key.clone())
            .collect();
        let mut remote = BTreeMap::new();
        for object in listed {
            let path = object.key.trim_end_matches('/');
            // What a restore refuses is not there for the install either.
            if RelPath::from_text(path).is_err() {
                continue;
            }
            let content = if top.contains(&object.key) { read(&store, &object.key).await? } else { None };
            remote.insert(object.key, content);
        }
        Ok(Self { remote, local })
    }
}

async fn read(store: &Store, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    match store.get(key, GetIf::Always).await.map_err(Failure::failed)? {
        Got::Found(object) => Ok(Some(object.bytes.to_vec())),
        Got::NotModified | Got::Absent | Got::Moved => Ok(None),
    }
}

impl View for Preview {
    fn presence(&self, path: &str) -> io::Result<Presence> {
        let inside = format!("{path}/");
        if self.remote.contains_key(path) {
            return Ok(Presence::File);
        }
        if self.remote.range(inside.clone()..).next().is_some_and(|(key, _)| key.starts_with(&inside)) {
            return Ok(Presence::Directory);
        }
        self.local.as_ref().map_or(Ok(Presence::Absent), |local| local.presence(path))
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Content>> {
        match self.remote.get(path) {
            Some(Some(bytes)) => {
                Ok(Some(Content { bytes: bytes[..bytes.len().min(limit)].to_vec(), whole: bytes.len() <= limit }))
            }
            // It is there, and was not read: its beginning is unknown.
            Some(None) => Ok(Some(Content { bytes: Vec::new(), whole: false })),
            None => self.local.as_ref().map_or(Ok(None), |local| local.read(path, limit)),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names: BTreeSet<String> = match &self.local {
            Some(local) => local.names()?.into_iter().collect(),
            None => BTreeSet::new(),
        };
        names.extend(self.remote.keys().filter_map(|key| key.split('/').next()).map(str::to_owned));
        Ok(names.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Install, install};

    #[test]
    fn the_install_is_planned_for_what_will_be_there() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("requirements.txt"), "flask\n").unwrap();
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let preview = Preview {
            remote: BTreeMap::from([
                ("package.json".to_owned(), text("{\"scripts\":{\"start\":\"node a.js\"}}")),
                ("package-lock.json".to_owned(), text("{}")),
                ("src/a.js".to_owned(), None),
            ]),
            local: Disk::open(directory.path()).ok(),
        };
        assert_eq!(preview.names().unwrap(), ["package-lock.json", "package.json", "requirements.txt", "src"]);
        assert_eq!(preview.presence("src").unwrap(), Presence::Directory);
        let explained = install::explain(&preview, directory.path(), &Install::Auto).unwrap();
        let tools: Vec<_> = explained.install.iter().map(|step| step.tool.as_str()).collect();
        assert_eq!(tools[0], "npm");
        assert!(explained.start.is_some());
    }
}
