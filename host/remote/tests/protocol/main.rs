//! What only a store of another node can meet: lost connections, slow and restarting servers, programs
//! of other versions, wrong keys, messages over their bounds.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

mod access;
mod bounds;
mod faults;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the contract")]
mod kit;
mod lost;
mod restart;
mod versions;

use std::sync::Arc;

use stockade_depot::{EmbeddedStore, Store, StoreError};
use stockade_remote::Terms;
use stockade_testkit::owner::Owner;

fn embedded() -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::in_memory(3).unwrap())
}

/// A store behind the protocol.
async fn served() -> kit::Served {
    kit::Served::start(embedded(), Terms::ours()).await
}

/// Whether the commit after `owner`'s txid is in the store, by its row.
async fn is_there(owner: &Owner, content: [u8; 32]) -> bool {
    for _ in 0..1000 {
        match owner.store.verdict(owner.fence.db, owner.txid.next()).await {
            Ok((_, row)) => return row.is_some_and(|row| row.content == content),
            Err(StoreError::Unavailable(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the store stays away");
}
