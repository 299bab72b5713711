//! Invariants over the messages that actors send and get.
//!
//! - M1: a message that an answer shows is in every later answer, in the same place, and once.
//! - M2: what was rolled back, or was reported as not committed, arrives nowhere.
//! - M3: a message comes from its sender and to its receiver; one whose method fails comes with the
//!   delivery at which it does not.
//! - M4: at the end what transactions have sent that are kept has arrived, for each pair in the order
//!   of those transactions, and nothing else of the sort. So the sums are the same.
//! - M5: at the end a message whose method always fails is parked, once, after the last try, with the
//!   words of its failure; no other message is parked.
//! - M6: what a handler has sent arrives if, and only if, its message did.
//! - M7: at the end no outbox has a message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use stockade::limits::MESSAGE_TRIES_MAX;
use stockade_sim_depot::journal::Journal;

/// How the guest writes what a handler sends back.
const ECHO: &str = "re: ";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A message and a row of its sender, in one transaction.
    Transfer,
    /// The same in a transaction that is rolled back, or whose part with the message is.
    Never,
    /// A message whose method fails until the delivery of this number; 0: always.
    Fails(u32),
    /// A message whose handler sends one back.
    Echo,
}

/// What the caller of a send has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// No answer yet, or one that leaves it open.
    Open,
    /// It is kept.
    Kept,
    /// It is not.
    NotKept,
}

/// A message, as the judge knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The key of the sender.
    pub(super) from: &'static str,
    /// The key of the receiver.
    pub(super) to: &'static str,
    /// The amount.
    pub(super) amount: u64,
    /// What it is.
    pub(super) sort: Sort,
    /// What became of it.
    pub(super) fate: Fate,
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its text.
    pub(super) text: String,
    /// The key of the sender.
    pub(super) from: String,
    /// The delivery.
    pub(super) attempt: u32,
}

/// An actor at the end.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// The texts of all rows, in their order: those that arrived, and those of its own transactions.
    pub(super) texts: Vec<String>,
    /// What has arrived.
    pub(super) received: Vec<Row>,
    /// Messages that it has sent and that wait or are parked with it.
    pub(super) outbox: usize,
    /// Messages that it has parked: the words of the failure, and the tries.
    pub(super) parked: Vec<(String, u32)>,
}

/// What is known of all messages.
pub(super) struct Judge {
    journal: Arc<Journal>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    sent: BTreeMap<String, Sent>,
    received: BTreeMap<String, Vec<Row>>,
}

impl Row {
    /// As the guest writes it: `TEXT KEY DELIVERY`.
    #[must_use]
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut parts = line.rsplitn(3, ' ');
        let attempt = parts.next()?.parse().ok()?;
        let (from, text) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self { text, from, attempt })
    }
}

impl Judge {
    /// A judge that knows nothing yet.
    #[must_use]
    pub(super) fn new(journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self { journal: Arc::clone(journal), known: Mutex::default() })
    }

    fn with(&self, check: impl FnOnce(&mut Known) -> Result<(), String>) {
        if let Err(what) = check(&mut self.known.lock()) {
            self.journal.broken(&what);
        }
    }

    /// A message is about to be sent.
    pub(super) fn sends(&self, text: &str, sent: Sent) {
        self.known.lock().sent.insert(text.to_owned(), sent);
    }

    /// What its caller has got.
    pub(super) fn reported(&self, text: &str, fate: Fate) {
        self.with(|known| {
            let Some(sent) = known.sent.get_mut(text) else { return Ok(()) };
            sent.fate = fate;
            let arrived = known.received.values().flatten().any(|row| row.text == text);
            match fate == Fate::NotKept && arrived {
                true => Err(format!("{text} was not committed, and has arrived (M2)")),
                false => Ok(()),
            }
        });
    }

    /// How many messages of an actor are known when a look begins.
    #[must_use]
    pub(super) fn begin(&self, key: &str) -> usize {
        self.known.lock().received.get(key).map_or(0, Vec::len)
    }

    /// An answer shows what has arrived. `began`: what was known when the look began.
    pub(super) fn shown(&self, key: &str, began: usize, rows: &[Row]) {
        self.with(|known| {
            if rows.len() < began {
                return Err(format!("{key} shows {} messages after {began} (M1)", rows.len()));
            }
            let seen = known.received.entry(key.to_owned()).or_default();
            let common = seen.len().min(rows.len());
            if seen[..common] != rows[..common] {
                return Err(format!("{key} shows {rows:?}, before that {seen:?} (M1)"));
            }
            for row in &rows[common..] {
                let Row { text, from, attempt } = row;
                self.journal.say(&format!("{key} has {text} of {from}, delivery {attempt}"));
                if seen.iter().any(|former| former.text == *text) {
                    return Err(format!("{key} has {text} twice (M1)"));
                }
                check_row(&known.sent, key, row)?;
                seen.push(row.clone());
            }
            Ok(())
        });
    }

    /// Checks all actors at the end.
    pub(super) fn ends(&self, all: &BTreeMap<&'static str, Last>) {
        self.with(|known| {
            for (key, last) in all {
                if last.outbox > 0 {
                    return Err(format!(
                        "{key} has sent {} that wait at the end (M7)",
                        last.outbox
                    ));
                }
            }
            for from in all.keys() {
                for to in all.keys() {
                    check_pair(&known.sent, (from, &all[from]), (to, &all[to]))?;
                }
            }
            let arrived: BTreeSet<&str> = all
                .values()
                .flat_map(|last| last.received.iter().map(|row| row.text.as_str()))
                .collect();
            let parked = parked(&known.sent, all)?;
            for (text, sent) in &known.sent {
                check_end(text, sent, &arrived, &parked)?;
            }
            Ok(())
        });
    }

    /// What was sent by transactions that are kept, and its sum.
    #[must_use]
    pub(super) fn sum(&self) -> (usize, u64) {
        let known = self.known.lock();
        let arrived = known.received.values().flatten();
        let transfers = arrived.filter_map(|row| known.sent.get(&row.text));
        let amounts = transfers.filter(|sent| sent.sort == Sort::Transfer).map(|sent| sent.amount);
        amounts.fold((0, 0), |(count, sum), amount| (count + 1, sum + amount))
    }
}

/// A message that has arrived must be one that was sent (M2, M3).
fn check_row(sent: &BTreeMap<String, Sent>, key: &str, row: &Row) -> Result<(), String> {
    let Row { text, from, attempt } = row;
    if let Some(base) = text.strip_prefix(ECHO) {
        let base = sent.get(base).filter(|base| base.sort == Sort::Echo);
        let fits = base.is_some_and(|base| base.from == key && base.to == from);
        return if fits { Ok(()) } else { Err(format!("{key} has {text} of {from} (M3)")) };
    }
    let Some(sent) = sent.get(text).filter(|sent| sent.from == from && sent.to == key) else {
        return Err(format!("{key} has {text}, which {from} has not sent to it (M3)"));
    };
    match sent.sort {
        Sort::Never => Err(format!("{text} was rolled back, and has arrived (M2)")),
        _ if sent.fate == Fate::NotKept => {
            Err(format!("{text} was not committed, and has arrived (M2)"))
        }
        Sort::Fails(0) => Err(format!("{text} always fails, and has arrived (M3)")),
        Sort::Fails(until) if *attempt < until => {
            Err(format!("{text} has failed, and has arrived with delivery {attempt} (M3)"))
        }
        Sort::Transfer | Sort::Echo | Sort::Fails(_) => Ok(()),
    }
}

/// What has left one actor has arrived at another one, in the same order (M4).
fn check_pair(
    sent: &BTreeMap<String, Sent>,
    (from, sender): (&str, &Last),
    (to, receiver): (&str, &Last),
) -> Result<(), String> {
    let of_pair = |text: &&str| {
        sent.get(*text)
            .is_some_and(|sent| sent.sort == Sort::Transfer && sent.from == from && sent.to == to)
    };
    let arrived: Vec<&str> = receiver.received.iter().map(|row| row.text.as_str()).collect();
    let arrived: Vec<&str> = arrived.into_iter().filter(of_pair).collect();
    let own: Vec<&str> = sender.texts.iter().map(String::as_str).filter(of_pair).collect();
    let sum = |texts: &[&str]| texts.iter().map(|text| sent[*text].amount).sum::<u64>();
    if own != arrived {
        let sums = (sum(&own), sum(&arrived));
        return Err(format!("{from} has sent {to} {own:?}, which has {arrived:?}: {sums:?} (M4)"));
    }
    Ok(())
}

/// The messages that are parked, by their texts (M5).
fn parked(
    sent: &BTreeMap<String, Sent>,
    all: &BTreeMap<&'static str, Last>,
) -> Result<BTreeSet<String>, String> {
    let mut parked = BTreeSet::new();
    for (key, last) in all {
        for (words, tries) in &last.parked {
            let text = sent.iter().find(|(text, sent)| {
                sent.sort == Sort::Fails(0)
                    && sent.to == *key
                    && words.contains(&format!("no {text}\""))
            });
            let Some((text, _)) = text else {
                return Err(format!("{key} has parked what does not fail: {words} (M5)"));
            };
            if *tries != MESSAGE_TRIES_MAX {
                return Err(format!("{text} is parked after {tries} tries (M5)"));
            }
            if !parked.insert(text.clone()) {
                return Err(format!("{text} is parked twice (M5)"));
            }
        }
    }
    Ok(parked)
}

/// A message at the end (M4, M5, M6).
fn check_end(
    text: &str,
    sent: &Sent,
    arrived: &BTreeSet<&str>,
    parked: &BTreeSet<String>,
) -> Result<(), String> {
    let is_there = match sent.sort {
        Sort::Never => return Ok(()),
        Sort::Fails(0) => parked.contains(text),
        Sort::Transfer | Sort::Fails(_) | Sort::Echo => arrived.contains(text),
    };
    match (sent.fate, is_there) {
        (Fate::Kept, false) => return Err(format!("{text} was kept, and is lost (M4, M5)")),
        (Fate::NotKept, true) => return Err(format!("{text} was not committed (M2)")),
        (Fate::Kept | Fate::NotKept | Fate::Open, _) => {}
    }
    let echoed = arrived.contains(format!("{ECHO}{text}").as_str());
    match sent.sort == Sort::Echo && echoed != is_there {
        true => Err(format!("{text} has arrived: {is_there}, its answer: {echoed} (M6)")),
        false => Ok(()),
    }
}
