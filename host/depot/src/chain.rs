//! The hashes of a commit: its own contents, and the chain over the whole history.
//!
//! ```text
//! start     = BLAKE3("stockade start 1"  | name | db)      of a database that is bound to its name
//!             zeros                                        of one made before databases were
//! page hash = BLAKE3(page bytes)
//! content   = BLAKE3("stockade commit 1" | db | generation | txid | page count | (pgno | page hash)*)
//! chain     = BLAKE3("stockade chain 1"  | previous chain | content)
//! ```
//! Integers are little-endian; pages ascend. The chain proves history without old page contents,
//! and whose history it is: no other actor's commits follow from this start.
//!
//! Rule of `docs/protocol.md`: D9.

pub use crate::fence::Start;

use crate::fence::Head;
use crate::id::{DbId, Generation, NameHash, PageCount, Pgno, Txid};
use crate::page::PageBytes;
use crate::parallel;

impl Head {
    /// The chain before the first commit.
    #[must_use]
    pub fn first_chain(&self) -> [u8; 32] {
        self.start.chain(self.name, self.fence.db)
    }
}

impl Start {
    /// The chain of a database without commits.
    #[must_use]
    pub fn chain(self, name: NameHash, db: DbId) -> [u8; 32] {
        match self {
            Self::Zeros => [0; 32],
            Self::Name => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(b"stockade start 1").update(&name.0).update(&db.0);
                *hasher.finalize().as_bytes()
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ActorId;

    /// The format is on people's disks: if this fails, old stores no longer verify.
    #[test]
    fn golden_bytes() {
        let name = ActorId::new("counter", "alice").unwrap().name_hash();
        let db = DbId([7; 16]);
        assert_eq!(name.to_string(), "9b2377b819445e64130024612ef61813");
        assert_eq!(Start::Zeros.chain(name, db), [0; 32]);
        assert_eq!(
            hex::encode(Start::Name.chain(name, db)),
            "0ce4b013afc2548e5baf6964fcc7813adc1ff863e93e3a69b13210d9d802794a"
        );
        let content = content(db, Generation(1), Txid(1), PageCount(0), &[]);
        let next = next(&Start::Name.chain(name, db), &content);
        assert_eq!(
            hex::encode(next),
            "7d077db9fcfca6793dc7211bc3d38e54848298294ae9698ae53a82b5981991f0"
        );
    }

    #[test]
    fn names_that_join_to_the_same_text_differ() {
        let hash = |kind: &str, key: &str| ActorId::new(kind, key).unwrap().name_hash();
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
        assert_ne!(hash("a", "b"), hash("b", "a"));
    }
}
