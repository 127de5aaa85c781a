//! Real S3 servers: s3s-fs in the test's own process; moto, MinIO, versitygw and `rclone serve s3` as children. Each has a fresh
//! directory, and goes away with the last test that uses it, or with the test process: so a test holds its server. And
//! one that is none, in memory (`memory`): for tests of hundreds of cases, and for servers that misbehave.
//!
//! A test names what it needs of a server; `abilities` is the one table of who has what. On a server that lacks it the
//! test is counted as `not on s3s-fs: atomic-create`; where a server is not installed it is `skipped`, unless
//! `STOPOVER_TEST_REQUIRE` names it.

pub mod abilities;
pub mod child;
mod in_process;
pub mod memory;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use stopover::config::{Access, Credentials, Endpoint};

use super::outsider::Outsider;

pub const ACCESS_KEY: &str = "stopover";
pub const SECRET_KEY: &str = "stopover-secret";

/// A kind of server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    S3sFs,
    Moto,
    MinIo,
    Rclone,
    VersityGw,
    Memory,
}

impl Kind {
    /// The real ones.
    pub const ALL: [Self; 5] = [Self::S3sFs, Self::Moto, Self::MinIo, Self::Rclone, Self::VersityGw];
    /// Those that look at conditions and start quickly: what most tests are about.
    const CONDITIONAL: [Self; 3] = [Self::S3sFs, Self::Moto, Self::MinIo];

    pub const fn name(self) -> &'static str {
        match self {
            Self::S3sFs => "s3s-fs",
            Self::Moto => "moto",
            Self::MinIo => "minio",
            Self::Rclone => "rclone",
            Self::VersityGw => "versitygw",
            Self::Memory => "memory",
        }
    }

    /// The version that is installed, as the server itself, or what built it, tells it.
    pub fn version(self) -> Option<String> {
        let said = |program: &str, words: &[&str]| {
            let output = std::process::Command::new(installed(program)?).args(words).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        // The Go linker noted which module a program was built from.
        let module = |program: &str, name: &str| {
            let (before, path) = (format!("mod\t{name}\t"), installed(program)?);
            let mut grep = std::process::Command::new("grep");
            let output = grep.args(["-a", "-o", "-m1", &format!("{before}[^\t]*")]).arg(path).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).trim().strip_prefix(&before)?.to_owned())
        };
        match self {
            Self::S3sFs => {
                let lock = include_str!("../../../Cargo.lock");
                let (_, after) = lock.split_once("name = \"s3s-fs\"\nversion = \"")?;
                Some(after.split_once('"')?.0.to_owned())
            }
            Self::Moto => {
                let words = "import importlib.metadata as m; print(m.version('moto'))";
                Some(said("venv/bin/python3", &["-c", words])?.trim().to_owned())
            }
            // It calls itself DEVELOPMENT. Without the commit: the time names it.
            Self::MinIo => Some(module("bin/minio", "github.com/minio/minio")?.rsplit_once('-')?.0.to_owned()),
            Self::VersityGw => {
                Some(module("bin/versitygw", "github.com/versity/versitygw")?.trim_start_matches('v').to_owned())
            }
            Self::Memory => None,
            Self::Rclone => Some(said("bin/rclone", &["version"])?.lines().next()?.replace("rclone v", "")),
        }
    }
}

/// A running server.
pub struct Server {
    pub kind: Kind,
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    buckets: AtomicU32,
    running: Running,
}

enum Running {
    InProcess(in_process::InProcess),
    Child(child::Child),
    Memory(memory::Memory),
}

/// The servers that run now; each as long as a test holds it.
static SHARED: Mutex<[Weak<Server>; 6]> = Mutex::new([const { Weak::new() }; 6]);

impl Server {
    /// The server of this kind: the one that runs, or a new one. `None`: it is not installed, which is said.
    pub fn of(kind: Kind) -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut shared[kind as usize];
        if let Some(server) = place.upgrade() {
            return Some(server);
        }
        let Some(server) = Self::start(kind) else {
            let (name, how) = (kind.name(), "get it with tests/support/get-servers.sh");
            assert!(!is_required(name), "{name} absent, but STOPOVER_TEST_REQUIRE names it: {how} {name}");
            println!("skipped: {name} absent, {how} {name}");
            return None;
        };
        let server = Arc::new(server);
        *place = Arc::downgrade(&server);
        Some(server)
    }

    /// The one that is always there: s3s-fs in this process.
    pub fn here() -> Arc<Self> {
        Self::of(Kind::S3sFs).expect("it is in this process")
    }

    /// A server of this test alone, in memory.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self::start(Kind::Memory).expect("it is in this process"))
    }

    /// The one in memory, to note its state and to tell it how to behave.
    pub fn memory(&self) -> &memory::Memory {
        match &self.running {
            Running::Memory(memory) => memory,
            _ => panic!("{} is not in memory", self.name()),
        }
    }

    /// All servers that look at conditions, are installed and have what the test needs; the others are said.
    pub fn all_with(needs: &[&str]) -> Vec<Arc<Self>> {
        Self::of_those_with(&Kind::CONDITIONAL, needs)
    }

    /// As `all_with`, with versitygw and the one that passes over every condition.
    pub fn each_with(needs: &[&str]) -> Vec<Arc<Self>> {
        Self::of_those_with(&Kind::ALL, needs)
    }

    fn of_those_with(kinds: &[Kind], needs: &[&str]) -> Vec<Arc<Self>> {
        let able = kinds.iter().copied().filter(|kind| {
            let lacks: Vec<_> = needs.iter().filter(|need| !abilities::has(*kind, need)).copied().collect();
            if !lacks.is_empty() {
                println!("not on {}: {}", kind.name(), lacks.join(", "));
            }
            lacks.is_empty()
        });
        able.filter_map(Self::of).collect()
    }

    /// The strictest server there is: MinIO if it is installed, else moto, else s3s-fs.
    pub fn best() -> Arc<Self> {
        [Kind::MinIo, Kind::Moto].into_iter().find_map(Self::of).unwrap_or_else(Self::here)
    }

    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub fn has(&self, ability: &str) -> bool {
        abilities::has(self.kind, ability)
    }

    /// How this server is reached.
    pub fn access(&self) -> Access {
        access(&self.endpoint)
    }

    /// A new, empty bucket.
    pub fn bucket(&self) -> Outsider {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("bucket-{}-{number}", std::process::id());
        let mut outsider = Outsider::new(&self.endpoint, &bucket);
        outsider.encodes = self.has("url-encoding");
        match &self.running {
            Running::InProcess(server) => std::fs::create_dir(server.root().join(&bucket)).unwrap(),
            Running::Child(_) => outsider.create_bucket(),
            Running::Memory(server) => outsider.window = Some(server.window()),
        }
        outsider
    }

    fn start(kind: Kind) -> Option<Self> {
        let running = match kind {
            Kind::S3sFs => Running::InProcess(in_process::InProcess::start()),
            Kind::Moto => Running::Child(child::moto(&installed("venv/bin/moto_server")?)),
            Kind::MinIo => Running::Child(child::minio(&installed("bin/minio")?)),
            Kind::Memory => Running::Memory(memory::Memory::start()),
            Kind::Rclone => Running::Child(child::rclone(&installed("bin/rclone")?)),
            Kind::VersityGw => Running::Child(child::versitygw(&installed("bin/versitygw")?)),
        };
        let endpoint = match &running {
            Running::InProcess(server) => server.endpoint(),
            Running::Child(server) => server.endpoint(),
            Running::Memory(server) => server.endpoint(),
        };
        Some(Self { kind, endpoint, buckets: AtomicU32::new(0), running })
    }
}

/// How a server at `endpoint` (or a front before one) is reached.
pub fn access(endpoint: &str) -> Access {
    Access {
        endpoint: Endpoint { url: Some(endpoint.to_owned()), region: Some("us-east-1".to_owned()) },
        credentials: Some(Credentials {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            session_token: None,
        }),
        concurrency: Some((16, 8)),
    }
}

/// Whether `STOPOVER_TEST_REQUIRE` (`containers,minio`) turns this one's absence into failure.
pub fn is_required(name: &str) -> bool {
    std::env::var("STOPOVER_TEST_REQUIRE").is_ok_and(|names| names.split(',').any(|one| one.trim() == name))
}

/// A program of the tests' cache.
pub fn installed(program: &str) -> Option<PathBuf> {
    Some(cache().join(program)).filter(|path| path.is_file())
}

/// Where tests/support/get-servers.sh keeps what it built.
pub fn cache() -> PathBuf {
    std::env::var_os("STOPOVER_TEST_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/stopover-test"),
        PathBuf::from,
    )
}
