//! A program under every kind of work for a chosen time: calls that write, sleeps and wakes, traps,
//! long calls, refused calls, connections, lists and stops of operators, new actors that are
//! destroyed. The memory, threads and descriptors that it holds must be the same at the end as when
//! it was warm.
//!
//! ```text
//!  warm, a sixth │ samples: first quarter of the rest │ ... │ last quarter
//!                            └──────── no more than that, and a little ────┘
//! ```
//! `MINUTES=n` sets the time, and memory is checked as well (`make soak-long`); in `make test` the
//! run is shorter than half a minute, in which allocators and caches do not fill up.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::{Caller, Program};

/// How long the run takes in `make test`.
const SHORT: Duration = Duration::from_secs(24);
/// Actors that write; they sleep between two rounds.
const ACTORS: u64 = 200;
/// Pause of each client after a call: the figures are about what stays, not about load.
const PAUSE: Duration = Duration::from_millis(4);
/// How far the last quarter may be above the first: some threads and descriptors come and go, and
/// maps of memory are given back late.
const SLACK: u64 = 12;
const MAPS_SLACK: u64 = 200;
/// Memory that the last quarter may hold, in percent of the first: the allocator's share varies by
/// 6.
const RSS_PERCENT: u64 = 110;

/// What a process holds of the system.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    rss_kib: u64,
    threads: u64,
    descriptors: u64,
    maps: u64,
}

impl Held {
    fn by(process: u32) -> Self {
        let of = format!("/proc/{process}");
        let status = fs::read_to_string(format!("{of}/status")).unwrap();
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            rss_kib: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: fs::read_dir(format!("{of}/fd")).unwrap().count() as u64,
            maps: fs::read_to_string(format!("{of}/maps")).unwrap().lines().count() as u64,
        }
    }

    /// The maximum of each figure in some samples; for memory, which the allocator gives back late,
    /// the median.
    fn most(samples: &[Self]) -> Self {
        let most = |of: fn(&Self) -> u64| samples.iter().map(of).max().unwrap();
        let mut rss: Vec<u64> = samples.iter().map(|held| held.rss_kib).collect();
        rss.sort_unstable();
        Self {
            rss_kib: rss[rss.len() / 2],
            threads: most(|held| held.threads),
            descriptors: most(|held| held.descriptors),
            maps: most(|held| held.maps),
        }
    }
}

/// One client: the next action follows from `n`.
fn client(program: &Program, n: u64) -> Result<(), String> {
    let expect = |reply: anyhow::Result<stockade_tests::program::HttpReply>, statuses: &[u16]| {
        let reply = reply.map_err(|error| error.to_string())?;
        match statuses.contains(&reply.status) {
            true => Ok(()),
            false => Err(format!("{reply:?}")),
        }
    };
    let actor = format!("counter/{}", n % ACTORS);
    match n % 64 {
        0 => expect(program.call("hostile_loop/outgrows", "outgrow", &json!([])), &[500, 503]),
        1 => expect(program.call("counter/x", "no-such-method", &json!([])), &[404]),
        2 => expect(program.admin_get("/admin/actors?kind=counter&limit=50"), &[200]),
        3 => expect(program.admin_get(&format!("/admin/actors/{actor}")), &[200, 404]),
        4 => {
            let passing = format!("counter/passing-{n}");
            expect(program.call(&passing, "increment", &json!([1])), &[200])?;
            expect(program.admin_delete(&format!("/admin/actors/{passing}")), &[200, 204])
        }
        5 => expect(
            program.admin_post(&format!("/admin/actors/{actor}/stop"), &json!({})),
            &[200, 404, 409],
        ),
        6 => {
            // A connection of its own, closed after one answer.
            let fresh = Caller::new(Duration::from_secs(30));
            expect(fresh.call(&program.listen, &actor, "get", &json!([])), &[200])
        }
        7 => expect(program.get("/ready"), &[200]),
        8 => expect(program.call("hostile_loop/spins", "work", &json!([20])), &[200]),
        9 => expect(program.call("hostile_loop/spins-in-sql", "work-in-sql", &json!([20])), &[200]),
        _ => expect(program.call(&actor, "increment", &json!([1])), &[200]),
    }
}

#[test]
fn what_a_program_holds_stays_the_same() {
    let minutes: Option<u64> = std::env::var("MINUTES").ok().map(|text| text.parse().unwrap());
    let lasting = minutes.map_or(SHORT, |minutes| Duration::from_secs(minutes * 60));
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve_with(
        &dir.path().join("data"),
        &["--limit", "sleep_after_ms=500", "--limit", "crash_backoff_ms=1"],
    )
    .unwrap();
    for guest in [guest::COUNTER, guest::HOSTILE_LOOP] {
        program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
    }
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let (samples, failures) = thread::scope(|scope| {
        let run = || {
            let mut failures = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let n = calls.fetch_add(1, Ordering::Relaxed);
                failures.extend(client(&program, n).err().map(|error| format!("{n}: {error}")));
                thread::sleep(PAUSE);
            }
            failures
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        let begun = Instant::now();
        let mut samples = Vec::new();
        while begun.elapsed() < lasting {
            thread::sleep(lasting / 240);
            samples.push(Held::by(program.id()));
            if samples.len() % 24 == 0 {
                println!("{:>5.0?} {:?}", begun.elapsed(), samples.last().unwrap());
            }
        }
        over.store(true, Ordering::Relaxed);
        let failures: Vec<String> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (samples, failures)
    });
    assert!(
        failures.is_empty(),
        "{} of {calls:?}: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    let warm = &samples[samples.len() / 6..];
    let first = Held::most(&warm[..warm.len() / 4]);
    let last = Held::most(&warm[warm.len() * 3 / 4..]);
    println!("{calls:?} calls in {lasting:?}\nfirst quarter {first:?}\nlast quarter  {last:?}");
    assert!(last.threads <= first.threads + SLACK, "threads: {first:?}, {last:?}");
    assert!(last.descriptors <= first.descriptors + SLACK, "descriptors: {first:?}, {last:?}");
    assert!(last.maps <= first.maps + MAPS_SLACK, "maps: {first:?}, {last:?}");
    if minutes.is_some() {
        let most = first.rss_kib * RSS_PERCENT / 100;
        assert!(last.rss_kib <= most, "memory: {first:?}, {last:?}");
    }
    program.stop().unwrap();
}
