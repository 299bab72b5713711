//! The one place of this package that asks the operating system for randomness.

use crate::error::StoreError;
use crate::id::{DbId, Shard, StageId, Token};

/// A fresh token for one attempt.
pub(crate) fn token() -> Result<Token, StoreError> {
    Ok(Token(bytes()?))
}

/// A fresh stage for one attempt.
pub(crate) fn stage() -> Result<StageId, StoreError> {
    Ok(StageId(bytes()?))
}

/// A fresh database id in `shard`.
pub(crate) fn db_id(shard: Shard) -> Result<DbId, StoreError> {
    Ok(DbId::new(shard, bytes()?))
}

fn bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Unavailable(format!("random bytes: {error}")))?;
    Ok(bytes)
}
