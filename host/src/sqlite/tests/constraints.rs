//! SQLite's reports of a broken rule, and what guests get of them.

use super::World;
use crate::sqlite::{ConstraintKind, SqlError};

#[test]
fn each_rule_has_its_kind_and_names() {
    let mut world = World::new();
    world.script(
        "CREATE TABLE t(
             id INTEGER PRIMARY KEY, a UNIQUE, b NOT NULL, c CHECK (c < 10), d, UNIQUE (c, d));
         CREATE TABLE w(k TEXT, l TEXT, PRIMARY KEY (k, l)) WITHOUT ROWID;
         CREATE TABLE s(i INTEGER) STRICT;
         CREATE TABLE f(t REFERENCES t);
         CREATE TABLE \"odd.name\"(a UNIQUE);
         CREATE TRIGGER no BEFORE DELETE ON t BEGIN
             SELECT RAISE(ABORT, 'UNIQUE constraint failed: fake.column'); END;
         INSERT INTO t VALUES (1, 1, 1, 1, 1);
         INSERT INTO w VALUES ('k', 'l');
         INSERT INTO \"odd.name\" VALUES (1);",
    );
    for (sql, kind, table, columns) in [
        ("INSERT INTO t VALUES (2, 1, 1, 2, 2)", ConstraintKind::Unique, "t", &["a"][..]),
        ("INSERT INTO t VALUES (2, 2, 1, 1, 1)", ConstraintKind::Unique, "t", &["c", "d"]),
        ("INSERT INTO t VALUES (1, 2, 1, 2, 2)", ConstraintKind::PrimaryKey, "t", &["id"]),
        ("INSERT INTO w VALUES ('k', 'l')", ConstraintKind::PrimaryKey, "w", &["k", "l"]),
        ("INSERT INTO t(a) VALUES (9)", ConstraintKind::NotNull, "t", &["b"]),
        ("INSERT INTO t VALUES (2, 2, 1, 99, 2)", ConstraintKind::Check, "", &[]),
        ("INSERT INTO f VALUES (77)", ConstraintKind::ForeignKey, "", &[]),
        ("INSERT INTO s VALUES ('x')", ConstraintKind::Datatype, "s", &["i"]),
        ("DELETE FROM t", ConstraintKind::Trigger, "", &[]),
        ("INSERT INTO \"odd.name\" VALUES (1)", ConstraintKind::Unique, "", &[]),
    ] {
        let result = world.run(sql);
        let Err(SqlError::Constraint(failure)) = result else { panic!("{sql}: {result:?}") };
        assert_eq!(failure.kind, kind, "{sql}");
        assert_eq!(failure.table.unwrap_or_default(), table, "{sql}");
        assert_eq!(failure.columns, columns, "{sql}");
        assert!(!failure.message.is_empty());
    }
}
