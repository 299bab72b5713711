//! Statements, bindings, batches, cursors.

use super::{World, packed, text};
use crate::sqlite::transaction::Within;
use crate::sqlite::{SqlError, SqlLimit, Value};

#[test]
fn values_come_back_as_they_went() {
    let mut world = World::new();
    let values = [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Real(-0.1),
        text("a\0ö"),
        text(""),
        Value::Blob(vec![0, 255]),
        Value::Blob(Vec::new()),
    ];
    for value in values {
        let typed = world.connection.query("SELECT ?1", std::slice::from_ref(&value)).unwrap();
        assert_eq!(typed.rows, [[value.clone()]]);
        let id = world.connection.prepare("SELECT ?1").unwrap();
        let row = packed(std::slice::from_ref(&value));
        let batch = world.connection.query_statement(id, row.clone(), 1000).unwrap();
        assert_eq!((batch.rows, batch.count, batch.done), (row, 1, true));
        world.connection.drop_statement(id);
    }
}

#[test]
fn text_that_is_not_utf8_comes_out_as_a_blob() {
    let mut world = World::new();
    assert_eq!(world.value("SELECT CAST(x'ff41' AS TEXT)"), Value::Blob(vec![0xff, 0x41]));
    let id = world.connection.prepare("SELECT CAST(x'ff41' AS TEXT)").unwrap();
    let batch = world.connection.query_statement(id, Vec::new(), 100).unwrap();
    assert_eq!(batch.rows, packed(&[Value::Blob(vec![0xff, 0x41])]));
}

#[test]
fn batches_are_bounded_and_complete() {
    let mut world = World::new();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
               SELECT i, printf('%.*c', i, 'x') FROM n";
    let id = world.connection.prepare(sql).unwrap();
    for bytes_max in [0, 1, 50, 120, 121, 1000, u32::MAX] {
        let mut rows = Vec::new();
        let (mut count, mut batches) = (0, 0);
        let mut batch = world.connection.query_statement(id, Vec::new(), bytes_max).unwrap();
        loop {
            let one_row_only = batch.count == 1;
            assert!(batch.rows.len() <= bytes_max as usize || one_row_only, "{bytes_max}");
            rows.extend(&batch.rows);
            (count, batches) = (count + batch.count, batches + 1);
            if batch.done {
                break;
            }
            batch = world.connection.next(id, bytes_max).unwrap();
        }
        let expected: Vec<u8> = (1..=100)
            .flat_map(|i| {
                packed(&[Value::Integer(i), text(&"x".repeat(usize::try_from(i).unwrap()))])
            })
            .collect();
        assert_eq!((rows, count), (expected, 100), "{bytes_max} in {batches} batches");
        assert_eq!(world.connection.next(id, 10), Err(SqlError::NotOpen));
    }
}

#[test]
fn bindings_stay_and_packed_rows_replace_them() {
    let mut world = World::new();
    let id = world.connection.prepare("SELECT :a, @b, ?").unwrap();
    let names = world.connection.parameters(id).unwrap();
    assert_eq!(names, [":a", "@b", ""]);
    world.connection.bind_name(id, "a", &Value::Integer(1)).unwrap();
    world.connection.bind_name(id, "@b", &text("two")).unwrap();
    let mut query = |row: Vec<u8>| world.connection.query_statement(id, row, 100).unwrap().rows;
    let bound = packed(&[Value::Integer(1), text("two"), Value::Null]);
    assert_eq!(query(Vec::new()), bound);
    assert_eq!(query(Vec::new()), bound);
    let all = packed(&[text("x"), text("y"), text("z")]);
    assert_eq!(query(all.clone()), all);
    let wrong = [
        world.connection.bind(id, 0, &Value::Null),
        world.connection.bind(id, 4, &Value::Null),
        world.connection.bind_name(id, "c", &Value::Null),
        world.connection.execute_statement(id, packed(&[Value::Null])).map(|_| ()),
        world.connection.execute_statement(id, [all, vec![0]].concat()).map(|_| ()),
        world.connection.execute("SELECT ?", &[]).map(|_| ()),
    ];
    for result in wrong {
        assert!(matches!(result, Err(SqlError::InvalidArgument(_))), "{result:?}");
    }
}

#[test]
fn a_cursor_ends_with_its_run() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    let id = world.connection.prepare("SELECT a FROM t").unwrap();
    let first = world.connection.open_cursor(id, Vec::new()).unwrap();
    assert_eq!(world.connection.cursor_next(first, 1).unwrap().count, 1);
    // Busy comes before the question whether there is such a parameter.
    assert_eq!(world.connection.bind(id, 1, &Value::Null), Err(SqlError::Busy));
    let second = world.connection.open_cursor(id, Vec::new()).unwrap();
    assert_eq!(world.connection.cursor_next(first, 1), Err(SqlError::NotOpen));
    assert_eq!(world.connection.next(id, 1), Err(SqlError::NotOpen));
    world.connection.drop_cursor(first);
    assert_eq!(world.connection.cursor_next(second, 1000).unwrap().count, 3);
    assert_eq!(world.connection.cursor_next(second, 1), Err(SqlError::NotOpen));
    let third = world.connection.open_cursor(id, Vec::new()).unwrap();
    world.connection.drop_statement(id);
    assert_eq!(world.connection.cursor_next(third, 1), Err(SqlError::NotOpen));
    assert_eq!(world.run("DROP TABLE t"), Ok(0));
}

#[test]
fn what_a_cursor_reads_cannot_be_dropped() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)");
    let id = world.connection.prepare("SELECT a FROM t").unwrap();
    let cursor = world.connection.open_cursor(id, Vec::new()).unwrap();
    world.connection.cursor_next(cursor, 1).unwrap();
    assert_eq!(world.run("DROP TABLE t"), Err(SqlError::Busy));
    world.connection.drop_cursor(cursor);
    assert_eq!(world.run("DROP TABLE t"), Ok(0));
}

#[test]
fn a_statement_survives_a_schema_change() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let id = world.connection.prepare("SELECT * FROM t").unwrap();
    world.connection.query_statement(id, Vec::new(), 100).unwrap();
    world.run("ALTER TABLE t ADD COLUMN b DEFAULT 2").unwrap();
    let batch = world.connection.query_statement(id, Vec::new(), 100).unwrap();
    assert_eq!(batch.rows, packed(&[Value::Integer(1), Value::Integer(2)]));
    assert_eq!(world.connection.columns(id).unwrap().len(), 2);
}

#[test]
fn execute_many_names_the_row_and_keeps_those_before() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
    let id = world.connection.prepare("INSERT INTO t VALUES (?, ?)").unwrap();
    let row = |a: i64| packed(&[Value::Integer(a), text("b")]);
    let changes = world.connection.execute_many(id, [row(1), row(2)].concat()).unwrap();
    assert_eq!((changes.rows, changes.last_insert_rowid), (2, 2));
    let result = world.connection.execute_many(id, [row(3), row(1), row(4)].concat());
    let Err(SqlError::RowFailed { row: 1, cause }) = result else { panic!("{result:?}") };
    assert!(matches!(*cause, SqlError::Constraint(_)));
    assert_eq!(world.integer("SELECT count(*) FROM t"), 3);
    let cut = row(9)[..5].to_vec();
    let result = world.connection.execute_many(id, [row(5), cut].concat());
    assert!(matches!(result, Err(SqlError::InvalidArgument(_))), "{result:?}");
    assert_eq!(world.integer("SELECT max(a) FROM t"), 5);
}

#[test]
fn texts_are_one_statement() {
    let mut world = World::new();
    for (sql, fine) in [
        ("SELECT 1;", true),
        ("SELECT 1; -- more\n ; /* x */", true),
        ("SELECT 1; SELECT 2", false),
        ("SELECT 1; nonsense", false),
        ("", false),
        ("-- nothing", false),
        ("SELECT 1\0", false),
    ] {
        assert_eq!(world.connection.query(sql, &[]).is_ok(), fine, "{sql:?}");
    }
    let result = world.connection.query("SELECT 1, x", &[]);
    let Err(SqlError::Statement(failure)) = result else { panic!("{result:?}") };
    assert_eq!((failure.message.as_str(), failure.offset), ("no such column: x", Some(10)));
}

#[test]
fn a_script_tells_where_it_failed_and_leaves_no_transaction() {
    let mut world = World::new();
    let result = world.connection.execute_script("CREATE TABLE t(a);\nSELECT y;");
    let Err(SqlError::Statement(failure)) = result else { panic!("{result:?}") };
    assert_eq!(failure.offset, Some(26));
    let left = world.connection.execute_script("BEGIN; INSERT INTO t VALUES (1)");
    assert!(matches!(left, Err(SqlError::Statement(_))), "{left:?}");
    assert_eq!(world.integer("SELECT count(*) FROM t"), 0);
    world.script("BEGIN; INSERT INTO t VALUES (1); COMMIT;");
    assert_eq!(world.integer("SELECT count(*) FROM t"), 1);
}

#[test]
fn changes_are_those_of_the_statement() {
    let mut world = World::new();
    assert_eq!(world.run("CREATE TABLE t(a)"), Ok(0));
    assert_eq!(world.run("INSERT INTO t VALUES (1), (2)"), Ok(2));
    assert_eq!(world.run("UPDATE t SET a = 0 WHERE a > 5"), Ok(0));
    assert_eq!(world.run("CREATE INDEX i ON t(a)"), Ok(0));
    assert_eq!(world.run("SELECT 1"), Ok(0));
    assert_eq!(world.connection.changes().unwrap().last_insert_rowid, 2);
}

#[test]
fn compiled_statements_and_bound_values_have_a_bound() {
    let mut world = World::new();
    let columns: Vec<String> = (0..250).map(|i| format!("{i} AS c{i}")).collect();
    let long = format!("SELECT {}", columns.join(","));
    let many = vec![long.as_str(); 150].join(" UNION ALL ");
    let mut result = Ok(());
    for i in 0..1000 {
        result = world.connection.prepare(&format!("{many} LIMIT {i}")).map(|_| ());
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, Err(SqlError::LimitExceeded(SqlLimit::Handles)));
    let mut world = World::new();
    let big = Value::Blob(vec![0; 16 << 20]);
    let mut bind = || {
        let id = world.connection.prepare("SELECT ?").unwrap();
        world.connection.bind(id, 1, &big).map(|()| id)
    };
    let ids: Vec<_> = (0..4).map(|_| bind().unwrap()).collect();
    assert_eq!(bind(), Err(SqlError::LimitExceeded(SqlLimit::PackedBytes)));
    world.connection.drop_statement(ids[0]);
    let id = world.connection.prepare("SELECT ?").unwrap();
    assert_eq!(world.connection.bind(id, 1, &big), Ok(()));
}

#[test]
fn queries_in_progress_have_a_bound() {
    let mut world = World::new();
    let id: Vec<_> = (0..40).map(|_| world.connection.prepare("SELECT 1").unwrap()).collect();
    let open = |world: &mut World, from: usize| {
        let opened = id[from..].iter().map(|id| world.connection.open_cursor(*id, Vec::new()));
        opened.take_while(Result::is_ok).count()
    };
    assert_eq!(open(&mut world, 0), 32);
    let refused = world.connection.open_cursor(id[39], Vec::new());
    assert_eq!(refused, Err(SqlError::LimitExceeded(SqlLimit::Handles)));
    // Each way to end one makes room for one.
    world.connection.reset(id[0]).unwrap();
    world.connection.drop_statement(id[1]);
    assert_eq!(open(&mut world, 32), 2);
    assert_eq!(world.connection.end_of_call().unwrap().queries, 32);
    assert_eq!(open(&mut world, 2), 32);
}

/// A plan does not depend on the values: SQLite would compile the statement again for each.
#[test]
fn new_values_do_not_compile_a_statement_again() {
    let mut world = World::new();
    world.script(
        "CREATE TABLE t(a TEXT COLLATE NOCASE, b INT); CREATE INDEX t_a ON t(a);
         CREATE INDEX t_b ON t(b);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT printf('x%d', i), i % 3 FROM n; ANALYZE",
    );
    let sql = "SELECT count(*) FROM t WHERE a LIKE ?1 AND b > ?2";
    world.connection.with_core(|core| {
        let mut compiled = core.compile(sql).unwrap();
        for (pattern, least) in [("x1%", 0), ("%9", 1), ("x2%", 2)] {
            let values = [text(pattern), Value::Integer(least)];
            core.runner.bind_all(&mut compiled, &values).unwrap();
            core.runner.run(&mut compiled, Within::Nothing).unwrap();
        }
        assert_eq!(compiled.raw.recompiled(), 0);
    });
}
