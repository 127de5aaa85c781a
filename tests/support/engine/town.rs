//! A network with MinIO as `s3` in it, and containers of stopover's images that come and go.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    super::{
        outsider::Outsider,
        servers::{ACCESS_KEY, SECRET_KEY},
    },
    AUTHORITIES, Engine, PATIENCE,
};

const BUCKET: &str = "workspaces";

/// What a container that is to be hard to break out of runs with.
pub const HARDENED: [&str; 4] = ["--read-only", "--cap-drop=all", "--security-opt", "no-new-privileges"];

/// An empty workspace in memory, of the images' user.
pub const FRESH_DISK: [&str; 2] = ["--tmpfs", "/workspace:exec,uid=10001,gid=10001,mode=0755"];

pub struct Town {
    pub engine: &'static Engine,
    network: String,
    s3: String,
    scheme: &'static str,
    port: u16,
}

/// A container, removed when this is dropped.
pub struct Container {
    engine: &'static Engine,
    pub name: String,
}

/// What became of a container.
pub struct Ended {
    pub code: i32,
    /// What stopover and the app said, on both outputs.
    pub said: String,
    pub time: Duration,
}

impl Town {
    /// A town whose S3 server speaks plain HTTP, so that a test can look into its bucket.
    pub fn new(engine: &'static Engine) -> Self {
        Self::with(engine, None)
    }

    /// A town whose S3 server speaks TLS with `public.crt` and `private.key` of this folder.
    pub fn with_tls(engine: &'static Engine, certificates: &Path) -> Self {
        Self::with(engine, Some(certificates))
    }

    fn with(engine: &'static Engine, certificates: Option<&Path>) -> Self {
        let (network, s3) = (engine.name("net"), engine.name("s3"));
        engine.docker(&["network", "create", &network]);
        let settings =
            [("ROOT_USER", ACCESS_KEY), ("ROOT_PASSWORD", SECRET_KEY), ("BROWSER", "off"), ("UPDATE", "off")];
        let settings: Vec<_> = settings.iter().map(|(name, value)| format!("MINIO_{name}={value}")).collect();
        let mut words = vec!["create", "--name", &s3, "--network", &network, "--network-alias", "s3"];
        words.extend(["-p", "127.0.0.1::9000"]);
        for setting in &settings {
            words.extend(["-e", setting]);
        }
        let image = engine.minio();
        words.extend([&image, "server", "/data", "--certs-dir", "/certs"]);
        engine.docker(&words);
        // MinIO takes a folder of its data directory for a bucket.
        let files = TempDir::new().unwrap();
        fs::create_dir_all(files.path().join("data").join(BUCKET)).unwrap();
        fs::create_dir_all(files.path().join("certs")).unwrap();
        for name in ["public.crt", "private.key"] {
            if let Some(folder) = certificates {
                fs::copy(folder.join(name), files.path().join("certs").join(name)).unwrap();
            }
        }
        engine.docker(&["cp", &format!("{}/.", files.path().display()), &format!("{s3}:/")]);
        engine.docker(&["start", &s3]);
        let port = engine.docker(&["port", &s3, "9000/tcp"]);
        let port = port.lines().next().and_then(|line| line.rsplit_once(':')).unwrap().1.parse().unwrap();
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let town = Self { engine, network, s3, scheme, port };
        until("MinIO is ready", || town.log_of_s3().contains("API:"));
        town
    }

    fn log_of_s3(&self) -> String {
        said(self.engine, &self.s3)
    }

    /// Somebody else, who sees the bucket from outside.
    pub fn outsider(&self) -> Outsider {
        Outsider::new(&format!("http://127.0.0.1:{}", self.port), BUCKET)
    }

    /// Puts the files of a directory of `tests/apps` into the workspace.
    pub fn upload(&self, app: &str, workspace: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(app);
        let mut open = vec![folder.clone()];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
                self.outsider().put(&format!("{workspace}/{name}"), fs::read(&path).unwrap());
            }
        }
    }

    /// The text of an object of the bucket.
    pub fn object(&self, key: &str) -> Option<String> {
        self.outsider().get(key).map(|seen| String::from_utf8(seen.bytes).unwrap())
    }

    /// Starts a container that has the settings of a workspace, with further words of `docker run`, and a command.
    pub fn start(&self, image: &str, workspace: &str, words: &[&str], command: &[&str]) -> Container {
        let settings = [
            format!("STOPOVER_WORKSPACE=s3://{BUCKET}/{workspace}"),
            format!("S3_ENDPOINT={}://s3:9000", self.scheme),
            format!("S3_ACCESS_KEY={ACCESS_KEY}"),
            format!("S3_SECRET_KEY={SECRET_KEY}"),
        ];
        let mut all = vec!["--network", &self.network];
        for setting in &settings {
            all.extend(["-e", setting]);
        }
        all.extend(words);
        Container::start(self.engine, image, &all, command)
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        drop(self.engine.try_docker(&["rm", "-f", "-v", &self.s3]));
        drop(self.engine.try_docker(&["network", "rm", &self.network]));
    }
}

impl Container {
    /// `docker run -d WORDS IMAGE COMMAND`.
    pub fn start(engine: &'static Engine, image: &str, words: &[&str], command: &[&str]) -> Self {
        let name = engine.name("app");
        let mount = format!("{AUTHORITIES}:{AUTHORITIES}:ro");
        let mut all = vec!["run", "-d", "--name", &name];
        all.extend(words);
        all.push(image);
        all.extend(command);
        // What a registry needs; the empty image is to stay empty.
        let trusted = format!("NODE_EXTRA_CA_CERTS={AUTHORITIES}");
        if Path::new(AUTHORITIES).is_file() && !image.contains("base") {
            all.splice(2..2, ["-v", &mount, "-e", &trusted]);
        }
        engine.docker(&all);
        Self { engine, name }
    }

    fn inspect(&self, what: &str) -> String {
        self.engine.docker(&["inspect", "-f", what, &self.name])
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        said(self.engine, &self.name)
    }

    /// Waits until `holds`; a container that ends first fails the test.
    fn until(&self, what: &str, holds: impl Fn() -> bool) -> &Self {
        let waits = Instant::now();
        while !holds() {
            let running = self.inspect("{{.State.Running}}") == "true";
            assert!(running || holds(), "it ended before {what}; it said:\n{}", self.said());
            assert!(waits.elapsed() < PATIENCE, "it never came true: {what}; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        self
    }

    /// Waits until its log has these words.
    pub fn until_it_says(&self, words: &str) -> &Self {
        self.until(&format!("it said {words:?}"), || self.said().contains(words))
    }

    pub fn health(&self) -> String {
        self.inspect("{{.State.Health.Status}}")
    }

    /// Waits until the engine calls it healthy.
    pub fn until_healthy(&self) -> &Self {
        self.until("it is healthy", || self.health() == "healthy")
    }

    /// Runs a command in it; exit code and both outputs.
    pub fn exec(&self, command: &[&str]) -> (i32, String) {
        let mut words = vec!["exec", &self.name];
        words.extend(command);
        let output = self.engine.try_docker(&words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// `GET path` of the app at `port`, which was published; waits until it listens.
    pub fn get(&self, port: u16, path: &str) -> String {
        let published = self.engine.docker(&["port", &self.name, &format!("{port}/tcp")]);
        let address = published.lines().next().unwrap_or_default().to_owned();
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let heard = std::cell::RefCell::new(String::new());
        self.until("the app answers", || {
            *heard.borrow_mut() = answer().unwrap_or_default();
            heard.borrow().starts_with("HTTP/1.1 200") || heard.borrow().starts_with("HTTP/1.0 200")
        });
        heard.into_inner()
    }

    /// `docker stop -t SECONDS`, as the engine stops it: TERM, and KILL when the time is over.
    pub fn stop(&self, seconds: u32) -> Ended {
        let begun = Instant::now();
        self.engine.docker(&["stop", "-t", &seconds.to_string(), &self.name]);
        self.ended(begun)
    }

    /// Waits for its end.
    pub fn ends(&self) -> Ended {
        let begun = Instant::now();
        self.engine.docker(&["wait", &self.name]);
        self.ended(begun)
    }

    fn ended(&self, begun: Instant) -> Ended {
        let time = begun.elapsed();
        Ended { code: self.inspect("{{.State.ExitCode}}").parse().unwrap(), said: self.said(), time }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.engine.try_docker(&["rm", "-f", "-v", &self.name]));
    }
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "it said:\n{}", self.said);
        self
    }

    /// Checks that it said so.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.said.contains(words), "it did not say {words:?} but:\n{}", self.said);
        self
    }
}

fn said(engine: &Engine, name: &str) -> String {
    let output = engine.try_docker(&["logs", name]);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Waits until `holds`.
fn until(what: &str, holds: impl Fn() -> bool) {
    let waits = Instant::now();
    while !holds() {
        assert!(waits.elapsed() < PATIENCE, "it never came true: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
