//! A plain init, as good as tini: exit codes, orphans, idleness, memory, how fast it starts, whom the app runs as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(unreachable_pub, reason = "shared by test binaries")]
mod support {
    pub mod stage;
}

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use support::stage::{self, Running, finish, init, init_of, skip, wait_until};

fn main() -> ExitCode {
    stage::run(tests![
        each_of_256_exit_codes_is_passed_on,
        a_death_by_signal_is_128_and_the_signal,
        not_found_is_127_and_not_executable_is_126,
        a_script_without_an_interpreter_line_is_run_by_a_shell,
        two_hundred_orphans_leave_no_zombie,
        two_hundred_orphans_of_pid_1_leave_no_zombie,
        a_child_from_before_is_neither_told_nor_waited_for,
        idle_means_no_wake_up,
        the_app_has_the_callers_descriptors_and_directory,
        no_command_and_no_workspace_is_a_usage_error,
        no_workspace_is_warned_about_once_and_none_is_silent,
        a_plain_init_is_healthy_while_its_app_runs,
        the_app_runs_as_the_user_that_was_named,
        a_user_needs_capabilities_that_are_named,
        pid_1_idles_in_two_mebibytes,
        a_death_for_want_of_memory_is_said,
        starting_costs_little_more_than_tini,
    ])
}

fn each_of_256_exit_codes_is_passed_on() {
    for code in 0..=255 {
        assert_eq!(finish(init(&[], &["sh", "-c", &format!("exit {code}")])).0, code);
    }
}

fn a_death_by_signal_is_128_and_the_signal() {
    // Those whose default is to end a process, one real-time signal at each end among them.
    let ending = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 40, 64];
    for signal in ending {
        let script = format!("ulimit -c 0; kill -{signal} $$; sleep 5");
        assert_eq!(finish(init(&[], &["sh", "-c", &script])).0, 128 + signal, "signal {signal}");
    }
}

fn not_found_is_127_and_not_executable_is_126() {
    let place = tempfile::tempdir().expect("directory");
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = place.path().join(name);
        fs::write(&path, text).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        path.to_str().expect("utf-8").to_owned()
    };
    for (command, code, words) in [
        ("no-such-command".to_owned(), 127, "not found in PATH"),
        ("/no/such/file".to_owned(), 127, "not found"),
        (file("plain", b"text", 0o644), 126, "Permission denied"),
        (place.path().to_str().expect("utf-8").to_owned(), 126, "Permission denied"),
        (file("lost", b"#!/no/such/interpreter\n", 0o755), 126, "interpreter"),
        (file("foreign", b"\x7fELF\x02\x01\x01 and nothing that runs here", 0o755), 126, "Exec format"),
        (String::new(), 127, "not found"),
    ] {
        let (found, said) = finish(init(&[], &[&command]));
        assert_eq!(found, code, "{command}: {said}");
        assert!(said.contains(words), "{command}: {said}");
    }
}

fn a_script_without_an_interpreter_line_is_run_by_a_shell() {
    let place = tempfile::tempdir().expect("directory");
    let path = place.path().join("script");
    fs::write(&path, "echo run with $1; exit 3\n").expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    let (code, said) = finish(init(&[], &[path.to_str().expect("utf-8"), "words"]));
    assert_eq!((code, said.as_str()), (3, "run with words\n"));
}

const ORPHANS: &str = "i=0; while [ $i -lt 200 ]; do (sleep 0.02 &); i=$((i+1)); done; echo made; read line; exit 3";

fn two_hundred_orphans_leave_no_zombie() {
    let mut app = Running::start(init(&[], &["sh", "-c", ORPHANS]));
    app.until("made");
    let own = app.pid();
    wait_until("only the app is left", || {
        stage::processes().iter().filter(|(_, parent, _)| *parent == own).count() == 1
    });
    app.close();
    assert_eq!(app.end().code(), Some(3));
}

fn two_hundred_orphans_of_pid_1_leave_no_zombie() {
    if !stage::may_unshare() {
        skip("unshare", "PID namespaces need root, or user namespaces");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(stage::stopover()).args(["run", "--", "sh", "-c", ORPHANS]);
    command.env("STOPOVER_WORKSPACE", "none");
    let mut app = Running::start(command);
    app.until("made");
    let all = stage::processes();
    let (own, ..) = *all.iter().find(|(_, parent, _)| *parent == app.pid()).expect("PID 1 of the namespace");
    wait_until("only the app is left", || {
        stage::processes().iter().filter(|(_, parent, _)| *parent == own).count() == 1
    });
    app.close();
    assert_eq!(app.end().code(), Some(3));
}

fn a_child_from_before_is_neither_told_nor_waited_for() {
    let script = format!(
        "sh -c 'trap \"echo told\" TERM; echo $$; while :; do sleep 0.05; done' & exec {} run -- sleep 0.2",
        stage::stopover().display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("STOPOVER_WORKSPACE", "none");
    let mut app = Running::start(command);
    let other: i32 = app.line().parse().expect("a process id");
    wait_until("stopover has ended", || {
        stage::processes().iter().all(|(pid, _, state)| *pid != app.pid() || *state == 'Z')
    });
    assert!(stage::processes().iter().any(|(pid, _, state)| *pid == other && *state != 'Z'), "it lives");
    stopover::sys::signals::send(other, libc::SIGKILL).expect("kills");
    assert_eq!(app.end().code(), Some(0));
    assert!(!app.seen.iter().any(|line| line == "told"));
}

fn switches(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let count = |name: &str| -> u64 {
        status.lines().find_map(|line| line.strip_prefix(name)).expect("line").trim().parse().expect("number")
    };
    count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
}

fn idle_means_no_wake_up() {
    let app = Running::start(init(&[], &["sh", "-c", "echo runs; exec sleep 60"]));
    let asleep = |pid: i32| stage::processes().iter().any(|(found, _, state)| *found == pid && *state == 'S');
    let mut app = app;
    app.until("runs");
    wait_until("it sleeps", || asleep(app.pid()));
    // The end of the pipe that tells of the exec may come after the app's first words, and then memory is given back. On
    // a busy machine that takes longer; what wakes up again and again does so in each of these times.
    let is_still = |_| {
        let before = switches(app.pid());
        std::thread::sleep(Duration::from_secs(2));
        switches(app.pid()) == before
    };
    assert!((0..5).any(is_still), "it wakes up again and again: {} switches", switches(app.pid()));
}

fn the_app_has_the_callers_descriptors_and_directory() {
    let place = tempfile::tempdir().expect("directory");
    let words = ["sh", "-c", "pwd; ls /proc/self/fd"];
    let mut bare = Command::new(words[0]);
    bare.args(&words[1..]).current_dir(place.path());
    let mut command = init(&[], &words);
    command.current_dir(place.path());
    assert_eq!(finish(command), finish(bare));
}

fn no_command_and_no_workspace_is_a_usage_error() {
    let (code, said) = finish(init(&[], &[] as &[&str]));
    assert_eq!(code, 2);
    assert!(said.contains("STOPOVER_WORKSPACE") && said.contains("run -- CMD"), "{said}");
}

fn no_workspace_is_warned_about_once_and_none_is_silent() {
    let mut command = init(&[], &["true"]);
    command.env_remove("STOPOVER_WORKSPACE");
    let (code, said) = finish(command);
    assert_eq!(code, 0);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("STOPOVER_WORKSPACE"), "{said}");
    assert_eq!(finish(init(&[], &["true"])), (0, String::new()));
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("root", "run the tests as root, in a container");
    }
    root
}

fn a_plain_init_is_healthy_while_its_app_runs() {
    if !stage::may_unshare() {
        return skip("unshare", "run as root, or allow user namespaces");
    }
    let place = tempfile::tempdir().expect("directory");
    let own = stage::stopover();
    // The second one is asked when all that lives beside it is the one who asks.
    let script = "\"$0\" health --json; echo code $?; exec \"$0\" health";
    // What an earlier life left in the workspace says nothing about this one.
    fs::create_dir(place.path().join(".stopover")).expect("state");
    let stale = r#"{"state":"committed","since":"x","pid":null,"snapshot":null,"last_commit":null}"#;
    fs::write(place.path().join(".stopover/phase"), stale).expect("note");
    let mut run = Command::new("unshare");
    run.args(["--pid", "--fork", "--mount-proc"]).arg(&own).args(["run", "--", "sh", "-c", script]).arg(&own);
    run.env("STOPOVER_WORKSPACE", "none").env("STOPOVER_DIR", place.path());
    let (code, said) = finish(run);
    assert!(said.starts_with("{\"state\":\"running\","), "{said}");
    assert!(said.contains("code 0"), "{said}");
    assert!(said.ends_with("committed\n"), "{said}");
    assert_eq!(code, 1, "{said}");
}

fn the_app_runs_as_the_user_that_was_named() {
    if !is_root() {
        return;
    }
    let script = "id -u; id -g; echo $HOME; grep NoNewPrivs /proc/self/status";
    let (code, said) = finish(init(&["--user", "4242:4343"], &["sh", "-c", script]));
    assert_eq!(code, 0, "{said}");
    assert_eq!(said, "4242\n4343\n/\nNoNewPrivs:\t1\n");
    let (_, said) = finish(init(&["--user", "nobody"], &["sh", "-c", "id -un; echo $HOME"]));
    let home = fs::read_to_string("/etc/passwd").expect("passwd");
    let home =
        home.lines().find(|line| line.starts_with("nobody:")).and_then(|line| line.split(':').nth(5)).expect("home");
    assert_eq!(said, format!("nobody\n{home}\n"));
    let (code, said) = finish(init(&["--user", "no-such-user"], &["true"]));
    assert_eq!(code, 2);
    assert!(said.contains("no-such-user"), "{said}");
}

fn a_user_needs_capabilities_that_are_named() {
    if !is_root() {
        return;
    }
    // Not below a home directory that another user may not enter.
    let place = tempfile::tempdir().expect("directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let binary = place.path().join("stopover");
    fs::copy(stage::stopover(), &binary).expect("copies");
    let mut command = init_of(&binary, &["--user", "root"], &["true"]);
    command.uid(65534).gid(65534);
    let (code, said) = finish(command);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("CAP_SETUID and CAP_SETGID"), "{said}");
    // An app of another user that no signal reaches.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-kill", "--inh-caps=-kill"]).arg(&binary).env("STOPOVER_WORKSPACE", "none");
    command.args(["run", "--user", "65534", "--", "true"]);
    if stage::have("setpriv") {
        let (code, said) = finish(command);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("--user needs CAP_KILL"), "{said}");
    }
}

fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("number")
}

fn pid_1_idles_in_two_mebibytes() {
    let Some(binary) = stage::static_stopover() else { return };
    let mut app = Running::start(init_of(&binary, &[], &["sh", "-c", "echo runs; exec sleep 60"]));
    app.until("runs");
    // What only the start needed is given back when the app has run for a moment.
    wait_until("it has settled", || resident(app.pid()) <= 2048);
    let kib = resident(app.pid());
    println!("idle RSS of the plain init: {kib} KiB");
    assert!(kib <= 2048, "{kib} KiB");
}

fn starting_costs_little_more_than_tini() {
    let Some(binary) = stage::static_stopover() else { return };
    if !stage::have("tini-static") {
        skip("tini", "apt-get install tini");
        return;
    }
    let once = |mut command: Command| {
        let begun = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("starts");
        assert!(status.success());
        begun.elapsed()
    };
    let ours = || init_of(&binary, &[], &["/bin/true"]);
    let tinis = || {
        let mut command = Command::new("tini-static");
        command.args(["--", "/bin/true"]).env("TINI_SUBREAPER", "1");
        command
    };
    // The fastest tenth says what a start costs: other load only ever adds, to some more than to others. What stays is
    // that a busy memory makes every page dearer, and we touch more of them than tini does. So a round that is above
    // the promise is followed by a later one, and the promise is kept where one of them keeps it.
    const STARTS: usize = 50;
    const ROUNDS: u32 = 25;
    let tenth = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 10]
    };
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // Further and further apart: whoever is busy now need not be busy then.
        std::thread::sleep(Duration::from_millis(20) * round);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for start in 0..STARTS {
            // Each of a pair is the first in turn.
            if start % 2 == 0 {
                mine.push(once(ours()));
            }
            theirs.push(once(tinis()));
            if start % 2 == 1 {
                mine.push(once(ours()));
            }
        }
        let (mine, theirs) = (tenth(mine), tenth(theirs));
        let ratio = mine.as_secs_f64() / theirs.as_secs_f64();
        println!("run -- true: {mine:?}, tini-static: {theirs:?}, {ratio:.2}x");
        if ratio <= 1.5 {
            return;
        }
        ratios.push(ratio);
    }
    panic!("run -- true takes more than 1.5 times as long as tini-static in every round: {ratios:.2?}");
}

fn a_death_for_want_of_memory_is_said() {
    let root = Path::new("/sys/fs/cgroup/memory");
    let group = root.join(format!("stopover-test-{}", std::process::id()));
    if !root.join("memory.limit_in_bytes").exists() || fs::create_dir(&group).is_err() {
        skip("cgroup-v1", "the test makes a cgroup of its own: root, and the memory controller of version 1");
        return;
    }
    fs::write(group.join("memory.limit_in_bytes"), "64M").expect("a limit");
    let _ = fs::write(group.join("memory.memsw.limit_in_bytes"), "64M");
    // Into the cgroup first, then stopover; the app wants more than there is.
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec {} run -- sh -c 'head -c 200M /dev/zero | tail > /dev/null; exit 3'",
        group.display(),
        stage::stopover().display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("STOPOVER_WORKSPACE", "none");
    let (_, said) = finish(command);
    wait_until("the cgroup is empty", || fs::remove_dir(&group).is_ok());
    assert!(said.contains("memory is used up (oom_kill)"), "{said}");
}
