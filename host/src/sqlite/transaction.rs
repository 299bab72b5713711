//! Open transactions as a stack: ending an outer one ends those inside it.
//!
//! ```text
//!  BEGIN              level 0     (SAVEPOINT, if SQL text has begun a transaction itself)
//!   SAVEPOINT _1      level 1
//!    SAVEPOINT _2     level 2     RELEASE or ROLLBACK TO of level 1 ends level 2 as well
//! ```
//! SQLite may roll everything back by itself after an error. The stack is *lost* then: the next
//! statements of the handles' owner would commit by themselves, so none runs until the handles are
//! closed. While the stack is not empty, SQL text cannot control transactions, so the stack and
//! SQLite's agree.

use super::error::SqlError;

/// How a transaction takes its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionMode {
    /// At the first read or write.
    Deferred,
    /// Immediately, for writing.
    Immediate,
}

/// Names an open transaction. Never names another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionId(u64);

#[derive(Clone, Copy)]
struct Level {
    id: u64,
    is_savepoint: bool,
}

/// The open transactions, outermost first.
#[derive(Default)]
pub(super) struct Stack {
    levels: Vec<Level>,
    last: u64,
    /// Whether SQLite has rolled the transactions back, with their handles not closed yet.
    lost: bool,
}

/// The effect of open transaction handles on a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// No handle is open.
    Nothing,
    /// The statement runs inside their transaction.
    Open,
    /// The statement was meant to run inside a transaction that SQLite has rolled back.
    Lost,
}

/// Statements that end a level, in order.
pub(super) struct Ending {
    level: usize,
    pub(super) statements: Vec<String>,
}

impl Stack {
    #[inline]
    pub(super) fn within(&self) -> Within {
        match (self.levels.is_empty(), self.lost) {
            (true, _) => Within::Nothing,
            (false, false) => Within::Open,
            (false, true) => Within::Lost,
        }
    }

    /// Forgets all handles: the call has ended.
    pub(super) fn clear(&mut self) {
        self.levels.clear();
        self.lost = false;
    }

    /// SQLite has rolled back the transactions of the handles.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Closes a handle and those inside it; `NotOpen` if there was nothing left to end.
    pub(super) fn close_lost(&mut self, id: TransactionId) -> Result<(), SqlError> {
        if self.lost {
            let level = self.find(id)?;
            self.levels.truncate(level);
            self.lost = level > 0;
            return Err(SqlError::NotOpen);
        }
        Ok(())
    }

    /// The statement that begins the next level; nothing is lost.
    pub(super) fn beginning(&self, mode: TransactionMode, autocommit: bool) -> String {
        match (autocommit, mode) {
            (true, TransactionMode::Deferred) => "BEGIN".to_owned(),
            (true, TransactionMode::Immediate) => "BEGIN IMMEDIATE".to_owned(),
            (false, _) => format!("SAVEPOINT {}", name(self.levels.len())),
        }
    }

    /// Adds the next level, which has begun.
    pub(super) fn push(&mut self, is_savepoint: bool) -> TransactionId {
        self.last += 1;
        self.levels.push(Level { id: self.last, is_savepoint });
        TransactionId(self.last)
    }

    /// The statements that commit a level.
    pub(super) fn commit(&self, id: TransactionId) -> Result<Ending, SqlError> {
        let level = self.find(id)?;
        let statement = if self.levels[level].is_savepoint {
            format!("RELEASE {}", name(level))
        } else {
            "COMMIT".to_owned()
        };
        Ok(Ending { level, statements: vec![statement] })
    }

    /// The statements that roll a level back.
    pub(super) fn rollback(&self, id: TransactionId) -> Result<Ending, SqlError> {
        let level = self.find(id)?;
        let statements = if self.levels[level].is_savepoint {
            let name = name(level);
            vec![format!("ROLLBACK TO {name}"), format!("RELEASE {name}")]
        } else {
            vec!["ROLLBACK".to_owned()]
        };
        Ok(Ending { level, statements })
    }

    /// The level right inside another one, if one is open there.
    pub(super) fn inside(&self, id: TransactionId) -> Option<TransactionId> {
        let level = self.find(id).ok()?;
        self.levels.get(level + 1).map(|level| TransactionId(level.id))
    }

    /// Removes a level that has ended, and those inside it.
    pub(super) fn ended(&mut self, ending: &Ending) {
        self.levels.truncate(ending.level);
    }

    fn find(&self, id: TransactionId) -> Result<usize, SqlError> {
        self.levels.iter().rposition(|level| level.id == id.0).ok_or(SqlError::NotOpen)
    }
}

fn name(level: usize) -> String {
    format!("_stockade_{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_an_outer_level_ends_those_inside() {
        let mut stack = Stack::default();
        assert_eq!(stack.beginning(TransactionMode::Immediate, true), "BEGIN IMMEDIATE");
        let outer = stack.push(false);
        assert_eq!(stack.beginning(TransactionMode::Immediate, false), "SAVEPOINT _stockade_1");
        let middle = stack.push(true);
        let inner = stack.push(true);
        assert_eq!((stack.inside(outer), stack.inside(inner)), (Some(middle), None));
        let ending = stack.rollback(middle).unwrap();
        assert_eq!(ending.statements, ["ROLLBACK TO _stockade_1", "RELEASE _stockade_1"]);
        stack.ended(&ending);
        assert_eq!(stack.commit(inner).err(), Some(SqlError::NotOpen));
        assert_eq!(stack.commit(outer).unwrap().statements, ["COMMIT"]);
        let again = stack.push(true);
        assert_ne!(again, middle);
    }
}
