//! Confirms that a session still owns its database: one request to the rounds of `crate::confirm`.
//!
//! Rule of `docs/protocol.md`: D12.

use tokio::time::Instant;

use super::Shared;
use crate::cause::Cause;
use crate::error::StoreError;
use crate::reason::Reason;

impl Shared {
    /// See [`crate::Session::confirm`].
    pub(super) async fn confirm(&self) -> Result<(), Cause> {
        may_ask(self)?;
        let limit = self.parts.limits.step_deadline;
        let answer = self.parts.confirmer.request(self.fence, Instant::now() + limit);
        let answer = tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(StoreError::Closed)),
            cause = fatal(self) => return Err(cause),
            () = tokio::time::sleep(limit) => {
                Err(StoreError::Unavailable("no confirmation before the deadline".into()))
            }
        };
        match answer {
            Ok(()) => may_ask(self),
            Err(error) => match Cause::of_answer(&error) {
                None => Err(Cause::Unconfirmed(error)),
                Some(cause) => {
                    self.die(cause, "confirm");
                    Err(self.death.cause().expect("BUG: died without a cause"))
                }
            },
        }
    }
}

/// Alive, or closed in order with effects of earlier calls still waiting.
fn may_ask(shared: &Shared) -> Result<(), Cause> {
    let death = &shared.death;
    match death.cause() {
        None => Ok(()),
        Some(Cause::Closed(reason)) if !death.is_fatal() => match reason {
            Reason::Shutdown
            | Reason::Slept
            | Reason::Trapped
            | Reason::Budget
            | Reason::Upgraded
            | Reason::Operator => Ok(()),
            Reason::Fenced | Reason::Destroyed | Reason::Storage => Err(Cause::Closed(reason)),
        },
        Some(cause) => Err(cause),
    }
}

/// Resolves when the session may not ask any more.
async fn fatal(shared: &Shared) -> Cause {
    loop {
        let died = shared.died.notified();
        tokio::pin!(died);
        died.as_mut().enable();
        if let Err(cause) = may_ask(shared) {
            return cause;
        }
        died.await;
    }
}
