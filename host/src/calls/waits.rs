//! The calls between actors that are under way: those that actors here have made, and those of
//! others that actors here work on or will.
//!
//! ```text
//!  made     an actor here ──> the actor that it waits for, and where that is
//!  arrived  queued ──> begun ──> ended (its answer may be on its way)
//!              └─────> refused (a circle), or gone (its caller no longer waits)
//! ```
//! A call that is made here for an actor here is in both.
//!
//! Invariants:
//! - A call is noted as made before it leaves, and as arrived before the probe looks.
//! - A call is begun, refused or gone, whichever comes first: never two of them.
//! - A call has ended before its actor works on anything else.
//! - Notes end with the values that hold them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use stockade_depot::broken::{self, Variant};
use stockade_depot::{ActorId, NodeSession};
use tokio::sync::Notify;

use super::chain::{Age, CallId, Chain, Cycle};
use crate::clock::Clock;

/// The calls that are under way in a process.
pub struct Waits {
    node: NodeSession,
    clock: Clock,
    next: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By the actor that waits.
    made: HashMap<ActorId, Vec<Made>>,
    arrived: HashMap<CallId, Arc<Stage>>,
}

struct Made {
    id: CallId,
    to: ActorId,
    age: Age,
    at: At,
}

/// Where a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// It has not been sent to any process yet.
    Nowhere,
    /// In this process.
    Here,
    /// In the process at this address.
    There(Arc<str>),
}

/// One actor waits for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The call that is waited for.
    pub id: CallId,
    /// The actor that waits.
    pub from: ActorId,
    /// The actor that is waited for.
    pub to: ActorId,
    /// The age of the chain that waits.
    pub age: Age,
    /// The address of the process where the call is; `None`: this one.
    pub at: Option<Arc<str>>,
}

/// A call that was made here, until this is dropped.
pub struct Making {
    waits: Arc<Waits>,
    from: ActorId,
    id: CallId,
}

/// A call that has arrived here. Dropped when its caller no longer waits.
pub struct Arrived {
    waits: Arc<Waits>,
    id: CallId,
    to: ActorId,
    chain: Chain,
    stage: Arc<Stage>,
}

/// A call that has arrived here, for the one that works on it. Dropped when it is worked on no longer,
/// or never will be.
pub struct Working(Arc<Stage>);

/// How far a call has come.
#[derive(Default)]
struct Stage {
    at: Mutex<Step>,
    refused: Notify,
}

#[derive(Clone, Debug, Default)]
enum Step {
    #[default]
    Queued,
    Begun,
    Ended,
    Refused(Cycle),
    Gone,
}

/// What became of the wish to refuse a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was refused, or had ended before: the circle is open.
    Done,
    /// It has begun.
    Begun,
}

impl Waits {
    /// No calls. `clock`: says when chains begin. Ages of several processes are compared; which call
    /// gives way is all that depends on the clock.
    #[must_use]
    pub fn new(node: NodeSession, clock: Clock) -> Arc<Self> {
        Arc::new(Self { node, clock, next: AtomicU64::new(1), table: Mutex::default() })
    }

    /// The age of a chain that begins now.
    #[must_use]
    pub fn age(&self) -> Age {
        let began_ms = u64::try_from(self.clock.now_ms()).unwrap_or(0);
        Age { began_ms, node: self.node, number: self.number() }
    }

    /// Notes a call of the chain's last actor.
    #[must_use]
    pub fn make(self: &Arc<Self>, chain: &Chain, to: &ActorId) -> Making {
        let id = CallId { node: self.node, number: self.number() };
        let made = Made { id, to: to.clone(), age: chain.age(), at: At::Nowhere };
        let from = chain.caller().clone();
        self.table.lock().made.entry(from.clone()).or_default().push(made);
        Making { waits: Arc::clone(self), from, id }
    }

    /// Notes a call that has arrived. `None`: the same call is here already.
    #[must_use]
    pub fn arrive(self: &Arc<Self>, id: CallId, chain: Chain, to: &ActorId) -> Option<Arrived> {
        let stage = Arc::<Stage>::default();
        let mut table = self.table.lock();
        if table.arrived.contains_key(&id) {
            return None;
        }
        table.arrived.insert(id, Arc::clone(&stage));
        Some(Arrived { waits: Arc::clone(self), id, to: to.clone(), chain, stage })
    }

    /// For whom an actor here waits, as far as its calls have been sent.
    #[must_use]
    pub fn of(&self, actor: &ActorId) -> Vec<Edge> {
        let table = self.table.lock();
        let made = table.made.get(actor).into_iter().flatten();
        let edge = |made: &Made| {
            let at = match &made.at {
                At::Nowhere => return None,
                At::Here => None,
                At::There(address) => Some(Arc::clone(address)),
            };
            let Made { id, to, age, .. } = made;
            Some(Edge { id: *id, from: actor.clone(), to: to.clone(), age: *age, at })
        };
        made.filter_map(edge).collect()
    }

    /// Whether a call has arrived here, and is queued or begun.
    #[must_use]
    pub fn is_open(&self, id: CallId) -> bool {
        let stage = self.table.lock().arrived.get(&id).cloned();
        stage.is_some_and(|stage| matches!(*stage.at.lock(), Step::Queued | Step::Begun))
    }

    /// Refuses a call that has arrived here, unless it has begun.
    pub fn refuse(&self, id: CallId, cycle: &Cycle) -> Refusal {
        let stage = self.table.lock().arrived.get(&id).cloned();
        stage.map_or(Refusal::Done, |stage| stage.refuse(cycle))
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let table = self.table.lock();
        table.made.is_empty() && table.arrived.is_empty()
    }
}

impl Making {
    /// The call.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The call is about to be handed to an actor in this process.
    pub fn is_here(&self) {
        self.is_at(At::Here);
    }

    /// The call is about to be sent to the process at this address.
    pub fn is_there(&self, address: &str) {
        self.is_at(At::There(address.into()));
    }

    fn is_at(&self, at: At) {
        let mut table = self.waits.table.lock();
        let made = table.made.get_mut(&self.from).into_iter().flatten();
        for made in made.filter(|made| made.id == self.id) {
            made.at = at.clone();
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut table = self.waits.table.lock();
        if let Some(made) = table.made.get_mut(&self.from) {
            made.retain(|made| made.id != self.id);
            if made.is_empty() {
                table.made.remove(&self.from);
            }
        }
    }
}

impl Arrived {
    /// The call.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The actor that is called.
    #[must_use]
    pub fn to(&self) -> &ActorId {
        &self.to
    }

    /// The actors that wait for it.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The call, for the one that works on it.
    #[must_use]
    pub fn working(&self) -> Working {
        Working(Arc::clone(&self.stage))
    }

    /// Refuses it, unless it has begun.
    pub fn refuse(&self, cycle: &Cycle) -> Refusal {
        self.stage.refuse(cycle)
    }

    /// Takes it back, unless it has begun. Returns whether it was taken back now.
    pub fn take_back(&self) -> bool {
        let mut at = self.stage.at.lock();
        let queued = matches!(*at, Step::Queued);
        if queued {
            *at = Step::Gone;
        }
        queued
    }

    /// Whether it waits to be begun.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        matches!(*self.stage.at.lock(), Step::Queued)
    }

    /// Resolves when it is refused.
    pub async fn refused(&self) -> Cycle {
        loop {
            let notified = self.stage.refused.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Step::Refused(cycle) = &*self.stage.at.lock() {
                return cycle.clone();
            }
            notified.await;
        }
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        self.take_back();
        self.waits.table.lock().arrived.remove(&self.id);
    }
}

impl Working {
    /// The work on the call begins. `false`: it must not, since the call was refused or its caller
    /// has gone.
    #[must_use]
    pub fn begin(&self) -> bool {
        let mut at = self.0.at.lock();
        match *at {
            Step::Queued => {
                *at = Step::Begun;
                true
            }
            Step::Begun => true,
            Step::Refused(_) => broken::is_off(Variant::CallRefused),
            Step::Ended | Step::Gone => false,
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut at = self.0.at.lock();
        if let Step::Queued | Step::Begun = *at {
            *at = Step::Ended;
        }
    }
}

impl Stage {
    fn refuse(&self, cycle: &Cycle) -> Refusal {
        let mut at = self.at.lock();
        match *at {
            Step::Queued => *at = Step::Refused(cycle.clone()),
            Step::Begun => return Refusal::Begun,
            Step::Ended | Step::Refused(_) | Step::Gone => return Refusal::Done,
        }
        drop(at);
        self.refused.notify_waiters();
        Refusal::Done
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId::new("kind", key).expect("a name")
    }

    fn cycle() -> Cycle {
        Cycle { actors: vec![actor("a")], crosses: true }
    }

    #[test]
    fn a_call_is_noted_until_its_caller_no_longer_waits() {
        let waits = Waits::new(NodeSession([1; 16]), Clock::system());
        let chain = Chain::begun(waits.age(), &actor("a"));
        let making = waits.make(&chain, &actor("b"));
        assert!(waits.of(&actor("a")).is_empty(), "it has not been sent");
        making.is_there("10.0.0.1:90");
        assert_eq!(waits.of(&actor("a"))[0].at.as_deref(), Some("10.0.0.1:90"));
        making.is_here();
        let edge = waits.of(&actor("a")).remove(0);
        assert_eq!((edge.id, edge.to, edge.at), (making.id(), actor("b"), None));
        let arrived = waits.arrive(making.id(), chain.clone(), &actor("b")).expect("the first");
        assert!(waits.arrive(making.id(), chain, &actor("b")).is_none(), "it is here already");
        drop((making, arrived));
        assert!(waits.is_empty());
    }

    #[test]
    fn a_call_is_begun_or_refused_never_both() {
        let waits = Waits::new(NodeSession([1; 16]), Clock::system());
        let chain = Chain::begun(waits.age(), &actor("a"));
        let arrive = |number| {
            let id = CallId { node: NodeSession([2; 16]), number };
            waits.arrive(id, chain.clone(), &actor("b")).expect("the first")
        };
        let begun = arrive(1);
        let working = begun.working();
        assert!(working.begin());
        assert_eq!(waits.refuse(begun.id(), &cycle()), Refusal::Begun);
        let refused = arrive(2);
        assert!(refused.refused().now_or_never().is_none());
        assert_eq!(waits.refuse(refused.id(), &cycle()), Refusal::Done);
        assert_eq!(refused.refused().now_or_never(), Some(cycle()));
        assert!(!refused.working().begin());
        let gone = arrive(3);
        let working = gone.working();
        drop(gone);
        assert!(!working.begin(), "its caller has gone");
    }

    #[test]
    fn a_call_is_open_until_it_is_worked_on_no_longer() {
        let waits = Waits::new(NodeSession([1; 16]), Clock::system());
        let chain = Chain::begun(waits.age(), &actor("a"));
        let id = CallId { node: NodeSession([2; 16]), number: 1 };
        assert!(!waits.is_open(id), "it has not arrived");
        let arrived = waits.arrive(id, chain.clone(), &actor("b")).expect("the first");
        let working = arrived.working();
        assert!(waits.is_open(id), "it is queued");
        assert!(working.begin() && waits.is_open(id), "it is begun");
        drop(working);
        assert!(!waits.is_open(id), "its answer is on its way");
        assert_eq!(waits.refuse(id, &cycle()), Refusal::Done, "it is no part of the circle");
        assert!(arrived.refused().now_or_never().is_none());
        drop(arrived);
        // A call that is never begun ends as well.
        let arrived = waits.arrive(id, chain, &actor("b")).expect("the first again");
        drop(arrived.working());
        assert!(!waits.is_open(id) && !arrived.is_queued());
    }
}
