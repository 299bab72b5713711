//! Two banks on two nodes exchange transfers by messages, while nodes are killed and frozen: what left one
//! account has arrived at the other one, exactly once, at every look.
//!
//! A round: both accounts send from several callers; in the middle one node is killed or frozen, and comes
//! back; then nothing is sent until nothing waits, and the sums are compared. `TRANSFERS=n` sends more
//! (`make bank`: 100,000).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::Caller;

use super::{Cluster, LEASE_MS};

/// Transfers in `make test`.
const TRANSFERS: u64 = 2_000;
/// Transfers of one round, of both accounts together.
const ROUND: u64 = 500;
/// Transfers of one call.
const TOGETHER: u64 = 25;
/// What each account begins with, in cents: more than it can send before it receives.
const PAID_IN: u64 = 1_000_000;
/// How long callers wait for an answer: a frozen node is silent.
const HASTY: Duration = Duration::from_secs(3);
/// How long until nothing waits: a backstop, a lease, and some waits that have doubled.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
const ACCOUNTS: [&str; 2] = ["one", "two"];

fn transfers() -> u64 {
    let given = std::env::var("TRANSFERS").ok();
    given.map_or(TRANSFERS, |text| text.parse().expect("TRANSFERS is a number"))
}

/// What becomes of a node in a round.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Freeze,
    None,
}

#[test]
fn what_leaves_an_account_arrives_once_whatever_becomes_of_the_nodes() {
    let mut cluster = Cluster::start(2);
    let wasm = guest::BANK.wasm().unwrap();
    cluster.node(0).deploy_with("bank", &wasm, Some(&json!({ "calls": ["bank"] }))).unwrap();
    for (node, account) in ACCOUNTS.iter().enumerate() {
        let paid = cluster.node(node).call(&format!("bank/{account}"), "pay-in", &json!([PAID_IN]));
        assert_eq!(paid.unwrap().body["ok"], PAID_IN);
    }
    let blows = [Blow::Kill, Blow::Freeze, Blow::None, Blow::Kill, Blow::Freeze];
    let (mut round, mut done) = (0, 0);
    while done < transfers() {
        let blow = blows[round % blows.len()];
        let node = round / 2 % 2;
        exchange(&mut cluster, blow, node, done + ROUND);
        done = verify(&cluster, blow, round);
        round += 1;
    }
    println!("{done} transfers in {round} rounds");
}

/// Sends until both accounts together have sent so many transfers; in the middle a node gets a blow.
fn exchange(cluster: &mut Cluster, blow: Blow, node: usize, until: u64) {
    let addresses: Vec<String> = (0..2).map(|it| cluster.node(it).listen.clone()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (at, account) in ACCOUNTS.iter().enumerate() {
            let (stop, addresses) = (&stop, &addresses);
            scope.spawn(move || {
                let caller = Caller::new(HASTY);
                let arguments = json!([ACCOUNTS[1 - at], 1, TOGETHER]);
                let mut at = at;
                while !stop.load(Ordering::Relaxed) {
                    let actor = format!("bank/{account}");
                    // What became of a call that failed is in the account.
                    let sent = caller.call(&addresses[at], &actor, "transfer-many", &arguments);
                    if sent.is_ok_and(|answer| answer.status == 200) {
                        std::thread::sleep(Duration::from_millis(5));
                    } else {
                        at = 1 - at;
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        match blow {
            Blow::Kill => {
                cluster.take(node).kill().unwrap();
                std::thread::sleep(Duration::from_millis(LEASE_MS * 2));
            }
            Blow::Freeze => {
                let frozen = cluster.node(node);
                frozen.freeze().unwrap();
                std::thread::sleep(Duration::from_millis(LEASE_MS * 2));
                frozen.resume().unwrap();
            }
            Blow::None => {}
        }
        let begun = Instant::now();
        let caller = Caller::new(HASTY);
        let alive = usize::from(node == 0);
        while sent(&caller, &addresses[alive]).is_none_or(|sent| sent < until) {
            assert!(begun.elapsed() < DRAINED_WITHIN, "{blow:?}: the accounts send no more");
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    if let Blow::Kill = blow {
        cluster.nodes[node] = None;
        let added = cluster.add(&[]);
        cluster.nodes.swap(node, added);
        cluster.nodes.pop();
        cluster.meet();
    }
}

/// How many transfers both accounts have sent, if both say so.
fn sent(caller: &Caller, address: &str) -> Option<u64> {
    let look = |account: &&str| {
        let actor = format!("bank/{account}");
        let answer = caller.call(address, &actor, "look", &json!([])).ok()?;
        answer.body["ok"]["sent-count"].as_u64()
    };
    ACCOUNTS.iter().map(look).sum()
}

/// Waits until nothing waits, and compares. Returns how many transfers there were.
fn verify(cluster: &Cluster, blow: Blow, round: usize) -> u64 {
    let begun = Instant::now();
    let mut settled = 0;
    loop {
        let looks: Option<Vec<Json>> =
            ACCOUNTS.iter().map(|account| look(cluster, account)).collect();
        if let Some(looks) = &looks {
            let number = |at: usize, name: &str| looks[at][name].as_u64().unwrap();
            let is_settled = number(0, "sent-count") == number(1, "received-count")
                && number(1, "sent-count") == number(0, "received-count");
            settled = if is_settled { settled + 1 } else { 0 };
            // Twice, a moment apart: nothing comes after that.
            if settled == 2 {
                assert_eq!(number(0, "sent"), number(1, "received"), "{looks:?}");
                assert_eq!(number(1, "sent"), number(0, "received"), "{looks:?}");
                let sum = number(0, "balance") + number(1, "balance");
                assert_eq!(sum, 2 * PAID_IN, "round {round}, {blow:?}: {looks:?}");
                return number(0, "sent-count") + number(1, "sent-count");
            }
        }
        let logs = || {
            let texts = cluster.nodes.iter().flatten().map(|program| program.autopsy());
            texts.collect::<Vec<_>>().join("\n")
        };
        assert!(begun.elapsed() < DRAINED_WITHIN, "round {round}, {blow:?}: {looks:?}\n{}", logs());
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn look(cluster: &Cluster, account: &str) -> Option<Json> {
    let answer = cluster.node(0).call(&format!("bank/{account}"), "look", &json!([])).ok()?;
    (answer.status == 200).then(|| answer.body["ok"].clone())
}
