//! Calls between simulated hosts: what `stockade-server` does over HTTP (`gateway/forward.rs` and
//! `gateway/peer.rs`), without HTTP.
//!
//! Real are the place of an actor, the check of a route, what follows from a refusal, and the pauses:
//! all are the library's (`Host::place`, `check_route`, `was_refused`, `Attempts::next_pause`). Made up
//! is the line between two hosts: a delay each way, and losses. A call that is lost on its way there is
//! one that was not sent; one whose answer is lost ends with the caller's time, as `unanswered`.
//! Admission to a process, bodies and their bounds are left out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stockade::error::{Code, Retry, Verdict};
use stockade::host::{Attempts, Peer, Place, Reply, Route};
use stockade::internal::{AfterRefusal, is_moved};
use stockade::{ActorId, Arguments, CallError, Host, HostError};
use stockade_sim_depot::network::Life;
use tokio::time::{Instant, sleep, timeout_at};

/// A process that takes calls.
#[derive(Clone)]
pub struct Node {
    /// Its number.
    pub number: usize,
    /// The host.
    pub host: Host,
    /// The life of the process.
    pub life: Arc<Life>,
}

/// What happens to one call between two processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passage {
    /// How long each way takes.
    pub delay: Duration,
    /// The call does not arrive, and the one who sends it knows.
    pub not_sent: bool,
    /// The answer does not arrive.
    pub lost: bool,
}

/// The lines between all processes.
pub struct Lines {
    nodes: Mutex<HashMap<String, Node>>,
    weather: Box<dyn Fn() -> Passage + Send + Sync>,
    /// Takes a line for each refusal of a process that a call was passed on to.
    log: Box<dyn Fn(String) + Send + Sync>,
    /// What must not happen between processes.
    broken: Mutex<Vec<String>>,
}

/// A call, as it was asked for.
#[derive(Clone)]
pub struct Asked {
    /// The actor.
    pub actor: ActorId,
    /// The method.
    pub method: &'static str,
    /// Its arguments.
    pub arguments: Arguments,
    /// The caller's time.
    pub until: Instant,
}

/// An answer, and the process that gave it.
pub struct Answered {
    /// The answer.
    pub reply: Reply,
    /// The process.
    pub by: usize,
    /// Whether another process passed the call on.
    pub passed_on: bool,
}

/// Why a call was not answered.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// A host refused it, or it failed there.
    Host(Box<CallError>),
    /// It was sent to another process, and its answer did not come in time.
    Unanswered,
    /// The caller's time was over before it was sent.
    DeadlinePassed,
    /// The process that has the actor was not reached.
    NotReached,
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Self::Host(Box::new(error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => write!(f, "{error}"),
            Self::Unanswered | Self::DeadlinePassed | Self::NotReached => {
                write!(f, "{}", self.code().name())
            }
        }
    }
}

impl Refusal {
    /// Its row in the table of errors.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Host(error) => error.code(),
            Self::Unanswered => Code::Unanswered,
            Self::DeadlinePassed => Code::DeadlinePassed,
            Self::NotReached => Code::PeerUnreachable,
        }
    }

    /// What its caller should do.
    #[must_use]
    pub fn advice(&self) -> Retry {
        match self {
            Self::Host(error) => error.retry(),
            Self::Unanswered | Self::DeadlinePassed | Self::NotReached => self.code().retry(),
        }
    }

    /// What became of the call's writes; `None`: there are none.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Host(error) => error.verdict,
            Self::Unanswered => Some(Verdict::Indeterminate),
            Self::DeadlinePassed | Self::NotReached => None,
        }
    }
}

/// How an attempt ended.
enum Ended {
    Answered(Answered),
    Refused(Refusal),
    NotDone { refusal: Refusal, now: bool },
}

impl Ended {
    fn not_done(refusal: Refusal) -> Self {
        Self::NotDone { refusal, now: false }
    }
}

impl Lines {
    /// Lines that do to each call what `weather` says, and report refusals to `log`.
    #[must_use]
    pub fn new(
        weather: impl Fn() -> Passage + Send + Sync + 'static,
        log: impl Fn(String) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (nodes, broken) = (Mutex::default(), Mutex::default());
        Arc::new(Self { nodes, weather: Box::new(weather), log: Box::new(log), broken })
    }

    /// Lets others reach a process at an address.
    pub fn join(&self, address: &str, node: Node) {
        self.nodes.lock().insert(address.to_owned(), node);
    }

    /// No process is reached at the address any more: calls to it end with their callers' time.
    pub fn leave(&self, address: &str) {
        self.nodes.lock().remove(address);
    }

    /// What has happened that must not, since the last question: a process has taken a call that was
    /// sent to another run of it.
    pub fn take_broken(&self) -> Vec<String> {
        std::mem::take(&mut *self.broken.lock())
    }

    /// Calls a method where its actor is. `from`: the process that its caller has asked.
    ///
    /// # Errors
    /// What the caller gets.
    pub async fn call(&self, from: &Node, asked: &Asked) -> Result<Answered, Refusal> {
        let mut attempts = Attempts::default();
        loop {
            let place = timeout_at(asked.until, from.host.place(&asked.actor, &attempts)).await;
            let place = place.map_err(|_| Refusal::DeadlinePassed)?;
            let place = place.map_err(|error| Refusal::Host(Box::new(error.into())))?;
            let ended = match place {
                Place::Here => here(from, asked).await,
                Place::There { peer, route } => {
                    let ended = self.there(from, asked, &peer, route).await;
                    if let (Route::Start { .. }, Ended::NotDone { .. }) = (route, &ended) {
                        attempts.refused.push(peer.session);
                    }
                    ended
                }
            };
            let (refusal, now) = match ended {
                Ended::Answered(answered) => return Ok(answered),
                Ended::Refused(refusal) => return Err(refusal),
                Ended::NotDone { refusal, now } => (refusal, now),
            };
            if !now {
                let pause = attempts.next_pause();
                if Instant::now() + pause >= asked.until {
                    return Err(refusal);
                }
                sleep(pause).await;
            }
        }
    }

    /// One attempt in another process.
    async fn there(&self, from: &Node, asked: &Asked, peer: &Peer, route: Route) -> Ended {
        let passage = (self.weather)();
        let node = self.nodes.lock().get(&peer.address).cloned();
        sleep(passage.delay).await;
        if passage.not_sent {
            from.host.forget_place(&asked.actor);
            return Ended::not_done(Refusal::NotReached);
        }
        let answer = async {
            let Some(node) = node else { return std::future::pending().await };
            let answer = tokio::select! {
                biased;
                () = node.life.died() => std::future::pending().await,
                answer = self.run_route(&node, asked, peer, route) => answer,
            };
            if passage.lost {
                return std::future::pending().await;
            }
            sleep(passage.delay).await;
            answer.map(|reply| Answered { reply, by: node.number, passed_on: true })
        };
        let error = match timeout_at(asked.until, answer).await {
            Ok(Ok(answered)) => return Ended::Answered(answered),
            Ok(Err(error)) => error,
            Err(_) => {
                from.host.forget_place(&asked.actor);
                return Ended::Refused(Refusal::Unanswered);
            }
        };
        (self.log)(format!("{} is refused by {}: {error}", from.life.name, peer.address));
        let runs = match &error.cause {
            HostError::Reroute { runs, .. } => *runs,
            _ => None,
        };
        let refused = (error.code(), error.retry());
        let refusal = Refusal::Host(Box::new(error));
        match from.host.was_refused(&asked.actor, (peer, route), refused, runs) {
            AfterRefusal::Told => Ended::Refused(refusal),
            AfterRefusal::Again { now } => Ended::NotDone { refusal, now },
        }
    }

    /// What a process does with a call that another one passes on.
    async fn run_route(
        &self,
        node: &Node,
        asked: &Asked,
        peer: &Peer,
        route: Route,
    ) -> Result<Reply, CallError> {
        node.host.check_route(&asked.actor, peer.session, route)?;
        if peer.session != node.host.session() {
            let what = format!("{} takes a call that was sent to another run", node.life.name);
            self.broken.lock().push(what);
        }
        node.host.actor(&asked.actor).call(asked.method, asked.arguments.clone()).await
    }
}

/// One attempt in the process that was asked.
async fn here(from: &Node, asked: &Asked) -> Ended {
    let actor = from.host.actor(&asked.actor);
    let run = actor.call(asked.method, asked.arguments.clone());
    let error = match timeout_at(asked.until, run).await {
        Ok(Ok(reply)) => {
            return Ended::Answered(Answered { reply, by: from.number, passed_on: false });
        }
        Ok(Err(error)) => error,
        Err(_) => return Ended::Refused(Refusal::Unanswered),
    };
    // No other process would begin the actor.
    let is_stuck = error.code() == Code::Draining && from.host.drain_status().takers == 0;
    let moved = is_moved(error.code(), error.retry()) && !is_stuck;
    let refusal = Refusal::Host(Box::new(error));
    if moved { Ended::not_done(refusal) } else { Ended::Refused(refusal) }
}
