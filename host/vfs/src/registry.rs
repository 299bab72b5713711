//! How `sqlite3_open_v2`, which knows only names, finds a session: the registered VFSs and who
//! uses them.
//!
//! SQLite's list of VFSs is searched one by one, so a slot is registered once and lent to one
//! database after the other, and stands in front of the others when it is about to be looked for;
//! there are never more than databases were open at once. Names cannot
//! be guessed: a guest that gets around the authorizer names no other guest's VFS.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::Context;
use crate::ffi::Slot;

static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

/// A slot lent to one database. Dropped after the connection is closed.
pub(crate) struct Lease {
    slot: &'static Slot,
    context: Arc<Context>,
}

impl Lease {
    /// Lends a slot to `context`.
    ///
    /// # Errors
    /// SQLite's code if it registers no VFS.
    pub(crate) fn take(context: Arc<Context>) -> Result<Self, i32> {
        let free = FREE.lock().pop();
        let slot = match free {
            Some(slot) => {
                slot.bring_forward();
                slot
            }
            None => Slot::register(&unguessable_name())?,
        };
        slot.set_tenant(Some(Arc::clone(&context)));
        Ok(Self { slot, context })
    }

    /// What to open, and with which VFS.
    pub(crate) fn name(&self) -> &'static str {
        self.slot.name()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slot.set_tenant(None);
        if self.context.main_is_open() {
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
