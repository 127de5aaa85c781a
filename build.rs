//! How the binary is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // `stopover_entry` (see `src/sys/entry.rs`) is the first instruction, so that signals are blocked before libc and
    // the relocation of a static-pie take their 200 microseconds.
    println!("cargo::rustc-link-arg-bins=-Wl,-e,stopover_entry");
    // Packed relocations: half a megabyte less to read in those microseconds. musl has understood them since 1.2.4;
    // GNU ld makes them for this machine only.
    let target = |name: &str| env::var(name).unwrap_or_default();
    if target("CARGO_CFG_TARGET_ENV") == "musl" && target("CARGO_CFG_TARGET_ARCH") == "x86_64" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
