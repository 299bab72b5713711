//! A bad network between the nodes and their store: every step may be delayed, overtaken, doubled,
//! lost on the way there or back, or refused; a node may be cut off, or die with its requests on
//! the way.
//!
//! ```text
//! caller ── request ──(delay, lost)──> applied ──(delay, lost)──> answer
//!   │          └── again ──(much later)──> applied again, unheard
//!   └── Unknown at some time, or no word at all, when request or answer is lost
//! ```
//! A request once sent arrives or not whatever becomes of its sender.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::layer::{Asked, Call, Confirmed, Layer};
use stockade_depot::store::{ActorState, CommitRow, Created, History, Look, Store, TakenOver};
use stockade_depot::{Head, StoreError};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::journal::Journal;
use crate::judge::Judge;

/// How bad the network is: cases in a hundred, and milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Requests that never arrive.
    pub lost_requests: u64,
    /// Answers that never arrive.
    pub lost_answers: u64,
    /// Requests that arrive a second time.
    pub doubled: u64,
    /// Requests that arrive long after their sender gave up.
    pub late: u64,
    /// Requests that are refused unseen.
    pub refused: u64,
    /// The usual delay of one way, at most.
    pub delay_ms: u64,
    /// How much later a late or doubled request comes, at most.
    pub late_ms: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        lost_requests: 0,
        lost_answers: 0,
        doubled: 0,
        late: 0,
        refused: 0,
        delay_ms: 1,
        late_ms: 1,
    };

    /// Something between a slow network and a broken one.
    #[must_use]
    pub fn roll(dice: &Dice) -> Self {
        let bad = dice.between(0, 3);
        Self {
            lost_requests: bad * dice.below(4),
            lost_answers: bad * dice.below(5),
            doubled: bad * dice.below(5),
            late: bad * dice.below(3),
            refused: bad * dice.below(4),
            delay_ms: dice.between(1, 12),
            late_ms: dice.between(50, 3000),
        }
    }
}

/// How long what is no step of a store is waited for. In milliseconds.
const GIVEN_UP_MS: u64 = 400;

/// What all links of a run share.
pub struct Network {
    /// The one store, without a network in front.
    pub store: Arc<dyn Store>,
    /// Chance.
    pub dice: Arc<Dice>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// What must hold.
    pub judge: Arc<Judge>,
    /// Whether everything works from now on.
    pub calm: AtomicBool,
    weather: Weather,
    messages: AtomicU64,
}

/// One life of a node, as the network knows it.
pub struct Life {
    /// Its number and how often it was started: for the log.
    pub name: String,
    dead: AtomicBool,
    cut_off: AtomicBool,
    /// Counts down at everything that the node sends, has applied, or receives; the node dies at
    /// zero.
    dies_in: AtomicU64,
    death: Notify,
    /// When its last accepted sign of life was sent.
    beaten: Mutex<Option<Instant>>,
}

impl Life {
    /// A node that works; it dies after so many events of its messages (0: never by itself).
    #[must_use]
    pub fn new(name: String, dies_in: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            dead: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            dies_in: AtomicU64::new(dies_in),
            death: Notify::new(),
            beaten: Mutex::default(),
        })
    }

    /// From now on nothing leaves or reaches it.
    pub fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.death.notify_waiters();
    }

    /// Resolves when it has died.
    pub async fn died(&self) {
        let death = self.death.notified();
        tokio::pin!(death);
        death.as_mut().enable();
        if !self.is_dead() {
            death.await;
        }
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// It dies after so many further events of its messages.
    pub fn dies_in(&self, events: u64) {
        self.dies_in.store(events, Ordering::SeqCst);
    }

    /// Cuts it off from the store, or connects it again.
    pub fn cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::SeqCst);
    }

    /// When its last sign of life was sent that the store has accepted, as the node knows.
    pub fn beaten(&self) -> Option<Instant> {
        *self.beaten.lock()
    }

    fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::SeqCst)
    }

    /// Something happened to one of its messages: it may die of it.
    fn event(&self) {
        if self.dies_in.load(Ordering::SeqCst) > 0
            && self.dies_in.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.die();
        }
    }
}

/// What happens to one message.
struct Fate {
    refused: bool,
    lost: bool,
    request_ms: u64,
    again_ms: Option<u64>,
    answer_ms: Option<u64>,
    /// When the caller learns that no answer will come.
    unknown_ms: Option<u64>,
}

impl Network {
    /// A network over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        dice: Arc<Dice>,
        journal: Arc<Journal>,
        judge: Arc<Judge>,
        weather: Weather,
    ) -> Arc<Self> {
        journal.say(&format!("network {weather:?}"));
        Arc::new(Self {
            store,
            dice,
            journal,
            judge,
            calm: AtomicBool::new(false),
            weather,
            messages: AtomicU64::new(0),
        })
    }

    /// Whether everything works from now on.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    fn fate(&self, cut_off: bool) -> Fate {
        let (dice, calm) = (&self.dice, self.calm.load(Ordering::SeqCst));
        let weather = if calm { Weather::CALM } else { self.weather };
        let late = dice.percent(weather.late);
        let more = if late { dice.between(1, weather.late_ms) } else { 0 };
        let lost = dice.percent(weather.lost_requests) || cut_off;
        let unheard = lost || dice.percent(weather.lost_answers);
        let answer = dice.below(weather.delay_ms + 1);
        Fate {
            refused: dice.percent(if cut_off { 30 } else { weather.refused }),
            lost,
            request_ms: dice.below(weather.delay_ms + 1) + more,
            again_ms: dice.percent(weather.doubled).then(|| dice.between(1, weather.late_ms)),
            answer_ms: (!unheard).then_some(answer),
            unknown_ms: ((unheard || late) && dice.percent(80))
                .then(|| dice.between(1, 4 * weather.delay_ms + 1)),
        }
    }
}

/// The store, or a part of it, as one life of a node reaches it.
pub struct Link {
    network: Arc<Network>,
    life: Arc<Life>,
    target: Arc<dyn Store>,
}

impl Link {
    /// The way of `life` to the store.
    #[must_use]
    pub fn new(network: &Arc<Network>, life: &Arc<Life>) -> Arc<Self> {
        Self::to(network, life, Arc::clone(&network.store))
    }

    /// The way of `life` to `target`.
    #[must_use]
    pub fn to(network: &Arc<Network>, life: &Arc<Life>, target: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { network: Arc::clone(network), life: Arc::clone(life), target })
    }

    /// Has something done on the other side that is no step of a store: once, or not at all.
    ///
    /// # Errors
    /// `Unavailable` if it was refused; `Unknown` if it may have been done, or will be.
    pub async fn has_done<T: Send + 'static>(
        &self,
        what: String,
        done: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.event().await;
        let network = &self.network;
        let fate = network.fate(self.life.is_cut_off());
        let number = network.messages.fetch_add(1, Ordering::SeqCst) + 1;
        network.journal.say(&format!("{} #{number} {what}", self.life.name));
        if fate.refused {
            sleep(Duration::from_millis(fate.request_ms)).await;
            self.event().await;
            network.journal.say(&format!("{} #{number} refused", self.life.name));
            return Err(StoreError::Unavailable("refused by the network".into()));
        }
        let (answer, heard) = oneshot::channel();
        if !fate.lost {
            let (network, life) = (Arc::clone(network), Arc::clone(&self.life));
            tokio::spawn(async move {
                sleep(Duration::from_millis(fate.request_ms)).await;
                let value = done.await;
                network.journal.say(&format!("{} #{number} done", life.name));
                life.event();
                // Who asked may have given up.
                let _ = answer.send(value);
            });
        }
        let lost = || StoreError::Unknown("connection lost".into());
        // Nothing waits here without end: a move is continued by another mover.
        let given_up = Duration::from_millis(fate.unknown_ms.unwrap_or(GIVEN_UP_MS));
        let heard = async {
            let (Some(delay), Ok(value)) = (fate.answer_ms, heard.await) else {
                return std::future::pending().await;
            };
            sleep(Duration::from_millis(delay)).await;
            value
        };
        let value = tokio::time::timeout(given_up, heard).await.map_err(|_| lost());
        self.event().await;
        value
    }

    /// Sends a step, and waits for its answer.
    async fn send<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        self.event().await;
        let network = &self.network;
        let mut fate = network.fate(self.life.is_cut_off());
        if call.about.asked == Asked::Create {
            // The one step that a network must not double (`Store::create`); it may come late.
            fate.again_ms = None;
        }
        let number = network.messages.fetch_add(1, Ordering::SeqCst) + 1;
        network.journal.say(&format!("{} #{number} {}", self.life.name, call.about));
        if fate.refused {
            sleep(Duration::from_millis(fate.request_ms)).await;
            self.event().await;
            network.journal.say(&format!("{} #{number} refused", self.life.name));
            return Err(StoreError::Unavailable("refused by the network".into()));
        }
        let (answer, heard) = oneshot::channel();
        if !fate.lost {
            self.deliver(number, fate.request_ms, &call, Some(answer));
        }
        if let Some(again_ms) = fate.again_ms {
            self.deliver(number, fate.request_ms + again_ms, &call, None);
        }
        let hearing = async {
            let (Some(delay), Ok(answer)) = (fate.answer_ms, heard.await) else {
                return std::future::pending().await;
            };
            sleep(Duration::from_millis(delay)).await;
            answer
        };
        let giving_up = async {
            match fate.unknown_ms {
                Some(delay) => sleep(Duration::from_millis(delay)).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = hearing => answer,
            () = giving_up => Err(StoreError::Unknown("connection lost".into())),
        };
        self.event().await;
        let short = match &answer {
            Ok(value) => told(value),
            Err(error) => format!("{error}"),
        };
        network.journal.say(&format!("{} #{number} heard {short}", self.life.name));
        answer
    }

    /// One arrival of a request at the store.
    fn deliver<T: Send + 'static>(
        &self,
        number: u64,
        delay_ms: u64,
        call: &Call<T>,
        answer: Option<oneshot::Sender<Result<T, StoreError>>>,
    ) {
        let (call, target) = (call.clone(), Arc::clone(&self.target));
        let (network, life) = (Arc::clone(&self.network), Arc::clone(&self.life));
        tokio::spawn(async move {
            sleep(Duration::from_millis(delay_ms)).await;
            let result = call.apply(&target).await;
            let again = if answer.is_some() { "" } else { " again" };
            let short = match &result {
                Ok(value) => told(value),
                Err(error) => format!("{error}"),
            };
            network.journal.say(&format!("{} #{number} applied{again}: {short}", life.name));
            life.event();
            if let Some(answer) = answer {
                // The caller may have given up.
                let _ = answer.send(result);
            }
        });
    }

    /// A place where the node may die, and then goes no further.
    async fn event(&self) {
        self.life.event();
        if self.life.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

impl Layer for Link {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.target
    }

    /// A node that ends leaves the store to the others.
    async fn close_beneath(&self) {}

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        let (network, asked) = (&self.network, call.about.asked);
        match asked {
            // A task that has pinned a state takes its pin back, or the run would end with all of
            // them.
            Asked::Unpin => return call.apply(&self.target).await,
            // Sessions leave it to their successors then: what was staged in vain stays for long.
            Asked::CollectStages
                if !network.calm.load(Ordering::SeqCst) && network.dice.percent(75) =>
            {
                return Err(StoreError::Unavailable("no time to collect".into()));
            }
            _ => {}
        }
        let fence = call.about.fence.filter(|_| matches!(asked, Asked::Read | Asked::Stage));
        let lost = fence.filter(|fence| network.judge.is_replaced(*fence));
        let sent = Instant::now();
        let answer = self.send(call).await;
        if asked == Asked::NodeBeat && answer.is_ok() {
            *self.life.beaten.lock() = Some(sent);
        }
        if let (Some(fence), Ok(_)) = (lost, &answer) {
            let what = if asked == Asked::Read { "were served to" } else { "were staged by" };
            let generation = fence.generation;
            let what = format!("pages {what} generation {generation} after its successor");
            network.journal.broken(&what);
        }
        answer
    }
}

/// An answer in the log.
fn told(answer: &dyn Any) -> String {
    if let Some(head) = answer.downcast_ref() {
        return short_head(head);
    }
    if let Some(state) = answer.downcast_ref::<Option<ActorState>>() {
        return state
            .as_ref()
            .map_or_else(|| "no such actor".to_owned(), |state| short_head(&state.head));
    }
    if let Some(answers) = answer.downcast_ref::<Confirmed>() {
        let yes: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        return format!("{yes:?}");
    }
    if let Some((head, row)) = answer.downcast_ref::<(Option<Head>, Option<CommitRow>)>() {
        return format!("{:?}, row {}", head.as_ref().map(short_head), row.is_some());
    }
    match (answer.downcast_ref(), answer.downcast_ref()) {
        (Some(Created::Made(head)), _) => return format!("made {}", short_head(head)),
        (Some(Created::Exists(_)), _) => return "exists".to_owned(),
        (_, Some(TakenOver::Owned { head, .. })) => return format!("owned {}", short_head(head)),
        (_, Some(TakenOver::Moved(head))) => return format!("moved {}", short_head(head)),
        (None, None) => {}
    }
    if let Some(history) = answer.downcast_ref::<History>() {
        return format!("floor {} of {}", history.floor, history.head);
    }
    if let Some(look) = answer.downcast_ref::<Look>() {
        return format!("{} rows superseded", look.superseded.len());
    }
    if let Some(rows) = answer.downcast_ref::<u64>() {
        return format!("{rows} rows");
    }
    "done".to_owned()
}

fn short_head(head: &Head) -> String {
    let sealed = if head.sealed { " sealed" } else { "" };
    format!("generation {} txid {}{sealed}", head.fence.generation, head.txid)
}
