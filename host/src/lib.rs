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
//!  cpu             turns of long calls
//!  grip, limits    revocable handles; every number    fault   faults on purpose, if allowed
//! ```
//!
//! The library does what the program does:
//!
//! ```no_run
//! use stockade::{ActorId, Arguments, Host, HostConfig};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let host = Host::start(HostConfig::new("data")).await?;
//!     let wasm = std::fs::read("target/guest/wasm32-wasip1/guest/counter.wasm")?;
//!     host.deploy("counter", wasm, host.manifest()).await?;
//!
//!     let alice = ActorId::new("counter", "alice")?;
//!     let reply = host.call(&alice, "increment", Arguments::of(&(5,))?).await?;
//!     let value: Result<i64, String> = reply.read()?;
//!     println!("{value:?} as of commit {}", reply.txid);
//!
//!     host.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! - [`Arguments`] come from Rust values, JSON or WAVE; they are checked against the component's
//!   types before it runs.
//! - [`Reply::read`] gives the result as a Rust value, [`Reply::to_json`] as JSON.
//! - [`HostError::retry`] says what to do about an error.

pub mod actor;
pub mod bindings;
pub mod capability;
pub mod cpu;
pub mod engine;
pub mod error;
pub mod fault;
#[cfg(test)]
mod fuzz;
pub mod grip;
pub mod host;
pub mod limits;
mod machine;
pub mod memory;
pub mod router;
mod runtime;
pub mod sqlite;
pub mod typed;

pub use error::HostError;
pub use fault::Fault;
pub use host::{Host, HostConfig, Reply};
pub use router::kinds::Manifest;
pub use stockade_depot::ActorId;
pub use typed::{Arguments, ResultError};

/// What the packages of the server and of the program need beside what embedders do. It may change
/// with any release.
#[doc(hidden)]
pub mod internal {
    pub use crate::capability::Fields;
    pub use crate::engine::allowed;
    pub use crate::host::{Callable, ReadyCall};
    pub use crate::router::kinds::LOG_LINE_BYTES_MAX;
    pub use crate::runtime::{OwnRuntime, cores};
    pub use stockade_vfs::heap::install as install_heap;

    pub use crate::typed::{INFINITY, MINUS_INFINITY, Room};
}
