//! What only a store on a server can meet: lost connections, servers that go down, codes of refusals,
//! programs of other versions, TLS.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]
#![allow(clippy::print_stdout, reason = "a test tells what it has seen")]

mod codes;
mod due;
mod elsewhere;
mod flights;
mod groups;
mod kept;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the contract")]
mod kit;
mod lost;
mod opening;
mod primaries;
mod promoted;
mod races;
mod sessions;
mod tls;
mod world;

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::Store;
use stockade_postgres::{PgConfig, PgStores};

/// A store in a new database of the shared server, and that database.
async fn store() -> (Arc<dyn Store>, kit::server::Database) {
    let database = kit::server().database().await;
    (open(&kit::config(&database, "")).await, database)
}

async fn open(config: &PgConfig) -> Arc<dyn Store> {
    Arc::new(PgStores::open(std::slice::from_ref(config)).await.unwrap())
}

/// Waits until a statement of others in this database waits for a lock, or for a standby.
async fn until_one_waits(client: &tokio_postgres::Client, what: &str) -> i32 {
    let asked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
        AND (wait_event_type = $1 OR wait_event = $1) AND pid <> pg_backend_pid()";
    for _ in 0..1000 {
        if let Some(row) = client.query_opt(asked, &[&what]).await.unwrap_or(None) {
            return row.get(0);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for {what}");
}
