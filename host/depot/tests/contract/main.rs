//! What every store must do, stated once and run on each of them.
//!
//! A case is a function over a fresh `Arc<dyn Store>`; `for_each_case!` (`cases.rs`) names them all.
//! `durability` is about files: what survives, what is refused, what stays bounded.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

#[path = "../../../../tests/src/capture.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the package stockade-tests")]
mod capture;
#[macro_use]
mod cases;
mod clock;
mod clocks;
mod commit;
mod directory;
mod durability;
mod fence;
mod heir;
mod import;
mod owner;
mod ownership;
mod pages;
mod retention;
mod stage;

use std::sync::Arc;

use stockade_depot::EmbeddedStore;
use stockade_depot::store::embedded::EmbeddedConfig;

macro_rules! in_memory {
    ($($module:ident::$case:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let store = super::EmbeddedStore::in_memory_with_clock(3, super::clock::clock()).unwrap();
                crate::$module::$case(super::Arc::new(store)).await;
            })*
        }
    };
}

macro_rules! files {
    ($($module:ident::$case:ident)*) => {
        mod files {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let directory = tempfile::tempdir().unwrap();
                let mut config = super::EmbeddedConfig::new(directory.path());
                config.shards = 3;
                config.clock = super::clock::clock();
                let store = super::EmbeddedStore::open(&config).unwrap();
                crate::$module::$case(super::Arc::new(store)).await;
            })*
        }
    };
}

for_each_case!(in_memory);
for_each_case!(files);
