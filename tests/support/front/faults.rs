//! What can happen to a request.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, Semaphore};

/// What happens to a request.
#[derive(Clone)]
pub enum Fault {
    /// Nothing: for an exception before a wider rule.
    Nothing,
    /// It reaches the server later.
    Delay(Duration),
    /// It does not reach the server; this is the answer.
    Refuse { status: u16, code: &'static str },
    /// It does not reach the server; this is the answer, body and all.
    RefuseWith { status: u16, body: &'static str },
    /// It does not reach the server; the connection breaks.
    DropBefore,
    /// It reaches the server with this added to its query; only a server that checks no signature takes it.
    Ask(&'static str),
    /// It reaches the server when no other of its kind is on its way there.
    InTurn(Arc<Mutex<()>>),
    /// The server carries it out; the connection breaks.
    DropReply,
    /// The server carries it out; this is the answer.
    RefuseAfter { status: u16, code: &'static str },
    /// The answer's body ends after so many bytes, and the connection breaks.
    Cut(usize),
    /// A bit of this byte of the answer's body is another.
    Flip(usize),
    /// The same, at so many hundredths of its length.
    CutTo(usize),
    /// A bit of the byte at so many hundredths of the answer's body is another.
    FlipAt(usize),
    /// The answer's body, as text, is what the function makes of it.
    Rewrite(Arc<dyn Fn(&str) -> String + Send + Sync>),
    /// The answer has this header, one more or instead of its own.
    Header(&'static str, &'static str),
    /// It reaches the server and no answer ever comes.
    BlackHole,
    /// The client, which `Front::client` names, gets this signal (KILL, STOP), and no answer; the server carries the
    /// request out, or not.
    Signal { number: i32, applied: bool },
    /// The connection breaks, and the server carries it out when the test lets it go: use `Front::late`.
    Late(Arc<Semaphore>),
    /// It does not reach the server until the test lets it go: use `Front::hold`.
    Hold { reached: Arc<Semaphore>, go: Arc<Semaphore> },
}

impl Fault {
    /// A refusal as S3 makes it where a right is missing.
    pub const DENIED: Self = Self::Refuse { status: 403, code: "AccessDenied" };
    /// The server's clock says so: what lies there is many years old, and what a snapshot was an hour ago is long past.
    pub const MUCH_LATER: Self = Self::Header("date", "Fri, 01 Jan 2100 00:00:00 GMT");
    /// S3 asks for fewer requests.
    pub const SLOW_DOWN: Self = Self::Refuse { status: 503, code: "SlowDown" };

    /// Puts `keys` (complete, and as hostile as may be) into a listing.
    pub fn list_also(keys: &[&str]) -> Self {
        let entries: String = keys.iter().map(|key| list_entry(key)).collect();
        Self::Rewrite(Arc::new(move |text| match text.rsplit_once("</ListBucketResult>") {
            Some((before, _)) => {
                let end = if before.contains("<Contents>") {
                    before.rfind("</Contents>").unwrap() + 11
                } else {
                    before.len()
                };
                format!("{}{entries}{}</ListBucketResult>", &before[..end], &before[end..])
            }
            None => text.to_owned(),
        }))
    }

    /// Makes every entry of a listing as old as can be, but those whose key has one of `young` in it.
    pub fn list_old_but(young: &[&str]) -> Self {
        let young: Vec<String> = young.iter().map(|part| (*part).to_owned()).collect();
        Self::Rewrite(Arc::new(move |text| {
            let mut parts = text.split("<Contents>");
            let mut out = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                out.push_str("<Contents>");
                match (part.split_once("<LastModified>"), part.split_once("</LastModified>")) {
                    (Some((before, _)), Some((_, after))) if !young.iter().any(|young| part.contains(young)) => {
                        out.push_str(&format!("{before}<LastModified>2001-01-01T00:00:00.000Z</LastModified>{after}"));
                    }
                    _ => out.push_str(part),
                }
            }
            out
        }))
    }

    /// Cuts a listing after so many entries; the token for the next page is the last key, as MinIO has it.
    pub fn list_in_pages(most: usize) -> Self {
        Self::Rewrite(Arc::new(move |text| {
            let Some((end, _)) = text.match_indices("</Contents>").nth(most - 1) else { return text.to_owned() };
            let (page, rest) = text.split_at(end + "</Contents>".len());
            if !rest.contains("<Contents>") {
                return text.to_owned();
            }
            let last = page.rsplit_once("<Key>").unwrap().1.split_once("</Key>").unwrap().0;
            let last = percent_encoding::percent_decode_str(last).decode_utf8_lossy();
            let token = aws_smithy_types::base64::encode(last.as_bytes());
            let rest = rest.rsplit_once("</Contents>").unwrap().1;
            let all = format!("{page}{rest}").replace("<IsTruncated>false<", "<IsTruncated>true<");
            let token = format!("<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>");
            all.replace("</ListBucketResult>", &token)
        }))
    }

    /// Takes every entry whose key has `part` in it out of a listing.
    pub fn list_without(part: &str) -> Self {
        let part = part.to_owned();
        Self::Rewrite(Arc::new(move |text| {
            let mut out = String::new();
            let mut rest = text;
            while let Some((before, after)) = rest.split_once("<Contents>") {
                let (entry, after) = after.split_once("</Contents>").unwrap();
                out.push_str(before);
                if !entry.contains(&part) {
                    out.push_str(&format!("<Contents>{entry}</Contents>"));
                }
                rest = after;
            }
            out + rest
        }))
    }
}

/// An entry of a listing for `key`, encoded as with `encoding-type=url`: an object of 4 bytes.
pub fn list_entry(key: &str) -> String {
    let encoded: String = key
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!(
        "<Contents><Key>{encoded}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
         <ETag>&quot;e2fc714c4727ee9395f324cd2e7f331f&quot;</ETag><Size>4</Size>\
         <StorageClass>STANDARD</StorageClass></Contents>"
    )
}

/// The body of a refusal.
pub(super) fn refusal(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>by the front</Message>\
         <RequestId>1</RequestId></Error>"
    )
}
