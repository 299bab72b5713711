//! Generated packed rows and SQL texts, as a guest may send them.

use super::{World, packed, text};
use crate::limits::Limits;
use crate::sqlite::packed::{Packed, push_column, read_value};
use crate::sqlite::{SqlError, TransactionMode, Value};
use stockade_depot::DepotLimits;
use stockade_sqlite::Column;
use stockade_testkit::cases::unit_cases;
use stockade_testkit::mutated::{below, mutated, mutated_text, one};
use stockade_testkit::random::Random;

/// A call that is small in every direction, so that a thousand take a second.
fn limits() -> Limits {
    Limits {
        sql_steps_max: 20_000,
        rows_max: 1_000,
        row_bytes_max: 1 << 20,
        pages_max: 2_000,
        value_bytes_max: 1 << 16,
        statement_bytes_max: 1 << 14,
        packed_bytes_max: 1 << 13,
        handles_max: 20,
        scratch_bytes_max: 1 << 22,
        database_bytes_max: 1 << 23,
        commit_bytes_max: 1 << 22,
        ..Limits::default()
    }
}

fn world() -> World {
    let mut world = World::with(limits(), DepotLimits::default());
    world.script("CREATE TABLE t(a, b TEXT UNIQUE, c); INSERT INTO t VALUES (1, 'x', x'00')");
    world.begin();
    world
}

/// An error of a guest's own making: no fault of the database, the store or ours.
fn assert_of_a_guest(error: &SqlError, sent: &dyn std::fmt::Debug) {
    // INTERNAL, CORRUPT, MISUSE, NOTADB, IOERR: SQLite's words for what is broken beneath it.
    let broken = [2, 10, 11, 21, 26];
    match error {
        SqlError::Statement(failure) => {
            assert!(!broken.contains(&(failure.code & 0xff)), "{failure:?}: {sent:?}");
        }
        SqlError::RowFailed { cause, .. } => assert_of_a_guest(cause, sent),
        SqlError::Revoked(_) | SqlError::Unavailable | SqlError::Other(_) => {
            panic!("{error:?}: {sent:?}")
        }
        _ => {}
    }
}

/// The connection is as good as before: it ends the call, and the next one reads and writes.
fn assert_usable(world: &mut World, sent: &dyn std::fmt::Debug) {
    let left = world.connection.end_of_call();
    assert!(left.is_ok(), "{left:?}: {sent:?}");
    world.begin();
    assert_eq!(world.integer("SELECT 1"), 1, "{sent:?}");
    assert!(!world.connection.in_transaction(), "{sent:?}");
}

fn value(random: &mut Random) -> Value {
    match random.below(7) {
        0 => Value::Null,
        1 => Value::Integer(i64::from_le_bytes(random.next().to_le_bytes())),
        2 => Value::Real(f64::from_bits(random.next())),
        3 => text(one(random, &["", "x", "a\0b", "dağ", "%_[*?", "-9223372036854775808"])),
        4 => Value::Blob(vec![random.next().to_le_bytes()[0]; below(random, 300)]),
        5 => Value::Blob(vec![0; 70_000]),
        _ => Value::Integer(i64::try_from(random.below(4)).unwrap() - 1),
    }
}

fn column(value: &Value) -> Column<'_> {
    match value {
        Value::Null => Column::Null,
        Value::Integer(value) => Column::Integer(*value),
        Value::Real(value) => Column::Real(*value),
        Value::Text(text) => Column::Text(text.as_bytes()),
        Value::Blob(bytes) => Column::Blob(bytes),
    }
}

/// Reads to the end or the first error. What is read lies within the bytes, and behind the last.
fn read_all(bytes: &[u8]) -> Result<Vec<Packed>, SqlError> {
    let (mut at, mut values) = (0, Vec::new());
    while at < bytes.len() {
        let start = at;
        let value = read_value(bytes, &mut at)?;
        assert!(start < at && at <= bytes.len(), "{start}..{at} of {}", bytes.len());
        match &value {
            Packed::Text(range) => {
                assert!(start < range.start && range.end == at);
                std::str::from_utf8(&bytes[range.clone()]).unwrap();
            }
            Packed::Blob(range) => assert!(start < range.start && range.end == at),
            Packed::Null | Packed::Integer(_) | Packed::Real(_) => {}
        }
        values.push(value);
    }
    Ok(values)
}

fn same(read: &Packed, sent: &Value, bytes: &[u8]) -> bool {
    match (read, sent) {
        (Packed::Null, Value::Null) => true,
        (Packed::Integer(a), Value::Integer(b)) => a == b,
        (Packed::Real(a), Value::Real(b)) => a.to_bits() == b.to_bits(),
        (Packed::Text(range), Value::Text(text)) => bytes[range.clone()] == *text.as_bytes(),
        (Packed::Blob(range), Value::Blob(blob)) => bytes[range.clone()] == **blob,
        _ => false,
    }
}

#[test]
fn packed_rows() {
    let mut world = world();
    let insert = world.connection.prepare("INSERT INTO t VALUES (?, ?, ?)").unwrap();
    let select = world.connection.prepare("SELECT ?, ?, ?").unwrap();
    let dictionary: [&[u8]; 8] = [
        &[0],
        &[1],
        &[3, 0, 0, 0, 0],
        &[3, 1, 0, 0, 0, 0xff],
        &[4, 0xff, 0xff, 0xff, 0xff],
        &[4, 0, 0, 0, 0x80],
        &[5],
        &[2, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
    ];
    unit_cases("sqlite::tests::fuzz::packed_rows", 3_000, |random| {
        let values: Vec<Value> = (0..3).map(|_| value(random)).collect();
        let mut written = Vec::new();
        for value in &values {
            push_column(&mut written, &column(value), 0, 1 << 20).unwrap();
        }
        assert_eq!(written, packed(&values));
        let read = read_all(&written).unwrap();
        assert_eq!(read.len(), values.len());
        assert!(read.iter().zip(&values).all(|(read, sent)| same(read, sent, &written)));

        let second = packed(&[Value::Null, text("ß"), Value::Real(0.5)]);
        let sent = mutated(random, &[&written, &second, &[]], &dictionary);
        let whole = read_all(&sent);
        if let Err(error) = &whole {
            assert!(matches!(error, SqlError::InvalidArgument(_)), "{error:?}");
        }
        let many = world.connection.execute_many(insert, sent.clone());
        let once = world.connection.query_statement(select, sent.clone(), 1 << 16);
        if let Ok(batch) = &once
            && !sent.is_empty()
        {
            assert!(whole.as_ref().is_ok_and(|values| values.len() == 3), "{sent:?}");
            assert!(read_all(&batch.rows).is_ok_and(|values| values.len() == 3));
        }
        if many.is_ok() {
            assert!(whole.is_ok_and(|values| values.len() % 3 == 0), "{sent:?}");
        }
        for error in [many.err(), once.err()].into_iter().flatten() {
            assert_of_a_guest(&error, &sent);
        }
        // The next case has a whole budget and an empty table, as a repeated one.
        assert_usable(&mut world, &sent);
        world.run("DELETE FROM t").unwrap();
        world.begin();
    });
}

const SQL: [&str; 26] = [
    "SELECT a, b FROM t WHERE a > ?1 ORDER BY c LIMIT 5",
    "INSERT INTO t VALUES (?, ?, ?) ON CONFLICT(b) DO UPDATE SET a = excluded.a RETURNING *",
    "UPDATE t SET c = zeroblob(?1), a = a || :n WHERE b IN (SELECT b FROM t)",
    "DELETE FROM t WHERE rowid = @id; INSERT INTO t DEFAULT VALUES",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT sum(n) FROM r",
    "CREATE TABLE IF NOT EXISTS u(k INTEGER PRIMARY KEY, v CHECK (v > 0)) STRICT",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO t VALUES (new.a, new.b, 1); END",
    "CREATE VIEW w AS SELECT json_group_array(a) j FROM t",
    "CREATE INDEX i ON t(lower(b)) WHERE a IS NOT NULL",
    "ALTER TABLE t RENAME COLUMN c TO d",
    "DROP TABLE t",
    "BEGIN IMMEDIATE",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "COMMIT",
    "ROLLBACK",
    "PRAGMA user_version = 7",
    "PRAGMA writable_schema = 1",
    "UPDATE sqlite_schema SET sql = 'x'",
    "ATTACH ':memory:' AS m",
    "VACUUM",
    "SELECT printf('%.*c', 100000000, 'x'), replace(hex(zeroblob(30000)), '0', 'abc')",
    "EXPLAIN QUERY PLAN SELECT * FROM t NATURAL JOIN t AS o",
    "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) FROM t GROUP BY 1 HAVING count(*) > 0",
    "VALUES (1, 'a'), (2, x'ff')",
];

const WORDS: [&str; 36] = [
    "SELECT ",
    " FROM t ",
    " WHERE ",
    ";",
    "--",
    "/*",
    "*/",
    "'",
    "\"",
    "`",
    "[",
    "(",
    ")",
    ",",
    "?",
    "?1",
    "?32767",
    ":n",
    "NULL",
    "-9223372036854775808",
    "1e999",
    "x'0",
    "zeroblob(65537)",
    "randomblob(9)",
    "json('{')",
    " LIKE '%%%%a'",
    " GLOB '[a-'",
    " COLLATE NOCASE",
    " UNION ALL SELECT ",
    " RETURNING *",
    "pragma_table_info('t')",
    "sqlite_schema",
    "load_extension('x')",
    "\0",
    "\u{FEFF}",
    " INDEXED BY i ",
];

/// One text by one of the ways that the WIT has.
fn send(world: &mut World, random: &mut Random, sql: &str) -> Result<(), SqlError> {
    let count = below(random, 4);
    let values: Vec<Value> = (0..count).map(|_| value(random)).collect();
    let connection = &mut world.connection;
    match random.below(6) {
        0 => connection.execute(sql, &values).map(drop),
        1 => connection.query(sql, &values).map(drop),
        2 => connection.execute_script(sql),
        3 => connection.run_batch(&[(sql.to_owned(), values), (sql.to_owned(), vec![])]).map(drop),
        4 => {
            let transaction = connection.begin(TransactionMode::Immediate)?;
            let result = connection.execute(sql, &values).map(drop);
            let ended = match random.below(2) {
                0 => connection.commit(transaction),
                _ => connection.rollback(transaction),
            };
            result.and(ended)
        }
        _ => {
            let id = connection.prepare(sql)?;
            let mut batch = connection.query_statement(id, packed(&values), 1_000)?;
            for _ in 0..5 {
                assert!(read_all(&batch.rows).is_ok(), "rows that do not read");
                if batch.done {
                    break;
                }
                batch = connection.next(id, 1_000)?;
            }
            if random.below(2) == 0 {
                connection.drop_statement(id);
            }
            Ok(())
        }
    }
}

#[test]
fn sql() {
    let mut kept = 0;
    unit_cases("sqlite::tests::fuzz::sql", 60, |random| {
        let mut world = world();
        for _ in 0..30 {
            let sql = mutated_text(random, &SQL, &WORDS);
            match send(&mut world, random, &sql) {
                Ok(()) => kept += 1,
                Err(error) => assert_of_a_guest(&error, &sql),
            }
            if random.below(3) == 0 {
                assert_usable(&mut world, &sql);
            }
        }
        assert_usable(&mut world, &"the end");
        // Whatever was kept is a sound database, also for the next generation.
        world.reopen();
        let found = world.connection.run_operator("PRAGMA integrity_check", &[], false, 10);
        let rows = found.unwrap().rows;
        assert_eq!(rows, [[text("ok")]]);
    });
    assert!(kept > 0, "no text was taken");
}
