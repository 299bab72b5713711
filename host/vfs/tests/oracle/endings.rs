//! Dead sessions, closing, interrupting, and opening at the wrong time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use stockade_depot::{Cause, DepotLimits, Reason};
use stockade_testkit::faulty_store::{self, Step};
use stockade_vfs::{Fault, Handle, HandleError, OpenDatabase, OpenError, open, open_with};

use crate::pair::{Outcome, code, run_on};
use crate::rig::{Rig, quick_limits};

const FILL: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO t SELECT i, printf('%0100d', i) FROM n";
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

fn rig() -> Rig {
    Rig::new(quick_limits(), |o| o.cache_pages = 8)
}

/// Runs a script and interrupts it until it ends.
fn run_interrupted(db: &OpenDatabase, sql: &str) -> Outcome {
    let (handle, ended) = (Arc::clone(db.handle()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
                handle.interrupt().unwrap();
            }
        });
        let outcome = run_on(db, sql);
        ended.store(true, Ordering::SeqCst);
        outcome
    })
}

#[test]
fn a_fenced_session_fails_its_statements_with_the_mismatch() {
    // The update finds its pages in the depot's cache, where nothing asks the store.
    let rig = Rig::new(DepotLimits::default(), |o| o.cache_pages = 8);
    let old = rig.create();
    let db = rig.open(old.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&old);
    let new = rig.take_over();
    // The commit is accepted, since the takeover is not known yet; then it is refused, and with it
    // the session.
    db.within(|| db.connection().execute_batch("UPDATE t SET v = 'lost' WHERE id = 1")).unwrap();
    let verdict = rig.runtime.block_on(old.durable(old.mark()));
    assert!(matches!(verdict, Err(Cause::Fenced(_))), "{verdict:?}");
    let outcome = run_on(&db, "SELECT count(v) FROM t");
    assert_eq!(code(&outcome), Some(ErrorCode::SystemIoFailure));
    assert!(matches!(db.handle().take_fault(), Some(Fault::Dead(Cause::Fenced(_)))));
    let outcome = run_on(&db, "DELETE FROM t WHERE id = 1");
    assert_eq!(code(&outcome), Some(ErrorCode::SystemIoFailure));
    assert!(matches!(db.handle().take_fault(), Some(Fault::Dead(Cause::Fenced(_)))));
    drop(db);
    let db = rig.open(new);
    let outcome = run_on(&db, "SELECT count(*) FROM t WHERE v = 'lost'; PRAGMA integrity_check");
    assert_eq!(format!("{:?}", outcome.rows), r#"[[Integer(0)], [Text("ok")]]"#);
}

#[test]
fn a_fenced_reader_learns_of_it_at_the_first_page_miss() {
    let rig = rig();
    let old = rig.create();
    let db = rig.open(old.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&old);
    drop(db);
    let old = rig.take_over();
    let db = rig.open(old.clone());
    let _new = rig.take_over();
    let outcome = run_on(&db, "SELECT sum(length(v)) FROM t");
    assert_eq!(code(&outcome), Some(ErrorCode::SystemIoFailure));
    assert!(matches!(db.handle().take_fault(), Some(Fault::Dead(Cause::Fenced(_)))));
    assert!(old.is_dead());
}

#[test]
fn death_in_the_middle_of_a_transaction_keeps_nothing_of_it() {
    let rig = rig();
    let session = rig.create();
    let db = rig.open(session.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&session);
    db.within(|| db.connection().execute_batch("BEGIN; UPDATE t SET v = 'half'")).unwrap();
    session.close(Reason::Operator);
    for sql in ["UPDATE t SET v = 'more'", "COMMIT", "INSERT INTO t(v) VALUES ('alone')"] {
        let _stale = db.handle().take_fault();
        let outcome = run_on(&db, sql);
        assert!(outcome.error.is_some(), "{sql}");
        if outcome.error.unwrap().0 & 0xff == rusqlite::ffi::SQLITE_IOERR {
            let fault = db.handle().take_fault();
            assert_eq!(fault, Some(Fault::Dead(Cause::Closed(Reason::Operator))), "{sql}");
        }
    }
    drop(db);
    let db = rig.open(rig.take_over());
    let outcome = run_on(&db, "SELECT count(*) FROM t WHERE v = 'half'; PRAGMA integrity_check");
    assert_eq!(format!("{:?}", outcome.rows), r#"[[Integer(0)], [Text("ok")]]"#);
}

#[test]
fn close_is_idempotent_and_ends_a_running_statement() {
    let rig = rig();
    let mut db = rig.open(rig.create());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    let handle = Arc::clone(db.handle());
    let running = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&running);
    db.connection_mut()
        .progress_handler(
            100,
            Some(move || {
                seen.store(true, Ordering::SeqCst);
                false
            }),
        )
        .unwrap();
    let begun = Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !running.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            handle.close(Reason::Slept);
            handle.close(Reason::Shutdown);
        });
        run_on(&db, ENDLESS)
    });
    assert_eq!(code(&outcome), Some(ErrorCode::OperationInterrupted));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(handle.session().cause(), Some(Cause::Closed(Reason::Slept)), "the first one");
    assert_eq!(handle.interrupt(), Err(HandleError::Closed(Reason::Slept)));
    assert!(run_on(&db, "INSERT INTO t(v) VALUES (1)").error.is_some());
}

#[test]
fn interrupt_ends_the_statement_and_not_the_session() {
    let rig = rig();
    let db = rig.open(rig.create());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    let outcome = run_interrupted(&db, ENDLESS);
    assert_eq!(code(&outcome), Some(ErrorCode::OperationInterrupted));
    db.within(|| db.connection().execute_batch("UPDATE t SET v = 'alive' WHERE id = 1")).unwrap();
}

/// A page miss that waits for the store ends with the interrupt, not with the store's patience.
#[test]
fn interrupt_ends_a_wait_for_the_store() {
    let limits = DepotLimits { read_deadline: Duration::from_secs(60), ..DepotLimits::default() };
    let rig = Rig::new(limits, |o| o.cache_pages = 8);
    let session = rig.create();
    let db = rig.open(session.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&session);
    drop(db);
    let db = rig.open(rig.take_over());
    let outage = rig.faults.outage(Step::Read, faulty_store::Fault::Hold);
    let begun = Instant::now();
    let outcome = run_interrupted(&db, "SELECT sum(length(v)) FROM t");
    assert!(outcome.error.is_some());
    assert_eq!(db.handle().take_fault(), Some(Fault::Interrupted));
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(outage);
    assert_eq!(run_on(&db, "SELECT sum(length(v)) FROM t").error, None);
}

/// A commit that waits for the pipeline is interrupted: rolled back, and the next one works.
#[test]
fn interrupt_ends_a_wait_for_the_pipeline() {
    let limits = DepotLimits { pipeline_bytes_max: 4096, ..DepotLimits::default() };
    let rig = Rig::new(limits, |_| ());
    let session = rig.create();
    let db = rig.open(session.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&session);
    let held = rig.faults.arm(Step::Commit, 1, faulty_store::Fault::Hold);
    db.within(|| db.connection().execute_batch("UPDATE t SET v = 'in flight' WHERE id = 1"))
        .unwrap();
    rig.runtime.block_on(held.fired());
    db.within(|| db.connection().execute_batch("UPDATE t SET v = 'collected' WHERE id = 2"))
        .unwrap();
    let mark = session.mark();
    let outcome = run_interrupted(&db, "UPDATE t SET v = 'refused' WHERE id = 3");
    assert_eq!(code(&outcome), Some(ErrorCode::SystemIoFailure));
    assert_eq!(db.handle().take_fault(), Some(Fault::Interrupted));
    assert_eq!(session.mark(), mark);
    held.release();
    rig.settle(&session);
    db.within(|| db.connection().execute_batch("UPDATE t SET v = 'kept' WHERE id = 4")).unwrap();
    rig.settle(&session);
    drop(db);
    let db = rig.open(rig.take_over());
    let outcome = run_on(&db, "SELECT v FROM t WHERE id < 5 AND length(v) < 20");
    assert_eq!(
        format!("{:?}", outcome.rows),
        r#"[[Text("in flight")], [Text("collected")], [Text("kept")]]"#
    );
}

#[test]
fn not_open_and_closed_are_different_errors() {
    let rig = rig();
    let handle = Handle::new(rig.create(), &rig.options);
    assert_eq!(handle.interrupt(), Err(HandleError::NotOpen));
    handle.close(Reason::Shutdown);
    assert_eq!(handle.interrupt(), Err(HandleError::Closed(Reason::Shutdown)));
    let error = open_with(&handle).err().unwrap();
    assert!(matches!(error, OpenError::Handle(HandleError::Closed(Reason::Shutdown))), "{error}");
}

#[test]
fn a_handle_opens_once() {
    let rig = rig();
    let handle = Handle::new(rig.create(), &rig.options);
    let db = open_with(&handle).unwrap();
    let error = open_with(&handle).err().unwrap();
    assert!(matches!(error, OpenError::Handle(HandleError::Open)), "{error}");
    drop(db);
}

#[test]
fn a_dead_session_does_not_open() {
    let rig = rig();
    let session = rig.create();
    session.close(Reason::Destroyed);
    let error = open(session, &rig.options).err().unwrap();
    assert!(
        matches!(error, OpenError::Fault(Fault::Dead(Cause::Closed(Reason::Destroyed)))),
        "{error}"
    );
}

#[test]
fn an_outage_while_opening_is_typed() {
    let rig = rig();
    let session = rig.create();
    let db = rig.open(session.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&session);
    drop(db);
    let session = rig.take_over();
    let outage = rig.faults.outage(Step::Read, faulty_store::Fault::Unavailable);
    let error = open(session.clone(), &rig.options).err().unwrap();
    assert!(matches!(error, OpenError::Fault(Fault::Unavailable(_))), "{error}");
    drop(outage);
    assert!(open(session, &rig.options).is_ok());
}

/// Many threads open, write and close while others close them: nothing hangs, nothing crashes,
/// and each open ends as open, closed or dead.
#[test]
fn close_races_with_open() {
    let rig = rig();
    let session = rig.create();
    drop(rig.open(session.clone()));
    for round in 0..60u64 {
        let session = rig.take_over();
        let handle = Handle::new(session, &rig.options);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round * 7));
                handle.close(Reason::Slept);
            });
            match open_with(&handle) {
                Ok(db) => {
                    let _any = run_on(&db, "CREATE TABLE IF NOT EXISTS t(x)");
                    drop(db);
                }
                Err(OpenError::Handle(HandleError::Closed(Reason::Slept)))
                | Err(OpenError::Fault(Fault::Dead(Cause::Closed(Reason::Slept)))) => {}
                Err(OpenError::Sqlite(error))
                    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {}
                Err(error) => panic!("{error:?}"),
            }
        });
        assert!(matches!(handle.interrupt(), Err(HandleError::Closed(_))));
    }
}

/// Rounds of each race. A few seconds in all.
const ROUNDS: u64 = 40;

/// Closes from three threads beside a statement without end: it ends, once, with the first reason.
#[test]
fn close_races_with_a_running_statement_and_with_itself() {
    let rig = rig();
    drop(rig.create());
    for round in 0..ROUNDS {
        let mut db = rig.open(rig.take_over());
        let handle = Arc::clone(db.handle());
        // The handler that the SQL layer installs: SQLite's own interrupt is forgotten by a
        // statement that begins after it.
        let session = handle.session().clone();
        let dead = move || session.is_dead();
        db.connection_mut().progress_handler(50, Some(dead)).unwrap();
        let outcome = std::thread::scope(|scope| {
            for reason in [Reason::Slept, Reason::Shutdown, Reason::Operator] {
                let handle = &handle;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(round * 11));
                    handle.close(reason);
                    handle.close(Reason::Budget);
                });
            }
            run_on(&db, ENDLESS)
        });
        assert_eq!(code(&outcome), Some(ErrorCode::OperationInterrupted), "{outcome:?}");
        let Some(Cause::Closed(first)) = handle.session().cause() else { panic!("not closed") };
        assert_ne!(first, Reason::Budget, "a second close changed the reason");
        assert!(matches!(handle.interrupt(), Err(HandleError::Closed(_))));
    }
}

/// Closes beside commits: what was accepted before is durable, what was refused is not there, and
/// the next generation finds a database that is whole.
#[test]
fn close_races_with_commits_in_flight() {
    let rig = rig();
    let session = rig.create();
    let db = rig.open(session.clone());
    db.within(|| db.connection().execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v)"))
        .unwrap();
    rig.settle(&session);
    drop(db);
    let mut kept = 0;
    for round in 0..ROUNDS {
        let session = rig.take_over();
        let db = rig.open(session.clone());
        let handle = Arc::clone(db.handle());
        let held =
            (round % 2 == 0).then(|| rig.faults.arm(Step::Commit, 1, faulty_store::Fault::Hold));
        let marks = std::thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(held) = &held {
                    rig.runtime.block_on(held.fired());
                }
                std::thread::sleep(Duration::from_micros(round * 11));
                handle.close(Reason::Slept);
                if let Some(held) = &held {
                    held.release();
                }
            });
            let mut marks = Vec::new();
            while run_on(&db, "INSERT INTO t(v) VALUES (zeroblob(3000))").error.is_none() {
                marks.push(session.mark());
            }
            marks
        });
        // Accepted up to a place, and not beyond: the order of the commits is kept.
        let told: Vec<bool> =
            marks.iter().map(|mark| rig.runtime.block_on(session.durable(*mark)).is_ok()).collect();
        assert!(told.is_sorted_by(|a, b| a >= b), "{told:?}");
        kept += told.iter().filter(|durable| **durable).count();
        drop(db);
    }
    let db = rig.open(rig.take_over());
    let outcome = run_on(&db, "SELECT count(*) FROM t; PRAGMA integrity_check");
    assert_eq!(format!("{:?}", outcome.rows), format!(r#"[[Integer({kept})], [Text("ok")]]"#));
}
