//! Files without a name: temporary databases and sorts belong to the connection that runs.

use rusqlite::ErrorCode;
use stockade_depot::DepotLimits;

use crate::pair::{code, run, run_on};
use crate::rig::Rig;

/// More than SQLite keeps of it in memory.
const KEEP: &str = "CREATE TEMP TABLE x AS WITH RECURSIVE n(i) AS \
    (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, zeroblob(1000) FROM n";

fn rig() -> Rig {
    Rig::new(DepotLimits::default(), |options| options.cache_pages = 8)
}

/// Two databases on one thread, by turns and one within the other.
#[test]
fn temporary_files_are_charged_to_whose_statements_run() {
    let (rig, other) = (rig(), rig());
    let (one, two) = (rig.open(rig.create()), other.open(other.create()));
    let used = || (one.handle().scratch_bytes(), two.handle().scratch_bytes());
    assert_eq!(run_on(&one, KEEP).error, None);
    let (kept, nothing) = used();
    assert!(kept > 500_000 && nothing == 0, "{:?}", used());
    one.within(|| assert_eq!(run_on(&two, KEEP).error, None));
    assert!(used().0 == kept && used().1 > 500_000, "{:?}", used());
    two.within(|| assert_eq!(run_on(&one, "INSERT INTO x SELECT * FROM x").error, None));
    assert!(used().0 > kept + 500_000, "a file that is open stays whose it is: {:?}", used());
    drop(two);
    assert_eq!(run_on(&one, "DROP TABLE x; VACUUM").error, None);
}

#[test]
fn without_a_connection_that_runs_there_is_no_temporary_file() {
    let rig = rig();
    let db = rig.open(rig.create());
    let outcome = run(db.connection(), KEEP);
    assert_eq!(code(&outcome), Some(ErrorCode::CannotOpen), "{outcome:?}");
    assert_eq!(db.handle().scratch_bytes(), 0);
    assert_eq!(run_on(&db, KEEP).error, None);
}

/// A thread has its own: what runs on one says nothing of another.
#[test]
fn threads_do_not_share_what_runs() {
    let (rig, other) = (rig(), rig());
    let (one, two) = (rig.open(rig.create()), other.open(other.create()));
    one.within(|| {
        std::thread::scope(|scope| {
            let outcome = scope.spawn(move || run_on(&two, KEEP).error).join().unwrap();
            assert_eq!(outcome, None);
        });
    });
    assert_eq!(one.handle().scratch_bytes(), 0);
}
