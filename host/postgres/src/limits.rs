//! Every number that bounds the work with the server, with its unit and its reason.

use std::time::Duration;

/// Connections for everything but groups of commits. 16: more of them on the cores of a small server
/// cost more than they bring.
pub const CONNECTIONS: usize = 16;
/// Connections that write groups of commits. 2: one group is sent while the other is synced; with 4
/// the groups get smaller and the rate falls.
pub const COMMITTERS: usize = 2;
/// Most commits in one group: what 64 writers have in flight together.
pub const GROUP_COMMITS_MAX: usize = 64;
/// Most bytes of pages in one group, 1 MiB: about 10 ms of a server, so that others get their turn.
pub const GROUP_BYTES_MAX: u64 = 1 << 20;
/// A commit with more bytes than this is sent alone, on a connection of its own. 256 KiB.
pub const GROUPED_BYTES_MAX: u64 = 256 << 10;
/// Commits that wait for one committer. 1024: what it writes in some 100 ms.
pub const QUEUE_COMMITS_MAX: usize = 1024;
/// The longest wait for a free connection. 5 s: as long as a page miss may take.
pub const POOL_WAIT: Duration = Duration::from_secs(5);
/// The longest time for reaching one host and signing in. 2 s: the next host is asked within the time of
/// a step.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The longest time for the schema when a store is opened: looked at, made or converted. 30 s: making
/// it is some 30 statements, beside other programs that make it some seconds. Then the start ends with
/// an error, and the next one continues.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// The longest wait for the answer of a read.
pub const READ_DEADLINE: Duration = Duration::from_secs(5);
/// The longest wait for a look that must count, and for the small write that proves it. 2 s: a server
/// whose standby was promoted never answers, and the next one is asked within the time of a step.
pub const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// How often such a look is tried, each time on another connection. 3: 6 s, some more than a read may
/// take.
pub const LOOKS_MAX: u32 = 3;
/// The longest wait for the answer of a write; then its outcome is unknown. Below the age under which
/// no commit row is trimmed.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait for a component: 256 MiB at 4 MiB/s.
pub const COMPONENT_DEADLINE: Duration = Duration::from_secs(64);
/// How often a step is tried that the server rolled back because of another (40001, 40P01). 12, with
/// pauses that double from 1 ms on: some 4 s.
pub const CONFLICT_TRIES_MAX: u32 = 12;
/// How often making the schema is tried beside other programs that make it. 40, 50 ms apart: 2 s.
pub const SCHEMA_TRIES_MAX: u32 = 40;
/// The pause between two of them.
pub const SCHEMA_PAUSE: Duration = Duration::from_millis(50);
/// How long a silent server is waited for before the system asks it for a sign of life.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Bits of a page version's txid in its place among superseded rows. 39: seventeen years of a
/// thousand commits a second, beside 25 bits of a page number. Later ones are not trimmed.
pub const PLACE_TXID_BITS: u32 = 39;
/// Most shards of a store: what the first byte of an id tells.
pub const SHARDS_MAX: u8 = 64;
/// Shards of a new store. They cost nothing here, and are what actors are moved by between servers.
pub const SHARDS: u8 = 16;
/// Pages that come along with a takeover: as many as a session reads first
/// (`DepotLimits::preload_pages_max`). 128 KiB.
pub const ALONG_PAGES: i64 = 32;
/// Sets of such pages that wait for their read. 64: what is woken at the same time, 8 MiB at most.
pub const ALONG_MAX: usize = 64;
/// How long they wait. 1 s, less than the answer of a read may take.
pub const ALONG_AGE_MAX: Duration = Duration::from_secs(1);
/// Fences in one question.
pub const CONFIRM_FENCES_MAX: usize = 1000;

// A verdict is asked for while its row is there.
const _: () =
    assert!(WRITE_DEADLINE.as_millis() < stockade_depot::store::limits::COMMIT_ROWS_MS_MIN as u128);
