//! What was read counts once a write that came after it was acknowledged, by the same server.
//!
//! ```text
//! one connection:   look ─► echo: one small row written ─► both answered: the look counts
//!                     └──────────┴─ lost, late or warned of: both again, on another connection
//! ```
//! A server that came back from a crash shows commits that no standby has, and a primary whose
//! standby was promoted shows owners that were replaced since. Neither acknowledges the echo: its
//! standby does not follow. A connection is one to the same server as long as it lives.
//!
//! Invariants:
//! - every step that answers from what it read, and not from what it wrote, comes through
//!   [`look_on`] or [`prove_on`]: confirmations, verdicts, absent actors, refusals, steps that found
//!   nothing to change;
//! - look and echo share a connection; neither is repeated without the other.
//!
//! Echoes are for servers with a standby. Without one no other server can disagree.

use std::time::Duration;

use crate::connection::{Connection, Params, params};
use crate::exchange::{answer, unless_warned, write_on};
use crate::failure::{Sent, Stop};
use crate::limits::{LOOK_DEADLINE, WRITE_DEADLINE};
use crate::rows::Row;
use crate::sql::cluster::ECHO;

/// A statement with its values.
pub(crate) type Asked<'a> = (&'static str, Params<'a>);

/// What became of a write that may change nothing.
pub(crate) enum Wrote {
    /// It was applied: its first row.
    Row(Row),
    /// It changed nothing; what the look after it has found.
    Nothing(Option<Row>),
}

/// Rows of a statement that writes nothing, and the echo behind it, in one flight.
pub(crate) async fn look_on(
    connection: &Connection,
    (sql, params): Asked<'_>,
) -> Result<Vec<Row>, Stop> {
    let look = answer(LOOK_DEADLINE, Sent::Look, connection.prepared(sql)).await?;
    if !connection.has_standby() {
        return answer(LOOK_DEADLINE, Sent::Look, connection.send(&look, params)).await;
    }
    let echo = answer(LOOK_DEADLINE, Sent::Look, connection.prepared(ECHO)).await?;
    let before = connection.warnings();
    let row = params![&connection.echo_row()[..]];
    let flight = async {
        let (rows, echoed) = tokio::join!(
            biased;
            connection.send(&look, params),
            connection.send_counted(&echo, row)
        );
        echoed.and(rows)
    };
    let rows = answer(LOOK_DEADLINE, Sent::Look, flight).await?;
    unless_warned(connection, before, Sent::Look, rows)
}

/// Proves what was read on this connection before.
pub(crate) async fn prove_on(connection: &Connection) -> Result<(), Stop> {
    if !connection.has_standby() {
        return Ok(());
    }
    let echo = answer(LOOK_DEADLINE, Sent::Look, connection.prepared(ECHO)).await?;
    let before = connection.warnings();
    let row = params![&connection.echo_row()[..]];
    answer(LOOK_DEADLINE, Sent::Look, connection.send_counted(&echo, row)).await?;
    unless_warned(connection, before, Sent::Look, ())
}

/// One statement that writes, a transaction by itself, or the look that tells why it changed
/// nothing.
pub(crate) async fn write_or_look_on(
    connection: &Connection,
    write: Asked<'_>,
    look: Asked<'_>,
) -> Result<Wrote, Stop> {
    let rows = write_on(connection, WRITE_DEADLINE, write.0, write.1).await?;
    match rows.into_iter().next() {
        Some(row) => Ok(Wrote::Row(row)),
        None => Ok(Wrote::Nothing(look_on(connection, look).await?.into_iter().next())),
    }
}

/// How many rows one statement has changed, a transaction by itself. None is what it has read.
pub(crate) async fn change_on(
    connection: &Connection,
    deadline: Duration,
    (sql, params): Asked<'_>,
) -> Result<u64, Stop> {
    let statement = answer(deadline, Sent::Harmless, connection.prepared(sql)).await?;
    let before = connection.warnings();
    let sent = connection.send_counted(&statement, params);
    let changed = answer(deadline, Sent::Write, sent).await?;
    let changed = unless_warned(connection, before, Sent::Write, changed)?;
    if changed == 0 {
        prove_on(connection).await?;
    }
    Ok(changed)
}
