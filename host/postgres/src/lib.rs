//! The store on the PostgreSQL wire: the depot's schema in a database server that many machines share.
//!
//! ```text
//!  store     PgStore: open, close; steps: the depot's traits, forwarded
//!  ownership, pages, history, retention, import, directory, cluster   one file per part of the store
//!  along     pages that came with a takeover
//!  committer commits of many actors in one statement;  commit  one commit's columns
//!  link      steps: deadlines, retries, and the outcome that is known of them
//!  exchange  one statement on one connection;  echo   what was read counts once a write after it was acknowledged by the same server
//!  pool, connection, tls, address   how the server is reached
//!  schema, sql, rows, failure, refusal   what is kept there, what is sent, what comes back
//! ```
//! Invariants:
//! - P1: the fence is a condition in the statement that writes. Nothing rests on a lock that outlives
//!   its transaction, on session state, or on news from the server.
//! - P2: a write whose answer did not come, came with a warning, or came as 40003 is `Unknown`.
//! - P3: a connection on which a statement was given up is closed, never used again.
//! - P4: what a step answers from rows that it read is proved on the connection that read them.
//! - P5: no text holds the password: no address, error, log line or `Debug`.
//!
//! What every store must do is stated in the contract suite of `stockade-depot`, which runs on this
//! one as well. Rules of `docs/protocol.md`: D1 to D6, D10, D12.

mod address;
mod along;
mod cluster;
mod commit;
mod committer;
mod connection;
mod directory;
mod echo;
mod exchange;
mod failure;
mod history;
mod import;
pub mod limits;
mod link;
mod ownership;
mod pages;
mod pool;
mod refusal;
mod retention;
mod rows;
mod schema;
mod sql;
mod steps;
mod store;
mod tls;

pub use address::{AddressError, Password, PasswordError, PgAddress, Security};
pub use schema::SCHEMA_VERSION;
pub use store::{Found, OpenPgError, PgConfig, PgStore};
