//! The depot's rules over a real store with faults: sessions, takeover, confirmations, cache.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../../tests/src/faulty_store.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the package stockade-tests")]
mod faulty_store;
mod world;

mod cache;
mod commit;
mod confirm;
mod destroy;
mod ending;
mod import;
mod random;
mod read;
mod retention;
mod stage;
mod takeover;
