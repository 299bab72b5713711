//! A system that allows little: address space (`ulimit -v`), sizes of files (`ulimit -f`), a disk that
//! cannot be written. A host works with it, or says what is in its way.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::{self, Program};

/// The program under a limit, as `prlimit` takes it.
fn limited(limit: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(limit).arg(program::path().unwrap());
    command
}

fn refusal(command: Command, data: &Path) -> String {
    let Err(error) = Program::serve_by(command, data, &[]) else { panic!("it has started") };
    error.to_string()
}

#[test]
fn three_hundred_actors_run_in_4_gb_of_address_space() {
    let dir = tempfile::tempdir().unwrap();
    let program =
        Program::serve_by(limited("--as=4096000000"), &dir.path().join("data"), &[]).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    for number in 0..300 {
        let reply = program.call(&format!("counter/{number}"), "increment", &json!([1])).unwrap();
        assert_eq!(reply.status, 200, "actor {number}: {reply:?}\n{}", program.autopsy());
    }
    let log = std::fs::read_to_string(program.log()).unwrap();
    assert!(log.contains("ulimit -v"), "{log}");
    program.stop().unwrap();
}

#[test]
fn too_little_address_space_is_told_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let said = refusal(limited("--as=1000000000"), &dir.path().join("data"));
    assert!(said.contains("exit status: 1") && said.contains("ulimit -v"), "{said}");
}

#[test]
fn files_that_must_stay_small_are_told_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let said = refusal(limited("--fsize=1000000"), &dir.path().join("data"));
    assert!(said.contains("exit status: 1") && said.contains("ulimit -f"), "{said}");
}

/// A signal would kill it without a word, and with answers under way.
#[test]
fn a_file_at_its_limit_ends_the_process_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let increment = || program.call("counter/a", "increment", &json!([1])).unwrap();
    assert_eq!(increment().status, 200);
    // The log of the program itself is shorter, that of the store soon is not.
    let id = program.id().to_string();
    let set = Command::new("prlimit").args(["--pid", &id, "--fsize=65536"]).status().unwrap();
    assert!(set.success());
    let refused = (0..500).map(|_| increment()).find(|reply| reply.status != 200).expect("refused");
    assert_eq!(refused.status, 503, "{refused:?}");
    let log = program.log().to_owned();
    assert_eq!(program.exit_code().unwrap(), 1);
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("store file") && said.contains("ulimit -f"), "{said}");
    // Nothing that was acknowledged is lost.
    let program = Program::serve(&data).unwrap();
    let found = program.call("counter/a", "get", &json!([])).unwrap();
    assert!(found.body["ok"].as_u64().is_some_and(|value| value >= 1), "{found:?}");
    program.stop().unwrap();
}

/// Which only root can make.
#[test]
fn a_disk_that_cannot_be_written_is_told_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let disk_text = disk.to_str().unwrap();
    let run = |arguments: &[&str]| Command::new("mount").args(arguments).status().unwrap();
    assert!(run(&["-t", "tmpfs", "-o", "size=64m", "tmpfs", disk_text]).success());
    let data = disk.join("data");
    Program::serve_with(&data, &[]).unwrap().stop().unwrap();
    assert!(run(&["-o", "remount,ro", disk_text]).success());
    // Its log goes elsewhere.
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"];
    let ran = program::run(&[&arguments[..], &[data.to_str().unwrap()]].concat());
    let check = program::run(&["serve", "--check-store", "--data-dir", data.to_str().unwrap()]);
    drop(Command::new("umount").arg("-l").arg(&disk).status());
    let (code, _, said) = ran.unwrap();
    assert!(code == 1 && said.contains("Read-only file system"), "{code} {said}");
    assert!(said.contains("a host writes to it") && said.contains("host.directory"), "{said}");
    // To look at its store needs no more than to read it.
    assert_eq!(check.unwrap().0, 0);
}
