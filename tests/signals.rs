//! Signals reach the app: each, once, with its value, in the first microseconds and between fork and exec.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(unreachable_pub, reason = "shared by test binaries")]
mod support {
    pub mod stage;
}

use std::{
    fs,
    os::fd::AsRawFd,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use stopover::sys::{
    entry,
    poll::{self, Watch},
    signals::{self, Info},
    spawn::{self, Spawn},
    wait,
};
use support::stage::{self, Running, actor, finish, init, skip, wait_until};

fn main() -> ExitCode {
    match stage::part().as_deref() {
        Some("reporter") => reporter(false),
        Some("pair") => reporter(true),
        Some("first") => first(),
        _ => stage::run(tests![
            every_catchable_signal_reaches_the_child,
            every_catchable_signal_reaches_the_group,
            the_default_scope_is_the_child_alone,
            twenty_queued_real_time_signals_arrive_as_twenty_with_their_values,
            values_reach_every_member_of_the_group,
            a_dead_child_of_stopover_is_no_signal_for_the_app,
            a_full_queue_of_real_time_signals_holds_back_no_other,
            a_rewritten_signal_arrives_as_the_other_and_zero_drops_it,
            an_expected_exit_counts_as_success,
            a_term_in_the_first_microseconds_is_not_lost,
            a_signal_between_fork_and_exec_is_not_lost,
            a_signal_to_a_group_that_is_not_there_yet_is_not_lost,
            what_outlives_the_app_is_told_and_may_flush,
            a_grandchild_in_its_own_session_is_told_too,
            what_does_not_listen_is_killed_after_the_grace_time,
            mask_and_ignored_signals_of_the_app_are_those_that_were_inherited,
        ]),
    }
}

/// An app that says which signals it gets: `got NUMBER VALUE`. It ends when its stdin does. With `pair` it has a
/// second one in its group.
fn reporter(pair: bool) -> ExitCode {
    entry::block_all_signals();
    let ear = signals::descriptor().expect("signalfd");
    let name = if stage::part().as_deref() == Some("pair") { "first" } else { "second" };
    let second = pair.then(|| {
        let own = std::env::current_exe().expect("own path");
        Command::new(own).env("STAGE_ACTOR", "reporter").stdin(Stdio::piped()).spawn().expect("starts")
    });
    println!("ready {name}");
    loop {
        let mut watches = [Watch::readable(ear.as_raw_fd()), Watch::readable(0)];
        poll::wait(&mut watches, None);
        while let Some(info) = signals::take() {
            println!("got {} {} {name}", info.signal(), if info.has_value() { info.value() } else { 0 });
        }
        if watches[1].woke() {
            drop(second);
            return ExitCode::SUCCESS;
        }
    }
}

fn reporting(flags: &[&str], part: &str) -> Running {
    let mut running = Running::start(init(flags, &actor(part)));
    running.until("ready");
    if part == "pair" {
        running.until("ready");
    }
    running
}

/// All but those that nobody can catch, and SIGCHLD.
fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(signal))
}

fn every_catchable_signal_reaches_the_child() {
    let mut app = reporting(&[], "reporter");
    for signal in catchable() {
        app.signal(signal);
        assert_eq!(app.until("got"), format!("got {signal} 0 second"));
    }
    app.close();
    assert_eq!(app.end().code(), Some(0));
}

fn every_catchable_signal_reaches_the_group() {
    let mut app = reporting(&["--signal-scope", "group"], "pair");
    for signal in catchable() {
        app.signal(signal);
        let mut got = [app.until("got"), app.until("got")];
        got.sort();
        assert_eq!(got, [format!("got {signal} 0 first"), format!("got {signal} 0 second")]);
    }
    app.close();
    assert_eq!(app.end().code(), Some(0));
}

fn the_default_scope_is_the_child_alone() {
    let mut app = reporting(&[], "pair");
    app.signal(libc::SIGUSR1).signal(libc::SIGUSR2);
    assert_eq!(app.until("got"), "got 10 0 first");
    assert_eq!(app.until("got"), "got 12 0 first");
    app.close();
    app.end();
    assert!(
        !app.seen.iter().any(|line| line.starts_with("got") && line.ends_with("second") && !line.starts_with("got 15"))
    );
}

fn twenty_queued_real_time_signals_arrive_as_twenty_with_their_values() {
    let mut app = reporting(&[], "reporter");
    for value in 1..=20 {
        signals::queue(app.pid(), 40, &Info::with_value(40, value)).expect("queues");
    }
    for _ in 1..=20 {
        signals::send(app.pid(), 41).expect("sends");
    }
    for value in 1..=20 {
        assert_eq!(app.until("got"), format!("got 40 {value} second"));
    }
    for _ in 1..=20 {
        assert_eq!(app.until("got"), "got 41 0 second");
    }
    // Nothing comes twice: the next thing it hears is this.
    app.signal(libc::SIGUSR1);
    assert_eq!(app.until("got"), "got 10 0 second");
}

fn values_reach_every_member_of_the_group() {
    let mut app = reporting(&["--signal-scope", "group"], "pair");
    signals::queue(app.pid(), 50, &Info::with_value(50, 7)).expect("queues");
    let mut got = [app.until("got"), app.until("got")];
    got.sort();
    assert_eq!(got, ["got 50 7 first", "got 50 7 second"]);
}

fn a_dead_child_of_stopover_is_no_signal_for_the_app() {
    let mut app = reporting(&[], "reporter");
    app.signal(libc::SIGCHLD).signal(libc::SIGUSR1);
    assert_eq!(app.until("got"), "got 10 0 second");
}

fn a_full_queue_of_real_time_signals_holds_back_no_other() {
    if !stage::have("prlimit") {
        skip("prlimit", "apt-get install util-linux");
        return;
    }
    // Not one signal with a value fits into this app's queue.
    let mut app = Running::start(init(&[], &["prlimit", "--sigpending=0", "sh", "-c", "echo ready; exec sleep 60"]));
    app.until("ready");
    signals::queue(app.pid(), 40, &Info::with_value(40, 7)).expect("queues");
    app.signal(libc::SIGTERM);
    assert_eq!(app.end().code(), Some(143));
}

fn a_rewritten_signal_arrives_as_the_other_and_zero_drops_it() {
    let mut app = reporting(&["--rewrite", "TERM:QUIT", "--rewrite", "WINCH:0"], "reporter");
    app.signal(libc::SIGWINCH).signal(libc::SIGTERM);
    assert_eq!(app.until("got"), "got 3 0 second");
}

fn an_expected_exit_counts_as_success() {
    assert_eq!(finish(init(&["--expect-exit", "143"], &["sh", "-c", "exit 143"])).0, 0);
    assert_eq!(finish(init(&["--expect-exit", "143"], &["sh", "-c", "kill -TERM $$"])).0, 0);
    assert_eq!(finish(init(&["--expect-exit", "143"], &["sh", "-c", "exit 1"])).0, 1);
}

/// Becomes the parent of a PID namespace, starts stopover as its PID 1, and sends TERM so many microseconds after
/// exec's point of no return, which it sees as the end of a close-on-exec pipe. Prints the exit code.
fn first() -> ExitCode {
    let word = |name: &str| std::env::var(name).expect("set");
    let delay = Duration::from_micros(word("STAGE_DELAY").parse().expect("number"));
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).expect("a namespace");
    let c = |text: &str| std::ffi::CString::new(text).expect("no NUL");
    let started = spawn::spawn(&Spawn {
        programs: vec![c(&word("STAGE_BINARY"))],
        words: ["stopover", "run", "--", "sleep", "30"].map(c).to_vec(),
        environment: vec![c("PATH=/usr/bin:/bin"), c("STOPOVER_WORKSPACE=none")],
        directory: None,
        mask: 0,
        ignored: 0,
        reset: u64::MAX,
        terminal: None,
        without_stdin: false,
        keep: Vec::new(),
        identity: None,
    })
    .expect("starts");
    while spawn::Failure::read(&started.failure).is_none() {}
    let sent = poll::monotonic() + delay;
    while poll::monotonic() < sent {}
    signals::send(started.pid, libc::SIGTERM).expect("sends");
    for _ in 0..2000 {
        if let Some(ending) = wait::reap(started.pid) {
            println!("{}", ending.code());
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    signals::send(started.pid, libc::SIGKILL).expect("kills");
    println!("lost");
    ExitCode::SUCCESS
}

/// Whether stopover, told so early, ended by the signal: 143. It may also be `lost`. Where `nice` may do nothing, it says
/// so below that.
fn ends_by_term(binary: &Path, delay: u64) -> bool {
    let [env, part, own] = actor("first");
    let mut command = Command::new("nice");
    command.args(["-n", "-20", &env, &part, &format!("STAGE_DELAY={delay}")]);
    command.args([&format!("STAGE_BINARY={}", binary.display()), &own]);
    let (_, said) = finish(command);
    let word = said.lines().find(|line| ["143", "lost"].contains(line));
    word.unwrap_or_else(|| panic!("{said}")) == "143"
}

fn a_term_in_the_first_microseconds_is_not_lost() {
    let Some(binary) = stage::static_stopover() else { return };
    if !stage::may_unshare() {
        skip("unshare", "PID namespaces need root, or user namespaces");
        return;
    }
    for delay in [50, 60, 80, 120, 200, 300, 500, 800, 1200, 2000] {
        // A process that does not run cannot block anything, and other load only ever adds: a busy machine loses some,
        // but a stopover that is too late loses all. Twenty in a row are enough.
        let (mut told, mut tried) = (0, 0);
        while tried < 100 && !(tried == 20 && told == 20) {
            tried += 1;
            told += usize::from(ends_by_term(&binary, delay));
        }
        assert!(told >= tried / 2, "TERM {delay} microseconds after exec: {told} of {tried} came through");
    }
}

/// Runs under strace, with one system call of the children or of all delayed.
fn delayed(inject: &str, flags: &[&str]) -> Option<Running> {
    if !stage::have("strace") {
        skip("strace", "apt-get install strace");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")]);
    command.arg(stage::stopover()).arg("run").args(flags).arg("--").args(actor("reporter"));
    command.env("STOPOVER_WORKSPACE", "none");
    Some(Running::start(command))
}

/// The child of the strace that `running` is, and its child once it was forked.
fn under_strace(running: &Running) -> (i32, Option<i32>) {
    let mut found = (0, None);
    wait_until("stopover runs under strace", || {
        let all = stage::processes();
        let child_of = |parent| all.iter().find(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid);
        let Some(own) = child_of(running.pid()) else { return false };
        found = (own, child_of(own));
        // strace starts with a child of its own that is not yet stopover.
        fs::read_link(format!("/proc/{own}/exe")).is_ok_and(|exe| exe == stage::stopover()) && found.1.is_some()
    });
    found
}

fn a_signal_between_fork_and_exec_is_not_lost() {
    let Some(mut app) = delayed("execve:delay_enter=400000", &[]) else { return };
    let (own, _) = under_strace(&app);
    signals::send(own, libc::SIGUSR1).expect("sends");
    signals::send(own, libc::SIGUSR2).expect("sends");
    // The default of both is death: an app that was told before its handler stood ends by one of them, and stopover
    // with it. Either way nothing was lost.
    assert!([Some(128 + 10), Some(128 + 12)].contains(&app.end().code()));
}

fn a_signal_to_a_group_that_is_not_there_yet_is_not_lost() {
    for _ in 0..5 {
        let Some(mut app) = delayed("setpgid:delay_enter=2000000", &["--signal-scope", "group"]) else { return };
        let (own, _) = under_strace(&app);
        signals::send(own, libc::SIGHUP).expect("sends");
        // On a busy machine the group may be there by then, and the app hears what it would have died of: once more.
        if !app.says("got 1 ") {
            let status = app.end();
            assert_eq!(status.code(), Some(128 + 1), "it was told, and died of it: {:?}", app.seen);
            return;
        }
    }
    panic!("the group was always there");
}

/// A shell that ends at once, while its worker needs 0.7 s to write what it has.
fn flushing(place: &str, detach: &str) -> Vec<String> {
    let worker =
        format!("trap 'sleep 0.7; echo flushed > {place}; exit 0' TERM; echo ready; while :; do sleep 0.02; done");
    let script = format!("{detach} sh -c \"{worker}\" & wait");
    ["sh", "-c", &script].map(ToOwned::to_owned).to_vec()
}

fn flushes(detach: &str) {
    let place = tempfile::tempdir().expect("directory");
    let file = place.path().join("file");
    let mut app = Running::start(init(&[], &flushing(file.to_str().expect("utf-8"), detach)));
    app.until("ready");
    app.signal(libc::SIGTERM);
    assert_eq!(app.end().code(), Some(143));
    assert_eq!(fs::read_to_string(file).expect("flushed"), "flushed\n");
}

fn what_outlives_the_app_is_told_and_may_flush() {
    flushes("");
}

fn a_grandchild_in_its_own_session_is_told_too() {
    flushes("setsid");
}

fn what_does_not_listen_is_killed_after_the_grace_time() {
    let script = "trap '' TERM; (while :; do sleep 0.05; done) & trap - TERM; echo ready; wait";
    let mut app = Running::start(init(&["--grace", "300ms"], &["sh", "-c", script]));
    app.until("ready");
    app.signal(libc::SIGTERM);
    assert_eq!(app.end().code(), Some(143));
}

/// Starts stopover with exactly this mask and these ignored signals, and returns what the app's own are.
fn inherited(mask: u64, ignored: u64) -> (u64, u64) {
    let place = tempfile::tempdir().expect("directory");
    let out = place.path().join("status");
    let binary = stage::stopover();
    let c = |text: &str| std::ffi::CString::new(text).expect("no NUL");
    let words: Vec<_> =
        ["stopover", "run", "--", "cp", "/proc/self/status", out.to_str().expect("utf-8")].into_iter().map(c).collect();
    let started = spawn::spawn(&Spawn {
        programs: vec![c(binary.to_str().expect("utf-8"))],
        words,
        environment: vec![c("PATH=/usr/bin:/bin"), c("STOPOVER_WORKSPACE=none")],
        directory: None,
        mask,
        ignored,
        reset: u64::MAX,
        terminal: None,
        without_stdin: true,
        keep: Vec::new(),
        identity: None,
    })
    .expect("starts");
    let mut ending = None;
    wait_until("it ends", || {
        ending = wait::reap(started.pid);
        ending.is_some()
    });
    assert_eq!(ending.map(wait::Ending::code), Some(0));
    let text = fs::read_to_string(out).expect("status");
    let set = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("line");
        u64::from_str_radix(line.trim(), 16).expect("hex")
    };
    (set("SigBlk:"), set("SigIgn:"))
}

fn mask_and_ignored_signals_of_the_app_are_those_that_were_inherited() {
    let bit = |signal: i32| 1_u64 << (signal - 1);
    // Nobody can block or ignore these; a libc may keep 32 to 34 for itself, but inherits them all the same.
    let free = !(bit(libc::SIGKILL) | bit(libc::SIGSTOP));
    for (mask, ignored) in [
        (0, 0),
        (0, bit(libc::SIGPIPE)),
        (bit(libc::SIGTERM) | bit(libc::SIGCHLD), bit(libc::SIGHUP) | bit(libc::SIGCHLD)),
        (bit(32) | bit(33) | bit(34) | bit(64), bit(33) | bit(64)),
        (free, free & !bit(libc::SIGCHLD)),
    ] {
        assert_eq!(inherited(mask, ignored), (mask, ignored), "mask {mask:x}, ignored {ignored:x}");
    }
}
