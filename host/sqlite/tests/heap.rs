//! What SQLite allocates for a database is bounded, and comes back. A process of its own: the
//! allocator is chosen before SQLite is used first.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Instant;

use rusqlite::{Connection, ErrorCode};
use stockade_sqlite::heap::{self, Heap};

const MIB: usize = 1 << 20;

/// Each name is used twice in the next: 2^n copies, once SQLite has put them into one expression.
fn doubling(levels: u32) -> String {
    let mut sql = "WITH c0(x) AS (SELECT a FROM t)".to_owned();
    for level in 1..=levels {
        let from = level - 1;
        sql.push_str(&format!(", c{level}(x) AS (SELECT x + x FROM c{from})"));
    }
    sql + &format!(" SELECT x FROM c{levels}")
}

/// Values that SQLite computes once and keeps: a thousand of 1 MiB each.
fn constants() -> String {
    let terms: Vec<_> = (0..150).map(|i| format!("length(printf('%1000000d', {i})) > 5")).collect();
    format!("SELECT {}", terms.join(" + "))
}

#[test]
fn memory_of_one_database_is_bounded_and_comes_back() {
    assert!(heap::install() && heap::install());
    let heap = Heap::new(64 * MIB);
    heap.within(|| {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
        let idle = heap.used();
        assert!(idle > 0);
        let rows = || db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
        for sql in [doubling(24), doubling(40)] {
            let begun = Instant::now();
            let error = db.prepare(&sql).err().unwrap();
            println!("{} bytes of text: {:?}, {error}", sql.len(), begun.elapsed());
            assert_eq!(error.sqlite_error_code(), Some(ErrorCode::OutOfMemory));
            assert_eq!(rows(), Ok(1));
        }
        let doubled = db.query_row(&doubling(8), [], |row| row.get::<_, i64>(0));
        assert_eq!(doubled, Ok(256));
        let error = db.query_row(&constants(), [], |_| Ok(())).err().unwrap();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::OutOfMemory));
        assert_eq!(rows(), Ok(1));
        db.flush_prepared_statement_cache();
        assert!(heap.used() < idle + MIB, "{} after {idle}", heap.used());
        let other = Heap::new(MIB);
        other.within(|| db.execute_batch("CREATE TABLE u(a)")).unwrap();
        assert!(other.used() > 0, "charged to who allocates");
        drop(db);
        assert_eq!(other.used(), 0, "and given back there");
    });
    assert_eq!(heap.used(), 0);
}
