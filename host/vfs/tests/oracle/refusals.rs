//! Limits and refused pragmas: the statement fails with a typed cause, nothing of it is kept, and
//! what comes after works.

use rusqlite::ErrorCode;
use stockade_depot::DepotLimits;
use stockade_testkit::faulty_store::{self, Step};
use stockade_vfs::Fault;

use crate::pair::{Pair, code, run_on};
use crate::rig::quick_limits;

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')";

fn small_commits(pages: u64) -> DepotLimits {
    DepotLimits { commit_bytes_max: pages * 4096, ..DepotLimits::default() }
}

/// Refused at the sync if it fits into the cache, early if it spills.
#[test]
fn a_commit_that_is_too_large_is_rolled_back_and_the_next_ones_work() {
    for cache_pages in [8, 2000] {
        let mut pair = Pair::new(small_commits(40), |o| o.cache_pages = cache_pages);
        pair.run(TABLE);
        for large in [
            "INSERT INTO t(v) VALUES (zeroblob(300000))",
            "CREATE TABLE u AS SELECT zeroblob(1000000)",
            "INSERT INTO t(v) VALUES (zeroblob(170000))",
        ] {
            let mark = pair.session.mark();
            let fault = pair.run_faulty(large);
            let max = 40 * 4096;
            assert!(
                matches!(fault, Some(Fault::CommitTooLarge { bytes, max: m })
                    if bytes > max && m == max),
                "{fault:?}"
            );
            assert_eq!(mark, pair.session.mark(), "nothing was published");
            pair.compare();
            pair.run("INSERT INTO t(v) VALUES ('small')");
            pair.compare();
        }
        pair.reopen();
        pair.compare();
    }
}

#[test]
fn refused_explicit_commits_in_a_row_leave_nothing_behind() {
    for cache_pages in [8, 2000] {
        let mut pair = Pair::new(small_commits(40), |o| o.cache_pages = cache_pages);
        pair.run(TABLE);
        for round in 0..4 {
            pair.run("BEGIN");
            let mut fault = None;
            for _ in 0..30 {
                fault = pair.run_faulty("INSERT INTO t(v) VALUES (zeroblob(8000))");
                if fault.is_some() {
                    break;
                }
            }
            let fault = fault.or_else(|| pair.run_faulty("COMMIT"));
            assert!(matches!(fault, Some(Fault::CommitTooLarge { .. })), "{round}: {fault:?}");
            assert!(pair.ours().connection().is_autocommit(), "SQLite has rolled back");
        }
        pair.run("UPDATE t SET v = 'small'");
        pair.compare();
        pair.reopen();
        pair.compare();
    }
}

/// SQLite leaves an empty transaction behind when the RELEASE that commits is refused: the caller
/// that runs statements has to end it.
#[test]
fn a_refused_release_rolls_back_and_leaves_an_empty_transaction() {
    let pair = Pair::new(small_commits(40), |o| o.cache_pages = 2000);
    pair.run(TABLE);
    pair.run("SAVEPOINT a; INSERT INTO t(v) VALUES (zeroblob(300000))");
    let fault = pair.run_faulty("RELEASE a");
    assert!(matches!(fault, Some(Fault::CommitTooLarge { .. })), "{fault:?}");
    assert!(!pair.ours().connection().is_autocommit());
    pair.compare();
    pair.run("ROLLBACK; INSERT INTO t(v) VALUES ('small')");
    pair.compare();
}

/// A rollback writes more pages than were spilled; its sync may not be judged so that it fails for
/// the caller, and what comes next must see the old data.
#[test]
fn a_rollback_near_the_limit_works() {
    for pages in [20, 24, 28, 32, 36, 40, 44, 48] {
        let mut pair = Pair::new(small_commits(30), |o| o.cache_pages = 8);
        pair.run(TABLE);
        for _ in 0..10 {
            pair.run("INSERT INTO t(v) VALUES (zeroblob(19000))");
        }
        let (sets, small) = (pages / 5, "UPDATE t SET v = 'small' WHERE id = 1");
        pair.run("BEGIN");
        for id in 2..sets + 2 {
            if pair
                .run_faulty(&format!("UPDATE t SET v = zeroblob(18999) WHERE id = {id}"))
                .is_some()
            {
                break;
            }
        }
        if !pair.ours().connection().is_autocommit() {
            // May leave a fault, but does not fail: SQLite repeats it.
            assert_eq!(pair.run_faulty("ROLLBACK"), None);
            let _left = pair.ours().handle().take_fault();
        }
        pair.compare();
        pair.run(small);
        pair.reopen();
        pair.compare();
    }
}

/// A large transaction and its journals are charged together; wherever the limit is met, in a
/// statement or in its rollback, the old data are there afterwards, and the next transaction works.
#[test]
fn a_large_transaction_over_the_scratch_limit_leaves_no_trace() {
    let mut refused = 0;
    for pages in [20, 60, 100, 140, 180, 240, 320, 640] {
        let limits = DepotLimits { step_bytes_max: 8 * 4096, ..DepotLimits::default() };
        let mut pair = Pair::new(limits, |o| {
            o.cache_pages = 16;
            o.scratch_bytes_max = pages * 4096;
            o.scratch_memory_bytes_max = 16 << 10;
        });
        pair.run(TABLE);
        for _ in 0..20 {
            pair.run("INSERT INTO t(v) VALUES (zeroblob(19000))");
        }
        pair.run("BEGIN");
        for id in 1..=20 {
            let update = format!("UPDATE t SET v = zeroblob(18999) WHERE id = {id}");
            let fault = pair.run_faulty(&update);
            assert!(matches!(fault, None | Some(Fault::ScratchFull { .. })), "{fault:?}");
            refused += u32::from(fault.is_some());
            if fault.is_some() {
                break;
            }
        }
        if !pair.ours().connection().is_autocommit() {
            assert_eq!(pair.run_faulty("ROLLBACK"), None);
            let _left = pair.ours().handle().take_fault();
        }
        pair.compare();
        pair.run("UPDATE t SET v = 'small' WHERE id = 1");
        pair.compare();
        pair.reopen();
        pair.compare();
    }
    assert!((2..8).contains(&refused), "{refused} of 8");
}

/// Pages that SQLite leaves out are stored too, so they count.
#[test]
fn pages_left_out_count_as_bytes_of_the_commit() {
    let pair = Pair::new(small_commits(100), |o| o.cache_pages = 2000);
    pair.run("CREATE TABLE t(x)");
    pair.run("BEGIN; INSERT INTO t VALUES (zeroblob(1000000)); DELETE FROM t");
    let fault = pair.run_faulty("COMMIT");
    assert!(matches!(fault, Some(Fault::CommitTooLarge { bytes, .. }) if bytes > 240 * 4096));
    pair.compare();
}

#[test]
fn a_full_database_refuses_growth_only() {
    for cache_pages in [8, 2000] {
        let limits = DepotLimits { database_pages_max: 50, ..DepotLimits::default() };
        let mut pair = Pair::new(limits, |o| o.cache_pages = cache_pages);
        pair.run(TABLE);
        pair.run("INSERT INTO t(v) VALUES (zeroblob(150000))");
        let fault = pair.run_faulty("INSERT INTO t(v) VALUES (zeroblob(150000))");
        assert!(matches!(fault, Some(Fault::DatabaseFull { max: 50, .. })), "{fault:?}");
        pair.run("UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2; VACUUM");
        pair.run("INSERT INTO t(v) VALUES (zeroblob(150000))");
        pair.reopen();
        pair.compare();
    }
}

#[test]
fn scratch_is_bounded_and_given_back() {
    let pair = Pair::new(DepotLimits::default(), |o| {
        o.cache_pages = 8;
        o.scratch_bytes_max = 2 << 20;
        o.scratch_memory_bytes_max = 64 << 10;
    });
    pair.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    pair.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
         INSERT INTO t SELECT i, printf('%0200d', i * 7919 % 4001) FROM n",
    );
    let idle = pair.ours().handle().scratch_bytes();
    for hungry in [
        "SELECT count(*) FROM (SELECT a.v FROM t a, t b WHERE b.id < 8 ORDER BY a.v || b.v)",
        "CREATE TEMP TABLE x AS SELECT a.v FROM t a, t b WHERE b.id < 9",
        "CREATE INDEX t_v ON t(v || v || v || v || v)",
    ] {
        let fault = pair.run_faulty(hungry);
        let max = 2 << 20;
        assert!(
            matches!(fault, Some(Fault::ScratchFull { bytes, max: m }) if bytes > max && m == max),
            "{hungry}: {fault:?}"
        );
        pair.compare();
    }
    pair.run("DROP TABLE IF EXISTS temp.x; SELECT v FROM t ORDER BY v LIMIT 3");
    assert!(pair.ours().handle().scratch_bytes() <= idle + (64 << 10), "given back");
}

/// Nested savepoints keep a copy of each page they change, each its own. Those copies are in
/// scratch and bounded; in SQLite's heap nothing would bound them.
#[test]
fn nested_savepoints_cannot_exhaust_the_host() {
    let pair = Pair::new(DepotLimits::default(), |o| {
        o.cache_pages = 8;
        o.scratch_bytes_max = 8 << 20;
    });
    pair.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    pair.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO t SELECT i, zeroblob(3500) FROM n",
    );
    pair.run("BEGIN");
    let fault = (0..100).find_map(|depth| {
        pair.run(&format!("SAVEPOINT s{depth}"));
        pair.run_faulty("UPDATE t SET id = id")
            .or_else(|| pair.run_faulty("UPDATE t SET v = zeroblob(3501)"))
            .or_else(|| pair.run_faulty("UPDATE t SET v = zeroblob(3500)"))
    });
    assert!(matches!(fault, Some(Fault::ScratchFull { .. })), "{fault:?}");
    if !pair.ours().connection().is_autocommit() {
        pair.run("ROLLBACK");
    }
    pair.compare();
}

#[test]
fn an_outage_fails_the_read_and_nothing_else() {
    let mut pair = Pair::new(quick_limits(), |o| o.cache_pages = 8);
    pair.run(TABLE);
    for _ in 0..10 {
        pair.run("INSERT INTO t(v) VALUES (zeroblob(19000))");
    }
    pair.reopen();
    let outage = pair.rig.faults.outage(Step::Read, faulty_store::Fault::Unavailable);
    let fault = pair.run_faulty("SELECT sum(length(v)) FROM t");
    assert!(matches!(fault, Some(Fault::Unavailable(_))), "{fault:?}");
    let fault = pair.run_faulty("UPDATE t SET v = hex(v)");
    assert!(matches!(fault, Some(Fault::Unavailable(_))), "{fault:?}");
    drop(outage);
    pair.run("SELECT sum(length(v)) FROM t; UPDATE t SET v = hex(v)");
    pair.compare();
}

/// What the file layer relies on cannot be changed; asking is allowed.
#[test]
fn pragmas_that_would_break_the_file_layer_are_refused() {
    let mut pair = Pair::new(DepotLimits::default(), |_| ());
    pair.run(TABLE);
    for (pragma, current) in [
        ("journal_mode", "persist"),
        ("locking_mode", "exclusive"),
        ("synchronous", "1"),
        ("page_size", "4096"),
        ("mmap_size", "0"),
        ("temp_store", "1"),
        ("cache_size", "512"),
        ("journal_size_limit", "0"),
    ] {
        let asked = run_on(pair.ours(), &format!("PRAGMA {pragma}"));
        let answer: Vec<String> = asked.rows.iter().map(|row| text(&row[0])).collect();
        // A file without memory maps answers nothing to the question.
        if pragma != "mmap_size" {
            assert_eq!(answer, [current], "{pragma}");
        }
    }
    for refused in [
        "journal_mode = wal",
        "journal_mode = OFF",
        "main.journal_mode = memory",
        "locking_mode = normal",
        "synchronous = OFF",
        "synchronous = extra",
        "page_size = 8192",
        "mmap_size = 1000000",
        "temp_store = memory",
        "cache_size = 1000000",
        "cache_size(-9999)",
        "cache_spill = off",
        "wal_autocheckpoint = 5",
        "hard_heap_limit = 1",
        "soft_heap_limit = 1",
        "temp_store_directory = '/tmp'",
        "threads = 4",
        "journal_size_limit = 5",
    ] {
        let outcome = run_on(pair.ours(), &format!("PRAGMA {refused}"));
        assert_eq!(code(&outcome), Some(ErrorCode::Unknown), "{refused}: {outcome:?}");
        let sentence = outcome.error.unwrap().1;
        assert!(sentence.ends_with("here"), "{refused}: {sentence}");
    }
    pair.run("VACUUM; INSERT INTO t(v) VALUES (2)");
    pair.reopen();
    pair.compare();
}

fn text(value: &rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Text(text) => text.clone(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// No other file opens through our VFS, and no write-ahead log, also where no authorizer is set.
#[test]
fn named_files_cannot_be_attached() {
    let pair = Pair::new(DepotLimits::default(), |_| ());
    pair.run(TABLE);
    let own: String = pair
        .ours()
        .connection()
        .query_row("SELECT file FROM pragma_database_list WHERE name = 'main'", [], |r| r.get(0))
        .unwrap();
    for name in ["x.db", "/etc/passwd", own.as_str()] {
        let outcome = run_on(pair.ours(), &format!("ATTACH '{name}' AS x"));
        assert_eq!(code(&outcome), Some(ErrorCode::CannotOpen), "{name}");
    }
    pair.compare();
}
