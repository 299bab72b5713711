//! Why an instance died, according to the engine, the session, the meter and the guest.

use std::sync::Arc;

use stockade_depot::Reason;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, Trap, WasmBacktrace};

use super::watch::Watch;
use crate::capability::{State, exit_code};
use crate::error::{Crash, HostError, Retry};
use crate::limits::TrapLimit;
use crate::sqlite::Exhausted;

/// The cause of death of an instance that an injected fault ended.
pub const CRASHED_ON_PURPOSE: &str = "crashed on purpose, by a fault";

impl Watch {
    /// How the watched instance died. `last_words`: what the guest wrote last.
    pub(super) fn crash(&self, error: &Error, state: &State, last_words: &str) -> Crash {
        let limit = trap_limit(error, state);
        let (cause, retry) = if let Some(cause) = self.session.cause() {
            (cause.to_string(), Retry::Retry)
        } else if let Some(reason) = self.grip.reason() {
            (revoked(reason), Retry::Retry)
        } else if let Some(which) = self.meter.exhausted() {
            let cause = format!("budget used up: {}", which.as_str());
            (cause, if which == Exhausted::Time { Retry::Retry } else { Retry::Fix })
        } else {
            let cause = words(error);
            let cause =
                state.limiter_refusal().map_or(cause.clone(), |it| format!("{it}; {cause}"));
            (cause, advice(limit))
        };
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
        Crash { limit, ..Crash::of(cause, retry).told(last_words, &backtrace) }
    }
}

/// The error for a call whose actor did not start: a fresh instance that meets a limit meets the
/// same limit again.
pub(super) fn start_failed(message: String, crash: Arc<Crash>) -> HostError {
    let retry = match crash.limit {
        None | Some(TrapLimit::HostMemory) => crash.retry,
        Some(_) => Retry::Fix,
    };
    HostError::StartFailed { message, retry, crash: Some(crash) }
}

/// Whether the guest's own code has died, rather than the host lacked room for it.
pub(super) fn is_guests_own(error: &Error) -> bool {
    error.downcast_ref::<Trap>().is_some() || exit_code(error).is_some()
}

/// Memory and handles may have been taken by earlier calls; a new instance has all of them. What
/// else kills a guest is in its code, or in the request.
fn advice(limit: Option<TrapLimit>) -> Retry {
    match limit {
        Some(
            TrapLimit::Memory
            | TrapLimit::HostMemory
            | TrapLimit::TableElements
            | TrapLimit::WasiHandles,
        ) => Retry::Retry,
        Some(TrapLimit::Stack) | None => Retry::Fix,
    }
}

fn revoked(reason: Reason) -> String {
    // Only a fault on purpose revokes a running guest so: a guest's own trap is no revocation.
    match reason {
        Reason::Trapped => CRASHED_ON_PURPOSE.to_owned(),
        _ => format!("revoked: {reason}"),
    }
}

/// The engine's or the host's own text, without frames and addresses.
fn words(error: &Error) -> String {
    match (error.downcast_ref::<Trap>(), exit_code(error)) {
        (Some(trap), _) => trap.to_string(),
        (None, Some(code)) => format!("the guest exited with code {code}"),
        (None, None) => error.root_cause().to_string(),
    }
}

/// The limit behind a trap, if there is one.
fn trap_limit(error: &Error, state: &State) -> Option<TrapLimit> {
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Some(TrapLimit::WasiHandles);
    }
    if error.downcast_ref() == Some(&Trap::StackOverflow) {
        return Some(TrapLimit::Stack);
    }
    state.refused()
}

/// The engine's list of frames without its first line, which is a heading.
fn frames(backtrace: &WasmBacktrace) -> String {
    let text = backtrace.to_string();
    text.split_once('\n').map_or_else(String::new, |(_, frames)| frames.to_owned())
}
