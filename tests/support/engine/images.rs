//! The images of `images/`, built from their own Dockerfiles on bases that are made here: an engine that reaches no
//! registry of images has the Debian root from the tests' cache, and packages.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
};

use tempfile::TempDir;

use super::{super::servers::installed, Engine};

const DEBIAN: &str = "stopover-test/debian";

/// Each image is made once in a test process, and by one test.
static MADE: LazyLock<Mutex<BTreeMap<String, Arc<OnceLock<String>>>>> = LazyLock::new(Mutex::default);

impl Engine {
    /// The image of `images/NAME`, with the static binary in it.
    pub fn image(&self, name: &str) -> String {
        once(name, || {
            let base = match name {
                "node" => self.node(),
                "python" => self.packages("python", "python3-venv"),
                "php" => self.php(),
                "base" => "scratch".to_owned(),
                _ => panic!("there is no image {name}"),
            };
            let context = TempDir::new().unwrap();
            fs::copy(binary(), context.path().join("stopover")).unwrap();
            let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("images/{name}/Dockerfile"));
            let arguments = [format!("BASE={base}"), format!("COMPOSER={base}")];
            // The classic builder warns of arguments that a Dockerfile has no use for, BuildKit too; both go on.
            let arguments = &arguments[..if name == "php" { 2 } else { 1 }];
            self.build(name, &fs::read_to_string(dockerfile).unwrap(), context.path(), arguments)
        })
    }

    /// An image that a test's own Dockerfile makes, with the static binary beside it.
    pub fn image_of(&self, name: &str, dockerfile: &str) -> String {
        once(name, || {
            let context = TempDir::new().unwrap();
            fs::copy(binary(), context.path().join("stopover")).unwrap();
            self.build(name, dockerfile, context.path(), &[])
        })
    }

    /// MinIO and nothing else.
    pub fn minio(&self) -> String {
        once("minio", || {
            let program = installed("bin/minio").expect("minio absent, get it with tests/support/get-servers.sh minio");
            let context = TempDir::new().unwrap();
            fs::copy(program, context.path().join("minio")).unwrap();
            let dockerfile = "FROM scratch\nCOPY minio /minio\nENTRYPOINT [\"/minio\"]\n";
            self.build("minio", dockerfile, context.path(), &[])
        })
    }

    /// What MinIO's own image has and the examples use: a shell, `minio`, and `mc ready`, here a stand-in.
    pub fn minio_with_shell(&self) -> String {
        once("minio-shell", || {
            let context = TempDir::new().unwrap();
            let mc = "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/9000 || exit 1\n\
                      printf 'GET /minio/health/ready HTTP/1.1\\r\\nHost: s3\\r\\nConnection: close\\r\\n\\r\\n' >&3\ngrep -q '200 OK' <&3\n";
            fs::write(context.path().join("mc"), mc).unwrap();
            let (debian, minio) = (self.debian(), self.minio());
            let dockerfile = format!(
                "FROM {minio} AS minio\nFROM {debian}\nCOPY --from=minio /minio /usr/bin/minio\n\
                 COPY --chmod=755 mc /usr/bin/mc\n"
            );
            self.build("minio-shell", &dockerfile, context.path(), &[])
        })
    }

    /// Debian with what `apt-get install` brings.
    pub fn packages(&self, name: &str, packages: &str) -> String {
        once(&format!("base-{name}"), || {
            let debian = self.debian();
            let dockerfile = format!(
                "FROM {debian}\nRUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
                 --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*\n"
            );
            self.build(&format!("base-{name}"), &dockerfile, TempDir::new().unwrap().path(), &[])
        })
    }

    fn debian(&self) -> String {
        once("debian", || {
            let root = installed("rootfs.tar");
            let root = root.expect("no Debian root file system, get it with tests/support/get-servers.sh rootfs");
            let image = format!("{DEBIAN}:{}", fs::metadata(&root).unwrap().len());
            if !self.try_docker(&["image", "inspect", &image]).status.success() {
                self.docker(&["import".as_ref(), root.as_os_str(), image.as_ref()]);
            }
            image
        })
    }

    /// PHP, and Debian's Composer, which finds its parts beside itself: the Dockerfile copies the program elsewhere.
    fn php(&self) -> String {
        once("base-php", || {
            let packages = self.packages("php-packages", "php-cli php-zip php-mbstring composer unzip");
            let dockerfile = format!("FROM {packages}\nRUN ln -s /usr/share/php /usr/local/share/php\n");
            self.build("base-php", &dockerfile, TempDir::new().unwrap().path(), &[])
        })
    }

    /// Node.js and npm of the host, if they run in Debian's root; else Debian's.
    pub fn node(&self) -> String {
        once("base-node", || {
            let Some((node, npm)) = host_node() else { return self.packages("node", "nodejs npm") };
            let context = TempDir::new().unwrap();
            fs::copy(node, context.path().join("node")).unwrap();
            let copied = Command::new("cp").args(["-a".as_ref(), npm.as_os_str(), context.path().as_os_str()]).status();
            assert!(copied.unwrap().success());
            let dockerfile = format!(
                "FROM {}\nCOPY node /usr/bin/node\nCOPY npm /usr/lib/node_modules/npm\n\
                 RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/bin/npm && node --version && npm --version\n",
                self.debian()
            );
            let built = self.try_build("base-node", &dockerfile, context.path(), &[]);
            built.unwrap_or_else(|_| self.packages("node", "nodejs npm"))
        })
    }

    fn build(&self, name: &str, dockerfile: &str, context: &Path, arguments: &[String]) -> String {
        self.try_build(name, dockerfile, context, arguments)
            .unwrap_or_else(|said| panic!("{name} does not build: {said}"))
    }

    fn try_build(&self, name: &str, dockerfile: &str, context: &Path, arguments: &[String]) -> Result<String, String> {
        let image = format!("stopover-test/{name}");
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let mut command = self.command();
        command.args(["build", "-q", "-t", &image]);
        for argument in arguments {
            command.args(["--build-arg", argument]);
        }
        let output = command.arg(context).output().unwrap();
        if output.status.success() { Ok(image) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

/// What `make` makes, made once for `name`.
fn once(name: &str, make: impl FnOnce() -> String) -> String {
    let place = MADE.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
    place.get_or_init(make).clone()
}

/// The static release binary, with the code under test in it.
pub fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/x86_64-unknown-linux-musl/release/stopover");
    let path = std::env::var_os("STOPOVER_TEST_STATIC").map_or(built, PathBuf::from);
    assert!(path.is_file(), "{} is not there: run `just release`", path.display());
    path
}

/// Node.js of this host, and npm's directory.
fn host_node() -> Option<(PathBuf, PathBuf)> {
    let search = |name: &str| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find_map(|directory| fs::canonicalize(directory.join(name)).ok())
    };
    let npm = search("npm")?.parent()?.parent()?.to_owned();
    npm.join("bin/npm-cli.js").is_file().then_some((search("node")?, npm))
}
