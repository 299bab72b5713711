//! Generated bodies of requests, through the routes of both listeners.

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value as Json;

use super::auth::{Access, Token};
use super::{Gateways, MANIFEST_HEADER, Settings, Side};
use stockade::host::{Host, HostConfig, Manifest};
use stockade::limits::HostLimits;
use stockade_testkit::cases::unit_cases;
use stockade_testkit::mutated::{below, mutated, one};

/// A component whose one function returns its argument, which can be of every type.
const ECHO: &str = include_str!("../../../src/typed/echo.wat");

/// Route, side, and bodies that more or less fit the route.
const ROUTES: [(&str, &str, Side); 9] = [
    ("POST", "/actors/echo/a/echo", Side::Public),
    ("POST", "/actors/echo/b/echo", Side::Public),
    ("POST", "/actors/echo/a/nothing", Side::Public),
    ("POST", "/actors/none/a/echo", Side::Public),
    ("POST", "/admin/actors/echo/a/sql", Side::Admin),
    ("POST", "/admin/actors/echo/a/fault", Side::Admin),
    ("POST", "/admin/actors/echo/a/verify", Side::Admin),
    ("POST", "/admin/actors/echo/c/import", Side::Admin),
    ("PUT", "/admin/kinds/other", Side::Admin),
];

const TYPES: [&str; 7] = [
    "application/json",
    "application/json; charset=utf-8",
    "application/x-wave",
    "application/x-wave-words+json",
    "application/wasm",
    "application/vnd.sqlite3",
    "",
];

const CORPUS: [&[u8]; 12] = [
    b"",
    b"[[]]",
    b"{\"items\":[]}",
    b"[{a-bool: true, a-s8: -1}]",
    b"[\"[]\"]",
    br#"[[{"a-bool":true,"a-s8":-128,"a-u8":255,"a-s16":-32768,"a-u16":65535,"a-s32":0,"a-u32":1,
        "a-s64":"-9223372036854775808","a-u64":"18446744073709551615","a-f32":0.1,"a-f64":"nan",
        "a-char":"x","a-string":"s","a-bytes":"AAEC","a-list":["","two"],"a-tuple":[1,"t"],
        "a-shape":{"named":["n","dark-blue"]},"a-color":"red","an-option":null,
        "an-option-option":{"some":null},"a-result":{"err":"dark-blue"},
        "a-bare-result":{"ok":null},"an-err":{"err":3},"some-rights":["read","run-it"]}]]"#,
    br#"{"sql":"SELECT ?1, ?2","parameters":[1,"a"]}"#,
    br#"{"sql":"CREATE TABLE t(a)","parameters":[],"write":true,"rows_max":5}"#,
    br#"{"sql":"SELECT 1","parameters":[{"blob":"AA=="},null,1e999]}"#,
    br#"{"fault":"slow-store","delay_ms":1,"count":1,"for_ms":10}"#,
    b"\0asm\x0d\x00\x01\x00",
    b"SQLite format 3\0\x10\x00\x01\x01\x0c\x40\x20\x20",
];

const DICTIONARY: [&[u8]; 16] = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b":",
    b",",
    b"null",
    b"\xff\xfe",
    b"\0",
    b"\\ud800",
    b"1e999",
    b"{\"sql\":",
    b"{\"items\":",
    b"[[[[[[[[[[[[[[[[[[[[",
    b"18446744073709551616",
];

const MANIFESTS: [&str; 4] = ["", "{}", "{\"limits\":{\"rows_max\":-1}}", "{\"limits\":"];

#[test]
fn bodies() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let dir = tempfile::tempdir().expect("temporary directory");
    let limits = HostLimits { body_bytes_max: 12_000, ..HostLimits::default() };
    let host = runtime.block_on(async {
        let config = HostConfig::new(dir.path()).with_limits(limits.clone());
        let host = Host::start(config).await.expect("starts");
        let wasm = wat::parse_str(ECHO).expect("a component");
        let manifest = Manifest { methods: vec!["echo".to_owned()], ..Manifest::default() };
        host.deploy("echo", wasm, manifest).await.expect("deploys");
        host
    });
    let token = "0123456789abcdef";
    let access = Access {
        callers: None,
        operators: Token::new(token).expect("valid"),
        operators_file: None,
        origins: Vec::new(),
        hosts: Vec::new(),
    };
    let gateways = Gateways::start(host.clone(), Settings { limits, access, forward: None });
    let at = "127.0.0.1:7070".parse().expect("an address");
    let [public, admin] = [Side::Public, Side::Admin]
        .map(|side| TowerToHyperService::new(gateways.router(side, at, false)));
    let (mut good, mut refused) = (0, 0);
    unit_cases("gateway::fuzz::bodies", 1_500, |random| {
        let (method, path, side) = ROUTES[below(random, ROUTES.len())];
        let content_type = one(random, &TYPES);
        let body = mutated(random, &CORPUS, &DICTIONARY);
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        request = request.header("authorization", format!("Bearer {token}"));
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let manifest = one(random, &MANIFESTS);
        if !manifest.is_empty() {
            request = request.header(MANIFEST_HEADER, manifest);
        }
        let request = request.body(Body::from(body.clone())).expect("a request");
        let service = if side == Side::Public { &public } else { &admin };
        let (status, bytes) = runtime.block_on(async {
            let answer = service.call(request).await.expect("an answer");
            let status = answer.status().as_u16();
            (status, answer.into_body().collect().await.expect("a whole body").to_bytes())
        });
        let sent = format!("{method} {path} {content_type}: {:?}", String::from_utf8_lossy(&body));
        if status < 300 {
            good += 1;
            return;
        }
        refused += 1;
        let told: Json = serde_json::from_slice(&bytes).unwrap_or_default();
        let (Some(group), Some(code)) = (told["group"].as_str(), told["code"].as_str()) else {
            panic!("{status} without a document: {sent}: {told}");
        };
        assert!(told["message"].as_str().is_some_and(|message| !message.is_empty()), "{told}");
        // `echo` returns its argument, so every failure is the caller's.
        assert!(status < 500, "{status} {group}.{code}: {sent}: {told}");
    });
    let repeats = std::env::var_os("SEED").is_some();
    assert!(repeats || (good > 0 && refused > 0), "{good} answered, {refused} refused");
    runtime.block_on(host.shutdown());
}
