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
/// Reads that share one connection while all others are in use. 1024: half of the calls that a host
/// works on; more wait for a connection.
pub const ASIDE_READS_MAX: usize = 1024;
/// How long the answer to a read may stay out for which its caller waits no longer, before the connection
/// is left. 2 s, as long as making another one may take.
pub const SILENT_MAX: Duration = Duration::from_secs(2);
/// How long a group is under way before the next one is sent behind it. 100 ms: a server that is near has
/// answered, and what gathers in that time is a large group.
pub const GROUP_LATE: Duration = Duration::from_millis(100);
/// Groups of one committer under way at the same time. 4: as many as are sent before the first has its
/// answers, on a way of 400 ms.
pub const GROUPS_MAX: usize = 4;
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
pub const SHARDS_MAX: u16 = 256;
/// Shards of a new store: all that an id can tell. They are what actors are moved by between primaries.
pub const SHARDS: u16 = 256;
/// Most primaries of a store. 64: four shards each.
pub const PRIMARIES_MAX: usize = 64;
/// Most bytes of a primary's name.
pub const NAME_BYTES_MAX: usize = 32;
/// What the primary of a store is called that was made without a name.
pub const NAME: &str = "main";
/// How long a takeover waits for a database that is being moved, before it takes the database from the
/// mover. 2 s: a move holds one for some round trips, and a mover that is gone holds up no caller longer.
pub const MOVE_WINDOW: Duration = Duration::from_secs(2);
/// How often it looks. 5 ms: some round trips.
pub const MOVE_PAUSE: Duration = Duration::from_millis(5);
/// How often a step is sent on to another primary. 8: the way from a map that is several moves old.
pub const TURNS_MAX: u32 = 8;
/// Databases of which a process remembers that they have moved before their shard. 65,536: 3 MiB; the
/// others are asked for at their former primary first.
pub const STRAYS_MAX: usize = 1 << 16;
/// Fences that moved, or are of no database, and that are asked for at the same time. 16: as many
/// connections as there are.
pub const TURNS_AT_ONCE_MAX: usize = 16;
/// How often a list over several primaries is tried that a move has changed in between. 5.
pub const LIST_TRIES_MAX: u32 = 5;
/// Pages that come along with a takeover: as many as a session reads first
/// (`DepotLimits::preload_pages_max`). 128 KiB.
pub const ALONG_PAGES: i64 = 32;
/// Sets of such pages that wait for their read. 64: what is woken at the same time, 8 MiB at most.
pub const ALONG_MAX: usize = 64;
/// How long they wait. 1 s, less than the answer of a read may take.
pub const ALONG_AGE_MAX: Duration = Duration::from_secs(1);
/// Fences in one question.
pub const CONFIRM_FENCES_MAX: usize = 1000;
/// Databases that one mover moves at the same time. 4: a quarter of the connections.
pub const MOVE_DATABASES: usize = 4;
/// Databases in one list of those that are to be moved.
pub const MOVE_LISTED_MAX: i64 = 256;
/// Pages in one step of a copy. 1024: 4 MiB at most.
pub const MOVE_PAGES_MAX: i64 = 1024;
/// Commit rows in one step of a copy. 4096: half a megabyte.
pub const MOVE_COMMITS_MAX: i64 = 4096;
/// How often the commits since the last round are copied while the database is in use. 3: what is left
/// then is what was committed during the third.
pub const MOVE_ROUNDS_MAX: u32 = 3;
/// So few commits are left for the time in which the database is held. 64: one group, a few
/// milliseconds.
pub const MOVE_TAIL_COMMITS: i64 = 64;
/// Pins of one database that a mover copies and compares. 100,000: some 10 MB of memory.
pub const MOVE_PINS_MAX: u32 = 100_000;
/// How often a mover tries to move a database that others take over. 24, with pauses that grow by
/// [`MOVE_PAUSE`]: each try copies only what came since the one before.
pub const MOVE_TRIES_MAX: u32 = 24;
/// How often a copy is made that differs from what was copied. 2: what differs twice is damage.
pub const MOVE_DIFFERS_MAX: u32 = 2;
/// How often a mover tries a step again for which a primary could not be reached, or did not answer.
/// 20, 250 ms apart: some seconds, in which a server restarts.
pub const MOVE_FAILURES_MAX: u32 = 20;
/// The pause between two of them.
pub const MOVE_RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The pause between two looks whether another mover has moved a database. 20 ms: what a small one
/// takes.
pub const MOVE_OTHER_PAUSE: Duration = Duration::from_millis(20);
/// How often the time doubles that a mover leaves to another one that has a copy under way. 5: from
/// [`MOVE_WINDOW`] to a minute.
pub const MOVE_OTHERS_MAX: u32 = 5;
/// How often the rows of a shard are looked at that others change at the same time.
pub const MOVE_LOOKS_MAX: u32 = 16;
/// How often a mover passes over a shard in which new actors are made. 1000: each pass moves those that
/// came during the last one.
pub const MOVE_PASSES_MAX: u32 = 1000;
/// The longest wait for rows that a mover reads: some of them pass over all rows of a database. 30 s: a
/// million rows take a second at most.
pub const MOVE_READ_DEADLINE: Duration = Duration::from_secs(30);

// A verdict is asked for while its row is there.
const _: () =
    assert!(WRITE_DEADLINE.as_millis() < stockade_depot::store::limits::COMMIT_ROWS_MS_MIN as u128);
