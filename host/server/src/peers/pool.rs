//! Connections to peers: for each a bounded number of them, and of requests on their way.
//!
//! ```text
//!  request ──> room for one more? ──> the connection with the fewest requests
//!                │ no: NotSent         │ too many, or none: one more connection, made once for
//!                                      │ all that wait for it
//!                                      └─ not made: NotSent
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::keys::PeerKeys;
use super::line::Line;
use super::protocol::Protocol;
use stockade::limits::{PEER_CONNECTIONS, PEER_ORDERS_MAX, PEER_REQUESTS_MAX, PEER_STREAMS_MAX};

/// How long a failed attempt to connect counts for requests that waited for it. 100 ms.
const FAILED_FOR: Duration = Duration::from_millis(100);

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
    /// Of the requests that need a connection, one makes it. When the last attempt failed, and why.
    connecting: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl Default for OfPeer {
    fn default() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(PEER_REQUESTS_MAX)),
            orders: Arc::new(Semaphore::new(PEER_ORDERS_MAX)),
            lines: Mutex::new(Vec::new()),
            connecting: tokio::sync::Mutex::default(),
        }
    }
}

impl Lines {
    /// No connection yet. Those that are made belong to the present runtime.
    pub(crate) fn new(keys: PeerKeys) -> Self {
        Self { keys, home: Handle::current(), peers: Mutex::default() }
    }

    /// A connection to the peer at `address` for one request.
    ///
    /// # Errors
    /// `NotSent`: there is none before the time is over, or too many requests are on their way.
    pub(crate) async fn way(
        &self,
        address: &str,
        lane: Lane,
        until: Instant,
    ) -> Result<Way, Failure> {
        let peer = self.peer(address);
        let room = peer.room(lane)?;
        let too_late = || "no connection before the caller's time was over".to_owned();
        let line = timeout_at(until, self.line(&peer, address)).await;
        let line = line.unwrap_or_else(|_| Err(too_late())).map_err(Failure::NotSent)?;
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
    async fn line(&self, peer: &OfPeer, address: &str) -> Result<Arc<Line>, String> {
        if let Some(line) = peer.open_line() {
            return Ok(line);
        }
        // The lock is async: it is held while a connection is made, so that one is.
        let mut failed = peer.connecting.lock().await;
        if let Some(line) = peer.open_line() {
            return Ok(line);
        }
        if let Some((at, why)) = &*failed
            && at.elapsed() < FAILED_FOR
        {
            return Err(why.clone());
        }
        match Line::open(address, &self.keys, &self.home).await {
            Ok(line) => {
                let line = Arc::new(line);
                peer.lines.lock().push(Arc::clone(&line));
                Ok(line)
            }
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
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

    /// The open connection with the fewest requests, unless it is worth making another one.
    fn open_line(&self) -> Option<Arc<Line>> {
        let mut lines = self.lines.lock();
        lines.retain(|line| line.is_open());
        let least = lines.iter().min_by_key(|line| line.busy())?;
        let streams_max = usize::try_from(PEER_STREAMS_MAX).unwrap_or(usize::MAX);
        let full = least.busy() >= streams_max / 2 && lines.len() < PEER_CONNECTIONS;
        (!full).then(|| Arc::clone(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
