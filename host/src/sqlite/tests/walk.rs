//! Every method of every resource in the three conditions that must never be taken for each other:
//! revoked, interrupted, not open.

use stockade_depot::Reason;

use super::{World, packed};
use crate::sqlite::{Blob, CursorId, SqlError, StatementId, TransactionId, TransactionMode, Value};

/// One thing of every sort, made by `hoard`.
struct Things {
    statement: StatementId,
    named: StatementId,
    stepping: StatementId,
    cursor: CursorId,
    transaction: TransactionId,
    blob: Blob,
}

/// What a method answers without its result.
type Use = fn(&mut World, &Things) -> Result<(), SqlError>;

/// Every method, and what it does in a call that was interrupted: `true` if it needs SQLite to run,
/// and so answers `interrupted`.
const USES: &[(&str, bool, Use)] = &[
    ("connection.execute", true, |w, _| w.connection.execute("UPDATE t SET v = v", &[]).map(drop)),
    ("connection.query", true, |w, _| w.connection.query("SELECT v FROM t", &[]).map(drop)),
    ("connection.prepare", true, |w, _| w.connection.prepare("SELECT 2").map(drop)),
    ("connection.begin", true, |w, _| w.connection.begin(TransactionMode::Deferred).map(drop)),
    ("connection.run-batch", true, |w, _| {
        w.connection.run_batch(&[("UPDATE t SET v = v".to_owned(), Vec::new())]).map(drop)
    }),
    ("connection.execute-script", true, |w, _| w.connection.execute_script("SELECT 1")),
    ("connection.flush", false, |w, _| w.connection.mark().map(drop)),
    ("connection.changes", false, |w, _| w.connection.changes().map(drop)),
    ("connection.open-blob", true, |w, _| w.connection.open_blob("t", "b", 1, false).map(drop)),
    ("statement.bind", false, |w, t| w.connection.bind(t.named, 1, &Value::Integer(1))),
    ("statement.bind-name", false, |w, t| {
        w.connection.bind_name(t.named, ":id", &Value::Integer(1))
    }),
    ("statement.clear-bindings", false, |w, t| w.connection.clear_bindings(t.named)),
    ("statement.parameters", false, |w, t| w.connection.parameters(t.named).map(drop)),
    ("statement.columns", false, |w, t| w.connection.columns(t.statement).map(drop)),
    ("statement.execute", true, |w, t| {
        w.connection.execute_statement(t.statement, Vec::new()).map(drop)
    }),
    ("statement.execute-many", true, |w, t| {
        w.connection.execute_many(t.named, packed(&[Value::Integer(1)])).map(drop)
    }),
    ("statement.query", true, |w, t| {
        w.connection.query_statement(t.statement, Vec::new(), 100).map(drop)
    }),
    ("statement.next", true, |w, t| w.connection.next(t.stepping, 1).map(drop)),
    ("statement.reset", false, |w, t| w.connection.reset(t.statement)),
    ("statement.open-cursor", true, |w, t| {
        let cursor = w.connection.open_cursor(t.statement, Vec::new())?;
        w.connection.drop_cursor(cursor);
        Ok(())
    }),
    ("cursor.next", true, |w, t| w.connection.cursor_next(t.cursor, 1).map(drop)),
    ("blob.size", true, |w, t| w.connection.blob_bytes(&t.blob).map(drop)),
    ("blob.read", true, |w, t| w.connection.blob_read(&t.blob, 0, 1).map(drop)),
    // Asks for more than there may be: a handle that is dead says so first.
    ("blob.read (too long)", false, |w, t| match w.connection.blob_read(&t.blob, 0, u64::MAX) {
        Err(SqlError::LimitExceeded(_)) => Ok(()),
        other => other.map(drop),
    }),
    ("blob.write", true, |w, t| w.connection.blob_write(&t.blob, 0, &[1])),
    ("blob.write (too long)", false, |w, t| match w.connection.blob_write(&t.blob, 9, &[1]) {
        Err(SqlError::InvalidArgument(_)) => Ok(()),
        other => other,
    }),
    ("transaction.commit", true, |w, t| w.connection.commit(t.transaction)),
    // Works without an allowance: a call that is over its budget can still roll back.
    ("transaction.rollback", false, |w, t| w.connection.rollback(t.transaction)),
];

/// A connection with one thing of every sort, all of them usable.
fn hoard() -> (World, Things) {
    let mut world = World::new();
    world.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, b);
         INSERT INTO t VALUES (1, 1, x'0011'), (2, 2, x'0011'), (3, 3, x'0011')",
    );
    let db = &mut world.connection;
    let blob = db.open_blob("t", "b", 1, true).unwrap();
    let statement = db.prepare("SELECT v FROM t WHERE id = 1").unwrap();
    let named = db.prepare("UPDATE t SET v = v WHERE id = :id").unwrap();
    let transaction = db.begin(TransactionMode::Immediate).unwrap();
    let stepping = db.prepare("SELECT id FROM t").unwrap();
    assert!(!db.query_statement(stepping, Vec::new(), 1).unwrap().done);
    let owner = db.prepare("SELECT id FROM t ORDER BY id").unwrap();
    let cursor = db.open_cursor(owner, Vec::new()).unwrap();
    assert!(!db.cursor_next(cursor, 1).unwrap().done);
    (world, Things { statement, named, stepping, cursor, transaction, blob })
}

/// `condition` befalls a hoard of its own for each method, which then answers as expected.
fn check(
    condition: impl Fn(&mut World, &Things),
    expected: impl Fn(&str, bool) -> Result<(), SqlError>,
) {
    let mut wrong = Vec::new();
    for (name, runs, use_it) in USES {
        let (mut world, things) = hoard();
        condition(&mut world, &things);
        let (answer, expected) = (use_it(&mut world, &things), expected(name, *runs));
        if answer != expected {
            wrong.push(format!("{name}: {answer:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn alive_every_method_works() {
    check(|_, _| (), |_, _| Ok(()));
}

#[test]
fn revoked_every_method_tells_the_reason() {
    for reason in [Reason::Slept, Reason::Fenced, Reason::Operator] {
        let revoke = |world: &mut World, _: &Things| assert!(world.grip.revoke(reason));
        check(revoke, |_, _| Err(SqlError::Revoked(reason)));
        check(|world, _| world.session.close(reason), |_, _| Err(SqlError::Revoked(reason)));
    }
}

/// Both at the same time: that the generation has ended is what the guest must know.
#[test]
fn revoked_comes_before_interrupted_and_not_open() {
    let both = |world: &mut World, things: &Things| {
        world.connection.rollback(things.transaction).unwrap();
        world.connection.interrupter().interrupt();
        world.grip.revoke(Reason::Upgraded);
    };
    check(both, |_, _| Err(SqlError::Revoked(Reason::Upgraded)));
}

#[test]
fn interrupted_every_method_that_runs_sql_says_so_and_the_others_work() {
    let interrupt = |world: &mut World, _: &Things| world.connection.interrupter().interrupt();
    check(interrupt, |name, runs| match (name, runs) {
        // `execute-many` reports how far it came: rows before took effect.
        ("statement.execute-many", _) => {
            Err(SqlError::RowFailed { row: 0, cause: Box::new(SqlError::Interrupted) })
        }
        (_, true) => Err(SqlError::Interrupted),
        (_, false) => Ok(()),
    });
    // The call is interrupted next; the call after that is unharmed.
    let (mut world, things) = hoard();
    interrupt(&mut world, &things);
    assert_eq!(world.run("UPDATE t SET v = v"), Err(SqlError::Interrupted));
    world.connection.end_of_call().unwrap();
    world.begin();
    assert_eq!(world.run("UPDATE t SET v = v"), Ok(3));
}

/// The answer of a thing that has ended while nothing else is wrong; the others are unaffected.
#[test]
fn not_open_is_what_ended_things_answer() {
    let end = |world: &mut World, things: &Things| {
        world.script("UPDATE t SET b = 'of another size' WHERE id = 1");
        world.connection.reset(things.stepping).unwrap();
        world.connection.rollback(things.transaction).unwrap();
        world.script("UPDATE t SET b = 'of another size' WHERE id = 1");
    };
    let ended = |name: &str| {
        name.starts_with("blob.")
            || name.starts_with("transaction.")
            || ["cursor.next", "statement.next"].contains(&name)
    };
    // An argument that no blob could take is refused before the blob is looked for.
    let wrong = |name: &str| name.ends_with("(too long)");
    check(end, |name, _| if ended(name) && !wrong(name) { Err(SqlError::NotOpen) } else { Ok(()) });
}
