//! A schema is read again whenever SQLite likes, and is then what it was, whatever the limits are.

use super::World;
use crate::limits::Limits;
use crate::sqlite::{SqlError, TransactionMode};

/// After each of them SQLite reads the schema again.
const DISTURBANCES: [&str; 5] = [
    "BEGIN; CREATE TABLE n(a); ROLLBACK",
    "BEGIN; SAVEPOINT s; CREATE TABLE n(a); ROLLBACK TO s; COMMIT",
    "VACUUM",
    "CREATE TABLE n(a); DROP TABLE n",
    "ALTER TABLE wide ADD COLUMN added; ALTER TABLE wide DROP COLUMN added",
];

fn wide() -> String {
    let columns: Vec<_> = (0..200).map(|i| format!("a_column_with_a_long_name_{i}")).collect();
    format!("CREATE TABLE wide({})", columns.join(","))
}

fn check(lowered: Limits) {
    let mut world = World::new();
    world.script(&wide());
    world
        .script("CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT * FROM wide");
    world.limits = lowered;
    world.reopen();
    for disturbance in DISTURBANCES {
        world.script(disturbance);
        assert_eq!(world.integer("SELECT count(*) FROM t"), 1, "{disturbance}");
        assert_eq!(world.integer("SELECT count(*) FROM v"), 0, "{disturbance}");
        // An ALTER that fails in the middle of its step.
        let failed = world.run("ALTER TABLE t RENAME COLUMN a TO \"\"");
        let failed = failed.and(world.run("ALTER TABLE t DROP COLUMN a"));
        assert!(matches!(failed, Err(SqlError::Statement(_))), "{failed:?}");
        assert_eq!(world.integer("SELECT count(*) FROM t"), 1, "{disturbance}");
        let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
        world.script("CREATE TABLE n(a)");
        world.connection.rollback(transaction).unwrap();
        world.connection.end_of_call().unwrap();
        world.begin();
        assert_eq!(world.integer("SELECT count(*) FROM t"), 1, "the next call: {disturbance}");
    }
    world.reopen();
    assert_eq!(world.run("DROP VIEW v"), Ok(0));
    assert_eq!(world.integer("SELECT count(*) FROM t"), 1, "after sleep");
}

#[test]
fn a_shorter_statement_bound_does_not_hide_a_schema() {
    check(Limits { statement_bytes_max: 1_000, ..Limits::default() });
}

#[test]
fn a_smaller_value_bound_does_not_hide_a_schema() {
    check(Limits { value_bytes_max: 1_000, ..Limits::default() });
    check(Limits { value_bytes_max: 1, batch_bytes_max: 1_000, ..Limits::default() });
}

/// The bounds that were lowered hold for what is said from then on.
#[test]
fn lowered_bounds_hold_for_statements_and_values() {
    let mut world = World::new();
    world.script(&wide());
    world.limits =
        Limits { statement_bytes_max: 1_000, value_bytes_max: 1_000, ..Limits::default() };
    world.reopen();
    let refused = world.run(&format!("SELECT '{}'", "x".repeat(1_000)));
    assert_eq!(refused.unwrap_err().to_string(), "limit exceeded: statement-bytes");
    let refused = world.run("SELECT randomblob(20000)");
    assert_eq!(refused.unwrap_err().to_string(), "limit exceeded: value-bytes");
    let id = world.connection.prepare("SELECT zeroblob(2000)").unwrap();
    let refused = world.connection.query_statement(id, Vec::new(), 100);
    assert_eq!(refused.unwrap_err().to_string(), "limit exceeded: value-bytes");
}

/// Columns as they are now: after changes, and after those were taken back.
#[test]
fn columns_are_those_of_the_schema_as_it_is_now() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2)");
    let id = world.connection.prepare("SELECT * FROM t").unwrap();
    let names = |world: &mut World| -> Vec<String> {
        let columns = world.connection.columns(id).unwrap();
        columns.into_iter().map(|column| column.name).collect()
    };
    assert_eq!(names(&mut world), ["a", "b"]);
    world.script("ALTER TABLE t ADD COLUMN c");
    assert_eq!(names(&mut world), ["a", "b", "c"]);
    let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.script("ALTER TABLE t RENAME COLUMN a TO z");
    assert_eq!(names(&mut world), ["z", "b", "c"]);
    let batch = world.connection.query_statement(id, Vec::new(), 100).unwrap();
    assert_eq!(batch.columns, 3);
    world.connection.rollback(transaction).unwrap();
    assert_eq!(names(&mut world), ["a", "b", "c"]);
    world.connection.run_operator("ALTER TABLE t ADD COLUMN d", &[], true, 1).unwrap();
    world.connection.end_of_call().unwrap();
    world.begin();
    assert_eq!(names(&mut world), ["a", "b", "c", "d"]);
    // A cursor that has given nothing yet, then one that has: what it gives is what it has.
    let cursor = world.connection.open_cursor(id, Vec::new()).unwrap();
    world.script("ALTER TABLE t ADD COLUMN e; INSERT INTO t(a) VALUES (1), (2), (3)");
    assert_eq!(names(&mut world).len(), 5);
    assert_eq!(world.connection.cursor_next(cursor, 1).unwrap().columns, 5);
    assert_eq!(names(&mut world).len(), 5);
    world.connection.drop_cursor(cursor);
    // Kept by its text: what is taken from there is as of now as well.
    world.connection.drop_statement(id);
    world.script("ALTER TABLE t DROP COLUMN e");
    let id = world.connection.prepare("SELECT * FROM t").unwrap();
    assert_eq!(world.connection.columns(id).unwrap().len(), 4);
    world.script("DROP TABLE t");
    assert!(matches!(world.connection.columns(id), Err(SqlError::Statement(_))));
}
