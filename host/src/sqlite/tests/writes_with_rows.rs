//! Writes that return rows: accepted when their first rows are there, and a failed commit is
//! reported to the caller that ran them.

use stockade_depot::{DepotLimits, Reason, Txid};
use stockade_testkit::faulty_store::{Fault, Step};

use super::{World, packed};
use crate::limits::Limits;
use crate::sqlite::{SqlError, SqlLimit, StatementId, TransactionMode, Value};

const COPY: &str = "INSERT INTO t SELECT a FROM source RETURNING a";

fn world_with(limits: Limits, depot_limits: DepotLimits) -> World {
    let mut world = World::with(limits, depot_limits);
    world.script(
        "CREATE TABLE source(a); CREATE TABLE t(a); CREATE TABLE u(a);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO source SELECT i FROM n",
    );
    world
}

fn world() -> World {
    world_with(Limits::default(), DepotLimits::default())
}

fn durable(world: &mut World) -> Txid {
    let mark = world.connection.mark().unwrap();
    world.runtime.block_on(world.session.durable(mark)).unwrap()
}

fn count(world: &mut World, table: &str) -> i64 {
    world.integer(&format!("SELECT count(*) FROM {table}"))
}

/// How the query of a write that was half read may go.
const ENDS: [fn(&mut World, StatementId); 7] = [
    |_, _| {},
    |world, id| world.connection.reset(id).unwrap(),
    |world, id| world.connection.drop_statement(id),
    |world, id| {
        world.connection.open_cursor(id, Vec::new()).unwrap();
    },
    |world, _| {
        world.connection.end_of_call().unwrap();
        world.begin();
    },
    |world, _| {
        let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
        world.run("DELETE FROM t").unwrap();
        world.connection.rollback(transaction).unwrap();
    },
    |world, _| {
        world.connection.run_operator("SELECT * FROM t", &[], false, 1).unwrap();
    },
];

#[test]
fn what_follows_a_half_read_write_is_durable_when_it_says_so() {
    for end in ENDS {
        for by_cursor in [true, false] {
            let mut world = world();
            let before = durable(&mut world);
            let id = world.connection.prepare(COPY).unwrap();
            let batch = if by_cursor {
                let cursor = world.connection.open_cursor(id, Vec::new()).unwrap();
                world.connection.cursor_next(cursor, 50).unwrap()
            } else {
                world.connection.query_statement(id, Vec::new(), 50).unwrap()
            };
            assert!(!batch.done && batch.count < 10, "{batch:?}");
            assert_eq!(durable(&mut world), Txid(before.0 + 1), "the write itself");
            world.run("INSERT INTO u VALUES (1)").unwrap();
            assert_eq!(durable(&mut world), Txid(before.0 + 2), "what follows it");
            assert!(world.connection.mark_outside_transaction().is_ok());
            end(&mut world, id);
            world.replace("");
            assert_eq!((count(&mut world, "t"), count(&mut world, "u")), (2000, 1));
        }
    }
}

#[test]
fn its_rows_come_in_batches_as_those_of_a_read_do() {
    let mut world = world();
    let all = world.rows("SELECT a FROM source");
    for bytes_max in [1, 50, 9 * 7, 20_000, u32::MAX] {
        let id = world.connection.prepare(COPY).unwrap();
        let mut batch = world.connection.query_statement(id, Vec::new(), bytes_max).unwrap();
        let (mut rows, mut bytes) = (0, Vec::<u8>::new());
        loop {
            assert!(batch.rows.len() <= bytes_max.max(9) as usize);
            rows += batch.count;
            bytes.extend(&batch.rows);
            if batch.done {
                break;
            }
            assert_eq!(world.connection.bind(id, 1, &Value::Null).err(), Some(SqlError::Busy));
            batch = world.connection.next(id, bytes_max).unwrap();
        }
        assert_eq!(bytes, packed(&all.concat()), "{bytes_max}");
        assert_eq!((rows, batch.columns), (2000, 1));
        assert_eq!(world.connection.next(id, 1), Err(SqlError::NotOpen));
        world.connection.drop_statement(id);
    }
    let id = world.connection.prepare("DELETE FROM u RETURNING a, 1").unwrap();
    let none = world.connection.query_statement(id, Vec::new(), 50).unwrap();
    assert_eq!((none.count, none.columns, none.done), (0, 2, true));
}

/// Runs a write of 300 rows that returns them and reads one; nothing of it may be kept.
fn is_told(mut world: World, write: &str, is_expected: impl Fn(&SqlError) -> bool) {
    let id = world.connection.prepare(write).unwrap();
    let cursor = world.connection.open_cursor(id, Vec::new()).unwrap();
    let told = world.connection.cursor_next(cursor, 50).unwrap_err();
    assert!(is_expected(&told), "{told:?}");
    assert_eq!(world.connection.cursor_next(cursor, 50), Err(SqlError::NotOpen));
    world.connection.drop_cursor(cursor);
    let told = world.connection.query(write, &[]).unwrap_err();
    assert!(is_expected(&told), "by text: {told:?}");
    let told = world.connection.run_operator(write, &[], true, 1).unwrap_err();
    assert!(is_expected(&told), "an operator: {told:?}");
    assert_eq!(world.run("INSERT INTO u VALUES (1)"), Ok(1));
    durable(&mut world);
    world.replace("");
    assert_eq!((count(&mut world, "t"), count(&mut world, "u")), (0, 1));
}

#[test]
fn a_commit_that_fails_is_told_to_who_ran_the_write() {
    let large = "INSERT INTO t SELECT randomblob(10000) FROM source LIMIT 300 RETURNING 1";
    let limits = DepotLimits { commit_bytes_max: 1 << 20, ..DepotLimits::default() };
    let too_large = |error: &SqlError| *error == SqlError::CommitTooLarge(1 << 20);
    is_told(world_with(Limits::default(), limits), large, too_large);
    let limits = DepotLimits { database_pages_max: 40, ..DepotLimits::default() };
    let full = |error: &SqlError| *error == SqlError::Full;
    is_told(world_with(Limits::default(), limits), large, full);
    let mut world = world();
    world.script(
        "DROP TABLE t; CREATE TABLE p(id INTEGER PRIMARY KEY);
         CREATE TABLE t(a REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    );
    let foreign_key = |error: &SqlError| matches!(error, SqlError::Constraint(_));
    is_told(world, COPY, foreign_key);
}

#[test]
fn a_store_that_is_gone_is_told_as_well() {
    let mut world = world();
    durable(&mut world);
    world.grip.revoke(Reason::Fenced);
    let id = world.connection.prepare(COPY);
    assert_eq!(id.err(), Some(SqlError::Revoked(Reason::Fenced)));
    let mut world = self::world();
    let id = world.connection.prepare(COPY).unwrap();
    let outage = world.faults.outage(Step::Commit, Fault::Unavailable);
    assert!(world.connection.query_statement(id, Vec::new(), 50).is_ok(), "it is accepted");
    world.session.close(Reason::Slept);
    let revoked = SqlError::Revoked(Reason::Slept);
    assert_eq!(world.connection.next(id, 50), Err(revoked.clone()));
    assert_eq!(world.connection.mark(), Err(revoked));
    drop(outage);
}

/// What cannot be handed out is not kept either, and what else was read has ended with it.
#[test]
fn rows_beyond_the_bound_leave_nothing() {
    let limits = Limits { packed_bytes_max: 10_000, ..Limits::default() };
    let mut world = world_with(limits, DepotLimits::default());
    let too_many = SqlError::LimitExceeded(SqlLimit::RowBytes);
    let reads = world.connection.prepare("SELECT a FROM source").unwrap();
    let cursor = world.connection.open_cursor(reads, Vec::new()).unwrap();
    world.connection.cursor_next(cursor, 50).unwrap();
    let id = world.connection.prepare(COPY).unwrap();
    assert_eq!(world.connection.query_statement(id, Vec::new(), 50).as_ref(), Err(&too_many));
    assert_eq!(world.connection.next(id, 50), Err(SqlError::NotOpen));
    assert_eq!(world.connection.cursor_next(cursor, 50), Err(SqlError::NotOpen));
    assert_eq!(count(&mut world, "t"), 0);
    let operator = world.connection.run_operator(COPY, &[], true, 5000);
    assert_eq!(operator.as_ref(), Err(&too_many));
    let wide = "INSERT INTO t SELECT a FROM source LIMIT 3 RETURNING zeroblob(600000)";
    assert_eq!(world.connection.query(wide, &[]).as_ref(), Err(&too_many));
    assert_eq!(count(&mut world, "t"), 0);
    // Together they are bounded as one is.
    let some = "INSERT INTO t SELECT a FROM source LIMIT 900 RETURNING a";
    let (one, two) =
        (world.connection.prepare(some).unwrap(), world.connection.prepare(some).unwrap());
    assert!(world.connection.query_statement(one, Vec::new(), 50).is_ok());
    assert_eq!(world.connection.query_statement(two, Vec::new(), 50).as_ref(), Err(&too_many));
    assert_eq!(count(&mut world, "t"), 900);
    assert_eq!(world.run("INSERT INTO u VALUES (1)"), Ok(1));
    world.reopen();
    assert_eq!((count(&mut world, "t"), count(&mut world, "u")), (900, 1));
}

/// In a transaction they are read when asked for, however many, and commit waits for them.
#[test]
fn in_a_transaction_rows_are_read_as_they_come() {
    let limits = Limits { packed_bytes_max: 10_000, ..Limits::default() };
    let mut world = world_with(limits, DepotLimits::default());
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    let id = world.connection.prepare(COPY).unwrap();
    let mut rows = world.connection.query_statement(id, Vec::new(), 50).unwrap().count;
    assert_eq!(world.connection.commit(transaction), Err(SqlError::Busy));
    assert_eq!(world.connection.mark_outside_transaction(), Err(SqlError::Busy));
    loop {
        let batch = world.connection.next(id, 50).unwrap();
        rows += batch.count;
        if batch.done {
            break;
        }
    }
    assert_eq!((rows, world.connection.commit(transaction)), (2000, Ok(())));
    world.reopen();
    assert_eq!(count(&mut world, "t"), 2000);
}

/// An operator's write is whole, however few of its rows are shown.
#[test]
fn an_operators_write_is_run_to_its_end() {
    let mut world = world();
    let shown = world.connection.run_operator(COPY, &[], true, 3).unwrap();
    assert_eq!((shown.rows.len(), shown.more, shown.changes), (3, true, 2000));
    world.reopen();
    assert_eq!(count(&mut world, "t"), 2000);
    // This one does its work row by row.
    world
        .script("PRAGMA auto_vacuum = INCREMENTAL; VACUUM; INSERT INTO u VALUES (zeroblob(99999))");
    world.script("DELETE FROM u");
    assert!(world.integer("PRAGMA freelist_count") > 20);
    world.connection.run_operator("PRAGMA incremental_vacuum", &[], true, 3).unwrap();
    assert_eq!(world.integer("PRAGMA freelist_count"), 0);
}
