//! Work at a time: alarms that this actor sets, and the handler that the host calls when they are due.
//!
//! An alarm is a row of the actor's own database. It is set and cancelled in the transaction that is
//! open, it wakes the actor, and it runs at least once: after a failure it is tried again, up to 8
//! times, and then *parked* with its last error until an operator retries it.
//!
//! ```
//! use stockade_sdk::alarms::{self, AlarmHandler, DueAlarm, Schedule};
//! use stockade_sdk::{Connection, Result};
//!
//! /// A reminder and its alarm: both are kept, or neither.
//! fn remind(text: &str, in_ms: u64) -> alarms::Result<(), alarms::Error> {
//!     let mut connection = Connection::open()?;
//!     let transaction = connection.transaction()?;
//!     let id = transaction.insert("INSERT INTO reminder (text) VALUES (?)", (text,))?;
//!     alarms::set(&format!("reminder-{id}"), &Schedule::After(in_ms), &id.to_le_bytes())?;
//!     transaction.commit()?;
//!     Ok(())
//! }
//!
//! struct Reminders;
//!
//! impl AlarmHandler for Reminders {
//!     /// May run twice for one alarm: what it does bears that.
//!     fn on_alarm(alarm: DueAlarm) -> alarms::Handled {
//!         let id = i64::from_le_bytes(alarm.payload.as_slice().try_into()?);
//!         Connection::open()?.execute("UPDATE reminder SET due = 1 WHERE id = ?", (id,))?;
//!         Ok(())
//!     }
//! }
//!
//! stockade_sdk::export_alarms!(Reminders);
//! # fn main() {}
//! ```

use core::fmt;

use crate::bindings::alarms as raw;
use crate::bindings::handler::exports::stockade::actor::alarm_handler as raw_handler;
use crate::errors::errors_of_rows;
use crate::{Limit, Reason};

/// What the functions of this module return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What a handler returns.
pub type Handled = core::result::Result<(), HandlerError>;

/// When an alarm runs. Times and periods are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once, at this time since 1970 UTC; immediately if it has passed.
    At(u64),
    /// Once, so long from now.
    After(u64),
    /// Again and again, first so long from now; at least 1,000.
    Every(u64),
    /// Again and again, at the times of a cron expression.
    Cron {
        /// Five fields: minute, hour, day of the month, month, day of the week. At most 128 bytes.
        expression: String,
        /// A name of the IANA time zone database, for example `Europe/Berlin`, or `UTC`.
        zone: String,
    },
}

/// Whether an alarm runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for this time, in milliseconds since 1970 UTC.
    Waits(u64),
    /// It was tried too often. The last error.
    Parked(String),
    /// It was set in another database, of which this one is a copy.
    Off,
}

/// An alarm that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Its schedule; [`Schedule::After`] is shown as the [`Schedule::At`] that it was.
    pub schedule: Schedule,
    /// Whether and when it runs next.
    pub status: Status,
    /// Tries since it was set, or since it last ended well.
    pub attempts: u32,
}

/// An alarm that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAlarm {
    /// Its name.
    pub name: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The time that it was due, in milliseconds since 1970 UTC.
    pub due: u64,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How many later times of a repeating alarm have passed as well and get no run of their own.
    pub missed: u64,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A name, a schedule or a zone that cannot be. The text says which and why.
    InvalidArgument(String),
    /// The actor does not export a handler: see [`export_alarms!`](crate::export_alarms).
    NoHandler,
    /// The actor has as many alarms as it may have, which is the payload. Cancel one.
    TooMany(u64),
    /// The alarm's payload has more bytes than it may have, which is the payload.
    PayloadTooLarge(u64),
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

/// Why the work of an alarm failed. The text is kept with the alarm and shown to operators. Every error
/// converts into it, so handlers can use `?`.
// It does not implement the error trait itself: that would forbid the conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerError {
    /// Anything. The text is for people.
    Other(String),
}

/// What runs when an alarm is due. Export it with [`export_alarms!`](crate::export_alarms).
pub trait AlarmHandler {
    /// Does the work of an alarm. It has the budget of a call, and may run again for the same time.
    ///
    /// # Errors
    /// The alarm is tried again later; after too many tries it is parked with the error.
    fn on_alarm(alarm: DueAlarm) -> Handled;
}

/// Sets an alarm, or replaces the one of this name. A name has 1 to 64 bytes, a payload at most 64 KiB,
/// an actor at most 1,000 alarms. Part of the transaction that is open.
///
/// # Errors
/// [`Error::InvalidArgument`], [`Error::NoHandler`], [`Error::TooMany`], [`Error::PayloadTooLarge`], and
/// those of a statement.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::alarms::{self, Schedule};
/// # fn f() -> alarms::Result<()> {
/// let zone = "Europe/Berlin".to_owned();
/// alarms::set("report", &Schedule::Cron { expression: "0 9 * * MON".to_owned(), zone }, b"weekly")
/// # }
/// ```
#[track_caller]
pub fn set(name: &str, schedule: &Schedule, payload: &[u8]) -> Result<()> {
    crate::outside::needs_host();
    let schedule = match schedule {
        Schedule::At(time) => raw::ScheduleParam::At(*time),
        Schedule::After(ms) => raw::ScheduleParam::After(*ms),
        Schedule::Every(ms) => raw::ScheduleParam::Every(*ms),
        Schedule::Cron { expression, zone } => {
            raw::ScheduleParam::Cron(raw::CronParam { expression, zone })
        }
    };
    Ok(raw::set(name, schedule, payload)?)
}

/// Cancels an alarm. Returns whether there was one. Part of the transaction that is open.
///
/// # Errors
/// Those of a statement.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> stockade_sdk::alarms::Result<()> {
/// let was_set = stockade_sdk::alarms::cancel("report")?;
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn cancel(name: &str) -> Result<bool> {
    crate::outside::needs_host();
    Ok(raw::cancel(name)?)
}

/// The alarm of this name with its payload.
///
/// # Errors
/// Those of a statement.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> stockade_sdk::alarms::Result<()> {
/// if let Some((alarm, payload)) = stockade_sdk::alarms::get("report")? {
///     log::info!("{:?}, {} bytes", alarm.status, payload.len());
/// }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn get(name: &str) -> Result<Option<(Alarm, Vec<u8>)>> {
    crate::outside::needs_host();
    Ok(raw::get(name)?.map(|(alarm, payload)| (alarm.into(), payload)))
}

/// Alarms in the order of their names, after the name `after`, at most `max` of them and 1,000.
///
/// # Errors
/// Those of a statement.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> stockade_sdk::alarms::Result<()> {
/// let first = stockade_sdk::alarms::list(None, 10)?;
/// let next = stockade_sdk::alarms::list(first.last().map(|alarm| &*alarm.name), 10)?;
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn list(after: Option<&str>, max: u32) -> Result<Vec<Alarm>> {
    crate::outside::needs_host();
    Ok(raw::list_alarms(after, max)?.into_iter().map(Into::into).collect())
}

/// Exports the handler of a type that implements [`AlarmHandler`](crate::alarms::AlarmHandler). The
/// actor's own WIT need not mention it.
///
/// ```
/// use stockade_sdk::alarms::{AlarmHandler, DueAlarm, Handled};
/// struct Clock;
/// impl AlarmHandler for Clock {
///     fn on_alarm(_: DueAlarm) -> Handled {
///         Ok(())
///     }
/// }
/// stockade_sdk::export_alarms!(Clock);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_alarms {
    ($actor:ident) => {
        $crate::bindings::handler::export_handler!(
            $actor with_types_in $crate::bindings::handler
        );
    };
}

impl From<raw::Alarm> for Alarm {
    fn from(alarm: raw::Alarm) -> Self {
        let schedule = match alarm.schedule {
            raw::ScheduleResult::At(time) => Schedule::At(time),
            raw::ScheduleResult::After(ms) => Schedule::After(ms),
            raw::ScheduleResult::Every(ms) => Schedule::Every(ms),
            raw::ScheduleResult::Cron(raw::CronResult { expression, zone }) => {
                Schedule::Cron { expression, zone }
            }
        };
        let status = match alarm.status {
            raw::Status::Waits(time) => Status::Waits(time),
            raw::Status::Parked(error) => Status::Parked(error),
            raw::Status::Off => Status::Off,
        };
        Self { name: alarm.name, schedule, status, attempts: alarm.attempts }
    }
}

errors_of_rows! { raw:
    InvalidArgument(what) => "invalid argument: {what}",
    NoHandler => "the actor exports no handler of alarms",
    TooMany(max) => "the actor has {max} alarms, as many as it may have",
    PayloadTooLarge(max) => "the payload has more than {max} bytes",
}

impl<E: core::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::Other(error.to_string())
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl<A: AlarmHandler> raw_handler::Guest for A {
    fn on_alarm(alarm: raw_handler::DueAlarm) -> core::result::Result<(), raw_handler::Error> {
        let raw_handler::DueAlarm { name, payload, due, attempt, missed } = alarm;
        let handled = A::on_alarm(DueAlarm { name, payload, due, attempt, missed });
        handled.map_err(|HandlerError::Other(text)| raw_handler::Error::Other(text))
    }
}
