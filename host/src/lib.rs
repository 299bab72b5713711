//! Hosts stateful actors that people compile to WebAssembly components.
//!
//! ```text
//!  host         start, deploy, call, stop, destroy, export, shut down: what embedders use
//!  router       actor -> the task that owns its generations
//!  supervision  who may begin the next one, and how the last one ended
//!  kinds        what is deployed        membership   processes that share the store
//!  actor        generation, gate, endings            error   what leaves, and with which advice
//!  capability   one file per WIT interface           import  plain SQLite files
//!  sqlite       statements, values, budgets over a session      bindings   generated code
//!  engine, typed   components compiled once; methods, JSON and WAVE
//!  cpu             turns of long calls        eager, environment   tasks; what they run on
//!  grip, limits    revocable handles; every number    fault   faults on purpose, if allowed
//!  calls           who waits for whom         messages   between actors, as they travel
//! ```
//!
//! The library does what the program does:
//!
//! ```no_run
//! use stockade::{ActorId, Host, HostConfig};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let host = Host::start(HostConfig::new("data")).await?;
//!     let wasm = std::fs::read("target/guest/wasm32-wasip1/guest/counter.wasm")?;
//!     host.deploy("counter", wasm, host.manifest()).await?;
//!
//!     let alice = host.actor(&ActorId::new("counter", "alice")?);
//!     let reply = alice.call("increment", (5,)).await?;
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
//! - [`CallError::retry`] says what to do about a call that failed.

#![allow(unreachable_pub, reason = "modules are private: what is exported stands here")]

mod actor;
mod bindings;
mod calls;
mod capability;
mod clock;
mod cpu;
mod eager;
mod engine;
mod environment;
pub mod error;
pub mod fault;
mod grip;
pub mod host;
mod import;
mod kinds;
pub mod limits;
mod machine;
mod membership;
mod memory;
mod messages;
mod router;
mod runtime;
mod schedule;
mod sqlite;
mod supervision;
mod typed;
mod yielding;

pub use calls::{CallKey, Cycle, InvalidCallKey};
pub use engine::{ComponentError, EngineError, LifecycleError, Offered};
pub use error::{CallError, HostError};
pub use fault::Fault;
pub use host::{ActorHandle, Host, HostConfig, Reply};
pub use import::{Intake, PlainError};
pub use kinds::manifest::{AfterParked, Manifest};
pub use sqlite::{
    AlarmOrder, ConstraintFailure, ConstraintKind, Exhausted, MessageOrder, SqlError, SqlLimit,
    StatementFailure, Value as SqlValue,
};
pub use stockade_depot::history::Progress;
pub use stockade_depot::{
    ActorId, Cause, DbId, Digest, FailureCause, Generation, HeadFenceMismatch, PageCount, Reason,
    StoreFailure, StoreFull, Txid,
};
pub use typed::{
    ArgumentError, Arguments, Case, Difference, Excluded, Field, IntoArguments, Method, NotFound,
    Parameter, ResultError, Shape, UnknownMethod, Unsupported,
};
pub use wasmtime::component::Val;

/// What the packages of the server, of the program and of the tests need beside what embedders do. It
/// may change with any release.
#[doc(hidden)]
pub mod internal {
    pub use stockade_vfs::heap::install as install_heap;

    pub use crate::calls::{Age, Allowance, CallId, Chain, Edge, Making, Refusal as WaitRefusal};
    pub use crate::capability::Fields;
    pub use crate::clock::Clock;
    pub use crate::engine::{Engine, allowed};
    pub use crate::environment::{Around, Ground, Native, PageAway};
    pub use crate::host::places::{AfterRefusal, is_moved};
    pub use crate::host::{ByActor, Callable, Far, FarCall, FarReply, ReadyCall};
    pub use crate::kinds::bounds::LOG_LINE_BYTES_MAX;
    pub use crate::messages::{Asked, Parcel, Said};
    pub use crate::runtime::{OwnRuntime, cores};
    pub use crate::typed::{Expected, INFINITY, MINUS_INFINITY, Room};
    pub use crate::yielding::start as start_yielding;
}
