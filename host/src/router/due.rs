//! What a slot knows of its actor's due work, and whose turn it is.

use std::time::Duration;

use stockade_depot::DbId;
use tokio::time::Instant;

use crate::actor::generation::Generation;
use crate::sqlite::Earliest;

/// How long due work rests that could not be begun or recorded. 1 s, as between two looks.
const FAILED_REST: Duration = Duration::from_secs(1);

/// What a slot knows of its actor's due work.
#[derive(Default)]
pub(super) struct DueState {
    /// The database, and the earliest times in it, of the generation that is awake.
    earliest: Option<(DbId, Earliest)>,
    /// Due work was the last thing that ran: a call that waits comes first.
    had_turn: bool,
    /// Due work runs.
    runs: bool,
    /// Until when it rests.
    rests_until: Option<Instant>,
}

impl DueState {
    /// When the generation that is awake has something to run.
    pub(super) fn at(&self) -> Option<i64> {
        let (_, Earliest { alarm, parked, .. }) = self.earliest?;
        alarm.into_iter().chain(parked).min()
    }

    /// Whether what is to run next is a parked message.
    pub(super) fn is_parked(&self) -> bool {
        let Some((_, Earliest { alarm, parked, .. })) = self.earliest else { return false };
        parked.is_some_and(|parked| alarm.is_none_or(|alarm| parked < alarm))
    }

    /// When it has something to do, sent messages included.
    pub(super) fn any(&self) -> Option<i64> {
        self.earliest.and_then(|(_, earliest)| earliest.any())
    }

    /// Whether something waits that it has sent.
    pub(super) fn has_sent(&self) -> bool {
        self.earliest.is_some_and(|(_, earliest)| earliest.message.is_some())
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
        self.earliest = Some((db, generation.earliest_due()));
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
        let (db, earliest) = self.earliest.take()?;
        earliest.any().map(|at| (db, at))
    }

    /// Due work could not be begun or recorded.
    pub(super) fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + FAILED_REST);
    }
}
