//! Python: Django by its `manage.py`, then the usual names, served by uvicorn or gunicorn where those are declared.
//!
//! Nothing here migrates a database: nobody asked for that.

use std::collections::BTreeSet;

use super::Start;
use crate::install::{manifest, plan::InstallError, python, view::View};

/// The names that are tried, in order.
const NAMES: [&str; 5] = ["main.py", "app.py", "start.py", "bot.py", "server.py"];

pub(super) fn start(view: &dyn View) -> Result<Option<Start>, InstallError> {
    if let Some(start) = django(view)? {
        return Ok(Some(start));
    }
    let Some(file) = manifest::first_file(view, &NAMES)? else { return Ok(None) };
    let text = manifest::text(view, file)?.unwrap_or_default();
    let declared = python::declared(view)?;
    Ok(Some(served(file, &text, &declared).unwrap_or_else(|| Start::words(&format!("python3 {file}"), file))))
}

/// By a server, if the file holds an app and does not serve it itself.
fn served(file: &str, text: &str, declared: &BTreeSet<String>) -> Option<Start> {
    let module = file.trim_end_matches(".py");
    if let Some(app) = assigned(text, "FastAPI")
        && declared.contains("uvicorn")
        && !text.contains("uvicorn.run(")
    {
        let line = format!("uvicorn {module}:{app} --host 0.0.0.0 --port \"${{PORT:-8000}}\"");
        return Some(Start::shell(&line, format!("{file} (FastAPI)")));
    }
    let app = assigned(text, "Flask")?;
    if declared.contains("gunicorn") {
        let line = format!("gunicorn {module}:{app} --bind \"0.0.0.0:${{PORT:-8000}}\"");
        return Some(Start::shell(&line, format!("{file} (Flask)")));
    }
    if text.contains(&format!("{app}.run(")) {
        return None;
    }
    let line = format!("flask --app {module}:{app} run --host 0.0.0.0 --port \"${{PORT:-8000}}\"");
    Some(Start::shell(&line, format!("{file} (Flask; gunicorn is not declared)")))
}

/// The name to which a module assigns an instance of `class`.
fn assigned<'a>(text: &'a str, class: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        let made = right.trim_start();
        let made = made.split_once('.').filter(|(module, _)| is_name(module)).map_or(made, |(_, name)| name);
        let name = left.split(':').next()?.trim_end();
        (made.starts_with(&format!("{class}(")) && is_name(name)).then_some(name)
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn django(view: &dyn View) -> Result<Option<Start>, InstallError> {
    let Some(manage) = manifest::text(view, "manage.py")?.filter(|text| text.contains("DJANGO_SETTINGS_MODULE")) else {
        return Ok(None);
    };
    if python::declared(view)?.contains("gunicorn")
        && let Some(package) = settings(&manage)
        && manifest::is_file(view, &format!("{package}/wsgi.py"))?
    {
        let line = format!("gunicorn {package}.wsgi --bind \"0.0.0.0:${{PORT:-8000}}\"");
        return Ok(Some(Start::shell(&line, "manage.py (Django)")));
    }
    let line = "python3 manage.py runserver --noreload \"0.0.0.0:${PORT:-8000}\"";
    Ok(Some(Start::shell(line, "manage.py (Django; gunicorn is not declared)")))
}

/// The package of the settings that manage.py names: `site` of `'site.settings'`.
fn settings(manage: &str) -> Option<&str> {
    let after = manage.split("DJANGO_SETTINGS_MODULE").nth(1)?;
    let name = after.split(['\'', '"']).map(str::trim).find(|word| word.contains('.'))?;
    let package = name.split('.').next()?;
    is_name(package).then_some(package)
}
