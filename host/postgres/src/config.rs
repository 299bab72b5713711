//! How a store is opened, and why it is not.

use stockade_depot::StoreError;
use stockade_depot::store::embedded::Clock;

use crate::address::{AddressError, Password, PgAddress};
use crate::schema::SCHEMA_VERSION;
use crate::{committer, limits};

/// How a primary of a store works. Start from [`PgConfig::new`].
#[derive(Clone, Debug)]
pub struct PgConfig {
    /// Where the server is.
    pub address: PgAddress,
    /// Who signs in.
    pub password: Password,
    /// The primary's name. Needed if a store has several; a store that is made without is called
    /// [`limits::NAME`]. [`PgConfig::new`] takes it from the address (`name=`).
    pub name: Option<String>,
    /// Shards of a *new* store, 1 to [`limits::SHARDS_MAX`]; of several primaries the first one's
    /// counts. An existing store keeps its own.
    pub shards: u16,
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
            name: address.name().map(str::to_owned),
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
        asked: u16,
    },
    /// The list of primaries is empty, or longer than a store may have.
    #[error("a store has 1 to {} primaries, not {asked}", limits::PRIMARIES_MAX)]
    Primaries {
        /// How many there are.
        asked: usize,
    },
    /// One of several primaries has no name.
    #[error(
        "a store of several primaries needs a name in each address: add `name=NAME` to {server}"
    )]
    Unnamed {
        /// Hosts, ports and database.
        server: String,
    },
    /// Two primaries have one name.
    #[error("two primaries are called {name}: each needs a name of its own")]
    SameName {
        /// The name.
        name: String,
    },
    /// A primary was given another name when it was made.
    #[error("the primary in {server} is called {recorded}, not {asked}")]
    OtherName {
        /// Hosts, ports and database.
        server: String,
        /// What it is called.
        recorded: String,
        /// What the address says.
        asked: String,
    },
    /// Primaries in the list belong to different stores.
    #[error("{server} belongs to another store than {other}")]
    OtherStore {
        /// Hosts, ports and database of one.
        server: String,
        /// Those of the other.
        other: String,
    },
    /// The primary that keeps what all share is not in the list.
    #[error("the primary {root} is missing in the list: it keeps kinds, components and nodes")]
    NoRoot {
        /// Its name.
        root: String,
    },
    /// A primary that keeps a shard is not in the list.
    #[error("the primary {name} is missing in the list: it keeps shard {shard}")]
    Unlisted {
        /// Its name.
        name: String,
        /// A shard that it keeps.
        shard: u16,
    },
    /// A primary's database is empty, or another than the one that is part of the store.
    #[error(
        "{server} is not the database of the primary {name}: that was made before, and this one is \
         empty or another one"
    )]
    Lost {
        /// Hosts, ports and database.
        server: String,
        /// The primary.
        name: String,
    },
    /// The schema is of a later program.
    #[error(
        "the store's schema has version {found}, this program ({}) serves version {}: run stockade \
         {program} or a later one",
        env!("CARGO_PKG_VERSION"),
        SCHEMA_VERSION
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
