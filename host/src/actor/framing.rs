//! How a generation enters a frame and leaves it.
//!
//! Invariant: apart, the method runs only once what the host has written before it is durable.

use stockade_depot::Cause;
use wasmtime::component::Val;

use super::framed::{Entry, Framed, Inside, is_refusal};
use super::generation::Generation;
use crate::error::HostError;
use crate::sqlite::{Entered, SqlError};

impl Generation {
    /// Enters a frame. The guest's budget has begun.
    ///
    /// # Errors
    /// The call's outcome: the method must not run.
    pub(super) async fn enter(
        &mut self,
        frame: &mut dyn Framed,
    ) -> Result<Inside, Result<Vec<Val>, HostError>> {
        let (now, apart) = (self.clock.now_ms(), frame.is_apart());
        let Some(sqlite) = self.body.sqlite() else { return Err(Err(SqlError::NotOpen.into())) };
        let entered = sqlite.enter_frame(|sqlite| {
            Ok(match frame.enter(sqlite, now)? {
                Entry::Run if apart => Some(None),
                Entry::Run => None,
                Entry::Skip(outcome) => Some(Some(outcome)),
            })
        });
        match entered {
            Ok(Entered::Runs(open)) => Ok(Inside::One(open)),
            Ok(Entered::Skipped(Some(outcome))) => Err(outcome),
            Ok(Entered::Skipped(None)) => {
                let durable = self.session.durable(self.session.mark()).await;
                let lost = |cause: Cause| Err(SqlError::Revoked(cause.reason()).into());
                durable.map(|_| Inside::Apart).map_err(lost)
            }
            Err(error) => Err(Err(error.into())),
        }
    }

    /// Leaves a frame whose method has answered.
    ///
    /// # Errors
    /// As for a statement: nothing is kept; apart, what the method has committed is.
    pub(super) fn leave(
        &mut self,
        frame: &mut dyn Framed,
        inside: Inside,
        answer: &[Val],
    ) -> Result<(), SqlError> {
        if matches!(inside, Inside::Apart) {
            // What the method has left open is not part of the host's commit.
            self.finish()?;
        }
        let now = self.clock.now_ms();
        let sqlite = self.body.sqlite().ok_or(SqlError::NotOpen)?;
        match inside {
            Inside::Apart => sqlite.in_grace(|sqlite| frame.leave(sqlite, answer, now)),
            Inside::One(open) => {
                let keep = !is_refusal(answer);
                let left =
                    sqlite.leave_frame(open, keep, |sqlite| frame.leave(sqlite, answer, now))?;
                if left {
                    let words = "a transaction left open by a call was rolled back";
                    tracing::warn!(actor = %self.actor, "{words}");
                }
                Ok(())
            }
        }
    }
}
