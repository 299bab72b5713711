//! The depot's rules over a real store with faults: sessions, takeover, confirmations, cache.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

mod ahead;
mod cache;
mod classes;
mod close;
mod commit;
mod confirm;
mod destroy;
mod due;
mod ending;
mod fatal;
mod forks;
mod gather;
mod heir;
mod import;
mod preload;
mod races;
mod random;
mod read;
mod retention;
mod sooner;
mod stage;
mod takeover;
