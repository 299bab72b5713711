//! The sqlite interface through real guests: every function, every value, every error.

use rusqlite::types::Value as Native;
use serde_json::{Value as Json, json};
use stockade::host::SqlRequest;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_of_the_interface_holds() {
    let (site, host) = Site::hosting(guest::SQLITE_API).await;
    let names = host.call(&actor(guest::SQLITE_API, "names"), "names", json!([])).await.unwrap();
    let names: Vec<String> = serde_json::from_value(names).unwrap();
    assert!(names.len() >= 30, "{names:?}");
    let mut failures = Vec::new();
    for name in names {
        // Each on its own database, twice: the second generation reads what the first one wrote.
        let database = actor(guest::SQLITE_API, &name);
        match host.call(&database, "run", json!([name])).await {
            Ok(answer) if answer.get("ok").is_some() => {}
            Ok(answer) => failures.push(format!("{name}: {}", answer["err"])),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
        host.open_export(&database, site.path()).await;
        host.assert_intact(&database).await;
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    host.host.shutdown().await;
}

/// One value as the guest's WIT variant in JSON.
fn to_json(value: &Native) -> Json {
    match value {
        Native::Null => json!("null"),
        // 64 bits without loss: large integers are strings of digits.
        Native::Integer(integer) => json!({"integer": integer.to_string()}),
        Native::Real(real) if real.is_nan() => json!({"real": "nan"}),
        Native::Real(real) if *real == f64::INFINITY => json!({"real": "inf"}),
        Native::Real(real) if *real == f64::NEG_INFINITY => json!({"real": "-inf"}),
        Native::Real(real) => json!({"real": real}),
        Native::Text(text) => json!({"text": text}),
        Native::Blob(blob) => json!({"blob": STANDARD.encode(blob)}),
    }
}

/// Integers as digits, whatever their size: the host sends small ones as numbers.
fn normal(value: &Json) -> Json {
    match value.get("integer") {
        Some(Json::Number(number)) => json!({"integer": number.to_string()}),
        _ => value.clone(),
    }
}

/// The value that plain SQLite returns for a value.
fn oracle(value: &Native) -> Native {
    let plain = rusqlite::Connection::open_in_memory().unwrap();
    plain.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v)").unwrap();
    plain.execute("INSERT INTO t(v) VALUES (?1)", [value]).unwrap();
    plain.query_row("SELECT v FROM t", [], |row| row.get(0)).unwrap()
}

fn values() -> Vec<Native> {
    let mut values = vec![
        Native::Null,
        Native::Text(String::new()),
        Native::Text("with \0 inside, and after".into()),
        Native::Text("\u{10ffff} \u{7f} ü 漢 🦀".into()),
        Native::Text("x".repeat(100_000)),
        Native::Blob(Vec::new()),
        Native::Blob(vec![0]),
        Native::Blob((0..=255).collect()),
    ];
    let edges = [
        0,
        1,
        -1,
        127,
        128,
        -128,
        -129,
        32_767,
        32_768,
        8_388_607,
        8_388_608,
        2_147_483_647,
        2_147_483_648,
        140_737_488_355_327,
        140_737_488_355_328,
        9_007_199_254_740_993,
        i64::MAX,
        i64::MIN,
        i64::MIN + 1,
    ];
    values.extend(edges.map(Native::Integer));
    let reals = [
        0.5,
        1.0,
        1e300,
        -1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        9_007_199_254_740_993.0,
        0.1,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    values.extend(reals.map(Native::Real));
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_as_plain_sqlite_gives_them() {
    let (site, host) = Site::hosting(guest::SQLITE_TYPES).await;
    let database = actor(guest::SQLITE_TYPES, "values");
    for value in values() {
        let back = host.ok(&database, "echo", json!([to_json(&value)])).await;
        assert_eq!(normal(&back), to_json(&oracle(&value)), "{value:?}");
        let bound = host.ok(&database, "echo-bound", json!([to_json(&value)])).await;
        assert_eq!(normal(&bound), to_json(&oracle(&value)), "bound {value:?}");
    }
    // After sleep the values come from the store, not from a cache.
    host.host.actor(&database).stop().await.unwrap();
    let count = first_row(&host, "SELECT count(*) FROM t").await;
    assert_eq!(count, [json!({"integer": values().len()})]);
    host.open_export(&database, site.path()).await;
    host.host.shutdown().await;
}

async fn first_row(host: &TestHost, sql: &str) -> Vec<Json> {
    let row = host.ok(&actor(guest::SQLITE_TYPES, "values"), "first-row", json!([sql])).await;
    serde_json::from_value(row).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reals_are_exact_to_the_bit() {
    let (_site, host) = Site::hosting(guest::SQLITE_TYPES).await;
    let database = actor(guest::SQLITE_TYPES, "bits");
    // A fixed walk through the bit patterns, and the edge cases.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    let mut patterns =
        vec![0, 1, 1 << 63, f64::MAX.to_bits(), f64::NAN.to_bits(), 0x000f_ffff_ffff_ffff];
    for _ in 0..60 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        patterns.push(bits);
    }
    for pattern in patterns {
        let back = host.ok(&database, "real-bits", json!([pattern.to_string()])).await;
        let back = match back {
            Json::String(digits) => Some(digits.parse::<u64>().unwrap()),
            other => other.as_u64(),
        };
        let expected = match oracle(&Native::Real(f64::from_bits(pattern))) {
            Native::Real(real) => Some(real.to_bits()),
            Native::Null => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(back, expected, "{pattern:#x}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_text_arrives_as_a_blob() {
    let (_site, host) = Site::hosting(guest::SQLITE_TYPES).await;
    let check = async |sql: &str, expected: Json| {
        assert_eq!(first_row(&host, sql).await, [expected], "{sql}");
    };
    check("SELECT CAST(x'ff00fe' AS TEXT)", json!({"blob": STANDARD.encode([0xff, 0, 0xfe])}))
        .await;
    check("SELECT CAST(x'c328' AS TEXT)", json!({"blob": STANDARD.encode([0xc3, 0x28])})).await;
    check("SELECT CAST(x'610062' AS TEXT)", json!({"text": "a\0b"})).await;
    check("SELECT char(0)", json!({"text": "\0"})).await;
    check("SELECT zeroblob(3)", json!({"blob": STANDARD.encode([0, 0, 0])})).await;
    check("SELECT 9223372036854775807", json!({"integer": "9223372036854775807"})).await;
    check("SELECT -9223372036854775808", json!({"integer": "-9223372036854775808"})).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_fits_any_batch() {
    let (site, host) = Site::hosting(guest::SQLITE_TYPES).await;
    let database = actor(guest::SQLITE_TYPES, "large");
    for length in [0_u64, 1, 4096, 1_000_000, 12_000_000] {
        let sum: u64 = (0..length).map(|at| at % 251).sum();
        let back = host.ok(&database, "large-blob", json!([length])).await;
        assert_eq!(back, json!([length, sum]));
    }
    host.open_export(&database, site.path()).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loops_of_the_bench_do_what_they_say() {
    let (site, host) = Site::hosting(guest::SQLITE_BENCH).await;
    let database = actor(guest::SQLITE_BENCH, "one");
    host.ok(&database, "setup", json!([10_000])).await;
    assert_eq!(host.ok(&database, "point", json!([3])).await, json!((7919 + 5838) * 7));
    assert_eq!(host.ok(&database, "scan", json!([2])).await, json!(20_000));
    assert_eq!(host.ok(&database, "update", json!([10])).await, json!(10));
    assert_eq!(host.ok(&database, "insert", json!([5000])).await, json!(5000));
    host.ok(&database, "clear", json!([])).await;
    assert_eq!(host.ok(&database, "insert-one-by-one", json!([50])).await, json!(50));
    let copy = host.open_export(&database, site.path()).await;
    let rows: i64 = copy.query_row("SELECT count(*) FROM bulk", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 50);
    host.host.shutdown().await;
}

/// Subqueries whose parts are within every limit, together far deeper than any stack: on the fiber
/// of a guest, and on the thread of an operator's statement. The process survives.
#[tokio::test(flavor = "multi_thread")]
async fn sql_that_is_deeper_than_the_stack_ends_as_a_limit() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::SQLITE_TYPES, |limits| limits.call_time_ms = 300_000).await;
    let database = actor(guest::SQLITE_TYPES, "values");
    let term = "+1".repeat(900);
    let nested = |levels: usize| {
        (0..levels).fold("SELECT 1 AS x".to_owned(), |inner, _| {
            format!("SELECT x{term} AS x FROM ({inner} LIMIT 1)")
        })
    };
    let flat = |levels: usize| {
        (0..levels).fold("SELECT value AS x FROM json_each('[1]')".to_owned(), |inner, _| {
            format!("SELECT x{term} AS x FROM ({inner})")
        })
    };
    assert_eq!(first_row(&host, &flat(2)).await, [json!({ "integer": 1_801 })]);
    for sql in [flat(3), flat(5), flat(7), flat(8), flat(20), flat(200), nested(200)] {
        let answer = host.call(&database, "first-row", json!([sql])).await.unwrap();
        let deep = answer["err"].as_str().is_some_and(|words| words.contains("Depth"));
        assert!(deep || answer["ok"].is_array(), "{answer}: {} bytes", sql.len());
        let request = SqlRequest { sql, ..SqlRequest::default() };
        if let Err(error) = host.host.actor(&database).sql(request).await {
            assert!(error.to_string().contains("limit exceeded: depth"), "{error}");
        }
    }
    let answer = host.call(&database, "first-row", json!([flat(20)])).await.unwrap();
    assert!(answer["err"].as_str().unwrap().contains("Depth"), "{answer}");
    assert_eq!(first_row(&host, "SELECT 7").await, [json!({ "integer": 7 })]);
    host.host.shutdown().await;
}
