//! Typed methods: every WIT type in JSON and WAVE, and arguments that do not fit.

use serde_json::{Value as Json, json};
use stockade::{Arguments, CallError, HostError};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::Program;

/// Method, JSON in, JSON out (`None`: the same).
fn round_trips() -> Vec<(&'static str, Json, Option<Json>)> {
    let big = "18446744073709551615";
    let low = "-9223372036854775808";
    let point = json!({"x": -5, "y": 7, "label": "l"});
    vec![
        ("echo-bool", json!(true), None),
        ("echo-u8", json!(255), None),
        ("echo-s8", json!(-128), None),
        ("echo-u16", json!(65_535), None),
        ("echo-s16", json!(-32_768), None),
        ("echo-u32", json!(4_294_967_295_u32), None),
        ("echo-s32", json!(-2_147_483_648_i64), None),
        ("echo-u64", json!(u64::MAX), Some(json!(big))),
        ("echo-u64", json!(big), None),
        ("echo-u64", json!(9_007_199_254_740_992_u64), None),
        ("echo-u64", json!("9007199254740993"), None),
        ("echo-s64", json!(i64::MIN), Some(json!(low))),
        ("echo-s64", json!(low), None),
        ("echo-s64", json!(-1), None),
        ("echo-f32", json!(1.5), None),
        ("echo-f64", json!(0.1), None),
        ("echo-f64", json!(5e-324), None),
        ("echo-f64", json!("nan"), None),
        ("echo-f64", json!("-inf"), None),
        ("echo-char", json!("🦀"), None),
        ("echo-string", json!("a\u{0}b\"\\ \u{10ffff}"), None),
        ("echo-string", json!(""), None),
        ("echo-bytes", json!([0, 255, 7]), Some(json!("AP8H"))),
        ("echo-bytes", json!("AP8H"), None),
        ("echo-list", json!([1, -2, 3]), None),
        ("echo-list", json!([]), None),
        ("echo-option", json!(null), None),
        ("echo-option", json!(0), None),
        ("echo-option-twice", json!(null), None),
        ("echo-option-twice", json!({"some": null}), None),
        ("echo-option-twice", json!({"some": 3}), None),
        ("echo-result", json!({"ok": 1}), None),
        ("echo-result", json!({"err": "no"}), None),
        ("echo-result-empty", json!({"ok": null}), None),
        ("echo-result-empty", json!({"err": null}), None),
        ("echo-tuple", json!([1, "two", false]), None),
        ("echo-record", point.clone(), None),
        ("echo-record", json!({"x": 0, "y": 0}), Some(json!({"x": 0, "y": 0, "label": null}))),
        ("echo-nested", json!({"corners": [point, point], "pair": [1, "x"]}), None),
        ("echo-variant", json!("nothing"), None),
        ("echo-variant", json!({"circle": 2.5}), None),
        ("echo-variant", json!({"named": point}), None),
        ("echo-enum", json!("dark-blue"), None),
        ("echo-flags", json!([]), None),
        ("echo-flags", json!(["run-it", "read"]), Some(json!(["read", "run-it"]))),
    ]
}

#[test]
fn every_type_travels_over_http_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy("typed", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    for (method, sent, expected) in round_trips() {
        let reply = program.call("typed/one", method, &json!([sent])).unwrap();
        assert_eq!(reply.status, 200, "{method} {sent}: {}", reply.body);
        assert_eq!(reply.body, expected.unwrap_or_else(|| sent.clone()), "{method} {sent}");
        assert!(reply.generation == Some(1) && reply.txid.is_some() && reply.bill.is_some());
        // By name as well as by position.
        let named = program.call("typed/one", method, &json!({"v": sent})).unwrap();
        assert_eq!(named.body, reply.body, "{method} {sent} by name");
    }
    let joined = program.call("typed/one", "join", &json!(["a", 2, null])).unwrap();
    assert_eq!(joined.body, json!("a-2-none"));
    let joined = program.call("typed/one", "join", &json!({"count": 3, "first": "b"})).unwrap();
    assert_eq!(joined.body, json!("b-3-none"));
    let nothing = program.call("typed/one", "nothing", &json!([])).unwrap();
    assert!(nothing.status == 200 || nothing.status == 204, "{nothing:?}");
    let described = program.get("/kinds/typed").unwrap();
    assert!(described.body.to_string().contains("echo-option-twice"), "{}", described.body);
    program.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wave_text_is_the_same_call() {
    let (_site, host) = Site::hosting(guest::TYPED_ALL).await;
    let actor = actor(guest::TYPED_ALL, "one");
    for (method, wave) in [
        ("echo-record", "{x: -5, y: 7, label: some(\"l\")}"),
        ("echo-variant", "circle(2.5)"),
        ("echo-flags", "{read, run-it}"),
        ("echo-result", "err(\"no\")"),
        ("echo-tuple", "(1, \"two\", false)"),
        ("echo-u64", "18446744073709551615"),
        ("echo-char", "'🦀'"),
        ("echo-list", "[1, -2, 3]"),
    ] {
        let reply =
            host.host.actor(&actor).call(method, Arguments::Wave(wave.into())).await.unwrap();
        assert_eq!(reply.to_wave(), wave, "{method}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ill_typed_call_never_reaches_the_guest() {
    let (_site, host) = Site::hosting(guest::TYPED_ALL).await;
    let actor = actor(guest::TYPED_ALL, "one");
    host.call(&actor, "echo-u8", json!([1])).await.unwrap();
    for (method, arguments, words) in [
        ("echo-u8", json!([256]), ["v", "u8"]),
        ("echo-u8", json!([-1]), ["v", "u8"]),
        ("echo-u8", json!(["1x"]), ["v", "u8"]),
        ("echo-u8", json!([1.5]), ["v", "u8"]),
        ("echo-u64", json!(["18446744073709551616"]), ["v", "u64"]),
        ("echo-s64", json!([9_300_000_000_000_000_000_u64]), ["v", "s64"]),
        ("echo-bool", json!([1]), ["v", "bool"]),
        ("echo-char", json!(["ab"]), ["v", "char"]),
        ("echo-string", json!([7]), ["v", "string"]),
        ("echo-list", json!([[1, "x"]]), ["1", "s64"]),
        ("echo-record", json!([{"x": 1}]), ["y", "s32"]),
        ("echo-record", json!([{"x": 1, "y": 2, "lable": "typo"}]), ["lable", "label"]),
        ("echo-nested", json!([{"corners": [{"x": 1, "y": "?"}], "pair": [1, "x"]}]), ["y", "s32"]),
        ("echo-variant", json!([{"triangle": 1}]), ["triangle", "circle"]),
        ("echo-variant", json!(["circle"]), ["circle", "f64"]),
        ("echo-enum", json!(["blue"]), ["blue", "dark-blue"]),
        ("echo-flags", json!([["fly"]]), ["fly", "read"]),
        ("echo-tuple", json!([[1, "two"]]), ["v", "tuple"]),
        ("echo-result", json!([{"ok": "x"}]), ["ok", "u32"]),
        ("echo-option", json!(["x"]), ["v", "u64"]),
        ("join", json!(["a"]), ["count", "u32"]),
        ("join", json!(["a", 1, null, 4]), ["3", "4"]),
        ("join", json!({"first": "a", "number": 1}), ["number", "count"]),
    ] {
        refused(&host, &actor, method, Arguments::Json(arguments.clone()), &words).await;
    }
    for (method, wave) in [("echo-u8", "256"), ("echo-u8", "\"x\""), ("echo-record", "{x: 1}")] {
        refused(&host, &actor, method, Arguments::Wave(wave.into()), &[]).await;
    }
    assert_eq!(host.call(&actor, "runs", json!([])).await.unwrap(), json!(1));
    host.host.shutdown().await;
}

async fn refused(
    host: &TestHost,
    actor: &stockade::ActorId,
    method: &str,
    arguments: Arguments,
    words: &[&str],
) {
    let shown = format!("{method} {arguments:?}");
    match host.host.actor(actor).call(method, arguments).await {
        Err(CallError { cause: HostError::Arguments(error), .. }) => {
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "{shown}: {text:?} does not name {word:?}");
            }
        }
        other => panic!("{shown}: {:?}", other.map(|reply| reply.to_json())),
    }
}
