//! The files of `examples/` are what they say: each is accepted by the tool it is for, and the Compose file runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use support::{
    engine::{AUTHORITIES, Engine},
    outsider::Outsider,
    servers::{ACCESS_KEY, Kind, SECRET_KEY, Server, installed, is_required},
};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A tool of the tests' cache; its absence is said, or a failure where `STOPOVER_TEST_REQUIRE` names it.
fn tool(path: &str, name: &str) -> Option<PathBuf> {
    let found = installed(path);
    let how = format!("get it with tests/support/get-servers.sh {name}");
    assert!(found.is_some() || !is_required(name), "{path} absent, but STOPOVER_TEST_REQUIRE names {name}: {how}");
    if found.is_none() {
        println!("skipped: {path} absent, {how}");
    }
    found
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    output
}

#[test]
fn the_kubernetes_job_is_valid_to_the_letter() {
    let Some(validate) = tool("venv/bin/kubernetes-validate", "moto") else { return };
    succeeds(Command::new(&validate).arg("--strict").arg(example("kubernetes-job.yaml")));
    // The check sees a misspelt field.
    let wrong = fs::read_to_string(example("kubernetes-job.yaml")).unwrap();
    let wrong = wrong.replace("terminationGracePeriodSeconds", "terminationGracePeriod");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.yaml"), wrong).unwrap();
    let output = Command::new(validate).arg("--strict").arg(folder.path().join("wrong.yaml")).output().unwrap();
    assert!(!output.status.success(), "the check lets everything pass");
}

#[test]
fn the_fargate_task_is_registered_and_gives_the_time_that_stopover_is_told() {
    let text = fs::read_to_string(example("fargate-task.json")).unwrap();
    let task: Value = serde_json::from_str(&text).unwrap();
    let container = &task["containerDefinitions"][0];
    let told = container["environment"].as_array().unwrap().iter();
    let told = told.filter(|variable| variable["name"] == "STOPOVER_STOP_TIMEOUT").map(|variable| &variable["value"]);
    let stop = container["stopTimeout"].as_u64().unwrap();
    assert_eq!(told.collect::<Vec<_>>(), [&format!("{stop}s")]);
    // What moto does not check: Fargate's longest, and ECS's limits of a health check.
    assert!(stop <= 120);
    let check = &container["healthCheck"];
    for (name, range) in [("interval", 5..=300), ("timeout", 2..=60), ("retries", 1..=10), ("startPeriod", 0..=300)] {
        assert!(range.contains(&check[name].as_u64().unwrap()), "{name}");
    }
    assert_eq!((task["cpu"].as_str(), task["memory"].as_str()), (Some("512"), Some("1024")), "a pair that Fargate has");

    let (Some(python), Some(server)) = (tool("venv/bin/python", "moto"), Server::of(Kind::Moto)) else { return };
    let script = "import boto3, json, sys\n\
                  ecs = boto3.client('ecs', endpoint_url=sys.argv[1], region_name='us-east-1')\n\
                  made = ecs.register_task_definition(**json.load(open(sys.argv[2])))['taskDefinition']\n\
                  print(made['containerDefinitions'][0]['stopTimeout'])\n";
    let mut register = Command::new(python);
    register.args(["-c", script, &server.endpoint]).arg(example("fargate-task.json"));
    let output = succeeds(register.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), stop.to_string());
}

#[test]
fn the_compose_file_is_valid_with_its_sample_settings() {
    let Some(compose) = tool("bin/docker-compose", "compose") else { return };
    let mut check = Command::new(compose);
    check.arg("-f").arg(example("compose.yaml")).arg("--env-file").arg(example(".env.example"));
    succeeds(check.args(["config", "-q"]));
}

/// A project of Compose, taken down with its volumes when this is dropped.
struct Project {
    engine: &'static Engine,
    compose: PathBuf,
    words: Vec<String>,
    image: String,
    s3_image: String,
}

impl Project {
    fn compose(&self, words: &[&str]) -> String {
        let output = succeeds(self.command().args(words));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.compose);
        command.args(&self.words).env("APP_IMAGE", &self.image).env("S3_IMAGE", &self.s3_image);
        self.engine.speaks_here(&mut command);
        command
    }

    fn in_the_app(&self, script: &str) -> String {
        self.compose(&["exec", "-T", "app", "node", "-e", script])
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        drop(self.command().args(["down", "-v", "-t", "1"]).output());
    }
}

#[test]
fn the_compose_file_brings_a_workspace_back() {
    let Some(engine) = Engine::here() else { return };
    let compose = tool("bin/docker-compose", "compose").expect("get-servers.sh compose");
    let folder = tempfile::tempdir().unwrap();
    // Only what a test needs beside it: a way to look into the bucket, and the registry's authority.
    let also = folder.path().join("also.yaml");
    let text = format!(
        "services:\n  s3:\n    ports: ['127.0.0.1::9000']\n  app:\n    volumes: ['{AUTHORITIES}:{AUTHORITIES}:ro']\n    \
         environment: {{NODE_EXTRA_CA_CERTS: {AUTHORITIES}}}\n"
    );
    fs::write(&also, if Path::new(AUTHORITIES).is_file() { text } else { String::new() }).unwrap();
    let files = [example("compose.yaml"), also, example(".env.example")].map(|path| path.display().to_string());
    let words = ["-p", &engine.name("compose"), "-f", &files[0], "-f", &files[1], "--env-file", &files[2]];
    let words = words.map(str::to_owned).to_vec();
    let project = Project { engine, compose, words, image: engine.image("node"), s3_image: engine.minio_with_shell() };

    project.compose(&["up", "-d", "--wait", "s3"]);
    let outsider = || {
        let address = project.compose(&["port", "s3", "9000"]);
        Outsider::with_keys(&format!("http://{address}"), "workspaces", "stopover", "change-me-please")
    };
    let workspace = "user_data/alice/site";
    for name in ["package.json", "package-lock.json", "server.js"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/node").join(name);
        outsider().put(&format!("{workspace}/{name}"), fs::read(path).unwrap());
    }
    let visit = "fetch('http://127.0.0.1:3000/visit').then(answer => answer.text()).then(console.log)";
    project.compose(&["up", "-d", "--wait"]);
    assert_eq!(project.in_the_app(visit), "visits: 1");
    project.compose(&["stop"]);
    project.compose(&["up", "-d", "--wait"]);
    assert_eq!(project.in_the_app(visit), "visits: 2", "what changed was stored by the stop");
    project.compose(&["stop", "app"]);
    let words = outsider().get(&format!("{workspace}/last-words.txt")).expect("the app's last words");
    assert!(String::from_utf8(words.bytes).unwrap().contains("saw 2 visits"));
}
