//! The ecosystems that have one tool each: Deno, PHP, Ruby, Go, Rust, Elixir, .NET.

use super::{
    manifest,
    plan::{InstallError, Otherwise, Place, Plan, Step, Usual, Versions},
    view::View,
};

/// Whether deno is at home here.
pub(super) fn has_deno(view: &dyn View) -> Result<bool, InstallError> {
    Ok(manifest::first_file(view, &["deno.lock", "deno.json", "deno.jsonc"])?.is_some())
}

pub(super) fn deno(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let Some(because) = manifest::first_file(view, &["deno.lock", "deno.json", "deno.jsonc"])? else { return Ok(()) };
    let locked = because == "deno.lock";
    let configuration = match manifest::json(view, "deno.json")? {
        Some(configuration) => Some(configuration),
        None => manifest::json(view, "deno.jsonc")?,
    };
    let has = |field| configuration.as_ref().is_some_and(|configuration| configuration.get(field).is_some());
    let command = if locked { "deno install --frozen" } else { "deno install" };
    let fix = "COPY --from=denoland/deno:bin /deno /usr/local/bin/deno";
    let mut step = Step::new("deno", command, because)
        .cache("~/.cache/deno")
        .place("DENO_DIR", Usual::Home(".cache/deno"), true)
        .set("DENO_NO_UPDATE_CHECK", "1")
        .whole_tree(if has("workspace") { Some("the members of the workspace must be there") } else { None })
        .fix(fix);
    let refuse = format!(
        "deno before 2.0 is in this image, whose \"deno install\" is another thing: add {fix:?} to the Dockerfile"
    );
    step.versions = Some(Versions { majors: (2, u32::MAX), otherwise: Otherwise::Refuse(refuse) });
    plan.steps.push(step);
    if !locked && (has("imports") || has("workspace")) {
        plan.warnings.push(unlocked(because, "deno.lock"));
    }
    Ok(())
}

pub(super) fn php(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let Some(because) = manifest::first_file(view, &["composer.lock", "composer.json"])? else { return Ok(()) };
    let manifest = manifest::json(view, "composer.json")?;
    let reads_more = ["autoload", "autoload-dev", "scripts", "repositories"];
    let reads_more = reads_more.iter().any(|field| manifest.as_ref().is_some_and(|it| it.get(field).is_some()));
    plan.steps.push(
        Step::new("composer", "composer install --no-interaction --prefer-dist", because)
            .cache("~/.cache/composer")
            .place("COMPOSER_CACHE_DIR", Usual::Home(".cache/composer"), false)
            .whole_tree(reads_more.then_some("autoloading, scripts and repositories of composer.json read the sources"))
            .fix("COPY --from=composer:2 /usr/bin/composer /usr/local/bin/composer"),
    );
    if because == "composer.json" {
        plan.warnings.push(unlocked(because, "composer.lock"));
    }
    Ok(())
}

pub(super) fn ruby(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let Some(because) = manifest::first_file(view, &["Gemfile.lock", "Gemfile"])? else { return Ok(()) };
    let mut step = Step::new("bundle", "bundle install", because)
        .cache("vendor/bundle")
        .whole_tree(Some("a Gemfile is a program and may read any file"))
        .fix("RUN apt-get update && apt-get install -y ruby-bundler build-essential ruby-dev");
    // Images of Ruby set GEM_HOME, where gems may be waiting already.
    let usual = Usual::Workspace("vendor/bundle");
    step.places.push(Place { variable: "BUNDLE_PATH", within: Some(("GEM_HOME", "")), usual, for_app: true });
    if because == "Gemfile.lock" {
        step = step.set("BUNDLE_FROZEN", "true");
    } else {
        plan.warnings.push(unlocked(because, "Gemfile.lock"));
    }
    plan.steps.push(step);
    Ok(())
}

pub(super) fn go(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let Some(because) = manifest::first_file(view, &["go.work", "go.mod"])? else { return Ok(()) };
    let text = manifest::text(view, because)?.unwrap_or_default();
    let local = because == "go.work" || text.lines().any(|line| line.contains("=> .") || line.contains("=> /"));
    let mut step = Step::new("go", "go mod download", because)
        .cache("~/go/pkg/mod")
        .whole_tree(local.then_some("modules of the workspace and replaced ones must be there"))
        .fix("COPY --from=golang:1 /usr/local/go /usr/local/go");
    let usual = Usual::Home("go/pkg/mod");
    step.places.push(Place { variable: "GOMODCACHE", within: Some(("GOPATH", "pkg/mod")), usual, for_app: true });
    plan.steps.push(step.place("GOCACHE", Usual::Home(".cache/go-build"), true));
    if because == "go.mod" && text.contains("require") && !manifest::is_file(view, "go.sum")? {
        plan.warnings.push(unlocked(because, "go.sum"));
    }
    Ok(())
}

pub(super) fn rust(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    if !manifest::is_file(view, "Cargo.toml")? {
        return Ok(());
    }
    let locked = manifest::is_file(view, "Cargo.lock")?;
    let (command, because) =
        if locked { ("cargo fetch --locked", "Cargo.lock") } else { ("cargo fetch", "Cargo.toml") };
    plan.steps.push(
        Step::new("cargo", command, because)
            .cache("~/.cargo")
            .place("CARGO_HOME", Usual::Home(".cargo"), true)
            .whole_tree(Some("cargo looks for the targets and members of a package"))
            .fix("RUN apt-get update && apt-get install -y cargo"),
    );
    if !locked {
        plan.warnings.push(unlocked(because, "Cargo.lock"));
    }
    Ok(())
}

pub(super) fn elixir(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let Some(because) = manifest::first_file(view, &["mix.lock", "mix.exs"])? else { return Ok(()) };
    let reads_more = Some("mix.exs is a program and may read any file");
    let fix = "RUN apt-get update && apt-get install -y elixir";
    let places =
        |step: Step| step.place("MIX_HOME", Usual::Home(".mix"), true).place("HEX_HOME", Usual::Home(".hex"), true);
    // Images of Elixir come without Hex, and mix would ask whether it may fetch it.
    plan.steps
        .push(places(Step::new("mix", "mix local.hex --force --if-missing", because)).whole_tree(reads_more).fix(fix));
    let command = if because == "mix.lock" { "mix deps.get --check-locked" } else { "mix deps.get" };
    plan.steps.push(places(Step::new("mix", command, because)).cache("deps/").whole_tree(reads_more).fix(fix));
    if because == "mix.exs" {
        plan.warnings.push(unlocked(because, "mix.lock"));
    }
    Ok(())
}

pub(super) fn dotnet(view: &dyn View, plan: &mut Plan) -> Result<(), InstallError> {
    let names = view.names().map_err(|error| manifest::broken(".", error))?;
    let with = |endings: &[&str]| -> Vec<&String> {
        names.iter().filter(|name| endings.iter().any(|ending| name.ends_with(ending))).collect()
    };
    let projects = with(&[".csproj", ".fsproj"]);
    let solutions = with(&[".sln", ".slnx"]);
    // dotnet refuses to choose between two: one solution stands for all its projects, else each is named.
    let chosen = match (projects.len(), solutions.as_slice()) {
        (0, _) => return Ok(()),
        (_, [solution]) => vec![*solution],
        _ => projects.clone(),
    };
    let locked = manifest::is_file(view, "packages.lock.json")?;
    for name in chosen {
        if !manifest::is_file(view, name)? {
            continue;
        }
        let mut step = Step::new("dotnet", "dotnet restore", name)
            .cache("~/.nuget/packages")
            .place("NUGET_PACKAGES", Usual::Home(".nuget/packages"), true)
            .set("DOTNET_NOLOGO", "1")
            .whole_tree(Some("projects refer to one another"))
            .fix("RUN apt-get update && apt-get install -y dotnet-sdk-8.0");
        if projects.len() + solutions.len() > 1 {
            step.command.push(name.clone());
        }
        if locked {
            step.command.push("--locked-mode".to_owned());
        }
        plan.steps.push(step);
    }
    Ok(())
}

fn unlocked(file: &str, lock: &str) -> String {
    format!("{file} is there without {lock}: the newest versions that fit are taken")
}
