//! A database that is filled from a file before any caller can open it.

use async_trait::async_trait;

use super::{TakenOver, TakeoverStep};
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::id::Txid;

/// Progress of emptying an import that starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// Rows remain: send the step again.
    More,
    /// The head is that of an empty database.
    Done,
}

/// The steps of an import. Each is conditional on the origin `Importing`.
#[async_trait]
pub trait Import: Send + Sync + 'static {
    /// [`super::Ownership::take_over`] of a head of origin `Importing`; any other head is `Moved`,
    /// untouched.
    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError>;
    /// Deletes some of what an interrupted import left, in one bounded fenced step; the last one
    /// makes the head that of an empty database. `Fenced` if the origin is another.
    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError>;
    /// The last step of an import: `Imported`, sealed, and its floor at its head. `Fenced` also if
    /// the head is not at `base` or its origin is another.
    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError>;
}
