//! What must hold, from what clients hear. A *life* of an actor is what lies between two destroys;
//! the first transfer that its ledger has names it.
//!
//! - W1: what was acknowledged is in every later answer of its life, in the same place.
//! - W2: what was told as not committed, or as not begun, is in no answer, unless it was sent again.
//! - W3: an answer shows everything of its life that had been heard before its call began.
//! - W4: when a generation was heard, no older one answers a call that begins later.
//! - W5: balances are those of the transfers in the ledger, one after the other.
//! - W6: a life ends only where somebody destroys the actor, and is not seen by calls that begin
//!   when the destroy was acknowledged, or when the next life was heard.
//! - W7: a snapshot that a guest is handed over as current agrees with its database.
//! - W8: what a host advises to send again is not there twice; no task of a host panics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use stockade::{ActorId, CallError, HostError};
use stockade_depot::{Generation, Verdict};
use stockade_sim_depot::journal::Journal;

/// As the guest has them.
pub const ACCOUNTS: i64 = 8;
const OPENING_BALANCE: i64 = 100;

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Its number; no two are the same.
    pub number: i64,
    /// Who pays.
    pub source: i64,
    /// Who is paid.
    pub target: i64,
    /// How much.
    pub amount: i64,
}

/// What an answer shows of an actor.
#[derive(Clone, Debug)]
pub struct Books {
    /// Numbers of its transfers. Below zero: of a `stop` hook.
    pub ledger: Vec<i64>,
    /// What each account holds, if the answer tells.
    pub balances: Option<Vec<i64>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Who answers.
    pub generation: Generation,
    /// What it shows.
    pub books: Books,
}

/// What was known when a call began.
#[derive(Clone, Debug, Default)]
pub struct Began {
    current: Option<i64>,
    /// Of each life: how many transfers were heard, and the newest generation.
    lives: BTreeMap<i64, (usize, Generation)>,
    over: HashSet<i64>,
}

/// What clients know, for each actor.
pub struct Judge {
    journal: Arc<Journal>,
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
    /// Destroys that somebody waits for.
    destroys: usize,
}

#[derive(Default)]
struct Life {
    ledger: Vec<i64>,
    /// Balances after so many transfers.
    balances: Vec<Vec<i64>>,
    newest: Generation,
    /// Somebody has tried to destroy it.
    may_end: bool,
}

impl Judge {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self { journal: Arc::clone(journal), truths: Mutex::default() })
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

    /// A call begins.
    pub fn begin(&self, actor: &ActorId) -> Began {
        self.with(actor, |truth| {
            let known = |life: &Life| (life.ledger.len(), life.newest);
            Ok(Began {
                current: truth.current,
                lives: truth.lives.iter().map(|(name, life)| (*name, known(life))).collect(),
                over: truth.over.clone(),
            })
        })
    }

    /// A transfer is about to be sent.
    pub fn tries(&self, actor: &ActorId, transfer: Transfer) {
        self.with(actor, |truth| {
            truth.tried.insert(transfer.number, transfer);
            Ok(())
        });
    }

    /// A transfer of which nothing was done is about to be sent again.
    pub fn tries_again(&self, actor: &ActorId, number: i64) {
        self.with(actor, |truth| {
            truth.refused.remove(&number);
            Ok(())
        });
    }

    /// An answer was heard, to `own` if it was that transfer's.
    pub fn heard(&self, actor: &ActorId, began: &Began, heard: &Heard, own: Option<i64>) {
        self.with(actor, |truth| truth.heard(began, heard, own));
    }

    /// The guest could not run a transfer: nothing of it was kept.
    pub fn refused(&self, actor: &ActorId, number: i64, error: &str) {
        self.with(actor, |truth| {
            if error.contains("UNIQUE") {
                return Err(format!("{number} was sent again on advice, and was there already"));
            }
            truth.refuse(number)
        });
    }

    /// The host has told an error in place of an answer to a transfer.
    pub fn told(&self, actor: &ActorId, number: i64, error: &CallError) {
        self.told_nothing(actor, error);
        self.with(actor, |truth| match error.verdict {
            // It handed over nothing.
            None | Some(Verdict::NotCommitted) => truth.refuse(number),
            Some(Verdict::Committed | Verdict::Indeterminate) => Ok(()),
        });
    }

    /// The host has told an error.
    pub fn told_nothing(&self, actor: &ActorId, error: &CallError) {
        let text = error.to_string();
        if text.contains("SNAPSHOT OF OTHER DATA") || matches!(error.cause, HostError::Internal(_))
        {
            self.journal.broken(&format!("{actor}: {text}"));
        }
    }

    /// Somebody begins to destroy the actor. Whom it ends, if it ends somebody.
    pub fn destroy_begins(&self, actor: &ActorId) -> HashSet<i64> {
        self.with(actor, |truth| {
            truth.destroys += 1;
            if let Some(life) = truth.current.and_then(|name| truth.lives.get_mut(&name)) {
                life.may_end = true;
            }
            Ok(truth.lives.keys().copied().collect())
        })
    }

    /// The destroy has its answer, or never will.
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
            true => Err(format!("{number} was told as not committed, and is there")),
            false => Ok(()),
        }
    }

    fn heard(&mut self, began: &Began, heard: &Heard, own: Option<i64>) -> Result<(), String> {
        let Heard { generation, books } = heard;
        let Some(name) = books.ledger.first().copied() else { return self.is_empty(began) };
        self.lives_on(began, name)?;
        let (known, newest) = began.lives.get(&name).copied().unwrap_or_default();
        if *generation < newest {
            return Err(format!("generation {generation} answers after {newest} was heard"));
        }
        let before = books.ledger.len() - usize::from(own.is_some());
        if before < known {
            return Err(format!("version {before} was shown, {known} was heard before"));
        }
        if own.is_some_and(|own| books.ledger.last() != Some(&own)) {
            return Err(format!("the last of {:?} should be {own:?}", books.ledger));
        }
        self.learn(name, books)?;
        let life = self.lives.entry(name).or_default();
        life.newest = life.newest.max(*generation);
        Ok(())
    }

    /// No transfer: it must be a new life, or the first.
    fn is_empty(&self, began: &Began) -> Result<(), String> {
        let lost = began.current.filter(|name| !self.lives[name].may_end);
        lost.map_or(Ok(()), |name| Err(format!("life {name} is empty, and nobody destroyed it")))
    }

    /// The life that was shown is the one that was known, or follows on it.
    fn lives_on(&mut self, began: &Began, name: i64) -> Result<(), String> {
        if began.over.contains(&name) {
            return Err(format!("life {name} is shown after it was destroyed"));
        }
        if self.lives.contains_key(&name) {
            return Ok(());
        }
        if let Some(former) = self.current {
            if !self.lives[&former].may_end {
                return Err(format!("life {name} replaces {former}, which nobody destroyed"));
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
                let nobody = || format!("{number} is nobody's");
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
                return Err(format!("{number} was told as not committed, and is there"));
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
