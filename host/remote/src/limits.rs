//! Every number that bounds the protocol, with its unit and its reason. Both sides apply them.

use std::time::Duration;

use stockade_depot::store::limits::{
    COMMIT_BYTES_MAX, COMMIT_ROWS_MS_MIN, COMPONENT_BYTES_MAX, SNAPSHOT_BYTES_MAX,
};

/// Most bytes of one part of a message. 256 KiB: a part of a large message holds up others on the
/// same connection for a millisecond or two.
pub const PART_BYTES_MAX: usize = 256 << 10;
/// What a part's head and framing may add to its data.
pub const PART_HEAD_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a greeting, of its answer and of a refusal: versions, names of fields, a token.
pub const GREETING_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a text that another program sent and that is logged or shown.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// Most bytes of the message of a step without pages, state or components, and of its answer. 16 MiB:
/// the longest are 1000 kinds with long settings, and 131,072 rows to trim.
pub const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// What the fields of a step with a large part may add to it: 16 bytes for each page of the largest
/// commit, and its head.
const FIELDS_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of the message of a commit or of a stage.
pub const COMMIT_MESSAGE_BYTES_MAX: u64 = COMMIT_BYTES_MAX + FIELDS_BYTES_MAX;
/// Most bytes of a message with handed-over state.
pub const SNAPSHOT_MESSAGE_BYTES_MAX: u64 = SNAPSHOT_BYTES_MAX + FIELDS_BYTES_MAX;
/// Most bytes of a message with a component.
pub const COMPONENT_MESSAGE_BYTES_MAX: u64 = COMPONENT_BYTES_MAX + FIELDS_BYTES_MAX;
/// Bytes of messages that a server holds for all its clients together. 1 GiB: three of the largest,
/// or 256 commits of the usual longest step. Further ones wait.
pub const HELD_BYTES_MAX: u64 = 1 << 30;

/// Most shards of a store: what the first byte of a database's id tells.
pub const SHARDS_MAX: u16 = 256;

/// Connections of a server: more than one store of this kind serves.
pub const CONNECTIONS_MAX: usize = 256;
/// Steps that a client has on their way on one connection. 512: what a thousand awake actors ask for
/// together. Further ones wait.
pub const STREAMS_MAX: u32 = 512;
/// Streams that a server takes on one connection. Twice as many: it may know later than the client that
/// one has ended.
pub const SERVER_STREAMS_MAX: u32 = 2 * STREAMS_MAX;
/// Fences in one question.
pub const CONFIRM_FENCES_MAX: usize = 1000;
/// Fences of heirs in one claim, for the same reason.
pub const CLAIM_FENCES_MAX: usize = 1000;
/// Bytes on their way in one stream, 1 MiB: a read of the most pages without a pause.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes on their way on one connection, 8 MiB: two of the usual longest commits.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of one frame, 64 KiB: other streams get their turn in between.
pub const FRAME_BYTES_MAX: u32 = 64 << 10;

/// The longest time for reaching a server: name, TCP, TLS. 2 s, as for other nodes.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The longest time until a connection is greeted, on both sides. 5 s.
pub const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// The longest wait for the answer of a read.
pub const READ_DEADLINE: Duration = Duration::from_secs(5);
/// The longest wait for the answer of a write; then its outcome is unknown.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait for a component, in either direction: 256 MiB at 4 MiB/s.
pub const COMPONENT_DEADLINE: Duration = Duration::from_secs(64);
/// How often a silent connection is asked for a sign of life. 5 s.
pub const PING_EVERY: Duration = Duration::from_secs(5);
/// How long that sign is waited for. 5 s: a busy machine answers, and a dead one is given up within
/// the time of a step.
pub const PING_MAX: Duration = Duration::from_secs(5);
/// How long a server that is closed waits for the steps that it has begun. As long as a write.
pub const CLOSE_DEADLINE: Duration = WRITE_DEADLINE;

// A verdict is asked for while its row is there.
const _: () = assert!(WRITE_DEADLINE.as_millis() < COMMIT_ROWS_MS_MIN as u128);
// A message in parts fits what both sides hold.
const _: () = assert!(COMPONENT_MESSAGE_BYTES_MAX < HELD_BYTES_MAX);
