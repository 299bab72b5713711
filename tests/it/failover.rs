//! Three nodes on machines of a network, under load, and everything that can befall a machine: killed,
//! frozen past its lease, cut from the store, from its peers, from its callers, slow, with a bad line;
//! and the engine of the store restarted.
//!
//! ```text
//!  callers ──> relay ──> one, two, three ──> relay ──> primary ──> standby
//!                          └── relay ──┘               every commit is on both
//! ```
//! For each of these: actors are begun at each node, it happens to one of them, and every actor there is
//! must be answered again, by any node, within lease + 3 s; who asks an actor after the lease waits 3 s
//! at most. After a restart of the engine both count from when it serves; where the node lives on, slow
//! or hard to reach, callers wait longer. Then it is over, and the next begins. All calls add 1 and are
//! recorded by their callers (`Tally`): what was acknowledged is there, nothing is there twice, and no
//! node that has lost an actor acknowledges anything.
//!
//! `ACTORS=n` sets how many there are in the end (`make failover`: 10,000, with the release build), and
//! `EVENTS=Slow,Lossy` leaves the others out; what was measured is written to `failover.json` in the build
//! folder, and printed.

mod calls;
mod events;
mod stage;

use std::time::Duration;

use serde_json::json;
use stockade_tests::net;
use stockade_tests::node::target;

use calls::{Actors, Answered};
use events::{EVENTS, Event};
use stage::Stage;

/// The lease of all nodes.
const LEASE: Duration = Duration::from_secs(3);
/// How long after the lease every actor is answered again (`make failover`).
const OVER_LEASE_MAX: Duration = Duration::from_secs(3);
/// The same in `make test`, where other tests use the cores as well.
const OVER_LEASE_SHARED_MAX: Duration = Duration::from_secs(10);
/// The same for a node that lives on and is slow or hard to reach, in both: a caller is patient for
/// 1.5 s and has three nodes to ask, and a round trip to the store takes 0.4 s.
const OVER_LEASE_ALIVE_MAX: Duration = Duration::from_secs(15);
/// Actors in the end in `make test`.
const ACTORS: usize = 64;

#[test]
fn three_nodes_survive_what_befalls_one_of_them() {
    if !net::is_allowed() {
        println!("SKIPPED: this process is not root, and only root makes network namespaces.");
        return;
    }
    let (actors, over_max) = match std::env::var("ACTORS") {
        Ok(text) => (text.parse().unwrap(), OVER_LEASE_MAX),
        Err(_) => (ACTORS, OVER_LEASE_SHARED_MAX),
    };
    let mut stage = Stage::start();
    let mut actors = Actors::new(actors);
    let load = actors.load(&stage.callers());
    let (mut seconds, mut all_answered) = (serde_json::Map::new(), serde_json::Map::new());
    let mut faults = Vec::new();
    let wanted = std::env::var("EVENTS").ok();
    let is_wanted =
        |name: String| wanted.as_ref().is_none_or(|all| all.split(',').any(|one| one == name));
    let events: Vec<Event> =
        EVENTS.into_iter().filter(|event| is_wanted(format!("{event:?}"))).collect();
    for (number, event) in events.iter().copied().enumerate() {
        let victim = number % stage.count();
        actors.begin_more(events.len(), &stage.callers());
        let begun = stage.begin(event, victim);
        let Answered { over, attempts, took, silent } =
            actors.all_answered(begun, &stage.entries(event, victim));
        stage.end(event, victim);
        println!("{event:?} of {victim}: waited {over:?} over the lease, all answered in {took:?}");
        println!("  the longest: {}", attempts.join("; "));
        seconds.insert(format!("{event:?}"), json!(over.as_secs_f64()));
        all_answered.insert(format!("{event:?}"), json!(took.as_secs_f64()));
        let over_max = if event.leaves_it_alive() { OVER_LEASE_ALIVE_MAX } else { over_max };
        if over > over_max {
            faults.push(format!("{event:?} of {victim}: {over:?} over the lease"));
        }
        faults.extend(silent.into_iter().map(|actor| format!("{event:?}: {actor} is silent")));
    }
    load.end();
    faults.extend(actors.compare(&stage.callers()));
    let most = seconds.values().filter_map(serde_json::Value::as_f64).fold(0.0, f64::max);
    let counts = actors.counts();
    let report = json!({
        "failover.seconds_over_lease": most,
        "lease_ms": LEASE.as_millis(),
        "actors": actors.count(),
        "acknowledged": counts.acknowledged,
        "unknown": counts.unknown,
        "not_done": counts.not_done,
        "seconds_over_lease": seconds,
        "all_answered_seconds": all_answered,
    });
    let report = serde_json::to_string_pretty(&report).unwrap();
    std::fs::write(target().unwrap().join("failover.json"), &report).unwrap();
    println!("{report}");
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), stage.autopsy());
}
