//! Keeps the marks of a store's files up, from a thread of its own.
//!
//! ```text
//! a file is written ─► bell ─► raise the marks of all files written since   one group each
//!                              tell every file the new ones                 one group each
//!                              wait for the period, then for the bell
//! ```
//!
//! Marks are steps of the files' committers like any other: under load they cost no sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Files;
use super::file::DataFile;
use super::group::Size;
use super::mark::Which;
use super::marks;
use crate::error::StoreError;

/// What a mark's step writes, roughly. A full store takes it.
const MARK: Size = Size::Keeps(1024);

/// Whether a file was written since its last mark.
#[derive(Default)]
pub(super) struct Written {
    since: AtomicBool,
    bell: Mutex<Option<Arc<Bell>>>,
}

impl Written {
    /// The file was written.
    pub(super) fn note(&self) {
        let is_first =
            !self.since.load(Ordering::Relaxed) && !self.since.swap(true, Ordering::SeqCst);
        if is_first && let Some(bell) = self.bell.lock().as_ref() {
            bell.ring();
        }
    }

    fn take(&self) -> bool {
        self.since.swap(false, Ordering::SeqCst)
    }

    fn tell(&self, bell: &Arc<Bell>) {
        *self.bell.lock() = Some(Arc::clone(bell));
    }
}

/// Wakes the keeper.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rang: bool,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What was written is marked once more.
    Orderly,
    /// Nothing more is done.
    Leave,
}

impl Bell {
    fn ring(&self) {
        self.state.lock().rang = true;
        self.changed.notify_all();
    }

    fn end(&self, end: End) {
        self.state.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    fn wait(&self) -> Option<End> {
        let mut state = self.state.lock();
        while !state.rang && state.end.is_none() {
            self.changed.wait(&mut state);
        }
        state.rang = false;
        state.end
    }

    /// Waits for the end, and no longer than `period`.
    fn pause(&self, period: Duration) {
        let until = Instant::now() + period;
        let mut state = self.state.lock();
        while state.end.is_none() && !self.changed.wait_until(&mut state, until).timed_out() {}
    }
}

/// The thread. Ends when this is dropped.
pub(super) struct Keeper {
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// Starts it. The files stay as long as it does.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub(super) fn start(files: Arc<Files>, period: Duration) -> std::io::Result<Self> {
        let bell = Arc::new(Bell::default());
        for (_, file) in files.all() {
            file.written().tell(&bell);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let own = Arc::clone(&bell);
        let run = move || loop {
            let end = own.wait();
            if end != Some(End::Leave)
                && let Err(error) = runtime.block_on(mark(&files.all()))
            {
                // The file says itself why it cannot be written.
                tracing::debug!(%error, "marks are not raised");
            }
            if end.is_some() {
                return;
            }
            own.pause(period);
        };
        let thread = std::thread::Builder::new().name("marks".to_owned()).spawn(run)?;
        Ok(Self { bell, thread: Mutex::new(Some(thread)) })
    }

    /// Marks what was written and ends. To be called while the files can still be written.
    pub(super) fn finish(&self) {
        self.end(End::Orderly);
    }

    fn end(&self, end: End) {
        self.bell.end(end);
        // Held while joining: a second one returns when the first is done.
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end(End::Leave);
    }
}

/// Raises the marks of files that were written, and tells them to all others.
async fn mark(files: &[(Which, &DataFile)]) -> Result<(), StoreError> {
    let mut raised = Vec::new();
    let mut result = Ok(());
    for (which, file) in files {
        if file.written().take() {
            match file.write_quietly(MARK, |conn, _| marks::raise(conn)).await {
                Ok(epoch) => raised.push((*which, epoch)),
                // A file that cannot be written speaks for itself only.
                Err(error) => result = Err(error),
            }
        }
    }
    for (which, file) in files {
        let news: Vec<_> = raised.iter().copied().filter(|(of, _)| of != which).collect();
        if !news.is_empty() {
            let told = file.write_quietly(MARK, move |conn, _| marks::tell(conn, &news)).await;
            result = result.and(told);
        }
    }
    result
}
