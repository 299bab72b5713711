//! How `sqlite3_open_v2`, which knows only names, finds a session: the registered VFSs and who
//! uses them.
//!
//! SQLite's list of VFSs is searched one by one, so a slot is registered once and lent to one
//! connection after the other, and stands in front of the others when it is about to be looked for;
//! there are never more than connections were open at once. Names cannot
//! be guessed: a guest that gets around the authorizer names no other guest's VFS.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::context::Context;
use crate::ffi::{self, Slot};

static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

/// A slot lent to one connection. Dropped after the connection is closed.
pub(crate) struct Lease {
    slot: &'static Slot,
    /// The database that the connection was given; `None`: none yet.
    context: Option<Arc<Context>>,
}

impl Lease {
    /// Lends a slot to a connection that is about to be opened.
    ///
    /// # Errors
    /// SQLite's code if it registers no VFS.
    pub(crate) fn take() -> Result<Self, i32> {
        let free = FREE.lock().pop();
        let slot = match free {
            Some(slot) => {
                slot.bring_forward();
                slot
            }
            None => Slot::register(&unguessable_name())?,
        };
        Ok(Self { slot, context: None })
    }

    /// The connection's database from now on: its main file, and whom its temporary files belong to.
    /// False: it has one, or the database is open.
    pub(crate) fn lend(&mut self, connection: &Connection, context: &Arc<Context>) -> bool {
        let lent = ffi::occupy(connection, context);
        if lent {
            self.slot.set_tenant(Some(Arc::clone(context)));
            self.context = Some(Arc::clone(context));
        }
        lent
    }

    /// What to open, and with which VFS.
    pub(crate) fn name(&self) -> &'static str {
        self.slot.name()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slot.set_tenant(None);
        if self.context.as_ref().is_some_and(|context| context.main_is_open()) {
            // Somebody still holds a statement, so SQLite did not close. It may come back to this
            // VFS at any time: the slot stays taken.
            tracing::error!(vfs = self.slot.name(), "connection was not closed");
            return;
        }
        FREE.lock().push(self.slot);
    }
}

/// Two hashes under keys of the operating system's randomness: 128 bits.
fn unguessable_name() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("stockade-{:016x}{:016x}", random(), random())
}
