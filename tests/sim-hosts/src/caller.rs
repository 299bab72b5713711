//! A caller of one host: half of its calls are the host's own, as an embedder makes them; the others go
//! to where the actor is. A caller whose host dies gets no answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use stockade::{ActorId, Arguments};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::Journal;
use tokio::time::Instant;

use crate::forward::{Answered, Asked, Lines, Node, Refusal};

/// A caller of one host.
#[derive(Clone)]
pub struct Caller {
    /// The host, and the life of its process.
    pub node: Node,
    /// The lines from it to others.
    pub lines: Arc<Lines>,
    /// The log of the run.
    pub journal: Arc<Journal>,
    /// The run's random numbers.
    pub dice: Arc<Dice>,
}

impl Caller {
    /// Writes a line, with the name of the host.
    pub fn say(&self, what: &str) {
        self.journal.say(&format!("{} {what}", self.node.life.name));
    }

    /// Waits for an answer. `None`: the host has died.
    pub async fn answer<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.node.life.died() => None,
            answer = answer => (!self.node.life.is_dead()).then_some(answer),
        }
    }

    /// Calls a method. `None`: the host has died.
    pub async fn call(
        &self,
        actor: &ActorId,
        method: &'static str,
        arguments: Json,
    ) -> Option<Result<Answered, Refusal>> {
        if self.dice.percent(50) {
            let within = Duration::from_millis(self.dice.between(2_000, 12_000));
            return self.pass_on(actor, method, arguments, within).await;
        }
        let arguments = Arguments::Json(arguments);
        let answer = self.answer(self.node.host.actor(actor).call(method, arguments)).await?;
        let by = self.node.number;
        let answer = answer.map(|reply| Answered { reply, by, passed_on: false });
        Some(answer.map_err(Refusal::from))
    }

    /// Calls a method where its actor is. `None`: the host has died.
    pub async fn pass_on(
        &self,
        actor: &ActorId,
        method: &'static str,
        arguments: Json,
        within: Duration,
    ) -> Option<Result<Answered, Refusal>> {
        let (arguments, until) = (Arguments::Json(arguments), Instant::now() + within);
        let asked = Asked { actor: actor.clone(), method, arguments, until };
        self.answer(self.lines.call(&self.node, &asked)).await
    }
}
