//! The native side of every SQL ratio: rusqlite on a file, WAL, statements cached.
//!
//! The native side is a program of its own, without parts of Stockade: in a host's process SQLite
//! allocates through the host's accounts, and the bench has the allocator of `stockade`. The one
//! argument is the errand as JSON; the output is the figures.

#![allow(
    unreachable_pub,
    clippy::print_stdout,
    reason = "the figures go to standard output; files are shared with the other binaries"
)]

mod beside;
mod ingest;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Value as Json, json};

fn main() -> anyhow::Result<()> {
    let errand = std::env::args().nth(1).context("an errand, as JSON")?;
    let errand: Json = serde_json::from_str(&errand)?;
    let figures = match errand["text"] {
        Json::Null => loops(&errand)?,
        _ => ingest::run(&errand)?,
    };
    println!("{figures}");
    Ok(())
}

/// Rows of the table of point queries, scans and updates.
const ROWS: u32 = 10_000;

/// SQLite's setting `synchronous`.
#[derive(Clone, Copy, Deserialize)]
enum Sync {
    /// No sync.
    Off,
    /// A sync at every commit.
    Full,
}

/// SQLite's setting `locking_mode`.
#[derive(Clone, Copy, Deserialize)]
enum Locking {
    /// Other processes may open the file: each transaction takes and releases locks. The default.
    Normal,
    /// No other process may open the file, as with an actor's database: locks are kept, and the
    /// WAL's index is plain memory.
    Exclusive,
}

/// Runs a loop twice and measures the second run: the first run warms the process.
fn loops(errand: &Json) -> anyhow::Result<Json> {
    let path = Path::new(errand["path"].as_str().context("a path")?);
    let sync = Sync::deserialize(&errand["sync"])?;
    let locking = Locking::deserialize(&errand["locking"])?;
    let there = path.exists();
    let mut native = Native::open(path, sync, locking)?;
    if !there {
        native.setup()?;
    }
    if !errand["hogs"].is_null() {
        return beside::run(&native, errand);
    }
    let count = u32::deserialize(&errand["count"])?;
    let mut took = Duration::ZERO;
    for _ in 0..2 {
        native.clear()?;
        took = match errand["method"].as_str() {
            Some("point") => native.point(count)?,
            Some("scan") => native.scan(count)?,
            Some("update") => native.update(count)?,
            _ => native.insert(count)?,
        };
    }
    Ok(json!({ "seconds": took.as_secs_f64() }))
}

/// A database file in the bench's directory.
struct Native {
    connection: Connection,
}

impl Native {
    /// Opens a file.
    fn open(path: &Path, sync: Sync, locking: Locking) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        if matches!(locking, Locking::Exclusive) {
            connection.pragma_update(None, "locking_mode", "exclusive")?;
        }
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(
            None,
            "synchronous",
            match sync {
                Sync::Off => "off",
                Sync::Full => "full",
            },
        )?;
        Ok(Self { connection })
    }

    /// The connection, for other workloads.
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Makes the tables of the guest's `setup`, with the same rows.
    fn setup(&mut self) -> anyhow::Result<()> {
        self.connection.execute_batch(include_str!("../../guests/sqlite_bench/src/schema.sql"))?;
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT_ITEM)?;
            for id in 0..i64::from(ROWS) {
                insert.execute(params![id, name_of(id), id * 7])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads rows by key.
    fn point(&self, count: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut sum = 0i64;
        for i in 0..i64::from(count) {
            let mut select = self.connection.prepare_cached(SELECT_POINT)?;
            let id = i * 7919 % i64::from(ROWS);
            sum += select.query_row([id], |row| row.get::<_, i64>(0))?;
        }
        std::hint::black_box(sum);
        Ok(begun.elapsed())
    }

    /// Reads the whole table into owned values.
    fn scan(&self, count: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for _ in 0..count {
            let mut select = self.connection.prepare_cached(SELECT_ALL)?;
            let rows = select.query_map([], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })?;
            let rows: Vec<(i64, String, i64)> = rows.collect::<Result<_, _>>()?;
            std::hint::black_box(&rows);
        }
        Ok(begun.elapsed())
    }

    /// Updates rows by key, each autocommitted.
    fn update(&self, count: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for i in 0..i64::from(count) {
            let mut update = self.connection.prepare_cached(UPDATE)?;
            update.execute([1, i * 7919 % i64::from(ROWS)])?;
        }
        Ok(begun.elapsed())
    }

    /// Empties the table that [`Self::insert`] fills.
    fn clear(&self) -> anyhow::Result<()> {
        Ok(self.connection.execute_batch("DELETE FROM bulk")?)
    }

    /// Inserts rows in one transaction.
    fn insert(&mut self, count: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT_BULK)?;
            for id in 0..i64::from(count) {
                insert.execute(params![id, name_of(id), id * 7])?;
            }
        }
        transaction.commit()?;
        Ok(begun.elapsed())
    }
}

/// The statements of the guest `sqlite_bench`, to the letter.
const INSERT_ITEM: &str = "INSERT INTO item (id, name, amount) VALUES (?1, ?2, ?3)";
const SELECT_POINT: &str = "SELECT amount FROM item WHERE id = ?1";
const SELECT_ALL: &str = "SELECT id, name, amount FROM item";
const UPDATE: &str = "UPDATE item SET amount = amount + ?1 WHERE id = ?2";
const INSERT_BULK: &str = "INSERT INTO bulk (id, name, amount) VALUES (?1, ?2, ?3)";

fn name_of(id: i64) -> String {
    format!("item number {id}")
}
