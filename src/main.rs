//! The binary: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static HEAP: stopover::sys::heap::Heap = stopover::sys::heap::Heap::new();

fn main() -> ExitCode {
    stopover::cli::main()
}
