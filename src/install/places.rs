//! Where tools may write. In a container with a read-only root, or for a user without a home, HOME and the caches that
//! the image names cannot be written; then they go to a spare place, and the app is told of those it shares.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access, geteuid};

use super::plan::{Place, Step, Usual};

/// The variables of a process.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// What `PATH` means where it is not set.
pub(super) const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The places of one install.
pub(super) struct Places<'a> {
    directory: &'a Path,
    state: &'a Path,
    environment: &'a Environment,
    /// HOME, if it can be written.
    home: Option<PathBuf>,
    spare: OnceCell<Option<PathBuf>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(directory: &'a Path, state: &'a Path, environment: &'a Environment) -> Self {
        let home = value(environment, "HOME").map(PathBuf::from).filter(|home| home.is_absolute() && writable(home));
        Self { directory, state, environment, home, spare: OnceCell::new() }
    }

    /// The variables for `step`, and those of them that the app needs too.
    pub(super) fn prepare(&self, step: &Step) -> (Environment, Environment) {
        let mut environment = self.environment.clone();
        let mut for_app = Environment::new();
        for name in &step.unset {
            environment.remove(OsStr::new(name));
        }
        for (name, text) in &step.environment {
            if value(&environment, name).is_none() {
                environment.insert(name.into(), text.into());
            }
        }
        if self.home.is_none()
            && let Some(spare) = self.spare()
        {
            environment.insert("HOME".into(), spare.into());
        }
        for place in &step.places {
            if let Some(path) = self.told(place) {
                environment.insert(place.variable.into(), path.clone().into());
                if place.for_app {
                    for_app.insert(place.variable.into(), path.into());
                }
            }
        }
        (environment, for_app)
    }

    /// What a tool must be told about a place; `None` where what it has or knows is right.
    fn told(&self, place: &Place) -> Option<PathBuf> {
        let named = value(self.environment, place.variable).map(PathBuf::from);
        let named = named.or_else(|| {
            let (variable, below) = place.within?;
            Some(Path::new(value(self.environment, variable)?).join(below))
        });
        if named.is_some_and(|path| writable(&self.directory.join(path))) {
            return None;
        }
        let (below, told) = match place.usual {
            Usual::Workspace(path) => return Some(PathBuf::from(path)),
            Usual::Home(below) => (below, false),
            Usual::ToldHome(below) => (below, true),
        };
        let named = value(self.environment, place.variable).is_some()
            || place.within.is_some_and(|(variable, _)| value(self.environment, variable).is_some());
        match &self.home {
            Some(home) if writable(&home.join(below)) => (told || named).then(|| home.join(below)),
            // The tool follows HOME by itself, but the app has another.
            _ => Some(self.spare()?.join(below)),
        }
    }

    /// A directory that stands in for HOME.
    pub(super) fn spare(&self) -> Option<&Path> {
        self.spare.get_or_init(|| self.make("home")).as_deref()
    }

    /// A new and empty directory for a tool's notes.
    pub(super) fn scratch(&self, name: &str) -> Option<PathBuf> {
        let process = std::process::id();
        (0..100).find_map(|attempt| {
            let directory =
                self.above().find(|above| writable(above))?.join(format!("stopover-{name}-{process}-{attempt}"));
            fs::DirBuilder::new().mode(0o700).create(&directory).ok().map(|()| directory)
        })
    }

    /// The temporary directory, then stopover's own.
    fn above(&self) -> impl Iterator<Item = PathBuf> {
        let temporary = value(self.environment, "TMPDIR").map_or_else(|| "/tmp".into(), PathBuf::from);
        [temporary, self.state.to_owned()].into_iter().filter(|path| path.is_absolute() && path.is_dir())
    }

    fn make(&self, name: &str) -> Option<PathBuf> {
        let user = geteuid();
        self.above().find_map(|above| {
            let directory = above.join(format!("stopover-{name}-{user}"));
            // It may be there from before; but in /tmp anyone may have put it, or a link, there.
            let _ = fs::DirBuilder::new().mode(0o700).create(&directory);
            let found = fs::symlink_metadata(&directory).ok()?;
            (found.is_dir() && found.uid() == user.as_raw() && writable(&directory)).then_some(directory)
        })
    }
}

/// A variable that is set to something. npm reads its own in both cases.
pub(super) fn value<'a>(environment: &'a Environment, name: &str) -> Option<&'a OsStr> {
    let get = |name: &str| environment.get(OsStr::new(name)).filter(|value| !value.is_empty());
    let upper = || name.starts_with("npm_config_").then(|| name.to_ascii_uppercase());
    get(name).or_else(|| get(&upper()?)).map(OsString::as_os_str)
}

/// Whether `path` can be written, or made: what counts is the nearest directory above it that is there.
fn writable(path: &Path) -> bool {
    let there = path.ancestors().find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
    there.is_some_and(|there| there.is_dir() && access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
}

/// The program that `name` means: with a slash below the directory, else on `path`.
pub(super) fn program(name: &str, directory: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(directory.join(name)).filter(|program| executable(program));
    }
    let path = path.unwrap_or(OsStr::new(USUAL_PATH));
    std::env::split_paths(path).map(|above| directory.join(above).join(name)).find(|program| executable(program))
}

fn executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody, not even root, can write where there is no directory.
    const NOWHERE: &str = "/dev/null/home";

    fn environment(pairs: &[(&str, &Path)]) -> Environment {
        pairs.iter().map(|(name, value)| (OsString::from(name), value.as_os_str().to_owned())).collect()
    }

    fn step() -> Step {
        let mut step = Step::new("x", "x", "x")
            .set("ASKED", "default")
            .set("SET", "default")
            .place("TOLD", Usual::ToldHome("told"), false)
            .place("CACHE", Usual::Home(".cache/x"), true)
            .place("GEMS", Usual::Workspace("vendor"), true);
        step.places.push(Place {
            variable: "MODULES",
            within: Some(("ABOVE", "mod")),
            usual: Usual::Home("mod"),
            for_app: true,
        });
        step.unset.push("NODE_ENV");
        step
    }

    #[test]
    fn what_can_be_written_stays_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let here = home.path();
        let given = environment(&[
            ("HOME", here),
            ("SET", "mine".as_ref()),
            ("NODE_ENV", "production".as_ref()),
            ("ABOVE", here),
        ]);
        let (tool, app) = Places::new(here, here, &given).prepare(&step());
        let wanted = environment(&[
            ("HOME", here),
            ("SET", "mine".as_ref()),
            ("ASKED", "default".as_ref()),
            ("ABOVE", here),
            ("TOLD", &here.join("told")),
            ("GEMS", "vendor".as_ref()),
        ]);
        assert_eq!(tool, wanted);
        assert_eq!(app, environment(&[("GEMS", "vendor".as_ref())]));
    }

    #[test]
    fn without_a_home_a_spare_one_is_made_and_the_app_learns_of_shared_places() {
        let temporary = tempfile::tempdir().unwrap();
        let nowhere = Path::new(NOWHERE);
        let given =
            environment(&[("HOME", nowhere), ("TMPDIR", temporary.path()), ("ABOVE", nowhere), ("GEMS", nowhere)]);
        let (tool, app) = Places::new(temporary.path(), nowhere, &given).prepare(&step());
        let spare = temporary.path().join(format!("stopover-home-{}", geteuid()));
        assert_eq!(tool[OsStr::new("HOME")], spare);
        assert_eq!(tool[OsStr::new("TOLD")], spare.join("told"));
        let shared = [("CACHE", spare.join(".cache/x")), ("GEMS", "vendor".into()), ("MODULES", spare.join("mod"))];
        assert_eq!(app, shared.into_iter().map(|(name, path)| (name.into(), path.into())).collect());
    }

    #[test]
    fn a_cache_that_cannot_be_written_moves_though_home_can() {
        let home = tempfile::tempdir().unwrap();
        let given = environment(&[("HOME", home.path()), ("CACHE", NOWHERE.as_ref())]);
        let (tool, app) = Places::new(home.path(), home.path(), &given).prepare(&step());
        assert_eq!(tool[OsStr::new("CACHE")], home.path().join(".cache/x"));
        assert_eq!(app[OsStr::new("CACHE")], home.path().join(".cache/x"));
        assert!(!tool.contains_key(OsStr::new("MODULES")));
    }

    #[test]
    fn somebody_elses_spare_home_is_not_used() {
        let temporary = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let name = format!("stopover-home-{}", geteuid());
        std::os::unix::fs::symlink("/etc", temporary.path().join(&name)).unwrap();
        let given = environment(&[("TMPDIR", temporary.path())]);
        let places = Places::new(temporary.path(), state.path(), &given);
        assert_eq!(places.spare(), Some(state.path().join(name).as_path()));
    }

    #[test]
    fn npm_reads_its_variables_in_both_cases() {
        let given = environment(&[("NPM_CONFIG_CACHE", "/x".as_ref()), ("EMPTY", "".as_ref())]);
        assert_eq!(value(&given, "npm_config_cache"), Some(OsStr::new("/x")));
        assert_eq!(value(&given, "EMPTY"), None);
    }
}
