//! `make demo`: the main job on real input, shown step by step, with the real program.
//!
//! The demo fails at the first wrong result. It kills the servers that it starts by their own
//! process ids, in every case.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it tells a story on the terminal, at the pace of the clock"
)]

mod index;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};
use stockade_tests::guest::{self, Guest};
use stockade_tests::program::{self, Program};

/// How long writes run before the host is killed.
const WRITING: Duration = Duration::from_millis(1500);
/// How long alarms and messages may take that were due while no host ran.
const REMINDED_WITHIN: Duration = Duration::from_secs(20);
/// Fewer packages than any main suite of a recent Debian has.
const PACKAGES_MIN: u64 = 50_000;

fn main() -> Result<()> {
    let begun = Instant::now();
    let dir = tempfile::Builder::new().prefix("stockade-demo-").tempdir()?;
    let data = dir.path().join("data");

    step("A host on the embedded store: one directory, nothing else to start");
    let mut host = serve(&data)?;

    step("Deploy four actors; those of `reminders` and of `bank` may call each other");
    deploy(&host, guest::COUNTER, &[])?;
    deploy(&host, guest::CATALOG, &[])?;
    for guest in [guest::REMINDERS, guest::BANK] {
        let grant = dir.path().join(format!("{}.toml", guest.name));
        std::fs::write(&grant, format!("calls = [\"{}\"]\n", guest.name))?;
        deploy(&host, guest, &["--manifest", &grant.display().to_string()])?;
    }

    step("Count: the first call of a name creates the actor");
    for by in ["5", "-2", "39"] {
        stockade(&host, &["call", "counter/alice", "increment", by])?;
    }
    stockade(&host, &["sql", "counter/alice", "SELECT * FROM sqlite_schema"])?;

    step("Ingest Debian's package index into one actor's database, with a full-text index");
    let packages = index::ingest(&host, dir.path())?;
    ensure!(packages >= PACKAGES_MIN, "only {packages} packages were taken in");

    step("Search it, best answer first");
    for query in ["web server", "sqlite librar*"] {
        search(&host, query)?;
    }

    step("Alice and Bob ask to be reminded, in two seconds");
    for (actor, text) in [("reminders/alice", "tea is ready"), ("reminders/bob", "call Alice")] {
        stockade(&host, &["call", actor, "remind", text, "2"])?;
    }
    stockade(&host, &["alarms", "list", "reminders/alice"])?;

    step("Alice pays Bob a thousand times: each time a row and a message in one transaction");
    stockade(&host, &["call", "bank/alice", "pay-in", "1000"])?;
    stockade(&host, &["call", "bank/alice", "transfer-many", "bob", "1", "1000"])?;

    step("Kill the host with SIGKILL in the middle of writes");
    let acknowledged = write_until_killed(host)?;
    host = serve(&data)?;
    check_counter(&host, acknowledged)?;
    let count = host.call("catalog/debian", "count", &json!([]))?;
    ensure!(count.body == json!({"ok": packages}), "the catalog has {}", count.body);
    say(&format!("counter/bench and catalog/debian are as they were: {packages} packages"));

    step("The alarms have run, and actors call actors: Carol's asks Alice's and Bob's");
    reminded(&host)?;
    stockade(&host, &["call", "reminders/alice", "take"])?;

    step("Each message has run exactly once");
    paid(&host)?;
    stockade(&host, &["call", "bank/bob", "look"])?;

    step("Verify: every page, every commit, the chain over all of them");
    stockade(&host, &["verify", "--all"])?;

    step("Export, and open the copies with stock SQLite");
    for (actor, sql) in [
        ("counter/bench", "SELECT name FROM sqlite_schema"),
        ("catalog/debian", "SELECT count(*) FROM package"),
    ] {
        let file = dir.path().join(format!("{}.sqlite", actor.replace('/', "-")));
        stockade(&host, &["export", actor, &file.display().to_string()])?;
        stock_sqlite(&file, sql)?;
    }

    step("Shut down in order");
    host.stop()?;
    say(&format!("All of it held. {:.0} s.", begun.elapsed().as_secs_f64()));
    Ok(())
}

fn step(title: &str) {
    println!("\n== {title}");
}

fn say(text: &str) {
    println!("   {text}");
}

fn serve(data: &Path) -> Result<Program> {
    let begun = Instant::now();
    let host = Program::serve(data)?;
    say(&format!(
        "$ stockade serve --data-dir data      process {}, ready after {} ms at http://{}",
        host.id(),
        begun.elapsed().as_millis(),
        host.listen
    ));
    Ok(host)
}

/// Runs a command of the program and shows its output.
fn stockade(host: &Program, arguments: &[&str]) -> Result<()> {
    let shown: Vec<String> = arguments
        .iter()
        .map(|a| if a.contains([' ', '*']) { format!("'{a}'") } else { (*a).to_owned() })
        .collect();
    say(&format!("$ stockade {}", shown.join(" ")));
    let addresses = ["--server", host.listen.as_str(), "--admin", host.admin.as_str()];
    let all: Vec<&str> = arguments.iter().copied().chain(addresses).collect();
    let (code, out, error) = program::run(&all)?;
    for line in out.lines() {
        say(line);
    }
    ensure!(code == 0, "stockade {} ended with {code}: {error}", arguments.join(" "));
    Ok(())
}

fn deploy(host: &Program, guest: Guest, settings: &[&str]) -> Result<()> {
    stockade(host, &[&["deploy", guest.name, guest.path()?][..], settings].concat())
}

fn search(host: &Program, query: &str) -> Result<()> {
    let begun = Instant::now();
    let reply = host.call("catalog/debian", "search", &json!([query, 5]))?;
    ensure!(reply.status == 200, "search: {}", reply.body);
    let took = begun.elapsed();
    let hits = reply.body["ok"].as_array().context("hits")?;
    ensure!(!hits.is_empty(), "nothing found for {query:?}");
    say(&format!("search {query:?}: {} ms", took.as_millis()));
    for hit in hits {
        let text = |field: &str| hit[field].as_str().unwrap_or_default().to_owned();
        say(&format!("  {:24} {}", text("name"), text("excerpt")));
    }
    Ok(())
}

/// Increments until the host is gone; returns how many increments were acknowledged. With one
/// writer, at most one increment is in doubt.
fn write_until_killed(host: Program) -> Result<u64> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let host = Arc::new(host);
    let writer = {
        let (host, acknowledged) = (Arc::clone(&host), Arc::clone(&acknowledged));
        std::thread::Builder::new().name("writer".into()).spawn(move || {
            while let Ok(reply) = host.call("counter/bench", "increment", &json!([1])) {
                if reply.status != 200 {
                    break;
                }
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        })?
    };
    std::thread::sleep(WRITING);
    let id = host.id().to_string();
    ensure!(Command::new("kill").args(["-KILL", &id]).status()?.success(), "kill -KILL {id}");
    if writer.join().is_err() {
        bail!("the writer failed");
    }
    drop(host);
    let count = acknowledged.load(Ordering::SeqCst);
    ensure!(count > 0, "no write was acknowledged");
    say(&format!("$ kill -KILL {id}       after {count} acknowledged increments"));
    Ok(count)
}

fn check_counter(host: &Program, acknowledged: u64) -> Result<()> {
    let value = host.call("counter/bench", "get", &json!([]))?;
    let found = value.body["ok"].as_u64().context("a value")?;
    say(&format!("acknowledged {acknowledged}, found {found} (one more may have been on its way)"));
    ensure!(found == acknowledged || found == acknowledged + 1, "writes were lost or invented");
    Ok(())
}

/// Asks until both are reminded: the host has slept through their time, and wakes them when it looks.
fn reminded(host: &Program) -> Result<()> {
    let (begun, asked) = (Instant::now(), json!([["alice", "bob"]]));
    loop {
        let reply = host.call("reminders/carol", "count-of", &asked)?;
        if reply.body == json!({ "ok": 2 }) {
            say(&format!("reminders/carol count-of {}: {}", asked[0], reply.body));
            return Ok(());
        }
        ensure!(begun.elapsed() < REMINDED_WITHIN, "not reminded: {}", reply.body);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks until every message has arrived.
fn paid(host: &Program) -> Result<()> {
    let begun = Instant::now();
    loop {
        let reply = host.call("bank/bob", "look", &json!([]))?;
        let received = reply.body["ok"]["received-count"].as_u64().unwrap_or(0);
        if received >= 1000 {
            ensure!(reply.body["ok"]["balance"] == 1000, "invented: {}", reply.body);
            return Ok(());
        }
        ensure!(begun.elapsed() < REMINDED_WITHIN, "lost: {}", reply.body);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Opens a file with an SQLite other than the bundled one: Python's or the command line's.
fn stock_sqlite(file: &Path, sql: &str) -> Result<()> {
    let check = "PRAGMA integrity_check";
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1])\n\
                  print(c.execute(sys.argv[2]).fetchone()[0])\n\
                  print(c.execute(sys.argv[3]).fetchone()[0])";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .args([check, sql])
        .stderr(Stdio::null())
        .output();
    let (who, output) = match python {
        Ok(output) if output.status.success() => ("python3", output),
        _ => {
            let output = Command::new("sqlite3").arg(file).args([check, sql]).output();
            ("sqlite3", output.context("neither python3 nor sqlite3 can open the export")?)
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(output.status.success() && text.lines().next() == Some("ok"), "{name}: {text}");
    let answers: Vec<&str> = text.lines().collect();
    say(&format!("{who} {name}: {check}; {sql} -> {}", answers.join("; ")));
    Ok(())
}

/// The payload of `{"ok": ..}`.
fn ok_of(reply: &Json) -> Result<&Json> {
    reply.get("ok").with_context(|| format!("the method answered {reply}"))
}
