//! The callee: what it finds of a call, and what it commits.

use super::{Call, KEPT, Outcome, Record, Records, Running, World};
use crate::Variant;

impl Records {
    /// A call arrives.
    pub(super) fn called(&self, world: &mut World, call: Call) {
        let Call { to, id, effect, .. } = call;
        if world.callees[to].running.is_some() || self.is_expired(world, call) {
            return;
        }
        if let Some(record) = self.record(world, call) {
            let is_same = record.arguments == call.arguments;
            if let Outcome::Done(answer) = record.outcome
                && (is_same || !self.checks.make(Variant::RecordArguments))
            {
                world.breaches.other |= answer != effect;
            }
            return;
        }
        if world.callees[to].records.len() >= self.size.records {
            if self.checks.make(Variant::RecordsFull) {
                return;
            }
            world.callees[to].records.remove(0);
        }
        world.breaches.never |= world.never.contains(&call);
        let running = Some(Running { call, done: false });
        match (self.size.plain, self.checks.make(Variant::OutcomeCommit)) {
            (false, true) => {
                note(world, call, Outcome::Done(effect));
                world.callees[to].effects.push((effect, id));
            }
            (false, false) => {
                world.callees[to].effects.push((effect, id));
                world.callees[to].running = Some(Running { call, done: true });
            }
            (true, _) => {
                if self.checks.make(Variant::BegunDurable) {
                    note(world, call, Outcome::Begun);
                }
                world.callees[to].running = running;
            }
        }
    }

    /// The next commit of a call that takes more than one.
    pub(super) fn commit(&self, world: &mut World, at: usize) {
        let Some(Running { call, done }) = world.callees[at].running.take() else { return };
        if done {
            note(world, call, Outcome::Done(call.effect));
        } else {
            world.callees[at].effects.push((call.effect, call.id));
            world.callees[at].running = Some(Running { call, done: true });
        }
    }

    /// A question that settles: a call that was not seen will not run from now on.
    pub(super) fn settle(&self, world: &mut World, call: Call) {
        let Call { to, id, effect, .. } = call;
        if world.callees[to].running.is_some() || self.is_expired(world, call) {
            return;
        }
        match self.record(world, call).map(|record| record.outcome) {
            Some(Outcome::Begun | Outcome::Done(_)) => {}
            Some(Outcome::Never) => say_never(world, call),
            None => {
                if self.checks.make(Variant::NeverCommits) {
                    if world.callees[to].records.len() >= self.size.records {
                        return;
                    }
                    note(world, call, Outcome::Never);
                }
                say_never(world, call);
                world.breaches.never |= world.callees[to].effects.contains(&(effect, id));
            }
        }
    }

    /// An id says itself that its record may be gone.
    fn is_expired(&self, world: &World, call: Call) -> bool {
        call.id.first + KEPT <= world.time && self.checks.make(Variant::ExpiredId)
    }

    /// The record of a call, if it is of this callee and of this caller.
    fn record(&self, world: &World, call: Call) -> Option<Record> {
        let Call { to, id, principal, .. } = call;
        let named = |record: &Record| record.name == to || !self.checks.make(Variant::RecordName);
        let own = |record: &Record| {
            record.principal == principal || !self.checks.make(Variant::RecordPrincipal)
        };
        let mut records = world.callees[to].records.iter().copied();
        records.rfind(|record| record.id == id && named(record) && own(record))
    }
}

/// The client is answered that a call will never run.
fn say_never(world: &mut World, call: Call) {
    if let Err(at) = world.never.binary_search(&call) {
        world.never.insert(at, call);
    }
}

/// A commit with what is known of a call.
fn note(world: &mut World, call: Call, outcome: Outcome) {
    let Call { to: name, id, principal, arguments, .. } = call;
    let record = Record { name, id, principal, arguments, outcome };
    let records = &mut world.callees[name].records;
    let same = |of: &&mut Record| (of.name, of.id, of.principal) == (name, id, principal);
    match records.iter_mut().find(same) {
        Some(of) => *of = record,
        None => records.push(record),
    }
}
