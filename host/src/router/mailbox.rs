//! The queue in front of a slot: calls, and parcels of messages beside them.
//!
//! ```text
//!  calls, due work, statements ──> as many as `mailbox_calls_max` ──┐ by turns, while
//!  parcels ──────────────────────> a part of that many ─────────────┘ there are both
//! ```
//! Invariants:
//! - Parcels wait in a queue of their own: no number of senders takes the place of a call.
//! - Between two calls that wait one parcel is worked on, and between two parcels one call: neither
//!   keeps the other out.

use std::future::pending;

use tokio::sync::mpsc::{self, error::TrySendError};

use super::request::{Request, Work};
use crate::error::HostError;
use crate::limits::{Limits, PARCELS_QUEUED_PART};

/// Where requests for a slot are put.
///
/// They are boxed: each of the two queues of an awake actor has room for 32 from the first one on.
pub(super) struct Requests {
    calls: mpsc::Sender<Box<Request>>,
    parcels: mpsc::Sender<Box<Request>>,
}

/// Where the slot takes them from.
pub(super) struct Mailbox {
    calls: mpsc::Receiver<Box<Request>>,
    parcels: mpsc::Receiver<Box<Request>>,
    /// The last request was no parcel: one that waits comes next.
    parcels_turn: bool,
}

/// An empty queue, both ends.
pub(super) fn mailbox(limits: &Limits) -> (Requests, Mailbox) {
    let calls_max = usize::try_from(limits.mailbox_calls_max).unwrap_or(usize::MAX).max(1);
    let (to_calls, calls) = mpsc::channel(calls_max);
    let (to_parcels, parcels) = mpsc::channel(calls_max.div_ceil(PARCELS_QUEUED_PART));
    let requests = Requests { calls: to_calls, parcels: to_parcels };
    (requests, Mailbox { calls, parcels, parcels_turn: false })
}

impl Requests {
    /// Puts a request into its queue.
    ///
    /// # Errors
    /// `Overloaded` if that is full, `ShuttingDown` if the slot has ended. The request's caller is
    /// *not* answered then.
    pub(super) fn put(&self, request: Request) -> Result<(), HostError> {
        let (queue, what) = match request.work {
            Work::Parcel { .. } => (&self.parcels, "queued parcels"),
            Work::Call { .. } | Work::Due { .. } | Work::Sql { .. } => {
                (&self.calls, "queued calls")
            }
        };
        queue.try_send(Box::new(request)).map_err(|error| match error {
            TrySendError::Full(_) => HostError::Overloaded {
                what,
                // The size of the queue when it was made, whatever was deployed since.
                max: queue.max_capacity() as u64,
            },
            TrySendError::Closed(_) => HostError::ShuttingDown,
        })
    }

    /// Whether any request waits for the slot.
    pub(super) fn wait(&self) -> bool {
        [&self.calls, &self.parcels].iter().any(|queue| queue.capacity() < queue.max_capacity())
    }

    /// Whether the slot has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }
}

impl Mailbox {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.parcels.is_empty()
    }

    /// Takes no more requests.
    pub(super) fn close(&mut self) {
        self.calls.close();
        self.parcels.close();
    }

    /// The request whose turn it is, if one waits.
    pub(super) fn try_next(&mut self) -> Option<Box<Request>> {
        let Self { calls, parcels, parcels_turn } = self;
        let (first, second) = if *parcels_turn { (parcels, calls) } else { (calls, parcels) };
        let request = first.try_recv().or_else(|_| second.try_recv()).ok()?;
        Some(self.taken(request))
    }

    /// Waits for a request. Loses none if the wait is dropped.
    pub(super) async fn next(&mut self) -> Box<Request> {
        if let Some(request) = self.try_next() {
            return request;
        }
        let request = tokio::select! {
            biased;
            Some(request) = self.calls.recv() => request,
            Some(request) = self.parcels.recv() => request,
            else => pending().await,
        };
        self.taken(request)
    }

    fn taken(&mut self, request: Box<Request>) -> Box<Request> {
        self.parcels_turn = !matches!(request.work, Work::Parcel { .. });
        request
    }
}
