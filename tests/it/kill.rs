//! SIGKILL at random moments: every acknowledged write is there, and the database is sound.
//!
//! Writers call the real program over HTTP and record each acknowledged value outside of it. A kill
//! classifies every value: acknowledged = must be there, sent but not answered = may be there,
//! never sent = must not be there. `SEED=n` repeats the moments of a run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::Program;

/// The number of kills that must be survived.
const ROUNDS: u64 = 50;
/// Databases written at the same time.
const ACTORS: usize = 3;

/// What one writer knows about its actor.
#[derive(Default)]
struct Ledger {
    /// Acknowledged increments.
    acknowledged: u64,
    /// Sent, and no answer arrived.
    unknown: u64,
}

#[test]
fn fifty_kills_lose_nothing_that_was_acknowledged() {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => u64::from(std::process::id()) | 1,
    };
    println!("SEED={seed}");
    let mut random = seed;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let wasm = guest::LEDGER.wasm().unwrap();
    let ledgers: Vec<Mutex<Ledger>> = (0..ACTORS).map(|_| Mutex::default()).collect();
    let ledgers = Arc::new(ledgers);

    for round in 0..ROUNDS {
        let program = Arc::new(Program::serve(&data).unwrap());
        if round == 0 {
            program.deploy("ledger", &wasm).unwrap();
            for actor in 0..ACTORS {
                for name in ["bank", "till"] {
                    let opened = program.call(&name_of(actor), "open", &json!([name])).unwrap();
                    assert_eq!(opened.status, 200, "{opened:?}");
                }
            }
        }
        check(&program, &ledgers, seed, round);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..ACTORS)
            .map(|actor| {
                let (program, ledgers) = (Arc::clone(&program), Arc::clone(&ledgers));
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || write(&program, actor, &ledgers[actor], &stop))
            })
            .collect();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(5 + (random >> 33) % 250));
        kill(&program);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
    }

    let program = Program::serve(&data).unwrap();
    check(&program, &ledgers, seed, ROUNDS);
    for actor in 0..ACTORS {
        check_export(&program, actor, dir.path());
    }
    let total: u64 = ledgers.iter().map(|ledger| ledger.lock().unwrap().acknowledged).sum();
    println!("{total} acknowledged writes survived {ROUNDS} kills");
    assert!(total > ROUNDS, "only {total} writes were acknowledged");
    program.stop().unwrap();
}

fn name_of(actor: usize) -> String {
    format!("ledger/{actor}")
}

/// Deposits of 1 into the bank and transfers of it into the till, until the program is gone.
fn write(program: &Program, actor: usize, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        ledger.lock().unwrap().unknown += 1;
        let answer = program.call(&name_of(actor), "deposit", &json!(["bank", 1]));
        let Ok(answer) = answer else { return };
        // A call whose answer is no success may still have been applied: its outcome stays unknown.
        if answer.status == 200 {
            assert!(answer.body.get("ok").is_some(), "{answer:?}");
            let mut ledger = ledger.lock().unwrap();
            ledger.unknown -= 1;
            ledger.acknowledged += 1;
        }
        if program.call(&name_of(actor), "transfer", &json!(["bank", "till", 1])).is_err() {
            return;
        }
    }
}

fn kill(program: &Program) {
    let killed =
        std::process::Command::new("kill").args(["-KILL", &program.id().to_string()]).status();
    assert!(killed.unwrap().success());
}

/// Asserts that all acknowledged values are there, and none that was never sent; the sums agree.
fn check(program: &Program, ledgers: &[Mutex<Ledger>], seed: u64, round: u64) {
    for (actor, ledger) in ledgers.iter().enumerate() {
        let mut ledger = ledger.lock().unwrap();
        let answer = program.call(&name_of(actor), "total", &json!([]));
        let answer = answer.unwrap_or_else(|error| {
            panic!("SEED={seed} round {round} actor {actor}: {error}\n{}", program.autopsy())
        });
        let place = format!("SEED={seed} round {round} actor {actor}: {}", answer.body);
        assert_eq!(answer.status, 200, "{place}");
        let (balances, deposits) = (answer.body["ok"][0].as_u64(), answer.body["ok"][1].as_u64());
        assert_eq!(balances, deposits, "{place}: a transfer was torn");
        let found = deposits.unwrap();
        let most = ledger.acknowledged + ledger.unknown;
        assert!(
            (ledger.acknowledged..=most).contains(&found),
            "{place}: {} acknowledged, {} unknown",
            ledger.acknowledged,
            ledger.unknown
        );
        // The present values count as acknowledged: later rounds must keep them too.
        *ledger = Ledger { acknowledged: found, unknown: 0 };
        if round.is_multiple_of(10) {
            let report = program
                .admin_post(&format!("/admin/actors/{}/verify", name_of(actor)), &json!({}))
                .unwrap();
            assert_eq!(report.status, 200, "{place}: {report:?}");
            assert_eq!(report.body["ok"], json!(true), "{place}: {}", report.body);
        }
    }
}

fn check_export(program: &Program, actor: usize, dir: &Path) {
    let path = dir.join(format!("{actor}.db"));
    if let Err(error) = program.export(&name_of(actor), &path) {
        panic!("export: {error:#}\n{}", program.autopsy());
    }
    let copy = rusqlite::Connection::open(&path).unwrap();
    let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let tables: BTreeSet<String> = copy
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(!tables.is_empty());
}
