//! SQL of operators.

use super::{World, text};
use crate::sqlite::{SqlError, Value};

#[test]
fn the_last_statements_rows_are_returned_and_bounded() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    let mut read = |sql: &str, parameters: &[Value], rows_max| {
        world.connection.run_operator(sql, parameters, false, rows_max)
    };
    let rows = read("SELECT 1; SELECT a, b FROM t ORDER BY a; -- end", &[], 10).unwrap();
    assert_eq!(rows.columns, ["a", "b"]);
    assert_eq!(rows.rows[1], [Value::Integer(2), text("y")]);
    assert!(!rows.more);
    let rows = read("SELECT * FROM t", &[], 1).unwrap();
    assert_eq!((rows.rows.len(), rows.more), (1, true));
    let rows = read("SELECT b FROM t WHERE a = ?", &[Value::Integer(2)], 10).unwrap();
    assert_eq!(rows.rows, [[text("y")]]);
    let wrong = read("SELECT ?", &[], 10);
    assert!(matches!(wrong, Err(SqlError::InvalidArgument(_))));
    let wrong = read("SELECT 1", &[Value::Null], 10);
    assert!(matches!(wrong, Err(SqlError::InvalidArgument(_))));
}

#[test]
fn reading_writes_nothing() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    for sql in [
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE u(a)",
        "DROP TABLE t",
        "PRAGMA user_version = 3",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA optimize",
        "VACUUM",
        "BEGIN",
        "SELECT 1; DELETE FROM t",
    ] {
        let result = world.connection.run_operator(sql, &[], false, 10);
        assert!(result.is_err(), "{sql}: {result:?}");
    }
    assert!(!world.connection.in_transaction());
    let txid = world.runtime.block_on(world.session.durable(world.session.mark())).unwrap();
    assert_eq!(txid.0, 1);
}

#[test]
fn writing_has_to_be_asked_for() {
    let mut world = World::new();
    let sql = "CREATE TABLE t(a); INSERT INTO t VALUES (?), (?); SELECT count(*) FROM t";
    let values = [Value::Integer(1), Value::Integer(2)];
    let rows = world.connection.run_operator(sql, &values, true, 10).unwrap();
    assert_eq!((rows.changes, rows.rows), (2, vec![vec![Value::Integer(2)]]));
    let left = world.connection.run_operator("BEGIN; DELETE FROM t", &[], true, 10);
    assert!(left.is_err());
    assert_eq!(world.integer("SELECT count(*) FROM t"), 2);
}

#[test]
fn guests_are_judged_as_guests_afterwards() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    let id = world.connection.prepare("PRAGMA user_version = 5").unwrap();
    world.connection.run_operator("SELECT 1", &[], false, 10).unwrap();
    // A schema change makes SQLite compile the statement again, in the middle of its step.
    world.run("CREATE TABLE u(a)").unwrap();
    assert!(world.connection.execute_statement(id, Vec::new()).is_ok());
}
