//! What a session has accepted and the store does not have yet.
//!
//! ```text
//! publish -> collected --(nothing in flight)--> in flight --(durable)--> cache and store
//!            merges: one txid, last version of each page
//! ```
//! Invariants:
//! - L1: at most one step is in flight.
//! - L2: `collected`, laid over `in_flight`, laid over the store as of `durable_txid`, has every
//!   page from 1 to `page_count`: growth brings its missing pages as zeros (no holes).
//! - L3: marks count accepted transactions. `durable <= sent <= collected_to <= accepted`; what
//!   lies above `collected_to` was dropped, because the session was dead, and never becomes durable.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::broken::{self, Variant};
use crate::cause::{Cause, Verdict};
use crate::chain;
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::{PageCount, Pgno, Txid};
use crate::limits::bytes_of_pages;
use crate::page::{PAGE_SIZE, PageBytes};
use crate::session::Mark;
use crate::store::CommitStep;

/// Contents of a page that SQLite left out of a growing transaction.
static ZERO_PAGE: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Changed pages of one or several transactions.
pub(crate) type PageMap = HashMap<Pgno, PageBytes>;

/// The pipeline's state. Behind the session's one lock, never held over a wait.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Pages of the database after everything accepted.
    pub(crate) page_count: PageCount,
    /// Accepted, not sent.
    pub(crate) collected: PageMap,
    /// Sent, no verdict yet.
    pub(crate) in_flight: Option<Arc<PageMap>>,
    /// The last durable commit.
    pub(crate) durable_txid: Txid,
    /// Hash over the history up to it: what the store's chain must go on from.
    chain: [u8; 32],
    accepted: u64,
    collected_to: u64,
    sent: u64,
    durable: u64,
    /// The step that ended without becoming durable. There is none after it.
    lost: Option<Lost>,
    /// Whether a task is at work on this pipeline.
    pub(crate) pumping: bool,
    /// Whether the seal has begun: nothing is accepted any more.
    pub(crate) sealing: bool,
}

/// The step that ended the pipeline.
#[derive(Debug)]
struct Lost {
    verdict: Verdict,
    error: StoreError,
}

/// What the pipeline says about a mark.
#[derive(Debug)]
pub(crate) enum MarkState {
    /// Everything up to it is durable.
    Durable(Txid),
    /// No verdict yet.
    Waiting,
    /// Something up to it is lost.
    Lost(Cause),
}

impl Pipeline {
    /// The pipeline of a session that starts at `head`.
    pub(crate) fn new(head: &Head) -> Self {
        Self {
            page_count: head.page_count,
            collected: PageMap::new(),
            in_flight: None,
            durable_txid: head.txid,
            chain: head.chain,
            accepted: 0,
            collected_to: 0,
            sent: 0,
            durable: 0,
            lost: None,
            pumping: false,
            sealing: false,
        }
    }

    /// Everything accepted so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.accepted)
    }

    /// Bytes that wait for the step in flight.
    pub(crate) fn collected_bytes(&self) -> u64 {
        bytes_of_pages(u64::try_from(self.collected.len()).unwrap_or(u64::MAX))
    }

    /// A page that the store does not have yet.
    pub(crate) fn page(&self, pgno: Pgno) -> Option<PageBytes> {
        self.collected
            .get(&pgno)
            .or_else(|| self.in_flight.as_ref().and_then(|pages| pages.get(&pgno)))
            .cloned()
    }

    /// Counts a transaction that came too late. It has a mark, so that whoever waits for it learns
    /// that it is lost.
    pub(crate) fn refuse(&mut self) {
        self.accepted += 1;
    }

    /// Whether a transaction came too late.
    pub(crate) fn has_dropped(&self) -> bool {
        self.accepted > self.collected_to
    }

    /// Lays a transaction over what is collected.
    pub(crate) fn accept(&mut self, pages: Vec<(Pgno, PageBytes)>, page_count: PageCount) {
        self.accepted += 1;
        self.collected_to = self.accepted;
        if page_count < self.page_count {
            self.collected.retain(|pgno, _| pgno.0 <= page_count.0);
        }
        let grown_from = self.page_count.0;
        self.page_count = page_count;
        for (pgno, bytes) in pages {
            if pgno.0 >= 1 && pgno.0 <= page_count.0 {
                self.collected.insert(pgno, bytes);
            }
        }
        // What lies above the old count is this transaction's or was dropped when the database
        // shrank: a page that is missing here was left out by SQLite.
        if broken::is_off(Variant::NoHoles) {
            return;
        }
        for pgno in grown_from.saturating_add(1)..=page_count.0 {
            self.collected.entry(Pgno(pgno)).or_insert_with(|| Bytes::from_static(&ZERO_PAGE));
        }
    }

    /// Takes what is collected as the next step to send. `None`: nothing to send.
    ///
    /// The hashes are left for [`finish_step`], which costs time and needs no lock.
    pub(crate) fn take_step(&mut self, fence: Fence) -> Option<(CommitStep, [u8; 32])> {
        debug_assert!(self.in_flight.is_none(), "one step in flight");
        if self.sent == self.collected_to {
            return None;
        }
        self.sent = self.collected_to;
        let pages = Arc::new(std::mem::take(&mut self.collected));
        self.in_flight = Some(Arc::clone(&pages));
        let step = CommitStep {
            fence,
            base: self.durable_txid,
            page_count: self.page_count,
            pages: pages.iter().map(|(pgno, bytes)| (*pgno, bytes.clone())).collect(),
            chain: [0; 32],
            content: [0; 32],
        };
        Some((step, self.chain))
    }

    /// The step in flight is durable.
    pub(crate) fn step_durable(&mut self, step: &CommitStep) {
        self.in_flight = None;
        self.durable = self.sent;
        self.durable_txid = step.base.next();
        self.chain = step.chain;
    }

    /// The step in flight is lost, and with it everything after.
    pub(crate) fn step_lost(&mut self, verdict: Verdict, error: StoreError) {
        self.lost = Some(Lost { verdict, error });
        self.give_up();
    }

    /// Drops what was not sent: the session is fatally dead. The pages in flight go too; nothing
    /// reads a dead session.
    pub(crate) fn give_up(&mut self) {
        self.collected = PageMap::new();
        self.in_flight = None;
    }

    /// What became of the step that ended the pipeline, if one did.
    pub(crate) fn lost_cause(&self) -> Option<Cause> {
        self.lost.as_ref().map(|lost| Cause::of_lost(lost.verdict, lost.error.clone()))
    }

    /// What is known about everything up to `mark`; `cause` is the session's first cause.
    pub(crate) fn mark_state(&self, mark: Mark, cause: Option<Cause>, fatal: bool) -> MarkState {
        if mark.0 <= self.durable {
            return MarkState::Durable(self.durable_txid);
        }
        if let Some(lost) = &self.lost {
            // What came after the lost step was never sent.
            let verdict = if mark.0 <= self.sent { lost.verdict } else { Verdict::NotCommitted };
            return MarkState::Lost(Cause::of_lost(verdict, lost.error.clone()));
        }
        let settled = mark.0 > self.collected_to || !self.pumping || (fatal && mark.0 > self.sent);
        match cause {
            Some(cause) if settled => MarkState::Lost(match cause {
                Cause::CommitLost { error, .. } => Cause::of_lost(Verdict::NotCommitted, error),
                cause => cause,
            }),
            _ => MarkState::Waiting,
        }
    }
}

/// Sorts the pages of a step and computes its hashes, with `chain` as the chain before it.
pub(crate) fn finish_step(mut step: CommitStep, chain: [u8; 32]) -> CommitStep {
    step.pages.sort_unstable_by_key(|(pgno, _)| *pgno);
    step.content = chain::content(
        step.fence.db,
        step.fence.generation,
        step.base.next(),
        step.page_count,
        &step.pages,
    );
    step.chain = chain::next(&chain, &step.content);
    step
}
