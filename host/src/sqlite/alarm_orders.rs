//! What operators ask of an actor's alarms. The answers have the form of rows, as of their statements.

use super::alarms::{Alarm, SWITCH_ON};
use super::connection::Connection;
use super::error::SqlError;
use super::keeper::text;
use super::operator::OperatorRows;
use super::value::Value;
use crate::limits::ALARMS_MAX;
use crate::schedule::Schedule;

/// What an operator asks of an actor's alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlarmOrder {
    /// Show all of them.
    List,
    /// Run one again that is parked, waits for its next try, or is off, or all such ones: no earlier
    /// than it is due, and with all of its tries.
    Retry {
        /// The name; `None`: all.
        name: Option<String>,
    },
    /// Remove one.
    Drop {
        /// The name.
        name: String,
    },
}

const COLUMNS: [&str; 7] =
    ["name", "schedule", "state", "next_ms", "attempts", "error", "payload_bytes"];

impl Connection {
    /// Carries an order out. Returns the alarms as they are then, and how many were changed.
    ///
    /// # Errors
    /// As for a statement.
    pub fn order_alarms(&mut self, order: &AlarmOrder, now: i64) -> Result<OperatorRows, SqlError> {
        let changes = match order {
            AlarmOrder::List => 0,
            AlarmOrder::Retry { name } => self.retry_alarms(name.as_deref(), now)?,
            AlarmOrder::Drop { name } => u64::from(self.cancel_alarm(name)?),
        };
        let alarms = self.alarms("", ALARMS_MAX)?;
        Ok(OperatorRows {
            columns: COLUMNS.map(str::to_owned).to_vec(),
            rows: alarms.iter().map(shown).collect(),
            changes,
            more: false,
        })
    }

    fn retry_alarms(&mut self, name: Option<&str>, now: i64) -> Result<u64, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_alarms()? {
                return Ok(0);
            }
            core.in_transaction(|core| {
                let runner = &core.runner;
                let names: Vec<String> = match name {
                    Some(name) => vec![name.to_owned()],
                    None => {
                        let all = runner.list_alarms("", ALARMS_MAX)?;
                        all.into_iter().map(|alarm| alarm.name).collect()
                    }
                };
                let mut changes = 0;
                for name in names {
                    let number = Value::Integer(runner.next_number());
                    let values = [text(&name), number, runner.own_db(), Value::Integer(now)];
                    changes += runner.change_due(SWITCH_ON, &values)?.len() as u64;
                }
                Ok(changes)
            })
        })
    }
}

fn shown(alarm: &Alarm) -> Vec<Value> {
    let schedule = match &alarm.schedule {
        Schedule::Once => "once".to_owned(),
        Schedule::Every(period) => format!("every {period} ms"),
        Schedule::Cron { expression, zone } => format!("cron {expression} ({zone})"),
    };
    let state = match alarm.next {
        _ if !alarm.on => "off",
        None => "parked",
        Some(_) => "waits",
    };
    vec![
        text(&alarm.name),
        Value::Text(schedule),
        text(state),
        alarm.next.map_or(Value::Null, Value::Integer),
        Value::Integer(alarm.attempts.into()),
        alarm.error.as_deref().map_or(Value::Null, text),
        Value::Integer(i64::try_from(alarm.payload_bytes).unwrap_or(i64::MAX)),
    ]
}
