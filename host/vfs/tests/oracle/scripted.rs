//! SQL that is known to be hard on a file layer.

use std::io::{Read, Seek, SeekFrom, Write};

use rusqlite::{Connection, MAIN_DB};
use stockade_depot::DepotLimits;

use crate::pair::Pair;

/// A table with rows long enough that some thousand of them overflow a small cache.
const FILL: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, k INT, v TEXT);
    CREATE INDEX t_k ON t(k);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO t SELECT i, i * 7919 % 1000, printf('%0100d', i) FROM n;";

/// Runs scripts on both, comparing in between, then in the next generation. With a cache of 8
/// pages everything spills; with a large one nothing does.
fn check(scripts: &[&str]) {
    for cache_pages in [8, 2000] {
        let mut pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = cache_pages);
        for script in scripts {
            pair.run(script);
            pair.compare();
        }
        pair.reopen();
        pair.compare();
        for script in ["INSERT INTO t(k, v) VALUES (-1, 'after')", "DELETE FROM t WHERE k = 5"] {
            pair.run(script);
        }
        pair.reopen();
        pair.compare();
    }
}

#[test]
fn pages_are_byte_for_byte_those_of_a_file() {
    for cache_pages in [8, 2000] {
        let mut pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = cache_pages);
        pair.run(FILL);
        pair.compare_bytes();
        pair.run("UPDATE t SET v = v || 'x' WHERE k < 300; DELETE FROM t WHERE k > 700");
        pair.compare_bytes();
        pair.run("VACUUM");
        pair.compare_bytes();
        pair.reopen();
        pair.run("INSERT INTO t(k, v) VALUES (1, 'one')");
        pair.compare_bytes();
    }
}

#[test]
fn a_fresh_database_is_empty_in_every_generation() {
    let mut pair = Pair::new(DepotLimits::default(), |_| ());
    pair.compare();
    let before = pair.session.mark();
    pair.reopen();
    pair.compare();
    assert_eq!(before, pair.session.mark(), "opening writes nothing");
    assert_eq!(pair.session.page_count().0, 0);
}

#[test]
fn rollback_and_nested_savepoints() {
    check(&[
        FILL,
        "BEGIN; UPDATE t SET v = 'gone'; DELETE FROM t WHERE id % 3 = 0; ROLLBACK",
        "BEGIN; SAVEPOINT a; UPDATE t SET v = 'a' WHERE id < 1000; SAVEPOINT b;
         DELETE FROM t WHERE id < 2000; SAVEPOINT c; UPDATE t SET k = k + 1; ROLLBACK TO b;
         INSERT INTO t(k, v) SELECT k, v FROM t LIMIT 500; RELEASE a; COMMIT",
        "SAVEPOINT a; DELETE FROM t WHERE id < 2500; ROLLBACK TO a; INSERT INTO t(k) VALUES (5);
         RELEASE a",
        "BEGIN; CREATE TABLE u(x); INSERT INTO u SELECT v FROM t; ROLLBACK;
         BEGIN IMMEDIATE; COMMIT",
        "BEGIN; UPDATE t SET v = v || v; ROLLBACK; BEGIN IMMEDIATE; COMMIT; SELECT count(*) FROM t",
    ]);
}

#[test]
fn failing_statements_undo_themselves() {
    check(&[
        FILL,
        "CREATE UNIQUE INDEX t_u ON t(id, k)",
        "UPDATE t SET id = id + 1",
        "INSERT INTO t(id, k) SELECT 4000 - id, 0 FROM t WHERE id < 1000",
        "CREATE TABLE c(x CHECK (x < 900)); INSERT INTO c SELECT id FROM t",
        "INSERT OR IGNORE INTO t(id, k) SELECT id + 1000, 1 FROM t",
        "BEGIN; INSERT OR ROLLBACK INTO t(id) VALUES (1)",
        "INSERT OR FAIL INTO t(id, k) SELECT 5000 - id, 2 FROM t ORDER BY id",
        "SELECT nonsense FROM t",
        "DROP TABLE missing",
    ]);
}

#[test]
fn vacuum_shrinks_and_keeps_everything() {
    let pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = 8);
    pair.run(FILL);
    let full = pair.session.page_count();
    pair.run("DELETE FROM t WHERE id > 100; VACUUM");
    pair.compare();
    assert!(pair.session.page_count().0 < full.0 / 4, "{:?}", pair.session.page_count());
    assert_eq!(
        u64::try_from(pair.rig.pages(&pair.session).len()).unwrap(),
        u64::from(pair.session.page_count().0)
    );
    check(&[
        FILL,
        "DELETE FROM t WHERE id % 10 > 0",
        "VACUUM",
        "INSERT INTO t(k, v) SELECT k, v FROM t",
        "VACUUM; VACUUM",
        "DELETE FROM t; VACUUM",
    ]);
}

#[test]
fn auto_vacuum_full_and_incremental() {
    for mode in [1, 2] {
        let pragma = format!("PRAGMA auto_vacuum = {mode}");
        check(&[
            &pragma,
            FILL,
            "DELETE FROM t WHERE id > 1500",
            "PRAGMA incremental_vacuum(5)",
            "BEGIN; DELETE FROM t WHERE id > 500; PRAGMA incremental_vacuum(3); ROLLBACK",
            "BEGIN; DELETE FROM t WHERE id > 700; INSERT INTO t(v) VALUES (zeroblob(200000));
             PRAGMA incremental_vacuum; COMMIT",
            "PRAGMA incremental_vacuum",
            "VACUUM",
            "PRAGMA auto_vacuum = 0; VACUUM",
            "DELETE FROM t WHERE id > 100",
        ]);
    }
}

#[test]
fn large_blobs() {
    check(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, k, v)",
        "INSERT INTO t VALUES (1, 1, zeroblob(5000000)), (2, 2, zeroblob(4096)), (3, 3, x'')",
        "UPDATE t SET v = zeroblob(4091) WHERE id = 1",
        "INSERT INTO t SELECT id + 10, 5, CAST(printf('%.*c', 300000, 'x') AS BLOB) FROM t",
        "DELETE FROM t WHERE id = 11",
        "VACUUM",
        "SELECT id, hex(substr(v, -3)), length(v) FROM t",
    ]);
}

/// Grows by pages that SQLite never writes, because they are free again before the commit.
#[test]
fn pages_that_sqlite_leaves_out_exist_as_zeros() {
    let mut pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = 2000);
    pair.run(
        "CREATE TABLE t(x); BEGIN; INSERT INTO t VALUES (zeroblob(1000000)); DELETE FROM t;
              COMMIT",
    );
    pair.run("PRAGMA page_count");
    assert!(pair.session.page_count().0 > 240);
    pair.reopen();
    pair.compare();
    pair.run("INSERT INTO t VALUES (zeroblob(500000))");
    pair.reopen();
    pair.compare();
}

#[test]
fn many_tables_and_schema_changes() {
    let mut create = String::from("CREATE TABLE t(id INTEGER PRIMARY KEY, k, v);");
    let mut drop = String::new();
    for i in 0..120 {
        create += &format!("CREATE TABLE m{i}(a, b UNIQUE); INSERT INTO m{i} VALUES ({i}, {i});");
        if i % 3 == 0 {
            drop += &format!("DROP TABLE m{i};");
        }
    }
    check(&[
        &create,
        &drop,
        "ALTER TABLE m1 RENAME TO renamed; ALTER TABLE m2 RENAME COLUMN a TO c",
        "ALTER TABLE m4 ADD COLUMN extra TEXT DEFAULT 'e'; ALTER TABLE m5 DROP COLUMN a",
        "CREATE VIEW w AS SELECT * FROM m4 JOIN m5; SELECT * FROM w",
        "REINDEX; ANALYZE; SELECT * FROM sqlite_stat1 ORDER BY tbl, idx",
        "CREATE TABLE s AS SELECT * FROM m7; DROP TABLE m7; PRAGMA user_version = 7",
    ]);
}

#[test]
fn kinds_of_tables() {
    check(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, k, v, g AS (k * 2) STORED, h AS (k + 1) VIRTUAL);
         CREATE INDEX t_h ON t(h); CREATE INDEX t_e ON t(k + g) WHERE k > 0",
        "INSERT INTO t(k, v) VALUES (1, 'a'), (2, 'b'); UPDATE t SET k = k + 10; SELECT * FROM t",
        "CREATE TABLE w(a TEXT, b INT, PRIMARY KEY (a, b)) WITHOUT ROWID;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO w SELECT printf('%050d', i * 31 % 977), i FROM n",
        "DELETE FROM w WHERE b % 2; UPDATE w SET b = b + 5000",
        "CREATE TABLE st(a INT, b TEXT) STRICT; INSERT INTO st VALUES (1, 'x');
         INSERT INTO st VALUES ('no', 1)",
        "CREATE TABLE au(id INTEGER PRIMARY KEY AUTOINCREMENT, x);
         INSERT INTO au(x) VALUES (1), (2);
         DELETE FROM au; INSERT INTO au(x) VALUES (3); SELECT * FROM au",
    ]);
}

#[test]
fn triggers_and_foreign_keys() {
    check(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, k, v); CREATE TABLE log(what, id);
         CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('in', new.id); END;
         CREATE TRIGGER d BEFORE DELETE ON t BEGIN
             INSERT INTO log VALUES ('out', old.id);
             SELECT RAISE(ABORT, 'not this one') WHERE old.id = 13; END;
         CREATE TABLE child(t REFERENCES t(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
        "PRAGMA foreign_keys = ON;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT i, i, i FROM n; INSERT INTO child SELECT id FROM t",
        "DELETE FROM t WHERE id < 20",
        "DELETE FROM t WHERE id > 20 AND id < 300",
        "INSERT INTO child VALUES (99999)",
        "BEGIN; INSERT INTO child VALUES (99999); COMMIT",
        "ROLLBACK",
    ]);
}

#[test]
fn full_text_and_r_tree() {
    check(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY, k, v); CREATE VIRTUAL TABLE f USING fts5(a, b);
         CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO f SELECT 'word' || (i % 37) || ' and ' || i, 'more text ' || (i * i) FROM n",
        "SELECT rowid FROM f WHERE f MATCH 'word7 AND text' ORDER BY rank, rowid LIMIT 20",
        "DELETE FROM f WHERE rowid % 5 = 0; INSERT INTO f(f) VALUES ('optimize')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO r SELECT i, i, i + 1, i % 50, i % 50 + 1 FROM n",
        "SELECT count(*) FROM r WHERE x0 > 100 AND x1 < 900 AND y0 > 10",
        "BEGIN; DELETE FROM r WHERE id % 2; DELETE FROM f; ROLLBACK",
        "INSERT INTO f(f) VALUES ('integrity-check'); DELETE FROM r WHERE id % 3 = 0",
    ]);
}

#[test]
fn temp_tables_sorts_and_large_joins_use_scratch() {
    let pair = Pair::new(DepotLimits::default(), |o| {
        o.cache_pages = 8;
        o.scratch_memory_bytes_max = 64 << 10;
    });
    pair.run(FILL);
    pair.run("CREATE TEMP TABLE tt AS SELECT a.v AS x, b.k AS y FROM t a, t b WHERE b.id < 20");
    assert!(pair.ours().handle().scratch_bytes() > 1 << 20, "the temp table is charged");
    assert!(pair.ours().handle().scratch_memory_bytes() <= 64 << 10, "and is not in memory");
    pair.run("SELECT x, y FROM tt ORDER BY y DESC, x LIMIT 30");
    pair.run("SELECT DISTINCT x || y FROM tt ORDER BY 1 LIMIT 5");
    pair.run("CREATE INDEX tt_x ON tt(x); BEGIN; DELETE FROM tt WHERE y < 500; ROLLBACK");
    pair.run("SELECT count(*), sum(y) FROM tt; PRAGMA temp.integrity_check");
    pair.run("DROP TABLE tt");
    pair.compare();
    assert_eq!(
        std::fs::read_dir(&pair.rig.options.scratch_directory).unwrap().count(),
        0,
        "scratch files have no name"
    );
    assert!(pair.directory().exists());
}

#[test]
fn incremental_blob_io() {
    let mut pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = 8);
    pair.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, zeroblob(300000))",
    );
    let on_both = |write: &dyn Fn(&Connection)| {
        pair.ours().within(|| write(pair.ours().connection()));
        write(pair.plain());
    };
    on_both(&|connection| {
        let mut blob = connection.blob_open(MAIN_DB, "t", "v", 1, false).unwrap();
        for at in [0u64, 4090, 100_000, 299_990] {
            blob.seek(SeekFrom::Start(at)).unwrap();
            blob.write_all(b"0123456789").unwrap();
        }
        blob.seek(SeekFrom::Start(99_990)).unwrap();
        let mut read = [0; 30];
        blob.read_exact(&mut read).unwrap();
        assert_eq!(&read[10..20], b"0123456789");
        blob.close().unwrap();
    });
    pair.reopen();
    pair.compare();
}

#[test]
fn a_statement_that_changes_nothing_makes_no_commit() {
    let pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = 8);
    pair.run(FILL);
    pair.rig.settle(&pair.session);
    let (mark, txid) = (pair.session.mark(), pair.session.durable_txid());
    for sql in [
        "UPDATE t SET v = 'x' WHERE id = -1",
        "BEGIN IMMEDIATE; COMMIT",
        "SELECT * FROM t",
        "BEGIN; DELETE FROM t WHERE id < 0; COMMIT",
        "PRAGMA user_version",
        "BEGIN; UPDATE t SET v = 'spilled'; ROLLBACK",
        "BEGIN IMMEDIATE; COMMIT",
        "BEGIN; UPDATE t SET v = 'spilled'; DELETE FROM t; ROLLBACK",
        "SELECT count(*) FROM t",
        "SAVEPOINT a; UPDATE t SET v = 'spilled'; ROLLBACK TO a; ROLLBACK",
        "UPDATE t SET id = 1 WHERE id > 1",
        "CREATE TEMP TABLE x AS SELECT * FROM t",
        "BEGIN IMMEDIATE; COMMIT",
    ] {
        pair.run(sql);
        assert_eq!(pair.session.mark(), mark, "{sql}");
    }
    assert_eq!(pair.session.durable_txid(), txid);
    pair.run("UPDATE t SET v = 'x' WHERE id = 1");
    assert_ne!(pair.session.mark(), mark);
    pair.compare();
}

#[test]
fn only_committed_transactions_reach_the_next_generation() {
    let mut pair = Pair::new(DepotLimits::default(), |o| o.cache_pages = 8);
    pair.run(FILL);
    pair.run(
        "BEGIN; UPDATE t SET v = 'never'; DELETE FROM t WHERE id % 2; INSERT INTO t(k) VALUES (1)",
    );
    pair.reopen();
    pair.compare();
    let rows = pair.run("SELECT count(*) FROM t WHERE v = 'never'").rows;
    assert_eq!(rows, [[rusqlite::types::Value::Integer(0)]]);
}
