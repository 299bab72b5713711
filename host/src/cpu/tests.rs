//! Guests of every sort on a real runtime: which may run at the same time, and which gets its turn.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::*;
use crate::limits::CPU_WEIGHT_MAX;

/// Longer than anything takes that is not held up.
const PATIENCE: Duration = Duration::from_secs(20);
/// A part of an export.
const PART: Duration = Duration::from_micros(500);

fn workers(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_time().build().unwrap()
}

/// The guests that compute for long now, and the most there were.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    /// Computes for a part; counted if it is one of a long export.
    fn compute(&self, is_long: bool) {
        let count = usize::from(is_long);
        let now = self.now.fetch_add(count, Ordering::SeqCst) + count;
        self.most.fetch_max(now, Ordering::SeqCst);
        compute(PART);
        self.now.fetch_sub(count, Ordering::SeqCst);
    }
}

fn compute(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Gives the thread back, as wasm does at a tick.
async fn tick() {
    let mut ticked = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut ticked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A guest that never ends by itself, in wasm or in SQL.
struct Hog {
    over: Arc<AtomicBool>,
    parts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Hog {
    fn begin(
        runtime: &Runtime,
        turns: &Turns,
        kind: &str,
        in_sql: bool,
        gauge: &Arc<Gauge>,
    ) -> Self {
        let (over, parts): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let (is_over, done, gauge) = (Arc::clone(&over), Arc::clone(&parts), Arc::clone(gauge));
        let cpu = CpuTime::new(turns, kind);
        cpu.begin(1);
        let of = cpu.clone();
        let guest = async move {
            let begun = Instant::now();
            while !is_over.load(Ordering::SeqCst) {
                // Long for certain, and no longer in the slice in which it became so.
                gauge.compute(begun.elapsed() > 10 * SHORT && of.has_turn());
                done.fetch_add(1, Ordering::SeqCst);
                if in_sql {
                    of.look(|| !is_over.load(Ordering::SeqCst));
                } else {
                    tick().await;
                }
            }
        };
        let task = runtime.spawn(async move { cpu.paced(guest).await });
        Self { over, parts, task }
    }

    fn parts(&self) -> usize {
        self.parts.load(Ordering::SeqCst)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl CpuTime {
    fn has_turn(&self) -> bool {
        self.0.state.lock().ask.is_some()
    }
}

fn check_turns(cores: usize, most: usize) {
    let (runtime, turns, gauge) = (workers(4), Turns::of(cores), Arc::default());
    let hogs: Vec<Hog> = (0..6)
        .map(|n| Hog::begin(&runtime, &turns, &format!("kind-{}", n % 3), n % 2 == 0, &gauge))
        .collect();
    let begun = Instant::now();
    while hogs.iter().any(|hog| hog.parts() < 200) {
        assert!(begun.elapsed() < PATIENCE, "somebody starves");
        let (answer, answered) = mpsc::sync_channel(1);
        let short = CpuTime::new(&turns, "short");
        short.begin(1);
        runtime.spawn(async move { short.paced(async { answer.send(()).unwrap() }).await });
        answered.recv_timeout(PATIENCE).expect("served beside them");
    }
    for hog in &hogs {
        hog.over.store(true, Ordering::SeqCst);
    }
    for mut hog in hogs {
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, &mut hog.task).await });
        ended.expect("ends").unwrap();
    }
    assert_eq!(gauge.most.load(Ordering::SeqCst), most);
    let ask = turns.ask(&Arc::from("after"), 1, Waker::noop());
    assert!(ask.unwrap().has_turn(Waker::noop()), "every turn was given back");
}

#[test]
fn fewer_long_guests_run_than_there_are_cores_and_none_starves() {
    check_turns(4, 3);
}

#[test]
fn one_core_has_one_turn() {
    check_turns(1, 1);
}

/// A turn that is held until this is dropped.
pub(crate) fn taken(turns: &Turns) -> impl Sized + use<> {
    taken_by(turns, &Arc::from("holder"))
}

fn taken_by(turns: &Turns, kind: &Arc<str>) -> impl Sized + use<> {
    let mut holder = turns.ask(kind, 1, Waker::noop()).unwrap();
    assert!(holder.has_turn(Waker::noop()));
    holder
}

/// Uses up what a short call may use.
fn long(turns: &Turns) -> CpuTime {
    let cpu = CpuTime::new(turns, "long");
    cpu.begin(1);
    cpu.0.state.lock().used = SHORT;
    cpu
}

#[test]
fn a_long_guest_is_not_polled_without_a_turn_and_is_once_there_is_one() {
    let (runtime, turns) = (workers(2), Turns::of(2));
    let holder = taken(&turns);
    let polled = Arc::new(AtomicBool::new(false));
    let (cpu, was_polled) = (long(&turns), Arc::clone(&polled));
    let guest = async move { was_polled.store(true, Ordering::SeqCst) };
    let task = runtime.spawn(async move { cpu.paced(guest).await });
    compute(10 * SHORT);
    assert!(!polled.load(Ordering::SeqCst));
    drop(holder);
    runtime.block_on(async { tokio::time::timeout(PATIENCE, task).await }).unwrap().unwrap();
    assert!(polled.load(Ordering::SeqCst));
}

#[test]
fn a_guest_that_waits_for_something_else_has_no_turn_meanwhile() {
    let (runtime, turns) = (workers(2), Turns::of(2));
    let (cpu, (polled, is_polled)) = (long(&turns), mpsc::sync_channel(1));
    let guest = async move {
        polled.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let task = runtime.spawn(async move { cpu.paced(guest).await });
    is_polled.recv_timeout(PATIENCE).expect("it has a turn");
    let begun = Instant::now();
    while turns
        .ask(&Arc::from("other"), 1, Waker::noop())
        .is_none_or(|mut ask| !ask.has_turn(Waker::noop()))
    {
        assert!(begun.elapsed() < PATIENCE);
    }
    task.abort();
}

/// A turn that has used its slice is given back after the next one was asked for: a kind that is
/// behind keeps its place, and its statement continues instead of waiting for a kind that is ahead.
#[test]
fn a_statement_of_a_kind_that_is_behind_gets_the_next_turn_as_well() {
    let (runtime, turns) = (workers(2), Turns::of(3));
    let (behind, ahead) = (CpuTime::new(&turns, "behind"), Arc::from("ahead"));
    behind.begin(CPU_WEIGHT_MAX);
    behind.0.state.lock().used = SHORT;
    let task = runtime.spawn(async move {
        assert!(behind.resume(&Context::from_waker(Waker::noop())), "the first of two turns");
        // The same time counts for a hundred times as much where the weight is 1.
        let second = taken_by(&turns, &ahead);
        compute(10 * SHORT);
        drop(second);
        let _second = taken(&turns);
        let mut waits = turns.ask(&ahead, 1, Waker::noop()).unwrap();
        assert!(behind.look(|| false));
        (behind.has_turn(), waits.has_turn(Waker::noop()))
    });
    assert_eq!(runtime.block_on(task).unwrap(), (true, false));
}

/// Wasm after a statement that was granted a turn uses the rest of that turn; a turn that wasm was
/// granted on a worker ends after the worker's slice.
#[test]
fn wasm_uses_up_the_turn_of_its_statement_and_no_more() {
    let (runtime, turns) = (workers(2), Turns::of(2));
    let cpu = long(&turns);
    let task = runtime.spawn(async move {
        assert!(cpu.resume(&Context::from_waker(Waker::noop())));
        compute(FIRST_SLICE);
        assert!(!cpu.tick(), "on a worker");
        // The thread may be held up on a busy machine.
        let continues = (0..100).any(|_| {
            assert!(cpu.look(|| true));
            drop(cpu.0.state.lock().ask.take());
            assert!(cpu.look(|| true), "the next turn");
            cpu.tick()
        });
        assert!(continues, "away, with a new turn");
        compute(2 * rota::SLICE);
        assert!(!cpu.tick(), "the slice is used up");
    });
    runtime.block_on(task).unwrap();
}

/// A guest on a worker is not stopped at its first ticks, which are shorter than its slice.
#[test]
fn wasm_keeps_a_worker_for_a_slice() {
    let cpu = long(&Turns::of(2));
    assert!(cpu.resume(&Context::from_waker(Waker::noop())));
    let since = cpu.0.state.lock().since.unwrap();
    let (mut continues, mut used) = (true, Duration::ZERO);
    while continues {
        used = since.elapsed();
        continues = cpu.tick();
    }
    assert!(used >= FIRST_SLICE / 2 && since.elapsed() >= FIRST_SLICE, "{used:?}");
}

/// Who has a turn offers its core immediately, and then every half millisecond.
#[test]
fn a_call_with_a_turn_offers_its_core_again_and_again() {
    let turns = Turns::of(2);
    let mut state = State::default();
    let begun = Instant::now();
    assert!(!state.offers_core(begun), "no turn");
    state.ask = turns.ask(&Arc::from("kind"), 1, Waker::noop());
    let at = |part: u32| begun + OFFER_EVERY * part / 2;
    let offers: Vec<bool> = (0..6).map(|part| state.offers_core(at(part))).collect();
    assert_eq!(offers, [true, false, true, false, true, false]);
}

#[test]
fn who_is_dropped_or_gives_up_while_it_waits_leaves_nothing() {
    let (runtime, turns) = (workers(2), Turns::of(2));
    let holder = taken(&turns);
    let waits = long(&turns);
    let task = runtime.spawn(async move { waits.paced(std::future::pending::<()>()).await });
    let in_sql = long(&turns);
    let gives_up = runtime.spawn(async move {
        let guest = async {
            // On a worker until its first slice is over, then on its own.
            compute(FIRST_SLICE);
            in_sql.0.state.lock().used = Duration::ZERO;
            let begun = Instant::now();
            while begun.elapsed() < 3 * SHORT {
                in_sql.look(|| begun.elapsed() < 2 * SHORT);
            }
            in_sql.has_turn()
        };
        guest.await
    });
    let gave_up = runtime.block_on(async { tokio::time::timeout(PATIENCE, gives_up).await });
    assert!(!gave_up.expect("ends").unwrap(), "it goes on to its end without a turn");
    task.abort();
    let _ = runtime.block_on(task);
    drop(holder);
    drop(taken(&turns));
}

#[test]
fn a_guest_that_waits_for_something_else_stays_short() {
    let (runtime, turns) = (workers(2), Turns::of(2));
    let _holder = taken(&turns);
    let cpu = CpuTime::new(&turns, "short");
    // Time is the clock's: where the machine is busy, a poll may take long without doing much.
    let stays_short = (0..10).any(|_| {
        cpu.begin(1);
        let waits = async {
            for _ in 0..5 {
                tokio::time::sleep(2 * SHORT).await;
            }
        };
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE / 10, cpu.paced(waits)).await })
            .is_ok()
    });
    assert!(stays_short);
}

#[test]
fn an_export_that_begins_is_short_again() {
    let turns = Turns::of(2);
    let _holder = taken(&turns);
    let cpu = long(&turns);
    let context = &mut Context::from_waker(Waker::noop());
    assert!(!cpu.resume(context));
    cpu.begin(1);
    assert!(cpu.resume(context));
}

#[test]
fn without_turns_nothing_is_ever_long() {
    let cpu = long(&Turns::default());
    assert!(cpu.resume(&Context::from_waker(Waker::noop())));
    compute(2 * SHORT);
    assert!(cpu.look(|| true));
}

/// However many statements wait for their turn, each has left its runtime before.
#[test]
fn many_long_statements_leave_every_worker_to_short_guests() {
    let (runtime, turns, gauge) = (workers(2), Turns::of(2), Arc::default());
    let _hogs: Vec<Hog> =
        (0..64).map(|_| Hog::begin(&runtime, &turns, "hogs", true, &gauge)).collect();
    for _ in 0..400 {
        let (answer, answered) = mpsc::sync_channel(1);
        runtime.spawn(async move { answer.send(()).unwrap() });
        answered.recv_timeout(PATIENCE).expect("a worker is left");
        compute(PART);
    }
}

/// However many megabytes arrive at the same time, a core is left to others.
#[test]
fn a_heavy_export_waits_for_a_turn() {
    let turns = Turns::of(2);
    let holder = taken(&turns);
    let cpu = CpuTime::new(&turns, "kind");
    cpu.begin(1);
    cpu.set_heavy();
    let context = &mut Context::from_waker(Waker::noop());
    assert!(!cpu.resume(context));
    drop(holder);
    assert!(cpu.resume(context));
}
