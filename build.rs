//! Makes `stopover_entry` (see `src/sys/entry.rs`) the first instruction of the binary, so that signals are blocked
//! before libc and the relocation of a static-pie take their 200 microseconds.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-e,stopover_entry");
}
