//! The table of what SQL may and may not do.

use super::World;
use crate::sqlite::authorizer::is_listed_function;
use crate::sqlite::{SqlError, SqlLimit, Value};

#[test]
fn allowed() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a, b); CREATE TABLE other(a)");
    for sql in [
        "PRAGMA user_version = 7",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA journal_mode",
        "PRAGMA main.table_info(t)",
        "PRAGMA integrity_check",
        "PRAGMA optimize",
        "SELECT * FROM pragma_table_info('t')",
        "SELECT * FROM sqlite_schema",
        "SELECT value FROM json_each('[1]')",
        "CREATE TEMP TABLE scratch AS SELECT 1 AS x",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "INSERT INTO f VALUES ('some words')",
        "SELECT highlight(f, 0, '<', '>') FROM f('words')",
        "SELECT bm25(f), rank FROM f WHERE f MATCH 'words'",
        "INSERT INTO f(f) VALUES ('optimize')",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
        "INSERT INTO r VALUES (1, 0, 1)",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO other VALUES (new.a); END",
        "INSERT INTO t VALUES (1, 2)",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u RENAME COLUMN b TO c",
        "ALTER TABLE u DROP COLUMN c",
        "ALTER TABLE u ADD COLUMN d",
        "CREATE VIEW v AS SELECT * FROM u",
        "CREATE INDEX i ON u(d)",
        "ANALYZE",
        "REINDEX",
        "EXPLAIN QUERY PLAN SELECT * FROM u",
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT * FROM n",
        "SELECT row_number() OVER (ORDER BY a) FROM u",
        "SELECT '{\"a\":1}' ->> 'a', json_group_array(a) FROM u",
        "SELECT 'x' LIKE 'X', 'x' GLOB '*', datetime('now'), sqrt(2)",
        "VACUUM",
        "DROP TABLE r",
        "DROP TABLE f",
    ] {
        let result = world.connection.query(sql, &[]);
        assert!(result.is_ok(), "{sql}: {result:?}");
    }
}

#[test]
fn denied() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    for (sql, named) in [
        ("ATTACH 'x.db' AS x", "ATTACH"),
        ("ATTACH '' AS x", "ATTACH"),
        ("ATTACH NULL AS x", "ATTACH"),
        ("ATTACH x'00' AS x", "ATTACH"),
        ("ATTACH ? AS x", "ATTACH"),
        ("ATTACH ':memory:' AS x", "ATTACH"),
        ("DETACH x", "DETACH"),
        ("VACUUM INTO 'file'", "VACUUM INTO"),
        ("; /* a */ -- b\n vacuum main INTO ''", "VACUUM INTO"),
        ("VACUUM INTO ?", "VACUUM INTO"),
        ("SELECT load_extension('x')", "function load_extension"),
        ("SELECT fts3_tokenizer('simple')", "function fts3_tokenizer"),
        ("SELECT json_patch('{}', '{}')", "function json_patch"),
        ("CREATE VIRTUAL TABLE f USING fts4(x)", "module fts4"),
        ("CREATE VIRTUAL TABLE f USING dbstat(main)", "module dbstat"),
        ("PRAGMA journal_mode = WAL", "pragma journal_mode"),
        ("PRAGMA cache_size = 100000", "pragma cache_size"),
        ("PRAGMA main.synchronous = OFF", "pragma synchronous"),
        ("PRAGMA writable_schema = ON", "pragma writable_schema"),
        ("PRAGMA trusted_schema = ON", "pragma trusted_schema"),
        ("PRAGMA temp_store_directory = '/'", "pragma temp_store_directory"),
        ("PRAGMA hard_heap_limit = 1", "pragma hard_heap_limit"),
        ("PRAGMA threads = 8", "pragma threads"),
        ("PRAGMA query_only = 1", "pragma query_only"),
        ("CREATE TABLE _stockade_x(a)", "_stockade_x is reserved for the host"),
        ("CREATE TABLE _StockadE(a)", "_StockadE is reserved for the host"),
        ("CREATE INDEX _stockade_i ON t(a)", "_stockade_i is reserved for the host"),
        ("CREATE VIEW _stockade_v AS SELECT 1", "_stockade_v is reserved for the host"),
        ("ALTER TABLE t RENAME TO _stockade_t", "a name of the host in the schema"),
    ] {
        let result = world.connection.query(sql, &[]);
        assert_eq!(result, Err(SqlError::Denied(named.to_owned())), "{sql}");
    }
    let trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO sqlite_schema(name) \
                   VALUES ('x'); END";
    for sql in [trigger, "UPDATE sqlite_schema SET sql = ''", "DELETE FROM sqlite_schema"] {
        assert!(world.run(sql).is_err() || world.run("INSERT INTO t VALUES (1)").is_err(), "{sql}");
    }
}

/// Every function of this build is either on the list or known to be off it: a new SQLite that
/// brings new ones makes this fail.
#[test]
fn every_function_was_looked_at() {
    let mut world = World::new();
    let names = world.rows("SELECT DISTINCT lower(name) FROM pragma_function_list");
    assert!(names.len() > 150);
    let refused = [
        "fts3_tokenizer",
        "json_patch",
        "jsonb_patch",
        "load_extension",
        "matchinfo",
        "offsets",
        "optimize",
        "sqlite_log",
    ];
    for name in names {
        let [Value::Text(name)] = &name[..] else { panic!("{name:?}") };
        let listed = is_listed_function(name);
        assert_ne!(listed, refused.contains(&name.as_str()), "{name} is new here");
    }
}

#[test]
fn limits_hold() {
    let mut world = World::new();
    let value = |sql: &str, world: &mut World| world.connection.query(sql, &[]).unwrap_err();
    let too_big = SqlError::LimitExceeded(SqlLimit::ValueBytes);
    assert_eq!(value("SELECT randomblob(16777217)", &mut world), too_big);
    let replaced = "SELECT replace(printf('%.*c', 4000000, 'a'), 'a', '12345')";
    assert_eq!(value(replaced, &mut world), too_big);
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    let too_long = SqlError::LimitExceeded(SqlLimit::StatementBytes);
    assert_eq!(value(&long, &mut world), too_long);
    for sql in [
        format!("SELECT {}1", "- ".repeat(1_000)),
        format!("SELECT {}1", "1+".repeat(1_000)),
        format!("SELECT {}1", "1,".repeat(2_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(500)),
        "SELECT ?40000".to_owned(),
    ] {
        let error = value(&sql, &mut world);
        assert!(matches!(error, SqlError::Statement(_)), "{sql:.40}: {error:?}");
    }
    let columns = format!("SELECT {}1", "1,".repeat(1_000));
    assert_eq!(value(&columns, &mut world), SqlError::LimitExceeded(SqlLimit::Columns));
    let pattern = format!("SELECT 'x' LIKE '{}'", "%x".repeat(25_001));
    assert_eq!(value(&pattern, &mut world), SqlError::LimitExceeded(SqlLimit::PatternBytes));
    let many = vec!["SELECT randomblob(1000000) AS b"; 30].join(" UNION ALL ");
    let error = value(&format!("SELECT * FROM ({many})"), &mut world);
    assert_eq!(error, SqlError::LimitExceeded(SqlLimit::RowBytes));
}

#[test]
fn rows_are_bounded_as_values_are() {
    let mut world = World::new();
    let wide = ["randomblob(9000000)"; 2].join(",");
    let id = world.connection.prepare(&format!("SELECT {wide}")).unwrap();
    let result = world.connection.query_statement(id, Vec::new(), 100);
    assert_eq!(result, Err(SqlError::LimitExceeded(SqlLimit::ValueBytes)));
    assert_eq!(world.connection.next(id, 100), Err(SqlError::NotOpen));
}
