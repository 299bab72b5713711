//! Transactions, savepoints inside them, durability.

use crate::bindings::stockade::actor::sqlite::{Connection, TransactionMode};
use crate::{Doing, Outcome, Scenario, ensure, integer, refused, same, script};

pub(crate) const ALL: &[Scenario] = &[
    ("commit", commit),
    ("rollback", rollback),
    ("dropped-transaction", dropped),
    ("nested-savepoints", nested),
    ("outer-ends-inner", outer_ends_inner),
    ("deferred-constraint", deferred_constraint),
    ("rollback-by-sqlite", rollback_by_sqlite),
    ("lost-transaction", lost_transaction),
    ("rollback-ends-cursors", rollback_ends_cursors),
    ("large-transaction", large_transaction),
    ("flush-and-bookmark", flush_and_bookmark),
];

fn table(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a)")
}

fn insert(db: &Connection, value: i64) -> Outcome {
    db.execute(&format!("INSERT INTO t VALUES ({value})"), &[]).doing("insert").map(drop)
}

fn sum(db: &Connection) -> Result<i64, String> {
    integer(db, "SELECT coalesce(sum(a), 0) FROM t")
}

fn commit(db: &Connection) -> Outcome {
    table(db)?;
    for mode in [TransactionMode::Deferred, TransactionMode::Immediate] {
        let transaction = db.begin(mode).doing("begin")?;
        insert(db, 1)?;
        insert(db, 2)?;
        transaction.commit().doing("commit")?;
        refused("commit twice", transaction.commit(), "NotOpen")?;
        refused("rollback after commit", transaction.rollback(), "NotOpen")?;
    }
    same("kept", sum(db)?, 6)
}

fn rollback(db: &Connection) -> Outcome {
    table(db)?;
    let transaction = db.begin(TransactionMode::Immediate).doing("begin")?;
    insert(db, 1)?;
    same("its own write is seen", sum(db)?, 1)?;
    transaction.rollback().doing("rollback")?;
    same("nothing kept", sum(db)?, 0)?;
    refused("rollback twice", transaction.rollback(), "NotOpen")
}

fn dropped(db: &Connection) -> Outcome {
    table(db)?;
    {
        let _transaction = db.begin(TransactionMode::Deferred).doing("begin")?;
        insert(db, 1)?;
    }
    same("rolled back", sum(db)?, 0)?;
    insert(db, 5)?;
    same("autocommit again", sum(db)?, 5)
}

fn nested(db: &Connection) -> Outcome {
    table(db)?;
    let outer = db.begin(TransactionMode::Deferred).doing("begin")?;
    insert(db, 1)?;
    let middle = db.begin(TransactionMode::Deferred).doing("savepoint")?;
    insert(db, 10)?;
    let inner = db.begin(TransactionMode::Deferred).doing("savepoint in it")?;
    insert(db, 100)?;
    inner.rollback().doing("roll back the inner one")?;
    same("inner is gone", sum(db)?, 11)?;
    {
        let _again = db.begin(TransactionMode::Deferred).doing("savepoint, dropped")?;
        insert(db, 1000)?;
    }
    same("dropped is gone", sum(db)?, 11)?;
    middle.commit().doing("keep the middle one")?;
    same("middle is kept", sum(db)?, 11)?;
    outer.commit().doing("commit")?;
    same("kept", sum(db)?, 11)
}

fn outer_ends_inner(db: &Connection) -> Outcome {
    table(db)?;
    let outer = db.begin(TransactionMode::Deferred).doing("begin")?;
    insert(db, 1)?;
    let inner = db.begin(TransactionMode::Deferred).doing("savepoint")?;
    insert(db, 10)?;
    outer.commit().doing("commit the outer one")?;
    refused("the inner one has ended", inner.rollback(), "NotOpen")?;
    same("both are kept", sum(db)?, 11)?;

    let outer = db.begin(TransactionMode::Deferred).doing("begin")?;
    let inner = db.begin(TransactionMode::Deferred).doing("savepoint")?;
    insert(db, 100)?;
    outer.rollback().doing("rollback")?;
    refused("ended with it", inner.commit(), "NotOpen")?;
    same("nothing new", sum(db)?, 11)
}

fn deferred_constraint(db: &Connection) -> Outcome {
    script(
        db,
        "PRAGMA foreign_keys = ON;
         CREATE TABLE p(id INTEGER PRIMARY KEY);
         CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    )?;
    let transaction = db.begin(TransactionMode::Deferred).doing("begin")?;
    script_inside(db, "INSERT INTO c VALUES (7)")?;
    refused("the parent is missing", transaction.commit(), "ForeignKey")?;
    script_inside(db, "INSERT INTO p VALUES (7)")?;
    transaction.commit().doing("commit after the parent is there")?;
    same("kept", integer(db, "SELECT count(*) FROM c")?, 1)
}

fn script_inside(db: &Connection, sql: &str) -> Outcome {
    db.execute(sql, &[]).doing(sql).map(drop)
}

fn rollback_by_sqlite(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a UNIQUE)")?;
    let transaction = db.begin(TransactionMode::Deferred).doing("begin")?;
    insert(db, 1)?;
    let clash = db.execute("INSERT OR ROLLBACK INTO t VALUES (1)", &[]);
    refused("a clash that rolls back", clash, "Unique")?;
    refused("it has ended", transaction.commit(), "NotOpen")?;
    same("nothing kept", sum(db)?, 0)
}

fn lost_transaction(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a UNIQUE)")?;
    let outer = db.begin(TransactionMode::Immediate).doing("begin")?;
    insert(db, 1)?;
    let inner = db.begin(TransactionMode::Deferred).doing("savepoint")?;
    insert(db, 2)?;
    let clash = db.execute("INSERT OR ROLLBACK INTO t VALUES (1)", &[]);
    refused("a clash that rolls back", clash, "Unique")?;
    nothing_runs(db)?;
    refused("the inner one has ended", inner.commit(), "NotOpen")?;
    nothing_runs(db)?;
    drop(outer);
    same("nothing kept", sum(db)?, 0)?;
    insert(db, 3)?;
    // A batch that rolls back the transaction around it fails with `not-open`.
    let outer = db.begin(TransactionMode::Immediate).doing("begin")?;
    insert(db, 4)?;
    let batch = db.run_batch(&[("INSERT OR ROLLBACK INTO t VALUES (3)".into(), vec![])]);
    refused("a batch that rolls back", batch, "NotOpen")?;
    nothing_runs(db)?;
    refused("it has ended", outer.rollback(), "NotOpen")?;
    same("only what committed by itself", sum(db)?, 3)
}

/// Nothing runs beside the handle of a transaction that SQLite has rolled back.
fn nothing_runs(db: &Connection) -> Outcome {
    refused("execute", db.execute("INSERT INTO t VALUES (9)", &[]), "NotOpen")?;
    refused("query", db.query("SELECT 1", &[]).map(|_| ()), "NotOpen")?;
    refused("script", db.execute_script("INSERT INTO t VALUES (9)"), "NotOpen")?;
    refused("bookmark", db.bookmark().map(|_| ()), "NotOpen")?;
    refused("begin", db.begin(TransactionMode::Deferred).map(|_| ()), "NotOpen")?;
    let statement = db.prepare("INSERT INTO t VALUES (9)").doing("prepare")?;
    refused("statement", statement.execute(&[]), "NotOpen")
}

fn rollback_ends_cursors(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)")?;
    let transaction = db.begin(TransactionMode::Deferred).doing("begin")?;
    script_inside(db, "CREATE TABLE u(a)")?;
    let select = db.prepare("SELECT a FROM t").doing("prepare")?;
    let cursor = select.open_cursor(&[]).doing("open")?;
    cursor.next(1).doing("next")?;
    transaction.rollback().doing("rollback")?;
    // A rollback that changes the schema ends the open cursors.
    ensure(cursor.next(1).is_err(), "the cursor outlived the rollback")?;
    same("usable again", sum(db)?, 6)
}

fn large_transaction(db: &Connection) -> Outcome {
    table(db)?;
    let transaction = db.begin(TransactionMode::Immediate).doing("begin")?;
    db.execute(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 4000)
         INSERT INTO t SELECT zeroblob(2000) FROM c",
        &[],
    )
    .doing("8 MB")?;
    transaction.commit().doing("commit")?;
    same("rows", integer(db, "SELECT count(*) FROM t")?, 4000)
}

fn flush_and_bookmark(db: &Connection) -> Outcome {
    table(db)?;
    let before = db.bookmark().doing("bookmark")?;
    insert(db, 1)?;
    db.flush().doing("flush")?;
    let after = db.bookmark().doing("bookmark")?;
    same("one database", &before.db, &after.db)?;
    ensure(after.txid > before.txid, format_args!("{} then {}", before.txid, after.txid))?;
    same("nothing between", db.bookmark().doing("bookmark")?.txid, after.txid)?;
    let transaction = db.begin(TransactionMode::Immediate).doing("begin")?;
    refused("inside a transaction", db.bookmark(), "Busy")?;
    transaction.rollback().doing("rollback")
}
