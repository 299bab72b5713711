//! The three ways a generation ends. Each is one function, its steps in the order that matters.
//!
//! Invariants:
//! - SQL is revoked before the snapshot is taken, and the snapshot is stored by the seal itself.
//! - After a fatal end or a crash no hook runs.
//! - The exit is recorded once, by the caller, from the returned value.

use std::time::{Duration, Instant};

use stockade_depot::{Cause, Reason, SealError};

use super::exit::{Exit, SnapshotOutcome};
use super::generation::Generation;
use super::hooks::HookEnd;

/// Ends a generation that is in order and has no call in progress. Its mailbox is closed: the
/// router holds what arrives until this returns.
pub async fn orderly(mut generation: Generation, mut reason: Reason) -> Exit {
    let mut notes = Vec::new();
    let limits = generation.limits().clone();
    // The guest's `stop` hook, SQL still working.
    let stop_by = Instant::now() + Duration::from_millis(limits.stop_time_ms);
    let alive = stop_hook(&mut generation, stop_by, &mut notes).await;
    // From here every SQL call, on any old handle, answers `revoked`.
    generation.sql_grip.revoke(reason);
    generation.sql_grip.released().await;
    generation.store.data_mut().close_sqlite();
    // In-memory state; the guest can no longer touch SQL.
    let snapshot_by = Instant::now() + Duration::from_millis(limits.snapshot_time_ms);
    let (state, mut snapshot) =
        take_snapshot(&mut generation, alive, snapshot_by, limits.snapshot_bytes_max).await;
    // One fenced step: the last commits are durable, the state is stored, the epoch is closed.
    let sealed = match generation.session.seal(state).await {
        Ok(_) => true,
        Err(error) => {
            // Lost at its last step: that is why it ends, whatever was meant.
            if let SealError::Dead(cause) = &error {
                reason = cause.reason();
            }
            if let SnapshotOutcome::Taken { .. } = snapshot {
                snapshot = SnapshotOutcome::Missed { why: "the seal failed".to_owned() };
            }
            notes.push(format!("seal failed: {error}"));
            false
        }
    };
    generation.grip.revoke(reason);
    exit(generation, reason, snapshot, sealed, notes)
}

/// Ends a generation whose session died. No hook runs, nothing more is heard.
pub async fn fatal(mut generation: Generation, cause: &Cause) -> Exit {
    let reason = cause.reason();
    generation.revoke(reason);
    generation.sql_grip.released().await;
    generation.store.data_mut().close_sqlite();
    let snapshot = lost_snapshot(&generation, "the generation ended fatally");
    exit(generation, reason, snapshot, false, vec![cause.to_string()])
}

/// Ends a generation whose instance died. The data is fine: commits already handed over run to
/// their verdict, then the session is closed, its head unsealed for the next takeover.
pub async fn crashed(mut generation: Generation, reason: Reason, message: String) -> Exit {
    generation.revoke(reason);
    generation.sql_grip.released().await;
    generation.store.data_mut().close_sqlite();
    let mut notes = vec![message];
    if let Err(cause) = generation.session.durable(generation.session.mark()).await {
        notes.push(cause.to_string());
    }
    generation.session.close(reason);
    let snapshot = lost_snapshot(&generation, "the instance died");
    exit(generation, reason, snapshot, false, notes)
}

/// Returns whether the instance is still alive.
async fn stop_hook(
    generation: &mut Generation,
    deadline: Instant,
    notes: &mut Vec<String>,
) -> bool {
    let end = generation.stop_hook(deadline).await;
    let alive = !matches!(end, HookEnd::Died(_));
    notes.extend(end.failure("stop"));
    alive
}

async fn take_snapshot(
    generation: &mut Generation,
    alive: bool,
    deadline: Instant,
    bytes_max: u64,
) -> (Option<Vec<u8>>, SnapshotOutcome) {
    let missed = |why: String| (None, SnapshotOutcome::Missed { why });
    if !generation.has_hooks() {
        return (None, SnapshotOutcome::None);
    }
    if !alive {
        return missed("the stop hook died".to_owned());
    }
    match generation.snapshot_hook(deadline).await {
        HookEnd::Done(None) => (None, SnapshotOutcome::None),
        // Guest-controlled length: bounded before it is stored.
        HookEnd::Done(Some(state)) if state.len() as u64 > bytes_max => {
            missed(format!("{} bytes are over the limit of {bytes_max}", state.len()))
        }
        HookEnd::Done(Some(state)) => {
            let bytes = state.len();
            (Some(state), SnapshotOutcome::Taken { bytes })
        }
        HookEnd::Refused(text) => missed(format!("snapshot failed: {text}")),
        HookEnd::Died(text) => missed(format!("snapshot died: {text}")),
    }
}

fn lost_snapshot(generation: &Generation, why: &str) -> SnapshotOutcome {
    if generation.has_hooks() {
        SnapshotOutcome::Missed { why: why.to_owned() }
    } else {
        SnapshotOutcome::None
    }
}

fn exit(
    generation: Generation,
    reason: Reason,
    snapshot: SnapshotOutcome,
    sealed: bool,
    notes: Vec<String>,
) -> Exit {
    let fence = generation.fence();
    let message = (!notes.is_empty()).then(|| notes.join("; "));
    let actor = generation.actor.clone();
    drop(generation);
    tracing::info!(
        %actor, generation = %fence.generation, %reason, sealed, ?snapshot,
        message = message.as_deref().unwrap_or(""), "generation ended"
    );
    Exit { db: fence.db, generation: fence.generation, reason, snapshot, sealed, message }
}
