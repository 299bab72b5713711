//! What operators ask of one actor: each order is carried out by the process that owns the actor.
//!
//! ```text
//!  operators' listener ── token checked ──> forward/orders.rs ─┬─ here ──> carry_out
//!                                                              └─ peers' listener of the owner
//!                                                                     └──> carry_out
//! ```
//! Invariant: only two routes lead here, and neither is a caller's: that of operators, whose token
//! was checked, and that of a peer, whose certificate was.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use stockade_depot::ActorId;

use super::reply::{Refusal, with_commit};
use super::{Gateway, arguments, floor, json as told};
use stockade::AlarmOrder;
use stockade::error::Code;
use stockade::host::SqlRequest;

/// What an operator asks of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// What is known of it.
    Info,
    /// End its generation in order; the next call starts a new one.
    Stop,
    /// Forget its crashes; the next call starts a generation immediately.
    Reset,
    /// Destroy it and everything it has stored.
    Destroy,
    /// Run SQL through its live session; read-only unless asked. Never creates an actor.
    Sql,
    /// Its alarms, without waking it.
    Alarms,
    /// Run an alarm again that is parked, waits for its next try or is off, or all of them.
    RetryAlarms,
    /// Remove an alarm.
    DropAlarm,
    /// Make it fail on purpose, if the host allows faults.
    Fault,
    /// Clear the faults that have not fired.
    ClearFaults,
}

impl Order {
    /// Every order with its name between processes.
    const NAMES: [(Self, &'static str); 10] = [
        (Self::Info, "info"),
        (Self::Stop, "stop"),
        (Self::Reset, "reset"),
        (Self::Destroy, "destroy"),
        (Self::Sql, "sql"),
        (Self::Alarms, "alarms"),
        (Self::RetryAlarms, "retry-alarms"),
        (Self::DropAlarm, "drop-alarm"),
        (Self::Fault, "fault"),
        (Self::ClearFaults, "clear-faults"),
    ];

    /// Its name between processes.
    pub(super) fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(order, _)| *order == self);
        found.map(|(_, name)| *name).expect("BUG: every order has a name")
    }

    /// The order of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(order, _)| *order)
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
        Order::Fault => {
            if !arguments::is_of_type(headers, "application/json") {
                return Err(arguments::not_of_type("a fault is sent as application/json"));
            }
            let fault = serde_json::from_slice(body)
                .map_err(|error| Refusal::new(Code::InvalidBody, error.to_string()))?;
            let report = handle.fault(fault).await?;
            told::fault_report(actor, &fault, &report)
        }
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
    if body.is_empty() {
        return Ok(Named::default());
    }
    if !arguments::is_of_type(headers, "application/json") {
        return Err(arguments::not_of_type("the name of an alarm is sent as application/json"));
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
