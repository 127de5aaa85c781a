//! The promise, kept before your eyes: a container that comes back. `cargo run --example quickstart`
//!
//! An S3 server in this process, a workspace that somebody uploaded, and the real binary: it restores the workspace
//! into a directory, runs an app that changes it, is stopped with TERM, and runs again in another, empty directory.
//! Exits non-zero if the second life does not find what the first one left. Needs no root and no container engine.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, SharedCredentialsProvider},
    primitives::ByteStream,
};
use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::{net::TcpListener, runtime::Runtime};

const ACCESS_KEY: &str = "quickstart";
const SECRET_KEY: &str = "quickstart-secret";
const BUCKET: &str = "demo";
const PREFIX: &str = "user_data/alice/site";

/// What somebody put there with any S3 tool.
const UPLOADED: [(&str, &str); 4] = [
    ("app.sh", APP),
    ("src/data.txt", "nobody touches this one\n"),
    ("visits.txt", "uploaded\n"),
    ("old.txt", "the app removes this one\n"),
];

/// The app of both lives: says what it finds, changes files of every sort, and works on until TERM.
const APP: &str = r#"trap 'echo "said goodbye on TERM" >> visits.txt; exit 0' TERM
echo "files: $(find . -name .stopover -prune -o -type f -print | sort | tr '\n' ' ')"
echo "visits.txt: $(tr '\n' ';' < visits.txt)"
echo "visited" >> visits.txt
if [ -e old.txt ]; then
  rm old.txt
  mkdir -p notes node_modules
  echo "made by the app" > notes/new.txt
  echo "can be installed again" > node_modules/dependency.js
fi
echo "working"
while :; do sleep 0.1; done
"#;

/// What the second life must find, and nothing else.
const EXPECTED: [(&str, &str); 4] = [
    ("app.sh", APP),
    ("notes/new.txt", "made by the app\n"),
    ("src/data.txt", "nobody touches this one\n"),
    ("visits.txt", "uploaded\nvisited\nsaid goodbye on TERM\n"),
];

/// Nothing here takes this long unless it hangs.
const LONGEST: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match quickstart() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe promise does not hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn quickstart() -> Result<()> {
    println!("== building the binary");
    let binary = build()?;
    let begun = Instant::now();
    let place = tempfile::tempdir()?;
    let runtime = Runtime::new()?;

    println!("== an S3 server in this process, and a workspace that somebody uploads with plain PUTs");
    let endpoint = serve(&runtime, &place.path().join("s3"))?;
    upload(&runtime, &endpoint)?;
    println!("   s3://{BUCKET}/{PREFIX} at {endpoint}: {}", UPLOADED.map(|(path, _)| path).join(", "));

    println!("== first life, in an empty directory");
    let first = place.path().join("first");
    live(&binary, &endpoint, place.path(), &first)?;
    ensure!(first.join("node_modules/dependency.js").exists(), "the app did not do its work");

    println!("== the container is gone: its directory is removed");
    fs::remove_dir_all(&first)?;

    println!("== second life, in another empty directory");
    let second = place.path().join("second");
    let found = live(&binary, &endpoint, place.path(), &second)?;
    let (paths, visits) = expected();
    ensure!(found.contains(&paths), "the second life should have found {paths:?}, it found {found:#?}");
    ensure!(found.contains(&visits), "the second life should have read {visits:?}, it read {found:#?}");
    for (path, text) in EXPECTED.iter().filter(|(path, _)| *path != "visits.txt") {
        let is = fs::read_to_string(second.join(path)).with_context(|| format!("{path} did not come back"))?;
        ensure!(is == *text, "{path} came back as {is:?}");
    }

    println!("\nThe edit, the new file and the removal of the first life were there in the second, and node_modules,");
    println!("which can be installed again, was not stored. {:.1} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The two lines in which the app of the second life says what it found.
fn expected() -> (String, String) {
    let paths: Vec<_> = EXPECTED.iter().map(|(path, _)| format!("./{path}")).collect();
    let visits = EXPECTED.iter().find(|(path, _)| *path == "visits.txt").map_or("", |(_, text)| text);
    (format!("files: {} ", paths.join(" ")), format!("visits.txt: {}", visits.replace('\n', ";")))
}

/// One life of a container: restore, app, TERM, commit. Gives what the app said.
fn live(binary: &Path, endpoint: &str, home: &Path, directory: &Path) -> Result<Vec<String>> {
    fs::create_dir(directory)?;
    let mut command = Command::new(binary);
    command
        .args(["run", "--dir"])
        .arg(directory)
        .args(["--workspace", &format!("s3://{BUCKET}/{PREFIX}"), "--install", "none", "--", "sh", "app.sh"])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("S3_ENDPOINT", endpoint)
        .env("S3_ACCESS_KEY", ACCESS_KEY)
        .env("S3_SECRET_KEY", SECRET_KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    println!("   $ stopover run --workspace s3://{BUCKET}/{PREFIX} -- sh app.sh");
    let mut running = Running(command.spawn().context("the binary does not start")?);
    let (says, heard) = mpsc::channel();
    let out = print_lines("app      | ", running.0.stdout.take(), Some(says));
    let log = print_lines("         | ", running.0.stderr.take(), None);

    let mut found = Vec::new();
    let deadline = Instant::now() + LONGEST;
    loop {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == "working" => break,
            Ok(line) => found.push(line),
            Err(_) => bail!("the app was never started, or said nothing"),
        }
    }
    println!("   $ kill -TERM");
    kill(Pid::from_raw(i32::try_from(running.0.id())?), Signal::SIGTERM)?;
    let status = running.wait()?;
    for reader in [out, log].into_iter().flatten() {
        drop(reader.join());
    }
    println!("   stopover ended with {status}");
    ensure!(status.success(), "the app ended well, but stopover ended with {status}");
    Ok(found)
}

/// Prints a stream's lines as they come, and passes them on.
fn print_lines(
    before: &'static str,
    stream: Option<impl Read + Send + 'static>,
    says: Option<mpsc::Sender<String>>,
) -> Option<thread::JoinHandle<()>> {
    let stream = stream?;
    Some(thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            println!("   {before}{line}");
            if let Some(says) = &says {
                drop(says.send(line));
            }
        }
    }))
}

/// A process that does not outlive this one, however it ends.
struct Running(Child);

impl Running {
    fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("stopover did not end within {} s of TERM", LONGEST.as_secs());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Serves a folder as S3, with one bucket, on a free port.
fn serve(runtime: &Runtime, root: &Path) -> Result<String> {
    fs::create_dir_all(root.join(BUCKET))?;
    let files = s3s_fs::FileSystem::new(root).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    runtime.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service.clone());
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(endpoint)
}

/// What any S3 tool does.
fn upload(runtime: &Runtime, endpoint: &str) -> Result<()> {
    let keys = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "quickstart");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    for (path, text) in UPLOADED {
        let key = format!("{PREFIX}/{path}");
        let put = client.put_object().bucket(BUCKET).key(&key).body(ByteStream::from_static(text.as_bytes()));
        runtime.block_on(put.send()).with_context(|| format!("{key} was not uploaded"))?;
    }
    Ok(())
}

/// Builds the binary, or finds it fresh. Together with the example: then both want the same features of every
/// dependency, and nothing is compiled twice.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--bin", "stopover", "--example", "quickstart", "--message-format=json-render-diagnostics"])
        .args(if cfg!(debug_assertions) { None } else { Some("--release") })
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .stderr(Stdio::inherit());
    // What `cargo run` says about this package, the build scripts of others would take for a change.
    cargo.env_remove("OUT_DIR");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| text.starts_with(start)) {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().context("cargo does not start")?;
    ensure!(output.status.success(), "the binary does not build");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "stopover")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no binary")
}
