//! Creates an actor from a plain SQLite file: checked by stock SQLite (`plain.rs`), then committed
//! page by page.

mod plain;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use stockade_depot::history::Progress;
use stockade_depot::import::{ImportError, PageSource};
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::{ActorId, DbId, Depot, Digest, PageBytes, PageCount, Txid};

use crate::limits::Limits;
use plain::Plain;

pub use plain::{Intake, PlainError, sweep};

/// The result of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The new database.
    pub db: DbId,
    /// The newest commit.
    pub txid: Txid,
    /// The size in pages.
    pub page_count: PageCount,
}

impl Imported {
    /// Bytes of the database.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.page_count.0) * PAGE_SIZE as u64
    }
}

/// Why an import failed. Nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// The file cannot be an actor's database.
    #[error(transparent)]
    File(#[from] PlainError),
    /// Work on the file did not end.
    #[error("work on a file: {0}")]
    Work(#[from] tokio::task::JoinError),
    /// The store has not accepted the import.
    #[error(transparent)]
    Store(#[from] ImportError),
}

/// Checks the file against the limits of its kind, then creates the actor from it.
///
/// # Errors
/// The file is unfit, or the store has not accepted it. Nothing of the import is left.
pub async fn import(
    depot: &Arc<Depot>,
    actor: &ActorId,
    component: Digest,
    intake: Intake,
    limits: Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Imported, ImportFailure> {
    let plain = blocking(move || intake.check(&limits)).await?;
    let page_count = PageCount(plain.page_count());
    let mut pages = Pages(Some(plain));
    let head = depot.import(actor, component, page_count, &mut pages, progress).await?.head;
    Ok(Imported { db: head.fence.db, txid: head.txid, page_count: head.page_count })
}

/// Runs work on files off the runtime's threads.
///
/// # Errors
/// Those of the work; an error of its own if the work did not end.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlainError> + Send + 'static,
) -> Result<T, ImportFailure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Reads pages off the runtime's threads. Empty during a read, and after a read was cut off.
struct Pages(Option<Plain>);

#[async_trait]
impl PageSource for Pages {
    async fn next(&mut self, count: usize) -> io::Result<Vec<PageBytes>> {
        let mut plain = self.0.take().ok_or(io::ErrorKind::UnexpectedEof)?;
        let read = tokio::task::spawn_blocking(move || plain.read(count).map(|read| (plain, read)));
        let (plain, pages) = read.await.map_err(io::Error::other)??;
        self.0 = Some(plain);
        Ok(pages)
    }
}
