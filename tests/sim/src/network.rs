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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use stockade_depot::store::{
    ActorState, Collected, CommitRow, CommitStep, CreateStep, Created, Destroyed, Emptied, History,
    Keep, KindRow, PageVersion, PagesRead, SealStep, StageStep, Store, TakenOver, TakeoverStep,
    Trim, Trimmed,
};
use stockade_depot::{
    ActorId, DbId, Digest, EmbeddedStore, Fence, Head, NodeSession, Pgno, StoreError, Txid,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

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

/// What all links of a run share.
pub struct Network {
    /// The one store.
    pub store: Arc<EmbeddedStore>,
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
    /// Counts down at everything that the node sends, has applied, or hears; it dies at zero.
    dies_in: AtomicU64,
    /// It has died.
    pub death: Notify,
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
        })
    }

    /// From now on nothing leaves or reaches it.
    pub fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.death.notify_one();
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Cuts it off from the store, or connects it again.
    pub fn cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::SeqCst);
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
    /// When the caller learns that it will not hear anything.
    unknown_ms: Option<u64>,
}

impl Network {
    /// A network over a store.
    #[must_use]
    pub fn new(
        store: Arc<EmbeddedStore>,
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

/// The store as one life of a node reaches it.
pub struct Link {
    network: Arc<Network>,
    life: Arc<Life>,
}

type Call<T> =
    Arc<dyn Fn(Arc<EmbeddedStore>) -> BoxFuture<'static, Result<T, StoreError>> + Send + Sync>;

impl Link {
    /// The way of `life` to the store.
    #[must_use]
    pub fn new(network: &Arc<Network>, life: &Arc<Life>) -> Arc<Self> {
        Arc::new(Self { network: Arc::clone(network), life: Arc::clone(life) })
    }

    /// Sends a step; `tell` shortens its answer for the log.
    async fn send<T: Send + 'static>(
        &self,
        what: String,
        tell: fn(&T) -> String,
        call: impl Fn(Arc<EmbeddedStore>) -> BoxFuture<'static, Result<T, StoreError>>
        + Send
        + Sync
        + 'static,
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
        let call: Call<T> = Arc::new(call);
        let (answer, heard) = oneshot::channel();
        if !fate.lost {
            self.deliver(number, fate.request_ms, &call, tell, Some(answer));
        }
        if let Some(again_ms) = fate.again_ms {
            self.deliver(number, fate.request_ms + again_ms, &call, tell, None);
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
            Ok(value) => tell(value),
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
        tell: fn(&T) -> String,
        answer: Option<oneshot::Sender<Result<T, StoreError>>>,
    ) {
        let (call, network, life) =
            (Arc::clone(call), Arc::clone(&self.network), Arc::clone(&self.life));
        tokio::spawn(async move {
            sleep(Duration::from_millis(delay_ms)).await;
            let result = call(Arc::clone(&network.store)).await;
            let again = if answer.is_some() { "" } else { " again" };
            let short = match &result {
                Ok(value) => tell(value),
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

fn done<T>(_: &T) -> String {
    "done".to_owned()
}

fn short_head(head: &Head) -> String {
    let sealed = if head.sealed { " sealed" } else { "" };
    format!("generation {} txid {}{sealed}", head.fence.generation, head.txid)
}

#[async_trait]
impl Store for Link {
    fn shards(&self) -> u8 {
        self.network.store.shards()
    }

    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        let what = format!("create {}", step.actor);
        let tell = |created: &Created| match created {
            Created::Made(head) => format!("made {}", short_head(head)),
            Created::Exists(_) => "exists".to_owned(),
        };
        self.send(what, tell, move |store| {
            let step = step.clone();
            Box::pin(async move { store.create(step).await })
        })
        .await
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        let actor = actor.clone();
        let tell = |state: &Option<ActorState>| match state {
            Some(state) => short_head(&state.head),
            None => "no such actor".to_owned(),
        };
        self.send(format!("actor {actor}"), tell, move |store| {
            let actor = actor.clone();
            Box::pin(async move { store.actor(&actor).await })
        })
        .await
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        let what = format!("take over {} from generation {}", step.actor, step.replaces.0);
        let tell = |taken: &TakenOver| match taken {
            TakenOver::Owned { head, .. } => format!("owned {}", short_head(head)),
            TakenOver::Moved(head) => format!("moved {}", short_head(head)),
        };
        self.send(what, tell, move |store| {
            let step = step.clone();
            Box::pin(async move { store.take_over(step).await })
        })
        .await
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let fences = fences.to_vec();
        let generations: Vec<u64> = fences.iter().map(|fence| fence.generation.0).collect();
        let tell = |answers: &Vec<Result<(), StoreError>>| {
            let yes: Vec<bool> = answers.iter().map(Result::is_ok).collect();
            format!("{yes:?}")
        };
        self.send(format!("confirm generations {generations:?}"), tell, move |store| {
            let fences = fences.clone();
            Box::pin(async move { store.confirm(&fences).await })
        })
        .await
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        let what = format!("seal generation {} at {}", step.fence.generation, step.base);
        self.send(what, short_head, move |store| {
            let step = step.clone();
            Box::pin(async move { store.seal(step).await })
        })
        .await
    }

    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        let pages = pages.to_vec();
        let what = format!("read {pages:?} as of {at} for generation {}", fence.generation);
        let lost = self.network.judge.is_replaced(fence);
        let answer = self
            .send(what, done, move |store| {
                let pages = pages.clone();
                Box::pin(async move { store.read(fence, at, &pages).await })
            })
            .await;
        if lost && answer.is_ok() {
            let generation = fence.generation;
            let what = format!("pages were served to generation {generation} after its successor");
            self.network.journal.broken(&what);
        }
        answer
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        let (generation, txid) = (step.fence.generation, step.base.next());
        let what = format!("commit {txid}, {} pages, generation {generation}", step.pages.len());
        self.send(what, done, move |store| {
            let step = step.clone();
            Box::pin(async move { store.commit(step).await })
        })
        .await
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        let (generation, txid, chunk) = (step.fence.generation, step.base.next(), step.chunk);
        let what = format!("stage chunk {chunk} of {txid} for generation {generation}");
        let lost = self.network.judge.is_replaced(step.fence);
        let answer = self
            .send(what, done, move |store| {
                let step = step.clone();
                Box::pin(async move { store.stage(step).await })
            })
            .await;
        if lost && answer.is_ok() {
            let what = format!("generation {generation} staged pages after its successor");
            self.network.journal.broken(&what);
        }
        answer
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        // Sessions leave it to their successors then: what was staged in vain stays for long.
        if !self.network.calm.load(Ordering::SeqCst) && self.network.dice.percent(75) {
            return Err(StoreError::Unavailable("no time to collect".into()));
        }
        let tell = |collected: &Collected| format!("{} rows", collected.rows);
        self.send(format!("collect for generation {}", fence.generation), tell, move |store| {
            Box::pin(async move { store.collect_stages(fence).await })
        })
        .await
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        self.send("history".to_owned(), done, move |store| {
            Box::pin(async move { store.history(db).await })
        })
        .await
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        let tell = |history: &History| format!("floor {} of {}", history.floor, history.head);
        self.send("raise floor".to_owned(), tell, move |store| {
            Box::pin(async move { store.raise_floor(db, keep).await })
        })
        .await
    }

    async fn trim(&self, db: DbId, step: Trim) -> Result<Trimmed, StoreError> {
        let tell = |trimmed: &Trimmed| format!("{} rows gone", trimmed.rows);
        self.send(format!("trim {step:?}"), tell, move |store| {
            Box::pin(async move { store.trim(db, step).await })
        })
        .await
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.send(format!("pin {txid}"), done, move |store| {
            let name = name.clone();
            Box::pin(async move { store.pin(db, txid, &name).await })
        })
        .await
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.network.store.unpin(db, txid, name).await
    }

    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        self.send(format!("read from {from} as of {at}"), done, move |store| {
            Box::pin(async move { store.read_at(db, at, from, max).await })
        })
        .await
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        let tell = |(head, row): &(Option<Head>, Option<CommitRow>)| {
            format!("{:?}, row {}", head.as_ref().map(short_head), row.is_some())
        };
        self.send(format!("verdict of {txid}"), tell, move |store| {
            Box::pin(async move { store.verdict(db, txid).await })
        })
        .await
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        let actor = actor.clone();
        self.send(format!("destroy {actor}"), done, move |store| {
            let actor = actor.clone();
            Box::pin(async move { store.destroy(&actor, fence).await })
        })
        .await
    }

    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError> {
        self.send("rows of".to_owned(), done, move |store| {
            Box::pin(async move { store.rows_of(db).await })
        })
        .await
    }

    // What no session asks for goes straight to the store.

    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        self.network.store.commits(db, after, max).await
    }

    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        self.network.store.commit_pages(db, txid, after, max).await
    }

    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.network.store.take_over_import(step).await
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        self.network.store.empty_import(fence).await
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        self.network.store.finish_import(fence, base).await
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        self.network.store.destroying(max).await
    }

    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        self.network.store.actors(kind, after, max).await
    }

    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError> {
        self.network.store.put_component(digest, wasm).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.network.store.component(digest).await
    }

    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        self.network.store.put_kind(kind, component, manifest).await
    }

    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        self.network.store.kind(kind).await
    }

    async fn kinds(&self) -> Result<Vec<KindRow>, StoreError> {
        self.network.store.kinds().await
    }

    async fn node_beat(&self, session: NodeSession, address: &str) -> Result<(), StoreError> {
        self.network.store.node_beat(session, address).await
    }

    async fn nodes(&self) -> Result<Vec<(NodeSession, String, u64)>, StoreError> {
        self.network.store.nodes().await
    }

    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError> {
        self.network.store.node_gone(session).await
    }

    async fn close(&self) {
        self.network.store.close().await;
    }
}
