//! The stage for tests of the supervisor: tests that are real processes, and the actors they start.
//!
//! A test binary of this kind has a `main` of its own, for it is also the app: started again with `STAGE_ACTOR`, it
//! plays that part, single-threaded, which the standard harness cannot.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    panic,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

/// How long anything that must happen may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A test: its name, and what it does.
pub type Test = (&'static str, fn());

/// Names tests by their functions.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}

/// Runs the tests that the arguments name, all without arguments, one after the other.
pub fn run(tests: &[Test]) -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        for (name, _) in tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let exact = words.iter().any(|word| word == "--exact");
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| if exact { name == *filter } else { name.contains(*filter) })
    };
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        let begun = Instant::now();
        let result = panic::catch_unwind(test);
        println!(
            "test {name} ... {} ({:.1} s)",
            if result.is_ok() { "ok" } else { "FAILED" },
            begun.elapsed().as_secs_f64()
        );
        match result {
            Ok(()) => passed += 1,
            Err(_) => failed.push(name),
        }
    }
    for name in &failed {
        println!("failed: {name}");
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says why a test cannot run here, and how it could; a failure where `STOPOVER_TEST_REQUIRE` names `what`.
pub fn skip(what: &str, how: &str) {
    let required = env::var("STOPOVER_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == what), "{what} is required: {how}");
    println!("skipped: needs {what}: {how}");
}

/// The binary under test.
pub fn stopover() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_stopover"))
}

/// The static release binary, if it was built.
pub fn static_stopover() -> Option<PathBuf> {
    let path = env::var_os("STOPOVER_TEST_STATIC").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/x86_64-unknown-linux-musl/release/stopover"),
        PathBuf::from,
    );
    if path.is_file() {
        return Some(path);
    }
    skip("static", "run `just release`, or name a static binary in STOPOVER_TEST_STATIC");
    None
}

/// Whether `program` is on PATH.
pub fn have(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|directory| directory.join(program).is_file())
}

/// Whether this process may make PID namespaces.
pub fn may_unshare() -> bool {
    Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// This test binary, which plays `part`.
pub fn actor(part: &str) -> [String; 3] {
    let own = env::current_exe().expect("own path");
    ["env".into(), format!("STAGE_ACTOR={part}"), own.to_str().expect("utf-8").into()]
}

/// The part this process was started for.
pub fn part() -> Option<String> {
    env::var("STAGE_ACTOR").ok()
}

/// `stopover run` as a plain init, with flags, and a command.
pub fn init(flags: &[&str], command: &[impl AsRef<OsStr>]) -> Command {
    init_of(&stopover(), flags, command)
}

/// The same with another binary.
pub fn init_of(binary: &Path, flags: &[&str], command: &[impl AsRef<OsStr>]) -> Command {
    let mut all = Command::new(binary);
    all.arg("run").args(flags).arg("--").args(command).env("STOPOVER_WORKSPACE", "none");
    all
}

/// A running process whose output is read line by line.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What was read and not expected yet.
    pub seen: Vec<String>,
}

impl Running {
    /// Starts `command`; its stdin stays open as long as this lives.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let lines = lines(child.stdout.take().expect("stdout"));
        Self { child, lines, seen: Vec::new() }
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> &Self {
        stopover::sys::signals::send(self.pid(), signal).expect("sends");
        self
    }

    /// The next line.
    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("no line came; before: {:?}", self.seen));
        self.seen.push(line.clone());
        line
    }

    /// Waits for a line that begins so.
    pub fn until(&mut self, begin: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    /// Whether it says a line that begins so before it ends.
    pub fn says(&mut self, begin: &str) -> bool {
        loop {
            match self.lines.recv_timeout(SOON) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!("it neither says {begin:?} nor ends: {:?}", self.seen),
            }
            if self.seen.last().is_some_and(|line| line.starts_with(begin)) {
                return true;
            }
        }
    }

    /// Closes its stdin.
    pub fn close(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for its end, with what it said meanwhile.
    pub fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                self.seen.extend(self.lines.iter());
                return status;
            }
            assert!(Instant::now() < until, "it does not end; it said {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Runs to the end; exit code and what it said on both outputs.
pub fn finish(mut command: Command) -> (i32, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut text = String::new();
    child.stdout.take().expect("stdout").read_to_string(&mut text).expect("reads");
    child.stderr.take().expect("stderr").read_to_string(&mut text).expect("reads");
    (child.wait().expect("waits").code().unwrap_or(-1), text)
}

/// Waits until `what` holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "it never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes as (pid, parent, state).
pub fn processes() -> Vec<(i32, i32, char)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let state = fields.next().and_then(|text| text.chars().next()).expect("state");
        found.push((pid, fields.next().and_then(|text| text.parse().ok()).expect("parent"), state));
    }
    found
}
