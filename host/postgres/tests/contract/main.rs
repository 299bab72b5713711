//! The contract of stores, on a real server: once as PostgreSQL comes, once as engines work that know
//! only serializable transactions.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod kit;

use std::sync::Arc;

use stockade_postgres::PgStore;
use stockade_testkit::contract::clock::clock;
use stockade_testkit::for_each_case;

/// A store of three shards in a schema of its own.
async fn store(options: &str) -> Arc<PgStore> {
    let mut config = kit::config(&kit::server().schema().await, options);
    config.shards = 3;
    config.clock = clock();
    Arc::new(PgStore::open(&config).await.unwrap())
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

for_each_case!(as_it_comes);
for_each_case!(serializable);
