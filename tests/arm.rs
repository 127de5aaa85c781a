//! The binary for arm64 under qemu-user: it starts, is an init, restores and commits. `just release-arm` builds it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use support::{
    outsider::Outsider,
    servers::{ACCESS_KEY, SECRET_KEY, Server, is_required},
};
use tempfile::TempDir;

/// The emulator and the binary, or why there is nothing to test.
fn arm() -> Option<(PathBuf, PathBuf)> {
    let binary = std::env::var_os("STOPOVER_TEST_STATIC_ARM").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/aarch64-unknown-linux-musl/release/stopover"),
        PathBuf::from,
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let emulator =
        std::env::split_paths(&path).map(|folder| folder.join("qemu-aarch64-static")).find(|at| at.is_file());
    let how = "apt-get install qemu-user-static gcc-aarch64-linux-gnu, then `just release-arm`";
    assert!(!is_required("arm") || binary.is_file() && emulator.is_some(), "arm is required: {how}");
    let both = emulator.filter(|_| binary.is_file()).map(|emulator| (emulator, binary));
    if both.is_none() {
        println!("skipped: no emulator or no binary for arm64: {how}");
    }
    both
}

fn stopover(words: &[&str], settings: &[(&str, &str)]) -> Option<Output> {
    let (emulator, binary) = arm()?;
    let mut command = Command::new(emulator);
    command.arg(binary).args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/tmp");
    let output = command.envs(settings.iter().copied()).stdin(Stdio::null()).current_dir("/").output().unwrap();
    assert_eq!(output.status.signal(), None, "{}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn on_arm_it_says_its_version() {
    let Some(output) = stopover(&["--version"], &[]) else { return };
    assert_eq!(said(&output), format!("stopover {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn on_arm_it_is_an_init_that_passes_exit_codes_on() {
    for code in [0, 7] {
        let script = format!("exit {code}");
        let words = ["run", "--", "sh", "-c", &script];
        let Some(output) = stopover(&words, &[("STOPOVER_WORKSPACE", "none")]) else { return };
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
}

/// `pull` and `commit`: a `run` starts itself anew from /proc/self/exe, which is the emulator here.
#[test]
fn on_arm_it_restores_and_commits() {
    let server = Server::here();
    let outsider: Outsider = server.bucket();
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("directory");
    let url = format!("s3://{}/user_data/alice/arm", outsider.bucket);
    let settings = [
        ("STOPOVER_WORKSPACE", url.as_str()),
        ("STOPOVER_DIR", directory.to_str().unwrap()),
        ("S3_ENDPOINT", &server.endpoint),
        ("S3_ACCESS_KEY", ACCESS_KEY),
        ("S3_SECRET_KEY", SECRET_KEY),
    ];
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    outsider.put("user_data/alice/arm/notes.txt", "from a console");
    outsider.put("user_data/alice/arm/large.bin", large.clone());
    let Some(output) = stopover(&["pull"], &settings) else { return };
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read(directory.join("notes.txt")).unwrap(), b"from a console");
    assert!(std::fs::read(directory.join("large.bin")).unwrap() == large);
    std::fs::write(directory.join("notes.txt"), "from arm").unwrap();
    let output = stopover(&["commit"], &settings).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(outsider.get("user_data/alice/arm/notes.txt").unwrap().bytes, b"from arm");
}
