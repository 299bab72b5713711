//! The program of `make cluster`, once and without a terminal: a primary with its standby, three nodes,
//! the owner killed, the primary killed and the standby promoted, all of it ended.

use std::process::{Command, Stdio};

use stockade_tests::program;

#[test]
fn a_cluster_survives_the_kill_of_an_owner_in_one_command() {
    let output = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .env("ONCE", "1")
        .env("STOCKADE_PROGRAM", program::path().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{out}\n{error}");
    for (said, times) in [
        ("ok(42)", 2),
        ("has the next answer", 8),
        ("outcome unknown to its caller", 8),
        ("All of it held", 1),
        ("all of it has ended", 1),
    ] {
        assert_eq!(out.matches(said).count(), times, "{said}:\n{out}");
    }
}
