//! The password opens the store, and is in no text: log, error, answer, file, or list of processes.

use std::path::{Path, PathBuf};

use serde_json::json;
use stockade_testkit::postgres::Server;
use stockade_tests::program::{Program, run, run_in};

use super::{Stage, add, deploy_counter};

const PASSWORD: &str = "tr0ub4dor&3 horse";
/// What no text may hold. The wrong one too: it may be the right one elsewhere.
const PARTS: [&str; 3] = ["tr0ub4dor", "horse", "wr0ng"];
const USER: &str = "app";

/// A server that asks this user for a password.
fn asking() -> Server {
    Server::prepare(&[], |data| {
        let rules =
            "host all stockade 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    })
}

struct Secrets {
    server: Server,
    stage: Stage,
    right: PathBuf,
    wrong: PathBuf,
}

impl Secrets {
    fn new() -> Self {
        let server = asking();
        let stage = Stage::new(&server);
        server.sql(
            &stage.database,
            &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'; GRANT ALL ON SCHEMA public TO {USER}"),
        );
        let (right, wrong) = (stage.data("right"), stage.data("wrong"));
        std::fs::write(&right, format!("{PASSWORD}\n")).unwrap();
        std::fs::write(&wrong, "wr0ng horse\n").unwrap();
        Self { server, stage, right, wrong }
    }

    fn address(&self) -> String {
        let Stage { port, database, .. } = &self.stage;
        format!("postgres://{USER}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Everything that a program has written, and how it is listed.
    fn check(&self, program: &Program) {
        let log = std::fs::read_to_string(program.log()).unwrap();
        assert!(log.contains("serving"), "little is logged: {log}");
        clean(&log);
        let listed = std::fs::read(format!("/proc/{}/cmdline", program.id())).unwrap();
        let listed = String::from_utf8_lossy(&listed);
        assert!(listed.contains("--store"), "{listed}");
        clean(&listed);
        clean(&self.server.log());
        for file in files(&self.stage.dir.path().join("node")) {
            clean(&String::from_utf8_lossy(&std::fs::read(file).unwrap()));
        }
    }
}

fn clean(text: &str) {
    for part in PARTS {
        assert!(!text.contains(part), "{part} in: {text}");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_password_from_a_file_or_the_environment_is_shown_nowhere() {
    let secrets = Secrets::new();
    let (address, right) = (secrets.address(), secrets.right.to_str().unwrap());
    let data = secrets.stage.data("node");
    // Everything that can be logged.
    let flags = ["--store", &address, "--store-password-file", right, "--log", "trace"];
    let program = Program::serve_with(&data, &flags).unwrap();
    deploy_counter(&program);
    assert_eq!(add(&program, "a", 1), 1);
    let shown = program.admin_get("/admin/actors/counter/a").unwrap();
    clean(&shown.body.to_string());
    // Also what is written when the way to the server is lost.
    secrets.server.stop();
    let away = program.call("counter/b", "get", &json!([])).unwrap();
    assert_eq!(away.status, 503, "{away:?}");
    clean(&away.body.to_string());
    secrets.server.again();
    secrets.check(&program);
    program.stop().unwrap();

    let variable = [("STOCKADE_STORE_PASSWORD", Path::new(PASSWORD))];
    let flags = ["--store", &address, "--log", "trace"];
    let program = Program::serve_in(&data, &flags, &variable).unwrap();
    assert_eq!(add(&program, "a", 1), 2);
    secrets.check(&program);
    program.stop().unwrap();
    let check = ["store", "check", "--store", &address, "--log", "trace"];
    let (code, out, err) = run_in(&check, &variable).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    clean(&format!("{out}{err}"));
}

#[test]
fn a_wrong_password_ends_the_start_and_is_not_shown() {
    let secrets = Secrets::new();
    let (address, data) = (secrets.address(), secrets.stage.data("node"));
    let wrong = secrets.wrong.to_str().unwrap();
    let empty = secrets.stage.data("none");
    for given in [&["--store-password-file", wrong][..], &[]] {
        let flags = [&["--store", &address, "--log", "trace"], given].concat();
        let error = Program::serve_with(&data, &flags).map(drop).unwrap_err().to_string();
        clean(&error);
        assert!(error.contains(&format!("127.0.0.1:{}", secrets.server.port)), "{error}");
        let why = if given.is_empty() { "password" } else { "28P01" };
        assert!(error.contains(why), "{error}");
    }
    let missing = ["--store", &address, "--store-password-file", empty.to_str().unwrap()];
    let error = Program::serve_with(&data, &missing).map(drop).unwrap_err().to_string();
    assert!(error.contains("password file"), "{error}");
}

/// On the command line, in the environment and in a file with settings.
#[test]
fn an_address_with_a_password_is_refused_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let hint = "--store-password-file";
    for address in [
        "postgres://app:tr0ub4dor@127.0.0.1:1/d?sslmode=disable",
        "postgres://app@127.0.0.1:1/d?sslmode=disable&password=tr0ub4dor",
        "postgresql://app:tr0ub4dor?horse@127.0.0.1:1/d",
    ] {
        for command in [&["serve"][..], &["store", "check"], &["verify", "--all"]] {
            let (code, out, err) = run(&[command, &["--store", address]].concat()).unwrap();
            assert_eq!(code, 2, "{out}{err}");
            clean(&format!("{out}{err}"));
            assert!(err.contains(hint), "{err}");
        }
        let variable = [("STOCKADE_STORE", Path::new(address))];
        let (code, _, err) = run_in(&["serve"], &variable).unwrap();
        assert!(code == 2 && err.contains(hint), "{err}");
        clean(&err);
        let (_, help, _) = run_in(&["serve", "--help"], &variable).unwrap();
        clean(&help);
        // Also where the file cannot be read as a whole.
        for more in ["", "no_such_setting = 1\n", "listen = [\n"] {
            std::fs::write(&config, format!("store = \"{address}\"\n{more}")).unwrap();
            let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]).unwrap();
            assert_ne!(code, 0, "{err}");
            clean(&err);
        }
        for broken in ["store = [\"ADDRESS\"]\n", "store = \"ADDRESS\n", "stroe = \"ADDRESS\"\n"] {
            std::fs::write(&config, broken.replace("ADDRESS", address)).unwrap();
            let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]).unwrap();
            assert_ne!(code, 0, "{err}");
            clean(&err);
        }
    }
}
