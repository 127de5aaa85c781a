//! How the binary is linked, and the table of content types.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    content_types();
    // `stopover_entry` (see `src/sys/entry.rs`) is the first instruction, so that signals are blocked before libc begins.
    println!("cargo::rustc-link-arg-bins=-Wl,-e,stopover_entry");
}

/// `EXTENSION TYPE`, a line for each, sorted: the table that everyone uses, as one text. As the crate has it, it is
/// three thousand addresses, which a position-independent binary relocates at every start.
fn content_types() {
    let mut lines: Vec<String> = mime_guess::get_extensions("*", "*")
        .unwrap_or_default()
        .iter()
        .filter_map(|extension| {
            let mime = mime_guess::from_ext(extension).first_raw()?;
            Some(format!("{} {mime}\n", extension.to_ascii_lowercase()))
        })
        .collect();
    lines.sort();
    lines.dedup();
    let place = env::var("OUT_DIR").unwrap_or_default();
    if let Err(error) = fs::write(Path::new(&place).join("content-types.txt"), lines.concat()) {
        println!("cargo::error=the table of content types cannot be written: {error}");
    }
}
