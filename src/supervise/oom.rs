//! Whether the kernel killed for memory: the `oom_kill` count of our cgroup, before and after.

use std::fs;

/// Where the count is: cgroup 2, then 1. Inside a container the first name is the container's own.
const FILES: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Remembers the count.
#[derive(Default)]
pub(super) struct Oom {
    known: Option<u64>,
}

impl Oom {
    /// Reads the present count.
    pub(super) fn look(&mut self) {
        self.known = FILES.iter().find_map(|file| count(&fs::read_to_string(file).ok()?));
    }

    /// Whether it grew since the last look.
    pub(super) fn grew(&mut self) -> bool {
        let before = self.known;
        self.look();
        matches!((before, self.known), (Some(before), Some(now)) if now > before)
    }
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn the_count_is_read_from_both_kinds_of_cgroup() {
        assert_eq!(count("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count(""), None);
    }
}
