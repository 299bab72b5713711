//! The store of another node: the depot's store behind a versioned protocol, for a few machines with
//! no engine to operate.
//!
//! ```text
//!  nodes without a disk                                     the node with the disk
//!  store     RemoteStore: the depot's traits                server    listener, connections
//!  exchange  one step: deadline, what is known after it     service   greetings, steps, bounds
//!  line      one connection, greeted                        └── any Arc<dyn Store>
//!  ──────────────────────────────── both sides ───────────────────────────────────────────────
//!  steps     the table of steps       handshake  versions, fence fields, refusals
//!  wire      values as messages       body       messages in bounded parts
//!  keys, token, address               who may speak, and where
//! ```
//! Invariants:
//! - R1: no step is sent on a connection before both sides have agreed on a version and on the fence
//!   fields. A side that cannot carry them is refused, and both sides log why.
//! - R2: a write whose answer is not complete is `Unknown`; it is never sent a second time from here.
//! - R3: a message without a mandatory field is refused; nothing that is missing passes for zero.
//! - R4: every message is bounded before it is read, on both sides.
//! - R5: a certificate or token reaches the steps of the store and nothing else.
//!
//! Rules of `docs/protocol.md`: D1 to D6, D10, D12. What every store must do is stated in the contract
//! suite of `stockade-depot`, which runs on this one as well.

#![forbid(unsafe_code)]

mod address;
mod body;
#[cfg(feature = "simulated")]
mod carried;
mod exchange;
mod handshake;
mod keys;
pub mod limits;
mod line;
mod proto;
mod server;
mod service;
mod steps;
mod store;
mod tasks;
mod token;
mod wire;

pub use address::{AddressError, RemoteAddress};
#[cfg(feature = "simulated")]
pub use carried::{CarriedServer, Carrier, NoReply, Reply, Request};
pub use handshake::{FENCE_FIELDS, NEWEST_VERSION, Refusal, RefusalCode, Terms};
pub use keys::{ClientKeys, KeysError, STORE_NAME, ServerKeys};
pub use server::{ServeConfig, StoreServer};
pub use store::{OpenRemoteError, RemoteConfig, RemoteStore};
pub use token::{StoreToken, StoreTokenError};
