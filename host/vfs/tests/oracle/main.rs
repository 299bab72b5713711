//! The file layer against an oracle: the same SQL goes to a plain SQLite file and to a database
//! over a depot session; results, error codes, page counts and contents must be the same, also in
//! the next generation.
//!
//! ```text
//! rig        a depot over a store in memory, generations of one actor
//! pair       both databases side by side: run, compare, reopen
//! scripted   SQL that is known to be hard on a file layer
//! generated  seeded random SQL, with refusals and lost reads (STEPS=n for more, SEED=n to repeat)
//! refusals   limits and typed causes
//! spares     connections opened before they are anybody's
//! nameless   temporary files, charged to the connection that runs
//! endings    dead sessions, close, interrupt, panics of the order of calls
//! ```
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests race threads with the time they take")]

mod endings;
mod generated;
mod nameless;
mod pair;
mod refusals;
mod rig;
mod scripted;
mod spares;
