//! The schema is made, converted, or refused.
//!
//! ```text
//! no row in stockade_schema    every CREATE, each by itself, each harmless twice; the row comes last
//! an older version             its conversion, likewise; the row is raised last
//! this version                 served
//! a newer version              refused, with the program that made it
//! ```
//! Two programs that do this at the same time meet in the server's own catalogue: one of them is refused a
//! statement, pauses, and finds what the other has made.

use tokio::time::sleep;
use tokio_postgres::error::SqlState;

use crate::connection::{Connection, params};
use crate::limits::{SCHEMA_PAUSE, SCHEMA_TRIES_MAX};
use crate::rows;
use crate::sql::schema as sql;
use crate::store::OpenPgError;

/// The version of the schema that this program makes and serves.
pub const SCHEMA_VERSION: i32 = 2;
/// What leads from each version to the next, the first one's first.
const CONVERSIONS: [&[&str]; SCHEMA_VERSION as usize - 1] = [&sql::TO_2];

/// Makes or converts the schema. Returns the store's number of shards.
pub(crate) async fn prepare(connection: &Connection, shards: u8) -> Result<u8, OpenPgError> {
    for tried in 1.. {
        match try_prepare(connection, shards).await {
            Err(OpenPgError::Server(error)) if is_race(&error) && tried < SCHEMA_TRIES_MAX => {
                sleep(SCHEMA_PAUSE).await;
            }
            done => return done,
        }
    }
    unreachable!("the last try returns")
}

async fn try_prepare(connection: &Connection, shards: u8) -> Result<u8, OpenPgError> {
    loop {
        match version(connection).await? {
            Some((SCHEMA_VERSION, _, found)) => return Ok(found),
            Some((found, program, _)) if found > SCHEMA_VERSION => {
                return Err(OpenPgError::Newer { found, program });
            }
            Some((found, ..)) => convert(connection, found).await?,
            None => create(connection, shards).await?,
        }
    }
}

/// The version of the schema that is there, and the program that made it.
pub(crate) async fn found(connection: &Connection) -> Result<Option<(i32, String)>, OpenPgError> {
    Ok(version(connection).await?.map(|(version, program, _)| (version, program)))
}

/// Version, program and shards, if the schema is whole.
async fn version(connection: &Connection) -> Result<Option<(i32, String, u8)>, OpenPgError> {
    let found = match connection.rows(sql::VERSION, &[]).await {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        Err(error) => return Err(OpenPgError::Server(error)),
    };
    let Some(row) = found.first() else { return Ok(None) };
    let numbers = || {
        let version = i32::try_from(rows::number(row, 0).ok()?).ok()?;
        let shards = u8::try_from(rows::number(row, 2).ok()?).ok().filter(|count| *count > 0)?;
        Some((version, rows::text(row, 1).ok()??, shards))
    };
    numbers().map(Some).ok_or(OpenPgError::Damaged)
}

async fn create(connection: &Connection, shards: u8) -> Result<(), OpenPgError> {
    for statement in sql::CREATE {
        connection.simple(statement).await.map_err(OpenPgError::Server)?;
    }
    for statement in sql::TUNING {
        match connection.simple(statement).await {
            Ok(()) => {}
            Err(error) if is_race(&error) || error.as_db_error().is_none() => {
                return Err(OpenPgError::Server(error));
            }
            Err(error) => {
                tracing::info!(statement, error = crate::failure::text(&error), "not tuned");
            }
        }
    }
    let (version, shards) = (i64::from(SCHEMA_VERSION), i64::from(shards));
    let row = params![version, env!("CARGO_PKG_VERSION"), shards];
    connection.execute(sql::VERSION_PUT, row).await.map(drop).map_err(OpenPgError::Server)
}

async fn convert(connection: &Connection, from: i32) -> Result<(), OpenPgError> {
    let at = usize::try_from(from - 1).map_err(|_| OpenPgError::Damaged)?;
    for statement in CONVERSIONS.get(at).copied().ok_or(OpenPgError::Damaged)? {
        connection.simple(statement).await.map_err(OpenPgError::Server)?;
    }
    let row = params![i64::from(from), i64::from(from + 1), env!("CARGO_PKG_VERSION")];
    connection.execute(sql::VERSION_RAISE, row).await.map(drop).map_err(OpenPgError::Server)
}

/// Whether another program that makes the same is in the way: its rows of the catalogue, or what it
/// has just made.
fn is_race(error: &tokio_postgres::Error) -> bool {
    let codes = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::DUPLICATE_COLUMN,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // A row of the catalogue that two update together has no code of its own.
        SqlState::INTERNAL_ERROR,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}
