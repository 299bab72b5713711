//! The database file: collects one transaction and hands it to the session as one commit.
//!
//! ```text
//!            write, truncate        FCNTL_SYNC: session.prepare       COMMIT_PHASETWO
//!    Idle ------------------> Dirty ---------------------------> Prepared ----------> Idle
//!                               |                                   |   session.publish
//!                      refused  |  refused                          | read, write, or the
//!                      (early)  v  (prepare)                        | next sync: it was the
//!                            Refused --- FCNTL_SYNC --> Idle        v sync of a rollback
//!                         (rollback's writes are ignored)          Idle (overlay dropped)
//! ```
//!
//! Invariants:
//! - M1: nothing reaches the session before `publish`; a transaction is one `publish`.
//! - M2: `publish` never refuses. Whatever can be refused is refused in `prepare`.
//! - M3: after a refusal everything up to the next sync is SQLite's rollback. It leads back to the
//!   published state, which is what `Refused` already shows; so it is neither kept nor judged.
//! - M4: `publish` comes right after a successful `prepare`; anything else kills the session.
//!
//! SQLite syncs at the end of a commit *and* of a rollback that has to undo writes, and nothing
//! tells the two apart but what comes next. In `journal_mode=MEMORY` a later `BEGIN IMMEDIATE;
//! COMMIT` that changes nothing sends a COMMIT_PHASETWO of its own, which after a rollback would
//! publish the rolled-back overlay. In `PERSIST` mode with an exclusive lock such a commit sends
//! nothing, so M4 holds. (PERSIST also takes the journals of nested savepoints out of SQLite's
//! heap, which nothing bounds, into scratch files, which are charged.)
//!
//! There is no hot journal and no lock: the depot recovers, and the fence excludes.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_depot::{PAGE_SIZE, PageBytes, PageCount, Pgno};

use crate::context::Context;
use crate::fault::Fault;
use crate::file::{FileError, OsFile};
use crate::overlay::{Finished, Overlay};
use crate::scratch;

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// The main file of an open database.
pub(crate) struct MainFile {
    context: Arc<Context>,
    /// Pages after the last published transaction. Only this file publishes.
    base: PageCount,
    state: State,
}

enum State {
    /// As published.
    Idle,
    /// A transaction has written.
    Dirty(Transaction),
    /// Its sync was granted: a commit's, or a rollback's.
    Prepared(Transaction),
    /// It was refused: SQLite is rolling back.
    Refused,
}

/// What a transaction has changed so far.
struct Transaction {
    overlay: Overlay,
    /// Pages of the database as SQLite sees it.
    count: PageCount,
    /// Published pages that still show through: those that no truncation has cut off.
    kept: PageCount,
}

impl MainFile {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let base = context.session.page_count();
        Self { context, base, state: State::Idle }
    }

    /// A sync that no commit followed was the end of a rollback: what it wrote is the published
    /// state, save for free pages, which SQLite does not restore. So it is dropped, not compared.
    fn drop_rolled_back(&mut self) {
        if let State::Prepared(_) = self.state {
            self.state = State::Idle;
        }
    }

    fn count(&self) -> PageCount {
        match &self.state {
            State::Idle | State::Refused => self.base,
            State::Dirty(transaction) | State::Prepared(transaction) => transaction.count,
        }
    }

    /// The open transaction, begun if there is none.
    fn transaction(&mut self) -> Option<&mut Transaction> {
        if let State::Idle = self.state {
            self.state = State::Dirty(Transaction {
                overlay: Overlay::default(),
                count: self.base,
                kept: self.base,
            });
        }
        match &mut self.state {
            State::Dirty(transaction) | State::Prepared(transaction) => Some(transaction),
            State::Idle | State::Refused => None,
        }
    }

    fn refuse(&mut self, fault: Fault) -> FileError {
        self.state = State::Refused;
        FileError::Fault(fault)
    }

    /// Copies from one page; pages within the count that hold nothing yet are zeros.
    fn read_page(&self, pgno: Pgno, start: usize, out: &mut [u8]) -> Result<(), FileError> {
        let kept = match &self.state {
            State::Idle | State::Refused => self.base,
            State::Dirty(transaction) | State::Prepared(transaction) => {
                let page = transaction.overlay.get(pgno);
                if let Some(page) = page.map_err(|error| scratch::failed(&error))? {
                    out.copy_from_slice(&page[start..start + out.len()]);
                    return Ok(());
                }
                transaction.kept
            }
        };
        if pgno.0 > kept.0 {
            out.fill(0);
            return Ok(());
        }
        self.context.pages_read.fetch_add(1, Ordering::Relaxed);
        let page = self.context.session.read(pgno)?;
        out.copy_from_slice(&page[start..start + out.len()]);
        Ok(())
    }

    /// Takes a piece of one page into the overlay.
    fn write_page(&mut self, pgno: Pgno, start: usize, data: &[u8]) -> Result<(), FileError> {
        let page = if data.len() == PAGE_SIZE {
            PageBytes::copy_from_slice(data)
        } else {
            let mut page = vec![0; PAGE_SIZE];
            if pgno.0 <= self.count().0 {
                self.read_page(pgno, 0, &mut page)?;
            }
            page[start..start + data.len()].copy_from_slice(data);
            PageBytes::from(page)
        };
        let Some(transaction) = self.transaction() else {
            return Ok(());
        };
        // A page that cannot be kept leaves a torn transaction: it must not be committed.
        if let Err(fault) = transaction.overlay.put(pgno, page) {
            return Err(self.refuse(fault));
        }
        transaction.count = transaction.count.max(PageCount(pgno.0));
        Ok(())
    }

    /// Refuses early what `prepare` would refuse in the end, before it fills the memory.
    fn check_room(&mut self, last: Pgno) -> Result<(), FileError> {
        let limits = self.context.session.limits();
        if last.0 > limits.database_pages_max {
            let fault = Fault::DatabaseFull { pages: last.0, max: limits.database_pages_max };
            return Err(self.refuse(fault));
        }
        let Some(transaction) = self.transaction() else {
            return Ok(());
        };
        let bytes = transaction.overlay.len() as u64 * PAGE_BYTES;
        let spills = transaction.overlay.spills();
        if bytes > self.context.overlay_bytes_max {
            let max = self.context.session.limits().commit_bytes_max;
            return Err(self.refuse(Fault::CommitTooLarge { bytes, max }));
        }
        let step_pages = self.context.session.limits().step_pages_max() as u64;
        if !spills && bytes >= step_pages.saturating_mul(PAGE_BYTES) {
            return self.start_spill();
        }
        Ok(())
    }

    /// From here on the transaction is on disk. It waits until the one before, if that was as
    /// large, has left its file.
    fn start_spill(&mut self) -> Result<(), FileError> {
        let context = Arc::clone(&self.context);
        let started = match (context.session.room_for_large(), self.transaction()) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(transaction)) => transaction.overlay.start_spill(&context.scratch),
            (Ok(()), None) => Ok(()),
        };
        started.map_err(|fault| self.refuse(fault))
    }
}

impl Transaction {
    fn changes_nothing(&self, base: PageCount) -> bool {
        self.overlay.len() == 0 && self.count == base && self.kept == base
    }

    /// Bytes that a commit stores: written pages, and zeros for those it leaves out.
    fn commit_bytes(&self) -> u64 {
        let above = self.overlay.len_above(self.kept);
        let left_out = u64::from(self.count.0.saturating_sub(self.kept.0)) - above as u64;
        (self.overlay.len() as u64 + left_out) * PAGE_BYTES
    }

    /// What to publish. Pages that were cut off and grew again without being written are zeros,
    /// not what they were before; the session fills what lies above the old count itself.
    fn finish(mut self, base: PageCount) -> Finished {
        for pgno in self.kept.0.saturating_add(1)..=base.0.min(self.count.0) {
            self.overlay.put_zeros(Pgno(pgno));
        }
        self.overlay.finish()
    }
}

impl OsFile for MainFile {
    /// The journal is never met by another process, so it needs no syncs and no record count.
    const CHARACTERISTICS: i32 = rusqlite::ffi::SQLITE_IOCAP_SAFE_APPEND
        | rusqlite::ffi::SQLITE_IOCAP_SEQUENTIAL
        | rusqlite::ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE;

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }

    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), FileError> {
        self.context.alive()?;
        self.drop_rolled_back();
        let available = (u64::from(self.count().0) * PAGE_BYTES).saturating_sub(offset);
        let have = usize::try_from(available).unwrap_or(usize::MAX).min(out.len());
        let (there, past_end) = out.split_at_mut(have);
        past_end.fill(0);
        let short = !past_end.is_empty();
        let mut done = 0;
        while done < there.len() {
            let (pgno, start) = place(offset + done as u64)?;
            let piece = (PAGE_SIZE - start).min(there.len() - done);
            self.read_page(pgno, start, &mut there[done..done + piece])?;
            done += piece;
        }
        if short { Err(FileError::ShortRead) } else { Ok(()) }
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), FileError> {
        self.context.alive()?;
        self.drop_rolled_back();
        let Some(last) = (data.len() as u64).checked_sub(1) else {
            return Ok(());
        };
        let (last, _) = place(offset.checked_add(last).ok_or(FileError::OutOfRange)?)?;
        if let State::Refused = self.state {
            return Ok(());
        }
        self.check_room(last)?;
        let mut done = 0;
        while done < data.len() {
            let (pgno, start) = place(offset + done as u64)?;
            let piece = (PAGE_SIZE - start).min(data.len() - done);
            self.write_page(pgno, start, &data[done..done + piece])?;
            done += piece;
        }
        Ok(())
    }

    /// Before the sync it belongs to a rollback, after it to the commit of a VACUUM.
    fn truncate(&mut self, size: u64) -> Result<(), FileError> {
        self.context.alive()?;
        let count = u32::try_from(size.div_ceil(PAGE_BYTES)).map_err(|_| FileError::OutOfRange)?;
        let count = PageCount(count);
        if count == self.count() {
            return Ok(());
        }
        let Some(transaction) = self.transaction() else {
            return Ok(());
        };
        if count < transaction.count {
            transaction.overlay.truncate(count);
            transaction.kept = transaction.kept.min(count);
        }
        transaction.count = count;
        Ok(())
    }

    fn size(&mut self) -> Result<u64, FileError> {
        self.context.alive()?;
        Ok(u64::from(self.count().0) * PAGE_BYTES)
    }

    fn prepare(&mut self) -> Result<(), FileError> {
        self.context.alive()?;
        self.drop_rolled_back();
        if let State::Refused = self.state {
            self.state = State::Idle;
            return Ok(());
        }
        let State::Dirty(transaction) = std::mem::replace(&mut self.state, State::Idle) else {
            self.state = State::Prepared(Transaction {
                overlay: Overlay::default(),
                count: self.base,
                kept: self.base,
            });
            return Ok(());
        };
        if !transaction.changes_nothing(self.base) {
            let bytes = transaction.commit_bytes();
            if let Err(error) = self.context.session.prepare(bytes, transaction.count) {
                return Err(self.refuse(error.into()));
            }
        }
        self.state = State::Prepared(transaction);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), FileError> {
        let State::Prepared(transaction) = std::mem::replace(&mut self.state, State::Idle) else {
            self.state = State::Refused;
            return Err(self.context.kill("a commit without its sync").into());
        };
        // A session that is dead already drops the commit: SQLite should not report success, though
        // no caller would get the report. If the session dies from here on, the verdict tells.
        let alive = self.context.alive();
        if !transaction.changes_nothing(self.base) {
            let count = transaction.count;
            match transaction.finish(self.base) {
                Finished::Pages(pages) => self.context.session.publish(pages, count),
                Finished::Large(source) => self.context.session.publish_large(source, count),
            }
            self.base = count;
        }
        Ok(alive?)
    }
}

impl Drop for MainFile {
    fn drop(&mut self) {
        self.context.release_main();
    }
}

/// The page of an offset, and the place in it. SQLite's offsets come from page numbers in the
/// database, which a guest can make up.
fn place(offset: u64) -> Result<(Pgno, usize), FileError> {
    let pgno = u32::try_from(offset / PAGE_BYTES + 1).map_err(|_| FileError::OutOfRange)?;
    let start = usize::try_from(offset % PAGE_BYTES).map_err(|_| FileError::OutOfRange)?;
    Ok((Pgno(pgno), start))
}
