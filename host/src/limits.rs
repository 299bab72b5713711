//! Every number that bounds something, with its unit and reason. Passed down as values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Actors with armed faults, on a host that allows them. 1,024: a few hundred KiB.
pub const FAULTS_ARMED_MAX: usize = 1_024;
/// How often one armed fault fires at most. 100: more is an outage, which has a duration.
pub const FAULT_COUNT_MAX: u32 = 100;
/// How long a slow step waits at most, in milliseconds. 5 s, half the deadline of a step.
pub const FAULT_DELAY_MS_MAX: u64 = 5_000;
/// How long a fault lasts at most, in milliseconds. 10 minutes: one that was forgotten ends.
pub const FAULT_FOR_MS_MAX: u64 = 600_000;

/// Limits of one kind of actor. A manifest may set any of them; the rest have these defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of an actor, in bytes. 128 MiB: room for a parser, small beside the host.
    pub memory_bytes_max: u64,
    /// Elements of a table. 100,000: far above what compilers emit.
    pub table_elements_max: u64,
    /// Wall time of one call, queue excluded, in milliseconds. 30 s, as HTTP clients wait.
    pub call_time_ms: u64,
    /// Wall time of `restore` and `start` together, in milliseconds. 10 s: a migration.
    pub start_time_ms: u64,
    /// Wall time of the `stop` hook, in milliseconds. 5 s.
    pub stop_time_ms: u64,
    /// Wall time of the `snapshot` hook, in milliseconds. 5 s.
    pub snapshot_time_ms: u64,
    /// Bytes of a snapshot. 1 MiB: it is written at every sleep.
    pub snapshot_bytes_max: u64,
    /// SQLite virtual machine steps of one call. 2 billion, about 20 s of pure SQL.
    pub sql_steps_max: u64,
    /// Rows that one call may read. 10 million.
    pub rows_max: u64,
    /// Bytes of rows that one call may read. 1 GiB.
    pub row_bytes_max: u64,
    /// Bytes of one batch of rows, or of one typed answer. 1 MiB: fits in caches.
    pub batch_bytes_max: u64,
    /// Bytes of one value or row inside SQLite. 16 MiB: C loops over it cannot be interrupted.
    pub value_bytes_max: u64,
    /// Bytes of a statement's text. 1 MiB.
    pub statement_bytes_max: u64,
    /// Bytes of one packed argument. 16 MiB.
    pub packed_bytes_max: u64,
    /// Open statements, cursors, transactions and blobs of a generation. 1,000.
    pub handles_max: u64,
    /// Bytes of sorts, temporary tables and journals of a generation. 256 MiB, mostly on disk.
    pub scratch_bytes_max: u64,
    /// Bytes of a call's arguments. 8 MiB.
    pub payload_bytes_max: u64,
    /// Bytes of a call's reply. 8 MiB.
    pub reply_bytes_max: u64,
    /// Calls that wait for an actor. 256; more are `actor.overloaded`.
    pub mailbox_calls_max: u64,
    /// Bytes of a database. 10 GiB.
    pub database_bytes_max: u64,
    /// Bytes of one commit. 64 MiB, held in memory until durable.
    pub commit_bytes_max: u64,
    /// Log lines of one call. 1,000.
    pub log_lines_max: u64,
    /// Bytes of one log line. 16 KiB.
    pub log_line_bytes_max: u64,
    /// Milliseconds without a call until an actor sleeps. 60 s.
    pub sleep_after_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 128 * MIB,
            table_elements_max: 100_000,
            call_time_ms: 30_000,
            start_time_ms: 10_000,
            stop_time_ms: 5_000,
            snapshot_time_ms: 5_000,
            snapshot_bytes_max: MIB,
            sql_steps_max: 2_000_000_000,
            rows_max: 10_000_000,
            row_bytes_max: GIB,
            batch_bytes_max: MIB,
            value_bytes_max: 16 * MIB,
            statement_bytes_max: MIB,
            packed_bytes_max: 16 * MIB,
            handles_max: 1_000,
            scratch_bytes_max: 256 * MIB,
            payload_bytes_max: 8 * MIB,
            reply_bytes_max: 8 * MIB,
            mailbox_calls_max: 256,
            database_bytes_max: 10 * GIB,
            commit_bytes_max: 64 * MIB,
            log_lines_max: 1_000,
            log_line_bytes_max: 16 * KIB,
            sleep_after_ms: 60_000,
        }
    }
}

/// Limits of one host process.
#[derive(Clone, Debug)]
pub struct HostLimits {
    /// Actors awake at once, before the map count of the machine lowers it. 20,000.
    pub actors_awake_max: usize,
    /// Bytes of linear memory that a kind may ask for at most. 1 GiB.
    pub memory_bytes_max: u64,
    /// Elements of a table that a kind may ask for at most. 100,000.
    pub table_elements_max: u64,
    /// Bytes of a component. 64 MiB: compiling one takes seconds already.
    pub component_bytes_max: u64,
    /// Bytes of an HTTP request's body, whatever the kind allows. 64 MiB, for deploys.
    pub body_bytes_max: usize,
    /// Requests that the gateway works on at once. 1,024; more are `host.overloaded`.
    pub requests_max: usize,
    /// How long reading a request's head may take, and its body beside a slow but honest sender's
    /// time (`body_rate_min`). 30 s.
    pub request_read_max: Duration,
    /// Bytes per second that a sender of a body is granted time for. 128 KiB: a bad line, not an
    /// attack.
    pub body_rate_min: u64,
    /// Bytes of all request bodies in memory at once. 256 MiB.
    pub bodies_bytes_max: usize,
    /// How long a client may read nothing of an answer. 30 s, then the connection is reset.
    pub write_stall_max: Duration,
    /// Connections of one listener. 4,096; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Exports at once. 8: each one reads as fast as the store can.
    pub exports_max: usize,
    /// Period of the epoch ticker. 10 ms: the grain of every deadline of a guest.
    pub epoch_tick: Duration,
    /// How long a shutdown waits for generations to end in order. 20 s.
    pub shutdown_max: Duration,
    /// Rows of an admin `sql` answer. 10,000.
    pub admin_rows_max: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            actors_awake_max: 20_000,
            memory_bytes_max: GIB,
            table_elements_max: 100_000,
            component_bytes_max: 64 * MIB,
            body_bytes_max: 64 * 1024 * 1024,
            requests_max: 1_024,
            request_read_max: Duration::from_secs(30),
            body_rate_min: 128 * KIB,
            bodies_bytes_max: 256 * 1024 * 1024,
            write_stall_max: Duration::from_secs(30),
            connections_max: 4_096,
            exports_max: 8,
            epoch_tick: Duration::from_millis(10),
            shutdown_max: Duration::from_secs(20),
            admin_rows_max: 10_000,
        }
    }
}
