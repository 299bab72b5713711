//! Several real programs on one data directory that pass calls on to each other: any of them
//! answers for any actor.

mod answers;
mod balance;
mod bank;
mod chains;
mod clients;
mod drain;
mod floor;
mod lease;
mod listener;
mod lost;
mod orders;
mod outcomes;
mod placement;
mod routes;
mod versions;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{self, Caller, HttpReply, Program};
use tempfile::TempDir;

/// A lease that a busy machine keeps, and that a test can wait for.
const LEASE_MS: u64 = 1_500;
/// Long enough for a loaded machine, where the event must happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs on one data directory, with peers' keys.
struct Cluster {
    dir: TempDir,
    nodes: Vec<Option<Program>>,
}

impl Cluster {
    /// Starts programs that know each other, with the counter deployed.
    fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// The same, each with further flags.
    fn start_with(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self { dir: tempfile::tempdir().unwrap(), nodes: Vec::new() };
        make_keys(&cluster.keys(), &["one"]);
        for _ in 0..count {
            cluster.add(flags);
        }
        if count > 0 {
            cluster.node(0).deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
            cluster.meet();
        }
        cluster
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts one more program.
    fn add(&mut self, flags: &[&str]) -> usize {
        let lease = LEASE_MS.to_string();
        let keys = peer_flags(&self.keys(), "one");
        let own = ["--lease-ms", &lease, "--peers", "127.0.0.1:0"];
        let keys = keys.iter().map(String::as_str);
        let all: Vec<&str> = own.into_iter().chain(keys).chain(flags.iter().copied()).collect();
        self.nodes.push(Some(Program::serve_with(&self.data(), &all).unwrap()));
        self.nodes.len() - 1
    }

    fn node(&self, node: usize) -> &Program {
        self.nodes[node].as_ref().expect("it runs")
    }

    fn take(&mut self, node: usize) -> Program {
        self.nodes[node].take().expect("it runs")
    }

    /// Waits until each program sees all others alive.
    fn meet(&self) {
        let running: Vec<&Program> = self.nodes.iter().flatten().collect();
        for program in &running {
            until("the programs know each other", || {
                let alive = |node: &&Json| node["alive"] == true;
                nodes_of(program).iter().filter(alive).count() == running.len()
            });
        }
    }

    /// The value after an increment, called at a program.
    fn increment(&self, node: usize, key: &str) -> u64 {
        let answer = self.call(node, key, "increment", &json!([1]));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["ok"].as_u64().unwrap()
    }

    fn call(&self, node: usize, key: &str, method: &str, arguments: &Json) -> HttpReply {
        self.node(node).call(&format!("counter/{key}"), method, arguments).unwrap()
    }

    /// How many actors are awake in a program.
    fn awake(&self, node: usize) -> u64 {
        let nodes = nodes_of(self.node(node));
        let own = nodes.iter().find(|it| it["answers"] == true).unwrap();
        own["load"]["awake"].as_u64().unwrap()
    }
}

fn nodes_of(program: &Program) -> Vec<Json> {
    let answer = program.admin_get("/admin/nodes").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["nodes"].as_array().unwrap().clone()
}

/// Makes an authority, or adds names to it, by the program's own command.
fn make_keys(dir: &Path, names: &[&str]) {
    let line: Vec<&str> =
        ["peer-keys", dir.to_str().unwrap()].into_iter().chain(names.iter().copied()).collect();
    let (code, _, error) = program::run(&line).unwrap();
    assert_eq!(code, 0, "{error}");
}

fn peer_flags(keys: &Path, name: &str) -> [String; 6] {
    let at = |file: String| keys.join(file).display().to_string();
    [
        "--peer-cert".to_owned(),
        at(format!("{name}.pem")),
        "--peer-key".to_owned(),
        at(format!("{name}-key.pem")),
        "--peer-ca".to_owned(),
        at("ca.pem".to_owned()),
    ]
}

/// A POST as an operator, with fields of its own in its head.
fn post(url: &str, fields: &[(&str, &str)], body: &Json) -> HttpReply {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.timeout_global(Some(PATIENCE)).build().into();
    let token = format!("Bearer {}", program::ADMIN_TOKEN);
    let request = agent.post(url).header("authorization", token);
    let request =
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut answer = request.send_json(body).unwrap();
    let number = |name: &str| {
        let value = answer.headers().get(name)?.to_str().ok()?;
        value.parse().ok()
    };
    let (generation, txid) = (number("stockade-generation"), number("stockade-txid"));
    let status = answer.status().as_u16();
    let body: Json = answer.body_mut().read_json().unwrap_or_default();
    HttpReply { status, body, generation, txid, bill: None }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The error of an answer, as `group.code`.
fn code(answer: &HttpReply) -> String {
    let word = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
    format!("{}.{}", word("group"), word("code"))
}

/// A caller with a connection of its own.
fn caller() -> Caller {
    Caller::new(PATIENCE)
}
