//! Making an actor: the only way in which a database comes to exist.
//!
//! After a lost answer the directory tells: no row, or a database and a token that this attempt has
//! sent, means "send again"; anything else exists and was made by another attempt. The next send is
//! answered with what exists, which counts: what is only read may be of a server that came back from
//! a crash, with commits that its standby does not have.
//!
//! The condition of the step is that the actor does not exist, and a destroy makes that true again.
//! So each time the step is sent it names a new database: a step that arrives after its actor was
//! made, used and destroyed makes an empty database without an owner, and never brings back one
//! that sessions of the old actor would take for theirs.
//!
//! Rule of `docs/protocol.md`: D6.

use std::sync::Arc;

use crate::cause::OpenError;
use crate::error::StoreError;
use crate::fence::{Head, Origin};
use crate::id::{ActorId, DbId, Digest, Token};
use crate::opened::Opened;
use crate::parts::Parts;
use crate::retry::{Asking, Settle, Unseen};
use crate::session::Session;
use crate::store::{ActorState, CreateStep, Created, Wanted};

/// See [`crate::Depot::create`].
pub(crate) async fn create(
    parts: &Arc<Parts>,
    actor: &ActorId,
    component: Digest,
) -> Result<Opened, OpenError> {
    let head = make(parts, actor, component, Origin::Native).await?;
    Ok(Opened {
        session: Session::open(parts, actor, component, &head),
        head,
        snapshot: None,
        restarts: 0,
    })
}

/// Makes directory row and head, of origin `Native` or `Importing`.
pub(crate) async fn make(
    parts: &Parts,
    actor: &ActorId,
    component: Digest,
    origin: Origin,
) -> Result<Head, OpenError> {
    let mut attempt = Attempt { parts, actor, component, origin, sent: Vec::new() };
    let head = parts.retry().until_settled(&mut attempt).await?;
    tracing::debug!(%actor, db = %head.fence.db, "actor created");
    Ok(head)
}

/// A create, and what its sends have named.
struct Attempt<'a> {
    parts: &'a Parts,
    actor: &'a ActorId,
    component: Digest,
    origin: Origin,
    sent: Vec<(DbId, Token)>,
}

impl Settle for Attempt<'_> {
    type Answer = Created;
    type Seen = Option<ActorState>;
    type End = Result<Head, OpenError>;
    const UNSEEN: Unseen = Unseen::Send;

    fn prepare(&mut self) -> Result<(), StoreError> {
        let shard = self.actor.shard(self.parts.store.shards());
        let random = &self.parts.random;
        self.sent.push((random.db_id(shard)?, random.token()?));
        Ok(())
    }

    fn send(&mut self) -> Asking<'_, Created> {
        let (db, token) = *self.sent.last().expect("BUG: prepare comes before each send");
        self.parts.store.create(CreateStep {
            actor: self.actor.clone(),
            db,
            token,
            owner: self.parts.node,
            component: self.component,
            origin: self.origin,
        })
    }

    fn answered(&mut self, answer: Created) -> Result<Self::End, StoreError> {
        Ok(match answer {
            Created::Made(head) => Ok(head),
            Created::Exists(state) => exists(&self.sent, state),
        })
    }

    fn look(&self) -> Asking<'_, Option<ActorState>> {
        self.parts.store.actor(self.actor)
    }

    fn seen(&mut self, seen: Option<ActorState>, _: &StoreError) -> Option<Self::End> {
        seen.filter(|state| !is_ours(&self.sent, state)).map(|state| exists(&self.sent, state))
    }

    fn given_up(&mut self, error: StoreError) -> Self::End {
        Err(OpenError::Store(error))
    }
}

/// Whether what is there was made by what this attempt has sent.
fn is_ours(sent: &[(DbId, Token)], state: &ActorState) -> bool {
    sent.iter().any(|(db, token)| state.head.is_made_by(*db, *token))
}

/// What is there: made by what this attempt has sent, or not.
fn exists(sent: &[(DbId, Token)], state: ActorState) -> Result<Head, OpenError> {
    match state.row.wanted {
        Wanted::Present if is_ours(sent, &state) && !state.head.sealed => Ok(state.head),
        Wanted::Present => Err(OpenError::Exists(Box::new(state))),
        Wanted::Destroying => Err(OpenError::Destroying),
    }
}
