//! The edge of the real program: who may do what, TLS, HTTP/2, compression.

mod gzip;
mod http2;
mod tls;
mod tokens;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use stockade_tests::program::{self, Program};

/// Long enough for a loaded machine, where the event must happen at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a request exactly as written and reads until the other side closes.
fn raw(address: &str, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end: {error}"),
        // A reset after the answer counts as an answer, too.
        _ => answer,
    }
}

/// Starts the program with a configuration file.
fn configured(data: &Path, config: &str, flags: &[&str]) -> Program {
    std::fs::create_dir_all(data).unwrap();
    let path = data.with_extension("toml");
    std::fs::write(&path, config).unwrap();
    let path = path.display().to_string();
    let flags: Vec<&str> = ["--config", &path].iter().chain(flags).copied().collect();
    Program::serve_with(data, &flags).unwrap()
}

/// Runs a command; its exit code and the `group.code` of its error.
fn refused(arguments: &[&str], environment: &[(&str, &Path)]) -> (i32, String, String) {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let (exit, _, error) = program::run_in(&arguments, environment).unwrap();
    let body: Json = serde_json::from_str(error.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{error}"));
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (exit, format!("{}.{}", text("group"), text("code")), text("message"))
}
