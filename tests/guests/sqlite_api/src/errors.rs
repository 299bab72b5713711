//! Each reason for which a statement is refused, and the case of `error` for it.

use crate::bindings::stockade::actor::sqlite::{Connection, Error, Value};
use crate::{Doing, Outcome, Scenario, ensure, integer, refused, same, script};

pub(crate) const ALL: &[Scenario] = &[
    ("constraint-kinds", constraint_kinds),
    ("statement-failures", statement_failures),
    ("denied", denied),
    ("limits", limits),
];

fn constraint_kinds(db: &Connection) -> Outcome {
    script(
        db,
        "PRAGMA foreign_keys = ON;
         CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 0, c CHECK (c < 10));
         CREATE TABLE two(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
         CREATE TABLE f(t REFERENCES t(id));
         CREATE TABLE s(i INTEGER) STRICT;
         CREATE TABLE plain(a);
         CREATE TRIGGER stop BEFORE INSERT ON f WHEN new.t = 99
           BEGIN SELECT RAISE(ABORT, 'no such thing'); END;
         INSERT INTO t(id, u) VALUES (1, 'x');
         INSERT INTO two VALUES (1, 1);
         INSERT INTO plain(rowid, a) VALUES (5, 0)",
    )?;
    constraint(db, "INSERT INTO t(u) VALUES ('x')", "Unique", "t", &["u"])?;
    constraint(db, "INSERT INTO t(n) VALUES (NULL)", "NotNull", "t", &["n"])?;
    constraint(db, "INSERT INTO t(id) VALUES (1)", "PrimaryKey", "t", &["id"])?;
    constraint(db, "INSERT INTO two VALUES (1, 1)", "PrimaryKey", "two", &["a", "b"])?;
    for (sql, kind) in [
        ("INSERT INTO t(c) VALUES (11)", "Check"),
        ("INSERT INTO f VALUES (7)", "ForeignKey"),
        ("INSERT INTO f VALUES (99)", "Trigger"),
        ("INSERT INTO s VALUES ('word')", "Datatype"),
        ("INSERT INTO plain(rowid, a) VALUES (5, 1)", "Rowid"),
    ] {
        refused(sql, db.execute(sql, &[]), &format!("kind: ConstraintKind::{kind}"))?;
    }
    same("the row is as it was", integer(db, "SELECT count(*) FROM t")?, 1)
}

fn constraint(db: &Connection, sql: &str, kind: &str, table: &str, columns: &[&str]) -> Outcome {
    match db.execute(sql, &[]) {
        Err(Error::Constraint(failure)) => {
            same(sql, failure.kind, Word(format!("ConstraintKind::{kind}")))?;
            same(sql, failure.table.as_deref(), Some(table))?;
            same(sql, &failure.columns, columns)
        }
        other => Err(format!("{sql}: {other:?}")),
    }
}

/// A text whose debug text is the text itself, without quotes.
struct Word(String);

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn statement_failures(db: &Connection) -> Outcome {
    refused("syntax", db.execute("SELEC 1", &[]), "Statement")?;
    refused("no table", db.query("SELECT * FROM nowhere", &[]), "nowhere")?;
    refused("no column", db.prepare("SELECT x"), "Statement")?;
    refused("two statements", db.prepare("SELECT 1; SELECT 2"), "Statement")?;
    refused("two statements", db.execute("SELECT 1; SELECT 2", &[]), "Statement")?;
    match db.prepare("SELECT 1 FRM t") {
        Err(Error::Statement(failure)) => {
            ensure(failure.code & 0xff == 1, format_args!("code {}", failure.code))?;
            ensure(!failure.message.is_empty(), "a message")?;
        }
        other => return Err(format!("{other:?}")),
    }
    match db.prepare("SELECT one, two") {
        Err(Error::Statement(failure)) => same("offset", failure.offset, Some(7))?,
        other => return Err(format!("{other:?}")),
    }
    // More values than the statement has parameters.
    refused(
        "a parameter too many",
        db.query("SELECT ?", &[Value::Null, Value::Null]),
        "InvalidArgument",
    )?;
    let nothing = db.prepare("  -- nothing\n");
    ensure(nothing.is_err(), "an empty statement was prepared")
}

fn denied(db: &Connection) -> Outcome {
    for sql in [
        "ATTACH 'other.db' AS other",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "PRAGMA journal_mode = WAL",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA locking_mode = NORMAL",
        "PRAGMA page_size = 8192",
        "PRAGMA writable_schema = ON",
        "PRAGMA trusted_schema = ON",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA mmap_size = 1000000",
        "SELECT load_extension('x')",
        "VACUUM INTO 'copy.db'",
    ] {
        let answer = db.query(sql, &[]);
        ensure(
            matches!(answer, Err(Error::Denied(_) | Error::Statement(_))),
            format_args!("{sql}: {answer:?}"),
        )?;
    }
    // Harmless statements are allowed.
    script(db, "VACUUM; PRAGMA foreign_keys = ON; ANALYZE; REINDEX")?;
    same("integrity", text(db, "PRAGMA integrity_check")?, "ok")
}

fn text(db: &Connection, sql: &str) -> Result<String, String> {
    match db.query(sql, &[]).doing(sql)?.rows.into_iter().flatten().next() {
        Some(Value::Text(text)) => Ok(text),
        other => Err(format!("{sql}: {other:?}")),
    }
}

fn limits(db: &Connection) -> Outcome {
    let long = format!("SELECT '{}'", "x".repeat(1024 * 1024));
    refused("a long statement", db.prepare(&long), "StatementBytes")?;
    refused("a long value", db.query("SELECT zeroblob(17000000)", &[]), "ValueBytes")?;
    let large = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000)
                 SELECT zeroblob(1000) FROM c";
    refused("rows over 1 MiB", db.query(large, &[]), "RowBytes")?;
    let parameters = vec![Value::Null; 40_000];
    ensure(db.query("SELECT 1", &parameters).is_err(), "40,000 parameters")?;
    let mut open = Vec::new();
    let refusal = loop {
        match db.prepare("SELECT 1") {
            Ok(statement) => open.push(statement),
            Err(error) => break error,
        }
        ensure(open.len() < 10_000, "10,000 statements are open")?;
    };
    ensure(
        format!("{refusal:?}").contains("Handles"),
        format_args!("after {} statements: {refusal:?}", open.len()),
    )?;
    drop(open);
    db.prepare("SELECT 1").doing("room again").map(drop)
}
