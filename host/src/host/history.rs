//! What is read of an actor's database beside its generations: export and verify. Page versions are
//! immutable, so neither disturbs a live actor.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::store::READ_PAGES_MAX;
use stockade_depot::{ActorId, DbId, Head, PageCount, Pgno, Store, StoreError, Txid};

pub use stockade_depot::history::Report as VerifyReport;

use super::Host;
use super::readings::{Reading, Readings};
use crate::error::HostError;

impl Host {
    /// [`ActorHandle::export`](super::ActorHandle::export).
    pub(super) async fn export(
        &self,
        actor: &ActorId,
        txid_min: Txid,
    ) -> Result<Export, HostError> {
        let state = self.state(actor).await?;
        let store = Arc::clone(&self.inner.store);
        let export = Export::begin(store, actor, state.row.db, &self.inner.readings).await?;
        let txid = export.txid;
        if txid < txid_min {
            return Err(HostError::Behind { actor: actor.clone(), txid, txid_min });
        }
        Ok(export)
    }

    /// [`ActorHandle::verify`](super::ActorHandle::verify).
    pub(super) async fn verify(&self, actor: &ActorId) -> Result<VerifyReport, HostError> {
        let state = self.state(actor).await?;
        let report = verify(self.inner.store.as_ref(), state.row.db).await;
        report.map_err(|error| error.of(actor))
    }
}

/// A database as of one commit, to be read as a plain SQLite file.
pub struct Export {
    store: Arc<dyn Store>,
    /// Whose.
    actor: ActorId,
    /// Which history line.
    pub db: DbId,
    /// As of which commit.
    pub txid: Txid,
    /// Pages of the file.
    pub page_count: PageCount,
    next: u32,
    _reading: Reading,
}

impl Export {
    /// The state of the head, which is read after trimming was held off.
    pub(super) async fn begin(
        store: Arc<dyn Store>,
        actor: &ActorId,
        db: DbId,
        readings: &Readings,
    ) -> Result<Self, HostError> {
        let (reading, actor) = (readings.begin(db), actor.clone());
        let head = store.verdict(db, Txid(0)).await;
        let (head, _) = head.map_err(|error| HostError::from(error).of(&actor))?;
        let Head { txid, page_count, .. } = head.ok_or(StoreError::DatabaseMissing(db))?;
        Ok(Self { store, actor, db, txid, page_count, next: 1, _reading: reading })
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
        self.chunk().await.map_err(|error| HostError::from(error).of(&self.actor))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.next > self.page_count.0 {
            return Ok(None);
        }
        let left = self.page_count.0 - self.next + 1;
        let wanted = usize::try_from(left).unwrap_or(READ_PAGES_MAX).min(READ_PAGES_MAX);
        let pages = self.store.read_at(self.db, self.txid, Pgno(self.next), wanted).await?;
        let mut bytes = BytesMut::with_capacity(pages.len() * PAGE_SIZE);
        for page in pages {
            if page.pgno.0 != self.next {
                return Err(self.missing());
            }
            bytes.extend_from_slice(&page.bytes);
            self.next += 1;
        }
        if bytes.is_empty() {
            return Err(self.missing());
        }
        Ok(Some(bytes.freeze()))
    }

    fn missing(&self) -> StoreError {
        StoreError::Corrupt(format!("page {} of {} has no row", self.next, self.db))
    }
}

async fn verify(store: &dyn Store, db: DbId) -> Result<VerifyReport, HostError> {
    Ok(stockade_depot::history::verify(store, db, &mut |_| {}).await?)
}
