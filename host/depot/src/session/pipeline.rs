//! What a session has accepted and the store does not have yet.
//!
//! ```text
//! publish -> collected --(nothing in flight)--> in flight --(durable)--> cache and store
//!            merges: one txid, last version of each page; one that is too large
//!            for one step is a commit of its own, and stays where its source has it
//! ```
//! Invariants:
//! - L1: at most one step is in flight.
//! - L2: `collected`, laid over `in_flight`, laid over the store as of `durable_txid`, has every
//!   page from 1 to `page_count`: growth brings its missing pages as zeros (no holes).
//! - L3: marks count accepted transactions. `durable <= sent <= collected_to <= accepted`; what
//!   lies above `collected_to` was dropped, because the session was dead, and never becomes
//!   durable.
//! - L4: a commit says of the actor's due time what the last of its transactions says that has
//!   touched due work.
//!
//! Rule of `docs/protocol.md`: D8.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::broken::{self, Variant};
use crate::cause::{Cause, Verdict};
use crate::chain;
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::{NodeSession, PageCount, Pgno, Txid};
use crate::limits::bytes_of_pages;
use crate::page::{PAGE_SIZE, PageBytes};
use crate::session::Mark;
use crate::source::{InMemory, LargePages};
use crate::store::{CommitStep, Due};

/// Contents of a page that SQLite left out of a growing transaction.
static ZERO_PAGE: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Changed pages of one or several transactions.
pub(crate) type PageMap = HashMap<Pgno, PageBytes>;

/// What a transaction has written.
#[derive(Debug)]
pub(crate) enum Written {
    /// In memory.
    Pages(Vec<(Pgno, PageBytes)>),
    /// Somewhere else.
    Source(Arc<dyn LargePages>),
}

/// A transaction that does not fit into one step.
#[derive(Debug)]
pub(crate) struct Large {
    source: Arc<dyn LargePages>,
    /// Every page of its commit, ascending: those written, and zeros for those left out.
    pgnos: Vec<Pgno>,
}

impl Large {
    /// Every page of its commit, ascending.
    pub(crate) fn pgnos(&self) -> &[Pgno] {
        &self.pgnos
    }

    fn has(&self, pgno: Pgno) -> bool {
        self.pgnos.binary_search(&pgno).is_ok()
    }

    /// One of its pages.
    pub(crate) fn read(&self, pgno: Pgno) -> io::Result<PageBytes> {
        Ok(self.source.read(pgno)?.unwrap_or_else(|| Bytes::from_static(&ZERO_PAGE)))
    }
}

/// Changed pages, as the pipeline has them.
#[derive(Debug)]
enum Layer {
    Small(Arc<PageMap>),
    Large(Arc<Large>),
}

impl Layer {
    fn find(&self, pgno: Pgno) -> Option<Unsent> {
        match self {
            Self::Small(pages) => pages.get(&pgno).cloned().map(Unsent::Page),
            Self::Large(large) => large.has(pgno).then(|| Unsent::Large(Arc::clone(large))),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Small(pages) => pages.len(),
            Self::Large(large) => large.pgnos.len(),
        }
    }
}

/// Where a page is that the store does not have yet.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// Here.
    Page(PageBytes),
    /// To be read back, without the pipeline's lock.
    Large(Arc<Large>),
}

/// Accepted transactions that become one commit.
#[derive(Debug)]
struct Collected {
    pages: Layer,
    /// Pages of the database after them.
    page_count: PageCount,
    /// The mark after the last of them.
    to: u64,
    /// What they say of the actor's due time.
    due: Due,
}

/// What is to be sent next. Its hashes are left for the sending thread: they cost time and need no
/// lock. `chain` is the chain before it.
#[derive(Debug)]
pub(crate) enum Taken {
    /// One step.
    Small(CommitStep, [u8; 32]),
    /// Several.
    Large(LargeCommit),
}

/// A commit that is staged.
#[derive(Debug)]
pub(crate) struct LargeCommit {
    pub(crate) fence: Fence,
    pub(crate) base: Txid,
    pub(crate) page_count: PageCount,
    pub(crate) pages: Arc<Large>,
    pub(crate) chain: [u8; 32],
    pub(crate) due: Due,
}

/// The pipeline's state. Behind the session's one lock, never held over a wait.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Pages of the database after everything accepted.
    pub(crate) page_count: PageCount,
    /// Accepted, not sent; the oldest first. `prepare` keeps it to one entry.
    collected: VecDeque<Collected>,
    /// Sent, no verdict yet.
    in_flight: Option<Layer>,
    /// The last durable commit.
    pub(crate) durable_txid: Txid,
    /// Hash over the history up to it: the value from which the store's chain must continue.
    chain: [u8; 32],
    accepted: u64,
    collected_to: u64,
    sent: u64,
    durable: u64,
    /// The step that ended without becoming durable. There is none after it.
    lost: Option<Lost>,
    /// What the next transaction says of the actor's due time.
    next_due: Due,
    /// Whether a task is at work on this pipeline.
    pub(crate) pumping: bool,
    /// Whether what is collected waits for more.
    pub(crate) gathers: bool,
    /// Whether the seal has begun: nothing is accepted any more.
    pub(crate) sealing: bool,
    /// Whether earlier generations may have left staged rows behind.
    pub(crate) leftovers: bool,
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
            collected: VecDeque::new(),
            in_flight: None,
            durable_txid: head.txid,
            chain: head.chain,
            accepted: 0,
            collected_to: 0,
            sent: 0,
            durable: 0,
            lost: None,
            next_due: Due::Untouched,
            pumping: false,
            gathers: false,
            sealing: false,
            leftovers: false,
        }
    }

    /// Everything accepted so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.accepted)
    }

    /// Bytes that wait for the step in flight.
    pub(crate) fn collected_bytes(&self) -> u64 {
        let pages: usize = self.collected.iter().map(|entry| entry.pages.len()).sum();
        bytes_of_pages(u64::try_from(pages).unwrap_or(u64::MAX))
    }

    /// Nothing waits for more from now on. Returns whether a pump has to be started.
    pub(crate) fn end_gathering(&mut self) -> bool {
        self.gathers = false;
        !self.collected.is_empty() && !std::mem::replace(&mut self.pumping, true)
    }

    /// Whether a transaction is on its way that does not fit into one step.
    pub(crate) fn has_large(&self) -> bool {
        let layers = self.collected.iter().map(|entry| &entry.pages);
        layers.chain(&self.in_flight).any(|layer| matches!(layer, Layer::Large(_)))
    }

    /// A page that the store does not have yet.
    pub(crate) fn page(&self, pgno: Pgno) -> Option<Unsent> {
        let newest_first = self.collected.iter().rev().map(|entry| &entry.pages);
        newest_first.chain(&self.in_flight).find_map(|layer| layer.find(pgno))
    }

    /// What the next transaction says of the actor's due time. `Untouched` if it is not accepted.
    pub(crate) fn set_due(&mut self, due: Due) {
        self.next_due = due;
    }

    /// The durable commit that has everything up to `mark`, if nothing was accepted after it.
    pub(crate) fn at_rest(&self, mark: Mark) -> Option<Txid> {
        let is_newest = self.accepted == mark.0 && self.durable == mark.0;
        (is_newest && !self.sealing).then_some(self.durable_txid)
    }

    /// Counts a transaction that came too late. It has a mark, so that a caller that waits for it
    /// learns that it is lost.
    pub(crate) fn refuse(&mut self) {
        self.accepted += 1;
        self.next_due = Due::Untouched;
    }

    /// Whether a transaction came too late.
    pub(crate) fn has_dropped(&self) -> bool {
        self.accepted > self.collected_to
    }

    /// Lays a transaction over what is collected, or behind it if both do not fit into one step of
    /// `step_pages_max` pages.
    pub(crate) fn accept(
        &mut self,
        written: Written,
        page_count: PageCount,
        step_pages_max: usize,
    ) {
        self.accepted += 1;
        self.collected_to = self.accepted;
        let due = std::mem::take(&mut self.next_due);
        let to = self.accepted;
        let grown_from = self.page_count.0;
        let shrinks = page_count < self.page_count;
        self.page_count = page_count;
        let within = |pgno: Pgno| pgno.0 >= 1 && pgno.0 <= page_count.0;
        // What lies above the old count is this transaction's or was cut off when the database
        // shrank: a page that is missing there was left out by SQLite.
        let grown = grown_from.saturating_add(1)..=page_count.0;
        let pages = match written {
            Written::Pages(mut pages) => {
                pages.retain(|(pgno, _)| within(*pgno));
                let above = pages.iter().filter(|(pgno, _)| pgno.0 > grown_from).count();
                if pages.len() + grown.clone().count() - above <= step_pages_max {
                    pages
                } else {
                    let source = Arc::new(InMemory::new(pages));
                    return self.push_large(source, grown, page_count, due);
                }
            }
            Written::Source(source) => return self.push_large(source, grown, page_count, due),
        };
        let joins = self.collected.back().is_some_and(|last| {
            matches!(last.pages, Layer::Small(_))
                && last.pages.len() + pages.len() + grown.clone().count() <= step_pages_max
        });
        if !joins {
            let pages = Layer::Small(Arc::default());
            self.collected.push_back(Collected { pages, page_count, to, due: Due::Untouched });
        }
        let Some(Collected { pages: Layer::Small(map), page_count: count, to: last, due: said }) =
            self.collected.back_mut()
        else {
            return;
        };
        (*count, *last, *said) = (page_count, to, said.then(due));
        let map = Arc::make_mut(map);
        if shrinks {
            map.retain(|pgno, _| pgno.0 <= page_count.0);
        }
        map.extend(pages);
        if broken::is_off(Variant::NoHoles) {
            return;
        }
        for pgno in grown {
            map.entry(Pgno(pgno)).or_insert_with(|| Bytes::from_static(&ZERO_PAGE));
        }
    }

    fn push_large(
        &mut self,
        source: Arc<dyn LargePages>,
        grown: std::ops::RangeInclusive<u32>,
        page_count: PageCount,
        due: Due,
    ) {
        let mut pgnos = source.pgnos();
        pgnos.retain(|pgno| pgno.0 >= 1 && pgno.0 <= page_count.0);
        pgnos.extend(grown.map(Pgno));
        pgnos.sort_unstable();
        pgnos.dedup();
        let pages = Layer::Large(Arc::new(Large { source, pgnos }));
        self.collected.push_back(Collected { pages, page_count, to: self.accepted, due });
    }

    /// Takes the oldest of what is collected to be sent. `None`: nothing to send.
    pub(crate) fn take_step(&mut self, fence: Fence, owner: NodeSession) -> Option<Taken> {
        debug_assert!(self.in_flight.is_none(), "one step in flight");
        let Collected { pages, page_count, to, due } = self.collected.pop_front()?;
        self.sent = to;
        let (base, chain) = (self.durable_txid, self.chain);
        Some(match pages {
            Layer::Small(pages) => {
                self.in_flight = Some(Layer::Small(Arc::clone(&pages)));
                let step = CommitStep {
                    fence,
                    owner,
                    base,
                    page_count,
                    pages: pages.iter().map(|(pgno, bytes)| (*pgno, bytes.clone())).collect(),
                    staged: None,
                    chain: [0; 32],
                    content: [0; 32],
                    due,
                };
                Taken::Small(step, chain)
            }
            Layer::Large(pages) => {
                self.in_flight = Some(Layer::Large(Arc::clone(&pages)));
                Taken::Large(LargeCommit { fence, base, page_count, pages, chain, due })
            }
        })
    }

    /// Whether the step after `base` was sent, and has no verdict yet.
    pub(crate) fn awaits_verdict(&self, base: Txid) -> bool {
        self.sent > self.durable && self.durable_txid == base && self.lost.is_none()
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
        self.collected.clear();
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
