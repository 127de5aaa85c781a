//! Installs with real tools in real directories. What a tool of the machine is needed for is skipped without it, and
//! says so; `STOPOVER_TEST_REQUIRE=npm,python` turns that into a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
    time::Duration,
};

use stopover::{
    config::Install,
    install::{self, Disk, InstallError, InstallOutcome, InstallRequest},
};

/// Whether a tool is here; says why a test is skipped.
fn has(tool: &str, how: &str) -> bool {
    let here = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = std::env::var("STOPOVER_TEST_REQUIRE").unwrap_or_default();
    assert!(here || !required.split(',').any(|name| tool.starts_with(name)), "{tool} is required: {how}");
    if !here {
        eprintln!("skipped: {tool} is not here ({how})");
    }
    here
}

fn has_npm() -> bool {
    has("npm", "apt-get install nodejs npm")
}

fn has_python() -> bool {
    has("python3", "apt-get install python3-venv")
}

/// A workspace, and what an install of it is asked.
struct Workspace {
    outer: tempfile::TempDir,
    choice: Install,
    timeout: Duration,
    environment: Vec<(OsString, OsString)>,
}

impl Workspace {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("workspace")).unwrap();
        let environment = std::env::vars_os().collect();
        Self { outer, choice: Install::Auto, timeout: Duration::from_secs(300), environment }
    }

    /// A copy of one of the sample apps.
    fn of_app(name: &str) -> Self {
        let workspace = Self::new();
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name);
        for entry in fs::read_dir(app).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), workspace.directory().join(entry.file_name())).unwrap();
        }
        workspace
    }

    fn directory(&self) -> PathBuf {
        self.outer.path().join("workspace")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let file = self.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(mut self, script: &str) -> Self {
        self.choice = Install::Command(["sh", "-c", script].map(str::to_owned).to_vec());
        self
    }

    fn install(&self) -> InstallOutcome {
        self.install_until(None)
    }

    fn install_until(&self, cancel: Option<&UnixStream>) -> InstallOutcome {
        install::run(&InstallRequest {
            directory: self.directory(),
            state: self.path(".stopover"),
            choice: self.choice.clone(),
            timeout: self.timeout,
            environment: self.environment.clone(),
            find_start: true,
            tools_to_stderr: false,
            cancel: cancel.map(AsFd::as_fd),
        })
    }
}

/// `COMMAND: EXIT CODE`, one a tool.
fn ran(outcome: &InstallOutcome) -> Vec<String> {
    outcome.ran.iter().map(|ran| format!("{}: {}", ran.command, ran.exit_code)).collect()
}

fn app_path(outcome: &InstallOutcome) -> Option<&OsStr> {
    outcome.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str())
}

/// An app, started as PID 1 would: the words of the record, its assignments over the environment, the new `PATH`.
struct App {
    child: Child,
    port: u16,
}

impl App {
    fn start(workspace: &Workspace, outcome: &InstallOutcome) -> Self {
        let record = outcome.record();
        let end_of_json = record.iter().position(|byte| *byte == 0).unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&record[..end_of_json]).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), outcome.ran.len());
        let rest = std::str::from_utf8(&record[end_of_json + 1..]).unwrap();
        let words: Vec<&str> = rest.strip_suffix('\0').unwrap().split('\0').collect();
        let empty = words.iter().position(|word| word.is_empty()).unwrap();
        let (assignments, command) = (&words[..empty], &words[empty + 1..]);
        let mut child = Command::new(command[0]);
        child.args(&command[1..]).envs(workspace.environment.iter().cloned());
        child.envs(assignments.iter().map(|assignment| assignment.split_once('=').unwrap())).env("PORT", "0");
        let mut child = child.current_dir(workspace.directory()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on ").and_then(|port| port.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("the app said {line:?}")) }
    }

    fn get(&self, path: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // A test that failed leaves no app behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_app_is_installed_from_its_lockfile_and_started_without_npm_in_between() {
    if !has_npm() {
        return;
    }
    let workspace = Workspace::of_app("node").set("NODE_ENV", "production");
    let outcome = workspace.install();
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(ran(&outcome), ["npm ci: 0"]);
    assert!(workspace.path("node_modules/ms/package.json").exists());
    assert!(workspace.path("node_modules/left-pad/package.json").exists(), "the development dependency is missing");
    assert_eq!(outcome.start.as_ref().unwrap().command, ["node", "server.js"]);

    let app = App::start(&workspace, &outcome);
    assert!(app.get("/visit").ends_with("visits: 1\n"));
    assert_eq!(app.stop(), Some(0));
    assert!(fs::read_to_string(workspace.path("last-words.txt")).unwrap().contains("saw 1 visits"));
}

#[test]
fn a_python_app_runs_with_its_own_environment_first_on_its_path() {
    if !has_python() {
        return;
    }
    let workspace = Workspace::of_app("python");
    let outcome = workspace.install();
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(ran(&outcome), ["python3 -m venv .venv: 0", ".venv/bin/pip install -r requirements.txt: 0"]);
    let first = std::env::split_paths(app_path(&outcome).unwrap()).next();
    assert_eq!(first, Some(workspace.path(".venv/bin")));
    assert_eq!(outcome.start.as_ref().unwrap().command, ["python3", "app.py"]);

    let workspace = workspace.file("which.py", "import sys; print(sys.prefix)");
    let mut python = Command::new("python3");
    python.arg("which.py").current_dir(workspace.directory()).env("PATH", app_path(&outcome).unwrap());
    let prefix = String::from_utf8(python.output().unwrap().stdout).unwrap();
    assert_eq!(Path::new(prefix.trim()), workspace.path(".venv"));

    let app = App::start(&workspace, &outcome);
    assert!(app.get("/visit").ends_with("visits: 1\n"));
    assert_eq!(app.stop(), Some(0));
    assert!(fs::read_to_string(workspace.path("last-words.txt")).unwrap().contains("saw 1 visits"));
}

/// A project whose dependencies lie beside it, so that no registry is asked.
fn local_node_project() -> Workspace {
    Workspace::new()
        .file("used/package.json", r#"{"name": "used", "version": "1.0.0"}"#)
        .file("tried/package.json", r#"{"name": "tried", "version": "1.0.0"}"#)
        .file(
            "package.json",
            r#"{"name": "x", "dependencies": {"used": "file:used"}, "devDependencies": {"tried": "file:tried"}}"#,
        )
        .file("index.js", "")
}

fn lock(workspace: &Workspace) {
    let mut npm = Command::new("npm");
    npm.args(["install", "--package-lock-only"]).current_dir(workspace.directory());
    assert!(npm.status().unwrap().success());
}

#[test]
fn production_does_not_drop_the_development_dependencies() {
    if !has_npm() {
        return;
    }
    let workspace = local_node_project().set("NODE_ENV", "production");
    lock(&workspace);
    let outcome = workspace.install();
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(ran(&outcome), ["npm ci: 0"]);
    assert!(workspace.path("node_modules/used").exists() && workspace.path("node_modules/tried").exists());
    assert!(!outcome.environment.iter().any(|(name, _)| name == "NODE_ENV"), "the app keeps its NODE_ENV");
}

#[test]
fn a_lockfile_out_of_step_is_said_loudly_and_mended() {
    if !has_npm() {
        return;
    }
    let workspace = local_node_project();
    lock(&workspace);
    let workspace = workspace
        .file("late/package.json", r#"{"name": "late", "version": "1.0.0"}"#)
        .file("package.json", r#"{"name": "x", "dependencies": {"used": "file:used", "late": "file:late"}}"#);
    let outcome = workspace.install();
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(ran(&outcome), ["npm ci: 1", "npm install: 0"]);
    assert!(workspace.path("node_modules/late").exists());
    assert!(outcome.warnings[0].contains("package-lock.json DOES NOT FIT package.json"), "{:?}", outcome.warnings);
    assert!(fs::read_to_string(workspace.path("package-lock.json")).unwrap().contains("late"));
}

#[test]
fn another_failure_of_npm_is_not_mended() {
    if !has_npm() {
        return;
    }
    let workspace = local_node_project();
    lock(&workspace);
    let workspace = workspace.file(
        "package.json",
        r#"{"name": "x", "dependencies": {"used": "file:used"}, "devDependencies": {"tried": "file:tried"}, "scripts": {"postinstall": "exit 9"}}"#,
    );
    let outcome = workspace.install();
    assert_eq!(ran(&outcome), ["npm ci: 9"]);
    let error = outcome.error.as_ref().unwrap().to_string();
    assert!(error.starts_with("npm ci failed (exit code 9)"), "{error}");
    assert_eq!((outcome.exit_code(), outcome.start.is_none()), (81, true));
}

#[test]
fn without_a_writable_home_npm_still_installs() {
    if !has_npm() {
        return;
    }
    let workspace = local_node_project();
    lock(&workspace);
    let temporary = workspace.outer.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let workspace = workspace.set("TMPDIR", &temporary).set("HOME", "/dev/null/home");
    let workspace = workspace.set("npm_config_cache", "/dev/null/cache");
    let outcome = workspace.install();
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert!(workspace.path("node_modules/used").exists());
    let spare = temporary.join(format!("stopover-home-{}", nix::unistd::geteuid()));
    assert!(spare.join(".npm").exists());
}

#[test]
fn two_lockfiles_run_nothing_and_both_are_named() {
    let workspace = Workspace::new()
        .file("package.json", "{}")
        .file("package-lock.json", "{}")
        .file("yarn.lock", "")
        .file("index.js", "");
    let outcome = workspace.install();
    let error = outcome.error.as_ref().unwrap().to_string();
    assert!(
        error.contains("package-lock.json (npm) and yarn.lock (yarn)") && error.contains("packageManager"),
        "{error}"
    );
    assert_eq!((outcome.exit_code(), outcome.ran.len()), (81, 0));
}

#[test]
fn every_missing_tool_is_named_with_its_fix_before_anything_runs() {
    let workspace = Workspace::new()
        .file("package.json", r#"{"dependencies": {"a": "1"}}"#)
        .file("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")
        .file("requirements.txt", "x")
        .file("uv.lock", "");
    let empty = workspace.outer.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let outcome = workspace.set("PATH", &empty).install();
    let error = outcome.error.as_ref().unwrap().to_string();
    let pnpm = "pnpm is not in this image: add \"RUN npm install -g pnpm@9\" to the Dockerfile \
                (pnpm-lock.yaml has lockfileVersion 9.0)";
    assert!(error.contains(pnpm), "{error}");
    assert!(error.contains("uv is not in this image: add \"COPY --from=ghcr.io/astral-sh/uv"), "{error}");
    assert_eq!(ran(&outcome), ["pnpm install --frozen-lockfile --prefer-offline: 127", "uv sync --locked: 127"]);
    assert_eq!(outcome.exit_code(), 81);
}

/// A directory of tools that are small scripts, first on the `PATH`.
fn with_tool(workspace: Workspace, name: &str, script: &str) -> Workspace {
    use std::os::unix::fs::PermissionsExt;
    let tools = workspace.outer.path().join("tools");
    fs::create_dir_all(&tools).unwrap();
    let tool = tools.join(name);
    fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    workspace.set("PATH", format!("{}:/usr/bin:/bin", tools.display()))
}

#[test]
fn an_old_poetry_gets_the_command_it_knows() {
    let of = |version: &str| {
        let script =
            format!("test \"$1\" = --version && echo 'Poetry (version {version})' && exit; echo \"$@\" > asked");
        let workspace = Workspace::new().file("poetry.lock", "").file("main.py", "");
        let workspace = with_tool(workspace, "poetry", &script);
        let outcome = workspace.install();
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        fs::read_to_string(workspace.path("asked")).unwrap().trim().to_owned()
    };
    assert_eq!(of("1.8.3"), "install --no-interaction --no-ansi");
    assert_eq!(of("2.1.0"), "sync --no-interaction --no-ansi");
}

#[test]
fn yarn_one_is_refused_where_it_would_ignore_immutable() {
    let workspace = Workspace::new().file("package.json", "{}").file("yarn.lock", "__metadata:\n  version: 8\n");
    let workspace = with_tool(workspace, "yarn", "test \"$1\" = --version && echo 1.22.22 && exit; touch ran");
    let outcome = workspace.install();
    let error = outcome.error.as_ref().unwrap().to_string();
    assert!(error.contains("ignores --immutable silently") && error.contains("@yarnpkg/cli-dist@4"), "{error}");
    assert!(!workspace.path("ran").exists());
}

#[test]
fn another_pnpm_that_fails_is_named_as_the_likely_reason() {
    let workspace = Workspace::new().file("package.json", "{}").file("pnpm-lock.yaml", "lockfileVersion: '6.0'\n");
    let workspace = with_tool(workspace, "pnpm", "test \"$1\" = --version && echo 10.2.0 && exit; exit 1");
    let error = workspace.install().error.unwrap().to_string();
    assert!(error.contains("pnpm 8") && error.contains("RUN npm install -g pnpm@8"), "{error}");
}

#[test]
fn a_python_without_venv_is_told_how_to_get_it() {
    let workspace = Workspace::new().file("requirements.txt", "x\n");
    let outcome = with_tool(workspace, "python3", "exit 1").install();
    let error = outcome.error.as_ref().unwrap().to_string();
    assert!(error.contains("python3 is there without its venv") && error.contains("python3-venv"), "{error}");
    assert_eq!(ran(&outcome), ["python3 -m venv .venv: 1"]);
}

#[test]
fn the_users_own_command_runs_in_the_directory_with_no_input() {
    let workspace = Workspace::new().file("index.js", "").command("cat && pwd > where && exit 5");
    let outcome = workspace.install();
    assert_eq!(outcome.ran[0].exit_code, 5);
    assert_eq!(outcome.exit_code(), 81);
    assert_eq!(Path::new(fs::read_to_string(workspace.path("where")).unwrap().trim()), workspace.directory());
}

/// The far end of a fifo in the workspace: every process of the install that opened it must be gone before a text comes.
fn last_words(workspace: &Workspace) -> Receiver<String> {
    let fifo = workspace.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (sender, words) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(fifo).unwrap().read_to_string(&mut text).unwrap();
        drop(sender.send(text));
    });
    words
}

#[test]
fn an_install_that_takes_too_long_is_ended_whole() {
    let mut workspace = Workspace::new().file("index.js", "").command("exec 3> fifo; touch begun; sleep 600 & wait");
    let words = last_words(&workspace);
    workspace.timeout = Duration::from_secs(5);
    let outcome = workspace.install();
    // Nobody would end the pipe that nobody opened.
    assert!(workspace.path("begun").exists(), "it did not begin in time");
    assert!(matches!(outcome.error, Some(InstallError::TimedOut { .. })), "{:?}", outcome.error);
    assert_eq!((outcome.exit_code(), outcome.ran[0].exit_code), (81, 143));
    assert!(outcome.error.unwrap().to_string().contains("STOPOVER_INSTALL_TIMEOUT"));
    assert_eq!(words.recv_timeout(Duration::from_secs(60)).expect("some process of it lives on"), "");
}

#[test]
fn a_cancel_ends_the_whole_install_and_finds_no_start() {
    let script = "exec 3> fifo; trap 'echo told >&3; exit' TERM; echo ready >&3; sh -c 'trap \"\" TERM; sleep 600; sleep 600' & wait; wait";
    let workspace = Workspace::new().file("index.js", "").command(script);
    let fifo = workspace.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (cancel, caller) = UnixStream::pair().unwrap();
    let words = std::thread::spawn(move || {
        let mut lines = BufReader::new(fs::File::open(fifo).unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        drop(caller);
        lines.map(|line| line.unwrap()).collect::<Vec<_>>()
    });
    let outcome = workspace.install_until(Some(&cancel));
    assert!(matches!(outcome.error, Some(InstallError::Cancelled)));
    assert_eq!((outcome.exit_code(), outcome.start.is_none()), (143, true));
    assert_eq!(words.join().unwrap(), ["told"]);
}

#[test]
fn no_start_command_is_an_error_only_when_one_is_looked_for() {
    let workspace = Workspace::new();
    let outcome = workspace.install();
    assert!(matches!(outcome.error, Some(InstallError::NoStart(_))));
    assert_eq!(outcome.exit_code(), 81);
}

#[test]
fn explain_reads_a_real_directory_and_runs_nothing() {
    let workspace = Workspace::of_app("node");
    let view = Disk::open(&workspace.directory()).unwrap();
    let explanation = install::explain(&view, "/workspace".as_ref(), &Install::Auto).unwrap();
    let json = serde_json::to_string(&explanation).unwrap();
    assert!(json.contains(r#""command":"npm ci","directory":"/workspace","because":"package-lock.json""#), "{json}");
    assert!(
        json.contains(r#""start":{"command":"node server.js","because":"package.json (scripts.start)"}"#),
        "{json}"
    );
    assert!(!workspace.path("node_modules").exists());
}

/// The binary, in this workspace, with an empty environment of its own but the `PATH`.
fn stopover(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stopover"));
    command.arg("install").args(arguments).arg("--dir").arg(workspace.directory()).env_clear();
    command
        .envs(["PATH", "HOME", "NODE_EXTRA_CA_CERTS"].iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command
}

#[test]
fn json_of_an_install_is_alone_on_standard_output() {
    let workspace = Workspace::new();
    let output = stopover(&workspace, &["--json", "--install", "echo noise"]).output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&rows[0]["tool"], &rows[0]["command"]), (&"echo".into(), &"echo noise".into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("noise"));
    let plain = stopover(&workspace, &["--install", "echo noise"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "noise\n");
}

#[test]
fn explain_prints_the_plan_of_the_contract() {
    let workspace = Workspace::of_app("python");
    let output = stopover(&workspace, &["--explain", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["install"][1]["command"], ".venv/bin/pip install -r requirements.txt");
    assert_eq!(plan["start"], serde_json::json!({"command": "python3 app.py", "because": "app.py"}));
    assert_eq!(plan["warnings"], serde_json::json!([]));
}

#[test]
fn term_in_the_middle_of_an_install_leaves_no_process() {
    let workspace = Workspace::new();
    let fifo = workspace.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = "sh -c 'exec 3> fifo; echo ready >&3; sleep 600 & sleep 600 & wait'";
    let child = stopover(&workspace, &["--install", script]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(fs::File::open(fifo).unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ended with 143"), "the tool did not hear TERM: {said}");
    // The last process that could write is gone, or this would not end.
    assert!(lines.next().is_none());
}
