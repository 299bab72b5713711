//! How processes on one store reach each other.
//!
//! ```text
//!  gateway of a process that does not own the actor
//!     │ route, deadline, body                     keys    who may speak: mutual TLS, one authority
//!     └──> pool ──> line ──> TLS, HTTP/2 ──────>  the owner's listener for peers
//!           │        one connection               route   what is asked for, as header fields
//!           │                                     chain   who waits for a call of an actor, likewise
//!           │                                     caller  the id of a call, and whose it is, likewise
//!           └ a bounded number of connections and of requests for each peer
//! ```
//!
//! Invariants:
//! - There is no plaintext: both sides have a certificate of the same authority.
//! - Both sides speak the newest version of the protocol that both know.
//! - A failure says whether anything can have reached the other side.
//! - A connection that is silent gets no further requests until bytes come from it.

mod caller;
mod chain;
mod failure;
mod heard;
mod keys;
mod line;
mod pool;
mod protocol;
mod route;

pub use caller::KEY_HEADER;
pub(crate) use caller::{PRINCIPAL_HEADER, read_key, read_principal};
pub(crate) use chain::{CHAIN_HEADER, read_age, read_call, read_chain, write_call, write_chain};
pub(crate) use failure::Failure;
pub(crate) use keys::is_of_a_peer;
pub use keys::{PEER_NAME, PeerKeys, PeerKeysError};
pub(crate) use pool::{Lane, Lines, Way};
pub use protocol::Protocol;
pub(crate) use route::{ROUTE_HEADER, TIMEOUT_HEADER, read_route, read_timeout, write_route};
