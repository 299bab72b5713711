//! Pages of other sites and names of proxies, allowed by lists.

use super::{At, CALLERS, Running, read, start, start_with, told};
use crate::gateway::auth::Token;
use crate::server::ServerConfig;
use stockade::limits::HostLimits;

const PAGE: &str = "origin: https://app.example";
const HOST: &str = "host: 127.0.0.1:7070";

async fn listing() -> Running {
    let callers = Some(Token::new(CALLERS).expect("valid"));
    let origins = vec!["https://app.example".parse().expect("an origin")];
    let hosts = vec!["chat.example".parse().expect("a name")];
    start_with(HostLimits::default(), |config| ServerConfig { callers, origins, hosts, ..config })
        .await
}

async fn answer(running: &Running, at: At, line: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    running.raw(at, &format!("{line} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_page_may_call_and_reads_why_not() {
    let running = listing().await;
    let asks =
        ["access-control-request-method: POST", "access-control-request-headers: authorization"];
    let preflight = "OPTIONS /actors/a/b/c";
    // The preflight is answered before the token is checked, since no browser sends one with it.
    let told_so = answer(&running, At::Public, preflight, &[HOST, PAGE, asks[0], asks[1]]).await;
    assert!(told_so.starts_with("HTTP/1.1 204"), "{told_so}");
    for field in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: GET, POST",
        "access-control-allow-headers: authorization, content-type, accept, \
         idempotency-key, stockade-txid, stockade-timeout-ms",
        "access-control-max-age: 600",
        "vary: origin",
    ] {
        assert!(told_so.contains(field), "{field}: {told_so}");
    }
    // A page can read refusals of every kind.
    let token = format!("authorization: Bearer {CALLERS}");
    for (line, headers, code) in [
        ("POST /actors/a/b/c", vec![HOST, PAGE], "request.unauthorized"),
        ("POST /actors/a/b/c", vec![HOST, PAGE, &token], "request.kind-missing"),
        ("POST /actors/a/%zz/c", vec![HOST, PAGE, &token], "request.malformed"),
        ("POST /nowhere", vec![HOST, PAGE, &token], "request.no-route"),
        ("DELETE /actors/a/b/c", vec![HOST, PAGE, &token], "request.http-method"),
    ] {
        let refused = answer(&running, At::Public, line, &headers).await;
        let (head, _, found) = read(&refused);
        assert_eq!(found, code, "{refused}");
        assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
        assert!(head.contains("access-control-expose-headers: stockade-generation"), "{head}");
        assert!(head.contains("vary: origin"), "{head}");
    }
    // An answer to a request without an origin says that it depends on the origin, and allows
    // nothing.
    let plain = answer(&running, At::Public, "GET /health", &[HOST]).await;
    assert!(plain.contains("vary: origin") && !plain.contains("access-control"), "{plain}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_not_listed_may_nothing() {
    let running = listing().await;
    let asks = "access-control-request-method: POST";
    for (at, origin) in [
        (At::Public, "origin: https://app.example.evil"),
        (At::Public, "origin: http://app.example"),
        (At::Public, "origin: null"),
        (At::Public, "origin: http://127.0.0.1:7070"),
        // The lists are for callers.
        (At::Admin, PAGE),
    ] {
        let refused = answer(&running, at, "OPTIONS /actors/a/b/c", &[HOST, origin, asks]).await;
        assert_eq!(read(&refused).2, "request.foreign-origin", "{refused}");
        assert!(!refused.contains("access-control"), "{refused}");
    }
    let token = format!("authorization: Bearer {}", super::OPERATORS);
    let refused = answer(&running, At::Admin, "GET /admin/actors", &[HOST, PAGE, &token]).await;
    assert_eq!(read(&refused).2, "request.foreign-origin", "{refused}");
    running.end().await;
    let running = start(HostLimits::default()).await;
    let refused = answer(&running, At::Public, "OPTIONS /actors/a/b/c", &[HOST, PAGE, asks]).await;
    assert_eq!(read(&refused).2, "request.foreign-origin", "{refused}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_a_proxy_is_taken_if_it_is_listed() {
    let running = listing().await;
    let line = "GET /admin/actors";
    for headers in [
        ["host: chat.example", "accept: */*"],
        ["host: CHAT.example:8443", "accept: */*"],
        // Whether the proxy speaks TLS does not matter.
        ["host: chat.example", "origin: https://chat.example"],
        ["host: chat.example", "origin: http://chat.example"],
    ] {
        assert_eq!(running.ask(At::Admin, line, &headers).await, told(200, ""), "{headers:?}");
    }
    let foreign = told(403, "request.foreign-origin");
    for headers in [
        ["host: other.example", "accept: */*"],
        ["host: chat.example.evil", "accept: */*"],
        ["host: chat.example", "origin: https://evil.example"],
        ["host: 127.0.0.1:7070", "origin: https://127.0.0.1:7070"],
    ] {
        assert_eq!(running.ask(At::Admin, line, &headers).await, foreign, "{headers:?}");
    }
    running.end().await;
}
