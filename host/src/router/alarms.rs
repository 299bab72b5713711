//! Due work of a slot's actor: run between its calls while a generation is awake, and what a process
//! that wakes the actor for it is answered.
//!
//! Invariants:
//! - One alarm or parked message, then one call, while there are both: neither keeps the other out.
//!   Alarms follow each other only while nothing else waits for the actor.
//! - Nothing runs before its time by this process's clock, nor while this process may have been judged
//!   dead, nor while its clock and the store's are apart.
//! - A wake that finds nothing due corrects the time in the store, so that it is not repeated.

use std::sync::Arc;

use stockade_depot::{DbId, Reason};
use tokio::sync::oneshot;

use super::request::Reply;
use super::slot::Slot;
use crate::actor::alarm::MayFollow;
use crate::actor::answers::ReplyTo;
use crate::actor::call::CallEnd;
use crate::actor::generation::Generation;
use crate::error::HostError;
use crate::sqlite::CrashedAlarm;

impl Slot {
    /// Runs the first alarms that are due, or the first parked message. `is_first`: the generation was
    /// begun for this.
    pub(super) async fn run_alarm(&mut self, is_first: bool) {
        let shared = Arc::clone(self.slots.shared());
        let cause = self.live.as_ref().and_then(|live| live.generation.session().cause());
        if let Some(cause) = cause {
            return self.fatal(&cause).await;
        }
        if !shared.nodes.holds_lease().await {
            return self.due.rest();
        }
        self.due.begin();
        // Its outcome is in its row; that it has ended concerns no caller.
        let (reply, _) = Reply::new(None);
        if self.due.is_parked() {
            let begin = |generation: Generation, gate| generation.retrying(gate);
            self.carry_out((0, ReplyTo::DueWork { reply }), is_first, begin).await;
        } else {
            let crashed = shared.due.take_crash(&self.actor);
            let handle = Arc::clone(&self.handle);
            let may_follow: MayFollow = Box::new(move || {
                !handle.is_wanted() && shared.nodes.is_sure_of_its_lease() && !shared.due.is_held()
            });
            let begin =
                |generation: Generation, gate| generation.alarming(crashed, may_follow, gate);
            self.carry_out((0, ReplyTo::DueWork { reply }), is_first, begin).await;
        }
        self.due.end();
    }

    /// The actor was woken for due work, or asked for it while awake.
    pub(super) async fn run_due(
        &mut self,
        db: DbId,
        is_first: bool,
        reply: oneshot::Sender<Result<(), HostError>>,
    ) {
        let now = self.slots.shared().ground.clock.now_ms();
        let Some(live) = &mut self.live else { return };
        if live.generation.fence().db != db {
            let error = HostError::ActorMissing { actor: self.actor.clone() };
            return drop(reply.send(Err(error)));
        }
        drop(reply.send(Ok(())));
        let mark = live.generation.session().mark();
        if let Err(error) = live.generation.look_for_due() {
            tracing::debug!(actor = %self.actor, %error, "due work not looked for");
            return self.due.rest();
        }
        self.due.follow(&mut live.generation);
        if self.due.at().is_some_and(|at| at <= now) {
            return self.run_alarm(is_first).await;
        }
        if self.due.has_sent() {
            // The slot looks for its receivers next (`outbox.rs`).
            return;
        }
        let settled = live.generation.session().settle_due(mark, self.due.any()).await;
        tracing::debug!(actor = %self.actor, ?settled, "woken for nothing that is due");
    }

    /// After a call or due work: when the next is due, and what a crash has ended.
    pub(super) fn note_alarms(&mut self, generation: &mut Generation, end: &CallEnd) {
        self.due.follow(generation);
        if !self.due.runs() {
            return;
        }
        match end {
            CallEnd::Answered(answer) if answer.outcome.is_err() => self.due.rest(),
            CallEnd::Crashed { crash, .. } => {
                if let Some((name, number)) = generation.running_alarm() {
                    let crashed = CrashedAlarm { name, number, error: crash.cause.clone() };
                    self.slots.shared().due.note_crash(&self.actor, crashed);
                }
            }
            CallEnd::Answered(_) | CallEnd::Fatal(_) => {}
        }
    }

    /// A generation has ended: its next due work wakes the actor.
    pub(super) fn leave_due(&mut self, reason: Reason) {
        let Some((db, at)) = self.due.take() else { return };
        match reason {
            // Another process has the actor, or none.
            Reason::Fenced | Reason::Destroyed | Reason::Shutdown => {}
            Reason::Slept
            | Reason::Trapped
            | Reason::Budget
            | Reason::Upgraded
            | Reason::Storage
            | Reason::Operator => self.slots.shared().due.plan(&self.actor, db, at),
        }
    }
}
