//! The rules of the listeners, tested over real sockets in front of a small real host.

mod heads;
mod pages;
mod rooms;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gateway::auth::Token;
use crate::server::{Server, ServerConfig};
use stockade::host::HostConfig;
use stockade::limits::HostLimits;

const CALLERS: &str = "callers-0123456789";
const OPERATORS: &str = "operators-0123456789";

struct Running {
    server: Server,
    _dir: TempDir,
}

async fn start(limits: HostLimits) -> Running {
    start_with(limits, |config| config).await
}

async fn start_with(
    limits: HostLimits,
    change: impl FnOnce(ServerConfig) -> ServerConfig,
) -> Running {
    let dir = tempfile::tempdir().expect("temporary directory");
    let host = HostConfig::new(dir.path()).with_limits(limits);
    let config = ServerConfig {
        host,
        listen: "127.0.0.1:0".to_owned(),
        admin: "127.0.0.1:0".to_owned(),
        callers: None,
        operators: Some(Token::new(OPERATORS).expect("valid")),
        tls: None,
        origins: Vec::new(),
        hosts: Vec::new(),
        advertise: None,
        peers: None,
    };
    Running { server: Server::start(change(config)).await.expect("starts"), _dir: dir }
}

/// The listener to ask.
#[derive(Clone, Copy)]
enum At {
    Public,
    Admin,
}

impl Running {
    /// Sends a request exactly as written and reads the answer to its end.
    async fn raw(&self, at: At, request: &str) -> String {
        let addresses = self.server.addresses();
        let address = match at {
            At::Public => addresses.listen,
            At::Admin => addresses.admin,
        };
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        // A reset after the answer counts as an answer, too.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).expect("UTF-8")
    }

    /// Status and `group.code` of the answer to a request without a body. Operators have their
    /// token, unless `headers` has one.
    async fn ask(&self, at: At, line: &str, headers: &[&str]) -> (u16, String) {
        self.send(at, line, headers, "").await
    }

    async fn send(&self, at: At, line: &str, headers: &[&str], body: &str) -> (u16, String) {
        let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("host:")) {
            request.push_str("host: 127.0.0.1:7070\r\n");
        }
        let has_token = headers.iter().any(|header| header.starts_with("authorization:"));
        if matches!(at, At::Admin) && !has_token {
            request.push_str(&format!("authorization: Bearer {OPERATORS}\r\n"));
        }
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let answer = self.raw(at, &request).await;
        let (_, status, code) = read(&answer);
        (status, code)
    }

    async fn end(self) {
        self.server.shutdown().await;
    }
}

/// Head, status and `group.code` of an answer.
fn read(answer: &str) -> (&str, u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head[9..12].parse().expect("a status");
    let body: Json = serde_json::from_str(body).unwrap_or(Json::Null);
    let code = match (&body["group"], &body["code"]) {
        (Json::String(group), Json::String(code)) => format!("{group}.{code}"),
        _ => String::new(),
    };
    (head, status, code)
}

fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_refuses_what_belongs_to_the_other() {
    let running = start(HostLimits::default()).await;
    let wrong = told(421, "request.wrong-listener");
    for line in
        ["GET /admin/actors", "PUT /admin/kinds/a", "DELETE /admin/actors/a/b", "GET /admin"]
    {
        assert_eq!(running.ask(At::Public, line, &[]).await, wrong, "{line}");
    }
    for line in ["POST /actors/a/b/c", "GET /kinds/a", "GET /kinds"] {
        assert_eq!(running.ask(At::Admin, line, &[]).await, wrong, "{line}");
    }
    for at in [At::Public, At::Admin] {
        assert_eq!(running.ask(at, "GET /nowhere", &[]).await, told(404, "request.no-route"));
        assert_eq!(running.ask(at, "GET /health", &[]).await, told(200, ""));
        assert_eq!(running.ask(at, "GET /ready", &[]).await, told(200, ""));
    }
    for line in ["GET /actors/a/b/c", "OPTIONS /actors/a/b/c", "POST /kinds/a", "POST /health"] {
        let got = running.ask(At::Public, line, &[]).await;
        assert_eq!(got, told(405, "request.http-method"), "{line}");
    }
    let got = running.ask(At::Public, "POST /actors/a/b/c/d", &[]).await;
    assert_eq!(got, told(404, "request.no-route"));
    assert_eq!(running.ask(At::Admin, "GET /admin/actors", &[]).await, told(200, ""));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_are_refused_on_loopback() {
    let running = start(HostLimits::default()).await;
    let foreign = told(403, "request.foreign-origin");
    for headers in [
        ["host: evil.example", "accept: */*"],
        ["host: 127.0.0.1:7070", "origin: http://evil.example"],
        ["host: 127.0.0.1:7070", "origin: null"],
        ["host: 127.0.0.1:7070", "sec-fetch-site: cross-site"],
        ["host: 127.0.0.1:7070", "host: evil.example"],
    ] {
        for (at, line) in [(At::Public, "POST /actors/a/b/c"), (At::Admin, "GET /admin/actors")] {
            assert_eq!(running.ask(at, line, &headers).await, foreign, "{headers:?}");
        }
    }
    let same = ["host: localhost:7070", "origin: http://localhost:7070"];
    assert_eq!(running.ask(At::Admin, "GET /admin/actors", &same).await, told(200, ""));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_may_do_all_and_callers_may_call() {
    let (line, call) = ("GET /admin/actors", "POST /actors/a/b/c");
    let (refused, missing) = (told(401, "request.unauthorized"), told(404, "request.kind-missing"));
    let bearer = |token: &str| format!("authorization: Bearer {token}");
    let running = start(HostLimits::default()).await;
    for wrong in
        [bearer("operators-012345678X"), bearer(CALLERS), bearer(""), "authorization: x".to_owned()]
    {
        assert_eq!(running.ask(At::Admin, line, &[&wrong]).await, refused, "{wrong}");
    }
    assert_eq!(running.ask(At::Admin, line, &[&bearer(OPERATORS)]).await, told(200, ""));
    assert_eq!(running.ask(At::Admin, "GET /health", &["authorization: x"]).await, told(200, ""));
    assert_eq!(running.ask(At::Public, call, &[]).await, missing, "callers on loopback need none");
    running.end().await;

    let callers = Some(Token::new(CALLERS).expect("valid"));
    let running =
        start_with(HostLimits::default(), |config| ServerConfig { callers, ..config }).await;
    let forbidden = told(403, "request.forbidden");
    for line in [line, "PUT /admin/kinds/a", "DELETE /admin/actors/a/b", "POST /admin/verify"] {
        assert_eq!(running.ask(At::Admin, line, &[&bearer(CALLERS)]).await, forbidden, "{line}");
    }
    assert_eq!(running.ask(At::Admin, line, &[&bearer(OPERATORS)]).await, told(200, ""));
    assert_eq!(running.ask(At::Public, call, &[]).await, refused);
    for token in [CALLERS, OPERATORS] {
        assert_eq!(running.ask(At::Public, call, &[&bearer(token)]).await, missing, "{token}");
    }
    assert_eq!(running.ask(At::Public, "GET /ready", &[]).await, told(200, ""));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_do_not_read_are_refused_with_their_code() {
    let running = start(HostLimits { body_bytes_max: 1000, ..HostLimits::default() }).await;
    let json = ["content-type: application/json"];
    let call = "POST /actors/a/b/c";
    let sql = "POST /admin/actors/a/b/sql";
    for (at, line, headers, body, status, code) in [
        (At::Public, "POST /actors/A/b/c", &json[..], "[]", 400, "request.invalid-actor"),
        (At::Public, "POST /actors/a/%FF/c", &json, "[]", 400, "request.malformed"),
        (At::Public, call, &[], "[1]", 415, "request.content-type"),
        (At::Public, call, &json, "[1]", 404, "request.kind-missing"),
        (At::Admin, sql, &json, "{\"sq\":1}", 400, "request.invalid-body"),
        (At::Admin, sql, &json, "{\"sql\":\"SELECT 1\"}", 404, "request.kind-missing"),
        (At::Admin, sql, &json, "{\"sql\":\"\",\"parameters\":[[]]}", 400, "sql.invalid-argument"),
        (At::Admin, "GET /admin/actors?limit=x", &[], "", 400, "request.malformed"),
        (At::Admin, "GET /admin/actors?kin=x", &[], "", 400, "request.malformed"),
        (At::Admin, "PUT /admin/kinds/a", &json, "{}", 415, "request.content-type"),
        (At::Admin, "GET /admin/kinds/a", &[], "", 404, "request.kind-missing"),
        (At::Admin, "GET /admin/actors/a/b", &[], "", 404, "request.actor-missing"),
        (At::Admin, "GET /admin/actors/a/b/export", &[], "", 404, "request.actor-missing"),
        (At::Admin, "POST /admin/actors/a/b/verify", &[], "", 404, "request.actor-missing"),
        (At::Admin, "DELETE /admin/actors/a/b", &[], "", 404, "request.actor-missing"),
    ] {
        assert_eq!(running.send(at, line, headers, body).await, told(status, code), "{line}");
    }
    let large = json!([" ".repeat(1000)]).to_string();
    let got = running.send(At::Public, call, &json, &large).await;
    assert_eq!(got, told(413, "request.payload-too-large"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_read_in_two_ways_are_refused_before_any_route() {
    let running = start(HostLimits::default()).await;
    let (json, gzip) = ("content-type: application/json", "content-encoding: gzip");
    let utf16 = "content-type: application/json; charset=utf-16";
    let call = "POST /actors/a/b/c";
    for (at, line, headers, body, status, code) in [
        (At::Public, "POST /actors/a/%/c", &[json][..], "[1]", 400, "request.malformed"),
        (At::Public, "POST /actors/a/%zz/c", &[json], "[1]", 400, "request.malformed"),
        (At::Admin, "GET /admin/actors/a/%zz", &[], "", 400, "request.malformed"),
        (At::Public, call, &[json, json], "[1]", 400, "request.malformed"),
        (At::Public, call, &[json, gzip], "[1]", 415, "request.content-type"),
        (At::Public, call, &[utf16], "[1]", 415, "request.content-type"),
    ] {
        let got = running.send(at, line, headers, body).await;
        assert_eq!(got, told(status, code), "{line} {headers:?}");
    }
    running.end().await;
}

/// A host with `body_bytes_max` below a kind's default used to refuse every deploy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_host_takes_default_deploys_and_bounds_their_calls() {
    let running = start(HostLimits { body_bytes_max: 1000, ..HostLimits::default() }).await;
    let host = running.server.host();
    let wasm = wat::parse_str(
        r#"(component
             (core module $m (func (export "f") (result i32) (i32.const 1)))
             (core instance $i (instantiate $m))
             (func (export "run") (result s32) (canon lift (core func $i "f"))))"#,
    )
    .expect("a component");
    let (json, call) = (["content-type: application/json"], "POST /actors/a/b/c");
    let mut manifest = host.manifest();
    manifest.methods = vec!["run".to_owned()];
    host.deploy("a", wasm.clone(), manifest.clone()).await.expect("deploys");
    let got = running.send(At::Public, call, &json, "[1234567890]").await;
    assert_eq!(got, told(404, "request.method-missing"));
    assert_eq!(manifest.limits.payload_bytes_max, 1000);
    manifest.limits.payload_bytes_max = 10;
    host.deploy("a", wasm, manifest).await.expect("deploys");
    // The announced size is refused before any of the body is read.
    let got = running.send(At::Public, call, &json, "[1234567890").await;
    assert_eq!(got, told(413, "request.payload-too-large"));
    let got = running.send(At::Public, "POST /actors/a/b/run", &json, "[1").await;
    assert_eq!(got, told(400, "request.invalid-body"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_cannot_work_is_refused_and_deploys_nothing() {
    let running = start(HostLimits::default()).await;
    let deploy = "PUT /admin/kinds/a";
    let wasm = "content-type: application/wasm";
    let got = running.send(At::Admin, deploy, &[wasm], "not wasm").await;
    assert_eq!(got, told(422, "request.component"));
    let manifest = r#"stockade-manifest: {"limits":{"rows":1}}"#;
    let got = running.send(At::Admin, deploy, &[wasm, manifest], "not wasm").await;
    assert_eq!(got, told(422, "request.manifest"));
    let got = running.ask(At::Admin, "GET /admin/kinds/a", &[]).await;
    assert_eq!(got, told(404, "request.kind-missing"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_bodies_do_not_hold_a_connection() {
    let limits =
        HostLimits { request_read_max: Duration::from_millis(200), ..HostLimits::default() };
    let running = start(limits).await;
    let head = tokio::time::timeout(
        Duration::from_secs(10),
        running.raw(At::Public, "GET /health HTTP/1.1\r\nhost: localh"),
    );
    let head = head.await.expect("the connection is closed");
    assert_eq!(read(&head).2, "request.head-timeout", "{head}");
    let body = "POST /actors/a/b/c HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 10\r\n\r\n[1";
    let body = tokio::time::timeout(Duration::from_secs(10), running.raw(At::Public, body));
    let body = body.await.expect("the request is answered");
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_its_room_the_gateway_says_overloaded_and_still_answers_probes() {
    let running = start(HostLimits { requests_max: 1, ..HostLimits::default() }).await;
    let running = Arc::new(running);
    let held = "POST /actors/a/b/c HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 10\r\n\r\n[1";
    let address = running.server.addresses().listen;
    let overloaded = told(503, "host.overloaded");
    // The held request has to get the room; then everything else is refused while it stays. A held
    // request that arrived during another request was refused itself, and is sent again.
    let held = async {
        loop {
            let mut holding = TcpStream::connect(address).await.expect("connects");
            holding.write_all(held.as_bytes()).await.expect("writes");
            for _ in 0..100 {
                if running.ask(At::Public, "GET /kinds/a", &[]).await == overloaded {
                    return holding;
                }
            }
        }
    };
    let holding = tokio::time::timeout(Duration::from_secs(10), held).await.expect("is refused");
    assert_eq!(running.ask(At::Public, "GET /health", &[]).await, told(200, ""));
    // Operators have room of their own.
    assert_eq!(running.ask(At::Admin, "GET /admin/actors", &[]).await, told(200, ""));
    drop(holding);
    let admitted = async {
        while running.ask(At::Public, "GET /kinds/a", &[]).await == overloaded {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), admitted).await.expect("room is given back");
    let Ok(running) = Arc::try_unwrap(running) else { panic!("one owner") };
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_shutdown_nothing_listens() {
    let running = start(HostLimits::default()).await;
    let addresses = running.server.addresses();
    running.end().await;
    assert!(TcpStream::connect(addresses.listen).await.is_err());
    assert!(TcpStream::connect(addresses.admin).await.is_err());
}
