//! One store over several primaries: actors are spread over them, and shards move between them while
//! real programs serve their actors.
//!
//! ```text
//!  two nodes ── --store east --store west ──> two databases of one server: no transaction spans them
//!  stockade store move-shard ───────────────> the same
//!  test ── psql ───────────────────────────── what each of them has, past every store
//! ```

mod load;
mod moves;
mod refusals;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use stockade_depot::ActorId;
use stockade_testkit::postgres::{Server, USER};
use stockade_tests::program::{Program, run};

use super::{add, deploy_counter, done};

/// The names of the primaries. The first in the order of the alphabet is the root.
const NAMES: [&str; 2] = ["east", "west"];

/// Empty databases of a server of its own, a primary each: nodes and movers have more connections
/// than the shared server allows.
struct Primaries {
    server: Server,
    databases: [String; 2],
    dir: tempfile::TempDir,
}

impl Primaries {
    fn new() -> Self {
        let server = Server::start(&["max_connections=400"]);
        let databases = [server.new_database(), server.new_database()];
        Self { server, databases, dir: tempfile::tempdir().unwrap() }
    }

    fn database(&self, name: &str) -> &str {
        let at = NAMES.iter().position(|known| *known == name).expect("a primary");
        &self.databases[at]
    }

    fn address(&self, name: &str) -> String {
        let (port, database) = (self.server.port, self.database(name));
        format!("postgres://{USER}@127.0.0.1:{port}/{database}?sslmode=disable&name={name}")
    }

    /// As a primary names itself.
    fn shown(&self, name: &str) -> String {
        format!("postgres://127.0.0.1:{}/{}", self.server.port, self.database(name))
    }

    /// The flags of a command on these primaries.
    fn flags(&self, names: &[&str]) -> Vec<String> {
        let flags = names.iter().flat_map(|name| ["--store".to_owned(), self.address(name)]);
        flags.collect()
    }

    fn data(&self, node: &str) -> PathBuf {
        self.dir.path().join(node)
    }

    /// Starts a program on these primaries, with the data directory of this node.
    fn serve(&self, node: &str, names: &[&str]) -> anyhow::Result<Program> {
        let flags = self.flags(names);
        Program::serve_with(&self.data(node), &refs(&flags))
    }

    /// Runs a command on both primaries.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let stores = self.flags(&NAMES);
        run(&[arguments, &refs(&stores)].concat()).unwrap()
    }

    /// What a command on both primaries prints with `--json`; it must succeed.
    fn done(&self, arguments: &[&str]) -> Json {
        let stores = self.flags(&NAMES);
        done(&[arguments, &refs(&stores)].concat())
    }

    /// Exit code and error of a command on both primaries that must fail.
    fn failed(&self, arguments: &[&str]) -> (i32, Json) {
        let stores = self.flags(&NAMES);
        super::failed(&[arguments, &refs(&stores)].concat())
    }

    fn sql(&self, name: &str, text: &str) -> String {
        self.server.sql(self.database(name), text)
    }

    /// The keys of the actors that a primary has, those that have moved away left out.
    fn keys(&self, name: &str) -> BTreeSet<String> {
        let text = "SELECT a.key FROM actor a JOIN head h ON h.db = a.db WHERE h.sealed < 2";
        self.sql(name, text).lines().map(str::to_owned).collect()
    }

    /// The shards that a primary keeps, as its rows say.
    fn kept(&self, name: &str) -> BTreeSet<u8> {
        let text = self.sql(name, "SELECT number FROM shard WHERE state = 0");
        text.lines().map(|number| number.parse().unwrap()).collect()
    }

    /// The primary that keeps a shard, and no other does.
    fn keeper(&self, shard: u8) -> &'static str {
        let keepers: Vec<&str> =
            NAMES.into_iter().filter(|name| self.kept(name).contains(&shard)).collect();
        let [keeper] = keepers[..] else { panic!("shard {shard} is at {keepers:?}") };
        keeper
    }
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn other(name: &str) -> &'static str {
    if name == NAMES[0] { NAMES[1] } else { NAMES[0] }
}

/// The shard of a counter.
fn shard(key: &str) -> u8 {
    ActorId::new("counter", key).unwrap().shard(256).0
}

/// The first keys of counters in this shard.
fn keys_in(shard: u8, count: usize) -> Vec<String> {
    let all = (0..).map(|number| format!("k{number}"));
    all.filter(|key| self::shard(key) == shard).take(count).collect()
}

#[test]
fn actors_are_spread_over_the_primaries_of_the_list() {
    let primaries = Primaries::new();
    // As in a file with settings, in another order than that of the alphabet.
    let config = format!(
        "store = [\n  \"{}\",\n  \"{}\",\n]\n",
        primaries.address("west"),
        primaries.address("east")
    );
    let program = Program::serve_configured(&primaries.data("one"), &config).unwrap();
    deploy_counter(&program);
    let keys: BTreeSet<String> = (0..64).map(|key| key.to_string()).collect();
    for key in &keys {
        assert_eq!(add(&program, key, 1), 1);
    }
    let [east, west] = NAMES.map(|name| primaries.keys(name));
    assert!(east.len() > 10 && west.len() > 10, "{east:?}, {west:?}");
    assert!(east.is_disjoint(&west) && &east | &west == keys, "{east:?}, {west:?}");
    // Kinds, and the processes, are at the root alone.
    for table in ["kind", "node"] {
        let rows = NAMES.map(|name| primaries.sql(name, &format!("SELECT count(*) FROM {table}")));
        assert_eq!(rows, ["1", "0"], "{table}");
    }

    let shown = primaries.done(&["store", "shards"]);
    let of = |at: usize, name: &str| shown["primaries"][at][name].clone();
    for (at, (name, own)) in NAMES.into_iter().zip([&east, &west]).enumerate() {
        assert_eq!(of(at, "primary"), json!(name), "{shown}");
        assert_eq!(of(at, "address"), json!(primaries.shown(name)));
        assert_eq!(["here", "leaving", "coming"].map(|it| of(at, it)), [128, 0, 0].map(Json::from));
        assert_eq!(of(at, "actors"), json!(own.len()));
        assert!(of(at, "stored_bytes").as_u64() >= Some(4096 * own.len() as u64), "{shown}");
    }
    let shards = shown["shards"].as_array().unwrap();
    let numbers = shards.iter().map(|shard| shard["shard"].as_u64().unwrap());
    assert!(numbers.eq(0..256), "{shown}");
    let kept = NAMES.map(|name| primaries.kept(name));
    assert!(kept[0].is_disjoint(&kept[1]), "{kept:?}");
    for of in shards {
        let number = u8::try_from(of["shard"].as_u64().unwrap()).unwrap();
        let keeper = NAMES[usize::from(kept[1].contains(&number))];
        assert_eq!((&of["primary"], &of["state"]), (&json!(keeper), &json!("here")), "{of}");
        assert_eq!((&of["peer"], &of["version"]), (&Json::Null, &json!(0)), "{of}");
    }
    let (code, text, _) = primaries.run(&["store", "shards"]);
    assert!(code == 0 && text.contains("west") && !text.contains("moves"), "{text}");
    let (code, text, _) = primaries.run(&["store", "shards", "--all"]);
    assert!(code == 0 && text.lines().count() > 256, "{text}");

    let listed = program.admin_get("/admin/actors").unwrap();
    assert_eq!(listed.body["actors"].as_array().unwrap().len(), 64, "{listed:?}");
    program.stop().unwrap();
    let variable = NAMES.map(|name| primaries.address(name)).join(" ");
    let variable = [("STOCKADE_STORE", std::path::Path::new(&variable))];
    let again = Program::serve_in(&primaries.data("two"), &[], &variable).unwrap();
    for key in &keys {
        assert_eq!(add(&again, key, 1), 2);
    }
    again.stop().unwrap();
}

/// Commands that work on the store itself are given the list as well.
#[test]
fn commands_without_a_server_work_on_all_primaries() {
    let primaries = Primaries::new();
    let empty = primaries.done(&["store", "check"]);
    assert_eq!((&empty["verdict"], &empty["ok"]), (&json!("empty"), &json!(true)));
    let (code, error) = primaries.failed(&["store", "shards"]);
    assert_eq!((code, &error["code"]), (1, &json!("no-store")), "{error}");
    let program = primaries.serve("one", &NAMES).unwrap();
    deploy_counter(&program);
    // A key of each primary.
    let keys: Vec<String> = (0..8).map(|key| key.to_string()).collect();
    for key in &keys {
        add(&program, key, 5);
    }
    let [east, west] = NAMES.map(|name| primaries.keys(name).pop_first().unwrap());
    let all = primaries.done(&["verify", "--all"]);
    assert_eq!((&all["ok"], all["actors"].as_array().unwrap().len()), (&json!(true), 8), "{all}");
    for (at, key) in [east, west].into_iter().enumerate() {
        let actor = format!("counter/{key}");
        let slept = format!("/admin/actors/{actor}/stop");
        assert_eq!(program.admin_post(&slept, &json!({})).unwrap().status, 200);
        let file = primaries.dir.path().join(format!("{at}.sqlite"));
        let file = file.to_str().unwrap();
        assert_eq!(primaries.done(&["export", &actor, file])["integrity_check"], "ok");
        for copy in [format!("copy-{at}"), format!("copy-of-{at}")] {
            let imported = primaries.done(&["import", &format!("counter/{copy}"), file]);
            assert_eq!(imported["actor"], json!(format!("counter/{copy}")), "{imported}");
            assert_eq!(add(&program, &copy, 1), 6);
        }
    }
    let checked = primaries.done(&["store", "check"]);
    assert_eq!(checked["verdict"], "opens", "{checked}");
    for (at, name) in NAMES.into_iter().enumerate() {
        let of = |field: &str| checked["primaries"][at][field].clone();
        assert_eq!((of("verdict"), of("store")), (json!("opens"), json!(primaries.shown(name))));
    }
    assert_eq!(checked["processes"][0]["pid"], json!(program.id()), "{checked}");
    program.stop().unwrap();
}

/// A store that has had one primary without a name gets a second one.
#[test]
fn a_primary_that_is_added_joins_without_shards_and_gets_some() {
    let primaries = Primaries::new();
    let unnamed = primaries.address("east").replace("&name=east", "");
    let alone = Program::serve_with(&primaries.data("one"), &["--store", &unnamed]).unwrap();
    deploy_counter(&alone);
    let key = &keys_in(9, 1)[0];
    assert_eq!(add(&alone, key, 1), 1);
    alone.stop().unwrap();

    let (main, west) = (format!("{unnamed}&name=main"), primaries.address("west"));
    let list = ["--store", &main, "--store", &west];
    let program = Program::serve_with(&primaries.data("one"), &list).unwrap();
    let done = |arguments: &[&str]| done(&[arguments, &list].concat());
    let here = |shown: &Json| [0, 1].map(|at| shown["primaries"][at]["here"].as_u64().unwrap());
    let shown = done(&["store", "shards"]);
    assert_eq!(here(&shown), [256, 0], "{shown}");
    let moved = done(&["store", "move-shard", "9", "--to", "west"]);
    assert_eq!((&moved["databases"], &moved["was_there"]), (&json!(1), &json!(false)), "{moved}");
    assert_eq!(add(&program, key, 1), 2);
    let shown = done(&["store", "shards"]);
    assert_eq!((here(&shown), &shown["shards"][9]["version"]), ([255, 1], &json!(1)), "{shown}");
    assert!(primaries.keys("west").contains(key) && !primaries.keys("east").contains(key));
    program.stop().unwrap();
}
