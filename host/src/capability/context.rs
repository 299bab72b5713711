//! `stockade:actor/context`: which actor runs, why it was started, and what its call may still use.

use super::State;
use crate::bindings::stockade::actor::context::{self as wit, Budget, Error, Identity};

/// Why a generation was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// The actor did not exist before.
    Created,
    /// A call woke the actor from sleep, or the host was started again.
    Woken,
    /// The previous generation ended by trap, fence loss or a failure of its host.
    Recovered,
    /// A new component was deployed.
    Upgraded,
}

impl From<StartReason> for wit::StartReason {
    fn from(reason: StartReason) -> Self {
        match reason {
            StartReason::Created => Self::Created,
            StartReason::Woken => Self::Woken,
            StartReason::Recovered => Self::Recovered,
            StartReason::Upgraded => Self::Upgraded,
        }
    }
}

impl State {
    /// Answers until the generation's grip is revoked.
    fn in_life<T>(&self, answer: impl FnOnce() -> T) -> Result<T, Error> {
        let refused = |revoked: crate::grip::Revoked| Error::Other(revoked.to_string());
        let guard = self.grip.enter().map_err(refused)?;
        let answer = answer();
        guard.check().map_err(refused)?;
        Ok(answer)
    }
}

impl wit::Host for State {
    fn get_identity(&mut self) -> wasmtime::Result<Result<Identity, Error>> {
        Ok(self.in_life(|| Identity {
            kind: self.actor.kind().to_owned(),
            key: self.actor.key().to_owned(),
            generation: self.generation.0,
            component_digest: self.component.to_string(),
        }))
    }

    fn get_start_reason(&mut self) -> wasmtime::Result<Result<wit::StartReason, Error>> {
        Ok(self.in_life(|| self.start_reason.into()))
    }

    fn get_budget(&mut self) -> wasmtime::Result<Result<Budget, Error>> {
        Ok(self.in_life(|| {
            let remaining = self.meter.remaining();
            Budget {
                time_ms: u64::try_from(remaining.time.as_millis()).unwrap_or(u64::MAX),
                sql_steps: remaining.sql_steps,
                rows: remaining.rows,
                row_bytes: remaining.row_bytes,
                pages: remaining.pages,
            }
        }))
    }
}
