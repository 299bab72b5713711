//! The callers of the fleet, one for each actor, and what each of them knows.
//!
//! A caller asks some node, as a balancer picks it, and waits at most [`CALLER_TIME`]. It does what the
//! answer advises: the same number again if nothing was done, a new number if the outcome is not known.
//! When nodes are lost, the callers of their actors call within a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stockade::error::{Code, Retry};
use stockade::{ActorId, IntoArguments};
use stockade_sim_depot::dice::Dice;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::ledger::{ADD, COUNT};
use super::size::{Front, Size};
use crate::forward::{Answered, Asked, Lines, Node, Refusal};

/// How long a caller waits for an answer. 1 s: then it asks another node.
pub const CALLER_TIME: Duration = Duration::from_secs(1);
/// The pause before it asks again, at most.
const AGAIN_MS: u64 = 200;
/// How long a balancer takes to see that a node is gone. 2 s: two health checks.
const BALANCER_TIME: Duration = Duration::from_secs(2);
/// The most calls of one caller after nodes were lost whose answer does not come.
const TRIES_MAX: usize = 200;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has happened to a node.
    Whole,
    /// Nodes were lost at that moment.
    Lost(Instant),
    /// Callers end.
    Over,
}

/// What the caller of an actor knows.
#[derive(Clone, Debug, Default)]
pub struct Tale {
    /// Numbers that were acknowledged, in their order.
    pub acknowledged: Vec<u64>,
    /// Numbers whose outcome is not known.
    pub unknown: Vec<u64>,
    /// Numbers of which nothing was done, and which were not sent again.
    pub undone: Vec<u64>,
    /// The node that answered last.
    pub owner: Option<usize>,
    /// Whether that node was lost.
    pub is_lost: bool,
    /// How long after the loss the actor answered.
    pub answered_after: Option<Duration>,
}

/// What all callers know together.
#[derive(Default)]
pub struct Counts {
    /// Answers before and after the loss.
    pub answered: (u64, u64),
    /// Answers of which one node had passed the call on to another.
    pub passed_on: u64,
    /// Calls that were refused or not answered, by phase and code.
    pub refused: BTreeMap<(&'static str, String), u64>,
    /// How long calls of actors whose nodes live took after the loss, in milliseconds.
    pub others_ms: Vec<u64>,
    /// What must not happen.
    pub broken: Vec<String>,
    /// All answers, in their order.
    pub answers: Vec<Line>,
}

/// One answer: milliseconds since the run began, actor, node, count, milliseconds that it took.
pub type Line = [u64; 5];

/// All callers.
pub struct Callers {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The lines between them.
    pub lines: Arc<Lines>,
    /// Chance.
    pub dice: Arc<Dice>,
    /// How large everything is.
    pub size: Size,
    /// What they know.
    pub tales: Vec<Mutex<Tale>>,
    /// And together.
    pub counts: Mutex<Counts>,
    /// Where the run is.
    pub phase: Mutex<Phase>,
    /// It is at another place.
    pub news: Notify,
    /// When it began.
    pub begun: Instant,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Callers {
    /// The actor with a number.
    #[must_use]
    pub fn actor(number: usize) -> ActorId {
        ActorId::new(super::ledger::KIND, &number.to_string()).unwrap()
    }

    /// Where the run is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    /// The run is at another place from now on. All callers look, in their order.
    pub fn enter(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.news.notify_waiters();
    }

    fn lost_at(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Lost(at) => Some(at),
            Phase::Whole | Phase::Over => None,
        }
    }

    fn is_over(&self) -> bool {
        self.phase() == Phase::Over
    }

    /// A caller, until the run is over.
    pub async fn live(self: Arc<Self>, number: usize) {
        let (actor, dice) = (Self::actor(number), Arc::clone(&self.dice));
        sleep(Duration::from_millis(dice.below(self.size.begin_ms))).await;
        let (mut next, mut seen) = (1, Phase::Whole);
        while !self.is_over() {
            let writes = next == 1 || dice.percent(50);
            self.ask(number, &actor, writes, &mut next).await;
            let every = self.size.call_every_ms;
            let rest = Duration::from_millis(dice.between(every / 2, every * 3 / 2));
            if self.rest(number, Instant::now() + rest, &mut seen).await {
                sleep(Duration::from_millis(dice.below(1_000))).await;
            }
        }
    }

    /// Waits. Returns whether the actor's node was lost in that time.
    async fn rest(&self, number: usize, until: Instant, seen: &mut Phase) -> bool {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let phase = self.phase();
            if std::mem::replace(seen, phase) != phase {
                match phase {
                    Phase::Over => return false,
                    Phase::Lost(_) if self.tales[number].lock().is_lost => return true,
                    Phase::Lost(_) | Phase::Whole => {}
                }
            }
            tokio::select! {
                biased;
                () = news => {}
                () = sleep_until(until) => return false,
            }
        }
    }

    /// Calls the actor until it answers.
    async fn ask(&self, number: usize, actor: &ActorId, writes: bool, next: &mut u64) {
        let mut own = *next;
        *next += u64::from(writes);
        for _ in 0..TRIES_MAX {
            let begun = Instant::now();
            let (method, argument) = if writes { (ADD, own) } else { (COUNT, 0) };
            let arguments = (argument,).into_arguments().unwrap();
            let until = begun + CALLER_TIME;
            let asked = Asked { actor: actor.clone(), method, arguments, until };
            let advice = match self.through(number, &asked).await {
                Some(Ok(answered)) => {
                    return self.answered(number, &answered, writes.then_some(own), begun);
                }
                Some(Err(refusal)) => self.refused(&refusal),
                None => self.cut(),
            };
            if advice == Retry::UnknownOutcome && writes {
                self.tales[number].lock().unknown.push(own);
                own = *next;
                *next += 1;
            }
            if self.is_over() {
                break;
            }
            sleep(Duration::from_millis(self.dice.between(1, AGAIN_MS))).await;
        }
        if writes {
            self.tales[number].lock().undone.push(own);
        }
    }

    /// One attempt through a node that a balancer picks. `None`: the node has died over it.
    async fn through(&self, number: usize, asked: &Asked) -> Option<Result<Answered, Refusal>> {
        let node = self.pick(number);
        let answer = async {
            tokio::select! {
                biased;
                () = node.life.died() => std::future::pending().await,
                answer = self.lines.call(node, asked) => answer,
            }
        };
        timeout_at(asked.until + CALLER_TIME / 10, answer).await.ok()
    }

    fn pick(&self, number: usize) -> &Node {
        let lost_at = self.lost_at();
        let sees = lost_at.is_some_and(|at| at.elapsed() >= BALANCER_TIME);
        if let (Front::One(front), true) = (self.size.front, self.tales[number].lock().is_lost) {
            return &self.nodes[front];
        }
        loop {
            let count = u64::try_from(self.nodes.len()).unwrap_or(1);
            let node = &self.nodes[usize::try_from(self.dice.below(count)).unwrap_or(0)];
            if !sees || !node.life.is_dead() {
                return node;
            }
        }
    }

    fn answered(&self, number: usize, answered: &Answered, own: Option<u64>, begun: Instant) {
        let lost_at = self.lost_at();
        let count: u64 = answered.reply.read().unwrap();
        let mut counts = self.counts.lock();
        let mut tale = self.tales[number].lock();
        tale.acknowledged.extend(own);
        tale.owner = Some(answered.by);
        let known = u64::try_from(tale.acknowledged.len()).unwrap_or(u64::MAX);
        if count < known {
            counts.broken.push(format!("actor {number} shows {count} of {known} numbers"));
        }
        counts.passed_on += u64::from(answered.passed_on);
        let spent = millis(begun.elapsed());
        let [number, by] = [number, answered.by].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        counts.answers.push([millis(self.begun.elapsed()), number, by, count, spent]);
        match lost_at {
            None => counts.answered.0 += 1,
            Some(at) => {
                counts.answered.1 += 1;
                if tale.is_lost {
                    tale.answered_after.get_or_insert_with(|| at.elapsed());
                } else {
                    counts.others_ms.push(spent);
                }
            }
        }
    }

    fn phase_name(&self) -> &'static str {
        if self.lost_at().is_some() { "lost" } else { "whole" }
    }

    /// Counts a refusal. Returns its advice.
    fn refused(&self, refusal: &Refusal) -> Retry {
        let (code, advice) = (refusal.code(), refusal.advice());
        let mut counts = self.counts.lock();
        let name = format!("{}.{}", code.group(), code.name());
        *counts.refused.entry((self.phase_name(), name)).or_default() += 1;
        let is_bad = matches!(advice, Retry::Fix | Retry::Never) || code == Code::Internal;
        if is_bad {
            counts.broken.push(format!("refused without a way on: {refusal:?}"));
        }
        advice
    }

    /// Counts a call whose node has died over it.
    fn cut(&self) -> Retry {
        let name = (self.phase_name(), "(connection to a lost node)".to_owned());
        *self.counts.lock().refused.entry(name).or_default() += 1;
        Retry::UnknownOutcome
    }
}
