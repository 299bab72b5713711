//! Exceeds each limit: time, memory, SQL work, rows, handles, log lines, scratch space.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:hostile-loop/guest",
        generate_all,
    });
}

use std::time::{Duration, Instant};

use bindings::exports::tests::hostile_loop::hostile::Guest;
use bindings::stockade::actor::log::{self, Level};
use bindings::stockade::actor::sqlite::{self, Connection, TransactionMode, Value};

/// Counts without end.
const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) ";
const MEGABYTE: u32 = 1024 * 1024;

struct Actor;

impl Guest for Actor {
    fn hello() -> String {
        "hello".into()
    }

    fn spin() {
        loop {
            std::hint::spin_loop();
        }
    }

    fn spin_in_sql() -> Result<(), String> {
        query(&format!("{ENDLESS} SELECT count(*) FROM c"))
    }

    fn spin_in_join() -> Result<(), String> {
        query(&format!(
            "{ENDLESS}, d(m) AS (SELECT n FROM c LIMIT 100000)
             SELECT a.m FROM d a, d b, d c WHERE a.m + b.m + c.m < 0"
        ))
    }

    fn sort_much(megabytes: u32) -> Result<(), String> {
        query(&format!(
            "{ENDLESS} SELECT count(*) FROM (
               SELECT n, randomblob(1000) AS r FROM c LIMIT {megabytes} * 1000 OFFSET 0
             ) GROUP BY r ORDER BY r LIMIT 1"
        ))
    }

    fn grow() -> u64 {
        let mut pages = 0;
        while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {
            pages += 16;
        }
        pages
    }

    fn leak_handles() -> (u64, String) {
        let mut open = Vec::new();
        let db = match sqlite::open() {
            Ok(db) => db,
            Err(error) => return (0, words(error)),
        };
        loop {
            match db.prepare("SELECT 1") {
                Ok(statement) => open.push(std::mem::ManuallyDrop::new(statement)),
                Err(error) => return (u64::try_from(open.len()).unwrap_or(0), words(error)),
            }
        }
    }

    fn answer(bytes: u64) -> Vec<u8> {
        vec![b'x'; usize::try_from(bytes).unwrap_or(usize::MAX)]
    }

    fn read_rows(rows: u64) -> (u64, Option<String>) {
        let mut read = 0;
        let outcome = read_in_batches(rows, &mut read);
        (read, outcome.err())
    }

    fn flood_log(lines: u32, bytes: u32) -> (u32, Option<String>) {
        let line = "x".repeat(usize::try_from(bytes).unwrap_or(0));
        let (mut taken, mut refusal) = (0, None);
        for _ in 0..lines {
            match log::write(Level::Error, &line, &[]) {
                Ok(()) => taken += 1,
                Err(error) => {
                    refusal.get_or_insert(format!("{error:?}"));
                }
            }
        }
        (taken, refusal)
    }

    fn recurse(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 64]);
        if depth == 0 { frame[0] } else { Self::recurse(depth - 1) + frame[63] }
    }

    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]
    fn print(lines: u32) {
        for line in 0..lines {
            println!("out {line}");
            eprintln!("err {line}");
        }
    }

    fn fill(megabytes: u32) -> Result<(), String> {
        let db = open()?;
        for _ in 0..megabytes {
            insert_megabyte(&db)?;
            db.flush().map_err(words)?;
        }
        Ok(())
    }

    fn big_commit(megabytes: u32) -> Result<(), String> {
        let db = open()?;
        let transaction = db.begin(TransactionMode::Immediate).map_err(words)?;
        for _ in 0..megabytes {
            insert_megabyte(&db)?;
        }
        transaction.commit().map_err(words)
    }

    fn rewrite() -> Result<(), String> {
        let rewrite = "UPDATE heap SET b = randomblob(1048576)";
        open()?.execute(rewrite, &[]).map(drop).map_err(words)
    }

    fn deep_expression(depth: u32) -> Result<(), String> {
        let depth = usize::try_from(depth).unwrap_or(0);
        query(&format!("SELECT {}1{}", "(1+".repeat(depth), ")".repeat(depth)))
    }

    fn slow_pattern(bytes: u32) -> Result<(), String> {
        let length = usize::try_from(bytes).unwrap_or(0);
        open()?
            .query(
                "SELECT ?1 LIKE ?2",
                &[Value::Text("a".repeat(length)), Value::Text("%a".repeat(length / 2))],
            )
            .map(drop)
            .map_err(words)
    }

    fn slow_functions(bytes: u32) -> Result<(), String> {
        let half = usize::try_from(bytes / 2).unwrap_or(0);
        let needle = format!("{}b", "a".repeat(half));
        let hay = "a".repeat(half * 2);
        let values = [Value::Text(hay), Value::Text(needle)];
        let db = open()?;
        db.query("SELECT instr(?1, ?2)", &values).map_err(words)?;
        db.query("SELECT length(replace(?1, ?2, 'c'))", &values).map(drop).map_err(words)
    }

    fn swallow_interrupts() {
        loop {
            drop(Self::spin_in_sql());
        }
    }

    fn match_large_texts(bytes: u32) -> Result<(), String> {
        let text = "a".repeat(usize::try_from(bytes).unwrap_or(0));
        // One row, whose text is made once: SQLite allocates nothing large and runs few
        // instructions beside the comparisons, so only LIKE and GLOB can notice how long they take.
        let compared = |n| format!("t LIKE (?2 || {n}) OR t GLOB (?3 || {n})");
        let all: Vec<_> = (0..20).map(compared).collect();
        let sql = format!("SELECT {} FROM (SELECT ?1 || 'a' AS t LIMIT 1)", all.join(" OR "));
        let patterns = ["%", "*"].map(|all| format!("{all}{}b", "a".repeat(110)));
        let [like, glob] = patterns.map(Value::Text);
        open()?.query(&sql, &[Value::Text(text), like, glob]).map(drop).map_err(words)
    }

    fn work_on_large_values() -> Result<(), String> {
        // Few steps for each row, so SQLite seldom calls the progress handler. The values of one
        // row at a time, so memory suffices.
        query(
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) \
             SELECT max(length(upper(hex(zeroblob(8000000 - n))))) FROM c",
        )
    }

    fn compile_for_ever() -> Result<(), String> {
        let mut sql = "WITH c0(x) AS (SELECT b FROM heap)".to_owned();
        for level in 1..=30 {
            let from = level - 1;
            sql.push_str(&format!(", c{level}(x) AS (SELECT x + x FROM c{from})"));
        }
        query(&(sql + " SELECT x FROM c30"))
    }

    fn huge_parameter(bytes: u32) -> Vec<String> {
        let value = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let mut packed = vec![4];
        packed.extend(bytes.to_le_bytes());
        packed.extend(&value);
        let db = match open() {
            Ok(db) => db,
            Err(error) => return vec![error],
        };
        let statement = match db.prepare("SELECT length(?1)") {
            Ok(statement) => statement,
            Err(error) => return vec![words(error)],
        };
        let value = Value::Blob(value);
        [
            db.query("SELECT length(?1)", std::slice::from_ref(&value)).map(drop),
            statement.bind(1, &value),
            statement.execute(&packed).map(drop),
            statement.execute_many(&packed).map(drop),
        ]
        .map(|answer| answer.map_or_else(words, |()| "taken".to_owned()))
        .into()
    }

    fn lying_rows() -> Vec<String> {
        let refused = |row: &[u8]| {
            let db = open()?;
            let statement = db.prepare("SELECT length(?1)").map_err(words)?;
            statement.execute_many(row).map(drop).map_err(words)
        };
        [
            &[4, 0xff, 0xff, 0xff, 0xff, 1][..],
            &[3, 0, 0, 0, 0x80],
            &[4, 100, 0, 0, 0, 1, 2],
            &[1, 0, 0],
            &[9],
        ]
        .map(|row| refused(row).err().unwrap_or_else(|| "taken".to_owned()))
        .into()
    }

    fn huge_rows() -> (u64, Option<String>) {
        let mut largest = 0;
        let outcome = (|| {
            let sql = format!("{ENDLESS} SELECT zeroblob(n * 1000000) FROM c");
            let statement = open()?.prepare(&sql).map_err(words)?;
            let mut batch = statement.query(&[], u32::MAX).map_err(words)?;
            while !batch.done {
                largest = largest.max(u64::try_from(batch.rows.len()).unwrap_or(u64::MAX));
                batch = statement.next(u32::MAX).map_err(words)?;
            }
            Ok(())
        })();
        (largest, outcome.err())
    }

    fn leak(sort: String) -> (u64, String) {
        let mut count = 0;
        let refusal = loop {
            if let Err(error) = leak_one(&sort) {
                break error;
            }
            count += 1;
        };
        (count, refusal)
    }

    fn recurse_in_triggers() -> Result<(), String> {
        let db = open()?;
        db.execute_script(
            "PRAGMA recursive_triggers = ON;
             CREATE TABLE IF NOT EXISTS deep(n);
             CREATE TRIGGER IF NOT EXISTS deeper AFTER INSERT ON deep
             BEGIN INSERT INTO deep VALUES (new.n + 1); END;
             INSERT INTO deep VALUES (1)",
        )
        .map_err(words)
    }

    fn empty_fields(count: u32) -> Option<String> {
        let count = usize::try_from(count).unwrap_or(0);
        let fields = vec![(String::new(), String::new()); count];
        log::write(Level::Error, "", &fields).err().map(|error| format!("{error:?}"))
    }

    fn store(kilobytes: u32) -> Result<(), String> {
        let sql = format!("{ENDLESS} INSERT INTO heap SELECT zeroblob(1000) FROM c LIMIT ?1");
        let sql = sql.replace("FROM c LIMIT ?1", "FROM (SELECT n FROM c LIMIT ?1)");
        let db = open()?;
        db.execute(&sql, &[Value::Integer(kilobytes.into())]).map(drop).map_err(words)
    }

    fn scan() -> Result<(), String> {
        query("SELECT sum(length(b || 'x')) FROM heap")
    }

    fn outgrow() {
        Self::grow();
        std::hint::black_box(vec![1_u8; 1 << 20]);
    }

    fn work(milliseconds: u64) -> u64 {
        let (begun, mut done) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_millis(milliseconds) {
            for _ in 0..10_000 {
                std::hint::spin_loop();
            }
            done += 1;
        }
        done
    }

    fn work_in_sql(milliseconds: u64) -> Result<u64, String> {
        let (begun, mut done) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_millis(milliseconds) {
            query(&format!("{ENDLESS} SELECT count(*) FROM (SELECT n FROM c LIMIT 1000)"))?;
            done += 1;
        }
        Ok(done)
    }

    fn look_around() -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["/", ".", "/tmp", "/etc"] {
            if std::fs::read_dir(folder).is_ok() {
                found.push(format!("folder {folder}"));
            }
        }
        if std::fs::write("note", b"x").is_ok() {
            found.push("wrote a file".into());
        }
        found.extend(std::env::vars().map(|(name, _)| format!("variable {name}")));
        found.extend(std::env::args().map(|argument| format!("argument {argument}")));
        if std::net::TcpStream::connect("127.0.0.1:80").is_ok() {
            found.push("connected".into());
        }
        found
    }
}

/// Opens a handle of the named type and never drops it.
fn leak_one(sort: &str) -> Result<(), String> {
    let db = open()?;
    match sort {
        "connection" => {}
        "transaction" => {
            let one = db.begin(TransactionMode::Deferred).map_err(words)?;
            std::mem::forget(one);
        }
        "cursor" => {
            let statement = db.prepare("SELECT 1 UNION SELECT 2").map_err(words)?;
            std::mem::forget(statement.open_cursor(&[]).map_err(words)?);
            std::mem::forget(statement);
        }
        _ => {
            db.execute("INSERT OR IGNORE INTO heap(rowid, b) VALUES (1, x'00')", &[])
                .map_err(words)?;
            std::mem::forget(db.open_blob("heap", "b", 1, false).map_err(words)?);
        }
    }
    std::mem::forget(db);
    Ok(())
}

fn read_in_batches(rows: u64, read: &mut u64) -> Result<(), String> {
    let db = sqlite::open().map_err(words)?;
    let statement =
        db.prepare(&format!("{ENDLESS} SELECT n FROM c LIMIT {rows}")).map_err(words)?;
    let mut batch = statement.query(&[], MEGABYTE).map_err(words)?;
    loop {
        *read += u64::from(batch.count);
        if batch.done {
            return Ok(());
        }
        batch = statement.next(MEGABYTE).map_err(words)?;
    }
}

fn open() -> Result<Connection, String> {
    let db = sqlite::open().map_err(words)?;
    db.execute("CREATE TABLE IF NOT EXISTS heap(b)", &[]).map_err(words)?;
    Ok(db)
}

fn query(sql: &str) -> Result<(), String> {
    open()?.query(sql, &[]).map(drop).map_err(words)
}

fn insert_megabyte(db: &Connection) -> Result<(), String> {
    db.execute("INSERT INTO heap VALUES (randomblob(1048576))", &[]).map(drop).map_err(words)
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

bindings::export!(Actor with_types_in bindings);
