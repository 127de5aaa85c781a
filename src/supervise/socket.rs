//! `DIR/.stopover/commit.sock`: whoever can write the workspace may ask for a commit.
//!
//! The request is one byte: `c` waits for all of the commit, `d` for its durable point. The answer is one byte, the exit
//! code, then the receipt, and the end. Nothing else crosses, so the server reads nothing it would have to understand;
//! a client that does not read its answer, or asks nothing, costs a descriptor and is dropped in the end.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    rc::Rc,
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{log::Log, phase::Phase};
use crate::sys::poll::Watch;

/// The name in the state directory.
const NAME: &str = "commit.sock";
/// How many clients are held at once; the next wait in the listen queue.
const CLIENTS: usize = 32;
/// How long a client may take to ask, or to read its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody is let in after there was no descriptor for a client: the queue would wake us all the time.
const PAUSE: Duration = Duration::from_secs(1);

/// What a request waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// For the commit's end.
    All,
    /// For the point from which the change is safe.
    Durable,
}

impl Wait {
    fn byte(self) -> u8 {
        match self {
            Self::All => b'c',
            Self::Durable => b'd',
        }
    }
}

/// What the supervisor answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The exit code of the commit.
    pub code: u8,
    /// Its receipt, JSON; empty where there is none.
    pub receipt: Vec<u8>,
}

/// Asks the supervisor of the workspace whose state directory is `state` for a commit. `None`: no supervisor listens
/// there, so whoever asks does the work.
///
/// # Errors
/// The socket is there and may not be used, or the supervisor went away before it answered.
pub fn request(state: &Path, wait: Wait) -> io::Result<Option<Answer>> {
    // Through a handle: the path may be longer than a socket's address.
    let flags = libc::O_DIRECTORY | libc::O_PATH;
    let directory = match fs::OpenOptions::new().read(true).custom_flags(flags).open(state) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(NAME);
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        // Nobody made it, or nobody holds it any more.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.write_all(&[wait.byte()])?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let Some((code, receipt)) = answer.split_first() else {
        let lost = "the supervisor ended before the commit did; what was durable by then is in its log";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, lost));
    };
    Ok(Some(Answer { code: *code, receipt: receipt.to_vec() }))
}

/// Where a client is.
enum Turn {
    /// It has not asked yet.
    Silent,
    /// It waits for a commit that has not begun.
    Waiting(Wait),
    /// It waits for the one that runs.
    Served(Wait),
    /// It is being answered; so many bytes are gone.
    Answered(Rc<Vec<u8>>, usize),
}

struct Client {
    stream: UnixStream,
    turn: Turn,
    /// When it is dropped, where that depends on it alone.
    until: Duration,
}

/// The listening socket and its clients.
pub(super) struct Door {
    listener: UnixListener,
    identity: (u64, u64),
    clients: Vec<Client>,
    /// Until when nobody is let in.
    closed_until: Option<Duration>,
}

impl Door {
    /// Binds the socket; one that a dead supervisor left is removed.
    pub(super) fn open(phase: &mut Phase) -> io::Result<Self> {
        let path = phase.handle()?.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        let data = fs::symlink_metadata(&path)?;
        Ok(Self { listener, identity: (data.dev(), data.ino()), clients: Vec::new(), closed_until: None })
    }

    /// Whether the name still leads to this socket.
    pub(super) fn is_there(&self, phase: &mut Phase) -> bool {
        let Ok(directory) = phase.handle() else { return false };
        fs::symlink_metadata(directory.join(NAME)).is_ok_and(|data| (data.dev(), data.ino()) == self.identity)
    }

    /// Takes over the clients of a socket whose name was removed.
    pub(super) fn inherit(&mut self, old: Self) {
        self.clients.extend(old.clients);
    }

    /// What to wait for.
    pub(super) fn watch(&self, watches: &mut Vec<Watch>) {
        if self.clients.len() < CLIENTS && self.closed_until.is_none() {
            watches.push(Watch::readable(self.listener.as_raw_fd()));
        }
        for client in &self.clients {
            match client.turn {
                Turn::Silent => watches.push(Watch::readable(client.stream.as_raw_fd())),
                Turn::Answered(..) => watches.push(Watch::writable(client.stream.as_raw_fd())),
                // It has nothing to say, and its going away changes nothing.
                Turn::Waiting(_) | Turn::Served(_) => {}
            }
        }
    }

    /// When the next client loses its turn.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let own = |client: &&Client| matches!(client.turn, Turn::Silent | Turn::Answered(..));
        self.clients.iter().filter(own).map(|client| client.until).chain(self.closed_until).min()
    }

    /// Accepts, reads requests and writes answers, as far as that goes without waiting.
    pub(super) fn work(&mut self, now: Duration, log: &mut Log) {
        self.closed_until = self.closed_until.filter(|until| now < *until);
        while self.clients.len() < CLIENTS && self.closed_until.is_none() {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It went away while it queued.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    self.closed_until = Some(now + PAUSE);
                    break;
                }
            };
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client { stream, turn: Turn::Silent, until: now + PATIENCE });
            }
        }
        self.clients.retain_mut(|client| client.step(now, log));
    }

    /// Whether somebody waits for a commit that has not begun.
    pub(super) fn has_requests(&self) -> bool {
        self.clients.iter().any(|client| matches!(client.turn, Turn::Waiting(_)))
    }

    /// A commit begins: it serves all who have asked by now.
    pub(super) fn begin(&mut self) {
        for client in &mut self.clients {
            if let Turn::Waiting(wait) = client.turn {
                client.turn = Turn::Served(wait);
            }
        }
    }

    /// The commit was cancelled: the next one serves them.
    pub(super) fn postpone(&mut self) {
        for client in &mut self.clients {
            if let Turn::Served(wait) = client.turn {
                client.turn = Turn::Waiting(wait);
            }
        }
    }

    /// The commit is durable: that is all some wait for.
    pub(super) fn durable(&mut self, receipt: &[u8], now: Duration, log: &mut Log) {
        self.answer(0, receipt, now, log, |turn| matches!(turn, Turn::Served(Wait::Durable)));
    }

    /// The commit has ended.
    pub(super) fn end(&mut self, code: u8, receipt: &[u8], now: Duration, log: &mut Log) {
        self.answer(code, receipt, now, log, |turn| matches!(turn, Turn::Served(_)));
    }

    /// There will be no commit for those who wait for one.
    pub(super) fn refuse(&mut self, code: u8, now: Duration, log: &mut Log) {
        self.answer(code, &[], now, log, |turn| matches!(turn, Turn::Waiting(_)));
    }

    fn answer(&mut self, code: u8, receipt: &[u8], now: Duration, log: &mut Log, whom: impl Fn(&Turn) -> bool) {
        if !self.clients.iter().any(|client| whom(&client.turn)) {
            return;
        }
        let mut bytes = vec![code];
        bytes.extend_from_slice(receipt);
        let bytes = Rc::new(bytes);
        for client in self.clients.iter_mut().filter(|client| whom(&client.turn)) {
            client.turn = Turn::Answered(Rc::clone(&bytes), 0);
            client.until = now + PATIENCE;
        }
        self.clients.retain_mut(|client| client.step(now, log));
    }
}

impl Client {
    /// Goes on as far as possible; `false`: it is done.
    fn step(&mut self, now: Duration, log: &mut Log) -> bool {
        match &mut self.turn {
            Turn::Silent => {
                let mut byte = [0];
                match self.stream.read(&mut byte) {
                    Ok(1) => {
                        self.turn = match byte[0] {
                            b'c' => Turn::Waiting(Wait::All),
                            b'd' => Turn::Waiting(Wait::Durable),
                            _ => return false,
                        };
                        match getsockopt(&self.stream, PeerCredentials) {
                            Ok(peer) => {
                                log.info(format_args!(
                                    "process {} of user {} asks for a commit",
                                    peer.pid(),
                                    peer.uid()
                                ));
                            }
                            Err(error) => log.info(format_args!("a process asks for a commit ({error})")),
                        }
                        true
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => now < self.until,
                    _ => false,
                }
            }
            Turn::Waiting(_) | Turn::Served(_) => true,
            Turn::Answered(bytes, gone) => loop {
                match self.stream.write(&bytes[*gone..]) {
                    Ok(0) => return false,
                    Ok(count) => *gone += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return now < self.until,
                    Err(_) => return false,
                }
                if *gone == bytes.len() {
                    return false;
                }
            },
        }
    }
}
