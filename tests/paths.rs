//! Places a workspace may hold that are not simply its own: other mounts, what may not be read, disks that are full
//! or read-only, and what belongs to somebody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setfsgid, setfsuid},
};
use stopover::{
    rows::{Hash, RelPath, Row},
    worktree::{
        Directory, Expected, Index, Owner, Presence, RuleOptions, Scan, ScanOptions, WriteError, WriteOptions, Writer,
        may_chown, scan,
    },
};

const FRESH: WriteOptions = WriteOptions { owner: Owner::Caller, fresh: true };
const NOBODY: u32 = 65_534;

/// Runs `test` on a thread with mounts of its own, or says why not.
fn with_own_mounts(test: impl FnOnce(&Path) + Send + 'static) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().to_owned();
    let thread = std::thread::spawn(move || {
        let none: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| mount(none, "/", none, private, none)) {
            eprintln!("skipped: no mounts of our own ({error}); run as root with CAP_SYS_ADMIN");
            return;
        }
        test(&path);
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Runs `test` on a thread that has another user's rights on files; only root can.
fn as_nobody(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        setfsgid(Gid::from_raw(NOBODY));
        setfsuid(Uid::from_raw(NOBODY));
        test();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn tmpfs(at: &Path, options: &str) {
    fs::create_dir_all(at).unwrap();
    mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

fn bind(from: &Path, to: &Path) {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none).unwrap();
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn state(top: &Path) -> PathBuf {
    let state = top.join(".stopover");
    fs::create_dir_all(&state).unwrap();
    state
}

fn scanned(top: &Path) -> Scan {
    let options = ScanOptions::new(RuleOptions::default(), state(top));
    scan(&Directory::open(top).unwrap(), &Index::default(), &options).unwrap()
}

fn names(scan: &Scan) -> Vec<String> {
    scan.rows.keys().map(ToString::to_string).collect()
}

fn put(writer: &Writer, name: &str, content: &[u8]) -> Result<(), WriteError> {
    let mut staged = writer.begin(&path(name), content.len() as u64)?;
    staged.write_all(content)?;
    staged.finish(&Row::file(Hash::of(content), content.len() as u64, 0o644), Expected::Absent).map(drop)
}

#[test]
fn mounts_inside_the_workspace_are_left_alone_and_said() {
    with_own_mounts(|top| {
        for name in ["other", "bound", "plain", "node_modules"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        fs::write(top.join("plain/file"), "1").unwrap();
        fs::write(top.join("secret file"), "shadowed").unwrap();
        fs::write(top.join("kept"), "1").unwrap();
        tmpfs(&top.join("other"), "");
        fs::write(top.join("other/file"), "1").unwrap();
        tmpfs(&top.join("node_modules"), "");
        // Of the same device: no stat shows them.
        bind(&top.join("plain"), &top.join("bound"));
        bind(&top.join("kept"), &top.join("secret file"));

        let scan = scanned(top);
        assert_eq!(names(&scan), ["kept", "plain", "plain/file"]);
        assert_eq!(scan.mounts, [path("bound"), path("other"), path("secret file")]);

        let dir = Directory::open(top).unwrap();
        for name in ["bound/file", "bound", "other/file", "other/none", "secret file"] {
            assert!(matches!(dir.look(&path(name)), Presence::Unknown(_)), "{name} is neither there nor gone");
        }
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH).unwrap();
        for name in ["bound/new", "other/new", "bound/a/b"] {
            assert!(matches!(put(&writer, name, b"x"), Err(WriteError::MountPoint { .. })), "{name}");
        }
        assert!(put(&writer, "secret file", b"x").is_err());
        assert!(matches!(writer.make_dir(&path("other"), &Row::dir(0o755)), Err(WriteError::MountPoint { .. })));
        assert!(matches!(
            writer.move_aside(&path("other"), &top.join(".stopover/aside")),
            Err(WriteError::MountPoint { .. })
        ));
        assert!(matches!(writer.remove_dir_if_empty(&path("node_modules")), Err(WriteError::MountPoint { .. })));
        assert_eq!(fs::read_dir(top.join("other")).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(top.join("kept")).unwrap(), "1");

        // Without openat2 the device still tells a mount of another file system.
        let stepwise = Directory::open(top).unwrap().stepwise();
        assert!(matches!(stepwise.look(&path("other/file")), Presence::Unknown(_)));
    });
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half() {
    with_own_mounts(|top| {
        tmpfs(top, "size=256k,nr_inodes=40");
        let dir = Directory::open(top).unwrap();
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH).unwrap();
        assert!(matches!(writer.check_space(300 << 10, 1), Err(WriteError::NoSpace { .. })));
        assert!(matches!(writer.check_space(1, 100), Err(WriteError::NoSpace { .. })));
        let error = put(&writer, "a/large", &vec![1; 300 << 10]).unwrap_err();
        assert!(matches!(error, WriteError::NoSpace { .. }));
        assert!(error.to_string().contains("no space left for a/large"), "{error}");
        assert!(!top.join("a/large").exists());
        put(&writer, "a/small", &vec![1; 100 << 10]).unwrap();
        let inodes = (0..100).find_map(|number| put(&writer, &number.to_string(), b"").err());
        assert!(matches!(inodes, Some(WriteError::NoSpace { .. })), "{inodes:?}");
    });
}

#[test]
fn a_read_only_file_system_is_said() {
    with_own_mounts(|top| {
        let dir = Directory::open(top).unwrap();
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH).unwrap();
        drop((dir, writer));
        bind(top, top);
        let none: Option<&str> = None;
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, top, none, read_only, none).unwrap();
        let dir = Directory::open(top).unwrap();
        let error = match Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH) {
            Ok(writer) => put(&writer, "file", b"x").unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.to_lowercase().contains("read-only"), "{error}");
        // Scanning goes on, though it cannot touch its file.
        assert!(
            scan(&dir, &Index::default(), &ScanOptions::new(RuleOptions::default(), top.join(".stopover"))).is_ok()
        );
    });
}

#[test]
fn staging_on_another_file_system_is_refused_with_the_variable_to_set() {
    with_own_mounts(|top| {
        let elsewhere = top.join("elsewhere");
        tmpfs(&elsewhere, "");
        fs::create_dir(top.join("workspace")).unwrap();
        let dir = Directory::open(&top.join("workspace")).unwrap();
        let error = Writer::new(&dir, &elsewhere.join("staging"), FRESH).unwrap_err().to_string();
        assert!(error.contains("STOPOVER_STATE"), "{error}");
    });
}

#[test]
fn what_may_not_be_read_is_listed_and_never_absent() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().to_owned();
    fs::set_permissions(&top, Permissions::from_mode(0o777)).unwrap();
    for (name, mode) in [("open/a", 0o644), ("closed/b", 0o644), ("listed/c", 0o644), ("secret", 0o600)] {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "1").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    // One can be neither listed nor entered, one can only be listed.
    fs::set_permissions(top.join("closed"), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(top.join("listed"), Permissions::from_mode(0o744)).unwrap();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make files of another user");
        return;
    }
    as_nobody(move || {
        let scan = scanned(&top);
        assert_eq!(names(&scan), ["closed", "listed", "open", "open/a"]);
        let unreadable: Vec<String> = scan.unreadable.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(unreadable, ["closed", "listed/c", "secret"]);
        let dir = Directory::open(&top).unwrap();
        for dir in [&dir, &Directory::open(&top).unwrap().stepwise()] {
            assert!(matches!(dir.look(&path("closed/b")), Presence::Unknown(_)));
            assert!(matches!(dir.look(&path("closed/none")), Presence::Unknown(_)));
            assert!(matches!(dir.look(&path("secret")), Presence::There(_)));
        }
    });
}

#[test]
fn a_place_that_may_not_be_written_is_said() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make files of another user");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().to_owned();
    chown(&top, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::create_dir(top.join("theirs")).unwrap();
    as_nobody(move || {
        let dir = Directory::open(&top).unwrap();
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH).unwrap();
        put(&writer, "ours/file", b"x").unwrap();
        let error = put(&writer, "theirs/file", b"x").unwrap_err();
        assert!(matches!(error, WriteError::Denied { .. }), "{error}");
        assert!(error.to_string().contains("theirs/file cannot be written"), "{error}");
        let error = writer.set_meta(&path("theirs"), &Row::dir(0o755), Expected::Absent).unwrap_err();
        assert!(matches!(error, WriteError::Denied { .. }), "{error}");
    });
}

#[test]
fn a_directory_of_ours_that_is_closed_to_writing_is_opened_for_the_moment() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make files of another user");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().to_owned();
    chown(&top, Some(NOBODY), Some(NOBODY)).unwrap();
    as_nobody(move || {
        fs::create_dir(top.join("closed")).unwrap();
        fs::write(top.join("closed/old"), "old").unwrap();
        fs::set_permissions(top.join("closed"), Permissions::from_mode(0o555)).unwrap();
        let dir = Directory::open(&top).unwrap();
        for fresh in [false, true] {
            let options = WriteOptions { owner: Owner::Caller, fresh };
            let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), options).unwrap();
            put(&writer, &format!("closed/{fresh}"), b"x").unwrap();
            writer.make_dir(&path(&format!("closed/dir-{fresh}")), &Row::dir(0o555)).unwrap();
            put(&writer, &format!("closed/dir-{fresh}/below/file"), b"x").unwrap();
            writer.make_symlink(&path(&format!("closed/link-{fresh}")), &Row::symlink(b"x"), Expected::Absent).unwrap();
        }
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH).unwrap();
        let Presence::There(old) = dir.look(&path("closed/old")) else { panic!("it is there") };
        writer.remove_file(&path("closed/old"), Expected::Same(old)).unwrap();
        writer.move_aside(&path("closed/true"), &dir.path().join(".stopover/aside")).unwrap();
        assert_eq!(fs::metadata(top.join("closed")).unwrap().permissions().mode() & 0o777, 0o555);
    });
}

#[test]
fn owners_are_kept_given_or_left_by_policy() {
    if !may_chown() {
        eprintln!("skipped: no CAP_CHOWN; run as root");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = Directory::open(temp.path()).unwrap();
    let row = Row { uid: 12, gid: 34, ..Row::file(Hash::of(b"x"), 1, 0o755) };
    let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    for (number, (owner, expected)) in
        [(Owner::Keep, (12, 34)), (Owner::RunUser { uid: 56, gid: 78 }, (56, 78)), (Owner::Caller, me)]
            .into_iter()
            .enumerate()
    {
        for fresh in [false, true] {
            let options = WriteOptions { owner, fresh };
            let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), options).unwrap();
            let name = |kind: &str| path(&format!("{kind}-{number}-{fresh}"));
            let mut staged = writer.begin(&name("file"), 1).unwrap();
            staged.write_all(b"x").unwrap();
            staged.finish(&row, Expected::Absent).unwrap();
            writer.make_dir(&name("dir"), &Row { uid: 12, gid: 34, ..Row::dir(0o755) }).unwrap();
            let link = Row { uid: 12, gid: 34, ..Row::symlink(b"nowhere") };
            writer.make_symlink(&name("link"), &link, Expected::Absent).unwrap();
            for kind in ["file", "dir", "link"] {
                let Presence::There(stat) = dir.look(&name(kind)) else { panic!("{kind} is there") };
                assert_eq!((stat.uid, stat.gid), expected, "{kind} with {owner:?}");
            }
        }
    }
}

#[test]
fn setuid_setgid_and_sticky_are_dropped_and_counted() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path();
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("plain", 0o755)] {
        fs::write(top.join(name), "x").unwrap();
        fs::set_permissions(top.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(top.join("sticky")).unwrap();
    fs::set_permissions(top.join("sticky"), Permissions::from_mode(0o1777)).unwrap();
    let scan = scanned(top);
    assert_eq!(scan.dropped_bits, 3);
    assert!(scan.rows.values().all(|row| row.mode & !0o777 == 0));
}

#[test]
fn a_state_directory_elsewhere_in_the_workspace_is_not_scanned() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path();
    let state = top.join("notes/ours");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("index"), "x").unwrap();
    fs::write(top.join("notes/theirs"), "x").unwrap();
    let options = ScanOptions::new(RuleOptions::default(), state);
    let scan = scan(&Directory::open(top).unwrap(), &Index::default(), &options).unwrap();
    assert_eq!(names(&scan), ["notes", "notes/theirs"]);
}

#[test]
fn a_workspace_that_was_removed_under_the_scan_is_not_an_empty_one() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join("workspace");
    fs::create_dir(&top).unwrap();
    let dir = Directory::open(&top).unwrap();
    fs::remove_dir(&top).unwrap();
    fs::create_dir(&top).unwrap();
    let options = ScanOptions::new(RuleOptions::default(), temp.path().to_owned());
    assert!(scan(&dir, &Index::default(), &options).is_err());
}

#[test]
fn an_overlay_tells_changes_like_a_disk_and_one_in_memory_like_memory() {
    with_own_mounts(|top| {
        for upper_in_memory in [false, true] {
            let base = top.join(upper_in_memory.to_string());
            fs::create_dir(&base).unwrap();
            if upper_in_memory {
                tmpfs(&base, "");
            }
            for name in ["lower", "upper", "work", "merged"] {
                fs::create_dir(base.join(name)).unwrap();
            }
            fs::write(base.join("lower/file"), "####").unwrap();
            let options = format!("lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work", base.display());
            let merged = base.join("merged");
            if let Err(error) = mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(&options[..])) {
                eprintln!("skipped: no overlay here ({error})");
                continue;
            }
            let processes = tempfile::tempdir().unwrap();
            for name in ["self", "1"] {
                symlink("/proc/self", processes.path().join(name)).unwrap();
            }
            let mut options = ScanOptions::new(RuleOptions::default(), state(&merged));
            options.processes = processes.path().to_owned();
            let dir = Directory::open(&merged).unwrap();
            let mut index = Index::default();
            let mut check = |what: &str| {
                let scan = scan(&dir, &index, &options).unwrap();
                let content = fs::read(merged.join("file")).unwrap();
                assert_eq!(scan.rows[&path("file")].hash, Hash::of(&content), "after {what}");
                index = scan.index;
            };
            let open = || fs::OpenOptions::new().read(true).write(true).open(merged.join("file")).unwrap();
            let map = || stopover::sys::fs::Mapping::new(&open()).unwrap();
            check("the mount");
            let wait = || {
                use std::os::unix::fs::MetadataExt;
                let now = || {
                    fs::write(merged.join(".stopover/probe"), "x").unwrap();
                    let meta = fs::metadata(merged.join(".stopover/probe")).unwrap();
                    meta.ctime() * 1_000_000_000 + meta.ctime_nsec()
                };
                let begin = now();
                while now() < begin + 11_000_000 {
                    std::thread::yield_now();
                }
            };
            wait();
            check("a while");
            map().store(b'1');
            check("a store that copied the file up");
            wait();
            check("a while");
            map().store(b'2');
            check("a store and no trace of its mapping");
            let kept = map();
            kept.store(b'3');
            wait();
            check("a mapping that stays");
            kept.store(b'4');
            check("a store to a dirty page");
        }
    });
}

/// What the next test runs under another user: maps the file named by the variable, stores, says so, waits for the
/// end of its input, storing before it goes.
#[test]
#[ignore = "a part of another test"]
fn part_maps_a_file_and_waits() {
    let Some(name) = std::env::var_os("MAPPED_FILE") else { return };
    let file = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mapping = stopover::sys::fs::Mapping::new(&file).unwrap();
    mapping.store(b'1');
    println!("mapped");
    let mut byte = String::new();
    std::io::stdin().read_line(&mut byte).unwrap();
}

/// What the next test runs without CAP_SYS_PTRACE: scans twice and says how many files the second one read.
#[test]
#[ignore = "a part of another test"]
fn part_scans_twice() {
    let Some(top) = std::env::var_os("SCANNED_DIR") else { return };
    let mut options = ScanOptions::new(RuleOptions::default(), state(Path::new(&top)));
    options.processes = PathBuf::from(std::env::var_os("PROCESSES").unwrap());
    let dir = Directory::open(Path::new(&top)).unwrap();
    let first = scan(&dir, &Index::default(), &options).unwrap();
    let second = scan(&dir, &first.index, &options).unwrap();
    println!("read {} and {}", first.hashed_files, second.hashed_files);
}

#[test]
fn root_without_the_right_to_trace_sees_what_another_user_maps() {
    let setpriv = Command::new("setpriv").arg("--version").output();
    if !nix::unistd::geteuid().is_root() || setpriv.is_err() {
        eprintln!("skipped: needs root and setpriv (util-linux)");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    // Where the other user can run it.
    let program = temp.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let top = temp.path().join("workspace");
    fs::create_dir(&top).unwrap();
    for name in ["mapped", "other"] {
        fs::write(top.join(name), "####").unwrap();
        chown(top.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut mapper = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "part_maps_a_file_and_waits", "--ignored", "--nocapture"])
        .env("MAPPED_FILE", top.join("mapped"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(mapper.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().ends_with("mapped")), "the other process maps its file");
    // Only it, and a way to ask for our rights.
    let processes = temp.path().join("processes");
    fs::create_dir(&processes).unwrap();
    symlink("/proc/self", processes.join("self")).unwrap();
    symlink(format!("/proc/{}", mapper.id()), processes.join(mapper.id().to_string())).unwrap();
    wait_for_a_tick(&top);
    let scanning = Command::new("setpriv")
        .args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"])
        .arg(&program)
        .args(["--exact", "part_scans_twice", "--ignored", "--nocapture"])
        .env("SCANNED_DIR", &top)
        .env("PROCESSES", &processes)
        .output()
        .unwrap();
    drop(mapper.stdin.take());
    mapper.wait().unwrap();
    let text = String::from_utf8_lossy(&scanning.stdout).into_owned();
    assert!(text.contains("read 2 and 1"), "only the mapped file is read again: {text}");
}

/// Touches a file until its ctime is 11 ms younger than what was there before.
fn wait_for_a_tick(top: &Path) {
    use std::os::unix::fs::MetadataExt;
    let probe = state(top).join("probe");
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
fn two_names_that_fold_into_one_file_are_not_both_written() {
    with_own_mounts(|top| {
        let folding = mount(Some("none"), top, Some("tmpfs"), MsFlags::empty(), Some("casefold"));
        if let Err(error) = folding {
            eprintln!("skipped: no file system that folds case here ({error})");
            return;
        }
        let dir = top.join("workspace");
        fs::create_dir(&dir).unwrap();
        if !Command::new("chattr").arg("+F").arg(&dir).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: chattr +F does not work here");
            return;
        }
        let dir = Directory::open(&dir).unwrap();
        let writer = Writer::new(&dir, &dir.path().join(".stopover/staging"), FRESH).unwrap();
        put(&writer, "Readme", b"one").unwrap();
        assert!(matches!(put(&writer, "README", b"two"), Err(WriteError::Folds { .. })));
        assert!(matches!(put(&writer, "Readme", b"two"), Err(WriteError::Moved { .. })));
        writer.make_dir(&path("Src"), &Row::dir(0o755)).unwrap();
        assert!(matches!(writer.make_dir(&path("src"), &Row::dir(0o755)), Err(WriteError::Folds { .. })));
    });
}
