//! HTTP/2: with prior knowledge and by ALPN, within its bounds.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::Program;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tls::{Files, connect, serve};
use super::{PATIENCE, configured};

type Request = ureq::http::Request<()>;

struct Client {
    send: SendRequest<Bytes>,
    /// The task that drives the connection; it ends with the connection.
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream, &Builder::new()).await
    }

    async fn over<S>(stream: S, builder: &Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Status, fields and body of an answer.
    async fn ask(&mut self, request: Request, body: &str) -> (u16, Json, Json) {
        self.send = self.send.clone().ready().await.unwrap();
        let (answer, mut stream) = self.send.send_request(request, body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(Bytes::from(body.to_owned()), true).unwrap();
        }
        let (head, body) = answer.await.unwrap().into_parts();
        let names: Vec<String> = head.headers.keys().map(ToString::to_string).collect();
        let body = whole(body).await;
        let body = serde_json::from_slice(&body).unwrap_or(Json::Null);
        (head.status.as_u16(), json!(names), body)
    }
}

async fn whole(mut body: RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        bytes.extend_from_slice(&part);
    }
    bytes
}

fn post(path: &str) -> Request {
    let request = ureq::http::Request::post(format!("http://127.0.0.1{path}"));
    request.header("content-type", "application/json").body(()).unwrap()
}

fn echo() -> Request {
    post("/actors/typed_all/x/echo-string")
}

fn start(config: &str) -> (Program, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let program = configured(&dir.path().join("data"), config, &[]);
    program.deploy("typed_all", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    (program, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_refusals_are_as_in_http_1() {
    let (program, _dir) = start("");
    let mut client = Client::new(&program.listen).await;
    let (status, names, body) = client.ask(echo(), r#"["ü"]"#).await;
    assert_eq!((status, body), (200, json!("ü")), "{names}");
    assert!(names.to_string().contains("stockade-txid"), "{names}");
    let large = "x".repeat(1_000_000);
    let (status, _, body) = client.ask(echo(), &json!([large]).to_string()).await;
    assert_eq!((status, body.as_str().map(str::len)), (200, Some(large.len())));
    for (request, body, status, code) in [
        (echo(), "[1", 400, "invalid-body"),
        (post("/nowhere"), "[]", 404, "no-route"),
        (post("/actors/typed_all/%zz/echo-string"), "", 400, "malformed"),
        (post("/actors/typed_all/../echo-string"), "[]", 400, "invalid-actor"),
        (post("/admin/verify"), "", 421, "wrong-listener"),
        (post(&format!("/{}", "a".repeat(9_000))), "", 414, "uri-too-long"),
    ] {
        let (found, names, told) = client.ask(request, body).await;
        assert_eq!((found, &told["code"]), (status, &json!(code)), "{told}");
        assert!(!names.to_string().contains("\"connection\""), "{names}");
    }
    // Names of other hosts are refused as everywhere on loopback; in HTTP/2 the target holds the
    // name.
    let request = ureq::http::Request::post("http://evil.example/actors/typed_all/x/echo-string");
    let (status, _, told) = client.ask(request.body(()).unwrap(), "").await;
    assert_eq!((status, &told["code"]), (403, &json!("foreign-origin")));
    // One connection carries many requests at the same time.
    assert_eq!(client.send.current_max_send_streams(), 100);
    let answers = (0..50).map(|number| {
        let (answer, mut stream) = client.send.send_request(echo(), false).unwrap();
        stream.send_data(Bytes::from(json!([number.to_string()]).to_string()), true).unwrap();
        answer
    });
    for (number, answer) in answers.collect::<Vec<_>>().into_iter().enumerate() {
        let body = whole(answer.await.unwrap().into_body()).await;
        assert_eq!(body, json!(number.to_string()).to_string().into_bytes());
    }
    // An orderly stop answers the requests and then says GOAWAY.
    program.stop().unwrap();
    timeout(PATIENCE, client.connection).await.expect("it ends").unwrap().ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_agrees_on_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    let program = serve(&files, &dir.path().join("data"), "");
    let (stream, agreed) = connect(&files, &program.listen, &[b"h2", b"http/1.1"]).await;
    assert_eq!(agreed, b"h2");
    let mut client = Client::over(stream, &Builder::new()).await;
    let health = ureq::http::Request::get("https://127.0.0.1/health").body(()).unwrap();
    let (status, _, body) = client.ask(health, "").await;
    assert_eq!((status, body), (200, json!({ "status": "ok" })));
    let (mut stream, agreed) = connect(&files, &program.listen, &[b"http/1.1"]).await;
    assert_eq!(agreed, b"http/1.1");
    let request = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Requests that are sent and cancelled (CVE-2023-44487) end the connection, not the host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_its_requests_back_is_cut() {
    let (program, _dir) = start("");
    let mut client = Client::new(&program.listen).await;
    assert_eq!(client.ask(echo(), r#"["a"]"#).await.0, 200);
    // Each request has begun when the request behind it is answered; that answer counts for the
    // client.
    let mut rounds = 0;
    while rounds < 400 && take_back(&mut client, 3).await {
        rounds += 1;
    }
    assert!((50..400).contains(&rounds), "cut after {rounds} rounds");
    timeout(PATIENCE, client.connection).await.expect("it ends").unwrap().ok();
    let mut next = Client::new(&program.listen).await;
    assert_eq!(next.ask(echo(), r#"["b"]"#).await.2, json!("b"));
    // A few cancelled requests are allowed.
    assert!(take_back(&mut next, 50).await);
    assert_eq!(next.ask(echo(), r#"["c"]"#).await.2, json!("c"));
}

/// Begins requests and cancels them; returns whether the connection continues.
async fn take_back(client: &mut Client, count: usize) -> bool {
    let mut begun = Vec::new();
    for _ in 0..count {
        let Ok(ready) = client.send.clone().ready().await else { return false };
        client.send = ready;
        // With a body to come, so that the host waits for it.
        let Ok(request) = client.send.send_request(echo(), false) else { return false };
        begun.push(request);
    }
    let health = ureq::http::Request::get("http://127.0.0.1/health").body(()).unwrap();
    let Ok(mut ready) = client.send.clone().ready().await else { return false };
    let Ok((answer, _)) = ready.send_request(health, true) else { return false };
    if answer.await.is_err() {
        return false;
    }
    for (_, stream) in &mut begun {
        stream.send_reset(Reason::CANCEL);
    }
    true
}

/// A client that requests much and reads nothing, while its connection looks alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_ends_the_connection() {
    let (program, _dir) = start("[host]\nwrite_stall_max_ms = 500\n");
    let stream = TcpStream::connect(&program.listen).await.unwrap();
    let mut builder = Builder::new();
    let mut client = Client::over(stream, builder.initial_window_size(1_000)).await;
    client.send = client.send.clone().ready().await.unwrap();
    let (answer, mut stream) = client.send.send_request(echo(), false).unwrap();
    let body = json!(["x".repeat(300_000)]).to_string();
    stream.send_data(Bytes::from(body), true).unwrap();
    let body = answer.await.unwrap().into_body();
    // The client reads nothing of this answer, and the host answers others in the meantime.
    let health = || ureq::http::Request::get("http://127.0.0.1/health").body(()).unwrap();
    let cut = timeout(PATIENCE, async {
        loop {
            let Ok(ready) = client.send.clone().ready().await else { break };
            client.send = ready;
            let Ok((answer, _)) = client.send.send_request(health(), true) else { break };
            if answer.await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    cut.await.expect("the connection is cut");
    drop(body);
    assert_eq!(Client::new(&program.listen).await.ask(health(), "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_told_to_go() {
    let (program, _dir) = start("[host]\nrequest_read_max_ms = 300\n");
    let mut client = Client::new(&program.listen).await;
    assert_eq!(client.ask(echo(), r#"["a"]"#).await.0, 200);
    timeout(PATIENCE, client.connection).await.expect("it is told to go").unwrap().ok();
    // A client that sends the preface and then nothing.
    for begin in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(&program.listen).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut all = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it is closed").ok();
        assert!(!all.starts_with(b"HTTP/1.1"), "no answer of another version: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_bounded() {
    let (program, _dir) = start("");
    let mut client = Client::new(&program.listen).await;
    assert_eq!(client.ask(echo(), r#"["a"]"#).await.0, 200);
    let mut large = echo();
    let value = "x".repeat(80_000).parse().unwrap();
    large.headers_mut().insert("x", value);
    client.send = client.send.clone().ready().await.unwrap();
    // The library of both sides knows the bound, and need not send such a head; a client without it
    // gets a refusal.
    let refused = match client.send.send_request(large, true) {
        Err(_) => true,
        Ok((answer, _)) => answer.await.map_or(true, |answer| answer.status() == 431),
    };
    assert!(refused);
    let mut next = Client::new(&program.listen).await;
    assert_eq!(next.ask(echo(), r#"["b"]"#).await.0, 200);
}
