//! The example works as its documentation says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use stockade_tests::guest;

#[test]
fn it_hosts_an_actor_whose_number_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("counter.wasm");
    std::fs::write(&component, guest::COUNTER.wasm().unwrap()).unwrap();
    for expected in [5, 10] {
        let mut embed = Command::new(env!("CARGO_BIN_EXE_embed"));
        let output = embed.arg(&component).arg(dir.path().join("data")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.starts_with(&format!("Ok({expected}) as of commit ")), "{said}");
        assert!(said.contains("fix: by: expected s64"), "{said}");
    }
}
