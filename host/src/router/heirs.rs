//! Heirs that have begun here, until the store knows that this process runs them.
//!
//! Beginning an heir writes nothing, so that a wake waits for no disk. Until its head names this
//! process, another one that is asked for the actor takes it over without looking whether its owner
//! lives: that costs this life, never data. So it is told soon, with others, and nobody waits; the
//! first commit tells it as well.

use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::{Depot, Fence, StoreError};
use tokio::sync::Notify;

use super::nodes::Nodes;

/// How long claims are collected by a process that is alone. 1 s: most of a storm of wakes goes
/// together. With others beside it, it tells at once.
const CLAIM_AFTER: Duration = Duration::from_secs(1);
/// Claims that are kept while the store does not take them. 10,000; later ones are given up.
const KEPT_MAX: usize = 10_000;

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
    pub async fn keep(&self, depot: &Depot, nodes: &Nodes) {
        loop {
            self.news.notified().await;
            if nodes.is_alone() {
                tokio::time::sleep(CLAIM_AFTER).await;
            }
            let heirs = std::mem::take(&mut *self.begun.lock());
            match depot.claim(&heirs).await {
                Ok(()) => {}
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    tracing::warn!(%error, "cannot claim woken actors; trying again");
                    self.again(heirs);
                    tokio::time::sleep(CLAIM_AFTER).await;
                }
                Err(error) => tracing::warn!(%error, "some woken actors are not claimed"),
            }
        }
    }

    fn again(&self, heirs: Vec<Fence>) {
        let mut begun = self.begun.lock();
        begun.extend(heirs);
        begun.truncate(KEPT_MAX);
        self.news.notify_one();
    }
}
