//! The program without a server: its help, and its exit codes.
//!
//! This test also makes cargo build the program along with the tests, from the same features: the
//! suites in `tests/` start it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use stockade_depot::EmbeddedStore;
use stockade_depot::store::embedded::EmbeddedConfig;

fn stockade(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockade")).args(arguments).output().unwrap()
}

#[test]
fn help_teaches_every_command() {
    let help = String::from_utf8(stockade(&["--help"]).stdout).unwrap();
    for command in [
        "serve", "deploy", "call", "kinds", "describe", "actors", "sql", "export", "verify",
        "store", "fault",
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
    // No server listens on port 1 of loopback.
    let unreachable = stockade(&["--admin", "127.0.0.1:1", "actors", "list"]);
    assert_eq!(unreachable.status.code(), Some(3));
    let text = String::from_utf8(unreachable.stderr).unwrap();
    assert!(text.contains("stockade serve"), "it should say what to do: {text}");
}

#[test]
fn store_tells_its_format_and_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    for action in ["check", "upgrade"] {
        let none = stockade(&["store", action, "--data-dir", data_dir]);
        assert_eq!(none.status.code(), Some(1), "{action}");
        let text = String::from_utf8(none.stderr).unwrap();
        assert!(text.contains("global.db is missing"), "{text}");
    }
    let config = EmbeddedConfig::new(directory.path().join("store"));
    drop(EmbeddedStore::open(&config).unwrap());
    let check = stockade(&["store", "check", "--data-dir", data_dir, "--json"]);
    assert_eq!(check.status.code(), Some(0));
    let found: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!((&found["ok"], &found["reads"]), (&true.into(), &3.into()));
    assert_eq!(found["files"].as_array().unwrap().len(), 3);
    let upgrade = stockade(&["store", "upgrade", "--data-dir", data_dir]);
    assert_eq!(upgrade.status.code(), Some(0));
    assert_eq!(String::from_utf8(upgrade.stdout).unwrap(), "nothing to convert\n");
    // A file of the former format, by its header alone.
    let shard = config.directory.join("shard-01.db");
    std::fs::remove_file(&shard).unwrap();
    let old = rusqlite::Connection::open(&shard).unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x53544b44; PRAGMA user_version = 2; CREATE TABLE t (x)",
    )
    .unwrap();
    drop(old);
    let check = stockade(&["store", "check", "--data-dir", data_dir]);
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8(check.stdout).unwrap().contains("stockade store upgrade"));
    let serve = stockade(&["serve", "--data-dir", data_dir, "--listen", "127.0.0.1:0"]);
    assert_eq!(serve.status.code(), Some(1));
    let text = String::from_utf8(serve.stderr).unwrap();
    assert!(text.contains("has format 2") && text.contains("stockade store upgrade"), "{text}");
}
