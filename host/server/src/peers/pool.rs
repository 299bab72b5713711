//! Connections to peers: for each a bounded number of them, and of requests on their way.
//!
//! ```text
//!  request ──> room for one more? ──> the connection with the fewest requests
//!                │ no: NotSent         │ too many, or none that is not silent: one more connection,
//!                                      │ made once for all that wait for it
//!                                      ├─ not made: NotSent
//!                                      └─ the peer is silent, no new connection is made either, and it
//!                                         has shown a sign of life in the store since: OutOfReach
//! ```
//! Invariants:
//! - An attempt to connect belongs to the peer, and not to the request that began it: so a peer that is out
//!   of reach is found again by requests that do not wait.
//! - A request waits for one attempt at a silent peer, and for none while the one before it has failed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::keys::PeerKeys;
use super::line::Line;
use super::protocol::Protocol;
use stockade::limits::{
    PEER_CONNECTIONS, PEER_ORDERS_MAX, PEER_REQUESTS_MAX, PEER_SILENT_MAX, PEER_STREAMS_MAX,
};

/// How long a failed attempt to connect counts for requests that waited for it. 100 ms.
const FAILED_FOR: Duration = Duration::from_millis(100);
/// How long it shows that the next one will fail as well. 5 s: two attempts, with a pause between them.
const FAILING_FOR: Duration = Duration::from_secs(5);

/// The connections to all peers.
pub(crate) struct Lines {
    keys: PeerKeys,
    home: Handle,
    peers: Mutex<HashMap<String, Arc<OfPeer>>>,
}

/// What a request to a peer is for. Each kind has room of its own: operators reach the actors that
/// fill the room of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A call.
    Calls,
    /// An order of an operator.
    Orders,
}

/// A connection that takes a request, with the room for it.
pub(crate) struct Way {
    line: Arc<Line>,
    _room: OwnedSemaphorePermit,
}

/// The connections to one address.
struct OfPeer {
    calls: Arc<Semaphore>,
    orders: Arc<Semaphore>,
    lines: Mutex<Vec<Arc<Line>>>,
    attempt: Mutex<Attempt>,
    /// Since when one of its connections is silent, or none to it could be made.
    unheard: Mutex<Option<Instant>>,
}

/// The last attempt to connect: one for all requests that need a connection.
#[derive(Default)]
struct Attempt {
    /// Closed when it has ended.
    ended: Option<watch::Receiver<()>>,
    /// When the last one failed, and why.
    failed: Option<(Instant, String)>,
    /// Its task, which ends with this value.
    task: JoinSet<()>,
}

impl Default for OfPeer {
    fn default() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(PEER_REQUESTS_MAX)),
            orders: Arc::new(Semaphore::new(PEER_ORDERS_MAX)),
            lines: Mutex::new(Vec::new()),
            attempt: Mutex::default(),
            unheard: Mutex::default(),
        }
    }
}

impl Lines {
    /// No connection yet. Those that are made belong to the present runtime.
    pub(crate) fn new(keys: PeerKeys) -> Self {
        Self { keys, home: Handle::current(), peers: Mutex::default() }
    }

    /// A connection to the peer at `address` for one request. `lives_since`: whether the process there
    /// has shown a sign of life after that moment.
    ///
    /// # Errors
    /// `NotSent`: there is none before the time is over, or too many requests are on their way.
    /// `OutOfReach`: there is none, and the process lives.
    pub(crate) async fn way(
        &self,
        address: &str,
        lane: Lane,
        until: Instant,
        lives_since: impl Fn(Instant) -> bool,
    ) -> Result<Way, Failure> {
        let peer = self.peer(address);
        let room = peer.room(lane)?;
        let too_late = || "no connection before the caller's time was over".to_owned();
        let line = timeout_at(until, self.line(&peer, address, lives_since)).await;
        let line = line.unwrap_or_else(|_| Err(Failure::NotSent(too_late())))?;
        Ok(Way { line, _room: room })
    }

    fn peer(&self, address: &str) -> Arc<OfPeer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address) {
            return Arc::clone(peer);
        }
        // Peers come and go with their addresses.
        peers.retain(|_, peer| {
            peer.lines.lock().retain(|line| line.is_open());
            Arc::strong_count(peer) > 1 || !peer.lines.lock().is_empty()
        });
        Arc::clone(peers.entry(address.to_owned()).or_default())
    }

    /// A connection that takes one more request.
    async fn line(
        &self,
        peer: &Arc<OfPeer>,
        address: &str,
        lives_since: impl Fn(Instant) -> bool,
    ) -> Result<Arc<Line>, Failure> {
        loop {
            if let Some(line) = peer.open_line() {
                return Ok(line);
            }
            match self.attempt(peer, address) {
                Ok(mut ended) => {
                    // The attempt continues without this request.
                    if let Some(why) = peer.failing()
                        && let failure @ Failure::OutOfReach(_) = peer.failure(why, &lives_since)
                    {
                        return Err(failure);
                    }
                    // Nothing is ever sent on it: it closes.
                    drop(ended.changed().await);
                }
                Err(why) => return Err(peer.failure(why, &lives_since)),
            }
        }
    }

    /// The attempt under way, or a new one.
    ///
    /// # Errors
    /// Why there is none: the last one failed a moment ago, or too many connections are silent.
    fn attempt(&self, peer: &Arc<OfPeer>, address: &str) -> Result<watch::Receiver<()>, String> {
        let silent = peer.lines.lock().len();
        let mut attempt = peer.attempt.lock();
        if let Some(ended) = attempt.ended.as_ref().filter(|ended| ended.has_changed().is_ok()) {
            return Ok(ended.clone());
        }
        if let Some((at, why)) = &attempt.failed
            && at.elapsed() < FAILED_FOR
        {
            return Err(why.clone());
        }
        if silent >= 2 * PEER_CONNECTIONS {
            return Err(format!("{silent} connections to it are silent"));
        }
        let (end, ended) = watch::channel(());
        let (of, address) = (Arc::downgrade(peer), address.to_owned());
        let (keys, home) = (self.keys.clone(), self.home.clone());
        attempt.task = JoinSet::new();
        attempt.task.spawn_on(connect(end, of, address, keys, home), &self.home);
        attempt.ended = Some(ended.clone());
        Ok(ended)
    }
}

/// Connects for all that wait until `_end` is dropped.
async fn connect(
    _end: watch::Sender<()>,
    of: Weak<OfPeer>,
    address: String,
    keys: PeerKeys,
    home: Handle,
) {
    let begun = Instant::now();
    let opened = Line::open(&address, &keys, &home).await;
    if let Some(peer) = of.upgrade() {
        peer.opened(begun, opened);
    }
}

impl Way {
    /// The version of the protocol that both sides speak.
    pub(crate) fn protocol(&self) -> Protocol {
        self.line.protocol()
    }

    /// Sends a request; resolves with the head of its answer.
    ///
    /// # Errors
    /// `NotSent` and `Lost`, as said there. When the time is over: `Lost`.
    pub(crate) async fn send(
        self,
        request: Request<Body>,
        until: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        let answered = timeout_at(until, self.line.send(request)).await;
        let no_answer = || "no answer before the caller's time was over".to_owned();
        answered.unwrap_or_else(|_| Err(Failure::Lost(no_answer())))
    }
}

impl OfPeer {
    /// Room for one more request.
    ///
    /// # Errors
    /// `NotSent`: so many of its kind as may be are on their way.
    fn room(&self, lane: Lane) -> Result<OwnedSemaphorePermit, Failure> {
        let (room, max) = match lane {
            Lane::Calls => (&self.calls, PEER_REQUESTS_MAX),
            Lane::Orders => (&self.orders, PEER_ORDERS_MAX),
        };
        Arc::clone(room)
            .try_acquire_owned()
            .map_err(|_| Failure::NotSent(format!("{max} requests to it are on their way already")))
    }

    /// Why the last attempt has failed, if that was a while ago at most.
    fn failing(&self) -> Option<String> {
        let attempt = self.attempt.lock();
        let (at, why) = attempt.failed.as_ref()?;
        (at.elapsed() < FAILING_FOR).then(|| why.clone())
    }

    /// What it means that there is no connection. A process that has just begun at the address of an
    /// earlier one is not out of reach: the earlier one's silence is not its own.
    fn failure(&self, why: String, lives_since: impl Fn(Instant) -> bool) -> Failure {
        let silent = self.unheard.lock().filter(|since| since.elapsed() >= PEER_SILENT_MAX);
        match silent.filter(|since| lives_since(*since)) {
            Some(since) => Failure::OutOfReach(format!(
                "it lives, and nothing came from it for {:.1?}: {why}",
                since.elapsed()
            )),
            None => Failure::NotSent(why),
        }
    }

    /// An attempt that began then has ended.
    fn opened(&self, begun: Instant, opened: Result<Line, String>) {
        match opened {
            Ok(line) => {
                self.lines.lock().push(Arc::new(line));
                *self.unheard.lock() = None;
                self.attempt.lock().failed = None;
            }
            Err(why) => {
                self.unheard.lock().get_or_insert(begun);
                self.attempt.lock().failed = Some((Instant::now(), why));
            }
        }
    }

    /// The open connection with the fewest requests, unless it is worth making another one. None that is
    /// silent.
    fn open_line(&self) -> Option<Arc<Line>> {
        let mut lines = self.lines.lock();
        let heard = lines.iter().map(|line| line.heard()).max();
        lines.retain(|line| line.is_open());
        let silent = lines.iter().filter_map(|line| line.silent_since()).min();
        self.note(heard, silent);
        let least = lines
            .iter()
            .filter(|line| line.silent_since().is_none())
            .min_by_key(|line| line.busy())?;
        let streams_max = usize::try_from(PEER_STREAMS_MAX).unwrap_or(usize::MAX);
        let full = least.busy() >= streams_max / 2 && lines.len() < PEER_CONNECTIONS;
        (!full).then(|| Arc::clone(least))
    }

    /// When bytes of it came last over its connections, and since when one of them is silent.
    fn note(&self, heard: Option<Instant>, silent: Option<Instant>) {
        let mut unheard = self.unheard.lock();
        if unheard.is_some_and(|since| heard.is_some_and(|heard| heard > since)) {
            *unheard = None;
        }
        if let Some(since) = silent {
            unheard.get_or_insert(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_unheard_until_it_is_heard() {
        let peer = OfPeer::default();
        let second = Duration::from_secs(1);
        let begun = Instant::now();
        let unheard = || peer.unheard.lock().map(|since| since - begun);
        peer.note(Some(begun), None);
        assert_eq!(unheard(), None, "it is not silent");
        peer.opened(begun + second, Err("refused".to_owned()));
        peer.opened(begun + second * 2, Err("refused".to_owned()));
        peer.note(Some(begun), Some(begun));
        assert_eq!(unheard(), Some(second), "the first failure counts");
        peer.note(Some(begun + second * 3), None);
        assert_eq!(unheard(), None, "heard again");
        peer.note(Some(begun + second * 3), Some(begun + second * 3));
        assert_eq!(unheard(), Some(second * 3), "silent since it was heard");
    }

    #[test]
    fn calls_and_orders_leave_each_other_their_room() {
        for (full, max, other) in [
            (Lane::Calls, PEER_REQUESTS_MAX, Lane::Orders),
            (Lane::Orders, PEER_ORDERS_MAX, Lane::Calls),
        ] {
            let peer = OfPeer::default();
            let taken: Vec<_> = std::iter::from_fn(|| peer.room(full).ok()).take(max + 1).collect();
            assert_eq!(taken.len(), max, "{full:?}");
            assert!(peer.room(other).is_ok(), "{other:?} beside {full:?}");
        }
    }
}
