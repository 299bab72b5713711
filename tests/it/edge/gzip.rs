//! Large answers are compressed for clients that ask for it, and stay the same.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::{ADMIN_TOKEN, Program};

use super::{configured, raw};

/// Head and body of the answer to a call that returns its argument.
fn echo(program: &Program, text: &str, accept: &str) -> (String, Vec<u8>) {
    let body = json!([text]).to_string();
    let request = format!(
        "POST /actors/typed_all/x/echo-string HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\n{accept}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    split(&raw(&program.listen, &request))
}

fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

#[test]
fn large_answers_are_compressed_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let program = configured(&dir.path().join("data"), "", &[]);
    program.deploy("typed_all", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    let (gzip, text) = ("accept-encoding: br;q=1, gzip\r\n", "abcdefgh".repeat(10_000));
    let plain = json!(text).to_string();
    let (head, body) = echo(&program, &text, gzip);
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"));
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(head.contains("stockade-txid"), "what else is told stays: {head}");
    assert!(body.len() < plain.len() / 10, "{} bytes", body.len());
    let mut unpacked = String::new();
    GzDecoder::new(body.as_slice()).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);

    for accept in ["", "accept-encoding: gzip;q=0\r\n", "accept-encoding: br\r\n"] {
        let (head, body) = echo(&program, &text, accept);
        assert!(!head.contains("content-encoding"), "{accept}: {head}");
        assert!(head.contains("vary: accept-encoding"), "{accept}: {head}");
        assert_eq!(body, plain.as_bytes(), "{accept}");
    }
    // Small answers, and files, are not compressed.
    let (head, _) = echo(&program, "abc", gzip);
    assert!(!head.contains("content-encoding") && !head.contains("vary"), "{head}");
    let export = format!(
        "GET /admin/actors/typed_all/x/export HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer {ADMIN_TOKEN}\r\n{gzip}\r\n"
    );
    let (head, _) = split(&raw(&program.admin, &export));
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("content-encoding"), "{head}");
    // Errors are answers, too.
    program.stop().unwrap();
    let config = "[host]\ncompress_bytes_min = 50\n";
    let program = configured(&dir.path().join("data"), config, &[]);
    let request =
        format!("GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{gzip}\r\n");
    let (head, _) = split(&raw(&program.listen, &request));
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}
