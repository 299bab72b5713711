//! What a run has shown: a table, and what must hold.
//!
//! - F1: every actor answers in the end, those of lost nodes within [`OVER_LEASE_MAX`] after the time in
//!   which others can have judged their node dead.
//! - F2: what was acknowledged is in the store, once and in its order; what was refused is not.
//! - F3: calls are refused with an advice that lets them continue, and none as `internal`.
//! - F4: no node waits for more takeovers at the same time than [`RESCUES_MAX`].
//! - F5: no actor of a node that lives is put to sleep to make room for one of a lost node while others
//!   have room.
//! - F6: while nodes are lost the store is asked `EXTRA_STEPS_MAX` more steps for each of their actors
//!   than before, at most, and lists of nodes `LISTS_MAX` times a second for each node.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use serde_json::json;
use stockade::limits::{LEASE, RESCUES_MAX};
use tokio::time::Instant;

use super::callers::{CALLER_TIME, Callers, Line, Tale};
use super::ledger;
use super::load::{Load, Part, ROUND_TRIP_US};
use super::size::Size;

/// How long after the last moment at which others judge a node dead its actors are answered: a call
/// that waits in vain for the lost node, another one, and the takeovers.
pub const OVER_LEASE_MAX: Duration = Duration::from_secs(4);

/// Steps of the store for each actor of a lost node, beside those of before: look-ups by its caller until
/// others judge the node dead, one takeover, its read and its first commit.
const EXTRA_STEPS_MAX: u64 = 25;
/// Lists of nodes a second for each node: half a one with its signs of life, and two for calls of silent
/// owners; in one second of the clock one more of each. Seeds reach 5.5.
const LISTS_MAX: u64 = 6;

/// The moments of a run.
pub struct Times {
    /// The first caller began.
    pub begun: Instant,
    /// All callers had begun.
    pub all_begun: Instant,
    /// Nodes were lost.
    pub lost_at: Instant,
    /// Every actor of a lost node had answered.
    pub all_answered: Instant,
}

/// What a run has shown.
pub struct Report {
    seed: u64,
    size: Size,
    /// Actors of lost nodes, and how long after the loss they answered, in milliseconds, ascending.
    lost: usize,
    answered_ms: Vec<u64>,
    others_ms: Vec<u64>,
    answered: (u64, u64),
    passed_on: u64,
    refused: BTreeMap<(&'static str, String), u64>,
    parts: [(&'static str, Part); 3],
    taking_max: (u64, u64),
    awake: (usize, usize),
    answers: Vec<Line>,
    broken: Vec<String>,
}

impl Report {
    /// Looks at everything when a run is over.
    pub async fn new(seed: u64, load: &Load, callers: &Callers, times: &Times) -> Self {
        let mut broken = Vec::new();
        let (mut lost, mut answered_ms) = (0, Vec::new());
        for (number, tale) in callers.tales.iter().enumerate() {
            let tale = tale.lock().clone();
            let stored = ledger::stored(load.store().as_ref(), &Callers::actor(number)).await;
            if let Err(what) = is_kept(&tale, &stored) {
                broken.push(format!("actor {number}: {what}"));
            }
            if tale.acknowledged.is_empty() {
                broken.push(format!("actor {number} never answered"));
            }
            if tale.is_lost {
                lost += 1;
                let after = tale.answered_after.map(|after| after.as_millis());
                answered_ms.extend(after.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)));
            }
        }
        answered_ms.sort_unstable();
        let mut counts = callers.counts.lock();
        let mut others_ms = std::mem::take(&mut counts.others_ms);
        others_ms.sort_unstable();
        broken.append(&mut counts.broken);
        let living = callers.nodes.iter().filter(|node| !node.life.is_dead());
        let awake: Vec<usize> = living.map(|node| node.host.awake()).collect();
        let awake = (awake.iter().min().copied(), awake.iter().max().copied());
        let mut report = Self {
            seed,
            size: callers.size,
            lost,
            answered_ms,
            others_ms,
            answered: counts.answered,
            passed_on: counts.passed_on,
            refused: counts.refused.clone(),
            parts: [
                ("begin", load.part(times.begun, times.all_begun)),
                ("steady", load.part(times.all_begun, times.lost_at)),
                ("lost", load.part(times.lost_at, times.all_answered)),
            ],
            taking_max: load.taking_max(),
            awake: (awake.0.unwrap_or(0), awake.1.unwrap_or(0)),
            answers: std::mem::take(&mut counts.answers),
            broken,
        };
        let broken = report.missed();
        report.broken.extend(broken);
        report
    }

    /// What does not hold, beside what callers and the store have shown.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let within = ms(LEASE + LEASE / 3 + OVER_LEASE_MAX);
        if self.answered_ms.len() < self.lost {
            let silent = self.lost - self.answered_ms.len();
            missed.push(format!("{silent} actors of lost nodes do not answer"));
        }
        if self.lost == 0 {
            missed.push("no actor was on a lost node".to_owned());
        }
        let last = self.answered_ms.last().copied().unwrap_or(0);
        if last > within {
            missed.push(format!("the last actor answers after {last} ms, over {within} ms"));
        }
        let most = u64::try_from(RESCUES_MAX).unwrap_or(u64::MAX);
        if self.taking_max.0 > most {
            let taken = self.taking_max.0;
            missed
                .push(format!("a node waits for {taken} takeovers at the same time, over {most}"));
        }
        let sealed = self.parts[2].1.steps.get("Seal").map_or(0, |(_, most)| *most);
        if sealed > 0 {
            missed.push(format!("{sealed} actors a second are put to sleep to make room"));
        }
        let [_, (_, before), (_, after)] = &self.parts;
        let seconds = last.div_ceil(1_000);
        let extra = after.all.0.saturating_sub(before.all.0) * seconds;
        if extra > EXTRA_STEPS_MAX * u64::try_from(self.lost).unwrap_or(u64::MAX) {
            missed.push(format!("the store is asked {extra} steps more for {} actors", self.lost));
        }
        let lists = after.steps.get("Nodes").map_or(0, |(_, most)| *most);
        if lists > LISTS_MAX * u64::try_from(self.size.nodes).unwrap_or(u64::MAX) {
            missed.push(format!("nodes are listed {lists} times in a second"));
        }
        missed
    }

    /// What does not hold. Empty: everything does.
    #[must_use]
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// A hash over all answers, in their order.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.answers.hash(&mut hasher);
        hasher.finish()
    }

    /// All answers, in their order.
    #[must_use]
    pub fn answers(&self) -> &[Line] {
        &self.answers
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let parts = self.parts.iter().map(|(name, part)| {
            let steps = part.steps.iter();
            let steps = steps.map(|(kind, (mean, most))| {
                (kind.clone(), json!({ "mean_per_s": mean, "most_per_s": most }))
            });
            let steps: serde_json::Map<_, _> = steps.collect();
            let part = json!({
                "steps": steps,
                "all": { "mean_per_s": part.all.0, "most_per_s": part.all.1 },
                "busy_permille_max": part.busy_permille,
                "waited_ms_max": ms(part.waited),
            });
            ((*name).to_owned(), part)
        });
        let refused = self
            .refused
            .iter()
            .map(|((phase, code), count)| json!({ "phase": phase, "code": code, "calls": count }));
        json!({
            "seed": self.seed,
            "nodes": self.size.nodes,
            "actors": self.size.actors,
            "nodes_lost": self.size.lost,
            "actors_lost": self.lost,
            "lease_ms": ms(LEASE),
            "answered_ms": {
                "first": self.answered_ms.first(),
                "p50": percentile(&self.answered_ms, 500),
                "p99": percentile(&self.answered_ms, 990),
                "last": self.answered_ms.last(),
            },
            "calls_answered": { "whole": self.answered.0, "lost": self.answered.1 },
            "calls_passed_on": self.passed_on,
            "calls_refused": refused.collect::<Vec<_>>(),
            "others_ms": {
                "p50": percentile(&self.others_ms, 500),
                "p99": percentile(&self.others_ms, 990),
                "p999": percentile(&self.others_ms, 999),
            },
            "store": parts.collect::<serde_json::Map<_, _>>(),
            "takeovers_at_a_time": { "node": self.taking_max.0, "all": self.taking_max.1 },
            "awake_per_node": { "least": self.awake.0, "most": self.awake.1 },
            "hash": format!("{:016x}", self.hash()),
            "broken": self.broken,
        })
    }
}

/// F2 for one actor.
fn is_kept(tale: &Tale, stored: &[u64]) -> Result<(), String> {
    let mut seen = HashSet::new();
    if let Some(twice) = stored.iter().find(|number| !seen.insert(**number)) {
        return Err(format!("{twice} is there twice"));
    }
    let mut rest = stored.iter();
    for number in &tale.acknowledged {
        if !rest.any(|found| found == number) {
            return Err(format!("{number} was acknowledged, and is not there in its place"));
        }
    }
    let known: HashSet<u64> = tale.acknowledged.iter().chain(&tale.unknown).copied().collect();
    match stored.iter().find(|number| !known.contains(number)) {
        Some(number) => Err(format!("{number} is there, and was told not to be done")),
        None => Ok(()),
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The value below which so many thousandths of the sorted `values` are.
fn percentile(values: &[u64], permille: usize) -> Option<u64> {
    let last = values.len().checked_sub(1)?;
    values.get((last * permille).div_ceil(1_000)).copied()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { nodes, actors, lost, .. } = self.size;
        let of = |values: &[u64], permille| percentile(values, permille).unwrap_or(0);
        let answered = &self.answered_ms;
        writeln!(f, "| {nodes} nodes, {actors} actors, {lost} nodes lost | seed {} |", self.seed)?;
        writeln!(f, "|---|---|")?;
        writeln!(f, "| actors of the lost nodes | {} |", self.lost)?;
        writeln!(
            f,
            "| answered after the loss: first, half, 99 of 100, last | {}, {}, {}, {} ms |",
            answered.first().unwrap_or(&0),
            of(answered, 500),
            of(answered, 990),
            answered.last().unwrap_or(&0)
        )?;
        writeln!(f, "| lease; a caller's time | {}; {} ms |", ms(LEASE), ms(CALLER_TIME))?;
        writeln!(f, "| calls answered before, after | {}, {} |", self.answered.0, self.answered.1)?;
        writeln!(f, "| of them passed on by another node | {} |", self.passed_on)?;
        for ((phase, code), calls) in &self.refused {
            writeln!(f, "| calls refused, {phase}: {code} | {calls} |")?;
        }
        writeln!(
            f,
            "| calls of other actors after the loss: half, 99, 99.9 of 100 | {}, {}, {} ms |",
            of(&self.others_ms, 500),
            of(&self.others_ms, 990),
            of(&self.others_ms, 999)
        )?;
        let (node, all) = self.taking_max;
        writeln!(f, "| takeovers at the same time: one node, all | {node}, {all} |")?;
        writeln!(
            f,
            "| awake on a living node: least, most | {}, {} |",
            self.awake.0, self.awake.1
        )?;
        writeln!(f, "| hash of all answers | {:016x} |", self.hash())?;
        writeln!(f, "\nSteps of the store a second: mean (most in one second).\n")?;
        let mut kinds: Vec<&String> =
            self.parts.iter().flat_map(|(_, part)| part.steps.keys()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let row = |name: &str, cell: &dyn Fn(&Part) -> String| {
            let mut line = format!("| {name} |");
            for (_, part) in &self.parts {
                let _ = write!(line, " {} |", cell(part));
            }
            line
        };
        let names: Vec<&str> = self.parts.iter().map(|(name, _)| *name).collect();
        writeln!(f, "| step | {} |\n|---|---|---|---|", names.join(" | "))?;
        for kind in kinds {
            let cell = |part: &Part| {
                let (mean, most) = part.steps.get(kind).copied().unwrap_or_default();
                format!("{mean} ({most})")
            };
            writeln!(f, "{}", row(kind, &cell))?;
        }
        writeln!(f, "{}", row("all", &|part| format!("{} ({})", part.all.0, part.all.1)))?;
        let busy = |part: &Part| format!("{} %", part.busy_permille / 10);
        writeln!(f, "{}", row("workers in use, most", &busy))?;
        let waited = |part: &Part| format!("{} ms", ms(part.waited));
        writeln!(f, "{}", row("a step waited for a worker, most", &waited))?;
        let workers = self.size.server.workers;
        writeln!(f, "\nThe server: {workers} workers, {ROUND_TRIP_US} us there and back.")?;
        self.broken.iter().try_for_each(|what| writeln!(f, "BROKEN {what}"))
    }
}
