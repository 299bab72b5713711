//! What every connection is bound by before the first statement of a guest.
//!
//! Each number bounds something that SQLite does in C without asking anybody: the reason stands
//! beside it. Those that a kind of actor may choose come from [`crate::limits::Limits`].

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use crate::limits::Limits;

/// LIKE and GLOB (`pattern.rs`) recurse and take (text x pattern) steps.
const LIKE_PATTERN_BYTES_MAX: i32 = 128;
/// The parser and the code generator recurse: the host's share of a fiber's stack is 1.5 MiB.
const EXPRESSION_DEPTH_MAX: i32 = 200;
/// Terms of a compound SELECT recurse as well.
const COMPOUND_TERMS_MAX: i32 = 200;
/// Columns of a row are all in memory at once, each as large as a value may be.
const COLUMNS_MAX: i32 = 256;
/// Triggers that fire triggers recurse in memory, not on the stack.
const TRIGGER_DEPTH_MAX: i32 = 100;
/// As SQLite's own default for older versions: enough for every function that is allowed.
const FUNCTION_ARGUMENTS_MAX: i32 = 127;
/// Parameters of one statement.
pub(super) const PARAMETERS_MAX: i32 = 32_766;
/// Instructions of a compiled statement: 24 bytes each.
const INSTRUCTIONS_MAX: i32 = 2_000_000;
/// Memory that SQLite may allocate for one database: cache, schema, compiled statements, values.
/// 128 MiB, as much as a guest has of its own; the largest row that is useful needs a few values of
/// 16 MiB. It also bounds what compiling may take where SQLite asks nobody: about a second.
pub(super) const HEAP_BYTES_MAX: usize = 128 << 20;
/// VACUUM attaches its own file; the authorizer refuses every other.
const ATTACHED_MAX: i32 = 1;

/// Sets the limits and switches of a new connection.
pub(super) fn harden(connection: &Connection, limits: &Limits) -> rusqlite::Result<()> {
    let bounded = |bytes: u64| i32::try_from(bytes).unwrap_or(i32::MAX);
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, bounded(limits.value_bytes_max)),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, bounded(limits.statement_bytes_max)),
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, EXPRESSION_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, COMPOUND_TERMS_MAX),
        (Limit::SQLITE_LIMIT_VDBE_OP, INSTRUCTIONS_MAX),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, FUNCTION_ARGUMENTS_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, ATTACHED_MAX),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_BYTES_MAX),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, PARAMETERS_MAX),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGER_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    for (switch, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        // One text is one plan: with STAT4 SQLite would look at bound values and compile a statement
        // again, in the middle of a step, when they change. `LIKE ?` uses no index in exchange.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(switch, on)?;
    }
    Ok(())
}
