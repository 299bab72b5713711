//! Moves a shard from one primary to another while its actors are in use.
//!
//! ```text
//! shard     source: here ─► leaving            target: gone ─► coming       (version + 1 on both)
//! database  claim at the target ─► copied while it lives ─► taken ─► the rest copied ─► final head
//!           ─► MOVED at the source: the moment ─► valid at the target ─► rows of the source go
//! shard     source: leaving ─► gone, if nothing stays            target: coming ─► here
//! ```
//! Invariants:
//! - M1: a database has at most one primary that serves it: its copy is valid only after the source
//!   says, in a look that counts, that it has moved.
//! - M2: the source says so only of a copy that has every commit, the floor, the pins, the directory's
//!   row and the snapshot of the head that is given away, all compared in or after the last write.
//! - M3: what a mover does at the source carries the fence that it took there, at the target the token of
//!   its claim, and on both sides the version of this move, each in the step itself. A mover that was
//!   frozen for any time changes nothing.
//! - M4: every step may be the last of a process. The next mover, by the same command, finds what is
//!   there and continues; two at the same time only cost each other time.
//! - M5: a mover that is dead blocks no actor: a takeover waits [`limits::MOVE_WINDOW`] and gives the
//!   head back to itself.
//!
//! Rules of `docs/protocol.md`: D2 to D5, D9, D10, D13.

mod arrival;
mod copy;
mod database;
mod disposal;
mod error;
mod progress;
mod shard;
mod stored;
mod taking;
mod void;

use std::sync::Mutex;

use stockade_depot::{Shard, StoreError};

use crate::connection::Params;
use crate::echo::prove_on;
use crate::exchange::answer;
use crate::failure::Sent;
use crate::limits;
use crate::link::{Link, on_one};
use crate::rows::Row;
use crate::schema::MOVES_SINCE;
use crate::sql::moving as sql;
use crate::store::PgStores;

pub use error::MoveError;
pub use progress::{MoveStep, Moved, Progress};
pub(crate) use void::delete_void;

/// Does what may be done again, until it is done or has failed too often.
macro_rules! patiently {
    ($work:expr) => {{
        let mut failures = crate::limits::MOVE_FAILURES_MAX;
        loop {
            match $work.await {
                Err(error) if error.may_pass() && failures > 0 => {
                    failures -= 1;
                    tokio::time::sleep(crate::limits::MOVE_RETRY_PAUSE).await;
                }
                done => break done,
            }
        }
    }};
}

/// A primary, as a mover sees it.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The way there.
    pub(crate) link: &'a Link,
}

impl Side<'_> {
    /// The error of a step that was sent there.
    fn failed(&self, error: StoreError) -> MoveError {
        MoveError::Store { primary: self.name.to_owned(), error }
    }

    /// Rows that count: they are copied, or decide what is done elsewhere. May pass over all rows of a
    /// database.
    async fn look(&self, text: &'static str, params: Params<'_>) -> Result<Vec<Row>, MoveError> {
        let link = self.link;
        let looked = async {
            on_one!(link, connection => async {
                let asked = connection.rows(text, params);
                let rows = answer(limits::MOVE_READ_DEADLINE, Sent::Look, asked).await?;
                prove_on(connection).await?;
                Ok(rows)
            })
        };
        looked.await.map_err(|error: StoreError| self.failed(error))
    }

    /// The first of such rows.
    async fn look_row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, MoveError> {
        Ok(self.look(sql, params).await?.into_iter().next())
    }

    /// How many rows one statement has changed.
    async fn change(&self, sql: &'static str, params: Params<'_>) -> Result<u64, MoveError> {
        self.link.change(sql, params).await.map_err(|error| self.failed(error))
    }
}

/// One move: the two primaries, and the version that both have for it.
pub(crate) struct Mover<'a> {
    source: Side<'a>,
    target: Side<'a>,
    shard: Shard,
    version: u64,
    progress: &'a (dyn Fn(&Progress) + Sync),
    tally: Mutex<Moved>,
}

/// A shard's databases are between these two: no id is the first.
fn ids(shard: Shard) -> (Vec<u8>, Vec<u8>) {
    let last = [[shard.0].as_slice(), &[u8::MAX; 15]].concat();
    (vec![shard.0], last)
}

impl PgStores {
    /// Moves a shard to the primary `to`, or finishes its move there, while its actors are in use: each
    /// of them is fenced once, and its next owner waits [`limits::MOVE_WINDOW`] at most. `progress` is
    /// called between two steps.
    ///
    /// Dropped at any moment, or ended with an error, it leaves a state that the same call continues
    /// from, in any process.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn move_shard(
        &self,
        shard: Shard,
        to: &str,
        progress: &(dyn Fn(&Progress) + Sync),
    ) -> Result<Moved, MoveError> {
        if u16::from(shard.0) >= self.shards {
            return Err(MoveError::NoSuchShard { shard: shard.0.into(), shards: self.shards });
        }
        self.check_programs().await?;
        let sides: Vec<Side<'_>> = self.primaries.iter().map(|primary| Side::of(primary)).collect();
        move_shard(&sides, shard, to, progress).await
    }

    /// Refuses to move anything under a program that asks no row of a shard.
    async fn check_programs(&self) -> Result<(), MoveError> {
        // A closed store has none, and refuses the next step.
        let Ok(root) = self.root() else { return Ok(()) };
        let nodes = root.list_nodes().await.map_err(|error| Side::of(root).failed(error))?;
        for node in nodes {
            if let Some(process) = node.process.filter(|it| it.formats.1 < MOVES_SINCE) {
                return Err(MoveError::Former { address: node.address, version: process.version });
            }
        }
        Ok(())
    }
}

/// Moves a shard to the primary `to`, or finishes its move there.
///
/// Dropped at any moment, it leaves a state that the next call continues from.
pub(crate) async fn move_shard(
    primaries: &[Side<'_>],
    shard: Shard,
    to: &str,
    progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Moved, MoveError> {
    match patiently!(shard::begin(primaries, shard, to, progress))? {
        shard::Begun::There(target) => {
            shard::clear_others(primaries, &target, shard).await?;
            Ok(Moved { was_there: true, ..Moved::default() })
        }
        shard::Begun::Moving(mover) => mover.run().await,
    }
}

impl Mover<'_> {
    /// Reports a step.
    fn tell(&self, step: MoveStep) {
        let moved = self.counted(|_| {});
        (self.progress)(&Progress { step, moved });
    }

    /// Counts, and returns what is counted by now.
    fn counted(&self, count: impl FnOnce(&mut Moved)) -> Moved {
        let mut tally = self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        count(&mut tally);
        tally.clone()
    }

    /// Moves what there is, until nothing stays.
    async fn run(self) -> Result<Moved, MoveError> {
        for _ in 0..limits::MOVE_PASSES_MAX {
            self.pass().await?;
            if patiently!(self.end_at_source())? {
                self.tell(MoveStep::Gone);
                patiently!(self.end_at_target())?;
                self.tell(MoveStep::Here);
                patiently!(disposal::clear(&self.source, self.shard, self.version))?;
                return Ok(self.counted(|_| {}));
            }
        }
        Err(MoveError::Busy { shard: self.shard, db: None, tries: limits::MOVE_PASSES_MAX })
    }

    /// Moves every database that stays, some at the same time.
    async fn pass(&self) -> Result<(), MoveError> {
        use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
        let (mut after, last) = ids(self.shard);
        loop {
            let dbs = patiently!(disposal::listed(&self.source, sql::STAYING, &after, &last))?;
            let Some(next) = dbs.last() else { return Ok(()) };
            after = next.0.to_vec();
            iter(dbs)
                .map(Ok)
                .try_for_each_concurrent(limits::MOVE_DATABASES, |db| self.move_database(db))
                .await?;
        }
    }
}
