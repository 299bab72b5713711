//! The bounds that a host sets on the settings of a kind.

use crate::limits::{CPU_WEIGHT_MAX, HostLimits, Limits, VALUE_BYTES_MAX};
use crate::typed::{shortened, similar};

/// Size of a snapshot, which one seal carries. 16 MiB.
const SNAPSHOT_BYTES_MAX: u64 = 16 << 20;
/// Each waiting call holds its arguments. 100,000.
const MAILBOX_CALLS_MAX: u64 = 100_000;
/// Each crash costs a start. 1,000 in a row.
const CRASHES_MAX: u64 = 1_000;
/// No operator should wait longer for an actor to try again. 1 h.
const CRASH_BACKOFF_MS_MAX: u64 = 3_600_000;

/// A call, or a hook. One day: longer is a mistake, and sums of times stay far from overflow.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// A value that crosses between guest and host in one piece, and is in the memory of both. 64 MiB.
const PIECE_BYTES_MAX: u64 = 64 << 20;
/// Each handle is an entry of a table, and may be a compiled statement. 100,000.
const HANDLES_MAX: u64 = 100_000;
/// Lines of a call. 1 million.
const LOG_LINES_MAX: u64 = 1_000_000;
/// Creations in a second: more than any store manages.
pub(super) const CREATES_PER_S_MAX: u64 = 1_000_000;
/// One line of the host's log. 1 MiB.
pub const LOG_LINE_BYTES_MAX: u64 = 1 << 20;

/// Log bytes of one actor in a second. 1 GiB: more than any disk takes.
const LOG_BYTES_PER_S_MAX: u64 = 1 << 30;

impl Limits {
    /// Checks that there is a limit of that name.
    ///
    /// # Errors
    /// A sentence with the names that were possibly meant.
    pub fn known(name: &str) -> Result<(), String> {
        let all = serde_json::to_value(Self::default()).expect("BUG: limits are numbers");
        let all: Vec<&str> =
            all.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if all.contains(&name) {
            return Ok(());
        }
        let shown = shortened(name, 40);
        match similar(name, all.iter().copied()).first() {
            Some(similar) => Err(format!("no limit {shown:?}; did you mean {similar:?}?")),
            None => {
                let lines: Vec<String> = all.chunks(4).map(|some| some.join(", ")).collect();
                Err(format!("no limit {shown:?}; there are\n  {}", lines.join(",\n  ")))
            }
        }
    }

    /// These limits, lowered to what the host's limits allow.
    #[must_use]
    pub fn within(mut self, host: &HostLimits) -> Self {
        for Bound { value, max, .. } in bounds(&mut self, host) {
            *value = (*value).min(max);
        }
        self
    }
}

/// A limit of a kind that a host bounds.
pub(super) struct Bound<'l> {
    pub(super) name: &'static str,
    pub(super) value: &'l mut u64,
    pub(super) max: u64,
}

pub(super) fn bounds<'l>(limits: &'l mut Limits, host: &HostLimits) -> [Bound<'l>; 23] {
    let body_bytes_max = u64::try_from(host.body_bytes_max).unwrap_or(u64::MAX);
    [
        ("memory_bytes_max", &mut limits.memory_bytes_max, host.memory_bytes_max),
        ("table_elements_max", &mut limits.table_elements_max, host.table_elements_max),
        ("value_bytes_max", &mut limits.value_bytes_max, VALUE_BYTES_MAX),
        ("commit_bytes_max", &mut limits.commit_bytes_max, host.commit_bytes_max),
        ("snapshot_bytes_max", &mut limits.snapshot_bytes_max, SNAPSHOT_BYTES_MAX),
        ("payload_bytes_max", &mut limits.payload_bytes_max, body_bytes_max),
        ("mailbox_calls_max", &mut limits.mailbox_calls_max, MAILBOX_CALLS_MAX),
        ("call_time_ms", &mut limits.call_time_ms, TIME_MS_MAX),
        ("cpu_weight", &mut limits.cpu_weight, CPU_WEIGHT_MAX),
        ("start_time_ms", &mut limits.start_time_ms, TIME_MS_MAX),
        ("stop_time_ms", &mut limits.stop_time_ms, TIME_MS_MAX),
        ("snapshot_time_ms", &mut limits.snapshot_time_ms, TIME_MS_MAX),
        ("batch_bytes_max", &mut limits.batch_bytes_max, PIECE_BYTES_MAX),
        ("statement_bytes_max", &mut limits.statement_bytes_max, PIECE_BYTES_MAX),
        ("packed_bytes_max", &mut limits.packed_bytes_max, PIECE_BYTES_MAX),
        ("reply_bytes_max", &mut limits.reply_bytes_max, PIECE_BYTES_MAX),
        ("handles_max", &mut limits.handles_max, HANDLES_MAX),
        ("log_lines_max", &mut limits.log_lines_max, LOG_LINES_MAX),
        ("log_line_bytes_max", &mut limits.log_line_bytes_max, LOG_LINE_BYTES_MAX),
        ("log_bytes_per_s", &mut limits.log_bytes_per_s, LOG_BYTES_PER_S_MAX),
        ("crashes_max", &mut limits.crashes_max, CRASHES_MAX),
        ("crash_backoff_ms", &mut limits.crash_backoff_ms, CRASH_BACKOFF_MS_MAX),
        ("crash_backoff_ms_max", &mut limits.crash_backoff_ms_max, CRASH_BACKOFF_MS_MAX),
    ]
    .map(|(name, value, max)| Bound { name, value, max })
}
