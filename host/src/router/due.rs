//! What a slot knows of its actor's due work, and whose turn it is.

use std::time::Duration;

use stockade_depot::DbId;
use tokio::time::Instant;

use crate::actor::generation::Generation;

/// How long due work rests that could not be begun or recorded. 1 s, as between two looks.
const FAILED_REST: Duration = Duration::from_secs(1);

/// What a slot knows of its actor's due work.
#[derive(Default)]
pub(super) struct DueState {
    /// The database, and the earliest time in it, of the generation that is awake.
    earliest: Option<(DbId, i64)>,
    /// Due work was the last thing that ran: a call that waits comes first.
    had_turn: bool,
    /// Due work runs.
    runs: bool,
    /// Until when it rests.
    rests_until: Option<Instant>,
}

impl DueState {
    /// When the generation that is awake has something due.
    pub(super) fn at(&self) -> Option<i64> {
        self.earliest.map(|(_, at)| at)
    }

    /// Until when due work rests.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Whether due work comes before a call that waits.
    pub(super) fn takes_turn(&mut self) -> bool {
        !std::mem::take(&mut self.had_turn)
    }

    /// Takes over what a generation knows, after anything that may have changed it.
    pub(super) fn follow(&mut self, generation: &mut Generation) {
        let db = generation.fence().db;
        self.earliest = generation.earliest_alarm().map(|at| (db, at));
    }

    /// Due work begins.
    pub(super) fn begin(&mut self) {
        self.rests_until = None;
        (self.had_turn, self.runs) = (true, true);
    }

    /// Due work has ended.
    pub(super) fn end(&mut self) {
        self.runs = false;
    }

    /// Whether due work runs.
    pub(super) fn runs(&self) -> bool {
        self.runs
    }

    /// The generation has ended: takes what it knew.
    pub(super) fn take(&mut self) -> Option<(DbId, i64)> {
        self.runs = false;
        self.earliest.take()
    }

    /// Due work could not be begun or recorded.
    pub(super) fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + FAILED_REST);
    }
}
