//! Our functions against SQLite's own, on the same arguments.

use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;

use super::World;
use crate::sqlite::{SqlError, Value};

/// What stock SQLite answers, as text with its type.
fn stock(connection: &rusqlite::Connection, expression: &str) -> Vec<String> {
    let sql = format!("SELECT typeof({expression}), quote({expression})");
    let row = connection.query_row(&sql, [], |row| {
        let cell = |index| match row.get_ref(index) {
            Ok(ValueRef::Text(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?}"),
        };
        Ok(vec![cell(0), cell(1)])
    });
    row.unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn ours(world: &mut World, expression: &str) -> Vec<String> {
    let sql = format!("SELECT typeof({expression}), quote({expression})");
    let rows = world.rows(&sql);
    let cell = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    rows[0].iter().map(cell).collect()
}

const TEXTS: [&str; 24] = [
    "NULL",
    "''",
    "x''",
    "'a'",
    "'aaa'",
    "'aaaa'",
    "'abcabc'",
    "'bc'",
    "'abcabcabd'",
    "'äöü'",
    "'ü'",
    "'xäöüxäöü'",
    "'日本語テキスト'",
    "'本'",
    "x'616263'",
    "x'6263'",
    "x'c3a4c3b6'",
    "x'b6'",
    "CAST(x'b6c3' AS TEXT)",
    "CAST(x'c3a4b6b6c3' AS TEXT)",
    "CAST(x'610062' AS TEXT)",
    "CAST(x'0061' AS TEXT)",
    "1231",
    "12.5",
];

#[test]
fn text_functions_answer_as_sqlite_does() {
    let mut world = World::new();
    let stock_sqlite = super::stock();
    let mut check = |expression: String| {
        assert_eq!(
            ours(&mut world, &expression),
            stock(&stock_sqlite, &expression),
            "{expression}"
        );
    };
    for a in TEXTS {
        for function in ["trim", "ltrim", "rtrim"] {
            check(format!("{function}({a})"));
            check(format!("{function}('  ' || {a} || ' ')"));
        }
        check(format!("unhex({a})"));
        for b in TEXTS {
            check(format!("unhex({a}, {b})"));
            check(format!("unhex('4a' || {a} || '6b' || {a}, {b})"));
            check(format!("instr({a}, {b})"));
            for c in ["NULL", "''", "'-'", "'a longer one'", "x'ff'", "5"] {
                check(format!("replace({a}, {b}, {c})"));
            }
            for function in ["trim", "ltrim", "rtrim"] {
                check(format!("{function}({a}, {b})"));
                check(format!("{function}({a}, {b} || 'abcdefghijklmnopqrstuvw' || {b})"));
            }
        }
    }
}

#[test]
fn math_functions_have_sqlites_domains_and_types() {
    let mut world = World::new();
    for (expression, expected) in [
        ("acos(2)", "NULL"),
        ("sqrt(-1)", "NULL"),
        ("ln(0)", "NULL"),
        ("ln(-1)", "NULL"),
        ("log(100)", "2.0"),
        ("log(2, 8)", "3.0"),
        ("log(1, 8)", "NULL"),
        ("log(0, 8)", "NULL"),
        ("log(2, 0)", "NULL"),
        ("log10(1000)", "3.0"),
        ("log2(8)", "3.0"),
        ("ceil(1.2)", "2.0"),
        ("ceil(1)", "1"),
        ("ceiling('1.2')", "2.0"),
        ("floor(-1.2)", "-2.0"),
        ("trunc(-1.7)", "-1.0"),
        ("trunc(7)", "7"),
        ("floor('x')", "NULL"),
        ("floor(NULL)", "NULL"),
        ("mod(7.5, 2)", "1.5"),
        ("mod(7, 0)", "NULL"),
        ("pow(2, 10)", "1024.0"),
        ("power(2, NULL)", "NULL"),
        ("exp(0)", "1.0"),
        ("degrees(pi())", "180.0"),
        ("radians(180) = pi()", "1"),
        ("sin(0)", "0.0"),
        ("cos(0)", "1.0"),
        ("atan2(0, 1)", "0.0"),
        ("sinh(0) + tanh(0) + asinh(0) + atanh(0) + acosh(1)", "0.0"),
        ("sin('x')", "NULL"),
        ("sin(x'00')", "NULL"),
        ("sin()", ""),
        ("pi() > 3.14159265358979 AND pi() < 3.14159265358980", "1"),
    ] {
        if expected.is_empty() {
            assert!(world.connection.query(&format!("SELECT {expression}"), &[]).is_err());
            continue;
        }
        assert_eq!(ours(&mut world, expression)[1], expected, "{expression}");
    }
}

#[test]
fn they_may_stand_in_schemas_and_indexes() {
    let mut world = World::new();
    world.script(
        "CREATE TABLE t(a TEXT, b AS (replace(a, 'x', 'y')), CHECK (instr(a, 'bad') = 0));
         CREATE INDEX i ON t(trim(a), floor(length(a)));
         INSERT INTO t VALUES (' x ');",
    );
    assert_eq!(world.value("SELECT b FROM t WHERE trim(a) = 'x'"), super::text(" y "));
    assert!(world.run("INSERT INTO t VALUES ('bad')").is_err());
}

/// SQLite's own take from seconds to hours for these.
#[test]
fn none_takes_quadratic_time() {
    let mut world = World::new();
    let a = |n: u32| format!("printf('%.*c', {n}, 'a')");
    for expression in [
        format!("instr({}, {} || 'b')", a(2_000_000), a(1_000_000)),
        format!("length(replace({}, {} || 'b', ''))", a(2_000_000), a(1_000_000)),
        format!("length(unhex(replace({0}, 'a', 'z'), replace({0}, 'a', 'y') || 'z'))", a(400_000)),
        format!("length(trim({}, replace(hex(zeroblob(500000)), '0', 'é') || 'a'))", a(2_000_000)),
    ] {
        let begun = Instant::now();
        world.rows(&format!("SELECT {expression}"));
        assert!(begun.elapsed() < Duration::from_secs(30), "{expression}: {:?}", begun.elapsed());
    }
    let broken = "SELECT trim('a', CAST(x'c3' || zeroblob(0) || replace(hex(zeroblob(9)), '00', \
                  CAST(x'80' AS TEXT)) AS TEXT))";
    assert!(world.connection.query(broken, &[]).is_err());
}

const PATTERNS: [&str; 28] = [
    "''",
    "'%'",
    "'*'",
    "'_'",
    "'?'",
    "'%%_b%'",
    "'*?b*'",
    "'A%'",
    "'a*'",
    "'%BC'",
    "'*bc'",
    "'a_c%'",
    "'abc%abd'",
    "'%abd%abc'",
    "'Ä%'",
    "'%ö_'",
    "'*[äö]*'",
    "'[a-c]*[^x]'",
    "'[]a]*'",
    "'[^]a]*'",
    "'[a-'",
    "'*['",
    "'*[-b]c*'",
    "'x%'",
    "'!%'",
    "'%!'",
    "CAST(x'25b6' AS TEXT)",
    "12",
];

#[test]
fn like_and_glob_answer_as_sqlite() {
    let plain = super::stock();
    let mut world = World::new();
    for text in TEXTS {
        for pattern in PATTERNS.into_iter().chain(TEXTS) {
            for expression in [
                format!("{text} LIKE {pattern}"),
                format!("{text} GLOB {pattern}"),
                format!("{text} LIKE {pattern} ESCAPE '!'"),
                format!("{text} LIKE {pattern} ESCAPE '%'"),
                format!("{text} LIKE {pattern} ESCAPE '_'"),
                format!("{text} LIKE {pattern} ESCAPE 'b'"),
            ] {
                assert_eq!(
                    ours(&mut world, &expression),
                    stock(&plain, &expression),
                    "{expression}"
                );
            }
        }
    }
    for wrong in ["'a' LIKE 'a' ESCAPE ''", "'a' LIKE 'a' ESCAPE 'ab'"] {
        assert!(plain.query_row(&format!("SELECT {wrong}"), [], |_| Ok(())).is_err());
        let refused = world.run(&format!("SELECT {wrong}"));
        assert!(matches!(refused, Err(SqlError::Statement(_))), "{refused:?}");
    }
}
