//! Heirs that have begun here, until the store knows that this process runs them.
//!
//! Beginning an heir writes nothing, so that a wake waits for no disk. Until its head names this
//! process, another one that is asked for the actor takes it over without looking whether its owner
//! lives: that costs this life, never data. So it is told soon, with others, and nobody waits.

use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::{Depot, Fence};
use tokio::sync::Notify;

/// How long claims are collected. 1 s: most of a storm of wakes goes together, and what only reads
/// for longer than that is not taken for asleep.
const CLAIM_AFTER: Duration = Duration::from_secs(1);

/// Heirs that are not claimed yet.
#[derive(Default)]
pub struct Heirs {
    begun: Mutex<Vec<Fence>>,
    news: Notify,
}

impl Heirs {
    /// A generation that its predecessor appointed has begun.
    pub fn begun(&self, heir: Fence) {
        let mut begun = self.begun.lock();
        begun.push(heir);
        if begun.len() == 1 {
            self.news.notify_one();
        }
    }

    /// Tells the store. Never returns; dropped at the end.
    pub async fn keep(&self, depot: &Depot) {
        loop {
            self.news.notified().await;
            tokio::time::sleep(CLAIM_AFTER).await;
            let heirs = std::mem::take(&mut *self.begun.lock());
            if let Err(error) = depot.store().claim(depot.node(), &heirs).await {
                tracing::debug!(%error, "heirs are not claimed yet; trying again");
                self.begun.lock().extend(heirs);
                self.news.notify_one();
            }
        }
    }
}
