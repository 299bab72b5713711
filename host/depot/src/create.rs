//! Making an actor: the only way in which a database comes to exist.
//!
//! After a lost answer the directory tells: our database with our token is the one we made; no row
//! is "send the same bytes again"; anything else exists and was made by someone else.

use std::sync::Arc;

use crate::cause::OpenError;
use crate::depot::{Depot, Opened};
use crate::error::StoreError;
use crate::fence::{Head, Origin};
use crate::id::{ActorId, Digest};
use crate::retry::{Retry, is_transient};
use crate::session::Session;
use crate::store::{ActorState, CreateStep, Created, Wanted};

/// See [`Depot::create`].
pub(crate) async fn create(
    depot: &Arc<Depot>,
    actor: &ActorId,
    component: Digest,
) -> Result<Opened, OpenError> {
    let head = make(depot, actor, component, Origin::Native).await?;
    Ok(Opened {
        session: Session::open(depot, actor, component, &head),
        head,
        snapshot: None,
        restarts: 0,
    })
}

/// Makes directory row and head, of origin `Native` or `Importing`.
pub(crate) async fn make(
    depot: &Depot,
    actor: &ActorId,
    component: Digest,
    origin: Origin,
) -> Result<Head, OpenError> {
    let shard = actor.shard(depot.store().shards());
    let step = CreateStep {
        actor: actor.clone(),
        db: depot.random().db_id(shard).map_err(OpenError::Store)?,
        token: depot.random().token().map_err(OpenError::Store)?,
        owner: depot.node(),
        component,
        origin,
    };
    let head = settle(depot, &step).await?;
    tracing::debug!(%actor, db = %head.fence.db, "actor created");
    Ok(head)
}

async fn settle(depot: &Depot, step: &CreateStep) -> Result<Head, OpenError> {
    let mut retry = Retry::new(depot.limits().step_deadline, depot.random());
    loop {
        let mut error = match retry.ask(depot.store().create(step.clone())).await {
            Ok(Created::Made(head)) => return Ok(head),
            Ok(Created::Exists(state)) => return exists(step, state),
            Err(error) => error,
        };
        if !is_transient(&error) {
            return Err(OpenError::Store(error));
        }
        if matches!(error, StoreError::Unknown(_)) {
            match retry.ask(depot.store().actor(&step.actor)).await {
                Ok(Some(state)) => return exists(step, state),
                Ok(None) => {}
                Err(actor_error) => error = actor_error,
            }
        }
        if !retry.pause().await {
            return Err(OpenError::Store(error));
        }
    }
}

/// What is there: made by this very attempt, or not.
fn exists(step: &CreateStep, state: ActorState) -> Result<Head, OpenError> {
    let ours = state.head.fence.db == step.db && state.head.fence.token == step.token;
    match state.row.wanted {
        Wanted::Present if ours && !state.head.sealed => Ok(state.head),
        Wanted::Present => Err(OpenError::Exists(Box::new(state))),
        Wanted::Destroying => Err(OpenError::Destroying),
    }
}
