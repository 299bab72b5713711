//! A call and an operator's text leave nothing in the connection but rows; what a component began
//! with stays.

use std::cell::Cell;

use stockade_depot::Reason;
use stockade_sqlite::Column;

use super::World;
use crate::sqlite::error::SqlError;
use crate::sqlite::statement::Compiled;
use crate::sqlite::{TransactionMode, Value};

/// Pragmas that tell of rows and pages, that walk the whole database, or that have a value for each
/// use. All others are state of the connection.
const NOT_STATE: [&str; 12] = [
    "application_id",
    "data_version",
    "freelist_count",
    "incremental_vacuum",
    "integrity_check",
    "optimize",
    "page_count",
    "quick_check",
    "schema_version",
    "stats",
    "user_version",
    "wal_checkpoint",
];

/// What a component may begin with.
const STARTS: [&str; 2] = [
    "",
    "CREATE TEMP TABLE cache(a INTEGER PRIMARY KEY AUTOINCREMENT, b);
     CREATE INDEX temp.cache_b ON cache(b);
     CREATE TEMP VIEW both AS SELECT a FROM main.t UNION ALL SELECT a FROM cache;
     CREATE TEMP TRIGGER noted AFTER INSERT ON main.log BEGIN
       INSERT INTO cache(b) VALUES (new.a); END;
     PRAGMA recursive_triggers = ON; PRAGMA analysis_limit = 77",
];

/// How something is done to the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Guest,
    Writer,
    Reader,
}

const ALL: [Who; 3] = [Who::Guest, Who::Writer, Who::Reader];

fn world(start: &str) -> World {
    let mut world = World::new();
    world.script(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE log(a);
         CREATE TABLE t(a INTEGER CHECK (a > 0), p REFERENCES p(id));
         INSERT INTO t(a) VALUES (1), (2), (3)",
    );
    world.reopen_with(start);
    world
}

impl World {
    /// All that a text of the host answers, as text.
    fn host_reads(&mut self, sql: &str) -> String {
        self.connection.with_core(|core| {
            let runner = &core.runner;
            let mut compiled = match runner.own(sql) {
                Ok(compiled) => compiled,
                Err(error) => return format!("{error:?}"),
            };
            let mut all = String::new();
            while runner.step(&mut compiled).unwrap() {
                for index in 0..compiled.raw.column_count() {
                    all += &match compiled.raw.column(index) {
                        Column::Null => "null ".to_owned(),
                        Column::Integer(value) => format!("{value} "),
                        Column::Real(value) => format!("{value} "),
                        Column::Text(text) | Column::Blob(text) => {
                            format!("{} ", String::from_utf8_lossy(text))
                        }
                        Column::NoMemory => panic!("no memory"),
                    };
                }
                all.push('\n');
            }
            all
        })
    }

    /// Everything that a later call could tell the connection from a new one by.
    fn fingerprint(&mut self) -> String {
        let pragmas = self.host_reads("SELECT name FROM pragma_pragma_list ORDER BY 1");
        let mut print = String::new();
        let names: Vec<&str> = pragmas.lines().map(str::trim).collect();
        assert!(names.len() > 55, "{names:?}");
        for name in names {
            if !NOT_STATE.contains(&name) {
                let value = self.host_reads(&format!("PRAGMA {name}"));
                // Lists come in the order of SQLite's hash tables.
                let mut lines: Vec<&str> = value.lines().collect();
                lines.sort_unstable();
                print += &format!("{name}: {}\n", lines.join("\n"));
            }
        }
        print += &self.host_reads("SELECT type, name, tbl_name, sql FROM sqlite_temp_schema");
        let counters = "SELECT changes(), total_changes(), last_insert_rowid()";
        print += &format!("{:?} {:?}", self.rows(counters), self.connection.changes());
        print += &format!("open: {}\n", self.connection.in_transaction());
        // The names that a guest uses are those of its own tables.
        print += &format!("{:?}\n", self.rows("SELECT count(*) FROM t"));
        print += &format!("{:?}\n", self.run("INSERT INTO t(a) VALUES (-1)"));
        print += &format!("{:?}\n", self.run("INSERT INTO t(a, p) VALUES (9, 99)"));
        let _ = self.connection.end_of_call();
        self.begin();
        print
    }

    /// Runs a text, with any outcome, and ends the call.
    fn does(&mut self, who: Who, sql: &str) -> Result<(), SqlError> {
        let done = match who {
            Who::Guest => self.connection.execute_script(sql),
            Who::Writer => self.connection.run_operator(sql, &[], true, 10).map(drop),
            Who::Reader => self.connection.run_operator(sql, &[], false, 10).map(drop),
        };
        self.connection.end_of_call().unwrap();
        self.begin();
        done
    }
}

/// The first line that differs is shown.
fn same(now: &str, before: &str, done: &str) {
    let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
    assert_eq!(differs, None, "{done}");
    assert_eq!(now, before, "{done}");
}

/// Every pragma of this SQLite, set to anything by any caller, has its old value when the call has
/// ended.
#[test]
fn no_pragma_outlives_its_call() {
    for start in STARTS {
        let mut world = world(start);
        let names = world.host_reads("SELECT name FROM pragma_pragma_list ORDER BY 1");
        let before = world.fingerprint();
        let mut taken = 0;
        for name in names.lines().map(str::trim) {
            for value in ["0", "1", "2", "77", "'x'", "MEMORY"] {
                for schema in ["", "main.", "temp."] {
                    for who in ALL {
                        for sql in [
                            format!("PRAGMA {schema}{name} = {value}"),
                            format!("PRAGMA {schema}{name}({value}); SELECT nothing"),
                            format!("EXPLAIN PRAGMA {schema}{name} = {value}"),
                        ] {
                            taken += u32::from(world.does(who, &sql).is_ok());
                        }
                    }
                }
            }
            same(&world.fingerprint(), &before, name);
        }
        assert!(taken > 500, "hardly anything was allowed: {taken}");
    }
}

/// No pragma says what the next VACUUM is to make of the database: it shows.
#[test]
fn what_a_vacuum_is_to_make_of_the_database_is_forgotten_with_the_call() {
    for who in [Who::Guest, Who::Writer] {
        // One that has pages to move may be set in between, and keeps that in the database.
        for (sql, then) in [("PRAGMA auto_vacuum = 1", 1), ("EXPLAIN PRAGMA auto_vacuum = 2", 2)] {
            let mut world = world("PRAGMA auto_vacuum = FULL");
            world.does(who, sql).unwrap();
            world.script("VACUUM");
            assert_eq!(world.integer("PRAGMA auto_vacuum"), 0, "{who:?} {sql}");
            world.script("PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
            world.does(who, sql).unwrap();
            world.script("VACUUM");
            assert_eq!(world.integer("PRAGMA auto_vacuum"), then, "what is stored stays");
        }
    }
}

/// Every kind of temporary object, and every way in which a text may end.
#[test]
fn nothing_temporary_outlives_its_call() {
    for start in STARTS {
        let mut world = world(start);
        let before = world.fingerprint();
        for sql in [
            "CREATE TEMP TABLE t AS SELECT * FROM main.t",
            "CREATE TABLE temp.t(a, p); INSERT INTO t VALUES (1, 1)",
            "CREATE TEMP VIEW t AS SELECT 1 AS a, 2 AS p",
            "CREATE TEMP TRIGGER g AFTER INSERT ON main.t BEGIN SELECT RAISE(ABORT, 'no'); END",
            "CREATE TEMP TRIGGER g AFTER INSERT ON main.t BEGIN DELETE FROM t; END",
            "CREATE TEMP TABLE x(a UNIQUE); CREATE INDEX temp.i ON x(a)",
            "CREATE TEMP TABLE \"a\"\"b'c\"(a);
             CREATE TEMP TABLE [d e](a PRIMARY KEY) WITHOUT ROWID",
            "CREATE VIRTUAL TABLE temp.t USING fts5(a); INSERT INTO t VALUES ('x')",
            "CREATE VIRTUAL TABLE temp.t USING rtree(id, a, b); INSERT INTO t VALUES (1, 2, 3)",
            "CREATE TEMP TABLE q(a INTEGER PRIMARY KEY AUTOINCREMENT);
             INSERT INTO q DEFAULT VALUES",
            "CREATE TEMP TABLE s(a); CREATE INDEX temp.i ON s(a); INSERT INTO s VALUES (1);
             ANALYZE temp",
            "CREATE TEMP TABLE o(a); ALTER TABLE o RENAME TO t; ALTER TABLE t ADD COLUMN b",
            "CREATE TEMP TABLE o(a); DROP TABLE o",
            "CREATE TEMP TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
             WHERE i < 5000) SELECT i AS a, randomblob(2000) AS p FROM n",
            "BEGIN; CREATE TEMP TABLE t(a); PRAGMA defer_foreign_keys = ON",
            "SAVEPOINT s; CREATE TEMP TABLE t(a); RELEASE s; SELECT nothing",
            "BEGIN; CREATE TEMP TABLE t(a); ROLLBACK; CREATE TEMP TABLE u(a); SELECT nothing",
            "PRAGMA foreign_keys = OFF; BEGIN; CREATE TEMP TABLE t(a); DELETE FROM nothing",
            "SELECT count(*) FROM sqlite_temp_schema; PRAGMA temp.table_info(x)",
            "INSERT INTO log VALUES (1); DELETE FROM log; SELECT changes(), last_insert_rowid()",
        ] {
            for who in ALL {
                let done = world.does(who, sql);
                same(&world.fingerprint(), &before, &format!("{who:?} {sql}: {done:?}"));
            }
        }
        if start.is_empty() {
            let version = world.connection.with_core(|core| core.runner.database.temp_version());
            assert_eq!(version, None, "nothing is left of it at all");
        }
    }
}

/// The acceptance of it all: an operator's table does not come between a guest and its rows.
#[test]
fn what_a_guest_writes_is_there_when_it_wakes() {
    let mut world = World::new();
    world.script("CREATE TABLE counter(n); INSERT INTO counter VALUES (1)");
    let copy = "CREATE TEMP TABLE counter AS SELECT * FROM main.counter";
    world.does(Who::Writer, copy).unwrap();
    for _ in 0..3 {
        world.does(Who::Guest, "UPDATE counter SET n = n + 1").unwrap();
    }
    world.reopen();
    assert_eq!(world.integer("SELECT n FROM counter"), 4);
}

#[test]
fn what_a_component_began_with_stays_and_cannot_be_undone() {
    let mut world = world(STARTS[1]);
    world.does(Who::Guest, "INSERT INTO cache(b) VALUES (5); INSERT INTO log VALUES (6)").unwrap();
    assert_eq!(world.integer("SELECT sum(b) FROM cache"), 11);
    assert_eq!(world.integer("SELECT count(*) FROM both"), 5);
    for sql in [
        "DROP TABLE cache",
        "DROP VIEW both",
        "DROP INDEX cache_b",
        "DROP TRIGGER noted",
        "DROP TABLE log",
        "ALTER TABLE cache ADD COLUMN c",
        "ALTER TABLE temp.Cache RENAME TO d",
    ] {
        for who in ALL {
            let refused = world.does(who, sql);
            assert!(matches!(refused, Err(SqlError::Denied(_))), "{who:?} {sql}: {refused:?}");
        }
    }
    world.does(Who::Guest, "DELETE FROM cache").unwrap();
    assert_eq!(world.integer("SELECT count(*) FROM cache"), 0);
    assert_eq!(world.integer("PRAGMA analysis_limit"), 77);
    // What it began with follows the tables of the database.
    world.does(Who::Guest, "ALTER TABLE log RENAME TO diary").unwrap();
    world.does(Who::Guest, "CREATE TEMP TABLE x(a); INSERT INTO diary VALUES (7)").unwrap();
    assert_eq!(world.integer("SELECT b FROM cache"), 7);
    world.reopen();
    assert_eq!(world.integer("PRAGMA analysis_limit"), 0, "the next generation begins by itself");
}

#[test]
fn a_statement_that_is_kept_sets_again_in_its_next_call() {
    let mut world = world("");
    let off = world.connection.prepare("PRAGMA foreign_keys = OFF").unwrap();
    world.connection.end_of_call().unwrap();
    for _ in 0..3 {
        world.begin();
        assert_eq!(world.integer("PRAGMA foreign_keys"), 1);
        world.connection.execute_statement(off, Vec::new()).unwrap();
        assert_eq!(world.integer("PRAGMA foreign_keys"), 0);
        assert_eq!(world.run("INSERT INTO t(a, p) VALUES (9, 99)"), Ok(1));
        assert_eq!(world.run("DELETE FROM t WHERE p = 99"), Ok(1));
        world.connection.end_of_call().unwrap();
    }
}

/// Neither a budget that ran out nor a transaction in the way keeps a call's settings alive.
#[test]
fn a_call_that_was_stopped_leaves_nothing_either() {
    for start in STARTS {
        let mut world = world(start);
        let before = world.fingerprint();
        world.script("PRAGMA ignore_check_constraints = ON; CREATE TEMP TABLE t(a)");
        world.connection.begin(TransactionMode::Deferred).unwrap();
        world.run("INSERT INTO t VALUES (1)").unwrap();
        world.meter.stop();
        assert!(world.run("SELECT 1").is_err());
        world.connection.end_of_call().unwrap();
        world.begin();
        same(&world.fingerprint(), &before, start);
    }
}

/// A revoked generation says so; there is nothing to take back any more.
#[test]
fn a_revoked_call_ends_without_a_word() {
    let mut world = world("");
    world.script("CREATE TEMP TABLE t(a); PRAGMA foreign_keys = OFF");
    world.grip.revoke(Reason::Slept);
    assert!(world.connection.end_of_call().is_ok());
    assert_eq!(world.run("SELECT 1"), Err(SqlError::Revoked(Reason::Slept)));
}

thread_local! {
    /// Out of the connection's parts, on this thread alone.
    static STANDS_IN_THE_WAY: Cell<Option<Compiled>> = const { Cell::new(None) };
}

/// A generation does not continue with what it could not undo: a statement of the host itself is
/// made to stand in the way.
#[test]
fn what_cannot_be_taken_back_ends_the_generation() {
    for start in STARTS {
        let mut world = world(start);
        world.script("CREATE TEMP TABLE x(a); INSERT INTO x VALUES (1), (2)");
        world.connection.with_core(|core| {
            let mut reads = core.runner.own("SELECT a FROM temp.x").unwrap();
            assert_eq!(core.runner.step(&mut reads), Ok(true));
            STANDS_IN_THE_WAY.set(Some(reads));
        });
        let ended = world.connection.end_of_call();
        assert_eq!(ended, Err(SqlError::Revoked(Reason::Storage)), "{start}");
        STANDS_IN_THE_WAY.set(None);
        assert_eq!(world.run("SELECT 1"), Err(SqlError::Revoked(Reason::Storage)));
        world.reopen();
        assert_eq!(world.integer("SELECT count(*) FROM t"), 3);
    }
}

#[test]
fn counters_begin_with_the_call() {
    let mut world = world("");
    let counters = "SELECT changes(), total_changes(), last_insert_rowid()";
    let three = |a, b, c| [[Value::Integer(a), Value::Integer(b), Value::Integer(c)]];
    world.run("INSERT INTO log VALUES (1), (2)").unwrap();
    world.run("INSERT INTO log VALUES (3)").unwrap();
    assert_eq!(world.rows(counters), three(1, 3, 3));
    world.run("DELETE FROM log WHERE a > 7").unwrap();
    assert_eq!(world.rows(counters), three(0, 3, 3));
    world.connection.end_of_call().unwrap();
    world.begin();
    assert_eq!(world.rows(counters), three(0, 0, 0));
    world.does(Who::Writer, "INSERT INTO log VALUES (4)").unwrap();
    assert_eq!(world.rows(counters), three(0, 0, 0));
    let changes = world.connection.changes().unwrap();
    assert_eq!((changes.rows, changes.last_insert_rowid), (0, 0));
}
