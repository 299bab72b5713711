//! The primaries of a store: which of them keeps which shards, and the move of a shard.
//!
//! Invariant: what ends a move, a signal too, loses nothing: the store says how far it came, and the
//! next move of the shard continues.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade_depot::store::{Cluster as _, Directory as _, LIST_ROWS_MAX};
use stockade_depot::{PAGE_SIZE, Shard, Store as _, StoreError};
use stockade_postgres::{MoveError, MoveStep, PgConfig, PgStores, Progress, ShardRow, ShardState};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::postgres;
use crate::failure::Failure;
use crate::offline;
use crate::output::{Output, bytes};

/// Shards whose actors are counted at the same time.
const COUNTED_TOGETHER: usize = 16;

/// How often a move reports where there is no terminal.
const REPORTED_EVERY: Duration = Duration::from_secs(5);

/// An open store over its primaries, closed on drop.
pub(crate) struct Primaries {
    store: Arc<PgStores>,
    runtime: Runtime,
}

/// What a shard holds.
#[derive(Clone, Copy, Default)]
struct Size {
    actors: u64,
    bytes: u64,
}

impl Primaries {
    /// Opens the store. Makes none.
    pub(super) fn open(configs: &[PgConfig]) -> Result<Self, Failure> {
        let runtime = offline::runtime()?;
        match runtime.block_on(postgres::made(configs)) {
            Ok(store) => Ok(Self { store: Arc::new(store), runtime }),
            Err(failure) => {
                // The name of a host may still be asked for.
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    /// What each primary keeps, and each shard.
    pub(crate) fn shards(&self) -> Result<Json, Failure> {
        let work = async {
            let rows = self.store.shard_map().await?;
            Ok((rows, sizes(&self.store).await?))
        };
        let (rows, sizes) = self.runtime.block_on(work).map_err(offline::failure)?;
        let named: Vec<(&str, &str)> = self.store.primaries().collect();
        Ok(document(&named, &rows, &sizes))
    }

    /// Moves a shard, and reports how far it is. A signal ends it between two steps of the store.
    pub(crate) fn move_shard(&self, shard: u8, to: &str, output: Output) -> Result<Json, Failure> {
        let (begun, report) = (Instant::now(), Report::new(output, shard, to));
        let tell = |progress: &Progress| report.tell(progress);
        let work = async {
            let listen = |kind| signal(kind).map_err(|error| Failure::local(error.to_string()));
            let mut interrupt = listen(SignalKind::interrupt())?;
            let mut terminate = listen(SignalKind::terminate())?;
            tokio::select! {
                moved = self.store.move_shard(Shard(shard), to, &tell) => {
                    moved.map_err(|error| not_moved(shard, to, &error))
                }
                _ = interrupt.recv() => Err(interrupted(shard, to)),
                _ = terminate.recv() => Err(interrupted(shard, to)),
            }
        };
        let moved = self.runtime.block_on(work);
        report.end();
        let moved = moved?;
        Ok(json!({
            "shard": shard,
            "to": to,
            "was_there": moved.was_there,
            "databases": moved.databases,
            "pages": moved.pages,
            "bytes": moved.bytes,
            "retaken": moved.retaken,
            "seconds": begun.elapsed().as_secs_f64(),
        }))
    }
}

impl Drop for Primaries {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.close());
    }
}

/// What each shard holds.
async fn sizes(store: &Arc<PgStores>) -> Result<BTreeMap<u8, Size>, StoreError> {
    let (mut kinds, mut after) = (Vec::new(), None::<String>);
    loop {
        let rows = store.kinds(after.as_deref(), LIST_ROWS_MAX).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.kind.clone());
        kinds.extend(rows.into_iter().map(|row| row.kind));
    }
    let kinds: Arc<[String]> = kinds.into();
    let (mut sizes, mut counts) = (BTreeMap::new(), JoinSet::new());
    for shard in Shard::all(store.shards()) {
        if counts.len() == COUNTED_TOGETHER {
            take(&mut sizes, counts.join_next().await)?;
        }
        let (store, kinds) = (Arc::clone(store), Arc::clone(&kinds));
        counts.spawn(async move { (shard.0, size(&store, &kinds, shard).await) });
    }
    while let Some(counted) = counts.join_next().await {
        take(&mut sizes, Some(counted))?;
    }
    Ok(sizes)
}

/// How far a move is: a line of the terminal that changes, or a line of a log from time to time.
struct Report {
    output: Output,
    what: String,
    bar: ProgressBar,
    told: Mutex<Option<Instant>>,
}

impl Report {
    fn new(output: Output, shard: u8, to: &str) -> Self {
        let bar = output.progress(None, "{spinner} {msg} ({elapsed})");
        Self { output, what: format!("shard {shard} to {to}"), bar, told: Mutex::new(None) }
    }

    /// Reports what has moved so far. Called between the steps of a move, from any of its tasks.
    fn tell(&self, progress: &Progress) {
        let Self { what, bar, .. } = self;
        let moved = &progress.moved;
        let databases = moved.databases;
        let line = match progress.step {
            MoveStep::Begun => format!("{what}: begun"),
            MoveStep::Gone | MoveStep::Here => {
                format!("{what}: all of {databases} databases are there")
            }
            MoveStep::Claimed(_)
            | MoveStep::Copied(_)
            | MoveStep::Taken(_)
            | MoveStep::Complete(_)
            | MoveStep::Moved(_)
            | MoveStep::Arrived(_)
            | MoveStep::Disposed(_) => {
                format!("{what}: {databases} databases moved, {} copied", bytes(moved.bytes))
            }
        };
        if !bar.is_hidden() {
            bar.set_message(line);
        } else if self.is_due() {
            self.output.note(&line);
        }
    }

    /// Whether a line is due where there is no terminal.
    fn is_due(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| told.elapsed() >= REPORTED_EVERY);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn interrupted(shard: u8, to: &str) -> Failure {
    Failure::interrupted(format!(
        "the move of shard {shard} to {to} was ended by a signal: the same command continues it, and \
         until then its actors are served where they are"
    ))
}

/// Why a shard has not moved, or not all of it, and what to do.
fn not_moved(shard: u8, to: &str, error: &MoveError) -> Failure {
    let (retry, hint) = match error {
        MoveError::Busy { .. } | MoveError::Store { .. } => (Retry::Retry, ""),
        MoveError::UnknownPrimary { .. } => (Retry::Fix, "; give `--store` for each primary"),
        MoveError::NoSuchShard { .. }
        | MoveError::Former { .. }
        | MoveError::InProgress { .. }
        | MoveError::Disagree { .. } => (Retry::Fix, ""),
        MoveError::Differs { .. } | MoveError::Pins { .. } => {
            (Retry::Fix, "; look at the actor with `stockade verify`")
        }
    };
    Failure::not_moved(format!("cannot move shard {shard} to {to}: {error}{hint}"), retry)
}

type Counted = Result<(u8, Result<Size, StoreError>), tokio::task::JoinError>;

fn take(sizes: &mut BTreeMap<u8, Size>, counted: Option<Counted>) -> Result<(), StoreError> {
    let Some(counted) = counted else { return Ok(()) };
    let (shard, size) = counted.expect("BUG: a count neither panics nor is cancelled");
    sizes.insert(shard, size?);
    Ok(())
}

async fn size(store: &PgStores, kinds: &[String], shard: Shard) -> Result<Size, StoreError> {
    let mut size = Size::default();
    for kind in kinds {
        let mut after = String::new();
        loop {
            let found = store.count(kind, shard, &after).await?;
            size.actors += found.actors;
            size.bytes += found.pages.saturating_mul(PAGE_SIZE as u64);
            let Some(next) = found.next else { break };
            after = next;
        }
    }
    Ok(size)
}

fn word(state: ShardState) -> &'static str {
    match state {
        ShardState::Here => "here",
        ShardState::Leaving => "leaving",
        ShardState::Gone => "gone",
        ShardState::Coming => "coming",
    }
}

/// The primary that keeps a shard, or still does, has its actors in its count.
fn counts(state: ShardState) -> bool {
    matches!(state, ShardState::Here | ShardState::Leaving)
}

fn document(named: &[(&str, &str)], rows: &[ShardRow], sizes: &BTreeMap<u8, Size>) -> Json {
    let size = |row: &ShardRow| {
        let found = sizes.get(&row.shard.0).copied().unwrap_or_default();
        counts(row.state).then_some(found)
    };
    let primary = |(name, address): &(&str, &str)| {
        let own = || rows.iter().filter(|row| row.primary == *name);
        let in_state = |state| own().filter(|row| row.state == state).count();
        let total = own().filter_map(size).fold(Size::default(), |total, of| Size {
            actors: total.actors + of.actors,
            bytes: total.bytes + of.bytes,
        });
        json!({
            "primary": name,
            "address": address,
            "here": in_state(ShardState::Here),
            "leaving": in_state(ShardState::Leaving),
            "coming": in_state(ShardState::Coming),
            "actors": total.actors,
            "stored_bytes": total.bytes,
        })
    };
    let shard = |row: &ShardRow| {
        json!({
            "shard": row.shard.0,
            "primary": row.primary,
            "state": word(row.state),
            "peer": row.peer,
            "version": row.version,
            "actors": size(row).map(|of| of.actors),
            "stored_bytes": size(row).map(|of| of.bytes),
        })
    };
    let mut sorted: Vec<&ShardRow> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.shard.0, !counts(row.state)));
    json!({
        "primaries": named.iter().map(primary).collect::<Vec<_>>(),
        "shards": sorted.into_iter().map(shard).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shard: u8, primary: &str, state: ShardState, peer: Option<&str>) -> ShardRow {
        let (primary, peer) = (primary.to_owned(), peer.map(str::to_owned));
        ShardRow { shard: Shard(shard), primary, state, peer, version: 1 }
    }

    #[test]
    fn a_shard_on_its_way_is_counted_where_it_leaves() {
        let named = [("east", "postgres://h:1/d"), ("west", "postgres://h:1/e")];
        let rows = [
            row(1, "west", ShardState::Coming, Some("east")),
            row(0, "east", ShardState::Here, None),
            row(1, "east", ShardState::Leaving, Some("west")),
        ];
        let size = |actors| Size { actors, bytes: actors * 4096 };
        let document = document(&named, &rows, &BTreeMap::from([(0, size(2)), (1, size(3))]));
        let of = |at: usize| {
            ["here", "leaving", "coming", "actors", "stored_bytes"]
                .map(|name| document["primaries"][at][name].as_u64().expect("a number"))
        };
        assert_eq!((of(0), of(1)), ([1, 1, 0, 5, 20_480], [0, 0, 1, 0, 0]), "{document}");
        let states = [0, 1, 2].map(|at| document["shards"][at]["state"].clone());
        assert_eq!(states, ["here", "leaving", "coming"], "{document}");
        assert_eq!(document["shards"][2]["actors"], Json::Null, "{document}");
    }

    #[test]
    fn a_move_that_is_refused_says_whether_to_run_it_again() {
        let error = StoreError::Unavailable("no answer".to_owned());
        let away = not_moved(7, "west", &MoveError::Store { primary: "west".to_owned(), error });
        assert_eq!(away.body.retry, Retry::Retry);
        assert!(away.body.message.contains("run it again"), "{}", away.body.message);
        let (name, known) = ("north".to_owned(), vec!["east".to_owned()]);
        let unknown = not_moved(7, "north", &MoveError::UnknownPrimary { name, known });
        assert_eq!(unknown.body.retry, Retry::Fix);
        assert!(unknown.body.message.contains("--store"), "{}", unknown.body.message);
    }
}
