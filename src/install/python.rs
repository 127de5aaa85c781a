//! The Python ecosystem: uv, poetry, pdm, pipenv, pip, in this order.
//!
//! All of them end in `.venv` at the top, whose `bin` goes first on the app's `PATH`.

use std::collections::BTreeSet;

use super::{
    manifest,
    plan::{InstallError, Otherwise, Plan, Step, Usual, Versions, words},
    view::View,
};

/// Lockfiles and who made them.
const LOCKS: [(&str, &str); 4] =
    [("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"), ("Pipfile.lock", "pipenv")];
const PROJECT_IS_BUILT: Option<&str> = Some("the project itself, and its members, are built from their sources");

/// Adds what this ecosystem needs.
pub(super) fn detect(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let mut locks = Vec::new();
    for (lock, tool) in LOCKS {
        if manifest::is_file(view, lock)? {
            locks.push((lock, tool));
        }
    }
    match locks.as_slice() {
        [] => {}
        [(lock, tool)] => {
            plan.steps.push(match *tool {
                "uv" => uv("uv sync --locked", lock),
                "poetry" => poetry(lock),
                "pdm" => pdm("pdm install --check --no-editable", lock),
                _ => pipenv("pipenv install --deploy --dev", lock),
            });
            return Ok(());
        }
        _ => {
            let files = locks.iter().map(|(lock, tool)| ((*lock).to_owned(), (*tool).to_owned())).collect();
            return Err(InstallError::TwoLockfiles { files, hint: "delete the wrong one".to_owned() });
        }
    }
    if manifest::is_file(view, "Pipfile")? {
        plan.steps.push(pipenv("pipenv install --dev", "Pipfile"));
        plan.warnings.push(unlocked("Pipfile", "pipenv"));
        return Ok(());
    }
    if let Some(requirements) = manifest::text(view, "requirements.txt")? {
        let reads_more = requirements.lines().any(names_a_file).then_some("requirements.txt names other files");
        plan.steps.push(venv("requirements.txt"));
        plan.steps.push(pip(words("-r requirements.txt"), "requirements.txt").whole_tree(reads_more));
        return Ok(());
    }
    manifest_alone(view, plan)
}

/// `pyproject.toml` or `setup.py`, and no lockfile.
fn manifest_alone(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let file = "pyproject.toml";
    let Some(project) = manifest::toml(view, file)? else {
        if manifest::is_file(view, "setup.py")? {
            plan.steps.push(venv("setup.py"));
            plan.steps.push(pip(words("--editable ."), "setup.py").whole_tree(PROJECT_IS_BUILT));
            plan.warnings.push(unlocked("setup.py", "pip"));
        }
        return Ok(());
    };
    let tool = |name: &str| project.get("tool").and_then(|tools| tools.get(name)).is_some();
    if tool("uv") {
        plan.steps.push(uv("uv sync", file));
        plan.warnings.push(unlocked(file, "uv"));
    } else if tool("poetry") {
        let mut step = poetry(file);
        step.command = words("poetry install --no-interaction --no-ansi");
        step.versions = None;
        plan.steps.push(step);
        plan.warnings.push(unlocked(file, "poetry"));
    } else if tool("pdm") {
        plan.steps.push(pdm("pdm install --no-editable", file));
        plan.warnings.push(unlocked(file, "pdm"));
    } else if project.contains_key("build-system") && project.contains_key("project") {
        plan.steps.push(venv(file));
        plan.steps.push(pip(words("--editable ."), file).whole_tree(PROJECT_IS_BUILT));
        plan.warnings.push(unlocked(file, "pip"));
    } else {
        let wanted = listed(&project);
        if let Some(option) = wanted.iter().find(|text| text.starts_with('-')) {
            return Err(manifest::broken(file, format!("{option:?} is no dependency")));
        }
        if !wanted.is_empty() {
            let local = wanted.iter().any(|text| text.contains("file:")).then_some("a dependency is a path");
            plan.steps.push(venv(file));
            plan.steps.push(pip(wanted, file).whole_tree(local));
            plan.warnings.push(unlocked(file, "pip"));
        }
    }
    Ok(())
}

/// The dependencies of a project that is not built: its own and those of the group `dev`.
fn listed(project: &toml::Table) -> Vec<String> {
    let lists = [
        project.get("project").and_then(|project| project.get("dependencies")),
        project.get("dependency-groups").and_then(|groups| groups.get("dev")),
    ];
    let texts = lists.into_iter().flatten().filter_map(toml::Value::as_array).flatten().filter_map(toml::Value::as_str);
    texts.map(str::to_owned).collect()
}

/// Whether a line of requirements.txt needs more of the tree than itself.
fn names_a_file(line: &str) -> bool {
    let line = line.trim();
    let begins = ["-e", "--editable", "-r", "--requirement", "-c", "--constraint", "-f", "--find-links", ".", "/"];
    begins.iter().any(|prefix| line.starts_with(prefix)) || line.contains("file:") || line.ends_with(".whl")
}

fn uv(command: &str, because: &str) -> Step {
    Step::new("uv", command, because)
        .cache("~/.cache/uv")
        .place("UV_CACHE_DIR", Usual::Home(".cache/uv"), false)
        // The cache is rarely on the filesystem of the workspace; without it uv warns each time that links fail.
        .set("UV_LINK_MODE", "copy")
        .set("UV_PYTHON_DOWNLOADS", "never")
        .whole_tree(PROJECT_IS_BUILT)
        .fix("COPY --from=ghcr.io/astral-sh/uv:latest /uv /usr/local/bin/uv")
}

fn poetry(because: &str) -> Step {
    let mut step = Step::new("poetry", "poetry sync --no-interaction --no-ansi", because)
        .cache("~/.cache/pypoetry")
        .place("POETRY_CACHE_DIR", Usual::Home(".cache/pypoetry"), false)
        .set("POETRY_VIRTUALENVS_IN_PROJECT", "true")
        .whole_tree(PROJECT_IS_BUILT)
        .fix("RUN pip install poetry");
    let older = words("poetry install --no-interaction --no-ansi");
    step.versions = Some(Versions { majors: (2, u32::MAX), otherwise: Otherwise::Older(older) });
    step
}

fn pdm(command: &str, because: &str) -> Step {
    Step::new("pdm", command, because)
        .cache("~/.cache/pdm")
        .place("PDM_CACHE_DIR", Usual::Home(".cache/pdm"), false)
        .set("PDM_CHECK_UPDATE", "false")
        .whole_tree(PROJECT_IS_BUILT)
        .fix("RUN pip install pdm")
}

fn pipenv(command: &str, because: &str) -> Step {
    Step::new("pipenv", command, because)
        .cache("~/.cache/pipenv")
        .place("PIPENV_CACHE_DIR", Usual::Home(".cache/pipenv"), false)
        .set("PIPENV_VENV_IN_PROJECT", "1")
        .whole_tree(Some("a Pipfile may name paths"))
        .fix("RUN pip install pipenv")
}

fn venv(because: &str) -> Step {
    Step::new("python3", "python3 -m venv .venv", because)
        .fix("RUN apt-get update && apt-get install -y python3 python3-venv")
}

fn pip(arguments: Vec<String>, because: &str) -> Step {
    let mut step = Step::new("pip", ".venv/bin/pip install", because)
        .cache("~/.cache/pip")
        .place("PIP_CACHE_DIR", Usual::Home(".cache/pip"), false)
        .set("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .fix("RUN apt-get update && apt-get install -y python3-venv");
    step.command.extend(arguments);
    // Both would put the packages somewhere else than into the environment just made.
    step.unset.extend(["PIP_USER", "PIP_TARGET"]);
    step
}

fn unlocked(file: &str, tool: &str) -> String {
    format!("{file} has no lockfile: {tool} takes the newest versions that fit")
}

/// The names of the packages that the project declares, in one spelling: lower case, with `-`.
pub(super) fn declared(view: &dyn View) -> Result<BTreeSet<String>, InstallError> {
    let mut names = BTreeSet::new();
    let requirements = manifest::text(view, "requirements.txt")?.unwrap_or_default();
    names.extend(requirements.lines().filter_map(package_name));
    if let Some(pipfile) = manifest::toml(view, "Pipfile")? {
        for section in ["packages", "dev-packages"] {
            names.extend(keys(pipfile.get(section)));
        }
    }
    if let Some(project) = manifest::toml(view, "pyproject.toml")? {
        names.extend(listed(&project).iter().filter_map(|text| package_name(text)));
        let poetry = project.get("tool").and_then(|tools| tools.get("poetry"));
        names.extend(keys(poetry.and_then(|poetry| poetry.get("dependencies"))));
        let groups = poetry.and_then(|poetry| poetry.get("group")).and_then(toml::Value::as_table);
        for group in groups.into_iter().flat_map(toml::Table::values) {
            names.extend(keys(group.get("dependencies")));
        }
    }
    // FastAPI's extras bring the server with them.
    if names.contains("fastapi[standard]") || names.contains("fastapi[all]") {
        names.extend(["fastapi".to_owned(), "uvicorn".to_owned()]);
    }
    Ok(names)
}

fn keys(table: Option<&toml::Value>) -> Vec<String> {
    let table = table.and_then(toml::Value::as_table);
    table.into_iter().flat_map(toml::Table::keys).filter_map(|key| package_name(key)).collect()
}

/// The name that a requirement begins with; `uvicorn[standard]` is uvicorn, but fastapi keeps its extra.
fn package_name(requirement: &str) -> Option<String> {
    let requirement = requirement.trim();
    let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let end = requirement.find(|character| !is_name(character)).unwrap_or(requirement.len());
    let name = requirement[..end].to_ascii_lowercase().replace(['_', '.'], "-");
    if name.is_empty() || name.starts_with('-') {
        return None;
    }
    let extras = requirement[end..].trim_start();
    if name == "fastapi" && (extras.starts_with("[standard") || extras.starts_with("[all")) {
        return Some("fastapi[standard]".to_owned());
    }
    Some(name)
}
