//! The one place of this package that asks for randomness: the operating system's, or a
//! simulation's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StoreError;
use crate::id::{DbId, NodeSession, Shard, StageId, Token};

/// Where tokens, database ids and the lengths of pauses come from. Safety rests on it: two attempts
/// must never draw the same token.
#[derive(Clone)]
pub struct Random(Arc<Fill>);

/// Fills bytes, or says why not.
type Fill = dyn Fn(&mut [u8]) -> Result<(), StoreError> + Send + Sync;

impl Random {
    /// A source of your own: a simulation's.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |bytes| {
            fill(bytes);
            Ok(())
        }))
    }

    /// The operating system's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|bytes| {
            getrandom::fill(bytes)
                .map_err(|error| StoreError::Unavailable(format!("random bytes: {error}")))
        }))
    }

    /// A session for one run of a process.
    ///
    /// # Errors
    /// `Unavailable`: the source has none.
    pub fn node_session(&self) -> Result<NodeSession, StoreError> {
        Ok(NodeSession(self.bytes()?))
    }

    /// A fresh token for one attempt.
    pub(crate) fn token(&self) -> Result<Token, StoreError> {
        Ok(Token(self.bytes()?))
    }

    /// A fresh stage for one attempt.
    pub(crate) fn stage(&self) -> Result<StageId, StoreError> {
        Ok(StageId(self.bytes()?))
    }

    /// A fresh database id in `shard`.
    pub(crate) fn db_id(&self, shard: Shard) -> Result<DbId, StoreError> {
        Ok(DbId::new(shard, self.bytes()?))
    }

    /// A part of `whole`, at random between its half and all of it; all of it where there is no
    /// randomness to be had.
    #[must_use]
    pub fn part_of(&self, whole: Duration) -> Duration {
        let Ok(drawn) = self.bytes() else { return whole };
        let share = f64::from(u32::from_le_bytes(drawn)) / f64::from(u32::MAX);
        whole / 2 + (whole / 2).mul_f64(share)
    }

    /// A number below `end`, which is not 0, at random; 0 where there is no randomness to be had.
    #[must_use]
    pub fn below(&self, end: usize) -> usize {
        let Ok(drawn) = self.bytes() else { return 0 };
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(u64::from_le_bytes(drawn) % end).unwrap_or(0)
    }

    fn bytes<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        (self.0)(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
