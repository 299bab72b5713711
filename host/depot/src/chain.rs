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
use crate::parallel;

/// Hash over one commit alone, page by page: for commits that are not in memory as a whole.
#[derive(Clone, Debug)]
pub struct Content(blake3::Hasher);

impl Content {
    /// Of a commit whose pages are still to come.
    #[must_use]
    pub fn new(db: DbId, generation: Generation, txid: Txid, page_count: PageCount) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"stockade commit 1")
            .update(&db.0)
            .update(&generation.0.to_le_bytes())
            .update(&txid.0.to_le_bytes())
            .update(&page_count.0.to_le_bytes());
        Self(hasher)
    }

    /// Adds pages. Over all calls they ascend, each once.
    pub fn add(&mut self, pages: &[(Pgno, PageBytes)]) {
        let hashes = parallel::map(pages, || (), |(), _, bytes| blake3::hash(bytes));
        for ((pgno, _), hash) in pages.iter().zip(hashes) {
            self.0.update(&pgno.0.to_le_bytes()).update(hash.as_bytes());
        }
    }

    /// The hash.
    #[must_use]
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Hash over one commit alone.
#[must_use]
pub fn content(
    db: DbId,
    generation: Generation,
    txid: Txid,
    page_count: PageCount,
    pages: &[(Pgno, PageBytes)],
) -> [u8; 32] {
    let mut content = Content::new(db, generation, txid, page_count);
    content.add(pages);
    content.finish()
}

/// The chain after a commit.
#[must_use]
pub fn next(previous: &[u8; 32], content: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"stockade chain 1").update(previous).update(content);
    *hasher.finalize().as_bytes()
}
