//! The terminal: it is handed to the app when there is one, `^C` arrives once, `^Z` and job control work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(unreachable_pub, reason = "shared by test binaries")]
mod support {
    pub mod stage;
}

use std::{
    env,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex},
};

use support::stage::{self, wait_until};

fn main() -> ExitCode {
    if stage::part().as_deref() == Some("session") {
        lead_session();
    }
    stage::run(tests![
        a_shell_has_job_control_under_stopover,
        a_shell_can_stop_and_continue_stopover,
        an_interrupt_arrives_once,
        nobody_could_continue_the_app_so_it_goes_on,
        the_background_does_not_steal_the_terminal,
    ])
}

/// Becomes the leader of a session whose terminal is the one that was named, and executes the words.
fn lead_session() -> ! {
    nix::unistd::setsid().expect("a session");
    // The first terminal that a session leader opens becomes its own.
    let name = env::var("STAGE_TERMINAL").expect("set");
    let terminal = OpenOptions::new().read(true).write(true).open(name).expect("a terminal");
    let end = || Stdio::from(terminal.as_fd().try_clone_to_owned().expect("dup"));
    let mut words = env::args().skip(1);
    let mut command = Command::new(words.next().expect("a command"));
    command.args(words).env_remove("STAGE_ACTOR").env("STOPOVER_WORKSPACE", "none").env("PS1", "prompt> ");
    panic!("{}", command.stdin(end()).stdout(end()).stderr(end()).exec());
}

/// A person in front of a terminal.
struct Person {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    read: usize,
}

impl Person {
    fn before(words: &[&str]) -> Self {
        let pair = nix::pty::openpty(None, None).expect("a terminal");
        let name = nix::unistd::ttyname(&pair.slave).expect("a name");
        let mut command = Command::new(env::current_exe().expect("own path"));
        command.args(words).env("STAGE_ACTOR", "session").env("STAGE_TERMINAL", name);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("starts");
        let keyboard = File::from(pair.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut eyes, shared) = (keyboard.try_clone().expect("dup"), Arc::clone(&screen));
        let slave = pair.slave;
        std::thread::spawn(move || {
            let _open = slave;
            let mut buffer = [0; 1024];
            while let Ok(count) = eyes.read(&mut buffer) {
                shared.lock().expect("lock").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, keyboard, screen, read: 0 }
    }

    fn types(&mut self, text: &str) -> &mut Self {
        self.keyboard.write_all(text.as_bytes()).expect("types");
        self
    }

    /// Waits until the screen shows `text` after what was seen so far.
    fn sees(&mut self, text: &str) -> &mut Self {
        let mut found = None;
        let until = std::time::Instant::now() + stage::SOON;
        while found.is_none() {
            let screen = self.screen.lock().expect("lock").clone();
            assert!(std::time::Instant::now() < until, "never saw {text:?} after byte {} of {screen:?}", self.read);
            found = screen[self.read..].find(text).map(|at| self.read + at + text.len());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.read = found.expect("found");
        self
    }

    /// The group whom the terminal is.
    fn foreground(&self) -> i32 {
        nix::unistd::tcgetpgrp(&self.keyboard).expect("a terminal").as_raw()
    }

    /// Waits until the terminal is this group's again, and none of it is stopped: a `^Z` before that would be undone by
    /// the SIGCONT that is still to come.
    fn goes_on(&self, group: i32) {
        let is_of_it =
            |pid| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).is_ok_and(|of| of.as_raw() == group);
        wait_until("it goes on in the foreground", || {
            let all = stage::processes();
            let mut states = all.iter().filter(|(pid, ..)| is_of_it(*pid)).map(|(.., state)| *state).peekable();
            states.peek().is_some() && states.all(|state| state != 'T') && self.foreground() == group
        });
    }

    fn leaves(&mut self) -> i32 {
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().expect("waits");
            status.is_some()
        });
        status.and_then(|status| status.code()).expect("a code")
    }

    fn saw(&self) -> String {
        self.screen.lock().expect("lock").clone()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stopover() -> String {
    stage::stopover().to_str().expect("utf-8").to_owned()
}

const BASH: [&str; 4] = ["bash", "--norc", "--noprofile", "-i"];
/// Says a word that its own command line, which the terminal echoes, does not have in one piece.
const LONG: &str = "sh -c 'echo be\"\"gun; exec sleep 100'";

fn a_shell_has_job_control_under_stopover() {
    let binary = stopover();
    let mut words = vec![binary.as_str(), "run", "--"];
    words.extend(BASH);
    let mut person = Person::before(&words);
    person.sees("prompt> ").types(&format!("{LONG}\n")).sees("begun");
    let group = person.foreground();
    person.types("\x1a").sees("Stopped").sees("prompt> ");
    person.types("jobs\n").sees("Stopped").sees("prompt> ");
    person.types("fg\n").sees("sleep").goes_on(group);
    person.types("\x03").sees("prompt> ");
    person.types("echo code $?\n").sees("code 130").sees("prompt> ");
    person.types("exit 5\n");
    assert_eq!(person.leaves(), 5, "{}", person.saw());
    assert!(!person.saw().contains("no job control"), "{}", person.saw());
}

fn a_shell_can_stop_and_continue_stopover() {
    let mut person = Person::before(&BASH);
    person.sees("prompt> ").types(&format!("{} run -- {LONG}\n", stopover())).sees("begun");
    let group = person.foreground();
    for _ in 0..3 {
        person.types("\x1a").sees("Stopped").sees("prompt> ");
        person.types("echo still he\"\"re\n").sees("still here").sees("prompt> ");
        person.types("fg\n").sees("run -- ").goes_on(group);
    }
    person.types("\x03").sees("prompt> ");
    person.types("echo code $?\n").sees("code 130").sees("prompt> ");
    person.types("exit\n");
    assert_eq!(person.leaves(), 0);
}

fn an_interrupt_arrives_once() {
    let app = "sh -c 'trap \"echo interru\"\"pted\" INT; echo be\"\"gun; while [ ! -e /nowhere ]; do sleep 0.1; done'";
    let mut person = Person::before(&BASH);
    person.sees("prompt> ").types(&format!("{} run -- {app}\n", stopover())).sees("begun");
    person.types("\x03").sees("interrupted");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(person.saw().matches("interrupted").count(), 1, "{}", person.saw());
    // `^\` ends it.
    person.types("\x1c").sees("prompt> ");
}

fn nobody_could_continue_the_app_so_it_goes_on() {
    let binary = stopover();
    let script = "echo begun; read line; echo got $line";
    let mut person = Person::before(&[&binary, "run", "--", "sh", "-c", script]);
    person.sees("begun").types("\x1a").sees("goes on").types("words\n").sees("got words");
    assert_eq!(person.leaves(), 0, "{}", person.saw());
}

fn the_background_does_not_steal_the_terminal() {
    let mut person = Person::before(&BASH);
    person.sees("prompt> ").types(&format!("{} run -- {LONG} &\n", stopover())).sees("begun");
    person.types("echo still mi\"\"ne\n").sees("still mine").sees("prompt> ");
    person.types("kill %1; wait; echo code $?\n").sees("prompt> ");
    person.types("exit 4\n");
    assert_eq!(person.leaves(), 4, "{}", person.saw());
}
