//! Messages to other actors: each runs a method of its receiver exactly once, later.
//!
//! A message is sent in the transaction that is open: commit is sent, rollback is never. The host
//! delivers it in order, to whichever node, also if this actor sleeps by then, and the receiver's method
//! runs in one transaction with the note that it has run.
//!
//! ```no_run
//! use stockade_sdk::{Connection, messages};
//!
//! /// Moves money: both accounts change, or neither, however often a node dies in between.
//! fn transfer(to: &str, amount: i64) -> messages::Result<()> {
//!     let mut connection = Connection::open()?;
//!     let transaction = connection.transaction()?;
//!     transaction.execute("UPDATE account SET balance = balance - ?", (amount,))?;
//!     messages::send("account", to, "deposit", &format!("[{amount}]"))?;
//!     transaction.commit()?;
//!     Ok(())
//! }
//! ```
//!
//! The receiver is an ordinary method. What it writes is kept if it answers; if it answers the error
//! case of a `result` or panics, nothing of it is kept and it is tried again, up to 8 times. Then its
//! receiver *parks* the message, until an operator retries it.
//!
//! ```no_run
//! use stockade_sdk::{Connection, messages};
//!
//! fn deposit(amount: i64) -> Result<(), String> {
//!     // Only accounts may: a caller over HTTP sends no message.
//!     let message = messages::current().map_err(|error| error.to_string())?;
//!     let from = message.filter(|message| message.kind == "account");
//!     let from = from.ok_or("deposits come from accounts")?;
//!     let connection = Connection::open().map_err(|error| error.to_string())?;
//!     connection
//!         .execute("UPDATE account SET balance = balance + ?", (amount,))
//!         .map_err(|error| error.to_string())?;
//!     log::info!("{amount} from {}", from.key);
//!     Ok(())
//! }
//! ```
//!
//! The manifest of the sender's kind must grant what is sent, as for calls: `calls = ["account"]`. A
//! method that handles a message calls no other actor, because a transaction is open; it may send.

use crate::bindings::messages as raw;
use crate::errors::errors_of_rows;
use crate::{Limit, Reason};

/// What the functions of this module return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The kind of its sender.
    pub kind: String,
    /// The key of its sender.
    pub key: String,
    /// Its number at its sender.
    pub number: u64,
    /// Which delivery this is, from 1, as far as they were counted.
    pub attempt: u32,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A name that cannot be, or arguments that are not JSON. The text says which and why.
    InvalidArgument(String),
    /// The manifest of the sender's kind does not grant the message; the payload is the line that would.
    Denied(String),
    /// So many messages wait, which is the payload, that there is no room for more. The same may
    /// succeed later.
    OutboxFull(u64),
    /// The arguments have more bytes than they may have, which is the payload.
    TooLarge(u64),
    /// As in [`Error::Full`](crate::Error::Full).
    Full,
    /// As in [`Error::Busy`](crate::Error::Busy).
    Busy,
    /// As in [`Error::NotOpen`](crate::Error::NotOpen).
    NotOpen,
    /// As in [`Error::Interrupted`](crate::Error::Interrupted).
    Interrupted,
    /// As in [`Error::LimitExceeded`](crate::Error::LimitExceeded).
    LimitExceeded(Limit),
    /// As in [`Error::Revoked`](crate::Error::Revoked).
    Revoked(Reason),
    /// As in [`Error::Unavailable`](crate::Error::Unavailable).
    Unavailable,
    /// Anything else. The text is for people and may change at any time. Errors of the database
    /// convert into this one.
    Other(String),
}

/// Sends a message: the receiver runs the method with these arguments, once. They are JSON: `[5]` by
/// position, `{"by": 5}` by name; an empty text for none. At most 256 KiB. Part of the transaction that
/// is open. Returns the number of the message, which rises.
///
/// # Errors
/// [`Error::InvalidArgument`], [`Error::Denied`], [`Error::OutboxFull`], [`Error::TooLarge`], and those
/// of a statement. Whether the method exists is found out by the receiver.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> stockade_sdk::messages::Result<()> {
/// let number = stockade_sdk::messages::send("counter", "visits", "increment", "[1]")?;
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn send(kind: &str, key: &str, method: &str, arguments: &str) -> Result<u64> {
    crate::outside::needs_host();
    Ok(raw::send(kind, key, method, arguments)?)
}

/// The message that the actor works on; `None` in a call, a hook or the handler of an alarm.
///
/// # Errors
/// `Revoked`: the actor is shutting down or a newer generation owns the database.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> stockade_sdk::messages::Result<()> {
/// if let Some(message) = stockade_sdk::messages::current()? {
///     log::info!("message {} of {}/{}", message.number, message.kind, message.key);
/// }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn current() -> Result<Option<Received>> {
    crate::outside::needs_host();
    let received = raw::current()?;
    Ok(received.map(|received| {
        let raw::Received { kind, key, number, attempt } = received;
        Received { kind, key, number, attempt }
    }))
}

errors_of_rows! { raw:
    InvalidArgument(what) => "invalid argument: {what}",
    Denied(line) => "not granted; the manifest would need {line}",
    OutboxFull(waiting) => "{waiting} messages wait: the outbox is full",
    TooLarge(max) => "the arguments have more than {max} bytes",
}
