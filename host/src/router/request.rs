//! The messages to an actor's slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::{DbId, Fence, Reason, Txid};
use tokio::sync::oneshot;
use wasmtime::component::Val;

pub use crate::actor::answer::{Called, Heard};
pub use crate::actor::call::ForActor;
use crate::actor::exit::Exit;
use crate::actor::generation::Program;
pub use crate::actor::identified::Identified;
pub use crate::actor::reply::Reply;
use crate::actor::statements::Statements;
use crate::actor::wanted::Wanted;
use crate::calls::{Chain, Working};
use crate::error::{CallError, HostError};
use crate::messages::{Parcel, Said};
use crate::sqlite::OperatorRows;
use crate::typed::Method;

/// Work for an actor.
pub struct Request {
    /// When the request was queued.
    pub queued: Instant,
    /// The commit that the answer must not be older than.
    pub txid_min: Txid,
    /// The work.
    pub work: Work,
}

/// The work that is asked of an actor.
pub enum Work {
    /// Run a method; creates the actor if it does not exist.
    Call {
        /// The method and its checked arguments, of `program`.
        method: Arc<Method>,
        /// Arguments that fit the method's types.
        values: Vec<Val>,
        /// The program that the arguments were checked against.
        program: Arc<Program>,
        /// What the caller has asked for, for a component deployed in the meantime.
        wanted: Wanted,
        /// The actor that has made the call, if one has.
        by: Option<ByActor>,
        /// The id of the call, if it has one.
        identified: Option<Identified>,
        /// Where the answer goes.
        reply: Reply<Called>,
    },
    /// Work on a parcel of messages. One that opens a conversation creates the actor if it does not
    /// exist; any other is for one database.
    Parcel {
        /// The parcel.
        parcel: Parcel,
        /// The program that the kind has now.
        program: Arc<Program>,
        /// Where it goes what is said.
        reply: oneshot::Sender<Result<Said, CallError>>,
    },
    /// Run due work of this database; never creates the actor.
    Due {
        /// The database.
        db: DbId,
        /// The program that the kind has now.
        program: Arc<Program>,
        /// Where it is reported that the actor has been asked; not what came of its work.
        reply: oneshot::Sender<Result<(), HostError>>,
    },
    /// Run an operator's statements; never creates the actor.
    Sql {
        /// The statements.
        statements: Statements,
        /// Where the answer goes.
        reply: Reply<OperatorRows>,
    },
}

/// What belongs to a call that an actor has made.
pub struct ByActor {
    /// For whom it runs.
    pub runs: ForActor,
    /// The call itself, which ends with this.
    pub working: Working,
}

impl Work {
    /// The actors that wait for the work.
    #[must_use]
    pub fn chain(&self) -> Option<&Chain> {
        match self {
            Self::Call { by, .. } => by.as_ref().map(|by| &by.runs.chain),
            Self::Due { .. } | Self::Parcel { .. } | Self::Sql { .. } => None,
        }
    }

    /// Begins the work. `None`: an actor has asked for it, and has gone, was refused, or has no time
    /// left.
    #[must_use]
    pub fn begin(self) -> Option<Self> {
        if let Self::Parcel { reply, .. } = &self
            && reply.is_closed()
        {
            // Its sender has given up, and sends it again.
            return None;
        }
        let Self::Call { by: Some(by), .. } = &self else { return Some(self) };
        if !by.working.begin() {
            return None;
        }
        if self.is_late() {
            self.refuse(HostError::DeadlinePassed);
            return None;
        }
        Some(self)
    }

    /// Whether an actor has asked for the work and has no time left.
    #[must_use]
    pub fn is_late(&self) -> bool {
        let Self::Call { by: Some(by), .. } = self else { return false };
        by.runs.until <= tokio::time::Instant::now()
    }

    /// Answers the caller that the work was not begun.
    pub fn refuse(self, error: HostError) {
        match self {
            Self::Call { reply, .. } => reply.send(Err(error.into())),
            Self::Sql { reply, .. } => reply.send(Err(error.into())),
            Self::Due { reply, .. } => drop(reply.send(Err(error))),
            Self::Parcel { reply, .. } => drop(reply.send(Err(error.into()))),
        }
    }
}

/// An order to a slot, handled before any call that is queued.
pub enum Control {
    /// End its generation.
    End {
        /// The reason.
        ending: Ending,
        /// Answered when the generation has ended; `None` if there was none.
        done: oneshot::Sender<Option<Exit>>,
    },
    /// Forget the crashes of the actor.
    Forgive {
        /// Answered when they are forgotten, durably unless a generation is awake.
        done: oneshot::Sender<Result<(), HostError>>,
    },
    /// A fault on purpose: end this generation as a trap would, and no other.
    Crash {
        /// The generation.
        fence: Fence,
        /// Answered when the generation has ended; `None` if it had ended before.
        done: oneshot::Sender<Option<Exit>>,
    },
}

impl Control {
    /// Answers that there is no generation.
    pub fn refuse(self) {
        match self {
            Self::End { done, .. } | Self::Crash { done, .. } => drop(done.send(None)),
            Self::Forgive { done } => drop(done.send(Err(HostError::Stopping(Reason::Operator)))),
        }
    }
}

/// Why a slot should end its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// To make room: only if the actor is idle.
    Sleep,
    /// An operator asked.
    Operator,
    /// A new component was deployed.
    Upgrade,
    /// The actor is about to be destroyed.
    Destroy,
    /// The host shuts down.
    Shutdown,
    /// The host gives its actors up to others.
    Drain,
    /// The host has more actors than its share: only if the actor is idle.
    HandOver,
}

impl Ending {
    /// The reason that the handles get.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Sleep => Reason::Slept,
            Self::Operator => Reason::Operator,
            Self::Upgrade => Reason::Upgraded,
            Self::Destroy => Reason::Destroyed,
            Self::Shutdown | Self::Drain | Self::HandOver => Reason::Shutdown,
        }
    }

    /// Whether only an idle actor is ended.
    #[must_use]
    pub fn spares_the_busy(self) -> bool {
        matches!(self, Self::Sleep | Self::HandOver)
    }

    /// How long a call in progress may still run; `None`: as long as its own budget lasts.
    #[must_use]
    pub fn grace(self) -> Option<Duration> {
        match self {
            Self::Sleep | Self::Upgrade | Self::Drain | Self::HandOver => None,
            Self::Operator | Self::Destroy | Self::Shutdown => Some(Duration::from_secs(5)),
        }
    }
}
