//! Retention beside sessions: verdicts that come too late for their commit row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stockade_depot::store::Keep;
use stockade_depot::store::embedded::Clock;
use stockade_depot::{Store, Txid, Verdict, retention};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, limits, put};

/// A frozen process gets no answer to its commit, is taken over, and asks when the row is trimmed:
/// "no row" must not be reported as "not committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_retention_has_passed_is_indeterminate() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let told = Arc::clone(&now);
    let clock = Clock::new(move || told.load(Ordering::Relaxed));
    let limits = stockade_depot::DepotLimits { step_deadline: Duration::from_secs(20), ..limits() };
    let world = World::at(limits, clock);
    let old = world.create().await;
    let lost = world.store.arm(Step::Commit, 1, Fault::LostAnswer);
    let asked = world.store.arm(Step::Verdict, 1, Fault::Hold);
    let mark = put(&old, &[(1, 1)], 1);
    asked.fired().await;
    drop(lost);
    let new = world.steal().await;
    for byte in 2..5 {
        new.durable(put(&new, &[(1, byte)], 1)).await.unwrap();
    }
    now.fetch_add(3_600_000, Ordering::Relaxed);
    let nothing = Keep { commits_min: 0, age_ms_min: 0 };
    let store: &dyn Store = world.store.as_ref();
    let report = retention::trim(store, old.fence().db, nothing, Duration::ZERO).await.unwrap();
    assert_eq!(report.floor, Txid(4));
    asked.release();
    let cause = old.durable(mark).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::Indeterminate, "it was committed: {cause}");
}
