//! A file operation that fails inside a transaction ends the generation: what virtual tables keep
//! in memory cannot be trusted after it. Nothing that was accepted is lost by that.

use std::time::Duration;

use stockade_depot::{DepotLimits, Reason};
use stockade_testkit::faulty_store::{Fault, Step};

use super::World;
use crate::limits::Limits;
use crate::sqlite::{SqlError, TransactionMode};

const TORN: SqlError = SqlError::Revoked(Reason::Storage);
const INDEX: &str = "INSERT INTO f(rowid, a) SELECT id + 1000, a FROM t";

/// A table and an index over its text; none of their pages is cached.
fn world() -> World {
    let limits = DepotLimits {
        cache_bytes_max: 0,
        read_deadline: Duration::from_millis(5),
        ..DepotLimits::default()
    };
    let mut world = World::with(Limits::default(), limits);
    world.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE accepted(a);
         CREATE VIRTUAL TABLE f USING fts5(a);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
         INSERT INTO t SELECT i, printf('word%d %0900d', i, i) FROM n;
         INSERT INTO f(rowid, a) SELECT id, a FROM t",
    );
    world.reopen();
    world
}

/// The generation has ended, what it accepted is there, and the next one finds all in order.
fn is_torn(mut world: World, accepted: i64) {
    for sql in ["SELECT 1", "INSERT INTO accepted VALUES (0)", "ROLLBACK"] {
        assert_eq!(world.run(sql).as_ref(), Err(&TORN), "{sql}");
    }
    world.reopen();
    assert_eq!(world.integer("SELECT count(*) FROM accepted"), accepted);
    assert_eq!(world.integer("SELECT count(*) FROM f"), 200);
    world.script("INSERT INTO f(f, rank) VALUES ('integrity-check', 1)");
    world.run(INDEX).unwrap();
    assert_eq!(world.integer("SELECT count(*) FROM f('word7')"), 2);
}

#[test]
fn a_lost_read_in_a_write_ends_the_generation() {
    let mut world = world();
    world.run("INSERT INTO accepted VALUES (1)").unwrap();
    let id = world.connection.prepare(INDEX).unwrap();
    let outage = world.faults.outage(Step::Read, Fault::Unavailable);
    assert_eq!(world.connection.execute_statement(id, Vec::new()).as_ref(), Err(&TORN));
    drop(outage);
    is_torn(world, 1);
}

#[test]
fn a_lost_read_in_a_transaction_ends_the_generation() {
    let mut world = world();
    world.run("INSERT INTO accepted VALUES (1)").unwrap();
    let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO accepted VALUES (2)").unwrap();
    let outage = world.faults.outage(Step::Read, Fault::Unavailable);
    assert_eq!(world.run("SELECT sum(length(a)) FROM t").as_ref(), Err(&TORN));
    assert_eq!(world.connection.commit(transaction).as_ref(), Err(&TORN));
    drop(outage);
    is_torn(world, 1);
}

#[test]
fn a_lost_read_while_compiling_in_a_transaction_ends_the_generation() {
    let mut world = world();
    world.run("INSERT INTO accepted VALUES (1)").unwrap();
    world.run("BEGIN").unwrap();
    world.run("INSERT INTO accepted VALUES (2)").unwrap();
    let outage = world.faults.outage(Step::Read, Fault::Unavailable);
    assert_eq!(world.run("SELECT * FROM f('word7')").as_ref(), Err(&TORN));
    drop(outage);
    is_torn(world, 1);
}

/// Outside of transactions nothing is torn: reading again succeeds, and so does writing.
#[test]
fn a_lost_read_alone_is_only_reported() {
    let mut world = world();
    let outage = world.faults.outage(Step::Read, Fault::Unavailable);
    let sql = "SELECT sum(length(a)) FROM t";
    assert_eq!(world.run(sql), Err(SqlError::Unavailable));
    assert_eq!(world.run("SELECT * FROM f('word7')"), Err(SqlError::Unavailable));
    drop(outage);
    assert_eq!(world.run(sql), Ok(0));
    world.run(INDEX).unwrap();
    assert_eq!(world.integer("SELECT count(*) FROM f('word7')"), 2);
}
