//! Errors that several interfaces of the contract have in common, each translated in one place.
//!
//! Invariant: every match is exhaustive, so that a new case of the contract does not compile.

/// From the types of `$raw`, a module of generated code: errors of calls, as `actors` and the WIT of each
/// client have them, or the reasons for which handles are revoked.
#[doc(hidden)]
#[macro_export]
macro_rules! from_contract {
    (errors of calls in $raw:ident) => {
        impl From<$raw::Failure> for $crate::actors::Failure {
            fn from(failure: $raw::Failure) -> Self {
                use $crate::actors::{Advice, Verdict};
                let $raw::Failure { code, message, advice, verdict, details } = failure;
                let advice = match advice {
                    $raw::Advice::Retry => Advice::Retry,
                    $raw::Advice::Reroute => Advice::Reroute,
                    $raw::Advice::Fix => Advice::Fix,
                    $raw::Advice::Never => Advice::Never,
                    $raw::Advice::UnknownOutcome => Advice::UnknownOutcome,
                };
                let verdict = verdict.map(|verdict| match verdict {
                    $raw::Verdict::Committed => Verdict::Committed,
                    $raw::Verdict::NotCommitted => Verdict::NotCommitted,
                    $raw::Verdict::Indeterminate => Verdict::Indeterminate,
                });
                Self { code, message, advice, verdict, details }
            }
        }

        impl From<$raw::Cycle> for $crate::actors::Cycle {
            fn from(cycle: $raw::Cycle) -> Self {
                let $raw::Cycle { chain, crosses } = cycle;
                let chain = chain
                    .into_iter()
                    .map(|$raw::ActorName { kind, key }| $crate::actors::ActorName { kind, key });
                Self { chain: chain.collect(), crosses }
            }
        }

        impl From<$raw::Limit> for $crate::actors::Limit {
            fn from(limit: $raw::Limit) -> Self {
                match limit {
                    $raw::Limit::CallsInFlight => Self::CallsInFlight,
                    $raw::Limit::ChainLength => Self::ChainLength,
                    $raw::Limit::Memory => Self::Memory,
                }
            }
        }

        impl From<$raw::Error> for $crate::actors::Error {
            fn from(error: $raw::Error) -> Self {
                match error {
                    $raw::Error::Invalid(failure) => Self::Invalid(failure.into()),
                    $raw::Error::NotFound(failure) => Self::NotFound(failure.into()),
                    $raw::Error::Denied(line) => Self::Denied(line),
                    $raw::Error::OpenTransaction => Self::OpenTransaction,
                    $raw::Error::CallCycle(cycle) => Self::CallCycle(cycle.into()),
                    $raw::Error::LimitExceeded(limit) => Self::LimitExceeded(limit.into()),
                    $raw::Error::Overloaded(failure) => Self::Overloaded(failure.into()),
                    $raw::Error::TimedOut(failure) => Self::TimedOut(failure.into()),
                    $raw::Error::UnknownOutcome(failure) => Self::UnknownOutcome(failure.into()),
                    $raw::Error::Failed(failure) => Self::Failed(failure.into()),
                    $raw::Error::NotOpen => Self::NotOpen,
                    $raw::Error::Revoked(reason) => Self::Revoked(reason.into()),
                    $raw::Error::Other(text) => Self::Other(text),
                }
            }
        }
    };
    (reasons in $raw:ident) => {
        impl From<$raw::Reason> for $crate::Reason {
            fn from(reason: $raw::Reason) -> Self {
                match reason {
                    $raw::Reason::Shutdown => Self::Shutdown,
                    $raw::Reason::Slept => Self::Slept,
                    $raw::Reason::Fenced => Self::Fenced,
                    $raw::Reason::Trapped => Self::Trapped,
                    $raw::Reason::Budget => Self::Budget,
                    $raw::Reason::Upgraded => Self::Upgraded,
                    $raw::Reason::Destroyed => Self::Destroyed,
                    $raw::Reason::Storage => Self::Storage,
                    $raw::Reason::Operator => Self::Operator,
                }
            }
        }
    };
}

/// The conversions and texts of an `Error` whose interface keeps rows of the host, from its `$raw` and
/// from errors of the database. Given are the cases that it has beside those of rows, with their texts.
macro_rules! errors_of_rows {
    ($raw:ident: $($case:ident $(($value:ident))? => $text:literal,)+) => {
        impl From<$raw::Error> for Error {
            fn from(error: $raw::Error) -> Self {
                match error {
                    $($raw::Error::$case $(($value))? => Self::$case $(($value))?,)+
                    $raw::Error::Full => Self::Full,
                    $raw::Error::Busy => Self::Busy,
                    $raw::Error::NotOpen => Self::NotOpen,
                    $raw::Error::Interrupted => Self::Interrupted,
                    $raw::Error::LimitExceeded(limit) => Self::LimitExceeded(limit.into()),
                    $raw::Error::Revoked(reason) => Self::Revoked(reason.into()),
                    $raw::Error::Unavailable => Self::Unavailable,
                    $raw::Error::Other(text) => Self::Other(text),
                }
            }
        }

        /// So that `?` works in a function that uses both.
        impl From<crate::Error> for Error {
            fn from(error: crate::Error) -> Self {
                match error {
                    crate::Error::Full => Self::Full,
                    crate::Error::Busy => Self::Busy,
                    crate::Error::NotOpen => Self::NotOpen,
                    crate::Error::Interrupted => Self::Interrupted,
                    crate::Error::LimitExceeded(limit) => Self::LimitExceeded(limit),
                    crate::Error::Revoked(reason) => Self::Revoked(reason),
                    crate::Error::Unavailable => Self::Unavailable,
                    error => Self::Other(error.to_string()),
                }
            }
        }

        impl core::fmt::Display for Error {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$case $(($value))? => write!(f, $text),)+
                    Self::Full => f.write_str("the database has reached its size limit"),
                    Self::Busy => {
                        f.write_str("busy: another statement of this actor is in the way")
                    }
                    Self::NotOpen => f.write_str("not open"),
                    Self::Interrupted => f.write_str("interrupted"),
                    Self::LimitExceeded(limit) => write!(f, "limit exceeded: {limit:?}"),
                    Self::Revoked(reason) => write!(f, "revoked: {reason:?}"),
                    Self::Unavailable => f.write_str("the host cannot serve the request now"),
                    Self::Other(text) => f.write_str(text),
                }
            }
        }

        impl core::error::Error for Error {}
    };
}

pub(crate) use errors_of_rows;
