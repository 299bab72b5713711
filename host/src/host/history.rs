//! What is read of an actor's database beside its generations: export and verify. Page versions are
//! immutable, so neither disturbs a live actor.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::store::READ_PAGES_MAX;
use stockade_depot::{DbId, Head, PageCount, Pgno, Store, Txid};

pub use stockade_depot::history::Report as VerifyReport;

use crate::error::HostError;

/// A database as of one commit, to be read as a plain SQLite file.
pub struct Export {
    store: Arc<dyn Store>,
    /// Which history line.
    pub db: DbId,
    /// As of which commit.
    pub txid: Txid,
    /// Pages of the file.
    pub page_count: PageCount,
    next: u32,
}

impl Export {
    pub(super) fn new(store: Arc<dyn Store>, head: &Head) -> Self {
        let Head { fence, txid, page_count, .. } = head;
        Self { store, db: fence.db, txid: *txid, page_count: *page_count, next: 1 }
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.page_count.0) * PAGE_SIZE as u64
    }

    /// The next bytes of the file, at most 1 MiB; `None` when all were read.
    ///
    /// # Errors
    /// Those of the store: the file is incomplete and must not be used.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        if self.next > self.page_count.0 {
            return Ok(None);
        }
        let left = self.page_count.0 - self.next + 1;
        let wanted = usize::try_from(left).unwrap_or(READ_PAGES_MAX).min(READ_PAGES_MAX);
        let pages = self.store.read_at(self.db, self.txid, Pgno(self.next), wanted).await?;
        let mut bytes = BytesMut::with_capacity(pages.len() * PAGE_SIZE);
        for page in pages {
            if page.pgno.0 != self.next {
                let what = format!("page {} of {} has no row", self.next, self.db);
                return Err(stockade_depot::StoreError::Corrupt(what).into());
            }
            bytes.extend_from_slice(&page.bytes);
            self.next += 1;
        }
        if bytes.is_empty() {
            let what = format!("page {} of {} has no row", self.next, self.db);
            return Err(stockade_depot::StoreError::Corrupt(what).into());
        }
        Ok(Some(bytes.freeze()))
    }
}

pub(super) async fn verify(store: &dyn Store, db: DbId) -> Result<VerifyReport, HostError> {
    Ok(stockade_depot::history::verify(store, db, &mut |_| {}).await?)
}
