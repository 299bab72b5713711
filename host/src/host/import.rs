//! An actor out of a plain SQLite file: checked by stock SQLite, then committed page by page.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use stockade_depot::history::Progress;
use stockade_depot::import::{ImportError, PageSource};
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::{ActorId, DbId, Depot, Digest, Origin, PageBytes, PageCount, Store, Txid};

use crate::actor::cause::{error_of, error_of_open};
use crate::error::HostError;
use crate::limits::Limits;
use crate::sqlite::{Intake, Plain, PlainError};

/// What an import made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The new database.
    pub db: DbId,
    /// Its newest commit.
    pub txid: Txid,
    /// Its pages.
    pub page_count: PageCount,
}

impl Imported {
    /// Bytes of the database.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.page_count.0) * PAGE_SIZE as u64
    }
}

/// Whether the name is free, or that of an import that did not finish.
pub(super) async fn check_free(store: &dyn Store, actor: &ActorId) -> Result<(), HostError> {
    match store.actor(actor).await? {
        Some(state) if state.head.origin != Origin::Importing => {
            Err(HostError::ImportExists { actor: actor.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks the file against the limits of its kind, then makes the actor of it. Also for a command
/// that has no host.
///
/// # Errors
/// As [`super::ActorHandle::import`].
pub async fn import(
    depot: &Arc<Depot>,
    actor: &ActorId,
    component: Digest,
    intake: Intake,
    limits: Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Imported, HostError> {
    let plain = blocking(move || intake.check(&limits)).await?;
    let page_count = PageCount(plain.page_count());
    let mut pages = Pages(Some(plain));
    let imported = depot.import(actor, component, page_count, &mut pages, progress).await;
    match imported {
        Ok(imported) => {
            let head = imported.head;
            Ok(Imported { db: head.fence.db, txid: head.txid, page_count: head.page_count })
        }
        Err(error) => Err(failed(error, actor)),
    }
}

fn failed(error: ImportError, actor: &ActorId) -> HostError {
    match error {
        ImportError::Exists(_) => HostError::ImportExists { actor: actor.clone() },
        ImportError::Open(error) => error_of_open(error, actor),
        // Nobody is told of a part of an import: the whole of it can be done again.
        ImportError::Lost(cause) => error_of(&cause, None),
        ImportError::Io(error) => HostError::Import(PlainError::Unreadable {
            verb: "read",
            path: "the copy".into(),
            why: error.to_string(),
        }),
    }
}

/// Work on files, off the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlainError> + Send + 'static,
) -> Result<T, HostError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| HostError::Internal(format!("work on a file: {error}")))??)
}

/// Reads pages off the runtime's threads. Empty while it reads, and after it was cut off.
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
