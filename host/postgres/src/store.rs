//! The store: opened, closed, and what its parts share.

use std::fmt;
use std::sync::Arc;

use stockade_depot::StoreError;
use stockade_depot::store::NodeRow;
use stockade_depot::store::embedded::{Ages, Clock};
use tokio::time::timeout;

use crate::address::{AddressError, Password, PgAddress};
use crate::along::Along;
use crate::committer::Committers;
use crate::connection::{Connection, Connector, NotConnected};
use crate::link::Link;
use crate::pool::Connections;
use crate::rows;
use crate::sql::cluster::NODES;
use crate::{committer, limits, schema};

/// How a store on a server works. Start from [`PgConfig::new`].
#[derive(Clone, Debug)]
pub struct PgConfig {
    /// Where the server is.
    pub address: PgAddress,
    /// Who signs in.
    pub password: Password,
    /// Shards of a *new* store, 1 to [`limits::SHARDS_MAX`]. An existing one keeps its own.
    pub shards: u8,
    /// Most connections beside those of the committers.
    pub connections: usize,
    /// Connections that write groups of commits.
    pub committers: usize,
    /// Whether the server has a synchronous standby. Then what is answered from rows that were read,
    /// as a confirmation or a verdict, is given only once a small write that came after the look is on
    /// the standby as well: a server that came back from a crash shows commits that no standby has,
    /// and one whose standby was promoted shows owners that were replaced. [`PgConfig::new`] takes it
    /// from the address (`standby=yes`).
    pub has_standby: bool,
    /// The clock of labels and ages.
    pub clock: Clock,
}

impl PgConfig {
    /// The defaults.
    #[must_use]
    pub fn new(address: PgAddress, password: Password) -> Self {
        Self {
            has_standby: address.has_standby(),
            address,
            password,
            shards: limits::SHARDS,
            connections: limits::CONNECTIONS,
            committers: committer::DEFAULT,
            clock: Clock::system(),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenPgError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No server could be reached, or none that writes, or it refused the sign-in.
    #[error("connect to {server}: {what}")]
    Connect {
        /// Hosts, ports and database.
        server: String,
        /// Why.
        what: String,
    },
    /// The number of shards is none that a store may have.
    #[error("a store has 1 to {} shards, not {asked}", limits::SHARDS_MAX)]
    Shards {
        /// What was asked for.
        asked: u8,
    },
    /// The schema is of a later program.
    #[error(
        "the store's schema has version {found}, this program ({}) serves version {}: run stockade \
         {program} or a later one",
        env!("CARGO_PKG_VERSION"),
        schema::SCHEMA_VERSION
    )]
    Newer {
        /// What is there.
        found: i32,
        /// The version of the program that made it.
        program: String,
    },
    /// The server was reached, and did not answer in time while the schema was looked at, made or
    /// converted.
    #[error("the schema in {server} was not ready within {} s", limits::OPEN_DEADLINE.as_secs())]
    Late {
        /// Hosts, ports and database.
        server: String,
    },
    /// A row that a look needs is damaged, or of a later program.
    #[error("{0}")]
    Row(StoreError),
    /// The row that tells the schema's version makes no sense.
    #[error("the table stockade_schema is damaged, or not of this program")]
    Damaged,
    /// The server refused a statement.
    #[error("server: {}", crate::failure::text(.0))]
    Server(tokio_postgres::Error),
    /// The system gives no random bytes.
    #[error("random bytes: {0}")]
    Random(String),
}

/// A store in a PostgreSQL server, or in one that speaks its wire.
pub struct PgStore {
    pub(crate) link: Arc<Link>,
    pub(crate) committers: Committers,
    pub(crate) along: Along,
    pub(crate) ages: Ages,
    pub(crate) clock: Clock,
    pub(crate) shards: u8,
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgStore({})", self.link.server())
    }
}

impl PgStore {
    /// Opens the store, and makes its schema if there is none. Its connections live on the runtime
    /// that this is called on. Takes at most [`limits::CONNECT_DEADLINE`] for each host of the
    /// address, and [`limits::OPEN_DEADLINE`] for the schema.
    ///
    /// # Errors
    /// If no server can be reached that writes, or its schema cannot be served.
    pub async fn open(config: &PgConfig) -> Result<Self, OpenPgError> {
        if config.shards == 0 || config.shards > limits::SHARDS_MAX {
            return Err(OpenPgError::Shards { asked: config.shards });
        }
        let (connector, connection) = connect(config).await?;
        let server = config.address.to_string();
        let prepared = schema::prepare(&connection, config.shards);
        let shards = in_time(&server, prepared).await?;
        connection.done();
        let connections =
            Connections::new(connector.clone(), config.connections, server.clone()).map_err(
                |error| OpenPgError::Connect { server: server.clone(), what: error.to_string() },
            )?;
        let link = Arc::new(Link::new(connections, server));
        let committers = Committers::start(config.committers, &connector, &link, &config.clock);
        Ok(Self {
            link,
            committers,
            along: Along::default(),
            ages: Ages::new(config.clock.clone()),
            clock: config.clock.clone(),
            shards,
        })
    }

    /// Looks whether the store would be opened, and which processes are registered in it. Changes
    /// nothing, and makes no schema. Takes as long as [`PgStore::open`] at most.
    ///
    /// # Errors
    /// As [`PgStore::open`], but for a schema of a later program: that is an answer.
    pub async fn look(config: &PgConfig) -> Result<Found, OpenPgError> {
        let (_, connection) = connect(config).await?;
        in_time(&config.address.to_string(), look(&connection)).await
    }

    /// Finishes what was accepted, and refuses everything after.
    pub(crate) async fn end(&self) {
        self.committers.finish().await;
        self.link.close();
    }
}

/// What is found in a database that may hold a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version of the schema, and the program that made it; `None`: there is none, and the first
    /// start makes it.
    pub schema: Option<(i32, String)>,
    /// Processes that are registered, of a schema that this program serves.
    pub nodes: Vec<NodeRow>,
}

/// The first connection, and how others are made.
async fn connect(config: &PgConfig) -> Result<(Connector, Connection), OpenPgError> {
    let (security, tls) = (config.address.security(), config.address.tls()?);
    let hosts = config.address.hosts(&config.password);
    let connector = Connector::new(hosts, security, tls, config.has_standby)
        .map_err(|error| OpenPgError::Random(error.to_string()))?;
    let connection = connector.connect().await.map_err(|error| OpenPgError::Connect {
        server: config.address.to_string(),
        what: match error {
            NotConnected::Hosts(what) => what,
            NotConnected::Ending => "the process is going down".into(),
        },
    })?;
    Ok((connector, connection))
}

/// What becomes of `work` with the schema, if that is ready in time.
async fn in_time<T>(
    server: &str,
    work: impl Future<Output = Result<T, OpenPgError>>,
) -> Result<T, OpenPgError> {
    let late = || OpenPgError::Late { server: server.to_owned() };
    timeout(limits::OPEN_DEADLINE, work).await.unwrap_or_else(|_| Err(late()))
}

async fn look(connection: &Connection) -> Result<Found, OpenPgError> {
    let schema = schema::found(connection).await?;
    let is_served = schema.as_ref().is_some_and(|(version, _)| *version == schema::SCHEMA_VERSION);
    let nodes = if is_served {
        let rows = connection.rows(NODES, &[]).await.map_err(OpenPgError::Server)?;
        rows.iter().map(rows::node).collect::<Result<_, _>>().map_err(OpenPgError::Row)?
    } else {
        Vec::new()
    };
    Ok(Found { schema, nodes })
}
