//! One generation of an actor on a node: it wins a fence, opens its database, runs calls one at a
//! time behind the real gate, and ends: by an order, by death, or with its node.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::broken::Variant;
use stockade_depot::gate::{Gate, Waiting};
use stockade_depot::store::{ActorRow, ActorState, PreviousEnd, Wanted};
use stockade_depot::{
    ActorId, Cause, Depot, Digest, Generation, HandedOver, Head, OpenError, Opened, Reason,
    Session, StoreError, Verdict,
};
use stockade_vfs::{OpenDatabase, VfsOptions};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bank::{Op, State, Work};
use crate::baton::on_thread;
use crate::dice::Dice;
use crate::journal::Journal;
use crate::judge::{Began, Judge, snapshot_of};

const COMPONENT: Digest = Digest([7; 32]);

/// What a generation needs to know of its world.
#[derive(Clone)]
pub struct Place {
    /// The node's depot.
    pub depot: Arc<Depot>,
    /// The node, for the log.
    pub node: String,
    /// Whose life.
    pub actor: ActorId,
    /// What must hold.
    pub judge: Arc<Judge>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// Chance.
    pub dice: Arc<Dice>,
    /// Numbers for transactions.
    pub ops: Arc<AtomicI64>,
    /// Tells the generations of a node to end in order.
    pub shutdown: Arc<Notify>,
    /// Heirs that the node's seals have appointed, each good for one life.
    pub heirs: Arc<Mutex<HashMap<ActorId, ActorState>>>,
    /// Where scratch files would go.
    pub scratch: PathBuf,
    /// The rule that is switched off.
    pub off: Option<Variant>,
}

/// A generation that is awake.
struct Awake {
    place: Place,
    /// Its life, for the judge.
    life: String,
    name: String,
    session: Session,
    db: Option<OpenDatabase>,
    /// What SQLite has, once it was read.
    ledger: Vec<i64>,
    /// Answers in front of the gate.
    gated: JoinSet<()>,
}

impl Place {
    fn say(&self, what: &str) {
        self.journal.say(&format!("{} {what}", self.node));
    }

    /// Wins a fence if it can, lives, and ends.
    pub async fn live(self) {
        let Some(won) = self.win().await else { return };
        let Won { opened: Opened { session, snapshot, .. }, replaces, began } = won;
        let generation = session.fence().generation;
        let name = format!("{} generation {generation}", self.actor);
        let life = Judge::life(&self.actor, session.fence().db);
        self.judge.opened(&life, session.fence(), replaces, &self.node);
        self.say(&format!("opened {name}"));
        let mut options = VfsOptions::new(&self.scratch);
        options.cache_pages = if self.dice.percent(50) { 8 } else { 512 };
        let own = session.clone();
        let db = on_thread(self.off, move || stockade_vfs::open(own, &options)).await;
        let db = match db {
            Ok(db) => db,
            Err(error) => return self.say(&format!("{name} cannot be read: {error}")),
        };
        let (db, ledger, gated) = (Some(db), Vec::new(), JoinSet::new());
        let awake = Awake { place: self, life, name, session, db, ledger, gated };
        awake.run(replaces, snapshot, began).await;
    }

    /// Begins the heir that a seal of this node has appointed, creates the actor, or takes it over
    /// from its owner.
    async fn win(&self) -> Option<Won> {
        let gone = self.judge.gone();
        let heir = self.heirs.lock().remove(&self.actor);
        if let Some(heir) = heir {
            return self.inherit(heir).await;
        }
        let state = match self.depot.store().actor(&self.actor).await {
            Ok(state) => state,
            Err(error) => {
                self.say(&format!("cannot look at {}: {error}", self.actor));
                return None;
            }
        };
        let replaces = state.as_ref().map(|state| state.head.fence.generation);
        let began = state.as_ref().map_or(Began::BEFORE_ANYTHING, |state| self.begins(state));
        let opened = match &state {
            None => self.depot.create(&self.actor, COMPONENT).await,
            Some(state) => self.depot.take_over(state, COMPONENT, PreviousEnd::Neutral).await,
        };
        match opened {
            Ok(opened) => {
                self.judge.found(&self.actor, opened.head.fence.db, &gone);
                Some(Won { opened, replaces, began })
            }
            Err(OpenError::Exists(_)) => None,
            Err(error) => {
                self.say(&format!("does not get {}: {error}", self.actor));
                None
            }
        }
    }

    async fn inherit(&self, heir: ActorState) -> Option<Won> {
        let (fence, began) = (heir.head.fence, self.begins(&heir));
        match self.depot.inherit(heir).await {
            Ok(opened) => {
                self.say(&format!("inherits {} generation {}", self.actor, fence.generation));
                // The store gets the claim now, later, or never.
                if self.dice.percent(30) {
                    let _ = self.depot.store().claim(self.depot.node(), &[fence]).await;
                }
                let replaces = Some(fence.generation.previous());
                Some(Won { opened, replaces, began })
            }
            Err(error) => {
                self.say(&format!("does not inherit {}: {error}", self.actor));
                None
            }
        }
    }

    /// What a seal of this node has left.
    fn keep_heir(&self, head: Head) {
        let row = ActorRow {
            actor: self.actor.clone(),
            db: head.fence.db,
            component: COMPONENT,
            wanted: Wanted::Present,
            restarts: 0,
        };
        let state = ActorState { row, head, handed_over: None };
        self.heirs.lock().insert(self.actor.clone(), state);
    }

    /// A call begins that wants the next generation.
    fn begins(&self, state: &ActorState) -> Began {
        self.judge.begin(&Judge::life(&self.actor, state.head.fence.db), state.head.fence)
    }
}

/// A fence, and the call that it was won for.
struct Won {
    opened: Opened,
    replaces: Option<Generation>,
    /// As it was before the store was asked.
    began: Began,
}

impl Awake {
    async fn run(
        mut self,
        replaces: Option<Generation>,
        snapshot: Option<HandedOver>,
        began: Began,
    ) {
        let shutdown = Arc::clone(&self.place.shutdown);
        let ordered = shutdown.notified();
        tokio::pin!(ordered);
        if !self.first_look(replaces, snapshot, began).await {
            return self.wait_for_answers().await;
        }
        while !self.session.is_dead() {
            let think = Duration::from_millis(self.place.dice.between(1, 25));
            let order = tokio::select! {
                biased;
                () = &mut ordered => true,
                _ = self.session.on_death() => break,
                () = sleep(think) => false,
            };
            if order {
                return self.end_in_order().await;
            }
            self.call().await;
        }
        self.wait_for_answers().await;
    }

    async fn wait_for_answers(&mut self) {
        while let Some(ended) = self.gated.join_next().await {
            if ended.is_err_and(|error| error.is_panic()) {
                self.place.journal.broken("an answer's task panicked");
            }
        }
    }

    /// Runs `work` on the database, on its thread.
    async fn sql<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&OpenDatabase) -> T + Send + 'static,
    ) -> T {
        let db = self.db.take().expect("BUG: one call at a time");
        let (db, value) = on_thread(self.place.off, move || {
            let value = db.within(|| work(&db));
            (db, value)
        })
        .await;
        self.db = Some(db);
        value
    }

    fn began(&self) -> Began {
        self.place.judge.begin(&self.life, self.session.fence())
    }

    /// The first call reads everything: what has won the fence confirms it. Only what passes the
    /// gate counts.
    async fn first_look(
        &mut self,
        replaces: Option<Generation>,
        snapshot: Option<HandedOver>,
        began: Began,
    ) -> bool {
        let gate = Gate::enter_first(&self.session);
        let state = self.sql(|db| State::read(db.connection())).await;
        let Ok(state) = state else { return false };
        if gate.leave().pass().await.is_err() {
            return false;
        }
        self.place.say(&format!("{} has version {}", self.name, state.ledger.len()));
        self.place.judge.heard_state(&self.life, began, &state);
        self.place.judge.handed_over(&self.life, replaces, snapshot.as_ref(), &state);
        self.ledger.clone_from(&state.ledger);
        true
    }

    async fn call(&mut self) {
        let dice = Arc::clone(&self.place.dice);
        match dice.below(10) {
            0..=3 => self.read().await,
            4 => {
                let (op, session) = (self.next_op(), self.session.clone());
                let undone = self.sql(move |db| {
                    op.says(&session);
                    let undone = op.run_and_roll_back(db.connection());
                    session.forget_due();
                    undone
                });
                undone.await.unwrap_or(());
            }
            5 if dice.percent(20) => {
                let _ = self.sql(|db| db.connection().execute_batch("VACUUM")).await;
            }
            _ => {
                let op = self.next_op();
                self.write(op, true).await;
            }
        }
        // As if the actor had woken for nothing. What is written is what is there, unless it comes late.
        if dice.percent(10) {
            self.settle_due().await;
        }
        // Sometimes a caller waits for its answer before the next one comes.
        if dice.percent(30) {
            self.wait_for_answers().await;
        }
    }

    async fn settle_due(&mut self) {
        let due = self.place.judge.due_of(&self.ledger);
        if let Ok(true) = self.session.settle_due(self.session.mark(), due).await {
            self.place.say(&format!("{} rewrites its due time {due:?}", self.name));
        }
    }

    fn next_op(&self) -> Op {
        let number = self.place.ops.fetch_add(1, Ordering::SeqCst) + 1;
        if self.ledger.is_empty() {
            return Op::new(number, Work::Setup);
        }
        Op::roll(number, &self.place.dice)
    }

    async fn read(&mut self) {
        let (began, gate) = (self.began(), Gate::enter(&self.session));
        let state = self.sql(|db| State::read(db.connection())).await;
        let (waiting, Place { judge, journal, .. }) = (gate.leave(), self.place.clone());
        let (life, name) = (self.life.clone(), self.name.clone());
        let Ok(state) = state else { return };
        self.gated.spawn(async move {
            if waiting.pass().await.is_ok() {
                journal.say(&format!("{name} answers version {}", state.ledger.len()));
                judge.heard_state(&life, began, &state);
            }
        });
    }

    /// One transaction in a call. `heard`: a caller waits for the answer.
    async fn write(&mut self, op: Op, heard: bool) {
        let (began, gate) = (self.began(), Gate::enter(&self.session));
        self.place.judge.tries(&op);
        let (own, session) = (op.clone(), self.session.clone());
        let done = self.sql(move |db| {
            own.says(&session);
            let done = own.run(db.connection());
            session.forget_due();
            done
        });
        let done = done.await;
        let waiting = gate.leave();
        self.place.say(&format!("{} runs op {}: {:?} {done:?}", self.name, op.number, op.work));
        if done.is_ok() {
            self.ledger.push(op.number);
        }
        if heard {
            let answer = WriteAnswer {
                place: self.place.clone(),
                life: self.life.clone(),
                name: self.name.clone(),
                op,
                began,
                accepted: done.is_ok(),
                ledger: self.ledger.clone(),
            };
            self.gated.spawn(answer.leave(waiting));
        }
    }

    /// The orderly end: answers leave, the last write of a `stop` hook, SQL closed, state and seal.
    async fn end_in_order(mut self) {
        self.place.say(&format!("{} ends in order", self.name));
        self.wait_for_answers().await;
        // A `stop` hook writes, or does not.
        if self.place.dice.percent(50) {
            let op = self.next_op();
            self.write(op, false).await;
        }
        let state = self.sql(|db| State::read(db.connection())).await;
        let db = self.db.take();
        on_thread(self.place.off, move || drop(db)).await;
        let Ok(state) = state else { return };
        let began = self.began();
        let snapshot = self.place.dice.percent(50).then(|| snapshot_of(&state));
        let sealed = match &snapshot {
            Some(snapshot) => self.session.seal(Some(snapshot.clone())).await,
            None => self.session.seal_for_heir().await,
        };
        match sealed {
            Ok(head) => {
                self.place.say(&format!("{} is sealed, heir {}", self.name, head.is_heir()));
                let (judge, fence) = (&self.place.judge, self.session.fence());
                judge.heard_seal(&self.life, began, fence, &state.ledger, snapshot);
                if head.is_heir() {
                    self.place.keep_heir(head);
                }
            }
            Err(error) => self.place.say(&format!("{} is not sealed: {error}", self.name)),
        }
        self.session.close(Reason::Shutdown);
    }
}

/// The answer of a transaction, on its way to its caller.
struct WriteAnswer {
    place: Place,
    life: String,
    name: String,
    op: Op,
    began: Began,
    accepted: bool,
    ledger: Vec<i64>,
}

impl WriteAnswer {
    async fn leave(self, waiting: Waiting) {
        let (judge, life) = (&self.place.judge, &self.life);
        let (passed, number) = (waiting.pass().await, self.op.number);
        if passed.is_ok() && self.accepted {
            self.place.say(&format!("{} acknowledges op {number}", self.name));
            return judge.heard_commit(life, self.began, &self.ledger);
        }
        let verdict = waiting.verdict().await;
        self.place.say(&format!("{} tells op {number}: {verdict:?} {passed:?}", self.name));
        if let Err(Cause::CommitLost { error: StoreError::Closed, .. }) = passed {
            self.place.journal.broken("a pump was abandoned");
        }
        match verdict {
            // Nothing was handed over, or what was handed over is not this transaction.
            None => judge.told_lost(life, &self.op, Verdict::NotCommitted),
            Some(_) if !self.accepted => {
                judge.told_lost(life, &self.op, Verdict::NotCommitted);
            }
            Some(Verdict::Committed) => judge.told_committed(life, &self.ledger),
            Some(verdict) => judge.told_lost(life, &self.op, verdict),
        }
    }
}
