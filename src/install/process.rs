//! One tool, in a process group of its own, until it ends, the time is up, or somebody cancels.
//!
//! Nothing of the group lives when [`run`] returns after a timeout or a cancel. The leader is not reaped before its
//! group was signalled for the last time, so that the group's number cannot have become somebody else's.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::sys::tool;

/// Between TERM and KILL. A stop of the whole container has ten seconds as a rule, and this is not its main part.
const GRACE: Duration = Duration::from_secs(2);
/// How long the killed may take to disappear before they are left to PID 1.
const BURIAL: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(10);

/// What may end a tool before its time.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    pub(super) deadline: Instant,
    pub(super) cancel: Option<BorrowedFd<'a>>,
}

/// How a tool ended.
#[derive(Debug)]
pub(super) enum End {
    Itself(ExitStatus),
    TimedOut(ExitStatus),
    Cancelled(Option<ExitStatus>),
}

enum Event {
    Ended,
    Cancel,
    Deadline,
}

/// Runs `command`; its standard input is empty, what else it gets is its caller's.
pub(super) fn run(command: &mut Command, limits: Limits<'_>) -> io::Result<End> {
    let (ended, of_waiter) = UnixStream::pair()?;
    // A cancel that came before this tool stops it from being started.
    if let Event::Cancel = wait(&ended, Limits { deadline: Instant::now(), ..limits })? {
        return Ok(End::Cancelled(None));
    }
    let mut child = tool::hears_signals(command.stdin(Stdio::null()).process_group(0)).spawn()?;
    let group = group_of(&child);
    let waiter = thread::Builder::new().name("waiter".to_owned()).spawn(move || {
        while let Err(Errno::EINTR) = waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
        drop(of_waiter);
    });
    // Without the thread the other end is closed at once: then the tool would seem to have ended.
    let event = waiter.and_then(|_| wait(&ended, limits));
    match event {
        Ok(Event::Ended) => child.wait().map(End::Itself),
        Ok(Event::Cancel) => stop(&mut child, &ended).map(|status| End::Cancelled(Some(status))),
        Ok(Event::Deadline) => stop(&mut child, &ended).map(End::TimedOut),
        Err(error) => {
            stop(&mut child, &ended)?;
            Err(error)
        }
    }
}

fn group_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Sleeps until the first of the three.
fn wait(ended: &UnixStream, limits: Limits<'_>) -> io::Result<Event> {
    loop {
        let left = limits.deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last millisecond would be spent spinning.
        let timeout =
            PollTimeout::try_from(left.saturating_add(Duration::from_micros(999))).unwrap_or(PollTimeout::MAX);
        let mut sources = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        sources.extend(limits.cancel.map(|cancel| PollFd::new(cancel, PollFlags::POLLIN)));
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = |source: Option<&PollFd<'_>>| source.and_then(PollFd::any).unwrap_or(false);
        if happened(sources.first()) {
            return Ok(Event::Ended);
        }
        if happened(sources.get(1)) {
            return Ok(Event::Cancel);
        }
        if limits.deadline <= Instant::now() {
            return Ok(Event::Deadline);
        }
    }
}

/// TERM to the group, KILL to what is left of it, and the leader's end.
fn stop(child: &mut Child, ended: &UnixStream) -> io::Result<ExitStatus> {
    let group = group_of(child);
    // ESRCH cannot be: the leader is there, as a zombie at least. EPERM can (a setuid member): the rest is told.
    let _ = killpg(group, Signal::SIGTERM);
    let until = Instant::now() + GRACE;
    let _ = wait(ended, Limits { deadline: until, cancel: None });
    while lives(group) && Instant::now() < until {
        thread::sleep(GLANCE);
    }
    let _ = killpg(group, Signal::SIGKILL);
    let until = Instant::now() + BURIAL;
    while lives(group) && Instant::now() < until {
        thread::sleep(GLANCE);
    }
    child.wait()
}

/// Whether some process of `group` is more than a zombie; without /proc nobody can tell, and nobody is waited for.
fn lives(group: Pid) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let is_process = process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        is_process && fs::read_to_string(process.path().join("stat")).is_ok_and(|stat| lives_in(&stat, group))
    })
}

/// Reads `PID (NAME) STATE PARENT GROUP …`; the name may hold anything.
fn lives_in(stat: &str, group: Pid) -> bool {
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let state = fields.next();
    let of = fields.nth(1).and_then(|field| field.parse().ok());
    of == Some(group.as_raw()) && !matches!(state, Some("Z" | "X") | None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Write},
        os::fd::OwnedFd,
        os::unix::process::ExitStatusExt,
    };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    /// A cancel that comes when the tool has written its first line, and the rest of what it wrote.
    fn cancelled_after_a_line(script: &str) -> (End, Vec<String>) {
        let (reader, writer) = io::pipe().unwrap();
        let (cancel, mut caller) = UnixStream::pair().unwrap();
        let lines = thread::spawn(move || {
            let mut lines = BufReader::new(reader).lines();
            let mut got = vec![lines.next().unwrap().unwrap()];
            caller.write_all(b"!").unwrap();
            got.extend(lines.map(|line| line.unwrap()));
            got
        });
        let mut command = shell(script);
        command.stdout(OwnedFd::from(writer));
        let end = run(&mut command, Limits { deadline: far(), cancel: Some(cancel.as_fd()) }).unwrap();
        // The pipe's last writer is gone only when every process that had it is.
        drop(command);
        (end, lines.join().unwrap())
    }

    #[test]
    fn an_exit_code_and_a_signal_come_through() {
        let limits = Limits { deadline: far(), cancel: None };
        assert!(matches!(run(&mut shell("exit 7"), limits), Ok(End::Itself(status)) if status.code() == Some(7)));
        assert!(matches!(run(&mut shell("kill -9 $$"), limits), Ok(End::Itself(status)) if status.signal() == Some(9)));
        assert!(run(&mut Command::new("/no/such/tool"), limits).is_err());
    }

    #[test]
    fn a_tool_has_a_group_of_its_own_and_no_input() {
        let limits = Limits { deadline: far(), cancel: None };
        let script = "read line && exit 1; set -- $(cat /proc/$$/stat); test \"$5\" = $$";
        assert!(matches!(run(&mut shell(script), limits), Ok(End::Itself(status)) if status.success()));
    }

    #[test]
    fn a_cancel_reaches_the_whole_group() {
        let script = "trap 'echo parent; exit 3' TERM; sh -c 'trap \"echo child; exit\" TERM; echo ready; sleep 600 & wait' & wait; wait";
        let (end, lines) = cancelled_after_a_line(script);
        assert!(matches!(end, End::Cancelled(Some(status)) if status.code() == Some(3)), "{end:?}");
        assert!(lines.contains(&"child".to_owned()) && lines.contains(&"parent".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_tool_hears_term_though_this_thread_waits_for_it_by_descriptor() {
        thread::spawn(|| {
            let signals = crate::install::CancelSignals::block().unwrap();
            let limits = Limits { deadline: far(), cancel: Some(signals.as_fd()) };
            let end = run(&mut shell("kill -TERM $$; exit 1"), limits).unwrap();
            assert!(matches!(end, End::Itself(status) if status.signal() == Some(15)), "{end:?}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_ignores_term_is_killed_even_if_the_leader_is_gone() {
        let (end, lines) = cancelled_after_a_line("sh -c 'trap \"\" TERM; echo ready; sleep 600; sleep 600' & wait");
        assert!(matches!(end, End::Cancelled(Some(status)) if status.signal() == Some(15)), "{end:?}");
        assert_eq!(lines, ["ready"]);
    }

    #[test]
    fn a_cancel_that_was_there_before_starts_nothing() {
        let (cancel, caller) = UnixStream::pair().unwrap();
        drop(caller);
        let directory = tempfile::tempdir().unwrap();
        let mut command = shell("touch began");
        command.current_dir(directory.path());
        let end = run(&mut command, Limits { deadline: far(), cancel: Some(cancel.as_fd()) }).unwrap();
        assert!(matches!(end, End::Cancelled(None)));
        assert!(!directory.path().join("began").exists());
    }

    #[test]
    fn the_deadline_ends_a_tool() {
        let limits = Limits { deadline: Instant::now() + Duration::from_millis(50), cancel: None };
        let end = run(&mut shell("sleep 600 & wait"), limits).unwrap();
        assert!(matches!(end, End::TimedOut(status) if status.signal() == Some(15)), "{end:?}");
    }

    #[test]
    fn stat_is_read_past_any_name() {
        let group = Pid::from_raw(42);
        assert!(lives_in("43 (a) R 1 9 (b) S 1 42 42 0", group));
        assert!(!lives_in("43 (sh) Z 1 42 42 0", group));
        assert!(!lives_in("42 (sh) S 42 7 42 0", group));
        assert!(!lives_in("", group));
    }
}
