//! The suites that need a guest, a thread, a crash or the whole source tree; one binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking and tells what it saw; it may wait on the clock"
)]

mod alarms;
mod api;
mod between;
mod calls;
mod clients;
mod cluster;
mod crashes;
mod crowded;
mod damage;
mod docs;
mod edge;
mod embedding;
mod endings;
mod failed;
mod failover;
mod fairness;
mod fatal;
mod fault;
mod fence;
mod frozen;
mod full;
mod gateway;
mod heirs;
mod held;
mod history;
mod hostile;
mod import;
mod kill;
mod kinds;
mod large;
mod last_words;
mod lifecycle;
mod listing;
mod messages;
mod nodes;
mod opening;
mod outcomes;
mod overload;
mod postgres;
mod quotas;
mod relocation;
mod remote;
mod report;
mod retention;
mod revoke;
mod rows;
mod shutdown;
mod silent;
mod sql;
mod sqlite;
mod steady;
mod sweep;
mod tidy;
mod tight;
mod typed;
mod upgrade;
mod verdicts;
mod wit;
mod writers;
