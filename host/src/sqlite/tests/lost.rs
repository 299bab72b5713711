//! Transactions that SQLite rolls back by itself: nothing runs until their handles are closed.

use stockade_depot::DepotLimits;

use super::{World, packed};
use crate::limits::Limits;
use crate::sqlite::{Blob, SqlError, SqlLimit, StatementId, TransactionId, TransactionMode, Value};

/// What makes SQLite roll back, in a table with a 1 and a trigger.
const ROLLBACKS: [&str; 3] = [
    "INSERT OR ROLLBACK INTO t VALUES (1)",
    "INSERT INTO t VALUES (666)",
    "UPDATE OR ROLLBACK t SET a = 1",
];

struct Lost {
    world: World,
    outer: TransactionId,
    inner: TransactionId,
    select: StatementId,
    insert: StatementId,
    blob: Blob,
}

fn world() -> World {
    let mut world = World::with(Limits::default(), DepotLimits::default());
    world.script(
        "CREATE TABLE t(a UNIQUE); CREATE TABLE b(x);
         CREATE TRIGGER g BEFORE INSERT ON t WHEN new.a = 666
           BEGIN SELECT RAISE(ROLLBACK, 'told to'); END;
         INSERT INTO t VALUES (1); INSERT INTO b VALUES (x'0102')",
    );
    world
}

/// A transaction and a savepoint in it, both with a row, in which something is about to fail.
fn inside() -> Lost {
    let mut world = world();
    let outer = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO t VALUES (2)").unwrap();
    let inner = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.run("INSERT INTO t VALUES (3)").unwrap();
    let select = world.connection.prepare("SELECT a FROM t").unwrap();
    world.connection.query_statement(select, Vec::new(), 1).unwrap();
    let insert = world.connection.prepare("INSERT INTO t VALUES (?)").unwrap();
    let blob = world.connection.open_blob("b", "x", 1, true).unwrap();
    Lost { world, outer, inner, select, insert, blob }
}

impl Lost {
    /// Everything that would have run beside the transaction is refused, and does nothing.
    fn refuses_everything(&mut self) {
        let Self { world, select, insert, blob, .. } = self;
        let connection = &mut world.connection;
        let not_open = SqlError::NotOpen;
        let four = || packed(&[Value::Integer(4)]);
        assert_eq!(connection.execute("INSERT INTO t VALUES (4)", &[]).as_ref(), Err(&not_open));
        assert_eq!(connection.query("SELECT 1", &[]).as_ref(), Err(&not_open));
        assert_eq!(connection.execute_statement(*insert, four()).as_ref(), Err(&not_open));
        assert_eq!(connection.execute_many(*insert, four()).as_ref(), Err(&not_open));
        assert_eq!(connection.next(*select, 1).as_ref(), Err(&not_open));
        assert_eq!(connection.query_statement(*select, Vec::new(), 1).as_ref(), Err(&not_open));
        assert_eq!(connection.open_cursor(*select, Vec::new()).as_ref(), Err(&not_open));
        assert_eq!(connection.execute_script("INSERT INTO t VALUES (4)").as_ref(), Err(&not_open));
        assert_eq!(connection.execute_script("BEGIN; COMMIT").as_ref(), Err(&not_open));
        let batch = [("INSERT INTO t VALUES (4)".to_owned(), Vec::new())];
        assert_eq!(connection.run_batch(&batch).as_ref(), Err(&not_open));
        assert_eq!(connection.begin(TransactionMode::Deferred).as_ref(), Err(&not_open));
        assert_eq!(connection.mark_outside_transaction().as_ref(), Err(&not_open));
        assert_eq!(connection.blob_read(blob, 0, 1).as_ref(), Err(&not_open));
        assert_eq!(connection.blob_write(blob, 0, &[9]).as_ref(), Err(&not_open));
        assert_eq!(connection.open_blob("b", "x", 1, true).err().as_ref(), Some(&not_open));
        assert!(!connection.in_transaction());
    }

    /// Nothing of it all was kept, and what follows commits by itself.
    fn works(mut self) {
        self.world.run("INSERT INTO t VALUES (5)").unwrap();
        self.world.reopen();
        let kept = [[Value::Integer(1)], [Value::Integer(5)]];
        assert_eq!(self.world.rows("SELECT a FROM t"), kept);
        assert_eq!(self.world.value("SELECT x FROM b"), Value::Blob(vec![1, 2]));
    }
}

/// The ways in which a guest runs a statement.
const RUNS: [fn(&mut World, &str) -> SqlError; 6] = [
    |world, sql| world.run(sql).unwrap_err(),
    |world, sql| world.connection.query(sql, &[]).unwrap_err(),
    |world, sql| {
        let id = world.connection.prepare(sql).unwrap();
        world.connection.execute_statement(id, Vec::new()).unwrap_err()
    },
    |world, sql| {
        let id = world.connection.prepare(&format!("{sql} RETURNING a")).unwrap();
        world.connection.query_statement(id, Vec::new(), 1).unwrap_err()
    },
    |world, sql| world.connection.execute_script(&format!("SELECT 1; {sql}; {sql}")).unwrap_err(),
    |world, sql| {
        let id = world.connection.prepare(&sql.replace("666", "?1 + 666")).unwrap();
        let rows = packed(&[Value::Integer(0)]).repeat(3);
        let error = if sql.contains("666") {
            world.connection.execute_many(id, rows).unwrap_err()
        } else {
            world.connection.execute_statement(id, Vec::new()).unwrap_err()
        };
        match error {
            SqlError::RowFailed { row: 0, cause } => *cause,
            error => error,
        }
    },
];

#[test]
fn nothing_runs_until_the_handles_are_closed() {
    for sql in ROLLBACKS {
        for run in RUNS {
            let mut lost = inside();
            let told = run(&mut lost.world, sql);
            assert!(matches!(told, SqlError::Constraint(_)), "{sql}: {told:?}");
            lost.refuses_everything();
            assert_eq!(lost.world.connection.commit(lost.inner), Err(SqlError::NotOpen));
            lost.refuses_everything();
            assert_eq!(lost.world.connection.rollback(lost.inner), Err(SqlError::NotOpen));
            lost.refuses_everything();
            assert_eq!(lost.world.connection.commit(lost.outer), Err(SqlError::NotOpen));
            lost.works();
        }
    }
}

/// Closed by whichever way, an outer one closes those inside it; a call's end closes all.
#[test]
fn each_way_of_closing_a_handle_closes_it() {
    const CLOSES: [fn(&mut Lost); 5] = [
        |lost| drop(lost.world.connection.commit(lost.outer)),
        |lost| drop(lost.world.connection.rollback(lost.outer)),
        |lost| lost.world.connection.drop_transaction(lost.outer),
        |lost| {
            lost.world.connection.drop_transaction(lost.inner);
            lost.refuses_everything();
            lost.world.connection.drop_transaction(lost.outer);
        },
        |lost| {
            lost.world.connection.end_of_call().unwrap();
            lost.world.begin();
        },
    ];
    for close in CLOSES {
        let mut lost = inside();
        assert!(lost.world.run(ROLLBACKS[0]).is_err());
        lost.refuses_everything();
        close(&mut lost);
        lost.works();
    }
}

/// A batch reports that the transaction around it is gone; its own error reports its own end.
#[test]
fn a_batch_tells_what_it_took_with_it() {
    for sql in ROLLBACKS {
        let batch = [("DELETE FROM b".to_owned(), Vec::new()), (sql.to_owned(), Vec::new())];
        let mut lost = inside();
        assert_eq!(lost.world.connection.run_batch(&batch), Err(SqlError::NotOpen));
        lost.refuses_everything();
        lost.world.connection.drop_transaction(lost.outer);
        lost.works();
        let mut world = world();
        world.script("INSERT INTO t VALUES (9)");
        let alone = world.connection.run_batch(&batch);
        assert!(matches!(alone, Err(SqlError::Constraint(_))), "{sql}: {alone:?}");
        assert_eq!(world.run("DELETE FROM t WHERE a = 9"), Ok(1));
    }
}

/// As above, in a transaction that SQL text has begun: it has no handle, and only the batch can
/// report the loss.
#[test]
fn a_batch_in_a_transaction_of_text_tells_as_well() {
    let mut world = world();
    world.run("BEGIN").unwrap();
    world.run("INSERT INTO t VALUES (2)").unwrap();
    let batch = [(ROLLBACKS[0].to_owned(), Vec::new())];
    assert_eq!(world.connection.run_batch(&batch), Err(SqlError::NotOpen));
    assert_eq!(world.rows("SELECT a FROM t"), [[Value::Integer(1)]]);
}

/// An interrupted write takes its transaction with it, too.
#[test]
fn an_interrupted_write_is_told_as_such_and_then_as_lost() {
    let mut world =
        World::with(Limits { sql_steps_max: 20_000, ..Limits::default() }, DepotLimits::default());
    world.script("CREATE TABLE t(a)");
    let insert = world.connection.prepare("INSERT INTO t VALUES (2)").unwrap();
    let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   INSERT INTO t SELECT i FROM n";
    let told = world.run(endless);
    assert_eq!(told, Err(SqlError::LimitExceeded(SqlLimit::SqlSteps)));
    let beside = world.connection.execute_statement(insert, Vec::new());
    assert_eq!(beside, Err(SqlError::NotOpen));
    assert_eq!(world.connection.commit(transaction), Err(SqlError::NotOpen));
    world.connection.end_of_call().unwrap();
    world.begin();
    assert_eq!(world.integer("SELECT count(*) FROM t"), 0);
}

/// A failed commit has reported the loss: the handle is closed by it, and those around it are lost.
#[test]
fn a_commit_that_fails_closes_its_handle() {
    let limits = DepotLimits { commit_bytes_max: 1 << 16, ..DepotLimits::default() };
    let mut world = World::with(Limits::default(), limits);
    world.script("CREATE TABLE t(a)");
    let outer = world.connection.begin(TransactionMode::Immediate).unwrap();
    let inner = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO t VALUES (randomblob(100000))").unwrap();
    assert_eq!(world.connection.commit(outer), Err(SqlError::CommitTooLarge(1 << 16)));
    assert_eq!(world.run("INSERT INTO t VALUES (2)"), Ok(1));
    assert_eq!(world.connection.commit(inner), Err(SqlError::NotOpen));
    assert_eq!(world.integer("SELECT count(*) FROM t"), 1);
}
