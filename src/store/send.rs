//! Sends one request until it is answered: retries with jittered backoff, fewer at once when the server asks for it,
//! the right region, fresh credentials.
//!
//! A conditional write is not repeated once it may have been carried out: the repeated one would find its own effect
//! and take it for somebody else's. Such a failure carries `maybe_done`, and the caller reads back.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicBool},
    time::Duration,
};

use aws_sdk_s3::Client;
use tokio::sync::Semaphore;

use super::{
    Store,
    client::Recipe,
    gate::Gate,
    multipart::{Aborts, Copies, ROOM_KIB},
    trouble::{Cause, Trouble},
    wire::Wire,
};

/// An endpoint that has never answered is given up after this time.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// One that has answered gets so many attempts for each request: about a minute, with the waits between them.
const ATTEMPTS: u32 = 9;
/// The first wait is up to this long, each further one up to twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How long an answer may take, besides the time for its bytes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes per second that are taken for a connection that still works.
const SLOWEST: u64 = 64 * 1024;

/// May a request be repeated when nobody knows whether it was carried out?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeat {
    /// Twice is once.
    Freely,
    /// Its repetition would meet its own effect.
    OnlyIfNotDone,
}

/// One request, as far as retries and messages need to know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// Its name in S3's documentation.
    pub(super) op: &'static str,
    /// The key, below the store's prefix.
    pub(super) key: Option<&'a str>,
    /// Bytes that are sent with it.
    pub(super) bytes: u64,
    /// Whether the attempt watches the clock itself, because a body follows that may be long.
    pub(super) streams: bool,
    /// Whether it may be repeated.
    pub(super) repeat: Repeat,
    /// Whether it has a condition, so that a conflict is its answer.
    pub(super) conditional: bool,
}

impl<'a> Ask<'a> {
    pub(super) const fn new(op: &'static str, key: &'a str) -> Self {
        Self { op, key: Some(key), bytes: 0, streams: false, repeat: Repeat::Freely, conditional: false }
    }

    pub(super) const fn of_all(op: &'static str) -> Self {
        Self { op, key: None, bytes: 0, streams: false, repeat: Repeat::Freely, conditional: false }
    }

    pub(super) const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    pub(super) const fn streams(mut self) -> Self {
        self.streams = true;
        self
    }

    pub(super) const fn conditional(mut self, conditional: bool) -> Self {
        self.conditional = conditional;
        self
    }

    pub(super) const fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }
}

/// What all stores of one connection share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) bucket: String,
    pub(super) recipe: Recipe,
    pub(super) wire: Arc<Wire>,
    pub(super) down: Gate,
    pub(super) up: Gate,
    /// Memory for files on their way up, in KiB.
    pub(super) room: Arc<Semaphore>,
    pub(super) aborts: Aborts,
    pub(super) copies: Copies,
    /// The server wants an MD5 with every write.
    pub(super) md5_wanted: AtomicBool,
    current: RwLock<Current>,
    moved_to: Mutex<Option<String>>,
}

/// The client in use; replaced when its region or its credentials are stale.
#[derive(Clone, Debug)]
struct Current {
    client: Client,
    region: String,
    generation: u64,
}

impl Line {
    pub(super) fn new(bucket: &str, recipe: Recipe, wire: Arc<Wire>, (down, up): (usize, usize)) -> Self {
        let region = recipe.region();
        let client = recipe.client(&region);
        let current = RwLock::new(Current { client, region, generation: 0 });
        Self {
            bucket: bucket.to_owned(),
            recipe,
            wire,
            down: Gate::new(down),
            up: Gate::new(up),
            room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
            aborts: Aborts::default(),
            copies: Copies::default(),
            md5_wanted: AtomicBool::new(false),
            current,
            moved_to: Mutex::new(None),
        }
    }

    pub(super) fn region(&self) -> String {
        self.current().region
    }

    pub(super) fn moved_region(&self) -> Option<String> {
        self.moved_to.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new client in place of the one of `generation`; another request may have done it already.
    fn renew(&self, generation: u64, region: &str) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.generation == generation {
            let client = self.recipe.client(region);
            *current = Current { client, region: region.to_owned(), generation: generation + 1 };
        }
    }
}

/// What was already tried against a failure that waiting does not heal.
#[derive(Default)]
struct Tried {
    region: bool,
    credentials: bool,
    clock: bool,
}

impl Store {
    /// Sends what `attempt` makes, until it succeeds, fails for good, or patience ends.
    pub(super) async fn send<T, F>(&self, ask: Ask<'_>, attempt: impl Fn(Client) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let line = &*self.line;
        let gate = if matches!(ask.op, "PutObject" | "UploadPart") { &line.up } else { &line.down };
        let (mut tried, mut attempts, mut maybe_done) = (Tried::default(), 0, false);
        loop {
            let pass = gate.enter().await;
            let current = line.current();
            let attempted = attempt(current.client.clone());
            let result = if ask.streams { attempted.await } else { in_time(self.patience(ask.bytes), attempted).await };
            let mut trouble = match result {
                Ok(done) => {
                    gate.good();
                    return Ok(done);
                }
                Err(trouble) => trouble,
            };
            if trouble.is_passing() {
                gate.shrink();
            }
            drop(pass);
            trouble.maybe_done = maybe_done;
            if ask.repeat == Repeat::OnlyIfNotDone {
                if !trouble.is_surely_not_done() {
                    trouble.maybe_done = true;
                    return Err(trouble);
                }
                // "Slow down" says that nothing was done. If that was wrong, a later conflict may be our own.
                maybe_done |= trouble.is_busy();
            }
            if self.heal(&trouble, &current, ask, &mut tried) {
                continue;
            }
            attempts += 1;
            let is_passing = trouble.is_passing() || !ask.conditional && trouble.is_conflict();
            if !is_passing || !self.goes_on(attempts) {
                return Err(trouble);
            }
            let mut wait = wait(attempts, &trouble);
            if !line.wire.answered() {
                // The last attempt is made when patience ends, not after it: whoever waits hears what it met.
                wait = wait.min(FIRST_ANSWER.saturating_sub(line.wire.since_first_try()));
            }
            tracing::debug!("{} again in {} ms: {:?}", ask.op, wait.as_millis(), trouble.cause);
            tokio::time::sleep(wait).await;
        }
    }

    /// Removes the reason of a failure that is ours to remove, once for each reason.
    fn heal(&self, trouble: &Trouble, current: &Current, ask: Ask<'_>, tried: &mut Tried) -> bool {
        let line = &*self.line;
        if let Some(region) = trouble.right_region()
            && region != current.region
            && !std::mem::replace(&mut tried.region, true)
        {
            let mut moved_to = line.moved_to.lock().unwrap_or_else(PoisonError::into_inner);
            if moved_to.as_deref() != Some(region) {
                let (bucket, set) = (&line.bucket, &current.region);
                tracing::warn!("bucket \"{bucket}\" is in {region}, not in {set}: set AWS_REGION={region}");
                *moved_to = Some(region.to_owned());
            }
            line.renew(current.generation, region);
            return true;
        }
        // A HEAD has no body and so no code: 400 is all that an expired token leaves there.
        let expired = trouble.is_expired() || (ask.op == "HeadObject" && trouble.status() == Some(400));
        if expired && !std::mem::replace(&mut tried.credentials, true) {
            tracing::debug!("credentials have expired: asking for new ones");
            line.renew(current.generation, &current.region);
            return true;
        }
        // The SDK has taken the server's time from the answer and signs with it from now on.
        trouble.is_skewed() && !std::mem::replace(&mut tried.clock, true)
    }

    /// How long one attempt may take, or its answer's headers.
    pub(super) fn patience(&self, bytes: u64) -> Duration {
        let patience = PATIENCE + Duration::from_secs(bytes / SLOWEST);
        let began = self.line.wire.since_first_try();
        if self.line.wire.answered() {
            patience
        } else {
            patience.min(FIRST_ANSWER.saturating_sub(began)).max(Duration::from_secs(1))
        }
    }

    fn goes_on(&self, attempts: u32) -> bool {
        if self.line.wire.answered() { attempts < ATTEMPTS } else { self.line.wire.since_first_try() < FIRST_ANSWER }
    }
}

/// What comes of `attempt`, unless it takes too long.
pub(super) async fn in_time<T>(
    patience: Duration,
    attempt: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::time::timeout(patience, attempt).await.unwrap_or_else(|_| Err(Trouble::new(Cause::TimedOut)))
}

/// How long to wait before the next attempt: anything up to twice the last bound, so that many do not come at once.
fn wait(attempts: u32, trouble: &Trouble) -> Duration {
    let bound = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let asked = match &trouble.cause {
        Cause::Answer(answer) => Duration::from_secs(answer.retry_after.unwrap_or(0)).min(LONGEST_WAIT),
        _ => Duration::ZERO,
    };
    let dice = u32::from(getrandom::u32().unwrap_or(u32::MAX / 2) as u16);
    asked + bound * dice / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::trouble::Answer, *};

    #[test]
    fn waits_grow_and_stay_bounded() {
        let trouble = Trouble::new(Cause::TimedOut);
        for attempt in 1..40 {
            let bound = FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_WAIT);
            assert!((0..20).all(|_| wait(attempt, &trouble) <= bound));
        }
    }

    #[test]
    fn a_server_may_ask_for_more_time_but_not_for_ever() {
        let asks = |seconds| Answer { status: 503, retry_after: Some(seconds), ..Answer::default() };
        assert!(wait(1, &Trouble::new(Cause::Answer(asks(2)))) >= Duration::from_secs(2));
        assert!(wait(1, &Trouble::new(Cause::Answer(asks(86_400)))) <= LONGEST_WAIT + FIRST_WAIT);
    }
}
