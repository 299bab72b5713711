//! Owners that are killed, frozen, or not reached: calls are answered by others, or end as a typed
//! error in time, and none runs twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::net::Relay;
use stockade_tests::program::{HttpReply, Program};

use super::{Cluster, LEASE_MS, caller, code, post, until};

/// How long a node waits for an answer of another node's store: `READ_DEADLINE` of `stockade-remote`.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// What a thread of callers has seen.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    unknown: u64,
    not_done: u64,
}

/// Calls until it is asked to stop; each answer is counted for what it says.
fn increments(address: &str, stop: &AtomicBool) -> Seen {
    let (caller, mut seen) = (caller(), Seen::default());
    while !stop.load(Ordering::Relaxed) {
        match caller.call(address, "counter/a", "increment", &json!([1])) {
            Ok(HttpReply { status: 200, .. }) => seen.answered += 1,
            Ok(answer) if answer.body["retry"] == "unknown-outcome" => seen.unknown += 1,
            Ok(answer) if ["retry", "reroute"].map(Json::from).contains(&answer.body["retry"]) => {
                seen.not_done += 1;
            }
            other => panic!("neither done nor known to be not done: {other:?}"),
        }
    }
    seen
}

/// Owners are killed under load: what was answered is there, and nothing that was answered as not
/// done, or not answered, was done more than once.
#[test]
fn calls_through_others_survive_a_killed_owner_and_none_runs_twice() {
    let mut cluster = Cluster::start(2);
    let address = cluster.node(0).listen.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (address, stop) = (address.clone(), Arc::clone(&stop));
            std::thread::spawn(move || increments(&address, &stop))
        })
        .collect();
    for _ in 0..3 {
        // The other node takes the actor, then dies.
        let other = cluster.nodes.len() - 1;
        let drain = cluster.node(0).admin_post("/admin/drain", &json!({})).unwrap();
        assert_eq!(drain.status, 200, "{drain:?}");
        until("the other node owns the actor", || cluster.awake(other) == 1);
        cluster.node(0).admin_delete("/admin/drain").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        cluster.take(other).kill().unwrap();
        until("the first node answers", || cluster.call(0, "a", "get", &json!([])).status == 200);
        cluster.add(&[]);
        cluster.meet();
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    let of = |count: fn(&Seen) -> u64| seen.iter().map(count).sum::<u64>();
    let (answered, unknown) = (of(|seen| seen.answered), of(|seen| seen.unknown));
    let value = cluster.call(0, "a", "get", &json!([])).body["ok"].as_u64().unwrap();
    println!("{value} applied, {answered} answered, {unknown} unknown: {seen:?}");
    assert!(answered > 10, "hardly a call: {seen:?}");
    assert!((answered..=answered + unknown).contains(&value), "{value} applied: {seen:?}");
}

/// The lock of a killed process is free: no lease has to run out.
#[test]
fn a_killed_owners_actors_are_answered_by_the_others() {
    let mut cluster = Cluster::start(3);
    assert_eq!(cluster.increment(0, "a"), 1);
    assert_eq!((cluster.increment(1, "a"), cluster.increment(2, "a")), (2, 3));
    cluster.take(0).kill().unwrap();
    let begun = Instant::now();
    assert_eq!((cluster.increment(1, "a"), cluster.increment(2, "a")), (4, 5));
    assert!(begun.elapsed() < Duration::from_millis(LEASE_MS) + Duration::from_secs(10));
    let generation = cluster.call(2, "a", "get", &json!([])).generation;
    assert_eq!(generation, cluster.call(1, "a", "get", &json!([])).generation, "one owner");
}

/// A frozen owner accepts connections and answers nothing: every wait ends with the caller's time.
#[test]
fn a_frozen_owner_costs_the_callers_time_and_no_more() {
    let cluster = Cluster::start(2);
    assert_eq!(cluster.increment(0, "a"), 1);
    assert_eq!(cluster.increment(1, "a"), 2);
    cluster.node(0).freeze().unwrap();
    let url = format!("http://{}/actors/counter/a/increment", cluster.node(1).listen);
    let begun = Instant::now();
    let hasty = hasty(&url, "700", &json!([1]));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!([503, 504].contains(&hasty.status), "{hasty:?}");
    let is_unknown = code(&hasty) == "host.unanswered";
    if is_unknown {
        assert_eq!(hasty.body["details"]["verdict"], "indeterminate");
    }
    // A caller with more time is answered once the lease is over, or gets a typed error.
    let begun = Instant::now();
    until("the other node takes over", || {
        let answer = cluster.call(1, "a", "get", &json!([]));
        assert!(begun.elapsed() < Duration::from_secs(120), "{answer:?}");
        answer.status == 200
    });
    cluster.node(0).resume().unwrap();
    let value = cluster.call(1, "a", "get", &json!([])).body["ok"].as_u64().unwrap();
    assert!((2..=2 + u64::from(is_unknown)).contains(&value), "{value} after {hasty:?}");
}

/// An owner whose machine is cut off from its peers only: its own callers are answered, and those of others
/// soon learn where to ask, for as long as it lasts.
#[test]
fn an_owner_that_lives_out_of_reach_is_not_waited_for() {
    let mut cluster = Cluster::start(1);
    let peers = free_address();
    let relay = Relay::start("127.0.0.1", &peers).unwrap();
    let (lease, advertised) = (LEASE_MS.to_string(), relay.address.to_string());
    let keys = super::peer_flags(&cluster.keys(), "one");
    let own = ["--lease-ms", &lease, "--peers", &peers, "--advertise-peers", &advertised];
    let flags: Vec<&str> = own.into_iter().chain(keys.iter().map(String::as_str)).collect();
    let far = Program::serve_with(&cluster.data(), &flags).unwrap();
    let url = format!("http://{}/actors/counter/a/increment", cluster.node(0).listen);
    cluster.nodes.push(Some(far));
    cluster.meet();
    assert_eq!((cluster.increment(1, "a"), cluster.increment(0, "a")), (1, 2));
    // Nothing arrives from now on.
    relay.slow(Duration::from_secs(3_600));
    assert_eq!(hasty(&url, "700", &json!([1])).status, 504, "it may have left");
    until("the first node knows that the owner lives out of reach", || {
        let begun = Instant::now();
        let answer = hasty(&url, "2000", &json!([1]));
        let soon = begun.elapsed() < Duration::from_millis(500);
        soon && answer.status == 503 && code(&answer) == "host.peer-unreachable"
    });
    for _ in 0..10 {
        let begun = Instant::now();
        let answer = hasty(&url, "20000", &json!([1]));
        assert_eq!(code(&answer), "host.peer-unreachable", "{answer:?}");
        // An attempt to connect is under way for most of the time, and takes two seconds.
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(cluster.increment(1, "a"), 3, "nothing else has arrived");
    relay.slow(Duration::ZERO);
    until("it is reached again", || cluster.call(0, "a", "increment", &json!([1])).status == 200);
    assert_eq!(cluster.increment(1, "a"), 5);
}

/// An address that is free for now.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The store answers nothing, so no node knows where the actor is: that wait ends as well.
#[test]
fn a_look_for_an_actor_ends_with_the_callers_time() {
    let mut cluster = Cluster::start(0);
    let keys = super::peer_flags(&cluster.keys(), "one");
    let flags = |own: &[&str]| -> Vec<String> {
        own.iter().map(|flag| (*flag).to_owned()).chain(keys.iter().cloned()).collect()
    };
    let start = |data: &str, flags: &[String]| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Program::serve_with(&cluster.dir.path().join(data), &flags).unwrap()
    };
    let peers = ["--peers", "127.0.0.1:0"];
    let disk = start("disk", &flags(&[&["--serve-store", "127.0.0.1:0"], &peers[..]].concat()));
    let store = format!("stockade://{}", disk.store_served.as_ref().expect("it serves its store"));
    let node = start("node", &flags(&[&["--store", &store], &peers[..]].concat()));
    cluster.nodes.extend([Some(disk), Some(node)]);
    let (disk, node) = (0, 1);
    cluster.node(node).deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    cluster.meet();
    assert_eq!(cluster.increment(node, "known"), 1);
    cluster.node(disk).freeze().unwrap();
    let call = format!("http://{}/actors/counter/new/increment", cluster.node(node).listen);
    let order = format!("http://{}/admin/actors/counter/new/stop", cluster.node(node).admin);
    for (url, arguments) in [(call, json!([1])), (order, json!({}))] {
        let begun = Instant::now();
        let late = hasty(&url, "700", &arguments);
        assert_eq!((late.status, code(&late).as_str()), (504, "host.deadline-passed"), "{late:?}");
        // The store itself is waited for longer.
        assert!(begun.elapsed() < READ_DEADLINE, "{:?}", begun.elapsed());
    }
    cluster.node(disk).resume().unwrap();
}

/// A call with a time in its head.
fn hasty(url: &str, ms: &str, arguments: &Json) -> HttpReply {
    post(url, &[("stockade-timeout-ms", ms)], arguments)
}

#[test]
fn a_time_that_does_not_read_is_refused() {
    let cluster = Cluster::start(2);
    cluster.increment(0, "a");
    for node in [0, 1] {
        let url = format!("http://{}/actors/counter/a/increment", cluster.node(node).listen);
        for wrong in ["soon", "-1", "1.5"] {
            let refused = hasty(&url, wrong, &json!([1]));
            assert_eq!((refused.status, code(&refused).as_str()), (400, "request.malformed"));
        }
        assert_eq!(hasty(&url, "30000", &json!([1])).status, 200);
    }
}

/// A read that began before the owner was frozen, and ends after another node has taken over, must
/// not be given as the owner's success: the gate stands before the answer leaves the owner.
#[test]
fn a_forwarded_answer_of_a_fenced_generation_is_never_given() {
    let cluster = Cluster::start_with(3, &["--limit", "call_time_ms=300000"]);
    cluster.node(0).deploy("witness", &guest::LIFECYCLE_WITNESS.wasm().unwrap()).unwrap();
    let call = |node: usize, method: &str, arguments: Json| {
        cluster.node(node).call("witness/w", method, &arguments).unwrap()
    };
    let mut cut = 0;
    for round in 0..4_u64 {
        let old = (1..=3).find_map(|id| {
            let answer = call(0, "note", json!([round * 10 + id]));
            (answer.status == 200).then_some(answer)
        });
        let old = old.expect("the first node owns the actor");
        let owner = 0;
        let address = cluster.node(1).listen.clone();
        let nap = std::thread::spawn(move || {
            caller().call(&address, "witness/w", "newest-after", &json!([1_000]))
        });
        std::thread::sleep(Duration::from_millis(300));
        cluster.node(owner).freeze().unwrap();
        let begun = Instant::now();
        let mut taken = None;
        let url = format!("http://{}/actors/witness/w/note", cluster.node(2).listen);
        while taken.is_none() && begun.elapsed() < Duration::from_secs(8) {
            let answer = hasty(&url, "1500", &json!([round * 10 + 9]));
            taken = (answer.status == 200).then_some(answer);
        }
        cluster.node(owner).resume().unwrap();
        let answer = nap.join().unwrap();
        if let Some(new) = taken {
            assert!(new.generation > old.generation, "{new:?} after {old:?}");
            cut += 1;
            if let Ok(answer) = answer
                && answer.status == 200
            {
                assert!(answer.generation >= new.generation, "{answer:?} after {new:?}");
                assert_eq!(answer.body["ok"], json!(round * 10 + 9), "{answer:?}");
            }
        }
        // Back to the first node, for the next round.
        until("the first node owns the actor again", || {
            for node in [1, 2] {
                let path = "/admin/actors/witness/w/stop";
                cluster.node(node).admin_post(path, &json!({})).unwrap();
            }
            call(0, "ids", json!([])).status == 200 && cluster.awake(0) == 1
        });
        if cut > 1 {
            break;
        }
    }
    assert!(cut > 0, "no call was cut by a takeover");
}
