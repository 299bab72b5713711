//! One call that an actor makes of another one, as the caller of the first one sees it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::ActorId;
use tokio::time::Instant;

use super::judge::{Ended, Judge};
use crate::caller::Caller;
use crate::code::RELAY;

/// How the guest shows errors of calls that have not begun.
const NOT_DONE: [&str; 4] = ["CallCycle", "TimedOut", "Overloaded", "LimitExceeded"];
/// Longer than any call takes in the calm.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes actors call others.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) caller: Caller,
    pub(super) judge: Arc<Judge>,
    /// Nothing is lost, late or doubled: all calls go to where their actors are, and what has not
    /// begun does not come.
    pub(super) is_calm: bool,
}

/// How a call of an actor ended.
#[derive(Debug)]
pub(super) struct Told {
    /// The answer of the guest that was asked to call; the error: that of its host.
    pub(super) answer: Result<Json, String>,
    /// How long it took.
    pub(super) took: Duration,
}

/// An actor of the run.
pub(super) fn actor(key: &str) -> ActorId {
    ActorId::new(RELAY.kind, key).unwrap()
}

impl Told {
    /// The error that the guest has got; none if its call was answered.
    pub(super) fn error(&self) -> Option<&str> {
        self.answer.as_ref().ok()?["err"].as_str()
    }

    /// Whether its call was refused since it would wait for itself.
    pub(super) fn is_cycle(&self) -> bool {
        self.error().is_some_and(|error| error.starts_with("CallCycle"))
    }
}

impl Asker {
    /// Makes an actor call, and says how that ended. `None`: the host has died.
    pub(super) async fn ask(
        &self,
        from: &str,
        method: &'static str,
        arguments: Json,
    ) -> Option<Told> {
        let (begun, from) = (Instant::now(), actor(from));
        let called = match self.is_calm {
            true => self.caller.pass_on(&from, method, arguments, PATIENCE).await?,
            false => self.caller.call(&from, method, arguments).await?,
        };
        let took = begun.elapsed();
        let answer = called.map(|answered| answered.reply.to_json());
        Some(Told { answer: answer.map_err(|refusal| refusal.to_string()), took })
    }

    /// Makes an actor call `write` of another one with an id. Returns whether it was answered.
    pub(super) async fn once(
        &self,
        id: &str,
        (from, to): (&'static str, &'static str),
    ) -> Option<(Told, Ended)> {
        self.judge.tries(id, (from, to));
        self.caller.say(&format!("{from} calls {to} as {id}"));
        let told = self.ask(from, "call-once", json!([to, "write", "", id])).await?;
        let ended = match &told.answer {
            Ok(answer) if answer.get("ok").is_some() => Ended::Done,
            Ok(_) => ended_of(told.error().unwrap_or_default(), self.is_calm),
            // The method may have called before its host or its ownership was lost.
            Err(_) => Ended::Open,
        };
        self.caller.say(&format!("{from}'s call {id} ends: {ended:?}: {:?}", told.answer));
        self.judge.ended(id, ended);
        Some((told, ended))
    }

    /// Makes the caller of a call ask what became of it.
    pub(super) async fn outcome(
        &self,
        id: &str,
        (from, to): (&'static str, &'static str),
        settle: bool,
    ) -> Option<Ended> {
        let told = self.ask(from, "outcome", json!([to, id, settle])).await?;
        let said = match &told.answer {
            Ok(answer) => answer["ok"].as_str().unwrap_or_default(),
            Err(_) => "",
        };
        let outcome = match said {
            "Never" => Ended::Never,
            said if said.starts_with("Committed") => Ended::Done,
            _ => Ended::Open,
        };
        self.caller.say(&format!("{from} asks for {id}, settle {settle}: {:?}", told.answer));
        self.judge.outcome(id, outcome);
        Some(outcome)
    }
}

/// How a call ended whose error the guest shows. A copy of what has not begun may come later.
fn ended_of(error: &str, is_calm: bool) -> Ended {
    if error.contains("call-settled") {
        return Ended::Never;
    }
    let is_not_done = NOT_DONE.iter().any(|it| error.starts_with(it));
    if is_calm && is_not_done { Ended::NotDone } else { Ended::Open }
}
