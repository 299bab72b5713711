//! Writers that add to counters while the store of their programs goes away and comes back, and know
//! what was acknowledged to them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_tests::program::Program;

const WRITERS: usize = 6;
/// The longest that a call may take: the limit of a call by default.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(30);

/// What one writer knows about its counter.
#[derive(Default)]
struct Ledger {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    longest_ms: AtomicU64,
}

/// Ends the writers, also when the test fails: their scope waits for them.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Adds until the end, and records each answer.
fn write(program: &Program, key: usize, ledger: &Ledger, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = program.call(&format!("counter/{key}"), "increment", &json!([1])).unwrap();
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
        ledger.longest_ms.fetch_max(took, Ordering::Relaxed);
        let count = match (answer.status, answer.body["retry"].as_str()) {
            (200, None) if answer.body.get("ok").is_some() => &ledger.acknowledged,
            // The guest got an error of its database: the answer is the guest's own.
            (200, None) => &ledger.unknown,
            (_, Some("retry")) => &ledger.refused,
            (_, Some("unknown-outcome")) => &ledger.unknown,
            _ => panic!("{answer:?}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if answer.status != 200 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The value of a counter, which answers within this time.
pub(crate) fn value(program: &Program, key: &str, within: Duration) -> u64 {
    let begun = Instant::now();
    loop {
        let answer = program.call(&format!("counter/{key}"), "get", &json!([])).unwrap();
        if answer.status == 200 {
            return answer.body["ok"].as_u64().unwrap();
        }
        assert!(begun.elapsed() < within, "{answer:?}\n{}", program.autopsy());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn acknowledged(ledgers: &[Ledger]) -> Vec<u64> {
    ledgers.iter().map(|ledger| ledger.acknowledged.load(Ordering::Relaxed)).collect()
}

/// Checks that counters of these programs lose nothing that was acknowledged, and that calls end in
/// time, while `restart` takes the store away three times, each for the time that it gets. All writers
/// are answered again within `back_within`.
pub(crate) fn lose_nothing(
    programs: &[Program],
    back_within: Duration,
    mut restart: impl FnMut(Duration),
) {
    let ledgers: Vec<Ledger> = (0..WRITERS).map(|_| Ledger::default()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ending = Ending(&stop);
        for (key, ledger) in ledgers.iter().enumerate() {
            let (program, stop) = (&programs[key % programs.len()], &stop);
            scope.spawn(move || write(program, key, ledger, stop));
        }
        for away in [0, 1, 3] {
            std::thread::sleep(Duration::from_millis(700));
            restart(Duration::from_secs(away));
            let (before, back) = (acknowledged(&ledgers), Instant::now());
            while acknowledged(&ledgers).iter().zip(&before).any(|(now, before)| now == before) {
                assert!(
                    back.elapsed() < back_within,
                    "no writes after {away} s away\n{}",
                    programs.iter().map(Program::autopsy).collect::<String>()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    for (key, ledger) in ledgers.iter().enumerate() {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (acknowledged, unknown) = (of(&ledger.acknowledged), of(&ledger.unknown));
        let found = value(&programs[key % programs.len()], &key.to_string(), back_within);
        println!(
            "counter/{key}: {acknowledged} acknowledged, {unknown} unknown, {} refused, {found} \
             found, {} ms at most",
            of(&ledger.refused),
            of(&ledger.longest_ms)
        );
        assert!((acknowledged..=acknowledged + unknown).contains(&found), "counter/{key}");
        assert!(acknowledged > 3, "hardly a write");
        assert!(Duration::from_millis(of(&ledger.longest_ms)) < CALL_MAX);
    }
}
