//! `make cluster`: three nodes over a PostgreSQL primary with a synchronous standby, all on this
//! machine, and the counter demo across a kill of the owner, and then of the primary, shown step by step
//! with the real programs.
//!
//! ```text
//!  callers ──> two, three ──> one ✗      any node answers; after the kill the others take over
//!                  └────┴──────┴──> primary ──> standby
//! ```
//! Everything runs until Ctrl-C; with `ONCE=1` it ends after the last step. The program fails at the
//! first wrong result. It ends what it has started by its own process ids, in every case.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it tells a story on the terminal, at the pace of the clock"
)]

mod callers;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::{self, ADMIN_TOKEN};
use tokio::signal::unix::{SignalKind, signal};

use callers::Callers;
use stage::Stage;

/// How long callers count before the owner is killed.
const BEFORE: Duration = Duration::from_millis(1_500);
/// Callers wait this long for an answer at most.
const TIME: Duration = Duration::from_secs(20);
/// How long after the kill every caller has an answer, at most: the lease, and 3 s. The machine may be
/// busy with other things: what is more is shown, and not an error.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let once = std::env::var("ONCE").is_ok_and(|value| !value.is_empty() && value != "0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stage = Arc::new(Stage::new()?);
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (send, told) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&stage);
        std::thread::Builder::new().name("story".into()).spawn(move || {
            let _ = send.send(tell(&shared));
        })?;
        let asked = async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        };
        tokio::pin!(asked);
        tokio::select! {
            told = told => told.context("the story broke off")??,
            () = &mut asked => return Ok(()),
        }
        if !once {
            println!("\n   Ctrl-C ends everything.");
            asked.await;
        }
        Ok(())
    });
    step("The end: the nodes in order, then the servers");
    stage.end();
    say("all of it has ended");
    outcome
}

/// All steps.
fn tell(stage: &Stage) -> Result<()> {
    let begun = Instant::now();
    step("PostgreSQL: a primary, and a standby that every commit waits for");
    let (primary, standby) = stage.servers()?;
    say(&format!("primary   postgres://127.0.0.1:{primary}"));
    say(&format!("standby   postgres://127.0.0.1:{standby}    synchronous"));

    step("Three nodes over it, with keys that prove to each other who they are");
    say("$ stockade peer-keys keys one two three");
    say("$ stockade serve --store 'postgres://..' --peers HOST:PORT --peer-cert keys/NAME.pem ..");
    for name in stage::NAMES {
        let (id, at) = stage.start(name)?;
        let peers = at.peers.context("an address for peers")?;
        let (listen, admin) = (at.listen, at.admin);
        say(&format!(
            "{name:6} callers http://{listen}   operators http://{admin}   peers {peers}   process {id}"
        ));
    }
    stage.meet()?;

    step("Deploy the counter, once for all nodes");
    let [one, two, three] = stage.addresses()?;
    shown(&["deploy", "counter", guest::COUNTER.path()?], ["--admin", &one.admin])?;

    step("Count: the actor begins where it is called first, and every node answers for it");
    for (node, by) in [(&one, "5"), (&two, "-2"), (&three, "39")] {
        shown(&["call", "counter/alice", "increment", by], ["--server", &node.listen])?;
    }
    shown(&["nodes"], ["--admin", &two.admin])?;

    step("Kill its owner with SIGKILL, while callers count through the two others");
    let callers = Callers::start("caller", &one.listen, &[&two.listen, &three.listen])?;
    std::thread::sleep(BEFORE);
    let id = stage.kill(stage::NAMES[0])?;
    let killed = Instant::now();
    say(&format!("$ kill -KILL {id}                    node one, which owns all of these actors"));
    say(&format!(
        "lease {} ms: for so long the others cannot know whether a silent node is dead",
        stage::LEASE.as_millis()
    ));
    compared(callers, killed, &two.listen)?;
    shown(&["call", "counter/alice", "get"], ["--server", &three.listen])?;
    let alice = callers::value(&three.listen, "counter/alice")?;
    ensure!(alice == 42, "counter/alice is {alice}");

    step("Start node one again, on the same addresses");
    let (id, _) = stage.start(stage::NAMES[0])?;
    say(&format!("process {id}"));
    stage.meet()?;
    shown(&["nodes"], ["--admin", &one.admin])?;
    shown(&["verify", "--all"], ["--admin", &one.admin])?;
    shown(&["call", "counter/alice", "increment", "1"], ["--server", &one.listen])?;

    step("Kill the primary of the store as well, and promote its standby: it answers alone then");
    let callers = Callers::start("later", &one.listen, &[&two.listen, &three.listen])?;
    std::thread::sleep(BEFORE);
    let killed = stage.promote()?;
    let ms = killed.elapsed().as_millis();
    say(&format!("killed, and postgres://127.0.0.1:{standby} promoted after {ms} ms"));
    compared(callers, killed, &two.listen)?;
    shown(&["verify", "--all"], ["--admin", &one.admin])?;
    say(&format!("All of it held. {:.0} s.", begun.elapsed().as_secs_f64()));

    step("Try it yourself");
    let path = program::path()?;
    say(&format!("$ export STOCKADE_ADMIN_TOKEN={ADMIN_TOKEN} PATH={}:$PATH", folder_of(&path)));
    say(&format!("$ stockade call counter/alice get --server {}", two.listen));
    say(&format!("$ stockade nodes --admin {}", two.admin));
    say(&format!("$ stockade drain --admin {}", one.admin));
    Ok(())
}

/// Waits until each caller has an answer again, ends the calls, and shows what the callers know beside
/// what is there.
fn compared(callers: Callers, killed: Instant, at: &str) -> Result<()> {
    let waits = callers.answered_after(killed, ANSWERED_WITHIN)?;
    std::thread::sleep(Duration::from_millis(500));
    let report = callers.end(killed, at)?;
    for (name, wait) in report.names.iter().zip(waits) {
        let ms = wait.as_millis();
        say(&format!("{name}: its caller has the next answer {ms} ms after the kill"));
    }
    say("Nothing that was acknowledged is lost, and nothing is there twice:");
    for line in &report.lines {
        say(line);
    }
    ensure!(report.faults.is_empty(), "{}", report.faults.join("\n"));
    Ok(())
}

fn folder_of(path: &std::path::Path) -> String {
    path.parent().map_or_else(String::new, |folder| folder.display().to_string())
}

fn step(title: &str) {
    println!("\n== {title}");
}

fn say(text: &str) {
    println!("   {text}");
}

/// Runs a command of the program and shows its output.
fn shown(arguments: &[&str], at: [&str; 2]) -> Result<()> {
    let all: Vec<&str> = arguments.iter().copied().chain(at).collect();
    let path = guest::COUNTER.path().unwrap_or_default();
    let words = all.iter().map(|word| if *word == path { "counter.wasm" } else { *word });
    say(&format!("$ stockade {}", words.collect::<Vec<_>>().join(" ")));
    let (code, out, error) = program::run(&all)?;
    for line in out.lines() {
        say(line);
    }
    ensure!(code == 0, "stockade {} ended with {code}: {error}", all.join(" "));
    Ok(())
}

/// Calls the counter; the value.
fn number(called: &stockade_tests::wire::Called) -> Result<u64> {
    match &called.known {
        stockade_tests::wire::Known::Done(value) => value.as_u64().context("a number"),
        other => anyhow::bail!("{other:?}"),
    }
}

/// The arguments of a call that adds 1.
fn one() -> serde_json::Value {
    json!([1])
}
