//! Processor time of guests: short calls run as they come, long ones in turns.
//!
//! ```text
//!  an export begins: short ── 4 ms used ──> long ──> asks for a turn ── granted ──> runs
//!                                             ^                                      │
//!                                             └── slice used and others wait, or ────┘
//!                                                 it waits for something else
//! ```
//! There are fewer turns than cores, so that however many calls are long, a core is left for short
//! calls, for commits and for the gateway. `rota.rs` decides whose turn is next. The kernel may wake
//! a thread of those on the core of a long call all the same, and would let it wait for a whole time
//! slice: so a long call offers its core again and again.
//!
//! Wasm is polled: it gives its turn back with each poll, after 2 ms at the latest, and is not
//! polled again before it has the next one. SQL sits in C frames on the thread that polls: that
//! thread first leaves its runtime (`away.rs`) and then waits for turns itself, from within the
//! progress handler. Wasm that continues on such a thread uses the rest of the turn.
//!
//! Invariants:
//! - C1: at most `cores - 1` turns, but one, are given at a time.
//! - C2: a turn is held only while its guest is polled or its SQL runs.
//! - C3: a guest that ends, is dropped or gives up waiting keeps neither a turn nor a place in the
//!   rota.
//! - C4: no thread of a runtime waits for a turn.
//!
//! Time is wall time between two looks, so a call that reads missing pages for 4 ms is long, too.
//! The processor's own time of a thread would cost a system call at each look.

mod away;
mod rota;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use away::{Away, NoPlace};
use turns::Ask;
pub use turns::Turns;

/// Time that a guest's export may use and still be short. 4 ms: a thousand statements.
const SHORT: Duration = Duration::from_millis(4);

/// How long a guest may keep a thread of the runtime. 2 ms: a hundred point queries, and little
/// beside a network.
const FIRST_SLICE: Duration = Duration::from_millis(2);

/// How often a long call offers its core to threads that wait for one. 0.5 ms: about as long as a
/// write takes, and a call of the system that costs 0.1 % of it.
const OFFER_EVERY: Duration = Duration::from_micros(500);

/// How often SQL that waits for its turn checks whether it must end. 10 ms: a tenth of the time
/// that a lost fence may take to end it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The processor time of one generation. Cloning shares it. Without turns nothing is ever long.
#[derive(Clone, Debug, Default)]
pub struct CpuTime(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    turns: Turns,
    kind: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    weight: u64,
    /// Time that the running export has used, until `since`.
    used: Duration,
    /// When the running poll began, or continued after a wait.
    since: Option<Instant>,
    /// Set when the polling thread has left its runtime.
    away: Option<Away>,
    /// A turn, or the wait for one.
    ask: Option<Ask>,
    /// When the core was last offered to others.
    offered: Option<Instant>,
}

impl CpuTime {
    /// The processor time of a generation of `kind`.
    #[must_use]
    pub fn new(turns: &Turns, kind: &str) -> Self {
        let (turns, kind) = (turns.clone(), Arc::from(kind));
        Self(Arc::new(Inner { turns, kind, state: Mutex::default() }))
    }

    /// Begins an export of the guest, or an operator's text: it is short. `weight` is the share of
    /// its kind beside others.
    pub(crate) fn begin(&self, weight: u64) {
        self.pause();
        let mut state = self.0.state.lock();
        (state.weight, state.used) = (weight, Duration::ZERO);
    }

    /// Marks the export that has begun as one that takes or returns megabytes. Handing values over
    /// is not interrupted and takes tenths of a second, so the export is long from the begin.
    pub(crate) fn set_heavy(&self) {
        self.0.state.lock().used = SHORT;
    }

    /// Polls `guest` when it may run.
    pub(crate) async fn paced<T>(&self, guest: impl Future<Output = T>) -> T {
        // Also when the future is dropped while it waits (C3).
        let _pause = Pause(self);
        let mut guest = pin!(guest);
        std::future::poll_fn(|context| {
            if !self.resume(context) {
                return Poll::Pending;
            }
            let _pause = Pause(self);
            guest.as_mut().poll(context)
        })
        .await
    }

    /// Whether the guest may be polled now; if not, its waker is woken when it may.
    fn resume(&self, context: &Context<'_>) -> bool {
        let state = &mut *self.0.state.lock();
        if state.used >= SHORT {
            let ask = || self.0.turns.ask(&self.0.kind, state.weight, context.waker());
            if state.ask.is_none() {
                state.ask = ask();
            }
            if state.ask.as_mut().is_some_and(|ask| !ask.has_turn(context.waker())) {
                return false;
            }
        }
        state.since = Some(Instant::now());
        true
    }

    /// From here on neither the guest runs nor SQL beside its polls, an operator's or the host's:
    /// the turn is given back.
    pub(crate) fn pause(&self) {
        let mut state = self.0.state.lock();
        if let Some(since) = state.since.take() {
            state.used += since.elapsed();
        }
        let given_back = (state.ask.take(), state.away.take());
        drop(state);
        drop(given_back);
    }

    /// At an epoch tick. Whether wasm continues: its thread is away, so that others do not wait for
    /// it, and its turn has time left, or it has not kept the thread for long. Else a turn that was
    /// granted within a poll would end as soon as its statement does, and the only actor of a kind
    /// would fall behind the many of another.
    pub(crate) fn tick(&self) -> bool {
        let state = self.0.state.lock();
        let now = Instant::now();
        let has_time = |turn: &Ask| turn.has_time(now);
        let continues = if state.away.is_some() {
            state.ask.as_ref().is_some_and(has_time)
        } else {
            state.since.is_some_and(|since| now.duration_since(since) < FIRST_SLICE)
        };
        offer_core(state, now);
        continues
    }

    /// From within SQL that may be long, about every 20 us. Waits while others have their turns, as
    /// long as `goes_on` allows. `false`: so many statements of this kind are long that this one
    /// cannot wait for a turn, and must end.
    pub(crate) fn look(&self, goes_on: impl Fn() -> bool) -> bool {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let since = *state.since.get_or_insert(now);
        if state.away.is_none() && now.duration_since(since) < FIRST_SLICE {
            return true;
        }
        let used = state.used + now.duration_since(since);
        let is_long = used >= SHORT && self.0.turns.are_shared();
        match &mut state.away {
            Some(away) => away.check(now),
            None => match Away::go(&self.0.kind, now) {
                Ok(Some(away)) => state.away = Some(away),
                // C4. Again after another slice.
                Ok(None) => {
                    (state.used, state.since) = (used, Some(now));
                    return true;
                }
                Err(NoPlace) => return !is_long,
            },
        }
        if !is_long {
            return true;
        }
        if state.ask.as_ref().is_some_and(|turn| !turn.is_over(now)) {
            offer_core(state, now);
            return true;
        }
        (state.used, state.since) = (used, None);
        let before = state.ask.take();
        let weight = state.weight;
        drop(state);
        let turn = self.wait(before, weight, goes_on);
        let mut state = self.0.state.lock();
        (state.ask, state.since) = (turn, Some(Instant::now()));
        true
    }

    /// Waits for a turn after the one `before`, on this thread, which is away. `None`: the
    /// statement must stop, and ends without a turn.
    fn wait(&self, before: Option<Ask>, weight: u64, goes_on: impl Fn() -> bool) -> Option<Ask> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut ask = self.0.turns.ask(&self.0.kind, weight, &waker)?;
        // Given back only now: a kind without a waiting actor would lose the time that it is
        // behind.
        drop(before);
        if ask.has_turn(&waker) {
            return Some(ask);
        }
        away::blocking(|| {
            while !ask.has_turn(&waker) {
                if !goes_on() {
                    return None;
                }
                thread::park_timeout(LOOK_EVERY);
            }
            Some(ask)
        })
    }
}

impl State {
    /// Whether a call that has a turn is to offer its core now.
    fn offers_core(&mut self, now: Instant) -> bool {
        let recent = self.offered.is_some_and(|last| now.duration_since(last) < OFFER_EVERY);
        let offers = self.ask.is_some() && !recent;
        if offers {
            self.offered = Some(now);
        }
        offers
    }
}

/// Offers the core of a call that has a turn to threads that wait for one, now and then.
fn offer_core(mut state: MutexGuard<'_, State>, now: Instant) {
    let offers = state.offers_core(now);
    drop(state);
    if offers {
        thread::yield_now();
    }
}

/// Pauses when it is dropped.
struct Pause<'c>(&'c CpuTime);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.pause();
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
