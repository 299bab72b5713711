//! How an actor's next generation comes to own its database: the database is created, a reserved
//! generation is begun, or the database is taken over from a generation that was judged sealed,
//! dead or a ghost.
//!
//! The judgement is only about *when* to try. The store decides who wins.

use std::sync::Arc;

use stockade_depot::store::{ActorState, PreviousEnd, Wanted};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, OpenError, Opened, Reason, SessionLimits, Txid,
};
use tokio::time::Instant;

use super::Shared;
use super::reservations::Known;
use crate::actor::generation::{Origin, Program};
use crate::capability::{StartReason, Way};
use crate::error::HostError;
use crate::limits::{OWNERSHIP_ATTEMPTS_MAX, OWNERSHIP_PAUSE};
use crate::memory::Part;

/// The outcome of an attempt to begin a generation.
pub enum Beginning {
    /// The fence is won.
    Won(Box<Origin>),
    /// The actor has crashed and must wait: nothing was done, try again then.
    NotBefore(Instant),
}

/// The purpose of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run the component; the actor is created if it does not exist.
    Life {
        /// The commit that the requester asks for. An actor that does not exist has none, and is not
        /// created for such a request.
        txid_min: Txid,
    },
    /// To run due work of this database, and of no other: no actor is created.
    Due {
        /// The database.
        db: DbId,
    },
    /// To run an operator's statements, without the component: the actor's crashes do not stand
    /// against it.
    Visit,
}

/// Wins a fence for the next generation, unless the actor's crashes or damage stand against it.
///
/// # Errors
/// `ActorMissing` or `Behind` if the actor does not exist and may not be created, `CrashLooping` while its
/// breaker is open, `Elsewhere` if another live process owns it, `Superseded` if another process
/// took it first, `Destroying`, `Corrupt`, and those of the store.
pub async fn begin(
    shared: &Arc<Shared>,
    actor: &ActorId,
    program: Arc<Program>,
    purpose: Purpose,
    memory: Part,
) -> Result<Beginning, HostError> {
    if let Some(error) = shared.damaged.standing(actor) {
        return Err(error);
    }
    let begun = win(shared, actor, program, purpose, memory).await;
    if let Err(HostError::Corrupt { what, .. }) = &begun {
        shared.damaged.note(actor, what);
    }
    begun
}

async fn win(
    shared: &Arc<Shared>,
    actor: &ActorId,
    program: Arc<Program>,
    purpose: Purpose,
    memory: Part,
) -> Result<Beginning, HostError> {
    let (store, limits) = (shared.depot.store().as_ref(), &program.limits);
    // Before the fence is won, since the share may have to be counted.
    let share = shared.quotas.share(store, actor.kind(), limits).await?;
    let mut attempts = 0;
    let mut pause = OWNERSHIP_PAUSE;
    // The state cached at the last seal is usually current; if it is stale, the store rejects it.
    let mut left = shared.reservations.take(actor);
    let (opened, won) = loop {
        attempts += 1;
        let known = match left.take() {
            Some(left) => Some(left),
            None => store.actor(actor).await?.map(|state| Known::Stored(Box::new(state))),
        };
        let is_left = known.as_ref().is_some_and(Known::is_left);
        let attempt = match known {
            None if !matches!(purpose, Purpose::Life { .. }) => {
                return Err(HostError::ActorMissing { actor: actor.clone() });
            }
            Some(known) if matches!(purpose, Purpose::Due { db } if known.state().row.db != db) => {
                // What a seal here has left may be of a database that is gone: the store knows.
                if is_left {
                    continue;
                }
                return Err(HostError::ActorMissing { actor: actor.clone() });
            }
            None => {
                if let Purpose::Life { txid_min } = purpose
                    && txid_min > Txid(0)
                {
                    return Err(HostError::Behind {
                        actor: actor.clone(),
                        txid: Txid(0),
                        txid_min,
                    });
                }
                create(shared, actor, &program).await?
            }
            Some(known) => match replace(shared, actor, known, &program, purpose).await? {
                Ok(attempt) => attempt,
                Err(not_before) => return Ok(Beginning::NotBefore(not_before)),
            },
        };
        match attempt.opened {
            Ok(opened) => break (opened, attempt.of),
            Err(OpenError::DatabaseMissing(_) | OpenError::Superseded { .. }) if is_left => {
                tracing::debug!(%actor, "it has lived elsewhere since");
                continue;
            }
            // Another process or an earlier attempt was faster: look again.
            Err(OpenError::Exists(_) | OpenError::Superseded { .. })
                if attempts < OWNERSHIP_ATTEMPTS_MAX =>
            {
                tracing::debug!(%actor, attempts, "another start was faster");
            }
            Err(error) => return Err(HostError::of_open(error, actor)),
        }
        tokio::time::sleep(shared.depot.random().part_of(pause)).await;
        pause *= 2;
    };
    opened.session.narrow(SessionLimits {
        share,
        commit_bytes_max: limits.commit_bytes_max,
        database_bytes_max: limits.database_bytes_max,
        snapshot_bytes_max: limits.snapshot_bytes_max,
    });
    Ok(Beginning::Won(Box::new(origin(shared, actor, program, memory, opened, won))))
}

/// One try to win a fence.
struct Attempt {
    opened: Result<Opened, OpenError>,
    of: Life,
}

/// The state that the attempted generation begins with.
struct Life {
    component: Digest,
    start_reason: StartReason,
    ended_in_order: bool,
}

/// Creates the actor.
async fn create(shared: &Shared, actor: &ActorId, program: &Program) -> Result<Attempt, HostError> {
    let store = shared.depot.store().as_ref();
    let place = shared.quotas.admit(store, actor.kind(), &program.limits).await?;
    let component = program.component.digest();
    let opened = shared.depot.create(actor, component).await;
    if opened.is_ok() {
        place.keep(0);
    }
    let of = Life { component, start_reason: StartReason::Created, ended_in_order: true };
    Ok(Attempt { opened, of })
}

/// Wins the generation that follows the head's. The inner error: the actor's crashes stand against
/// that until then.
async fn replace(
    shared: &Shared,
    actor: &ActorId,
    known: Known,
    program: &Program,
    purpose: Purpose,
) -> Result<Result<Attempt, Instant>, HostError> {
    let state = known.state();
    let component = match purpose {
        Purpose::Visit => state.row.component,
        Purpose::Life { .. } | Purpose::Due { .. } => program.component.digest(),
    };
    shared.meet_owner(&state.head).await?;
    judge(shared, actor, state)?;
    let ended_in_order = shared.ended_in_order(state);
    let standing = shared.crashes.standing(state, ended_in_order, component, &program.limits);
    match (standing.not_before, standing.wait(Instant::now())) {
        _ if purpose == Purpose::Visit => {}
        (Some(_), Some(wait)) if standing.open => {
            return Err(HostError::CrashLooping {
                restarts: standing.crashes,
                // Rounded up: a caller that comes back then is let in.
                retry_after_ms: u64::try_from(wait.as_millis())
                    .unwrap_or(u64::MAX)
                    .saturating_add(1),
            });
        }
        (Some(at), Some(_)) => return Ok(Err(at)),
        (_, None) | (None, _) => {}
    }
    let start_reason = start_reason(state, program, ended_in_order);
    // The owner is dead: its other actors may be called for at the same time.
    let is_rescue = shared.is_anothers(&known.state().head);
    let _place = if is_rescue { shared.rescues.for_call().await } else { None };
    // An actor that takes its process with it while it starts, or in a handler, must not be woken by one
    // process after the other without being counted.
    let unseen = standing.end == PreviousEnd::Neutral && is_rescue;
    let is_due = matches!(purpose, Purpose::Due { .. });
    let end = if unseen && is_due { PreviousEnd::Crashed } else { standing.end };
    let opened = shared.reservations.begin(&shared.depot, known, component, end).await;
    if let (Ok(opened), Purpose::Visit, false) = (&opened, purpose, ended_in_order) {
        // This takeover leaves no end of its own: the last crash stays the last one.
        shared.crashes.counted(actor, &opened.head.fence);
    }
    Ok(Ok(Attempt { opened, of: Life { component, start_reason, ended_in_order } }))
}

fn origin(
    shared: &Shared,
    actor: &ActorId,
    program: Arc<Program>,
    memory: Part,
    opened: Opened,
    life: Life,
) -> Origin {
    let Opened { session, snapshot, restarts, head } = opened;
    let Life { component, start_reason, ended_in_order } = life;
    let grants = Arc::clone(&program.grants);
    Origin {
        actor: actor.clone(),
        session,
        program,
        component,
        start_reason,
        snapshot,
        restarts,
        ended_in_order,
        spares: Arc::clone(&shared.spares),
        log_rate: Arc::clone(&shared.log_rate),
        turns: shared.turns.clone(),
        scratch_dir: shared.scratch_dir.clone(),
        memory,
        observer: shared.observer.clone(),
        native: shared.ground.native.clone(),
        clock: shared.ground.clock.clone(),
        has_due_work: head.due_work,
        keeps_due_work: shared.depot.store().keeps_due_work(),
        way: Way {
            outside: shared.outside.get().cloned(),
            waits: Arc::clone(&shared.waits),
            grants,
        },
        chain: None,
    }
}

/// Removes an actor that a call has created and that could not start: no caller knows of it. The
/// actor is removed only as its one generation has left it, so that a process that has taken it
/// over or created it again since keeps it. Returns whether the actor is gone.
pub async fn take_back(shared: &Arc<Shared>, actor: &ActorId, life: Fence) -> bool {
    let removed = async {
        let state = shared.depot.store().actor(actor).await.map_err(OpenError::Store)?;
        let Some(state) = state.filter(|state| state.head.fence == life) else { return Ok(false) };
        shared.depot.destroy(&state).await.map(|()| true)
    };
    match removed.await {
        Ok(is_gone) => is_gone,
        Err(OpenError::Superseded { .. }) => false,
        Err(error) => {
            let error = HostError::of_open(error, actor);
            tracing::warn!(%actor, %error, "an actor that could not start is left behind");
            false
        }
    }
}

/// Forgets the crashes of an actor that is not awake: a takeover writes that, and runs no
/// generation.
///
/// # Errors
/// As `begin`.
pub async fn forgive(shared: &Arc<Shared>, actor: &ActorId) -> Result<(), HostError> {
    for _ in 0..OWNERSHIP_ATTEMPTS_MAX {
        let state = shared.depot.store().actor(actor).await?;
        let state = state.ok_or_else(|| HostError::ActorMissing { actor: actor.clone() })?;
        // The actor ended in order: the next takeover counts from zero by itself.
        if !state.head.is_free() {
            shared.meet_owner(&state.head).await?;
            judge(shared, actor, &state)?;
            let is_rescue = shared.is_anothers(&state.head);
            let _place = if is_rescue { shared.rescues.for_call().await } else { None };
            match write(shared, &state, PreviousEnd::Orderly).await {
                Ok(_) => {}
                Err(OpenError::Superseded { .. }) => continue,
                Err(error) => return Err(HostError::of_open(error, actor)),
            }
        }
        shared.crashes.forget(actor);
        tracing::info!(%actor, "crashes forgotten");
        return Ok(());
    }
    Err(HostError::Superseded { actor: actor.clone() })
}

/// After a crash: if the breaker is open now, writes the count immediately, so that the count
/// survives the end of this process. If the write fails, the next takeover counts the crash.
pub async fn write_open_breaker(shared: &Arc<Shared>, actor: &ActorId) {
    let written = async {
        let Some(state) = shared.depot.store().actor(actor).await? else { return Ok(()) };
        let limits = &shared.kinds.current(actor.kind()).await?.limits;
        let ended = shared.ended_in_order(&state);
        let standing = shared.crashes.standing(&state, ended, state.row.component, limits);
        if !standing.open || standing.end == PreviousEnd::Neutral {
            return Ok(());
        }
        let wait_ms = standing.wait(Instant::now()).map_or(0, |wait| wait.as_millis());
        tracing::warn!(%actor, crashes = standing.crashes, wait_ms, "crash-looping");
        let fence = write(shared, &state, standing.end).await;
        let fence = fence.map_err(|error| HostError::of_open(error, actor))?;
        shared.crashes.counted(actor, &fence);
        Ok::<_, HostError>(())
    };
    if let Err(error) = written.await {
        tracing::warn!(%actor, %error, "the crash is counted by the next start only");
    }
}

/// A takeover that only writes the counter: it runs no generation, and the head stays unsealed.
async fn write(
    shared: &Arc<Shared>,
    state: &ActorState,
    end: PreviousEnd,
) -> Result<Fence, OpenError> {
    let opened = shared.depot.take_over(state, state.row.component, end).await?;
    opened.session.close(end_reason(end));
    Ok(opened.session.fence())
}

/// Why the session of a takeover without a generation is closed.
fn end_reason(end: PreviousEnd) -> Reason {
    match end {
        PreviousEnd::Orderly | PreviousEnd::Neutral => Reason::Operator,
        PreviousEnd::Crashed | PreviousEnd::FirstCrash => Reason::Trapped,
    }
}

/// Whether the head may be replaced: free, a ghost of this process, released by its owner, or its
/// owner's process is dead.
fn judge(shared: &Shared, actor: &ActorId, state: &ActorState) -> Result<(), HostError> {
    if state.row.wanted == Wanted::Destroying {
        return Err(HostError::Destroying { actor: actor.clone() });
    }
    // A head that names this process while its slot has no generation is a ghost.
    match shared.runs_elsewhere(actor, &state.head) {
        None => Ok(()),
        Some(address) => Err(HostError::Elsewhere { actor: actor.clone(), address }),
    }
}

fn start_reason(state: &ActorState, program: &Program, ended: bool) -> StartReason {
    if state.row.component != program.component.digest() {
        StartReason::Upgraded
    } else if ended {
        StartReason::Woken
    } else {
        StartReason::Recovered
    }
}
