//! A system with low limits: address space (`ulimit -v`), sizes of files (`ulimit -f`), descriptors
//! (`ulimit -n`), a disk that cannot be written. A host works with them, or says what is in its
//! way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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

/// A signal would kill the program without a message, and with answers under way.
#[test]
fn a_file_at_its_limit_ends_the_process_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let increment = || program.call("counter/a", "increment", &json!([1])).unwrap();
    assert_eq!(increment().status, 200);
    // The log of the program itself is shorter; that of the store soon is longer.
    let id = program.id().to_string();
    let set = Command::new("prlimit").args(["--pid", &id, "--fsize=65536"]).status().unwrap();
    assert!(set.success());
    let refused = (0..500).map(|_| increment()).find(|reply| reply.status != 200).expect("refused");
    assert_eq!(refused.status, 503, "{refused:?}");
    let log = program.log().to_owned();
    assert_eq!(program.exit_code().unwrap(), 1);
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("store file") && said.contains("ulimit -f"), "{said}");
    // No acknowledged write is lost.
    let program = Program::serve(&data).unwrap();
    let found = program.call("counter/a", "get", &json!([])).unwrap();
    assert!(found.body["ok"].as_u64().is_some_and(|value| value >= 1), "{found:?}");
    program.stop().unwrap();
}

/// A read-only file system, which only root can mount.
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
    // The program's log goes to another directory.
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"];
    let ran = program::run(&[&arguments[..], &[data.to_str().unwrap()]].concat());
    let check = program::run(&["serve", "--check-store", "--data-dir", data.to_str().unwrap()]);
    drop(Command::new("umount").arg("-l").arg(&disk).status());
    let (code, _, said) = ran.unwrap();
    assert!(code == 1 && said.contains("Read-only file system"), "{code} {said}");
    assert!(said.contains("a host writes to it") && said.contains("host.directory"), "{said}");
    // To read its store, a command needs only read access.
    assert_eq!(check.unwrap().0, 0);
}

/// Connections that are open and silent, in the order in which they were opened.
fn idle(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

/// Whether the other side has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    !matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn connections_that_are_idle_take_no_descriptors_from_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve_by(limited("--nofile=256:256"), &data, &[]).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let _idle = idle(&program.listen, 400);
    for number in 0..20 {
        let reply = program.call(&format!("counter/{number}"), "increment", &json!([1])).unwrap();
        assert_eq!(reply.status, 200, "{reply:?}\n{}", program.autopsy());
    }
    assert_eq!(program.admin_get("/admin/actors/counter/3").unwrap().status, 200);
    program.export("counter/3", &dir.path().join("export.sqlite")).unwrap();
    let log = std::fs::read_to_string(program.log()).unwrap();
    assert!(log.contains("ulimit -n"), "{log}");
    assert_eq!(log.matches("accept failed").count(), 0, "{log}");
    program.stop().unwrap();
}

/// A soft limit is a default for programs that use `select`; this program does not use it.
#[test]
fn a_soft_limit_of_descriptors_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve_by(limited("--nofile=64:8192"), &data, &[]).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let allowed: Vec<&str> = line.split_ascii_whitespace().skip(3).take(2).collect();
    assert_eq!(allowed, ["8192", "8192"]);
    program.stop().unwrap();
}

#[test]
fn a_full_listener_closes_what_is_idle_for_longest_and_nothing_that_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[host]\nconnections_max = 8\n[limits]\ncall_time_ms = 4000\n";
    let program = Program::serve_configured(&dir.path().join("data"), config).unwrap();
    program.deploy("hostile_loop", &guest::HOSTILE_LOOP.wasm().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| program.call("hostile_loop/a", "spin", &json!([])).unwrap());
        while program.admin_get("/admin/actors/hostile_loop/a").unwrap().status != 200 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut idle = idle(&program.listen, 7);
        std::thread::sleep(Duration::from_millis(100));
        let newcomer = program.call("hostile_loop/b", "hello", &json!([])).unwrap();
        assert_eq!(newcomer.status, 200, "{newcomer:?}");
        assert!(is_closed(&mut idle[0]), "the longest idle one gave way");
        assert!(!is_closed(&mut idle[6]), "the newest stays");
        let answer = busy.join().unwrap();
        assert_eq!(answer.body["code"], "budget-exhausted", "it was answered: {answer:?}");
    });
    program.stop().unwrap();
}

/// Each client keeps its connection after its answer; while all are busy, a new connection waits
/// for that.
#[test]
fn a_newcomer_is_served_when_a_busy_connection_has_had_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[host]\nconnections_max = 4\n[limits]\ncall_time_ms = 4000\n";
    let program = Program::serve_configured(&dir.path().join("data"), config).unwrap();
    program.deploy("hostile_loop", &guest::HOSTILE_LOOP.wasm().unwrap()).unwrap();
    let mut busy = idle(&program.listen, 4);
    for (number, stream) in busy.iter_mut().enumerate() {
        let head =
            format!("POST /actors/hostile_loop/{number}/spin HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let actor = format!("/admin/actors/hostile_loop/{number}");
        let until = Instant::now() + Duration::from_secs(30);
        while program.admin_get(&actor).unwrap().status != 200 {
            assert!(Instant::now() < until, "{number} was never called");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let newcomer = program.call("hostile_loop/b", "hello", &json!([])).unwrap();
    assert_eq!(newcomer.status, 200, "{newcomer:?}");
    for stream in &mut busy {
        let mut answer = [0; 12];
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"HTTP/1.1 504", "each had its answer");
    }
    program.stop().unwrap();
}
