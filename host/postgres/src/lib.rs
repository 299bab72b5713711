//! The store on the PostgreSQL wire: the depot's schema in a database server that many machines share.
//!
//! ```text
//!  store     PgStores: open, close; steps: the depot's traits; opening: a list of primaries becomes a store
//!  route     which primary a step is sent to, and where it is sent on;  map   where shards are believed to be
//!  listing, many   steps that are about several shards;  place   where a shard is, as a primary says
//!  primary   one server
//!  ownership, pages, history, retention, import, directory, cluster   one file per part of the store
//!  along     pages that came with a takeover
//!  committer commits of many actors in one statement;  group  one such group;  commit  one commit's columns
//!  link      steps: deadlines, retries, and the outcome that is known of them
//!  exchange  one statement on one connection;  echo   what was read counts once a write after it was acknowledged by the same server
//!  pool, aside, connection, tls, address   how the server is reached
//!  mover     moves a shard to another primary, while its actors are in use
//!  schema, sql, rows, failure, refusal   what is kept there, what is sent, what comes back
//! ```
//! Invariants:
//! - P1: the fence is a condition in the statement that writes. Nothing rests on a lock that outlives
//!   its transaction, on session state, or on news from the server.
//! - P2: a write whose answer did not come, came with a warning, or came as 40003 is `Unknown`.
//! - P3: a connection on which a statement was given up is closed, never used again. Of a read only its
//!   answer is waited for: it wrote nothing.
//! - P4: what a step answers from rows that it read is proved on the connection that read them.
//! - P5: no text holds the password: no address, error, log line or `Debug`.
//! - P6: no primary says that something is absent, and none makes anything, of a shard that it has not
//!   got, by its own row of the shard in the same snapshot. Maps elsewhere are hints.
//!
//! What every store must do is stated in the contract suite of `stockade-depot`, which runs on this
//! one as well. Rules of `docs/protocol.md`: D1 to D6, D10, D12, D13.

mod address;
mod along;
mod aside;
mod cluster;
mod commit;
mod committer;
mod config;
mod connection;
mod directory;
mod due;
mod echo;
mod exchange;
mod failure;
mod group;
mod history;
mod import;
pub mod limits;
mod link;
mod listing;
mod many;
mod map;
mod mover;
mod opening;
mod ownership;
mod pages;
mod place;
mod pool;
mod primary;
mod refusal;
mod retention;
mod route;
mod rows;
mod schema;
mod sql;
mod steps;
mod store;
mod tls;

pub use address::{AddressError, Password, PasswordError, PgAddress, Security};
pub use config::{OpenPgError, PgConfig};
pub use mover::{MoveError, MoveStep, Moved, Progress};
pub use opening::Found;
pub use place::{ShardRow, ShardState};
pub use schema::SCHEMA_VERSION;
pub use store::PgStores;
