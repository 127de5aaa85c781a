//! The pure rooms of stopover, as they are, and what the targets share.

#[path = "../../src/rows/mod.rs"]
pub mod rows;
#[path = "../../src/snapshot/mod.rs"]
pub mod snapshot;

/// Small enough that whoever takes more memory than this allows is seen at once (`-malloc_limit_mb`).
pub const LIMITS: snapshot::Limits = snapshot::Limits { bytes: 1 << 20, line: 64 << 10, rows: 10_000 };

/// What a target reads: the input as it is, or as the content of a zstd frame if it begins with `t`, so that the fuzzer
/// need not learn to compress.
pub fn object(input: &[u8]) -> Vec<u8> {
    let Some((b't', text)) = input.split_first() else { return input.to_vec() };
    // A frame without content size, of raw blocks: 8 KiB window, no checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let mut blocks = text.chunks(100 << 10).peekable();
    while let Some(block) = blocks.next() {
        let head = (block.len() as u32) << 3 | u32::from(blocks.peek().is_none());
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    if text.is_empty() {
        frame.extend_from_slice(&[1, 0, 0]);
    }
    frame
}
