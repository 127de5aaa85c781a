//! A plain init, seen from outside: it has no directory to note its phase in, but anyone may read the process table.

use std::fs;

use super::processes::{self, Process};
use crate::sys::process;

/// The app of the plain init that is PID 1 of this container, or its only child (`docker run --init`).
#[must_use]
pub fn app_of_the_init() -> Option<i32> {
    let all = processes::all().ok()?;
    let name = name_of(process::id())?;
    let is_ours = |pid: i32| name_of(pid).as_ref() == Some(&name) && has_word(pid, b"run");
    // A run that was told its workspace by a flag has children that are no app.
    let apps: Vec<_> = all.into_iter().filter(|process| !has_word(process.pid, b"--handover")).collect();
    app_of(&apps, process::id(), is_ours)
}

fn app_of(all: &[Process], own: i32, is_ours: impl Fn(i32) -> bool) -> Option<i32> {
    let init = all.iter().find(|process| (process.pid == 1 || process.parent == 1) && is_ours(process.pid))?;
    // The oldest child: what came later may be an orphan that it adopted. Numbers only grow within a container's life.
    let mut children =
        all.iter().filter(|process| process.parent == init.pid && process.pid != own && !process.ended());
    children.next().map(|first| children.fold(first.pid, |oldest, next| oldest.min(next.pid)))
}

/// The name of its program, which no protection hides.
fn name_of(pid: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/comm")).ok()
}

/// Whether the command line has this word, before the one of the app.
fn has_word(pid: i32, word: &[u8]) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    line.split(|byte| *byte == 0).skip(1).take_while(|other| *other != b"--").any(|other| other == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_the_oldest_child_of_the_init_that_still_lives() {
        let process = |pid, parent| processes::parse(pid, format!("{pid} (x) S {parent} 1 1 0").as_bytes()).unwrap();
        let ended = processes::parse(7, b"7 (x) Z 1 1 1 0").unwrap();
        let all = [process(1, 0), ended, process(9, 1), process(8, 1), process(20, 0), process(21, 20)];
        assert_eq!(app_of(&all, 21, |pid| pid == 1), Some(8));
        assert_eq!(app_of(&all, 8, |pid| pid == 1), Some(9), "who asks is not the app");
        assert_eq!(app_of(&all, 21, |_| false), None);
        let with_an_init_before = [process(1, 0), process(6, 1), process(7, 6)];
        assert_eq!(app_of(&with_an_init_before, 30, |pid| pid == 6), Some(7));
        assert_eq!(app_of(&[process(1, 0), process(5, 1)], 5, |pid| pid == 1), None);
    }
}
