//! A page's bytes, the page size that every part agrees on, and how a page is kept in a row.
//!
//! A row has two columns for a page; the page's number stands in the row's key, and the checksum
//! covers that key, so that a row that was moved or overwritten is found as well as a damaged one.
//!
//! ```text
//! bytes   4096 bytes            the page as it is
//!         1 to 3584 bytes       LZ4 block (no size prefix) that unpacks to exactly 4096 bytes
//! sum     16 bytes              BLAKE3("stockade page 1" | db 16 | pgno u32 | txid u64 | bytes),
//!                               cut to 16; integers little-endian; `bytes` as stored
//! ```
//!
//! The checksum is over the stored form, so that nothing is unpacked before it was verified.
//!
//! Rule of `docs/protocol.md`: D9.

use bytes::Bytes;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use crate::error::StoreError;
use crate::id::{DbId, Pgno, Txid};

/// Bytes of a database page.
pub const PAGE_SIZE: usize = 4096;

/// The contents of one page: exactly [`PAGE_SIZE`] bytes, shared without copying.
pub type PageBytes = Bytes;

/// Longest packed form. A page that would save less than an eighth is kept as it is: reading it
/// then costs no unpacking.
const PACKED_BYTES_MAX: usize = PAGE_SIZE - PAGE_SIZE / 8;

/// A page in the form of a row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRecord {
    /// The page, packed if that is shorter.
    pub bytes: Bytes,
    /// Checksum over the key and `bytes`.
    pub sum: [u8; 16],
}

/// Packs pages one after the other, with memory that is used again.
pub(crate) struct Packer {
    table: CompressTable,
    room: [u8; get_maximum_output_size(PAGE_SIZE)],
}

impl Packer {
    /// A packer with empty memory.
    pub(crate) fn new() -> Self {
        Self { table: CompressTable::small(), room: [0; get_maximum_output_size(PAGE_SIZE)] }
    }

    /// Packs a page for the row (db, pgno, txid).
    ///
    /// # Errors
    /// `Corrupt` if `page` does not have exactly [`PAGE_SIZE`] bytes.
    pub(crate) fn pack(
        &mut self,
        db: DbId,
        pgno: Pgno,
        txid: Txid,
        page: &PageBytes,
    ) -> Result<PageRecord, StoreError> {
        if page.len() != PAGE_SIZE {
            return Err(StoreError::Corrupt(format!(
                "page {pgno} of {db} has {} bytes where {PAGE_SIZE} are due",
                page.len()
            )));
        }
        let bytes = match compress_into_with_table(page, &mut self.room, &mut self.table) {
            Ok(len) if len <= PACKED_BYTES_MAX => Bytes::copy_from_slice(&self.room[..len]),
            Ok(_) | Err(_) => page.clone(),
        };
        let sum = checksum(db, pgno, txid, &bytes);
        Ok(PageRecord { bytes, sum })
    }
}

impl PageRecord {
    /// Packs a page for the row (db, pgno, txid).
    ///
    /// # Errors
    /// `Corrupt` if `page` does not have exactly [`PAGE_SIZE`] bytes.
    pub fn encode(db: DbId, pgno: Pgno, txid: Txid, page: &PageBytes) -> Result<Self, StoreError> {
        Packer::new().pack(db, pgno, txid, page)
    }
}

/// The page in a row's columns.
///
/// # Errors
/// `Corrupt` if the checksum is not the one of these bytes under this key, or if they do not unpack
/// to a page.
pub fn decode(
    db: DbId,
    pgno: Pgno,
    txid: Txid,
    stored: &[u8],
    sum: &[u8],
) -> Result<PageBytes, StoreError> {
    if checksum(db, pgno, txid, stored) != sum {
        return Err(damaged(db, pgno, txid, "checksum mismatch"));
    }
    if stored.len() == PAGE_SIZE {
        return Ok(Bytes::copy_from_slice(stored));
    }
    let mut page = vec![0; PAGE_SIZE];
    match decompress_into(stored, &mut page) {
        Ok(PAGE_SIZE) => Ok(Bytes::from(page)),
        Ok(_) | Err(_) => Err(damaged(db, pgno, txid, "does not unpack to a page")),
    }
}

fn damaged(db: DbId, pgno: Pgno, txid: Txid, what: &str) -> StoreError {
    StoreError::Corrupt(format!("page {pgno} of {db} as of txid {txid}: {what}"))
}

fn checksum(db: DbId, pgno: Pgno, txid: Txid, stored: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"stockade page 1")
        .update(&db.0)
        .update(&pgno.0.to_le_bytes())
        .update(&txid.0.to_le_bytes())
        .update(stored);
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbId = DbId([7; 16]);

    fn noise() -> PageBytes {
        let mut state = 1_u32;
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        };
        (0..PAGE_SIZE).map(byte).collect::<Vec<u8>>().into()
    }

    fn check(page: PageBytes, stored_len: std::ops::RangeInclusive<usize>) {
        let record = PageRecord::encode(DB, Pgno(3), Txid(9), &page).unwrap();
        assert!(stored_len.contains(&record.bytes.len()), "{}", record.bytes.len());
        let back = decode(DB, Pgno(3), Txid(9), &record.bytes, &record.sum).unwrap();
        assert_eq!(back, page);
        for (db, pgno, txid) in
            [(DbId([8; 16]), Pgno(3), Txid(9)), (DB, Pgno(4), Txid(9)), (DB, Pgno(3), Txid(8))]
        {
            assert!(decode(db, pgno, txid, &record.bytes, &record.sum).is_err(), "moved row");
        }
        for at in [0, record.bytes.len() / 2, record.bytes.len() - 1] {
            let mut bytes = record.bytes.to_vec();
            bytes[at] ^= 1;
            assert!(decode(DB, Pgno(3), Txid(9), &bytes, &record.sum).is_err(), "flipped {at}");
        }
    }

    #[test]
    fn pages_come_back_and_damage_is_found() {
        check(vec![0; PAGE_SIZE].into(), 1..=64);
        check(noise(), PAGE_SIZE..=PAGE_SIZE);
        let mut half = noise().to_vec();
        half[2000..].fill(1);
        check(half.into(), 1000..=PACKED_BYTES_MAX);
    }

    #[test]
    fn rightly_summed_nonsense_is_corrupt() {
        for stored in [&[][..], &[0xff; 40], &[0x10, 1]] {
            let sum = checksum(DB, Pgno(1), Txid(1), stored);
            let found = decode(DB, Pgno(1), Txid(1), stored, &sum);
            assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
        }
    }

    #[test]
    fn a_short_page_is_refused() {
        assert!(PageRecord::encode(DB, Pgno(1), Txid(1), &vec![0; 100].into()).is_err());
    }

    /// The format is on people's disks: if this fails, old stores no longer open.
    #[test]
    fn golden_bytes() {
        let record =
            PageRecord::encode(DB, Pgno(0x0102), Txid(5), &vec![0; PAGE_SIZE].into()).unwrap();
        assert_eq!(
            hex::encode(&record.bytes),
            "1f000100fffffffffffffffffffffffffffffff560000000000000"
        );
        assert_eq!(hex::encode(record.sum), "dd23131f25598fe4b30937b66ee2d391");
    }
}
