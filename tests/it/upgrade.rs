//! A store between two versions of the program: `serve --check-store` changes nothing and reports
//! what would happen, rows of processes say what runs there, and the former program works beside
//! this one.
//!
//! The former program is `STOCKADE_FORMER` (`make upgrade` builds it from its commit). Without it
//! the tests use what it leaves behind: a store whose processes record nothing about themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};
use stockade_depot::store::embedded::connection;
use stockade_tests::guest;
use stockade_tests::program::{self, Program};

const COLUMNS: [&str; 11] = [
    "pid",
    "version",
    "format_min",
    "format_max",
    "peers",
    "draining",
    "awake",
    "awake_max",
    "bytes",
    "bytes_max",
    "cpu",
];
const FILES: [&str; 3] = ["global.db", "shard-00.db", "shard-01.db"];

/// Exit code and document of a check; both names of the check give the same result, and change no
/// file.
fn check(data: &Path) -> (i32, Json) {
    let before = files(data);
    let dir = ["--data-dir", data.to_str().unwrap(), "--json"];
    let (code, out, err) = program::run(&[&["serve", "--check-store"], &dir[..]].concat()).unwrap();
    let other = program::run(&[&["store", "check"], &dir[..]].concat()).unwrap();
    assert_eq!((code, &out), (other.0, &other.1));
    assert_eq!(before, files(data), "a check has changed something");
    let said = if out.trim().is_empty() { err } else { out };
    (code, serde_json::from_str(&said).unwrap())
}

/// Everything in a store's directory, without what a running process changes by itself.
fn files(data: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let Ok(entries) = std::fs::read_dir(data.join("store")) else { return BTreeMap::new() };
    let is_in_use = data.join("in-use").exists();
    let read = |path: &Path| (!is_in_use).then(|| std::fs::read(path).unwrap_or_default());
    entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), read(&path))).collect()
}

/// A store as the former program leaves it, with an actor that has counted to one.
fn former(data: &Path) {
    let wasm = guest::COUNTER.wasm().unwrap();
    let program = serve_former(data);
    program.deploy("counter", &wasm).unwrap();
    assert_eq!(program.call("counter/a", "increment", &json!([1])).unwrap().status, 200);
    program.stop().unwrap();
    if std::env::var_os("STOCKADE_FORMER").is_none() {
        let global = connection(&data.join("store/global.db")).unwrap();
        for column in COLUMNS {
            global.execute_batch(&format!("ALTER TABLE node DROP COLUMN {column}")).unwrap();
        }
    }
}

/// The former program, or this one if `STOCKADE_FORMER` is not set.
fn serve_former(data: &Path) -> Program {
    match std::env::var_os("STOCKADE_FORMER") {
        Some(path) => Program::serve_by(Command::new(path), data, &[]).unwrap(),
        None => Program::serve(data).unwrap(),
    }
}

fn increment(program: &Program) -> Json {
    program.call("counter/a", "increment", &json!([1])).unwrap().body["ok"].clone()
}

#[test]
fn a_check_tells_whether_the_store_would_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(check(&data).0, 1, "there is none");
    assert!(!data.exists(), "and none was made");
    let program = Program::serve(&data).unwrap();
    std::fs::write(data.join("in-use"), "").unwrap();
    let (code, found) = check(&data);
    assert_eq!((code, &found["verdict"]), (0, &json!("opens")));
    assert_eq!(found["used_by"], json!([program.id()]));
    let process = &found["processes"][0];
    assert_eq!(
        (&process["pid"], &process["address"]),
        (&json!(program.id()), &json!(program.listen))
    );
    assert_eq!(process["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(process["formats"], json!([found["reads"], found["reads"]]));
    program.kill().unwrap();
    std::fs::remove_file(data.join("in-use")).unwrap();
    // A killed process is not listed any more, though its row is still there; its log is checked.
    let (code, found) = check(&data);
    assert_eq!((code, &found["used_by"], &found["processes"]), (0, &json!([]), &json!([])));

    Program::serve(&data).unwrap().stop().unwrap();
    let set = |format: i32| {
        for file in FILES {
            let conn = connection(&data.join("store").join(file)).unwrap();
            conn.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
            conn.execute_batch(&format!("PRAGMA user_version = {format}")).unwrap();
        }
    };
    for (format, verdict) in [(2, "older"), (99, "newer")] {
        set(format);
        let (code, found) = check(&data);
        assert_eq!((code, &found["verdict"], &found["ok"]), (1, &json!(verdict), &json!(false)));
        assert_eq!(found["files"][0]["format"], format);
    }
    let damaged = data.join("store/shard-00.db");
    std::fs::write(&damaged, "not a database at all, but long enough to have a header of one: ")
        .unwrap();
    assert_eq!(check(&data).0, 1);
    std::fs::remove_file(&damaged).unwrap();
    let (code, found) = check(&data);
    assert_eq!((code, &found["group"]), (1, &json!("client")), "{found}");
}

/// A log that has lost something is reported before a host serves without it.
#[test]
fn a_check_looks_at_logs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    former(&data);
    let program = Program::serve(&data).unwrap();
    for _ in 0..5 {
        increment(&program);
    }
    program.kill().unwrap();
    assert_eq!(check(&data).0, 0);
    let mut hurt = 0;
    for file in FILES {
        let log = data.join(format!("store/{file}-wal"));
        let Ok(mut bytes) = std::fs::read(&log) else { continue };
        if bytes.len() > 5000 {
            bytes[100] ^= 1;
            std::fs::write(&log, bytes).unwrap();
            hurt += 1;
        }
    }
    assert!(hurt > 0);
    let (code, found) = check(&data);
    let said = found["message"].as_str().unwrap_or_default();
    assert!(code == 1 && said.contains("--accept-loss"), "{found}");
}

#[test]
fn a_store_of_the_former_program_is_served_and_so_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    former(&data);
    let (code, found) = check(&data);
    assert_eq!((code, &found["verdict"]), (0, &json!("opens")));
    let program = Program::serve(&data).unwrap();
    assert_eq!(increment(&program), 2);
    // Beside a former process: what that process is remains unknown, and everything else works.
    let beside = serve_former(&data);
    if std::env::var_os("STOCKADE_FORMER").is_none() {
        let global = connection(&data.join("store/global.db")).unwrap();
        let nothing: Vec<String> =
            COLUMNS.iter().map(|column| format!("{column} = NULL")).collect();
        let sql = format!("UPDATE node SET {} WHERE pid = ?1", nothing.join(", "));
        assert_eq!(global.execute(&sql, [beside.id()]).unwrap(), 1);
    }
    std::fs::write(data.join("in-use"), "").unwrap();
    let (code, found) = check(&data);
    assert_eq!(code, 0);
    let mut users: Vec<u64> =
        found["used_by"].as_array().unwrap().iter().filter_map(Json::as_u64).collect();
    users.sort_unstable();
    let mut expected = vec![u64::from(program.id()), u64::from(beside.id())];
    expected.sort_unstable();
    assert_eq!(users, expected);
    let processes = found["processes"].as_array().unwrap();
    let at = |address: &str| processes.iter().find(|it| it["address"] == address).unwrap();
    assert_eq!(at(&program.listen)["pid"], program.id());
    assert_eq!(
        (&at(&beside.listen)["pid"], &at(&beside.listen)["version"]),
        (&Json::Null, &Json::Null)
    );
    // The former process is known to live: an actor that runs there is not taken from it.
    let elsewhere = beside.call("counter/a", "get", &json!([])).unwrap();
    assert_eq!((elsewhere.status, &elsewhere.body["code"]), (421, &json!("elsewhere")));
    assert_eq!(beside.call("counter/b", "increment", &json!([1])).unwrap().body["ok"], 1);
    let elsewhere = program.call("counter/b", "get", &json!([])).unwrap();
    assert_eq!(elsewhere.body["details"]["address"], json!(beside.listen));
    // A kind deployed by this version can be read by the former one.
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    program.deploy("late", &guest::COUNTER.wasm().unwrap()).unwrap();
    for actor in ["counter/c", "late/a"] {
        assert_eq!(beside.call(actor, "increment", &json!([1])).unwrap().body["ok"], 1, "{actor}");
    }
    // No command converts a store while a process has it open, and the error names the process.
    let upgrade = ["store", "upgrade", "--data-dir", data.to_str().unwrap()];
    let (code, _, err) = program::run(&upgrade).unwrap();
    assert!(code == 1 && err.contains(&program.id().to_string()), "{err}");
    // Each program takes over when the other has ended, and the former one starts again on this
    // one's store.
    beside.stop().unwrap();
    assert_eq!(program.call("counter/b", "increment", &json!([1])).unwrap().body["ok"], 2);
    program.stop().unwrap();
    let former = serve_former(&data);
    assert_eq!(increment(&former), 3);
    former.stop().unwrap();
    std::fs::remove_file(data.join("in-use")).unwrap();
    assert_eq!(check(&data).0, 0);
}
