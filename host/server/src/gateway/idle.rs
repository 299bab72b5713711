//! The connections of a listener, so that a full one closes the one that has been idle for longest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::line::Line;

/// Connections that are being served.
#[derive(Default)]
pub(super) struct Connections {
    lines: Mutex<HashMap<u64, Arc<Line>>>,
    serial: AtomicU64,
    /// Notified when a connection becomes idle.
    fell_idle: Arc<Notify>,
}

/// One connection in the set, until this value is dropped.
pub(super) struct Known {
    among: Arc<Connections>,
    serial: u64,
    line: Arc<Line>,
}

impl Connections {
    /// Adds a connection that begins.
    pub(super) fn enter(self: &Arc<Self>) -> Known {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let line = Arc::new(Line::new(Arc::clone(&self.fell_idle)));
        self.lines.lock().insert(serial, Arc::clone(&line));
        Known { among: Arc::clone(self), serial, line }
    }

    /// Resolves when a connection becomes idle after this call.
    pub(super) fn fell_idle(&self) -> impl Future<Output = ()> {
        self.fell_idle.notified()
    }

    /// Asks the connection that has been idle for longest to give up its place. `false`: no
    /// connection is idle that has not been asked already.
    pub(super) fn give_way(&self) -> bool {
        let lines = self.lines.lock();
        let idle = lines.values().filter_map(|line| Some((line.idle_since()?, line)));
        let longest = idle.min_by_key(|(since, _)| *since);
        longest.inspect(|(_, line)| line.end()).is_some()
    }
}

impl Known {
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.among.lines.lock().remove(&self.serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn the_longest_idle_one_gives_way_and_busy_ones_do_not() {
        let connections = Arc::<Connections>::default();
        let known: Vec<Known> = (0..3).map(|_| connections.enter()).collect();
        let is_told = |n: usize| known[n].line().idle_since().is_none();
        let turn = known[0].line().begin(&mut Request::new(()));
        assert!(connections.give_way());
        assert!(is_told(1) && !is_told(2), "the first is busy, the second older than the third");
        assert!(connections.give_way() && is_told(2));
        assert!(!connections.give_way(), "one is busy, two were told");
        drop(turn);
        assert!(connections.give_way(), "it is idle now");
        drop(known);
        assert!(!connections.give_way() && connections.lines.lock().is_empty());
    }
}
