//! How an actor's next generation comes to own its database: created, or taken over from one that
//! was judged sealed, dead or a ghost.
//!
//! The judgement is only about *when* to try. The store decides who wins.

use std::sync::Arc;

use stockade_depot::store::{ActorState, PreviousEnd, Wanted};
use stockade_depot::{ActorId, OpenError, Opened, Reason, SessionLimits};

use super::Shared;
use crate::actor::cause::error_of_open;
use crate::actor::generation::{Origin, Program};
use crate::capability::StartReason;
use crate::error::HostError;
use crate::limits::{OWNERSHIP_ATTEMPTS_MAX, OWNERSHIP_PAUSE};

/// Wins a fence for the next generation.
///
/// # Errors
/// `ActorMissing` if it does not exist and may not be created, `Elsewhere` if another live process
/// owns it, `Superseded` if another took it first, `Destroying`, and those of the store.
pub async fn begin(
    shared: &Arc<Shared>,
    actor: &ActorId,
    program: Arc<Program>,
    creates: bool,
) -> Result<Origin, HostError> {
    let mut attempts = 0;
    let mut pause = OWNERSHIP_PAUSE;
    let (opened, start_reason) = loop {
        attempts += 1;
        let state = shared.depot.store().actor(actor).await?;
        let component = program.component.digest();
        let (opened, reason) = match state {
            None if !creates => {
                return Err(HostError::ActorMissing { actor: actor.clone() });
            }
            None => (shared.depot.create(actor, component).await, StartReason::Created),
            Some(state) => {
                if !state.head.sealed {
                    shared.nodes.meet(state.head.owner).await?;
                }
                judge(shared, actor, &state)?;
                let end = previous_end(shared, &state);
                let reason = start_reason(&state, &program);
                (shared.depot.take_over(&state, component, end).await, reason)
            }
        };
        match opened {
            Ok(opened) => break (opened, reason),
            // Another process or an earlier attempt was faster: look again.
            Err(OpenError::Exists(_) | OpenError::Superseded { .. })
                if attempts < OWNERSHIP_ATTEMPTS_MAX =>
            {
                tracing::debug!(%actor, attempts, "another start was faster");
            }
            Err(error) => return Err(error_of_open(error, actor)),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    };
    let Opened { session, snapshot, .. } = opened;
    session.narrow(SessionLimits {
        commit_bytes_max: program.limits.commit_bytes_max,
        database_bytes_max: program.limits.database_bytes_max,
        snapshot_bytes_max: program.limits.snapshot_bytes_max,
    });
    Ok(Origin {
        actor: actor.clone(),
        session,
        program,
        start_reason,
        snapshot,
        scratch_dir: shared.scratch_dir.clone(),
    })
}

/// Whether the head may be replaced: sealed, a ghost of ours, or its owner's process is dead.
fn judge(shared: &Shared, actor: &ActorId, state: &ActorState) -> Result<(), HostError> {
    if state.row.wanted == Wanted::Destroying {
        return Err(HostError::Destroying { actor: actor.clone() });
    }
    // A head that names this process while its slot has no generation is a ghost.
    match shared.elsewhere(&state.head) {
        None => Ok(()),
        Some(address) => Err(HostError::Elsewhere { actor: actor.clone(), address }),
    }
}

/// What the restart counter is told: a trap counts, a lost fence or a killed process does not.
fn previous_end(shared: &Shared, state: &ActorState) -> PreviousEnd {
    if state.head.sealed {
        return PreviousEnd::Orderly;
    }
    let fence = state.head.fence;
    let exit = shared.exits.of(&state.row.actor);
    let of_head = exit.filter(|exit| (exit.db, exit.generation) == (fence.db, fence.generation));
    match of_head.map(|exit| exit.reason) {
        Some(Reason::Trapped | Reason::Budget) => PreviousEnd::Crashed,
        _ => PreviousEnd::Neutral,
    }
}

fn start_reason(state: &ActorState, program: &Program) -> StartReason {
    if state.row.component != program.component.digest() {
        StartReason::Upgraded
    } else if state.head.sealed {
        StartReason::Woken
    } else {
        StartReason::Recovered
    }
}
