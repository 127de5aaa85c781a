//! A server as a child process. A shell stands between it and the test and holds a pipe to the test process: when that
//! closes, because the last test is over or the test process has died in whatever way, the server is stopped. The shell
//! ends with its server.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{ACCESS_KEY, SECRET_KEY};

const KEEPER: &str = r#"
exec 3<&0
"$@" 3<&- & server=$!
{ read -r _ <&3; kill -TERM $server; } 2>/dev/null & reader=$!
wait $server
kill $reader 2>/dev/null
"#;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(180);

pub struct Child {
    endpoint: String,
    keeper: std::process::Child,
    _root: TempDir,
}

pub fn minio(program: &Path) -> Child {
    Child::start(Some("/minio/health/ready"), |address, root| minio_words(program, address, root))
}

/// MinIO over TLS, with `public.crt` and `private.key` of the folder `certificates`.
pub fn minio_with_tls(program: &Path, certificates: &Path) -> Child {
    let mut child = Child::start(None, |address, root| {
        let (mut words, settings) = minio_words(program, address, root);
        words.extend(["--certs-dir".to_owned(), certificates.display().to_string()]);
        (words, settings)
    });
    child.endpoint = child.endpoint.replace("http://", "https://");
    child
}

fn minio_words(program: &Path, address: &str, root: &Path) -> Words {
    let mut words = vec![program.display().to_string(), "server".into(), "--address".into(), address.to_string()];
    words.push(root.join("data").display().to_string());
    let settings = [
        ("MINIO_ROOT_USER", ACCESS_KEY),
        ("MINIO_ROOT_PASSWORD", SECRET_KEY),
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
        ("MINIO_API_REQUESTS_MAX", "1000"),
    ];
    (words, settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

pub fn moto(program: &Path) -> Child {
    Child::start(Some("/moto-api/"), |address, _| {
        let (host, port) = address.rsplit_once(':').unwrap();
        let words = [program.to_str().unwrap(), "-H", host, "-p", port];
        (words.map(str::to_owned).to_vec(), Vec::new())
    })
}

/// rclone's server before a folder. It takes the conditions of no write.
pub fn rclone(program: &Path) -> Child {
    Child::start(None, |address, root| {
        let data = root.join("data");
        fs::create_dir_all(&data).unwrap();
        let keys = format!("{ACCESS_KEY},{SECRET_KEY}");
        let words = [program.to_str().unwrap(), "serve", "s3", "--addr", address, "--auth-key", &keys];
        let more = ["--vfs-cache-mode", "writes", "--config", "/dev/null", data.to_str().unwrap()];
        (words.into_iter().chain(more).map(str::to_owned).collect(), Vec::new())
    })
}

/// Versity's gateway before a folder (of a file system with extended attributes).
pub fn versitygw(program: &Path) -> Child {
    Child::start(None, |address, root| {
        let data = root.join("data");
        fs::create_dir_all(&data).unwrap();
        let words = [program.to_str().unwrap(), "--port", address, "--region", "us-east-1", "--quiet", "posix"];
        let settings = [("ROOT_ACCESS_KEY", ACCESS_KEY), ("ROOT_SECRET_KEY", SECRET_KEY)];
        (
            words.into_iter().chain(data.to_str()).map(str::to_owned).collect(),
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        )
    })
}

type Words = (Vec<String>, Vec<(String, String)>);

impl Child {
    /// Starts a server on a free port and waits until it listens there itself, and `ready` answers with 200. Another
    /// process may take the port in between: then it is tried with another one.
    fn start(ready: Option<&str>, words: impl Fn(&str, &Path) -> Words) -> Self {
        for _ in 0..5 {
            let root = TempDir::new().unwrap();
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let (words, settings) = words(&address, root.path());
            let log = fs::File::create(root.path().join("log")).unwrap();
            let mut keeper = Command::new("/bin/sh")
                .args(["-c", KEEPER, "keeper"])
                .args(words)
                .envs(settings)
                .env("HOME", root.path())
                .current_dir(root.path())
                .stdin(Stdio::piped())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            if is_ready(&address, ready, &mut keeper) {
                return Self { endpoint: format!("http://{address}"), keeper, _root: root };
            }
            let said = fs::read_to_string(root.path().join("log")).unwrap_or_default();
            println!("a server did not start at {address}: {said}");
            stop(&mut keeper);
        }
        panic!("no server started");
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        stop(&mut self.keeper);
    }
}

fn stop(keeper: &mut std::process::Child) {
    drop(keeper.stdin.take());
    drop(keeper.wait());
}

fn is_ready(address: &str, path: Option<&str>, keeper: &mut std::process::Child) -> bool {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline && keeper.try_wait().unwrap().is_none() {
        let is_there = match path {
            Some(path) => answers(address, path),
            None => TcpStream::connect(address).map(|_| true),
        };
        if is_there.unwrap_or(false) && listens_below(keeper.id(), address) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Whether it is this process or one below it that listens at `address`.
fn listens_below(first: u32, address: &str) -> bool {
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines()).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listeners = rows.filter(|row| row.len() > 9 && row[1].ends_with(&format!(":{port:04X}")) && row[3] == "0A");
    let sockets: Vec<_> = listeners.map(|row| PathBuf::from(format!("socket:[{}]", row[9]))).collect();
    let has_it = |pid: &u32| {
        let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        held.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| sockets.contains(&target))
    };
    all_below(first).iter().any(has_it)
}

/// This process, and all below it.
fn all_below(first: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut all = vec![first];
    let mut at = 0;
    while let Some(&parent) = all.get(at) {
        all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    all
}

fn answers(address: &str, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
