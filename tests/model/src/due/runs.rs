//! The runs of alarms: a try is counted, the handler runs, its end is recorded. The end of one and the try
//! of the next one may be one commit, as any transactions may; a try whose handler will not begin is given
//! back.

use super::actions::Action;
use super::{Due, NEXT_TRY, OWN, Row, Run, SETS, Session, TRIES_MAX, World};
use crate::Variant;

impl Due {
    /// What may happen next to alarms.
    pub(super) fn possible_runs(
        &self,
        world: &World,
        session: &Session,
        actions: &mut Vec<Action>,
    ) {
        match session.run {
            None => {
                if world.left.runs > 0 && self.first(session).is_some() {
                    actions.push(Action::Count);
                }
                if world.left.orders > 0 && usize::from(world.next_set) < SETS {
                    let orders = |row: &Option<Row>| {
                        row.is_some_and(|row| !row.here || row.next.is_none() || row.attempts > 0)
                    };
                    let alarms = session.rows.alarms.iter().enumerate();
                    let of = alarms.filter(|(_, row)| orders(row)).map(|(at, _)| at);
                    actions.extend(of.map(Action::Order));
                }
            }
            Some(run) if run.begun => {
                actions.extend([Action::EndWell, Action::EndBadly]);
                if !self.checks.make(Variant::GiveBack) {
                    actions.push(Action::GiveBack);
                }
            }
            Some(_) => {
                actions.push(Action::GiveBack);
                if session.at_rest() || !self.checks.make(Variant::TryDurable) {
                    actions.push(Action::Begin);
                }
            }
        }
    }

    /// The alarm that is tried first.
    fn first(&self, session: &Session) -> Option<usize> {
        let alarms = session.rows.alarms.iter().enumerate();
        let here = |row: &Row| row.here || !self.checks.make(Variant::OwnRows);
        let tried = alarms.filter_map(|(at, row)| {
            let row = row.filter(here)?;
            Some((row.next?, at))
        });
        tried.min().map(|(_, at)| at)
    }

    /// The try is counted, and the next one stands from then on; or there were enough.
    pub(super) fn count(&self, world: &mut World, session: &mut Session) {
        let Some(alarm) = self.first(session) else { return };
        let mut rows = session.rows;
        let Some(row) = &mut rows.alarms[alarm] else { return };
        if row.attempts < TRIES_MAX {
            row.attempts += 1;
            let planned = row.next.replace(NEXT_TRY);
            let Row { set, attempts, .. } = *row;
            session.run = Some(Run { alarm, set, attempts, planned, begun: false });
        } else {
            row.next = None;
            world.left.runs -= 1;
        }
        self.accept(session, rows, true);
    }

    /// The generation is about to end: the row is as before the try.
    pub(super) fn give_back(&self, world: &mut World, session: &mut Session) {
        let Some(run) = session.run.take() else { return };
        world.left.runs = world.left.runs.saturating_sub(1);
        let mut rows = session.rows;
        if let Some(row) = rows.alarms[run.alarm].as_mut().filter(|row| row.set == run.set) {
            (row.attempts, row.next) = (run.attempts - 1, run.planned);
        }
        self.accept(session, rows, true);
    }

    /// The alarm has run: the row that was begun goes, and one that was set since has no tries.
    pub(super) fn end_well(&self, world: &mut World, session: &mut Session) {
        let Some(run) = session.run.take() else { return };
        let mut rows = session.rows;
        let row = &mut rows.alarms[run.alarm];
        let is_same = row.is_some_and(|row| row.set == run.set);
        if is_same || !self.checks.make(Variant::SetNumber) {
            *row = None;
        } else if let Some(row) = row {
            row.attempts = 0;
        }
        if rows.wanted == run.set {
            rows.wanted = 0;
        }
        if run.alarm == OWN {
            world.begun = 0;
        }
        self.accept(session, rows, true);
    }

    /// An operator's order: the alarm is on again, in this database.
    pub(super) fn order(&self, world: &mut World, session: &mut Session, alarm: usize) {
        world.left.orders -= 1;
        let set = world.next_set;
        world.next_set += 1;
        let mut rows = session.rows;
        rows.alarms[alarm] = Some(Row { set, next: Some(1), attempts: 0, here: true });
        if alarm == OWN {
            rows.wanted = set;
            world.begun = 0;
        }
        self.accept(session, rows, true);
    }
}
