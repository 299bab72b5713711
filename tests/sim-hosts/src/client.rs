//! A client of one host: it calls actors through the host and reports each answer to the judge. A
//! client whose host dies gets no answer. Half of the calls are the host's own, as an embedder makes
//! them; the others go to where the actor is.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade::host::Reply;
use stockade::{ActorId, Arguments};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::Journal;
use tokio::time::{Instant, sleep};

use crate::forward::{Answered, Asked, Lines, Node, Refusal};
use crate::judge::{Began, Books, Heard, Judge, Transfer};
use crate::machine::LEASE;

/// How often a transfer is sent at most, if the host advises to send it again.
const SENDS_MAX: usize = 4;

/// A client of one host.
#[derive(Clone)]
pub struct Client {
    /// The host, and the life of its process.
    pub node: Node,
    /// The lines from it to others.
    pub lines: Arc<Lines>,
    /// Checks the answers.
    pub judge: Arc<Judge>,
    /// The log of the run.
    pub journal: Arc<Journal>,
    /// The run's random numbers.
    pub dice: Arc<Dice>,
}

impl Client {
    /// Waits for an answer. `None`: the host has died.
    async fn hears<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.node.life.died() => None,
            answer = answer => (!self.node.life.is_dead()).then_some(answer),
        }
    }

    fn say(&self, what: &str) {
        self.journal.say(&format!("{} {what}", self.node.life.name));
    }

    async fn call(
        &self,
        actor: &ActorId,
        method: &'static str,
        arguments: Json,
    ) -> Option<Result<Answered, Refusal>> {
        let arguments = Arguments::Json(arguments);
        if self.dice.percent(50) {
            let until = Instant::now() + Duration::from_millis(self.dice.between(300, 5_000));
            let asked = Asked { actor: actor.clone(), method, arguments, until };
            return self.hears(self.lines.call(&self.node, &asked)).await;
        }
        let lease = self.lease_over();
        let answer = self.hears(self.node.host.actor(actor).call(method, arguments)).await?;
        let by = self.node.number;
        let answer = answer.map(|reply| Answered { reply, by, passed_on: false });
        let answer = answer.map_err(Refusal::from);
        if let Some(beaten) = lease
            && self.lease_over() == Some(beaten)
        {
            self.judge.began_without_lease(actor, &answer);
        }
        Some(answer)
    }

    /// The host's last sign of life, if others may have judged the host dead since.
    fn lease_over(&self) -> Option<Instant> {
        let (beaten, host) = (self.node.life.beaten()?, &self.node.host);
        let has_others = host.has_peers() && !host.drain_status().draining;
        (beaten.elapsed() >= LEASE && has_others).then_some(beaten)
    }

    /// Sends a transfer, and sends it again while the host answers that nothing was done.
    pub async fn transfer(self, actor: ActorId, transfer: Transfer) {
        let Transfer { number, source, target, amount } = transfer;
        self.judge.tries(&actor, transfer);
        for _ in 0..SENDS_MAX {
            let began = self.judge.begin(&actor);
            let arguments = json!([number, source, target, amount]);
            let Some(answer) = self.call(&actor, "transfer", arguments).await else { return };
            let error = match answer {
                Ok(answered) => return self.transferred(&actor, &began, number, &answered),
                Err(error) => error,
            };
            let (advice, verdict) = (error.advice(), error.verdict());
            self.say(&format!("fails {number} of {actor}: {verdict:?}, {advice:?}: {error}"));
            self.judge.told(&actor, number, &error);
            if !matches!(advice, Retry::Retry | Retry::Reroute) || self.dice.percent(50) {
                return;
            }
            // The host advised to send it again, so the ledger must not have the transfer twice.
            self.judge.tries_again(&actor, number);
            sleep(Duration::from_millis(self.dice.between(1, 100))).await;
        }
    }

    fn transferred(&self, actor: &ActorId, began: &Began, number: i64, answered: &Answered) {
        let (generation, answer) = (answered.reply.generation, answered.reply.to_json());
        let Some(ledger) = answer.get("ok") else {
            let error = answer["err"].as_str().unwrap_or_default();
            self.say(&format!("guest of {actor} refuses {number}: {error}"));
            return self.judge.refused(actor, number, error);
        };
        let ledger = integers(ledger);
        self.say(&format!(
            "acknowledges {number} of {actor} as version {}, generation {generation}{}",
            ledger.len(),
            way(answered)
        ));
        let books = Books { ledger, balances: None };
        let heard = self.heard(answered, books);
        self.judge.heard(actor, began, &heard, Some(number));
    }

    /// Reads the whole state of an actor. Returns whether the guest answered.
    pub async fn look(&self, actor: &ActorId) -> bool {
        let began = self.judge.begin(actor);
        let Some(answer) = self.call(actor, "look", json!([])).await else { return false };
        let answered = match answer {
            Ok(answered) => answered,
            Err(error) => {
                self.say(&format!("does not show {actor}: {error}"));
                self.judge.told_nothing(actor, &error);
                return false;
            }
        };
        let (generation, answer) = (answered.reply.generation, answered.reply.to_json());
        let Some(books) = answer.get("ok") else {
            self.say(&format!("guest of {actor} cannot read: {}", answer["err"]));
            return false;
        };
        let (ledger, balances) = (integers(&books["ledger"]), integers(&books["balances"]));
        self.say(&format!(
            "shows version {} of {actor}, generation {generation}{}",
            ledger.len(),
            way(&answered)
        ));
        let heard = self.heard(&answered, Books { ledger, balances: Some(balances) });
        self.judge.heard(actor, &began, &heard, None);
        true
    }

    fn heard(&self, answered: &Answered, books: Books) -> Heard {
        let Answered { reply: Reply { generation, .. }, by, passed_on } = answered;
        // The host that has answered, if it is the one that was asked.
        let by = (*by == self.node.number).then(|| self.node.life.name.clone());
        Heard { generation: *generation, passed_on: *passed_on, by, books }
    }

    /// Ends the actor's generation, if it is awake here.
    pub async fn stop(self, actor: ActorId) {
        let Some(answer) = self.hears(self.node.host.actor(&actor).stop()).await else { return };
        match answer {
            Ok(Some(exit)) => self.say(&format!(
                "ended generation {} of {actor}: {}, sealed {}",
                exit.generation, exit.reason, exit.sealed
            )),
            Ok(None) => {}
            Err(error) => self.say(&format!("does not end {actor}: {error}")),
        }
    }

    /// Destroys the actor. No later answer may show its former state.
    pub async fn destroy(self, actor: ActorId) {
        let destroying = self.judge.destroy_begins(&actor);
        self.say(&format!("destroys {actor}"));
        let answer = self.hears(self.node.host.actor(&actor).destroy()).await;
        let gone = matches!(answer, Some(Ok(())));
        if let Some(Err(error)) = &answer {
            self.say(&format!("does not destroy {actor}: {error}"));
        }
        if gone {
            self.say(&format!("{actor} is destroyed"));
        }
        self.judge.destroy_ends(&actor, destroying, gone);
    }
}

/// How an answer came, for the log.
fn way(answered: &Answered) -> &'static str {
    if answered.passed_on { ", passed on" } else { "" }
}

fn integers(list: &Json) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}
