//! The file with the pages: each is stamped when it is written and proved when it is read.
//!
//! The file's key is in each stamp, that of page 1 included, which is how a connection learns it. A new
//! file has no page yet: its key is offered by the one that makes it, and written with its first page.
//!
//! SQLite reads the first 100 bytes alone, without a lock, to learn the size of pages: after a crash they
//! may be half of an interrupted checkpoint, whose pages are in the log. They are not proved. Nothing
//! rests on them: SQLite takes the size again from page 1, which it reads whole, from here or the log.
//!
//! What is not in the file is damage, too: SQLite would take it for zeros.

use rusqlite::ffi::{SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_WRITE};

use super::damage::{self, Damage, Fault, Place};
use super::stamp::{self, KEY_AT, Key, PAGE_BYTES, Page, Wrong};
use super::{Behind, is_ok};

/// What SQLite reads of page 1 to learn the size of pages.
const HEADER_BYTES: usize = 100;
/// How often a page is read before it counts as damaged. The first page may be read while another
/// process, which has just made a log, copies it into the file.
const READS_MAX: u32 = 3;

/// One open file.
pub(super) struct Pages {
    name: String,
    /// As the file has it.
    key: Option<Key>,
    /// For a file without pages.
    offered: Option<Key>,
    room: Box<Page>,
}

/// Byte and number of the page that has byte `at`.
fn page_of(at: u64) -> (u64, u64) {
    let bytes = PAGE_BYTES as u64;
    (at - at % bytes, at / bytes + 1)
}

impl Pages {
    /// A file that was just opened.
    pub(super) fn new(name: String) -> Self {
        Self { name, key: None, offered: None, room: Box::new([0; PAGE_BYTES]) }
    }

    /// The key of a file that has no pages yet.
    pub(super) fn offer(&mut self, key: Option<Key>) {
        self.offered = key;
    }

    /// The file may be shorter now.
    pub(super) fn truncate(&mut self, size: u64) {
        if size == 0 {
            self.key = None;
        }
    }

    /// The file's key. `None`: it has no page yet.
    pub(super) fn key(&mut self, behind: &mut impl Behind) -> Result<Option<Key>, i32> {
        if self.key.is_none() {
            let mut bytes = [0; 8];
            match behind.read(KEY_AT as u64, &mut bytes) {
                code if is_ok(code) => self.key = Key::from_bytes(bytes),
                SQLITE_IOERR_SHORT_READ => {}
                code => return Err(code),
            }
        }
        Ok(self.key)
    }

    /// Reads for SQLite: whole pages, or a part of one.
    pub(super) fn read(&mut self, at: u64, into: &mut [u8], behind: &mut impl Behind) -> i32 {
        let (start, pgno) = page_of(at);
        let skip = usize::try_from(at - start).unwrap_or(0);
        if pgno == 1 && skip + into.len() <= HEADER_BYTES {
            return behind.read(at, into);
        }
        if let Some(page) = into.first_chunk_mut::<PAGE_BYTES>().filter(|_| skip == 0) {
            let code = self.prove(start, pgno, page, behind);
            if !is_ok(code) || into.len() == PAGE_BYTES {
                return code;
            }
            // With larger pages in mind SQLite reads page 1 alone, and learns better from it.
            return if pgno == 1 {
                behind.read(at, into)
            } else {
                self.damaged(pgno, Fault::NoPage)
            };
        }
        let Some(end) = skip.checked_add(into.len()).filter(|end| *end <= PAGE_BYTES) else {
            return self.damaged(pgno, Fault::NoPage);
        };
        let mut room = std::mem::replace(&mut self.room, Box::new([0; PAGE_BYTES]));
        let code = self.prove(start, pgno, &mut room, behind);
        into.copy_from_slice(&room[skip..end]);
        self.room = room;
        code
    }

    /// Reads one page and proves it.
    fn prove(&mut self, at: u64, pgno: u64, page: &mut Page, behind: &mut impl Behind) -> i32 {
        let key = match self.key(behind) {
            Ok(Some(key)) => key,
            // Nothing was written yet: SQLite finds an empty file.
            Ok(None) => match behind.read(at, page) {
                code if is_ok(code) => return self.damaged(pgno, Fault::Checksum),
                code => return code,
            },
            Err(code) => return code,
        };
        let mut fault = Fault::Checksum;
        for _ in 0..READS_MAX {
            match behind.read(at, page) {
                code if is_ok(code) => {}
                SQLITE_IOERR_SHORT_READ => {
                    fault = Fault::CutOff;
                    break;
                }
                code => return code,
            }
            match stamp::check(page, pgno, key) {
                Ok(()) => return rusqlite::ffi::SQLITE_OK,
                Err(Wrong::Sum) => fault = Fault::Checksum,
                Err(Wrong::Key) => fault = Fault::AnotherFile,
            }
        }
        page.fill(0);
        self.damaged(pgno, fault)
    }

    /// Whether a page is whole.
    pub(super) fn check(&mut self, pgno: u64, behind: &mut impl Behind) -> i32 {
        let mut page = [0; PAGE_BYTES];
        self.prove(
            pgno.saturating_sub(1).saturating_mul(PAGE_BYTES as u64),
            pgno,
            &mut page,
            behind,
        )
    }

    /// Writes a page, stamped. SQLite's own bytes stay as they are: it may read them again.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8], behind: &mut impl Behind) -> i32 {
        let (start, pgno) = page_of(at);
        let key = match self.key(behind) {
            Ok(key) => key.or(self.offered),
            Err(code) => return code,
        };
        let (Some(key), true, PAGE_BYTES) = (key, start == at, bytes.len()) else {
            return SQLITE_IOERR_WRITE;
        };
        self.room.copy_from_slice(bytes);
        stamp::stamp(&mut self.room, pgno, key);
        behind.write(at, &self.room[..])
    }

    fn damaged(&self, pgno: u64, fault: Fault) -> i32 {
        damage::note(Damage { file: self.name.clone(), place: Place::Page(pgno), fault })
    }
}
