//! Nodes that reach their store through the protocol of the node that has it: messages are delayed, lost
//! on the way there or back, and arrive late or twice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stockade_depot::{Store, StoreError};
use stockade_remote::{CarriedServer, Carrier, NoReply, RemoteStore, Reply, Request};
use tokio::time::sleep;

use crate::network::{Life, Link, Network};

/// Messages that arrive twice, in a hundred, and how much later: milliseconds.
const DOUBLED: u64 = 4;
const DOUBLED_MS: u64 = 2_000;

/// The way of one life of a node.
struct Way {
    network: Arc<Network>,
    link: Arc<Link>,
    server: Arc<CarriedServer>,
}

/// The store as a life of a node reaches it.
#[must_use]
pub fn store(
    network: &Arc<Network>,
    life: &Arc<Life>,
    server: &Arc<CarriedServer>,
) -> Arc<dyn Store> {
    let link = Link::new(network, life);
    let way = Way { network: Arc::clone(network), link, server: Arc::clone(server) };
    Arc::new(RemoteStore::over(Arc::new(way), network.store.shards()))
}

#[async_trait]
impl Carrier for Way {
    async fn carry(&self, request: Request) -> Result<Reply, NoReply> {
        let what = request.name().to_owned();
        let dice = &self.network.dice;
        if dice.percent(DOUBLED) && !request.creates() && !self.network.is_calm() {
            let (server, again) = (Arc::clone(&self.server), request.clone());
            let (later, journal) = (dice.between(1, DOUBLED_MS), Arc::clone(&self.network.journal));
            tokio::spawn(async move {
                sleep(Duration::from_millis(later)).await;
                journal.say(&format!("{} arrives again", again.name()));
                drop(server.answer(again).await);
            });
        }
        let server = Arc::clone(&self.server);
        let answered = self.link.has_done(what, async move { server.answer(request).await }).await;
        answered.map_err(|error| match error {
            StoreError::Unavailable(why) => NoReply::NotSent(why),
            error => NoReply::Lost(error.to_string()),
        })
    }
}
