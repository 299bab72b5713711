//! The loops that the bench measures, written as an actor's author would write them.
//!
//! The statements are those of `tests/bench/native/main.rs`, to the letter.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    stockade_sdk::world!("world.wit");
}

use bindings::exports::tests::sqlite_bench::bench::Guest;
use stockade_sdk::{Connection, Result};

stockade_alloc::install!();

const INSERT_ITEM: &str = "INSERT INTO item (id, name, amount) VALUES (?1, ?2, ?3)";
const SELECT_POINT: &str = "SELECT amount FROM item WHERE id = ?1";
const SELECT_ALL: &str = "SELECT id, name, amount FROM item";
const UPDATE: &str = "UPDATE item SET amount = amount + ?1 WHERE id = ?2";
const INSERT_BULK: &str = "INSERT INTO bulk (id, name, amount) VALUES (?1, ?2, ?3)";
const TOUCH_WIDE: &str = "UPDATE wide SET n = n + 1 WHERE id = ?1";
const SELECT_WIDE: &str = "SELECT n FROM wide WHERE id = ?1";
const SCAN_WIDE: &str = "SELECT sum(length(body) + n * 0) FROM wide";
/// Ids are spread over this many rows, as on the native side.
const ROWS: i64 = 10_000;

struct Actor;

impl Guest for Actor {
    fn setup(rows: u32) -> Result<(), String> {
        setup(rows).map_err(|error| error.to_string())
    }

    fn clear() -> Result<(), String> {
        let cleared = Connection::open().and_then(|c| c.execute("DELETE FROM bulk", []));
        cleared.map(drop).map_err(|error| error.to_string())
    }

    fn point(count: u32) -> Result<i64, String> {
        point(count).map_err(|error| error.to_string())
    }

    fn scan(count: u32) -> Result<u64, String> {
        scan(count).map_err(|error| error.to_string())
    }

    fn update(count: u32) -> Result<u64, String> {
        update(count).map_err(|error| error.to_string())
    }

    fn insert(count: u32) -> Result<u64, String> {
        insert(count).map_err(|error| error.to_string())
    }

    fn insert_one_by_one(count: u32) -> Result<u64, String> {
        insert_one_by_one(count).map_err(|error| error.to_string())
    }

    fn touch(id: i64) -> Result<u64, String> {
        let touched = Connection::open().and_then(|c| c.execute(UPDATE, [1, id]));
        touched.map_err(|error| error.to_string())
    }

    fn wide_touch(id: i64) -> Result<u64, String> {
        let touched = Connection::open().and_then(|c| c.execute(TOUCH_WIDE, [id]));
        touched.map_err(|error| error.to_string())
    }

    fn wide_point(count: u32, first: i64, rows: i64) -> Result<i64, String> {
        wide_point(count, first, rows).map_err(|error| error.to_string())
    }

    fn wide_scan() -> Result<i64, String> {
        let scanned = Connection::open().and_then(|c| c.query_row(SCAN_WIDE, [], |row| row.get(0)));
        scanned.map_err(|error| error.to_string())
    }

    fn nothing() {}
}

fn setup(rows: u32) -> Result<()> {
    let mut connection = Connection::open()?;
    connection.execute_script(include_str!("schema.sql"))?;
    if connection.query_row("SELECT count(*) FROM item", [], |row| row.get::<_, i64>(0))? > 0 {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.prepare(INSERT_ITEM)?.execute_many(rows_of(rows))?;
    transaction.commit()
}

fn point(count: u32) -> Result<i64> {
    let connection = Connection::open()?;
    let mut select = connection.prepare(SELECT_POINT)?;
    let mut sum = 0;
    for i in 0..i64::from(count) {
        sum += select.query_row([i * 7919 % ROWS], |row| row.get::<_, i64>(0))?;
    }
    Ok(sum)
}

fn scan(count: u32) -> Result<u64> {
    let connection = Connection::open()?;
    let mut select = connection.prepare(SELECT_ALL)?;
    let mut read = 0;
    for _ in 0..count {
        let rows: Vec<(i64, String, i64)> = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_>>()?;
        read += u64::try_from(std::hint::black_box(&rows).len()).unwrap_or(u64::MAX);
    }
    Ok(read)
}

fn update(count: u32) -> Result<u64> {
    let connection = Connection::open()?;
    let mut update = connection.prepare(UPDATE)?;
    let mut changed = 0;
    for i in 0..i64::from(count) {
        changed += update.execute([1, i * 7919 % ROWS])?;
    }
    Ok(changed)
}

fn insert(count: u32) -> Result<u64> {
    let mut connection = Connection::open()?;
    let transaction = connection.transaction()?;
    let inserted = transaction.prepare(INSERT_BULK)?.execute_many(rows_of(count))?;
    transaction.commit()?;
    Ok(inserted)
}

fn insert_one_by_one(count: u32) -> Result<u64> {
    let mut connection = Connection::open()?;
    let transaction = connection.transaction()?;
    let mut inserted = 0;
    {
        let mut insert = transaction.prepare(INSERT_BULK)?;
        for row in rows_of(count) {
            inserted += insert.execute(row)?;
        }
    }
    transaction.commit()?;
    Ok(inserted)
}

fn wide_point(count: u32, first: i64, rows: i64) -> Result<i64> {
    let connection = Connection::open()?;
    let mut select = connection.prepare(SELECT_WIDE)?;
    let mut sum = 0;
    for i in 0..i64::from(count) {
        sum += select.query_row([(first + i * 7919) % rows], |row| row.get::<_, i64>(0))?;
    }
    Ok(sum)
}

fn rows_of(count: u32) -> impl Iterator<Item = (i64, String, i64)> {
    (0..i64::from(count)).map(|id| (id, format!("item number {id}"), id * 7))
}

bindings::export!(Actor with_types_in bindings);
