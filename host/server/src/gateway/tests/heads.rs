//! Heads that cannot be read, and connections that stay open after a refusal.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{At, Running, read, start};
use stockade::limits::{DRAIN_BYTES_MAX, HEAD_BYTES_MAX, HostLimits};

/// An answer that hyper makes by itself has the body of all errors, and names the field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_cannot_be_read_is_told_like_any_error() {
    let running = start(HostLimits::default()).await;
    let fields = |count: usize| "x: y\r\n".repeat(count);
    let large = format!("x: {}\r\n", "y".repeat(HEAD_BYTES_MAX));
    let slightly = format!("x: {}\r\n", "y".repeat(HEAD_BYTES_MAX - 40));
    let long = "a".repeat(9_000);
    for (request, status, code, named) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "request.malformed", "HTTP/1.1"),
        (
            "GET / HTTP/1.1\r\nhost: localhost\r\n: x\r\n\r\n".to_owned(),
            400,
            "request.malformed",
            "",
        ),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), 400, "request.malformed", ""),
        ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), 400, "request.malformed", ""),
        (
            post("content-length: 1\r\ncontent-length: 2\r\n", "a"),
            400,
            "request.malformed",
            "content-length",
        ),
        (post("content-length: +1\r\n", "a"), 400, "request.malformed", "content-length"),
        (post("transfer-encoding: gzip\r\n", ""), 400, "request.malformed", "transfer-encoding"),
        (
            post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            400,
            "request.malformed",
            "transfer-encoding",
        ),
        (
            post("content-length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
            "request.malformed",
            "content-length",
        ),
        (
            post("transfer-encoding: chunked\r\nCONTENT-LENGTH: 5\r\n", "0\r\n\r\n"),
            400,
            "request.malformed",
            "content-length",
        ),
        (
            post("content-encoding: gzip\r\ncontent-length: 1\r\n", "a"),
            415,
            "request.content-type",
            "content-encoding",
        ),
        (
            post("content-type: application/json; charset=utf-16\r\n", ""),
            415,
            "request.content-type",
            "content-type",
        ),
        (post(&large, ""), 431, "request.head-too-large", "65536"),
        (post(&slightly, ""), 431, "request.head-too-large", "65536"),
        (post(&fields(101), ""), 431, "request.head-too-large", "100"),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            414,
            "request.uri-too-long",
            "8192",
        ),
    ] {
        let begin: String = request.chars().take(80).collect();
        for at in [At::Public, At::Admin] {
            let request = match at {
                At::Public => request.clone(),
                At::Admin => {
                    let token = format!("\r\nauthorization: Bearer {}\r\n", super::OPERATORS);
                    request.replacen("\r\n", &token, 1)
                }
            };
            // The client asks for one answer; answers that leave the connection open are cut here.
            let answer = first(&running, at, &request).await;
            let (head, found, told) = read(&answer);
            assert_eq!((found, told.as_str()), (status, code), "{begin}: {answer}");
            assert!(answer.contains(named), "{begin}: {answer}");
            assert!(head.contains("content-type: application/json"), "{begin}: {answer}");
        }
    }
    running.end().await;
}

/// A broken head after other requests on the same connection, in the same write or later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_head_behind_a_good_one_is_told_too() {
    let running = start(HostLimits::default()).await;
    let good = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = running.raw(At::Public, &format!("{good}{good}nonsense\r\n\r\n")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("\"request\"").count(), 1, "{answer}");
    assert!(answer.contains("HTTP/1.1 400 Bad Request"), "{answer}");
    // A slow head gets an answer, and an idle connection just ends.
    running.end().await;
    let limits =
        HostLimits { request_read_max: Duration::from_millis(200), ..HostLimits::default() };
    let running = start(limits).await;
    let mut stream = TcpStream::connect(running.server.addresses().listen).await.expect("connects");
    stream.write_all(good.as_bytes()).await.expect("writes");
    let answer = until_its_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.write_all(b"GET /hea").await.expect("writes");
    let answer = until_its_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout"), "{answer}");
    assert!(answer.contains("head-timeout"), "{answer}");
    assert_eq!(running.raw(At::Public, "").await, "");
    let answer = running.raw(At::Public, good).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    running.end().await;
}

/// A refusal costs the client its connection only if the body is too large to be read and dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_after_a_refusal() {
    let running = start(HostLimits { body_bytes_max: 200_000, ..HostLimits::default() }).await;
    let json = "content-type: application/json\r\n";
    for (line, fields, status) in [
        ("POST /actors/A/b/c", json, 400),
        ("POST /actors/a/%FF/c", json, 400),
        ("POST /actors/a/%zz/c", json, 400),
        ("POST /actors/a/../c", json, 400),
        ("POST /nowhere", json, 404),
        ("PUT /actors/a/b/c", json, 405),
        ("POST /actors/a/b/c", "content-type: text/plain\r\n", 415),
        ("POST /actors/a/b/c", "content-encoding: br\r\n", 415),
        ("POST /admin/verify", "", 421),
        ("POST /actors/a/b/c", "origin: http://evil.example\r\n", 403),
    ] {
        let request = |bytes: usize| {
            let body = "[".repeat(bytes);
            format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\n{fields}content-length: {bytes}\r\n\r\n{body}"
            )
        };
        let good = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // The body comes later than its head, so that none of it is read by chance.
        for bytes in [3, DRAIN_BYTES_MAX] {
            let whole = request(bytes);
            let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
            let answer = in_parts(&running, &[&format!("{head}\r\n\r\n"), body, good]).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {bytes}: {answer}");
            assert!(answer.contains("HTTP/1.1 200 OK"), "{line} {bytes}: {answer}");
        }
    }
    // The body is too large to be read and dropped: the answer says so, and the client does not send
    // another request in vain.
    let bytes = DRAIN_BYTES_MAX + 1;
    let head =
        format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\n\r\n");
    let answer = in_parts(&running, &[&head, &"a".repeat(1000)]).await;
    assert!(answer.contains("connection: close"), "{answer}");
    // A body that is held back until the host asks for it never comes.
    let head = "POST /nowhere HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-length: 5\r\n\r\n";
    let answer = in_parts(&running, &[head]).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    running.end().await;
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /actors/a/b/c HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n{body}")
}

/// The first answer to a request, whatever happens to the connection.
async fn first(running: &Running, at: At, request: &str) -> String {
    let addresses = running.server.addresses();
    let address = match at {
        At::Public => addresses.listen,
        At::Admin => addresses.admin,
    };
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // The request may be refused before all of it is sent.
    drop(stream.write_all(request.as_bytes()).await);
    until_its_end(&mut stream).await
}

/// Reads one answer, or all of them.
async fn until_its_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        match stream.read_buf(&mut answer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    String::from_utf8(answer).expect("UTF-8")
}

/// Sends a request in parts, with a pause between them, and reads to the end.
async fn in_parts(running: &Running, parts: &[&str]) -> String {
    let mut stream = TcpStream::connect(running.server.addresses().listen).await.expect("connects");
    for part in parts {
        drop(stream.write_all(part.as_bytes()).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).expect("UTF-8")
}
