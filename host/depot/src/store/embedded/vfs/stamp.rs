//! The stamp at the end of every engine page: whose page it is, and whether it is whole.
//!
//! ```text
//! page of 2048 bytes
//!    0   SQLite's part of the page
//! 2032   key    u64   of the file: first 8 bytes of BLAKE3("stockade file 1" | store id 16 | place 1),
//!                     place: 0 global.db, n + 1 shard n
//! 2040   sum    u64   XXH3-64 of bytes 0 .. 2040, with the page's number as its seed
//! ```
//! Integers are little-endian. SQLite leaves the last 16 bytes of each page alone, as its header's byte
//! 20 says. A page that was written to another place, or that comes from another file or store, has
//! another sum or key.

use twox_hash::XxHash3_64;

/// Bytes of an engine page. A commit changes a leaf of the page index and one of the commit rows for
/// itself, and a trimmed row its own: small pages make them a small part of what is written. 1 KiB
/// writes less still, for more CPU a commit; 8 KiB read no faster.
pub(in super::super) const PAGE_BYTES: usize = 2048;
/// Bytes that SQLite leaves to the stamp.
pub(in super::super) const STAMP_BYTES: u8 = 16;

/// Where the key is.
pub(super) const KEY_AT: usize = PAGE_BYTES - STAMP_BYTES as usize;
/// Where the sum is, and what it covers.
const SUM_AT: usize = PAGE_BYTES - 8;

/// One page.
pub(super) type Page = [u8; PAGE_BYTES];

/// Names a file of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Key(u64);

impl Key {
    /// Of a store's `global.db`.
    pub(in super::super) fn global(store: &[u8]) -> Self {
        Self::of(store, 0)
    }

    /// Of a shard.
    pub(in super::super) fn shard(store: &[u8], shard: u8) -> Self {
        Self::of(store, shard.saturating_add(1))
    }

    fn of(store: &[u8], place: u8) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"stockade file 1").update(store).update(&[place]);
        let mut key = [0; 8];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // Zero is a page without a stamp.
        Self(u64::from_le_bytes(key).max(1))
    }

    /// From a page's bytes. `None`: the page has no stamp.
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        match u64::from_le_bytes(bytes) {
            0 => None,
            key => Some(Self(key)),
        }
    }

    /// As a number, for the way through SQLite's C interface.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Its bytes or its number are not what it was stamped for.
    Sum,
    /// It is whole, and of another file.
    Key,
}

/// Stamps page number `pgno` of the file `key`.
pub(super) fn stamp(page: &mut Page, pgno: u64, key: Key) {
    page[KEY_AT..SUM_AT].copy_from_slice(&key.0.to_le_bytes());
    let sum = XxHash3_64::oneshot_with_seed(pgno, &page[..SUM_AT]);
    page[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
}

/// Whether this is page `pgno` of the file `key`, as it was stamped.
pub(super) fn check(page: &Page, pgno: u64, key: Key) -> Result<(), Wrong> {
    let sum = XxHash3_64::oneshot_with_seed(pgno, &page[..SUM_AT]);
    if page[SUM_AT..] != sum.to_le_bytes() {
        return Err(Wrong::Sum);
    }
    if page[KEY_AT..SUM_AT] != key.0.to_le_bytes() { Err(Wrong::Key) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        std::array::from_fn(|at| u8::try_from(at * 7 % 251).unwrap())
    }

    /// The format is on people's disks: if this fails, old stores are no longer read.
    #[test]
    fn golden_bytes() {
        let mut page = page();
        stamp(&mut page, 0x0102, Key::shard(&[7; 16], 1));
        assert_eq!(hex::encode(&page[KEY_AT..]), "157040d2b602a8478179a4232df622d6");
        stamp(&mut page, 1, Key::global(&[7; 16]));
        assert_eq!(hex::encode(&page[KEY_AT..SUM_AT]), "a863ca4acc2588a7");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let key = Key::global(&[1; 16]);
        let mut page = page();
        stamp(&mut page, 5, key);
        assert_eq!(check(&page, 5, key), Ok(()));
        for bit in 0..PAGE_BYTES * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&page, 5, key), Err(Wrong::Sum), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn another_place_file_or_store_is_seen() {
        let (store, other) = ([1; 16], [2; 16]);
        let key = Key::shard(&store, 0);
        let mut page = page();
        stamp(&mut page, 5, key);
        assert_eq!(check(&page, 6, key), Err(Wrong::Sum));
        for another in [Key::shard(&store, 1), Key::global(&store), Key::shard(&other, 0)] {
            assert_eq!(check(&page, 5, another), Err(Wrong::Key));
        }
        assert_eq!(check(&[0; PAGE_BYTES], 5, key), Err(Wrong::Sum), "zeros");
    }
}
