//! s3s-fs in the test's own process: always there, in milliseconds. Its conditions race (`abilities`).

use std::path::Path;

use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::{ACCESS_KEY, SECRET_KEY};
use crate::support::{beside, wait};

pub struct InProcess {
    endpoint: String,
    root: TempDir,
    serving: JoinHandle<()>,
}

impl InProcess {
    pub fn start() -> Self {
        let root = TempDir::new().unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let listener = wait(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = beside(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                connections.spawn(async move { drop(connection.await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { endpoint, root, serving }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
