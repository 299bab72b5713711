//! Messages as rows: in the transaction that is open, numbered, packed and counted at the sender, and
//! run at the receiver in one transaction with their number. Each rule of the protocol has the history
//! that it excludes.

use std::sync::Arc;

use stockade_depot::store::DueLook;
use stockade_depot::{ActorId, DbId, Shard};

use super::{World, text};
use crate::limits::{
    MESSAGE_DUE_MS, MESSAGE_TRIES_MAX, OUTBOX_ROWS_MAX, PARCEL_MESSAGES_MAX, PARKED_MAX,
};
use crate::messages::{Asked, Conversation, Message, Said, Sender, Stopped, Undelivered};
use crate::sqlite::{
    Delivery, Entered, Followed, MessageOrder, OutboxFull, Packed, Packing, SqlError, Standing,
    TransactionMode, Value,
};

/// The time of these tests, in milliseconds since 1970.
const NOW: i64 = 1_000_000;

fn name(key: &str) -> ActorId {
    ActorId::new("kind", key).unwrap()
}

/// The sender, which has a table of its own beside its outbox.
fn sender() -> World {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    world
}

/// The receiver, whose method notes what it gets.
fn receiver() -> World {
    let mut world = World::new();
    world.script("CREATE TABLE got(text)");
    world
}

impl World {
    fn sends_as(&mut self, to: &str, method: &str, what: &str) -> Result<i64, OutboxFull> {
        self.connection.send_message(&name(to), method, what, NOW).unwrap()
    }

    fn sends(&mut self, to: &str, what: &str) -> i64 {
        self.sends_as(to, "note", what).unwrap()
    }

    fn pack(&mut self, to: &str, tried: i64, now: i64) -> Packing {
        self.connection.pack_messages(&name(to), tried, 7, now).unwrap()
    }

    #[track_caller]
    fn ready(&mut self, to: &str, tried: i64, now: i64) -> Packed {
        match self.pack(to, tried, now) {
            Packing::Ready(packed) => packed,
            other => panic!("nothing is packed: {other:?}"),
        }
    }

    fn records(&mut self, packed: &Packed, came: Result<Said, Undelivered>, now: i64) -> Followed {
        let delivery = Delivery { packed: packed.clone(), came, pause_ms: 100 };
        self.connection.record_deliveries(&[delivery], now).unwrap()[0]
    }

    fn from(&self) -> Sender {
        Sender::of(self.session.fence().db, &name("sender"))
    }

    /// What a receiver of this name says to a parcel. The method `fail` fails.
    fn says(&mut self, from: &Sender, own: &str, asks: &Asked, waits: bool) -> Said {
        let own = name(own);
        match asks {
            Asked::Open { question } => {
                let (conversation, last) = self.connection.open_conversation(from, &own).unwrap();
                let db = self.session.fence().db;
                Said::Opened { question: *question, db, conversation, last }
            }
            Asked::Close { conversation, .. } => {
                self.connection.close_conversation(from, &own, *conversation).unwrap();
                Said::Closed
            }
            Asked::Deliver { conversation, messages, .. } => {
                let mut last = None;
                for message in messages {
                    let stopped = self.runs((from, &own), *conversation, message, waits);
                    if stopped.is_some() {
                        return Said::Delivered { last, stopped };
                    }
                    last = Some(message.number);
                }
                Said::Delivered { last, stopped: None }
            }
        }
    }

    fn runs(
        &mut self,
        pair: (&Sender, &ActorId),
        conversation: Conversation,
        message: &Message,
        waits: bool,
    ) -> Option<Stopped> {
        let standing = match &message.park {
            Some(why) => {
                match self.connection.stands(pair, conversation, message, waits).unwrap() {
                    Standing::Next => {
                        let kept = self.connection.park_message(pair, message, why, NOW).unwrap();
                        if kept { Standing::Done } else { Standing::Held }
                    }
                    standing => standing,
                }
            }
            None => {
                let entered = self.connection.enter_frame(|own| {
                    let standing = own.stands(pair, conversation, message, waits)?;
                    Ok((standing != Standing::Next).then_some(standing))
                });
                match entered.unwrap() {
                    Entered::Skipped(standing) => standing,
                    Entered::Runs(frame) => {
                        let got = [text(&message.arguments)];
                        self.connection.execute("INSERT INTO got VALUES (?)", &got).unwrap();
                        if message.method == "fail" {
                            self.connection.leave_frame(frame, false, |_| Ok(())).unwrap();
                            return Some(Stopped::Failed("no".to_owned()));
                        }
                        let settle = |own: &mut super::Connection| {
                            own.settle(pair.0, pair.1, message.number)
                        };
                        self.connection.leave_frame(frame, true, settle).unwrap();
                        Standing::Done
                    }
                }
            }
        };
        match standing {
            Standing::Next | Standing::Done => None,
            Standing::Unknown => Some(Stopped::Unknown),
            Standing::Gap => Some(Stopped::Gap),
            Standing::Held => Some(Stopped::Held),
        }
    }

    fn got(&mut self) -> Vec<String> {
        let rows = self.rows("SELECT text FROM got ORDER BY rowid");
        rows.into_iter()
            .map(|row| match &row[0] {
                Value::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn listed(&mut self) -> Vec<(String, String)> {
        let list = self.connection.order_messages(&MessageOrder::List, NOW).unwrap();
        let cell = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        };
        list.rows.iter().map(|row| (cell(&row[0]), cell(&row[4]))).collect()
    }

    fn orders(&mut self, order: MessageOrder, now: i64) -> u64 {
        self.connection.order_messages(&order, now).unwrap().changes
    }

    /// The actor's due time in the store, once everything accepted is durable.
    fn due_in_store(&self) -> Option<i64> {
        self.runtime.block_on(async {
            self.session.durable(self.session.mark()).await.unwrap();
            let store = self.depot.store();
            let shards = Shard::all(store.shards()).collect();
            let look = DueLook { shards, until: i64::MAX, after: None, limit: 10 };
            store.due(look).await.unwrap().rows.first().map(|row| row.at)
        })
    }
}

/// Sends what there is to `to`, once. Returns what follows at the sender.
fn exchange(a: &mut World, b: &mut World, to: &str, tried: i64, now: i64) -> Followed {
    let packed = a.ready(to, tried, now);
    let said = b.says(&a.from(), to, &packed.asks, false);
    a.records(&packed, Ok(said), now)
}

/// Opens the conversation of a sender that has something to send.
fn open(a: &mut World, b: &mut World, to: &str) {
    let followed = exchange(a, b, to, 0, NOW);
    assert_eq!(followed, Followed { at: Some(NOW), paused: false, tried: None });
}

/// A sender whose message was delivered to `b`, and the receiver.
fn talking() -> (World, World) {
    let (mut a, mut b) = (sender(), receiver());
    a.sends("b", "one");
    open(&mut a, &mut b, "b");
    let followed = exchange(&mut a, &mut b, "b", 0, NOW);
    assert_eq!((followed.at, b.got()), (None, vec!["one".to_owned()]));
    (a, b)
}

#[test]
fn a_message_is_sent_with_its_transaction_or_never() {
    let mut world = sender();
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.sends("b", "never");
    world.connection.rollback(transaction).unwrap();
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    let savepoint = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.sends("b", "never");
    world.connection.rollback(savepoint).unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    world.connection.commit(transaction).unwrap();
    assert!(world.connection.receivers().unwrap().is_empty());
    assert_eq!((world.due_in_store(), world.connection.count_outbox().unwrap()), (None, 0));

    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.sends("b", "sent");
    world.run("INSERT INTO t VALUES (2)").unwrap();
    world.connection.commit(transaction).unwrap();
    assert_eq!(world.due_in_store(), Some(NOW + MESSAGE_DUE_MS));
    assert_eq!(world.connection.take_receivers(), [name("b")]);
    assert_eq!(world.connection.receivers().unwrap(), [(name("b"), 0)]);
    assert_eq!(world.listed(), [("out-1".to_owned(), "waits".to_owned())]);
}

#[test]
fn numbers_rise_over_generations_and_deletes() {
    let (mut a, mut b) = talking();
    assert_eq!(a.sends("b", "two"), 2);
    exchange(&mut a, &mut b, "b", 1, NOW);
    a.reopen();
    assert_eq!(a.sends("c", "three"), 3);
    assert_eq!((b.got().len(), a.listed().len()), (2, 1));
}

#[test]
fn messages_leave_together_and_in_order() {
    let (mut a, mut b) = talking();
    let more = PARCEL_MESSAGES_MAX + 3;
    for number in 0..more {
        a.sends("b", &number.to_string());
    }
    let followed = exchange(&mut a, &mut b, "b", 1, NOW);
    assert_eq!((followed.at, a.connection.count_outbox().unwrap()), (Some(NOW), 3));
    let followed = exchange(&mut a, &mut b, "b", 65, NOW);
    assert_eq!((followed.at, a.connection.count_outbox().unwrap()), (None, 0));
    let expected: Vec<String> = (0..more).map(|number| number.to_string()).collect();
    assert_eq!(b.got()[1..], expected[..]);
    assert_eq!(a.due_in_store(), None);
}

/// A parcel may come any number of times.
#[test]
fn a_copy_of_a_parcel_runs_nothing() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    let packed = a.ready("b", 1, NOW);
    for _ in 0..3 {
        let said = b.says(&a.from(), "b", &packed.asks, false);
        assert_eq!(said, Said::Delivered { last: Some(2), stopped: None });
    }
    assert_eq!(b.got(), ["one", "two"]);
}

/// A copy that comes after both sides have forgotten the conversation: a number alone would take it.
#[test]
fn a_copy_from_a_closed_conversation_is_refused() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    let late = a.ready("b", 1, NOW);
    let said = b.says(&a.from(), "b", &late.asks, false);
    a.records(&late, Ok(said), NOW);
    assert!(a.connection.close_conversations(NOW).unwrap().is_empty(), "it was just used");
    let closed = a.connection.close_conversations(NOW + 4_000_000).unwrap();
    assert_eq!(closed.len(), 1);
    b.says(&a.from(), "b", &closed[0].asks, false);
    let unknown = Said::Delivered { last: None, stopped: Some(Stopped::Unknown) };
    assert_eq!(b.says(&a.from(), "b", &late.asks, false), unknown);
    a.sends("b", "three");
    open(&mut a, &mut b, "b");
    assert_eq!(b.says(&a.from(), "b", &late.asks, false), unknown, "nor in the next one");
    exchange(&mut a, &mut b, "b", 0, NOW);
    assert_eq!(b.got(), ["one", "two", "three"]);
}

/// A close that comes late ends no later conversation, and what waits keeps its own open.
#[test]
fn only_the_conversation_that_is_named_is_closed() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    assert!(a.connection.close_conversations(i64::MAX).unwrap().is_empty(), "something waits");
    exchange(&mut a, &mut b, "b", 1, NOW);
    let closed = a.connection.close_conversations(i64::MAX).unwrap();
    a.sends("b", "three");
    open(&mut a, &mut b, "b");
    b.says(&a.from(), "b", &closed[0].asks, false);
    exchange(&mut a, &mut b, "b", 0, NOW);
    assert_eq!(b.got(), ["one", "two", "three"]);
}

/// To open again keeps the number: what was run before is not run again.
#[test]
fn an_open_keeps_the_number() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    let packed = a.ready("b", 1, NOW);
    b.says(&a.from(), "b", &packed.asks, false);
    // The answer is lost, and so is what the receiver knows of the conversation's id.
    let asks = Asked::Open { question: 1 };
    let Said::Opened { last, .. } = b.says(&a.from(), "b", &asks, false) else { panic!() };
    assert_eq!(last, 2);
    let unknown = b.says(&a.from(), "b", &packed.asks, false);
    let followed = a.records(&packed, Ok(unknown), NOW);
    assert!(followed.paused);
    open(&mut a, &mut b, "b");
    exchange(&mut a, &mut b, "b", 2, NOW);
    assert_eq!((b.got().len(), a.connection.count_outbox().unwrap()), (2, 0));
}

#[test]
fn a_message_overtakes_none_that_waits() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    a.sends("b", "three");
    let packed = a.ready("b", 1, NOW);
    let Asked::Deliver { to, conversation, messages } = &*packed.asks else { panic!() };
    let second = vec![messages[1].clone()];
    let asks = Asked::Deliver { to: *to, conversation: *conversation, messages: second };
    let gap = Said::Delivered { last: None, stopped: Some(Stopped::Gap) };
    assert_eq!(b.says(&a.from(), "b", &asks, false), gap);
    let said = b.says(&a.from(), "b", &packed.asks, false);
    assert_eq!(said, Said::Delivered { last: Some(3), stopped: None });
    assert_eq!(b.got(), ["one", "two", "three"]);
}

/// The answer to an earlier question opens nothing.
#[test]
fn only_the_answer_to_the_last_question_counts() {
    let (mut a, mut b) = (sender(), receiver());
    a.sends("b", "one");
    let packed = a.ready("b", 0, NOW);
    let Said::Opened { db, conversation, last, .. } = b.says(&a.from(), "b", &packed.asks, false)
    else {
        panic!()
    };
    let followed =
        a.records(&packed, Ok(Said::Opened { question: 6, db, conversation, last }), NOW);
    assert!(followed.paused);
    assert!(matches!(*a.ready("b", 0, NOW).asks, Asked::Open { .. }));
}

/// Conversations of a database under another name are as if absent: its copy has run nothing.
#[test]
fn a_copy_of_the_receiver_under_another_name_has_run_nothing() {
    let (mut a, mut b) = talking();
    // As a fork or an import has the rows.
    let said = b.says(&a.from(), "copy", &Asked::Open { question: 1 }, false);
    assert!(matches!(said, Said::Opened { last: 0, .. }), "{said:?}");
    a.sends("b", "two");
    exchange(&mut a, &mut b, "b", 1, NOW);
    assert_eq!(b.got(), ["one", "two"], "the former one is as it was");
}

/// The receiver was put back to an earlier commit; what it had run since is not sent again.
#[test]
fn a_receiver_of_an_earlier_state_takes_the_next_message() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    exchange(&mut a, &mut b, "b", 1, NOW);
    b.connection.put_inbox_back(1);
    a.sends("b", "three");
    exchange(&mut a, &mut b, "b", 2, NOW);
    assert_eq!((b.got().len(), a.connection.count_outbox().unwrap()), (3, 0));
}

/// A sender that came back from a backup would use numbers again.
#[test]
fn a_sender_of_an_earlier_state_is_found_out() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    exchange(&mut a, &mut b, "b", 1, NOW);
    a.connection.close_conversations(i64::MAX).unwrap();
    a.connection.put_numbers_back(0);
    assert_eq!(a.sends("b", "another one"), 1);
    let packed = a.ready("b", 0, NOW);
    let said = b.says(&a.from(), "b", &packed.asks, false);
    assert_eq!(a.records(&packed, Ok(said), NOW).at, None);
    let list = a.connection.order_messages(&MessageOrder::List, NOW).unwrap();
    let Value::Text(error) = &list.rows[0][7] else { panic!() };
    assert!(error.starts_with("sender-rolled-back"), "{error}");
    assert_eq!((a.listed()[0].1.as_str(), a.due_in_store()), ("parked", None));
}

#[test]
fn what_fails_is_tried_later_then_parked_by_its_receiver() {
    let (mut a, mut b) = talking();
    a.sends_as("b", "fail", "bad").unwrap();
    a.sends("b", "good");
    let mut now = NOW;
    for attempt in 1..=MESSAGE_TRIES_MAX {
        let packed = a.ready("b", if attempt == 1 { 1 } else { 3 }, now);
        let Asked::Deliver { messages, .. } = &*packed.asks else { panic!() };
        assert_eq!((messages[0].attempt, packed.counted), (attempt, attempt > 1));
        assert_eq!(messages.len(), if attempt == 1 { 2 } else { 1 }, "alone from then on");
        let said = b.says(&a.from(), "b", &packed.asks, false);
        let Some(at) = a.records(&packed, Ok(said), now).at else { panic!("it waits") };
        assert_eq!(a.pack("b", 3, at - 1), Packing::NotBefore(at));
        now = at;
    }
    assert_eq!(b.got(), ["one"], "nothing of it is kept");
    let packed = a.ready("b", 3, now);
    let Asked::Deliver { messages, .. } = &*packed.asks else { panic!() };
    assert_eq!(messages[0].park.as_deref(), Some("no"));
    let said = b.says(&a.from(), "b", &packed.asks, false);
    assert_eq!(a.records(&packed, Ok(said), now).at, Some(now));
    exchange(&mut a, &mut b, "b", 3, now);
    assert_eq!(b.got(), ["one", "good"], "later ones pass");
    let shown = b.listed();
    assert_eq!((shown.len(), shown[0].1.as_str()), (1, "parked"));
    assert_eq!(b.due_in_store(), None);
}

/// A receiver that has parked a message of `a`, its id, and one that waits behind it.
fn parked() -> (World, World, String) {
    let (mut a, mut b) = talking();
    a.sends("b", "bad");
    let packed = a.ready("b", 1, NOW);
    let Asked::Deliver { to, conversation, messages } = &*packed.asks else { panic!() };
    let message = Message { park: Some("no".to_owned()), ..messages[0].clone() };
    let asks = Asked::Deliver { to: *to, conversation: *conversation, messages: vec![message] };
    let said = b.says(&a.from(), "b", &asks, true);
    assert_eq!(said, Said::Delivered { last: Some(2), stopped: None });
    a.records(&packed, Ok(said), NOW);
    a.sends("b", "good");
    let id = b.listed()[0].0.clone();
    (a, b, id)
}

#[test]
fn later_messages_wait_for_a_parked_one_if_they_are_to() {
    let (mut a, mut b, id) = parked();
    let packed = a.ready("b", 2, NOW);
    let held = Said::Delivered { last: None, stopped: Some(Stopped::Held) };
    assert_eq!(b.says(&a.from(), "b", &packed.asks, true), held);
    assert!(a.records(&packed, Ok(held), NOW).paused);
    assert_eq!(b.orders(MessageOrder::Drop { id }, NOW), 1);
    let packed = a.ready("b", 2, NOW);
    let said = b.says(&a.from(), "b", &packed.asks, true);
    assert_eq!(said, Said::Delivered { last: Some(3), stopped: None });
    // Those of other senders do not wait.
    let (_, mut b, _) = parked();
    let other = Sender::of(DbId([9; 16]), &name("other"));
    let opened = b.says(&other, "b", &Asked::Open { question: 1 }, true);
    let Said::Opened { db, conversation, .. } = opened else { panic!() };
    let message = Message {
        number: 1,
        before: 0,
        attempt: 1,
        method: "note".to_owned(),
        arguments: "other".to_owned(),
        park: None,
    };
    let asks = Asked::Deliver { to: db, conversation, messages: vec![message] };
    let said = b.says(&other, "b", &asks, true);
    assert_eq!(said, Said::Delivered { last: Some(1), stopped: None });
}

#[test]
fn a_parked_message_runs_again_when_it_is_asked_for() {
    let (mut a, mut b, id) = parked();
    assert!(b.connection.begin_parked(NOW).unwrap().is_none());
    assert_eq!(b.orders(MessageOrder::Retry { id: Some(id.clone()) }, NOW), 1);
    assert_eq!((b.due_in_store(), b.connection.earliest_due().parked), (Some(NOW), Some(NOW)));
    let retried = b.connection.begin_parked(NOW).unwrap().unwrap();
    assert_eq!(retried.message.arguments, "bad");
    assert_eq!(b.due_in_store(), None, "what ends its host is not run again");
    b.connection.note_parked(&retried, "no again").unwrap();
    let list = b.connection.order_messages(&MessageOrder::List, NOW).unwrap();
    assert_eq!((&list.rows[0][4], &list.rows[0][7]), (&text("parked"), &text("no again")));
    // The number of the pair has moved: what follows is not held up.
    exchange(&mut a, &mut b, "b", 2, NOW);
    assert_eq!(b.orders(MessageOrder::Retry { id: None }, NOW), 1);
    let retried = b.connection.begin_parked(NOW).unwrap().unwrap();
    let entered = b.connection.enter_frame(|_| Ok(None::<()>)).unwrap();
    let Entered::Runs(frame) = entered else { panic!() };
    b.run("INSERT INTO got VALUES ('bad')").unwrap();
    b.connection.leave_frame(frame, true, |own| own.end_parked(&retried).map(drop)).unwrap();
    assert_eq!((b.got().len(), b.listed().len()), (3, 0));
    assert_eq!(b.orders(MessageOrder::Drop { id }, NOW), 0);
}

#[test]
fn parked_messages_are_bounded_and_off_in_a_copy() {
    let (mut a, mut b, _) = parked();
    b.connection.parked_as_of_another_database();
    assert_eq!(b.listed()[0].1, "off");
    let packed = a.ready("b", 2, NOW);
    let said = b.says(&a.from(), "b", &packed.asks, true);
    assert_eq!(said, Said::Delivered { last: Some(3), stopped: None }, "it holds none up");
    let from = a.from();
    let message = |number| Message {
        number,
        before: 0,
        attempt: 8,
        method: "note".to_owned(),
        arguments: String::new(),
        park: None,
    };
    let transaction = b.connection.begin(TransactionMode::Deferred).unwrap();
    for number in 0..PARKED_MAX - 1 {
        let number = 10 + i64::try_from(number).unwrap();
        let pair = (&from, &name("b"));
        assert!(b.connection.park_message(pair, &message(number), "no", NOW).unwrap());
    }
    assert!(!b.connection.park_message((&from, &name("b")), &message(9), "no", NOW).unwrap());
    b.connection.commit(transaction).unwrap();
}

/// What was for a database that is gone is for no other one of its name, until an operator says so.
#[test]
fn messages_to_a_destroyed_receiver_are_parked_at_their_sender() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    let packed = a.ready("b", 1, NOW);
    assert_eq!(a.records(&packed, Err(Undelivered::Gone), NOW).at, None);
    assert_eq!((a.due_in_store(), a.connection.count_outbox().unwrap()), (None, 1));
    assert_eq!(a.listed(), [("out-2".to_owned(), "parked".to_owned())]);
    // What is sent from now on is for the actor that has the name now.
    a.sends("b", "three");
    open(&mut a, &mut b, "b");
    exchange(&mut a, &mut b, "b", 0, NOW);
    assert_eq!(b.got(), ["one", "three"]);
    // Under its former number it would count as run.
    assert_eq!(a.orders(MessageOrder::Retry { id: Some("out-2".to_owned()) }, NOW), 1);
    assert_eq!(a.listed(), [("out-4".to_owned(), "waits".to_owned())]);
    assert_eq!(a.connection.take_receivers().last(), Some(&name("b")));
    exchange(&mut a, &mut b, "b", 3, NOW);
    assert_eq!(b.got(), ["one", "three", "two"]);
}

/// Two actors that fill each other's outboxes would wait for each other's room.
#[test]
fn calls_fill_half_of_an_outbox_and_messages_all_of_it() {
    let mut world = sender();
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    for _ in 0..OUTBOX_ROWS_MAX / 2 {
        world.sends("b", "x");
    }
    let full = Err(OutboxFull { rows: OUTBOX_ROWS_MAX / 2 });
    assert_eq!(world.sends_as("b", "note", "x"), full);
    world.connection.handles_message(true);
    for _ in 0..OUTBOX_ROWS_MAX / 2 {
        world.sends("b", "x");
    }
    assert_eq!(world.sends_as("b", "note", "x"), Err(OutboxFull { rows: OUTBOX_ROWS_MAX }));
    world.connection.handles_message(false);
    world.connection.commit(transaction).unwrap();
    assert_eq!(world.connection.count_outbox().unwrap(), OUTBOX_ROWS_MAX);
    assert_eq!(world.orders(MessageOrder::Drop { id: "out-1".to_owned() }, NOW), 1);
    world.connection.handles_message(true);
    world.sends("b", "x");
    assert!(world.sends_as("b", "note", "x").is_err(), "what is dropped makes room for one");
}

/// The first delivery by the generation that wrote a row costs no commit. Any other is counted first,
/// so that a message which takes its host along is parked in the end.
#[test]
fn every_delivery_but_the_first_is_counted_before() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    let before = a.session.mark();
    assert!(!a.ready("b", 1, NOW).counted);
    assert_eq!(a.session.mark(), before, "nothing was written");
    let packed = a.ready("b", 2, NOW);
    assert!(packed.counted && a.session.mark() != before);
    // The next generation does not know whether it was sent.
    a.sends("c", "x");
    a.reopen();
    let mut now = NOW + 10_000;
    for attempt in 2..=MESSAGE_TRIES_MAX {
        let packed = a.ready("b", 0, now);
        let Asked::Deliver { messages, .. } = &*packed.asks else { panic!() };
        assert_eq!((messages[0].attempt, packed.counted), (attempt, true));
        a.reopen();
        now += 1_000_000;
    }
    let packed = a.ready("b", 0, now);
    let Asked::Deliver { messages, .. } = &*packed.asks else { panic!() };
    assert!(messages[0].park.as_deref().is_some_and(|words| words.contains("without an answer")));
    let said = b.says(&a.from(), "b", &packed.asks, false);
    a.records(&packed, Ok(said), now);
    assert_eq!((b.got().len(), b.listed().len()), (1, 1));
}

#[test]
fn what_surely_was_not_done_does_not_count() {
    let (mut a, _b) = talking();
    a.sends("b", "two");
    a.sends("b", "three");
    let refused = || Err(Undelivered::NotDone("no such kind".to_owned()));
    for _ in 0..3 * MESSAGE_TRIES_MAX {
        let packed = a.ready("b", 3, NOW);
        let Asked::Deliver { messages, .. } = &*packed.asks else { panic!() };
        assert!(messages.len() == 2 && messages[0].attempt == 1, "{messages:?}");
        let followed = a.records(&packed, refused(), NOW);
        // An earlier parcel may have tried the rows: they stay counted.
        let expected = Followed { at: Some(NOW + 100), paused: true, tried: None };
        assert_eq!(followed, expected);
    }
    // What may have been done does.
    let packed = a.ready("b", 3, NOW);
    let lost = Err(Undelivered::Unknown("lost".to_owned()));
    assert_eq!(a.records(&packed, lost, NOW).at, Some(NOW + 2_000));
}

#[test]
fn what_a_generation_has_sent_its_successor_delivers() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    a.reopen();
    a.connection.look_for_due(false).unwrap();
    assert_eq!(a.connection.earliest_due().message, Some(NOW + MESSAGE_DUE_MS));
    assert_eq!(a.connection.receivers().unwrap(), [(name("b"), 0)]);
    exchange(&mut a, &mut b, "b", 0, NOW);
    assert_eq!((b.got().len(), a.connection.count_outbox().unwrap()), (2, 0));
}

/// A fork or an import: the original delivers what it has sent.
#[test]
fn messages_of_a_copy_are_off() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    a.connection.outbox_as_of_another_database();
    assert!(a.connection.receivers().unwrap().is_empty());
    assert_eq!((a.pack("b", 1, NOW), a.due_in_store()), (Packing::Nothing, None));
    let shown = a.listed();
    assert!(shown[0].0.starts_with("off-") && shown[0].1 == "off", "{shown:?}");
    assert_eq!(a.orders(MessageOrder::Retry { id: Some(shown[0].0.clone()) }, NOW), 1);
    assert_eq!(a.listed(), [("out-3".to_owned(), "waits".to_owned())]);
    open(&mut a, &mut b, "b");
    exchange(&mut a, &mut b, "b", 0, NOW);
    assert_eq!(b.got(), ["one", "two"]);
}

#[test]
fn an_id_of_no_message_is_a_typed_error() {
    let mut world = sender();
    let drop = MessageOrder::Drop { id: "tea".to_owned() };
    let result = world.connection.order_messages(&drop, NOW);
    assert!(matches!(result, Err(SqlError::InvalidArgument(_))), "{result:?}");
    assert_eq!(world.orders(MessageOrder::Drop { id: "out-1".to_owned() }, NOW), 0);
    assert_eq!(world.orders(MessageOrder::Retry { id: None }, NOW), 0);
}

#[test]
fn sql_does_not_reach_the_tables_of_messages() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    for (world, tables) in [
        (&mut a, &["_stockade_sent", "_stockade_outbox", "_stockade_conversation"][..]),
        (&mut b, &["_stockade_inbox", "_stockade_parked"][..]),
    ] {
        for table in tables {
            for sql in [
                format!("SELECT * FROM {table}"),
                format!("DELETE FROM {table}"),
                format!("DROP TABLE {table}"),
                format!("ALTER TABLE {table} ADD COLUMN x"),
                format!("CREATE TRIGGER g AFTER INSERT ON {table} BEGIN SELECT 1; END"),
                format!("CREATE VIEW v AS SELECT * FROM {table}"),
            ] {
                let result = world.connection.query(&sql, &[]);
                assert!(matches!(result, Err(SqlError::Denied(_))), "{sql}: {result:?}");
                let result = world.connection.run_operator(&sql, &[], true, 10);
                assert!(matches!(result, Err(SqlError::Denied(_))), "{sql}: {result:?}");
            }
        }
    }
    assert_eq!(a.connection.count_outbox().unwrap(), 1);
}

/// A late answer to a parcel does not delete what was sent after it.
#[test]
fn a_delivery_removes_its_own_rows_alone() {
    let (mut a, mut b) = talking();
    a.sends("b", "two");
    let packed = a.ready("b", 1, NOW);
    a.sends("b", "three");
    let said = b.says(&a.from(), "b", &packed.asks, false);
    // A receiver that says more than it was asked is not believed.
    assert_eq!(said, Said::Delivered { last: Some(2), stopped: None });
    a.records(&packed, Ok(Said::Delivered { last: Some(99), stopped: None }), NOW);
    assert_eq!(a.listed(), [("out-3".to_owned(), "waits".to_owned())]);
    let packed = Packed { asks: Arc::clone(&packed.asks), ..packed };
    a.records(&packed, Err(Undelivered::Unknown("lost".to_owned())), NOW);
    assert_eq!(a.listed().len(), 1);
}
