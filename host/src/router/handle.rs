//! How other parts reach a slot, and the state of a slot that they may read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stockade_depot::{Fence, Reason, Session, StoreFailure};
use stockade_vfs::memory::Share;
use tokio::sync::mpsc;

use super::mailbox::Requests;
use super::request::Control;
use crate::actor::generation::StartedFrom;
use crate::grip::Grip;
use crate::sqlite::Meter;

/// The senders of a slot.
pub struct SlotHandle {
    pub(super) requests: Requests,
    pub(super) control: mpsc::Sender<Control>,
    view: Mutex<View>,
}

/// The public state of a slot.
#[derive(Default)]
struct View {
    live: Option<LiveView>,
    /// The grips of the newest generation, also while that ends.
    grips: Option<[Grip; 2]>,
    /// The session, from before the generation starts until its end begins.
    session: Option<Session>,
    /// The budget of what runs now: a call, or an operator's statements.
    running: Option<Meter>,
    idle_since: Option<Instant>,
    /// The slot's part of the memory of all guests.
    memory: Option<Arc<Share>>,
}

/// The public state of a generation.
#[derive(Clone, Copy)]
pub struct LiveView {
    /// The fence.
    pub fence: Fence,
    /// The snapshot that the generation was started from.
    pub started_from: Option<StartedFrom>,
}

impl SlotHandle {
    pub(super) fn new(requests: Requests, control: mpsc::Sender<Control>) -> Self {
        Self { requests, control, view: Mutex::default() }
    }

    /// The generation that is awake here.
    #[must_use]
    pub fn live(&self) -> Option<LiveView> {
        self.view.lock().live
    }

    /// Whether anything waits that comes before the next alarm: a request, an order, or an end of the
    /// generation that has begun.
    pub(super) fn is_wanted(&self) -> bool {
        let ordered = self.control.capacity() < self.control.max_capacity();
        self.requests.wait() || ordered || self.live().is_none()
    }

    /// The fence of that generation.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.view.lock().live.as_ref().map(|live| live.fence)
    }

    /// Since when the generation that is awake here has been idle.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.view.lock().idle_since
    }

    /// Bytes of memory that an idle generation holds.
    pub(super) fn idle_bytes(&self) -> Option<u64> {
        let view = self.view.lock();
        view.idle_since.and(view.memory.as_ref()).map(|share| share.held())
    }

    /// Marks the slot as picked for eviction, so that it is not picked again before it is idle
    /// again.
    pub(super) fn choose(&self) {
        self.view.lock().idle_since = None;
    }

    /// Shortens what runs now, if anything does.
    pub(super) fn hurry(&self, grace: Option<Duration>) {
        if let (Some(grace), Some(meter)) = (grace, &self.view.lock().running) {
            meter.shorten(tokio::time::Instant::now() + grace);
        }
    }

    /// Revokes the handles of the generation that is awake or ends here, whatever it does.
    pub(super) fn revoke(&self, reason: Reason) {
        for grip in self.view.lock().grips.iter().flatten() {
            grip.revoke(reason);
        }
    }

    /// Ends the generation that starts, is awake or ends here fatally, whatever it does.
    pub(super) fn fail(&self, failure: &StoreFailure) {
        if let Some(session) = &self.view.lock().session {
            session.fail(failure.clone());
        }
    }

    /// A generation was won, and starts.
    pub(super) fn starts(&self, session: Session) {
        self.view.lock().session = Some(session);
    }

    /// The generation that was won is awake.
    pub(super) fn shows(&self, live: LiveView, grips: [Grip; 2], memory: Arc<Share>) {
        let mut view = self.view.lock();
        (view.live, view.grips, view.memory) = (Some(live), Some(grips), Some(memory));
    }

    /// An operator's statements begin, on the database of an actor that is asleep.
    pub(super) fn is_visited(&self, meter: Meter, grip: Grip) {
        let mut view = self.view.lock();
        (view.running, view.grips) = (Some(meter), Some([grip, Grip::default()]));
    }

    /// Records the budget of what begins to run, or that nothing runs.
    pub(super) fn runs(&self, meter: Option<Meter>) {
        self.view.lock().running = meter;
    }

    /// Records since when the slot is idle, or that it is busy.
    pub(super) fn idles(&self, since: Option<Instant>) {
        self.view.lock().idle_since = since;
    }

    /// The generation has ended: it is no longer awake.
    pub(super) fn hide(&self) {
        let mut view = self.view.lock();
        (view.live, view.idle_since, view.session, view.memory) = (None, None, None, None);
    }
}
