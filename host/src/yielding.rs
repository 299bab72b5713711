//! Threads that give way: for long work that nothing can interrupt, such as handing megabytes over.
//!
//! ```text
//!  worker   ── bound to a core, nice 10 ── busy ───────────────────────────── idle
//!  partner  ── bound to the same core ──── wakes, sleeps 0.3 ms, wakes ... ── parked
//! ```
//! A low priority alone is not enough. A kernel without preemption, and one that preempts lazily, lets
//! a busy thread keep its core up to the next tick of the clock, 4 ms, although threads of a higher
//! priority were woken on that core. Each wake of the partner makes the kernel choose again.
//!
//! Invariants:
//! - A partner wakes only while its worker is busy: a host without such work has no wakes from here.
//! - Where threads cannot be bound, the workers work all the same.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

use crate::limits::{LONG_STATEMENTS_MAX, READS_MAX, SQL_STACK_BYTES};
use crate::runtime::{OwnRuntime, lower_priority};

/// How long a partner sleeps. 0.3 ms: a call of another actor wakes a handful of threads, one after the
/// other, and each may wait so long. The wakes take 1 % of the core.
const PARTNER_SLEEPS: Duration = Duration::from_micros(300);

/// How long a thread that has left its worker's work is kept, with its partner.
const LEFT_IS_KEPT: Duration = Duration::from_millis(20);

/// What a partner is to do.
const REST: u8 = 0;
const WAKE: u8 = 1;
const END: u8 = 2;

/// Partners of the process so far: each is bound to the next core.
static PARTNERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The partner of this worker.
    static PARTNER: RefCell<Option<Taken>> = const { RefCell::new(None) };
}

/// Starts a runtime whose workers give way to all other threads.
///
/// # Errors
/// The system has no resources left for threads.
pub fn start(name: &str, workers: usize) -> io::Result<OwnRuntime> {
    let partners = (0..workers).map_while(|_| Partner::start().transpose());
    let free = Arc::new(Mutex::new(partners.collect::<io::Result<Vec<_>>>()?));
    let all = sched_getaffinity(None).ok();
    let mut builder = Builder::new_multi_thread();
    let builder = builder
        .worker_threads(workers)
        .thread_name(name)
        .thread_stack_size(SQL_STACK_BYTES)
        .thread_keep_alive(LEFT_IS_KEPT)
        .enable_time()
        .max_blocking_threads(LONG_STATEMENTS_MAX + READS_MAX)
        .on_thread_start(move || {
            lower_priority();
            // A thread that a bound worker has started would be bound as well.
            let _ = all.as_ref().map(|all| sched_setaffinity(None, all));
        })
        .on_thread_unpark(move || busy(&free))
        .on_thread_park(idle);
    OwnRuntime::start(builder)
}

/// Runs a task on such a runtime. Dropping this ends the task, after the step in progress.
///
/// # Panics
/// If the task does.
pub async fn run<T: Send + 'static>(
    on: Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    let mut running = JoinSet::new();
    running.spawn_on(task, &on);
    match running.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and so does this task.
        Some(Err(_)) | None => std::future::pending().await,
    }
}

/// The calling worker begins to work. The first time it takes one of the free partners.
fn busy(free: &Arc<Mutex<Vec<Partner>>>) {
    PARTNER.with_borrow_mut(|mine| {
        if mine.is_none() {
            *mine = Taken::by_this_thread(free);
        }
        mine.iter().for_each(|taken| taken.order(WAKE));
    });
}

/// The calling worker has nothing to do.
fn idle() {
    PARTNER.with_borrow(|mine| mine.iter().for_each(|taken| taken.order(REST)));
}

/// A thread that makes the kernel choose again. Ends when this is dropped.
struct Partner {
    core: CpuSet,
    order: Arc<AtomicU8>,
    thread: Thread,
}

/// The partner of a worker. Free again when the worker ends.
struct Taken {
    partner: Option<Partner>,
    free: Arc<Mutex<Vec<Partner>>>,
}

impl Partner {
    /// Starts a partner at the next core. `None`: the system does not say which cores there are.
    fn start() -> io::Result<Option<Self>> {
        let Some(core) = next_core() else { return Ok(None) };
        let order = Arc::new(AtomicU8::new(REST));
        let given = Arc::clone(&order);
        let wakes = move || {
            if sched_setaffinity(None, &core).is_ok() {
                wake(&given);
            }
        };
        let started = thread::Builder::new().name("partner".to_owned()).spawn(wakes)?;
        Ok(Some(Self { core, order, thread: started.thread().clone() }))
    }

    fn order(&self, what: u8) {
        if self.order.swap(what, Ordering::AcqRel) == REST {
            self.thread.unpark();
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.order(END);
    }
}

impl Taken {
    /// Takes a free partner, and binds this thread to its core.
    fn by_this_thread(free: &Arc<Mutex<Vec<Partner>>>) -> Option<Self> {
        let partner = free.lock().pop()?;
        let bound = sched_setaffinity(None, &partner.core).is_ok();
        // One that cannot be used is gone for good.
        bound.then(|| Self { partner: Some(partner), free: Arc::clone(free) })
    }

    fn order(&self, what: u8) {
        self.partner.iter().for_each(|partner| partner.order(what));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.order(REST);
        self.free.lock().extend(self.partner.take());
    }
}

/// What a partner does.
fn wake(order: &AtomicU8) {
    loop {
        match order.load(Ordering::Acquire) {
            WAKE => thread::park_timeout(PARTNER_SLEEPS),
            REST => thread::park(),
            _ => return,
        }
    }
}

/// The cores that this process may use, one after the other, from the last on: the system's own work is
/// often on the first.
fn next_core() -> Option<CpuSet> {
    let allowed = sched_getaffinity(None).ok()?;
    let cores: Vec<usize> =
        (0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core)).collect();
    let next = PARTNERS.fetch_add(1, Ordering::Relaxed).checked_rem(cores.len())?;
    let mut core = CpuSet::new();
    core.set(cores[next]);
    Some(core)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Voluntary switches of the threads of this name: how often they have slept.
    fn sleeps_of(name: &str) -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads are listed");
        let files = tasks.filter_map(|task| Some(task.ok()?.path()));
        let named = files.filter(|path| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let sleeps = |path: std::path::PathBuf| {
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        named.filter_map(sleeps).sum()
    }

    fn work(lasting: Duration) {
        let until = Instant::now() + lasting;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    /// One test: the counts are those of all partners of the process.
    #[test]
    fn a_partner_wakes_while_its_worker_is_busy_and_only_then() {
        let runtime = start("gives-way", 1).expect("starts");
        let on = runtime.handle().clone();
        // The worker has rested once, and takes its partner when it is woken.
        thread::park_timeout(Duration::from_millis(50));
        let idle = sleeps_of("partner");
        let priority = on.block_on(run(on.clone(), async {
            work(Duration::from_millis(300));
            rustix::process::getpriority_process(None).expect("of this thread")
        }));
        assert_eq!(priority, 10);
        let after = sleeps_of("partner");
        assert!(after >= idle + 50, "{} wakes in 0.3 s", after - idle);
        thread::park_timeout(Duration::from_millis(50));
        let rested = sleeps_of("partner");
        thread::park_timeout(Duration::from_millis(300));
        assert!(sleeps_of("partner") <= rested + 1, "an idle worker's partner wakes");
    }

    #[tokio::test]
    async fn a_dropped_run_ends_its_task() {
        let runtime = start("gives-way", 1).expect("starts");
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        let task = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        let run = run(runtime.handle().clone(), task);
        assert!(tokio::time::timeout(Duration::from_millis(20), run).await.is_err());
        ended.await.expect_err("dropped");
    }
}
