//! HTTP in front of a host: one listener for callers of actors, one for operators, and one for other
//! processes on the same store.
//!
//! [`run`] is what `stockade serve` does. A program of your own starts a [`Server`], or puts the
//! [`Gateways`]' routes behind its own listener.

mod gateway;
mod peers;
mod pem;
mod server;

pub use gateway::auth::{Access, InvalidToken, Token, is_loopback};
pub use gateway::origin::{HostName, InvalidName, Origin};
pub use gateway::tls::{Tls, TlsError};
pub use gateway::{
    BILL_HEADER, GENERATION_HEADER, Gateways, LINES_CONTENT_TYPE, Listener, MANIFEST_HEADER,
    RESULT_HEADER, SQLITE_CONTENT_TYPE, Settings, Side, TXID_HEADER, Threads, WAVE_CONTENT_TYPE,
    WORDS_CONTENT_TYPE, end_of_check_to_json, imported_to_json, news_to_json, verified_to_json,
};
pub use peers::{KEY_HEADER, PEER_NAME, PeerKeys, PeerKeysError, Protocol as PeerProtocol};
pub use pem::PemError;
pub use server::{
    Addresses, Ending, Peers, Server, ServerConfig, ServerError, TOKEN_FILE, TokenFileError,
    check_allowed, read_private, run, token_of,
};
