//! A primary with two standbys of which one must have each commit, under load; it is killed, the
//! standby with more of the log is promoted, the other one follows it, and the killed one comes back as
//! a standby. Again and again: `ROUNDS=n`.
//!
//! ```text
//! two processes ── depot, sessions ── store over TLS, whose address names all three servers
//!   both want each actor: takeovers against groups of commits, refused members, staged commits
//! ```
//! What must hold: see [`ledger`].

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]
#![allow(clippy::print_stdout, reason = "a test tells what it has seen")]

#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod kit;
mod ledger;
mod players;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::Ledger;
use players::Players;
use stage::Stage;

/// Actors that are written all the time.
const ACTORS: u64 = 12;
/// How long each round writes before its primary is killed.
const LOAD: Duration = Duration::from_millis(1500);
/// How long the standby that is not to be promoted has got nothing when the primary is killed.
const BEHIND: Duration = Duration::from_millis(300);
/// The longest time from the death of a primary until each actor has an acknowledged commit again, the
/// promotion included. 15 s, as docs/reference/postgres.md says.
const BACK_MAX: Duration = Duration::from_secs(15);

fn rounds() -> u32 {
    match std::env::var("ROUNDS") {
        Ok(rounds) => rounds.parse().expect("ROUNDS is a number"),
        Err(_) => 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_promotion_loses_nothing_and_makes_no_second_owner() {
    let mut stage = Stage::new().await;
    let ledger = Arc::new(Ledger::new(ACTORS));
    let players = Players::start(&stage, &ledger).await;
    let mut worst = Duration::ZERO;
    for round in 1..=rounds() {
        tokio::time::sleep(LOAD).await;
        let lagging = stage.lag();
        tokio::time::sleep(BEHIND).await;
        let died = Instant::now();
        stage.kill();
        stage.promote();
        ledger.all_acknowledged_since(died, BACK_MAX).await;
        worst = worst.max(died.elapsed());
        println!(
            "round {round}: server {lagging} lagged, all back after {:.1} s; {}",
            died.elapsed().as_secs_f32(),
            ledger.told()
        );
        stage.come_back();
    }
    tokio::time::sleep(LOAD).await;
    players.stop().await;
    let counts = ledger.verify(&stage.open().await).await;
    println!("{counts}; the slowest came back after {:.1} s", worst.as_secs_f32());
    assert!(ledger.takeovers() > u64::from(rounds()), "both processes owned actors");
    assert!(ledger.staged() > 0, "large commits were staged");
}
