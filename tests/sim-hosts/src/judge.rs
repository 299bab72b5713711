//! Invariants over the answers that clients get. A *life* of an actor is the time between two
//! destroys; the first transfer of its ledger names it.
//!
//! - W1: an acknowledged transfer is in every later answer of its life, in the same place.
//! - W2: a transfer that was reported as not committed or not begun is in no answer, unless it was
//!   sent again.
//! - W3: an answer shows everything of its life that clients knew before the call began.
//! - W4: after an answer of one generation, no older generation answers a call that begins later.
//! - W5: balances are those after the transfers of the ledger, in its order.
//! - W6: a life ends only by a destroy. Calls do not see it if they begin after the destroy was
//!   acknowledged, or after an answer showed the next life.
//! - W7: a snapshot that a guest gets as current agrees with its database.
//! - W8: a transfer that was sent again on a host's advice is not in the ledger twice; no task of a
//!   host panics.
//! - W9: a call that comes to a host whose lease is over, where others share the store, is answered
//!   or handed to the store only after a sign of life that the store has accepted since.
//! - W10: a host takes no call that was sent to another run of it (`forward.rs`).
//! - W11: a host that drains and has given up its actors answers for none until the drain ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use stockade::{ActorId, HostError};
use stockade_depot::{Generation, Verdict};
use stockade_sim_depot::journal::Journal;

use crate::forward::{Answered, Refusal};

/// Accounts of an actor, as many as the guest makes.
pub const ACCOUNTS: i64 = 8;
const OPENING_BALANCE: i64 = 100;

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The number of the transfer, unique in a run.
    pub number: i64,
    /// The account that pays.
    pub source: i64,
    /// The account that is paid.
    pub target: i64,
    /// The amount that is moved.
    pub amount: i64,
}

/// The state of an actor in an answer.
#[derive(Clone, Debug)]
pub struct Books {
    /// Numbers of the transfers in order. A number below zero was written by a `stop` hook.
    pub ledger: Vec<i64>,
    /// The balance of each account, if the answer has it.
    pub balances: Option<Vec<i64>>,
}

/// An answer that a client got.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The generation that answered.
    pub generation: Generation,
    /// Whether another host has passed the call on.
    pub passed_on: bool,
    /// The host that answered, if it is the one that was asked.
    pub by: Option<String>,
    /// The state in the answer.
    pub books: Books,
}

/// What clients knew when a call began.
#[derive(Clone, Debug, Default)]
pub struct Began {
    /// Hosts that drain and have no actor.
    given_up: HashSet<String>,
    current: Option<i64>,
    /// For each life: the count of its known transfers, and its newest known generation.
    lives: BTreeMap<i64, (usize, Generation)>,
    over: HashSet<i64>,
}

/// What all clients know together about each actor.
pub struct Judge {
    journal: Arc<Journal>,
    given_up: Mutex<HashSet<String>>,
    truths: Mutex<BTreeMap<String, Truth>>,
}

#[derive(Default)]
struct Truth {
    tried: HashMap<i64, Transfer>,
    refused: HashSet<i64>,
    lives: BTreeMap<i64, Life>,
    current: Option<i64>,
    /// Lives that calls must not see any more.
    over: HashSet<i64>,
    /// Destroys that have begun and have no answer yet.
    destroys: usize,
}

#[derive(Default)]
struct Life {
    ledger: Vec<i64>,
    /// The balances after each transfer of `ledger`.
    balances: Vec<Vec<i64>>,
    newest: Generation,
    /// A client has tried to destroy the actor in this life.
    may_end: bool,
}

impl Judge {
    /// A judge that knows nothing yet. It reports broken invariants to `journal`.
    #[must_use]
    pub fn new(journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            journal: Arc::clone(journal),
            given_up: Mutex::default(),
            truths: Mutex::default(),
        })
    }

    fn with<T>(&self, actor: &ActorId, ask: impl FnOnce(&mut Truth) -> Result<T, String>) -> T
    where
        T: Default,
    {
        let mut truths = self.truths.lock();
        let truth = truths.entry(actor.to_string()).or_default();
        ask(truth).unwrap_or_else(|what| {
            self.journal.broken(&format!("{actor}: {what}"));
            T::default()
        })
    }

    /// Records what is known at the beginning of a call.
    pub fn begin(&self, actor: &ActorId) -> Began {
        let given_up = self.given_up.lock().clone();
        self.with(actor, |truth| {
            let known = |life: &Life| (life.ledger.len(), life.newest);
            Ok(Began {
                given_up,
                current: truth.current,
                lives: truth.lives.iter().map(|(name, life)| (*name, known(life))).collect(),
                over: truth.over.clone(),
            })
        })
    }

    /// Records a transfer that is about to be sent.
    pub fn tries(&self, actor: &ActorId, transfer: Transfer) {
        self.with(actor, |truth| {
            truth.tried.insert(transfer.number, transfer);
            Ok(())
        });
    }

    /// Records that a transfer is about to be sent again, since nothing of it was done.
    pub fn tries_again(&self, actor: &ActorId, number: i64) {
        self.with(actor, |truth| {
            truth.refused.remove(&number);
            Ok(())
        });
    }

    /// Checks an answer. `own`: the number of the transfer that it answers, if it answers one.
    pub fn heard(&self, actor: &ActorId, began: &Began, heard: &Heard, own: Option<i64>) {
        if let Some(by) = &heard.by
            && began.given_up.contains(by)
            && self.given_up.lock().contains(by)
        {
            self.journal.broken(&format!("{actor}: {by} answers although it drains (W11)"));
        }
        let way = if heard.passed_on { ", passed on" } else { "" };
        self.with(actor, |truth| {
            truth.heard(began, heard, own).map_err(|what| format!("{what}{way}"))
        });
    }

    /// Records that the guest refused a transfer: nothing of it may be kept.
    pub fn refused(&self, actor: &ActorId, number: i64, error: &str) {
        self.with(actor, |truth| {
            if error.contains("UNIQUE") {
                return Err(format!("{number} was sent again on advice, and was already there"));
            }
            truth.refuse(number)
        });
    }

    /// Records that a host drains and has no actor, or that this is over.
    pub fn gives_up(&self, host: &str, has: bool) {
        let mut given_up = self.given_up.lock();
        if has {
            given_up.insert(host.to_owned());
        } else {
            given_up.remove(host);
        }
    }

    /// Checks the answer of a host whose lease was over when the call came, and is (W9).
    pub fn began_without_lease(&self, actor: &ActorId, answer: &Result<Answered, Refusal>) {
        let begun = match answer {
            Ok(_) => true,
            Err(refusal) => refusal.verdict().is_some(),
        };
        if begun {
            self.journal.broken(&format!("{actor}: a call begins after the lease (W9)"));
        }
    }

    /// Records why a transfer was not answered.
    pub fn told(&self, actor: &ActorId, number: i64, refusal: &Refusal) {
        self.told_nothing(actor, refusal);
        self.with(actor, |truth| match refusal.verdict() {
            // No verdict: the call handed no writes to the store.
            None | Some(Verdict::NotCommitted) => truth.refuse(number),
            Some(Verdict::Committed | Verdict::Indeterminate) => Ok(()),
        });
    }

    /// Checks whether an error of the host names a broken promise (W7, W8).
    pub fn told_nothing(&self, actor: &ActorId, refusal: &Refusal) {
        let Refusal::Host(error) = refusal else { return };
        let text = error.to_string();
        if text.contains("SNAPSHOT OF OTHER DATA") || matches!(error.cause, HostError::Internal(_))
        {
            self.journal.broken(&format!("{actor}: {text}"));
        }
    }

    /// Records that a client begins to destroy the actor. Returns the lives that end if the destroy
    /// succeeds.
    pub fn destroy_begins(&self, actor: &ActorId) -> HashSet<i64> {
        self.with(actor, |truth| {
            truth.destroys += 1;
            if let Some(life) = truth.current.and_then(|name| truth.lives.get_mut(&name)) {
                life.may_end = true;
            }
            Ok(truth.lives.keys().copied().collect())
        })
    }

    /// Records the end of a destroy, whose answer came or can no longer come. `gone`: the host
    /// acknowledged it.
    pub fn destroy_ends(&self, actor: &ActorId, destroying: HashSet<i64>, gone: bool) {
        self.with(actor, |truth| {
            truth.destroys -= 1;
            if gone {
                truth.over.extend(destroying);
            }
            Ok(())
        });
    }
}

impl Truth {
    fn refuse(&mut self, number: i64) -> Result<(), String> {
        self.refused.insert(number);
        match self.lives.values().any(|life| life.ledger.contains(&number)) {
            true => Err(format!("{number} was reported as not committed, and is there")),
            false => Ok(()),
        }
    }

    fn heard(&mut self, began: &Began, heard: &Heard, own: Option<i64>) -> Result<(), String> {
        let Heard { generation, books, .. } = heard;
        let Some(name) = books.ledger.first().copied() else { return self.is_empty(began) };
        self.lives_on(began, name)?;
        let (known, newest) = began.lives.get(&name).copied().unwrap_or_default();
        if *generation < newest {
            return Err(format!("generation {generation} answers after generation {newest} did"));
        }
        let before = books.ledger.len() - usize::from(own.is_some());
        if before < known {
            return Err(format!("version {before} is shown, version {known} was shown before"));
        }
        if own.is_some_and(|own| books.ledger.last() != Some(&own)) {
            return Err(format!("the last of {:?} should be {own:?}", books.ledger));
        }
        self.learn(name, books)?;
        let life = self.lives.entry(name).or_default();
        life.newest = life.newest.max(*generation);
        Ok(())
    }

    /// An answer without transfers must be of the actor's first life or of a new one.
    fn is_empty(&self, began: &Began) -> Result<(), String> {
        let lost = began.current.filter(|name| !self.lives[name].may_end);
        lost.map_or(Ok(()), |name| Err(format!("life {name} is empty, and no client destroyed it")))
    }

    /// The life in an answer must be a known one that is not over, or the successor of the current
    /// one.
    fn lives_on(&mut self, began: &Began, name: i64) -> Result<(), String> {
        if began.over.contains(&name) {
            return Err(format!("life {name} is shown after it was destroyed"));
        }
        if self.lives.contains_key(&name) {
            return Ok(());
        }
        if let Some(former) = self.current {
            if !self.lives[&former].may_end {
                return Err(format!("life {name} replaces {former}, which no client destroyed"));
            }
            self.over.insert(former);
        }
        self.current = Some(name);
        let life = Life { may_end: self.destroys > 0, ..Life::default() };
        self.lives.insert(name, life);
        Ok(())
    }

    fn learn(&mut self, name: i64, books: &Books) -> Result<(), String> {
        let life = self.lives.entry(name).or_default();
        for (at, number) in books.ledger.iter().enumerate() {
            let version = at + 1;
            match life.ledger.get(at) {
                Some(known) if known == number => continue,
                Some(known) => {
                    return Err(format!("version {version} was {known} and is {number}"));
                }
                None => {}
            }
            let opening = || vec![OPENING_BALANCE; usize::try_from(ACCOUNTS).unwrap()];
            let mut balances = life.balances.last().cloned().unwrap_or_else(opening);
            if *number > 0 {
                let nobody = || format!("no client sent {number}");
                let Transfer { source, target, amount, .. } =
                    *self.tried.get(number).ok_or_else(nobody)?;
                balances[usize::try_from(source).unwrap()] -= amount;
                balances[usize::try_from(target).unwrap()] += amount;
            }
            if life.ledger.contains(number) {
                return Err(format!("{number} is there twice"));
            }
            life.ledger.push(*number);
            life.balances.push(balances);
            if self.refused.contains(number) {
                return Err(format!("{number} was reported as not committed, and is there"));
            }
        }
        let ours = &life.balances[books.ledger.len() - 1];
        match &books.balances {
            Some(balances) if balances != ours => {
                Err(format!("balances are {balances:?}, after the same transfers {ours:?}"))
            }
            _ => Ok(()),
        }
    }
}
