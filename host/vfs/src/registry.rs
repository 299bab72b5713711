//! How SQLite, which knows only names, finds a database: the seats of all open connections.
//!
//! - A seat is here from before SQLite opens the connection until after it has closed it.
//! - The main file and its journal are found by their names. Names cannot be guessed: a guest that
//!   gets around the authorizer names no other guest's database.
//! - A file without a name (temporary databases, sorts, journals of statements) belongs to the
//!   connection that runs on the thread. Outside of [`ConnectionId::within`] none is opened.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::context::Context;
use crate::scratch::ScratchFile;
use crate::seat::{Seat, SeatFile};

/// Seats of connections that SQLite has open, or is about to open.
static SEATS: LazyLock<Mutex<HashMap<ConnectionId, Arc<Seat>>>> = LazyLock::new(Mutex::default);

/// What the file names of a connection begin with.
const NAME_PREFIX: &str = "stockade-";
/// What SQLite appends to the name of a database for that of its journal.
const JOURNAL_SUFFIX: &str = "-journal";

thread_local! {
    /// The connection that runs on this thread.
    static CURRENT: Cell<Option<ConnectionId>> = const { Cell::new(None) };
}

/// Names one connection, for the life of the process. 128 bits, two hashes under keys of the
/// operating system's randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u128);

impl ConnectionId {
    fn new() -> Self {
        let random = || u128::from(RandomState::new().build_hasher().finish());
        Self(random() << 64 | random())
    }

    /// Runs `work`, whose statements are those of this connection: what they sort and keep in
    /// temporary files is charged to its database.
    #[inline]
    pub fn within<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<ConnectionId>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self)));
        work()
    }

    fn name(self) -> String {
        format!("{NAME_PREFIX}{:032x}", self.0)
    }

    fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(NAME_PREFIX)?;
        let id = Self(u128::from_str_radix(digits, 16).ok()?);
        // Other ways to write the number are not its name.
        (id.name() == name).then_some(id)
    }
}

/// The seat of one connection. Dropped after the connection is closed.
pub(crate) struct Lease {
    id: ConnectionId,
    seat: Arc<Seat>,
}

impl Lease {
    /// Makes a seat for a connection that is about to be opened.
    pub(crate) fn new() -> Self {
        let (id, seat) = (ConnectionId::new(), Arc::new(Seat::default()));
        SEATS.lock().insert(id, Arc::clone(&seat));
        Self { id, seat }
    }

    /// Gives the connection a database. False: it has one, or the database is open.
    pub(crate) fn lend(&self, context: &Arc<Context>) -> bool {
        self.seat.lend(context)
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// What to open.
    pub(crate) fn name(&self) -> String {
        self.id.name()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.seat.file_is_open() {
            // A statement is still held, so SQLite did not close. SQLite may use the file at any
            // time: the seat stays.
            tracing::error!(connection = self.name(), "connection was not closed");
            return;
        }
        SEATS.lock().remove(&self.id);
    }
}

/// The main file of a connection.
pub(crate) fn open_main(name: &str) -> Option<SeatFile> {
    seat(ConnectionId::parse(name)?)?.open()
}

/// The journal of a connection's main file.
pub(crate) fn open_journal(name: &str) -> Option<ScratchFile> {
    scratch(ConnectionId::parse(name.strip_suffix(JOURNAL_SUFFIX)?)?)
}

/// A file without a name, of the connection that runs on this thread.
pub(crate) fn open_nameless() -> Option<ScratchFile> {
    let current = CURRENT.get();
    if current.is_none() {
        tracing::error!("a temporary file of no connection");
    }
    scratch(current?)
}

fn scratch(id: ConnectionId) -> Option<ScratchFile> {
    let seat = seat(id)?;
    let context = seat.tenant()?;
    match context.alive() {
        Ok(()) => Some(ScratchFile::new(Arc::clone(context))),
        Err(fault) => {
            context.faults.record(fault);
            None
        }
    }
}

fn seat(id: ConnectionId) -> Option<Arc<Seat>> {
    SEATS.lock().get(&id).cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use stockade_depot::DepotLimits;

    use super::*;
    use crate::test_context::TestContext;

    #[test]
    fn a_name_is_found_as_it_was_written_and_not_otherwise() {
        let id = ConnectionId(0xAB);
        let name = id.name();
        assert_eq!(ConnectionId::parse(&name), Some(id));
        for other in ["stockade-ab", "stockade-", "ab", &name.to_uppercase(), &format!("{name}0")] {
            assert_eq!(ConnectionId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_main_file_opens_once_and_until_the_seat_is_gone() {
        let lease = Lease::new();
        let name = lease.name();
        let file = open_main(&name).unwrap();
        assert!(open_main(&name).is_none());
        drop(file);
        assert!(open_main(&name).is_none(), "not again either");
        drop(lease);
        assert!(seat(ConnectionId::parse(&name).unwrap()).is_none());
    }

    #[test]
    fn nameless_files_are_charged_to_whose_statements_run() {
        let (one, two) = (
            TestContext::new(DepotLimits::default(), |_| ()),
            TestContext::new(DepotLimits::default(), |_| ()),
        );
        let (first, second) = (Lease::new(), Lease::new());
        assert!(first.id().within(open_nameless).is_none(), "it has no database");
        assert!(first.lend(&one.context) && second.lend(&two.context));
        assert!(!second.lend(&one.context), "it has one");
        assert!(open_nameless().is_none(), "nobody's");
        let used = || (one.context.scratch.used(), two.context.scratch.used());
        first.id().within(|| {
            use crate::file::OsFile;
            let mut inner = second.id().within(open_nameless).unwrap();
            let mut outer = open_nameless().unwrap();
            outer.write(&[1; 100], 0).unwrap();
            inner.write(&[2; 30], 0).unwrap();
            assert_eq!(used(), (100, 30));
            let mut journal = open_journal(&format!("{}-journal", second.name())).unwrap();
            journal.write(&[3; 7], 0).unwrap();
            assert_eq!(used(), (100, 37), "a journal is found by its name");
        });
        assert_eq!(used(), (0, 0));
        assert!(open_nameless().is_none(), "nobody's again");
    }

    #[test]
    fn a_seat_whose_file_is_open_stays() {
        let lease = Lease::new();
        let id = lease.id();
        let file = open_main(&lease.name()).unwrap();
        drop(lease);
        assert!(seat(id).is_some());
        drop(file);
        SEATS.lock().remove(&id);
    }
}
