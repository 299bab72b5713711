//! Making an actor: the only way in which a database comes to exist.
//!
//! After a lost answer the directory tells: a database and a token that we have sent is the one we
//! made; no row is "try again"; anything else exists and was made by someone else.
//!
//! Its condition is that nothing is there, and a destroy makes that true again. So each time it is
//! sent it names a new database: one that arrives when its actor was made, used and destroyed makes
//! an empty one that nobody owns, and never brings back what sessions of the old one would take for
//! theirs.
//!
//! Rule of `docs/protocol.md`: D6.

use std::sync::Arc;

use crate::cause::OpenError;
use crate::depot::{Depot, Opened};
use crate::error::StoreError;
use crate::fence::{Head, Origin};
use crate::id::{ActorId, DbId, Digest, Token};
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
    let mut retry = Retry::new(depot.limits().step_deadline, depot.random());
    let mut sent = Vec::new();
    let head = loop {
        let step = CreateStep {
            actor: actor.clone(),
            db: depot.random().db_id(shard).map_err(OpenError::Store)?,
            token: depot.random().token().map_err(OpenError::Store)?,
            owner: depot.node(),
            component,
            origin,
        };
        sent.push((step.db, step.token));
        let mut error = match retry.ask(depot.store().create(step)).await {
            Ok(Created::Made(head)) => break head,
            Ok(Created::Exists(state)) => break exists(&sent, state)?,
            Err(error) => error,
        };
        if !is_transient(&error) {
            return Err(OpenError::Store(error));
        }
        if matches!(error, StoreError::Unknown(_)) {
            match retry.ask(depot.store().actor(actor)).await {
                Ok(Some(state)) => break exists(&sent, state)?,
                Ok(None) => {}
                Err(actor_error) => error = actor_error,
            }
        }
        if !retry.pause().await {
            return Err(OpenError::Store(error));
        }
    };
    tracing::debug!(%actor, db = %head.fence.db, "actor created");
    Ok(head)
}

/// What is there: made by what this attempt has sent, or not.
fn exists(sent: &[(DbId, Token)], state: ActorState) -> Result<Head, OpenError> {
    let ours = sent.iter().any(|(db, token)| state.head.is_made_by(*db, *token));
    match state.row.wanted {
        Wanted::Present if ours && !state.head.sealed => Ok(state.head),
        Wanted::Present => Err(OpenError::Exists(Box::new(state))),
        Wanted::Destroying => Err(OpenError::Destroying),
    }
}
