//! A run: three machines and five actors that call each other, from one seed. First the storm, then the
//! calm, where circles and calls without end have their times.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::host::Outcome;
use stockade::limits::Limits;
use stockade::{CallKey, HostError, Manifest};
use stockade_depot::broken::Variant;
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::Report;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::asker::{Asker, Told, actor};
use super::judge::{Ended, Judge};
use crate::code::RELAY;
use crate::machine;
use crate::seed;
use crate::site::{Plan, Site};

const MACHINES: usize = 3;
const ACTORS: [&str; 5] = ["a", "b", "c", "d", "e"];
const STEPS: u64 = 70;
/// What a call may take.
const CALL_TIME: Duration = Duration::from_secs(10);
/// In the calm a circle is opened, and a call is answered, within this time.
const SOON: Duration = Duration::from_secs(1);
/// Circles in the calm.
const RINGS: usize = 5;
/// Attempts at a call with an id in the storm.
const ATTEMPTS_MAX: usize = 4;

/// Runs one seed. `off`: the rule that is switched off.
#[must_use]
pub fn run(seed: u64, off: Option<Variant>) -> Report {
    seed::run(seed, off, &RELAY, async |dir| {
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
    is_calm: bool,
}

impl World {
    async fn new(seed: u64, off: Option<Variant>, dir: PathBuf) -> Self {
        let dice = Arc::new(Dice::new(seed));
        let call_time_ms = u64::try_from(CALL_TIME.as_millis()).unwrap();
        let limits = Limits { call_time_ms, sleep_after_ms: 20_000, ..machine::limits() };
        let transactional = if dice.percent(50) { vec!["write".to_owned()] } else { Vec::new() };
        let calls = vec![RELAY.kind.to_owned()];
        let manifest = Manifest { limits, calls, transactional, ..Manifest::default() };
        let plan = Plan { dice, count: MACHINES, guest: &RELAY, manifest, dir, off };
        let site = Site::new(plan).await;
        let judge = Judge::new(&site.journal);
        Self { site, judge, numbers: 0, is_calm: false }
    }

    fn asker(&self, at: usize) -> Option<Asker> {
        let (caller, judge) = (self.site.caller(at)?, Arc::clone(&self.judge));
        Some(Asker { caller, judge, is_calm: self.is_calm })
    }

    fn id(&mut self) -> String {
        self.numbers += 1;
        format!("call-{}", self.numbers)
    }

    /// So many actors, each once.
    fn some(&self, count: usize) -> Vec<&'static str> {
        let mut all = ACTORS.to_vec();
        (0..count).map(|_| all.swap_remove(self.site.pick(all.len()))).collect()
    }

    // --- the storm --------------------------------------------------------------------------------

    async fn unfold(&mut self) {
        for _ in 0..STEPS {
            self.step().await;
            self.site.look_after().await;
            if self.site.journal.is_broken() {
                return;
            }
        }
    }

    async fn step(&mut self) {
        sleep(Duration::from_millis(self.site.dice.between(1, 300))).await;
        let (at, count) =
            (self.site.pick(MACHINES), if self.site.dice.percent(30) { 3 } else { 2 });
        let keys = self.some(count);
        match self.site.dice.below(100) {
            0..=44 => self.tells(at, (keys[0], keys[1])),
            45..=59 => {
                for number in 0..keys.len() {
                    let at = self.site.pick(MACHINES);
                    self.tells(at, (keys[number], keys[(number + 1) % keys.len()]));
                }
            }
            60..=69 => {
                let Some(asker) = self.asker(at) else { return };
                self.site.machines[at].clients.spawn(async move {
                    let (first, rest) = (keys[0], [&keys[1..], &keys[..1]].concat());
                    if let Some(told) = asker.ask(first, "pass", json!([rest])).await {
                        asker.caller.say(&format!("a chain ends: {:?}", told.answer));
                    }
                });
            }
            70..=93 => self.site.trouble(at, &actor(keys[0])).await,
            _ => sleep(Duration::from_millis(self.site.dice.between(500, 5_000))).await,
        }
    }

    /// An actor calls another one with an id, and calls again or asks until it knows the end.
    fn tells(&mut self, at: usize, pair: (&'static str, &'static str)) {
        let (id, Some(asker)) = (self.id(), self.asker(at)) else { return };
        self.site.machines[at].clients.spawn(async move {
            for _ in 0..ATTEMPTS_MAX {
                let Some((_, mut ended)) = asker.once(&id, pair).await else { return };
                let dice = Arc::clone(&asker.caller.dice);
                if ended == Ended::Open && dice.percent(60) {
                    sleep(Duration::from_millis(dice.between(1, 500))).await;
                    let settle = dice.percent(50);
                    ended = match asker.outcome(&id, pair, settle).await {
                        Some(outcome) => outcome,
                        None => return,
                    };
                }
                // What is done may be asked for again, and is not done again.
                if ended != Ended::Open && dice.percent(70) {
                    return;
                }
                sleep(Duration::from_millis(dice.between(1, 2_000))).await;
            }
        });
    }

    // --- the calm ---------------------------------------------------------------------------------

    async fn settle(&mut self) {
        if self.site.journal.is_broken() {
            return;
        }
        self.site.calm();
        self.is_calm = true;
        self.site.end_all().await;
        let first = self.site.machines.len();
        for number in first..first + MACHINES {
            self.site.start(number).await;
        }
        if self.site.machines[first..].iter().any(|machine| machine.node.is_none()) {
            return self.site.journal.broken("no host starts over a good network");
        }
        // Each has seen a sign of life of the others.
        sleep(Duration::from_secs(5)).await;
        let checked = async {
            for _ in 0..RINGS {
                self.ring(first).await?;
            }
            self.comes_back(first).await?;
            self.has_no_end(first).await
        };
        if let Err(what) = checked.await {
            return self.site.journal.broken(&what);
        }
        self.site.end_all().await;
        let last = self.site.machines.len();
        self.site.start(last).await;
        if let Err(what) = self.count(last).await {
            self.site.journal.broken(&what);
        }
    }

    /// An answer of a guest in the calm.
    async fn calmly(
        &self,
        at: usize,
        from: &str,
        method: &'static str,
        arguments: Json,
    ) -> Result<Told, String> {
        let asker = self.asker(at).ok_or("a host has ended in the calm")?;
        let told = asker.ask(from, method, arguments).await.ok_or("a host has died in the calm")?;
        match &told.answer {
            Ok(_) => Ok(told),
            Err(words) => Err(format!("{from} does not answer {method} in the calm: {words}")),
        }
    }

    /// Actors on several hosts call each other in a circle, at the same time: each has an answer soon.
    async fn ring(&mut self, first: usize) -> Result<(), String> {
        let count = if self.site.dice.percent(50) { 3 } else { 2 };
        let keys = self.some(count);
        for (number, key) in keys.iter().enumerate() {
            self.calmly(first + number, key, "count", json!([])).await?;
        }
        let mut calls = JoinSet::new();
        for number in 0..count {
            let (id, pair) = (self.id(), (keys[number], keys[(number + 1) % count]));
            let asker = self.asker(first + number).ok_or("a host has ended in the calm")?;
            calls.spawn(async move { asker.once(&id, pair).await });
        }
        let mut cycles = 0;
        while let Some(called) = calls.join_next().await {
            let called = called.map_err(|error| error.to_string())?;
            let (told, ended) = called.ok_or("a host has died in the calm")?;
            if told.took > SOON {
                return Err(format!("a call of a circle took {:?}: {:?}", told.took, told.answer));
            }
            if !matches!(ended, Ended::Done | Ended::NotDone) {
                return Err(format!("a call of a circle ends {ended:?}: {:?}", told.answer));
            }
            cycles += usize::from(told.is_cycle());
        }
        self.site.journal.say(&format!("a circle of {count} is opened by {cycles}"));
        match cycles == count {
            true => Err(format!("all calls of a circle of {count} gave way")),
            false => Ok(()),
        }
    }

    /// A chain that comes back to itself is seen soon.
    async fn comes_back(&mut self, first: usize) -> Result<(), String> {
        let keys = self.some(3);
        let told =
            self.calmly(first, keys[0], "pass", json!([[keys[1], keys[2], keys[0]]])).await?;
        let error = told.error().unwrap_or_default();
        if told.took > SOON || !error.contains("CallCycle") {
            return Err(format!("a chain that comes back took {:?}: {:?}", told.took, told.answer));
        }
        Ok(())
    }

    /// A call that does not end is ended in time for its caller, and its callee is free then.
    async fn has_no_end(&mut self, first: usize) -> Result<(), String> {
        let keys = self.some(2);
        let nap = json!([RELAY.kind, keys[1], "nap", "[3600000]"]);
        let told = self.calmly(first, keys[0], "call", nap).await?;
        let (took, error) = (told.took, told.error());
        self.site.journal.say(&format!("a call without end took {took:?}: {error:?}"));
        if error.is_none() || took > CALL_TIME || took < CALL_TIME - SOON {
            return Err(format!("a call without end took {took:?}: {:?}", told.answer));
        }
        let told = self.calmly(first, keys[1], "count", json!([])).await?;
        if told.took > SOON {
            return Err(format!("after it its callee answers after {:?}", told.took));
        }
        Ok(())
    }

    /// What is recorded of all calls, and the rows that they have written.
    async fn count(&self, last: usize) -> Result<(), String> {
        let node = self.site.machines[last].node.as_ref().ok_or("no host starts at the end")?;
        let calls = self.judge.calls();
        for to in ACTORS {
            let (mut done, mut begun) = (0, 0);
            for (id, call) in calls.iter().filter(|(_, call)| call.to == to) {
                let key = CallKey::of_actor(&actor(call.from), id).map_err(|it| it.to_string())?;
                let outcome = match node.host.outcome(&actor(to), &key, false).await {
                    Ok(reply) => reply.outcome,
                    Err(error) if matches!(error.cause, HostError::ActorMissing { .. }) => {
                        Outcome::NotSeen
                    }
                    Err(error) => return Err(format!("{to} says nothing of {id}: {error}")),
                };
                done += usize::from(matches!(outcome, Outcome::Committed { .. }));
                begun += usize::from(outcome == Outcome::Partial);
                self.judge.last(
                    id,
                    match outcome {
                        Outcome::Committed { .. } => Ended::Done,
                        Outcome::Never => Ended::Never,
                        _ => Ended::NotDone,
                    },
                );
            }
            let told = self.calmly(last, to, "count", json!([])).await?;
            let rows = told.answer.ok().and_then(|answer| answer["ok"].as_u64());
            let rows = rows.ok_or_else(|| format!("{to} does not count its rows"))?;
            self.judge.rows(to, usize::try_from(rows).unwrap(), (done, begun));
        }
        Ok(())
    }
}
