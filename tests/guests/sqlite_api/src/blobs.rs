//! Incremental access to a value of a row.

use crate::bindings::stockade::actor::sqlite::{Connection, Value};
use crate::{Doing, Outcome, Scenario, refused, same, script};

pub(crate) const ALL: &[Scenario] =
    &[("blob", blob), ("blob-bounds", bounds), ("blob-expires", expires)];

fn table(db: &Connection) -> Outcome {
    script(
        db,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         INSERT INTO t VALUES (1, zeroblob(10000)), (2, 'text'), (3, 42)",
    )
}

fn blob(db: &Connection) -> Outcome {
    table(db)?;
    let blob = db.open_blob("t", "v", 1, true).doing("open")?;
    same("size", blob.size().doing("size")?, 10_000)?;
    blob.write(9_000, b"hello").doing("write")?;
    same("read", blob.read(8_999, 7).doing("read")?, b"\0hello\0")?;
    blob.write(0, &[]).doing("write nothing")?;
    drop(blob);
    let set = db.query("SELECT substr(v, 9001, 5) FROM t WHERE id = 1", &[]).doing("select")?;
    same("by SQL", &set.rows, [[Value::Blob(b"hello".to_vec())]])?;
    let text = db.open_blob("t", "v", 2, false).doing("open text")?;
    same("text", text.read(0, 100).doing("read")?, b"text")
}

fn bounds(db: &Connection) -> Outcome {
    table(db)?;
    let blob = db.open_blob("t", "v", 1, true).doing("open")?;
    same("fewer at the end", blob.read(9_990, 100).doing("read")?.len(), 10)?;
    same("none beyond it", blob.read(20_000, 100).doing("read")?.len(), 0)?;
    same("far beyond it", blob.read(u64::MAX, 1).doing("read")?.len(), 0)?;
    refused("over 1 MiB", blob.read(0, 1024 * 1024 + 1), "ValueBytes")?;
    refused("a huge length", blob.read(0, u64::MAX), "ValueBytes")?;
    refused("write over the end", blob.write(9_998, b"abc"), "InvalidArgument")?;
    refused("write far away", blob.write(u64::MAX, b"a"), "InvalidArgument")?;
    let reader = db.open_blob("t", "v", 1, false).doing("open for reading")?;
    refused("write to a reader", reader.write(0, b"a"), "Denied")?;
    refused("no such row", db.open_blob("t", "v", 9, false), "Statement")?;
    refused("no such column", db.open_blob("t", "w", 1, false), "Statement")?;
    refused("no such table", db.open_blob("u", "v", 1, false), "Statement")?;
    refused("a number", db.open_blob("t", "v", 3, false), "Statement")
}

fn expires(db: &Connection) -> Outcome {
    table(db)?;
    let blob = db.open_blob("t", "v", 1, false).doing("open")?;
    blob.read(0, 1).doing("read")?;
    db.execute("UPDATE t SET v = zeroblob(5) WHERE id = 1", &[]).doing("update")?;
    refused("its row was changed", blob.read(0, 1), "NotOpen")?;
    refused("and stays so", blob.size(), "NotOpen")
}
