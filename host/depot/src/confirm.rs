//! Batched confirmations: one question to the store answers "is this fence still mine" for many
//! sessions at once.
//!
//! Invariant: an answer counts only for requests that were made before its question was sent. A
//! request that arrives while a round is under way therefore waits for the next one.
//!
//! ```text
//! requests  a b      c d e            f
//! rounds      [a b ....][c d e .........][f ...]
//! ```
//! The first to ask starts the rounds and polls them once: a store that answers at once (embedded)
//! costs no task. A store that takes its time gets a task, which ends when nobody waits.
//!
//! Rule of `docs/protocol.md`: D12.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cause::Cause;
use crate::depot::Depot;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::reason::Reason;
use crate::retry::{Retry, is_transient};
use crate::session::Shared;

/// Most fences in one question. More wait for the next round.
const ROUND_MAX: usize = 1024;

type Answer = Result<(), StoreError>;

/// Who waits for a round.
#[derive(Debug, Default)]
pub(crate) struct Confirmer {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Request>,
    running: bool,
}

#[derive(Debug)]
struct Request {
    fence: Fence,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

/// See [`crate::Session::confirm`].
pub(crate) async fn confirm(shared: &Arc<Shared>) -> Result<(), Cause> {
    may_ask(shared)?;
    let limit = shared.depot().limits().step_deadline;
    let answer = request(shared.depot(), shared.fence(), Instant::now() + limit);
    let answer = tokio::select! {
        biased;
        answer = answer => answer.unwrap_or(Err(StoreError::Closed)),
        cause = fatal(shared) => return Err(cause),
        () = tokio::time::sleep(limit) => {
            Err(StoreError::Unavailable("no confirmation before the deadline".into()))
        }
    };
    match answer {
        Ok(()) => may_ask(shared),
        Err(error) => match Cause::of_answer(&error) {
            None => Err(Cause::Unconfirmed(error)),
            Some(cause) => {
                shared.die(cause, "confirm");
                Err(shared.death().cause().expect("BUG: died without a cause"))
            }
        },
    }
}

/// Alive, or closed in order with effects of earlier calls still waiting.
fn may_ask(shared: &Shared) -> Result<(), Cause> {
    let death = shared.death();
    match death.cause() {
        None => Ok(()),
        Some(Cause::Closed(reason)) if !death.is_fatal() => match reason {
            Reason::Shutdown
            | Reason::Slept
            | Reason::Trapped
            | Reason::Budget
            | Reason::Upgraded
            | Reason::Operator => Ok(()),
            Reason::Fenced | Reason::Destroyed | Reason::Storage => Err(Cause::Closed(reason)),
        },
        Some(cause) => Err(cause),
    }
}

/// Resolves when the session may not ask any more.
async fn fatal(shared: &Shared) -> Cause {
    loop {
        let died = shared.died().notified();
        tokio::pin!(died);
        died.as_mut().enable();
        if let Err(cause) = may_ask(shared) {
            return cause;
        }
        died.await;
    }
}

/// Queues a request and makes sure that rounds run.
fn request(depot: &Arc<Depot>, fence: Fence, deadline: Instant) -> oneshot::Receiver<Answer> {
    let (answer, receiver) = oneshot::channel();
    let start = {
        let mut queue = depot.confirmer().queue.lock();
        queue.waiting.push(Request { fence, deadline, answer });
        !std::mem::replace(&mut queue.running, true)
    };
    if start {
        depot.run_from_here(run_rounds(Arc::clone(depot)));
    }
    receiver
}

/// Rounds until nobody waits.
async fn run_rounds(depot: Arc<Depot>) {
    let mut abandoned = Abandoned(Some(&depot));
    let mut retry: Option<Retry> = None;
    while let Some(round) = depot.confirmer().next_round() {
        let again = run_round(&depot, round).await;
        if again.is_empty() {
            retry = None;
            if depot.confirmer().someone_waits() {
                // Lets the first to ask go on, with the following rounds in a task.
                tokio::task::yield_now().await;
            }
            continue;
        }
        depot.confirmer().queue.lock().waiting.extend(again);
        let retry = retry.get_or_insert_with(|| depot.retry());
        if !retry.pause().await {
            *retry = depot.retry();
        }
    }
    abandoned.0 = None;
}

/// One question. Returns the requests that the store did not answer and that may be asked again.
async fn run_round(depot: &Depot, round: Vec<Request>) -> Vec<Request> {
    let fences: Vec<Fence> = round.iter().map(|request| request.fence).collect();
    // Not longer than a read may take, so that a question that got lost holds up nobody for long.
    let mut limit = Retry::new(depot.limits().read_deadline, depot.random());
    let answers = match limit.ask(depot.store().confirm(&fences)).await {
        Ok(answers) if answers.len() == fences.len() => answers,
        Ok(answers) => {
            let what = format!("asked for {} fences, got {}", fences.len(), answers.len());
            vec![Err(StoreError::Unavailable(what)); fences.len()]
        }
        Err(error) => vec![Err(error); fences.len()],
    };
    let now = Instant::now();
    let mut again = Vec::new();
    for (request, answer) in round.into_iter().zip(answers) {
        match answer {
            Err(error) if is_transient(&error) && now < request.deadline => again.push(request),
            // Nobody listens: that session died or its caller gave up.
            answer => drop(request.answer.send(answer)),
        }
    }
    again.retain(|request| !request.answer.is_closed());
    again
}

impl Confirmer {
    fn someone_waits(&self) -> bool {
        !self.queue.lock().waiting.is_empty()
    }

    /// Takes those who wait now. `None` ends the rounds.
    fn next_round(&self) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock();
        queue.waiting.retain(|request| !request.answer.is_closed());
        let round: Vec<Request> = {
            let len = queue.waiting.len().min(ROUND_MAX);
            queue.waiting.drain(..len).collect()
        };
        queue.running = !round.is_empty();
        (!round.is_empty()).then_some(round)
    }
}

/// Lets everyone go who waits for rounds that were dropped in the middle (runtime shutdown).
struct Abandoned<'a>(Option<&'a Depot>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(depot) = self.0 else { return };
        let mut queue = depot.confirmer().queue.lock();
        queue.running = false;
        queue.waiting.clear();
    }
}
