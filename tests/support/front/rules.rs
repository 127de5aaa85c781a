//! Which requests a fault is for: by operation, class of key, part of the key, and number.

use bytes::Bytes;
use hyper::{Method, http::request::Parts};
use percent_encoding::percent_decode_str;

use super::Fault;

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// `.stopover/head.json`.
    Head,
    /// `.stopover/trees/…`.
    Tree,
    /// `.stopover/packs/…`.
    Pack,
    /// `.stopover/mirrors/…`.
    Mirror,
    /// Else below `.stopover/`: a probe's.
    Own,
    /// A file's own object.
    Live,
    /// No key: a listing.
    None,
}

/// A request as the front saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Its name in S3's documentation.
    pub op: &'static str,
    pub bucket: String,
    /// The key, decoded; empty for a listing.
    pub key: String,
    pub class: Class,
    /// Whether it has If-Match or If-None-Match.
    pub conditional: bool,
    /// Whether the server can check its bytes: Content-MD5 or one of S3's checksums.
    pub checksum: bool,
    pub bytes: usize,
}

/// A request that the server has answered.
#[derive(Clone, Debug)]
pub struct Done {
    pub request: Request,
    pub status: u16,
    /// Of what was sent, and of nothing else where it is no whole object.
    pub hash: blake3::Hash,
    /// What was sent, if it is a head.
    pub head: Option<Bytes>,
    /// The version that the answer names.
    pub etag: Option<String>,
}

impl Done {
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Which requests are meant.
#[derive(Clone, Default, Debug)]
pub struct Which {
    op: Option<&'static str>,
    class: Option<Class>,
    part: Option<String>,
    skip: usize,
    most: Option<usize>,
}

/// All requests; narrow it down by what follows.
pub fn any() -> Which {
    Which::default()
}

impl Which {
    /// Only this operation, by its name in S3's documentation.
    pub fn op(self, op: &'static str) -> Self {
        Self { op: Some(op), ..self }
    }

    pub fn class(self, class: Class) -> Self {
        Self { class: Some(class), ..self }
    }

    /// Only keys with this in them.
    pub fn key(self, part: &str) -> Self {
        Self { part: Some(part.to_owned()), ..self }
    }

    /// Not the first so many.
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// At most so many.
    pub fn times(self, most: usize) -> Self {
        Self { most: Some(most), ..self }
    }

    pub fn once(self) -> Self {
        self.times(1)
    }

    pub fn means(&self, request: &Request) -> bool {
        self.op.is_none_or(|op| op == request.op)
            && self.class.is_none_or(|class| class == request.class)
            && self.part.as_ref().is_none_or(|part| request.key.contains(part))
    }
}

pub(super) struct Rule {
    which: Which,
    fault: Fault,
    met: usize,
    has_happened: bool,
}

impl Rule {
    pub(super) fn new(which: Which, fault: Fault) -> Self {
        Self { which, fault, met: 0, has_happened: false }
    }

    pub(super) fn which(&self) -> &Which {
        &self.which
    }

    /// Whether its fault has happened to a request.
    pub(super) fn is_met(&self) -> bool {
        self.has_happened
    }

    /// The fault for this request, if it is one that is meant and its turn.
    pub(super) fn apply(&mut self, request: &Request) -> Option<Fault> {
        if !self.which.means(request) {
            return None;
        }
        self.met += 1;
        let turn = self.met.checked_sub(self.which.skip + 1)?;
        let is_meant = self.which.most.is_none_or(|most| turn < most);
        self.has_happened |= is_meant;
        is_meant.then(|| self.fault.clone())
    }
}

impl Request {
    pub(super) fn read(parts: &Parts, bytes: usize) -> Self {
        let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
        let path = path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let query = parts.uri.query().unwrap_or_default();
        let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let headers = &parts.headers;
        let op = match (&parts.method, key.is_empty()) {
            (&Method::GET, true) if asks("uploads") => "ListMultipartUploads",
            (&Method::GET, true) => "ListObjectsV2",
            (&Method::GET, false) => "GetObject",
            (&Method::HEAD, false) => "HeadObject",
            (&Method::PUT, false) if headers.contains_key("x-amz-copy-source") => "UploadPartCopy",
            (&Method::PUT, false) if asks("partNumber") => "UploadPart",
            (&Method::PUT, false) => "PutObject",
            (&Method::POST, false) if asks("uploads") => "CreateMultipartUpload",
            (&Method::POST, false) => "CompleteMultipartUpload",
            (&Method::DELETE, false) if asks("uploadId") => "AbortMultipartUpload",
            (&Method::DELETE, false) => "DeleteObject",
            // A call about the bucket itself: no part of stopover makes one.
            _ => "bucket",
        };
        let class = Class::of(&key);
        let conditional = headers.contains_key("if-match") || headers.contains_key("if-none-match");
        let sums = |name: &hyper::header::HeaderName| name.as_str().starts_with("x-amz-checksum-");
        let checksum = headers.contains_key("content-md5") || headers.keys().any(sums);
        Self { op, bucket, key, class, conditional, checksum, bytes }
    }
}

impl Class {
    fn of(key: &str) -> Self {
        let own = key.split_once(".stopover/").filter(|(before, _)| before.is_empty() || before.ends_with('/'));
        match own.map(|(_, own)| own) {
            _ if key.is_empty() => Self::None,
            None => Self::Live,
            Some("head.json") => Self::Head,
            Some(own) if own.starts_with("trees/") => Self::Tree,
            Some(own) if own.starts_with("packs/") => Self::Pack,
            Some(own) if own.starts_with("mirrors/") => Self::Mirror,
            Some(_) => Self::Own,
        }
    }
}
