//! The contract of stores, on a real server: once as PostgreSQL comes, once as engines work that know
//! only serializable transactions, and once over two primaries.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod kit;

use std::sync::Arc;

use stockade_postgres::PgStores;
use stockade_testkit::contract::clock::clock;
use stockade_testkit::for_each_case;

/// A store of three shards in a schema of its own.
async fn store(options: &str) -> Arc<PgStores> {
    let mut config = kit::config(&kit::server().schema().await, options);
    config.shards = 3;
    config.clock = clock();
    Arc::new(PgStores::open(std::slice::from_ref(&config)).await.unwrap())
}

/// A store of three shards, of which the second is at another primary.
async fn two_primaries() -> Arc<PgStores> {
    let mut configs = Vec::new();
    for name in ["a", "b"] {
        let named = format!("&name={name}");
        let mut config = kit::config(&kit::server().schema().await, &named);
        config.shards = 3;
        config.clock = clock();
        configs.push(config);
    }
    Arc::new(PgStores::open(&configs).await.unwrap())
}

macro_rules! as_it_comes {
    ($($module:ident::$case:ident)*) => {
        mod as_it_comes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                stockade_testkit::contract::$module::$case(super::store("").await).await;
            })*
        }
    };
}

macro_rules! serializable {
    ($($module:ident::$case:ident)*) => {
        mod serializable {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let options = "&options=-c%20default_transaction_isolation%3Dserializable";
                stockade_testkit::contract::$module::$case(super::store(options).await).await;
            })*
        }
    };
}

macro_rules! over_two {
    ($($module:ident::$case:ident)*) => {
        mod over_two {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                stockade_testkit::contract::$module::$case(super::two_primaries().await).await;
            })*
        }
    };
}

for_each_case!(as_it_comes);
for_each_case!(over_two);
for_each_case!(serializable);
