//! The first allocations of the process.
//!
//! musl gives every size class pages of its own, each asked for with a system call and faulted in when it is first
//! touched. A plain init makes a hundred small allocations in its whole life, and most of its start would go into those
//! pages. So the first few kilobytes come from one block that is there when the process begins; what does not fit, and
//! all that comes later, is libc's.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::UnsafeCell,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

const SIZE: usize = 40 * 1024;
/// Larger requests go to libc at once: one of them would use up the block.
const LARGEST: usize = 8192;

/// The allocator of the binary.
pub struct Heap {
    block: Block,
    /// How many bytes of the block are given out. What a thread wrote into a part that it gives back must come before
    /// what the next owner writes: so giving back releases, and giving out acquires.
    used: AtomicUsize,
}

#[repr(align(16))]
struct Block(UnsafeCell<[u8; SIZE]>);

// SAFETY: the block is only handed out, in parts that do not overlap; nothing here reads or writes it but `realloc`,
// which copies parts that its caller owns.
unsafe impl Sync for Block {}

impl Heap {
    /// An allocator whose block is untouched.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "there is one, and it is static")]
    pub const fn new() -> Self {
        Self { block: Block(UnsafeCell::new([0; SIZE])), used: AtomicUsize::new(0) }
    }

    fn part_of_block(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() > LARGEST || layout.align() > 16 {
            return None;
        }
        let place = |used: usize| {
            let start = used.next_multiple_of(layout.align());
            let end = start + layout.size();
            (end <= SIZE).then_some((start, end))
        };
        let before = self
            .used
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |used| place(used).map(|(_, end)| end))
            .ok()?;
        let (start, _) = place(before)?;
        Some(self.start().wrapping_add(start))
    }

    fn start(&self) -> *mut u8 {
        self.block.0.get().cast()
    }

    /// Where in the block `at` is; `None`: it is libc's.
    fn offset(&self, at: *mut u8) -> Option<usize> {
        let offset = at.addr().wrapping_sub(self.start().addr());
        (offset < SIZE).then_some(offset)
    }

    /// Makes the part that ends at `from` end at `to`, if it is the last that was given out.
    fn moves_end(&self, from: usize, to: usize) -> bool {
        to <= SIZE && self.used.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

// SAFETY: parts of the block never overlap, for `used` grows by each in one atomic step and shrinks only by the last;
// they are aligned as asked (up to the block's own 16); everything else is the system allocator's, which is only handed
// what came from it.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is passed on as it is.
        self.part_of_block(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.part_of_block(layout) {
            Some(at) => {
                // SAFETY: `at` is `layout.size()` bytes of the block, owned by nobody else. A part may be given out
                // twice, so it need not be zero.
                unsafe { ptr::write_bytes(at, 0, layout.size()) };
                at
            }
            // SAFETY: the caller's layout is passed on as it is.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match self.offset(at) {
            Some(offset) => {
                let _ = self.moves_end(offset + layout.size(), offset);
            }
            // SAFETY: not from the block, so from the system, with this layout.
            None => unsafe { System.dealloc(at, layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(at) else {
            // SAFETY: not from the block, so from the system, with this layout.
            return unsafe { System.realloc(at, layout, size) };
        };
        if size <= LARGEST && self.moves_end(offset + layout.size(), offset + size) {
            return at;
        }
        // SAFETY: the caller vouches that `size`, rounded up to this alignment, is a valid size.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both are at least this long, and two parts given out do not overlap.
            unsafe { ptr::copy_nonoverlapping(at, new, layout.size().min(size)) };
            // SAFETY: the caller gave up `at`.
            unsafe { self.dealloc(at, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn parts_of_the_block_are_aligned_and_apart_and_the_rest_is_the_systems() {
        let heap = Heap::new();
        let mut parts: Vec<(*mut u8, Layout)> = Vec::new();
        for n in 0..9000_usize {
            let layout = layout(1 + n * 7 % 300, 1 << (n % 7));
            // SAFETY: not an empty layout.
            let at = unsafe { heap.alloc(layout) };
            assert!(!at.is_null() && at.addr().is_multiple_of(layout.align()));
            // SAFETY: the part is ours.
            unsafe { ptr::write_bytes(at, n as u8, layout.size()) };
            parts.push((at, layout));
        }
        assert!(parts.iter().any(|(at, _)| heap.offset(*at).is_some()));
        assert!(parts.iter().any(|(at, _)| heap.offset(*at).is_none()));
        for (n, (at, layout)) in parts.iter().enumerate() {
            // SAFETY: written above.
            let bytes = unsafe { std::slice::from_raw_parts(*at, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == n as u8), "part {n}");
            // SAFETY: from this heap, with this layout.
            unsafe { heap.dealloc(*at, *layout) };
        }
    }

    #[test]
    fn the_last_part_grows_in_place_and_is_given_out_again_zeroed() {
        let heap = Heap::new();
        // SAFETY: layouts and pointers belong together throughout.
        unsafe {
            let first = heap.alloc(layout(8, 8));
            let last = heap.alloc(layout(8, 8));
            ptr::write_bytes(last, 7, 8);
            assert_eq!(heap.realloc(last, layout(8, 8), 64), last);
            let moved = heap.realloc(first, layout(8, 8), 16);
            assert!(moved != first && heap.offset(moved).is_some());
            heap.dealloc(moved, layout(16, 8));
            heap.dealloc(last, layout(64, 8));
            let again = heap.alloc_zeroed(layout(64, 8));
            assert_eq!(again, last);
            assert_eq!(std::slice::from_raw_parts(again, 64), [0; 64]);
            let large = heap.realloc(again, layout(64, 8), 100_000);
            assert!(heap.offset(large).is_none());
            heap.dealloc(large, layout(100_000, 8));
        }
    }
}
