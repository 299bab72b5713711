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

use stockade_depot::Shard;
use tokio::time::sleep;
use tokio_postgres::error::SqlState;

use crate::config::OpenPgError;
use crate::connection::{Connection, params};
use crate::limits::{SCHEMA_PAUSE, SCHEMA_TRIES_MAX, SHARDS_MAX};
use crate::place::Place;
use crate::rows::{self, Row};
use crate::sql::schema as sql;

/// The version of the schema that this program makes and serves.
pub const SCHEMA_VERSION: i32 = 4;
/// The first version whose programs ask a shard's row before they make an actor.
pub(crate) const MOVES_SINCE: i32 = 3;
/// From this version on a store may have several primaries.
const PRIMARIES_SINCE: i64 = 3;
/// What leads from each version to the next, the first one's first.
const CONVERSIONS: [&[&str]; SCHEMA_VERSION as usize - 1] = [&sql::TO_2, &sql::TO_3, &sql::TO_4];

/// Which primary of which store a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The store's id.
    pub(crate) store: [u8; 16],
    /// The primary's own.
    pub(crate) own: [u8; 16],
    pub(crate) name: String,
    /// The primary that keeps what all share.
    pub(crate) root: String,
    pub(crate) shards: u16,
}

/// What an empty database is made to.
pub(crate) struct Plan {
    pub(crate) identity: Identity,
    /// One for each shard.
    pub(crate) rows: Vec<(Shard, Place)>,
}

/// Converts the schema, if there is one of an earlier version: that is a store by itself, whose only
/// primary is called `name` from then on. `None`: there is none.
pub(crate) async fn settle(
    connection: &Connection,
    name: &str,
) -> Result<Option<Identity>, OpenPgError> {
    for tried in 1.. {
        match try_settle(connection, name).await {
            Err(OpenPgError::Server(error)) if is_race(&error) && tried < SCHEMA_TRIES_MAX => {
                sleep(SCHEMA_PAUSE).await;
            }
            done => return done,
        }
    }
    unreachable!("the last try returns")
}

async fn try_settle(connection: &Connection, name: &str) -> Result<Option<Identity>, OpenPgError> {
    loop {
        match version(connection).await? {
            Some((SCHEMA_VERSION, ..)) => return identity(connection).await.map(Some),
            Some((found, program, _)) if found > SCHEMA_VERSION => {
                return Err(OpenPgError::Newer { found, program });
            }
            Some((found, _, shards)) => convert(connection, found, shards, name).await?,
            None => return Ok(None),
        }
    }
}

/// Makes the schema as planned, or finds what another program has made in the meantime.
pub(crate) async fn make(connection: &Connection, plan: &Plan) -> Result<Identity, OpenPgError> {
    for tried in 1.. {
        let made = match create(connection, plan).await {
            Ok(()) => try_settle(connection, &plan.identity.name).await,
            Err(error) => Err(error),
        };
        match made {
            Err(OpenPgError::Server(error)) if is_race(&error) && tried < SCHEMA_TRIES_MAX => {
                sleep(SCHEMA_PAUSE).await;
            }
            Ok(Some(identity)) => return Ok(identity),
            Ok(None) => return Err(OpenPgError::Damaged),
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last try returns")
}

/// A random id.
pub(crate) fn random_id() -> Result<[u8; 16], OpenPgError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| OpenPgError::Random(error.to_string()))?;
    Ok(id)
}

/// Which primary of which store this is.
pub(crate) async fn identity(connection: &Connection) -> Result<Identity, OpenPgError> {
    let found = connection.rows(sql::IDENTITY, &[]).await.map_err(OpenPgError::Server)?;
    let read = |row: &Row| -> Option<Identity> {
        let id = |column| rows::blob(row, column).ok()?.try_into().ok();
        Some(Identity {
            shards: shards(row, 0)?,
            store: id(1)?,
            own: id(2)?,
            name: rows::text(row, 3).ok()??,
            root: rows::text(row, 4).ok()??,
        })
    };
    found.first().and_then(read).ok_or(OpenPgError::Damaged)
}

fn shards(row: &Row, column: usize) -> Option<u16> {
    let shards = u16::try_from(rows::number(row, column).ok()?).ok()?;
    (1..=SHARDS_MAX).contains(&shards).then_some(shards)
}

/// The version of the schema that is there, and the program that made it.
pub(crate) async fn found(connection: &Connection) -> Result<Option<(i32, String)>, OpenPgError> {
    Ok(version(connection).await?.map(|(version, program, _)| (version, program)))
}

/// Version, program and shards, if the schema is whole.
async fn version(connection: &Connection) -> Result<Option<(i32, String, u16)>, OpenPgError> {
    let found = match connection.rows(sql::VERSION, &[]).await {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        Err(error) => return Err(OpenPgError::Server(error)),
    };
    let Some(row) = found.first() else { return Ok(None) };
    let numbers = || {
        let version = i32::try_from(rows::number(row, 0).ok()?).ok()?;
        Some((version, rows::text(row, 1).ok()??, shards(row, 2)?))
    };
    numbers().map(Some).ok_or(OpenPgError::Damaged)
}

async fn create(connection: &Connection, plan: &Plan) -> Result<(), OpenPgError> {
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
    let Plan { identity, rows } = plan;
    let (version, shards) = (i64::from(SCHEMA_VERSION), i64::from(identity.shards));
    let (mut numbers, mut states, mut peers, mut versions) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (shard, place) in rows {
        numbers.push(i64::from(shard.0));
        states.push(place.state.to_sql());
        peers.push(place.peer.as_deref());
        versions.push(rows::to_sql(place.version).map_err(OpenPgError::Row)?);
    }
    let row = params![
        version,
        env!("CARGO_PKG_VERSION"),
        shards,
        &identity.store[..],
        &identity.own[..],
        identity.name,
        identity.root,
        numbers,
        states,
        peers,
        versions,
    ];
    connection.execute(sql::VERSION_PUT, row).await.map(drop).map_err(OpenPgError::Server)
}

async fn convert(
    connection: &Connection,
    from: i32,
    shards: u16,
    name: &str,
) -> Result<(), OpenPgError> {
    let at = usize::try_from(from - 1).map_err(|_| OpenPgError::Damaged)?;
    for statement in CONVERSIONS.get(at).copied().ok_or(OpenPgError::Damaged)? {
        connection.simple(statement).await.map_err(OpenPgError::Server)?;
    }
    let (from, to) = (i64::from(from), i64::from(from + 1));
    let program = env!("CARGO_PKG_VERSION");
    if to == PRIMARIES_SINCE {
        let (store, own) = (random_id()?, random_id()?);
        let numbers: Vec<i64> = Shard::all(shards).map(|shard| i64::from(shard.0)).collect();
        let row = params![from, to, program, &store[..], &own[..], name, numbers];
        let raised = connection.execute(sql::VERSION_RAISE_3, row).await;
        return raised.map(drop).map_err(OpenPgError::Server);
    }
    let row = params![from, to, program];
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
