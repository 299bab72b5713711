//! One page: dead flag, collected, in flight, cache, store, in this order.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Shared;
use super::pipeline::Unsent;
use super::stage::lost;
use crate::cause::{Cause, ReadError};
use crate::error::StoreError;
use crate::id::{Pgno, Txid};
use crate::page::{PAGE_SIZE, PageBytes};
use crate::retry::{Retry, is_transient};
use crate::store::PagesRead;

/// How often a wait asks whether it may go on. 10 ms, the grain of every deadline of a guest.
const PATIENCE_ASKED_EVERY: Duration = Duration::from_millis(10);

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
        if let Some(bytes) = self.cache.get(pgno) {
            return Ok(bytes);
        }
        let answer = self.fetch(pgno, at)?;
        let bytes = self.judge(answer, pgno, at)?;
        self.cache.add_read(at, pgno, bytes.clone());
        Ok(bytes)
    }

    /// Asks the store. An answer that is there at once costs no parking.
    fn fetch(&self, pgno: Pgno, at: Txid) -> Result<Answer, ReadError> {
        let pages = [pgno];
        let mut first = self.depot.store().read(self.fence, at, &pages);
        let answer = {
            // A store on the network needs its runtime, whatever thread SQLite runs on.
            let _runtime = self.depot.runtime().enter();
            first.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match answer {
            Poll::Ready(Err(error)) if is_transient(&error) => {
                self.fetch_parked(Box::pin(std::future::ready(Err(error))), &pages, at)
            }
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => self.fetch_parked(first, &pages, at),
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
        let _place = self.depot.parking().enter().ok_or(ReadError::Overloaded)?;
        let asking = async {
            let mut retry = Retry::new(self.limits().read_deadline, self.depot.random());
            let mut answer = retry.ask(first).await;
            while answer.as_ref().is_err_and(is_transient) && retry.pause().await {
                answer = retry.ask(self.depot.store().read(self.fence, at, pages)).await;
            }
            answer
        };
        let mut outcome = Err(ReadError::Interrupted);
        let interrupts = self.interrupts();
        self.depot.parker().park(Box::pin(async {
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

    /// The page, or what the answer means for the session. An answer that comes after the death
    /// is not served.
    fn judge(&self, answer: Answer, pgno: Pgno, at: Txid) -> Result<PageBytes, ReadError> {
        let cause = match answer {
            Ok(read) => match only_page(read, pgno, at) {
                Ok(bytes) => return self.death.check().map(|()| bytes).map_err(ReadError::Dead),
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

/// What the store answered, checked against what was asked.
fn only_page(read: PagesRead, pgno: Pgno, at: Txid) -> Result<PageBytes, String> {
    match <[_; 1]>::try_from(read.pages) {
        Ok([page]) if page.pgno == pgno && page.txid <= at && page.bytes.len() == PAGE_SIZE => {
            Ok(page.bytes)
        }
        Ok([page]) => Err(format!(
            "asked for page {pgno} as of {at}, got {} bytes of page {} as of {}",
            page.bytes.len(),
            page.pgno,
            page.txid
        )),
        Err(pages) => Err(format!("asked for page {pgno}, got {} pages", pages.len())),
    }
}
