//! The wall clock, in its one home: when an alarm is due. Deadlines use the `Instant` of
//! tokio, whose timers wait for them: under the paused clock of a simulation `std` has another time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock of the world outside. Cloning shares it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the home of the wall clock")]
    pub fn system() -> Self {
        Self(Arc::new(|| ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())))
    }

    /// A clock that shows milliseconds since 1970, for simulations and tests.
    #[must_use]
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }

    /// How long it is until a time; zero if that has passed.
    #[must_use]
    pub fn until(&self, at_ms: i64) -> Duration {
        let left = at_ms.saturating_sub(self.now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now_ms()).finish()
    }
}
