//! A store whose disk is full: writes are refused as `depot.full`; reads, wakes and destroys
//! continue, and writes do once there is room, without a restart. On real small file systems, which
//! only root can mount.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::{HttpReply, Program};

/// A liveness bound, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted file system of 40 MiB. Unmounted on drop.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn mount(kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self { dir };
        let image = disk.dir.path().join("image");
        std::fs::create_dir(disk.path()).unwrap();
        match kind {
            "ext4" => {
                File::create(&image).unwrap().set_len(40 << 20).unwrap();
                run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
                run(
                    "mount",
                    &["-o", "loop", image.to_str().unwrap(), disk.path().to_str().unwrap()],
                );
            }
            kind => {
                let path = disk.path();
                run("mount", &["-t", kind, "-o", "size=40m", kind, path.to_str().unwrap()]);
            }
        }
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Takes all the room that is left, as another program on the disk would.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 20, 4096, 1] {
            let bytes = vec![7; size];
            loop {
                match file.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        // A write may succeed without room on the disk; a sync shows how much there is.
        drop(file.sync_all());
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        println!("unmounted: {unmounted:?}");
    }
}

fn run(command: &str, arguments: &[&str]) {
    let output = Command::new(command).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command} is needed: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test mounts a disk, as root: {command}: {said}");
}

fn increment(program: &Program, key: &str) -> HttpReply {
    program.call(&format!("counter/{key}"), "increment", &json!([1])).unwrap()
}

fn get(program: &Program, key: &str) -> HttpReply {
    program.call(&format!("counter/{key}"), "get", &json!([])).unwrap()
}

fn stop(program: &Program, key: &str) {
    program.admin_post(&format!("/admin/actors/counter/{key}/stop"), &json!({})).unwrap();
}

fn assert_full(reply: &HttpReply, path: &Path) {
    let Body { code, retry } = Body::of(reply);
    assert_eq!((reply.status, code.as_str(), retry.as_str()), (507, "depot.full", "retry"));
    assert_eq!(reply.body["details"]["path"], json!(path.to_str().unwrap()), "{}", reply.body);
    assert!(reply.body["details"]["free_bytes"].is_u64(), "{}", reply.body);
}

struct Body {
    code: String,
    retry: String,
}

impl Body {
    fn of(reply: &HttpReply) -> Self {
        let text = |name: &str| reply.body[name].as_str().unwrap_or_default().to_owned();
        Self { code: format!("{}.{}", text("group"), text("code")), retry: text("retry") }
    }
}

/// Writes until an answer has `status`.
fn until(program: &Program, key: &str, status: u16) -> HttpReply {
    let begun = Instant::now();
    loop {
        let reply = increment(program, key);
        if reply.status == status {
            return reply;
        }
        assert!(matches!(reply.status, 200 | 507), "{}", reply.body);
        assert!(begun.elapsed() < PATIENCE, "{}", reply.body);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn reads_go_on_and_writes_come_back(kind: &str) {
    let disk = Disk::mount(kind);
    let program = Program::serve(&disk.path()).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let keys = ["awake", "asleep", "slept", "condemned"];
    for key in keys {
        for _ in 0..3 {
            assert_eq!(increment(&program, key).body, json!({"ok": get(&program, key).body["ok"]}));
        }
    }
    stop(&program, "asleep");
    disk.fill();
    let store = disk.path().join("store");
    assert_full(&until(&program, "awake", 507), &store);
    let ready = program.get("/ready").unwrap();
    assert_eq!((ready.status, &ready.body["writes"]), (200, &json!(false)), "{}", ready.body);
    assert_eq!(ready.body["full"]["path"], json!(store.to_str().unwrap()), "{}", ready.body);
    // No actor is created; existing actors can read, whatever they did before; one is destroyed.
    assert_full(&increment(&program, "new"), &store);
    for key in ["awake", "asleep", "slept"] {
        for _ in 0..20 {
            assert_eq!(get(&program, key).body, json!({"ok": 3}), "{key}");
            stop(&program, key);
        }
    }
    let destroyed = program.admin_delete("/admin/actors/counter/condemned").unwrap();
    assert!(matches!(destroyed.status, 200 | 204), "{}", destroyed.body);
    let log = std::fs::read_to_string(program.log()).unwrap();
    let told =
        log.lines().filter(|line| line.contains("ERROR") && line.contains("store is full")).count();
    assert_eq!(told, 1, "once a minute\n{log}");
    disk.make_room();
    until(&program, "awake", 200);
    assert_eq!(get(&program, "awake").body, json!({"ok": 4}), "what was refused was not done");
    let ready = program.get("/ready").unwrap();
    assert_eq!((ready.status, &ready.body["writes"]), (200, &json!(true)), "{}", ready.body);
    program.stop().unwrap();
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    reads_go_on_and_writes_come_back("ext4");
}

#[test]
fn a_full_disk_in_memory_refuses_writes_and_nothing_else() {
    reads_go_on_and_writes_come_back("tmpfs");
}

/// A store that fills its disk by itself recovers by itself: also after it was killed in that
/// state.
#[test]
fn a_store_that_has_filled_its_disk_gets_unstuck() {
    let disk = Disk::mount("ext4");
    let mut program = Program::serve(&disk.path()).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    assert_eq!(increment(&program, "small").status, 200);
    assert_eq!(increment(&program, "large").status, 200);
    let sql = "CREATE TABLE IF NOT EXISTS pad (x); INSERT INTO pad VALUES (randomblob(500000))";
    let request = json!({ "sql": sql, "write": true });
    let mut written = 0;
    let refused = loop {
        let reply = program.admin_post("/admin/actors/counter/large/sql", &request).unwrap();
        if reply.status != 200 {
            break reply;
        }
        written += 1;
        assert!(written < 100, "40 MiB are never full");
    };
    assert_full(&refused, &disk.path().join("store"));
    println!("{written} rows of 500,000 bytes on a disk of 40 MiB");
    program.kill().unwrap();
    program = Program::serve(&disk.path()).unwrap();
    assert_eq!(get(&program, "small").body, json!({"ok": 1}));
    let count = json!({ "sql": "SELECT count(*) FROM pad" });
    let rows = program.admin_post("/admin/actors/counter/large/sql", &count).unwrap();
    assert_eq!(rows.body["rows"], json!([[written]]), "{}", rows.body);
    let destroyed = program.admin_delete("/admin/actors/counter/large").unwrap();
    assert!(matches!(destroyed.status, 200 | 204), "{}", destroyed.body);
    // The file does not shrink: its free pages are used.
    for key in ["small", "new"] {
        until(&program, key, 200);
    }
    program.stop().unwrap();
}
