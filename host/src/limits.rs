//! Every number that bounds something, with its unit and reason. Passed down as values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine;

/// Races for an actor's next generation that a start may lose before its caller gets `superseded`.
/// 5: each lost race means that another process made progress.
pub const OWNERSHIP_ATTEMPTS_MAX: usize = 5;
/// The longest pause after the first lost race; each further one may be twice as long. 2 ms: the
/// winner's head is visible immediately, and four pauses are 30 ms together at most.
pub const OWNERSHIP_PAUSE: Duration = Duration::from_millis(2);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Actors whose damage is remembered. 10,000: a few MiB; a forgotten actor costs a takeover.
pub const DAMAGED_ACTORS_MAX: usize = 10_000;

/// The largest `value_bytes_max` of a kind. 16 MiB: C loops over one value cannot be interrupted.
pub const VALUE_BYTES_MAX: u64 = 16 * MIB;
/// Stack of the threads that run SQL and guests, in bytes. 8 MiB: what SQLite may need
/// ([`stockade_vfs::heap::STACK_BYTES_NEEDED`]), and its callers.
pub const SQL_STACK_BYTES: usize = 8 << 20;
const _: () = assert!(SQL_STACK_BYTES > stockade_vfs::heap::STACK_BYTES_NEEDED);

/// Bytes that are kept of a guest's last words, and of its frames. 4 KiB each: a traceback of
/// ordinary depth, and 10,000 exits are remembered.
pub const CRASH_TEXT_BYTES_MAX: usize = 4 * 1024;

/// How long the count of a kind with a quota stays valid, as a multiple of the time that it took.
/// 20: counting takes a twentieth of one of the store's readers at most.
pub const COUNT_REST: u32 = 20;
/// Shards that are counted at the same time. 16: as many connections as a store has for single steps.
pub const COUNTS_MAX: usize = 16;
/// Actors that one answer of a listing looks at, whatever it leaves out. 10,000: some 50 ms.
pub const LIST_LOOKS_MAX: usize = 10_000;
/// Actors that are looked at to sort or count them. 200,000: a second or two; more are listed in
/// their order.
pub const SORT_LOOKS_MAX: usize = 200_000;
/// The largest share of the processor that a kind may have beside a kind with the least. 100: the
/// kind with the least still gets a slice each 200 ms.
pub const CPU_WEIGHT_MAX: u64 = 100;

/// Long statements that run or wait for a turn, each on a thread of its own; a kind has as many as
/// are free, so at most half. 512: some 50 MiB of stacks that are in use.
pub const LONG_STATEMENTS_MAX: usize = 512;

/// Threads of a runtime for what else blocks: reads of missing pages. As tokio has by itself.
pub(crate) const READS_MAX: usize = 512;

/// Actors with armed faults, on a host that allows them. 1,024: a few hundred KiB.
pub const FAULTS_ARMED_MAX: usize = 1_024;
/// How often one armed fault fires at most. 100: more is an outage, which has a duration.
pub const FAULT_COUNT_MAX: u32 = 100;
/// How long a slow step waits at most, in milliseconds. 5 s, half the deadline of a step.
pub const FAULT_DELAY_MS_MAX: u64 = 5_000;
/// How long a fault lasts at most, in milliseconds. 10 minutes: a forgotten fault ends.
pub const FAULT_FOR_MS_MAX: u64 = 600_000;
/// How long a process may show no sign of life before others take its actors over. 6 s: a machine
/// that is short of memory or disk pauses that long.
pub const LEASE: Duration = Duration::from_secs(6);
/// The shortest lease that may be set. 100 ms: with less a busy process looks dead between two
/// signs.
pub const LEASE_MIN: Duration = Duration::from_millis(100);

/// The part of its lease before whose end a process takes no more calls, as a divisor: a quarter. A
/// sign of life is due each third, so two may fail before.
pub const LEASE_MARGIN_PART: u32 = 4;
/// How long a call waits for a sign of life of its process when the lease nears its end. 500 ms: a
/// store that works answers sooner, and the margin of the default lease is 1.5 s.
pub const LEASE_RENEWED_WITHIN: Duration = Duration::from_millis(500);
/// Takeovers from processes that have died that may be under way at the same time. 64: the wakes of
/// a whole process's actors leave room in the store for the calls of all others.
pub const RESCUES_MAX: usize = 64;

/// Such takeovers that may begin in a second. 4,000: the actors of a full process are back within 5
/// s, and the steps of their wakes do not come all together. Those that a call waits for come before
/// those of a sweep.
pub const RESCUES_PER_S: u32 = 4_000;

/// Actors that a drain ends at the same time. 8: one that finishes a long call does not hold up the
/// others, and their next starts elsewhere do not come all together.
pub const DRAINED_AT_ONCE: usize = 8;
/// Actors of other processes whose place is remembered. 10,000: a few MiB; the place of another one
/// is read from the store.
pub const PLACES_MAX: usize = 10_000;
/// The load, in thousandths of an allowance, from which on a process passes new actors on to another
/// one. 900: the rest is for the actors that it has.
pub const LOAD_PERMILLE_MAX: u64 = 900;
/// How much less the other one's load must be, in thousandths. 100: loads are some seconds old.
pub const LOAD_PERMILLE_LESS: u64 = 100;

/// How often a process looks whether it has more actors than its share. 5 s: loads are seconds old.
pub const REBALANCE_EVERY: Duration = Duration::from_secs(5);
/// How far over its share a process must be before it hands actors over, in thousandths of the share.
/// 250: to move an actor costs a life of it.
pub const REBALANCE_MARGIN_PERMILLE: u64 = 250;
/// The least such margin, in actors. 32: a few more or less are no load.
pub const REBALANCE_ACTORS_MIN: u64 = 32;
/// How long an actor that was handed over begins elsewhere, also if it is asked for here. 60 s: by then
/// others have reported what they have.
pub const HANDED_FOR: Duration = Duration::from_secs(60);

/// The part of a lease for which a look at the other processes counts, as a divisor, before one that it
/// has shown to be silent is judged dead. 12: half a second of the default lease, beside the six that
/// the other one has been silent.
pub const LOOK_FRESH_PART: u32 = 12;
/// Leases without a sign of life after which a process that has no lock file is forgotten. 10: a
/// machine that was frozen for a while is back by then, and registers again with its next sign.
pub const SILENT_LEASES: u32 = 10;
/// How long the program reports to callers and probes that its store has failed, before it ends. 2
/// s: a load balancer asks about once a second.
pub const FAILED_TOLD: Duration = Duration::from_secs(2);

// Records of calls. The table of these is in docs/reference/outcomes.md.

/// Bytes of the id that a caller gives a call. 96: a UUID with a prefix, and what a host makes.
pub const CALL_ID_BYTES_MAX: usize = 96;
/// Bytes of the name of the caller for whom an id counts. 1 KiB: an actor's name fits.
pub const CALL_PRINCIPAL_BYTES_MAX: usize = 1024;
/// How long the record of a call is kept, in milliseconds. 24 h: a client that was cut off has repeated
/// its call by then.
pub const CALL_RECORD_MS: i64 = 24 * 60 * 60 * 1000;
/// Bytes of an answer as JSON that its record keeps. 64 KiB; of a larger one the outcome is kept.
pub const CALL_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer to the question what became of a call, in another process. 1 MiB: the largest
/// answer that is kept, as text in JSON.
pub const OUTCOME_BYTES_MAX: usize = 1 << 20;
/// Records of an actor. 100,000: a call with an id each second for more than a day.
pub const CALL_RECORDS_MAX: i64 = 100_000;
/// The newest records, which are kept whatever their age is. 1,000: a clock that jumps takes none of
/// those away that a client may ask for.
pub const CALL_RECORDS_KEPT: i64 = 1_000;
/// Records that one new record removes, if they are too old. 16: more than one, so that their number
/// falls.
pub const CALL_RECORDS_PURGED: i64 = 16;

// Alarms. The table of these is in docs/reference/alarms.md.

/// Alarms of an actor. 1,000: each commit that sets one looks at the earliest, and more work than that
/// is rows of the actor's own with one alarm.
pub const ALARMS_MAX: u64 = 1_000;
/// Bytes of an alarm's name. 64, as of a kind: it is shown in lists and logs.
pub const ALARM_NAME_BYTES_MAX: usize = 64;
/// Bytes of an alarm's payload. 64 KiB: what is larger belongs in a row, and its key in the payload.
pub const ALARM_PAYLOAD_BYTES_MAX: u64 = 64 * KIB;
/// Bytes of an alarm's last error that are kept. 1 KiB: a sentence.
pub const ALARM_ERROR_BYTES_MAX: usize = 1024;
/// The shortest period of a repeating alarm. 1 s: a run by itself is two commits.
pub const ALARM_EVERY_MS_MIN: u64 = 1_000;
/// The last time of an alarm, in milliseconds since 1970. The end of the year 9999, as in calendars.
pub const ALARM_TIME_MS_MAX: i64 = 253_402_300_799_999;
/// Bytes of a cron expression. 128: lists of all minutes have 170 and can be written as steps.
pub const CRON_BYTES_MAX: usize = 128;
/// Bytes of the name of a time zone. 64: the longest that there is has 32.
pub const ZONE_BYTES_MAX: usize = 64;
/// Times of a cron expression that are counted as missed. 1,000: some milliseconds.
pub const CRON_MISSED_MAX: u64 = 1_000;
/// Tries of an alarm until it is parked. 8: with the waits between them about 4 minutes.
pub const ALARM_TRIES_MAX: u32 = 8;
/// The wait after the first try of an alarm, in milliseconds; each further one doubles it. 2 s.
pub const ALARM_BACKOFF_MS: i64 = 2_000;
/// The longest such wait. 5 minutes.
pub const ALARM_BACKOFF_MS_MAX: i64 = 300_000;
/// How often a process looks for sleeping actors with due work. 1 s.
pub const DUE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How far a look goes ahead, in milliseconds. 2 s: twice the time between two looks, so that a look
/// which comes late still finds everything in time.
pub const DUE_AHEAD_MS: i64 = 2_000;
/// Actors of one page of such a look. 500.
pub const DUE_ROWS_MAX: u32 = 500;
/// Actors with due work that a process remembers between two looks. 10,000: some MiB.
pub const DUE_ACTORS_MAX: usize = 10_000;
/// Actors that a process wakes for due work in a second. 500: a tenth of what a node wakes, so that
/// what is overdue after an outage leaves room for calls.
pub const DUE_WAKES_PER_S: u32 = 500;
/// Such wakes that may be under way at the same time. 64.
pub const DUE_WAKES_MAX: usize = 64;
/// The wait after the first refused wake of an actor; each further one doubles it, up to the lease or
/// 60 s, whichever is longer. 1 s.
pub const DUE_REFUSED_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait. 60 s.
pub const DUE_REFUSED_WAIT_MAX: Duration = Duration::from_secs(60);
/// How far the clocks of a process and of the store may differ while the process runs due work. 5 s:
/// nothing runs early by more.
pub const DUE_CLOCKS_APART_MS_MAX: u64 = 5_000;

// Messages. The table of these is in docs/reference/messages.md.

/// Messages of an outbox. 4,096: some seconds of a fast sender; what waits longer has a receiver that
/// does not keep up. Calls and alarms may fill half of it, the handlers of messages all of it, so that
/// two actors which send to each other do not wait for each other's room.
pub const OUTBOX_ROWS_MAX: u64 = 4_096;
/// Bytes of the methods and arguments in an outbox. 16 MiB, likewise.
pub const OUTBOX_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a message's arguments. 256 KiB: what is larger belongs in a row, which the receiver asks
/// for by a call.
pub const MESSAGE_BYTES_MAX: u64 = 256 * KIB;
/// Messages of one parcel. 64: one confirmation, one request and one delete for all of them.
pub const PARCEL_MESSAGES_MAX: usize = 64;
/// Bytes of the messages of one parcel. 512 KiB: one message always fits.
pub const PARCEL_BYTES_MAX: u64 = 512 * KIB;
/// The part of `mailbox_calls_max` that may wait for an actor in parcels, beside its calls, as a
/// divisor. 4: 64 senders by default, each with 64 messages; more of them come again later.
pub const PARCELS_QUEUED_PART: usize = 4;
/// How long a receiver runs messages of one parcel before its calls come between. 50 ms.
pub const PARCEL_RUN: Duration = Duration::from_millis(50);
/// How long a sender waits for what a parcel comes to. 2 minutes: the receiver's queue, its start and
/// one method with the longest usual budget.
pub const PARCEL_WITHIN: Duration = Duration::from_secs(120);
/// Parcels that an actor has under way, each to another receiver. 64.
pub const PARCELS_MAX: usize = 64;
/// When a message that was sent is due for the host's look at actors that sleep or whose host has
/// died, in milliseconds: the live owner delivers it immediately. 10 s: more than the default lease.
pub const MESSAGE_DUE_MS: i64 = 10_000;
/// Deliveries of a message that fail until it is parked. 8: with the waits between them about 4
/// minutes.
pub const MESSAGE_TRIES_MAX: u32 = 8;
/// The wait after the first such delivery, in milliseconds; each further one doubles it. 2 s.
pub const MESSAGE_BACKOFF_MS: i64 = 2_000;
/// The longest such wait. 5 minutes.
pub const MESSAGE_BACKOFF_MS_MAX: i64 = 300_000;
/// The wait after a delivery that came to nothing, in milliseconds; each further one doubles it. 100
/// ms: a receiver that moves is elsewhere by then.
pub const MESSAGE_PAUSE_MS: i64 = 100;
/// Bytes of a message's last error that are kept. 1 KiB: a sentence.
pub const MESSAGE_ERROR_BYTES_MAX: usize = 1024;
/// Parked messages of a receiver. 1,000: beyond that the next one to be parked waits at its sender.
pub const PARKED_MAX: u64 = 1_000;
/// After how long without a message a conversation is closed, in milliseconds. 1 hour: to open it
/// again costs a commit on both sides.
pub const CONVERSATION_IDLE_MS: i64 = 3_600_000;
/// Conversations that are closed together. 64.
pub const CONVERSATIONS_CLOSED_MAX: u32 = 64;
/// Messages of each sort that one list shows. 1,000.
pub const MESSAGES_SHOWN_MAX: u64 = 1_000;

// Calls between actors.

/// Calls of one actor whose handles it has not dropped. 1,024: a fan-out of a thousand, and as many
/// calls as may be on their way to one other process.
pub const CALLS_IN_FLIGHT_MAX: usize = 1_024;
/// Actors whose clients a guest holds at the same time: handles of typed calls that it has not dropped.
/// 1,024: as many as it may have calls under way. One more is a trap, since a constructor returns no
/// error.
pub const CLIENT_HANDLES_MAX: usize = 1_024;
/// Actors of a chain of calls, each of which waits for the next one. 32: an order of magnitude above
/// what programs nest, and their names fit into the head of a request.
pub const CHAIN_ACTORS_MAX: usize = 32;
/// The part of the time that a caller has left which its callee does not get, as a divisor. 16: time
/// to handle the error.
pub const CALL_MARGIN_PART: u32 = 16;
/// The most that this part may be. 250 ms: a few statements and an answer.
pub const CALL_MARGIN_MAX: Duration = Duration::from_millis(250);
/// Bytes of a method's name in a call. 1 KiB: an interface of a package, with its version.
pub const METHOD_BYTES_MAX: usize = 1_024;
/// Patterns of `calls` in a manifest, and bytes of all of them. 1,000 and 64 KiB: each call compares.
pub const GRANTS_MAX: (usize, usize) = (1_000, 64 << 10);
/// Entries of `clients` in a manifest, and bytes of all of them. 1,000 and 64 KiB: a component has
/// dozens.
pub const CLIENTS_MAX: (usize, usize) = (1_000, 64 << 10);
/// Bytes of arguments or of an answer from which on they are not read or written on a thread that
/// runs guests. 64 KiB: a tenth of a millisecond.
pub const CALL_INLINE_BYTES: usize = 64 << 10;
/// Actors whose waits one probe asks for. 4,096: a few milliseconds.
pub const PROBE_LOOKS_MAX: usize = 4_096;
/// Those among them that are asked of other processes. 64: each is a request.
pub const PROBE_LOOKS_FAR_MAX: usize = 64;
/// How long a probe waits for another process. 2 s: what does not answer by then is busy or gone, and
/// its calls end by themselves.
pub const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of an answer to a probe. 1 MiB: a thousand waits with the longest names.
pub const PROBE_BYTES_MAX: usize = 1 << 20;

// HTTP. The table of these is in docs/reference/http.md.

/// Bytes of a request's head, in HTTP/2 of its list of fields. 64 KiB: a manifest in a field fits,
/// a flood does not. More is `request.head-too-large`.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a request's head in HTTP/1. 100, likewise.
pub const HEAD_FIELDS_MAX: usize = 100;
/// Bytes of a request's path and query. 8 KiB: the longest names take 2. More is
/// `request.uri-too-long`.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a refused request's body that are read and thrown away, so that the connection lives
/// on. 64 KiB: less than a new connection costs. After more the connection is closed.
pub const DRAIN_BYTES_MAX: usize = 64 * 1024;
/// How long that may take. 1 s: a body that was sent with its head is here by then.
pub const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Concurrent requests of one HTTP/2 connection. 100, the least that RFC 9113 recommends.
pub const STREAMS_MAX: u32 = 100;
/// Bytes of one HTTP/2 frame. 16 KiB, the least that RFC 9113 allows.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of request bodies on their way in one HTTP/2 connection, and in each stream of it. 256
/// KiB: beside `bodies_bytes_max`, like the bytes that an HTTP/1 connection has read ahead.
pub const WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of an answer that are handed to HTTP/2 in one piece; the rest waits for the client. 64
/// KiB.
pub const PIECE_BYTES: usize = 64 * 1024;
/// How far an HTTP/2 client's cancelled requests may outnumber those that it has let end. 200: all
/// of its streams, twice. Then the connection is cut.
pub const STREAMS_GIVEN_UP_MAX: usize = 200;
/// HTTP/2 streams that a client has reset and the host has not looked at, and those that the host
/// has reset for the client's errors. 20 and 100.
pub const STREAMS_RESET_MAX: (usize, usize) = (20, 100);
/// Origins, and names of proxies, that a host may allow. 1,000: each request compares.
pub const ALLOWED_MAX: usize = 1_000;
/// How long a browser may remember the answer to a preflight, in seconds. 600.
pub const PREFLIGHT_AGE_S: u32 = 600;

// Between processes on one store. The table of these is in docs/reference/http.md, too.

/// How long a caller may ask a host to wait, in `stockade-timeout-ms`. 1 hour: longer than any call.
pub const CALLER_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// How long a call may wait for its actor beyond the time that the call and a start have. 30 s: calls
/// before it in the queue, and a takeover after a lease.
pub const FORWARD_SLACK: Duration = Duration::from_secs(30);
/// The first pause before a call is tried again elsewhere; each further one is twice as long. 5 ms: a
/// takeover.
pub const FORWARD_PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause. 250 ms: a small part of a lease, and a few reads of the store a second.
pub const FORWARD_PAUSE_MAX: Duration = Duration::from_millis(250);
/// Bytes of a call's body that are kept, so that the call can be tried again elsewhere. 512 KiB: the
/// window of HTTP/2 and what is on its way, so all that can have left before the other side has
/// checked the route. Beyond 64 KiB they count among `bodies_bytes_max`; without room there, or over
/// the bound, the call is not tried again once they have left.
pub const FORWARD_KEPT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of another process's refusal that are read to decide what to do. 64 KiB: its message has at
/// most 4.
pub const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Calls on their way to one other process. 1,024: half of the callers' requests that a host works
/// on. More are `host.peer-unreachable`.
pub const PEER_REQUESTS_MAX: usize = 1_024;
/// Orders of operators on their way to one other process, beside those calls. 64, as many as a host
/// works on for its own operators.
pub const PEER_ORDERS_MAX: usize = 64;
/// How long an operator's order may take at the process that owns the actor. 10 minutes: destroying a
/// large database takes minutes, and an owner that answers no ping is given up sooner.
pub const ORDER_FORWARDED_WITHIN: Duration = Duration::from_secs(600);
/// How long an order that only looks waits for the owner, before it is answered as the process that
/// was asked sees the actor. 3 s: longer than a connection may take to be made.
pub const LOOK_FORWARDED_WITHIN: Duration = Duration::from_secs(3);
/// Connections to one other process. 4: a connection runs on one thread of the other side.
pub const PEER_CONNECTIONS: usize = 4;
/// Concurrent requests of one connection between processes. 512: those of all connections together
/// are more than `PEER_REQUESTS_MAX`.
pub const PEER_STREAMS_MAX: u32 = 512;
/// Connections that other processes may have to this one. 256: 64 processes.
pub const PEER_CONNECTIONS_MAX: usize = 256;
/// How long a connection to another process may take to be made. 2 s: one that is frozen is not
/// waited for.
pub const PEER_CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a connection to another process is used again after its last request. 20 s.
pub const PEER_IDLE_MAX: Duration = Duration::from_secs(20);
/// How long the other side keeps it. 60 s: longer, so that no request meets its end.
pub const PEER_KEPT_MAX: Duration = Duration::from_secs(60);
/// How often a silent process is asked whether it is there, over each connection to it. 500 ms: two
/// small frames a second on a connection that nothing else uses.
pub const PEER_PING_EVERY: Duration = Duration::from_millis(500);
/// How long a connection may be silent before further calls take another one. 1.5 s: a busy process or a lost packet delays an answer to a ping by less.
pub const PEER_SILENT_MAX: Duration = Duration::from_millis(1_500);
/// How long an answer to a ping may take. 5 s: then the connection is closed, and the outcome of its
/// calls is unknown.
pub const PEER_PING_MAX: Duration = Duration::from_secs(5);

/// Limits of one kind of actor. A manifest may set any of them; the rest have these defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of an actor, in bytes. 128 MiB: room for a parser, small beside the host.
    pub memory_bytes_max: u64,
    /// Elements of a table. 100,000: far above what compilers emit.
    pub table_elements_max: u64,
    /// Wall time of one call, queue excluded, in milliseconds. 30 s, as HTTP clients wait. Waiting
    /// for a turn beside other long calls counts.
    pub call_time_ms: u64,
    /// This kind's share of the processor beside other kinds with long calls, as a proportion. 1.
    pub cpu_weight: u64,
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
    /// Pages of its database that one call may read from outside SQLite's cache. 4 million, 16 GiB:
    /// a scan of the largest database by default.
    pub pages_max: u64,
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
    /// Bytes of sorts, temporary tables, journals and large transactions of a generation. 256 MiB,
    /// mostly on disk: a transaction may need its own size up to three times (its pages, the
    /// journal that undoes it, the journal of its last statement), and 64 MiB fit.
    pub scratch_bytes_max: u64,
    /// Bytes of a call's arguments. 8 MiB.
    pub payload_bytes_max: u64,
    /// Bytes of a call's reply. 8 MiB. The host reads at most 128 MiB of values, at 40 bytes an
    /// element of a list: a reply with more than 3.3 million elements is a trap.
    pub reply_bytes_max: u64,
    /// Calls that wait for an actor. 256; more are `actor.overloaded`.
    pub mailbox_calls_max: u64,
    /// Bytes of a database. 10 GiB.
    pub database_bytes_max: u64,
    /// Bytes of one commit. 64 MiB: above 4 MiB it is on disk, not in memory, so more costs
    /// scratch (see `scratch_bytes_max`) and time (see `call_time_ms`).
    pub commit_bytes_max: u64,
    /// Milliseconds for which a state of a database stays readable after it was replaced; at least
    /// 30,000, since callers get verdicts from the commit log. 60 s: twice that, and short beside
    /// what an actor writes all day.
    pub history_ms: u64,
    /// Commits below the newest one that stay readable, however old. 16: enough to inspect what a
    /// bug has just done, little beside the data.
    pub history_commits_min: u64,
    /// Log lines of one call. 1,000.
    pub log_lines_max: u64,
    /// Bytes of one log line. 16 KiB.
    pub log_line_bytes_max: u64,
    /// Bytes that one actor may log in a second. 1 MiB; the excess is dropped, and counted in the
    /// log.
    pub log_bytes_per_s: u64,
    /// Milliseconds without a call until an actor sleeps. 60 s.
    pub sleep_after_ms: u64,
    /// Crashes in a row from which on calls are refused until the backoff is over. 5: a bug in
    /// every call is distinguished from a bad input in some.
    pub crashes_max: u64,
    /// Milliseconds until the start after the second crash in a row; doubled by each further one.
    /// 250: the fifth is followed by 2 s. After a first crash the next call starts the actor
    /// immediately.
    pub crash_backoff_ms: u64,
    /// Most milliseconds between two starts of an actor that crashes. 60 s: a crash that one caller
    /// causes keeps others out no longer.
    pub crash_backoff_ms_max: u64,
    /// Actors of the kind, asleep or awake. 0: no quota. At the quota, calls that would create one
    /// more are `actor.quota-reached`.
    pub actors_max: u64,
    /// Bytes of the databases of all actors of the kind together, rounded down to pages. 0: no
    /// quota. At the quota, creations are `actor.quota-reached`, and a database that would grow is
    /// `full`.
    pub stored_bytes_max: u64,
    /// Actors of the kind that may be created in a second, or in one burst. 0: no quota. More are
    /// `actor.created-too-fast`.
    pub creates_per_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 128 * MIB,
            table_elements_max: 100_000,
            call_time_ms: 30_000,
            cpu_weight: 1,
            start_time_ms: 10_000,
            stop_time_ms: 5_000,
            snapshot_time_ms: 5_000,
            snapshot_bytes_max: MIB,
            sql_steps_max: 2_000_000_000,
            rows_max: 10_000_000,
            row_bytes_max: GIB,
            pages_max: 4_000_000,
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
            history_ms: 60_000,
            history_commits_min: 16,
            log_lines_max: 1_000,
            log_line_bytes_max: 16 * KIB,
            log_bytes_per_s: MIB,
            sleep_after_ms: 60_000,
            crashes_max: 5,
            crash_backoff_ms: 250,
            crash_backoff_ms_max: 60_000,
            actors_max: 0,
            stored_bytes_max: 0,
            creates_per_s: 0,
        }
    }
}

/// A limit that ends a guest by a trap, because the guest cannot get an error inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapLimit {
    /// `memory_bytes_max`: a growth was refused in this call, and the guest did not survive it.
    Memory,
    /// `guest_bytes_max` of the host: all guests together use it up, and no idle one could be put
    /// to sleep.
    HostMemory,
    /// `table_elements_max`: likewise.
    TableElements,
    /// The stack of the guest: 2 MiB of wasm.
    Stack,
    /// Handles of WASI: streams and pollables.
    WasiHandles,
}

impl TrapLimit {
    /// The word for the limit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::HostMemory => "host-memory",
            Self::TableElements => "table-elements",
            Self::Stack => "stack",
            Self::WasiHandles => "wasi-handles",
        }
    }
}

/// Limits of one host process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Actors awake at the same time, before the map count of the machine lowers it. 20,000.
    pub actors_awake_max: usize,
    /// Bytes of memory of all guests together: linear memories, SQLite, scratch. `None`: half of
    /// what the machine, or the control group of the process, has. Idle actors sleep before
    /// anything is refused.
    pub guest_bytes_max: Option<u64>,
    /// Bytes of linear memory that a kind may ask for at most. 1 GiB.
    pub memory_bytes_max: u64,
    /// Elements of a table that a kind may ask for at most. 100,000.
    pub table_elements_max: u64,
    /// Bytes of one commit that a kind may ask for at most. 1 GiB: half a minute of a slow disk.
    pub commit_bytes_max: u64,
    /// Bytes of pages in one step of the store; larger commits are staged in steps of this size. 4
    /// MiB: as long as others wait for one step, and as much as a large transaction holds in
    /// memory.
    pub step_bytes_max: u64,
    /// Bytes of a component. 64 MiB: compiling one takes seconds already.
    pub component_bytes_max: u64,
    /// Bytes of an HTTP request's body, whatever the kind allows. 64 MiB, for deploys.
    pub body_bytes_max: usize,
    /// Requests of callers that the gateway works on at the same time. 2,048; more are
    /// `host.overloaded`. A kind gets no more when it has as many as are free: half of them at
    /// most.
    pub requests_max: usize,
    /// Concurrent requests of operators, whatever callers do. 64.
    pub operator_requests_max: usize,
    /// How long a connection may be idle, and how long the head of a request, a TLS handshake, and
    /// a body (beyond a slow but honest sender's time, `body_rate_min`) may take. 30 s.
    pub request_read_max: Duration,
    /// Bytes per second that a sender of a body is granted time for. 128 KiB: a bad line, not an
    /// attack.
    pub body_rate_min: u64,
    /// Bytes of all request bodies in memory at the same time, and of their values, beyond the 64
    /// KiB that each request has for itself. 256 MiB: one of the largest payloads as its largest
    /// values.
    pub bodies_bytes_max: usize,
    /// How long a client may read nothing of an answer. 30 s, then the connection is reset.
    pub write_stall_max: Duration,
    /// The least bytes of an answer that is compressed, if the client takes `gzip`. 4 KiB: less
    /// fits into a few packets anyway.
    pub compress_bytes_min: usize,
    /// Connections of one listener. 4,096; for one more, the one that is idle for longest is
    /// closed, and while none is idle more wait in the kernel's queue.
    pub connections_max: usize,
    /// Concurrent exports. 8: each one reads as fast as the store can.
    pub exports_max: usize,
    /// Concurrent imports. 2: each checks a whole database.
    pub imports_max: usize,
    /// Concurrent checks of the whole store. 1: each reads all of it.
    pub checks_max: usize,
    /// Concurrent lists that look at all actors, to sort or count them. 2.
    pub lists_max: usize,
    /// Pause between two rounds of upkeep: trimming history, finishing destroys. 5 s: history is
    /// kept for a minute.
    pub upkeep_every: Duration,
    /// How long calls of an actor whose stored bytes were found damaged are answered without
    /// another read. 60 s: each read is a takeover, a durable step, and finds the same.
    pub damaged_rest: Duration,
    /// Period of the epoch ticker while guests run: the grain of every deadline of a guest, and how
    /// often one that computes for long offers its core to others. 0.5 ms, about as long as a write
    /// takes.
    pub epoch_tick: Duration,
    /// Actors that a process hands over to others in a minute, while it has more than its share of
    /// those that are awake. 600: a full process has its share within ten minutes, and one wake in a
    /// tenth of a second costs hardly anything. 0: none.
    pub handed_over_per_min: u64,
    /// Bytes that all actors may log in a second. 8 MiB: the excess is dropped and counted as well.
    pub log_bytes_per_s: u64,
    /// How long a shutdown waits for generations to end in order. 20 s.
    pub shutdown_max: Duration,
    /// Rows of an admin `sql` answer. 10,000.
    pub admin_rows_max: u64,
}

impl HostLimits {
    /// Bytes of memory of all guests together, on this machine.
    #[must_use]
    pub fn guest_bytes_max(&self) -> u64 {
        let half = || machine::memory().map_or(u64::MAX, |memory| memory.total / 2);
        self.guest_bytes_max.unwrap_or_else(half)
    }
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            actors_awake_max: 20_000,
            guest_bytes_max: None,
            memory_bytes_max: GIB,
            table_elements_max: 100_000,
            commit_bytes_max: GIB,
            step_bytes_max: 4 * MIB,
            component_bytes_max: 64 * MIB,
            body_bytes_max: 64 * 1024 * 1024,
            requests_max: 2_048,
            operator_requests_max: 64,
            request_read_max: Duration::from_secs(30),
            body_rate_min: 128 * KIB,
            bodies_bytes_max: 256 * 1024 * 1024,
            write_stall_max: Duration::from_secs(30),
            compress_bytes_min: 4 * 1024,
            connections_max: 4_096,
            exports_max: 8,
            imports_max: 2,
            checks_max: 1,
            lists_max: 2,
            upkeep_every: Duration::from_secs(5),
            damaged_rest: Duration::from_secs(60),
            epoch_tick: Duration::from_micros(500),
            handed_over_per_min: 600,
            log_bytes_per_s: 8 * MIB,
            shutdown_max: Duration::from_secs(20),
            admin_rows_max: 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use super::*;

    /// Fields and their values, as text.
    fn fields(of: &impl Debug) -> BTreeMap<String, String> {
        let shown = format!("{of:#?}");
        let fields = shown.lines().filter_map(|line| line.strip_prefix("    "));
        let fields = fields.filter_map(|line| line.trim_end_matches(',').split_once(": "));
        fields.map(|(name, value)| (name.to_owned(), value.to_lowercase())).collect()
    }

    /// The first two columns of the tables under a heading.
    fn rows(document: &str, heading: &str) -> BTreeMap<String, String> {
        let section = document.split_once(heading).map_or("", |(_, rest)| rest);
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.filter_map(|row| row.split_once("` | "));
        cells
            .filter_map(|(name, rest)| Some((name.into(), rest.split(" |").next()?.into())))
            .collect()
    }

    #[test]
    fn the_reference_has_every_limit_and_its_default() {
        let document = include_str!("../../docs/reference/limits.md");
        let kind = fields(&Limits::default());
        assert!(kind.len() > 30, "{kind:?}");
        assert_eq!(rows(document, "\n## Limits of a kind\n"), kind);
        let host = fields(&HostLimits::default());
        assert_eq!(rows(document, "\n## Limits of a host process\n"), host);
    }
}
