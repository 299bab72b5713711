//! After a revocation nothing succeeds, whatever SQLite's cache could still serve.

use stockade_depot::Reason;
use stockade_vfs::memory::{Pool, Share};

use super::World;
use crate::sqlite::{Spares, SqlError, TransactionMode};

#[test]
fn sql_after_close_is_revoked_not_reopened() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let id = world.connection.prepare("SELECT a FROM t").unwrap();
    world.session.close(Reason::Slept);
    let revoked = SqlError::Revoked(Reason::Slept);
    assert_eq!(world.run("SELECT 1").as_ref(), Err(&revoked));
    assert_eq!(world.run("INSERT INTO t VALUES (2)").as_ref(), Err(&revoked));
    assert_eq!(world.connection.query_statement(id, Vec::new(), 10).as_ref(), Err(&revoked));
    assert_eq!(world.connection.begin(TransactionMode::Deferred).as_ref(), Err(&revoked));
    assert_eq!(world.connection.prepare("SELECT 2").as_ref(), Err(&revoked));
    assert_eq!(world.connection.changes().as_ref(), Err(&revoked));
    assert_eq!(world.connection.mark().as_ref(), Err(&revoked));
    let run = world.connection.run_operator("SELECT 1", &[], false, 10);
    assert_eq!(run.as_ref(), Err(&revoked));
    world.connection.drop_statement(id);
    let again = crate::sqlite::Connection::open(
        &Spares::default(),
        world.session.clone(),
        world.directory.path(),
        &Share::of(&Pool::unbounded()),
        &world.limits,
        world.grip.clone(),
        world.meter.clone(),
    );
    assert_eq!(again.err(), Some(revoked));
}

#[test]
fn old_generation_cannot_read_even_from_cache() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    let id = world.connection.prepare("SELECT a FROM t").unwrap();
    world.runtime.block_on(world.session.durable(world.session.mark())).unwrap();
    let cursor = world.connection.open_cursor(id, Vec::new()).unwrap();
    assert_eq!(world.connection.cursor_next(cursor, 1).unwrap().count, 1);
    let _new = world.take_over();
    // This generation has no news yet; the confirmation before a reply brings it.
    assert!(world.runtime.block_on(world.session.confirm()).is_err());
    let fenced = SqlError::Revoked(Reason::Fenced);
    assert_eq!(world.connection.cursor_next(cursor, 1).as_ref(), Err(&fenced));
    assert_eq!(world.run("SELECT a FROM t").as_ref(), Err(&fenced));
    assert_eq!(world.run("SELECT 1").as_ref(), Err(&fenced));
    // The first cause stays.
    world.session.close(Reason::Slept);
    assert_eq!(world.run("SELECT 1").as_ref(), Err(&fenced));
}

#[test]
fn old_generation_cannot_commit() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    world.runtime.block_on(world.session.durable(world.session.mark())).unwrap();
    let _new = world.take_over();
    // Accepted, since the loss is not known yet; the write never becomes durable and everything
    // after it fails.
    let accepted = world.run("INSERT INTO t VALUES (1)");
    let mark = world.session.mark();
    assert!(world.runtime.block_on(world.session.durable(mark)).is_err(), "{accepted:?}");
    assert_eq!(world.run("SELECT 1"), Err(SqlError::Revoked(Reason::Fenced)));
}

#[test]
fn revoked_handle_stays_revoked() {
    let mut world = World::new();
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.grip.revoke(Reason::Upgraded);
    world.grip.revoke(Reason::Shutdown);
    world.begin();
    let revoked = Err(SqlError::Revoked(Reason::Upgraded));
    assert_eq!(world.connection.commit(transaction), revoked);
    world.connection.drop_transaction(transaction);
    assert!(!world.connection.in_transaction());
    assert_eq!(world.connection.execute_script("SELECT 1"), revoked);
}

#[test]
fn a_revocation_ends_the_statement_that_runs() {
    let mut world = World::new();
    let grip = world.grip.clone();
    let revoke = std::thread::Builder::new().spawn(move || grip.revoke(Reason::Shutdown)).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT count(*) FROM n";
    assert_eq!(world.run(endless), Err(SqlError::Revoked(Reason::Shutdown)));
    assert!(revoke.join().unwrap());
}

/// The work was done, but before its answer is out the generation has ended: no success leaves.
#[test]
fn an_answer_that_a_revocation_overtakes_is_not_success() {
    let mut world = World::new();
    let grip = world.grip.clone();
    let answer = world.connection.guarded(|_| {
        grip.revoke(Reason::Shutdown);
        Ok(())
    });
    assert_eq!(answer, Err(SqlError::Revoked(Reason::Shutdown)));

    let mut world = World::new();
    let session = world.session.clone();
    let answer = world.connection.guarded(|_| {
        session.close(Reason::Operator);
        Ok(())
    });
    assert_eq!(answer, Err(SqlError::Revoked(Reason::Operator)));
}
