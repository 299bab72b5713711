//! Invariants over the answers that clients get: the promise of `docs/protocol.md`, with plain
//! SQLite as the oracle of every state.
//!
//! - J1: what was acknowledged is in every later answer, in the same place of the history.
//! - J2: what was reported as not committed is never in any answer.
//! - J3: an answer shows everything that clients had learned before its call began.
//! - J4: a call that began when a newer generation was open is never answered.
//! - J5: each state that a client gets is the one that plain SQLite has after the same
//!   transactions.
//! - J6: a generation is opened once, and replaces only what its opener had judged.
//! - J7: a snapshot handed over as current is of the data as they are; one that was sealed is.
//! - J8: a generation that was sealed in order has kept all it accepted, `stop` hook included.
//! - J9: a state of the past is whole or reported as gone; what is pinned is whole.
//! - J10: an actor gets another database only after a caller destroyed the one it had; from the
//!   answer to that on nothing of the old database is served or opened, and no row of it is left.
//! - J11: an imported database is all of what was imported, or not there.
//! - J12: the due time of an actor is what the last of its transactions says that has touched due work,
//!   and a destroyed database has none.
//!
//! The unit of judgement is a *life*: an actor with one database. Its answers never show another's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use stockade_depot::store::Due;
use stockade_depot::{ActorId, DbId, Fence, Generation, HandedOver, Verdict};

use crate::bank::{Op, State};
use crate::journal::Journal;

/// What clients know, for each actor.
pub struct Judge {
    journal: Arc<Journal>,
    truths: Mutex<BTreeMap<String, Truth>>,
    newest: Mutex<HashMap<DbId, Generation>>,
    ops: Mutex<HashMap<i64, Op>>,
    /// What imports are made of: by the number of the first transaction, all of them.
    imports: Mutex<HashMap<i64, Vec<i64>>>,
    ends: Mutex<Ends>,
}

/// Databases, and which of them are to be destroyed.
#[derive(Default)]
struct Ends {
    /// The database that each actor was seen with last.
    now: BTreeMap<ActorId, DbId>,
    /// A caller has tried to destroy these.
    tried: BTreeSet<DbId>,
    /// A caller got the answer that these are gone.
    gone: BTreeSet<DbId>,
}

/// What is known about one actor.
struct Truth {
    plain: Connection,
    /// What plain SQLite said after so many transactions.
    digests: Vec<u64>,
    /// Transactions that are known to be committed, in order.
    committed: Vec<i64>,
    refused: HashMap<i64, Verdict>,
    opened: BTreeMap<Generation, String>,
    /// What the last acknowledged seal handed over, and of which generation.
    sealed: Option<(Generation, Vec<u8>)>,
}

/// What was known when a call began.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    known: usize,
    /// Its generation had a successor, or its database was destroyed.
    replaced: bool,
}

impl Judge {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            journal: Arc::clone(journal),
            truths: Mutex::default(),
            newest: Mutex::default(),
            ops: Mutex::default(),
            imports: Mutex::default(),
            ends: Mutex::default(),
        })
    }

    fn with<T>(&self, actor: &str, ask: impl FnOnce(&mut Truth) -> Result<T, String>) -> Option<T> {
        let mut truths = self.truths.lock();
        let truth = truths.entry(actor.to_owned()).or_insert_with(Truth::new);
        match ask(truth) {
            Ok(value) => Some(value),
            Err(what) => {
                self.journal.broken(&format!("{actor}: {what}"));
                None
            }
        }
    }

    /// The name of the life that an actor has with a database.
    #[must_use]
    pub fn life(actor: &ActorId, db: DbId) -> String {
        format!("{actor} {db}")
    }

    /// A caller that began to look when `gone` were gone has found an actor with a database.
    pub fn found(&self, actor: &ActorId, db: DbId, gone: &[DbId]) {
        let mut ends = self.ends.lock();
        if gone.contains(&db) {
            self.journal.broken(&format!("{actor} is back with the destroyed {db}"));
        }
        // A long look may have found a database that has ended in the meantime.
        if ends.tried.contains(&db) {
            return;
        }
        let before = ends.now.insert(actor.clone(), db).filter(|before| *before != db);
        if let Some(before) = before.filter(|before| !ends.tried.contains(before)) {
            self.journal.broken(&format!("{actor} has {db}, and nobody destroyed {before}"));
        }
    }

    /// A caller begins to destroy a database.
    pub fn destroys(&self, db: DbId) {
        self.ends.lock().tried.insert(db);
    }

    /// Whether a caller has tried to destroy a database.
    pub fn may_end(&self, db: DbId) -> bool {
        self.ends.lock().tried.contains(&db)
    }

    /// A caller got the answer that a database is gone.
    pub fn destroyed(&self, db: DbId) {
        self.ends.lock().gone.insert(db);
    }

    /// Databases of which nothing may be left.
    pub fn gone(&self) -> Vec<DbId> {
        self.ends.lock().gone.iter().copied().collect()
    }

    /// A file with these transactions is about to be imported.
    pub fn imports(&self, ops: &[Op]) {
        ops.iter().for_each(|op| self.tries(op));
        let numbers: Vec<i64> = ops.iter().map(|op| op.number).collect();
        self.imports.lock().insert(numbers[0], numbers);
    }

    /// An import was acknowledged: all of it is there from now on.
    pub fn imported(&self, actor: &ActorId, db: DbId, ops: &[Op]) {
        let ledger: Vec<i64> = ops.iter().map(|op| op.number).collect();
        self.told_committed(&Self::life(actor, db), &ledger);
    }

    /// Whether a newer generation is known to be open, or the database is known to be gone.
    pub fn is_replaced(&self, fence: Fence) -> bool {
        if self.ends.lock().gone.contains(&fence.db) {
            return true;
        }
        self.newest.lock().get(&fence.db).is_some_and(|newest| *newest > fence.generation)
    }

    /// A generation was opened by a node that had judged `replaces`.
    pub fn opened(&self, actor: &str, fence: Fence, replaces: Option<Generation>, node: &str) {
        {
            let mut newest = self.newest.lock();
            let newest = newest.entry(fence.db).or_default();
            *newest = (*newest).max(fence.generation);
        }
        self.with(actor, |truth| {
            let generation = fence.generation;
            if let Some(other) = truth.opened.insert(generation, node.to_owned()) {
                return Err(format!("generation {generation} is open at {node} and at {other}"));
            }
            let judged = replaces.unwrap_or_default();
            match truth.opened.range(judged.next()..generation).next() {
                Some((between, owner)) => Err(format!(
                    "{node} judged generation {judged} and replaced {between} of {owner}"
                )),
                None => Ok(()),
            }
        });
    }

    /// A call of a generation begins.
    pub fn begin(&self, actor: &str, fence: Fence) -> Began {
        let replaced = self.is_replaced(fence);
        let known = self.with(actor, |truth| Ok(truth.committed.len())).unwrap_or_default();
        Began { known, replaced }
    }

    /// The due time of an actor whose database has these transactions.
    pub fn due_of(&self, ledger: &[i64]) -> Option<i64> {
        let ops = self.ops.lock();
        let said = ledger.iter().filter_map(|number| ops.get(number)).map(|op| op.due);
        said.fold(Due::Untouched, Due::then).change().flatten()
    }

    /// A transaction is about to be tried.
    pub fn tries(&self, op: &Op) {
        self.ops.lock().insert(op.number, op.clone());
    }

    /// Adds what a client got to the known truth.
    fn learn(&self, truth: &mut Truth, ledger: &[i64]) -> Result<(), String> {
        if let Some(whole) =
            ledger.first().and_then(|first| self.imports.lock().get(first).cloned())
            && !ledger.starts_with(&whole)
        {
            return Err(format!("{ledger:?} is a part of the import {whole:?}"));
        }
        truth.learn(ledger, &self.ops.lock())
    }

    /// A client got an answer with the whole state.
    pub fn heard_state(&self, actor: &str, began: Began, state: &State) {
        self.with(actor, |truth| {
            began.may_be_heard()?;
            self.learn(truth, &state.ledger)?;
            began.sees(state.ledger.len())?;
            truth.is_plain(state)
        });
    }

    /// A state of the past was exported: it must be one that plain SQLite had.
    pub fn exported(&self, actor: &str, state: &State) {
        self.with(actor, |truth| {
            self.learn(truth, &state.ledger)?;
            truth.is_plain(state)
        });
    }

    /// A transaction was acknowledged. `ledger` is what its generation had with it.
    pub fn heard_commit(&self, actor: &str, began: Began, ledger: &[i64]) {
        self.with(actor, |truth| {
            began.may_be_heard()?;
            self.learn(truth, ledger)?;
            began.sees(ledger.len().saturating_sub(1))
        });
    }

    /// A caller got the verdict "committed", though its generation has ended.
    pub fn told_committed(&self, actor: &str, ledger: &[i64]) {
        self.with(actor, |truth| self.learn(truth, ledger));
    }

    /// A caller got the verdict "not committed", or "unknown".
    pub fn told_lost(&self, actor: &str, op: &Op, verdict: Verdict) {
        self.with(actor, |truth| {
            truth.refused.insert(op.number, verdict);
            if verdict == Verdict::NotCommitted && truth.committed.contains(&op.number) {
                return Err(format!("op {} was told as not committed, and is there", op.number));
            }
            Ok(())
        });
    }

    /// A seal was acknowledged: everything accepted is kept; `state` was handed over, or nothing.
    pub fn heard_seal(
        &self,
        actor: &str,
        began: Began,
        fence: Fence,
        ledger: &[i64],
        state: Option<Vec<u8>>,
    ) {
        self.with(actor, |truth| {
            if began.replaced {
                return Err(format!("generation {} sealed after its successor", fence.generation));
            }
            truth.sealed = state.map(|state| (fence.generation, state));
            self.learn(truth, ledger)
        });
    }

    /// The state that a new generation was handed, seen beside the first state that a client got of
    /// it.
    pub fn handed_over(
        &self,
        actor: &str,
        replaces: Option<Generation>,
        snapshot: Option<&HandedOver>,
        state: &State,
    ) {
        self.with(actor, |truth| {
            let now = snapshot_of(state);
            if let Some(handed) = snapshot.filter(|handed| handed.current)
                && handed.snapshot.state != now
            {
                return Err("a snapshot of other data was handed over as current".to_owned());
            }
            if let Some((generation, sealed)) = &truth.sealed
                && replaces == Some(*generation)
                && !snapshot.is_some_and(|it| it.current && it.snapshot.state == *sealed)
            {
                return Err(format!("the snapshot that generation {generation} sealed is lost"));
            }
            Ok(())
        });
    }
}

/// The in-memory state that a generation hands over: how far it has come, and a hash of it.
#[must_use]
pub fn snapshot_of(state: &State) -> Vec<u8> {
    format!("{} {:016x}", state.ledger.len(), state.digest).into_bytes()
}

impl Began {
    /// Of a call that makes its actor.
    pub const BEFORE_ANYTHING: Self = Self { known: 0, replaced: false };

    fn may_be_heard(self) -> Result<(), String> {
        if self.replaced {
            let what =
                "a call that began after the successor was open, or its database was destroyed,";
            return Err(format!("{what} was answered"));
        }
        Ok(())
    }

    fn sees(self, version: usize) -> Result<(), String> {
        if version < self.known {
            let known = self.known;
            return Err(format!("an answer shows version {version}, {known} was heard before"));
        }
        Ok(())
    }
}

impl Truth {
    fn new() -> Self {
        let plain = Connection::open_in_memory().unwrap();
        let digests = vec![State::read(&plain).unwrap().digest];
        Self {
            plain,
            digests,
            committed: Vec::new(),
            refused: HashMap::new(),
            opened: BTreeMap::new(),
            sealed: None,
        }
    }

    /// The state is the one that plain SQLite has after the same transactions.
    fn is_plain(&self, state: &State) -> Result<(), String> {
        if !state.balanced {
            return Err("money came or went".to_owned());
        }
        let (version, ours) = (state.ledger.len(), state.digest);
        let plain = self.digests[version];
        if ours == plain {
            return Ok(());
        }
        Err(format!("version {version} is {ours:016x}, in plain SQLite it is {plain:016x}"))
    }

    /// A client has learned that these transactions are committed.
    fn learn(&mut self, ledger: &[i64], ops: &HashMap<i64, Op>) -> Result<(), String> {
        for (at, number) in ledger.iter().enumerate() {
            if let Some(known) = self.committed.get(at) {
                if known != number {
                    let version = at + 1;
                    return Err(format!("version {version} was op {known} and is op {number}"));
                }
                continue;
            }
            let op = ops.get(number).ok_or_else(|| format!("op {number} is nobody's"))?;
            op.run(&self.plain).map_err(|error| format!("plain SQLite refuses {op:?}: {error}"))?;
            self.digests.push(State::read(&self.plain).unwrap().digest);
            self.committed.push(*number);
            if self.refused.get(number) == Some(&Verdict::NotCommitted) {
                return Err(format!("op {number} was told as not committed, and is there"));
            }
        }
        Ok(())
    }
}
