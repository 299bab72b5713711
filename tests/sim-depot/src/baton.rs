//! SQLite waits for pages inside its C frames, where nothing can suspend. So its work runs on a
//! thread of its own, in lock step: the task that polls hands the baton over and waits until the
//! baton is back.
//!
//! ```text
//! simulation  ── poll ──> waits ............ Pending ── other tasks ── poll ──> waits ...... Ready
//!                  │ baton               ▲                              │              ▲
//! thread           └─> SQLite ── page miss: park                        └─> page ── done
//! ```
//! Exactly one of the two runs at any time, so a run stays the same for the same seed. A future
//! that is dropped half way (its node crashed) lets its thread run out: waits end immediately,
//! unanswered.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use stockade_depot::Parker;
use stockade_depot::broken::{Off, Variant};
use tokio::runtime::Handle;

/// Whose turn it is.
enum Baton {
    Simulation,
    Thread(Waker),
    /// The simulation has gone: the thread runs to its end without waiting for anything.
    Dropped,
    Done,
}

struct Turn {
    baton: Mutex<Baton>,
    moved: Condvar,
}

thread_local! {
    static TURN: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
}

impl Turn {
    fn pass(&self, baton: Baton) {
        let mut held = self.baton.lock();
        // No task takes a dropped baton: the thread that gives it back runs to its end.
        if !matches!((&*held, &baton), (Baton::Dropped, Baton::Simulation)) {
            *held = baton;
        }
        self.moved.notify_all();
    }

    /// The thread waits for its turn. `None`: no turn will come.
    fn wait_for_turn(&self) -> Option<Waker> {
        let mut baton = self.baton.lock();
        loop {
            match &*baton {
                Baton::Thread(waker) => return Some(waker.clone()),
                Baton::Dropped => return None,
                Baton::Simulation | Baton::Done => self.moved.wait(&mut baton),
            }
        }
    }

    /// The simulation waits until the baton is back. Whether the thread is done.
    fn wait_for_return(&self) -> bool {
        let mut baton = self.baton.lock();
        loop {
            match &*baton {
                Baton::Simulation => return false,
                Baton::Done => return true,
                Baton::Thread(_) | Baton::Dropped => self.moved.wait(&mut baton),
            }
        }
    }
}

/// Work on a thread of its own, as a future.
pub struct OnThread<T> {
    turn: Arc<Turn>,
    thread: Option<JoinHandle<T>>,
}

/// Runs `work` in lock step with the task that polls the answer; `off` is switched off in `work`.
pub fn on_thread<T: Send + 'static>(
    off: Option<Variant>,
    work: impl FnOnce() -> T + Send + 'static,
) -> OnThread<T> {
    let turn = Arc::new(Turn { baton: Mutex::new(Baton::Simulation), moved: Condvar::new() });
    let own = Arc::clone(&turn);
    let thread = std::thread::Builder::new().name("sqlite".into()).spawn(move || {
        own.wait_for_turn();
        TURN.set(Some(Arc::clone(&own)));
        let _done = Done(own);
        let _off = Off::new(off);
        work()
    });
    OnThread { turn, thread: Some(thread.unwrap()) }
}

/// Gives the baton back for good, also when the work panics.
struct Done(Arc<Turn>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.pass(Baton::Done);
    }
}

impl<T> Future for OnThread<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.turn.pass(Baton::Thread(context.waker().clone()));
        if !self.turn.wait_for_return() {
            return Poll::Pending;
        }
        let thread = self.thread.take().expect("BUG: polled after its end");
        match thread.join() {
            Ok(value) => Poll::Ready(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl<T> Drop for OnThread<T> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.turn.pass(Baton::Dropped);
            let _ended = thread.join();
        }
    }
}

/// Waits of SQLite's threads: they give the baton back and come again when there is news.
pub struct BatonParker(pub Handle);

impl Parker for BatonParker {
    fn park(&self, mut work: BoxFuture<'_, ()>) {
        let turn = TURN.with_borrow(Clone::clone).expect("BUG: SQLite runs on a thread of its own");
        let _runtime = self.0.enter();
        while let Some(waker) = turn.wait_for_turn() {
            if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return;
            }
            turn.pass(Baton::Simulation);
        }
    }
}
