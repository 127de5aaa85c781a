//! Takes a request, asks the rules, asks the server, and gives the answer, or what the fault leaves of it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING},
    http::{request, response},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Done, Fault, Request, Shared, faults::refusal};

/// Why a connection breaks.
type Broken = io::Error;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, peer)) = listener.accept().await {
        let number = shared.accepts(peer);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(Arc::clone(&shared), number, request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
            drop(connection.await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    connection: usize,
    request: hyper::Request<Incoming>,
) -> Result<Response<Answer>, Broken> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = Request::read(&parts, body.len());
    // Whoever sees that it was seen can wait for what comes of it; and what was asked whether its client is dead is not
    // let through when the next one lives.
    let mut busy = Busy::new(&shared);
    if connection <= shared.dead_up_to.load(Ordering::SeqCst) {
        return Err(io::Error::other("the client is dead"));
    }
    let fault = {
        // Under one lock: in the order in which they are seen the rules count them.
        let mut rules = shared.rules.lock().unwrap_or_else(PoisonError::into_inner);
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        rules.iter_mut().find_map(|rule| rule.apply(&seen)).unwrap_or(Fault::Nothing)
    };
    match &fault {
        Fault::Refuse { status, code } => return Ok(refuse(&seen, *status, code)),
        Fault::RefuseWith { status, body } => return Ok(say(&seen, *status, (*body).to_owned())),
        Fault::DropBefore => return Err(io::Error::other("dropped before")),
        Fault::Delay(time) => tokio::time::sleep(*time).await,
        Fault::Hold { reached, go } => {
            // It has not reached the server, and may never.
            drop(busy);
            reached.add_permits(1);
            go.acquire().await.map_err(io::Error::other)?.forget();
            busy = Busy::new(&shared);
        }
        Fault::Signal { number, applied } => {
            // Who waits for the client's end waits for what the server carries out then, too.
            signal(&shared, *number).await;
            if !*applied {
                return Err(io::Error::other("the client is gone"));
            }
        }
        Fault::Late(go) => {
            let (go, shared) = (Arc::clone(go), Arc::clone(&shared));
            tokio::spawn(async move {
                if let Ok(permit) = go.acquire().await {
                    permit.forget();
                    let busy = Busy::new(&shared);
                    drop(carry_out(shared, busy, seen, parts, body).await);
                }
            });
            return Err(io::Error::other("later"));
        }
        Fault::Ask(more) => {
            let asks = if parts.uri.query().is_some() { '&' } else { '?' };
            parts.uri = format!("{}{asks}{more}", parts.uri).parse().map_err(io::Error::other)?;
        }
        _ if shared.dead.load(Ordering::SeqCst) => return Err(io::Error::other("the client is dead")),
        _ => {}
    }
    let _turn = match &fault {
        Fault::InTurn(turn) => Some(Arc::clone(turn).lock_owned().await),
        _ => None,
    };
    // On a task of its own: a client that is gone takes back nothing.
    let carried = tokio::spawn(carry_out(Arc::clone(&shared), busy, seen.clone(), parts, body));
    let (mut answer, body) = carried.await.map_err(io::Error::other)??;
    let fault = match fault {
        Fault::CutTo(hundredths) => Fault::Cut(body.len() * hundredths / 100),
        Fault::FlipAt(hundredths) => Fault::Flip(body.len() * hundredths / 100),
        fault => fault,
    };
    Ok(match fault {
        Fault::Signal { .. } => return Err(io::Error::other("the client is gone")),
        Fault::DropReply => return Err(io::Error::other("reply dropped")),
        Fault::RefuseAfter { status, code } => refuse(&seen, status, code),
        Fault::BlackHole => std::future::pending().await,
        Fault::Cut(length) if length < body.len() => {
            Response::from_parts(answer, Answer { bytes: Some(body.slice(..length)), announced: body.len() as u64 })
        }
        Fault::Flip(at) if at < body.len() => {
            let mut bytes = body.to_vec();
            bytes[at] ^= 1;
            whole(answer, bytes.into())
        }
        Fault::Rewrite(make) => {
            let text = make(&String::from_utf8_lossy(&body));
            answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
            whole(answer, text.into())
        }
        Fault::Header(name, value) => {
            answer.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            whole(answer, body)
        }
        _ => whole(answer, body),
    })
}

/// Sends the client a signal; a killed one is dead when this returns.
async fn signal(shared: &Shared, number: i32) {
    let client = loop {
        match shared.client.load(Ordering::SeqCst) {
            0 => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            client => break client,
        }
    };
    let signal = nix::sys::signal::Signal::try_from(number).unwrap();
    if signal == nix::sys::signal::Signal::SIGKILL {
        shared.client_dies();
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(client), signal).unwrap();
}

/// A request that reaches the server, unless it is dropped before.
struct Busy(Arc<Shared>);

impl Busy {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.busy.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The server's answer, which is noted before the request counts as carried out.
async fn carry_out(
    shared: Arc<Shared>,
    busy: Busy,
    seen: Request,
    parts: request::Parts,
    body: Bytes,
) -> Result<(response::Parts, Bytes), Broken> {
    let (hash, head) = (blake3::hash(&body), (seen.class == super::Class::Head).then(|| body.clone()));
    let answer = ask(&shared.upstream, parts, body).await;
    if let Ok((parts, _)) = &answer {
        let etag = parts.headers.get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let done = Done { request: seen, status: parts.status.as_u16(), hash, head, etag };
        shared.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }
    drop(busy);
    answer
}

/// The server's answer to this request, on a connection of its own.
async fn ask(upstream: &str, mut parts: request::Parts, body: Bytes) -> Result<(response::Parts, Bytes), Broken> {
    let socket = TcpStream::connect(upstream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    // The body is here already.
    parts.headers.remove(EXPECT);
    if parts.headers.remove(TRANSFER_ENCODING).is_some() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let request = hyper::Request::from_parts(parts, Full::new(body));
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    if parts.headers.remove(TRANSFER_ENCODING).is_some() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Ok((parts, body))
}

fn refuse(seen: &Request, status: u16, code: &str) -> Response<Answer> {
    say(seen, status, refusal(code))
}

fn say(seen: &Request, status: u16, text: String) -> Response<Answer> {
    let text = if seen.op == "HeadObject" { String::new() } else { text };
    let mut answer = Response::new(Answer { announced: text.len() as u64, bytes: Some(text.into()) });
    *answer.status_mut() = status.try_into().unwrap();
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/xml"));
    answer
}

fn whole(parts: response::Parts, bytes: Bytes) -> Response<Answer> {
    Response::from_parts(parts, Answer { announced: bytes.len() as u64, bytes: Some(bytes) })
}

/// A body that may end before what was announced: then the connection breaks.
struct Answer {
    bytes: Option<Bytes>,
    announced: u64,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let bytes = self.bytes.take().filter(|bytes| !bytes.is_empty());
        if let Some(bytes) = bytes {
            self.announced -= bytes.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        Poll::Ready((self.announced > 0).then(|| Err(io::Error::other("cut"))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
