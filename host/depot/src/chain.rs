//! The hashes of a commit: its own contents, and the chain over the whole history.
//!
//! ```text
//! page hash = BLAKE3(page bytes)
//! content   = BLAKE3("stockade commit 1" | db | generation | txid | page count | (pgno | page hash)*)
//! chain     = BLAKE3("stockade chain 1"  | previous chain | content)
//! ```
//! Integers are little-endian; pages ascend. The chain proves history without old page contents.

use crate::id::{DbId, Generation, PageCount, Pgno, Txid};
use crate::page::PageBytes;

/// Hash over one commit alone.
#[must_use]
pub fn content(
    db: DbId,
    generation: Generation,
    txid: Txid,
    page_count: PageCount,
    pages: &[(Pgno, PageBytes)],
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"stockade commit 1")
        .update(&db.0)
        .update(&generation.0.to_le_bytes())
        .update(&txid.0.to_le_bytes())
        .update(&page_count.0.to_le_bytes());
    for (pgno, bytes) in pages {
        hasher.update(&pgno.0.to_le_bytes()).update(blake3::hash(bytes).as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The chain after a commit.
#[must_use]
pub fn next(previous: &[u8; 32], content: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"stockade chain 1").update(previous).update(content);
    *hasher.finalize().as_bytes()
}
