//! Long statements give their thread back: SQL runs inline, on a worker of the guests' runtime, and
//! as many endless statements as there are workers would hold up every other actor and commit.
//!
//! ```text
//!  statement ── 64 looks: hand the worker's queue to another thread ── 128 ── 256 ── ... ──> end
//! ```
//! Handing over costs a thread and may not succeed at once when the machine is busy, so a short
//! statement never does it, and a long one tries at growing distances. Done once, again costs next
//! to nothing.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Looks at the meter that a statement may take before it counts as long: about 2 ms.
const FIRST_SLICE_LOOKS: u64 = 64;

/// How long the other thread has to take the worker's queue over.
const HAND_OVER: Duration = Duration::from_micros(200);

/// From the progress handler, at every look of the statement that runs now.
pub(super) fn give_thread_back(looks: u64) {
    if looks < FIRST_SLICE_LOOKS || !looks.is_power_of_two() {
        return;
    }
    // Elsewhere nobody waits for this thread, or nothing can be handed over.
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    if matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(|| std::thread::park_timeout(HAND_OVER));
    }
}
