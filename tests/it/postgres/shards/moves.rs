//! Shards move to and fro under load: to the end, killed at any moment, and ended by Ctrl-C.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_testkit::random::Random;
use stockade_tests::guest;
use stockade_tests::node::{self, Node, Shared};
use stockade_tests::program::{self, Program};

use super::load::{add_again, all_answer_again, while_called};
use super::{NAMES, Primaries, keys_in, other};

const LEASE: Duration = Duration::from_secs(2);
/// Shards that are moved, and counters in each.
const SHARDS: [u8; 3] = [3, 77, 200];
const COUNTERS: usize = 2;
/// Actors beside them in the first shard, asleep or awake without calls.
const BESIDE: usize = 6;
/// Kills of one move, after which it may end.
const KILLS_MAX: usize = 6;
/// Kills of all moves together.
const KILLS: usize = 12;
/// Moves in which that many kills must fall.
const MOVES_MAX: usize = 30;

/// Two nodes over two primaries that pass calls on to each other.
struct Cluster {
    primaries: Primaries,
    nodes: [Node; 2],
}

impl Cluster {
    fn start() -> Self {
        let primaries = Primaries::new();
        let shared = Shared {
            dir: primaries.dir.path().to_owned(),
            store: primaries.address("east"),
            lease: LEASE,
            flags: primaries.flags(&["west"]),
        };
        shared.make_keys(&["one", "two"]).unwrap();
        let nodes = ["one", "two"].map(|name| Node::start(&shared, name).unwrap());
        nodes[0].running().unwrap().deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
        node::meet(nodes.iter()).unwrap();
        Self { primaries, nodes }
    }

    fn nodes(&self) -> [&Node; 2] {
        self.nodes.each_ref()
    }

    fn first(&self) -> &Program {
        self.nodes[0].running().unwrap()
    }

    /// Actors of the first shard that are not called.
    fn beside(&self) -> Vec<String> {
        let keys = keys_in(SHARDS[0], COUNTERS + BESIDE).split_off(COUNTERS);
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(super::add(self.first(), key, 7), 7);
            if at % 2 == 0 {
                let stop = format!("/admin/actors/counter/{key}/stop");
                assert_eq!(self.first().admin_post(&stop, &json!({})).unwrap().status, 200);
            }
        }
        keys
    }

    /// A mover that runs.
    fn mover(&self, shard: u8, to: &str) -> Child {
        let (shard, flags) = (shard.to_string(), self.primaries.flags(&NAMES));
        Command::new(program::path().unwrap())
            .args(["store", "move-shard", &shard, "--to", to, "--json"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn end(self) {
        let checked = self.primaries.done(&["verify", "--all"]);
        assert_eq!(checked["ok"], true, "{checked}");
        for mut node in self.nodes {
            node.stop().unwrap();
        }
    }
}

/// The counters of the load.
fn counters() -> Vec<String> {
    SHARDS.into_iter().flat_map(|shard| keys_in(shard, COUNTERS)).collect()
}

/// Lists actors at both nodes, in short pages, until `stop`: each list is whole, and none is twice.
fn list(nodes: [&Node; 2], count: usize, stop: &AtomicBool) -> u64 {
    let mut lists = 0;
    while !stop.load(Ordering::Relaxed) {
        for program in nodes.map(|node| node.running().unwrap()) {
            let (mut keys, mut after) = (Vec::new(), String::new());
            loop {
                let listed = program.admin_get(&format!("/admin/actors?limit=4{after}")).unwrap();
                assert_eq!(listed.status, 200, "{listed:?}");
                let rows = listed.body["actors"].as_array().unwrap();
                keys.extend(rows.iter().map(|row| row["actor"].as_str().unwrap().to_owned()));
                let Some(next) = listed.body["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            let mut once = keys.clone();
            once.dedup();
            assert!(once.len() == count && keys.is_sorted() && once == keys, "{keys:?}");
        }
        lists += 1;
    }
    lists
}

#[test]
fn shards_move_to_and_fro_under_load_and_lose_nothing() {
    let cluster = Cluster::start();
    let (keys, beside) = (counters(), cluster.beside());
    for key in &keys {
        super::add(cluster.first(), key, 0);
    }
    let stop = AtomicBool::new(false);
    while_called(cluster.nodes(), &keys, |counters| {
        std::thread::scope(|scope| {
            let lists = scope.spawn(|| list(cluster.nodes(), keys.len() + beside.len(), &stop));
            for _ in 0..3 {
                for shard in SHARDS {
                    all_answer_again(counters);
                    let (from, text) = (cluster.primaries.keeper(shard), shard.to_string());
                    let to = other(from);
                    let moved = cluster.primaries.done(&["store", "move-shard", &text, "--to", to]);
                    println!("{from}: {moved}");
                    assert_eq!((&moved["to"], &moved["was_there"]), (&json!(to), &json!(false)));
                    let databases = COUNTERS + if shard == SHARDS[0] { BESIDE } else { 0 };
                    assert_eq!(moved["databases"], json!(databases), "{moved}");
                    assert_eq!(cluster.primaries.keeper(shard), to);
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(lists.join().unwrap() > 3, "hardly a list");
        });
    });
    for key in &beside {
        assert_eq!(add_again(cluster.first(), key, 1), 8, "{key}");
    }
    nothing_is_left_behind(&cluster.primaries);
    cluster.end();
}

/// What a primary has given away is not there any more: neither heads nor pages, actors nor commits.
fn nothing_is_left_behind(primaries: &Primaries) {
    for name in NAMES {
        for (table, column) in
            [("head", "db"), ("page", "db"), ("\"commit\"", "db"), ("actor", "db"), ("stage", "db")]
        {
            let left = format!(
                "SELECT count(*) FROM {table} t JOIN shard s ON s.number = get_byte(t.{column}, 0) \
                 WHERE s.state <> 0"
            );
            assert_eq!(primaries.sql(name, &left), "0", "{table} at {name}");
        }
    }
}

/// Runs a move until it is through, and kills it before: at moments that are spread over the time
/// that it takes. How often it was killed, and how long the last try took.
fn through_kills(
    cluster: &Cluster,
    shard: u8,
    to: &str,
    takes: Duration,
    random: &mut Random,
) -> (usize, Duration) {
    for kills in 0.. {
        let begun = Instant::now();
        let mut mover = cluster.mover(shard, to);
        if kills < KILLS_MAX {
            let micros = u64::try_from(takes.as_micros()).unwrap().max(1);
            std::thread::sleep(Duration::from_micros(random.below(micros)));
            if mover.try_wait().unwrap().is_none() {
                mover.kill().unwrap();
                mover.wait().unwrap();
                continue;
            }
        }
        let output = mover.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        let moved: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(moved["to"], json!(to), "{moved}");
        return (kills, begun.elapsed());
    }
    unreachable!()
}

#[test]
fn a_move_that_is_killed_is_continued() {
    let seed = std::env::var("SEED").map_or_else(|_| 1, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let cluster = Cluster::start();
    let (keys, beside) = (counters(), cluster.beside());
    while_called(cluster.nodes(), &keys, |counters| {
        all_answer_again(counters);
        let [shard, ..] = SHARDS;
        let begun = Instant::now();
        let to = other(cluster.primaries.keeper(shard));
        assert!(cluster.mover(shard, to).wait().unwrap().success());
        let (mut takes, mut kills) = (begun.elapsed(), 0);
        println!("a move takes {takes:?}");
        for round in 0..MOVES_MAX {
            if kills >= KILLS {
                break;
            }
            let shard = SHARDS[round % 2];
            let to = other(cluster.primaries.keeper(shard));
            let (killed, took) = through_kills(&cluster, shard, to, takes, &mut random);
            // What a first move warms up, later ones find warm: their kills must not come too late.
            if killed == 0 {
                takes = takes.min(took);
            }
            kills += killed;
            assert_eq!(cluster.primaries.keeper(shard), to);
            all_answer_again(counters);
        }
        println!("{kills} kills, a move takes {takes:?}");
        assert!(kills >= KILLS, "{kills} kills in {MOVES_MAX} moves");
    });
    for key in &beside {
        assert_eq!(add_again(cluster.first(), key, 1), 8, "{key}");
    }
    nothing_is_left_behind(&cluster.primaries);
    cluster.end();
}

#[test]
fn ctrl_c_ends_a_move_and_the_same_command_continues() {
    let cluster = Cluster::start();
    let [shard, ..] = SHARDS;
    let beside = cluster.beside();
    // A head that another transaction holds keeps the move from its end.
    let (from, held) = (cluster.primaries.keeper(shard), &beside[0]);
    let to = other(from);
    std::thread::scope(|scope| {
        let lock = format!(
            "BEGIN; SELECT h.txid FROM head h JOIN actor a ON a.db = h.db WHERE a.key = '{held}' \
             FOR UPDATE OF h; SELECT pg_sleep(4)"
        );
        let primaries = &cluster.primaries;
        let holder = scope.spawn(move || primaries.sql(from, &lock));
        std::thread::sleep(Duration::from_millis(300));
        let mover = cluster.mover(shard, to);
        std::thread::sleep(Duration::from_millis(1_500));
        let asked = Instant::now();
        let sent = Command::new("kill").args(["-INT", &mover.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = mover.wait_with_output().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{error}");
        let error: Json = serde_json::from_str(error.lines().last().unwrap()).unwrap();
        assert_eq!((&error["code"], &error["retry"]), (&json!("interrupted"), &json!("retry")));
        holder.join().unwrap();
    });
    // It stands as it was left, and its actors are served.
    let shown = cluster.primaries.done(&["store", "shards"]);
    let leaving = shown["shards"].as_array().unwrap().iter().find(|it| it["state"] == "leaving");
    let leaving = leaving.unwrap_or_else(|| panic!("{shown}"));
    assert_eq!((&leaving["shard"], &leaving["peer"]), (&json!(shard), &json!(to)), "{leaving}");
    let (_, text, _) = cluster.primaries.run(&["store", "shards"]);
    assert!(text.contains(&format!("move-shard {shard} --to {to}` continues")), "{text}");
    for key in &beside {
        assert_eq!(add_again(cluster.first(), key, 1), 8, "{key}");
    }
    let moved = cluster.primaries.done(&["store", "move-shard", &shard.to_string(), "--to", to]);
    assert_eq!(moved["was_there"], false, "{moved}");
    assert_eq!(cluster.primaries.keeper(shard), to);
    for key in &beside {
        assert_eq!(add_again(cluster.first(), key, 1), 9, "{key}");
    }
    nothing_is_left_behind(&cluster.primaries);
    cluster.end();
}
