//! End-to-end tests as sentences: a workspace in a bucket, directories on disks, and the real binary between them.
//!
//! ```ignore
//! let story = Story::on(&Server::here());
//! story.object("notes.txt", "from somebody else");
//! let laptop = story.directory("laptop");
//! laptop.pull().exits(0).says("imported 1 file");
//! laptop.file("notes.txt", "edited").commit().exits(0);
//! assert_eq!(story.object_text("notes.txt"), "edited");
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    checker::Checker,
    front::{Front, Record},
    outsider::Outsider,
    servers::{ACCESS_KEY, SECRET_KEY, Server},
};

/// The tests whose stories are held against the invariants: after each command, and when they end.
const HELD: [&str; 8] = ["gone", "live_pull", "live_tree", "load", "misbehaving", "races", "siblings", "sqlite"];
/// Those of them that measure how long a command takes: they are held at the end alone.
const MEASURES: [&str; 1] = ["load"];
/// Of so many live objects about the contents are read each time; the others are there, no more.
const READ: usize = 100;

/// No process of a test says nothing for longer: on a busy machine one that still tells of its progress is no hung one.
const LONGEST: Duration = Duration::from_secs(120);
/// None lives longer, whatever it says.
const EVER: Duration = Duration::from_secs(600);
/// So long its output is waited for when it has ended.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// A workspace in a bucket of its own, and a place for directories. In many stories (`HELD`) the bucket is held against the
/// invariants after each command, and at the end also what went through the front, unless somebody spoiled it.
pub struct Story {
    pub server: Arc<Server>,
    /// Somebody else, who sees the whole bucket.
    pub outsider: Outsider,
    endpoint: String,
    pub workspace: String,
    root: TempDir,
    record: Option<Record>,
    is_spoiled: Arc<AtomicBool>,
}

/// A directory on some container's disk.
#[derive(Clone)]
pub struct Directory {
    pub path: PathBuf,
    url: String,
    settings: Vec<(String, String)>,
    words: Vec<String>,
    /// What starts stopover.
    starter: Vec<String>,
    held: Option<Held>,
}

/// Somebody who holds a story's bucket against the invariants.
#[derive(Clone)]
struct Held {
    outsider: Outsider,
    /// `PREFIX/USER/NAME/`.
    prefix: String,
    is_spoiled: Arc<AtomicBool>,
    server: &'static str,
}

/// A process that runs.
pub struct Running {
    child: Child,
    /// For so long it may say nothing.
    longest: Duration,
    held: Option<Held>,
    stdout: Heard,
    stderr: Heard,
}

/// A process that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub time: Duration,
}

/// What a process has written so far.
#[derive(Clone, Default)]
struct Heard(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Story {
    /// A story on this server.
    pub fn on(server: &Arc<Server>) -> Self {
        Self::at(server, &server.endpoint, None)
    }

    /// A story whose stopover reaches the server through a front. The outsider does not.
    pub fn behind(front: &Front, server: &Arc<Server>) -> Self {
        Self::at(server, &front.endpoint, Some(front.record()))
    }

    fn at(server: &Arc<Server>, endpoint: &str, record: Option<Record>) -> Self {
        Self {
            server: Arc::clone(server),
            outsider: server.bucket(),
            endpoint: endpoint.to_owned(),
            workspace: "stores/alice/ws".to_owned(),
            root: TempDir::new().unwrap(),
            record,
            is_spoiled: Arc::default(),
        }
    }

    /// Another workspace of the same bucket, `PREFIX/USER/NAME`.
    pub fn workspace(mut self, path: &str) -> Self {
        path.clone_into(&mut self.workspace);
        self
    }

    /// Somebody did what no invariant allows, so that there is none to hold the bucket against: changed what lies below
    /// `.stopover/` (which is noticed), or took away what the server promised.
    pub fn is_spoiled(&self) -> &Self {
        self.is_spoiled.store(true, Ordering::Relaxed);
        self
    }

    /// `s3://BUCKET/PREFIX/USER/NAME`.
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.outsider.bucket, self.workspace)
    }

    /// The complete key of a path of the workspace.
    pub fn key(&self, path: &str) -> String {
        format!("{}/{path}", self.workspace)
    }

    /// Somebody else writes an object of the workspace.
    pub fn object(&self, path: &str, bytes: impl Into<Vec<u8>>) -> &Self {
        if path.starts_with(".stopover/") {
            self.is_spoiled();
        }
        self.outsider.put(&self.key(path), bytes);
        self
    }

    /// Somebody else deletes one.
    pub fn no_object(&self, path: &str) -> &Self {
        if path.starts_with(".stopover/") {
            self.is_spoiled();
        }
        self.outsider.delete(&self.key(path));
        self
    }

    /// An object's bytes as text; fails where there is none.
    pub fn object_text(&self, path: &str) -> String {
        let seen = self.outsider.get(&self.key(path)).unwrap_or_else(|| panic!("no object {path}"));
        String::from_utf8(seen.bytes).unwrap()
    }

    pub fn has_object(&self, path: &str) -> bool {
        self.outsider.get(&self.key(path)).is_some()
    }

    /// The live tree's keys, sorted.
    pub fn objects(&self) -> Vec<String> {
        let start = format!("{}/", self.workspace);
        let keys = self.outsider.keys(&start).into_iter();
        let mut keys: Vec<_> = keys.map(|key| key[start.len()..].to_owned()).collect();
        keys.retain(|key| !key.starts_with(".stopover/"));
        keys.sort();
        keys
    }

    /// The live tree: what each key holds.
    pub fn live(&self) -> BTreeMap<String, Vec<u8>> {
        let keys = self.objects().into_iter();
        keys.filter_map(|key| self.outsider.get(&self.key(&key)).map(|seen| (key, seen.bytes))).collect()
    }

    /// A place on this story's disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A directory of that name, made if it is not there, as a container that has the workspace's settings sees it.
    pub fn directory(&self, name: &str) -> Directory {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        let home = self.path("home");
        fs::create_dir_all(&home).unwrap();
        let mut directory = Directory {
            path,
            url: self.url(),
            settings: Vec::new(),
            words: Vec::new(),
            starter: Vec::new(),
            held: self.held().filter(|_| !MEASURES.contains(&env!("CARGO_CRATE_NAME"))),
        };
        for (name, value) in [
            ("STOPOVER_WORKSPACE", self.url()),
            ("STOPOVER_DIR", directory.path.display().to_string()),
            ("S3_ENDPOINT", self.endpoint.clone()),
            ("S3_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("S3_SECRET_KEY", SECRET_KEY.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("STOPOVER_INSTALL", "none".to_owned()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", home.display().to_string()),
            ("LC_ALL", "C.UTF-8".to_owned()),
        ] {
            directory = directory.with(name, &value);
        }
        directory
    }
}

impl Story {
    fn held(&self) -> Option<Held> {
        HELD.contains(&env!("CARGO_CRATE_NAME")).then(|| Held {
            outsider: self.outsider.clone(),
            prefix: self.key(""),
            is_spoiled: Arc::clone(&self.is_spoiled),
            server: self.server.name(),
        })
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let Some(held) = self.held().filter(|held| !std::thread::panicking() && held.is_to_be_held()) else { return };
        if let Some(record) = &self.record {
            let (done, start) = (record.done(), self.key(""));
            let of_ours = done.into_iter().filter(|one| {
                one.request.bucket == self.outsider.bucket
                    && (one.request.key.is_empty() || one.request.key.starts_with(&start))
            });
            let of_ours: Vec<_> = of_ours.collect();
            let checker = Checker::new(&self.outsider, start);
            let checked = checker.requests_on(|ability| self.server.has(ability), None, &of_ours);
            checked.unwrap_or_else(|wrong| panic!("at the end of a story on {}: {wrong}", held.server));
        }
        held.holds();
    }
}

impl Held {
    fn is_to_be_held(&self) -> bool {
        !self.is_spoiled.load(Ordering::Relaxed) && self.head().is_some()
    }

    fn head(&self) -> Option<String> {
        self.outsider.get(&format!("{}.stopover/head.json", self.prefix)).map(|seen| seen.etag)
    }

    /// I1 and I6, now. While others are at work, what was wrong counts only if nothing has come or gone meanwhile.
    #[track_caller]
    fn holds(&self) {
        if !self.is_to_be_held() {
            return;
        }
        let checker = Checker::new(&self.outsider, self.prefix.clone()).reads_at_most(READ);
        let began = Instant::now();
        loop {
            let state = || (self.head(), self.outsider.keys(&self.prefix));
            let before = state();
            let Err(wrong) = checker.bucket() else { return };
            let is_at_rest = before == state();
            assert!(!is_at_rest && began.elapsed() < LONGEST, "in a story on {}: {wrong}", self.server);
        }
    }
}

impl Directory {
    /// The same directory with another setting; an empty value takes the variable away.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.settings.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// The same directory with more words behind every subcommand.
    pub fn flag(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// The same directory, with stopover started without root's right to pass over modes. `None`: there is no way to
    /// give it up here, which is said.
    pub fn without_rights(mut self) -> Option<Self> {
        if nix::unistd::geteuid().is_root() {
            self.starter = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"].map(str::to_owned).to_vec();
            let can = Command::new(&self.starter[0]).arg(&self.starter[1]).arg("true").output();
            if !can.is_ok_and(|output| output.status.success()) {
                println!("skipped: needs setpriv, and the right to use it: apt-get install util-linux");
                return None;
            }
        }
        Some(self)
    }

    /// The same directory, with stopover's log in a pipe that is full to the last byte, and that nobody reads.
    pub fn with_a_log_that_nobody_reads(mut self) -> Self {
        let script = r#"mkfifo "$0" && exec 3<>"$0" && head -c 65536 /dev/zero >&3 && exec "$@" 2>&3"#;
        let pipe = self.path.with_extension("log").display().to_string();
        self.starter = ["sh", "-c", script, &pipe].map(str::to_owned).to_vec();
        self
    }

    // What somebody does in the directory.

    pub fn file(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub fn folder(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path.join(path)).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.path.join(path)).unwrap();
        self
    }

    pub fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path.join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub fn remove(&self, path: &str) -> &Self {
        let path = self.path.join(path);
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    // What can be seen in it.

    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path.join(path)).is_ok()
    }

    pub fn mode_of(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.path.join(path)).unwrap().permissions().mode() & 0o7777
    }

    /// All paths but stopover's own, sorted; directories end in a slash.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut open = vec![self.path.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let path = entry.path();
                let name = path.strip_prefix(&self.path).unwrap().to_string_lossy().into_owned();
                if name == ".stopover" {
                    continue;
                }
                if entry.file_type().unwrap().is_dir() {
                    paths.push(format!("{name}/"));
                    open.push(path);
                } else {
                    paths.push(name);
                }
            }
        }
        paths.sort();
        paths
    }

    /// What every file holds; links hold where they lead to, directories nothing.
    pub fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let held = |path: &str| {
            let path = self.path.join(path);
            match fs::read_link(&path) {
                Ok(target) => target.into_os_string().into_encoded_bytes(),
                Err(_) if path.is_dir() => Vec::new(),
                Err(_) => fs::read(&path).unwrap(),
            }
        };
        self.paths().into_iter().map(|path| (path.clone(), held(&path))).collect()
    }

    /// The regular files of it: what the live tree has when it has caught up.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut tree = self.tree();
        tree.retain(|path, _| fs::symlink_metadata(self.path.join(path)).unwrap().is_file());
        tree
    }

    // What stopover does with it.

    pub fn pull(&self) -> Ended {
        self.stopover(&["pull"])
    }

    /// The last commit of a container whose app is gone, as PID 1 starts it: a plain workspace stays plain.
    pub fn commit(&self) -> Ended {
        self.start_commit().ends()
    }

    /// The same, which goes on.
    pub fn start_commit(&self) -> Running {
        let mut last = self.clone();
        last.starter.extend(["sh", "-c", "exec \"$@\" 3</dev/null", "sh"].map(str::to_owned));
        last.start(&["commit", "--handover", "control=3"])
    }

    /// What a checkpoint does, or a person: the workspace becomes a live one.
    pub fn checkpoint(&self) -> Ended {
        self.stopover(&["commit"])
    }

    /// Runs a subcommand to its end.
    pub fn stopover(&self, words: &[&str]) -> Ended {
        self.start(words).ends()
    }

    /// `stopover run -- WORDS`, to its end.
    pub fn run(&self, words: &[&str]) -> Ended {
        self.start_run(words).ends()
    }

    /// `stopover run -- sh -c SCRIPT`, to its end.
    pub fn run_script(&self, script: &str) -> Ended {
        self.run(&["sh", "-c", script])
    }

    /// `stopover run -- WORDS`, which goes on.
    pub fn start_run(&self, words: &[&str]) -> Running {
        let mut all = vec!["run"];
        all.extend(self.words.iter().map(String::as_str));
        all.push("--");
        all.extend(words);
        self.spawn(&all)
    }

    /// A subcommand, which goes on.
    pub fn start(&self, words: &[&str]) -> Running {
        let mut all = words.to_vec();
        all.extend(self.words.iter().map(String::as_str));
        self.spawn(&all)
    }

    fn spawn(&self, words: &[&str]) -> Running {
        let mut all: Vec<OsString> = self.starter.iter().map(OsString::from).collect();
        all.push(binary());
        let mut command = Command::new(&all[0]);
        command
            .args(&all[1..])
            .args(words)
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Heard::listen(child.stdout.take().unwrap());
        let stderr = Heard::listen(child.stderr.take().unwrap());
        Running { child, longest: LONGEST, held: self.held.clone(), stdout, stderr }
    }
}

/// The binary under test: another one where `STOPOVER_TEST_BINARY` names it (the static release build).
pub fn binary() -> OsString {
    std::env::var_os("STOPOVER_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_stopover").into())
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by its number.
    pub fn signal(&self, number: i32) -> &Self {
        let pid = i32::try_from(self.child.id()).unwrap();
        let signal = nix::sys::signal::Signal::try_from(number).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
        self
    }

    /// What an engine's `stop` sends.
    pub fn term(&self) -> &Self {
        self.signal(15)
    }

    pub fn kill(&self) -> &Self {
        self.signal(9)
    }

    /// It does nothing any more, until `wakes`.
    pub fn sleeps(&self) -> &Self {
        self.signal(19)
    }

    pub fn wakes(&self) -> &Self {
        self.signal(18)
    }

    /// It may be silent as long as it lives: it tries again and again.
    pub fn may_be_silent(mut self) -> Self {
        self.longest = EVER;
        self
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until its output has this text.
    pub fn prints(&self, text: &str) -> &Self {
        assert!(self.stdout.has(text), "it never printed {text:?}:\n{}\n{}", self.stdout.all(), self.stderr.all());
        self
    }

    /// Waits until its log has this text.
    pub fn logs(&self, text: &str) -> &Self {
        assert!(self.stderr.has(text), "it never logged {text:?}:\n{}\n{}", self.stdout.all(), self.stderr.all());
        self
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends(mut self) -> Ended {
        let began = Instant::now();
        let (mut said, mut heard) = (0, began);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let length = self.stdout.length() + self.stderr.length();
            if length != said {
                (said, heard) = (length, Instant::now());
            }
            if heard.elapsed() > self.longest || began.elapsed() > EVER {
                self.child.kill().unwrap();
                panic!("it does not end:\n{}\n{}", self.stdout.all(), self.stderr.all());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let time = began.elapsed();
        // Its last words may still be on their way, on a busy machine. What outlives it may hold its output open: what was
        // written until now is enough.
        self.stdout.closes_within(LAST_WORDS);
        self.stderr.closes_within(LAST_WORDS);
        if let Some(held) = &self.held {
            held.holds();
        }
        Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all(), time }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Ended {
    /// The exit code, 128+n for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Its log has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "it does not say {text:?}:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text) && !self.stdout.contains(text), "it says {text:?}:\n{}", self.stderr);
        self
    }

    /// Its output has this text.
    #[track_caller]
    pub fn printed(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "it did not print {text:?}:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

impl Heard {
    fn listen(stream: impl Read + Send + 'static) -> Self {
        let heard = Self::default();
        let ear = heard.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            loop {
                let length = {
                    let Ok(bytes) = stream.fill_buf() else { break };
                    ear.with(|(text, _)| text.push_str(&String::from_utf8_lossy(bytes)));
                    bytes.len()
                };
                if length == 0 {
                    break;
                }
                stream.consume(length);
            }
            ear.with(|(_, closed)| *closed = true);
        });
        heard
    }

    fn with(&self, change: impl FnOnce(&mut (String, bool))) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    fn length(&self) -> usize {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).0.len()
    }

    fn all(&self) -> String {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Waits for `text`; false if the stream closes, or time ends, without it.
    fn has(&self, text: &str) -> bool {
        self.until(LONGEST, |heard, closed| heard.contains(text) || closed);
        self.all().contains(text)
    }

    fn closes_within(&self, time: Duration) {
        self.until(time, |_, closed| closed);
    }

    fn until(&self, time: Duration, met: impl Fn(&str, bool) -> bool) {
        let state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(state, time, |(text, closed)| !met(text, *closed)));
    }
}

/// Waits until `holds`.
pub fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONGEST, "it never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}
