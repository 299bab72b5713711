//! The server restarts, or is away, while a program serves: nothing acknowledged is lost, each call
//! gets an answer or a typed error in time, and serving continues.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_testkit::postgres::Server;
use stockade_tests::program::Program;

use super::{Stage, add, deploy_counter, done};

const WRITERS: usize = 6;
/// The longest that a call may take: the limit of a call by default.
const CALL_MAX: Duration = Duration::from_secs(30);
/// How soon calls succeed once the server is back.
const BACK_WITHIN: Duration = Duration::from_secs(5);

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

fn value(program: &Program, key: &str) -> u64 {
    let begun = Instant::now();
    loop {
        let answer = program.call(&format!("counter/{key}"), "get", &json!([])).unwrap();
        if answer.status == 200 {
            return answer.body["ok"].as_u64().unwrap();
        }
        assert!(begun.elapsed() < BACK_WITHIN, "{answer:?}\n{}", program.autopsy());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_restarts_under_load_loses_nothing_that_was_acknowledged() {
    let server = Server::start(&[]);
    let stage = Stage::new(&server);
    let program = stage.serve("one");
    deploy_counter(&program);
    let ledgers: Vec<Ledger> = (0..WRITERS).map(|_| Ledger::default()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ending = Ending(&stop);
        for (key, ledger) in ledgers.iter().enumerate() {
            let (program, stop) = (&program, &stop);
            scope.spawn(move || write(program, key, ledger, stop));
        }
        for away in [0, 1, 3] {
            std::thread::sleep(Duration::from_millis(700));
            server.stop();
            std::thread::sleep(Duration::from_secs(away));
            server.again();
            let before: Vec<u64> = acknowledged(&ledgers);
            let back = Instant::now();
            while acknowledged(&ledgers).iter().zip(&before).any(|(now, before)| now == before) {
                assert!(back.elapsed() < BACK_WITHIN, "no writes after {away} s away");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    for (key, ledger) in ledgers.iter().enumerate() {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (acknowledged, unknown) = (of(&ledger.acknowledged), of(&ledger.unknown));
        let found = value(&program, &key.to_string());
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
    assert_eq!(done(&["verify", "--all", "--admin", &program.admin])["ok"], true);
    program.stop().unwrap();
}

fn acknowledged(ledgers: &[Ledger]) -> Vec<u64> {
    ledgers.iter().map(|ledger| ledger.acknowledged.load(Ordering::Relaxed)).collect()
}

/// Asleep, awake and new actors, while the server is away and after.
#[test]
fn calls_get_a_typed_error_in_time_while_the_server_is_away() {
    let server = Server::start(&[]);
    let stage = Stage::new(&server);
    let program = stage.serve("one");
    deploy_counter(&program);
    for key in ["asleep", "awake"] {
        assert_eq!(add(&program, key, 1), 1);
    }
    let slept = program.admin_post("/admin/actors/counter/asleep/stop", &json!({})).unwrap();
    assert_eq!(slept.status, 200, "{slept:?}");

    server.stop();
    for (key, method) in [
        ("asleep", "get"),
        ("awake", "get"),
        ("new", "get"),
        ("awake", "increment"),
        ("asleep", "increment"),
    ] {
        let begun = Instant::now();
        let arguments = if method == "get" { json!([]) } else { json!([1]) };
        let answer = program.call(&format!("counter/{key}"), method, &arguments).unwrap();
        println!("{key} {method}: {} after {:?}: {}", answer.status, begun.elapsed(), answer.body);
        assert!(begun.elapsed() < CALL_MAX, "{key} {method}");
        assert_eq!(answer.status, 503, "{key} {method}: {answer:?}");
        let advice = answer.body["retry"].as_str().unwrap();
        assert!(["retry", "unknown-outcome"].contains(&advice), "{answer:?}");
        if method == "get" {
            assert_eq!(advice, "retry", "{key}: {answer:?}");
        }
    }
    let listed = program.admin_get("/admin/actors").unwrap();
    assert_eq!((listed.status, &listed.body["code"]), (503, &json!("unavailable")), "{listed:?}");
    assert_eq!(program.get("/health").unwrap().status, 200);

    server.again();
    for key in ["asleep", "awake"] {
        // Its write may have been applied, if its answer said so.
        assert!([1, 2].contains(&value(&program, key)), "{key}");
    }
    assert_eq!(add(&program, "new", 1), 1);
    program.stop().unwrap();
}
