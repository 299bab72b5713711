//! Limits of SQLite: as high as its own where something else bounds memory, stack and time.

use std::thread;

use super::World;
use crate::limits::{Limits, SQL_STACK_BYTES};
use crate::sqlite::hardening::PATTERN_BYTES_MAX;
use crate::sqlite::{SqlError, SqlLimit, Value};

/// On a stack as threads have that run SQL.
fn on_sql_stack(test: fn()) {
    let thread = thread::Builder::new().stack_size(SQL_STACK_BYTES).spawn(test).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn number(cell: &str) -> i32 {
    cell.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_table_is_true() {
    let mut world = World::new();
    let mut limit = |which| world.connection.with_core(|core| core.runner.database.limit(which));
    let stock = super::stock();
    let text = include_str!("../../../../docs/reference/sqlite-limits.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let (defaults, mut which) = (Limits::default(), 0);
    while let Some(stock) = stockade_sqlite::limit_of(&stock, which) {
        let row = rows.get(usize::try_from(which).unwrap()).expect("a limit is missing");
        let [_, name, actor, connection, by_default, ..] = row[..] else { panic!("{row:?}") };
        assert_eq!(number(by_default), stock, "{name}");
        assert_eq!(number(connection), limit(which), "{name}");
        let expected = match which {
            rusqlite::ffi::SQLITE_LIMIT_LENGTH => defaults.value_bytes_max,
            rusqlite::ffi::SQLITE_LIMIT_SQL_LENGTH => defaults.statement_bytes_max,
            rusqlite::ffi::SQLITE_LIMIT_ATTACHED => 0,
            _ => u64::try_from(number(connection)).unwrap(),
        };
        assert_eq!(u64::try_from(number(actor)).unwrap(), expected, "{name}");
        which += 1;
    }
    assert_eq!(rows.len(), usize::try_from(which).unwrap());
}

/// What ordinary programs write, up to stock SQLite's own bounds; just over them it says the same.
#[test]
fn statements_may_be_as_deep_and_wide_as_in_sqlite() {
    on_sql_stack(|| {
        let mut world = World::new();
        world.script("CREATE TABLE t(a, b)");
        let stock = super::stock();
        stock.execute_batch("CREATE TABLE t(a, b)").unwrap();
        type Made = fn(usize) -> String;
        let forms: [(Made, usize); 9] = [
            (|n| format!("SELECT 1 FROM t WHERE {}", vec!["a = 1"; n - 1].join(" OR ")), 1_000),
            (|n| format!("SELECT 1 FROM t WHERE a{}", " AND b".repeat(n - 1)), 1_000),
            (|n| format!("SELECT 'x'{} FROM t", " || a".repeat(n - 1)), 1_000),
            (|n| format!("SELECT {}a FROM t", "- ".repeat(n - 1)), 1_000),
            (|n| format!("SELECT a{} FROM t", " IN (1, 2)".repeat(n - 1)), 1_000),
            (|n| vec!["SELECT a FROM t"; n].join(" UNION ALL "), 500),
            (|n| vec!["SELECT a FROM t"; n].join(" EXCEPT "), 500),
            (|n| format!("SELECT json_array({})", vec!["1"; n].join(",")), 1_000),
            (|n| format!("SELECT ?{n}"), 32_766),
        ];
        for (made, most) in forms {
            let (fits, over) = (made(most), made(most + 1));
            assert_eq!(world.connection.prepare(&fits).err(), None, "{fits:.60}");
            stock.prepare(&fits).unwrap();
            assert!(stock.prepare(&over).is_err(), "stock SQLite takes more: {over:.60}");
            let refused = world.connection.prepare(&over);
            assert!(matches!(refused, Err(SqlError::Statement(_))), "{refused:?}: {over:.60}");
        }
    });
}

#[test]
fn columns_are_a_limit_with_name_and_number() {
    let mut world = World::new();
    let list = |n: usize| (0..n).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    let exceeded = SqlError::LimitExceeded(SqlLimit::Columns);
    world.script(&format!("CREATE TABLE wide({})", list(1_000)));
    assert_eq!(world.run("INSERT INTO wide DEFAULT VALUES"), Ok(1));
    assert_eq!(world.rows("SELECT * FROM wide")[0].len(), 1_000);
    for sql in [
        format!("CREATE TABLE wider({})", list(1_001)),
        "ALTER TABLE wide ADD COLUMN more".to_owned(),
        "SELECT *, 1 FROM wide".to_owned(),
        format!("SELECT 1 FROM wide ORDER BY 1{}", ", c1 + 1".repeat(1_000)),
        format!("SELECT {}", vec!["1"; 2_000].join(",")),
    ] {
        assert_eq!(world.run(&sql).as_ref(), Err(&exceeded), "{sql:.60}");
    }
    assert_eq!(exceeded.to_string(), "limit exceeded: columns (at most 1000 columns)");
    // What is wrong for another reason stays that, whatever it looks like.
    for sql in ["SELECT 1 FROM missing", "SELECT 1 2", "SELECT a, b, c"] {
        let refused = world.run(sql);
        assert!(matches!(refused, Err(SqlError::Statement(_))), "{refused:?}: {sql}");
    }
    assert_eq!(world.run("SELECT *, 1 FROM wide").as_ref(), Err(&exceeded), "the bound stays");
}

#[test]
fn patterns_are_as_long_as_in_sqlite_and_take_no_stack() {
    let mut world = World::new();
    let most = usize::try_from(PATTERN_BYTES_MAX).unwrap();
    for (comparison, all) in [("LIKE", "%"), ("GLOB", "*")] {
        let sql = format!("SELECT ?1 {comparison} ?2");
        let compare = |world: &mut World, text: &str, pattern: &str| {
            let values = [Value::Text(text.to_owned()), Value::Text(pattern.to_owned())];
            world.connection.query(&sql, &values).map(|rows| rows.rows[0][0].clone())
        };
        let pattern = format!("{all}a").repeat(most / 2);
        let text = "ba".repeat(most / 2);
        assert_eq!(compare(&mut world, &text, &pattern), Ok(Value::Integer(1)));
        assert_eq!(compare(&mut world, &text[..most - 2], &pattern), Ok(Value::Integer(0)));
        let long = compare(&mut world, "a", &format!("{pattern}{all}"));
        assert_eq!(long, Err(SqlError::LimitExceeded(SqlLimit::PatternBytes)));
    }
    // A search box: more than 127 bytes, umlauts.
    let searched = "ä".repeat(500);
    let values = [Value::Text(format!("x{searched}y")), Value::Text(searched)];
    let found = world.connection.query("SELECT ?1 LIKE '%' || ?2 || '%'", &values).unwrap();
    assert_eq!(found.rows[0][0], Value::Integer(1));
}

/// Statements that put expressions or queries into each other. Each part is within SQLite's bounds;
/// together they took tens of megabytes of stack, which killed the process.
#[test]
fn the_stack_is_bounded_however_a_statement_is_put_together() {
    on_sql_stack(|| {
        let mut world = World::new();
        world.script("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2)");
        let nested = |levels: usize, level: &dyn Fn(&str) -> String| {
            (0..levels).fold("SELECT a AS x FROM t".to_owned(), |inner, _| level(&inner))
        };
        let terms = "+1".repeat(900);
        let not = "~".repeat(900);
        let in_list = " IN (1, 2)".repeat(900);
        let abs = ("abs(".repeat(790), ")".repeat(790));
        for levels in [3, 5, 7, 8, 20, 100] {
            for sql in [
                nested(levels, &|inner| format!("SELECT x{terms} AS x FROM ({inner})")),
                nested(levels, &|inner| format!("SELECT {not}x AS x FROM ({inner})")),
                nested(levels, &|inner| format!("SELECT x{in_list} AS x FROM ({inner})")),
                nested(levels, &|inner| format!("SELECT {}x{} AS x FROM ({inner})", abs.0, abs.1)),
                nested(levels, &|inner| {
                    format!(
                        "SELECT * FROM ({inner} LIMIT 9){}",
                        " EXCEPT SELECT a FROM t".repeat(499)
                    )
                }),
                nested(levels, &|inner| {
                    format!("SELECT * FROM ({inner}){}", " UNION ALL SELECT a FROM t".repeat(499))
                }),
            ] {
                world.begin();
                match world.run(&sql) {
                    Ok(_) | Err(SqlError::LimitExceeded(SqlLimit::StatementBytes)) => {}
                    Err(SqlError::LimitExceeded(SqlLimit::Depth)) if levels > 2 => {}
                    // The parser's own stack, as in SQLite: queries and parentheses together.
                    Err(SqlError::Statement(_)) if levels >= 20 => {}
                    other => panic!("{levels}: {other:?}: {sql:.80}"),
                }
            }
        }
        let deep = nested(20, &|inner| format!("SELECT x{terms} AS x FROM ({inner})"));
        assert_eq!(world.run(&deep), Err(SqlError::LimitExceeded(SqlLimit::Depth)));
        assert_eq!(world.integer("SELECT count(*) FROM t"), 1, "it goes on");
    });
}

/// As above, by what a schema holds: it is compiled with every statement that uses it.
#[test]
fn the_stack_is_bounded_for_schemas_too() {
    on_sql_stack(|| {
        let mut world = World::new();
        let exceeded = Err(SqlError::LimitExceeded(SqlLimit::Depth));
        let terms = "+1".repeat(900);
        world.script("CREATE TABLE t(x); CREATE VIEW v0 AS SELECT x FROM t");
        for i in 1..=20 {
            world.script(&format!("CREATE VIEW v{i} AS SELECT x{terms} AS x FROM v{}", i - 1));
        }
        assert_eq!(world.run("SELECT x FROM v1"), Ok(0));
        assert_eq!(world.run("SELECT x FROM v20"), exceeded);
        // SQLite tries generated columns when it makes them.
        let column = |i: u32| format!(", g{i} AS (g{}{terms})", i - 1);
        let generated = |n| {
            let columns: String = (1..n).map(column).collect();
            format!("CREATE TABLE generated{n}(a, g0 AS (a){columns})")
        };
        assert_eq!(world.run(&generated(2)), Ok(0));
        assert_eq!(world.run(&generated(100)), exceeded);
        // Triggers that fire triggers are compiled inside each other, up to SQLite's own 1,000.
        for i in 0..=1_100 {
            world.begin();
            world.script(&format!("CREATE TABLE c{i}(a)"));
        }
        for i in 0..1_100 {
            world.begin();
            world.script(&format!(
                "CREATE TRIGGER d{i} AFTER INSERT ON c{i} BEGIN INSERT INTO c{} VALUES (new.a); END",
                i + 1
            ));
        }
        world.begin();
        assert_eq!(world.run("INSERT INTO c600 VALUES (1)"), Ok(1));
        let refused = world.run("INSERT INTO c0 VALUES (1)");
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(world.integer("SELECT count(*) FROM c1100"), 1, "it goes on");
    });
}
