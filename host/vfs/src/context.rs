//! What all files of one open database share: the session, the faults, the scratch budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stockade_depot::{Cause, Reason, Session};

use crate::fault::{Fault, FaultSlot};
use crate::options::VfsOptions;
use crate::pragma::Settings;
use crate::scratch::Budget;

/// Shared by the files of one database and its [`crate::Handle`].
pub(crate) struct Context {
    pub(crate) session: Session,
    pub(crate) faults: FaultSlot,
    /// Shared with large transactions, which outlive the connection until they are durable.
    pub(crate) scratch: Arc<Budget>,
    pub(crate) settings: Settings,
    /// Bytes of written pages that a transaction may hold before it is refused early. More than
    /// `commit_bytes_max` by what SQLite's cache can hold back: a rollback writes those as well.
    pub(crate) overlay_bytes_max: u64,
    /// Pages read from the session since they were last taken.
    pub(crate) pages_read: AtomicU64,
    main_is_open: AtomicBool,
}

impl Context {
    pub(crate) fn new(session: Session, options: &VfsOptions) -> Self {
        let cache_bytes = u64::from(options.cache_pages) * stockade_depot::PAGE_SIZE as u64;
        Self {
            faults: FaultSlot::default(),
            scratch: Arc::new(Budget::new(options)),
            settings: Settings::new(options),
            overlay_bytes_max: session.limits().commit_bytes_max.saturating_add(cache_bytes),
            pages_read: AtomicU64::new(0),
            main_is_open: AtomicBool::new(false),
            session,
        }
    }

    /// Whether the session still serves: the first question of every file operation.
    pub(crate) fn alive(&self) -> Result<(), Fault> {
        if self.session.is_dead() { Err(Fault::Dead(self.cause())) } else { Ok(()) }
    }

    /// Ends the session because SQLite or we did what must not happen. Never recovers.
    pub(crate) fn kill(&self, what: &'static str) -> Fault {
        tracing::error!(fence = ?self.session.fence(), what, "file layer broke a rule");
        self.session.close(Reason::Storage);
        Fault::Dead(self.cause())
    }

    /// Claims the one main file; `false` if it is open already.
    pub(crate) fn claim_main(&self) -> bool {
        !self.main_is_open.swap(true, Ordering::AcqRel)
    }

    /// Gives the main file back.
    pub(crate) fn release_main(&self) {
        self.main_is_open.store(false, Ordering::Release);
    }

    fn cause(&self) -> Cause {
        self.session.cause().unwrap_or(Cause::Closed(Reason::Storage))
    }
}
