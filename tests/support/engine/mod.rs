//! A real container engine: the one that `STOPOVER_TEST_DOCKER_HOST` names, or, where `STOPOVER_TEST_REQUIRE` asks for
//! containers, a Docker daemon of our own on a private socket. Its images stay in the tests' cache, so that only the
//! first start is slow; it ends with the test process, however that ends.
//!
//! A *town* is a network with an S3 server, and containers that come and go.

mod images;
pub mod town;

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Once, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::servers::is_required;

/// Where the host keeps the authorities it trusts. A registry may be vouched for by one that only the host knows.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How long the slowest thing may take: an image with packages from a registry.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Starts the daemon and stops it when the pipe to the test process closes. One daemon at a time has the cache. What a
/// daemon leaves behind in the host's network is taken away, where it was not there before.
const KEEPER: &str = r#"
exec 9>"$1/lock"; flock 9
had_bridge=$(ip link show docker0 2>/dev/null)
forward=$(iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p')
echo '{}' >"$2/daemon.json"
dockerd --config-file "$2/daemon.json" --data-root "$1/data" --exec-root "$2/exec" -p "$2/pid" -H "unix://$2/socket" &
daemon=$!
read -r _
kill -TERM $daemon 2>/dev/null
wait $daemon
[ -z "$forward" ] || iptables -P FORWARD "$forward"
[ -n "$had_bridge" ] || ip link del docker0
rm -rf --one-file-system "$2"
"#;

/// An engine that answers.
pub struct Engine {
    host: String,
    client: PathBuf,
    /// The client's settings and, for a daemon of our own, its socket and log.
    place: PathBuf,
    names: AtomicU32,
    _keeper: Option<Child>,
}

/// Whether the slow tests are to run here; if not, it says why, and how they would.
pub fn wanted() -> bool {
    if is_required("containers") || std::env::var_os("STOPOVER_TEST_DOCKER_HOST").is_some() {
        return true;
    }
    // Not by println, which the harness keeps to itself. Once, not for each test.
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let line = "skipped: real containers take minutes. As root, with tests/support/get-servers.sh: \
         STOPOVER_TEST_REQUIRE=containers cargo test --test containers; or name a running engine in \
         STOPOVER_TEST_DOCKER_HOST=unix:///var/run/docker.sock\n";
        drop(std::io::stderr().write_all(line.as_bytes()));
    });
    false
}

impl Engine {
    /// The engine of this test process; `None` is said.
    pub fn here() -> Option<&'static Self> {
        static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
        ENGINE.get_or_init(|| wanted().then(Self::start)).as_ref()
    }

    fn start() -> Self {
        // Without buildx a newer client cannot build as the Dockerfiles want it; Debian's can.
        let client = ["/usr/bin/docker", "docker"].into_iter().find(|client| {
            Command::new(client).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        let how = "get it with tests/support/get-servers.sh packages";
        let client = PathBuf::from(client.unwrap_or_else(|| panic!("docker is not installed: {how}")));
        let place = TempDir::new().unwrap().keep();
        let (host, keeper) = match std::env::var("STOPOVER_TEST_DOCKER_HOST") {
            Ok(host) => (host, None),
            Err(_) => (format!("unix://{}/socket", place.display()), Some(own_daemon(&place))),
        };
        let engine = Self { host, client, place, names: AtomicU32::new(0), _keeper: keeper };
        let until = Instant::now() + Duration::from_secs(120);
        while !engine.try_docker(&["version"]).status.success() {
            let log = fs::read_to_string(engine.place.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "the engine at {} does not answer; it said:\n{log}", engine.host);
            std::thread::sleep(Duration::from_millis(50));
        }
        if engine._keeper.is_some() {
            engine.sweep();
        }
        engine
    }

    /// The daemon is our own: what is there was left by a test process that was killed.
    fn sweep(&self) {
        let left = self.docker(&["ps", "-aq"]);
        if !left.is_empty() {
            let mut words = vec!["rm", "-f", "-v"];
            words.extend(left.split_whitespace());
            self.docker(&words);
        }
        self.docker(&["network", "prune", "-f"]);
        self.docker(&["volume", "prune", "-f"]);
    }

    /// A `docker` command that speaks to this engine.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.client);
        self.speaks_here(&mut command);
        command
    }

    /// Makes another program, Compose, speak to this engine.
    pub fn speaks_here(&self, command: &mut Command) {
        command
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_BUILDKIT", "1")
            .env("DOCKER_CONFIG", self.place.join("client"));
        command.env_remove("DOCKER_CONTEXT").stdin(Stdio::null());
    }

    /// Runs `docker WORDS`, and gives what it printed.
    pub fn docker(&self, words: &[impl AsRef<OsStr>]) -> String {
        let output = self.try_docker(words);
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The same where failure is an answer.
    pub fn try_docker(&self, words: &[impl AsRef<OsStr>]) -> Output {
        self.command().args(words).output().unwrap()
    }

    /// A name that nothing else on this engine has.
    pub fn name(&self, of: &str) -> String {
        format!("stopover-test-{}-{}-{of}", std::process::id(), self.names.fetch_add(1, Ordering::Relaxed))
    }
}

fn own_daemon(place: &Path) -> Child {
    let how = "get it with tests/support/get-servers.sh packages";
    assert!(nix::unistd::geteuid().is_root(), "a Docker daemon of our own needs root: set STOPOVER_TEST_DOCKER_HOST");
    assert!(Path::new("/usr/sbin/dockerd").is_file(), "dockerd is not installed: {how}");
    let cache = super::servers::cache().join("docker");
    fs::create_dir_all(&cache).unwrap();
    let log = fs::File::create(place.join("log")).unwrap();
    Command::new("/bin/sh")
        .args(["-c", KEEPER, "keeper"])
        .args([cache.as_path(), place])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
