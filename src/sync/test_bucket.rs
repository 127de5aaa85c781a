//! A bucket in memory, behind a server in this process that honours every condition, or those it is told to. It keeps a
//! record of all requests, and tests may step in before each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, header::HeaderMap};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use crate::{
    config::{Access, Credentials, Endpoint},
    store::{Abilities, Store, plain_etag},
};

const PREFIX: &str = "/bucket/users/alice/ws/";
/// What keys begin with in listings.
const KEYS: &str = "users/alice/ws/";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    pub(super) kind: String,
}

/// A request that came, by method and key (without the workspace's prefix).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) key: String,
    pub(super) query: String,
}

impl Asked {
    /// Whether it changes what others see.
    pub(super) fn is_change(&self) -> bool {
        match self.method {
            Method::PUT => !self.query.contains("partNumber="),
            Method::POST => self.query.contains("uploadId="),
            _ => self.method == Method::DELETE && !self.query.contains("uploadId="),
        }
    }

    /// Whether it is about the live tree.
    pub(super) fn is_live(&self) -> bool {
        !self.key.starts_with(".stopover/")
    }
}

/// What a test makes of a request.
pub(super) enum Fate {
    /// As it should be.
    Served,
    /// This status and code.
    Refused(u16, &'static str),
    /// It is done, and the answer is a 500.
    Lost,
    /// The connection ends instead of an answer.
    Cut {
        /// Whether it was done before.
        applied: bool,
    },
    /// It waits for ever.
    Hangs,
}

type Hook = Box<dyn FnMut(&Asked, &mut Shelf) -> Fate + Send>;

/// The objects.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    count: u64,
    /// ETags say nothing of the content.
    pub(super) opaque: bool,
    /// DELETE knows no condition.
    pub(super) deletes_blindly: bool,
    /// The most keys of a page of a listing, if less than 1,000.
    pub(super) page: Option<usize>,
}

impl Shelf {
    /// Writes an object, as anybody could.
    pub(super) fn put(&mut self, key: &str, bytes: &[u8]) -> String {
        self.place(key, Bytes::copy_from_slice(bytes), "text/plain")
    }

    fn place(&mut self, key: &str, bytes: Bytes, kind: &str) -> String {
        self.count += 1;
        let etag =
            if self.opaque { format!("\"opaque-{}\"", self.count) } else { plain_etag(&bytes).as_str().to_owned() };
        let object = Object { bytes, etag: etag.clone(), kind: kind.to_owned() };
        self.objects.insert(key.to_owned(), object);
        etag
    }

    /// Key and content of the live tree.
    pub(super) fn live(&self) -> BTreeMap<String, String> {
        let live = self.objects.iter().filter(|(key, _)| !key.starts_with(".stopover/"));
        live.map(|(key, object)| (key.clone(), String::from_utf8_lossy(&object.bytes).into_owned())).collect()
    }
}

pub(super) struct Bucket {
    pub(super) store: Store,
    /// The same for who does not know what the server honours.
    pub(super) unmeasured: Store,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Inner {
    shelf: Mutex<Shelf>,
    log: Mutex<Vec<Asked>>,
    hook: Mutex<Option<Hook>>,
    hangs: Notify,
}

impl Bucket {
    pub(super) async fn new() -> Self {
        let inner = Arc::new(Inner::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&inner);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let inner = Arc::clone(&shared);
                let service = hyper::service::service_fn(move |request| answer(Arc::clone(&inner), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
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
            concurrency: Some((16, 4)),
        };
        let store = Store::connect(&access, "bucket", "users/alice/ws").await.unwrap();
        Self { store: store.clone().with_abilities(Abilities::AWS), unmeasured: store, inner, serving }
    }

    /// The bucket, to look at and to change.
    pub(super) fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.inner.shelf.lock().unwrap()
    }

    /// What happens to each request from now on, before anything else.
    pub(super) fn on_request(&self, hook: impl FnMut(&Asked, &mut Shelf) -> Fate + Send + 'static) {
        *self.inner.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub(super) fn heal(&self) {
        *self.inner.hook.lock().unwrap() = None;
    }

    /// Waits until a request hangs.
    pub(super) async fn until_one_hangs(&self) {
        self.inner.hangs.notified().await;
    }

    /// The requests since this was asked last.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.inner.log.lock().unwrap())
    }

    /// Those that changed the live tree, as `PUT a`.
    pub(super) fn changes(&self) -> Vec<String> {
        let asked = self.asked().into_iter().filter(|asked| asked.is_change() && asked.is_live());
        asked.map(|asked| format!("{} {}", asked.method, asked.key)).collect()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Answer = Response<Full<Bytes>>;

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
#[error("so the test wants it")]
struct Cut;

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Answer, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let key = head.uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let asked = Asked { method: head.method, key, query: head.uri.query().unwrap_or_default().to_owned() };
    inner.log.lock().unwrap().push(asked.clone());
    let fate = match &mut *inner.hook.lock().unwrap() {
        Some(hook) => hook(&asked, &mut inner.shelf.lock().unwrap()),
        None => Fate::Served,
    };
    Ok(match fate {
        Fate::Served => serve(&mut inner.shelf.lock().unwrap(), &asked, &head.headers, body),
        Fate::Refused(status, code) => error(status, code),
        Fate::Lost => {
            serve(&mut inner.shelf.lock().unwrap(), &asked, &head.headers, body);
            error(500, "InternalError")
        }
        Fate::Cut { applied } => {
            if applied {
                serve(&mut inner.shelf.lock().unwrap(), &asked, &head.headers, body);
            }
            return Err(Cut);
        }
        Fate::Hangs => {
            inner.hangs.notify_one();
            std::future::pending().await
        }
    })
}

fn serve(shelf: &mut Shelf, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Answer {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let query = |name: &str| {
        let mut pairs = asked.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    if query("list-type").is_some() {
        return listing(shelf, query);
    }
    let present = shelf.objects.get(&asked.key).cloned();
    let refusal = match (&present, header("if-match"), header("if-none-match")) {
        (None, Some(_), _) => Some(error(404, "NoSuchKey")),
        (Some(object), Some(etag), _) if object.etag != etag => Some(error(412, "PreconditionFailed")),
        (Some(object), _, Some(etag)) if etag == "*" || object.etag == etag => {
            let is_read = matches!(asked.method, Method::GET | Method::HEAD);
            Some(if is_read {
                Response::builder().status(304).body(Full::default()).unwrap()
            } else {
                error(412, "PreconditionFailed")
            })
        }
        _ => None,
    };
    let kind = header("content-type").unwrap_or_default();
    let made = |etag: &str| Response::builder().header("etag", etag).body(Full::default()).unwrap();
    match (asked.method.clone(), query("uploadId"), query("partNumber")) {
        (Method::POST, None, _) => {
            shelf.count += 1;
            let id = format!("{}:{kind}", shelf.count).replace('/', "_");
            shelf.uploads.insert(id.clone(), BTreeMap::new());
            xml(&format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
        }
        (Method::PUT, Some(id), Some(number)) => {
            let Some(parts) = shelf.uploads.get_mut(&id.replace("%3A", ":")) else { return error(404, "NoSuchUpload") };
            parts.insert(number.parse().unwrap(), body);
            made("\"part\"")
        }
        (Method::POST, Some(id), _) => {
            if let Some(refusal) = refusal {
                return refusal;
            }
            let id = id.replace("%3A", ":");
            let Some(parts) = shelf.uploads.remove(&id) else { return error(404, "NoSuchUpload") };
            let bytes: Vec<u8> = parts.into_values().flatten().collect();
            let kind = id.split_once(':').unwrap().1.replace('_', "/");
            let mut etag = shelf.place(&asked.key, bytes.into(), &kind);
            // Nobody's MD5.
            etag.insert_str(etag.len() - 1, "-2");
            shelf.objects.get_mut(&asked.key).unwrap().etag.clone_from(&etag);
            xml(&format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"))
        }
        (Method::DELETE, Some(_), _) => Response::builder().status(204).body(Full::default()).unwrap(),
        (Method::PUT, ..) => match refusal {
            Some(refusal) => refusal,
            None => made(&shelf.place(&asked.key, body, &kind)),
        },
        (Method::DELETE, ..) => match refusal {
            Some(refusal) if !shelf.deletes_blindly => refusal,
            _ => {
                shelf.objects.remove(&asked.key);
                Response::builder().status(204).body(Full::default()).unwrap()
            }
        },
        _ => match (refusal, present) {
            (Some(refusal), _) => refusal,
            (None, None) => error(404, "NoSuchKey"),
            (None, Some(object)) => {
                let size = object.bytes.len();
                let answer = Response::builder().header("etag", &object.etag).header("content-type", &object.kind);
                if asked.method == Method::HEAD {
                    return answer.header("content-length", size).body(Full::default()).unwrap();
                }
                let range = header("range").map(|range| {
                    let (begin, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                    (begin.parse::<usize>().unwrap(), end.parse::<usize>().unwrap().min(size.saturating_sub(1)))
                });
                match range {
                    Some((begin, _)) if begin >= size => error(416, "InvalidRange"),
                    Some((begin, end)) => answer
                        .status(206)
                        .header("content-range", format!("bytes {begin}-{end}/{size}"))
                        .body(Full::new(object.bytes.slice(begin..=end)))
                        .unwrap(),
                    None => answer.body(Full::new(object.bytes)).unwrap(),
                }
            }
        },
    }
}

/// A page: the token is the last key of the one before, as the page spells it.
fn listing(shelf: &Shelf, query: impl Fn(&str) -> Option<String>) -> Answer {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let text = |name: &str| query(name).map(|value| decoded(&value));
    let below = |key: String| key.strip_prefix(KEYS).unwrap_or_default().to_owned();
    let start = below(text("prefix").unwrap());
    let after = text("continuation-token").map(|token| decoded(&token)).or_else(|| text("start-after")).map(below);
    let is_meant = |key: &&String| key.starts_with(&start) && after.as_ref().is_none_or(|after| *key > after);
    let mut keys = shelf.objects.keys().filter(is_meant).peekable();
    let mut page = String::new();
    let mut last = None;
    for key in keys.by_ref().take(shelf.page.unwrap_or(1000)) {
        let object = &shelf.objects[key];
        let spelt = utf8_percent_encode(&format!("{KEYS}{key}"), NON_ALPHANUMERIC).to_string();
        let (etag, size) = (object.etag.replace('"', "&quot;"), object.bytes.len());
        page += &format!("<Contents><Key>{spelt}</Key><ETag>{etag}</ETag><Size>{size}</Size></Contents>");
        last = Some(spelt);
    }
    let next = last.filter(|_| keys.peek().is_some());
    let is_cut = next.is_some();
    let next = next.map_or_else(String::new, |key| format!("<NextContinuationToken>{key}</NextContinuationToken>"));
    xml(&format!(
        "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{is_cut}</IsTruncated>{next}{page}\
         </ListBucketResult>"
    ))
}

fn xml(text: &str) -> Answer {
    Response::builder().header("content-type", "application/xml").body(Full::new(text.to_owned().into())).unwrap()
}

fn error(status: u16, code: &str) -> Answer {
    let text = format!("<Error><Code>{code}</Code><Message>so the test wants it</Message></Error>");
    Response::builder().status(status).body(Full::new(text.into())).unwrap()
}
