//! Synced updates of plain SQLite beside busy threads: the slowdown that the kernel's scheduler
//! alone causes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::Native;

/// The errand, from JSON.
#[derive(Deserialize)]
struct Errand {
    /// Busy threads.
    hogs: usize,
    /// The duration of the updates.
    milliseconds: u64,
}

/// Updates rows one after the other. Returns the 99th percentile.
pub fn run(native: &Native, errand: &Json) -> anyhow::Result<Json> {
    let errand = Errand::deserialize(errand)?;
    let over = AtomicBool::new(false);
    let took = thread::scope(|scope| {
        for _ in 0..errand.hogs {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let took = updates(native, Duration::from_millis(errand.milliseconds));
        over.store(true, Ordering::Relaxed);
        took
    });
    let mut took = took?;
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    Ok(json!({ "p99_ms": p99.as_secs_f64() * 1e3 }))
}

fn updates(native: &Native, lasting: Duration) -> anyhow::Result<Vec<Duration>> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasting {
        let each = Instant::now();
        native.update(1)?;
        took.push(each.elapsed());
    }
    Ok(took)
}
