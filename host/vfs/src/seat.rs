//! The seat of a connection: its main file is opened before the connection has a database.
//!
//! The file is the same to SQLite before and after, its methods included: what stands behind it is
//! ours, and changes as the contents of a file change that another process writes.
//!
//! SQLite looks at the first bytes of a file when it opens it, and of an empty one takes its own
//! defaults: for the page size, which is ours, and for what it looks at again when it first reads
//! (bytes reserved on a page, auto-vacuum). Whatever begins to read asks for the size first, and is
//! refused: what SQLite would remember of an empty database must not meet the real one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::context::Context;
use crate::file::{FileError, OsFile};
use crate::main_file::MainFile;

/// What one connection has to do with a database.
#[derive(Default)]
pub(crate) struct Seat {
    /// SQLite has opened the main file, which it does once.
    was_opened: AtomicBool,
    /// And has not closed it.
    is_open: AtomicBool,
    /// The database of the connection; unset at first.
    tenant: OnceLock<Arc<Context>>,
    /// The database, until the main file is used next.
    waiting: Mutex<Option<MainFile>>,
}

impl Seat {
    /// Opens the main file, once.
    pub(crate) fn open(self: Arc<Self>) -> Option<SeatFile> {
        if self.was_opened.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.is_open.store(true, Ordering::Release);
        Some(SeatFile { main: None, seat: self })
    }

    /// Gives it to a database. False: it has one, or the database has its main file.
    pub(crate) fn lend(&self, context: &Arc<Context>) -> bool {
        let mut waiting = self.waiting.lock();
        if self.tenant.get().is_some() || !context.claim_main() {
            return false;
        }
        *waiting = Some(MainFile::new(Arc::clone(context)));
        self.tenant.set(Arc::clone(context)).is_ok()
    }

    pub(crate) fn tenant(&self) -> Option<&Arc<Context>> {
        self.tenant.get()
    }

    /// Whether SQLite has the main file open.
    pub(crate) fn file_is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}

/// The main file of a connection, as SQLite has it open.
pub(crate) struct SeatFile {
    /// `None`: the connection has no database yet.
    main: Option<MainFile>,
    seat: Arc<Seat>,
}

impl SeatFile {
    #[inline]
    fn main(&mut self) -> Result<&mut MainFile, FileError> {
        if self.main.is_none() {
            self.main = self.seat.waiting.lock().take();
        }
        self.main.as_mut().ok_or(FileError::OutOfRange)
    }
}

impl OsFile for SeatFile {
    const CHARACTERISTICS: i32 = MainFile::CHARACTERISTICS;

    fn context(&self) -> Option<&Context> {
        self.seat.tenant().map(AsRef::as_ref)
    }

    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), FileError> {
        match self.main() {
            Ok(main) => main.read(out, offset),
            Err(_) => {
                out.fill(0);
                Err(FileError::ShortRead)
            }
        }
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), FileError> {
        self.main()?.write(data, offset)
    }

    fn truncate(&mut self, size: u64) -> Result<(), FileError> {
        self.main()?.truncate(size)
    }

    fn size(&mut self) -> Result<u64, FileError> {
        self.main()?.size()
    }

    fn prepare(&mut self) -> Result<(), FileError> {
        self.main()?.prepare()
    }

    fn publish(&mut self) -> Result<(), FileError> {
        self.main()?.publish()
    }
}

impl Drop for SeatFile {
    fn drop(&mut self) {
        self.seat.is_open.store(false, Ordering::Release);
    }
}
