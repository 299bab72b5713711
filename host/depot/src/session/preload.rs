//! Pages that a cold wake asks for first, read ahead in one answer of the store.
//!
//! A statement of its own after the takeover: none both moves a head and reads pages. It keeps to
//! the rules of a read. A mismatch kills the session; an answer that a commit or the death has
//! overtaken is not kept; everything else, damage included, is left to the read that needs the
//! page, which asks again and tells.

use std::time::Duration;

use super::Shared;
use crate::cause::Cause;
use crate::error::StoreError;
use crate::id::{Pgno, Txid};
use crate::page::PAGE_SIZE;
use crate::retry::Retry;
use crate::store::{PagesRead, READ_PAGES_MAX};

impl Shared {
    /// See [`crate::Session::preload`].
    pub(super) async fn preload(&self, deadline: Duration) {
        if !self.parts.store.reads_are_remote() {
            return;
        }
        let limits = self.limits();
        let (page_count, at) = {
            let pipeline = self.pipeline.lock();
            (pipeline.page_count.0, pipeline.durable_txid)
        };
        let most = limits.preload_pages_max.min(u32::try_from(READ_PAGES_MAX).unwrap_or(u32::MAX));
        // What this process has cached of the generation before is still right: see `cache.rs`.
        let mut wanted: Vec<Pgno> = (1..=page_count.min(most)).map(Pgno).collect();
        self.cache.retain_missing(&mut wanted);
        if wanted.is_empty() {
            return;
        }
        let mut once = Retry::new(deadline, &self.parts.random);
        match once.ask(self.parts.store.read(self.fence, at, &wanted)).await {
            Ok(read) => self.keep(read, at, &wanted),
            Err(StoreError::Fenced(mismatch)) => self.die(Cause::Fenced(mismatch), "preload"),
            Err(StoreError::DatabaseMissing(db)) => self.die(Cause::Gone(db), "preload"),
            Err(
                error @ (StoreError::Unavailable(_)
                | StoreError::Unknown(_)
                | StoreError::Refused { .. }
                | StoreError::HistoryGone { .. }
                | StoreError::NoCommit { .. }
                | StoreError::HasForks(_)
                | StoreError::Elsewhere { .. }
                | StoreError::Full(_)
                | StoreError::Failed(_)
                | StoreError::Corrupt(_)
                | StoreError::Closed),
            ) => tracing::debug!(actor = %self.actor, %error, "nothing was read ahead"),
        }
    }

    /// Keeps the pages that were asked for, as of the question.
    fn keep(&self, read: PagesRead, at: Txid, wanted: &[Pgno]) {
        for page in read.pages {
            let sound = page.txid <= at && page.bytes.len() == PAGE_SIZE;
            if sound && wanted.binary_search(&page.pgno).is_ok() {
                self.cache.add_read(at, page.pgno, page.bytes);
            }
        }
    }
}
