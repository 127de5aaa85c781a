//! The command line as people and scripts meet it: help, exit codes, what goes to which stream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const COMMANDS: [&str; 19] = [
    "run",
    "pull",
    "commit",
    "status",
    "explain",
    "install",
    "health",
    "upload",
    "download",
    "list",
    "delete",
    "snapshots",
    "diff",
    "tag",
    "restore",
    "prune",
    "doctor",
    "completions",
    "man",
];

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stopover"));
    command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn stopover(words: &[&str]) -> Output {
    command(words).stdin(Stdio::null()).output().expect("stopover starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for name in COMMANDS {
        let output = stopover(&[name, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        let help = stdout(&output);
        let example = help.split("Example").nth(1).unwrap_or_else(|| panic!("{name} has no example: {help}"));
        assert!(example.contains(&format!("stopover {name}")), "{name}: {example}");
    }
    let help = stdout(&stopover(&["--help"]));
    for name in COMMANDS {
        assert!(help.contains(&format!("\n  {name} ")), "{name} is missing: {help}");
    }
    assert!(help.contains("sync"), "the alias of upload is named");
}

#[test]
fn every_example_parses() {
    for name in COMMANDS {
        let help = stdout(&stopover(&[name, "--help"]));
        let examples = help.split("Example").nth(1).expect("an example");
        for line in examples.lines().filter_map(|line| line.trim().strip_prefix("stopover ")) {
            let words: Vec<_> = line
                .split(" -- ")
                .next()
                .unwrap_or_default()
                .split(['|', '>'])
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let output = stopover(&[&words[..], &["--help"]].concat());
            assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        }
    }
}

#[test]
fn an_unknown_command_or_flag_is_exit_2_and_says_nothing_on_stdout() {
    for words in [&["restor"][..], &["pull", "--frobnicate"], &["run", "node", "app.js"], &["explain"], &[]] {
        let output = stopover(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn the_words_of_pid_1_are_checked() {
    let output = stopover(&["pull", "--handover", "status=1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--handover is stopover's own"), "{}", stderr(&output));
}

#[test]
fn nobody_reading_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command(&["completions", "bash"]).stdout(writer).output().expect("stopover starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "zsh"] {
        let script = stdout(&stopover(&["completions", shell]));
        for name in COMMANDS {
            assert!(script.contains(name), "{shell}: {name}");
        }
        assert!(script.contains("stop-timeout"), "{shell}");
    }
}

#[test]
fn there_is_a_page_of_the_manual_for_each_command() {
    let page = stdout(&stopover(&["man"]));
    assert!(page.contains(".TH stopover 1") && page.contains("stopover\\-doctor(1)"), "{page}");
    let directory = tempfile::tempdir().expect("a directory");
    let output = stopover(&["man", "--to", text(directory.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for name in COMMANDS {
        let page = fs::read_to_string(directory.path().join(format!("stopover-{name}.1"))).expect(name);
        assert!(page.contains("EXAMPLE") || page.contains("Example"), "{name}");
    }
    let missing = directory.path().join("missing");
    let output = stopover(&["man", "--to", text(&missing)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(text(&missing)), "{}", stderr(&output));
}

#[test]
fn health_is_what_pid_1_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join(".stopover");
    let dir = text(directory.path()).to_owned();
    let health = |words: &[&str]| stopover(&[&["health", "--dir", &dir], words].concat());

    let nothing = health(&["--json"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert_eq!(
        stdout(&nothing),
        "{\"state\":null,\"since\":null,\"pid\":null,\"snapshot\":null,\"last_commit\":null}\n"
    );
    assert!(stderr(&nothing).contains("no run has noted its phase"), "{}", stderr(&nothing));

    fs::create_dir(&state).expect("a state directory");
    let me = std::process::id();
    for (word, pid, code, said) in [
        ("restoring", "null".to_owned(), 1, "restoring"),
        ("running", me.to_string(), 0, "running"),
        ("stopping", me.to_string(), 1, "stopping"),
        ("committing", "null".to_owned(), 1, "committing"),
        ("committed", "99999999".to_owned(), 1, "committed"),
        ("running", "99999999".to_owned(), 1, "failed"),
    ] {
        let note = format!(
            "{{\"state\":\"{word}\",\"since\":\"2026-01-02T03:04:05.000Z\",\"pid\":{pid},\"snapshot\":null,\"last_commit\":null}}\n"
        );
        fs::write(state.join("phase"), note).expect("a note");
        let output = health(&[]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(code), format!("{said}\n")), "{word}");
    }
    fs::write(state.join("phase"), "{\"state\":").expect("a note");
    let output = health(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is damaged"), "{}", stderr(&output));
}

#[test]
fn explain_names_the_rule_its_file_and_line() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join(".gitignore"), "# built\n*.tmp\n").expect("a file");
    let output = stopover(&["explain", "--json", "--dir", text(directory.path()), "a/b.tmp", "src/x.rs"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        lines[0],
        serde_json::json!({"path": "a/b.tmp", "stored": false, "rule": "*.tmp", "source": ".gitignore", "line": 2})
    );
    assert_eq!(
        lines[1],
        serde_json::json!({"path": "src/x.rs", "stored": true, "rule": null, "source": null, "line": null})
    );
    let output = stopover(&["explain", "--dir", text(directory.path()), "/etc/passwd"]);
    assert_eq!(output.status.code(), Some(2));
    let gone = directory.path().join("gone");
    let output = stopover(&["explain", "--dir", text(&gone), "a"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("directory does not exist: {}", gone.display())), "{}", stderr(&output));
}

#[test]
fn install_explains_and_runs_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("package.json"), "{\"scripts\":{\"start\":\"node x.js\"}}").expect("a file");
    fs::write(directory.path().join("package-lock.json"), "{}").expect("a file");
    for flag in ["--explain", "--dry-run"] {
        let output = stopover(&["install", flag, "--json", "--dir", text(directory.path())]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
        assert_eq!(explained["install"][0]["tool"], "npm", "{explained}");
        for key in ["command", "directory", "because", "cache"] {
            assert!(explained["install"][0].get(key).is_some(), "{key}: {explained}");
        }
        assert!(explained["start"]["command"].is_string() && explained["warnings"].is_array(), "{explained}");
    }
    assert!(!directory.path().join("node_modules").exists());
}

#[test]
fn a_failed_install_is_exit_1_for_everybody_but_pid_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = stopover(&["install", "--install", "false", "--dir", text(directory.path())]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let output = stopover(&["install", "--install", "false", "--dir", text(directory.path()), "--handover", ""]);
    assert_eq!(output.status.code(), Some(81), "{}", stderr(&output));
}

#[test]
fn nothing_is_deleted_without_yes() {
    let output = stopover(&["delete", "site", "--store", "s3://bucket/ann"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(stderr(&output), "stopover: error: s3://bucket/ann/site is not deleted without --yes\n");
    assert!(output.stdout.is_empty());
}

/// A server that answers every request with 403, as a bucket of somebody else's does.
fn a_server_that_denies_everything() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                    line.clear();
                }
                let body = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
                let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close";
                let _ = write!(&stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn doctor_says_what_is_denied_and_prints_no_secret() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = a_server_that_denies_everything();
    let output = command(&["doctor", "--json", "--dir", text(directory.path())])
        .env("STOPOVER_WORKSPACE", "s3://bucket/ann/site")
        .env("S3_ENDPOINT", &server)
        .env("S3_ACCESS_KEY", "a")
        .env("S3_SECRET_KEY", "hidden-secret")
        .output()
        .expect("stopover starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let diagnosis: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let checks = diagnosis["checks"].as_array().expect("checks");
    let named =
        |name: &str| checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {diagnosis}"));
    assert_eq!(named("directory")["ok"], true);
    assert_eq!(named("state")["ok"], true);
    let connection = named("connection");
    assert!(connection["seen"].as_str().is_some_and(|seen| seen.contains("AccessDenied")), "{connection}");
    assert!(connection["follows"].is_string());
    assert!(!stdout(&output).contains("hidden-secret") && !stderr(&output).contains("hidden-secret"));
}

#[test]
fn a_signal_cancels_a_pull_at_once_and_is_its_exit_code() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let mut child = command(&["pull", "--dir", text(directory.path())])
            .env("STOPOVER_WORKSPACE", "s3://bucket/ann/site")
            .env("S3_ENDPOINT", &server)
            .env("S3_ACCESS_KEY", "a")
            .env("S3_SECRET_KEY", "b")
            .stderr(Stdio::null())
            .spawn()
            .expect("stopover starts");
        // It has asked, and nobody answers.
        let waiting = listener.accept().expect("a request");
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("a signal");
        assert_eq!(child.wait().expect("an end").code(), Some(code), "{signal}");
        drop(waiting);
    }
}

#[test]
fn bad_access_is_said_in_one_line_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = a_server_that_denies_everything();
    for words in [&["pull"][..], &["download", "site"]] {
        let output = command(words)
            .args(["--dir", text(directory.path())])
            .env("STOPOVER_WORKSPACE", "s3://bucket/ann/site")
            .env("S3_ENDPOINT", &server)
            .env("S3_ACCESS_KEY", "a")
            .env("S3_SECRET_KEY", "b")
            .env("STOPOVER_LOG", "error")
            .output()
            .expect("stopover starts");
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).starts_with("stopover: error: bucket \"bucket\" refused "), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}
