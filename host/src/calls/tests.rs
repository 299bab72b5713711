//! Actors of several processes that call each other at random, from a seed: after each step no circle
//! of waits is left, and what was refused was part of one. Answers take a while to their callers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;
use stockade_depot::{ActorId, NodeSession};
use stockade_testkit::random::Random;

use super::probe;
use super::{Age, Arrived, CallId, Chain, Cycle, Edge, Look, Making, Refusal, Waits, Working};
use crate::clock::Clock;
use crate::limits::{PROBE_LOOKS_FAR_MAX, PROBE_LOOKS_MAX};

const NODES: usize = 3;
const ACTORS: u64 = 8;
const STEPS: usize = 400;
/// Calls of one actor that are under way.
const CALLS_MAX: usize = 4;
/// Answers that are on their way.
const ANSWERED_MAX: usize = 4;

/// A call on its way: all notes of it.
struct Call {
    from: usize,
    to: usize,
    making: Making,
    arrived: Arrived,
    /// `None`: it has ended, and its answer is on its way.
    working: Option<Working>,
}

/// What an actor does.
#[derive(Default)]
struct Actor {
    /// The chain of what occupies it, with itself.
    chain: Option<Chain>,
    /// The call that it works on, if an actor has made that.
    works_on: Option<CallId>,
    queue: VecDeque<CallId>,
}

struct World {
    random: Random,
    waits: Vec<Arc<Waits>>,
    actors: Vec<Actor>,
    calls: HashMap<CallId, Call>,
    /// Calls whose answers are on their way.
    answered: Vec<CallId>,
    refused: usize,
    /// Calls of an actor that still waits for an answer from the one that calls it.
    called_back: usize,
}

/// How a process sees the others.
struct View<'w>(&'w [Arc<Waits>], usize);

impl View<'_> {
    fn node(&self, at: Option<&str>) -> usize {
        at.map_or(self.1, |at| at.parse().expect("a node"))
    }

    fn seen(&self, node: usize, at: Option<Arc<str>>) -> Option<Arc<str>> {
        let at = at.unwrap_or_else(|| node.to_string().into());
        (*at != *self.1.to_string()).then_some(at)
    }
}

#[async_trait]
impl Look for View<'_> {
    async fn waits_of(&self, actor: &ActorId, at: Option<&str>) -> Vec<Edge> {
        let node = self.node(at);
        let edges = self.0[node].of(actor).into_iter();
        edges.map(|edge| Edge { at: self.seen(node, edge.at.clone()), ..edge }).collect()
    }

    async fn is_open(&self, call: CallId, at: Option<&str>) -> bool {
        self.0[self.node(at)].is_open(call)
    }

    async fn refuse(&self, call: CallId, cycle: &Cycle, at: Option<&str>) -> Refusal {
        self.0[self.node(at)].refuse(call, cycle)
    }
}

fn name(actor: usize) -> ActorId {
    ActorId::new("kind", &actor.to_string()).expect("a name")
}

fn node_of(actor: usize) -> usize {
    actor % NODES
}

impl World {
    fn new(seed: u64) -> Self {
        let session = |node: usize| NodeSession([u8::try_from(node).expect("few") + 1; 16]);
        Self {
            random: Random::new(seed),
            waits: (0..NODES).map(|node| Waits::new(session(node), Clock::system())).collect(),
            actors: (0..ACTORS).map(|_| Actor::default()).collect(),
            calls: HashMap::new(),
            answered: Vec::new(),
            refused: 0,
            called_back: 0,
        }
    }

    fn below(&mut self, end: u64) -> usize {
        usize::try_from(self.random.below(end)).expect("few")
    }

    fn step(&mut self) {
        let is_full = self.answered.len() >= ANSWERED_MAX;
        if is_full || (!self.answered.is_empty() && self.below(8) == 0) {
            let at = self.below(self.answered.len() as u64);
            let id = self.answered.swap_remove(at);
            self.forget(id);
        }
        let actor = self.below(ACTORS);
        match self.actors[actor].chain.clone() {
            None => {
                let chain = Chain::begun(self.waits[node_of(actor)].age(), &name(actor));
                self.actors[actor].chain = Some(chain);
            }
            Some(chain) => {
                let waits = self.calls.values().filter(|call| call.from == actor).count();
                if self.below(3) == 0 && waits == 0 {
                    self.ends(actor);
                } else if waits < CALLS_MAX {
                    let to = self.back_from(actor).unwrap_or_else(|| self.below(ACTORS));
                    if chain.cycle_with(&name(to)).is_none() {
                        self.calls(actor, to, &chain);
                    }
                }
            }
        }
        self.begin_what_can();
    }

    /// The caller that an answer of the actor is on its way to, every other time.
    fn back_from(&mut self, actor: usize) -> Option<usize> {
        let late = self.answered.iter().map(|id| &self.calls[id]);
        let caller = late.filter(|call| call.to == actor).map(|call| call.from).next()?;
        (self.below(2) == 0).then_some(caller)
    }

    /// An actor calls another one: the note, the arrival, the probe.
    fn calls(&mut self, from: usize, to: usize, chain: &Chain) {
        let making = self.waits[node_of(from)].make(chain, &name(to));
        if node_of(from) == node_of(to) {
            making.is_here();
        } else {
            making.is_there(&node_of(to).to_string());
        }
        let (id, node) = (making.id(), node_of(to));
        let arrived = self.waits[node].arrive(id, chain.clone(), &name(to)).expect("the first");
        let working = Some(arrived.working());
        let back = |call: &Call| call.working.is_none() && (call.from, call.to) == (to, from);
        self.called_back += usize::from(self.calls.values().any(back));
        self.calls.insert(id, Call { from, to, making, arrived, working });
        self.actors[to].queue.push_back(id);
        let circular = self.circular();
        let view = View(&self.waits, node);
        probe(&view, &self.calls[&id].arrived).now_or_never().expect("it waits for no network");
        let refused: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.arrived.refused().now_or_never().is_some())
            .map(|(id, _)| *id)
            .collect();
        // A call of several circles may be refused because of one of them.
        for id in &refused {
            assert!(circular.contains(id), "a call that was in no circle was refused");
            let cycle = self.calls[id].arrived.refused().now_or_never().expect("refused");
            self.is_a_circle(&cycle);
        }
        for id in refused {
            self.refused += 1;
            self.forget(id);
        }
        assert!(self.circular().is_empty(), "a circle is left");
    }

    /// Each actor of it waits for the next one.
    fn is_a_circle(&self, cycle: &Cycle) {
        let next = cycle.actors.iter().cycle().skip(1);
        for (from, to) in cycle.actors.iter().zip(next) {
            let waits = |call: &Call| {
                call.working.is_some() && name(call.from) == *from && name(call.to) == *to
            };
            assert!(self.calls.values().any(waits), "{from} does not wait for {to}: {cycle:?}");
        }
    }

    /// Calls that are part of a circle of waits.
    fn circular(&self) -> HashSet<CallId> {
        let leads = |from: usize, to: usize| {
            let (mut seen, mut next) = (HashSet::new(), vec![from]);
            while let Some(actor) = next.pop() {
                if actor == to {
                    return true;
                }
                if seen.insert(actor) {
                    let open = self.calls.values().filter(|call| call.working.is_some());
                    let made = open.filter(|call| call.from == actor);
                    next.extend(made.map(|call| call.to));
                }
            }
            false
        };
        let open = self.calls.iter().filter(|(_, call)| call.working.is_some());
        let circular = open.filter(|(_, call)| leads(call.to, call.from));
        circular.map(|(id, _)| *id).collect()
    }

    fn forget(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            self.actors[call.to].queue.retain(|queued| *queued != id);
            drop((call.making, call.arrived, call.working));
        }
    }

    /// The work of an actor ends: its caller gets the answer later.
    fn ends(&mut self, actor: usize) {
        self.actors[actor].chain = None;
        if let Some(id) = self.actors[actor].works_on.take()
            && let Some(call) = self.calls.get_mut(&id)
        {
            call.working = None;
            self.answered.push(id);
        }
    }

    fn begin_what_can(&mut self) {
        for actor in 0..self.actors.len() {
            if self.actors[actor].chain.is_some() {
                continue;
            }
            let Some(id) = self.actors[actor].queue.pop_front() else { continue };
            let call = &self.calls[&id];
            assert!(call.working.as_ref().is_some_and(Working::begin));
            let chain = call.arrived.chain().then(&name(actor));
            self.actors[actor].chain = Some(chain);
            self.actors[actor].works_on = Some(id);
        }
    }
}

#[test]
fn no_circle_of_waits_is_left_and_nothing_else_is_refused() {
    let (mut refused, mut called_back) = (0, 0);
    for seed in 1..=40 {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        refused += world.refused;
        called_back += world.called_back;
    }
    assert!(refused > 200, "circles were closed: {refused}");
    assert!(called_back > 20, "answers were late: {called_back}");
}

/// Sees an actor wait, and no longer when it looks again.
struct Vanishing {
    edge: Edge,
    looks: Mutex<usize>,
}

#[async_trait]
impl Look for Vanishing {
    async fn waits_of(&self, actor: &ActorId, _: Option<&str>) -> Vec<Edge> {
        let mut looks = self.looks.lock();
        *looks += 1;
        let is_seen = *looks == 1 && *actor == self.edge.from;
        is_seen.then(|| self.edge.clone()).into_iter().collect()
    }

    async fn is_open(&self, _: CallId, _: Option<&str>) -> bool {
        true
    }

    async fn refuse(&self, call: CallId, _: &Cycle, _: Option<&str>) -> Refusal {
        panic!("{call:?} is refused")
    }
}

#[test]
fn a_circle_that_was_never_there_as_a_whole_refuses_no_call() {
    let waits = Waits::new(NodeSession([1; 16]), Clock::system());
    let (older, younger) = (waits.age(), waits.age());
    let arrived = |age| {
        let chain = Chain::begun(age, &name(0));
        let making = waits.make(&chain, &name(1));
        waits.arrive(making.id(), chain, &name(1)).expect("the first")
    };
    for (own, other) in [(older, younger), (younger, older)] {
        let id = CallId { node: NodeSession([2; 16]), number: 1 };
        let edge = Edge { id, from: name(1), to: name(0), age: other, at: None };
        let arrived = arrived(own);
        let _working = arrived.working();
        let vanishing = Vanishing { edge, looks: Mutex::new(0) };
        probe(&vanishing, &arrived).now_or_never().expect("it waits for no network");
        assert!(arrived.is_queued());
        assert!(*vanishing.looks.lock() > 1, "it has looked again");
    }
}

/// `b` has answered a call of `a`, and calls `a` while the answer is on its way: `a` still seems to wait
/// for `b`.
#[test]
fn a_call_that_has_ended_is_no_part_of_a_circle() {
    let refused = |call: &Arrived| call.refused().now_or_never().is_some();
    for (is_younger, has_ended) in [(true, true), (false, true), (true, false), (false, false)] {
        let nodes = [1, 2].map(|node| Waits::new(NodeSession([node; 16]), Clock::system()));
        let (first, second) = (nodes[0].age(), nodes[0].age());
        let (own, other) = if is_younger { (second, first) } else { (first, second) };
        let (a, b) = (name(0), name(1));
        let making = nodes[0].make(&Chain::begun(other, &a), &b);
        making.is_there("1");
        let arrived = nodes[1].arrive(making.id(), Chain::begun(other, &a), &b).expect("the first");
        let working = arrived.working();
        let _queued = if has_ended {
            assert!(working.begin());
            drop(working);
            None
        } else {
            Some(working)
        };
        let back = nodes[1].make(&Chain::begun(own, &b), &a);
        back.is_there("0");
        let arrived_back =
            nodes[0].arrive(back.id(), Chain::begun(own, &b), &a).expect("the first");
        let _working = arrived_back.working();
        probe(&View(&nodes, 0), &arrived_back).now_or_never().expect("it waits for no network");
        let expected = (!has_ended && is_younger, !has_ended && !is_younger);
        assert_eq!((refused(&arrived_back), refused(&arrived)), expected, "ended: {has_ended}");
    }
}

/// Actors each of which waits for the next one, and the last of them for the first.
struct Ring {
    actors: usize,
    age: Age,
    /// Where all but the called one are.
    at: Option<Arc<str>>,
    looks: Mutex<usize>,
}

#[async_trait]
impl Look for Ring {
    async fn waits_of(&self, actor: &ActorId, _: Option<&str>) -> Vec<Edge> {
        *self.looks.lock() += 1;
        let number: usize = actor.key().parse().expect("a number");
        let id = CallId { node: NodeSession([2; 16]), number: number as u64 };
        let to = name((number + 1) % self.actors);
        vec![Edge { id, from: actor.clone(), to, age: self.age, at: self.at.clone() }]
    }

    async fn is_open(&self, _: CallId, _: Option<&str>) -> bool {
        true
    }

    async fn refuse(&self, call: CallId, _: &Cycle, _: Option<&str>) -> Refusal {
        panic!("{call:?} is older, and refused")
    }
}

#[test]
fn looks_are_bounded_and_so_are_those_at_other_processes() {
    let waits = Waits::new(NodeSession([1; 16]), Clock::system());
    let age = waits.age();
    for (at, longest) in [(None, PROBE_LOOKS_MAX), (Some("far"), PROBE_LOOKS_FAR_MAX + 1)] {
        for (actors, is_found) in [(longest + 1, true), (longest + 2, false)] {
            let chain = Chain::begun(waits.age(), &name(0));
            let making = waits.make(&chain, &name(1));
            let arrived = waits.arrive(making.id(), chain, &name(1)).expect("the first");
            let _working = arrived.working();
            let ring = Ring { actors, age, at: at.map(Into::into), looks: Mutex::new(0) };
            probe(&ring, &arrived).now_or_never().expect("it waits for no network");
            assert_eq!(arrived.is_queued(), !is_found, "{actors} actors, at {at:?}");
            // Each wait of a circle is looked at twice.
            let looks = if is_found { 2 * longest } else { longest };
            assert_eq!(*ring.looks.lock(), looks, "{actors} actors, at {at:?}");
        }
    }
}
