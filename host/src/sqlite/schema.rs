//! Checks the contents of a file to be imported, under the rules of its future actor.
//!
//! ```text
//!  names      none of the host's, except its own tables, to the letter
//!  sizes      no row longer than a value may be
//!  objects    each CREATE run again, then statements compiled that touch what it made, twice:
//!             by a connection bound as a guest's is ── works ──────────────> fine
//!                                                   └─ fails
//!             by one that is bound by nothing ──────── fails as well ──────> broken anyway
//!                                             └─────── works ──────────────> refused
//! ```
//! Both connections are in memory and have no rows. So whatever an actor is refused by its
//! authorizer or its limits is refused here, without a list of such things.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode, Row};
use stockade_vfs::heap::{Heap, Refusal};

use super::authorizer::{guest_may, is_reserved, mentions_reserved};
use super::{alarms, functions, hardening, inbox, outbox, records};
use crate::limits::{Limits, VALUE_BYTES_MAX};

/// Characters of a name or of SQLite's text in an error.
const SHOWN_CHARS: usize = 200;

/// Why a file's content was not checked, or cannot belong to an actor.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// No actor can have the content: a sentence.
    Unsupported(String),
    /// The file could not be read.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Done<T> = Result<T, Unfit>;

/// Checks that an actor with such limits can have what is in `file`. Runs on a stack for SQL.
///
/// # Errors
/// `Unsupported` names the first thing that an actor cannot have.
pub(crate) fn check(file: &Connection, limits: &Limits) -> Done<()> {
    names(file)?;
    sizes(file, limits)?;
    let pair = Pair::new(limits)?;
    for object in objects(file)? {
        pair.create(&object)?;
    }
    pair.touch_all()?;
    pair.alter()
}

/// Checks for names of the host, of any sort. Its own tables may be there, as an export of an actor has
/// them: in another database all alarms and messages are off, and under another name no record counts.
fn names(file: &Connection) -> Done<()> {
    let mut rows =
        file.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let sql = text(row, 3)?;
        if is_of_host(&sql) {
            continue;
        }
        if mentions_reserved(&sql) && !is_reserved(&text(row, 1)?) {
            let (sort, name) = (text(row, 0)?, shown(&text(row, 1)?));
            let words = format!("{sort} {name}: its text has a name that begins with _stockade");
            return Err(Unfit::Unsupported(words));
        }
        for column in [1, 2] {
            let name = text(row, column)?;
            if is_reserved(&name) {
                let (sort, name) = (text(row, 0)?, shown(&name));
                let words =
                    format!("{sort} {name}: names that begin with _stockade are the host's");
                return Err(Unfit::Unsupported(words));
            }
        }
    }
    Ok(())
}

/// Whether this is the text of what the host makes for itself.
fn is_of_host(sql: &str) -> bool {
    [alarms::TABLE, alarms::INDEX, records::TABLE, records::INDEX].contains(&sql)
        || outbox::OBJECTS.contains(&sql)
        || inbox::OBJECTS.contains(&sql)
}

/// Rows, keys of indexes and texts of the schema, as SQLite stores them.
fn sizes(file: &Connection, limits: &Limits) -> Done<()> {
    let sql = "SELECT name, mx_payload FROM dbstat WHERE mx_payload > \
               iif(name = 'sqlite_schema', ?1, ?2) LIMIT 1";
    let bounded = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let bounds = [bounded(VALUE_BYTES_MAX), bounded(limits.value_bytes_max)];
    let found = file.query_row(sql, bounds, |row| Ok((text(row, 0)?, row.get::<_, i64>(1)?)));
    match found {
        Ok((name, bytes)) => Err(Unfit::Unsupported(format!(
            "a row of {} has {bytes} bytes, over the limit of {} (value_bytes_max)",
            shown(&name),
            limits.value_bytes_max,
        ))),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// An object of the schema. File-controlled.
struct Object {
    sort: String,
    name: String,
    sql: String,
}

/// All objects that have a text, in an order in which they can be made. Virtual tables come first:
/// they make the tables that they keep their rows in, which exist then and fail for both.
fn objects(file: &Connection) -> Done<Vec<Object>> {
    let mut rows = file.prepare(
        "SELECT type, name, sql FROM sqlite_schema
         WHERE sql IS NOT NULL AND substr(name, 1, 7) <> 'sqlite_'
         ORDER BY CASE type WHEN 'table' THEN rootpage > 0 WHEN 'index' THEN 2 WHEN 'view' THEN 3
           ELSE 4 END, rowid",
    )?;
    let rows = rows.query_map([], |row| {
        Ok(Object { sort: text(row, 0)?, name: text(row, 1)?, sql: text(row, 2)? })
    })?;
    let objects = rows.collect::<rusqlite::Result<Vec<Object>>>()?;
    Ok(objects.into_iter().filter(|object| !is_of_host(&object.sql)).collect())
}

/// The same schema twice, in memory.
struct Pair {
    /// Bound as a guest's connection.
    bound: Connection,
    /// The last denial on that connection.
    denial: Arc<Mutex<Option<String>>>,
    heap: Heap,
    /// Bound by nothing but SQLite, memory and stack: it reads what the other one refuses to read.
    free: Connection,
    free_heap: Heap,
}

impl Pair {
    fn new(limits: &Limits) -> Done<Self> {
        let heap = Heap::new(hardening::HEAP_BYTES_MAX);
        let denial = Arc::new(Mutex::new(None));
        let free = in_memory()?;
        let mut bound = in_memory()?;
        // As for an actor whose schema has the longest text that is possible.
        hardening::harden(&bound, VALUE_BYTES_MAX.max(limits.value_bytes_max))?;
        let noted = Arc::clone(&denial);
        bound.authorizer(Some(move |context: AuthContext<'_>| match guest_may(&context) {
            Ok(()) => Authorization::Allow,
            Err(what) => {
                noted.lock().get_or_insert(what);
                Authorization::Deny
            }
        }))?;
        let free_heap = Heap::new(hardening::HEAP_BYTES_MAX);
        Ok(Self { bound, denial, heap, free, free_heap })
    }

    fn create(&self, object: &Object) -> Done<()> {
        self.both(&object.sort, &object.name, &object.sql, true)
    }

    /// Reads and writes every table and view, which fires every trigger: compiled, not run.
    fn touch_all(&self) -> Done<()> {
        let mut names = self.free.prepare(
            "SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view')
               AND substr(name, 1, 7) <> 'sqlite_'",
        )?;
        let names = names.query_map([], |row| Ok((text(row, 0)?, text(row, 1)?)))?;
        for name in names {
            let (sort, name) = name?;
            self.touch(&sort, &name)?;
        }
        Ok(())
    }

    fn touch(&self, sort: &str, name: &str) -> Done<()> {
        let quoted = quoted(name);
        for sql in [
            format!("SELECT * FROM {quoted}"),
            format!("INSERT INTO {quoted} DEFAULT VALUES"),
            format!("DELETE FROM {quoted}"),
        ] {
            self.both(sort, name, &sql, false)?;
        }
        let columns = self.columns(name);
        if columns.is_empty() {
            return Ok(());
        }
        let set: Vec<_> = columns.iter().map(|column| format!("{column} = {column}")).collect();
        self.both(sort, name, &format!("UPDATE {quoted} SET {}", set.join(", ")), false)
    }

    /// The columns that can be set; none if that is unknown.
    fn columns(&self, name: &str) -> Vec<String> {
        let sql = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0";
        let columns = self.free.prepare(sql).and_then(|mut columns| {
            let columns = columns.query_map([name], |row| Ok(quoted(&text(row, 0)?)))?;
            columns.collect()
        });
        columns.unwrap_or_default()
    }

    /// ALTER TABLE reads all of the schema again.
    fn alter(&self) -> Done<()> {
        for sql in [
            "CREATE TABLE \"a table that is altered\" (a)",
            "ALTER TABLE \"a table that is altered\" RENAME COLUMN a TO b",
        ] {
            self.both("schema", "of the file", sql, true)?;
        }
        Ok(())
    }

    /// Refuses what works on the free connection and not on the bound one.
    fn both(&self, sort: &str, name: &str, sql: &str, run: bool) -> Done<()> {
        let bound = self.heap.within(|| attempt(&self.bound, sql, run));
        let denial = self.denial.lock().take();
        let too_deep = self.heap.take_refusal() == Some(Refusal::Depth);
        let free = self.free_heap.within(|| attempt(&self.free, sql, run));
        let Err(error) = bound else { return Ok(()) };
        let is_no_memory =
            |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::OutOfMemory);
        let no_memory = is_no_memory(&error);
        if free.is_err_and(|error| !is_no_memory(&error)) && !no_memory {
            return Ok(());
        }
        let why = match denial {
            Some(denial) => format!("actors may not have {denial}"),
            None if too_deep => "it is too deep for an actor (depth)".to_owned(),
            None if no_memory => "it needs more memory than an actor has (memory)".to_owned(),
            None => format!("it is over a limit of actors: {}", shown(&error.to_string())),
        };
        Err(Unfit::Unsupported(format!("{sort} {}: {why}", shown(name))))
    }
}

fn in_memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    functions::register(&connection)
        .map_err(|code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(connection)
}

/// Compiles one statement of the file, and runs it if it makes something.
fn attempt(connection: &Connection, sql: &str, run: bool) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    if run {
        statement.raw_execute()?;
    }
    Ok(())
}

/// A text of the schema; bytes in it that are not UTF-8 are replaced.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn shown(words: &str) -> String {
    words.chars().take(SHOWN_CHARS).collect()
}
