//! Whoever asked for an operator's statements: when they go away, the statements end.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::sqlite::Interrupter;

/// Shared by who asks and who works. Cloning shares it.
#[derive(Clone, Default)]
pub struct Asker(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gone: bool,
    /// Of the statements that run now.
    working: Option<Interrupter>,
}

/// Held by who asks. Dropped when the answer is there, or nobody wants it any more.
pub struct Present(Asker);

impl Asker {
    /// To be kept while an answer is wanted.
    #[must_use]
    pub fn present(&self) -> Present {
        Present(self.clone())
    }

    /// Work begins; `false` if nobody wants it any more.
    pub(super) fn work_begins(&self, interrupter: Interrupter) -> bool {
        let mut state = self.0.lock();
        state.working = (!state.gone).then_some(interrupter);
        !state.gone
    }

    /// Work has ended: what runs on the connection from now on is somebody else's.
    pub(super) fn work_ends(&self) {
        self.0.lock().working = None;
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.gone = true;
        // Under the lock, so that it never hits what comes after the work.
        if let Some(interrupter) = state.working.take() {
            interrupter.interrupt();
        }
    }
}
