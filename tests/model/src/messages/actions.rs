//! The sender, what befalls the receiver, and letters that arrive.

use super::{FORK, Letter, Messages, RECEIVER, Receiver, Row, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A transaction of the sender puts a message into the outbox.
    Send(usize),
    /// The sender's newest transactions are durable: only where a check is off is that seen.
    Persist,
    /// The sender asks a receiver for a conversation.
    Ask(usize),
    /// The sender sends a row of its outbox.
    Deliver(usize, usize),
    /// The sender commits that there is no conversation, and says so.
    Trim(usize),
    /// The sender's generation ends, and another one begins.
    SenderCrash,
    /// A letter arrives. It stays on its way.
    Arrive(usize),
    /// It does, and its message fails as often as it may.
    Fail(usize),
    /// An operator wants a parked row to be sent again: only where a check is off.
    Retry(usize),
    /// What is left of a message is committed: only where a check is off.
    Commit(usize),
    /// A receiver's generation ends, and another one begins.
    ReceiverCrash(usize),
    /// The receiver is forked.
    Fork,
    /// A state of the receiver that it will be restored to.
    Bookmark,
    /// The receiver is restored to that state.
    Restore,
    /// The name gets the database back that it led to before the restore.
    Undo,
}

impl Messages {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for at in 0..world.receivers.len() {
            self.possible_sends(world, at, actions);
            if world.receivers[at].half.is_some() {
                actions.push(Action::Commit(at));
                if world.left.crashes > 0 {
                    actions.push(Action::ReceiverCrash(at));
                }
            }
        }
        if world.pairs.iter().flat_map(|pair| &pair.outbox).any(|row| !row.durable) {
            actions.push(Action::Persist);
        }
        if world.left.crashes > 0 {
            actions.push(Action::SenderCrash);
        }
        for (at, letter) in world.letters.iter().enumerate() {
            let answered = !matches!(letter, Letter::Open { .. }) || world.left.openings > 0;
            if answered {
                actions.push(Action::Arrive(at));
            }
            if world.left.failures > 0 && self.would_run(world, *letter) {
                actions.push(Action::Fail(at));
            }
        }
        let receiver = &world.receivers[RECEIVER];
        if world.left.forks > 0 {
            actions.push(Action::Fork);
        }
        if world.left.restores > 0 {
            match receiver.bookmark {
                None => actions.push(Action::Bookmark),
                Some(_) => actions.push(Action::Restore),
            }
        }
        if world.left.undos > 0 && receiver.aside.is_some() {
            actions.push(Action::Undo);
        }
    }

    fn possible_sends(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        let pair = &world.pairs[at];
        if world.left.sends > 0 {
            actions.push(Action::Send(at));
        }
        if pair.conversation == 0 {
            if world.left.questions > 0 && !pair.outbox.is_empty() {
                actions.push(Action::Ask(at));
            }
        } else {
            let sends = pair.outbox.iter().enumerate().filter(|(_, row)| !row.parked);
            actions.extend(sends.map(|(row, _)| Action::Deliver(at, row)));
            let empty = pair.outbox.is_empty() || !self.checks.make(Variant::CloseEmpty);
            if world.left.trims > 0 && empty {
                actions.push(Action::Trim(at));
            }
        }
        if pair.outbox.iter().any(|row| row.parked) {
            actions.push(Action::Retry(at));
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Send(to) => {
                world.left.sends -= 1;
                let message = world.next_message;
                world.next_message += 1;
                let pair = &mut world.pairs[to];
                pair.last_number += 1;
                let number = pair.last_number;
                let durable = self.checks.make(Variant::SendDurable);
                pair.outbox.push(Row { number, message, durable, parked: false });
            }
            Action::Persist => {
                for row in world.pairs.iter_mut().flat_map(|pair| &mut pair.outbox) {
                    row.durable = true;
                }
            }
            Action::Ask(to) => {
                world.left.questions -= 1;
                world.question += 1;
                world.pairs[to].asked = world.question;
                world.send(Letter::Open { to, question: world.question });
            }
            Action::Deliver(to, row) => {
                let delivery = self.delivery(world, to, row);
                world.send(delivery);
            }
            Action::Trim(to) => self.trim(world, to),
            Action::SenderCrash => self.sender_crash(world),
            Action::Arrive(letter) => {
                let letter = world.letters[letter];
                world.left.openings -= u8::from(matches!(letter, Letter::Open { .. }));
                if let Some(answer) = self.arrive(world, letter) {
                    world.send(answer);
                }
            }
            Action::Fail(letter) => {
                world.left.failures -= 1;
                let letter = world.letters[letter];
                if let Some(answer) = self.fail(world, letter) {
                    world.send(answer);
                }
            }
            Action::Retry(to) => {
                for row in &mut world.pairs[to].outbox {
                    row.parked = false;
                }
            }
            Action::Commit(at) => world.receivers[at].commit_half(at),
            Action::ReceiverCrash(at) => {
                world.left.crashes -= 1;
                world.receivers[at].half = None;
            }
            Action::Fork => {
                world.left.forks -= 1;
                let mut data = world.receivers[RECEIVER].data.clone();
                // What its base has handled are messages to another name.
                data.handled.clear();
                world.receivers.insert(FORK, Receiver { data, ..Receiver::default() });
            }
            Action::Bookmark => {
                let receiver = &mut world.receivers[RECEIVER];
                receiver.bookmark = Some(receiver.data.clone());
            }
            Action::Restore => {
                world.left.restores -= 1;
                let receiver = &mut world.receivers[RECEIVER];
                receiver.half = None;
                let earlier = receiver.bookmark.take().unwrap_or_default();
                receiver.aside = Some(std::mem::replace(&mut receiver.data, earlier));
            }
            Action::Undo => {
                world.left.undos -= 1;
                let receiver = &mut world.receivers[RECEIVER];
                receiver.half = None;
                receiver.data = receiver.aside.take().unwrap_or_default();
            }
        }
    }

    /// A row as it is sent, with the one before it that is still in the outbox.
    pub(super) fn delivery(&self, world: &World, to: usize, row: usize) -> Letter {
        let pair = &world.pairs[to];
        let Row { number, message, .. } = pair.outbox[row];
        let in_the_way = pair.outbox[..row].iter().rfind(|row| !row.parked);
        let before = if self.checks.make(Variant::BeforeKept) {
            in_the_way.map_or(0, |row| row.number)
        } else {
            number - 1
        };
        Letter::Deliver { to, conversation: pair.conversation, number, before, message }
    }

    fn trim(&self, world: &mut World, to: usize) {
        world.left.trims -= 1;
        let pair = &mut world.pairs[to];
        let conversation = pair.conversation;
        if self.checks.make(Variant::CloseCommitted) {
            pair.conversation = 0;
        }
        if !self.checks.make(Variant::NumbersRise) {
            pair.last_number = 0;
        }
        world.send(Letter::Close { to, conversation });
    }

    /// What was not durable is gone.
    fn sender_crash(&self, world: &mut World) {
        world.left.crashes -= 1;
        if !self.checks.make(Variant::QuestionRises) {
            world.question = 0;
        }
        for pair in &mut world.pairs {
            pair.asked = 0;
            let lost = pair.outbox.iter().filter(|row| !row.durable).count();
            pair.last_number -= u8::try_from(lost).expect("BUG: a few messages");
            pair.outbox.retain(|row| row.durable);
        }
    }

    /// A letter arrives: what it is answered with.
    pub(super) fn arrive(&self, world: &mut World, letter: Letter) -> Option<Letter> {
        match letter {
            Letter::Open { to, question } => Some(self.open(world, to, question)),
            Letter::Deliver { .. } => self.deliver(world, letter),
            Letter::Close { to, conversation } => {
                self.close(world, to, conversation);
                None
            }
            Letter::Opened { .. }
            | Letter::Refused { .. }
            | Letter::Acknowledged { .. }
            | Letter::Failed { .. } => {
                self.answered(world, letter);
                None
            }
        }
    }

    /// The sender has an answer.
    fn answered(&self, world: &mut World, letter: Letter) {
        match letter {
            Letter::Opened { of, question, conversation } => {
                let pair = &mut world.pairs[of];
                if pair.asked == question || !self.checks.make(Variant::QuestionLast) {
                    pair.asked = 0;
                    pair.conversation = conversation;
                }
            }
            Letter::Refused { of, conversation } => {
                let pair = &mut world.pairs[of];
                if pair.conversation == conversation {
                    pair.conversation = 0;
                }
            }
            Letter::Acknowledged { of, number } => {
                let ever = world.receivers[of].ever;
                let outbox = &mut world.pairs[of].outbox;
                if let Some(at) = outbox.iter().position(|row| row.number == number) {
                    world.breaches.lost |= ever & (1 << outbox[at].message) == 0;
                    outbox.remove(at);
                }
            }
            Letter::Failed { of, number } => {
                for row in &mut world.pairs[of].outbox {
                    row.parked |= row.number == number;
                }
            }
            Letter::Open { .. } | Letter::Deliver { .. } | Letter::Close { .. } => {}
        }
    }
}
