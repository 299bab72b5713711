//! How much the gateway takes on at once; more is refused at once, never queued.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::Refusal;
use crate::error::Code;
use crate::limits::HostLimits;

/// Room for work. A permit is held until the work is done.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    requests_max: usize,
    exports: Arc<Semaphore>,
    exports_max: usize,
    imports: Arc<Semaphore>,
    imports_max: usize,
    checks: Arc<Semaphore>,
    checks_max: usize,
}

impl Admission {
    pub(super) fn new(limits: &HostLimits) -> Self {
        let (requests_max, exports_max) = (limits.requests_max, limits.exports_max);
        Self {
            requests: Arc::new(Semaphore::new(requests_max)),
            requests_max,
            exports: Arc::new(Semaphore::new(exports_max)),
            exports_max,
            imports: Arc::new(Semaphore::new(limits.imports_max)),
            imports_max: limits.imports_max,
            checks: Arc::new(Semaphore::new(limits.checks_max)),
            checks_max: limits.checks_max,
        }
    }

    /// Room for one request until its answer is made.
    pub(super) fn request(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.requests, "requests", self.requests_max)
    }

    /// Room for one export until its last byte is sent.
    pub(super) fn export(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.exports, "exports", self.exports_max)
    }

    /// Room for one import until it is done.
    pub(super) fn import(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.imports, "imports", self.imports_max)
    }

    /// Room for one check of the whole store until its last line is sent.
    pub(super) fn check(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        acquire(&self.checks, "checks of the store", self.checks_max)
    }
}

fn acquire(
    room: &Arc<Semaphore>,
    what: &'static str,
    max: usize,
) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(room).try_acquire_owned().map_err(|_| {
        let words = format!("the host works on {max} {what} already");
        Refusal::new(Code::HostOverloaded, words).closing()
    })
}
