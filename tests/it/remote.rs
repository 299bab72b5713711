//! Programs over the store of another one: one has the disk (`--serve-store`), the others use it
//! (`--store stockade://`), and the one with the disk is killed and started again under load.
//!
//! ```text
//!  callers ── HTTP ──> two, three ── TLS ──> one: stockade serve --serve-store
//!                      no store of their own       └─ its data directory has the store
//! ```

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{Program, run};

use crate::writers::lose_nothing;

/// How soon calls succeed once the store is back: a loaded machine, and a lease of its former process.
const BACK_WITHIN: Duration = Duration::from_secs(20);
const TOKEN: &str = "the-token-of-this-store";

/// Keys, data directories, and the port of the store.
struct Stage {
    dir: tempfile::TempDir,
    port: u16,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys").display().to_string();
        let (code, _, error) =
            run(&["peer-keys", &keys, "--store-only", "one", "two", "three"]).unwrap();
        assert_eq!(code, 0, "{error}");
        std::fs::write(dir.path().join("token"), TOKEN).unwrap();
        // The same after each restart.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { dir, port }
    }

    fn data(&self, node: &str) -> PathBuf {
        self.dir.path().join(node)
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn address(&self) -> String {
        format!("stockade://127.0.0.1:{}", self.port)
    }

    fn keys(&self, node: &str) -> Vec<String> {
        let of = |end: &str| self.file(&format!("keys/{node}{end}"));
        let files = [of(".pem"), of("-key.pem"), self.file("keys/ca.pem")];
        let options = ["--store-cert", "--store-key", "--store-ca"].map(str::to_owned);
        options.into_iter().zip(files).flat_map(<[String; 2]>::from).collect()
    }

    /// The options that lead to the store, with the keys of this node.
    fn store(&self, node: &str) -> Vec<String> {
        [vec!["--store".to_owned(), self.address()], self.keys(node)].concat()
    }

    fn start(&self, node: &str, flags: &[String]) -> Program {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Program::serve_with(&self.data(node), &flags).unwrap()
    }

    /// The node with the disk.
    fn serve(&self, more: &[&str]) -> Program {
        let listen = vec!["--serve-store".to_owned(), format!("127.0.0.1:{}", self.port)];
        let more = more.iter().map(|flag| (*flag).to_owned()).collect();
        self.start("one", &[listen, self.keys("one"), more].concat())
    }

    /// A node without one.
    fn join(&self, node: &str) -> Program {
        self.start(node, &self.store(node))
    }
}

/// Adds to a counter; its value.
fn add(program: &Program, key: &str, by: i64) -> i64 {
    let answer = program.call(&format!("counter/{key}"), "increment", &json!([by])).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}\n{}", program.autopsy());
    answer.body["ok"].as_i64().unwrap()
}

/// What a command prints with `--json`; it must succeed.
fn done(arguments: &[String]) -> Json {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--json"]).collect();
    let (code, out, err) = run(&arguments).unwrap();
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|it| (*it).to_owned()).collect()
}

#[test]
fn nodes_without_a_disk_use_the_store_of_another() {
    let stage = Stage::new();
    let one = stage.serve(&["--store-token-file", &stage.file("token")]);
    assert_eq!(one.store_served.as_deref(), Some(&*format!("127.0.0.1:{}", stage.port)));
    let two = stage.join("two");
    two.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    assert_eq!((add(&two, "a", 5), add(&two, "a", 5)), (5, 10));
    assert!(!stage.data("two").join("store").exists(), "it has a store of its own");
    // The node with the disk serves as well, and knows who uses its store.
    assert_eq!(add(&one, "b", 1), 1);
    let listed = one.admin_get("/admin/nodes").unwrap();
    let pids: Vec<&Json> =
        listed.body["nodes"].as_array().unwrap().iter().map(|node| &node["pid"]).collect();
    assert!(pids.contains(&&json!(two.id())) && pids.contains(&&json!(one.id())), "{pids:?}");
    // Commands without a server, by certificate and by token.
    let checked = done(&[words(&["store", "check"]), stage.store("two")].concat());
    assert_eq!((&checked["verdict"], &checked["ok"]), (&json!("opens"), &json!(true)), "{checked}");
    let by_token = words(&[
        "verify",
        "--all",
        "--store",
        &stage.address(),
        "--store-ca",
        &stage.file("keys/ca.pem"),
        "--store-token-file",
        &stage.file("token"),
    ]);
    assert_eq!(done(&by_token)["ok"], true);
    two.stop().unwrap();
    // Another node, with nothing of the first one's: the actor is where it was.
    let three = stage.join("three");
    assert_eq!(add(&three, "a", 1), 11);
    three.stop().unwrap();
    one.stop().unwrap();
}

#[test]
fn a_node_that_the_store_does_not_believe_says_why() {
    let stage = Stage::new();
    let _one = stage.serve(&["--store-token-file", &stage.file("token")]);
    std::fs::write(stage.file("other"), "another-token-than-that").unwrap();
    let arguments = words(&[
        "store",
        "check",
        "--store",
        &stage.address(),
        "--store-ca",
        &stage.file("keys/ca.pem"),
        "--store-token-file",
        &stage.file("other"),
        "--json",
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, _, error) = run(&arguments).unwrap();
    // Behind what it has logged.
    let error: Json = serde_json::from_str(error.lines().last().unwrap()).unwrap();
    assert_eq!((code, &error["code"]), (1, &json!("no-store")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("token") && message.contains(&stage.address()), "{message}");
    assert!(!message.contains("another-token-than-that"), "{message}");
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let stage = Stage::new();
    let one = stage.serve(&[]);
    let check = || {
        let arguments = [words(&["store", "check"]), stage.store("two")].concat();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&arguments).unwrap()
    };
    let (code, _, log) = check();
    assert!(code == 0 && !log.contains("others can read"), "{log}");
    let key = stage.file("keys/two-key.pem");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let (code, _, log) = check();
    assert!(code == 0 && log.contains("others can read the store's key"), "{log}");
    assert!(log.contains(&key), "{log}");
    one.stop().unwrap();
}

/// SIGKILL of the node with the disk, three times, while two nodes write to their own actors.
#[test]
fn a_store_that_is_killed_under_load_loses_nothing_that_was_acknowledged() {
    let stage = Stage::new();
    let mut one = Some(stage.serve(&[]));
    let nodes = [stage.join("two"), stage.join("three")];
    nodes[0].deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    lose_nothing(&nodes, BACK_WITHIN, |away| {
        one.take().unwrap().kill().unwrap();
        std::thread::sleep(away);
        one = Some(stage.serve(&[]));
    });
    let checked = words(&["verify", "--all", "--admin", &nodes[0].admin]);
    assert_eq!(done(&checked)["ok"], true);
    for node in nodes {
        node.stop().unwrap();
    }
    one.unwrap().stop().unwrap();
}
