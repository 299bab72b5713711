//! Makes room in the memory of all guests: idle actors sleep, the largest first.
//!
//! Two things ask for it: a guest that needs more than the pool has left, and the machine when its
//! memory runs short, whatever uses it. Then nothing more is given until there is some.

use std::sync::Arc;
use std::time::Duration;

use crate::machine;
use crate::memory::ACTOR_BYTES;
use crate::router::Router;

/// How often an idle actor is looked for while all are busy.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long one ending may keep the next from beginning.
const SLEEPS_WITHIN: Duration = Duration::from_millis(100);
/// How often the machine is asked. 100 ms: two cores touch a few hundred megabytes in that time.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a waiting request may take to use what was made free. Twice the pause between two
/// tries.
const TAKEN_WITHIN: Duration = Duration::from_millis(4);
/// The machine is short of memory when less than this part of it is available.
const SHORT_PART: u64 = 16;
/// But never while so many bytes are. 512 MiB.
const NEVER_SHORT_BYTES: u64 = 512 << 20;
/// While no request waits, only actors that hold so much are put to sleep. 1 MiB: smaller ones wake
/// more often than they help.
const WORTH_BYTES: u64 = ACTOR_BYTES + (1 << 20);

/// Lets idle actors sleep whenever the bell rings.
pub(super) async fn make(router: Router) {
    let memory = Arc::clone(router.awake().memory());
    loop {
        memory.rang().await;
        loop {
            let worth = if memory.is_waited_for() { 0 } else { WORTH_BYTES };
            if worth > 0 && !memory.pool().is_scarce() {
                break;
            }
            let evicted = tokio::time::timeout(SLEEPS_WITHIN, router.evict_largest(worth)).await;
            if evicted == Ok(true) {
                // A waiting request takes what was given back before the next is looked for.
                tokio::time::sleep(TAKEN_WITHIN).await;
            } else if evicted == Ok(false) {
                if worth > 0 {
                    break;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Closes the pool while the machine is short of memory.
pub(super) async fn watch_machine(router: Router) {
    let pool = router.awake().memory().pool();
    let mut period = tokio::time::interval(ASK_EVERY);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let Some(memory) = machine::memory() else { continue };
        let short = memory.available < (memory.total / SHORT_PART).min(NEVER_SHORT_BYTES);
        if short != pool.is_closed() {
            tracing::warn!(
                available_bytes = memory.available,
                total_bytes = memory.total,
                short,
                "the memory of the machine, or of this process's control group"
            );
            pool.set_closed(short);
        }
        if short {
            pool.ring();
        }
    }
}
