//! Who lives, and who descends from whom, by the parent links in `/proc`.
//!
//! Orphans of the app become our children, so whatever descends from us and from no child that we started for
//! ourselves is the app's. A `docker exec` session has parent 0: it is a stranger, neither signalled nor waited for.

use std::{fs, io};

use crate::sys::process;

/// A process as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    state: u8,
}

impl Process {
    /// Whether it is stopped, and hears no signal until it goes on.
    pub(super) fn stopped(self) -> bool {
        self.state == b'T'
    }

    /// Whether it has ended and only waits to be reaped.
    pub(super) fn ended(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// All processes of this PID namespace.
pub(super) fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Ended meanwhile: then it is not there.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { continue };
        found.extend(parse(pid, &stat));
    }
    Ok(found)
}

/// The processes below `root`, zombies left out, less those at or below `ours`.
pub(super) fn descendants(all: &[Process], root: i32, ours: &[i32]) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent && !ours.contains(&process.pid)) {
            // Guard against a table that was read while processes moved, and could hold a circle.
            if process.pid == root || found.iter().any(|known| known.pid == process.pid) {
                continue;
            }
            found.push(*process);
            parents.push(process.pid);
        }
    }
    found.retain(|process| !process.ended());
    found
}

/// Our descendants, less those at or below `ours`; `None` where `/proc` cannot be read.
pub(super) fn of_the_app(ours: &[i32]) -> Option<Vec<Process>> {
    Some(descendants(&all().ok()?, process::id(), ours))
}

/// `PID (NAME) STATE PARENT GROUP …`; the name may hold anything, parentheses too.
pub(super) fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, group, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, group: pid, state: b'S' }
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_trap() {
        let found = parse(7, b"7 (a) R 1 (b)) S 3 4 5 0 -1").expect("parses");
        assert_eq!((found.parent, found.group, found.state), (3, 4, b'S'));
        assert_eq!(parse(7, b"7 (half"), None);
        assert_eq!(parse(7, b""), None);
    }

    #[test]
    fn descendants_leave_out_our_own_children_and_strangers() {
        let mut all = vec![process(1, 0), process(2, 1), process(3, 2), process(9, 1), process(10, 9), process(50, 0)];
        all.push(Process { state: b'Z', ..process(4, 2) });
        let found: Vec<i32> = descendants(&all, 1, &[9]).iter().map(|process| process.pid).collect();
        assert_eq!(found, [2, 3]);
    }

    #[test]
    fn a_circle_in_a_torn_table_ends() {
        let all = [process(2, 1), process(3, 2), process(2, 3), process(1, 3)];
        assert_eq!(descendants(&all, 1, &[]).len(), 2);
    }
}
