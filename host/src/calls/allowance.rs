//! What a call may use of its caller's budget, and what it has used.

/// Amounts of SQL work, as a budget has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Steps of SQLite's virtual machine.
    pub sql_steps: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes of rows read.
    pub row_bytes: u64,
    /// Pages of the database read.
    pub pages: u64,
}
