//! Connections that are opened before they are anybody's.

use rusqlite::ErrorCode;
use stockade_depot::Reason;
use stockade_vfs::{Handle, HandleError, OpenError, Spare};

use crate::pair::{code, run, run_on};
use crate::rig::{Rig, quick_limits};

const FILL: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')";
const CHECK: &str = "INSERT INTO t VALUES (2, 'two'); SELECT count(*) FROM t; \
    CREATE TEMP TABLE u AS SELECT * FROM t; PRAGMA integrity_check";
const CHECKED: &str = r#"[[Integer(2)], [Text("ok")]]"#;

fn rig() -> Rig {
    Rig::new(quick_limits(), |_| ())
}

/// The first generation makes the table, and is asleep.
fn fill(rig: &Rig) {
    let first = rig.create();
    let db = rig.open(first.clone());
    db.within(|| db.connection().execute_batch(FILL)).unwrap();
    rig.settle(&first);
}

#[test]
fn a_spare_opened_before_the_database_was_made_sees_all_of_it() {
    let rig = rig();
    let spare = Spare::new().unwrap();
    fill(&rig);
    let next = rig.take_over();
    let db = spare.settle(&Handle::new(next.clone(), &rig.options)).unwrap();
    let outcome = run_on(&db, CHECK);
    assert_eq!(format!("{:?}", outcome.rows), CHECKED);
    rig.settle(&next);
    drop(db);
    let db = rig.open(rig.take_over());
    let outcome = run_on(&db, "SELECT v FROM t WHERE id = 2");
    assert_eq!(format!("{:?}", outcome.rows), r#"[[Text("two")]]"#);
}

/// What SQLite would remember of an empty database must not meet the real one.
#[test]
fn a_spare_reads_and_writes_nothing_and_serves_all_the_same() {
    let rig = rig();
    fill(&rig);
    let spare = Spare::new().unwrap();
    for sql in ["SELECT * FROM sqlite_schema", "PRAGMA user_version = 7", "CREATE TABLE x(a)"] {
        let outcome = run(spare.connection(), sql);
        assert_eq!(code(&outcome), Some(ErrorCode::SystemIoFailure), "{sql}");
    }
    let outcome = run(spare.connection(), "CREATE TEMP TABLE x(a)");
    assert!(code(&outcome).is_some(), "it has no scratch");
    let db = spare.settle(&Handle::new(rig.take_over(), &rig.options)).unwrap();
    let outcome = run_on(&db, CHECK);
    assert_eq!(format!("{:?}", outcome.rows), CHECKED);
}

#[test]
fn a_database_is_settled_once_and_not_after_it_was_closed() {
    let rig = rig();
    let handle = Handle::new(rig.create(), &rig.options);
    let _db = Spare::new().unwrap().settle(&handle).unwrap();
    let again = Spare::new().unwrap().settle(&handle).err();
    assert!(matches!(again, Some(OpenError::Handle(HandleError::Open))), "{again:?}");
    let handle = Handle::new(rig.take_over(), &rig.options);
    let spare = Spare::new().unwrap();
    handle.close(Reason::Slept);
    let closed = spare.settle(&handle).err();
    let slept = HandleError::Closed(Reason::Slept);
    assert!(matches!(closed, Some(OpenError::Handle(error)) if error == slept), "{closed:?}");
}
