//! The header of a log's index, read past SQLite: how much of the log was known to be durable.
//!
//! ```text
//!    0  48  header                      in the order of bytes of this machine:
//!   48  48  the same once more             0  4  version, 3007000
//!   96   4  frames copied into the file   12  1  1: it is filled in
//!  128   4  frames tried to copy          16  4  last frame that counts
//!                                         24  8  checksum of that frame
//!                                         32  8  salts, as in the log
//!                                         40  8  checksum of the 40 bytes before
//! ```
//!
//! SQLite writes this header after the sync of the frames that it names (`synchronous = FULL`;
//! `walFrames` in its `wal.c`), or when it recovers a log, which `look` has synced before. So what
//! it names was durable at some moment, however old the header is that a machine finds after it
//! has stopped.

use std::io::Read;
use std::path::Path;

use super::log::{Order, Sum};

/// Bytes that are looked at.
const BYTES: usize = 132;
/// Bytes of one copy of the header.
const HEADER_BYTES: usize = 48;
/// Of these, what the checksum is over.
const SUMMED_BYTES: usize = 40;
/// The only version there is.
const VERSION: u32 = 3_007_000;

/// What the index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// Frames of the log that count.
    pub(super) frames: u32,
    /// Checksum of the last of them.
    pub(super) sum: Sum,
    /// The log that it is of.
    pub(super) salts: [u8; 8],
    /// Of the frames so many are in the file, and durable there if that is all of them.
    pub(super) copied: u32,
    /// So many may be in the file.
    pub(super) tried: u32,
}

impl Index {
    /// Reads the index beside a file. `None`: there is none, or it is not whole.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(BYTES);
        match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file?.take(BYTES as u64).read_to_end(&mut bytes)?,
        };
        Ok(Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let (header, rest) = bytes.split_at(HEADER_BYTES);
        let sum = Sum::START.over(Order::NATIVE, &header[..SUMMED_BYTES]);
        let is_whole = header == &rest[..HEADER_BYTES]
            && number(0) == VERSION
            && header[12] == 1
            && sum == Sum(number(40), number(44));
        is_whole.then(|| Self {
            frames: number(16),
            sum: Sum(number(24), number(28)),
            salts: std::array::from_fn(|at| header[32 + at]),
            copied: number(96),
            tried: number(128),
        })
    }

    /// The file lacks frames that were durable in the log.
    pub(super) fn claims(&self) -> bool {
        self.frames > 0 && self.copied != self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_live_file_is_read_and_any_flip_in_its_header_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        let sql = "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)";
        conn.execute_batch(sql).unwrap();
        let beside = path.with_extension("db-shm");
        let index = Index::read(&beside).unwrap().unwrap();
        assert!(index.frames > 0 && index.claims(), "{index:?}");
        conn.execute_batch("PRAGMA wal_checkpoint").unwrap();
        let copied = Index::read(&beside).unwrap().unwrap();
        assert_eq!((copied.frames, copied.copied), (index.frames, index.frames));
        assert!(!copied.claims());
        let bytes = std::fs::read(&beside).unwrap();
        assert_eq!(Index::from_bytes(&bytes[..BYTES]), Some(copied));
        for bit in 0..2 * HEADER_BYTES * 8 {
            let mut flipped = bytes[..BYTES].to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::from_bytes(&flipped), None, "bit {bit}");
        }
        // The same bit in both copies, and one that was not filled in.
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes[..BYTES].to_vec();
            for copy in [0, HEADER_BYTES] {
                flipped[copy + bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(Index::from_bytes(&flipped), None, "bit {bit} of both");
        }
        let mut empty = bytes[..HEADER_BYTES].to_vec();
        empty[12] = 0;
        let Sum(one, two) = Sum::START.over(Order::NATIVE, &empty[..SUMMED_BYTES]);
        empty[40..].copy_from_slice(&[one.to_ne_bytes(), two.to_ne_bytes()].concat());
        let unfilled = [&empty, &empty, &bytes[2 * HEADER_BYTES..BYTES]].concat();
        assert_eq!(Index::from_bytes(&unfilled), None);
        assert_eq!(Index::from_bytes(&bytes[..BYTES - 1]), None);
        assert_eq!(Index::read(&directory.path().join("none")).unwrap(), None);
    }
}
