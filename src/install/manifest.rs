//! The manifests that detection reads: bounded, and a broken one is an error that names the file.

use serde_json::Value;

use super::{
    json5,
    plan::InstallError,
    view::{Presence, View},
};

/// No manifest that people write is longer.
const LONGEST: usize = 4 << 20;
/// Enough of a lockfile to see who wrote it.
const HEAD: usize = 64 << 10;

/// Whether `path` is a file.
pub(super) fn is_file(view: &dyn View, path: &str) -> Result<bool, InstallError> {
    let presence = view.presence(path).map_err(|error| broken(path, error))?;
    Ok(presence == Presence::File)
}

/// Whether `path` is a directory.
pub(super) fn is_directory(view: &dyn View, path: &str) -> Result<bool, InstallError> {
    let presence = view.presence(path).map_err(|error| broken(path, error))?;
    Ok(presence == Presence::Directory)
}

/// The first of `paths` that is a file.
pub(super) fn first_file<'a>(view: &dyn View, paths: &[&'a str]) -> Result<Option<&'a str>, InstallError> {
    for path in paths {
        if is_file(view, path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The text of a manifest; `None` where there is none.
pub(super) fn text(view: &dyn View, path: &str) -> Result<Option<String>, InstallError> {
    let Some(content) = view.read(path, LONGEST).map_err(|error| broken(path, error))? else {
        return Ok(None);
    };
    if !content.whole {
        return Err(broken(path, "it is longer than 4 MiB"));
    }
    Ok(Some(String::from_utf8_lossy(&content.bytes).into_owned()))
}

/// The beginning of a file, a lockfile say; empty where there is none.
pub(super) fn head(view: &dyn View, path: &str) -> Result<String, InstallError> {
    let content = view.read(path, HEAD).map_err(|error| broken(path, error))?;
    Ok(content.map(|content| String::from_utf8_lossy(&content.bytes).into_owned()).unwrap_or_default())
}

/// A TOML manifest; `None` where there is none.
pub(super) fn toml(view: &dyn View, path: &str) -> Result<Option<toml::Table>, InstallError> {
    let Some(text) = text(view, path)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error: toml::de::Error| broken(path, error.message()))
}

/// A JSON manifest, with whatever people write into one; `None` where there is none.
pub(super) fn json(view: &dyn View, path: &str) -> Result<Option<Value>, InstallError> {
    let Some(text) = text(view, path)? else { return Ok(None) };
    json5::parse(&text).map(Some).map_err(|error| broken(path, error))
}

pub(super) fn broken(file: &str, reason: impl ToString) -> InstallError {
    InstallError::Manifest { file: file.to_owned(), reason: reason.to_string() }
}

/// `package.json`, or pnpm's `package.json5`.
#[derive(Debug)]
pub(super) struct PackageJson {
    /// Which of the two.
    pub(super) file: &'static str,
    value: Value,
}

/// The fields whose entries are installed.
const DEPENDENCIES: [&str; 4] = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
/// The scripts that an install runs, and that may read any file.
const LIFECYCLE: [&str; 8] =
    ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies"];

impl PackageJson {
    pub(super) fn read(view: &dyn View) -> Result<Option<Self>, InstallError> {
        for file in ["package.json", "package.json5"] {
            if let Some(value) = json(view, file)? {
                if !value.is_object() {
                    return Err(broken(file, "it is no object"));
                }
                return Ok(Some(Self { file, value }));
            }
        }
        Ok(None)
    }

    /// `packageManager`: name and version, without the hash that corepack adds; a URL is no version.
    pub(super) fn package_manager(&self) -> Option<(&str, Option<&str>)> {
        let text = self.value.get("packageManager")?.as_str()?.trim();
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, version.split('+').next()),
            None => (text, None),
        };
        Some((name, version.filter(|version| version.starts_with(|first: char| first.is_ascii_digit()))))
    }

    /// `engines.NAME`.
    pub(super) fn engine(&self, name: &str) -> Option<&str> {
        self.value.get("engines")?.get(name)?.as_str()
    }

    /// `scripts.NAME`, if there is something in it.
    pub(super) fn script(&self, name: &str) -> Option<&str> {
        let script = self.value.get("scripts")?.get(name)?.as_str()?;
        Some(script.trim()).filter(|script| !script.is_empty())
    }

    /// A field that is a text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.value.get(field)?.as_str()
    }

    /// Whether a field is there and not empty.
    pub(super) fn has(&self, field: &str) -> bool {
        match self.value.get(field) {
            Some(Value::Object(object)) => !object.is_empty(),
            Some(Value::Array(array)) => !array.is_empty(),
            Some(Value::Null | Value::Bool(false)) | None => false,
            Some(_) => true,
        }
    }

    /// Whether there is anything to install.
    pub(super) fn needs_install(&self) -> bool {
        DEPENDENCIES.iter().any(|field| self.has(field)) || self.has("workspaces") || self.has_lifecycle()
    }

    fn has_lifecycle(&self) -> bool {
        LIFECYCLE.iter().any(|name| self.script(name).is_some())
    }

    /// Why an install reads more of the tree than manifest and lockfile.
    pub(super) fn reads_more(&self) -> Option<&'static str> {
        if self.has("workspaces") {
            return Some("the members of the workspace must be there");
        }
        if self.has_lifecycle() {
            return Some("a lifecycle script of package.json may read any file");
        }
        let fields = DEPENDENCIES.iter().chain(&["overrides", "resolutions", "pnpm"]);
        fields.filter_map(|field| self.value.get(field)).any(names_a_path).then_some("a dependency is a path")
    }
}

/// Whether some text in `value` is a path of the workspace rather than a version.
fn names_a_path(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let local = ["file:", "link:", "portal:", "patch:", "workspace:", "./", "../", "~/", "/"];
            local.iter().any(|prefix| text.starts_with(prefix)) || text.ends_with(".tgz") || text.ends_with(".patch")
        }
        Value::Array(values) => values.iter().any(names_a_path),
        Value::Object(values) => values.values().any(names_a_path),
        _ => false,
    }
}
