//! A client of one host: it calls the host and reports each answer to the judge. A client whose
//! host dies gets no answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade::host::Reply;
use stockade::{ActorId, Arguments, CallError, Host};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::Journal;
use stockade_sim_depot::network::Life;
use tokio::time::sleep;

use crate::judge::{Began, Books, Heard, Judge, Transfer};

/// How often a transfer is sent at most, if the host advises to send it again.
const SENDS_MAX: usize = 4;

/// A client of one host.
#[derive(Clone)]
pub struct Client {
    /// The host.
    pub host: Host,
    /// The life of the host's process.
    pub life: Arc<Life>,
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
            () = self.life.died() => None,
            answer = answer => (!self.life.is_dead()).then_some(answer),
        }
    }

    fn say(&self, what: &str) {
        self.journal.say(&format!("{} {what}", self.life.name));
    }

    async fn call(
        &self,
        actor: &ActorId,
        method: &str,
        arguments: Json,
    ) -> Option<Result<Reply, CallError>> {
        self.hears(self.host.actor(actor).call(method, Arguments::Json(arguments))).await
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
                Ok(reply) => return self.transferred(&actor, &began, number, &reply),
                Err(error) => error,
            };
            let (advice, verdict) = (error.retry(), error.verdict);
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

    fn transferred(&self, actor: &ActorId, began: &Began, number: i64, reply: &Reply) {
        let (generation, answer) = (reply.generation, reply.to_json());
        let Some(ledger) = answer.get("ok") else {
            let error = answer["err"].as_str().unwrap_or_default();
            self.say(&format!("guest of {actor} refuses {number}: {error}"));
            return self.judge.refused(actor, number, error);
        };
        let ledger = integers(ledger);
        self.say(&format!(
            "acknowledges {number} of {actor} as version {}, generation {generation}",
            ledger.len()
        ));
        let heard = Heard { generation, books: Books { ledger, balances: None } };
        self.judge.heard(actor, began, &heard, Some(number));
    }

    /// Reads the whole state of an actor. Returns whether the guest answered.
    pub async fn look(&self, actor: &ActorId) -> bool {
        let began = self.judge.begin(actor);
        let Some(answer) = self.call(actor, "look", json!([])).await else { return false };
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => {
                self.say(&format!("does not show {actor}: {error}"));
                self.judge.told_nothing(actor, &error);
                return false;
            }
        };
        let (generation, answer) = (reply.generation, reply.to_json());
        let Some(books) = answer.get("ok") else {
            self.say(&format!("guest of {actor} cannot read: {}", answer["err"]));
            return false;
        };
        let (ledger, balances) = (integers(&books["ledger"]), integers(&books["balances"]));
        self.say(&format!("shows version {} of {actor}, generation {generation}", ledger.len()));
        let heard = Heard { generation, books: Books { ledger, balances: Some(balances) } };
        self.judge.heard(actor, &began, &heard, None);
        true
    }

    /// Ends the actor's generation, if it is awake here.
    pub async fn stop(self, actor: ActorId) {
        let Some(answer) = self.hears(self.host.actor(&actor).stop()).await else { return };
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
        let answer = self.hears(self.host.actor(&actor).destroy()).await;
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

fn integers(list: &Json) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}
