//! Transactions, savepoints, and what SQLite ends by itself.

use stockade_depot::{DepotLimits, Txid};

use super::World;
use crate::limits::Limits;
use crate::sqlite::{SqlError, TransactionMode, Value};

fn world() -> World {
    let mut world = World::new();
    world.script("CREATE TABLE t(a INTEGER PRIMARY KEY)");
    world
}

#[test]
fn ending_an_outer_one_ends_those_inside() {
    let mut world = world();
    let outer = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    let middle = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (2)").unwrap();
    let inner = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (3)").unwrap();
    world.connection.commit(inner).unwrap();
    assert_eq!(world.integer("SELECT count(*) FROM t"), 3);
    world.connection.rollback(middle).unwrap();
    assert_eq!(world.connection.commit(middle), Err(SqlError::NotOpen));
    assert_eq!(world.connection.commit(inner), Err(SqlError::NotOpen));
    let again = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (4)").unwrap();
    world.connection.commit(outer).unwrap();
    assert_eq!(world.connection.rollback(again), Err(SqlError::NotOpen));
    assert_eq!(world.rows("SELECT a FROM t"), [[Value::Integer(1)], [Value::Integer(4)]]);
}

#[test]
fn dropped_means_rolled_back() {
    let mut world = world();
    let dropped = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    world.connection.drop_transaction(dropped);
    assert!(!world.connection.in_transaction());
    let kept = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (2)").unwrap();
    world.connection.commit(kept).unwrap();
    world.connection.drop_transaction(kept);
    assert_eq!(world.rows("SELECT a FROM t"), [[Value::Integer(2)]]);
}

#[test]
fn one_transaction_is_one_commit() {
    let mut world = world();
    let txid = |world: &World| {
        world.runtime.block_on(world.session.durable(world.session.mark())).unwrap()
    };
    let before = txid(&world);
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    for _ in 0..5 {
        world.run("INSERT INTO t DEFAULT VALUES").unwrap();
    }
    assert_eq!(txid(&world), before);
    world.connection.commit(transaction).unwrap();
    assert_eq!(txid(&world), Txid(before.0 + 1));
}

#[test]
fn a_rollback_that_sqlite_makes_ends_the_handles() {
    let mut world = world();
    let outer = world.connection.begin(TransactionMode::Deferred).unwrap();
    let inner = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    assert!(world.run("INSERT OR ROLLBACK INTO t VALUES (1)").is_err());
    assert_eq!(world.connection.commit(inner), Err(SqlError::NotOpen));
    // Nothing begins beside a handle whose transaction is gone.
    let beside = world.connection.begin(TransactionMode::Deferred);
    assert_eq!(beside, Err(SqlError::NotOpen));
    assert_eq!(world.connection.commit(outer), Err(SqlError::NotOpen));
    // A new transaction is not mistaken for the old one.
    let new = world.connection.begin(TransactionMode::Deferred).unwrap();
    assert_eq!(world.connection.commit(outer), Err(SqlError::NotOpen));
    assert_eq!(world.connection.commit(new), Ok(()));
}

#[test]
fn sql_text_controls_transactions_only_without_handles() {
    let mut world = world();
    world.run("BEGIN").unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    let handle = world.connection.begin(TransactionMode::Immediate).unwrap();
    for sql in ["COMMIT", "ROLLBACK", "SAVEPOINT a", "END"] {
        assert!(matches!(world.run(sql), Err(SqlError::Denied(_))), "{sql}");
    }
    world.run("INSERT INTO t VALUES (2)").unwrap();
    world.connection.rollback(handle).unwrap();
    world.run("COMMIT").unwrap();
    assert_eq!(world.rows("SELECT a FROM t"), [[Value::Integer(1)]]);
}

#[test]
fn a_deferred_foreign_key_can_be_mended() {
    let mut world = world();
    world.script("CREATE TABLE c(a REFERENCES t DEFERRABLE INITIALLY DEFERRED)");
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO c VALUES (7)").unwrap();
    let refused = world.connection.commit(transaction);
    assert!(matches!(refused, Err(SqlError::Constraint(_))), "{refused:?}");
    world.run("INSERT INTO t VALUES (7)").unwrap();
    assert_eq!(world.connection.commit(transaction), Ok(()));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut world = world();
    let insert = |a| ("INSERT INTO t VALUES (?)".to_owned(), vec![Value::Integer(a)]);
    let changes = world.connection.run_batch(&[insert(1), insert(2)]).unwrap();
    assert_eq!(changes.iter().map(|changes| changes.rows).collect::<Vec<_>>(), [1, 1]);
    assert!(world.connection.run_batch(&[insert(3), insert(1)]).is_err());
    let commit = ("COMMIT".to_owned(), Vec::new());
    assert!(world.connection.run_batch(&[insert(4), commit, insert(1)]).is_err());
    assert_eq!(world.integer("SELECT count(*) FROM t"), 2);
    assert!(!world.connection.in_transaction());
}

#[test]
fn a_commit_that_is_too_large_keeps_nothing_and_the_next_one_works() {
    let limits = DepotLimits { commit_bytes_max: 1 << 20, ..DepotLimits::default() };
    let mut world = World::with(Limits::default(), limits);
    world.script("CREATE TABLE t(a)");
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (randomblob(1100000))").unwrap();
    let refused = world.connection.commit(transaction);
    assert_eq!(refused, Err(SqlError::CommitTooLarge(1 << 20)));
    assert_eq!(world.connection.rollback(transaction), Err(SqlError::NotOpen));
    let alone = world.run("INSERT INTO t VALUES (randomblob(1100000))");
    assert_eq!(alone, Err(SqlError::CommitTooLarge(1 << 20)));
    assert_eq!(world.run("INSERT INTO t VALUES (1)"), Ok(1));
    assert_eq!(world.integer("SELECT count(*) FROM t"), 1);
}

/// SQLite stays inside an empty transaction when it refuses the RELEASE that commits.
#[test]
fn a_refused_release_leaves_no_transaction_behind() {
    let limits = DepotLimits { commit_bytes_max: 1 << 16, ..DepotLimits::default() };
    let mut world = World::with(Limits::default(), limits);
    world.script("CREATE TABLE t(a)");
    world.run("SAVEPOINT a").unwrap();
    world.run("INSERT INTO t VALUES (randomblob(100000))").unwrap();
    assert_eq!(world.run("RELEASE a"), Err(SqlError::CommitTooLarge(1 << 16)));
    assert!(!world.connection.in_transaction());
    assert_eq!(world.run("INSERT INTO t VALUES (1)"), Ok(1));
    // In a script, and by an operator.
    let sql = "SAVEPOINT a; INSERT INTO t VALUES (randomblob(100000)); RELEASE a";
    let too_large = SqlError::CommitTooLarge(1 << 16);
    assert_eq!(world.connection.execute_script(sql).as_ref(), Err(&too_large));
    let run = world.connection.run_operator(sql, &[], true, 10);
    assert_eq!(run.as_ref(), Err(&too_large));
    assert!(!world.connection.in_transaction());
    assert_eq!(world.run("INSERT INTO t VALUES (2)"), Ok(1));
    world.reopen();
    assert_eq!(world.rows("SELECT a FROM t"), [[Value::Integer(1)], [Value::Integer(2)]]);
}

/// What SQLite refuses without rolling back can still be repaired.
#[test]
fn a_release_that_can_be_mended_stays_open() {
    let mut world = world();
    world.script("CREATE TABLE c(a REFERENCES t DEFERRABLE INITIALLY DEFERRED)");
    world.run("SAVEPOINT a").unwrap();
    assert!(world.run("RELEASE b").is_err());
    assert!(world.connection.in_transaction());
    world.run("INSERT INTO c VALUES (7)").unwrap();
    let refused = world.run("RELEASE a");
    assert!(matches!(refused, Err(SqlError::Constraint(_))), "{refused:?}");
    world.run("INSERT INTO t VALUES (7)").unwrap();
    assert_eq!(world.run("RELEASE a"), Ok(0));
    assert_eq!(world.integer("SELECT count(*) FROM c"), 1);
}

#[test]
fn a_database_at_its_limit_is_full() {
    let limits = DepotLimits { database_pages_max: 20, ..DepotLimits::default() };
    let mut world = World::with(Limits::default(), limits);
    world.script("CREATE TABLE t(a)");
    assert_eq!(world.run("INSERT INTO t VALUES (randomblob(200000))"), Err(SqlError::Full));
    assert_eq!(world.run("INSERT INTO t VALUES (1)"), Ok(1));
}
