//! What the end of a call leaves: nothing.

use super::World;
use crate::sqlite::{Leftovers, SqlError, TransactionMode};

#[test]
fn a_transaction_left_open_is_rolled_back() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    let left = Leftovers { rolled_back: true, queries: 0 };
    assert_eq!(world.connection.end_of_call(), Ok(left));
    world.begin();
    assert_eq!(world.connection.commit(transaction), Err(SqlError::NotOpen));
    assert_eq!(world.integer("SELECT count(*) FROM t"), 0);
    world.run("BEGIN").unwrap();
    assert_eq!(world.connection.end_of_call(), Ok(left));
    assert_eq!(world.connection.end_of_call(), Ok(Leftovers::default()));
}

#[test]
fn queries_in_progress_end_and_what_they_wrote_is_kept() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    let insert = "INSERT INTO t VALUES (1), (2) RETURNING a";
    let id = world.connection.prepare(insert).unwrap();
    assert!(!world.connection.query_statement(id, Vec::new(), 1).unwrap().done);
    assert_eq!(world.connection.end_of_call(), Ok(Leftovers { rolled_back: false, queries: 1 }));
    assert_eq!(world.connection.next(id, 1), Err(SqlError::NotOpen));
    assert_eq!(world.integer("SELECT count(*) FROM t"), 2);
}

#[test]
fn it_works_after_the_budget_ran_out_and_after_a_revocation() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    for revoke in [false, true] {
        world.begin();
        world.connection.begin(TransactionMode::Deferred).unwrap();
        world.run("INSERT INTO t VALUES (1)").unwrap();
        world.meter.stop();
        if revoke {
            world.grip.revoke(stockade_depot::Reason::Slept);
        }
        assert!(world.run("SELECT 1").is_err());
        assert!(world.connection.end_of_call().unwrap().rolled_back);
    }
}

#[test]
fn pages_are_on_the_bill_when_the_call_has_ended() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (randomblob(100000))");
    world.connection.end_of_call().unwrap();
    let counts = world.meter.counts();
    assert!(counts.pages_written >= 25, "{counts:?}");
    assert_eq!(counts.rows_written, 1);
    assert!(counts.sql_steps > 5, "{counts:?}");
}
