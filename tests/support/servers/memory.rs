//! A bucket server in the test's own process and memory: it takes each condition at its word, its whole state can be
//! noted and brought back in no time, and it misbehaves on request as servers in the field do. It checks no signatures.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use tokio::{net::TcpListener, task::JoinHandle, task::JoinSet};

use crate::support::{beside, outsider::Seen, wait};

/// A way in which servers of the field are not what S3 is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// DELETE deletes, whatever If-Match says.
    DeleteIgnoresConditions,
    /// No condition counts.
    IgnoresConditions,
    /// A write with If-Match is refused, though it matches.
    RefusesConditions,
    /// A write with a condition is not implemented.
    ConditionsAre501,
    /// If-Match on a missing key creates it.
    CreatesMissing,
    /// ETags say nothing of the content.
    RandomEtags,
    /// Listings are in no order.
    ListsUnordered,
    /// Every third live object is missing from listings.
    ListsWithGaps,
    /// What is not there is "denied".
    MissingIs403,
}

/// All that a server holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Image {
    objects: BTreeMap<String, Stored>,
}

#[derive(Clone, PartialEq, Eq)]
struct Stored {
    bytes: Bytes,
    etag: String,
    kind: Option<String>,
}

/// One in parts that is not complete.
#[derive(Default)]
struct Upload {
    path: String,
    parts: BTreeMap<u32, Bytes>,
}

#[derive(Default)]
struct Bucket {
    image: Image,
    uploads: BTreeMap<String, Upload>,
    modes: BTreeSet<Mode>,
}

pub struct Memory {
    endpoint: String,
    bucket: Arc<Mutex<Bucket>>,
    serving: JoinHandle<()>,
}

impl Memory {
    pub fn start() -> Self {
        let bucket = Arc::new(Mutex::new(Bucket::default()));
        let shared = Arc::clone(&bucket);
        let listener = wait(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = beside(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
                connections.spawn(async move { drop(connection.await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { endpoint, bucket, serving }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// From now on it behaves like this, too.
    pub fn behave(&self, mode: Mode) {
        lock(&self.bucket).modes.insert(mode);
    }

    /// From now on it is what S3 is.
    pub fn behaves_well(&self) {
        lock(&self.bucket).modes.clear();
    }

    /// A look at what it holds, past its ways of answering.
    pub fn window(&self) -> Window {
        Window(Arc::clone(&self.bucket))
    }

    /// What it holds now.
    pub fn image(&self) -> Image {
        lock(&self.bucket).image.clone()
    }

    /// It holds what it held then, and no upload in parts is open.
    pub fn bring_back(&self, image: &Image) {
        let mut bucket = lock(&self.bucket);
        bucket.image = image.clone();
        bucket.uploads.clear();
    }
}

/// What the server holds, whatever it would say of it.
#[derive(Clone)]
pub struct Window(Arc<Mutex<Bucket>>);

impl Window {
    pub fn get(&self, bucket: &str, key: &str) -> Option<Seen> {
        let bucket_now = lock(&self.0);
        let there = bucket_now.image.objects.get(&format!("{bucket}/{key}"))?;
        Some(Seen { bytes: there.bytes.to_vec(), etag: there.etag.clone(), content_type: there.kind.clone() })
    }

    /// All keys that begin with `prefix`, in the order of their bytes.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let (start, bucket_now) = (format!("{bucket}/{prefix}"), lock(&self.0));
        let from = bucket_now.image.objects.range(start.clone()..).map(|(path, _)| path);
        let paths = from.take_while(|path| path.starts_with(&start));
        paths.map(|path| path[bucket.len() + 1..].to_owned()).collect()
    }

    /// The `BUCKET/KEY` of each upload in parts that was neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        lock(&self.0).uploads.values().map(|upload| upload.path.clone()).collect()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = Response<Full<Bytes>>;

async fn answer(bucket: Arc<Mutex<Bucket>>, request: hyper::Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(refuse(400, "IncompleteBody")) };
    let body = body.to_bytes();
    let body = if parts.headers.contains_key("x-amz-decoded-content-length") { unchunked(&body) } else { body };
    let text = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let path = text(parts.uri.path().trim_start_matches('/'));
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|one| !one.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (text(name), text(&value.replace('+', " "))))
        .collect();
    let mut answer = lock(&bucket).handle(&parts.method, &path, &query, &parts.headers, body);
    if parts.method == Method::HEAD && !answer.status().is_success() {
        *answer.body_mut() = Full::default();
    }
    Ok(answer)
}

/// The content of a body in signed chunks.
fn unchunked(body: &[u8]) -> Bytes {
    let (mut rest, mut content) = (body, Vec::new());
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]);
        let length = usize::from_str_radix(head.split(';').next().unwrap_or("0"), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        content.extend_from_slice(&rest[end + 2..][..length]);
        rest = &rest[end + 2 + length + 2..];
    }
    content.into()
}

fn say(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::builder().status(status).header("x-amz-request-id", "1");
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Full::new(body.into())).unwrap()
}

fn refuse(status: u16, code: &str) -> Answer {
    say(
        status,
        &[("content-type", "application/xml")],
        format!("<Error><Code>{code}</Code><Message>no</Message></Error>"),
    )
}

fn xml(body: String) -> Answer {
    say(200, &[("content-type", "application/xml")], format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Keys as `encoding-type=url` has them.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_*".contains(&byte);
    key.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

impl Bucket {
    fn handle(
        &mut self,
        method: &Method,
        path: &str,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Answer {
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let upload = query.get("uploadId");
        match (method, key.is_empty()) {
            (&Method::GET, true) if query.contains_key("uploads") => self.list_uploads(bucket, query),
            (&Method::GET, true) => self.list(bucket, query),
            (&Method::PUT, true) => say(200, &[], ""),
            (&Method::GET | &Method::HEAD, false) => self.get(method, path, headers),
            (&Method::PUT, false) => match upload {
                Some(upload) => self.part(upload, &query["partNumber"], headers, body),
                None => self.put(path, headers, body, false),
            },
            (&Method::POST, false) if query.contains_key("uploads") => {
                let id = format!("upload-{}", number());
                self.uploads.insert(id.clone(), Upload { path: path.to_owned(), ..Upload::default() });
                xml(format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
            }
            (&Method::POST, false) => self.complete(path, upload.map_or("", String::as_str), headers, &body),
            (&Method::DELETE, false) => match upload {
                Some(upload) => {
                    self.uploads.remove(upload);
                    say(204, &[], "")
                }
                None => self.delete(path, headers),
            },
            _ => refuse(501, "NotImplemented"),
        }
    }

    fn is(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    fn missing(&self) -> Answer {
        if self.is(Mode::MissingIs403) { refuse(403, "AccessDenied") } else { refuse(404, "NoSuchKey") }
    }

    /// Whether the conditions of a write hold.
    fn may_write(&self, path: &str, headers: &HeaderMap) -> Result<(), Box<Answer>> {
        let wants = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let there = self.image.objects.get(path);
        let (matches, none) = (wants("if-match"), wants("if-none-match"));
        if matches.or(none).is_none() || self.is(Mode::IgnoresConditions) {
            return Ok(());
        }
        if self.is(Mode::ConditionsAre501) {
            return Err(Box::new(refuse(501, "NotImplemented")));
        }
        let failed = Err(Box::new(refuse(412, "PreconditionFailed")));
        match (matches, there) {
            (Some(_), None) if self.is(Mode::CreatesMissing) => Ok(()),
            (Some(_), None) => Err(Box::new(refuse(404, "NoSuchKey"))),
            (Some(_), Some(_)) if self.is(Mode::RefusesConditions) => failed,
            (Some(etag), Some(there)) if etag != there.etag => failed,
            (None, Some(_)) => failed,
            _ => Ok(()),
        }
    }

    fn put(&mut self, path: &str, headers: &HeaderMap, bytes: Bytes, in_parts: bool) -> Answer {
        if let Err(refused) = self.may_write(path, headers) {
            return *refused;
        }
        let digest = if self.is(Mode::RandomEtags) { format!("{:032x}", number()) } else { md5(&bytes) };
        let etag = if in_parts { format!("\"{digest}-2\"") } else { format!("\"{digest}\"") };
        let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.image.objects.insert(path.to_owned(), Stored { bytes, etag: etag.clone(), kind });
        if in_parts {
            return xml(format!(
                "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
                escaped(&etag)
            ));
        }
        say(200, &[("etag", &etag)], "")
    }

    fn part(&mut self, upload: &str, part: &str, headers: &HeaderMap, body: Bytes) -> Answer {
        let copied = headers.get("x-amz-copy-source").and_then(|value| value.to_str().ok());
        let bytes = match copied {
            None => body,
            Some(source) => {
                let source = percent_decode_str(source.trim_start_matches('/')).decode_utf8_lossy().into_owned();
                let Some(there) = self.image.objects.get(&source) else { return self.missing() };
                let wants = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
                if wants("x-amz-copy-source-if-match").is_some_and(|etag| etag != there.etag) {
                    return refuse(412, "PreconditionFailed");
                }
                match wants("x-amz-copy-source-range").and_then(|range| span(range, there.bytes.len())) {
                    Some((from, to)) => there.bytes.slice(from..to),
                    None => there.bytes.clone(),
                }
            }
        };
        let etag = format!("\"{}\"", md5(&bytes));
        let Some(upload) = self.uploads.get_mut(upload) else { return refuse(404, "NoSuchUpload") };
        upload.parts.insert(part.parse().unwrap(), bytes);
        if copied.is_some() {
            return xml(format!("<CopyPartResult><ETag>{}</ETag></CopyPartResult>", escaped(&etag)));
        }
        say(200, &[("etag", &etag)], "")
    }

    fn complete(&mut self, path: &str, upload: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let Some(Upload { parts, .. }) = self.uploads.get(upload) else { return refuse(404, "NoSuchUpload") };
        let mut whole = Vec::new();
        for piece in String::from_utf8_lossy(body).split("<PartNumber>").skip(1) {
            let number: u32 = piece.split('<').next().unwrap().parse().unwrap();
            let Some(part) = parts.get(&number) else { return refuse(400, "InvalidPart") };
            whole.extend_from_slice(part);
        }
        let done = self.put(path, headers, whole.into(), true);
        if done.status().is_success() {
            self.uploads.remove(upload);
        }
        done
    }

    fn delete(&mut self, path: &str, headers: &HeaderMap) -> Answer {
        if !self.is(Mode::DeleteIgnoresConditions) {
            match self.may_write(path, headers) {
                Err(refused) if refused.status() == 404 => {}
                Err(refused) => return *refused,
                Ok(()) => {}
            }
        }
        self.image.objects.remove(path);
        say(204, &[], "")
    }

    fn get(&self, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        let Some(there) = self.image.objects.get(path) else { return self.missing() };
        let wants = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if wants("if-match").is_some_and(|etag| etag != there.etag) {
            return refuse(412, "PreconditionFailed");
        }
        if wants("if-none-match").is_some_and(|etag| etag == there.etag) {
            return say(304, &[("etag", &there.etag)], "");
        }
        let kind = there.kind.as_deref().unwrap_or("binary/octet-stream");
        let mut said = vec![("etag", there.etag.as_str()), ("last-modified", MODIFIED), ("content-type", kind)];
        let length = there.bytes.len();
        // Of small ones: it takes its time.
        let is_whole = wants("range").is_none() && length <= 64 << 10;
        let sum = wants("x-amz-checksum-mode").filter(|_| is_whole).map(|_| crc32(&there.bytes));
        if let Some(sum) = &sum {
            said.push(("x-amz-checksum-crc32", sum));
        }
        if *method == Method::HEAD {
            let length = length.to_string();
            said.push(("content-length", &length));
            return say(200, &said, "");
        }
        let Some(range) = wants("range") else { return say(200, &said, there.bytes.clone()) };
        let Some((from, to)) = span(range, length) else { return refuse(416, "InvalidRange") };
        let range = format!("bytes {from}-{}/{length}", to - 1);
        said.push(("content-range", &range));
        say(206, &said, there.bytes.slice(from..to))
    }

    fn list_uploads(&self, bucket: &str, query: &BTreeMap<String, String>) -> Answer {
        let start = format!("{bucket}/");
        let prefix = query.get("prefix").cloned().unwrap_or_default();
        let of_bucket = self.uploads.iter().filter_map(|(id, upload)| Some((id, upload.path.strip_prefix(&start)?)));
        let uploads: String = of_bucket
            .filter(|(_, key)| key.starts_with(&prefix))
            .map(|(id, key)| {
                format!(
                    "<Upload><Key>{}</Key><UploadId>{id}</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>",
                    encoded(key)
                )
            })
            .collect();
        xml(format!(
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{uploads}\
             </ListMultipartUploadsResult>"
        ))
    }

    fn list(&self, bucket: &str, query: &BTreeMap<String, String>) -> Answer {
        let asked = |name: &str| query.get(name).cloned().unwrap_or_default();
        let (start, prefix) = (format!("{bucket}/"), asked("prefix"));
        let after = query.get("continuation-token").or(query.get("start-after")).cloned().unwrap_or_default();
        let most = asked("max-keys").parse().unwrap_or(1000);
        let url = asked("encoding-type") == "url";
        let keys = self.image.objects.iter().filter_map(|(path, stored)| Some((path.strip_prefix(&start)?, stored)));
        let mut keys: Vec<_> = keys.filter(|(key, _)| key.starts_with(&prefix) && *key > after.as_str()).collect();
        let more = keys.len() > most;
        keys.truncate(most);
        let next = keys.last().map(|(key, _)| escaped(key)).filter(|_| more);
        if self.is(Mode::ListsWithGaps) {
            let mut live = 0;
            keys.retain(|(key, _)| {
                live += usize::from(!key.contains(".stopover/"));
                key.contains(".stopover/") || live % 3 != 0
            });
        }
        if self.is(Mode::ListsUnordered) {
            keys.reverse();
        }
        let entries: String = keys
            .iter()
            .map(|(key, stored)| {
                let key = if url { encoded(key) } else { escaped(key) };
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     <ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    escaped(&stored.etag),
                    stored.bytes.len()
                )
            })
            .collect();
        let url = if url { "<EncodingType>url</EncodingType>" } else { "" };
        let next = next.map_or(String::new(), |next| format!("<NextContinuationToken>{next}</NextContinuationToken>"));
        xml(format!(
            "<ListBucketResult><Name>{bucket}</Name>{url}<KeyCount>{}</KeyCount><IsTruncated>{more}</IsTruncated>\
             {entries}{next}</ListBucketResult>",
            keys.len()
        ))
    }
}

/// `bytes=FROM-TO` as a half-open range within `length`.
fn span(range: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: usize = from.parse().ok()?;
    let to = if to.is_empty() { length } else { to.parse::<usize>().ok()? + 1 };
    (from < length).then_some((from, to.min(length)))
}

/// As the header has it: big-endian, in base64.
fn crc32(bytes: &[u8]) -> String {
    let step = |sum: u32, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step));
    aws_smithy_types::base64::encode((!sum).to_be_bytes())
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each another.
fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
