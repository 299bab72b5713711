//! Sends messages, and keeps a row of each that has arrived.

use bindings::exports::tests::messages_mail::mail::Guest;
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, actors, context, messages};

stockade_alloc::install!();

struct Actor;

impl Lifecycle for Actor {
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, text TEXT, sender TEXT,
               attempt INTEGER);
             CREATE TABLE IF NOT EXISTS mood (one INTEGER PRIMARY KEY, how TEXT)",
        )?)
    }
}

impl Guest for Actor {
    fn send(kind: String, key: String, method: String, arguments: String) -> Result<u64, String> {
        messages::send(&kind, &key, &method, &arguments).map_err(words)
    }

    fn many(key: String, first: u32, count: u32) -> Result<(), String> {
        let kind = own_kind()?;
        for number in first..first.saturating_add(count) {
            let arguments = format!("[\"{number}\"]");
            messages::send(&kind, &key, "note", &arguments).map_err(words)?;
        }
        Ok(())
    }

    fn together(how: String, key: String, text: String) -> Result<(), String> {
        together(&how, &key, &text).map_err(words)
    }

    fn sized(key: String, bytes: u32) -> Result<u64, String> {
        let text = "x".repeat(usize::try_from(bytes).map_err(words)?.saturating_sub(4));
        messages::send(&own_kind()?, &key, "note", &format!("[\"{text}\"]")).map_err(words)
    }

    fn fill(key: String) -> Result<u32, String> {
        fill(&key)
    }

    fn send_and_spin(key: String, text: String, ms: u64) -> Result<(), String> {
        send_note(&key, &text).map_err(words)?;
        let budget = || context::budget().map(|budget| budget.time_ms).map_err(words);
        let until = budget()?.saturating_sub(ms);
        while budget()? > until {}
        Ok(())
    }

    fn note(text: String) -> Result<(), String> {
        add(&text)
    }

    fn note_within(text: String) -> Result<(), String> {
        let mut connection = Connection::open().map_err(words)?;
        let transaction = connection.transaction().map_err(words)?;
        transaction.execute("INSERT INTO row (text) VALUES (?)", [&text]).map_err(words)?;
        transaction.rollback().map_err(words)?;
        let transaction = connection.transaction().map_err(words)?;
        add(&text)?;
        transaction.commit().map_err(words)
    }

    fn fail(text: String, attempts: u32) -> Result<(), String> {
        add(&text)?;
        match messages::current().map_err(words)? {
            Some(message) if message.attempt < attempts => Err(format!("no {text}")),
            _ => Ok(()),
        }
    }

    fn trap(text: String, attempts: u32) -> Result<(), String> {
        add(&text)?;
        match messages::current().map_err(words)? {
            Some(message) if message.attempt < attempts => panic!("no {text}"),
            _ => Ok(()),
        }
    }

    fn moody(text: String) -> Result<(), String> {
        let connection = Connection::open().map_err(words)?;
        let how: String = connection
            .query_row("SELECT coalesce(max(how), '') FROM mood", [], |row| row.get(0))
            .map_err(words)?;
        add(&text)?;
        match how.as_str() {
            "trap" => panic!("in a bad mood"),
            "fail" => Err("in a bad mood".to_owned()),
            _ => Ok(()),
        }
    }

    fn behave(how: String) -> Result<(), String> {
        let connection = Connection::open().map_err(words)?;
        connection
            .execute("INSERT OR REPLACE INTO mood VALUES (1, ?)", [&how])
            .map(drop)
            .map_err(words)
    }

    fn answer(text: String) -> Result<(), String> {
        add(&text)?;
        let Some(message) = messages::current().map_err(words)? else { return Ok(()) };
        let arguments = format!("[\"re: {text}\"]");
        messages::send(&message.kind, &message.key, "note", &arguments).map(drop).map_err(words)
    }

    fn call_out(key: String) -> Result<(), String> {
        let called = actors::call(&own_kind()?, &key, "count", "");
        add(&called.map_or_else(|error| format!("{error:?}"), |reply| reply.text))
    }

    fn fill_within(key: String) -> Result<(), String> {
        let mut connection = Connection::open().map_err(words)?;
        let transaction = connection.transaction().map_err(words)?;
        let filled = fill(&key)?;
        transaction.rollback().map_err(words)?;
        add(&filled.to_string())
    }

    fn slow(text: String, ms: u64) -> Result<(), String> {
        std::thread::sleep(core::time::Duration::from_millis(ms));
        add(&text)
    }

    fn texts() -> Result<Vec<String>, String> {
        list("SELECT text FROM row ORDER BY id")
    }

    fn received() -> Result<Vec<String>, String> {
        list(
            "SELECT text || ' ' || sender || ' ' || attempt FROM row WHERE sender IS NOT NULL
             ORDER BY id",
        )
    }

    fn count() -> Result<i64, String> {
        let connection = Connection::open().map_err(words)?;
        connection.query_row("SELECT count(*) FROM row", [], |row| row.get(0)).map_err(words)
    }

    fn sql(text: String) -> Result<(), String> {
        let connection = Connection::open().map_err(words)?;
        connection.execute_script(&text).map_err(words)
    }
}

fn add(text: &str) -> Result<(), String> {
    let message = messages::current().map_err(words)?;
    let sender = message.as_ref().map(|message| message.key.clone());
    let attempt = message.map(|message| i64::from(message.attempt));
    let connection = Connection::open().map_err(words)?;
    connection
        .execute(
            "INSERT INTO row (text, sender, attempt) VALUES (?, ?, ?)",
            (text, sender, attempt),
        )
        .map(drop)
        .map_err(words)
}

fn list(sql: &str) -> Result<Vec<String>, String> {
    let connection = Connection::open().map_err(words)?;
    let mut select = connection.prepare(sql).map_err(words)?;
    let rows = select.query_map([], |row| row.get(0)).map_err(words)?;
    rows.collect::<stockade_sdk::Result<Vec<String>>>().map_err(words)
}

fn fill(key: &str) -> Result<u32, String> {
    let mut sent = 0;
    loop {
        match send_note(key, "more") {
            Ok(_) => sent += 1,
            Err(messages::Error::OutboxFull(_)) => return Ok(sent),
            Err(error) => return Err(words(error)),
        }
    }
}

fn send_note(key: &str, text: &str) -> messages::Result<u64> {
    let kind = context::identity().map_err(|error| messages::Error::Other(error.to_string()))?.kind;
    messages::send(&kind, key, "note", &format!("[\"{text}\"]"))
}

fn together(how: &str, key: &str, text: &str) -> messages::Result<()> {
    let mut connection = Connection::open()?;
    let mut transaction = connection.transaction()?;
    transaction.execute("INSERT INTO row (text) VALUES (?)", [text])?;
    if how == "savepoint" {
        let savepoint = transaction.savepoint()?;
        send_note(key, text)?;
        savepoint.rollback()?;
        return Ok(transaction.commit()?);
    }
    send_note(key, text)?;
    match how {
        "commit" => transaction.commit()?,
        "rollback" => transaction.rollback()?,
        "trap" => panic!("asked to trap"),
        // Left open, for the host to end.
        _ => core::mem::forget(transaction),
    }
    Ok(())
}

fn own_kind() -> Result<String, String> {
    context::identity().map(|identity| identity.kind).map_err(words)
}

fn words(error: impl core::fmt::Debug) -> String {
    format!("{error:?}")
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Actor with_types_in bindings);
stockade_sdk::export_lifecycle!(Actor);
