//! A run: three machines and three actors that send to each other, from one seed.
//!
//! Invariant: everything that is sent in the storm is delivered or parked in the calm after it, within
//! [`ROUNDS_MAX`] rounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stockade::internal::{Asked, Parcel};
use stockade::limits::Limits;
use stockade::{ActorId, AfterParked, HostError, Manifest, MessageOrder, SqlValue};
use stockade_depot::broken::Variant;
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::Report;
use tokio::time::sleep;

use super::judge::{Fate, Judge, Last, Sent, Sort};
use super::sender::{Sender, actor};
use crate::caller::Caller;
use crate::code::MAIL;
use crate::machine;
use crate::seed;
use crate::site::{Plan, Site};

const MACHINES: usize = 3;
const ACTORS: [&str; 3] = ["a", "b", "c"];
const STEPS: u64 = 90;
/// Longer than a pair is idle until its conversation is closed.
const AN_HOUR: Duration = Duration::from_secs(3_700);
/// Late copies of parcels while a conversation is opened again.
const COPIES: u64 = 60;
/// How long one look at all actors is after the other, at the end.
const ROUND: Duration = Duration::from_secs(20);
/// Looks at the end: 40 minutes, for the longest waits between tries, one after the other.
const ROUNDS_MAX: usize = 120;

/// Runs one seed. `off`: the rule that is switched off.
#[must_use]
pub fn run(seed: u64, off: Option<Variant>) -> Report {
    seed::run(seed, off, &MAIL, async |dir| {
        let mut world = World::new(seed, off, dir).await;
        world.unfold().await;
        world.settle().await;
        world.site.end().await
    })
}

struct World {
    site: Site,
    judge: Arc<Judge>,
    numbers: u64,
    /// Whether later messages wait for one that is parked.
    waits: bool,
}

impl World {
    async fn new(seed: u64, off: Option<Variant>, dir: PathBuf) -> Self {
        let dice = Arc::new(Dice::new(seed));
        let waits = dice.percent(30);
        let limits = Limits { sleep_after_ms: 3_000, ..machine::limits() };
        let after_parked = if waits { AfterParked::Wait } else { AfterParked::Pass };
        let calls = vec![MAIL.kind.to_owned()];
        let manifest = Manifest { limits, calls, after_parked, ..Manifest::default() };
        let plan = Plan { dice, count: MACHINES, guest: &MAIL, manifest, dir, off };
        let site = Site::new(plan).await;
        let judge = Judge::new(&site.journal);
        Self { site, judge, numbers: 0, waits }
    }

    async fn unfold(&mut self) {
        let has_hour = self.site.dice.percent(30);
        for step in 0..STEPS {
            self.step().await;
            if has_hour && step == STEPS / 2 {
                self.an_hour_passes().await;
            }
            self.site.look_after().await;
            if self.site.journal.is_broken() {
                return;
            }
        }
    }

    fn sender(&self, at: usize) -> Option<Sender> {
        let caller = self.site.caller(at)?;
        Some(Sender { caller, judge: Arc::clone(&self.judge) })
    }

    /// An actor, and another one.
    fn pair(&self) -> (usize, usize) {
        let from = self.site.pick(ACTORS.len());
        (from, (from + 1 + self.site.pick(ACTORS.len() - 1)) % ACTORS.len())
    }

    fn sent(&mut self, (from, to): (usize, usize), sort: Sort) -> (u64, Sent) {
        self.numbers += 1;
        let (from, to) = (ACTORS[from], ACTORS[to]);
        let amount = self.site.dice.between(1, 500);
        (self.numbers, Sent { from, to, amount, sort, fate: Fate::Open })
    }

    fn sort(&self) -> Sort {
        match self.site.dice.below(100) {
            0..=64 => Sort::Transfer,
            65..=79 => Sort::Never,
            80..=86 => Sort::Fails(u32::try_from(self.site.dice.between(2, 3)).unwrap()),
            87..=88 => Sort::Fails(0),
            _ => Sort::Echo,
        }
    }

    async fn step(&mut self) {
        sleep(Duration::from_millis(self.site.dice.between(1, 300))).await;
        let (at, pair) = (self.site.pick(MACHINES), self.pair());
        match self.site.dice.below(100) {
            0..=54 => {
                for _ in 0..self.site.dice.between(1, 4) {
                    let (sort, Some(sender)) = (self.sort(), self.sender(at)) else { return };
                    let (number, sent) = self.sent(pair, sort);
                    self.site.machines[at].clients.spawn(sender.send(number, sent));
                }
            }
            55..=66 => {
                let Some(sender) = self.sender(at) else { return };
                self.site.machines[at].clients.spawn(async move {
                    sender.look(ACTORS[pair.0]).await;
                });
            }
            67..=78 => self.copy_comes(at),
            79..=95 => self.site.trouble(at, &actor(ACTORS[pair.0])).await,
            // Longer than until a message is due in the store.
            _ => sleep(Duration::from_millis(self.site.dice.between(1_000, 12_000))).await,
        }
    }

    /// A copy of a parcel that was sent before comes to a host.
    fn copy_comes(&mut self, at: usize) {
        let (parcels, Some(caller)) = (self.site.lines.parcels(), self.site.caller(at)) else {
            return;
        };
        if parcels.is_empty() {
            return;
        }
        let (to, parcel) = parcels[self.site.pick(parcels.len())].clone();
        caller.say(&format!("gets a copy for {to}"));
        self.site.machines[at].clients.spawn(deliver(caller, to, parcel));
    }

    /// All hosts rest for so long that conversations are closed; while one is opened again, copies of
    /// its former parcels come.
    async fn an_hour_passes(&mut self) {
        self.site.journal.say("an hour passes");
        self.site.end_all().await;
        sleep(AN_HOUR).await;
        for at in 0..MACHINES {
            self.site.start(at).await;
        }
        for _ in 0..ACTORS.len() {
            let (from, receiver) = self.pair();
            let third = (0..ACTORS.len()).find(|it| *it != from && *it != receiver).unwrap();
            let at = self.site.pick(MACHINES);
            // What is sent to another actor closes the conversation.
            for to in [third, receiver] {
                let Some(sender) = self.sender(at) else { return };
                let (number, sent) = self.sent((from, to), Sort::Transfer);
                sender.send(number, sent).await;
                if to == third {
                    sleep(Duration::from_secs(2)).await;
                    self.copies_come(from, receiver);
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Copies of what `from` has sent to `to` come to all hosts.
    fn copies_come(&mut self, from: usize, to: usize) {
        let is_of_pair = |(receiver, parcel): &(ActorId, Parcel)| {
            receiver.key() == ACTORS[to]
                && parcel.from.key == ACTORS[from]
                && matches!(*parcel.asks, Asked::Deliver { .. })
        };
        let parcels: Vec<_> = self.site.lines.parcels().into_iter().filter(is_of_pair).collect();
        if parcels.is_empty() {
            return;
        }
        for at in 0..MACHINES {
            let (Some(caller), parcels) = (self.site.caller(at), parcels.clone()) else { continue };
            self.site.machines[at].clients.spawn(async move {
                for _ in 0..COPIES {
                    let pick = caller.dice.below(parcels.len() as u64);
                    let (to, parcel) = parcels[usize::try_from(pick).unwrap()].clone();
                    deliver(caller.clone(), to, parcel).await;
                    sleep(Duration::from_millis(caller.dice.between(0, 2))).await;
                }
            });
        }
    }

    /// The network is good from now on: everything arrives, and all actors are compared.
    async fn settle(&mut self) {
        if self.site.journal.is_broken() {
            return;
        }
        self.site.calm();
        self.site.end_all().await;
        let first = self.site.machines.len();
        for number in [first, first + 1] {
            self.site.start(number).await;
        }
        if self.site.machines[first..].iter().any(|machine| machine.node.is_none()) {
            return self.site.journal.broken("no host starts over a good network");
        }
        // What is seen empty in two rounds was empty between them.
        let (mut dropped, mut was_empty) = (BTreeMap::new(), false);
        for round in 0..ROUNDS_MAX {
            sleep(ROUND).await;
            let Some(all) = self.look_at_all(first, &mut dropped).await else { continue };
            let is_empty = all.values().all(|last| last.outbox == 0);
            if is_empty && was_empty {
                self.judge.ends(&all);
                let (count, sum) = self.judge.sum();
                let journal = &self.site.journal;
                journal.say(&format!("{count} transfers have arrived, of {sum}; {round} rounds"));
                return self.end(first).await;
            }
            was_empty = is_empty;
        }
        self.site.journal.broken("what was sent is neither delivered nor parked at the end (M7)");
    }

    /// All actors as they are now. `None`: one of them does not answer.
    async fn look_at_all(
        &mut self,
        first: usize,
        dropped: &mut BTreeMap<&'static str, Vec<(String, u32)>>,
    ) -> Option<BTreeMap<&'static str, Last>> {
        let mut all = BTreeMap::new();
        for (number, key) in ACTORS.into_iter().enumerate() {
            let sender = self.sender(first + number % 2)?;
            let received = sender.look(key).await?;
            let texts = sender.caller.call(&actor(key), "texts", json!([])).await?.ok()?;
            let texts = texts.reply.to_json();
            let texts = texts["ok"].as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
            let texts: Option<Vec<String>> = texts.collect();
            let (outbox, mut parked, ids) = self.listed(first, key).await?;
            if self.waits {
                // What waits for it continues once it is gone.
                for id in ids {
                    self.order(first, key, MessageOrder::Drop { id }).await?;
                }
                let dropped = dropped.entry(key).or_default();
                dropped.append(&mut parked);
                parked.clone_from(dropped);
            }
            all.insert(key, Last { texts: texts?, received, outbox, parked });
        }
        Some(all)
    }

    /// Messages that an actor has sent and that wait, those that it has parked, and their ids.
    async fn listed(
        &self,
        first: usize,
        key: &str,
    ) -> Option<(usize, Vec<(String, u32)>, Vec<String>)> {
        let rows = self.order(first, key, MessageOrder::List).await?;
        let (mut outbox, mut parked, mut ids) = (0, Vec::new(), Vec::new());
        for row in rows {
            let text = |at: usize| match &row[at] {
                SqlValue::Text(text) => text.clone(),
                _ => String::new(),
            };
            let SqlValue::Integer(tries) = row[6] else { return None };
            if text(0).starts_with("in-") {
                parked.push((text(7), u32::try_from(tries).unwrap_or(0)));
                ids.push(text(0));
            } else {
                outbox += 1;
            }
        }
        Some((outbox, parked, ids))
    }

    /// What an order comes to at the host that has the actor.
    async fn order(
        &self,
        first: usize,
        key: &str,
        order: MessageOrder,
    ) -> Option<Vec<Vec<SqlValue>>> {
        for at in [first, first + 1] {
            let handle = self.site.machines[at].node.as_ref()?.host.actor(&actor(key));
            match handle.order_messages(order.clone()).await {
                Ok(reply) => return Some(reply.rows),
                Err(error) if matches!(error.cause, HostError::ActorMissing { .. }) => {
                    return Some(Vec::new());
                }
                Err(_) => {}
            }
        }
        None
    }

    async fn end(&self, first: usize) {
        for machine in &self.site.machines[first..] {
            let Some(node) = &machine.node else { continue };
            if !node.host.shutdown().await.orderly {
                self.site.journal.broken("a host without faults does not end in order");
            }
        }
    }
}

/// A copy of a parcel comes to a host. What it says reaches no sender.
async fn deliver(caller: Caller, to: ActorId, parcel: Parcel) {
    let said = caller.answer(caller.node.host.deliver_here(&to, parcel)).await;
    if let Some(Ok(said)) = said {
        // Without ids, which are random.
        let said = format!("{said:?}");
        let said = said.split([' ', '{', '(']).next().unwrap_or_default();
        caller.say(&format!("{to} says {said} to a copy"));
    }
}
