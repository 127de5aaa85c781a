//! What a scan sees, and what it must never miss.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs::{self, File, FileTimes, OpenOptions, Permissions},
    io::Write,
    ops::RangeInclusive,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
    },
    path::Path,
    sync::atomic::Ordering,
};

use proptest::prelude::*;
use stopover::{
    rows::{Hash, Kind, Pieces, RelPath, cut},
    sys::fs::Mapping,
    worktree::{Directory, Index, IndexRow, Presence, RuleOptions, Scan, ScanOptions, WorktreeError, scan},
};

/// A workspace in a directory of its own, and the index of its last scan.
struct Workspace {
    temp: tempfile::TempDir,
    processes: tempfile::TempDir,
    index: Index,
    options: ScanOptions,
    /// How long the files are that are changed.
    size: usize,
}

const PIECE: usize = 1 << 20;
/// Of two and of three pieces, the last a short one or a whole one.
const LARGE: RangeInclusive<usize> = PIECE + 1..=3 * PIECE;

impl Workspace {
    fn new() -> Self {
        // Not where temporary files go: that may be in memory, where stores leave no trace.
        Self::in_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
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
        Self { temp, processes, index: Index::default(), options, size: 4 }
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
fn a_large_file_is_cut_where_it_is_hashed_and_nowhere_else() {
    let mut workspace = Workspace::new();
    let contents = ["1".repeat(1 << 20), "2".repeat((1 << 20) + 1), "3".repeat(20 << 20)];
    for (name, content) in ["one", "two", "many"].iter().zip(&contents) {
        workspace.write(name, content);
    }
    wait_for_a_tick(&workspace);
    let hashed = workspace.scan();
    for (name, content) in ["one", "two", "many"].iter().zip(&contents) {
        let (row, cut) = (&hashed.rows[&path(name)], cut(content.as_bytes()));
        assert_eq!((row.hash, row.size, &row.pieces), (cut.hash, cut.size, &cut.pieces), "{name}");
        assert!(row.pieces_fit());
    }
    let proven = workspace.scan();
    assert_eq!(proven.hashed_files, 0);
    assert!(proven.rows.iter().all(|(path, row)| row.pieces == Pieces::None && row.same(&hashed.rows[path])));
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

/// Touches a file until its ctime is 11 ms younger than what was there before.
fn wait_for_a_tick(workspace: &Workspace) {
    use std::os::unix::fs::MetadataExt;
    let probe = workspace.path(".stopover/probe");
    let now = || {
        fs::write(&probe, "x").unwrap();
        let meta = fs::metadata(&probe).unwrap();
        meta.ctime() * 1_000_000_000 + meta.ctime_nsec()
    };
    let begin = now();
    while now() < begin + 11_000_000 {
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

/// One system call or a few that belong together, on one of three files.
#[derive(Debug, Clone)]
enum Change {
    /// Write in place, one byte.
    Write(u8),
    /// Truncate and write the same number of bytes.
    Rewrite(u8),
    /// Write all of one piece in place.
    RewritePiece(u8),
    /// Another file takes the name.
    RenameOver(u8),
    /// Write, then set the times back to what they were.
    WriteAndSetTimesBack(u8),
    /// Map, read, store, unmap.
    Map(u8),
    /// The same, but the mapping stays.
    MapAndKeep(u8),
    /// Store through a mapping that stayed.
    StoreThroughKept(u8),
    /// Let go of it.
    Unmap,
    Chmod(u8),
    /// Append a byte and cut it off again.
    GrowAndShrink,
    /// Two files exchange their names.
    Swap,
    /// Another name for it, and the old one goes.
    Link,
    Scan,
    /// The clock moves on, so that the rows of this scan count.
    Settle,
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![
        1 => any::<u8>().prop_map(Change::Write),
        1 => any::<u8>().prop_map(Change::Rewrite),
        1 => any::<u8>().prop_map(Change::RewritePiece),
        1 => any::<u8>().prop_map(Change::RenameOver),
        1 => any::<u8>().prop_map(Change::WriteAndSetTimesBack),
        1 => any::<u8>().prop_map(Change::Map),
        1 => any::<u8>().prop_map(Change::MapAndKeep),
        4 => any::<u8>().prop_map(Change::StoreThroughKept),
        1 => Just(Change::Unmap),
        1 => any::<u8>().prop_map(Change::Chmod),
        1 => Just(Change::GrowAndShrink),
        1 => Just(Change::Swap),
        1 => Just(Change::Link),
        4 => Just(Change::Scan),
        4 => Just(Change::Settle),
    ];
    (0..3_usize, change)
}

impl Workspace {
    fn open(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap()
    }

    fn make(&self, name: &str, change: &Change, kept: &mut Vec<(String, Mapping)>) {
        let file = || self.open(name);
        match change {
            Change::Write(byte) => file().write_all_at(&[*byte], self.somewhere(*byte)).unwrap(),
            Change::Rewrite(byte) => fs::write(self.path(name), self.content(*byte)).unwrap(),
            Change::RewritePiece(byte) => {
                let piece = usize::from(*byte) % self.size.div_ceil(PIECE) * PIECE;
                let length = PIECE.min(self.size - piece);
                file().write_all_at(&vec![*byte; length], piece as u64).unwrap();
            }
            Change::RenameOver(byte) => {
                fs::write(self.path(".stopover/other"), self.content(*byte)).unwrap();
                fs::rename(self.path(".stopover/other"), self.path(name)).unwrap();
            }
            Change::WriteAndSetTimesBack(byte) => {
                let file = file();
                let before = file.metadata().unwrap();
                file.write_all_at(&[*byte], self.somewhere(byte.wrapping_mul(7))).unwrap();
                let times =
                    FileTimes::new().set_modified(before.modified().unwrap()).set_accessed(before.accessed().unwrap());
                file.set_times(times).unwrap();
            }
            Change::Map(byte) => Mapping::new(&file()).unwrap().store(*byte),
            Change::MapAndKeep(byte) => {
                let mapping = Mapping::new(&file()).unwrap();
                mapping.store(*byte);
                kept.push((name.to_owned(), mapping));
            }
            Change::StoreThroughKept(byte) => kept.iter().rev().take(1).for_each(|(_, mapping)| mapping.store(*byte)),
            Change::Unmap => drop(kept.pop()),
            Change::Chmod(bits) => {
                fs::set_permissions(self.path(name), Permissions::from_mode(0o600 | u32::from(*bits) & 0o77)).unwrap();
            }
            Change::GrowAndShrink => {
                let mut appending = OpenOptions::new().append(true).open(self.path(name)).unwrap();
                appending.write_all(b"x").unwrap();
                file().set_len(self.size as u64).unwrap();
            }
            Change::Swap => {
                fs::rename(self.path("0"), self.path(".stopover/swap")).unwrap();
                fs::rename(self.path("1"), self.path("0")).unwrap();
                fs::rename(self.path(".stopover/swap"), self.path("1")).unwrap();
            }
            Change::Link => {
                fs::hard_link(self.path(name), self.path(".stopover/link")).unwrap();
                fs::remove_file(self.path(name)).unwrap();
                fs::rename(self.path(".stopover/link"), self.path(name)).unwrap();
            }
            Change::Scan | Change::Settle => {}
        }
    }

    /// What a file of this size may hold: one of its pieces says which content it is.
    fn content(&self, byte: u8) -> Vec<u8> {
        let mut content: Vec<u8> = (0..self.size).map(|at| b'#' + (at / PIECE) as u8).collect();
        let pieces = content.chunks_mut(PIECE).len();
        content.chunks_mut(PIECE).nth(usize::from(byte) % pieces).unwrap().fill(byte);
        content
    }

    /// A place in one of its pieces.
    fn somewhere(&self, byte: u8) -> u64 {
        (usize::from(byte) * self.size / 256) as u64
    }

    /// Scans and compares every row, and the pieces of what was read, with what the file holds.
    fn scan_tells_the_truth(&mut self) -> Result<u64, TestCaseError> {
        let scan = self.scan();
        let mut in_pieces = 0;
        for name in ["0", "1", "2"] {
            let content = fs::read(self.path(name)).unwrap();
            let (row, cut) = (&scan.rows[&path(name)], cut(&content));
            let begin = &content[..content.len().min(4)];
            prop_assert_eq!((row.hash, row.size), (cut.hash, cut.size), "{} begins with {:?}", name, begin);
            if row.pieces != Pieces::None {
                in_pieces += 1;
                prop_assert_eq!(&row.pieces, &cut.pieces, "pieces of {}, which begins with {:?}", name, begin);
            }
        }
        prop_assert_eq!(in_pieces, if self.size > PIECE { scan.hashed_files } else { 0 });
        Ok(scan.hashed_files)
    }

    fn survives(&mut self, changes: &[(usize, Change)]) -> Result<(), TestCaseError> {
        for name in ["0", "1", "2"] {
            fs::write(self.path(name), self.content(b'#')).unwrap();
        }
        let mut kept = Vec::new();
        for (file, change) in changes {
            match change {
                Change::Scan => drop(self.scan_tells_the_truth()?),
                Change::Settle => {
                    wait_for_a_tick(self);
                    self.scan_tells_the_truth()?;
                }
                _ => self.make(&file.to_string(), change, &mut kept),
            }
        }
        self.scan_tells_the_truth()?;
        wait_for_a_tick(self);
        self.scan_tells_the_truth()?;
        kept.iter().for_each(|(_, mapping)| mapping.store(b'!'));
        self.scan_tells_the_truth().map(drop)
    }
}

/// This process itself is never asked what it maps; in these tests it is the app.
fn with_this_process_as_the_app(mut workspace: Workspace) -> Workspace {
    let other = tempfile::tempdir().unwrap();
    symlink(Path::new("/proc/self"), other.path().join("self")).unwrap();
    // Under another number than ours, which the scan leaves out.
    symlink(Path::new("/proc/self"), other.path().join("1")).unwrap();
    workspace.options.processes = other.path().to_owned();
    workspace.processes = other;
    workspace
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn unchanged_is_said_only_of_what_did_not_change(changes in proptest::collection::vec(change(), 1..16)) {
        with_this_process_as_the_app(Workspace::new()).survives(&changes)?;
    }

    #[test]
    fn in_memory_too_where_stores_leave_no_trace(changes in proptest::collection::vec(change(), 1..16)) {
        if let Ok(place) = tempfile::tempdir_in("/dev/shm") {
            with_this_process_as_the_app(Workspace::in_dir(place.path())).survives(&changes)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 50,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn of_several_pieces_too(changes in proptest::collection::vec(change(), 1..8), size in LARGE) {
        with_this_process_as_the_app(Workspace { size, ..Workspace::new() }).survives(&changes)?;
    }
}

#[test]
fn a_file_that_is_mapped_while_it_is_hashed_is_hashed_again_until_it_is_not() {
    let mut workspace = with_this_process_as_the_app(Workspace::new());
    workspace.write("mapped", "####").write("other", "####");
    let mapping = Mapping::new(&workspace.open("mapped")).unwrap();
    mapping.store(b'1');
    wait_for_a_tick(&workspace);
    assert_eq!(workspace.scan().hashed_files, 2);
    assert_eq!(workspace.scan().hashed_files, 1);
    // The page is dirty: this store moves no time.
    mapping.store(b'2');
    let scan = workspace.scan();
    assert_eq!(scan.rows[&path("mapped")].hash, Hash::of(b"2###"));
    drop(mapping);
    assert_eq!(workspace.scan().hashed_files, 1);
    assert_eq!(workspace.scan().hashed_files, 0);
}

#[test]
fn where_a_process_cannot_be_read_every_hashed_row_is_warm_and_a_restored_one_is_not() {
    let mut workspace = Workspace::new();
    workspace.write("hashed", "1").write("restored", "2");
    wait_for_a_tick(&workspace);
    // A process that nobody may look into: a directory without anything to read, but with a stat.
    let hidden = workspace.processes.path().join("4242");
    fs::create_dir(&hidden).unwrap();
    fs::write(hidden.join("stat"), "4242 (x) S 1 1 1 0 -1 4194560 0").unwrap();
    workspace.scan();
    let dir = Directory::open(workspace.temp.path()).unwrap();
    let Presence::There(stat) = dir.look(&path("restored")) else { panic!("it is there") };
    workspace.index.insert(&path("restored"), IndexRow { restored: true, ..IndexRow::new(&stat, Hash::of(b"2")) });
    assert_eq!(workspace.scan().hashed_files, 1);
    assert_eq!(workspace.scan().hashed_files, 1);
    workspace.options.own_processes.push(4242);
    assert_eq!(workspace.scan().hashed_files, 1);
    assert_eq!(workspace.scan().hashed_files, 0);
}

#[test]
fn a_file_that_never_holds_still_is_said_to_be_changing() {
    let mut workspace = Workspace::new();
    // Large enough (it is one hole) that it cannot be read between two writes.
    File::create(workspace.path("busy")).unwrap().set_len(512 << 20).unwrap();
    workspace.write("calm", "1");
    let file = workspace.open("busy");
    let done = std::sync::atomic::AtomicBool::new(false);
    let scan = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u8;
            while !done.load(Ordering::Relaxed) {
                number = number.wrapping_add(1);
                file.write_all_at(&[number], 0).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number))).unwrap();
            }
        });
        let scan = workspace.scan();
        done.store(true, Ordering::Relaxed);
        scan
    });
    assert_eq!(scan.changing, [path("busy")]);
    assert_eq!(names(&scan), ["calm"]);
}

#[test]
fn a_scan_without_a_state_directory_works_and_trusts_nothing() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "1").unwrap();
    let dir = Directory::open(temp.path()).unwrap();
    let options = ScanOptions::new(RuleOptions::default(), temp.path().join("none"));
    let first = scan(&dir, &Index::default(), &options).unwrap();
    let second = scan(&dir, &first.index, &options).unwrap();
    assert_eq!(second.hashed_files, 1);
    assert_eq!(names(&second), ["file"]);
    assert!(!temp.path().join("none").exists());
}

#[test]
fn names_that_cannot_be_stored_are_refused_and_the_rest_goes_on() {
    let mut workspace = Workspace::new();
    let mut deep = workspace.path("deep");
    // Deeper than a path can name; made step by step.
    let mut made = Vec::new();
    fs::create_dir(&deep).unwrap();
    for _ in 0..15 {
        deep.push("d".repeat(250));
        fs::create_dir(&deep).unwrap();
        made.push(deep.clone());
    }
    let mut at = nix::fcntl::open(&deep, nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty()).unwrap();
    for _ in 0..3 {
        let name = "e".repeat(250);
        nix::sys::stat::mkdirat(&at, &name[..], nix::sys::stat::Mode::S_IRWXU).unwrap();
        at = nix::fcntl::openat(&at, &name[..], nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty()).unwrap();
    }
    workspace.write("normal", "1").write("a/.stopover/b", "x").write("b/.stopover", "x");
    fs::write(workspace.path("caf\u{e9}"), "1").unwrap();
    fs::write(workspace.temp.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "1").unwrap();
    let scan = workspace.scan();
    let refused: Vec<_> = scan.refused.iter().map(|(name, why)| (&name[..6], why.as_str())).collect();
    let reserved = "it has a segment \".stopover\", which is stopover's own";
    assert_eq!(refused, [("b/.sto", reserved), ("deep/d", "it is longer than 4,095 bytes")]);
    let names = names(&scan);
    assert!(
        names.contains(&"normal".into()) && names.contains(&"caf\u{e9}".into()) && names.contains(&"caf\\xe9".into())
    );
    assert_eq!(scan.warnings, ["a/.stopover is not stored: that name is stopover's own at every level"]);
    assert!(names.contains(&"a".into()) && !names.iter().any(|name| name.contains(".stopover")));
}
