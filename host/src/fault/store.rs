//! A store with faults in front of it. In place only on hosts that allow faults.
//!
//! Steps of databases without an armed fault pass unchanged; so does everything that is no step of
//! one database: the directory, kinds, components, processes, and history, so that operators can
//! inspect an actor whose store is frozen.

use std::sync::Arc;

use stockade_depot::store::layer::{Asked, Call, Confirmed, Layer};
use stockade_depot::store::{ActorState, PreviousEnd, Store, TakenOver, TakeoverStep};
use stockade_depot::{DbId, Fence, Head, NodeSession, StoreError, StoreFull, Token};

use super::{Fault, Faults};

/// A store with faults.
pub struct FaultingStore {
    inner: Arc<dyn Store>,
    faults: Faults,
}

impl FaultingStore {
    /// Puts faults, none armed yet, in front of a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// The faults that are armed.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Arms a fault of the store. `false`: the host has as many as it may.
    #[must_use]
    pub fn arm(&self, db: DbId, fault: Fault) -> bool {
        self.faults.arm(db, fault)
    }

    fn refuse_if_full(&self, db: DbId) -> Result<(), StoreError> {
        if self.faults.is_full(db) {
            let path = format!("a disk that a fault has filled for {db}").into();
            return Err(StoreError::Full(StoreFull { path, free_bytes: 0 }));
        }
        Ok(())
    }

    /// Takes a database over in the name of a process that does not exist, as another host would
    /// that judged its owner dead. `None`: the database has changed its owner since `state`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn usurp(&self, state: &ActorState) -> Result<Option<Head>, StoreError> {
        let step = TakeoverStep {
            actor: state.row.actor.clone(),
            db: state.head.fence.db,
            replaces: (state.head.fence.generation, state.head.fence.token),
            token: Token(random()?),
            owner: NodeSession(random()?),
            component: state.row.component,
            previous_end: PreviousEnd::Neutral,
            destroying: false,
        };
        match self.inner.take_over(step).await? {
            TakenOver::Owned { head, .. } => Ok(Some(head)),
            TakenOver::Moved(_) => Ok(None),
        }
    }
}

fn random() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Unavailable(format!("random bytes: {error}")))?;
    Ok(bytes)
}

impl Layer for FaultingStore {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        let asked = call.about.asked;
        let Some(db) = call.about.db.filter(|_| meets_faults(asked)) else {
            return call.apply(&self.inner).await;
        };
        self.faults.wait(db).await;
        if let Asked::Commit | Asked::Stage = asked {
            self.refuse_if_full(db)?;
        }
        let answer = call.apply(&self.inner).await?;
        if asked == Asked::Commit && self.faults.loses_reply(db) {
            return Err(StoreError::Unknown("a fault lost the answer".into()));
        }
        Ok(answer)
    }

    async fn through_confirm(&self, fences: Vec<Fence>) -> Result<Confirmed, StoreError> {
        let held: Vec<bool> =
            fences.iter().map(|fence| self.faults.holds_confirmation(fence.db)).collect();
        let asked: Vec<Fence> =
            fences.iter().zip(&held).filter(|(_, held)| !**held).map(|(fence, _)| *fence).collect();
        let mut answers = if asked.is_empty() {
            Vec::new().into_iter()
        } else {
            self.inner.confirm(&asked).await?.into_iter()
        };
        let unheard = || StoreError::Unavailable("a fault holds the confirmation".into());
        Ok(held
            .into_iter()
            .map(
                |held| if held { Err(unheard()) } else { answers.next().unwrap_or(Err(unheard())) },
            )
            .collect())
    }
}

/// Whether a step waits while its database's store is slow or frozen. `Confirm` concerns many
/// databases.
fn meets_faults(asked: Asked) -> bool {
    match asked {
        Asked::TakeOver
        | Asked::Seal
        | Asked::Read
        | Asked::Stage
        | Asked::CollectStages
        | Asked::Commit
        | Asked::SettleDue
        | Asked::Verdict
        | Asked::TakeOverImport
        | Asked::EmptyImport
        | Asked::FinishImport
        | Asked::Destroy => true,
        Asked::Create
        | Asked::Actor
        | Asked::Confirm
        | Asked::Claim
        | Asked::ReadAt
        | Asked::Commits
        | Asked::CommitPages
        | Asked::History
        | Asked::RaiseFloor
        | Asked::Superseded
        | Asked::TrimPages
        | Asked::TrimCommits
        | Asked::Pin
        | Asked::Unpin
        | Asked::Actors
        | Asked::Count
        | Asked::Destroying
        | Asked::RowsOf
        | Asked::Due
        | Asked::PutComponent
        | Asked::Component
        | Asked::PutKind
        | Asked::Kind
        | Asked::Kinds
        | Asked::RemoveKind
        | Asked::NodeBeat
        | Asked::Nodes
        | Asked::NodeGone
        | Asked::Check => false,
    }
}
