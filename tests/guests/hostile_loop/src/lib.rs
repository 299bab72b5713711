//! Spends more than it may: time, memory, SQL work, rows, handles, log lines, scratch space.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:hostile-loop/guest",
        generate_all,
    });
}

use bindings::exports::tests::hostile_loop::hostile::Guest;
use bindings::stockade::actor::log::{self, Level};
use bindings::stockade::actor::sqlite::{self, Connection, TransactionMode, Value};

/// Counts for ever.
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
