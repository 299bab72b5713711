//! Journals, temporary tables and sorts: in memory while they are small, then in a file without a
//! name, charged to the database they belong to.
//!
//! Invariants:
//! - A file is charged for its size, wherever it is; a refused charge changes nothing.
//! - Nothing here outlives the connection: none of it is needed to recover, the depot is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::Context;
use crate::fault::Fault;
use crate::file::{FileError, OsFile};
use crate::options::VfsOptions;
use stockade_sqlite::memory::Grains;

/// What the scratch of a database takes of its memory's share at a time. 64 KiB: twice what an
/// emptied file keeps.
const GRAIN_BYTES: u64 = 64 << 10;
/// Memory that an emptied file keeps for its next contents: the journal of a small transaction.
const KEPT_BYTES_MAX: usize = 32 << 10;

/// What the scratch files of one database may use, and do use.
pub(crate) struct Budget {
    directory: PathBuf,
    bytes_max: u64,
    memory_bytes_max: u64,
    grains: Option<Grains>,
    used: AtomicU64,
    in_memory: AtomicU64,
}

impl Budget {
    pub(crate) fn new(options: &VfsOptions) -> Self {
        Self {
            directory: options.scratch_directory.clone(),
            bytes_max: options.scratch_bytes_max,
            memory_bytes_max: options.scratch_memory_bytes_max,
            grains: options.memory.as_ref().map(|share| Grains::of(share, GRAIN_BYTES)),
            used: AtomicU64::new(0),
            in_memory: AtomicU64::new(0),
        }
    }

    /// Bytes in use, in memory and on disk.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in use in memory.
    pub(crate) fn in_memory(&self) -> u64 {
        self.in_memory.load(Ordering::Relaxed)
    }

    /// Only SQLite's thread charges; in the meantime another thread may refund a large transaction
    /// that became durable.
    pub(crate) fn charge(&self, bytes: u64) -> Result<(), Fault> {
        let used = self.used().saturating_add(bytes);
        if used > self.bytes_max {
            return Err(Fault::ScratchFull { bytes: used, max: self.bytes_max });
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn refund(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes memory if there is enough left.
    fn take_memory(&self, bytes: u64) -> bool {
        let in_memory = self.in_memory().saturating_add(bytes);
        let fits = in_memory <= self.memory_bytes_max
            && self.grains.as_ref().is_none_or(|grains| grains.cover(in_memory));
        if fits {
            self.in_memory.store(in_memory, Ordering::Relaxed);
        }
        fits
    }

    fn give_memory(&self, bytes: u64) {
        let before = self.in_memory.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(grains) = &self.grains {
            grains.settle(before - bytes);
        }
    }

    pub(crate) fn new_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.directory)
    }
}

/// One journal, temporary database or sorter file.
pub(crate) struct ScratchFile {
    context: Arc<Context>,
    body: Body,
    size: u64,
}

enum Body {
    Memory(Vec<u8>),
    Disk(File),
}

impl ScratchFile {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, body: Body::Memory(Vec::new()), size: 0 }
    }

    /// Makes room for `size` bytes, or refuses and changes nothing.
    fn grow(&mut self, size: u64) -> Result<(), FileError> {
        let more = size - self.size;
        let budget = &self.context.scratch;
        budget.charge(more)?;
        if let Err(error) = Self::place(&mut self.body, budget, self.size, size) {
            budget.refund(more);
            return Err(failed(&error).into());
        }
        self.size = size;
        Ok(())
    }

    /// Keeps a growing file in memory if it fits, else moves it to disk.
    fn place(body: &mut Body, budget: &Budget, from: u64, to: u64) -> io::Result<()> {
        match body {
            Body::Disk(_) => Ok(()),
            Body::Memory(bytes) => match usize::try_from(to) {
                Ok(size) if budget.take_memory(to - from) => {
                    bytes.resize(size, 0);
                    Ok(())
                }
                Ok(_) | Err(_) => {
                    let file = budget.new_file()?;
                    file.write_all_at(bytes, 0)?;
                    budget.give_memory(from);
                    *body = Body::Disk(file);
                    Ok(())
                }
            },
        }
    }

    fn shrink(&mut self, size: u64) -> Result<(), FileError> {
        let less = self.size - size;
        match &mut self.body {
            Body::Memory(bytes) => {
                let keep = usize::try_from(size).map_err(|_| FileError::OutOfRange)?;
                bytes.truncate(keep);
                if bytes.capacity() > KEPT_BYTES_MAX {
                    bytes.shrink_to_fit();
                }
                self.context.scratch.give_memory(less);
            }
            Body::Disk(_) if size == 0 => self.body = Body::Memory(Vec::new()),
            Body::Disk(file) => file.set_len(size).map_err(|error| failed(&error))?,
        }
        self.context.scratch.refund(less);
        self.size = size;
        Ok(())
    }
}

impl OsFile for ScratchFile {
    /// The journal is never met by another process, so its tail is never garbage.
    const CHARACTERISTICS: i32 = 0;

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), FileError> {
        let available = self.size.saturating_sub(offset);
        let have = usize::try_from(available).unwrap_or(usize::MAX).min(out.len());
        let (there, past_end) = out.split_at_mut(have);
        if !there.is_empty() {
            match &self.body {
                Body::Memory(bytes) => {
                    let start = usize::try_from(offset).map_err(|_| FileError::OutOfRange)?;
                    there.copy_from_slice(&bytes[start..start + have]);
                }
                Body::Disk(file) => read_sparse(file, there, offset)?,
            }
        }
        past_end.fill(0);
        if past_end.is_empty() { Ok(()) } else { Err(FileError::ShortRead) }
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), FileError> {
        let end = offset.checked_add(data.len() as u64).ok_or(FileError::OutOfRange)?;
        if end > self.size {
            self.grow(end)?;
        }
        match &mut self.body {
            Body::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| FileError::OutOfRange)?;
                bytes[start..start + data.len()].copy_from_slice(data);
            }
            Body::Disk(file) => {
                file.write_all_at(data, offset).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<(), FileError> {
        if size > self.size { self.grow(size) } else { self.shrink(size) }
    }

    fn size(&mut self) -> Result<u64, FileError> {
        Ok(self.size)
    }

    fn prepare(&mut self) -> Result<(), FileError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), FileError> {
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if let Body::Memory(_) = self.body {
            self.context.scratch.give_memory(self.size);
        }
        self.context.scratch.refund(self.size);
    }
}

/// Reads within the size we keep; the file itself may be shorter where nothing was written.
fn read_sparse(file: &File, out: &mut [u8], offset: u64) -> Result<(), FileError> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], offset + done as u64) {
            Ok(0) => {
                out[done..].fill(0);
                return Ok(());
            }
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error).into()),
        }
    }
    Ok(())
}

pub(crate) fn failed(error: &io::Error) -> Fault {
    Fault::ScratchFailed(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use stockade_depot::DepotLimits;

    use super::*;
    use crate::test_context::TestContext;

    fn bounded() -> TestContext {
        TestContext::new(DepotLimits::default(), |o| {
            o.scratch_bytes_max = 100_000;
            o.scratch_memory_bytes_max = 10_000;
        })
    }

    fn content(file: &mut ScratchFile) -> Vec<u8> {
        let mut out = vec![9; usize::try_from(file.size().unwrap()).unwrap()];
        file.read(&mut out, 0).unwrap();
        out
    }

    #[test]
    fn moves_to_disk_and_back_with_the_same_contents() {
        let test = bounded();
        let budget = &test.context.scratch;
        let mut file = ScratchFile::new(Arc::clone(&test.context));
        file.write(&[1; 6_000], 0).unwrap();
        assert_eq!((budget.used(), budget.in_memory()), (6_000, 6_000));
        file.write(&[2; 6_000], 5_000).unwrap();
        assert_eq!((budget.used(), budget.in_memory()), (11_000, 0));
        assert_eq!(content(&mut file), [vec![1; 5_000], vec![2; 6_000]].concat());
        file.truncate(5_500).unwrap();
        assert_eq!(content(&mut file), [vec![1; 5_000], vec![2; 500]].concat());
        file.truncate(0).unwrap();
        file.write(&[3; 10], 0).unwrap();
        assert_eq!((budget.used(), budget.in_memory()), (10, 10));
        drop(file);
        assert_eq!((budget.used(), budget.in_memory()), (0, 0));
    }

    #[test]
    fn gaps_are_zeros_in_memory_and_on_disk() {
        for gap in [100, 50_000] {
            let test = bounded();
            let mut file = ScratchFile::new(Arc::clone(&test.context));
            file.write(&[1; 5], 0).unwrap();
            file.write(&[2; 5], gap).unwrap();
            file.truncate(gap + 20).unwrap();
            let zeros = usize::try_from(gap).unwrap() - 5;
            let expected = [vec![1; 5], vec![0; zeros], vec![2; 5], vec![0; 15]].concat();
            assert_eq!(content(&mut file), expected);
        }
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let test = bounded();
        let mut one = ScratchFile::new(Arc::clone(&test.context));
        let mut two = ScratchFile::new(Arc::clone(&test.context));
        one.write(&[1; 60_000], 0).unwrap();
        two.write(&[2; 5_000], 0).unwrap();
        let full = Fault::ScratchFull { bytes: 110_000, max: 100_000 };
        assert_eq!(two.write(&[3; 50_000], 0), Err(full.into()));
        assert_eq!(content(&mut two), [2; 5_000]);
        assert_eq!(test.context.scratch.used(), 65_000);
        let full = Fault::ScratchFull { bytes: u64::MAX, max: 100_000 };
        assert_eq!(two.truncate(u64::MAX), Err(full.into()));
        assert_eq!(two.write(&[1], u64::MAX), Err(FileError::OutOfRange));
        drop(one);
        two.write(&[3; 50_000], 0).unwrap();
        assert_eq!(content(&mut two), [3; 50_000]);
    }

    #[test]
    fn a_missing_directory_is_a_typed_fault_and_costs_nothing() {
        let test = bounded();
        let mut file = ScratchFile::new(Arc::clone(&test.context));
        std::fs::remove_dir(test.directory.path()).unwrap();
        file.write(&[1; 9_000], 0).unwrap();
        let error = file.write(&[2; 9_000], 9_000).unwrap_err();
        assert!(matches!(error, FileError::Fault(Fault::ScratchFailed(_))), "{error:?}");
        assert_eq!(content(&mut file), [1; 9_000]);
        assert_eq!(test.context.scratch.used(), 9_000);
    }

    #[test]
    fn reads_past_the_end_are_zeros_and_short() {
        let test = bounded();
        for size in [10usize, 20_000] {
            let mut file = ScratchFile::new(Arc::clone(&test.context));
            file.write(&vec![1; size], 0).unwrap();
            let mut out = [9; 10];
            assert_eq!(file.read(&mut out, size as u64 - 4), Err(FileError::ShortRead));
            assert_eq!(out, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(file.read(&mut out, u64::MAX), Err(FileError::ShortRead));
            assert_eq!(out, [0; 10]);
        }
    }
}
