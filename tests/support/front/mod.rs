//! A front before a server that makes faults: it refuses, delays, drops, cuts, changes and holds requests by rule, and
//! keeps a record of all.
//!
//! Requests go on byte for byte, with the Host header that the client signed; so signatures hold. Each goes to the
//! server on a connection of its own, and is read whole before: what the front drops "before" never reached it.

mod faults;
mod proxy;
mod rules;

use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

pub use self::{
    faults::{Fault, list_entry},
    rules::{Class, Done, Request, Which, any},
};
use self::{proxy::serve, rules::Rule};
use super::{beside, wait};

/// A front; gone when dropped.
pub struct Front {
    /// `http://127.0.0.1:PORT`: what the client is told.
    pub endpoint: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Shared {
    upstream: String,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Request>>,
    done: Mutex<Vec<Done>>,
    /// The client's process: who gets signals.
    client: AtomicI32,
    /// Requests that the server is carrying out, or may soon.
    busy: AtomicUsize,
    /// The client is dead: what it had on its way does not reach the server any more.
    dead: AtomicBool,
    /// Who has connected, in that order.
    accepted: Mutex<Vec<SocketAddr>>,
    /// So many of these connections are a dead client's: what lies in them unread does not reach the server, either.
    dead_up_to: AtomicUsize,
}

/// What a front has seen, as long as somebody wants to know.
pub struct Record(Arc<Shared>);

/// Requests that are held back until the test lets them go.
pub struct Held {
    reached: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl Front {
    /// A front before the server at `endpoint`, without any fault yet.
    pub fn before(endpoint: &str) -> Self {
        let upstream = endpoint.strip_prefix("http://").unwrap().to_owned();
        let shared = Arc::new(Shared { upstream, ..Shared::default() });
        let listener = wait(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = beside(serve(listener, Arc::clone(&shared)));
        Self { endpoint, shared, serving }
    }

    /// From now on, `fault` happens to the requests that `which` means. The first rule that fits counts.
    pub fn on(&self, which: Which, fault: Fault) -> &Self {
        self.rules().push(Rule::new(which, fault));
        self
    }

    /// From now on, the requests that `which` means wait, before they reach the server, until they are let go.
    pub fn hold(&self, which: Which) -> Held {
        let (reached, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        self.on(which, Fault::Hold { reached: Arc::clone(&reached), go: Arc::clone(&go) });
        Held { reached, go }
    }

    /// From now on, the connections of the requests that `which` means break, and the requests reach the server when
    /// the test gives a permit for each.
    pub fn late(&self, which: Which) -> Arc<Semaphore> {
        let go = Arc::new(Semaphore::new(0));
        self.on(which, Fault::Late(Arc::clone(&go)));
        go
    }

    /// The process that is the client from now on, for faults that are signals.
    pub fn client(&self, pid: u32) {
        self.shared.client.store(i32::try_from(pid).unwrap(), Ordering::SeqCst);
    }

    /// No faults any more, and the next client lives.
    pub fn heal(&self) {
        self.rules().clear();
        self.shared.client.store(0, Ordering::SeqCst);
        if self.shared.dead.load(Ordering::SeqCst) {
            // All that the dead one had begun stands in the queue before this.
            let before = self.shared.accepted().len();
            let mark = TcpStream::connect(self.endpoint.strip_prefix("http://").unwrap()).unwrap();
            let own = mark.local_addr().unwrap();
            super::story::until(|| self.shared.accepted()[before..].contains(&own));
            self.shared.client_dies();
            self.shared.dead.store(false, Ordering::SeqCst);
        }
    }

    /// Fails where a fault of a rule, since the last `heal`, has happened to no request.
    #[track_caller]
    pub fn all_met(&self) {
        let unmet: Vec<_> =
            self.rules().iter().filter(|rule| !rule.is_met()).map(|rule| rule.which().clone()).collect();
        assert!(unmet.is_empty(), "no request met the fault for {unmet:?}: {:?}", self.seen());
    }

    /// Waits until the server has carried out all that reached it.
    pub fn settles(&self) {
        super::story::until(|| self.shared.busy.load(Ordering::SeqCst) == 0);
    }

    /// What the server answered so far, in that order.
    pub fn done(&self) -> Vec<Done> {
        self.record().done()
    }

    /// What this front sees, to be read when it is gone too.
    pub fn record(&self) -> Record {
        Record(Arc::clone(&self.shared))
    }

    /// Forgets what it has seen.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.done.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests so far `which` means.
    pub fn count(&self, which: &Which) -> usize {
        self.seen().iter().filter(|request| which.means(request)).count()
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The number of a new connection; the first is 1.
    fn accepts(&self, peer: SocketAddr) -> usize {
        let mut accepted = self.accepted();
        accepted.push(peer);
        accepted.len()
    }

    /// Nothing of all who have connected reaches the server any more.
    fn client_dies(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.dead_up_to.store(self.accepted().len(), Ordering::SeqCst);
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Record {
    /// What the server answered so far, in that order.
    pub fn done(&self) -> Vec<Done> {
        self.0.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Held {
    /// Waits until a request is being held.
    pub fn reached(&self) {
        wait(async { self.reached.acquire().await.unwrap().forget() });
    }

    /// Whether a request is being held within `time`.
    pub fn reached_within(&self, time: Duration) -> bool {
        wait(async {
            tokio::time::timeout(time, self.reached.acquire())
                .await
                .is_ok_and(|one| one.map(tokio::sync::SemaphorePermit::forget).is_ok())
        })
    }

    /// Breaks the connections of all, those that come later too: they never reach the server.
    pub fn abandon(&self) {
        self.go.close();
    }

    /// Lets all go, those that come later too.
    pub fn release(&self) {
        self.go.add_permits(100_000);
    }
}
