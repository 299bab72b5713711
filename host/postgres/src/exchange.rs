//! A statement on one connection: its deadline, and what is known of its outcome.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Error;

use crate::connection::{Connection, Params};
use crate::failure::{Failure, Sent, Stop};
use crate::rows::Row;

/// Waits for an answer, no longer than `deadline`.
pub(crate) async fn answer<T>(
    deadline: Duration,
    sent: Sent,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Stop> {
    match timeout(deadline, statement).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Stop::Failed(Failure::of(&error), sent)),
        Err(_) => {
            let what = format!("no answer in {} s", deadline.as_secs_f32());
            Err(Stop::Failed(Failure::Lost(what), sent))
        }
    }
}

/// Success that came with a warning is none: the server gave up waiting for its standby.
pub(crate) fn unless_warned<T>(
    connection: &Connection,
    before: u64,
    sent: Sent,
    answer: T,
) -> Result<T, Stop> {
    if connection.warnings() == before {
        return Ok(answer);
    }
    let what = "the server warned of the commit: its standby may not have it".into();
    Err(Stop::Failed(Failure::Lost(what), sent))
}

/// One statement that writes, on this connection.
pub(crate) async fn write_on(
    connection: &Connection,
    deadline: Duration,
    sql: &'static str,
    params: Params<'_>,
) -> Result<Vec<Row>, Stop> {
    let statement = answer(deadline, Sent::Harmless, connection.prepared(sql)).await?;
    let before = connection.warnings();
    let rows = answer(deadline, Sent::Write, connection.send(&statement, params)).await?;
    unless_warned(connection, before, Sent::Write, rows)
}
