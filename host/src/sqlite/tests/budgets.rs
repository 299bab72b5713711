//! Budgets: what ends a statement, and how soon.

use std::time::Duration;

use super::World;
use crate::limits::Limits;
use crate::sqlite::{Exhausted, SqlError, SqlLimit, Value};
use stockade_depot::DepotLimits;
use stockade_testkit::faulty_store::{Fault, Step};
use tokio::time::Instant;

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT count(*) FROM n";

fn with(limits: Limits) -> World {
    World::with(limits, DepotLimits::default())
}

#[test]
fn the_deadline_interrupts_and_stays() {
    let mut world = World::new();
    world.meter.begin(&world.limits, Instant::now() + Duration::from_millis(50));
    let begun = Instant::now();
    assert_eq!(world.run(ENDLESS), Err(SqlError::Interrupted));
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(world.meter.exhausted(), Some(Exhausted::Time));
    assert_eq!(world.run("SELECT 1"), Err(SqlError::Interrupted));
    world.begin();
    assert_eq!(world.run("SELECT 1"), Ok(0));
}

#[test]
fn another_thread_interrupts() {
    let mut world = World::new();
    let interrupter = world.connection.interrupter();
    let interrupt = std::thread::Builder::new()
        .spawn(move || {
            let soon = Instant::now() + Duration::from_millis(50);
            while Instant::now() < soon {
                std::thread::yield_now();
            }
            interrupter.interrupt();
        })
        .unwrap();
    assert_eq!(world.run(ENDLESS), Err(SqlError::Interrupted));
    interrupt.join().unwrap();
    assert_eq!(world.meter.exhausted(), None);
    world.begin();
    assert_eq!(world.run("SELECT 1"), Ok(0));
}

#[test]
fn steps_are_bounded_within_and_across_statements() {
    let limits = Limits { sql_steps_max: 50_000, ..Limits::default() };
    let mut world = with(limits);
    let exceeded = Err(SqlError::LimitExceeded(SqlLimit::SqlSteps));
    assert_eq!(world.run(ENDLESS), exceeded);
    world.begin();
    let mut result = Ok(0);
    for _ in 0..50_000 {
        result = world.run("SELECT 1");
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, exceeded);
    assert!(world.meter.counts().sql_steps >= 50_000);
}

#[test]
fn rows_and_their_bytes_are_bounded() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT i, zeroblob(100) FROM n";
    for (limits, limit) in [
        (Limits { rows_max: 1000, ..Limits::default() }, SqlLimit::Rows),
        (Limits { row_bytes_max: 1000, ..Limits::default() }, SqlLimit::RowBytes),
    ] {
        let mut world = with(limits);
        let id = world.connection.prepare(endless).unwrap();
        let mut batch = world.connection.query_statement(id, Vec::new(), 2000);
        while batch.is_ok() {
            batch = world.connection.next(id, 2000);
        }
        assert_eq!(batch, Err(SqlError::LimitExceeded(limit)));
        assert_eq!(world.run("SELECT 1"), Err(SqlError::LimitExceeded(limit)));
    }
}

#[test]
fn scratch_is_bounded() {
    let limits = Limits { scratch_bytes_max: 4 << 20, ..Limits::default() };
    let mut world = with(limits);
    let sort = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) \
                SELECT max(b) FROM (SELECT randomblob(1000) AS b FROM n ORDER BY b LIMIT -1 OFFSET 1)";
    assert_eq!(world.run(sort), Err(SqlError::LimitExceeded(SqlLimit::ScratchBytes)));
    assert_eq!(world.run("SELECT 1"), Ok(0));
}

/// Views that double each other are expanded while a statement is compiled.
#[test]
fn compiling_is_interrupted_too() {
    let mut world = World::new();
    world.script("CREATE TABLE t(x); CREATE VIEW v0 AS SELECT x FROM t");
    for i in 1..=12 {
        let from = i - 1;
        let one = format!("(SELECT max(x) FROM v{from})");
        let sql = format!("CREATE VIEW v{i} AS SELECT {one} + {one} AS x FROM t");
        world.run(&sql).unwrap();
    }
    world.meter.begin(&world.limits, Instant::now() + Duration::from_millis(1));
    let begun = Instant::now();
    assert_eq!(world.run("SELECT x FROM v12"), Err(SqlError::Interrupted));
    println!("compiling ended after {:?}", begun.elapsed());
    assert_eq!(world.meter.exhausted(), Some(Exhausted::Time));
}

/// Each name is used twice in the next: SQLite would put 2^n copies into one expression, without
/// asking the host.
fn doubling(levels: u32) -> String {
    let mut sql = "WITH c0(x) AS (SELECT a FROM t)".to_owned();
    for level in 1..=levels {
        let from = level - 1;
        sql.push_str(&format!(", c{level}(x) AS (SELECT x + x FROM c{from})"));
    }
    sql + &format!(" SELECT x FROM c{levels}")
}

#[test]
fn compiling_is_bounded_by_memory_where_nothing_asks() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    assert_eq!(world.integer(&doubling(8)), 256);
    let begun = Instant::now();
    let no_memory = SqlError::LimitExceeded(SqlLimit::Memory);
    assert_eq!(world.run(&doubling(30)).as_ref(), Err(&no_memory));
    println!("compiling ended after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(world.integer(&doubling(8)), 256);
}

/// Values that SQLite makes once and keeps are each within the limit; together they are not.
#[test]
fn memory_of_values_is_bounded() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); CREATE VIRTUAL TABLE f USING fts5(a)");
    let values: Vec<_> = (0..60).map(|i| format!("length(printf('%8000000d', {i})) > 5")).collect();
    let sql = format!("INSERT INTO t SELECT {}", values.join(" + "));
    let no_memory = SqlError::LimitExceeded(SqlLimit::Memory);
    world.run("BEGIN").unwrap();
    world.run("INSERT INTO f VALUES ('kept')").unwrap();
    assert_eq!(world.run(&sql).as_ref(), Err(&no_memory));
    let kept = i64::from(world.connection.in_transaction());
    if kept == 1 {
        world.run("COMMIT").unwrap();
    }
    assert_eq!(world.integer("SELECT count(*) FROM f('kept')"), kept);
    assert_eq!(world.integer("SELECT count(*) FROM t"), 0);
    world.script("INSERT INTO f(f, rank) VALUES ('integrity-check', 1)");
}

/// SQLite's LIKE took 2.4 s for one such text without asking the host. Here the comparison is all
/// that a statement does: only the comparison can notice that the time is up, and a statement with
/// such a comparison as its last work would have an answer.
#[test]
fn a_pattern_over_a_large_text_is_interrupted() {
    let mut world = World::new();
    for (comparison, all) in [("LIKE", "%"), ("GLOB", "*")] {
        let sql = format!("SELECT ?1 {comparison} ?2");
        let text = Value::Text("a".repeat(15 << 20));
        let pattern = Value::Text(format!("{all}{}b", "a".repeat(120)));
        world.meter.begin(&world.limits, Instant::now() + Duration::from_millis(200));
        let ended = world.connection.query(&sql, &[text, pattern]);
        assert_eq!(ended, Err(SqlError::Interrupted), "{comparison}");
    }
}

/// C code over large values asks nothing, and a thousand instructions may be a thousand such calls.
/// A statement of fewer, without a loop, is never asked at all: but for its large allocations it
/// would have an answer after seconds.
#[test]
fn work_on_large_values_is_interrupted() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let one = |i| format!("length(upper(hex(zeroblob(7900000 + a + {i}))))");
    let all: Vec<_> = (0..60).map(one).collect();
    let id = world.connection.prepare(&format!("SELECT {} FROM t", all.join(" + "))).unwrap();
    world.meter.begin(&world.limits, Instant::now() + Duration::from_millis(100));
    let ended = world.connection.query_statement(id, Vec::new(), 100);
    assert_eq!(ended, Err(SqlError::Interrupted));
    assert_eq!(world.meter.exhausted(), Some(Exhausted::Time));
    world.begin();
    assert_eq!(world.run("SELECT length(upper(hex(zeroblob(1000000))))"), Ok(0));
}

/// Values as SQLite makes them, whether a caller gets them or not; and rows of several that are
/// each small enough.
#[test]
fn values_and_rows_are_bounded_each() {
    let limits = Limits { value_bytes_max: 1 << 20, ..Limits::default() };
    let mut world = with(limits);
    let exceeded = Err(SqlError::LimitExceeded(SqlLimit::ValueBytes));
    assert_eq!(world.run("SELECT length(zeroblob(1000000))"), Ok(0));
    assert_eq!(world.run("SELECT length(zeroblob(1100000))"), exceeded);
    for (second, fits) in [(400_000, true), (500_000, false)] {
        let sql = format!("SELECT zeroblob(600000), zeroblob({second})");
        let id = world.connection.prepare(&sql).unwrap();
        let answer = world.connection.query_statement(id, Vec::new(), u32::MAX).map(drop);
        assert_eq!(answer, if fits { Ok(()) } else { exceeded.clone().map(drop) });
    }
}

/// Each of them is recursion in memory, or on the stack.
#[test]
fn triggers_and_expressions_are_bounded_in_depth() {
    let mut world = World::new();
    world.script(
        "PRAGMA recursive_triggers = ON;
         CREATE TABLE deep(n);
         CREATE TRIGGER deeper AFTER INSERT ON deep WHEN new.n > 1
         BEGIN INSERT INTO deep VALUES (new.n - 1); END",
    );
    let nested = |depth| format!("SELECT {}1{}", "(1+".repeat(depth), ")".repeat(depth));
    let is_statement = |answer| matches!(answer, Err(SqlError::Statement(_)));
    assert_eq!(world.run("INSERT INTO deep VALUES (990)"), Ok(1));
    assert!(is_statement(world.run("INSERT INTO deep VALUES (1010)")));
    // The parser's own stack ends before the depth of an expression, as in SQLite.
    assert_eq!(world.run(&nested(800)), Ok(0));
    assert!(is_statement(world.run(&nested(1_010))));
}

#[test]
fn pages_are_bounded_within_and_across_statements() {
    let limits = Limits { pages_max: 300, ..Limits::default() };
    let mut world = with(limits);
    world.script("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    for _ in 0..8 {
        world.begin();
        world
            .run(
                "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                   WHERE i < 100) SELECT zeroblob(3500) FROM n",
            )
            .unwrap();
    }
    world.reopen();
    let exceeded = Err(SqlError::LimitExceeded(SqlLimit::Pages));
    assert_eq!(world.run("SELECT sum(length(b || 'x')) FROM t"), exceeded);
    assert_eq!(world.meter.exhausted(), Some(Exhausted::Pages));
    assert_eq!(world.run("SELECT 1"), exceeded);
    world.reopen();
    let mut result = Ok(0);
    for a in 1..=800 {
        result = world.run(&format!("SELECT b FROM t WHERE a = {a}"));
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, exceeded);
}

/// A page that the store does not hand out was waited for past the call's deadline.
#[test]
fn a_page_miss_ends_at_the_deadline() {
    let uncached = DepotLimits { cache_bytes_max: 0, ..DepotLimits::default() };
    let mut world = World::with(Limits::default(), uncached);
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(100000))");
    world.reopen();
    let held = world.faults.arm(Step::Read, 1, Fault::Hold);
    world.meter.begin(&world.limits, Instant::now() + Duration::from_millis(100));
    let begun = Instant::now();
    assert_eq!(world.run("SELECT sum(length(a)) FROM t"), Err(SqlError::Interrupted));
    // The read itself would wait for five seconds.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(world.meter.exhausted(), Some(Exhausted::Time));
    held.release();
    world.begin();
    assert_eq!(world.run("SELECT 1"), Ok(0));
}

#[test]
fn names_of_columns_are_bounded_like_rows() {
    let limits = Limits { batch_bytes_max: 10_000, ..Limits::default() };
    let mut world = with(limits);
    let name = "n".repeat(6_000);
    let exceeded = SqlError::LimitExceeded(SqlLimit::RowBytes);
    for (columns, fits) in [(1, true), (2, false)] {
        let columns: Vec<_> = (0..columns).map(|i| format!("{i} AS \"{name}{i}\"")).collect();
        let sql = format!("SELECT {}", columns.join(","));
        let answer = world.connection.query(&sql, &[]).map(drop);
        assert_eq!(answer.as_ref().err(), (!fits).then_some(&exceeded));
        let id = world.connection.prepare(&sql).unwrap();
        let answer = world.connection.columns(id).map(drop);
        assert_eq!(answer.as_ref().err(), (!fits).then_some(&exceeded));
    }
    // Declared types are of any length, too.
    world.script(&format!("CREATE TABLE t(a {name}, b {name})"));
    for (columns, fits) in [("a", true), ("a, b", false)] {
        let id = world.connection.prepare(&format!("SELECT {columns} FROM t")).unwrap();
        let answer = world.connection.columns(id).map(drop);
        assert_eq!(answer.as_ref().err(), (!fits).then_some(&exceeded), "{columns}");
    }
}
