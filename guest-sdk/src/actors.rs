//! Calls of other actors.
//!
//! Arguments and results are JSON, as callers over HTTP write them; `serde_json` makes and reads them.
//! The manifest of the actor's kind must grant the calls: `calls = ["account"]`.
//!
//! ```no_run
//! use stockade_sdk::actors::{self, Error};
//!
//! /// Moves money between two accounts, each an actor of its own.
//! fn transfer(source: &str, target: &str, amount: u32) -> Result<(), Error> {
//!     let arguments = format!("[{amount}]");
//!     let taken = actors::call("account", source, "withdraw", &arguments)?;
//!     if taken.is_error {
//!         return Err(Error::Other(taken.text));
//!     }
//!     match actors::call("account", target, "deposit", &arguments) {
//!         Ok(_) => Ok(()),
//!         // Nothing was done: give it back.
//!         Err(error) if error.was_not_done() => {
//!             actors::call("account", source, "deposit", &arguments)?;
//!             Err(error)
//!         }
//!         // It may have been done: note it, and ask later.
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! Calls that do not depend on each other are started together:
//!
//! ```no_run
//! use stockade_sdk::actors::{self, Error, Pending};
//!
//! fn totals(shops: &[&str]) -> Result<Vec<String>, Error> {
//!     let calls: Result<Vec<Pending>, Error> =
//!         shops.iter().map(|shop| actors::start("shop", shop, "total", "")).collect();
//!     calls?.into_iter().map(|call| call.wait().map(|reply| reply.text)).collect()
//! }
//! ```
//!
//! Calls by typed functions, without JSON, are made with [`client!`](crate::client).
//!
//! A call that may have been done when its answer is lost is made with an id. The callee runs it once at
//! most, however often it is repeated, and says what became of it:
//!
//! ```no_run
//! use stockade_sdk::actors::{self, Error, Outcome};
//!
//! fn pay(account: &str, amount: u32) -> Result<bool, Error> {
//!     let (arguments, id) = (format!("[{amount}]"), actors::new_call_id()?);
//!     match actors::call_with_id("account", account, "withdraw", &arguments, &id) {
//!         Ok(reply) => Ok(!reply.is_error),
//!         Err(Error::UnknownOutcome(_)) => {
//!             let settled = actors::settle("account", account, &id)?;
//!             Ok(matches!(settled, Outcome::Committed(Some(reply)) if !reply.is_error))
//!         }
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! What the actor has committed is durable before a request leaves. An actor that waits works on
//! nothing else, so a call that would wait for itself, directly or through others, ends immediately
//! with [`Error::CallCycle`].

use core::fmt;

use crate::Reason;
use crate::bindings::actors as raw;

/// What a call returns.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// The answer of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The result as JSON, as callers over HTTP get it: `{"ok": 5}` for a `result`, `null` for none.
    pub text: String,
    /// Whether the method answered the error case of a `result`. The call has been done all the same.
    pub is_error: bool,
    /// The generation that answered.
    pub generation: u64,
    /// The callee's newest durable commit when the answer left.
    pub txid: u64,
}

/// The name of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorName {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
}

/// What to do about a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing was done: the same call may succeed a little later.
    Retry,
    /// Nothing was done: the actor is about to be elsewhere; the same call may succeed.
    Reroute,
    /// The same call will fail again: change the call, the callee or a limit.
    Fix,
    /// The call cannot succeed.
    Never,
    /// The call has or may have taken effect: check before it is made again.
    UnknownOutcome,
}

/// What became of the commits that the callee had handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are kept.
    Committed,
    /// None is kept.
    NotCommitted,
    /// Not known.
    Indeterminate,
}

/// Why a call failed, as a row of the host's table of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The part of the system and the name of the row, `actor.trapped`. Stable.
    pub code: String,
    /// For people. May change at any time, and may have words of the callee.
    pub message: String,
    /// What to do now.
    pub advice: Advice,
    /// What became of the callee's commits; `None` if it had handed none over.
    pub verdict: Option<Verdict>,
    /// The facts by name, as a JSON object.
    pub details: String,
}

/// Actors that would wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The actors, each of which waits for the next one, and the last one for the first.
    pub chain: Vec<ActorName>,
    /// Whether two chains cross. Then the same call may succeed once the other chain has ended;
    /// otherwise the chain of this call comes back to itself, and the same call will fail again.
    pub crosses: bool,
}

/// A bound of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Calls that an actor has started and whose handles it has not dropped.
    CallsInFlight,
    /// Actors of a chain, each of which waits for the next one.
    ChainLength,
    /// Memory of all actors, for arguments.
    Memory,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The name or the arguments do not fit; the callee did not run. The same call will fail again.
    Invalid(Failure),
    /// There is no such kind or method. The same call will fail again.
    NotFound(Failure),
    /// The manifest of the caller's kind does not grant the call; the payload is the line that would.
    Denied(String),
    /// A transaction is open: end it first.
    OpenTransaction,
    /// The call would wait for itself. Nothing was done.
    CallCycle(Cycle),
    /// A bound of the host was reached; nothing was done.
    LimitExceeded(Limit),
    /// The callee's queue, or its host, is full. Nothing was done; the same call may succeed later.
    Overloaded(Failure),
    /// The time was over before the call had begun. Nothing was done.
    TimedOut(Failure),
    /// The call may have taken effect: its answer did not come. Check before it is made again.
    UnknownOutcome(Failure),
    /// The call failed at the callee, or at its host: see [`Failure::advice`] and
    /// [`Failure::verdict`].
    Failed(Failure),
    /// The answer was taken already, or the call of the actor in which this one was started has
    /// ended.
    NotOpen,
    /// The handles of this generation were revoked. Every later call returns the same error; never
    /// retry.
    Revoked(Reason),
    /// Anything else. The text is for people and may change at any time.
    Other(String),
}

/// What became of a call that has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has been done, and everything that it wrote is kept. Its answer; `None` if that was too large
    /// to be kept.
    Committed(Option<Reply>),
    /// It has begun and has not ended: some of its commits may be kept. Never said of a `transactional`
    /// method.
    Partial,
    /// It has not run and never will.
    Never,
    /// Nothing is recorded of it: it has not run, and may still come.
    NotSeen,
    /// The time in its id is so long ago that its record is gone, if there was one. It will not run.
    Expired,
}

/// A call that was started. Dropping it takes the call back if it has not begun; a call that has begun
/// continues, and its answer is dropped. It belongs to the method or hook in which it was started.
#[derive(Debug)]
pub struct Pending(raw::Pending);

/// Calls a method of an actor and waits for its answer. Blocks. The arguments are JSON: `[5]` by
/// position, `{"by": 5}` by name; an empty text for none. By default 8 MiB.
///
/// # Errors
/// [`Error::was_not_done`] says whether nothing was done.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> Result<(), stockade_sdk::actors::Error> {
/// let reply = stockade_sdk::actors::call("counter", "visits", "increment", "[1]")?;
/// log::info!("{} visits", reply.text);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn call(kind: &str, key: &str, method: &str, arguments: &str) -> Result<Reply> {
    crate::outside::needs_host();
    Ok(raw::call(kind, key, method, arguments)?.into())
}

/// Starts a call and returns without its answer. Does not block. At most 1,024 calls may be pending at
/// the same time.
///
/// # Errors
/// [`Error::Denied`], [`Error::OpenTransaction`], [`Error::LimitExceeded`], [`Error::CallCycle`] where
/// the chain comes back, [`Error::Revoked`]: nothing was started.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::actors::{self, Error};
/// # fn f() -> Result<(), Error> {
/// let first = actors::start("counter", "visits", "increment", "[1]")?;
/// let second = actors::start("counter", "pages", "increment", "[3]")?;
/// let (visits, pages) = (first.wait()?, second.wait()?);
/// # drop((visits, pages));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn start(kind: &str, key: &str, method: &str, arguments: &str) -> Result<Pending> {
    crate::outside::needs_host();
    Ok(Pending(raw::start(kind, key, method, arguments)?))
}

/// An id that no other call has, with its time in it. Commit it before the call, and another generation
/// finds out what became of it.
///
/// # Errors
/// [`Error::Revoked`].
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> Result<(), stockade_sdk::actors::Error> {
/// let id = stockade_sdk::actors::new_call_id()?;
/// # drop(id);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn new_call_id() -> Result<String> {
    crate::outside::needs_host();
    Ok(raw::new_call_id()?)
}

/// As [`call`], with an id: 1 to 96 visible ASCII characters. However often it is made, the method runs
/// once at most, and a repeat gets the answer of the first one, for a day.
///
/// # Errors
/// Those of [`call`]. [`Error::Invalid`] if the id was used for another method or other arguments.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::actors;
/// # fn f() -> Result<(), actors::Error> {
/// let id = actors::new_call_id()?;
/// let reply = actors::call_with_id("counter", "visits", "increment", "[1]", &id)?;
/// let again = actors::call_with_id("counter", "visits", "increment", "[1]", &id)?;
/// assert_eq!(reply.text, again.text);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn call_with_id(
    kind: &str,
    key: &str,
    method: &str,
    arguments: &str,
    id: &str,
) -> Result<Reply> {
    crate::outside::needs_host();
    Ok(raw::call_with_id(kind, key, method, arguments, id)?.into())
}

/// As [`start`], with an id: see [`call_with_id`].
///
/// # Errors
/// Those of [`start`]; [`Error::Invalid`] if the text cannot be an id.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::actors;
/// # fn f() -> Result<(), actors::Error> {
/// let id = actors::new_call_id()?;
/// let visits = actors::start_with_id("counter", "visits", "increment", "[1]", &id)?;
/// # drop(visits.wait()?);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn start_with_id(
    kind: &str,
    key: &str,
    method: &str,
    arguments: &str,
    id: &str,
) -> Result<Pending> {
    crate::outside::needs_host();
    Ok(Pending(raw::start_with_id(kind, key, method, arguments, id)?))
}

/// What became of a call of this actor that has an id. Blocks: the question waits behind the calls that
/// the callee has.
///
/// # Errors
/// Those of [`call`]. [`Error::NotFound`]: there is no such actor, and the call may still come.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::actors::{self, Outcome};
/// # fn f(id: &str) -> Result<(), actors::Error> {
/// if actors::outcome("counter", "visits", id)? == Outcome::NotSeen {
///     log::info!("it may still come");
/// }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn outcome(kind: &str, key: &str, id: &str) -> Result<Outcome> {
    crate::outside::needs_host();
    Ok(raw::outcome_of(kind, key, id, false)?.into())
}

/// As [`outcome`], for good: if nothing is recorded of the call, it is refused from now on, and the answer
/// is [`Outcome::Never`].
///
/// # Errors
/// Those of [`outcome`].
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::actors::{self, Outcome};
/// # fn f(id: &str) -> Result<(), actors::Error> {
/// assert_ne!(actors::settle("counter", "visits", id)?, Outcome::NotSeen);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn settle(kind: &str, key: &str, id: &str) -> Result<Outcome> {
    crate::outside::needs_host();
    Ok(raw::outcome_of(kind, key, id, true)?.into())
}

/// Waits until one of these calls has an answer, or an error, and returns its position. Blocks.
/// [`Pending::wait`] of that one then returns immediately.
///
/// # Errors
/// [`Error::NotOpen`] if there are none, or none that will ever have an answer.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::actors::{self, Error, Pending};
///
/// /// The answer of the replica that is first.
/// fn fastest(replicas: &[&str]) -> Result<String, Error> {
///     let calls: Result<Vec<Pending>, Error> =
///         replicas.iter().map(|replica| actors::start("replica", replica, "read", "")).collect();
///     let mut calls = calls?;
///     let first = calls.swap_remove(actors::wait_any(&calls)?);
///     // The others are taken back as far as they have not begun.
///     Ok(first.wait()?.text)
/// }
/// ```
#[track_caller]
pub fn wait_any(calls: &[Pending]) -> Result<usize> {
    crate::outside::needs_host();
    let calls: Vec<&raw::Pending> = calls.iter().map(|call| &call.0).collect();
    let first = raw::wait_any(&calls)?;
    usize::try_from(first).map_err(|error| Error::Other(error.to_string()))
}

impl Pending {
    /// Waits for the answer. Blocks.
    ///
    /// # Errors
    /// Those of [`call`]; [`Error::NotOpen`] if the method or hook in which it was started has ended.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), stockade_sdk::actors::Error> {
    /// let call = stockade_sdk::actors::start("counter", "visits", "get", "")?;
    /// assert!(!call.wait()?.is_error);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(self) -> Result<Reply> {
        Ok(self.0.wait()?.into())
    }
}

impl Error {
    /// Whether the handles of this generation were revoked: pass the error up.
    ///
    /// ```
    /// use stockade_sdk::Reason;
    /// use stockade_sdk::actors::Error;
    /// assert!(Error::Revoked(Reason::Shutdown).is_revoked());
    /// ```
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        matches!(self, Self::Revoked(_))
    }

    /// Whether surely nothing of the call was done.
    ///
    /// ```
    /// use stockade_sdk::actors::{Error, Limit};
    /// assert!(Error::LimitExceeded(Limit::CallsInFlight).was_not_done());
    /// ```
    #[must_use]
    pub fn was_not_done(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::NotFound(_)
            | Self::Denied(_)
            | Self::OpenTransaction
            | Self::CallCycle(_)
            | Self::LimitExceeded(_)
            | Self::Overloaded(_)
            | Self::TimedOut(_) => true,
            Self::Failed(failure) => {
                matches!(failure.advice, Advice::Retry | Advice::Reroute)
            }
            Self::UnknownOutcome(_) | Self::NotOpen | Self::Revoked(_) | Self::Other(_) => false,
        }
    }

    /// The row of the host's table of errors, where there is one.
    ///
    /// ```
    /// use stockade_sdk::actors::Error;
    /// assert!(Error::OpenTransaction.failure().is_none());
    /// ```
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Invalid(failure)
            | Self::NotFound(failure)
            | Self::Overloaded(failure)
            | Self::TimedOut(failure)
            | Self::UnknownOutcome(failure)
            | Self::Failed(failure) => Some(failure),
            Self::Denied(_)
            | Self::OpenTransaction
            | Self::CallCycle(_)
            | Self::LimitExceeded(_)
            | Self::NotOpen
            | Self::Revoked(_)
            | Self::Other(_) => None,
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(failure)
            | Self::NotFound(failure)
            | Self::Overloaded(failure)
            | Self::TimedOut(failure)
            | Self::UnknownOutcome(failure)
            | Self::Failed(failure) => write!(f, "{}: {}", failure.code, failure.message),
            Self::Denied(line) => {
                write!(f, "the manifest of this kind does not grant the call; add `{line}`")
            }
            Self::OpenTransaction => f.write_str("a transaction is open: end it before the call"),
            Self::CallCycle(cycle) => {
                f.write_str("the call would wait for itself:")?;
                cycle.chain.iter().try_for_each(|name| write!(f, " {}/{}", name.kind, name.key))
            }
            Self::LimitExceeded(limit) => {
                write!(f, "a limit of the host was reached: {limit}")
            }
            Self::NotOpen => f.write_str("the call has no answer to take"),
            Self::Revoked(reason) => write!(f, "revoked: {reason}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CallsInFlight => "calls in flight",
            Self::ChainLength => "actors of a chain of calls",
            Self::Memory => "memory of all actors",
        })
    }
}

// --- from the contract ----------------------------------------------------------------------------

impl From<raw::Reply> for Reply {
    fn from(reply: raw::Reply) -> Self {
        let raw::Reply { text, is_error, generation, txid } = reply;
        Self { text, is_error, generation, txid }
    }
}

impl From<raw::Outcome> for Outcome {
    fn from(outcome: raw::Outcome) -> Self {
        match outcome {
            raw::Outcome::Committed(reply) => Self::Committed(reply.map(Into::into)),
            raw::Outcome::Partial => Self::Partial,
            raw::Outcome::Never => Self::Never,
            raw::Outcome::NotSeen => Self::NotSeen,
            raw::Outcome::Expired => Self::Expired,
        }
    }
}

crate::from_contract!(errors of calls in raw);
