//! Transactions, commit steps, rewrites of the due time, each with the rule it follows.

use super::{Due, Head, Letter, OWN, Row, Rows, SETS, Session, Word, World};
use crate::Variant;

/// Steps on their way at a time.
const LETTERS_MAX: usize = 2;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// D4: a generation begins, for a call or because something is due.
    TakeOver,
    /// A transaction of the guest.
    Transaction(Deed, End),
    /// D2: what was accepted is sent as one commit.
    SendCommit,
    /// D14 (a): the owner has found the due time wrong.
    Settle,
    /// The try of the first alarm is counted, or it is parked.
    Count,
    /// The handler begins.
    Begin,
    /// It will not: the try is given back.
    GiveBack,
    /// The handler ends well.
    EndWell,
    /// The handler ends badly.
    EndBadly,
    /// An operator wants an alarm to be tried again.
    Order(usize),
    /// The generation ends in order.
    Sleep,
    /// The generation ends without a word.
    Crash,
    /// A due time is written without a reason.
    Meddle,
    /// A step reaches the store.
    Arrive(usize),
}

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// It writes rows of the guest.
    Write,
    /// It sets the alarm.
    Set(u8),
    /// It cancels the alarm.
    Cancel,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It is accepted.
    Accepted,
    /// It is accepted, but a savepoint has taken back what it has done to the alarm.
    WithoutDeed,
    /// It is refused.
    Refused,
}

impl Due {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend((0..world.letters.len()).map(Action::Arrive));
        let Some(session) = &world.session else {
            if world.head.generation < self.size.generations {
                actions.push(Action::TakeOver);
            }
            if world.left.meddles > 0 {
                actions.push(Action::Meddle);
            }
            return;
        };
        if world.left.crashes > 0 {
            actions.push(Action::Crash);
        }
        if session.accepted.is_some() && session.in_flight.is_none() {
            actions.push(Action::SendCommit);
        }
        if self.may_settle(world, session) {
            actions.push(Action::Settle);
        }
        // The end waits for what the generation has sent.
        let own = |letter: &Letter| {
            matches!(letter, Letter::Settle { generation, .. }
                if *generation == session.generation)
        };
        if session.at_rest() && session.run.is_none() && !world.letters.iter().any(own) {
            actions.push(Action::Sleep);
        }
        self.possible_runs(world, session, actions);
        if session.run.is_none_or(|run| run.begun) {
            self.possible_transactions(world, session, actions);
        }
    }

    /// Whether the owner rewrites the due time, which it has found wrong.
    pub(super) fn may_settle(&self, world: &World, session: &Session) -> bool {
        let is_wrong = session.known != self.earliest(&session.rows);
        let rests = session.at_rest() || !self.checks.make(Variant::SettleRest);
        let free = session.run.is_none() && world.letters.len() < LETTERS_MAX;
        is_wrong && rests && free && self.checks.make(Variant::SettleSent)
    }

    fn possible_transactions(&self, world: &World, session: &Session, actions: &mut Vec<Action>) {
        if world.left.transactions == 0 {
            return;
        }
        let mut deeds = Vec::new();
        if usize::from(world.next_set) < SETS {
            deeds.extend([Deed::Set(1), Deed::Set(2)]);
        }
        if session.rows.alarms[OWN].is_some() {
            deeds.push(Deed::Cancel);
        }
        for deed in deeds {
            actions.push(Action::Transaction(deed, End::Accepted));
            if world.left.taken_back > 0 {
                actions.push(Action::Transaction(deed, End::WithoutDeed));
                actions.push(Action::Transaction(deed, End::Refused));
            }
        }
        actions.push(Action::Transaction(Deed::Write, End::Accepted));
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        if let Action::Arrive(letter) = action {
            let letter = world.letters.remove(letter);
            self.arrive(world, letter);
            return;
        }
        if action == Action::Meddle {
            world.left.meddles -= 1;
            world.meddled = true;
            world.head.due = Some(0);
            return;
        }
        if action == Action::TakeOver {
            world.head.generation += 1;
            let Head { generation, txid, rows, due } = world.head;
            world.session = Some(Session {
                generation,
                txid,
                rows,
                known: due,
                accepted: None,
                in_flight: None,
                leftover: None,
                run: None,
            });
            return;
        }
        let Some(mut session) = world.session.take() else { return };
        match action {
            Action::Crash => {
                world.left.crashes -= 1;
                return;
            }
            Action::Sleep => return,
            Action::Transaction(deed, end) => self.transact(world, &mut session, deed, end),
            Action::SendCommit => self.send(world, &mut session),
            Action::Settle => {
                let Session { generation, txid, rows, .. } = session;
                let due = self.earliest(&rows);
                session.known = due;
                world.letters.push(Letter::Settle { generation, txid, due });
            }
            Action::Count => self.count(world, &mut session),
            Action::Begin => begin(world, &mut session),
            Action::GiveBack => self.give_back(world, &mut session),
            Action::EndWell => self.end_well(world, &mut session),
            Action::EndBadly => session.run = None,
            Action::Order(alarm) => self.order(world, &mut session, alarm),
            Action::TakeOver | Action::Meddle | Action::Arrive(_) => {}
        }
        world.session = Some(session);
    }

    /// A transaction of the guest, or of its handler.
    fn transact(&self, world: &mut World, session: &mut Session, deed: Deed, end: End) {
        world.left.transactions -= 1;
        world.left.taken_back -= u8::from(end != End::Accepted);
        let mut rows = session.rows;
        match deed {
            Deed::Write => {}
            Deed::Set(next) => {
                let set = world.next_set;
                world.next_set += 1;
                let inherits = self.checks.make(Variant::SetInherits);
                let own = session.run.filter(|run| run.alarm == OWN && inherits);
                let attempts = own.map_or(0, |run| run.attempts);
                rows.alarms[OWN] = Some(Row { set, next: Some(next), attempts, here: true });
                rows.wanted = set;
            }
            Deed::Cancel => {
                rows.alarms[OWN] = None;
                rows.wanted = 0;
            }
        }
        let seen = Word::Is(self.earliest(&rows));
        match end {
            End::Accepted => {
                if deed != Deed::Write && session.run.is_none_or(|run| run.alarm != OWN) {
                    world.begun = 0;
                }
                self.accept(session, rows, deed != Deed::Write);
            }
            End::WithoutDeed => {
                let kept = session.rows;
                self.accept(session, kept, true);
                if !self.checks.make(Variant::LookAgain) {
                    session.accepted = Some(seen);
                }
            }
            End::Refused => {
                if !self.checks.make(Variant::DueDropped) {
                    session.leftover = Some(seen);
                }
            }
        }
    }

    /// D14: a transaction is accepted, with what it says of the due time.
    pub(super) fn accept(&self, session: &mut Session, rows: Rows, touched: bool) {
        session.rows = rows;
        let mut word = if touched { Word::Is(self.earliest(&rows)) } else { Word::Untouched };
        if !touched && !self.checks.make(Variant::UntouchedNull) {
            word = Word::Is(None);
        }
        if let Some(leftover) = session.leftover.take()
            && word == Word::Untouched
        {
            word = leftover;
        }
        session.accepted = Some(match session.accepted {
            Some(before) if word == Word::Untouched && self.checks.make(Variant::MergedDue) => {
                before
            }
            Some(_) | None => word,
        });
    }

    fn send(&self, world: &mut World, session: &mut Session) {
        let Some(word) = session.accepted.take() else { return };
        session.in_flight = Some(word);
        let Session { generation, txid: base, rows, .. } = *session;
        world.letters.push(Letter::Commit { generation, base, rows, word });
    }

    fn arrive(&self, world: &mut World, letter: Letter) {
        match letter {
            Letter::Commit { generation, base, rows, word } => {
                let head = &mut world.head;
                if (head.generation, head.txid) != (generation, base) {
                    return;
                }
                head.txid += 1;
                head.rows = rows;
                if let Word::Is(due) = word {
                    if self.checks.make(Variant::DueStep) {
                        head.due = due;
                        world.meddled = false;
                    } else {
                        world.letters.push(Letter::Say { generation, due });
                    }
                }
                let txid = head.txid;
                if let Some(session) = &mut world.session
                    && session.generation == generation
                {
                    session.txid = txid;
                    session.in_flight = None;
                    if let Word::Is(due) = word {
                        session.known = due;
                    }
                }
            }
            Letter::Settle { generation, txid, due } => {
                let head = &mut world.head;
                let is_still = head.txid == txid || !self.checks.make(Variant::SettleTxid);
                if head.generation == generation && is_still {
                    head.due = due;
                    world.meddled = false;
                }
            }
            Letter::Say { generation, due } => {
                if world.head.generation == generation {
                    world.head.due = due;
                }
            }
        }
    }

    /// When the first alarm is tried, as the owner reads it.
    pub(super) fn earliest(&self, rows: &Rows) -> Option<u8> {
        let rows = rows.alarms.iter().flatten();
        let here = rows.filter(|row| row.here || !self.checks.make(Variant::OwnRows));
        let next = |row: &Row| match row.next {
            None if !self.checks.make(Variant::ParkedRest) => Some(0),
            next => next,
        };
        here.filter_map(next).min()
    }
}

/// The handler begins.
fn begin(world: &mut World, session: &mut Session) {
    let Some(run) = &mut session.run else { return };
    run.begun = true;
    world.left.runs -= 1;
    let begun = &mut world.begun_of[usize::from(run.set)];
    *begun += 1;
    let counted = world.head.rows.alarms[run.alarm];
    let counted = counted.filter(|row| row.set == run.set).map_or(0, |row| row.attempts);
    world.breaches.uncounted |= counted < *begun;
    let row = session.rows.alarms[run.alarm];
    world.breaches.copy |= row.is_some_and(|row| !row.here);
    if run.alarm == OWN {
        world.begun += 1;
    }
}
