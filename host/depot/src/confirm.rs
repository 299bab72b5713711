//! Batched confirmations: one question to the store answers "is this fence still mine" for many
//! sessions at the same time.
//!
//! Invariant: an answer counts only for requests that were made before its question was sent. A
//! request that arrives while a round is under way therefore waits for the next one.
//!
//! ```text
//! requests  a b      c d e            f
//! rounds      [a b ....][c d e .........][f ...]
//! ```
//! The first request starts the rounds and polls them once: a store that answers immediately
//! (embedded) costs no task. A store that takes its time gets a task, which ends when no request
//! waits.
//!
//! Rule of `docs/protocol.md`: D12.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::eager;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::limits::DepotLimits;
use crate::random::Random;
use crate::retry::{Retry, is_transient};
use crate::store::Store;

/// Most fences in one question. More wait for the next round.
const ROUND_MAX: usize = 1024;

/// Whether a fence still holds.
pub(crate) type Answer = Result<(), StoreError>;

/// Asks for all sessions of a process.
pub(crate) struct Confirmer {
    store: Arc<dyn Store>,
    runtime: Handle,
    random: Random,
    /// How long a question may take.
    round: Duration,
    /// How long questions are asked again, with growing pauses, before the pauses are short again.
    rounds: Duration,
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

impl Confirmer {
    /// One that asks `store`, with tasks on `runtime` if the store takes its time.
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        limits: &DepotLimits,
        runtime: &Handle,
        random: &Random,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            runtime: runtime.clone(),
            random: random.clone(),
            // Not longer than a read may take, so that a lost question delays no request for long.
            round: limits.read_deadline,
            rounds: limits.step_deadline,
            queue: Mutex::default(),
        }
    }

    /// Queues a request and makes sure that rounds run.
    pub(crate) fn request(
        self: &Arc<Self>,
        fence: Fence,
        deadline: Instant,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let start = {
            let mut queue = self.queue.lock();
            queue.waiting.push(Request { fence, deadline, answer });
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            eager::run(&self.runtime, run_rounds(Arc::clone(self)));
        }
        receiver
    }

    fn retry(&self) -> Retry {
        Retry::new(self.rounds, &self.random)
    }

    fn someone_waits(&self) -> bool {
        !self.queue.lock().waiting.is_empty()
    }

    /// Takes the requests that wait now. `None` ends the rounds.
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

/// Runs rounds until no request waits.
async fn run_rounds(confirmer: Arc<Confirmer>) {
    let mut abandoned = Abandoned(Some(&confirmer));
    let mut retry: Option<Retry> = None;
    while let Some(round) = confirmer.next_round() {
        let again = run_round(&confirmer, round).await;
        if again.is_empty() {
            retry = None;
            if confirmer.someone_waits() {
                // Lets the first request continue, with the following rounds in a task.
                tokio::task::yield_now().await;
            }
            continue;
        }
        confirmer.queue.lock().waiting.extend(again);
        let retry = retry.get_or_insert_with(|| confirmer.retry());
        if !retry.pause().await {
            *retry = confirmer.retry();
        }
    }
    abandoned.0 = None;
}

/// One question. Returns the requests that the store did not answer and that may be asked again.
async fn run_round(confirmer: &Confirmer, round: Vec<Request>) -> Vec<Request> {
    let fences: Vec<Fence> = round.iter().map(|request| request.fence).collect();
    let mut once = Retry::new(confirmer.round, &confirmer.random);
    let answers = match once.ask(confirmer.store.confirm(&fences)).await {
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
            // No receiver: that session died or its caller gave up.
            answer => drop(request.answer.send(answer)),
        }
    }
    again.retain(|request| !request.answer.is_closed());
    again
}

/// Releases the requests that wait for rounds that were dropped in the middle (runtime shutdown).
struct Abandoned<'a>(Option<&'a Confirmer>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(confirmer) = self.0 else { return };
        let mut queue = confirmer.queue.lock();
        queue.running = false;
        queue.waiting.clear();
    }
}
