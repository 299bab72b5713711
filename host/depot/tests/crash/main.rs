//! The embedded store after a machine has stopped at any moment: old state or new, never mixed.
//!
//! A fixed workload runs once, over a VFS that writes down every write, truncation, deletion and
//! sync. Then for *every* n the files are put together as they may be found when the machine stops
//! after the n-th operation; the ordinary store opens them, must find every acknowledged step
//! whole, the one in progress whole or not at all, sound histories, and must continue to work.
//!
//! `SEED=n SEEDS=m` try other torn writes; a failure prints what to set. The WAL's index is never
//! kept: it is memory.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking and tells what it saw"
)]

mod journal;
mod recorder;
mod workload;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use stockade_depot::store::{Destroyed, TakenOver, Wanted};
use stockade_depot::{EmbeddedStore, Store, history};
use tempfile::TempDir;

use journal::{Image, Op, Unsynced, image};
use stockade_testkit::owner::Owner;
use stockade_testkit::random::Random;
use workload::{FILES, Recording, config, dump, record};

/// Torn images that are tried unless `SEEDS` says otherwise.
const SEEDS: u64 = 300;

/// In memory where there is such a place: a real sync adds nothing to a test of images.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("stockade-crash-");
    builder.tempdir_in(memory).or_else(|_| builder.tempdir()).unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

impl Recording {
    /// Steps that were acknowledged before operation `n`.
    fn acknowledged_at(&self, n: usize) -> usize {
        self.acknowledged.iter().filter(|at| **at <= n).count()
    }

    /// What is wrong with the store that is found when the machine stops after operation `n`.
    fn offence(&self, n: usize, files: &Image) -> Option<String> {
        let directory = scratch();
        for (name, bytes) in files {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(self.find_offence(n, directory.path())).err();
        found.map(|what| {
            let done = self.acknowledged_at(n);
            format!("after operation {n} ({done} steps acknowledged): {what}")
        })
    }

    async fn find_offence(&self, n: usize, directory: &Path) -> Result<(), String> {
        let done = self.acknowledged_at(n);
        let opened = EmbeddedStore::open(&config(directory));
        let store: Arc<dyn Store> = Arc::new(opened.map_err(|e| format!("does not open: {e}"))?);
        if done > 0 {
            // Steps count from the opening, which is the first one.
            let found = dump(directory);
            let old_or_new = &self.states[done - 1..self.states.len().min(done + 1)];
            if !old_or_new.contains(&found) {
                let near = self.states.iter().position(|state| *state == found);
                return Err(match near {
                    Some(step) => format!("it is in the state after step {}", step + 1),
                    None => format!("mixed: {:?}", differences(&found, &old_or_new[0])),
                });
            }
        }
        whole(directory)?;
        sound(&store).await?;
        go_on(&store).await?;
        sound(&store).await?;
        store.close().await;
        whole(directory)
    }
}

fn differences(found: &workload::Dump, expected: &workload::Dump) -> Vec<String> {
    found.iter().filter(|table| !expected.contains(table)).map(|table| table.0.clone()).collect()
}

/// SQLite finds its files in order.
fn whole(directory: &Path) -> Result<(), String> {
    for file in FILES {
        let conn = Connection::open(directory.join(file)).unwrap();
        let said: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .map_err(|error| format!("{file}: {error}"))?;
        if said != "ok" {
            return Err(format!("{file}: {said}"));
        }
    }
    Ok(())
}

/// Every page, commit and chain is what its hashes say.
async fn sound(store: &Arc<dyn Store>) -> Result<(), String> {
    for state in store.actors(None, None, 100).await.map_err(|error| error.to_string())? {
        if state.row.wanted == Wanted::Destroying {
            continue;
        }
        let db = state.row.db;
        let report = history::verify(store.as_ref(), db, &mut |_| {}).await;
        let report = report.map_err(|error| format!("{}: {error}", state.row.actor))?;
        if !report.is_sound() {
            return Err(format!("{}: {:?}", state.row.actor, report.faults));
        }
    }
    Ok(())
}

/// The store takes every sort of step again.
async fn go_on(store: &Arc<dyn Store>) -> Result<(), String> {
    for state in store.actors(None, None, 100).await.map_err(|error| error.to_string())? {
        let actor = state.row.actor.clone();
        let old = Owner::of(store, actor.clone(), &state.head);
        let mut step = old.takeover_step();
        step.destroying = state.row.wanted == Wanted::Destroying;
        let destroying = step.destroying;
        let taken = store.take_over(step).await.map_err(|error| format!("{actor}: {error}"))?;
        let TakenOver::Owned { head, .. } = taken else { return Err(format!("{actor} moved")) };
        if destroying {
            while store.destroy(&actor, head.fence).await.map_err(|e| e.to_string())?
                != Destroyed::Gone
            {}
            let rows = store.rows_of(state.row.db).await.map_err(|error| error.to_string())?;
            if rows > 0 {
                return Err(format!("{rows} rows of {actor} are left"));
            }
            continue;
        }
        let mut owner = Owner::of(store, actor.clone(), &head);
        let count = owner.page_count.0.max(2);
        let pages: Vec<(u32, u64)> = (1..=count).map(|pgno| (pgno, 1_000)).collect();
        owner.try_commit(&pages, count).await.map_err(|error| format!("{actor}: {error}"))?;
        store.seal(owner.seal_step(None)).await.map_err(|error| format!("{actor}: {error}"))?;
    }
    let mut after = Owner::create(store, "after").await;
    after.try_commit(&[(1, 1)], 1).await.map_err(|error| error.to_string())
}

/// Every moment with one treatment of what was not synced. Stops at the first offence.
fn first_offence(recording: &Recording, unsynced: Unsynced) -> Option<String> {
    let mut seen = HashSet::new();
    for n in 0..=recording.ops.len() {
        let files = image(&recording.ops[..n], unsynced);
        // Syncs change nothing of what is kept, writes nothing of what is dropped.
        let mut hash = blake3::Hasher::new();
        hash.update(&recording.acknowledged_at(n).to_le_bytes());
        for (name, bytes) in &files {
            hash.update(name.as_bytes()).update(&bytes.len().to_le_bytes()).update(bytes);
        }
        if seen.insert(hash.finalize())
            && let Some(what) = recording.offence(n, &files)
        {
            return Some(format!("{unsynced:?}, {what}"));
        }
    }
    None
}

async fn recorded() -> Recording {
    let recording = record().await;
    let syncs = recording.ops.iter().filter(|op| matches!(op, Op::Sync { .. })).count();
    let copied = |op: &&Op| matches!(op, Op::Write { file, .. } if file == "shard-00.db");
    let copied = recording.ops.iter().filter(copied).count();
    println!(
        "{} operations, {syncs} syncs, {copied} writes into the shard, {} steps",
        recording.ops.len(),
        recording.states.len()
    );
    assert!(copied > 20, "no checkpoint came in between: {copied}");
    recording
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_operation_with_all_that_was_written() {
    let recording = recorded().await;
    let found = tokio::task::spawn_blocking(move || first_offence(&recording, Unsynced::Kept));
    assert_eq!(found.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_operation_with_nothing_but_what_was_synced() {
    let recording = recorded().await;
    let found = tokio::task::spawn_blocking(move || first_offence(&recording, Unsynced::Dropped));
    assert_eq!(found.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_torn_and_reordered_writes() {
    let recording = recorded().await;
    let (seed, seeds) = (number("SEED", 1), number("SEEDS", SEEDS));
    let found = tokio::task::spawn_blocking(move || {
        (seed..seed + seeds).find_map(|seed| {
            let moments = u64::try_from(recording.ops.len() + 1).unwrap();
            let n = usize::try_from(Random::new(!seed).below(moments)).unwrap();
            let files = image(&recording.ops[..n], Unsynced::Torn { seed });
            recording.offence(n, &files).map(|what| format!("SEED={seed} SEEDS=1: {what}"))
        })
    });
    assert_eq!(found.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_appends_is_one_write() {
    for log in ["shard-00.db-wal", "global.db-wal"] {
        let (mut waiting, mut groups, mut grown) = (0, 0, 0);
        for op in &recorded().await.ops {
            match op {
                // The file grows ahead of what is written next.
                Op::Write { file, bytes, .. } if file == log && bytes.iter().all(|b| *b == 0) => {
                    grown += bytes.len();
                }
                Op::Write { file, bytes, .. } if file == log => {
                    assert!(bytes.len() > 24, "a frame's header alone");
                    waiting += 1;
                }
                Op::Sync { file } if file == log => {
                    assert!(waiting <= 1, "{log}: {waiting} writes before one sync");
                    groups += waiting;
                    waiting = 0;
                }
                // Other threads work on other files at the same time.
                op => assert!(waiting == 0 || op.file() != log, "{log}: written and not synced"),
            }
        }
        assert!(groups > 5, "{log}: {groups}");
        assert!(grown > 0, "{log}: each sync makes it longer");
    }
}

/// The proof bites: what a store does that syncs too little, or acknowledges too early, is seen.
mod broken {
    use super::*;

    async fn check(name: &str, breaks: impl FnOnce(&mut Recording)) {
        let mut recording = recorded().await;
        breaks(&mut recording);
        let found =
            tokio::task::spawn_blocking(move || first_offence(&recording, Unsynced::Dropped));
        let found = found.await.unwrap();
        println!("{name}: {found:?}");
        assert!(found.is_some(), "{name} is not seen");
    }

    /// Syncs after the opening have no effect. Every moment counts operations, so what is left out
    /// is replaced by something that does nothing.
    fn forget_syncs(recording: &mut Recording, of: &str) {
        for op in &mut recording.ops[recording.acknowledged[0]..] {
            if matches!(op, Op::Sync { file } if file == of) {
                *op = Op::Write { file: of.to_owned(), at: 0, bytes: Vec::new() };
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_is_not_synced_is_seen() {
        check("synchronous=NORMAL", |it| forget_syncs(it, "shard-00.db-wal")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_checkpoint_that_is_not_synced_is_seen() {
        check("checkpoint without sync", |it| forget_syncs(it, "shard-00.db")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_before_the_commit_is_seen() {
        check("acknowledged before COMMIT", |recording| {
            recording.acknowledged.remove(0);
            recording.states.remove(0);
            let begun = recording.acknowledged.iter().map(|at| at.saturating_sub(1));
            recording.acknowledged = begun.collect();
        })
        .await;
    }
}
