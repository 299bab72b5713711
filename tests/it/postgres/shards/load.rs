//! Callers of counters that follow the advice of errors, as the documents ask them to, and what must
//! be true of their counters in the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_tests::node::Node;
use stockade_tests::program::{HttpReply, Program};
use stockade_tests::tally::Tally;
use stockade_tests::wire::{Called, Known};

/// The deadline of a caller, retries included: that of a call by default.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between an error and the next try.
const PAUSE: Duration = Duration::from_millis(10);

/// One counter of a load.
pub(super) struct Counter {
    pub(super) key: String,
    tally: Tally,
    again: AtomicU64,
    longest_ms: AtomicU64,
}

impl Counter {
    pub(super) fn new(key: String) -> Self {
        let (again, longest_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { key, tally: Tally::default(), again, longest_ms }
    }

    fn actor(&self) -> String {
        format!("counter/{}", self.key)
    }

    /// One increment that is acknowledged within the deadline, at one node after the other.
    fn increment(&self, nodes: &[&Program], turn: usize) {
        let begun = Instant::now();
        for next in turn.. {
            let (before, asked) = (self.tally.begin(), Instant::now());
            let program = nodes[next % nodes.len()];
            let answer = program.call(&self.actor(), "increment", &json!([1])).unwrap();
            let known = known(&answer);
            let is_done = known.is_done();
            assert!(is_done || matches!(known, Known::NotDone(_)), "{}: {answer:?}", self.key);
            let (took, generation) = (asked.elapsed(), answer.generation);
            self.tally.end(before, &Called { known, took, kept: true, generation });
            let took = begun.elapsed();
            assert!(took < DEADLINE, "{}: {answer:?}\n{}", self.key, program.autopsy());
            if is_done {
                self.longest_ms
                    .fetch_max(u64::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
                return;
            }
            self.again.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
    }

    /// Checks its value in the end.
    pub(super) fn judge(&self, program: &Program) {
        let value = crate::writers::value(program, &self.key, DEADLINE);
        let counts = self.tally.counts();
        println!(
            "counter/{}: {} acknowledged, {} tried again, {} ms at most",
            self.key,
            counts.acknowledged,
            self.again.load(Ordering::Relaxed),
            self.longest_ms.load(Ordering::Relaxed)
        );
        assert_eq!(self.tally.faults(value), Vec::<String>::new(), "counter/{}", self.key);
        assert_eq!(value, counts.acknowledged, "counter/{}", self.key);
        assert!(counts.acknowledged > 3, "hardly a write");
    }
}

/// What a caller knows. Writes that were not applied, and never will be, are sent again.
fn known(answer: &HttpReply) -> Known {
    let code = format!("{} {}", answer.status, answer.body);
    match (answer.status, answer.body["retry"].as_str()) {
        (200, None) if answer.body.get("ok").is_some() => Known::Done(answer.body["ok"].clone()),
        (_, Some("retry" | "reroute")) => Known::NotDone(code),
        _ if answer.body["details"]["verdict"] == "not-committed" => Known::NotDone(code),
        _ => Known::Wrong(code),
    }
}

/// Adds to a counter that may have moved while its generation had nothing to do: the first call after
/// that finds that out. Its value.
pub(super) fn add_again(program: &Program, key: &str, by: i64) -> i64 {
    let begun = Instant::now();
    loop {
        let answer = program.call(&format!("counter/{key}"), "increment", &json!([by])).unwrap();
        match known(&answer) {
            Known::Done(value) => return value.as_i64().unwrap(),
            Known::NotDone(_) => assert!(begun.elapsed() < DEADLINE, "{key}: {answer:?}"),
            other => panic!("{key}: {other:?}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ends the callers, also when the test fails: their scope waits for them.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Adds to each of these counters through both nodes while `act` acts. Each counter is right in the
/// end, at either node.
pub(super) fn while_called(nodes: [&Node; 2], keys: &[String], act: impl FnOnce(&[Counter])) {
    let programs = nodes.map(|node| node.running().unwrap());
    let counters: Vec<Counter> = keys.iter().cloned().map(Counter::new).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ending = Ending(&stop);
        for (at, counter) in counters.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                for turn in at.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    counter.increment(&programs, turn);
                }
            });
        }
        act(&counters);
    });
    for (at, counter) in counters.iter().enumerate() {
        counter.judge(programs[at % 2]);
    }
}

/// Waits until each counter has been acknowledged once more.
pub(super) fn all_answer_again(counters: &[Counter]) {
    let now = || counters.iter().map(|it| it.tally.counts().acknowledged).collect::<Vec<_>>();
    let (before, begun) = (now(), Instant::now());
    while now().iter().zip(&before).any(|(now, before)| now == before) {
        assert!(begun.elapsed() < DEADLINE, "a counter stands still: {:?}", now());
        std::thread::sleep(PAUSE);
    }
}
