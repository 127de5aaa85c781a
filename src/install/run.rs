//! Runs a plan: one tool after the other, then the start command and the environment of the app.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{
    InstallRequest, choose, detect,
    disk::Disk,
    outcome::{InstallOutcome, Ran},
    places::{Environment, Places, USUAL_PATH, program, value},
    plan::{InstallError, Otherwise, Step, Versions, command_line},
    process::{self, End, Limits},
    start_command,
};

/// How long a tool may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// npm's word for a lockfile that does not fit its manifest, as its log has it.
const OUT_OF_STEP: &str = "code EUSAGE";

/// See [`super::run`].
pub(super) fn run(request: &InstallRequest<'_>) -> InstallOutcome {
    let mut outcome = InstallOutcome::default();
    outcome.error = attempt(request, &mut outcome).err();
    outcome
}

fn attempt(request: &InstallRequest<'_>, outcome: &mut InstallOutcome) -> Result<(), InstallError> {
    let disk = Disk::open(&request.directory).map_err(|source| InstallError::Io {
        what: format!("cannot open the directory {}", request.directory.display()),
        source,
    })?;
    let plan = choose(&request.choice, || detect(&disk))?;
    for warning in plan.warnings {
        outcome.warn(warning);
    }
    let environment: Environment = request.environment.iter().cloned().collect();
    let runner = Runner {
        directory: &request.directory,
        environment: &environment,
        places: Places::new(&request.directory, &request.state, &environment),
        limits: Limits { deadline: after(request.timeout), cancel: request.cancel },
        timeout: request.timeout,
        tools_to_stderr: request.tools_to_stderr,
    };
    runner.missing(&plan.steps, outcome)?;
    for step in &plan.steps {
        runner.step(step, outcome)?;
    }
    if request.find_start {
        outcome.start = Some(start_command(&disk)?);
    }
    runner.paths(outcome);
    Ok(())
}

struct Runner<'a> {
    directory: &'a Path,
    environment: &'a Environment,
    places: Places<'a>,
    limits: Limits<'a>,
    timeout: Duration,
    tools_to_stderr: bool,
}

impl Runner<'_> {
    /// All missing tools at once, before the first minute is spent.
    fn missing(&self, steps: &[Step], outcome: &mut InstallOutcome) -> Result<(), InstallError> {
        let mut missing = Vec::new();
        for step in steps {
            // What has a slash is made by a step before it.
            let name = step.command.first().map_or("", String::as_str);
            if name.contains('/') && !step.fix.is_empty() || self.program(name).is_some() {
                continue;
            }
            outcome.ran.push(Ran {
                tool: step.tool.clone(),
                command: command_line(&step.command),
                exit_code: 127,
                seconds: 0.0,
            });
            let fix = if step.fix.is_empty() {
                "install it in the Dockerfile, or change STOPOVER_INSTALL"
            } else {
                &step.fix
            };
            let text = format!("{name} is not in this image: {fix}");
            if !missing.contains(&text) {
                missing.push(text);
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(InstallError::ToolMissing(missing)) }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        program(name, self.directory, value(self.environment, "PATH"))
    }

    fn step(&self, step: &Step, outcome: &mut InstallOutcome) -> Result<(), InstallError> {
        let (environment, for_app) = self.places.prepare(step);
        for (name, value) in for_app {
            outcome.set(name, value);
        }
        let command = self.fitting(step, &environment)?;
        tracing::info!("installing: {} (because of {})", command_line(&command), step.because);
        let logs = step.if_out_of_step.as_ref().and_then(|_| self.places.scratch("npm-logs"));
        let mut with_logs = environment.clone();
        if let Some(logs) = &logs {
            with_logs.insert("npm_config_logs_dir".into(), logs.into());
            with_logs.insert("npm_config_logs_max".into(), "10".into());
        }
        let status = self.tool(step, &command, &with_logs, outcome)?;
        if status.success() {
            // Only npm's words about a failure name them.
            logs.map(std::fs::remove_dir_all).transpose().ok();
            return Ok(());
        }
        if let Some(instead) = &step.if_out_of_step
            && logs.as_deref().is_some_and(says_out_of_step)
        {
            outcome.warn(format!(
                "{} DOES NOT FIT package.json ({} failed with EUSAGE): {} runs instead, takes newer versions where \
                 it must and rewrites the lockfile; look at the change and keep it",
                lockfile(step),
                command_line(&command),
                command_line(instead)
            ));
            let status = self.tool(step, instead, &environment, outcome)?;
            return if status.success() { Ok(()) } else { Err(self.failed(step, instead, status, &environment)) };
        }
        Err(self.failed(step, &command, status, &environment))
    }

    /// The command for the version of the tool that is here.
    fn fitting(&self, step: &Step, environment: &Environment) -> Result<Vec<String>, InstallError> {
        match &step.versions {
            Some(Versions { majors, otherwise: Otherwise::Older(older) }) => {
                let too_old = self.major(step, environment)?.is_some_and(|major| major < majors.0);
                Ok(if too_old { older.clone() } else { step.command.clone() })
            }
            Some(Versions { majors, otherwise: Otherwise::Refuse(why) }) => match self.major(step, environment)? {
                Some(major) if major < majors.0 || major > majors.1 => {
                    Err(InstallError::ToolMissing(vec![why.clone()]))
                }
                _ => Ok(step.command.clone()),
            },
            _ => Ok(step.command.clone()),
        }
    }

    /// Runs one command of a step, and notes that it ran.
    fn tool(
        &self,
        step: &Step,
        command: &[String],
        environment: &Environment,
        outcome: &mut InstallOutcome,
    ) -> Result<ExitStatus, InstallError> {
        let line = command_line(command);
        let began = Instant::now();
        let end = self.spawn(step, command, environment, None);
        let seconds = began.elapsed().as_secs_f64();
        let (code, result) = match end {
            Ok(End::Itself(status)) => (code(status), Ok(status)),
            Ok(End::TimedOut(status)) => {
                (code(status), Err(InstallError::TimedOut { command: line.clone(), after: self.timeout }))
            }
            Ok(End::Cancelled(Some(status))) => (code(status), Err(InstallError::Cancelled)),
            Ok(End::Cancelled(None)) => return Err(InstallError::Cancelled),
            Err(source) => {
                let what = format!("cannot run {line}");
                (
                    if source.kind() == io::ErrorKind::NotFound { 127 } else { 126 },
                    Err(InstallError::Io { what, source }),
                )
            }
        };
        tracing::info!("{line} ended with {code} after {seconds:.1} s");
        outcome.ran.push(Ran { tool: step.tool.clone(), command: line, exit_code: code, seconds });
        result
    }

    fn spawn(
        &self,
        step: &Step,
        words: &[String],
        environment: &Environment,
        output: Option<Stdio>,
    ) -> io::Result<End> {
        let Some((name, arguments)) = words.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no command"));
        };
        let program = self.program(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut limits = self.limits;
        let mut command = Command::new(program);
        command.arg0(name).args(arguments).env_clear().envs(environment);
        command.current_dir(self.directory.join(&step.directory));
        if let Some(output) = output {
            command.stdout(output).stderr(Stdio::null());
            limits.deadline = limits.deadline.min(Instant::now() + VERSION_TIMEOUT);
        } else if self.tools_to_stderr {
            command.stdout(io::stderr());
        }
        process::run(&mut command, limits)
    }

    /// The major version of a step's tool, if it says one.
    fn major(&self, step: &Step, environment: &Environment) -> Result<Option<u32>, InstallError> {
        let said = || -> io::Result<Option<String>> {
            let (mut reader, writer) = io::pipe()?;
            let words = [step.command.first().cloned().unwrap_or_default(), "--version".to_owned()];
            let end = self.spawn(step, &words, environment, Some(OwnedFd::from(writer).into()))?;
            if let End::Cancelled(_) = end {
                return Ok(None);
            }
            // Something that the tool left behind may still hold the other end.
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let mut bytes = [0; 4096];
            let length = reader.read(&mut bytes).unwrap_or(0);
            Ok(Some(String::from_utf8_lossy(&bytes[..length]).into_owned()))
        };
        match said() {
            Ok(Some(text)) => Ok(major(&text)),
            Ok(None) => Err(InstallError::Cancelled),
            Err(_) => Ok(None),
        }
    }

    /// The error for a tool that failed, with what this room knows about the reason.
    fn failed(&self, step: &Step, command: &[String], status: ExitStatus, environment: &Environment) -> InstallError {
        let hint = match &step.versions {
            Some(Versions { majors, otherwise: Otherwise::Hint(hint) }) => {
                let major = self.major(step, environment).ok().flatten();
                major.filter(|major| !(majors.0..=majors.1).contains(major)).map(|_| hint.clone())
            }
            _ if command.get(1..3).is_some_and(|words| words == ["-m", "venv"]) => {
                let words = ["python3", "-c", "import ensurepip, venv"].map(str::to_owned);
                let end = self.spawn(step, &words, environment, Some(Stdio::null()));
                matches!(end, Ok(End::Itself(status)) if !status.success())
                    .then(|| format!("python3 is there without its venv: {}", step.fix))
            }
            _ => None,
        };
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        let hint = hint.map(|hint| format!(": {hint}")).unwrap_or_default();
        InstallError::Failed { command: command_line(command), how, hint }
    }

    /// `PATH` and the variables of the start command, for the app.
    fn paths(&self, outcome: &mut InstallOutcome) {
        let (variables, mut first) = match &outcome.start {
            Some(start) => (start.environment.clone(), start.path.iter().map(PathBuf::from).collect()),
            None => (Vec::new(), Vec::new()),
        };
        for (name, value) in variables {
            outcome.set(name.into(), value.into());
        }
        first.extend(value(self.environment, "UV_PROJECT_ENVIRONMENT").map(|path| Path::new(path).join("bin")));
        first.push(PathBuf::from(".venv/bin"));
        let mut paths: Vec<PathBuf> =
            first.into_iter().map(|path| self.directory.join(path)).filter(|path| path.is_dir()).collect();
        if paths.is_empty() {
            return;
        }
        if self.directory.join(".venv/bin").is_dir() {
            outcome.set("VIRTUAL_ENV".into(), self.directory.join(".venv").into());
        }
        let own = outcome.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let rest = own.or_else(|| value(self.environment, "PATH").map(OsString::from));
        paths.extend(std::env::split_paths(&rest.unwrap_or_else(|| USUAL_PATH.into())));
        match std::env::join_paths(paths) {
            Ok(path) => outcome.set("PATH".into(), path),
            Err(_) => outcome.warn(format!(
                "{} has a colon in it, which PATH cannot hold: the app does not find what was installed there",
                self.directory.display()
            )),
        }
    }
}

/// A moment so far away; one that no clock reaches is a year away.
fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}

/// As a shell counts: 128+n for signal n.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The major version in what a tool says of itself: `Poetry (version 1.8.3)`, `deno 2.1.4 (stable …)`, `9.1.0`.
fn major(text: &str) -> Option<u32> {
    let versions = text.split_whitespace().map(|word| word.trim_start_matches(['v', '(']));

    versions.filter_map(|word| word.split_once('.')).find_map(|(major, _)| major.parse().ok())
}

/// The name of the lockfile for a warning.
fn lockfile(step: &Step) -> &str {
    if step.because.contains('#') { "the lockfile" } else { &step.because }
}

/// Whether npm's log of a failed run holds its word for it.
fn says_out_of_step(logs: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(logs) else { return false };
    entries.flatten().any(|entry| {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(OUT_OF_STEP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_say_their_version_in_many_ways() {
        for (text, wanted) in [
            ("Poetry (version 1.8.3)\n", Some(1)),
            ("deno 2.1.4 (stable, release, x86_64)\nv8 13.0\n", Some(2)),
            ("9.12.3\n", Some(9)),
            ("v20.1.0", Some(20)),
            ("Warning: update\n1.22.22\n", Some(1)),
            ("", None),
            ("no version", None),
        ] {
            assert_eq!(major(text), wanted, "{text}");
        }
    }
}
