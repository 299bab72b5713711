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

pub mod bindings;
pub mod capability;
pub mod grip;
pub mod limits;
pub mod sqlite;
