//! The bounds of every connection before the first statement of a guest.
//!
//! Each number bounds work that SQLite does in C without asking the host: the reason stands beside
//! it, and all of them stand beside SQLite's own in `docs/reference/sqlite-limits.md`, which a test
//! keeps true. The numbers that a kind may choose come from [`crate::limits::Limits`].
//!
//! Invariant: SQLite reads a schema again whenever it likes (VACUUM, a rollback, ALTER), under the
//! limits of the connection. So no limit here may be lower than the contents of a schema that was
//! made or imported before:
//! - the length of a statement is checked where a guest's text comes in ([`super::run`]), not here;
//! - what one text may contain is bounded as in SQLite itself, but for columns;
//! - no actor ever had more columns, and an import with more is refused ([`super::schema`]);
//! - the length of a value is at least that of the longest text of the schema: [`value_bytes_max`].

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use crate::limits::{Limits, VALUE_BYTES_MAX};

/// Columns of a table, an index, a result, and terms of ORDER BY and GROUP BY. Half of SQLite's: a
/// NATURAL JOIN of 64 tables compares all names with each other without asking the host, 1.2 s for
/// 1,000 columns each and 5.5 s for 2,000; JOIN .. USING of them all takes 3 MiB of stack, and 5.9
/// MiB.
pub(super) const COLUMNS_MAX: i32 = 1_000;
/// Threads that help a statement. None: an actor has one.
const HELPERS_MAX: i32 = 0;
/// VACUUM attaches its own file; the authorizer refuses every other.
const ATTACHED_MAX: i32 = 1;
/// Parameters of one statement: SQLite's own bound.
pub(super) const PARAMETERS_MAX: i32 = 32_766;
/// Bytes of a pattern of LIKE and GLOB (`pattern.rs`): SQLite's own bound. Comparing takes at most
/// (text x pattern) steps, which look at the clock, and no stack.
pub(super) const PATTERN_BYTES_MAX: i32 = 50_000;
/// Memory that SQLite may allocate for one database: cache, schema, compiled statements, values.
/// 128 MiB, as much as a guest has of its own; the largest row that is useful needs a few values of
/// 16 MiB. The bound also limits compiling where SQLite asks nothing: to about a second.
pub(crate) const HEAP_BYTES_MAX: usize = 128 << 20;
/// Bytes of a row of the schema beside its texts, and what ALTER may add to one.
const SCHEMA_ROW_SLACK: u64 = 1 << 10;

/// Bytes of one value: what the kind allows, and at least the longest row of the schema. Must be
/// called before [`harden`].
pub(super) fn value_bytes_max(connection: &Connection, limits: &Limits) -> rusqlite::Result<u64> {
    // No row is longer than the greatest limit of any kind: no search is needed.
    if limits.value_bytes_max >= VALUE_BYTES_MAX {
        return Ok(VALUE_BYTES_MAX);
    }
    let longest: Option<i64> = connection.query_row(
        "SELECT max(octet_length(name) + octet_length(tbl_name) + octet_length(sql)) \
         FROM sqlite_schema",
        [],
        |row| row.get(0),
    )?;
    let longest = longest.and_then(|bytes| u64::try_from(bytes).ok());
    let schema = longest.map_or(0, |bytes| bytes.saturating_add(SCHEMA_ROW_SLACK));
    Ok(limits.value_bytes_max.max(schema).min(VALUE_BYTES_MAX))
}

/// Sets the limits and switches of a new connection.
pub(super) fn harden(connection: &Connection, value_bytes_max: u64) -> rusqlite::Result<()> {
    let value_bytes_max = i32::try_from(value_bytes_max).unwrap_or(i32::MAX);
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, value_bytes_max),
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, ATTACHED_MAX),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES_MAX),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, PARAMETERS_MAX),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, HELPERS_MAX),
    ] {
        connection.set_limit(limit, value)?;
    }
    for (switch, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        // One text is one plan: with STAT4 SQLite would look at bound values and compile a
        // statement again, in the middle of a step, when they change. `LIKE ?` uses no index in
        // exchange.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(switch, on)?;
    }
    Ok(())
}
