//! Rooms of the gateway: work that takes long has room of its own, and what is large has threads of
//! its own.

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;

use super::*;
use crate::gateway::auth::Access;
use crate::gateway::{Gateways, Settings, Side};
use stockade::Manifest;
use stockade::host::Host;

/// Longer than anything takes that does not wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sets the room of one sort of work.
type Set = fn(&mut HostLimits, usize);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_imports_checks_and_long_lists_have_a_room_each() {
    let sqlite = ["content-type: application/vnd.sqlite3"];
    let (missing, overloaded) = (told(404, "request.actor-missing"), told(503, "host.overloaded"));
    let sorts: [(&str, &[&str], _, Set); 5] = [
        ("GET /admin/actors/a/b/export", &[], missing, |limits, max| limits.exports_max = max),
        (
            "POST /admin/actors/a/b/import",
            &sqlite,
            told(404, "request.kind-missing"),
            |limits, max| limits.imports_max = max,
        ),
        ("POST /admin/verify", &[], told(200, ""), |limits, max| limits.checks_max = max),
        ("GET /admin/actors?count=true", &[], told(200, ""), |limits, max| limits.lists_max = max),
        ("GET /admin/actors?sort=size", &[], told(200, ""), |limits, max| limits.lists_max = max),
    ];
    for (line, headers, answer, set) in &sorts {
        let mut none = HostLimits::default();
        set(&mut none, 0);
        let running = start(none).await;
        assert_eq!(running.ask(At::Admin, line, headers).await, overloaded, "{line}");
        let lists = running.ask(At::Admin, "GET /admin/actors", &[]).await;
        assert_eq!(lists, told(200, ""), "a page of a list needs no room");
        running.end().await;
        // The room for one is given back each time.
        let mut one = HostLimits::default();
        set(&mut one, 1);
        let running = start(one).await;
        for _ in 0..2 {
            assert_eq!(running.ask(At::Admin, line, headers).await, *answer, "{line}");
        }
        running.end().await;
    }
}

/// `large` returns as many bytes as make a large reply, `count` how often that happened.
const COUNTS: &str = r#"(component
    (core module $m
      (memory (export "mem") 1)
      (global $n (mut i32) (i32.const 0))
      (func (export "large") (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 6000))
        (i32.const 0))
      (func (export "count") (result i32) (global.get $n)))
    (core instance $i (instantiate $m))
    (func (export "large") (result (list u8))
      (canon lift (core func $i "large") (memory (core memory $i "mem"))))
    (func (export "count") (result u32) (canon lift (core func $i "count"))))"#;

/// While all threads for it are busy, a large reply waits, and a small one does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_is_written_beside_the_connections_thread() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let host = Host::start(HostConfig::new(dir.path())).await.expect("starts");
    let methods = ["large", "count"].map(str::to_owned).to_vec();
    let manifest = Manifest { methods, ..Manifest::default() };
    let wasm = wat::parse_str(COUNTS).expect("a component");
    host.deploy("a", wasm, manifest).await.expect("deploys");
    let access = Access {
        callers: None,
        operators: Token::new(OPERATORS).expect("valid"),
        operators_file: None,
        origins: Vec::new(),
        hosts: Vec::new(),
    };
    let limits = HostLimits::default();
    let gateways = Gateways::start(host.clone(), Settings { limits, access, forward: None });
    let at = "127.0.0.1:7070".parse().expect("an address");
    let service = TowerToHyperService::new(gateways.router(Side::Public, at, false));
    let call = |method: &str| {
        let request = Request::post(format!("/actors/a/b/{method}")).header("host", "127.0.0.1");
        let answer = service.call(request.body(Body::empty()).expect("a request"));
        async move {
            let body = answer.await.expect("an answer").into_body();
            body.collect().await.expect("a whole body").to_bytes()
        }
    };
    let busy = gateways.gateway.readers.all();
    let large = tokio::spawn(call("large"));
    let small = async {
        while call("count").await != "1" {}
        // The actor has answered, and the gateway has had its answer for long.
        for _ in 0..100 {
            call("count").await;
        }
    };
    timeout(PATIENCE, small).await.expect("small replies need no such thread");
    assert!(!large.is_finished(), "it was written on its connection's thread");
    drop(busy);
    let reply = timeout(PATIENCE, large).await.expect("threads are free").expect("no panic");
    assert_eq!(reply.len(), 2 + 6000 / 3 * 4, "base64 between quotes");
    host.shutdown().await;
}
