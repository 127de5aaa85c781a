//! Tables of directories and what detection says of them, each row of the install table and each sentence around it.

use super::start_command;
use super::{
    Install, InstallError, Memory, Otherwise, Plan, Start, Step, Usual, choose, command_line, detect, explain,
};

type Files<'a> = &'a [(&'a str, &'a str)];

fn plan(files: Files<'_>) -> Plan {
    detect(&Memory::new(files.iter().copied())).unwrap()
}

/// `COMMAND <- BECAUSE`, one a step.
fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} <- {}", command_line(&step.command), step.because)).collect()
}

fn only(files: Files<'_>) -> Step {
    let mut plan = plan(files);
    assert_eq!(plan.steps.len(), 1, "{:?}", lines(&plan));
    plan.steps.remove(0)
}

const DEPENDS: &str = r#"{"dependencies": {"left-pad": "^1.3.0"}}"#;

#[test]
fn a_locked_project_is_installed_as_locked_and_nothing_is_warned_of() {
    let table: &[(Files<'_>, &[&str])] = &[
        (&[], &[]),
        (&[("package.json", DEPENDS), ("package-lock.json", "{}")], &["npm ci <- package-lock.json"]),
        (&[("package.json", "{}"), ("package-lock.json", "{}")], &["npm ci <- package-lock.json"]),
        (&[("package.json", DEPENDS), ("npm-shrinkwrap.json", "{}")], &["npm ci <- npm-shrinkwrap.json"]),
        (
            &[("package.json", DEPENDS), ("npm-shrinkwrap.json", "{}"), ("package-lock.json", "{}")],
            &["npm ci <- npm-shrinkwrap.json"],
        ),
        (
            &[("package.json", DEPENDS), ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")],
            &["pnpm install --frozen-lockfile --prefer-offline <- pnpm-lock.yaml"],
        ),
        (
            &[("package.json5", "{dependencies: {a: '1'}}"), ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")],
            &["pnpm install --frozen-lockfile --prefer-offline <- pnpm-lock.yaml"],
        ),
        (
            &[("package.json", DEPENDS), ("yarn.lock", "# yarn lockfile v1\n")],
            &["yarn install --frozen-lockfile <- yarn.lock"],
        ),
        (
            &[("package.json", DEPENDS), ("yarn.lock", "__metadata:\n  version: 8\n"), (".yarnrc.yml", "")],
            &["yarn install --immutable <- yarn.lock"],
        ),
        (
            &[("package.json", DEPENDS), ("yarn.lock", "# by yarn\n\n__metadata:\n  version: 8\n")],
            &["yarn install --immutable <- yarn.lock"],
        ),
        (&[("package.json", DEPENDS), ("bun.lock", "{}")], &["bun install --frozen-lockfile <- bun.lock"]),
        (&[("package.json", DEPENDS), ("bun.lockb", "\0")], &["bun install --frozen-lockfile <- bun.lockb"]),
        (
            &[("package.json", DEPENDS), ("bun.lockb", "\0"), ("bun.lock", "{}")],
            &["bun install --frozen-lockfile <- bun.lock"],
        ),
        (&[("deno.lock", "{}"), ("deno.json", "{}")], &["deno install --frozen <- deno.lock"]),
        (&[("deno.json", "{}")], &["deno install <- deno.json"]),
        (&[("deno.jsonc", "// here\n{\"tasks\": {},}")], &["deno install <- deno.jsonc"]),
        (&[("uv.lock", ""), ("pyproject.toml", "")], &["uv sync --locked <- uv.lock"]),
        (&[("poetry.lock", ""), ("pyproject.toml", "")], &["poetry sync --no-interaction --no-ansi <- poetry.lock"]),
        (&[("pdm.lock", ""), ("pyproject.toml", "")], &["pdm install --check --no-editable <- pdm.lock"]),
        (&[("Pipfile.lock", ""), ("Pipfile", "")], &["pipenv install --deploy --dev <- Pipfile.lock"]),
        (
            &[("requirements.txt", "flask\n")],
            &[
                "python3 -m venv .venv <- requirements.txt",
                ".venv/bin/pip install -r requirements.txt <- requirements.txt",
            ],
        ),
        (
            &[("composer.lock", "{}"), ("composer.json", "{}")],
            &["composer install --no-interaction --prefer-dist <- composer.lock"],
        ),
        (&[("Gemfile.lock", ""), ("Gemfile", "")], &["bundle install <- Gemfile.lock"]),
        (&[("go.mod", "module x"), ("go.sum", "")], &["go mod download <- go.mod"]),
        (&[("go.work", "use ./a"), ("go.mod", "module x")], &["go mod download <- go.work"]),
        (&[("Cargo.toml", ""), ("Cargo.lock", "")], &["cargo fetch --locked <- Cargo.lock"]),
        (
            &[("mix.lock", ""), ("mix.exs", "")],
            &["mix local.hex --force --if-missing <- mix.lock", "mix deps.get --check-locked <- mix.lock"],
        ),
        (&[("a.csproj", "")], &["dotnet restore <- a.csproj"]),
        (&[("a.fsproj", ""), ("packages.lock.json", "{}")], &["dotnet restore --locked-mode <- a.fsproj"]),
        (
            &[("a.csproj", ""), ("b.fsproj", "")],
            &["dotnet restore a.csproj <- a.csproj", "dotnet restore b.fsproj <- b.fsproj"],
        ),
        (&[("a.csproj", ""), ("b.csproj", ""), ("all.sln", "")], &["dotnet restore all.sln <- all.sln"]),
    ];
    for (files, wanted) in table {
        let plan = plan(files);
        assert_eq!(lines(&plan), *wanted, "{files:?}");
        assert_eq!(plan.warnings, Vec::<String>::new(), "{files:?}");
    }
}

#[test]
fn a_manifest_alone_is_installed_unlocked_with_a_warning() {
    let table: &[(Files<'_>, &[&str], &str)] = &[
        (&[("package.json", DEPENDS)], &["npm install <- package.json"], "has no lockfile: npm takes the newest"),
        (
            &[("package.json", r#"{"dependencies": {"a": "1"}, "engines": {"pnpm": ">=9"}}"#)],
            &["pnpm install <- package.json#engines.pnpm"],
            "has no lockfile",
        ),
        (
            &[("package.json", r#"{"dependencies": {"a": "1"}, "engines": {"bun": "1"}}"#)],
            &["bun install <- package.json#engines.bun"],
            "has no lockfile",
        ),
        (
            &[("package.json", r#"{"dependencies": {"a": "1"}, "engines": {"yarn": "^1.22"}}"#)],
            &["yarn install <- package.json#engines.yarn"],
            "has no lockfile",
        ),
        (
            &[("package.json5", "{dependencies: {a: '1'}}")],
            &["pnpm install <- package.json5"],
            "package.json5 has no lockfile",
        ),
        (&[("Pipfile", "[packages]")], &["pipenv install --dev <- Pipfile"], "Pipfile has no lockfile"),
        (&[("pyproject.toml", "[tool.uv]\n")], &["uv sync <- pyproject.toml"], "pyproject.toml has no lockfile: uv"),
        (
            &[("pyproject.toml", "[tool.poetry]\nname = 'x'\n")],
            &["poetry install --no-interaction --no-ansi <- pyproject.toml"],
            "pyproject.toml has no lockfile: poetry",
        ),
        (
            &[("pyproject.toml", "[tool.pdm]\n")],
            &["pdm install --no-editable <- pyproject.toml"],
            "pyproject.toml has no lockfile: pdm",
        ),
        (
            &[("pyproject.toml", "[project]\nname = 'x'\n[build-system]\nrequires = []\n")],
            &["python3 -m venv .venv <- pyproject.toml", ".venv/bin/pip install --editable . <- pyproject.toml"],
            "pyproject.toml has no lockfile: pip",
        ),
        (
            &[(
                "pyproject.toml",
                "[project]\ndependencies = ['flask>=3']\n[dependency-groups]\ndev = ['pytest', {}]\n",
            )],
            &["python3 -m venv .venv <- pyproject.toml", ".venv/bin/pip install 'flask>=3' pytest <- pyproject.toml"],
            "pyproject.toml has no lockfile: pip",
        ),
        (
            &[("setup.py", "")],
            &["python3 -m venv .venv <- setup.py", ".venv/bin/pip install --editable . <- setup.py"],
            "setup.py has no lockfile",
        ),
        (
            &[("composer.json", "{}")],
            &["composer install --no-interaction --prefer-dist <- composer.json"],
            "composer.json is there without composer.lock",
        ),
        (&[("Gemfile", "")], &["bundle install <- Gemfile"], "Gemfile is there without Gemfile.lock"),
        (&[("go.mod", "require x v1")], &["go mod download <- go.mod"], "go.mod is there without go.sum"),
        (&[("Cargo.toml", "")], &["cargo fetch <- Cargo.toml"], "Cargo.toml is there without Cargo.lock"),
        (
            &[("mix.exs", "")],
            &["mix local.hex --force --if-missing <- mix.exs", "mix deps.get <- mix.exs"],
            "mix.exs is there without mix.lock",
        ),
        (
            &[("deno.json", r#"{"imports": {"a": "jsr:@a/a"}}"#)],
            &["deno install <- deno.json"],
            "deno.json is there without deno.lock",
        ),
    ];
    for (files, wanted, warning) in table {
        let plan = plan(files);
        assert_eq!(lines(&plan), *wanted, "{files:?}");
        assert_eq!(plan.warnings.len(), 1, "{files:?} {:?}", plan.warnings);
        assert!(plan.warnings[0].contains(warning), "{files:?} {:?}", plan.warnings);
    }
}

#[test]
fn a_manifest_that_asks_for_nothing_installs_nothing() {
    for files in [
        &[("package.json", r#"{"scripts": {"start": "node x"}, "dependencies": {}}"#)][..],
        &[("pyproject.toml", "[tool.ruff]\nline-length = 100\n")],
        &[("README.md", "")],
        &[("frontend/package.json", DEPENDS), ("frontend/package-lock.json", "{}")],
    ] {
        assert_eq!(plan(files), Plan::default(), "{files:?}");
    }
    let wanted = plan(&[("package.json", r#"{"scripts": {"postinstall": "node build.js"}}"#)]);
    assert_eq!(lines(&wanted), ["npm install <- package.json"]);
}

#[test]
fn two_lockfiles_of_one_ecosystem_are_an_error_that_names_both() {
    let table: &[(Files<'_>, &str)] = &[
        (
            &[("package.json", "{}"), ("package-lock.json", "{}"), ("yarn.lock", "")],
            "package-lock.json (npm) and yarn.lock (yarn) are both there",
        ),
        (
            &[("package.json", "{}"), ("pnpm-lock.yaml", ""), ("bun.lockb", "")],
            "pnpm-lock.yaml (pnpm) and bun.lockb (bun) are both there",
        ),
        (&[("uv.lock", ""), ("poetry.lock", "")], "uv.lock (uv) and poetry.lock (poetry) are both there"),
        (&[("pdm.lock", ""), ("Pipfile.lock", "")], "pdm.lock (pdm) and Pipfile.lock (pipenv) are both there"),
    ];
    for (files, wanted) in table {
        let error = detect(&Memory::new(files.iter().copied())).unwrap_err();
        assert!(matches!(error, InstallError::TwoLockfiles { .. }));
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn package_manager_decides_between_lockfiles_and_its_hash_is_cut_off() {
    let package = r#"{"packageManager": "pnpm@9.12.3+sha512.abc", "dependencies": {"a": "1"}}"#;
    let files = [("package.json", package), ("package-lock.json", "{}"), ("pnpm-lock.yaml", "lockfileVersion: '9.0'")];
    let plan = plan(&files);
    assert_eq!(lines(&plan), ["pnpm install --frozen-lockfile --prefer-offline <- package.json#packageManager"]);
    assert_eq!(plan.warnings, ["package-lock.json of npm does not count: packageManager says pnpm"]);
    assert!(plan.steps[0].fix.starts_with("add \"RUN npm install -g pnpm@9.12.3\" to"), "{}", plan.steps[0].fix);
}

#[test]
fn package_manager_goes_before_the_lockfile_and_engines_after_it() {
    let named = r#"{"packageManager": "yarn@4.5.0", "engines": {"pnpm": "9"}, "dependencies": {"a": "1"}}"#;
    let plan_named = plan(&[("package.json", named), ("package-lock.json", "{}")]);
    assert_eq!(lines(&plan_named), ["yarn install <- package.json#packageManager"]);
    assert_eq!(plan_named.warnings.len(), 2, "{:?}", plan_named.warnings);

    let engines = r#"{"engines": {"pnpm": "9"}, "dependencies": {"a": "1"}}"#;
    assert_eq!(
        lines(&plan(&[("package.json", engines), ("package-lock.json", "{}")])),
        ["npm ci <- package-lock.json"]
    );

    let unknown = r#"{"packageManager": "cnpm@9", "dependencies": {"a": "1"}}"#;
    let unknown = plan(&[("package.json", unknown), ("package-lock.json", "{}")]);
    assert_eq!(lines(&unknown), ["npm ci <- package-lock.json"]);
    assert!(unknown.warnings[0].contains("\"cnpm\""));
}

#[test]
fn every_ecosystem_at_the_top_is_installed_once() {
    let files = [
        ("package.json", r#"{"workspaces": ["web"], "dependencies": {"a": "1"}}"#),
        ("package-lock.json", "{}"),
        ("web/package.json", DEPENDS),
        ("web/yarn.lock", ""),
        ("requirements.txt", "flask"),
        ("uv.lock", ""),
        ("go.mod", "module x"),
        ("composer.json", "{}"),
        ("composer.lock", "{}"),
    ];
    let wanted = [
        "npm ci <- package-lock.json",
        "uv sync --locked <- uv.lock",
        "composer install --no-interaction --prefer-dist <- composer.lock",
        "go mod download <- go.mod",
    ];
    assert_eq!(lines(&plan(&files)), wanted);
}

#[test]
fn the_order_of_python_is_uv_poetry_pdm_pipenv_requirements() {
    for (lock, tool) in [("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"), ("Pipfile.lock", "pipenv")]
    {
        let step = only(&[(lock, ""), ("Pipfile", ""), ("requirements.txt", "x"), ("pyproject.toml", "[tool.uv]")]);
        assert_eq!((step.tool.as_str(), step.because.as_str()), (tool, lock));
    }
    assert_eq!(only(&[("Pipfile", ""), ("requirements.txt", "x"), ("pyproject.toml", "[tool.uv]")]).tool, "pipenv");
    let plan = plan(&[("requirements.txt", "x"), ("pyproject.toml", "[tool.poetry]")]);
    assert_eq!(plan.steps[1].because, "requirements.txt");
}

#[test]
fn deno_takes_a_package_json_that_nobody_else_claims() {
    assert_eq!(lines(&plan(&[("deno.lock", ""), ("package.json", DEPENDS)])), ["deno install --frozen <- deno.lock"]);
    let both = plan(&[("deno.lock", ""), ("package.json", DEPENDS), ("package-lock.json", "{}")]);
    assert_eq!(lines(&both), ["npm ci <- package-lock.json", "deno install --frozen <- deno.lock"]);
}

#[test]
fn the_lockfile_tells_which_pnpm() {
    for (version, engines, fix, majors) in [
        ("5.3", "", "pnpm@6", Some((6, 6))),
        ("5.4", "", "pnpm@7", Some((7, 7))),
        ("'6.0'", "", "pnpm@8", Some((8, 8))),
        ("'6.1'", ">=9", "pnpm@8", Some((8, 8))),
        ("'9.0'", "", "pnpm@9", Some((9, 11))),
        ("'9.0'", ">=10 <11", "pnpm@10", Some((9, 11))),
        ("\"9.0\"", "^8", "pnpm@9", Some((9, 11))),
        ("'12.0'", "", "pnpm\"", None),
    ] {
        let package = format!(r#"{{"engines": {{"pnpm": "{engines}"}}}}"#);
        // pnpm 11 puts a document about itself before the lockfile proper.
        let lock = format!("---\nlockfileVersion: {version}\n\nsettings:\n  a: b\n");
        let step = only(&[("package.json", &package), ("pnpm-lock.yaml", &lock)]);
        assert!(step.fix.contains(&format!("npm install -g {fix}")), "{version} {engines}: {}", step.fix);
        assert_eq!(step.versions.as_ref().map(|versions| versions.majors), majors, "{version}");
        if majors.is_some() {
            assert!(
                step.fix
                    .ends_with(&format!("(pnpm-lock.yaml has lockfileVersion {})", version.trim_matches(['\'', '"'])))
            );
        }
    }
}

#[test]
fn pnpm_never_puts_its_store_into_the_workspace() {
    let step = only(&[("package.json", DEPENDS), ("pnpm-lock.yaml", "")]);
    let told = step.places.iter().filter(|place| matches!(place.usual, Usual::ToldHome(_)));
    assert_eq!(told.map(|place| place.variable).collect::<Vec<_>>(), ["npm_config_store_dir", "pnpm_config_store_dir"]);
}

#[test]
fn yarn_one_and_later_ones_are_told_apart() {
    let one = ("yarn.lock", "# yarn lockfile v1\n");
    let later = ("yarn.lock", "__metadata:\n  version: 6\n");
    let package = |version: &str| format!(r#"{{"packageManager": "yarn@{version}"}}"#);
    let table: &[(&str, Files<'_>, &str, usize)] = &[
        ("1.22.22", &[one], "yarn install --frozen-lockfile", 0),
        ("1.22.22", &[one, (".yarnrc.yml", "")], "yarn install --frozen-lockfile", 0),
        ("1.22.22", &[later], "yarn install --frozen-lockfile", 1),
        ("4.1.0", &[later], "yarn install --immutable", 0),
        ("4.1.0", &[one], "yarn install --immutable", 1),
        ("https://x/yarn.js", &[later], "yarn install --immutable", 0),
    ];
    for (version, files, command, warnings) in table {
        let package = package(version);
        let mut files = files.to_vec();
        files.push(("package.json", &package));
        let plan = plan(&files);
        assert_eq!(command_line(&plan.steps[0].command), *command, "{version} {files:?}");
        assert_eq!(plan.warnings.len(), *warnings, "{version} {:?}", plan.warnings);
    }
    let refuses = only(&[("package.json", "{}"), later]);
    let versions = refuses.versions.unwrap();
    assert!(matches!(&versions.otherwise, Otherwise::Refuse(text) if text.contains("@yarnpkg/cli-dist@3")));
    assert_eq!(versions.majors.0, 2);
}

#[test]
fn zero_install_needs_both_the_map_and_the_cache() {
    let files = [("package.json", DEPENDS), ("yarn.lock", "__metadata:\n"), (".pnp.cjs", "")];
    assert_eq!(plan(&files).steps.len(), 1);
    let both = plan(&[files[0], files[1], files[2], (".yarn/cache/a.zip", "")]);
    assert_eq!(both.steps, []);
    assert!(both.warnings[0].contains("zero-install"));
}

#[test]
fn an_install_that_reads_more_than_manifests_waits_for_the_whole_tree() {
    let lock = ("package-lock.json", "{}");
    let table: &[(Files<'_>, bool)] = &[
        (&[("package.json", DEPENDS), lock], false),
        (&[("package.json", r#"{"workspaces": ["a"]}"#), lock], true),
        (&[("package.json", r#"{"scripts": {"postinstall": "x"}}"#), lock], true),
        (&[("package.json", r#"{"scripts": {"prepare": "husky"}}"#), lock], true),
        (&[("package.json", r#"{"scripts": {"start": "x", "test": "y"}}"#), lock], false),
        (&[("package.json", r#"{"dependencies": {"a": "file:../a"}}"#), lock], true),
        (&[("package.json", r#"{"devDependencies": {"a": "./a"}}"#), lock], true),
        (
            &[
                ("package.json", r#"{"pnpm": {"patchedDependencies": {"a": "patches/a.patch"}}}"#),
                ("pnpm-lock.yaml", ""),
            ],
            true,
        ),
        (&[("package.json", DEPENDS), lock, ("binding.gyp", "")], true),
        (&[("package.json", DEPENDS), ("pnpm-lock.yaml", "")], false),
        (&[("package.json", DEPENDS), ("pnpm-lock.yaml", ""), ("pnpm-workspace.yaml", "packages:\n  - a\n")], true),
        (
            &[
                ("package.json", DEPENDS),
                ("pnpm-lock.yaml", ""),
                ("pnpm-workspace.yaml", "onlyBuiltDependencies: [a]\n"),
            ],
            false,
        ),
        (&[("package.json", DEPENDS), ("yarn.lock", "__metadata:")], true),
        (&[("package.json", DEPENDS), ("yarn.lock", "# yarn lockfile v1")], false),
        (&[("uv.lock", "")], true),
        (&[("poetry.lock", "")], true),
        (&[("requirements.txt", "flask\n# -r x\n")], false),
        (&[("requirements.txt", "-r base.txt\n")], true),
        (&[("requirements.txt", "-e .\n")], true),
        (&[("requirements.txt", "./wheels/x.whl\n")], true),
        (&[("requirements.txt", "x @ file:///workspace/x\n")], true),
        (&[("composer.json", "{}"), ("composer.lock", "{}")], false),
        (&[("composer.json", r#"{"scripts": {}}"#), ("composer.lock", "{}")], true),
        (&[("Gemfile", ""), ("Gemfile.lock", "")], true),
        (&[("go.mod", "module x"), ("go.sum", "")], false),
        (&[("go.mod", "replace a => ../a"), ("go.sum", "")], true),
        (&[("go.work", "use ./a")], true),
        (&[("Cargo.toml", ""), ("Cargo.lock", "")], true),
        (&[("a.csproj", "")], true),
    ];
    for (files, wanted) in table {
        let step = plan(files).steps.pop().unwrap();
        assert_eq!(step.needs_whole_tree.is_some(), *wanted, "{files:?} {:?}", step.needs_whole_tree);
    }
}

#[test]
fn tools_get_the_variables_of_the_table() {
    let has = |files: Files<'_>, name: &str, value: &str| {
        let step = plan(files).steps.pop().unwrap();
        assert!(step.environment.contains(&(name, value.to_owned())), "{files:?} {:?}", step.environment);
    };
    has(&[("uv.lock", "")], "UV_LINK_MODE", "copy");
    has(&[("uv.lock", "")], "UV_PYTHON_DOWNLOADS", "never");
    has(&[("poetry.lock", "")], "POETRY_VIRTUALENVS_IN_PROJECT", "true");
    has(&[("Pipfile.lock", "")], "PIPENV_VENV_IN_PROJECT", "1");
    has(&[("Gemfile.lock", "")], "BUNDLE_FROZEN", "true");
    for lock in ["package-lock.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock"] {
        assert!(only(&[("package.json", "{}"), (lock, "")]).unset.contains(&"NODE_ENV"), "{lock}");
    }
}

#[test]
fn a_broken_manifest_is_an_error_that_names_it() {
    for (file, text, wanted) in [
        ("package.json", "{\n\"a\": \n}", "cannot read package.json: line 3"),
        ("package.json", "[]", "cannot read package.json: it is no object"),
        ("deno.json", "{", "cannot read deno.json: line 1"),
        ("pyproject.toml", "a = ", "cannot read pyproject.toml: "),
        ("pyproject.toml", "[project]\ndependencies = ['--index-url=http://x']", "is no dependency"),
    ] {
        let error = detect(&Memory::new([(file, text)])).unwrap_err().to_string();
        assert!(error.contains(wanted), "{file}: {error}");
    }
    let long = " ".repeat((4 << 20) + 1);
    let error = detect(&Memory::new([("package.json", long.as_str())])).unwrap_err().to_string();
    assert!(error.contains("longer than 4 MiB"), "{error}");
}

#[test]
fn a_lockfile_without_its_manifest_is_said_and_nothing_runs() {
    let plan = plan(&[("package-lock.json", "{}")]);
    assert_eq!(plan.steps, []);
    assert!(plan.warnings[0].contains("no package.json"));
}

#[test]
fn the_users_own_command_takes_the_place_of_detection() {
    let command = Install::Command(vec!["make".to_owned(), "deps".to_owned()]);
    let plan = choose(&command, || panic!("not asked")).unwrap();
    assert_eq!(lines(&plan), ["make deps <- STOPOVER_INSTALL"]);
    assert!(plan.steps[0].needs_whole_tree.is_some() && plan.steps[0].unset.is_empty());
    assert_eq!(choose(&Install::None, || panic!("not asked")).unwrap(), Plan::default());
}

fn start(files: Files<'_>) -> Start {
    start_command(&Memory::new(files.iter().copied())).unwrap()
}

#[test]
fn the_start_command_is_found_in_the_order_of_the_table() {
    let scripts = r#"{"scripts": {"start": "node server.js"}, "main": "main.js"}"#;
    let django = ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')");
    let fastapi = ("main.py", "from fastapi import FastAPI\napp = FastAPI(title=\"v1.0\")\n");
    let flask = ("app.py", "import flask\nserver = flask.Flask(__name__)\n");
    let uvicorn = "sh -c 'exec uvicorn main:app --host 0.0.0.0 --port \"${PORT:-8000}\"'";
    let table: &[(Files<'_>, &str, &str)] = &[
        (
            &[("Procfile", "release: migrate\nweb: gunicorn app -b :$PORT\n")],
            "sh -c 'exec gunicorn app -b :$PORT'",
            "Procfile (web:)",
        ),
        (&[("Procfile", "worker: node w.js\nweb: A=1 node x.js\n")], "sh -c 'A=1 exec node x.js'", "Procfile (web:)"),
        (&[("Procfile", "release: x\nworker: a && b\n")], "sh -c 'a && b'", "Procfile (worker:)"),
        (&[("Procfile", "release: x\n"), ("index.js", "")], "node index.js", "index.js"),
        (
            &[("package.json", scripts), ("main.js", ""), ("main.py", "")],
            "node server.js",
            "package.json (scripts.start)",
        ),
        (&[("package.json", r#"{"main": "./lib/app"}"#), ("lib/app.js", "")], "node lib/app.js", "package.json (main)"),
        (&[("package.json", r#"{"main": "lib"}"#), ("lib/index.js", "")], "node lib/index.js", "package.json (main)"),
        (&[("package.json", r#"{"main": "gone.js"}"#), ("index.js", "")], "node index.js", "index.js"),
        (&[("package.json", r#"{"main": "../out.js"}"#), ("index.js", "")], "node index.js", "index.js"),
        (&[("package.json", "{}"), ("bun.lock", ""), ("index.ts", ""), ("index.js", "")], "bun index.ts", "index.ts"),
        (&[("package.json", r#"{"main": "m.ts"}"#), ("bun.lock", ""), ("m.ts", "")], "bun m.ts", "package.json (main)"),
        (&[("package.json", "{}"), ("index.ts", ""), ("main.py", "")], "python3 main.py", "main.py"),
        (&[("app.py", ""), ("main.py", ""), ("server.py", "")], "python3 main.py", "main.py"),
        (&[("server.py", ""), ("bot.py", "")], "python3 bot.py", "bot.py"),
        (&[("start.py", ""), ("app.py", "")], "python3 app.py", "app.py"),
        (&[fastapi, ("requirements.txt", "FastAPI\nuvicorn[standard]>=0.3\n")], uvicorn, "main.py (FastAPI)"),
        (&[fastapi, ("requirements.txt", "fastapi[standard]\n")], uvicorn, "main.py (FastAPI)"),
        (&[fastapi, ("pyproject.toml", "[tool.poetry.dependencies]\nuvicorn = '*'\n")], uvicorn, "main.py (FastAPI)"),
        (&[fastapi, ("pyproject.toml", "[project]\ndependencies = ['uvicorn']\n")], uvicorn, "main.py (FastAPI)"),
        (&[fastapi, ("Pipfile", "[packages]\nuvicorn = '*'\n")], uvicorn, "main.py (FastAPI)"),
        (&[fastapi, ("requirements.txt", "fastapi\n")], "python3 main.py", "main.py"),
        (
            &[("main.py", "app = FastAPI()\nuvicorn.run(app)"), ("requirements.txt", "uvicorn")],
            "python3 main.py",
            "main.py",
        ),
        (
            &[flask, ("requirements.txt", "flask\ngunicorn==23\n")],
            "sh -c 'exec gunicorn app:server --bind \"0.0.0.0:${PORT:-8000}\"'",
            "app.py (Flask)",
        ),
        (
            &[flask, ("requirements.txt", "flask\n")],
            "sh -c 'exec flask --app app:server run --host 0.0.0.0 --port \"${PORT:-8000}\"'",
            "app.py (Flask; gunicorn is not declared)",
        ),
        (&[("app.py", "app = Flask(__name__)\napp.run()")], "python3 app.py", "app.py"),
        (&[("app.py", "def make():\n    app = Flask(__name__)")], "python3 app.py", "app.py"),
        (
            &[django, ("shop/wsgi.py", ""), ("requirements.txt", "Django\ngunicorn\n"), ("main.py", "")],
            "sh -c 'exec gunicorn shop.wsgi --bind \"0.0.0.0:${PORT:-8000}\"'",
            "manage.py (Django)",
        ),
        (
            &[django, ("shop/wsgi.py", ""), ("requirements.txt", "Django\n")],
            "sh -c 'exec python3 manage.py runserver --noreload \"0.0.0.0:${PORT:-8000}\"'",
            "manage.py (Django; gunicorn is not declared)",
        ),
        (
            &[("config.ru", ""), ("Gemfile", "gem \"rack\"")],
            "sh -c 'exec bundle exec rackup config.ru --host 0.0.0.0 --port \"${PORT:-9292}\"'",
            "config.ru",
        ),
        (
            &[("config.ru", ""), ("Gemfile", "gem 'puma', '~> 6'"), ("config/puma.rb", "")],
            "bundle exec puma -C config/puma.rb",
            "config.ru",
        ),
        (
            &[("config.ru", ""), ("Gemfile", "gem 'puma'")],
            "sh -c 'exec bundle exec puma -b \"tcp://0.0.0.0:${PORT:-9292}\" config.ru'",
            "config.ru",
        ),
        (&[("index.php", "")], "sh -c 'exec php -S \"0.0.0.0:${PORT:-8000}\" -t .'", "index.php"),
        (
            &[("index.php", ""), ("public/index.php", "")],
            "sh -c 'exec php -S \"0.0.0.0:${PORT:-8000}\" -t public'",
            "public/index.php",
        ),
        (
            &[("composer.json", "{}"), ("public/a.php", "")],
            "sh -c 'exec php -S \"0.0.0.0:${PORT:-8000}\" -t public'",
            "public/ beside composer.json",
        ),
        (&[("deno.json", "{}"), ("main.ts", "")], "deno run -A main.ts", "main.ts"),
        (&[("main.ts", "")], "deno run -A main.ts", "main.ts"),
        (
            &[("deno.jsonc", "{\"tasks\": {\"start\": \"x\"}, /* */}"), ("main.ts", "")],
            "deno task start",
            "deno.jsonc (tasks.start)",
        ),
    ];
    for (files, command, because) in table {
        let start = start(files);
        assert_eq!((command_line(&start.command).as_str(), start.because.as_str()), (*command, *because), "{files:?}");
    }
}

#[test]
fn npm_start_is_unwrapped_where_it_is_simple() {
    let start_of = |scripts: &str, more: Files<'_>| {
        let package = format!(r#"{{"name": "app", "version": "1.2.3", "scripts": {scripts}}}"#);
        let mut files = more.to_vec();
        files.push(("package.json", &package));
        start(&files)
    };
    let simple = start_of(r#"{"start": "NODE_ENV=production node server.js"}"#, &[]);
    assert_eq!(simple.command, ["node", "server.js"]);
    assert_eq!(simple.path, ["node_modules/.bin"]);
    let wanted = [
        ("npm_lifecycle_event", "start"),
        ("npm_package_name", "app"),
        ("npm_package_version", "1.2.3"),
        ("NODE_ENV", "production"),
    ];
    let got: Vec<_> = simple.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(got, wanted);

    let called = start_of(r#"{"start": "A=1 npm run serve", "serve": "B=2 next start"}"#, &[]);
    assert_eq!(called.command, ["next", "start"]);
    assert_eq!(called.environment[3..], [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);

    let table: &[(&str, Files<'_>, &str)] = &[
        (r#"{"start": "node a.js && node b.js"}"#, &[], "npm start"),
        (r#"{"start": "node --port $PORT"}"#, &[], "npm start"),
        (r#"{"start": "node a.js", "prestart": "node build.js"}"#, &[], "npm start"),
        (r#"{"start": "node a.js", "poststart": "x"}"#, &[], "npm start"),
        (r#"{"start": "npm run start"}"#, &[], "npm start"),
        (r#"{"start": "npm run serve"}"#, &[], "npm start"),
        (r#"{"start": "npm run serve -- --port 1", "serve": "node x"}"#, &[], "npm start"),
        (r#"{"start": "node a.js | tee log"}"#, &[("pnpm-lock.yaml", "")], "pnpm start"),
        (r#"{"start": "node a.js; true"}"#, &[("yarn.lock", "# yarn lockfile v1")], "yarn start"),
        (r#"{"start": "bun a.ts & x"}"#, &[("bun.lock", "")], "bun run start"),
        (r#"{"start": "node a.js"}"#, &[(".npmrc", "script-shell=/bin/bash")], "npm start"),
        (r#"{"start": "node a.js"}"#, &[("yarn.lock", "__metadata:")], "yarn start"),
        (
            r#"{"start": "node a.js"}"#,
            &[("yarn.lock", "__metadata:"), (".yarnrc.yml", "nodeLinker: node-modules")],
            "node a.js",
        ),
        (r#"{"start": "node a.js"}"#, &[("yarn.lock", ""), ("package-lock.json", "")], "node a.js"),
    ];
    for (scripts, more, wanted) in table {
        assert_eq!(command_line(&start_of(scripts, more).command), *wanted, "{scripts} {more:?}");
    }
}

#[test]
fn with_no_start_command_the_error_lists_what_was_looked_for() {
    let error = start_command(&Memory::new([("Cargo.toml", "")])).unwrap_err().to_string();
    for name in ["Procfile", "scripts.start", "index.js", "main.py", "config.ru", "index.php", "main.ts", "run --"] {
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn explain_has_the_keys_of_the_contract() {
    let view = Memory::new([("package.json", DEPENDS), ("package-lock.json", "{}"), ("index.js", ""), ("uv.lock", "")]);
    let explanation = explain(&view, "/workspace".as_ref(), &Install::Auto).unwrap();
    let wanted = serde_json::json!({
        "install": [
            {"tool": "npm", "command": "npm ci", "directory": "/workspace", "because": "package-lock.json", "cache": "~/.npm"},
            {"tool": "uv", "command": "uv sync --locked", "directory": "/workspace", "because": "uv.lock", "cache": "~/.cache/uv"},
        ],
        "start": {"command": "node index.js", "because": "index.js"},
        "warnings": [],
    });
    assert_eq!(serde_json::to_value(&explanation).unwrap(), wanted);
    let text = explanation.to_string();
    assert!(
        text.contains("install: npm ci\n  in /workspace, because of package-lock.json\n  cache: ~/.npm\n"),
        "{text}"
    );

    let nothing = explain(&Memory::default(), "/workspace".as_ref(), &Install::Auto).unwrap();
    let nothing = serde_json::to_value(&nothing).unwrap();
    assert_eq!((&nothing["install"], &nothing["start"]), (&serde_json::json!([]), &serde_json::Value::Null));
    assert!(nothing["warnings"][0].as_str().unwrap().starts_with("no start command"));
}
