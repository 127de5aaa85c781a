//! How many requests at once, where nobody says it: from cores and the container's memory limit.

use std::{fs, thread};

/// A plain object costs about half a millisecond of CPU and an answer takes about 30 ms: so many keep a core busy.
const PER_CORE: usize = 32;
/// What a request in flight may hold in memory.
const EACH_HOLDS: u64 = 2 * 1024 * 1024;

/// Requests down and up.
pub(super) fn from_this_machine() -> (usize, usize) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    widths(cores, memory_limit())
}

fn widths(cores: usize, memory: Option<u64>) -> (usize, usize) {
    // A quarter of the memory: the rest is the app's, and the scan's.
    let fit = memory.map_or(usize::MAX, |memory| usize::try_from(memory / 4 / EACH_HOLDS).unwrap_or(usize::MAX));
    let down = (cores * PER_CORE).min(128).min(fit).max(4);
    (down, (down / 2).max(4))
}

/// The limit of the control group; `None` where there is none. Version 1 says "none" by a huge number.
fn memory_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .filter(|limit| *limit < 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::widths;

    #[test]
    fn small_containers_get_few_and_none_gets_none() {
        assert_eq!(widths(2, None), (64, 32));
        assert_eq!(widths(64, None), (128, 64));
        assert_eq!(widths(2, Some(128 << 20)), (16, 8));
        assert_eq!(widths(1, Some(1 << 20)), (4, 4));
    }
}
