//! Our functions of text against those of the SQLite that is linked, over every character and over
//! what is none: an upgrade of SQLite that changes one of them is seen here.

use std::time::Duration;

use rusqlite::types::ValueRef;
use tokio::time::Instant;

use super::World;
use crate::sqlite::Value;

/// Characters at the borders of encodings, surrogates, non-characters, beyond Unicode, overlong,
/// cut off, and bytes that begin nothing. Between letters, so that what stands beside them counts.
fn texts() -> Vec<Vec<u8>> {
    let bytes: [&[u8]; 48] = [
        b"",
        b"a",
        b"A",
        b"4a",
        b"%",
        b"_",
        b"*",
        b"?",
        b"[",
        b"\x01",
        b"\x7f",
        b"\0",
        "\u{80}".as_bytes(),
        "ä".as_bytes(),
        "Ä".as_bytes(),
        "\u{7ff}".as_bytes(),
        "\u{800}".as_bytes(),
        "\u{d7ff}".as_bytes(),
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbf\xbf",
        "\u{e000}".as_bytes(),
        "\u{fdd0}".as_bytes(),
        "\u{fffd}".as_bytes(),
        "\u{fffe}".as_bytes(),
        "\u{ffff}".as_bytes(),
        "\u{10000}".as_bytes(),
        "\u{1fffe}".as_bytes(),
        "\u{1ffff}".as_bytes(),
        "🦀".as_bytes(),
        "\u{10ffff}".as_bytes(),
        b"\xf4\x90\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf\xbf\xbf",
        b"\x80",
        b"\xbf\xbf",
        b"\xe2\x82",
        b"\xf0\x9f\xa6",
    ];
    bytes.iter().map(|bytes| bytes.to_vec()).collect()
}

/// What is compared: of `a` and `b`, both text.
const EXPRESSIONS: [&str; 20] = [
    "a LIKE b",
    "a LIKE '_'",
    "a LIKE '%' || b",
    "a LIKE '%' || b || '%'",
    "('x' || a || 'y') LIKE '%' || b || 'y'",
    "a LIKE '!' || b ESCAPE '!'",
    "a GLOB b",
    "a GLOB '?'",
    "a GLOB '*' || b",
    "('x' || a || 'y') GLOB '*' || b || 'y'",
    "a GLOB '[' || b || ']'",
    "a GLOB '[^' || b || ']*'",
    "a GLOB '*[' || b || '-' || char(65535) || ']'",
    "a GLOB '[' || char(55295) || '-' || b || ']'",
    "unhex(a, b)",
    "unhex('4a' || a || '6B' || a, b)",
    "unhex('4a' || a || '6B', b || a)",
    "instr(a, b)",
    "instr('x' || b || a || b, a)",
    "replace('x' || a || b || a, a, b)",
];

/// SQLite takes a "character" of any length, ours one of UTF-8: for those that are none longer.
const TRIMS: [&str; 4] =
    ["trim(a || 'x' || a, b)", "trim(b || a || b, a)", "ltrim(a || b, a)", "rtrim(a || b, b)"];

fn select(expressions: &[&str]) -> String {
    let all: Vec<_> = expressions
        .iter()
        .map(|expression| format!("typeof({expression}), hex({expression})"))
        .collect();
    format!("SELECT {} FROM (SELECT CAST(?1 AS TEXT) AS a, CAST(?2 AS TEXT) AS b)", all.join(", "))
}

fn check(expressions: &[&str], texts: &[Vec<u8>]) {
    let sql = select(expressions);
    let stock = super::stock();
    let mut stock = stock.prepare(&sql).unwrap();
    let mut world = World::new();
    for a in texts {
        for b in texts {
            let expected: Vec<String> = stock
                .query_row([a, b], |row| {
                    (0..2 * expressions.len())
                        .map(|at| match row.get_ref(at)? {
                            ValueRef::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
                            other => panic!("{other:?}"),
                        })
                        .collect()
                })
                .unwrap();
            let values = [Value::Blob(a.clone()), Value::Blob(b.clone())];
            let rows = world.connection.query(&sql, &values).unwrap().rows;
            for (at, expression) in expressions.iter().enumerate() {
                let ours: Vec<_> = rows[0][2 * at..2 * at + 2]
                    .iter()
                    .map(|value| match value {
                        Value::Text(text) => text.clone(),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                let expected = &expected[2 * at..2 * at + 2];
                assert_eq!(ours, expected, "{expression}: {a:02x?} {b:02x?}");
            }
        }
        world.begin();
    }
}

#[test]
fn whatever_bytes_a_text_has_the_answer_is_sqlites() {
    check(&EXPRESSIONS, &texts());
}

#[test]
fn trims_answer_as_sqlite_for_what_utf8_may_hold() {
    let short: Vec<_> = texts().into_iter().filter(|text| text.len() <= 4).collect();
    check(&TRIMS, &short);
}

/// Each character of Unicode, and each number that is none, beside what it could be taken for.
#[test]
fn every_character_is_what_sqlite_takes_it_for() {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1114111)
               SELECT sum(char(i) LIKE '_'), sum(char(i) LIKE char(65533)),
                 sum(i * (char(i) LIKE char(i))), sum(i * (char(i) GLOB char(i))),
                 sum(i * (char(i) GLOB '[' || char(55295) || '-' || char(65535) || ']')),
                 sum(i * (unhex(char(i), char(65533)) IS NOT NULL)),
                 sum(i * (unhex(char(i), char(i)) IS NOT NULL)),
                 sum(instr('a' || char(i) || 'b', 'b')), sum(length(trim(char(i), char(65533))))
               FROM n";
    let stock = super::stock();
    let expected: Vec<i64> =
        stock.query_row(sql, [], |row| (0..9).map(|at| row.get(at)).collect()).unwrap();
    let mut world = World::new();
    world.meter.begin(&world.limits, Instant::now() + Duration::from_secs(600));
    let ours: Vec<i64> = world.rows(sql)[0]
        .iter()
        .map(|value| match value {
            Value::Integer(value) => *value,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ours, expected);
}

/// Patterns and texts of few characters, so that wildcards meet in every way.
#[test]
fn wildcards_match_as_in_sqlite_in_whatever_order() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let mut words = |from: &[&str], most: usize| -> String {
        (0..draw(most + 1)).map(|_| from[draw(from.len())]).collect()
    };
    let expressions = ["a LIKE b", "a LIKE b ESCAPE '!'", "a GLOB b"];
    let sql = select(&expressions);
    let stock = super::stock();
    let mut stock = stock.prepare(&sql).unwrap();
    let mut world = World::new();
    let pattern = ["a", "B", "ä", "%", "%", "_", "*", "*", "?", "!", "[", "]", "^", "-", "[ab]"];
    for _ in 0..40_000 {
        let (a, b) = (words(&["a", "b", "A", "ä", "!", "%"], 10), words(&pattern, 9));
        let expected: Vec<String> = stock
            .query_row([a.as_bytes(), b.as_bytes()], |row| {
                (0..2 * expressions.len()).map(|at| row.get(at)).collect()
            })
            .unwrap();
        let values = [&a, &b].map(|text| Value::Blob(text.as_bytes().to_vec()));
        let rows = world.connection.query(&sql, &values).unwrap().rows;
        let ours: Vec<_> = rows[0]
            .iter()
            .map(|value| match value {
                Value::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ours, expected, "{a} {b}");
        world.begin();
    }
}
