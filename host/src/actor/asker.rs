//! Cancels an operator's statements when their client goes away.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::sqlite::Interrupter;

/// The state that client and worker share. Cloning shares it.
#[derive(Clone, Default)]
pub struct Asker(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gone: bool,
    /// Interrupts the statements that run now.
    working: Option<Interrupter>,
}

/// Held by the client. Dropped when the answer is there or is no longer wanted.
pub struct Present(Asker);

impl Asker {
    /// The client's half, kept while an answer is wanted.
    #[must_use]
    pub fn present(&self) -> Present {
        Present(self.clone())
    }

    /// Work begins; `false` if the answer is no longer wanted.
    pub(super) fn work_begins(&self, interrupter: Interrupter) -> bool {
        let mut state = self.0.lock();
        state.working = (!state.gone).then_some(interrupter);
        !state.gone
    }

    /// Work has ended: later statements on the connection belong to other callers.
    pub(super) fn work_ends(&self) {
        self.0.lock().working = None;
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.gone = true;
        // Under the lock, so that the interrupt never hits later work.
        if let Some(interrupter) = state.working.take() {
            interrupter.interrupt();
        }
    }
}
