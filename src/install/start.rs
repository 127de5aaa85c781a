//! How an app is started when nobody says: a Procfile, then what each ecosystem takes for granted.
//!
//! Pure over a view, and asked before the install as well (`--explain`): what counts is what is declared, not what is
//! installed. A shell stands before a command only where `$PORT` must be read, and hands over to it by `exec`: nothing
//! may lie between the app and its signals.

mod node;
mod python;
mod shell;

use super::{
    languages, manifest,
    plan::{InstallError, NoStart, Start, words},
    view::View,
};

/// What is looked for, in this order.
const LOOKED_FOR: [&str; 7] = [
    "Procfile (web:, then worker:)",
    "package.json (scripts.start, then main)",
    "index.js (bun: index.ts)",
    "manage.py of Django, main.py, app.py, start.py, bot.py, server.py",
    "config.ru",
    "public/index.php, index.php",
    "main.ts (Deno)",
];

/// See [`super::start_command`].
pub(super) fn start_command(view: &dyn View) -> Result<Start, InstallError> {
    for find in [procfile, node::start, python::start, ruby, php, deno] {
        if let Some(start) = find(view)? {
            return Ok(start);
        }
    }
    Err(InstallError::NoStart(NoStart { looked_for: LOOKED_FOR.map(str::to_owned).to_vec() }))
}

impl Start {
    /// A command whose words are separated by spaces.
    fn words(command: &str, because: impl Into<String>) -> Self {
        Self { command: words(command), environment: Vec::new(), path: Vec::new(), because: because.into() }
    }

    /// A command line that a shell reads, because it holds variables.
    fn shell(line: &str, because: impl Into<String>) -> Self {
        let command = vec!["sh".to_owned(), "-c".to_owned(), shell::handing_over(line)];
        Self { command, environment: Vec::new(), path: Vec::new(), because: because.into() }
    }
}

fn procfile(view: &dyn View) -> Result<Option<Start>, InstallError> {
    let Some(text) = manifest::text(view, "Procfile")? else { return Ok(None) };
    for process in ["web", "worker"] {
        let line = text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == process);
        if let Some((_, line)) = line.filter(|(_, line)| !line.trim().is_empty()) {
            return Ok(Some(Start::shell(line.trim(), format!("Procfile ({process}:)"))));
        }
    }
    Ok(None)
}

fn ruby(view: &dyn View) -> Result<Option<Start>, InstallError> {
    if !manifest::is_file(view, "config.ru")? {
        return Ok(None);
    }
    let gems = manifest::text(view, "Gemfile")?.unwrap_or_default();
    let has = |gem: &str| {
        let declares = |line: &str| {
            let line = line.trim();
            line.starts_with("gem ") && (line.contains(&format!("\"{gem}\"")) || line.contains(&format!("'{gem}'")))
        };
        gems.lines().any(declares)
    };
    let bundle = if gems.is_empty() { "" } else { "bundle exec " };
    Ok(Some(if !has("puma") {
        Start::shell(&format!("{bundle}rackup config.ru --host 0.0.0.0 --port \"${{PORT:-9292}}\""), "config.ru")
    } else if manifest::is_file(view, "config/puma.rb")? {
        Start::words(&format!("{bundle}puma -C config/puma.rb"), "config.ru")
    } else {
        Start::shell(&format!("{bundle}puma -b \"tcp://0.0.0.0:${{PORT:-9292}}\" config.ru"), "config.ru")
    }))
}

fn php(view: &dyn View) -> Result<Option<Start>, InstallError> {
    // A public/ beside a composer.json or .env keeps those off the web: it goes before the top.
    let (root, because) = if manifest::is_file(view, "public/index.php")? {
        ("public", "public/index.php")
    } else if manifest::is_file(view, "index.php")? {
        (".", "index.php")
    } else if manifest::is_directory(view, "public")? && manifest::is_file(view, "composer.json")? {
        ("public", "public/ beside composer.json")
    } else {
        return Ok(None);
    };
    Ok(Some(Start::shell(&format!("php -S \"0.0.0.0:${{PORT:-8000}}\" -t {root}"), because)))
}

fn deno(view: &dyn View) -> Result<Option<Start>, InstallError> {
    for file in ["deno.json", "deno.jsonc"] {
        let start = manifest::json(view, file)?;
        if start.as_ref().and_then(|configuration| configuration.get("tasks")?.get("start")).is_some() {
            return Ok(Some(Start::words("deno task start", format!("{file} (tasks.start)"))));
        }
    }
    let ours = languages::has_deno(view)? || !manifest::is_file(view, "package.json")?;
    Ok((ours && manifest::is_file(view, "main.ts")?).then(|| Start::words("deno run -A main.ts", "main.ts")))
}
