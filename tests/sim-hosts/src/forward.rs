//! What one simulated host passes on to another one: what `stockade-server` does over HTTP
//! (`gateway/forward.rs` and `gateway/peer.rs`), without HTTP.
//!
//! ```text
//!  errand ── place? ── here ──> run ──────────────────┬─> an answer, or an error that stays one
//!               ^  └── there ──> delay, route, run ───┤
//!               └── pause <── nothing was done ───────┘
//! ```
//! Real are the place of an actor, the check of a route, what follows from a refusal, and the pauses:
//! all are the library's (`Host::place`, `check_route`, `was_refused`, `Attempts::next_pause`). Made up
//! is the line between two hosts: a delay each way, losses, and copies that come later. An errand that
//! is lost on its way there is one that was not sent; one whose answer is lost ends with the caller's
//! time, as `unanswered`. Only what may be done again has copies, and arrives whatever becomes of its
//! sender. Admission to a process, bodies and their bounds are left out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value as Json;
use stockade::error::{Body, Code, Retry, Verdict};
use stockade::host::{Attempts, Peer, Place, Reply, Route};
use stockade::internal::{AfterRefusal, Parcel, is_moved};
use stockade::{ActorId, Arguments, CallError, Host, HostError};
use stockade_sim_depot::network::{Life, Network, Weather};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// Parcels of which copies may come later.
const PARCELS_KEPT: usize = 200;

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

/// What happens to one errand between two processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passage {
    /// How long each way takes.
    pub delay: Duration,
    /// The errand does not arrive, and the one who sends it knows.
    pub not_sent: bool,
    /// The answer does not arrive.
    pub lost: bool,
    /// A copy arrives so much later, if the errand may be done again.
    pub again: Option<Duration>,
}

/// The lines between all processes.
pub struct Lines {
    nodes: Mutex<HashMap<String, Node>>,
    weather: Box<dyn Fn() -> Passage + Send + Sync>,
    /// Takes a line for each refusal of a process that a call was passed on to.
    log: Box<dyn Fn(String) + Send + Sync>,
    /// The newest parcels of messages: copies of them may come at any time.
    parcels: Mutex<VecDeque<(ActorId, Parcel)>>,
    /// What must not happen between processes.
    broken: Arc<Mutex<Vec<String>>>,
}

/// What the process of an actor is asked to do. Cloning makes a copy of the request.
pub trait Errand: Clone + Send + Sync + 'static {
    /// What comes of it.
    type Answer: Send + 'static;

    /// Does it in the process that has the actor, or may begin it.
    fn run<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Result<Self::Answer, CallError>>;

    /// Whether a copy of it does no harm.
    fn may_repeat(&self) -> bool {
        false
    }

    /// Whether it begins no actor, as an operator's order.
    fn is_order(&self) -> bool {
        false
    }

    /// How long its sender waits at most for the answer of another process.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// A call of a caller that is no actor.
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

impl Errand for Asked {
    type Answer = Reply;

    fn run<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Result<Reply, CallError>> {
        let actor = node.host.actor(&self.actor);
        Box::pin(async move { actor.call(self.method, self.arguments.clone()).await })
    }
}

/// An answer, and the process that gave it.
pub struct Answered<T = Reply> {
    /// The answer.
    pub reply: T,
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

    /// The same as one process says it to another.
    #[must_use]
    pub fn body(&self) -> Body {
        match self {
            Self::Host(error) => error.body(),
            Self::Unanswered | Self::DeadlinePassed | Self::NotReached => {
                self.code().body(self.to_string(), Json::Object(serde_json::Map::new()))
            }
        }
    }
}

/// How an attempt ended.
enum Ended<T> {
    Answered(Answered<T>),
    Refused(Refusal),
    NotDone { refusal: Refusal, now: bool },
}

impl<T> Ended<T> {
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
        let (weather, log) = (Box::new(weather), Box::new(log));
        let (nodes, parcels, broken) = (Mutex::default(), Mutex::default(), Arc::default());
        Arc::new(Self { nodes, weather, log, parcels, broken })
    }

    /// Lines that are as bad as the network to the store. `copies`: copies of errands arrive as well.
    #[must_use]
    pub fn over(network: &Arc<Network>, weather: Weather, copies: bool) -> Arc<Self> {
        let (network, journal) = (Arc::clone(network), Arc::clone(&network.journal));
        let weather = move || {
            let dice = &network.dice;
            let calm = network.calm.load(Ordering::SeqCst);
            let weather = if calm { Weather::CALM } else { weather };
            let again = copies && dice.percent(weather.doubled);
            Passage {
                delay: Duration::from_millis(dice.below(weather.delay_ms + 1)),
                not_sent: dice.percent(weather.lost_requests),
                lost: dice.percent(weather.lost_answers),
                again: again.then(|| Duration::from_millis(dice.between(1, weather.late_ms))),
            }
        };
        Self::new(weather, move |what| journal.say(&what))
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

    /// The process at an address.
    #[must_use]
    pub fn node(&self, address: &str) -> Option<Node> {
        self.nodes.lock().get(address).cloned()
    }

    /// Keeps a parcel that was sent.
    pub fn keep(&self, to: &ActorId, parcel: &Parcel) {
        let mut parcels = self.parcels.lock();
        if parcels.len() == PARCELS_KEPT {
            parcels.pop_front();
        }
        parcels.push_back((to.clone(), parcel.clone()));
    }

    /// The parcels that are kept, the oldest one first.
    #[must_use]
    pub fn parcels(&self) -> Vec<(ActorId, Parcel)> {
        self.parcels.lock().iter().cloned().collect()
    }

    /// What happens to the next errand.
    #[must_use]
    pub fn passage(&self) -> Passage {
        (self.weather)()
    }

    /// Calls a method where its actor is. `from`: the process that its caller has asked.
    ///
    /// # Errors
    /// What the caller gets.
    pub async fn call(&self, from: &Node, asked: &Asked) -> Result<Answered, Refusal> {
        self.carry(from, &asked.actor, asked.until, asked, &|_| {}).await
    }

    /// Has an errand done where its actor is. `from`: the process of its sender. `leaves`: called when
    /// it is about to be done there, or to be sent to the process at an address.
    ///
    /// # Errors
    /// What the sender gets.
    pub async fn carry<E: Errand>(
        &self,
        from: &Node,
        actor: &ActorId,
        until: Instant,
        errand: &E,
        leaves: Leaves<'_>,
    ) -> Result<Answered<E::Answer>, Refusal> {
        let mut attempts = Attempts::default();
        loop {
            let looking = async {
                match errand.is_order() {
                    true => from.host.place_of_order(actor).await,
                    false => from.host.place(actor, &attempts).await,
                }
            };
            let place = timeout_at(until, looking).await;
            let place = place.map_err(|_| Refusal::DeadlinePassed)?;
            let place = place.map_err(|error| Refusal::Host(Box::new(error.into())))?;
            let ended = match place {
                Place::Here => {
                    leaves(None);
                    here(from, until, errand).await
                }
                Place::There { peer, route } => {
                    let way = Way { actor, peer: &peer, route, until, leaves };
                    let ended = self.there(from, errand, &way).await;
                    if let (Route::Start { .. }, Ended::NotDone { .. }) = (route, &ended) {
                        attempts.refused.push(peer.session);
                    }
                    ended
                }
            };
            let (refusal, now) = match ended {
                Ended::Answered(answer) => return Ok(answer),
                Ended::Refused(refusal) => return Err(refusal),
                Ended::NotDone { refusal, now } => (refusal, now),
            };
            if !now {
                let pause = attempts.next_pause();
                if Instant::now() + pause >= until {
                    return Err(refusal);
                }
                sleep(pause).await;
            }
        }
    }

    /// One attempt in another process.
    async fn there<E: Errand>(&self, from: &Node, errand: &E, way: &Way<'_>) -> Ended<E::Answer> {
        let Way { actor, peer, route, until, leaves } = *way;
        let passage = self.passage();
        let node = self.node(&peer.address);
        sleep(passage.delay).await;
        if passage.not_sent {
            from.host.forget_place(actor);
            return Ended::not_done(Refusal::NotReached);
        }
        leaves(Some(&peer.address));
        let answer = async {
            let Some(node) = node else { return std::future::pending().await };
            let by = node.number;
            let sent = Sent {
                errand: errand.clone(),
                actor: actor.clone(),
                to: peer.clone(),
                route,
                broken: Arc::clone(&self.broken),
            };
            let done = if errand.may_repeat() {
                if let Some(later) = passage.again {
                    let (copy, node) = (sent.clone(), node.clone());
                    tokio::spawn(async move {
                        sleep(later).await;
                        drop(copy.arrives(&node).await);
                    });
                }
                let (answer, done) = oneshot::channel();
                // The sender may have gone.
                tokio::spawn(async move { drop(answer.send(sent.arrives(&node).await)) });
                match done.await {
                    Ok(done) => done,
                    Err(_) => return std::future::pending().await,
                }
            } else {
                sent.arrives(&node).await
            };
            if passage.lost {
                return std::future::pending().await;
            }
            sleep(passage.delay).await;
            done.map(|reply| Answered { reply, by, passed_on: true })
        };
        let patient = errand.patience().map(|patience| Instant::now() + patience);
        let error = match timeout_at(patient.map_or(until, |it| it.min(until)), answer).await {
            Ok(Ok(answered)) => return Ended::Answered(answered),
            Ok(Err(error)) => error,
            Err(_) => {
                from.host.forget_place(actor);
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
        match from.host.was_refused(actor, (peer, route), refused, runs) {
            AfterRefusal::Told => Ended::Refused(refusal),
            AfterRefusal::Again { now } => Ended::NotDone { refusal, now },
        }
    }
}

/// Learns where an errand goes; `None`: it stays in its sender's process.
pub type Leaves<'a> = &'a (dyn Fn(Option<&str>) + Send + Sync);

/// The way of one attempt.
struct Way<'a> {
    actor: &'a ActorId,
    peer: &'a Peer,
    route: Route,
    until: Instant,
    leaves: Leaves<'a>,
}

/// An errand on its way to another process.
#[derive(Clone)]
struct Sent<E> {
    errand: E,
    actor: ActorId,
    to: Peer,
    route: Route,
    broken: Arc<Mutex<Vec<String>>>,
}

impl<E: Errand> Sent<E> {
    /// What a process does with an errand that another one passes on. A process that has died does
    /// nothing.
    async fn arrives(&self, node: &Node) -> Result<E::Answer, CallError> {
        tokio::select! {
            biased;
            () = node.life.died() => std::future::pending().await,
            done = self.run(node) => done,
        }
    }

    async fn run(&self, node: &Node) -> Result<E::Answer, CallError> {
        match self.errand.is_order() {
            true => node.host.check_order(&self.actor, self.to.session)?,
            false => node.host.check_route(&self.actor, self.to.session, self.route)?,
        }
        if self.to.session != node.host.session() {
            let what = format!("{} takes a call that was sent to another run", node.life.name);
            self.broken.lock().push(what);
        }
        self.errand.run(node).await
    }
}

/// One attempt in the process that was asked.
async fn here<E: Errand>(from: &Node, until: Instant, errand: &E) -> Ended<E::Answer> {
    let error = match timeout_at(until, errand.run(from)).await {
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
