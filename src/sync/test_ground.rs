//! What tests of this room stand on: a directory, and a bucket on a server in this process.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use hyper::{Method, Request, Response, body::Incoming, service::Service};
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use super::packs::{Known, Packed, Packer, Wanted};
use crate::{
    config::{Access, Credentials, Endpoint},
    report::Unheard,
    rows::{Kind, RelPath, Row, Rows},
    snapshot::SnapshotId,
    store::Store,
    sync::Control,
    worktree::{Directory, Index, Owner, RuleOptions, ScanOptions, WriteOptions, Writer, scan},
};

/// A directory and a bucket.
pub(super) struct Ground {
    root: TempDir,
    place: TempDir,
    pub(super) dir: Directory,
    pub(super) store: Store,
    answers: Arc<Answers>,
    serving: JoinHandle<()>,
}

/// What the server does not do as it should: of uploads only so many are answered, the next ones hang.
#[derive(Debug)]
struct Answers {
    left: AtomicI64,
    held: Notify,
    no_bucket: AtomicBool,
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Bytes that no compressor makes smaller, others for each `seed`.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Ground {
    pub(super) async fn new() -> Self {
        let root = TempDir::new().unwrap();
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answers =
            Arc::new(Answers { left: AtomicI64::new(i64::MAX), held: Notify::new(), no_bucket: AtomicBool::default() });
        let gate = Arc::clone(&answers);
        let serving = tokio::spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (service, gate) = (service.clone(), Arc::clone(&gate));
                let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (service, gate) = (service.clone(), Arc::clone(&gate));
                    async move {
                        if request.method() == Method::PUT && gate.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                            gate.held.notify_one();
                            std::future::pending::<()>().await;
                        }
                        if gate.no_bucket.load(Ordering::SeqCst) {
                            let text = "<Error><Code>NoSuchBucket</Code></Error>".to_owned();
                            let answer = Response::builder().status(404).body(s3s::Body::from(text));
                            return Ok(answer.unwrap());
                        }
                        Service::call(&service, request).await
                    }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
                connections.spawn(async move { drop(connection.await) });
            }
        });
        let access = Access {
            endpoint: Endpoint { url: Some(endpoint), region: Some("us-east-1".to_owned()) },
            credentials: Some(Credentials {
                access_key: "key".to_owned(),
                secret_key: "secret".to_owned(),
                session_token: None,
            }),
            concurrency: Some((16, 8)),
        };
        let store = Store::connect(&access, "bucket", "users/alice/ws").await.unwrap();
        let place = TempDir::new().unwrap();
        std::fs::create_dir(place.path().join(".stopover")).unwrap();
        let dir = Directory::open(place.path()).unwrap();
        Self { root, place, dir, store, answers, serving }
    }

    pub(super) fn on_disk(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> &Self {
        let at = self.on_disk(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, content).unwrap();
        self
    }

    /// The files of the directory as a scan sees them.
    pub(super) fn scan(&self) -> Rows {
        let options = ScanOptions::new(RuleOptions::default(), self.on_disk(".stopover"));
        let mut rows = scan(&self.dir, &Index::default(), &options).unwrap().rows;
        rows.retain(|_, row| row.kind == Kind::File);
        rows
    }

    /// Uploads beyond the next `count` hang.
    pub(super) fn answer_uploads(&self, count: i64) {
        self.answers.left.store(count, Ordering::SeqCst);
    }

    /// Waits until one hangs.
    pub(super) async fn until_one_hangs(&self) {
        self.answers.held.notified().await;
    }

    /// What was asked and sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.store.counters().requests
    }

    /// From now on every answer says that there is no such bucket.
    pub(super) fn lose_bucket(&self) {
        self.answers.no_bucket.store(true, Ordering::SeqCst);
    }

    /// The packs that lie in the bucket.
    pub(super) fn packs(&self) -> Vec<PathBuf> {
        let Ok(found) = std::fs::read_dir(self.root.path().join("bucket/users/alice/ws/.stopover/packs")) else {
            return Vec::new();
        };
        let mut packs: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
        packs.sort();
        packs
    }

    /// A packer for the attempt with this number.
    pub(super) fn packer<'a>(
        &'a self,
        attempt: u64,
        stop: &'a (dyn Fn() -> bool + Sync),
        control: &'a Control,
    ) -> Packer<'a> {
        Packer {
            store: &self.store,
            dir: &self.dir,
            attempt: SnapshotId::new(attempt, [7; 6]),
            next: 0,
            hurry: false,
            stop,
            control,
            events: &Unheard,
        }
    }

    /// Packs `rows`, with all the time there is.
    pub(super) async fn pack(&self, attempt: u64, rows: &Rows, known: &mut Known) -> Packed {
        self.packer(attempt, &|| false, &Control::default()).pack(wanted(rows), known).await.unwrap()
    }

    /// A directory to write into, and its writer.
    pub(super) fn writer(&self) -> (TempDir, Writer) {
        let to = TempDir::new().unwrap();
        let dir = Directory::open(to.path()).unwrap();
        let options = WriteOptions { owner: Owner::Caller, fresh: true };
        let writer = Writer::new(&dir, &to.path().join(".stopover/staging"), options).unwrap();
        (to, writer)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(super) fn wanted(rows: &Rows) -> Vec<Wanted> {
    rows.iter().map(|(path, row): (&RelPath, &Row)| Wanted { path: path.clone(), row: row.clone() }).collect()
}
