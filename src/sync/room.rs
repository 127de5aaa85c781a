//! Memory for files that are whole in it, between disk and server. However many requests there are at once, no more
//! than this: a container of 256 MiB has to hold the app, too.

use tokio::sync::{Semaphore, SemaphorePermit};

/// In KiB; the largest file that comes whole fits several times.
const ROOM_KIB: u32 = 64 << 10;

/// The memory that is left. Who has a place may wait for a request, never for a second place.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(ROOM_KIB as usize))
    }

    /// Waits for a place for so many bytes, in the order of asking; it is given back when dropped.
    pub(super) async fn take(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(ROOM_KIB).clamp(1, ROOM_KIB);
        // Nobody closes it.
        self.0.acquire_many(kib).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_larger_than_the_room_gets_all_of_it_and_gives_it_back() {
        let room = Room::new();
        let all = room.take(u64::MAX).await;
        assert_eq!(room.0.available_permits(), 0);
        drop(all);
        let _some = room.take(8 << 20).await;
        assert_eq!(room.0.available_permits(), 56 << 10);
    }
}
