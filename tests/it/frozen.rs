//! Two real programs over one store: a data directory here, a server in `postgres::nodes`. The owner
//! of an actor is killed or frozen in the middle of calls, the other program takes over, the frozen
//! one continues: nothing acknowledged is lost, and the loser acknowledges nothing.
//!
//! Three kinds of rounds, all under writers and readers that follow the hosts' advice:
//! - *nap*: the owner is frozen inside a call that has read and waits; the winner acknowledges
//!   writes; the owner continues, reads from SQLite's cache and would answer with old data;
//! - *load*: the owner is frozen anywhere. If it holds the write lock of the store's file just
//!   then, no host can take over until it continues: such a round is counted as blocked;
//! - *kill*: SIGKILL anywhere, and a restart.
//!
//! `ROUNDS=n` runs more rounds (`make soak`), `SEED=n` repeats the moments.

mod client_history;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client_history::{Acknowledged, Heard, Told, read};
use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{Caller, Program};

/// Rounds in `make test`: each takes about a lease and the nap.
const ROUNDS: u64 = 9;
/// Short enough that a frozen owner is replaced soon, long enough for a busy machine.
const LEASE_MS: u64 = 1_000;
/// How long the guest waits in the middle of a read.
const NAP_MS: u64 = 1_500;
/// How long callers wait for an answer before they turn to the other host; a frozen host is silent.
const HASTY: Duration = Duration::from_secs(1);
/// How long callers wait that want the answer of a frozen host after it continues.
const PATIENT: Duration = Duration::from_secs(90);
/// How long until one host owns the actor. A liveness bound for a loaded machine.
const OWNER_PATIENCE: Duration = Duration::from_secs(60);
/// How long a frozen owner may block the store before it is resumed.
const BLOCKED_AFTER: Duration = Duration::from_secs(6);
const WRITERS: usize = 3;
const READERS: usize = 1;
const ACTOR: &str = "witness/one";

/// Where a program of the pair serves.
#[derive(Clone)]
pub(crate) struct Place {
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// The address of the store, if the data directory has none.
    pub(crate) store: Option<String>,
}

/// The two programs.
struct Pair {
    places: [Place; 2],
    programs: Mutex<[Option<Program>; 2]>,
    addresses: Mutex<[String; 2]>,
}

impl Pair {
    fn start(places: [Place; 2]) -> Self {
        let programs = places.each_ref().map(serve);
        let addresses = Mutex::new(programs.each_ref().map(|program| program.listen.clone()));
        Self { places, programs: Mutex::new(programs.map(Some)), addresses }
    }

    fn address(&self, host: usize) -> String {
        self.addresses.lock().unwrap()[host].clone()
    }

    /// The host whose address a refusal has named.
    fn named(&self, address: &str) -> Option<usize> {
        self.addresses.lock().unwrap().iter().position(|known| known == address)
    }

    fn with<T>(&self, host: usize, act: impl FnOnce(&Program) -> T) -> T {
        let programs = self.programs.lock().unwrap();
        act(programs[host].as_ref().expect("it runs"))
    }

    fn kill(&self, host: usize) {
        let program = self.programs.lock().unwrap()[host].take().expect("it runs");
        program.kill().unwrap();
    }

    fn restart(&self, host: usize) {
        let program = serve(&self.places[host]);
        self.addresses.lock().unwrap()[host] = program.listen.clone();
        self.programs.lock().unwrap()[host] = Some(program);
    }
}

fn serve(place: &Place) -> Program {
    // The clock does not stop for a frozen process: its call must outlive the freeze to be refused
    // by the gate, and by nothing else.
    let lease = LEASE_MS.to_string();
    let mut flags = vec!["--lease-ms", &lease, "--limit", "call_time_ms=300000"];
    flags.extend(place.store.iter().flat_map(|store| ["--store", store]));
    Program::serve_with(&place.data, &flags).unwrap()
}

/// What all threads of a run share.
struct Run {
    pair: Pair,
    told: Told,
    stop: AtomicBool,
}

impl Run {
    /// Makes one write; returns the outcome, and the host to ask next.
    fn write(&self, caller: &Caller, host: usize) -> (Heard, usize) {
        let before = self.told.newest();
        let id = self.told.next_id();
        let heard = self.call(caller, host, "note", &json!([id]));
        self.told.write(id, before, &heard);
        let next = match &heard {
            Heard::Done(..) => host,
            Heard::NotDone(Some(address)) => self.pair.named(address).unwrap_or(1 - host),
            Heard::NotDone(None) | Heard::Unknown => 1 - host,
        };
        (heard, next)
    }

    fn call(&self, caller: &Caller, host: usize, method: &str, arguments: &Json) -> Heard {
        let answer = caller.call(&self.pair.address(host), ACTOR, method, arguments);
        let text = format!("{method} at host {host}: {answer:?}");
        read(answer).unwrap_or_else(|| {
            self.told.fault(format!("an answer without use: {text}"));
            Heard::Unknown
        })
    }

    /// Writes, following advice, until a host acknowledges a write: the owner of the actor at that
    /// time.
    fn owner(&self) -> (usize, Acknowledged) {
        let caller = Caller::new(HASTY);
        let (begun, mut host) = (Instant::now(), 0);
        while begun.elapsed() < OWNER_PATIENCE {
            let (heard, next) = self.write(&caller, host);
            if matches!(heard, Heard::Done(..)) {
                return (host, self.told.newest().expect("one was acknowledged"));
            }
            host = next;
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody owns the actor: {:?}", self.told.faults());
    }

    /// Whether the other host takes over from the generation that acknowledged `old`.
    fn taken_over(&self, from: usize, old: Acknowledged, patience: Duration) -> bool {
        let caller = Caller::new(HASTY);
        let begun = Instant::now();
        while begun.elapsed() < patience {
            let (heard, _) = self.write(&caller, 1 - from);
            if let Heard::Done(place, _) = heard
                && place.0 > old.place.0
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn start(
        self: &Arc<Self>,
        name: &str,
        work: fn(&Self, usize),
        number: usize,
    ) -> JoinHandle<()> {
        let run = Arc::clone(self);
        let builder = std::thread::Builder::new().name(format!("{name} {number}"));
        builder.spawn(move || work(&run, number)).unwrap()
    }

    /// One writer has a short timeout, so that one is always at work; the others wait for the
    /// loser's answer.
    fn writer(&self, number: usize) {
        let caller = Caller::new(if number == 0 { HASTY } else { PATIENT });
        let mut host = number % 2;
        while !self.stop.load(Ordering::Relaxed) {
            let (heard, next) = self.write(&caller, host);
            if !matches!(heard, Heard::Done(..)) {
                std::thread::sleep(Duration::from_millis(10));
            }
            host = next;
        }
    }

    /// Reads the newest acknowledged write, from both hosts in turn.
    fn reader(&self, number: usize) {
        let caller = Caller::new(HASTY);
        let mut host = number % 2;
        while !self.stop.load(Ordering::Relaxed) {
            host = 1 - host;
            let Some(before) = self.told.newest() else { continue };
            let heard = self.call(&caller, host, "knows", &json!([before.id]));
            if let Heard::Done(place, known) = heard
                && self.told.fresh("a read", Some(before), place)
                && known != json!(true)
            {
                self.told.fault(format!("a read at {place:?} does not know {before:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All rows, compared with the answers that were recorded before the rows were read.
    fn compare(&self) {
        let caller = Caller::new(OWNER_PATIENCE);
        let begun = Instant::now();
        let mut host = 0;
        while begun.elapsed() < OWNER_PATIENCE {
            let (known, before) = (self.told.known(), self.told.newest());
            match self.call(&caller, host, "ids", &json!([])) {
                Heard::Done(place, rows) => {
                    self.told.fresh("a list", before, place);
                    let rows: Vec<u64> = serde_json::from_value(rows).unwrap();
                    return self.told.compare(&known, &rows);
                }
                Heard::NotDone(_) | Heard::Unknown => host = 1 - host,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody lists the rows");
    }
}

/// How often each thing happened.
#[derive(Debug, Default)]
struct Tally {
    takeovers: u64,
    blocked: u64,
    naps_cut: u64,
}

#[test]
fn killed_and_frozen_owners_lose_nothing_and_are_not_heard() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { data: dir.path().join("data"), store: None };
    survive([place.clone(), place]);
}

/// Runs the rounds with a program at each place.
pub(crate) fn survive(places: [Place; 2]) {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("SEED").unwrap_or_else(|| u64::from(std::process::id()) | 1);
    let rounds = number("ROUNDS").unwrap_or(ROUNDS);
    println!("SEED={seed} ROUNDS={rounds}");
    let mut random = seed;
    let mut up_to = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Duration::from_millis((random >> 33) % most)
    };

    let pair = Pair::start(places);
    pair.with(0, |program| program.deploy("witness", &guest::LIFECYCLE_WITNESS.wasm().unwrap()))
        .unwrap();
    let run = Arc::new(Run { pair, told: Told::default(), stop: AtomicBool::new(false) });
    run.owner();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    threads.extend((0..WRITERS).map(|number| run.start("writer", Run::writer, number)));
    threads.extend((0..READERS).map(|number| run.start("reader", Run::reader, number)));

    let mut tally = Tally::default();
    for round in 0..rounds {
        std::thread::sleep(up_to(200));
        match round % 3 {
            0 => nap_round(&run, &mut tally),
            1 => load_round(&run, &mut tally),
            _ => kill_round(&run, &mut tally),
        }
        run.compare();
        let faults = run.told.faults();
        assert!(faults.is_empty(), "SEED={seed} round {round}:\n{}", faults.join("\n"));
    }

    run.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    run.owner();
    run.compare();
    let faults = run.told.faults();
    assert!(faults.is_empty(), "SEED={seed}:\n{}", faults.join("\n"));
    let counts = run.told.counts();
    println!(
        "{} writes acknowledged by {} generations, {} told as not done, {} unknown; {tally:?}",
        counts.acknowledged, counts.generations, counts.not_done, counts.unknown
    );
    assert!(tally.naps_cut > 0, "no call was cut in two by a freeze: {tally:?}");
    assert!(tally.takeovers * 2 >= rounds, "hardly a takeover: {tally:?}");
    assert!(counts.acknowledged as u64 > rounds * 4, "hardly a write: {counts:?}");
}

/// Frozen inside a read, overtaken, and resumed: its answer is old and must reach no caller.
fn nap_round(run: &Arc<Run>, tally: &mut Tally) {
    let (host, old) = run.owner();
    let address = run.pair.address(host);
    let nap = std::thread::Builder::new().name("nap".into()).spawn(move || {
        let caller = Caller::new(PATIENT);
        let heard = read(caller.call(&address, ACTOR, "newest-after", &json!([NAP_MS])));
        (heard, Instant::now())
    });
    let nap = nap.unwrap();
    // Time for the call to begin. If it has not, it begins in a fenced generation, which serves as
    // well.
    std::thread::sleep(Duration::from_millis(NAP_MS / 5));
    let frozen_at = Instant::now();
    run.pair.with(host, Program::freeze).unwrap();
    let overtaken = run.taken_over(host, old, BLOCKED_AFTER);
    let before = run.told.newest();
    run.pair.with(host, Program::resume).unwrap();
    let (heard, heard_at) = nap.join().unwrap();
    if !overtaken {
        tally.blocked += 1;
        return;
    }
    tally.takeovers += 1;
    if heard_at < frozen_at {
        return;
    }
    tally.naps_cut += 1;
    match heard {
        // The host may have won the actor back, and run the call in that generation.
        Some(Heard::Done(place, value)) => {
            let what = format!("the loser's answer {value}");
            run.told.fresh(&what, before, place);
        }
        Some(Heard::NotDone(_) | Heard::Unknown) | None => {}
    }
}

/// Frozen anywhere.
fn load_round(run: &Arc<Run>, tally: &mut Tally) {
    let (host, old) = run.owner();
    run.pair.with(host, Program::freeze).unwrap();
    let overtaken = run.taken_over(host, old, BLOCKED_AFTER);
    run.pair.with(host, Program::resume).unwrap();
    *(if overtaken { &mut tally.takeovers } else { &mut tally.blocked }) += 1;
}

/// Killed anywhere. In one data directory the lock that it held is immediately free, so no lease has
/// to run out.
fn kill_round(run: &Arc<Run>, tally: &mut Tally) {
    let (host, old) = run.owner();
    run.pair.kill(host);
    let overtaken = run.taken_over(host, old, OWNER_PATIENCE);
    assert!(overtaken, "nobody takes over from a process that was killed");
    tally.takeovers += 1;
    run.pair.restart(host);
}

/// A process frozen in the middle of a write holds a lock. Here the test holds that lock: the other
/// hosts wait until their deadlines, claim nothing, and continue when the lock is free.
#[test]
fn a_write_lock_held_elsewhere_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = serve(&Place { data: data.clone(), store: None });
    program.deploy("witness", &guest::LIFECYCLE_WITNESS.wasm().unwrap()).unwrap();
    let note = |id: u64| program.call(ACTOR, "note", &json!([id])).unwrap();
    assert_eq!(note(1).status, 200);

    let locks: Vec<rusqlite::Connection> = std::fs::read_dir(data.join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .map(|path| rusqlite::Connection::open(path).unwrap())
        .collect();
    assert!(!locks.is_empty(), "the store has files");
    for lock in &locks {
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    }
    let stuck = note(2);
    assert_eq!(stuck.status, 503, "{stuck:?}");
    drop(locks);
    let again = note(3);
    assert_eq!(again.status, 200, "{again:?}");

    let rows = program.call(ACTOR, "ids", &json!([])).unwrap();
    let rows: Vec<u64> = serde_json::from_value(rows.body["ok"].clone()).unwrap();
    // A step in the store's queue when the lock became free may have been written after all, but
    // only then; its caller got that answer.
    let in_doubt = stuck.body["retry"] == json!("unknown-outcome");
    let expected: &[&[u64]] = if in_doubt { &[&[1, 3], &[1, 2, 3]] } else { &[&[1, 3]] };
    assert!(expected.contains(&&*rows), "{rows:?} after {stuck:?}");
    program.stop().unwrap();
}
