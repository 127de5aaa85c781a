//! `stopover explain PATH…`: stored or not, by which rule of which file.

use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::{context::Context, failure::Failure, output};
use crate::{
    config::{Call, Config, GitPolicy, Need},
    report::{Exit, Explained},
    rows::RelPath,
    worktree::{self, Directory, RuleOptions},
};

/// Say whether paths are stored, and by which rule of which file
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover explain dist/app.js .env")]
pub(super) struct Explain {
    /// Paths below the directory
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print one JSON object per path
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Nothing, Call::default())?;
        let directory = Directory::open(&config.dir).map_err(|error| no_directory(&config, &error))?;
        let options = rule_options(&config);
        for given in &self.paths {
            let path = below(given, &config.dir, context.working_directory())
                .map_err(|why| Failure::new(Exit::Usage, format!("{}: {why}", given.display())))?;
            let verdict = worktree::explain(&directory, &path, &options);
            let explained = Explained {
                path: path.to_text().into_owned(),
                stored: verdict.stored,
                rule: verdict.rule,
                source: verdict.source,
                line: verdict.line,
            };
            if self.json {
                output::json(&explained)?;
            } else {
                output::text(&format!("{explained}\n"))?;
            }
        }
        Ok(Exit::Success.code())
    }
}

/// The rules as they are set.
pub(super) fn rule_options(config: &Config) -> RuleOptions {
    RuleOptions { git: config.git == GitPolicy::Include, extra: config.ignore.clone() }
}

fn no_directory(config: &Config, error: &dyn std::fmt::Display) -> Failure {
    if config.dir.exists() {
        Failure::failed(error)
    } else {
        Failure::failed(format!("directory does not exist: {}", config.dir.display()))
    }
}

/// The path as the workspace has it: relative to where the user stands, if that is in the directory, else to the
/// directory.
pub(super) fn below(given: &Path, directory: &Path, standing: &Path) -> Result<RelPath, String> {
    let inside = |place: &Path| directory_of(place).strip_prefix(directory_of(directory)).ok().map(Path::to_owned);
    let relative = if given.is_absolute() {
        inside(given).ok_or_else(|| format!("it is not in {}", directory.display()))?
    } else {
        // `./x` is meant from here, wherever here is.
        inside(standing).unwrap_or_default().join(given)
    };
    let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => {
                parts.pop().ok_or_else(|| format!("it is not in {}", directory.display()))?;
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    use std::os::unix::ffi::OsStrExt;
    let bytes = parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>().join(&b'/');
    if bytes.is_empty() {
        return Err("it is the directory itself".to_owned());
    }
    RelPath::new(bytes).map_err(|error| error.to_string())
}

/// A path without links in the part of it that exists: a directory may be reached in two ways.
fn directory_of(path: &Path) -> PathBuf {
    let mut existing = path;
    let mut rest = Vec::new();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_meant_from_where_the_user_stands() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("src");
        std::fs::create_dir(&inner).unwrap();
        let at = |given: &str, standing: &Path| {
            below(Path::new(given), directory.path(), standing).map(|path| path.to_string())
        };
        assert_eq!(at("a.js", &inner), Ok("src/a.js".to_owned()));
        assert_eq!(at("../dist/./x", &inner), Ok("dist/x".to_owned()));
        assert_eq!(at("src/a.js", Path::new("/")), Ok("src/a.js".to_owned()));
        let absolute = inner.join("gone/b.js");
        assert_eq!(at(absolute.to_str().unwrap(), Path::new("/")), Ok("src/gone/b.js".to_owned()));
        assert!(at("../..", &inner).is_err());
        assert!(at("/etc/passwd", &inner).is_err());
        assert!(at(".", directory.path()).is_err());
    }
}
