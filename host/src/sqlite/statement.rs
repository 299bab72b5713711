//! Compiled statements: those that guests hold, and those kept by their text for the next use.
//!
//! ```text
//!  prepare ──> cache has the text? take it : compile ──> Slot (a guest's handle) ─> drop ─> cache
//! ```
//! A compiled statement has one user at a time, so two handles of one text are two statements.
//! Their memory is counted: a guest that prepares statements without end gets `handles`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::c_int;
use std::rc::Rc;

use super::run::Batch;

/// Statements that are kept without a holder.
const KEPT_MAX: usize = 64;
/// Bytes of memory of all compiled statements of a connection, held and kept.
pub(super) const COMPILED_BYTES_MAX: u64 = 64 << 20;

/// A compiled statement and its properties.
pub(super) struct Compiled {
    pub(super) raw: stockade_sqlite::Statement,
    pub(super) sql: Rc<str>,
    pub(super) parameters: c_int,
    /// Whether the statement writes nothing to the database file.
    pub(super) readonly: bool,
    /// Whether the statement begins, ends or nests transactions.
    pub(super) controls_transactions: bool,
    /// Whether the statement ends a transaction or a savepoint, and keeps its changes.
    pub(super) commits: bool,
    /// Bytes of memory when the statement was compiled.
    pub(super) memory_bytes: u64,
    /// Bytes of the last batch of rows: the next one is likely to be as large.
    pub(super) batch_bytes: usize,
    /// [`super::run::Runner::changes`] when SQLite last compiled the statement, or checked whether
    /// it must.
    pub(super) as_of: u64,
}

/// Names a statement that a guest holds. Dies with it; never names another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementId {
    index: usize,
    serial: u64,
}

/// Names one run of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorId {
    pub(super) statement: StatementId,
    pub(super) run: u64,
}

/// A statement that a guest holds.
pub(super) struct Slot {
    pub(super) compiled: Compiled,
    pub(super) run: Option<Run>,
    /// Bytes of the values bound one by one, by position.
    pub(super) bound: BTreeMap<c_int, u64>,
}

/// A query in progress.
pub(super) struct Run {
    pub(super) serial: u64,
    /// Whether a cursor reads the rows, or `next` of the statement.
    pub(super) by_cursor: bool,
    /// Whether the parameters are a packed row, which is released when the run ends.
    pub(super) packed: bool,
    /// A row that was read but did not fit into the last batch.
    pub(super) spilled: Vec<u8>,
    /// Rows of a write that has ended and is committed.
    pub(super) rest: Option<Rest>,
}

/// Packed rows of a write, kept for their reader.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) rows: Vec<u8>,
    /// The end of each row that is not handed out yet.
    pub(super) ends: VecDeque<usize>,
    /// Number of values in each row.
    pub(super) columns: u32,
    /// Where the rows begin that are not handed out yet.
    from: usize,
}

impl Rest {
    /// The next rows, at most `bytes_max` bytes of them, but at least one.
    pub(super) fn batch(&mut self, bytes_max: usize) -> Batch {
        let count = self.ends.partition_point(|end| end - self.from <= bytes_max);
        let count = count.max(1).min(self.ends.len());
        let to = self.ends.drain(..count).next_back().unwrap_or(self.from);
        let done = self.ends.is_empty();
        let rows = if self.from == 0 && done {
            std::mem::take(&mut self.rows)
        } else {
            self.rows[self.from..to].to_vec()
        };
        self.from = to;
        // A run has at most 2^32 rows: each takes bytes, which are bounded.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Batch { rows, count, columns: self.columns, done }
    }
}

/// Queries in progress at the same time: each keeps a row, and the packed row of its parameters, in
/// memory.
const RUNS_MAX: u32 = 32;

/// The statements that guests hold.
#[derive(Default)]
pub(super) struct Slots {
    /// Queries in progress.
    runs: u32,
    slots: Vec<Option<(u64, Slot)>>,
    free: Vec<usize>,
    serial: u64,
}

impl Slots {
    pub(super) fn insert(&mut self, compiled: Compiled) -> StatementId {
        self.serial += 1;
        let slot = Some((self.serial, Slot { compiled, run: None, bound: BTreeMap::new() }));
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        StatementId { index, serial: self.serial }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: StatementId) -> Option<&mut Slot> {
        match self.slots.get_mut(id.index) {
            Some(Some((serial, slot))) if *serial == id.serial => Some(slot),
            _ => None,
        }
    }

    /// Begins a query; `false` if too many are in progress.
    pub(super) fn begin_run(&mut self, id: StatementId, run: Run) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        let Some(slot) = self.get_mut(id) else { return false };
        debug_assert!(slot.run.is_none());
        slot.run = Some(run);
        self.runs += 1;
        true
    }

    /// Takes a query in progress out of its slot, for the caller to end it.
    pub(super) fn take_run(&mut self, id: StatementId) -> Option<(&mut Slot, Run)> {
        let run = self.get_mut(id)?.run.take()?;
        self.runs -= 1;
        self.get_mut(id).map(|slot| (slot, run))
    }

    /// Takes any query in progress.
    pub(super) fn take_any_run(&mut self) -> Option<(&mut Slot, Run)> {
        if self.runs == 0 {
            return None;
        }
        self.runs -= 1;
        self.iter_mut().find_map(|slot| slot.run.take().map(|run| (slot, run)))
    }

    /// Bytes of rows that are kept for their readers.
    pub(super) fn rest_bytes(&mut self) -> usize {
        let rest = |slot: &mut Slot| slot.run.as_ref()?.rest.as_ref().map(|rest| rest.rows.len());
        self.iter_mut().filter_map(rest).sum()
    }

    pub(super) fn remove(&mut self, id: StatementId) -> Option<Slot> {
        self.get_mut(id)?;
        self.free.push(id.index);
        self.slots[id.index].take().map(|(_, slot)| slot)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter_map(|slot| slot.as_mut().map(|(_, slot)| slot))
    }
}

/// Compiled statements without a holder, by their text. The least recently used go first.
#[derive(Default)]
pub(super) struct Cache {
    kept: HashMap<Rc<str>, Kept>,
    clock: u64,
    /// Bytes of memory of all statements that were compiled through here and still live.
    compiled_bytes: u64,
}

struct Kept {
    compiled: Compiled,
    used: u64,
}

impl Cache {
    /// Takes a statement out.
    pub(super) fn take(&mut self, sql: &str) -> Option<Compiled> {
        self.kept.remove(sql).map(|kept| kept.compiled)
    }

    /// Counts a statement that was compiled just now; `false` if there is no room for it.
    pub(super) fn admit(&mut self, compiled: &Compiled) -> bool {
        while self.compiled_bytes + compiled.memory_bytes > COMPILED_BYTES_MAX {
            if !self.evict() {
                return false;
            }
        }
        self.compiled_bytes += compiled.memory_bytes;
        true
    }

    /// Keeps an idle statement: reset, without bindings.
    pub(super) fn give(&mut self, compiled: Compiled) {
        if self.kept.len() >= KEPT_MAX && !self.kept.contains_key(&*compiled.sql) {
            self.evict();
        }
        self.clock += 1;
        let kept = Kept { used: self.clock, compiled };
        if let Some(same) = self.kept.insert(Rc::clone(&kept.compiled.sql), kept) {
            self.compiled_bytes -= same.compiled.memory_bytes;
        }
    }

    fn evict(&mut self) -> bool {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
        let Some(sql) = oldest.map(|(sql, _)| Rc::clone(sql)) else { return false };
        if let Some(kept) = self.kept.remove(&sql) {
            self.compiled_bytes -= kept.compiled.memory_bytes;
        }
        true
    }
}
