//! The Node ecosystem: npm, pnpm, yarn 1 and 2+, bun. Who installs is decided by `packageManager`, then the lockfile,
//! then `engines`, then the manifest alone.

use super::{
    manifest::{self, PackageJson},
    plan::{InstallError, Otherwise, Plan, Step, Usual, Versions, words},
    view::View,
};

/// Who installs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manager {
    Npm,
    Pnpm,
    Yarn,
    Bun,
}

impl Manager {
    const ALL: [Self; 4] = [Self::Npm, Self::Pnpm, Self::Yarn, Self::Bun];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
            Self::Bun => "bun",
        }
    }

    /// Its lockfiles, the one it prefers first.
    fn lockfiles(self) -> &'static [&'static str] {
        match self {
            Self::Npm => &["npm-shrinkwrap.json", "package-lock.json"],
            Self::Pnpm => &["pnpm-lock.yaml"],
            Self::Yarn => &["yarn.lock"],
            Self::Bun => &["bun.lock", "bun.lockb"],
        }
    }
}

/// A project of this ecosystem and how that was decided.
pub(super) struct Project {
    pub(super) manager: Manager,
    /// As `packageManager` says.
    version: Option<String>,
    lock: Option<&'static str>,
    because: String,
    /// Whether more than the manifest alone said it.
    decided: bool,
    pub(super) package: Option<PackageJson>,
    warnings: Vec<String>,
}

/// Finds the project at the top; `None` where there is none.
pub(super) fn project(view: &dyn View) -> Result<Option<Project>, InstallError> {
    let package = PackageJson::read(view)?;
    let mut locks = Vec::new();
    for manager in Manager::ALL {
        if let Some(lock) = manifest::first_file(view, manager.lockfiles())? {
            locks.push((manager, lock));
        }
    }
    let mut warnings = Vec::new();
    let named = package.as_ref().and_then(PackageJson::package_manager).and_then(|(name, version)| {
        let manager = Manager::ALL.into_iter().find(|manager| manager.name() == name);
        if manager.is_none() {
            warnings.push(format!("packageManager names {name:?}, which is not known here: it does not count"));
        }
        Some((manager?, version.map(str::to_owned)))
    });
    if let Some((manager, version)) = named {
        let file = package.as_ref().map_or("package.json", |package| package.file);
        for (other, lock) in locks.iter().filter(|(other, _)| *other != manager) {
            warnings.push(format!("{lock} of {} does not count: packageManager says {}", other.name(), manager.name()));
        }
        let lock = locks.into_iter().find(|(other, _)| *other == manager).map(|(_, lock)| lock);
        let because = format!("{file}#packageManager");
        return Ok(Some(Project { manager, version, lock, because, decided: true, package, warnings }));
    }
    if let [(_, _), (_, _), ..] = locks.as_slice() {
        let files = locks.iter().map(|(manager, lock)| ((*lock).to_owned(), manager.name().to_owned())).collect();
        let hint = "delete the wrong one, or name the manager in package.json: \"packageManager\": \"NAME@VERSION\"";
        return Err(InstallError::TwoLockfiles { files, hint: hint.to_owned() });
    }
    if let Some((manager, lock)) = locks.pop() {
        if package.is_none() {
            warnings.push(format!("{lock} is there, but no package.json: nothing of {} is installed", manager.name()));
        }
        let because = lock.to_owned();
        let lock = Some(lock);
        return Ok(Some(Project { manager, version: None, lock, because, decided: true, package, warnings }));
    }
    let Some(package) = package else { return Ok(None) };
    let engine =
        [Manager::Pnpm, Manager::Bun, Manager::Yarn].into_iter().find(|it| package.engine(it.name()).is_some());
    let (manager, because) = match engine {
        Some(manager) => (manager, format!("{}#engines.{}", package.file, manager.name())),
        // Nobody else reads package.json5.
        None if package.file == "package.json5" => (Manager::Pnpm, package.file.to_owned()),
        None => (Manager::Npm, package.file.to_owned()),
    };
    let decided = engine.is_some();
    Ok(Some(Project { manager, version: None, lock: None, because, decided, package: Some(package), warnings }))
}

/// Adds what this ecosystem needs. Where deno is at home a `package.json` that nobody else claims is its own.
pub(super) fn detect(view: &dyn View, deno: bool, plan: &mut Plan) -> Result<(), InstallError> {
    let Some(project) = project(view)? else { return Ok(()) };
    plan.warnings.extend(project.warnings.iter().cloned());
    let Some(package) = &project.package else { return Ok(()) };
    if !project.decided && deno || project.lock.is_none() && !package.needs_install() {
        return Ok(());
    }
    let step = match project.manager {
        Manager::Npm => Some(npm(&project)),
        Manager::Pnpm => Some(pnpm(view, &project, package)?),
        Manager::Yarn => yarn(view, &project, plan)?,
        Manager::Bun => Some(bun(&project)),
    };
    let Some(step) = step else { return Ok(()) };
    if project.lock.is_none() {
        plan.warnings.push(format!(
            "{} has no lockfile: {} takes the newest versions that fit, and the lockfile it writes is yours to keep",
            package.file,
            project.manager.name()
        ));
    }
    let reads_more = step.needs_whole_tree.or(package.reads_more()).or(if manifest::is_file(view, "binding.gyp")? {
        Some("binding.gyp is built")
    } else {
        None
    });
    let mut step = step.whole_tree(reads_more);
    // In a production container the development dependencies of a development workspace are installed all the same.
    step.unset.push("NODE_ENV");
    plan.steps.push(step);
    Ok(())
}

fn npm(project: &Project) -> Step {
    let command = if project.lock.is_some() { "npm ci" } else { "npm install" };
    let mut step = Step::new("npm", command, &project.because)
        .cache("~/.npm")
        .place("npm_config_cache", Usual::Home(".npm"), false)
        .fix("RUN apt-get update && apt-get install -y nodejs npm");
    step.fix.push_str(", or begin it FROM node:22-slim");
    step.if_out_of_step = project.lock.map(|_| words("npm install"));
    step
}

fn pnpm(view: &dyn View, project: &Project, package: &PackageJson) -> Result<Step, InstallError> {
    let frozen =
        if project.lock.is_some() { "pnpm install --frozen-lockfile --prefer-offline" } else { "pnpm install" };
    let mut step = Step::new("pnpm", frozen, &project.because)
        .cache("~/.local/share/pnpm/store")
        // Where HOME is on another filesystem pnpm would put its store beside the project, and it would be committed.
        // The first variable is for pnpm up to 10, the second for later ones.
        .place("npm_config_store_dir", Usual::ToldHome(".local/share/pnpm/store"), false)
        .place("pnpm_config_store_dir", Usual::ToldHome(".local/share/pnpm/store"), false)
        // Without it pnpm asks before it replaces node_modules, and nobody is there to answer.
        .set("CI", "true")
        .set("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0");
    let version = match project.lock {
        Some(lock) => manifest::head(view, lock)?.lines().find_map(lockfile_version),
        None => None,
    };
    let majors = version.as_deref().and_then(pnpm_majors);
    let wanted = package.engine("pnpm").and_then(first_number);
    let within = |major: &u32| majors.is_none_or(|(first, last)| (first..=last).contains(major));
    let major = wanted.filter(within).or(majors.map(|(first, _)| first));
    let install = match (&project.version, major) {
        (Some(version), _) => format!("RUN npm install -g pnpm@{version}"),
        (None, Some(major)) => format!("RUN npm install -g pnpm@{major}"),
        (None, None) => "RUN npm install -g pnpm".to_owned(),
    };
    step = step.fix(&install);
    if let (Some(version), Some(majors)) = (version, majors) {
        step.fix.push_str(&format!(" (pnpm-lock.yaml has lockfileVersion {version})"));
        let of = if majors.0 == majors.1 { majors.0.to_string() } else { format!("{} to {}", majors.0, majors.1) };
        let hint = format!(
            "lockfileVersion {version} of pnpm-lock.yaml is that of pnpm {of}: add {install:?} to the Dockerfile"
        );
        step.versions = Some(Versions { majors, otherwise: Otherwise::Hint(hint) });
    }
    let workspace = manifest::head(view, "pnpm-workspace.yaml")?;
    let reads_more = if workspace.lines().any(|line| line.starts_with("packages")) {
        Some("the members of the workspace must be there")
    } else if workspace.contains("patchedDependencies") || manifest::is_file(view, ".pnpmfile.cjs")? {
        Some("patches and .pnpmfile.cjs may read any file")
    } else {
        None
    };
    Ok(step.whole_tree(reads_more))
}

/// `lockfileVersion: '9.0'`, the quotes as they please.
fn lockfile_version(line: &str) -> Option<String> {
    let value = line.strip_prefix("lockfileVersion:")?;
    Some(value.trim().trim_matches(['\'', '"']).to_owned())
}

/// Which pnpm reads and writes this lockfile.
fn pnpm_majors(version: &str) -> Option<(u32, u32)> {
    match version {
        "5.3" => Some((6, 6)),
        "5.4" => Some((7, 7)),
        _ => match first_number(version)? {
            6 => Some((8, 8)),
            9 => Some((9, 11)),
            _ => None,
        },
    }
}

/// The first number in a range like `>=9 <10` or `^9.1.0`.
fn first_number(range: &str) -> Option<u32> {
    let digits = range.trim_start_matches(|character: char| !character.is_ascii_digit());
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Which yarn made a lockfile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum YarnLock {
    One,
    /// Version 2 and later, with the number under `__metadata`.
    Later(Option<u32>),
    Unknown,
}

fn yarn_lock(head: &str) -> YarnLock {
    let mut lines = head.lines().skip_while(|line| *line != "__metadata:");
    if lines.next().is_some() {
        return YarnLock::Later(
            lines.next().and_then(|line| line.trim().strip_prefix("version:")).and_then(first_number),
        );
    }
    if head.contains("# yarn lockfile v1") { YarnLock::One } else { YarnLock::Unknown }
}

/// Whether the yarn of this project is 2 or later.
fn is_berry(view: &dyn View, project: &Project, lock: YarnLock) -> Result<bool, InstallError> {
    if let Some(major) = project.version.as_deref().and_then(first_number) {
        return Ok(major >= 2);
    }
    if project.lock.is_none()
        && let Some(major) = project.package.as_ref().and_then(|package| package.engine("yarn")).and_then(first_number)
    {
        return Ok(major >= 2);
    }
    Ok(manifest::is_file(view, ".yarnrc.yml")? || matches!(lock, YarnLock::Later(_)))
}

fn yarn(view: &dyn View, project: &Project, plan: &mut Plan) -> Result<Option<Step>, InstallError> {
    let lock = project.lock.map(|lock| manifest::head(view, lock)).transpose()?;
    let lock = lock.map_or(YarnLock::Unknown, |head| yarn_lock(&head));
    let berry = is_berry(view, project, lock)?;
    if berry && lock == YarnLock::One || !berry && matches!(lock, YarnLock::Later(_)) {
        let (of, by) = if berry { ("1", "2 or later") } else { ("2 or later", "1") };
        plan.warnings.push(format!("yarn.lock is one of yarn {of}, but yarn {by} installs ({})", project.because));
    }
    if !berry {
        let command = if project.lock.is_some() { "yarn install --frozen-lockfile" } else { "yarn install" };
        let version = project.version.as_deref().unwrap_or("1");
        let step = Step::new("yarn", command, &project.because)
            .cache("~/.cache/yarn")
            .place("YARN_CACHE_FOLDER", Usual::Home(".cache/yarn"), false)
            .set("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0")
            .fix(&format!("RUN npm install -g yarn@{version}"));
        return Ok(Some(step));
    }
    if manifest::first_file(view, &[".pnp.cjs"])?.is_some() && manifest::is_directory(view, ".yarn/cache")? {
        plan.warnings
            .push(".pnp.cjs and .yarn/cache are there (zero-install): nothing is left for yarn to do".to_owned());
        return Ok(None);
    }
    let version = project.version.clone().unwrap_or_else(|| {
        let major = match lock {
            YarnLock::Later(Some(..=4)) => 2,
            YarnLock::Later(Some(5 | 6)) => 3,
            _ => 4,
        };
        major.to_string()
    });
    let fix = format!("RUN npm install -g @yarnpkg/cli-dist@{version}");
    let refuse = format!("yarn 1 is in this image, which ignores --immutable silently: add {fix:?} to the Dockerfile");
    let mut step = Step::new("yarn", "yarn install --immutable", &project.because)
        .cache(".yarn/cache")
        .place("YARN_GLOBAL_FOLDER", Usual::Home(".yarn/berry"), false)
        .set("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0")
        .whole_tree(Some("yarn's own program, plugins and cache may lie in .yarn"))
        .fix(&fix);
    if project.lock.is_none() {
        step.command = words("yarn install");
        step = step.set("YARN_ENABLE_IMMUTABLE_INSTALLS", "false");
    }
    step.versions = Some(Versions { majors: (2, u32::MAX), otherwise: Otherwise::Refuse(refuse) });
    Ok(Some(step))
}

fn bun(project: &Project) -> Step {
    let command = if project.lock.is_some() { "bun install --frozen-lockfile" } else { "bun install" };
    let version = project.version.as_deref().unwrap_or("1");
    Step::new("bun", command, &project.because)
        .cache("~/.bun/install/cache")
        .place("BUN_INSTALL_CACHE_DIR", Usual::Home(".bun/install/cache"), false)
        .fix(&format!("RUN npm install -g bun@{version}"))
}

/// Whether Node finds modules here only with yarn's help.
pub(super) fn is_plug_and_play(view: &dyn View, project: &Project) -> Result<bool, InstallError> {
    if project.manager != Manager::Yarn {
        return Ok(false);
    }
    let lock = project.lock.map(|lock| manifest::head(view, lock)).transpose()?;
    let lock = lock.map_or(YarnLock::Unknown, |head| yarn_lock(&head));
    let settings = manifest::head(view, ".yarnrc.yml")?;
    let linker = settings.lines().find_map(|line| line.strip_prefix("nodeLinker:"));
    Ok(is_berry(view, project, lock)? && linker.is_none_or(|linker| linker.contains("pnp") && !linker.contains("pnpm")))
}
