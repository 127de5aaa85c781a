//! The release binary: at most 10 MiB, fully static, for two machines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{env, fs, path::PathBuf, process::Command};

/// The bytes that a release may have.
const LIMIT: u64 = 10 * 1024 * 1024;

fn skip(what: &str, how: &str) {
    let required = env::var("STOPOVER_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == what), "{what} is required: {how}");
    println!("skipped: needs {what}: {how}");
}

fn release(target: &str, variable: &str) -> Option<PathBuf> {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target").join(target).join("release/stopover");
    Some(env::var_os(variable).map_or(built, PathBuf::from)).filter(|path| path.is_file())
}

/// The type of an ELF file's program headers, and the machine it is for.
fn headers(bytes: &[u8]) -> (u16, Vec<u32>) {
    assert_eq!(&bytes[..4], b"\x7fELF");
    let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
    let start = usize::try_from(u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes"))).expect("fits");
    let (size, count) = (usize::from(half(54)), usize::from(half(56)));
    let kinds = (0..count)
        .map(|at| u32::from_le_bytes(bytes[start + at * size..start + at * size + 4].try_into().expect("four bytes")));
    (half(18), kinds.collect())
}

#[test]
fn the_static_binary_is_small_static_and_runs_without_anything() {
    let Some(path) = release("x86_64-unknown-linux-musl", "STOPOVER_TEST_STATIC") else {
        skip("static", "run `just release`, or name a static binary in STOPOVER_TEST_STATIC");
        return;
    };
    let size = fs::metadata(&path).expect("there").len();
    println!("size: {size} bytes ({:.2} MiB)", size as f64 / 1_048_576.0);
    assert!(size <= LIMIT, "{size} bytes are more than {LIMIT}");
    let (machine, kinds) = headers(&fs::read(&path).expect("reads"));
    assert_eq!(machine, 62, "x86-64");
    assert!(!kinds.contains(&3), "it names a loader, so it is not static");
    let output = Command::new(&path).arg("--version").env_clear().output().expect("runs");
    assert!(output.status.success());
}

#[test]
fn the_binary_for_arm_begins_and_runs_an_app() {
    let how = "run `just release-arm`, and apt-get install qemu-user-static";
    let Some(path) = release("aarch64-unknown-linux-musl", "STOPOVER_TEST_STATIC_ARM") else {
        skip("static-arm", how);
        return;
    };
    let (machine, kinds) = headers(&fs::read(&path).expect("reads"));
    assert_eq!(machine, 183, "aarch64");
    assert!(!kinds.contains(&3), "it names a loader, so it is not static");
    let Ok(output) = Command::new("qemu-aarch64-static").arg(&path).arg("--version").env_clear().output() else {
        skip("static-arm", how);
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
