use super::*;
use crate::config::{OwnerPolicy, Rewrite, VARIABLES};

fn sources(environment: &[(&str, &str)]) -> Sources {
    Sources {
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        working_directory: PathBuf::from("/home/me"),
        ..Sources::default()
    }
}

fn loaded(environment: &[(&str, &str)]) -> Result<Config, String> {
    load(&sources(environment), &Need::IfSet, Call::default())
        .map(|loaded| loaded.config)
        .map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let plain = loaded(&[]).unwrap();
    let defaults: Vec<_> = VARIABLES
        .iter()
        .filter_map(|variable| Some((variable.name, variable.default?)))
        // Set, these would name half a workspace.
        .filter(|(name, _)| !matches!(*name, "S3_WORKSPACE_PREFIX" | "WORKSPACE_NAME"))
        .collect();
    assert_eq!(loaded(&defaults).unwrap(), Config { dir_given: true, ..plain });
}

#[test]
fn every_variable_of_the_table_reaches_the_configuration() {
    let plain = loaded(&[]).unwrap();
    let keys = ("S3_SECRET_KEY", "s");
    for variable in VARIABLES {
        let (value, other) = match variable.name {
            "STOPOVER_WORKSPACE" => ("none", None),
            "STOPOVER_STORE" => ("s3://b/u", Some(("WORKSPACE_NAME", "w"))),
            "S3_WORKSPACE_BUCKET" | "S3_WORKSPACE_PREFIX" | "WORKSPACE_USER" | "WORKSPACE_NAME" => continue,
            "WORKSPACE_BASE_PATH" => ("/base", Some(("STOPOVER_WORKSPACE", "s3://b/ann/w"))),
            "STOPOVER_DIR" | "STOPOVER_STATE" | "STOPOVER_SUMMARY" => ("/x", None),
            "STOPOVER_IGNORE" | "STOPOVER_TOGETHER" => ("*.tmp:a\nb", None),
            "S3_ENDPOINT" | "AWS_ENDPOINT_URL_S3" | "AWS_ENDPOINT_URL" => ("http://minio:9000", None),
            "S3_ACCESS_KEY" => ("a", Some(keys)),
            "S3_SECRET_KEY" => ("b", Some(("S3_ACCESS_KEY", "a"))),
            "S3_REGION" | "AWS_REGION" => ("eu-west-1", None),
            "STOPOVER_CONCURRENCY" => ("8/4", None),
            "STOPOVER_INSTALL" => ("make deps", None),
            "STOPOVER_USER" => ("1000:1000", None),
            "STOPOVER_HIDE_CREDENTIALS" => ("true", None),
            "STOPOVER_STOP_SIGNALS" => ("INT", None),
            "STOPOVER_REWRITE" => ("TERM:QUIT", None),
            "STOPOVER_EXPECT_EXIT" => ("143", None),
            _ => match variable.form {
                crate::config::Form::OneOf(words) => {
                    let other = words.split('|').find(|word| Some(*word) != variable.default).unwrap();
                    (other, None)
                }
                crate::config::Form::Duration => ("77s", None),
                crate::config::Form::Number => ("77", None),
                crate::config::Form::Command => ("true", None),
                form => panic!("{}: {form:?} has no case here", variable.name),
            },
        };
        let mut environment = vec![(variable.name, value)];
        environment.extend(other);
        let base = Config { workspace: None, store: None, ..loaded(&environment).unwrap() };
        let changed = base != plain || loaded(&environment).unwrap().workspace.is_some();
        assert!(changed, "{} changes nothing", variable.name);
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let mut both = sources(&[("STOPOVER_GRACE", "1s")]);
    both.flags = vec![("STOPOVER_GRACE", "9s".to_owned())];
    let config = load(&both, &Need::IfSet, Call::default()).unwrap().config;
    assert_eq!(config.grace, Duration::from_secs(9));
    both.flags = vec![("STOPOVER_GRACE", "soon".to_owned())];
    let error = load(&both, &Need::IfSet, Call::default()).unwrap_err().to_string();
    assert_eq!(error, "--grace (STOPOVER_GRACE) is \"soon\": it is a duration such as 90s, 5m or 1h30m");
}

#[test]
fn a_bad_value_is_named_with_its_variable_and_form() {
    for (name, value, form) in [
        ("STOPOVER_STOP_TIMEOUT", "10", "a duration above zero"),
        ("STOPOVER_STOP_TIMEOUT", "0s", "a duration above zero"),
        ("STOPOVER_CHECKPOINT", "never", "or the word off"),
        ("STOPOVER_MODE", "readonly", "it is read-write or read-only"),
        ("STOPOVER_EXPECT", "old", "any, existing or new"),
        ("STOPOVER_REWRITE", "TERM", "TERM:QUIT"),
        ("STOPOVER_STOP_SIGNALS", "TREM", "TERM,INT"),
        ("STOPOVER_HIDE_CREDENTIALS", "perhaps", "true or false"),
        ("STOPOVER_KEEP_LAST", "-1", "a whole number"),
        ("STOPOVER_USER", "a:b:c", ":GROUP"),
        ("WORKSPACE_SIZE_WARNING_MB", "big", "64MiB"),
        ("S3_ENDPOINT", "http://", "http://minio:9000"),
        ("S3_ENDPOINT", "http://host/?x=1", "http://minio:9000"),
    ] {
        let error = loaded(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{name} is {value:?}: ")) && error.contains(form), "{error}");
    }
}

#[test]
fn an_endpoint_needs_its_scheme() {
    let error = loaded(&[("S3_ENDPOINT", "minio:9000")]).unwrap_err();
    assert_eq!(error, "S3_ENDPOINT: http:// or https:// is missing");
    let error = loaded(&[("AWS_ENDPOINT_URL", "ftp://minio")]).unwrap_err();
    assert_eq!(error, "AWS_ENDPOINT_URL: http:// or https:// is missing");
}

#[test]
fn off_aws_there_is_a_region() {
    let region = |environment: &[(&str, &str)]| loaded(environment).unwrap().access.endpoint.region;
    assert_eq!(region(&[]), None);
    assert_eq!(region(&[("S3_ENDPOINT", "http://minio:9000")]), Some("us-east-1".to_owned()));
    assert_eq!(region(&[("S3_ENDPOINT", "https://s3.eu-west-1.amazonaws.com")]), None);
    assert_eq!(region(&[("S3_ENDPOINT", "https://evilamazonaws.com")]), Some("us-east-1".to_owned()));
    assert_eq!(region(&[("AWS_REGION", "a"), ("S3_REGION", "b")]), Some("b".to_owned()));
}

#[test]
fn no_secret_is_ever_in_a_message() {
    let error = loaded(&[("S3_SECRET_KEY", "hunter2")]).unwrap_err();
    assert_eq!(error, "S3_ACCESS_KEY is not set: S3_SECRET_KEY is; set both, or neither for the AWS chain");
    let error = loaded(&[("S3_ENDPOINT", "http://user:hunter2@minio")]).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    let config = loaded(&[("S3_ACCESS_KEY", "AKIA"), ("S3_SECRET_KEY", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2") && !format!("{config:?}").contains("AKIA"));
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = sources(&[]);
    bytes.environment.push(("S3_SECRET_KEY".into(), std::ffi::OsString::from_vec(b"hunter2\xff".to_vec())));
    let error = load(&bytes, &Need::IfSet, Call::default()).unwrap_err().to_string();
    assert!(error.contains("UTF-8") && !error.contains("hunter2"), "{error}");
}

#[test]
fn credentials_reach_a_child_by_its_pipe() {
    let environment = [("S3_ACCESS_KEY", "a"), ("S3_SECRET_KEY", "b"), ("AWS_SESSION_TOKEN", "t"), ("HOME", "/")];
    let parent = sources(&environment);
    let config = load(&parent, &Need::IfSet, Call::default()).unwrap().config;
    let pipe = config.credentials_for_children(&parent.environment);
    assert_eq!(pipe, b"S3_ACCESS_KEY=a\0S3_SECRET_KEY=b\0AWS_SESSION_TOKEN=t\0");

    let mut child = sources(&[]);
    let pairs = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")];
    child.secrets = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let keys = load(&child, &Need::IfSet, Call::default()).unwrap().config.access.credentials.unwrap();
    assert_eq!((keys.access_key.as_str(), keys.session_token.as_deref()), ("k", Some("t")));
    // In its own environment they are the SDK's to find.
    assert_eq!(loaded(&pairs).unwrap().access.credentials, None);
}

#[test]
fn the_directory_is_absolute_and_below_its_base() {
    let dir = |environment: &[(&str, &str)]| loaded(environment).map(|config| (config.dir, config.state));
    let at = |dir: &str| Ok((PathBuf::from(dir), PathBuf::from(dir).join(".stopover")));
    assert_eq!(dir(&[]), at("/workspace"));
    assert_eq!(dir(&[("STOPOVER_DIR", "x")]), at("/home/me/x"));
    let user = [("S3_WORKSPACE_BUCKET", "b"), ("WORKSPACE_USER", "ann"), ("WORKSPACE_BASE_PATH", "/data")];
    assert_eq!(dir(&user), at("/data/ann"));
    assert_eq!(dir(&[("STOPOVER_WORKSPACE", "s3://b/p/ann/w"), ("WORKSPACE_BASE_PATH", "/data")]), at("/data/ann"));
    let base_alone = dir(&[("WORKSPACE_BASE_PATH", "/data"), ("STOPOVER_WORKSPACE", "s3://b/w")]).unwrap_err();
    assert!(base_alone.starts_with("WORKSPACE_USER is not set"), "{base_alone}");
    let nothing =
        load(&sources(&[("WORKSPACE_USER", "../etc"), ("WORKSPACE_BASE_PATH", "/d")]), &Need::Nothing, Call::default());
    assert!(nothing.is_err());
}

#[test]
fn the_forms_arrive() {
    let config = loaded(&[
        ("STOPOVER_REWRITE", "TERM:QUIT,WINCH:0"),
        ("STOPOVER_INSTALL", "make deps"),
        ("STOPOVER_OWNER", "keep"),
        ("STOPOVER_CHECKPOINT", "off"),
        ("STOPOVER_IGNORE", "*.tmp:!keep.tmp\n/data"),
        ("WORKSPACE_SIZE_WARNING_MB", "2GiB"),
    ])
    .unwrap();
    assert_eq!(config.rewrite, [Rewrite { from: 15, to: 3 }, Rewrite { from: 28, to: 0 }]);
    assert_eq!(config.install, Install::Command(vec!["make".to_owned(), "deps".to_owned()]));
    assert_eq!(config.owner, Some(OwnerPolicy::Keep));
    assert_eq!(config.checkpoint, None);
    assert_eq!(config.ignore, ["*.tmp", "!keep.tmp", "/data"]);
    assert_eq!(config.size_warning_mb, 2048);
}

#[test]
fn misspelt_names_are_warned_about() {
    let odd = sources(&[("STOPOVER_CHECKPIONT", "1m"), ("S3_SERVICE_PORT", "80")]);
    let loaded = load(&odd, &Need::IfSet, Call::default()).unwrap();
    assert_eq!(loaded.warnings, ["STOPOVER_CHECKPIONT is not known, did you mean STOPOVER_CHECKPOINT?"]);
}
