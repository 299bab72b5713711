//! The answers that callers got, recorded outside of the hosts, and what must hold for them.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use serde_json::Value as Json;
use stockade_tests::program::HttpReply;

/// The commit that an answer names: generation, then txid.
pub(super) type Place = (u64, u64);

/// An acknowledged write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    /// The written value.
    pub(super) id: u64,
    /// The commit in the headers of its answer.
    pub(super) place: Place,
}

/// How a caller reads an answer.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// A success, with its commit and value.
    Done(Place, Json),
    /// Nothing was done, for certain; with the address of the other process, if the answer names
    /// it.
    NotDone(Option<String>),
    /// The call may have been done.
    Unknown,
}

/// All answers that callers got.
#[derive(Default)]
pub(super) struct Told {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    acknowledged: HashMap<u64, Place>,
    not_done: HashSet<u64>,
    unknown: HashSet<u64>,
    newest: Option<Acknowledged>,
    generations: HashSet<u64>,
    faults: Vec<String>,
}

/// The number of answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) acknowledged: usize,
    pub(super) not_done: usize,
    pub(super) unknown: usize,
    pub(super) generations: usize,
}

/// The answer as its caller reads it. `None`: the advice fits no situation of this test.
pub(super) fn read(answer: anyhow::Result<HttpReply>) -> Option<Heard> {
    let Ok(answer) = answer else { return Some(Heard::Unknown) };
    if answer.status == 200 {
        let place = answer.generation.zip(answer.txid)?;
        return Some(match answer.body.get("ok") {
            Some(value) => Heard::Done(place, value.clone()),
            // The database refused the guest: the guest's answer arrived, the write is in doubt.
            None => Heard::Unknown,
        });
    }
    match answer.body["retry"].as_str()? {
        "retry" | "reroute" => {
            let address = answer.body["details"]["address"].as_str();
            Some(Heard::NotDone(address.map(str::to_owned)))
        }
        "unknown-outcome" => Some(Heard::Unknown),
        _ => None,
    }
}

impl Told {
    /// A value that was never written before.
    pub(super) fn next_id(&self) -> u64 {
        let mut inner = self.inner.lock().unwrap();
        inner.next_id += 1;
        inner.next_id
    }

    /// The newest acknowledged write: every call that begins now must see it.
    pub(super) fn newest(&self) -> Option<Acknowledged> {
        self.inner.lock().unwrap().newest
    }

    /// Records something that must not happen.
    pub(super) fn fault(&self, what: String) {
        self.inner.lock().unwrap().faults.push(what);
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.inner.lock().unwrap().faults.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        let inner = self.inner.lock().unwrap();
        Counts {
            acknowledged: inner.acknowledged.len(),
            not_done: inner.not_done.len(),
            unknown: inner.unknown.len(),
            generations: inner.generations.len(),
        }
    }

    /// Records the outcome of a write. `before` was the newest write when its call began: real time
    /// and the order of (generation, txid) must agree.
    pub(super) fn write(&self, id: u64, before: Option<Acknowledged>, heard: &Heard) {
        let mut inner = self.inner.lock().unwrap();
        match heard {
            Heard::Done(place, _) => {
                if let Some(before) = before
                    && (place.0 < before.place.0 || place.1 <= before.place.1)
                {
                    let fault = format!("write {id} at {place:?} came after {before:?}");
                    inner.faults.push(fault);
                }
                inner.acknowledged.insert(id, *place);
                inner.generations.insert(place.0);
                if inner.newest.is_none_or(|newest| newest.place < *place) {
                    inner.newest = Some(Acknowledged { id, place: *place });
                }
            }
            Heard::NotDone(_) => drop(inner.not_done.insert(id)),
            Heard::Unknown => drop(inner.unknown.insert(id)),
        }
    }

    /// A read that began after `before` was acknowledged must come from no older commit.
    pub(super) fn fresh(&self, what: &str, before: Option<Acknowledged>, place: Place) -> bool {
        match before {
            Some(before) if place < before.place => {
                self.fault(format!("{what} at {place:?} came after {before:?}"));
                false
            }
            Some(_) | None => true,
        }
    }

    /// Compares with the rows of the database: `known` is what was recorded before they were read.
    pub(super) fn compare(&self, known: &Known, rows: &[u64]) {
        let mut times: HashMap<u64, usize> = HashMap::new();
        for id in rows {
            *times.entry(*id).or_default() += 1;
        }
        let mut inner = self.inner.lock().unwrap();
        let next_id = inner.next_id;
        for id in &known.acknowledged {
            if times.get(id) != Some(&1) {
                let found = times.get(id).copied().unwrap_or(0);
                let place = inner.acknowledged.get(id).copied();
                inner.faults.push(format!("acknowledged write {id} {place:?} is there {found}x"));
            }
        }
        for id in &known.not_done {
            if times.contains_key(id) {
                inner.faults.push(format!("write {id} was told as not done and is there"));
            }
        }
        for (id, found) in &times {
            if *found > 1 || *id > next_id {
                inner.faults.push(format!("write {id} is there {found}x"));
            }
        }
    }

    /// The outcomes recorded until now.
    pub(super) fn known(&self) -> Known {
        let inner = self.inner.lock().unwrap();
        Known {
            acknowledged: inner.acknowledged.keys().copied().collect(),
            not_done: inner.not_done.iter().copied().collect(),
        }
    }
}

/// The recorded outcomes at some moment.
pub(super) struct Known {
    acknowledged: Vec<u64>,
    not_done: Vec<u64>,
}
