//! How many requests the gateway works on at the same time. A request beyond the limit is refused
//! immediately, never queued.
//!
//! ```text
//!  requests_max                       operator_requests_max
//!  | kind a | kind b |  free  |       | operators |
//!  a kind gets no more room when it holds as much as is free
//! ```
//! So one kind holds at most half of the callers' room, two kinds hold a third each, and there is
//! always room for another kind. Operators have room of their own: they can stop the actors that
//! fill the callers' room. So do other processes, whose calls end here: two processes that pass
//! calls on to each other never wait for each other's room. Orders of operators that others pass on
//! have as much room again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Side;
use super::reply::Refusal;
use stockade::error::Code;
use stockade::limits::HostLimits;

/// Room for work. A permit is held until the work is done.
pub(super) struct Admission {
    callers: Calls,
    peers: Calls,
    operators: Arc<Semaphore>,
    /// Orders of operators that other processes pass on.
    orders: Arc<Semaphore>,
    operators_max: usize,
    exports: Arc<Semaphore>,
    exports_max: usize,
    imports: Arc<Semaphore>,
    imports_max: usize,
    checks: Arc<Semaphore>,
    checks_max: usize,
    lists: Arc<Semaphore>,
    lists_max: usize,
}

/// Room for calls, in which no kind takes all.
struct Calls {
    room: Arc<Semaphore>,
    max: usize,
    /// Running calls of each kind that has some.
    kinds: Arc<Mutex<HashMap<String, usize>>>,
}

impl Calls {
    fn new(max: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(max)), max, kinds: Arc::default() }
    }
}

impl Admission {
    pub(super) fn new(limits: &HostLimits) -> Self {
        let exports_max = limits.exports_max;
        Self {
            callers: Calls::new(limits.requests_max),
            peers: Calls::new(limits.requests_max),
            operators: Arc::new(Semaphore::new(limits.operator_requests_max)),
            orders: Arc::new(Semaphore::new(limits.operator_requests_max)),
            operators_max: limits.operator_requests_max,
            exports: Arc::new(Semaphore::new(exports_max)),
            exports_max,
            imports: Arc::new(Semaphore::new(limits.imports_max)),
            imports_max: limits.imports_max,
            checks: Arc::new(Semaphore::new(limits.checks_max)),
            checks_max: limits.checks_max,
            lists: Arc::new(Semaphore::new(limits.lists_max)),
            lists_max: limits.lists_max,
        }
    }

    /// Room for one request until its answer is ready.
    pub(super) fn request(&self, side: Side) -> Result<OwnedSemaphorePermit, Refusal> {
        match side {
            Side::Public => acquire(&self.callers.room, "requests", self.callers.max),
            Side::Peer => acquire(&self.peers.room, "requests of others", self.peers.max),
            Side::Admin => acquire(&self.operators, "requests of operators", self.operators_max),
        }
    }

    /// Room for one order that another process passes on, until its answer is ready.
    pub(super) fn order(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.orders, "orders of others", self.operators_max)
    }

    /// Room for one more call of a kind, inside the room of a request by a caller or a peer.
    pub(super) fn call(&self, side: Side, kind: &str) -> Result<Call, Refusal> {
        let calls = if side == Side::Peer { &self.peers } else { &self.callers };
        let free = calls.room.available_permits();
        let mut kinds = calls.kinds.lock();
        match kinds.get_mut(kind) {
            Some(held) if *held > free => {
                let message = format!(
                    "{held} requests of kind {kind:?} are under way, and {free} of {} are left for \
                     all others",
                    calls.max
                );
                return Err(Refusal::new(Code::HostOverloaded, message));
            }
            Some(held) => *held += 1,
            None => drop(kinds.insert(kind.to_owned(), 1)),
        }
        Ok(Call { kind: kind.to_owned(), kinds: Arc::clone(&calls.kinds) })
    }

    /// Room for one export until its last byte is sent.
    pub(super) fn export(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.exports, "exports", self.exports_max)
    }

    /// Room for one import until it is done.
    pub(super) fn import(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.imports, "imports", self.imports_max)
    }

    /// Room for one check of the whole store until its last line is sent.
    pub(super) fn check(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.checks, "checks of the store", self.checks_max)
    }

    /// Room for one list that reads all actors, until the list is complete.
    pub(super) fn look_at_all(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.lists, "sorted lists and counts", self.lists_max)
    }
}

/// The room that one call of a kind holds.
pub(super) struct Call {
    kind: String,
    kinds: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut kinds = self.kinds.lock();
        if let Some(held) = kinds.get_mut(&self.kind) {
            *held -= 1;
            if *held == 0 {
                kinds.remove(&self.kind);
            }
        }
    }
}

fn acquire(
    room: &Arc<Semaphore>,
    what: &'static str,
    max: usize,
) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(room).try_acquire_owned().map_err(|_| {
        let words = format!("the host works on {max} {what} already");
        Refusal::new(Code::HostOverloaded, words).closing()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests_max: usize) -> Admission {
        Admission::new(&HostLimits { requests_max, ..HostLimits::default() })
    }

    /// Takes as many calls of a kind as admission allows.
    fn flood(admission: &Admission, kind: &str) -> Vec<(OwnedSemaphorePermit, Call)> {
        let one = || {
            let request = admission.request(Side::Public).ok()?;
            Some((request, admission.call(Side::Public, kind).ok()?))
        };
        std::iter::from_fn(one).collect()
    }

    #[test]
    fn a_kind_leaves_room_for_others() {
        let admission = admission(12);
        let first = flood(&admission, "first");
        assert_eq!(first.len(), 6, "half");
        let second = flood(&admission, "second");
        assert_eq!(second.len(), 3, "half of the rest");
        assert_eq!(flood(&admission, "third").len(), 2);
        drop(first);
        assert_eq!(flood(&admission, "second").len(), 3, "what is free counts, not who had it");
        drop(second);
        assert!(
            admission.callers.kinds.lock().is_empty(),
            "nothing is kept of kinds without calls"
        );
    }

    #[test]
    fn operators_have_room_of_their_own() {
        let admission = admission(1);
        let taken = admission.request(Side::Public);
        assert!(taken.is_ok() && admission.request(Side::Public).is_err());
        assert!(admission.request(Side::Admin).is_ok());
        let calls = admission.request(Side::Peer);
        assert!(calls.is_ok() && admission.request(Side::Peer).is_err(), "others have theirs, too");
        assert!(admission.order().is_ok(), "and operators who come by them");
        let operators = std::iter::from_fn(|| admission.request(Side::Admin).ok());
        let operators: Vec<_> = operators.take(admission.operators_max + 1).collect();
        assert_eq!(operators.len(), admission.operators_max);
        assert!(admission.order().is_ok(), "whatever operators ask here");
    }
}
