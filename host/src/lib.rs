//! Hosts stateful actors that people compile to WebAssembly components.
//!
//! ```text
//!  host      start, deploy, call, stop, destroy, export, shut down: what embedders use
//!  gateway   HTTP in                       cli     the program's commands
//!  router    actor -> its live generation
//!  actor     generation, mailbox, gate, endings
//!  capability   one file per WIT interface          bindings   generated code
//!  sqlite    statements, values, budgets over a session
//!  engine, typed   components compiled once; methods, JSON and WAVE
//!  grip, limits    revocable handles; every number
//! ```

pub mod actor;
pub mod bindings;
pub mod capability;
pub mod cli;
pub mod engine;
pub mod error;
pub mod gateway;
pub mod grip;
pub mod host;
pub mod limits;
pub mod router;
pub mod server;
pub mod sqlite;
pub mod typed;

pub use error::HostError;
pub use host::{Host, HostConfig, Reply};
pub use router::kinds::Manifest;
pub use stockade_depot::ActorId;
pub use typed::Arguments;
