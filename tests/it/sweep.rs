//! Node, entry node and store are killed with SIGKILL and started again on the same addresses, under
//! load, and callers ask at every moment from then on: which old actors answer, which new ones?
//!
//! ```text
//!  callers ──> entry ──> owner        two programs, data directories of their own
//!                └────────┴──> store  a PostgreSQL server
//!
//!  warm up ── SIGKILL ── restart ──────────────────────────────────── compare
//!                │0    │250 ms │500 ms │ ...        one key for each moment and kind of probe:
//!                │     │       │       │            a failed probe poisons no other
//! ```
//! The probes of a moment: an actor that was awake, one that had fallen asleep by itself, and one that
//! does not exist yet; each over the connection that its caller has had since before, and over a new
//! one. Each key is probed once, so that no probe delays the sleep of an actor that another one meets.
//!
//! What must hold:
//! - no probe lasts longer than the time that it gives the server, and a little;
//! - at no moment an old actor fails while new ones work, over the same kind of connection;
//! - from lease + 3 s on every probe is answered, if what is called and the store run again;
//! - acknowledged writes are there, and no write is there twice.
//!
//! `SWEEP_SECONDS=n` sets the last moment (`make restart-sweep`: 12); what was seen is written to
//! `restart-sweep/` in the build folder, and printed.

mod probes;
mod stage;
mod table;

use std::time::Duration;

use probes::{Age, Plan, Seen, Way};
use stage::{Stage, Victim};
use stockade_tests::wire::Known;

/// The lease of both nodes.
const LEASE: Duration = Duration::from_secs(2);
/// From then on every probe is answered.
const ANSWERED_AFTER: Duration = LEASE.saturating_add(Duration::from_secs(3));
/// What a probe gives the server.
const TIME: Duration = ANSWERED_AFTER;
/// How much longer a probe may last: tests share their machine.
const SLACK: Duration = Duration::from_secs(4);
/// What calls before and after get, which must succeed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two moments.
const STEP: Duration = Duration::from_millis(250);
/// The last moment in `make test`, in seconds.
const SECONDS: u64 = 3;

/// The owner of the actors, which are called through the other node.
#[test]
fn an_owner_that_restarts_strands_no_actor() {
    sweep(Victim::Owner);
}

/// The node that callers know. Their actors run elsewhere.
#[test]
fn an_entry_node_that_restarts_strands_no_actor() {
    sweep(Victim::Entry);
}

/// The owner, called directly.
#[test]
fn an_owner_that_is_called_directly_strands_no_actor() {
    sweep(Victim::Both);
}

/// The server with all data, and all of its processes.
#[test]
fn a_store_that_restarts_strands_no_actor() {
    sweep(Victim::Store);
}

fn sweep(victim: Victim) {
    let seconds = std::env::var("SWEEP_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let mut stage = Stage::start(victim);
    let mut plan = Plan::new(Duration::from_secs(seconds));
    plan.warm_up(&stage);
    let load = stage.load();
    std::thread::sleep(Duration::from_millis(300));
    let (seen, restarted) = plan.run(&mut stage);
    let load = load.end();
    let text = table::of(victim, &seen, restarted, &load);
    table::write(victim, &text);
    let mut faults = judge(victim, &seen, restarted);
    faults.extend(plan.compare(&stage, &seen));
    faults.extend(load.compare(&stage));
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), stage.autopsy());
}

/// What is wrong with the answers.
fn judge(victim: Victim, seen: &[Seen], restarted: Duration) -> Vec<String> {
    let mut faults = Vec::new();
    let answered_after = match victim {
        // The other node answers for its actors.
        Victim::Owner => ANSWERED_AFTER,
        // What does not run answers nothing, however busy the machine is.
        Victim::Entry | Victim::Both | Victim::Store => ANSWERED_AFTER.max(restarted),
    };
    for probe in seen {
        let Seen { called, .. } = probe;
        if called.took > TIME + SLACK || called.known == Known::Silent {
            faults.push(format!("longer than it may last: {probe}"));
        }
        if let Known::Wrong(_) = &called.known {
            faults.push(format!("no answer for this: {probe}"));
        }
        if probe.at >= answered_after && !called.known.is_done() {
            faults.push(format!("not answered after lease + 3 s: {probe}"));
        }
        if !called.known.is_done() && works_for_new(seen, probe) {
            faults.push(format!("new keys work, an old one fails: {probe}"));
        }
        // Otherwise the probe would say nothing about the same connection.
        let stays = matches!(victim, Victim::Owner | Victim::Store) && probe.way == Way::Same;
        if stays && !called.kept {
            faults.push(format!("its connection had been closed: {probe}"));
        }
    }
    faults
}

/// Whether new keys work, over the same kind of connection, while this probe fails: the one of the same
/// moment does, and one was answered before this one had failed. Without the second condition a call
/// that was on its way to the victim would count, and one that came just before the victim listens,
/// beside one that came just after.
fn works_for_new(seen: &[Seen], probe: &Seen) -> bool {
    let new = seen.iter().filter(|new| new.age == Age::New && new.way == probe.way);
    let works: Vec<&Seen> = new.filter(|new| new.called.known.is_done()).collect();
    let failed = probe.at + probe.called.took;
    works.iter().any(|new| new.at == probe.at)
        && works.iter().any(|new| new.at + new.called.took <= failed)
}
