//! A small pool of pre-opened SQLite connections, so that a wake need not open one.
//!
//! Opening a connection and registering the host's functions takes longer than the read of the head
//! that a wake waits for, and depends on nothing that the wake knows. A spare serves one generation
//! and is closed with it; none is used twice.

use std::time::Duration;

use parking_lot::Mutex;
use stockade_vfs::Spare;
use tokio::sync::Notify;

use super::error::SqlError;
use super::functions;

/// Spares that are kept. 8: they help a wake that comes alone. In a storm of wakes, which use all
/// cores, the work is the same whichever task does it.
const KEPT: usize = 8;
/// How long taken spares are collected before they are replaced. 2 ms: a wake is over by then, and
/// a storm of wakes is not slowed by a task switch for each.
const REPLACED_AFTER: Duration = Duration::from_millis(2);

/// Spares of one host. None are made before the first wake.
#[derive(Default)]
pub struct Spares {
    ready: Mutex<Vec<Spare>>,
    taken: Notify,
}

impl Spares {
    /// A connection that has the host's functions and no database: a spare one, or a new one.
    ///
    /// # Errors
    /// `Other`: SQLite has no memory.
    pub(super) fn take(&self) -> Result<Spare, SqlError> {
        let spare = self.ready.lock().pop();
        self.taken.notify_one();
        spare.map_or_else(new, Ok)
    }

    /// Keeps some spares ready. Never returns; dropped at the end.
    pub async fn keep(&self) {
        loop {
            self.taken.notified().await;
            tokio::time::sleep(REPLACED_AFTER).await;
            while self.ready.lock().len() < KEPT {
                match new() {
                    Ok(spare) => self.ready.lock().push(spare),
                    Err(error) => {
                        tracing::warn!(%error, "no spare connection of SQLite");
                        break;
                    }
                }
                // Other tasks of this thread get a turn.
                tokio::task::yield_now().await;
            }
        }
    }
}

fn new() -> Result<Spare, SqlError> {
    let spare = Spare::new().map_err(|error| SqlError::Other(format!("open: {error}")))?;
    functions::register(spare.connection())
        .map_err(|code| SqlError::Other(format!("open: functions: code {code}")))?;
    Ok(spare)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::*;

    /// Spares are kept from the first wake on, replaced when they were taken, and never more than
    /// some.
    #[tokio::test]
    async fn some_are_ready_after_the_first_wake_and_again_after_a_storm() {
        let spares = Arc::new(Spares::default());
        let keeper = Arc::clone(&spares);
        let keeping = tokio::spawn(async move { keeper.keep().await });
        let ready = || spares.ready.lock().len();
        let full = async || {
            while ready() < KEPT {
                tokio::time::sleep(REPLACED_AFTER).await;
            }
        };
        let within = Duration::from_secs(60);
        assert_eq!(ready(), 0);
        drop(spares.take().unwrap());
        tokio::time::timeout(within, full()).await.expect("none are kept");
        let storm: Vec<Spare> = (0..3 * KEPT).map(|_| spares.take().unwrap()).collect();
        assert_eq!(ready(), 0);
        drop(storm);
        tokio::time::timeout(within, full()).await.expect("they are not replaced");
        tokio::time::sleep(3 * REPLACED_AFTER).await;
        assert_eq!(ready(), KEPT);
        keeping.abort();
    }
}
