//! Callers that count through nodes that do not own their actors, and what each of them knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde_json::json;
use stockade_tests::tally::Tally;
use stockade_tests::wire::Wire;

use crate::{TIME, number, one};

/// Callers at each node.
const AT_EACH: usize = 2;
/// How much longer than the server a caller waits.
const SLACK: Duration = Duration::from_secs(5);

/// Callers at work.
pub(crate) struct Callers {
    actors: Vec<Arc<Actor>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

struct Actor {
    name: String,
    tally: Tally,
}

/// What callers know in the end.
pub(crate) struct Report {
    pub(crate) names: Vec<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) faults: Vec<String>,
}

impl Callers {
    /// Begins actors of these names at their owner, then calls each through another node.
    pub(crate) fn start(name: &str, owner: &str, through: &[&str]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut actors, mut threads) = (Vec::new(), Vec::new());
        let mut at_owner = Wire::to(owner, SLACK);
        for (at, node) in through.iter().cycle().take(AT_EACH * through.len()).enumerate() {
            let name = format!("counter/{name}-{}", at + 1);
            number(&at_owner.call(&name, "get", &json!([]), TIME))?;
            let actor = Arc::new(Actor { name, tally: Tally::default() });
            let (shared, stop, node) = (Arc::clone(&actor), Arc::clone(&stop), (*node).to_owned());
            let builder = std::thread::Builder::new().name(actor.name.clone());
            threads.push(builder.spawn(move || shared.count(&node, &stop))?);
            actors.push(actor);
        }
        Ok(Self { actors, threads, stop })
    }

    /// Waits until each caller has an answer of a call that began after `killed`; how long that took.
    pub(crate) fn answered_after(
        &self,
        killed: Instant,
        within: Duration,
    ) -> Result<Vec<Duration>> {
        let mut waits = Vec::new();
        for actor in &self.actors {
            waits.push(loop {
                if let Some(first) = actor.tally.first_after(killed) {
                    break first - killed;
                }
                if killed.elapsed() > within {
                    bail!("{} is not answered {within:?} after the kill", actor.name);
                }
                std::thread::sleep(Duration::from_millis(5));
            });
        }
        Ok(waits)
    }

    /// Ends the calls, and compares what callers know with the counters.
    pub(crate) fn end(self, killed: Instant, at: &str) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a caller failed"))?;
        }
        let (mut names, mut lines, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for Actor { name, tally } in self.actors.iter().map(|actor| &**actor) {
            let (found, counts) = (value(at, name)?, tally.counts());
            lines.push(format!(
                "{name}: acknowledged {}, found {found}; outcome unknown to its caller: {}, not done: {}",
                counts.acknowledged, counts.unknown, counts.not_done
            ));
            let wrong = tally.faults(found).into_iter();
            faults.extend(wrong.map(|fault| format!("{name}: {fault}")));
            if tally.first_after(killed).is_none() {
                faults.push(format!("{name}: no answer after the kill"));
            }
            names.push(name.clone());
        }
        Ok(Report { names, lines, faults })
    }
}

impl Actor {
    fn count(&self, node: &str, stop: &AtomicBool) {
        let mut wire = Wire::to(node, SLACK);
        while !stop.load(Ordering::Relaxed) {
            let before = self.tally.begin();
            let called = wire.call(&self.name, "increment", &one(), TIME);
            self.tally.end(before, &called);
            let pause = if called.known.is_done() { 5 } else { 50 };
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
}

/// The value of a counter, as a node answers.
pub(crate) fn value(at: &str, actor: &str) -> Result<u64> {
    number(&Wire::to(at, SLACK).call(actor, "get", &json!([]), TIME))
}
