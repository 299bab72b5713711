//! The program over a store in a PostgreSQL server: deployed, called, restarted, two nodes, a server
//! that is away, and what no text may show.
//!
//! ```text
//!  test ── HTTP ──> stockade serve --store ──> postgres (stockade_testkit::postgres)
//!                   its own data directory     a database for each test
//! ```

mod away;
mod commands;
mod nodes;
mod opening;
mod secrets;
mod shards;

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value as Json, json};
use stockade_testkit::postgres::{Server, USER};
use stockade_tests::guest;
use stockade_tests::program::{Program, run};

/// The server that the tests here share; those that stop it have their own.
fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// An empty database of a server, and directories for programs over it.
struct Stage {
    port: u16,
    database: String,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(server: &Server) -> Self {
        let (port, database) = (server.port, server.new_database());
        Self { port, database, dir: tempfile::tempdir().unwrap() }
    }

    fn address(&self) -> String {
        let Self { port, database, .. } = self;
        format!("postgres://{USER}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// As a store names itself.
    fn name(&self) -> String {
        format!("postgres://127.0.0.1:{}/{}", self.port, self.database)
    }

    fn data(&self, node: &str) -> PathBuf {
        self.dir.path().join(node)
    }

    /// A program with the data directory of this node.
    fn serve(&self, node: &str) -> Program {
        self.serve_with(node, &[])
    }

    fn serve_with(&self, node: &str, flags: &[&str]) -> Program {
        let address = self.address();
        let flags = [&["--store", &address], flags].concat();
        Program::serve_with(&self.data(node), &flags).unwrap()
    }
}

fn deploy_counter(program: &Program) {
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
}

/// Adds to a counter; its value.
fn add(program: &Program, key: &str, by: i64) -> i64 {
    let answer = program.call(&format!("counter/{key}"), "increment", &json!([by])).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}\n{}", program.autopsy());
    answer.body["ok"].as_i64().unwrap()
}

/// What a command prints with `--json`; it must succeed.
fn done(arguments: &[&str]) -> Json {
    let (code, out, err) = run(&[arguments, &["--json"]].concat()).unwrap();
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

/// Exit code and error of a command that must fail.
fn failed(arguments: &[&str]) -> (i32, Json) {
    let (code, out, err) = run(&[arguments, &["--json"]].concat()).unwrap();
    assert_ne!(code, 0, "{arguments:?}: {out}");
    (code, serde_json::from_str(&err).unwrap_or(Json::String(err)))
}

#[test]
fn the_counter_lives_in_a_server_and_survives_restarts() {
    let stage = Stage::new(shared());
    let program = stage.serve("one");
    deploy_counter(&program);
    assert_eq!((add(&program, "a", 5), add(&program, "a", 5)), (5, 10));
    let rows = program
        .admin_post("/admin/actors/counter/a/sql", &json!({ "sql": "SELECT value FROM counter" }))
        .unwrap();
    assert_eq!(rows.body["rows"], json!([[10]]), "{rows:?}");
    program.stop().unwrap();
    let own = stage.data("one").join("store");
    assert!(!own.exists(), "the data directory has a store of its own");

    // Everything that must be kept is in the server: another directory serves the same.
    let other = stage.serve("two");
    assert_eq!(add(&other, "a", 1), 11);
    other.kill().unwrap();
    let again = stage.serve("two");
    assert_eq!(add(&again, "a", 1), 12);
    let file = stage.dir.path().join("a.sqlite");
    again.export("counter/a", &file).unwrap();
    let copy = rusqlite::Connection::open(&file).unwrap();
    let value: i64 = copy.query_row("SELECT value FROM counter", [], |row| row.get(0)).unwrap();
    assert_eq!(value, 12);
    let checked = done(&["verify", "--all", "--admin", &again.admin]);
    assert_eq!(checked["ok"], true, "{checked}");
    again.stop().unwrap();
}

/// The file with settings, and the environment below the command line and above the file.
#[test]
fn the_store_is_named_by_option_variable_or_file() {
    let stage = Stage::new(shared());
    let address = stage.address();
    let store_of = |program: &Program| {
        let log = std::fs::read_to_string(program.log()).unwrap();
        let line = log.lines().find_map(|line| line.trim_start().strip_prefix("store "));
        line.map(|name| name.trim().to_owned())
    };
    let configured = Program::serve_configured(
        &stage.data("file"),
        &format!("store = \"{address}\"\n[limits]\nrows_max = 7\n"),
    );
    let configured = configured.unwrap();
    deploy_counter(&configured);
    assert_eq!((store_of(&configured), add(&configured, "a", 1)), (Some(stage.name()), 1));
    configured.stop().unwrap();

    std::fs::write(stage.dir.path().join("other.toml"), "store = \"postgres://u@h/d\"\n").unwrap();
    let other = stage.dir.path().join("other.toml");
    let flags = ["--config", other.to_str().unwrap()];
    let variable = [("STOCKADE_STORE", std::path::Path::new(&address))];
    let named = Program::serve_in(&stage.data("variable"), &flags, &variable).unwrap();
    assert_eq!((store_of(&named), add(&named, "a", 1)), (Some(stage.name()), 2));
    named.stop().unwrap();

    let unusable = [("STOCKADE_STORE", std::path::Path::new("mysql://h/d"))];
    let flags = ["--store", &address];
    let given = Program::serve_in(&stage.data("option"), &flags, &unusable).unwrap();
    assert_eq!(add(&given, "a", 1), 3);
    given.stop().unwrap();
    let embedded = Program::serve(&stage.data("embedded")).unwrap();
    assert_eq!(store_of(&embedded), None);
}
