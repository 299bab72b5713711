//! Budgets: what ends a statement, and how soon.

use std::time::{Duration, Instant};

use super::World;
use crate::limits::Limits;
use crate::sqlite::{Exhausted, SqlError, SqlLimit};
use stockade_depot::DepotLimits;

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
    assert_eq!(world.run("SELECT x FROM v12"), Err(SqlError::Interrupted));
    assert_eq!(world.meter.exhausted(), Some(Exhausted::Time));
}

/// Each name is used twice in the next: SQLite would put 2^n copies into one expression, asking
/// nobody meanwhile.
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
    let no_memory = SqlError::Other("SQLite has no memory left".to_owned());
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
    let no_memory = SqlError::Other("SQLite has no memory left".to_owned());
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
