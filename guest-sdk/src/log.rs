//! Log lines of the actor, written through the `log` crate or directly.
//!
//! After [`init`], `log::info!(count = 3; "ingested")` arrives at the host as one line with the
//! fields `count` and `target`. Without it, records of the `log` crate are dropped.

use core::fmt;

use ::log::kv::{self, Key, VisitSource};
use ::log::{LevelFilter, Log, Metadata, Record};

use crate::bindings::log as raw;

pub use ::log::Level;

/// Why a line was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The line's message and fields together are longer than the limit, in bytes. Shorten it.
    TooLong(u64),
    /// The call has written as many lines as a call may; the payload is that number.
    TooMany(u64),
    /// Anything else. The text is for people and may change at any time.
    Other(String),
}

/// Sends the records of the `log` crate from `info` upwards to the host. A second call does
/// nothing, so a method may begin with it; an actor with a
/// [`Lifecycle`](crate::lifecycle::Lifecycle) calls it in `start`. Never blocks.
///
/// A line that the host refuses, for its length or because the call wrote too many, is dropped:
/// logging never fails the work.
///
/// ```
/// stockade_sdk::log::init();
/// stockade_sdk::log::init();
/// assert_eq!(log::max_level(), log::LevelFilter::Info);
/// ```
pub fn init() {
    init_from(LevelFilter::Info);
}

/// As [`init`], from the given level upwards. The last call decides. Never blocks.
///
/// ```
/// stockade_sdk::log::init_from(log::LevelFilter::Trace);
/// assert_eq!(log::max_level(), log::LevelFilter::Trace);
/// ```
pub fn init_from(level: LevelFilter) {
    // An error means that a logger is set already: this one, or one that the actor chose.
    drop(::log::set_logger(&HostLog));
    ::log::set_max_level(level);
}

/// Writes one line with fields. Unlike the macros, it reports a refused line. Never blocks.
///
/// # Errors
/// [`Error::TooLong`] above 16 KiB, [`Error::TooMany`] after 1,000 lines in a call, by default.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::log::{Error, Level, write};
/// # fn f() -> Result<(), Error> {
/// write(Level::Info, "ingested", &[("count", "3")])
/// # }
/// ```
#[track_caller]
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) -> Result<(), Error> {
    crate::outside::needs_host();
    let level = match level {
        Level::Trace => raw::Level::Trace,
        Level::Debug => raw::Level::Debug,
        Level::Info => raw::Level::Info,
        Level::Warn => raw::Level::Warn,
        Level::Error => raw::Level::Error,
    };
    Ok(raw::write(level, message, fields)?)
}

/// The logger that `init` installs.
struct HostLog;

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut fields = Fields(vec![("target".to_owned(), record.target().to_owned())]);
        // The visitor never fails, and a source that fails has given the pairs that it could.
        drop(record.key_values().visit(&mut fields));
        let fields: Vec<(&str, &str)> =
            fields.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let written = match record.args().as_str() {
            Some(message) => write(record.level(), message, &fields),
            None => write(record.level(), &record.args().to_string(), &fields),
        };
        // Documented at `init`: a refused line is dropped.
        drop(written);
    }

    fn flush(&self) {}
}

/// The key-values of a record as text.
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.as_str().to_owned(), value.to_string()));
        Ok(())
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => write!(f, "the line is longer than {bytes} bytes"),
            Self::TooMany(lines) => write!(f, "the call has written {lines} lines already"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<raw::Error> for Error {
    fn from(error: raw::Error) -> Self {
        match error {
            raw::Error::TooLong(bytes) => Self::TooLong(bytes),
            raw::Error::TooMany(lines) => Self::TooMany(lines),
            raw::Error::Other(text) => Self::Other(text),
        }
    }
}
