//! What a scan sees, and what it must never miss.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::Ordering,
};

use stopover::{
    rows::{Hash, Kind, RelPath},
    worktree::{Directory, Index, RuleOptions, Scan, ScanOptions, WorktreeError, scan},
};

/// A workspace in a directory of its own, and the index of its last scan.
struct Workspace {
    temp: tempfile::TempDir,
    processes: tempfile::TempDir,
    index: Index,
    options: ScanOptions,
}

impl Workspace {
    fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    fn in_dir(place: &Path) -> Self {
        let temp = tempfile::tempdir_in(place).unwrap();
        let state = temp.path().join(".stopover");
        fs::create_dir(&state).unwrap();
        let mut options = ScanOptions::new(RuleOptions::default(), state);
        // Of the machine's processes only ours count: who else comes and goes is not the test's business.
        let processes = tempfile::tempdir().unwrap();
        for process in [&std::process::id().to_string(), "self"] {
            symlink(Path::new("/proc").join(process), processes.path().join(process)).unwrap();
        }
        options.processes = processes.path().to_owned();
        Self { temp, processes, index: Index::default(), options }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn scan(&mut self) -> Scan {
        let dir = Directory::open(self.temp.path()).unwrap();
        let scan = scan(&dir, &self.index, &self.options).unwrap();
        let file = self.options.state_dir.join("index");
        scan.index.save(&file).unwrap();
        self.index = Index::load(&file);
        scan
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn names(scan: &Scan) -> Vec<String> {
    scan.rows.keys().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_path_has_its_row() {
    let mut workspace = Workspace::new();
    workspace.write("a/b.txt", "hello").write("top", "");
    fs::set_permissions(workspace.path("a/b.txt"), Permissions::from_mode(0o750)).unwrap();
    fs::create_dir(workspace.path("empty")).unwrap();
    symlink("../elsewhere", workspace.path("a/link")).unwrap();
    fs::hard_link(workspace.path("a/b.txt"), workspace.path("z")).unwrap();
    nix::unistd::mkfifo(&workspace.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    let scan = workspace.scan();
    assert_eq!(names(&scan), ["a", "a/b.txt", "a/link", "empty", "top", "z"]);
    let file = &scan.rows[&path("a/b.txt")];
    assert_eq!((file.kind, file.mode, file.size, file.hash), (Kind::File, 0o750, 5, Hash::of(b"hello")));
    assert_eq!(scan.rows[&path("a/link")].target.as_deref(), Some(&b"../elsewhere"[..]));
    assert_eq!(scan.rows[&path("z")].link, Some(path("a/b.txt")));
    assert_eq!(scan.rows[&path("empty")].kind, Kind::Dir);
    assert_eq!(scan.special, [path("pipe")]);
    assert!(scan.unreadable.is_empty() && scan.changing.is_empty() && scan.ignored.is_empty());
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let mut workspace = Workspace::new();
    workspace.write("a/one", "1").write("two", "22");
    assert_eq!(workspace.scan().hashed_files, 2);
    // Old enough now not to be racy: the clock of the file system has moved on by more than its tick.
    wait_for_a_tick(&workspace);
    let first = workspace.scan();
    let second = workspace.scan();
    assert_eq!((first.hashed_files, second.hashed_files), (2, 0));
    assert_eq!(first.rows, second.rows);
    workspace.write("two", "23");
    let third = workspace.scan();
    assert_eq!((third.hashed_files, third.hashed_bytes), (1, 2));
    assert_eq!(third.rows[&path("two")].hash, Hash::of(b"23"));
}

/// Touches a file until its ctime is 20 ms younger than what was there before.
fn wait_for_a_tick(workspace: &Workspace) {
    use std::os::unix::fs::MetadataExt;
    let probe = workspace.path(".stopover/probe");
    let now = || {
        fs::write(&probe, "x").unwrap();
        let meta = fs::metadata(&probe).unwrap();
        meta.ctime() * 1_000_000_000 + meta.ctime_nsec()
    };
    let begin = now();
    while now() < begin + 20_000_000 {
        std::thread::yield_now();
    }
}

#[test]
fn a_cancelled_scan_ends_without_a_result() {
    let workspace = Workspace::new();
    workspace.write("a", "1");
    workspace.options.cancelled.store(true, Ordering::Relaxed);
    let dir = Directory::open(workspace.temp.path()).unwrap();
    let result = scan(&dir, &Index::default(), &workspace.options);
    assert!(matches!(result, Err(WorktreeError::Cancelled)));
}

#[test]
fn an_ignored_file_is_counted_by_its_rule() {
    let mut workspace = Workspace::new();
    workspace
        .write(".gitignore", "*.tmp\n")
        .write("a.tmp", "12345")
        .write("sub/b.tmp", "1")
        .write("node_modules/x/index.js", "1234567890")
        .write("node_modules/y.js", "1")
        .write("src/main.js", "1");
    let scan = workspace.scan();
    assert_eq!(names(&scan), [".gitignore", "src", "src/main.js", "sub"]);
    let counted: Vec<_> = scan
        .ignored
        .iter()
        .map(|rule| (&rule.rule[..], &rule.source[..], rule.files, rule.bytes, rule.at_least))
        .collect();
    assert_eq!(counted, [("node_modules/", "built-in", 2, 11, false), ("*.tmp", ".gitignore", 2, 6, false)]);

    workspace.options.count_ignored = 0;
    let rule = &workspace.scan().ignored[1];
    assert_eq!((rule.files, rule.at_least), (0, true));
}

#[test]
fn what_a_stopoverignore_brings_back_is_stored_with_the_way_to_it() {
    let mut workspace = Workspace::new();
    workspace
        .write(".stopoverignore", "!node_modules/keep\n!.env\n!*.log\n")
        .write("node_modules/keep/index.js", "1")
        .write("node_modules/keep/debug.log", "1")
        .write("node_modules/other/index.js", "1")
        .write("node_modules/other/debug.log", "1")
        .write("sub/node_modules/keep/index.js", "1")
        .write("app.log", "1")
        .write(".env", "1");
    assert_eq!(
        names(&workspace.scan()),
        [
            ".env",
            ".stopoverignore",
            "app.log",
            "node_modules",
            "node_modules/keep",
            "node_modules/keep/debug.log",
            "node_modules/keep/index.js",
            "sub",
        ]
    );
}
