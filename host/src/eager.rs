//! A future that is polled once inline and spawned only if it does not complete.
//!
//! ```text
//! begin ── polled once, on the spot ──┬─ ready: nothing is left of it
//!                                     └─ pending ── woken ──> a task on its runtime
//! ```
//! A task from the start would wake a thread, only to find that it has to wait.
//!
//! Invariants:
//! - A wake that comes while the work is polled on the spot is not lost.
//! - Dropping an `Eager` drops the work, or aborts the task that the work has become.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Ready when the work is done. Dropping it earlier drops the work.
pub struct Eager {
    work: Arc<Work>,
    ended: oneshot::Receiver<()>,
}

/// The work, as its wakers hold it.
struct Work {
    home: Handle,
    stage: Mutex<Stage>,
}

enum Stage {
    /// The first poll, inline.
    Begins {
        /// Whether the work was woken during the poll.
        woken: bool,
    },
    /// The work waits to be woken.
    Waits(BoxFuture<'static, ()>),
    /// The work is about to become a task.
    Moves,
    /// A task, which may have ended.
    Runs(AbortHandle),
    /// Dropped.
    Dropped,
}

impl Eager {
    /// Polls the work once. `None`: the work is done.
    pub fn begin(home: Handle, work: impl Future<Output = ()> + Send + 'static) -> Option<Self> {
        let (ends, ended) = oneshot::channel();
        let mut future: BoxFuture<'static, ()> = Box::pin(async move {
            work.await;
            // The channel closes with the future, done or dropped.
            drop(ends);
        });
        let work = Arc::new(Work { home, stage: Mutex::new(Stage::Begins { woken: false }) });
        let waker = Waker::from(Arc::clone(&work));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return None;
        }
        if let Some(woken) = work.put_aside(future) {
            work.run(woken);
        }
        Some(Self { work, ended })
    }
}

impl Work {
    /// Puts the work aside to wait, unless it was woken during the poll: then returns it.
    fn put_aside(&self, future: BoxFuture<'static, ()>) -> Option<BoxFuture<'static, ()>> {
        let mut stage = self.stage.lock();
        if let Stage::Begins { woken: false } = *stage {
            *stage = Stage::Waits(future);
            return None;
        }
        *stage = Stage::Moves;
        Some(future)
    }

    /// Takes the waiting work when it is woken.
    fn woken(&self) -> Option<BoxFuture<'static, ()>> {
        let mut stage = self.stage.lock();
        match mem::replace(&mut *stage, Stage::Moves) {
            Stage::Waits(future) => return Some(future),
            Stage::Begins { .. } => *stage = Stage::Begins { woken: true },
            // A task has a waker of its own.
            other @ (Stage::Moves | Stage::Runs(_) | Stage::Dropped) => *stage = other,
        }
        None
    }

    /// Makes the work a task. Without the lock: a runtime that has ended drops the work, and that
    /// may wake.
    fn run(&self, future: BoxFuture<'static, ()>) {
        let task = self.home.spawn(future).abort_handle();
        let mut stage = self.stage.lock();
        match *stage {
            Stage::Dropped => task.abort(),
            _ => *stage = Stage::Runs(task),
        }
    }
}

impl Wake for Work {
    fn wake(self: Arc<Self>) {
        if let Some(future) = self.woken() {
            self.run(future);
        }
    }
}

impl Future for Eager {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.ended).poll(context).map(drop)
    }
}

impl Drop for Eager {
    fn drop(&mut self) {
        // The stage is dropped without the lock: dropping the work may wake this again.
        let stage = mem::replace(&mut *self.work.stage.lock(), Stage::Dropped);
        if let Stage::Runs(task) = &stage {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;

    use super::*;

    /// A runtime, the wakers of the work, and a receiver that learns whether the work was done.
    struct World {
        runtime: Runtime,
        news: Arc<Notify>,
        done: oneshot::Receiver<()>,
    }

    fn begin() -> (World, Option<Eager>) {
        // The work runs only while it is waited for.
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let news = Arc::new(Notify::new());
        let (tell, done) = oneshot::channel();
        let waits_for = Arc::clone(&news);
        let eager = Eager::begin(runtime.handle().clone(), async move {
            waits_for.notified().await;
            waits_for.notified().await;
            tell.send(()).unwrap();
        });
        (World { runtime, news, done }, eager)
    }

    #[test]
    fn work_that_waits_for_nothing_is_done_on_the_spot() {
        let runtime = Runtime::new().unwrap();
        let (tell, heard) = oneshot::channel();
        let eager = Eager::begin(runtime.handle().clone(), async move {
            tell.send(()).unwrap();
        });
        assert_eq!((eager.is_none(), heard.now_or_never()), (true, Some(Ok(()))));
    }

    #[test]
    fn work_is_a_task_once_it_was_woken_and_waits_on_as_one() {
        let (world, eager) = begin();
        let mut eager = eager.unwrap();
        let tasks = || world.runtime.metrics().num_alive_tasks();
        assert_eq!((tasks(), (&mut eager).now_or_never()), (0, None));
        world.news.notify_one();
        assert_eq!(tasks(), 1);
        world.runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!((&mut eager).now_or_never(), None);
            world.news.notify_one();
            eager.await;
            world.done.await.unwrap();
        });
    }

    #[test]
    fn work_that_is_woken_while_it_begins_is_not_forgotten() {
        let runtime = Runtime::new().unwrap();
        let eager = Eager::begin(runtime.handle().clone(), async {
            let mut asked = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        let done = async { tokio::time::timeout(Duration::from_secs(60), eager.unwrap()).await };
        runtime.block_on(done).expect("forgotten");
    }

    #[test]
    fn work_is_dropped_with_it_woken_or_not() {
        let (world, eager) = begin();
        drop(eager);
        assert!(world.done.now_or_never().unwrap().is_err());
        let (world, eager) = begin();
        world.news.notify_one();
        drop(eager);
        world.news.notify_one();
        assert!(world.runtime.block_on(world.done).is_err());
    }
}
