//! Bad settings: each ends with exit code 2 and one sentence that names the variable, its value and what it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::{Command, Output};

fn stopover(words: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stopover"))
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().copied())
        .output()
        .expect("stopover starts")
}

/// The one line on stderr of a command that must end with exit code 2.
fn usage_error(words: &[&str], environment: &[(&str, &str)]) -> String {
    let output = stopover(words, environment);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{environment:?} {words:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(stderr.lines().count(), 1, "said once: {stderr}");
    stderr
}

const URL: (&str, &str) = ("STOPOVER_WORKSPACE", "s3://bucket/prefix/ann/site");

#[test]
fn a_bad_value_is_named_with_its_variable_and_its_form() {
    for (name, value, form) in [
        ("STOPOVER_STOP_TIMEOUT", "10", "90s, 5m or 1h30m"),
        ("STOPOVER_CHECKPOINT", "sometimes", "or the word off"),
        ("STOPOVER_REWRITE", "TERM>QUIT", "TERM:QUIT"),
        ("STOPOVER_MODE", "ro", "read-write or read-only"),
        ("STOPOVER_EXPECT_EXIT", "300", "0 to 255"),
        ("STOPOVER_CONCURRENCY", "many", "DOWN/UP"),
        ("STOPOVER_WORKSPACE", "s3://bucket", "s3://BUCKET/PREFIX/USER/NAME"),
        ("STOPOVER_WORKSPACE", "s3://bucket/a/../b", "\"..\""),
        ("S3_ENDPOINT", "minio:9000", "http:// or https:// is missing"),
    ] {
        for command in [&["run", "--", "true"][..], &["pull"]] {
            let mut environment = vec![(name, value)];
            if name != URL.0 {
                environment.push(URL);
            }
            let error = usage_error(command, &environment);
            assert!(error.contains(name) && error.contains(form), "{error}");
            assert!(error.contains(value) || name == "S3_ENDPOINT", "{error}");
        }
    }
}

#[test]
fn a_flag_is_named_as_it_was_given() {
    let error = usage_error(&["run", "--stop-timeout", "soon", "--", "true"], &[("STOPOVER_STOP_TIMEOUT", "5s")]);
    assert!(error.contains("--stop-timeout (STOPOVER_STOP_TIMEOUT) is \"soon\""), "{error}");
}

#[test]
fn half_a_workspace_names_the_missing_half_and_what_to_do() {
    let error = usage_error(&["run", "--", "true"], &[("WORKSPACE_USER", "ann")]);
    assert!(
        error.contains(
            "S3_WORKSPACE_BUCKET is not set: name the bucket, or set STOPOVER_WORKSPACE=s3://BUCKET/PREFIX/USER/NAME"
        ),
        "{error}"
    );
    let error = usage_error(&["run", "--", "true"], &[("S3_WORKSPACE_BUCKET", "b")]);
    assert!(error.contains("WORKSPACE_USER is not set"), "{error}");
    let error = usage_error(&["run", "--", "true"], &[("STOPOVER_WORKSPACE", "site")]);
    assert!(error.contains("STOPOVER_STORE is not set"), "{error}");
    let error = usage_error(&["pull"], &[]);
    assert!(error.contains("STOPOVER_WORKSPACE is not set"), "{error}");
    let error = usage_error(&["list"], &[]);
    assert!(error.contains("STOPOVER_STORE is not set"), "{error}");
}

#[test]
fn two_sources_that_name_different_workspaces_are_both_named() {
    let error = usage_error(
        &["run", "--", "true"],
        &[URL, ("S3_WORKSPACE_BUCKET", "other"), ("WORKSPACE_USER", "ann"), ("WORKSPACE_NAME", "site")],
    );
    for word in
        ["STOPOVER_WORKSPACE", "s3://bucket/prefix/ann/site", "S3_WORKSPACE_BUCKET", "s3://other/user_data/ann/site"]
    {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_bad_name_is_refused_by_its_character() {
    let error = usage_error(&["delete", "a\tb", "--yes"], &[("STOPOVER_STORE", "s3://b/u")]);
    assert!(error.contains("'\\t'"), "{error}");
}

#[test]
fn no_secret_is_printed() {
    let secret = "wJalrXUtnFEMIK7MDENG";
    let environment =
        [URL, ("S3_SECRET_KEY", secret), ("STOPOVER_GRACE", "x"), ("S3_ENDPOINT", "http://u:wJalrXUtnFEMIK7MDENG@h")];
    for taken in 1..=environment.len() {
        let output = stopover(&["pull"], &environment[..taken]);
        let all = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&all).contains(secret), "{taken}");
    }
}

#[test]
fn a_misspelt_name_is_warned_about_and_the_app_runs() {
    let output = stopover(
        &["run", "--", "true"],
        &[("STOPOVER_WORKSPACE", "none"), ("STOPOVER_CHECKPIONT", "1m"), ("S3_SERVICE_HOST", "10.0.0.1")],
    );
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("STOPOVER_CHECKPIONT is not known, did you mean STOPOVER_CHECKPOINT?"), "{stderr}");
    assert!(!stderr.contains("S3_SERVICE_HOST"), "{stderr}");
}

#[test]
fn empty_variables_are_as_good_as_none() {
    let output = stopover(
        &["run", "--", "true"],
        &[("STOPOVER_WORKSPACE", "none"), ("STOPOVER_GRACE", ""), ("S3_WORKSPACE_BUCKET", ""), ("S3_ENDPOINT", "")],
    );
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_run_that_cannot_begin_leaves_its_summary() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("summary.json");
    let output = stopover(
        &["run", "--", "true"],
        &[
            ("STOPOVER_SUMMARY", file.to_str().expect("UTF-8")),
            ("STOPOVER_LOG_FORMAT", "json"),
            ("STOPOVER_GRACE", "x"),
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("a summary")).expect("JSON");
    assert_eq!((&summary["exit_code"], &summary["reason"]), (&2.into(), &"usage".into()));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["message"].as_str().is_some_and(|text| text.contains("STOPOVER_GRACE")), "{}", lines[0]);
    assert_eq!(lines[1], summary, "the last line of the log is the summary");
}
