//! Values come out of SQLite as they went in, to the bit, by every way of reading.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:sqlite-types/guest",
        generate_all,
    });
}
mod packed;

use bindings::exports::tests::sqlite_types::values::Guest;
use bindings::stockade::actor::sqlite::{self, Connection, Value};
use packed::{pack, unpack};

const BATCH_BYTES: u32 = 64 * 1024;

struct Actor;

impl Guest for Actor {
    fn echo(v: Value) -> Result<Value, String> {
        let db = open()?;
        db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)", &[])
            .map_err(words)?;
        let made = db.execute("INSERT INTO t(v) VALUES (?1)", &[v]).map_err(words)?;
        let id = Value::Integer(made.last_insert_rowid);
        read_every_way(&db, "SELECT v FROM t WHERE id = ?1", id)
    }

    fn echo_bound(v: Value) -> Result<Value, String> {
        read_every_way(&open()?, "SELECT ?1", v)
    }

    fn first_row(sql: String) -> Result<Vec<Value>, String> {
        let set = open()?.query(&sql, &[]).map_err(words)?;
        set.rows.into_iter().next().ok_or_else(|| "no row".into())
    }

    fn real_bits(bits: u64) -> Result<Option<u64>, String> {
        match Self::echo(Value::Real(f64::from_bits(bits)))? {
            Value::Real(real) => Ok(Some(real.to_bits())),
            Value::Null => Ok(None),
            other => Err(format!("came back as {other:?}")),
        }
    }

    fn large_blob(length: u32) -> Result<(u64, u64), String> {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let db = open()?;
        db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)", &[])
            .map_err(words)?;
        let made = db.execute("INSERT INTO t(v) VALUES (?1)", &[Value::Blob(bytes)]);
        let id = Value::Integer(made.map_err(words)?.last_insert_rowid);
        // A batch has at least one row, even one larger than the requested size.
        let statement = db.prepare("SELECT v FROM t WHERE id = ?1").map_err(words)?;
        let batch = statement.query(&pack(&[id]), 1).map_err(words)?;
        match unpack(&batch.rows)?.as_slice() {
            [Value::Blob(read)] => {
                let length = u64::try_from(read.len()).map_err(|error| error.to_string())?;
                Ok((length, read.iter().map(|byte| u64::from(*byte)).sum()))
            }
            other => Err(format!("{} values", other.len())),
        }
    }
}

fn open() -> Result<Connection, String> {
    sqlite::open().map_err(words)
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

/// The result of a query that returns one value: read typed, packed by statement, packed by cursor,
/// and with a parameter bound beforehand. Fails if these differ.
fn read_every_way(db: &Connection, sql: &str, parameter: Value) -> Result<Value, String> {
    let row = pack(std::slice::from_ref(&parameter));
    let set = db.query(sql, &[parameter.clone()]).map_err(words)?;
    let [typed] = set.rows.into_iter().next().ok_or("no row")?.try_into().map_err(|_| "width")?;

    let statement = db.prepare(sql).map_err(words)?;
    let by_statement = statement.query(&row, BATCH_BYTES).map_err(words)?;
    let by_cursor = {
        let cursor = statement.open_cursor(&row).map_err(words)?;
        cursor.next(BATCH_BYTES).map_err(words)?
    };
    statement.bind(1, &parameter).map_err(words)?;
    let by_binding = statement.query(&[], BATCH_BYTES).map_err(words)?;
    for (way, batch) in
        [("statement", by_statement), ("cursor", by_cursor), ("binding", by_binding)]
    {
        let values = unpack(&batch.rows)?;
        if batch.count != 1 || values.len() != 1 || !same(&values[0], &typed) {
            return Err(format!("by {way}: {values:?}, typed: {typed:?}"));
        }
    }
    Ok(typed)
}

/// Whether two values are equal to the bit: NaN equals itself, 0.0 differs from -0.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::Real(a), Value::Real(b)) => a.to_bits() == b.to_bits(),
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Blob(a), Value::Blob(b)) => a == b,
        _ => false,
    }
}

bindings::export!(Actor with_types_in bindings);
