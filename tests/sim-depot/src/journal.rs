//! What happened, line by line under the paused clock, and the first promise that was broken.

use std::fmt::Write as _;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines of a trace that a failure prints.
const TRACE_LINES: usize = 40;

/// The log of one run. The same seed writes the same bytes.
pub struct Journal {
    begun: Instant,
    text: Mutex<String>,
    broken: Mutex<Option<String>>,
}

impl Journal {
    /// An empty one. Must be made inside the run's runtime.
    #[must_use]
    pub fn new() -> Self {
        Self { begun: Instant::now(), text: Mutex::default(), broken: Mutex::default() }
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// One line.
    pub fn say(&self, what: &str) {
        let now = self.now_ms();
        let _ = writeln!(self.text.lock(), "{now:>7} {what}");
    }

    /// A promise was broken. The first one counts.
    pub fn broken(&self, what: &str) {
        self.say(&format!("BROKEN {what}"));
        self.broken.lock().get_or_insert_with(|| what.to_owned());
    }

    /// Whether a promise was broken.
    pub fn is_broken(&self) -> bool {
        self.broken.lock().is_some()
    }

    /// What was broken first, and all lines.
    pub fn into_report(&self, seed: u64) -> Report {
        let (log, broken) = (self.text.lock().clone(), self.broken.lock().clone());
        Report { seed, log, broken }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

/// How a run went.
pub struct Report {
    /// What it was made from.
    pub seed: u64,
    /// Every line.
    pub log: String,
    /// The first promise that was broken.
    pub broken: Option<String>,
}

impl Report {
    /// What a failure prints: seed, promise, the end of the trace, how to repeat it.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let broken = self.broken.as_ref()?;
        let lines: Vec<&str> = self.log.lines().collect();
        let at = lines.iter().position(|line| line.contains("BROKEN")).unwrap_or(lines.len());
        let end = (at + 1).min(lines.len());
        let trace = lines[end.saturating_sub(TRACE_LINES)..end].join("\n");
        let seed = self.seed;
        Some(format!("seed {seed}: {broken}\n{trace}\nrepeat it: make simulate SEED={seed}\n"))
    }
}
