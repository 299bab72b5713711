//! What a file may hold that becomes an actor's database.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::import::{Intake, PlainError};
use crate::limits::Limits;

/// Imports a file that `schema` was run in, as stock SQLite takes it.
fn check(schema: &str, limits: &Limits) -> Result<(), PlainError> {
    stockade_vfs::heap::install();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.sqlite");
    make(&path, schema);
    let intake = Intake::new(dir.path())?;
    intake.copy(&path, limits.database_bytes_max)?;
    intake.check(limits).map(drop)
}

fn make(path: &Path, schema: &str) {
    let connection = Connection::open(path).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    connection.execute_batch(schema).unwrap_or_else(|error| panic!("{error}: {schema:.200}"));
}

fn columns(count: usize) -> String {
    (0..count).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",")
}

fn union(terms: usize) -> String {
    vec!["SELECT 1 AS a"; terms].join(" UNION ")
}

#[test]
fn whatever_stock_sqlite_makes_of_usual_things_is_taken() {
    let long = format!("CREATE TABLE t(a, b /* {} */)", "x".repeat(2 << 20));
    for schema in [
        format!("CREATE VIEW v AS {}", union(300)),
        format!("CREATE TABLE t({})", columns(300)),
        format!("CREATE TABLE t({})", columns(1_000)),
        format!(
            "CREATE TABLE t(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN \
             SELECT new.a{}; END",
            "+1".repeat(500)
        ),
        long,
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE, c AS (a + 1) STORED, \
         CHECK (length(b) < 9)); CREATE INDEX i ON t(lower(b)) WHERE a > 3; ANALYZE; \
         INSERT INTO t(b) VALUES (x'00'); CREATE TABLE w(a TEXT PRIMARY KEY) WITHOUT ROWID, STRICT"
            .to_owned(),
        "CREATE VIRTUAL TABLE f USING fts5(a, b, prefix=2); INSERT INTO f VALUES ('x', 'y'); \
         CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 1)"
            .to_owned(),
        "CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER g INSTEAD OF INSERT \
         ON v BEGIN INSERT INTO t VALUES (new.a); END"
            .to_owned(),
        // Broken everywhere: its use fails, here as in stock SQLite.
        "CREATE VIEW v AS SELECT * FROM missing; CREATE TABLE t(a)".to_owned(),
    ] {
        assert_eq!(check(&schema, &Limits::default()), Ok(()), "{schema:.80}");
    }
}

#[test]
fn what_no_actor_can_have_is_refused_by_its_name() {
    let deep = |levels: usize| {
        let views: String = (1..=levels)
            .map(|i| {
                format!(";CREATE VIEW v{i} AS SELECT a{} AS a FROM v{}", "+1".repeat(900), i - 1)
            })
            .collect();
        format!("CREATE TABLE t(a); CREATE VIEW v0 AS SELECT a FROM t{views}")
    };
    for (schema, named) in [
        ("CREATE TABLE _stockade_alarm(a)".to_owned(), "table _stockade_alarm"),
        ("CREATE TABLE _STOCKADE_x(a)".to_owned(), "table _STOCKADE_x"),
        ("CREATE VIEW _Stockade AS SELECT 1".to_owned(), "view _Stockade"),
        ("CREATE TABLE t(a); CREATE INDEX _stockade_i ON t(a)".to_owned(), "index _stockade_i"),
        (
            "CREATE TABLE t(a); CREATE TRIGGER _stockade_g AFTER INSERT ON t BEGIN SELECT 1; END"
                .to_owned(),
            "trigger _stockade_g",
        ),
        (
            "CREATE VIRTUAL TABLE f USING fts4(a)".to_owned(),
            "table f: actors may not have module fts4",
        ),
        ("CREATE VIRTUAL TABLE f USING fts3(a)".to_owned(), "module fts3"),
        ("CREATE VIRTUAL TABLE d USING dbstat(main)".to_owned(), "module dbstat"),
        (format!("CREATE TABLE t({})", columns(1_001)), "table t: it is over a limit of actors"),
        (format!("CREATE VIEW v AS SELECT {}", vec!["1"; 1_001].join(",")), "view v: it is over"),
        (
            "CREATE TABLE t(a, b); CREATE INDEX i ON t(json_patch(a, b))".to_owned(),
            "index i: actors may not have function json_patch",
        ),
        (
            "CREATE TABLE t(a, b, CHECK (json_patch(a, b) <> '{}'))".to_owned(),
            "table t: actors may not have function json_patch",
        ),
        (
            "CREATE TABLE t(a, b AS (json_patch(a, '{}')))".to_owned(),
            "table t: actors may not have function json_patch",
        ),
        (
            "CREATE VIEW v AS SELECT json_patch('{}', '{}')".to_owned(),
            "view v: actors may not have function json_patch",
        ),
        (
            "CREATE TABLE t(a); CREATE TRIGGER g AFTER UPDATE ON t BEGIN \
             SELECT json_patch(new.a, old.a); END"
                .to_owned(),
            "table t: actors may not have function json_patch",
        ),
        (deep(20), "it is too deep for an actor"),
        (
            "CREATE TABLE big(a); INSERT INTO big VALUES (zeroblob(17000000))".to_owned(),
            "a row of big has 170000",
        ),
        (
            "CREATE TABLE two(a, b); INSERT INTO two VALUES (zeroblob(9000000), zeroblob(9000000))"
                .to_owned(),
            "a row of two has 180000",
        ),
    ] {
        let refused = check(&schema, &Limits::default());
        let Err(PlainError::Unsupported(words)) = &refused else {
            panic!("{refused:?}: {schema:.80}");
        };
        assert!(words.contains(named), "{words}: {schema:.80}");
    }
}

/// The limits are those of the kind.
#[test]
fn a_kind_that_allows_less_takes_less() {
    let limits = Limits { value_bytes_max: 1_000, statement_bytes_max: 500, ..Limits::default() };
    let schema = format!("CREATE TABLE t({})", columns(200));
    assert_eq!(check(&schema, &limits), Ok(()), "a schema that is longer than a statement");
    for (bytes, taken) in [(900, true), (1_100, false)] {
        let schema = format!("CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob({bytes}))");
        assert_eq!(check(&schema, &limits).is_ok(), taken);
    }
}

/// A hostile file whose schema would take more stack than there is: where it is only read, too.
#[test]
fn a_schema_that_is_deeper_than_the_stack_is_refused() {
    stockade_vfs::heap::install();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep.sqlite");
    let made = path.clone();
    let terms = "+1".repeat(900);
    let generated: String = (1..30).map(|i| format!(", g{i} AS (g{}{terms})", i - 1)).collect();
    let schema = format!("CREATE TABLE t(a, g0 AS (a){generated})");
    // Stock SQLite has no bound: it needs 13 MB to make this, and a time that is quadratic.
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    thread.spawn(move || make(&made, &schema)).unwrap().join().unwrap();
    let intake = Intake::new(dir.path()).unwrap();
    intake.copy(&path, u64::MAX).unwrap();
    let refused = intake.check(&Limits::default()).map(drop);
    assert!(matches!(refused, Err(PlainError::Unsupported(_))), "{refused:?}");
}
