//! `scripts.start`, `main`, `index.js`.
//!
//! `npm start` leaves npm and a shell between the app and its signals (npm/run-script#237): a script that is a plain
//! command is run as that command, with `node_modules/.bin` first on its `PATH` and the variables that npm sets.

use super::{
    Start,
    shell::{self, Simple},
};
use crate::install::{
    manifest::{self, PackageJson},
    node::{self, Manager, Project},
    plan::InstallError,
    view::View,
};

/// A script may call another one, but not for ever.
const MOST_CALLS: usize = 5;

pub(super) fn start(view: &dyn View) -> Result<Option<Start>, InstallError> {
    let project = match node::project(view) {
        // Which lockfile counts is the install's question.
        Err(InstallError::TwoLockfiles { .. }) => None,
        other => other?,
    };
    let Some(package) = PackageJson::read(view)? else {
        return file(view, Manager::Npm, false, "index.js");
    };
    let manager = project.as_ref().map_or(Manager::Npm, |project| project.manager);
    let plug_and_play =
        project.as_ref().map_or(Ok(false), |project: &Project| node::is_plug_and_play(view, project))?;
    if package.script("start").is_some() {
        let settings = manifest::head(view, ".npmrc")?;
        let shell_matters =
            ["script-shell", "node-options", "shell-emulator"].iter().any(|name| settings.contains(name));
        if !plug_and_play
            && !shell_matters
            && !package.has("config")
            && let Some(simple) = unwrapped(&package, "start", 0)
        {
            return Ok(Some(direct(&package, simple)));
        }
        let line = match manager {
            Manager::Npm => "npm start",
            Manager::Pnpm => "pnpm start",
            Manager::Yarn => "yarn start",
            Manager::Bun => "bun run start",
        };
        return Ok(Some(Start::words(line, format!("{} (scripts.start)", package.file))));
    }
    if let Some(main) = package.text("main").filter(|main| !main.trim().is_empty()) {
        let main = main.trim().trim_start_matches("./").trim_end_matches('/');
        for candidate in [main.to_owned(), format!("{main}.js"), format!("{main}/index.js")] {
            if let Some(start) = file(view, manager, plug_and_play, &candidate)? {
                return Ok(Some(Start { because: format!("{} (main)", package.file), ..start }));
            }
        }
    }
    if manager == Manager::Bun
        && let Some(start) = file(view, manager, plug_and_play, "index.ts")?
    {
        return Ok(Some(start));
    }
    file(view, manager, plug_and_play, "index.js")
}

/// Runs one file, if it is there.
fn file(view: &dyn View, manager: Manager, plug_and_play: bool, path: &str) -> Result<Option<Start>, InstallError> {
    if !manifest::is_file(view, path)? {
        return Ok(None);
    }
    let runner: &[&str] = match manager {
        _ if plug_and_play => &["yarn", "node"],
        Manager::Bun => &["bun"],
        Manager::Npm | Manager::Pnpm | Manager::Yarn => &["node"],
    };
    // A name that begins with a dash would be an option.
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    let mut start = Start::words(&runner.join(" "), path.clone());
    start.command.push(path);
    Ok(Some(start))
}

/// The command of a script, if it is a plain one and no other script runs before or after it.
fn unwrapped(package: &PackageJson, name: &str, calls: usize) -> Option<Simple> {
    let alone = package.script(&format!("pre{name}")).is_none() && package.script(&format!("post{name}")).is_none();
    if !alone || calls > MOST_CALLS {
        return None;
    }
    let mut simple = shell::simple(package.script(name)?)?;
    let called = match simple.command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["npm" | "pnpm" | "yarn" | "bun", "run", called] | ["yarn" | "pnpm", called] => Some((*called).to_owned()),
        ["npm" | "pnpm" | "yarn" | "bun", ..] => return None,
        _ => None,
    };
    if let Some(called) = called {
        let inner = unwrapped(package, &called, calls + 1)?;
        simple.environment.extend(inner.environment);
        simple.command = inner.command;
    }
    Some(simple)
}

fn direct(package: &PackageJson, simple: Simple) -> Start {
    let mut environment = vec![("npm_lifecycle_event".to_owned(), "start".to_owned())];
    for (variable, field) in [("npm_package_name", "name"), ("npm_package_version", "version")] {
        environment.extend(package.text(field).map(|value| (variable.to_owned(), value.to_owned())));
    }
    environment.extend(simple.environment);
    Start {
        command: simple.command,
        environment,
        path: vec!["node_modules/.bin".to_owned()],
        because: format!("{} (scripts.start)", package.file),
    }
}
