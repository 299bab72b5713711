//! A generation without a component: an operator's statements for an actor that is asleep.
//!
//! ```text
//!  Visit::open ──> run ──> answer passes the gate ──> end: sealed, or left as it was found
//! ```
//! No instance is made and no hook runs, so that a row which makes `start` fail can be read and
//! repaired. The fence is won as for any generation, and nothing is answered before the fence is
//! durable and owned.
//!
//! Invariants:
//! - An actor that was found asleep in order is asleep in order again, and the next generation is
//!   `woken`; the snapshot is handed on, current if nothing was committed.
//! - After a commit a snapshot from before stays and is older than the data. A seal would drop it,
//!   so the head is left unsealed then: the next generation is `recovered`.
//! - An actor that had not ended in order is left unsealed: neither the crash counter nor the next
//!   generation's start reason changes.

use std::time::Duration;

use stockade_depot::gate::Gate;
use stockade_depot::store::ActorState;
use stockade_depot::{ActorId, Cause, Digest, Fence, HandedOver, Mark, Reason, SealError, Session};
use tokio::time::Instant;

use super::answer::Answer;
use super::bill::{Bill, micros};
use super::exit::{Ended, Exit, SnapshotOutcome};
use super::generation::Origin;
use super::seal::seal;
use super::statements::Statements;
use crate::cpu::CpuTime;
use crate::error::HostError;
use crate::grip::Grip;
use crate::sqlite::{Connection, Meter, OperatorRows};

/// A won database, open for one operator.
pub struct Visit {
    found: Found,
    connection: Connection,
    meter: Meter,
    grip: Grip,
    gate: Gate,
    begun: Instant,
}

/// The state of the actor before a visit; what is left of the visit when its statements have run.
pub struct Found {
    actor: ActorId,
    component: Digest,
    session: Session,
    /// The newest commit before the visit.
    committed: Mark,
    snapshot: Option<HandedOver>,
    restarts: u32,
    ended_in_order: bool,
}

impl Visit {
    /// Opens the database of a won fence.
    ///
    /// # Errors
    /// The database cannot be opened: the session is closed, its head unsealed.
    pub fn open(origin: Origin) -> Result<Self, HostError> {
        let Origin { actor, session, program, component, snapshot, restarts, .. } = origin;
        let (begun, gate) = (Instant::now(), Gate::enter_first(&session));
        let cpu = CpuTime::new(&origin.turns, actor.kind());
        let (meter, grip, limits) = (Meter::new(cpu), Grip::default(), &program.limits);
        meter.begin(limits, begun + Duration::from_millis(limits.call_time_ms));
        let (of, by) = (grip.clone(), meter.clone());
        let (scratch_dir, memory) = (&origin.scratch_dir, &origin.memory.share);
        let connection =
            Connection::open(&origin.spares, session.clone(), scratch_dir, memory, limits, of, by)
                .and_then(|mut connection| connection.serve().map(|()| connection))
                .map_err(|error| {
                    let died = session.cause();
                    session.close(Reason::Operator);
                    died.map_or_else(|| error.into(), |cause| HostError::from(&cause))
                })?;
        let found = Found {
            actor,
            component,
            committed: session.mark(),
            session,
            snapshot,
            restarts,
            ended_in_order: origin.ended_in_order,
        };
        Ok(Self { found, connection, meter, grip, gate, begun })
    }

    /// The budget, to shorten the visit from outside.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The grip that ends the visit's SQL from outside.
    #[must_use]
    pub fn grip(&self) -> &Grip {
        &self.grip
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.found.session
    }

    /// Closes the database; nothing was run.
    #[must_use]
    pub fn leave(self) -> Found {
        let Self { found, connection, grip, .. } = self;
        grip.revoke(Reason::Operator);
        connection.close();
        found
    }

    /// Runs the statements and closes the database. The answer is delivered only after its gate is
    /// passed; then the visit ends with [`Found::end`].
    #[must_use]
    pub fn run(self, statements: &Statements) -> (Found, Answer<OperatorRows>) {
        let Self { found, mut connection, meter, grip, gate, begun } = self;
        let rows = statements.run(Some(&mut connection));
        let rows = connection.end_of_call().and(rows);
        grip.revoke(Reason::Operator);
        connection.close();
        let mut bill = Bill { run_us: micros(begun.elapsed()), ..Bill::default() };
        bill.add_counters(&meter.counts());
        (found, Answer { outcome: rows.map_err(HostError::from), waiting: gate.leave(), bill })
    }
}

impl Found {
    /// The fence of the visit.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.session.fence()
    }

    /// Ends the visit; `None` if it leaves the actor as one that has not ended in order.
    pub async fn end(self) -> Option<Ended> {
        let is_unchanged = self.session.mark() == self.committed;
        let snapshot = match &self.snapshot {
            _ if !self.ended_in_order => return self.leave(None).await,
            None => None,
            Some(kept) if kept.current && is_unchanged => Some(kept.snapshot.state.clone()),
            Some(_) => return self.leave(None).await,
        };
        let Self { session, actor, component, restarts, .. } = &self;
        match seal(session, actor, *component, *restarts, snapshot, true).await {
            Ok(left) => Some(self.sealed(left)),
            Err(error) => self.leave(Some(error)).await,
        }
    }

    /// Accepted commits run to their verdict, then the session is closed, its head unsealed.
    async fn leave(self, error: Option<SealError>) -> Option<Ended> {
        let session = &self.session;
        if let Err(cause @ (Cause::CommitLost { .. } | Cause::Fenced(_))) =
            session.durable(session.mark()).await
        {
            tracing::warn!(actor = %self.actor, %cause, "an operator's statements were lost");
        }
        session.close(Reason::Operator);
        if let Some(error) = error {
            let actor = &self.actor;
            tracing::warn!(%actor, %error, "not sealed after an operator's statements");
        }
        None
    }

    fn sealed(self, left: Box<ActorState>) -> Ended {
        let fence = self.session.fence();
        let snapshot = match self.snapshot {
            Some(kept) => SnapshotOutcome::Taken { bytes: kept.snapshot.state.len(), late_sql: 0 },
            None => SnapshotOutcome::None,
        };
        let exit = Exit {
            db: fence.db,
            generation: fence.generation,
            reason: Reason::Operator,
            snapshot,
            sealed: true,
            proven: false,
            message: Some("an operator's statements, without the component".to_owned()),
            crash: None,
        };
        Ended { exit, left: Some(left) }
    }
}
