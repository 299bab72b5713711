//! The contract of stores, over loopback TLS: an embedded store behind the protocol, with the newest
//! version on both sides and with each side at the oldest.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the protocol")]
mod kit;

use std::sync::Arc;

use stockade_depot::{EmbeddedStore, Store};
use stockade_testkit::contract::clock::clock;
use stockade_testkit::for_each_case;

/// A store of three shards behind the protocol, and its server.
async fn store(server: &[u32], client: &[u32]) -> (Arc<dyn Store>, kit::Served) {
    let embedded = EmbeddedStore::in_memory_with_clock(3, clock()).unwrap();
    let served = kit::Served::start(Arc::new(embedded), kit::terms(server)).await;
    let mut config = served.config();
    config.terms = kit::terms(client);
    (kit::open(config).await, served)
}

macro_rules! newest {
    ($($module:ident::$case:ident)*) => {
        mod newest {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _served) = super::store(&[1, 2, 3, 4], &[1, 2, 3, 4]).await;
                stockade_testkit::contract::$module::$case(store).await;
            })*
        }
    };
}

macro_rules! old_server {
    ($($module:ident::$case:ident)*) => {
        mod old_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _served) = super::store(&[1], &[1, 2, 3, 4]).await;
                stockade_testkit::contract::$module::$case(store).await;
            })*
        }
    };
}

macro_rules! old_client {
    ($($module:ident::$case:ident)*) => {
        mod old_client {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _served) = super::store(&[1, 2, 3, 4], &[1]).await;
                stockade_testkit::contract::$module::$case(store).await;
            })*
        }
    };
}

for_each_case!(newest);
for_each_case!(old_server);
for_each_case!(old_client);
