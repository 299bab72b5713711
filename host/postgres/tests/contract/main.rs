//! The contract of stores, on a real server: once as PostgreSQL comes, once as engines work that know
//! only serializable transactions.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

#[macro_use]
#[path = "../../../depot/tests/contract/cases.rs"]
mod cases;
#[path = "../../../depot/tests/contract/clock.rs"]
mod clock;
#[path = "../../../depot/tests/contract/commit.rs"]
mod commit;
#[path = "../../../depot/tests/contract/directory.rs"]
mod directory;
#[path = "../../../depot/tests/contract/fence.rs"]
mod fence;
#[path = "../../../depot/tests/contract/heir.rs"]
mod heir;
#[path = "../../../depot/tests/contract/import.rs"]
mod import;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod kit;
#[path = "../../../depot/tests/contract/owner.rs"]
mod owner;
#[path = "../../../depot/tests/contract/ownership.rs"]
mod ownership;
#[path = "../../../depot/tests/contract/pages.rs"]
mod pages;
#[path = "../../../depot/tests/contract/retention.rs"]
mod retention;
#[path = "../../../depot/tests/contract/stage.rs"]
mod stage;

use std::sync::Arc;

use stockade_postgres::PgStore;

/// A store of three shards in a schema of its own.
async fn store(options: &str) -> Arc<PgStore> {
    let mut config = kit::config(&kit::server().schema().await, options);
    config.shards = 3;
    config.clock = clock::clock();
    Arc::new(PgStore::open(&config).await.unwrap())
}

macro_rules! as_it_comes {
    ($($module:ident::$case:ident)*) => {
        mod as_it_comes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(super::store("").await).await;
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
                crate::$module::$case(super::store(options).await).await;
            })*
        }
    };
}

for_each_case!(as_it_comes);
for_each_case!(serializable);
