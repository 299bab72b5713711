//! What operators ask of one actor: each order is carried out by the process that owns the actor.
//!
//! ```text
//!  operators' listener ── token checked ──> forward/orders.rs ─┬─ here ──> carry_out
//!                                                              └─ peers' listener of the owner
//!                                                                     └──> carry_out
//! ```
//! Invariant: what operators ask comes by two routes: theirs, whose token was checked, and that of a
//! peer, whose certificate was. Of what callers ask, only the question for an outcome comes here, by
//! `outcomes.rs`.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use stockade_depot::ActorId;

use super::reply::{Refusal, with_commit};
use super::{Gateway, arguments, floor, json as told, outcomes};
use crate::peers::Protocol;
use stockade::error::Code;
use stockade::host::SqlRequest;
use stockade::{AlarmOrder, MessageOrder};

/// What an operator asks of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// What is known of it.
    Info,
    /// End its generation in order; the next call starts a new one.
    Stop,
    /// Forget its crashes; the next call starts a generation immediately.
    Reset,
    /// Destroy it and everything it has stored, unless it has sent what is not received.
    Destroy,
    /// Destroy it whatever it has sent.
    DestroyWithOutbox,
    /// Run SQL through its live session; read-only unless asked. Never creates an actor.
    Sql,
    /// Its alarms, without waking it.
    Alarms,
    /// Run an alarm again that is parked, waits for its next try or is off, or all of them.
    RetryAlarms,
    /// Remove an alarm.
    DropAlarm,
    /// Its messages, without waking it.
    Messages,
    /// Have a message delivered or run again, or all of them.
    RetryMessages,
    /// Remove a message.
    DropMessage,
    /// Make it fail on purpose, if the host allows faults.
    Fault,
    /// Clear the faults that have not fired.
    ClearFaults,
    /// What became of a call: a caller's question. It may have the call refused from now on.
    Outcome,
}

impl Order {
    /// Every order with its name between processes.
    const NAMES: [(Self, &'static str); 15] = [
        (Self::Info, "info"),
        (Self::Stop, "stop"),
        (Self::Reset, "reset"),
        (Self::Destroy, "destroy"),
        (Self::DestroyWithOutbox, "destroy-with-outbox"),
        (Self::Sql, "sql"),
        (Self::Alarms, "alarms"),
        (Self::RetryAlarms, "retry-alarms"),
        (Self::DropAlarm, "drop-alarm"),
        (Self::Messages, "messages"),
        (Self::RetryMessages, "retry-messages"),
        (Self::DropMessage, "drop-message"),
        (Self::Fault, "fault"),
        (Self::ClearFaults, "clear-faults"),
        (Self::Outcome, "outcome"),
    ];

    /// Whether it waits for an owner that is out of reach, as calls of actors do.
    pub(super) fn waits_for_its_owner(self) -> bool {
        self == Self::Outcome
    }

    /// Its name between processes.
    pub(super) fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(order, _)| *order == self);
        found.map(|(_, name)| *name).expect("BUG: every order has a name")
    }

    /// The order of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(order, _)| *order)
    }

    /// The first version of the protocol between processes that has it.
    pub(super) fn since(self) -> Protocol {
        match self {
            Self::Outcome => Protocol::Records,
            Self::Messages | Self::RetryMessages | Self::DropMessage | Self::DestroyWithOutbox => {
                Protocol::Messages
            }
            _ => Protocol::Orders,
        }
    }

    /// Whether it changes nothing, so that it may be given again when its outcome is unknown.
    pub(super) fn only_looks(self) -> bool {
        matches!(self, Self::Info)
    }
}

/// Carries an order out in this process.
pub(super) async fn carry_out(
    gateway: &Gateway,
    order: Order,
    actor: &ActorId,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Refusal> {
    let handle = gateway.host.actor(actor);
    let document = match order {
        Order::Info => told::actor(&handle.info().await?),
        Order::Stop => {
            let exit = handle.stop().await?;
            json!({
                "actor": actor.to_string(),
                "was_awake": exit.is_some(),
                "exit": exit.as_ref().map(told::exit),
            })
        }
        Order::Reset => {
            handle.reset().await?;
            json!({ "actor": actor.to_string(), "reset": true })
        }
        Order::Destroy => {
            handle.destroy().await?;
            json!({ "actor": actor.to_string(), "destroyed": true })
        }
        Order::DestroyWithOutbox => {
            handle.destroy_with_outbox().await?;
            json!({ "actor": actor.to_string(), "destroyed": true })
        }
        Order::Sql => return sql(gateway, actor, headers, body).await,
        Order::Alarms => told::alarms(actor, &handle.order_alarms(AlarmOrder::List).await?),
        Order::RetryAlarms => {
            let Named { name } = named(headers, body)?;
            told::alarms(actor, &handle.order_alarms(AlarmOrder::Retry { name }).await?)
        }
        Order::DropAlarm => {
            let Named { name } = named(headers, body)?;
            let name = name.ok_or_else(|| {
                Refusal::new(Code::InvalidBody, "the alarm to remove needs a name")
            })?;
            told::alarms(actor, &handle.order_alarms(AlarmOrder::Drop { name }).await?)
        }
        Order::Messages => told::messages(actor, &handle.order_messages(MessageOrder::List).await?),
        Order::RetryMessages => {
            let Identified { id } = identified(headers, body)?;
            told::messages(actor, &handle.order_messages(MessageOrder::Retry { id }).await?)
        }
        Order::DropMessage => {
            let Identified { id } = identified(headers, body)?;
            let id = id.ok_or_else(|| {
                Refusal::new(Code::InvalidBody, "the message to remove needs an id")
            })?;
            told::messages(actor, &handle.order_messages(MessageOrder::Drop { id }).await?)
        }
        Order::Fault => {
            if !arguments::is_of_type(headers, "application/json") {
                return Err(arguments::not_of_type("a fault is sent as application/json"));
            }
            let fault = serde_json::from_slice(body)
                .map_err(|error| Refusal::new(Code::InvalidBody, error.to_string()))?;
            let report = handle.fault(fault).await?;
            told::fault_report(actor, &fault, &report)
        }
        Order::Outcome => return outcomes::told(gateway, actor, body).await,
        Order::ClearFaults => {
            let cleared = handle.clear_faults().await?;
            let cleared: Vec<Json> = cleared.iter().map(told::fault_on_purpose).collect();
            json!({ "actor": actor.to_string(), "cleared": cleared })
        }
    };
    Ok(axum::Json(document).into_response())
}

/// Which alarm is meant.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Its name; without it all of them.
    name: Option<String>,
}

fn named(headers: &HeaderMap, body: &Bytes) -> Result<Named, Refusal> {
    which(headers, body, "the name of an alarm is sent as application/json")
}

/// Which message is meant.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identified {
    /// Its id; without it all of them.
    id: Option<String>,
}

fn identified(headers: &HeaderMap, body: &Bytes) -> Result<Identified, Refusal> {
    which(headers, body, "the id of a message is sent as application/json")
}

/// What a body says; without one the default.
fn which<T: Default + for<'a> Deserialize<'a>>(
    headers: &HeaderMap,
    body: &Bytes,
    otherwise: &str,
) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    if !arguments::is_of_type(headers, "application/json") {
        return Err(arguments::not_of_type(otherwise));
    }
    serde_json::from_slice(body).map_err(|error| Refusal::new(Code::InvalidBody, error.to_string()))
}

/// An operator's statements.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlBody {
    /// One statement or several.
    sql: String,
    /// Parameters of the last statement, by position.
    #[serde(default)]
    parameters: Vec<Json>,
    /// Whether the statements may write.
    #[serde(default)]
    write: bool,
    /// The most rows in the answer.
    rows_max: Option<u64>,
}

async fn sql(
    gateway: &Gateway,
    actor: &ActorId,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Refusal> {
    if !arguments::is_of_type(headers, "application/json") {
        return Err(arguments::not_of_type("statements are sent as application/json"));
    }
    let floor = floor::of(headers)?;
    let SqlBody { sql, parameters, write, rows_max } = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(Code::InvalidBody, error.to_string()))?;
    let parameters = told::sql_parameters(&parameters)?;
    let rows_max = rows_max.map(|max| max.min(gateway.limits.admin_rows_max));
    let request = SqlRequest { sql, parameters, write, rows_max };
    let reply = gateway.host.actor(actor).at_least(floor).sql(request).await?;
    let mut response = axum::Json(told::sql_reply(&reply)).into_response();
    with_commit(&mut response, reply.generation, reply.txid);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_found_by_its_name() {
        for (order, name) in Order::NAMES {
            assert_eq!((order.name(), Order::named(name)), (name, Some(order)));
        }
        assert_eq!(Order::named("increment"), None);
    }

    /// An order that may have been carried out is given again only if it changes nothing.
    #[test]
    fn only_looks_are_repeated() {
        let repeated = Order::NAMES.iter().filter(|(order, _)| order.only_looks());
        assert_eq!(repeated.map(|(order, _)| *order).collect::<Vec<_>>(), [Order::Info]);
    }
}
