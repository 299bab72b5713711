//! The program without a server: what it says of itself, and its exit codes.
//!
//! That this test exists also makes cargo build the program along with the tests, from the same
//! features: the suites in `tests/` start it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn stockade(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockade")).args(arguments).output().unwrap()
}

#[test]
fn help_teaches_every_command() {
    let help = String::from_utf8(stockade(&["--help"]).stdout).unwrap();
    for command in [
        "serve", "deploy", "call", "kinds", "describe", "actors", "sql", "export", "verify",
        "fault", "fault",
    ] {
        assert!(help.contains(command), "{command} is missing in:\n{help}");
        let own = stockade(&[command, "--help"]);
        assert!(own.status.success(), "{command} --help");
        assert!(own.stdout.len() > 200, "{command} --help says next to nothing");
    }
}

#[test]
fn exit_codes_tell_usage_from_an_unreachable_server() {
    assert_eq!(stockade(&["no-such-command"]).status.code(), Some(2));
    // Port 1 of loopback: nothing listens there.
    let unreachable = stockade(&["--admin", "127.0.0.1:1", "actors", "list"]);
    assert_eq!(unreachable.status.code(), Some(3));
    let text = String::from_utf8(unreachable.stderr).unwrap();
    assert!(text.contains("stockade serve"), "it should say what to do: {text}");
}
