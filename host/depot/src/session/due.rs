//! Rewrites the due time of an actor that has woken for nothing, so that it does not wake again.
//!
//! Rule of `docs/protocol.md`: D14.

use super::{Mark, Shared};
use crate::cause::Cause;
use crate::error::StoreError;

impl Shared {
    /// See [`crate::Session::settle_due`].
    pub(super) async fn settle_due(&self, mark: Mark, due: Option<i64>) -> Result<bool, Cause> {
        self.death.check()?;
        let Some(at) = self.pipeline.lock().at_rest(mark) else { return Ok(false) };
        let send = || self.parts.store.settle_due(self.fence, at, due);
        match self.retry().until_answered_while(|| !self.death.is_fatal(), send).await {
            Ok(()) => Ok(true),
            // A step of this session has moved the head, or has sealed it.
            Err(StoreError::Fenced(mismatch)) if mismatch.actual == mismatch.expected => Ok(false),
            Err(error) => match Cause::of_answer(&error) {
                None => Err(Cause::Unconfirmed(error)),
                Some(cause) => {
                    self.die(cause, "due time");
                    Err(self.death.cause().expect("BUG: died without a cause"))
                }
            },
        }
    }
}
