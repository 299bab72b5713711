//! Invariants over calls that actors make with an id. The method adds one row to its actor.
//!
//! - R1: a call that was answered has been done, and stays so.
//! - R2: a call that was settled as never is not done, whatever comes later.
//! - R3: a call of which every attempt ended with nothing done is not done.
//! - R4: at the end an actor has a row for each call that is recorded as done, and no other one but for
//!   calls that have begun and not ended: none has run twice under its id.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stockade_sim_depot::journal::Journal;

/// How an attempt ended, or a question for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has been done.
    Done,
    /// Nothing was done by this attempt.
    NotDone,
    /// It may have been done, or may come.
    Open,
    /// It has not been done and never will.
    Never,
}

/// A call with an id, as the judge knows it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The key of the actor that calls.
    pub(super) from: &'static str,
    /// The key of the actor that is called.
    pub(super) to: &'static str,
    /// Attempts whose end is not known, or that may have been done.
    open: usize,
    done: bool,
    never: bool,
}

/// What is known of all calls.
pub(super) struct Judge {
    journal: Arc<Journal>,
    calls: Mutex<BTreeMap<String, Call>>,
}

impl Judge {
    /// A judge that knows nothing yet.
    #[must_use]
    pub(super) fn new(journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self { journal: Arc::clone(journal), calls: Mutex::default() })
    }

    /// An attempt is about to be made.
    pub(super) fn tries(&self, id: &str, (from, to): (&'static str, &'static str)) {
        let mut calls = self.calls.lock();
        let new = || Call { from, to, open: 0, done: false, never: false };
        calls.entry(id.to_owned()).or_insert_with(new).open += 1;
    }

    /// How an attempt ended.
    pub(super) fn ended(&self, id: &str, ended: Ended) {
        let mut calls = self.calls.lock();
        let Some(call) = calls.get_mut(id) else { return };
        if ended == Ended::NotDone {
            call.open -= 1;
        }
        self.learn(id, call, ended);
    }

    /// What a question has come to.
    pub(super) fn outcome(&self, id: &str, outcome: Ended) {
        let mut calls = self.calls.lock();
        if let Some(call) = calls.get_mut(id) {
            self.learn(id, call, outcome);
        }
    }

    fn learn(&self, id: &str, call: &mut Call, ended: Ended) {
        call.done |= ended == Ended::Done;
        call.never |= ended == Ended::Never;
        if call.done && call.never {
            self.journal.broken(&format!("{id} was settled as never, and is done (R2)"));
        }
    }

    /// Calls whose outcome may be asked for.
    #[must_use]
    pub(super) fn calls(&self) -> Vec<(String, Call)> {
        self.calls.lock().iter().map(|(id, call)| (id.clone(), call.clone())).collect()
    }

    /// What is recorded of a call at the end.
    pub(super) fn last(&self, id: &str, outcome: Ended) {
        let calls = self.calls.lock();
        let Some(call) = calls.get(id) else { return };
        let is_done = outcome == Ended::Done;
        if call.done && !is_done {
            self.journal.broken(&format!("{id} was done, and is lost (R1)"));
        }
        if call.never && is_done {
            self.journal.broken(&format!("{id} was settled as never, and is done (R2)"));
        }
        if call.open == 0 && is_done {
            self.journal.broken(&format!("nothing of {id} was done, and it is (R3)"));
        }
    }

    /// The rows of an actor at the end, its calls that are recorded as done, and those that have begun.
    pub(super) fn rows(&self, key: &str, rows: usize, (done, begun): (usize, usize)) {
        self.journal.say(&format!("{key} has {rows} rows of {done} calls, {begun} begun"));
        if !(done..=done + begun).contains(&rows) {
            self.journal.broken(&format!("{key} has {rows} rows of {done} calls (R4)"));
        }
    }
}
