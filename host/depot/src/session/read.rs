//! One page: dead flag, collected, in flight, cache, store, in this order.
//!
//! A scan asks the store for the following pages in the same question. They obey its fence and
//! txid; what a commit has overtaken is not kept, and damage among them is left to the read that
//! needs the page.
//!
//! Rule of `docs/protocol.md`: D1.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Shared;
use super::pipeline::Unsent;
use super::stage::lost;
use crate::cause::{Cause, ReadError};
use crate::error::StoreError;
use crate::id::{Pgno, Txid};
use crate::limits::REMOTE_AHEAD;
use crate::page::{PAGE_SIZE, PageBytes};
use crate::retry::{Retry, is_transient};
use crate::store::{PageVersion, PagesRead, READ_PAGES_MAX};

/// How often a wait asks whether it may continue. 10 ms, the grain of every deadline of a guest.
const PATIENCE_ASKED_EVERY: Duration = Duration::from_millis(10);

/// A page that is wanted, and pages that came with it.
type PageAndAhead = (PageBytes, Vec<(Pgno, PageBytes)>);
type Answer = Result<PagesRead, StoreError>;

impl Shared {
    /// See [`crate::Session::read`].
    pub(super) fn read(&self, pgno: Pgno) -> Result<PageBytes, ReadError> {
        self.death.check().map_err(ReadError::Dead)?;
        let at = {
            let pipeline = self.pipeline.lock();
            if pgno.0 == 0 || pgno.0 > pipeline.page_count.0 {
                return Err(ReadError::PastEnd);
            }
            match pipeline.page(pgno) {
                Some(Unsent::Page(bytes)) => return Ok(bytes),
                Some(Unsent::Large(pages)) => {
                    drop(pipeline);
                    return pages.read(pgno).map_err(|error| ReadError::Unavailable(lost(&error)));
                }
                None => pipeline.durable_txid,
            }
        };
        // A commit that becomes durable from here on does not touch this page: it was neither
        // collected nor in flight, and only the calling thread publishes.
        if let Some(hit) = self.cache.get(pgno) {
            if hit.ahead && self.ahead.lock().hit() > self.cache.scan_pages_max() {
                self.cache.pass(pgno);
            }
            return Ok(hit.bytes);
        }
        let ahead = self.ahead_of(pgno, at);
        let (bytes, ahead) = self.ask(pgno, at, ahead)?;
        // A long scan leaves the cache to others.
        if self.ahead.lock().passed() <= self.cache.scan_pages_max() {
            self.cache.add_read(at, pgno, bytes.clone());
        }
        if !ahead.is_empty() {
            self.cache.add_ahead(at, ahead);
        }
        Ok(bytes)
    }

    /// The pages after `pgno` that the store is asked for as well: none, unless this is a scan.
    /// Only pages that are neither collected nor in flight as of `at`: the store has those.
    fn ahead_of(&self, pgno: Pgno, at: Txid) -> Vec<Pgno> {
        let mut max = usize::try_from(self.limits().read_ahead_pages_max).unwrap_or(usize::MAX);
        if self.parts.store.reads_are_remote() {
            max = max.saturating_mul(REMOTE_AHEAD);
        }
        let max = max.min(READ_PAGES_MAX).min(self.cache.scan_pages_max());
        let window = self.ahead.lock().miss(pgno, u32::try_from(max).unwrap_or(u32::MAX));
        if window < 2 {
            return Vec::new();
        }
        let mut pages: Vec<Pgno> = {
            let pipeline = self.pipeline.lock();
            // A commit became durable: pages that it wrote are newer than `at`.
            let last = if pipeline.durable_txid == at { pipeline.page_count.0 } else { 0 };
            let stored = |pgno: &Pgno| pipeline.page(*pgno).is_none();
            (pgno.0 + 1..=last.min(pgno.0.saturating_add(window - 1)))
                .map(Pgno)
                .filter(stored)
                .collect()
        };
        self.cache.retain_missing(&mut pages);
        self.ahead.lock().asks(pages.len());
        pages
    }

    /// The page, and those of `ahead` that came with it.
    fn ask(&self, pgno: Pgno, at: Txid, ahead: Vec<Pgno>) -> Result<PageAndAhead, ReadError> {
        if !ahead.is_empty() {
            let mut pages = ahead;
            pages.insert(0, pgno);
            match self.fetch(&pages, at)? {
                // One of them is damaged, and perhaps not the one that is wanted.
                Err(StoreError::Corrupt(_)) => self.ahead.lock().end(pgno),
                answer => return self.judge(answer, &pages, at),
            }
        }
        self.judge(self.fetch(&[pgno], at)?, &[pgno], at)
    }

    /// Asks the store. An answer that is there immediately costs no parking.
    fn fetch(&self, pages: &[Pgno], at: Txid) -> Result<Answer, ReadError> {
        let mut first = self.parts.store.read(self.fence, at, pages);
        let answer = {
            // A store on the network needs its runtime, whatever thread SQLite runs on.
            let _runtime = self.parts.runtime.enter();
            first.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match answer {
            Poll::Ready(Err(error)) if is_transient(&error) => {
                self.fetch_parked(Box::pin(std::future::ready(Err(error))), pages, at)
            }
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => self.fetch_parked(first, pages, at),
        }
    }

    /// Waits for `first`, asks again while the failure may pass, and ends on death, interrupt or
    /// deadline.
    fn fetch_parked(
        &self,
        first: BoxFuture<'_, Answer>,
        pages: &[Pgno],
        at: Txid,
    ) -> Result<Answer, ReadError> {
        let _place = self.parts.parking.enter().ok_or(ReadError::Overloaded)?;
        let asking = async {
            let mut retry = Retry::new(self.limits().read_deadline, &self.parts.random);
            let (store, mut first) = (&self.parts.store, Some(first));
            let again = || store.read(self.fence, at, pages);
            retry.until_answered(|| first.take().unwrap_or_else(again)).await
        };
        let mut outcome = Err(ReadError::Interrupted);
        let interrupts = self.interrupts();
        self.parts.parker.park(Box::pin(async {
            outcome = tokio::select! {
                biased;
                end = self.wait_ended(interrupts) => Err(end.map_or(
                    ReadError::Interrupted,
                    ReadError::Dead,
                )),
                answer = asking => Ok(answer),
            };
        }));
        outcome
    }

    /// Resolves when the session is dead (with the cause), interrupted, or out of patience.
    pub(super) async fn wait_ended(&self, interrupts: u64) -> Option<Cause> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(cause) = self.death.cause() {
                return Some(cause);
            }
            let Some(may_wait) = self.patience.get() else {
                if self.interrupts() != interrupts {
                    return None;
                }
                news.await;
                continue;
            };
            if self.interrupts() != interrupts || !may_wait() {
                return None;
            }
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep(PATIENCE_ASKED_EVERY) => {}
            }
        }
    }

    /// The first of `pages` with the others, or what the answer means for the session. An answer
    /// that comes after the death is not served.
    fn judge(&self, answer: Answer, pages: &[Pgno], at: Txid) -> Result<PageAndAhead, ReadError> {
        let pgno = pages[0];
        let cause = match answer {
            Ok(read) => match first_page(read, pages, at) {
                Ok(found) => return self.death.check().map(|()| found).map_err(ReadError::Dead),
                Err(what) => Cause::Corrupt(what),
            },
            Err(error) => match Cause::of_answer(&error) {
                Some(cause) => cause,
                None => return Err(ReadError::Unavailable(error)),
            },
        };
        self.die(cause, &format!("read of page {pgno}"));
        Err(ReadError::Dead(self.death.cause().expect("BUG: died without a cause")))
    }
}

/// What the store answered, checked against what was asked. Of the pages after the first, only
/// sound ones are kept.
fn first_page(read: PagesRead, pages: &[Pgno], at: Txid) -> Result<PageAndAhead, String> {
    let pgno = pages[0];
    if read.pages.len() != pages.len() {
        let (asked, got) = (pages.len(), read.pages.len());
        return Err(format!("asked for {asked} pages from page {pgno} on, got {got} pages"));
    }
    let mut found = read.pages.into_iter();
    let sound = |page: &PageVersion, pgno: Pgno| {
        page.pgno == pgno && page.txid <= at && page.bytes.len() == PAGE_SIZE
    };
    match found.next() {
        Some(page) if sound(&page, pgno) => {
            let ahead = found
                .zip(&pages[1..])
                .filter(|(page, pgno)| sound(page, **pgno))
                .map(|(page, pgno)| (*pgno, page.bytes));
            Ok((page.bytes, ahead.collect()))
        }
        Some(page) => Err(format!(
            "asked for page {pgno} as of {at}, got {} bytes of page {} as of {}",
            page.bytes.len(),
            page.pgno,
            page.txid
        )),
        None => Err(format!("asked for page {pgno}, got none")),
    }
}
