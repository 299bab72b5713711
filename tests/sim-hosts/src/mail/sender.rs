//! One send of an actor, as its caller sees it, and looks at what has arrived.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use stockade::ActorId;
use stockade::error::Verdict;

use super::judge::{Fate, Judge, Row, Sent, Sort};
use crate::caller::Caller;
use crate::code::MAIL;
use crate::forward::Refusal;

/// How a transaction ends whose message is never sent.
const ENDS: [&str; 8] =
    ["rollback", "savepoint", "open", "rollback", "savepoint", "open", "rollback", "trap"];
/// A delivery that never comes.
const NEVER: u32 = 99;

/// Makes an actor send, and looks.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) caller: Caller,
    pub(super) judge: Arc<Judge>,
}

/// An actor of the run.
pub(super) fn actor(key: &str) -> ActorId {
    ActorId::new(MAIL.kind, key).unwrap()
}

impl Sender {
    /// Makes the actor `from` send a message.
    pub(super) async fn send(self, number: u64, sent: Sent) {
        let Sent { from, to, amount, sort, .. } = sent;
        let text = format!("{number}:{amount}");
        self.judge.sends(&text, sent);
        let alone = |method: &str, arguments: Json| {
            ("send", json!([MAIL.kind, to, method, arguments.to_string()]))
        };
        let (method, arguments) = match sort {
            Sort::Transfer => ("together", json!(["commit", to, text])),
            Sort::Never => {
                let end = self.caller.dice.below(ENDS.len() as u64);
                ("together", json!([ENDS[usize::try_from(end).unwrap()], to, text]))
            }
            Sort::Fails(0) => alone("fail", json!([text, NEVER])),
            Sort::Fails(until) => alone("fail", json!([text, until])),
            Sort::Echo => alone("answer", json!([text])),
        };
        self.caller.say(&format!("{from} sends {to} {text}: {sort:?}"));
        let Some(answer) = self.caller.call(&actor(from), method, arguments).await else { return };
        let fate = match answer {
            Ok(answered) => {
                let answer = answered.reply.to_json();
                let is_kept = answer.get("ok").is_some();
                if !is_kept {
                    self.caller.say(&format!("{from} refuses {text}: {answer}"));
                }
                if is_kept { Fate::Kept } else { Fate::Open }
            }
            Err(refusal) => {
                let fate = fate_of(&refusal);
                self.caller.say(&format!("{from} fails {text}: {fate:?}: {refusal}"));
                fate
            }
        };
        self.judge.reported(&text, fate);
    }

    /// Looks at what has arrived. Returns whether the guest answered.
    pub(super) async fn look(&self, key: &str) -> Option<Vec<Row>> {
        let began = self.judge.begin(key);
        let answer = self.caller.call(&actor(key), "received", json!([])).await?;
        let answer = match answer {
            Ok(answered) => answered.reply.to_json(),
            Err(refusal) => {
                self.caller.say(&format!("does not show {key}: {refusal}"));
                return None;
            }
        };
        let lines = answer.get("ok")?.as_array()?;
        let rows: Option<Vec<Row>> = lines.iter().map(|line| Row::read(line.as_str()?)).collect();
        let rows = rows.unwrap_or_default();
        self.judge.shown(key, began, &rows);
        Some(rows)
    }
}

/// What a refusal says of the transaction.
fn fate_of(refusal: &Refusal) -> Fate {
    match refusal.verdict() {
        None | Some(Verdict::NotCommitted) => Fate::NotKept,
        Some(Verdict::Committed) => Fate::Kept,
        Some(Verdict::Indeterminate) => Fate::Open,
    }
}
