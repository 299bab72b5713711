//! Statements, parameters, batches, cursors, packed rows.

use crate::bindings::stockade::actor::sqlite::{Connection, Value};
use crate::packed::{pack, unpack};
use crate::{Doing, Outcome, Scenario, ensure, integer, refused, same, script};

pub(crate) const ALL: &[Scenario] = &[
    ("execute-and-query", execute_and_query),
    ("changes", changes),
    ("prepare-and-bind", prepare_and_bind),
    ("named-parameters", named_parameters),
    ("columns", columns),
    ("execute-many", execute_many),
    ("query-in-batches", query_in_batches),
    ("cursors", cursors),
    ("cursor-ends", cursor_ends),
    ("run-batch", run_batch),
    ("execute-script", execute_script),
    ("schema-change", schema_change),
    ("rows-of-writes", rows_of_writes),
    ("half-read-write", half_read_write),
];

fn execute_and_query(db: &Connection) -> Outcome {
    db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", &[]).doing("create")?;
    let made =
        db.execute("INSERT INTO t(b) VALUES (?), (?)", &[text("x"), text("y")]).doing("insert")?;
    same("rows inserted", made.rows, 2)?;
    same("last rowid", made.last_insert_rowid, 2)?;
    let set = db.query("SELECT a, b AS bee FROM t ORDER BY a", &[]).doing("select")?;
    same("columns", &set.columns, ["a", "bee"])?;
    same("rows", &set.rows, [[Value::Integer(1), text("x")], [Value::Integer(2), text("y")]])?;
    let none = db.query("SELECT a FROM t WHERE a > 5", &[]).doing("select none")?;
    same("no rows", none.rows.len(), 0)?;
    same("columns of no rows", &none.columns, ["a"])
}

fn changes(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)")?;
    db.execute("UPDATE t SET a = a + 1 WHERE a > 1", &[]).doing("update")?;
    same("changes", db.changes().doing("changes")?.rows, 2)?;
    db.query("SELECT * FROM t", &[]).doing("select")?;
    same("a query changes nothing", db.changes().doing("changes")?.rows, 2)
}

fn prepare_and_bind(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a, b)")?;
    let insert = db.prepare("INSERT INTO t VALUES (?1, ?2)").doing("prepare")?;
    insert.bind(1, &Value::Integer(7)).doing("bind 1")?;
    insert.bind(2, &text("seven")).doing("bind 2")?;
    insert.execute(&[]).doing("execute bound")?;
    insert.bind(2, &text("again")).doing("bind 2")?;
    insert.execute(&[]).doing("bindings stay")?;
    insert.clear_bindings().doing("clear")?;
    insert.execute(&[]).doing("cleared")?;
    insert.execute(&pack(&[Value::Integer(8), Value::Null])).doing("packed")?;
    refused("bind 0", insert.bind(0, &Value::Null), "InvalidArgument")?;
    refused("bind 3", insert.bind(3, &Value::Null), "InvalidArgument")?;
    refused("a short row", insert.execute(&pack(&[Value::Null])), "InvalidArgument")?;
    refused(
        "a long row",
        insert.execute(&pack(&[Value::Null, Value::Null, Value::Null])),
        "InvalidArgument",
    )?;
    refused("no row", insert.execute(&[9, 9]), "InvalidArgument")?;
    let rows = db.query("SELECT a, b FROM t ORDER BY rowid", &[]).doing("select")?.rows;
    same(
        "rows",
        rows,
        [
            [Value::Integer(7), text("seven")],
            [Value::Integer(7), text("again")],
            [Value::Null, Value::Null],
            [Value::Integer(8), Value::Null],
        ],
    )
}

fn named_parameters(db: &Connection) -> Outcome {
    let select = db.prepare("SELECT :a || @b || $c || ?4").doing("prepare")?;
    same("names", select.parameters().doing("parameters")?, [":a", "@b", "$c", "?4"])?;
    select.bind_name(":a", &text("1")).doing("with its sign")?;
    select.bind_name("b", &text("2")).doing("without")?;
    select.bind_name("$c", &text("3")).doing("dollar")?;
    select.bind(4, &text("4")).doing("position")?;
    let batch = select.query(&[], 1024).doing("query")?;
    same("value", unpack(&batch.rows)?, [text("1234")])?;
    refused("unknown name", select.bind_name("d", &Value::Null), "InvalidArgument")?;
    let nameless = db.prepare("SELECT ?, ?").doing("prepare")?;
    same("nameless", nameless.parameters().doing("parameters")?, ["", ""])
}

fn columns(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a INTEGER, b VARCHAR(9), c)")?;
    let select = db.prepare("SELECT a, b, c, 1 + 1 AS two FROM t").doing("prepare")?;
    let columns = select.columns().doing("columns")?;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    same("names", names, ["a", "b", "c", "two"])?;
    let types: Vec<Option<&str>> =
        columns.iter().map(|column| column.declared_type.as_deref()).collect();
    same("types", types, [Some("INTEGER"), Some("VARCHAR(9)"), None, None])?;
    let insert = db.prepare("INSERT INTO t VALUES (1, 2, 3)").doing("prepare")?;
    same("of a write", insert.columns().doing("columns")?.len(), 0)
}

fn execute_many(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")?;
    let insert = db.prepare("INSERT INTO t VALUES (?1, ?2)").doing("prepare")?;
    let rows: Vec<u8> = (0..5000).flat_map(|at| pack(&[Value::Integer(at), text("row")])).collect();
    let made = insert.execute_many(&rows).doing("execute-many")?;
    same("rows", made.rows, 5000)?;
    same("counted", integer(db, "SELECT count(*) FROM t")?, 5000)?;
    same("none", insert.execute_many(&[]).doing("no rows")?.rows, 0)?;

    // Row 2 has a key that exists: the rows before it took effect, and the error names the row.
    let clash: Vec<u8> = [6001, 6002, 7, 6003]
        .into_iter()
        .flat_map(|at| pack(&[Value::Integer(at), Value::Null]))
        .collect();
    let error = insert.execute_many(&clash);
    refused("a row that clashes", error, "row: 2")?;
    same("rows before it", integer(db, "SELECT count(*) FROM t WHERE a > 6000")?, 2)?;

    // The second row is malformed.
    let mut broken = pack(&[Value::Integer(9001), Value::Null]);
    broken.push(1);
    refused("a row cut short", insert.execute_many(&broken), "InvalidArgument")?;
    same("the row before", integer(db, "SELECT count(*) FROM t WHERE a = 9001")?, 1)?;
    for bad in [vec![5], vec![3, 255, 255, 255, 255], vec![3, 1, 0, 0, 0, 0xff]] {
        refused("bad bytes", insert.execute_many(&bad), "InvalidArgument")?;
    }
    Ok(())
}

fn query_in_batches(db: &Connection) -> Outcome {
    numbers(db, 1000)?;
    let select = db.prepare("SELECT n FROM numbers ORDER BY n").doing("prepare")?;
    let mut batch = select.query(&[], 100).doing("query")?;
    ensure(!batch.done, "1000 rows do not fit into 100 bytes")?;
    let mut seen = Vec::new();
    loop {
        ensure(batch.rows.len() <= 100, format_args!("{} bytes", batch.rows.len()))?;
        let values = unpack(&batch.rows)?;
        same("count", batch.count, values.len())?;
        seen.extend(values);
        if batch.done {
            break;
        }
        batch = select.next(100).doing("next")?;
    }
    same("rows", seen.len(), 1000)?;
    same("last", &seen[999], Value::Integer(999))?;
    refused("next after done", select.next(100), "NotOpen")?;

    select.query(&[], 100).doing("again")?;
    select.reset().doing("reset")?;
    refused("next after reset", select.next(100), "NotOpen")?;
    select.reset().doing("reset twice")
}

fn cursors(db: &Connection) -> Outcome {
    numbers(db, 300)?;
    let select = db.prepare("SELECT n FROM numbers WHERE n >= ?1").doing("prepare")?;
    let cursor = select.open_cursor(&pack(&[Value::Integer(100)])).doing("open")?;
    let mut count = 0;
    loop {
        let batch = cursor.next(64).doing("next")?;
        count += batch.count;
        if batch.done {
            break;
        }
    }
    same("rows", count, 200)?;
    refused("next after the end", cursor.next(64), "NotOpen")?;

    // Two statements step at the same time.
    let other = db.prepare("SELECT -n FROM numbers ORDER BY n").doing("prepare")?;
    let (one, two) = (
        select.open_cursor(&pack(&[Value::Integer(0)])).doing("open")?,
        other.open_cursor(&[]).doing("open")?,
    );
    for step in 0..3 {
        let (a, b) = (one.next(1).doing("one")?, two.next(1).doing("two")?);
        same("one row fits", (a.count, b.count), (1, 1))?;
        same("one", unpack(&a.rows)?, [Value::Integer(step)])?;
        same("two", unpack(&b.rows)?, [Value::Integer(-step)])?;
    }
    Ok(())
}

fn cursor_ends(db: &Connection) -> Outcome {
    numbers(db, 300)?;
    let select = db.prepare("SELECT n FROM numbers").doing("prepare")?;
    let cursor = select.open_cursor(&[]).doing("open")?;
    cursor.next(1).doing("next")?;
    refused("bind while stepping", select.clear_bindings(), "Busy")?;
    drop(cursor);
    select.clear_bindings().doing("idle after the drop")?;

    let cursor = select.open_cursor(&[]).doing("open")?;
    cursor.next(1).doing("next")?;
    select.reset().doing("reset")?;
    refused("its statement was reset", cursor.next(1), "NotOpen")?;

    let cursor = select.open_cursor(&[]).doing("open")?;
    cursor.next(1).doing("next")?;
    let _second = select.open_cursor(&[]).doing("open a second")?;
    refused("another use of its statement", cursor.next(1), "NotOpen")?;

    let cursor = select.open_cursor(&[]).doing("open")?;
    drop(select);
    refused("its statement is gone", cursor.next(1), "NotOpen")
}

fn run_batch(db: &Connection) -> Outcome {
    let outcomes = db
        .run_batch(&[
            ("CREATE TABLE t(a UNIQUE)".into(), vec![]),
            ("INSERT INTO t VALUES (?), (?)".into(), vec![Value::Integer(1), Value::Integer(2)]),
            ("UPDATE t SET a = a + ?".into(), vec![Value::Integer(10)]),
        ])
        .doing("batch")?;
    let rows: Vec<u64> = outcomes.iter().map(|changes| changes.rows).collect();
    same("per statement", &rows[1..], [2, 2])?;
    let failing = db.run_batch(&[
        ("DELETE FROM t".into(), vec![]),
        ("INSERT INTO t VALUES (1), (1)".into(), vec![]),
    ]);
    refused("a batch that fails", failing, "Unique")?;
    same("nothing of it was kept", integer(db, "SELECT sum(a) FROM t")?, 23)?;
    same("no statements", db.run_batch(&[]).doing("empty")?.len(), 0)
}

fn execute_script(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a); ; INSERT INTO t VALUES (';'); -- done\n")?;
    same("rows", integer(db, "SELECT count(*) FROM t")?, 1)?;
    let failing = db.execute_script("INSERT INTO t VALUES (2); INSERT INTO nowhere VALUES (3)");
    refused("a failing script", failing, "Statement")?;
    same("what came before stays", integer(db, "SELECT count(*) FROM t")?, 2)?;
    script(db, "BEGIN; INSERT INTO t VALUES (3); COMMIT")?;
    same("its own transaction", integer(db, "SELECT count(*) FROM t")?, 3)?;
    let open = db.execute_script("BEGIN; INSERT INTO t VALUES (4)");
    refused("a transaction left open", open, "Statement")?;
    same("was rolled back", integer(db, "SELECT count(*) FROM t")?, 3)
}

fn schema_change(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a); INSERT INTO t VALUES (1)")?;
    let select = db.prepare("SELECT * FROM t").doing("prepare")?;
    same("one column", unpack(&select.query(&[], 99).doing("query")?.rows)?.len(), 1)?;
    script(db, "ALTER TABLE t ADD COLUMN b DEFAULT 5")?;
    let batch = select.query(&[], 99).doing("query after the change")?;
    same("two columns", unpack(&batch.rows)?, [Value::Integer(1), Value::Integer(5)])?;
    same("columns", select.columns().doing("columns")?.len(), 2)
}

fn rows_of_writes(db: &Connection) -> Outcome {
    script(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")?;
    let set =
        db.query("INSERT INTO t(b) VALUES ('x'), ('y') RETURNING a, b", &[]).doing("returning")?;
    same("rows", set.rows.len(), 2)?;
    let dropped = db.execute("DELETE FROM t RETURNING a", &[]).doing("rows are dropped")?;
    same("deleted", dropped.rows, 2)
}

fn half_read_write(db: &Connection) -> Outcome {
    numbers(db, 2000)?;
    script(db, "CREATE TABLE t(a); CREATE TABLE u(a)")?;
    let before = db.bookmark().doing("bookmark")?.txid;
    let copy = db.prepare("INSERT INTO t SELECT n FROM numbers RETURNING a").doing("prepare")?;
    let cursor = copy.open_cursor(&[]).doing("open")?;
    let first = cursor.next(50).doing("next")?;
    ensure(!first.done, "2000 rows do not fit into 50 bytes")?;
    db.execute("INSERT INTO u VALUES (1)", &[]).doing("beside it")?;
    db.flush().doing("flush")?;
    same("each is a commit", db.bookmark().doing("bookmark")?.txid, before + 2)?;
    let mut rows = first.count;
    loop {
        let batch = cursor.next(4096).doing("next")?;
        rows += batch.count;
        if batch.done {
            break;
        }
    }
    same("all its rows", rows, 2000)?;
    drop(copy.open_cursor(&[]).doing("open")?);
    same("a cursor that was not read", integer(db, "SELECT count(*) FROM t")?, 2000)?;
    drop(copy.query(&[], 1).doing("query")?);
    same("one that was", integer(db, "SELECT count(*) FROM t")?, 4000)
}

/// Makes a table `numbers(n)` with `count` rows, from 0 on.
fn numbers(db: &Connection, count: i64) -> Outcome {
    script(
        db,
        &format!(
            "CREATE TABLE numbers(n);
             WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c LIMIT {count})
             INSERT INTO numbers SELECT n FROM c"
        ),
    )
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
