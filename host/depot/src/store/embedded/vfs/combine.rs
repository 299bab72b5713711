//! How the log is written: what a transaction appends is one write, and the file grows ahead of it.
//!
//! ```text
//! SQLite   24, 2048, 24, 2048, 24, 2048 bytes, then sync      two writes for each frame
//! system   6216 bytes, then sync                              one
//! ```
//!
//! A sync that makes a file longer is a sync of its size as well, a step of the file system's
//! journal more. So the file grows by the size of many commits in one step, in zeros: SQLite takes
//! them for what an earlier lap of the log has left, and the next commits write over them.
//!
//! Bytes wait here only while SQLite appends a commit, until it syncs it. Others look at a frame
//! once the log's index names it, and that is after the sync.
//!
//! Invariant: nothing waits once the lock for writing is given back, or it would be written over
//! what another process has committed in the meantime. So connections that write do not spill pages
//! into the log before they commit (`cache_spill`), and what could not be written is forgotten:
//! SQLite gets an error and gives the transaction up.

use std::ops::Range;

/// More than this does not wait for the sync. A single write is taken whatever its size, which is a
/// page's at most. 128 KiB less one byte: SQLite's own files take no more in one call.
const BYTES_MAX: usize = (128 << 10) - 1;

/// By how much a log that has become longer grows in one step. 256 KiB: about fifty commits are
/// spared a tenth of a millisecond each or more, and one takes a whole one more.
const GROWS_BY: u64 = 256 << 10;

/// What a log grows by, a few times.
pub(super) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes of one file that follow one another and are not written yet.
#[derive(Debug, Default)]
pub(super) struct Combined {
    at: u64,
    bytes: Vec<u8>,
    /// Where the last write has ended.
    end: u64,
    /// The file is at least this long, as far as is known.
    size: u64,
}

impl Combined {
    /// Takes `bytes` along if they follow what is here. False: that has to be written first.
    pub(super) fn push(&mut self, at: u64, bytes: &[u8]) -> bool {
        if self.bytes.is_empty() {
            self.at = at;
        } else if at != self.at + self.bytes.len() as u64
            || self.bytes.len() + bytes.len() > BYTES_MAX
        {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// Writes what is here with `write(at, bytes)`, or forgets it.
    pub(super) fn flush<E>(
        &mut self,
        write: impl FnOnce(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let written = write(self.at, &self.bytes);
        if written.is_ok() {
            self.end = self.at + self.bytes.len() as u64;
        }
        self.bytes.clear();
        written
    }

    /// The file may be shorter now.
    pub(super) fn forget_size(&mut self) {
        (self.end, self.size) = (0, 0);
    }

    /// Where zeros are due: at the end of a file that the last write has made longer.
    pub(super) fn growth(&mut self, size: impl FnOnce() -> Option<u64>) -> Option<Range<u64>> {
        if self.end <= self.size {
            return None;
        }
        let size = size()?;
        let grows = size <= self.end;
        self.size = if grows { self.end + GROWS_BY } else { size };
        grows.then_some(self.end..self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedConfig, open};
    use crate::store::sql;

    /// A file, and how often it was written.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        writes: u32,
        full: bool,
    }

    impl Disk {
        fn take(&mut self, combined: &mut Combined) -> Result<(), &'static str> {
            combined.flush(|at, bytes| {
                if self.full {
                    return Err("full");
                }
                let at = usize::try_from(at).unwrap();
                self.bytes.resize(self.bytes.len().max(at + bytes.len()), 0);
                self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
                self.writes += 1;
                Ok(())
            })
        }
    }

    #[test]
    fn what_follows_is_one_write_and_what_does_not_is_another() {
        let (mut combined, mut disk) = (Combined::default(), Disk::default());
        assert!(combined.push(0, b"ab") && combined.push(2, b"cd"));
        assert!(!combined.push(1, b"x"), "goes back");
        assert!(!combined.push(5, b"x"), "leaves a gap");
        assert_eq!(disk.take(&mut combined), Ok(()));
        assert!(combined.push(1, b"x"));
        assert_eq!(disk.take(&mut combined), Ok(()));
        assert_eq!(disk.take(&mut combined), Ok(()));
        assert_eq!((&disk.bytes[..], disk.writes), (&b"axcd"[..], 2));
    }

    #[test]
    fn what_could_not_be_written_is_never_written_later() {
        let (mut combined, mut disk) = (Combined::default(), Disk::default());
        disk.full = true;
        assert!(combined.push(0, b"ab"));
        assert_eq!(disk.take(&mut combined), Err("full"));
        disk.full = false;
        assert_eq!(disk.take(&mut combined), Ok(()));
        assert_eq!(disk.bytes, b"");
    }

    #[test]
    fn a_transaction_writes_nothing_before_it_commits() {
        let directory = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig::new(directory.path());
        let layout = open::layout(&config).unwrap();
        let conn = open::writer(&layout.shards[0], &config).unwrap();
        conn.execute_batch("PRAGMA cache_size = 10; BEGIN IMMEDIATE").unwrap();
        let log = layout.shards[0].with_extension("db-wal");
        let before = std::fs::read(&log).unwrap();
        for n in 0..100 {
            conn.execute(sql::META_PUT, (n.to_string(), [7; 10_000])).unwrap();
        }
        assert!(before == std::fs::read(&log).unwrap(), "spilled");
        conn.execute_batch("ROLLBACK; BEGIN; ROLLBACK").unwrap();
        drop(conn);
        assert!(before == std::fs::read(&log).unwrap(), "written after the transaction");
    }

    #[test]
    fn a_file_grows_once_for_many_commits() {
        let (mut combined, mut grown, mut size) = (Combined::default(), Vec::new(), 0);
        let mut at = 0;
        while at < 3 * GROWS_BY {
            assert!(combined.push(at, &[1; 6000]));
            combined.flush(|_, _| Ok::<_, ()>(())).unwrap();
            at += 6000;
            size = size.max(at);
            assert_eq!(combined.growth(|| None), None, "it may not ask now, and asks later");
            if let Some(growth) = combined.growth(|| Some(size)) {
                assert_eq!(growth, at..at + GROWS_BY);
                size = growth.end;
                grown.push(at);
            }
        }
        assert_eq!(grown.len(), 3, "{grown:?}");
        // The next lap, and one after another process has cut the file.
        for (cut, grows) in [(false, false), (true, true)] {
            if cut {
                combined.forget_size();
                size = 0;
            }
            combined.push(0, &[2; 6000]);
            combined.flush(|_, _| Ok::<_, ()>(())).unwrap();
            assert_eq!(combined.growth(|| Some(size.max(6000))).is_some(), grows);
        }
    }

    #[test]
    fn its_size_is_bounded() {
        let mut combined = Combined::default();
        let mut taken = 0;
        while combined.push(taken, &[0; 4096]) {
            taken += 4096;
            assert!(taken <= BYTES_MAX as u64);
        }
    }
}
