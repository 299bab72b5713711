//! The contract of stores (`stockade_testkit::contract`) on the embedded store, in memory and on files.
//!
//! `durability` is about files: what survives, what is refused, what stays bounded. `clocks` is about
//! machines whose clocks are wrong.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

mod clocks;
mod durability;

use std::sync::Arc;

use stockade_depot::EmbeddedStore;
use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_testkit::contract::clock::clock;
use stockade_testkit::for_each_case;

macro_rules! in_memory {
    ($($module:ident::$case:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let store = super::EmbeddedStore::in_memory_with_clock(3, super::clock()).unwrap();
                stockade_testkit::contract::$module::$case(super::Arc::new(store)).await;
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
                config.clock = super::clock();
                let store = super::EmbeddedStore::open(&config).unwrap();
                stockade_testkit::contract::$module::$case(super::Arc::new(store)).await;
            })*
        }
    };
}

for_each_case!(in_memory);
for_each_case!(files);
