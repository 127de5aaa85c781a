//! Whether the kernel killed for memory: the `oom_kill` count of our cgroup, before and after.

use std::fs;

/// Where cgroups are, version 2 and 1, and the file that has the count.
const PLACES: [(&str, &str); 2] =
    [("/sys/fs/cgroup", "memory.events"), ("/sys/fs/cgroup/memory", "memory.oom_control")];

/// Remembers the count.
#[derive(Default)]
pub(super) struct Oom {
    known: Option<u64>,
}

impl Oom {
    /// Reads the present count.
    pub(super) fn look(&mut self) {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        self.known = own
            .lines()
            .filter_map(path)
            // Where the container sees the host's names but has its own cgroup mounted, that is the whole of it.
            .chain([(0, ""), (1, "")])
            .find_map(|(place, path)| {
                let (root, file) = PLACES[place];
                count(&fs::read_to_string(format!("{root}{path}/{file}")).ok()?)
            });
    }

    /// Whether it grew since the last look.
    pub(super) fn grew(&mut self) -> bool {
        let before = self.known;
        self.look();
        matches!((before, self.known), (Some(before), Some(now)) if now > before)
    }
}

/// The path in a line of `/proc/self/cgroup`, `NUMBER:CONTROLLERS:PATH`, and which place it belongs to.
fn path(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let place = match controllers {
        "" if number == "0" => 0,
        _ if controllers.split(',').any(|name| name == "memory") => 1,
        _ => return None,
    };
    Some((place, path.trim_end_matches('/')))
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{count, path};

    #[test]
    fn the_own_cgroup_is_found_in_both_kinds() {
        assert_eq!(path("0::/user.slice/a:b"), Some((0, "/user.slice/a:b")));
        assert_eq!(path("0::/"), Some((0, "")));
        assert_eq!(path("7:cpu,memory:/docker/1"), Some((1, "/docker/1")));
        assert_eq!(path("1:name=systemd:/"), None);
        assert_eq!(path(""), None);
    }

    #[test]
    fn the_count_is_read_from_both_kinds_of_cgroup() {
        assert_eq!(count("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count(""), None);
    }
}
