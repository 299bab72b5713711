//! Finds chains of calls that cross, and ends the circle.
//!
//! ```text
//!  a call of a chain [.., x] arrives at y ──> for whom does y wait? ──> and those? ──> ..
//!                                                   └─ for an actor of the chain: a circle
//!  circle ──> look at each of its waits once more, and for its call at the called actor
//!         ──> all are there still: it is real
//!         ──> the call of the youngest chain that has not begun is refused
//! ```
//! Invariants:
//! - A circle of waits that were each seen twice, by calls that are never the same and that had not
//!   ended after the first look, existed at the moment between the two looks. The caller alone does not
//!   know: it waits until it has the answer, and its callee may do something else by then.
//! - Every process prefers the same call of a circle, so that two probes refuse one call.
//! - A call that closes many circles gives way itself, which opens all of them.
//! - Looks are bounded. A circle that is too long to be found ends with the time of its calls.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use stockade_depot::ActorId;
use stockade_depot::broken::{self, Variant};

use super::chain::{Age, CallId, Cycle};
use super::waits::{Arrived, Edge, Refusal};
use crate::limits::{PROBE_LOOKS_FAR_MAX, PROBE_LOOKS_MAX};

/// Calls that one probe refuses before the call that it is for gives way itself. 2: an actor that
/// waits for a thousand others at the same time would cost looks without end.
const OTHERS_MAX: usize = 2;

/// How a probe looks at the waits of all processes. `at`: the address of a process; `None`: this one.
/// So it is in the answers.
#[async_trait]
pub trait Look: Send + Sync {
    /// For whom an actor waits. Empty if the process does not answer.
    async fn waits_of(&self, actor: &ActorId, at: Option<&str>) -> Vec<Edge>;

    /// Whether a call is queued or begun where it is, as far as its process can say. A process that does
    /// not answer: `false`, since its calls end by themselves.
    async fn is_open(&self, call: CallId, at: Option<&str>) -> bool;

    /// Refuses a call where it is, unless it has begun. A process that does not answer: `Done`, since
    /// its calls end by themselves.
    async fn refuse(&self, call: CallId, cycle: &Cycle, at: Option<&str>) -> Refusal;
}

/// A wait, and the process of the actor that waits.
#[derive(Clone)]
struct Step {
    edge: Edge,
    asked: Option<Arc<str>>,
}

/// Looks that a probe has taken.
#[derive(Default)]
struct Looks {
    all: usize,
    far: usize,
}

impl Looks {
    /// Whether one more is possible.
    fn take(&mut self, is_far: bool) -> bool {
        self.all += 1;
        self.far += usize::from(is_far);
        self.all <= PROBE_LOOKS_MAX && self.far <= PROBE_LOOKS_FAR_MAX
    }
}

/// Follows the waits from the called actor. Refuses one call of each circle that `arrived` closes.
pub async fn probe(look: &dyn Look, arrived: &Arrived) {
    if broken::is_off(Variant::CallProbe) {
        return;
    }
    let (mut looks, mut over, mut refused) = (Looks::default(), HashSet::new(), 0);
    while arrived.is_queued() {
        let Some(circle) = find(look, arrived, &over, &mut looks).await else { return };
        // A circle that is no longer there, or a call of it that was refused: is there another one?
        if let Some(call) = gone(look, &circle).await {
            over.insert(call);
        } else if let Some(call) = open(look, arrived, &circle, refused >= OTHERS_MAX).await {
            refused += 1;
            over.insert(call);
        }
    }
}

/// The waits from the called actor to one of the chain, if there are any. `over`: calls that may still
/// seem to be waited for.
async fn find(
    look: &dyn Look,
    arrived: &Arrived,
    over: &HashSet<CallId>,
    looks: &mut Looks,
) -> Option<Vec<Step>> {
    let mut led_by: HashMap<ActorId, Step> = HashMap::new();
    let mut seen: HashSet<ActorId> = HashSet::from([arrived.to().clone()]);
    let mut next = VecDeque::from([(arrived.to().clone(), None::<Arc<str>>)]);
    while let Some((actor, asked)) = next.pop_front() {
        if !looks.take(asked.is_some()) {
            return None;
        }
        let edges = look.waits_of(&actor, asked.as_deref()).await;
        for edge in edges.into_iter().filter(|edge| !over.contains(&edge.id)) {
            let step = Step { edge, asked: asked.clone() };
            if arrived.chain().cycle_with(&step.edge.to).is_some() {
                return Some(circle(arrived, &led_by, step));
            }
            if seen.insert(step.edge.to.clone()) {
                next.push_back((step.edge.to.clone(), step.edge.at.clone()));
                led_by.insert(step.edge.to.clone(), step);
            }
        }
    }
    None
}

/// The waits from the called actor to one of the chain.
fn circle(arrived: &Arrived, led_by: &HashMap<ActorId, Step>, last: Step) -> Vec<Step> {
    let mut steps = vec![last];
    while let Some(first) = steps.last()
        && first.edge.from != *arrived.to()
        && let Some(before) = led_by.get(&first.edge.from)
    {
        let before = before.clone();
        steps.push(before);
    }
    steps.reverse();
    steps
}

/// The second look: a call of a circle that is waited for no longer, has ended, or has not arrived. It
/// closes no circle from now on, or its own probe finds that.
async fn gone(look: &dyn Look, circle: &[Step]) -> Option<CallId> {
    for Step { edge, asked } in circle {
        let now = look.waits_of(&edge.from, asked.as_deref()).await;
        let is_made = now.iter().any(|made| made.id == edge.id);
        if !is_made || !look.is_open(edge.id, edge.at.as_deref()).await {
            return Some(edge.id);
        }
    }
    None
}

/// Refuses one call of a circle, and returns it; `arrived` itself if it is the one that gives way.
/// `None`: all have begun.
async fn open(
    look: &dyn Look,
    arrived: &Arrived,
    circle: &[Step],
    gives_way: bool,
) -> Option<CallId> {
    let back = arrived.chain().cycle_with(&circle.last()?.edge.to)?;
    let between = circle.iter().map(|step| step.edge.from.clone());
    let actors = back.actors.into_iter().chain(between).collect();
    let cycle = Cycle { actors, crosses: true };
    let own = (arrived.chain().age(), arrived.id(), None);
    let others = if gives_way { &[] } else { circle };
    let others = others.iter().map(|step| (step.edge.age, step.edge.id, Some(step)));
    let mut youngest: Vec<(Age, CallId, Option<&Step>)> = others.chain([own]).collect();
    youngest.sort_unstable_by_key(|(age, id, _)| (*age, *id));
    for (_, id, step) in youngest.into_iter().rev() {
        let refusal = match step {
            None => arrived.refuse(&cycle),
            Some(step) => look.refuse(id, &cycle, step.edge.at.as_deref()).await,
        };
        if refusal == Refusal::Done {
            tracing::debug!(?cycle, call = ?id, "calls that would wait for each other: one gives way");
            return Some(id);
        }
    }
    // All have begun: what was seen has changed.
    None
}
