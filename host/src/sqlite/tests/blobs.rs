//! Incremental access to values.

use super::{World, text};
use crate::sqlite::{SqlError, SqlLimit, TransactionMode, Value};

fn world() -> World {
    let mut world = World::new();
    world
        .script("CREATE TABLE t(id INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, x'00112233')");
    world
}

#[test]
fn reads_and_writes_within_the_value() {
    let mut world = world();
    let blob = world.connection.open_blob("t", "b", 1, true).unwrap();
    assert_eq!(world.connection.blob_bytes(&blob), Ok(4));
    assert_eq!(world.connection.blob_read(&blob, 1, 2), Ok(vec![0x11, 0x22]));
    assert_eq!(world.connection.blob_read(&blob, 3, 100), Ok(vec![0x33]));
    assert_eq!(world.connection.blob_read(&blob, u64::MAX, 100), Ok(vec![]));
    let long = world.connection.blob_read(&blob, 0, (1 << 20) + 1);
    assert_eq!(long, Err(SqlError::LimitExceeded(SqlLimit::ValueBytes)));
    assert_eq!(world.connection.blob_write(&blob, 2, &[9, 9]), Ok(()));
    for offset in [3, u64::MAX] {
        let beyond = world.connection.blob_write(&blob, offset, &[9, 9]);
        assert!(matches!(beyond, Err(SqlError::InvalidArgument(_))), "{offset}");
    }
    assert_eq!(world.value("SELECT b FROM t"), Value::Blob(vec![0, 0x11, 9, 9]));
}

#[test]
fn a_write_is_accepted_when_the_call_returns() {
    let mut world = world();
    let blob = world.connection.open_blob("t", "b", 1, true).unwrap();
    let before = world.session.mark();
    world.connection.blob_write(&blob, 0, &[7]).unwrap();
    assert!(world.session.mark() > before);
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.connection.blob_write(&blob, 0, &[8]).unwrap();
    world.connection.rollback(transaction).unwrap();
    assert_eq!(world.connection.blob_read(&blob, 0, 1), Ok(vec![7]));
}

#[test]
fn it_ends_with_its_value() {
    let mut world = world();
    let blob = world.connection.open_blob("t", "b", 1, false).unwrap();
    assert!(matches!(world.connection.blob_write(&blob, 0, &[1]), Err(SqlError::Denied(_))));
    world.run("UPDATE t SET b = x'0102'").unwrap();
    assert_eq!(world.connection.blob_read(&blob, 0, 1), Err(SqlError::NotOpen));
    let blob = world.connection.open_blob("t", "b", 1, false).unwrap();
    world.run("DELETE FROM t").unwrap();
    assert_eq!(world.connection.blob_bytes(&blob), Err(SqlError::NotOpen));
}

#[test]
fn only_ordinary_tables_are_written() {
    let mut world = world();
    world.script(
        "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('w');
         INSERT INTO t VALUES (2, 7)",
    );
    for table in ["sqlite_schema", "sqlite_master", "f_data", "_stockade_x", "SQLITE_SCHEMA"] {
        let column = if table.starts_with('f') { "block" } else { "sql" };
        let result = world.connection.open_blob(table, column, 1, true);
        assert!(result.is_err(), "{table}: {result:?}");
    }
    for (table, column, rowid) in [("t", "b", 9), ("t", "x", 1), ("u", "b", 1), ("t", "b", 2)] {
        let result = world.connection.open_blob(table, column, rowid, false);
        assert!(matches!(result, Err(SqlError::Statement(_))), "{table}.{column}: {result:?}");
    }
    let zero = world.connection.open_blob("t\0", "b", 1, false);
    assert!(matches!(zero, Err(SqlError::InvalidArgument(_))));
    assert_eq!(world.value("SELECT typeof(b) FROM t WHERE id = 2"), text("integer"));
}
