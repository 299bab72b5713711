//! The receiver's commits: a conversation is opened, a message is handled, a mark is deleted.
//!
//! Invariants, each without one of the checks:
//! - Each answer to `open` has a conversation that was never used.
//! - A mark moves in the commit of the message that it counts.

use super::{Half, Letter, Mark, Messages, Receiver, World};
use crate::Variant;

/// What a receiver makes of a message.
enum Finding {
    /// It may be run.
    Run,
    /// It was handled before.
    Again,
    /// The conversation is another one, or there is none.
    Unknown,
    /// A row before it was not handled.
    TooEarly,
}

impl Messages {
    /// A receiver opens a conversation: in a commit that keeps how far it has come.
    pub(super) fn open(&self, world: &mut World, to: usize, question: u8) -> Letter {
        let known = self.mark(world, to);
        let last = match known {
            Some(mark) if self.checks.make(Variant::OpenLast) => mark.last,
            Some(_) | None => 0,
        };
        let conversation = match known {
            Some(mark) if !self.checks.make(Variant::OpenId) => mark.conversation,
            Some(_) | None => {
                world.next_conversation += 1;
                world.next_conversation - 1
            }
        };
        world.receivers[to].data.mark = Some(Mark { name: to, conversation, last });
        Letter::Opened { of: to, question, conversation }
    }

    /// A message arrives.
    pub(super) fn deliver(&self, world: &mut World, letter: Letter) -> Option<Letter> {
        let Letter::Deliver { to, conversation, number, message, .. } = letter else { return None };
        let acknowledged = Some(Letter::Acknowledged { of: to, number });
        match self.find(world, letter) {
            Finding::Again => acknowledged,
            Finding::Unknown => Some(Letter::Refused { of: to, conversation }),
            Finding::TooEarly => None,
            Finding::Run => {
                note_order(world, to, number);
                let receiver = &mut world.receivers[to];
                if !self.checks.make(Variant::AckCommit) {
                    receiver.half = Some(Half::Both { number, message });
                    return acknowledged;
                }
                receiver.handle(message);
                if !self.checks.make(Variant::MarkCommit) {
                    receiver.half = Some(Half::Mark(number));
                    return None;
                }
                receiver.count(to, number);
                acknowledged
            }
        }
    }

    /// A message that fails too often is parked: in a commit of the receiver that moves the mark.
    pub(super) fn fail(&self, world: &mut World, letter: Letter) -> Option<Letter> {
        let Letter::Deliver { to, number, message, .. } = letter else { return None };
        if !self.checks.make(Variant::ParkReceiver) {
            return Some(Letter::Failed { of: to, number });
        }
        note_order(world, to, number);
        world.receivers[to].handle(message);
        world.receivers[to].count(to, number);
        Some(Letter::Acknowledged { of: to, number })
    }

    /// Whether a letter is a message that its receiver would run now.
    pub(super) fn would_run(&self, world: &World, letter: Letter) -> bool {
        matches!(letter, Letter::Deliver { .. }) && matches!(self.find(world, letter), Finding::Run)
    }

    /// The sender has no conversation any more.
    pub(super) fn close(&self, world: &mut World, to: usize, conversation: u8) {
        let Some(mark) = self.mark(world, to) else { return };
        if mark.conversation == conversation || !self.checks.make(Variant::CloseId) {
            world.receivers[to].data.mark = None;
        }
    }

    fn find(&self, world: &World, letter: Letter) -> Finding {
        let Letter::Deliver { to, conversation, number, before, .. } = letter else {
            return Finding::Unknown;
        };
        // Without conversations a receiver without a mark takes what comes first.
        let named = self.checks.make(Variant::ConversationNamed);
        let last = match self.mark(world, to) {
            Some(mark) if mark.conversation == conversation || !named => mark.last,
            None if !named => return Finding::Run,
            Some(_) | None => return Finding::Unknown,
        };
        let busy = world.receivers[to].half.is_some();
        if number <= last {
            Finding::Again
        } else if busy || (before > last && self.checks.make(Variant::RowBefore)) {
            Finding::TooEarly
        } else {
            Finding::Run
        }
    }

    /// The mark, if it is of this name.
    fn mark(&self, world: &World, at: usize) -> Option<Mark> {
        let named = |mark: &Mark| mark.name == at || !self.checks.make(Variant::MarkName);
        world.receivers[at].data.mark.filter(named)
    }
}

impl Receiver {
    /// The effects of a message.
    fn handle(&mut self, message: u8) {
        self.data.handled.push(message);
        self.ever |= 1 << message;
    }

    /// The mark moves.
    fn count(&mut self, name: usize, number: u8) {
        match &mut self.data.mark {
            Some(mark) => mark.last = number,
            // Only without conversations.
            none => *none = Some(Mark { name, conversation: 0, last: number }),
        }
    }

    /// The second commit of a message.
    pub(super) fn commit_half(&mut self, name: usize) {
        match self.half.take() {
            Some(Half::Mark(number)) => self.count(name, number),
            Some(Half::Both { number, message }) => {
                self.handle(message);
                self.count(name, number);
            }
            None => {}
        }
    }
}

/// Notes whether a row of the outbox with a lower number is still to be handled.
fn note_order(world: &mut World, to: usize, number: u8) {
    let handled = &world.receivers[to].data.handled;
    let waits = |row: &super::Row| row.number < number && !handled.contains(&row.message);
    let overtaken = world.pairs[to].outbox.iter().any(|row| !row.parked && waits(row));
    world.breaches.overtaken |= overtaken;
}
