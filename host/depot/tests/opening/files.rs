//! Files that are older, exchanged, of another store, empty or gone.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use stockade_depot::Store;
use stockade_depot::store::Cluster as _;
use stockade_depot::store::embedded::OpenStoreError;

use crate::world::{FILES, FRAME, HEADER, Image, World, accept, check_whole, found, put, refused};

/// The files of a store in two states, both closed in order.
async fn old_and_new() -> (World, Image, Image) {
    let mut world = World::new().await;
    world.write(1..4).await;
    world.reopen().await;
    let old = world.image();
    world.write(4..8).await;
    world.store.put_kind("ledger", stockade_testkit::owner::COMPONENT, "{\"a\":1}").await.unwrap();
    world.reopen().await;
    let new = world.image();
    (world, old, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_any_file_is_refused_and_all_of_them_are_a_backup() {
    let (world, old, new) = old_and_new().await;
    check_whole(&new, &world.told().await).await;
    for name in FILES {
        let mut back = new.clone();
        for suffix in ["", "-wal", "-shm"] {
            let part = format!("{name}{suffix}");
            back.insert(part.clone(), old[&part].clone());
        }
        match refused(&back) {
            OpenStoreError::RolledBack { path, has, seen, seen_by } => {
                assert!(path.ends_with(name));
                assert!(seen > has && FILES.contains(&seen_by.to_str().unwrap()));
            }
            other => panic!("{name}: {other}"),
        }
    }
    let directory = put(&old);
    crate::world::open(directory.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_under_a_newer_log_is_refused() {
    let mut world = World::marking().await;
    let old = {
        world.wait_for_all_marks();
        world.reopen().await;
        world.image()
    };
    for round in 0..3 {
        if round > 0 {
            world.reopen().await;
        }
        world.write(round * 3 + 1..round * 3 + 4).await;
        let manifest = format!("{{\"a\":{round}}}");
        world
            .store
            .put_kind("ledger", stockade_testkit::owner::COMPONENT, &manifest)
            .await
            .unwrap();
        world.wait_for_all_marks();
    }
    let new = world.image();
    for name in FILES {
        let mut mixed = new.clone();
        mixed.insert(name.to_owned(), old[name].clone());
        match refused(&mixed) {
            OpenStoreError::Foreign { why, .. } => assert!(why.contains("older file"), "{why}"),
            other => panic!("{name}: {other}"),
        }
        // That is no loss but a mixture: it cannot be accepted.
        let directory = put(&mixed);
        assert!(matches!(accept(directory.path()), Err(OpenStoreError::Foreign { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanged_shards_are_refused_whatever_is_accepted() {
    let (_world, _, new) = old_and_new().await;
    let mut live = World::new().await;
    live.write(1..3).await;
    for (image, with_logs) in [(new, false), (live.image(), false), (live.image(), true)] {
        let mut exchanged = image.clone();
        for suffix in if with_logs { &["", "-wal", "-shm"][..] } else { &[""] } {
            let of = |shard: u8| format!("shard-{shard:02}.db{suffix}");
            exchanged.insert(of(0), image[&of(1)].clone());
            exchanged.insert(of(1), image[&of(0)].clone());
        }
        let directory = put(&exchanged);
        for result in [crate::world::open(directory.path()), accept(directory.path())] {
            match result.err() {
                Some(OpenStoreError::Foreign { path, why }) => {
                    assert!(path.ends_with("shard-00.db") && why.contains("shard-01.db"), "{why}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_store_is_refused() {
    let (_world, _, new) = old_and_new().await;
    let (_other, _, others) = old_and_new().await;
    for name in FILES {
        let mut foreign = new.clone();
        foreign.insert(name.to_owned(), others[name].clone());
        assert!(matches!(refused(&foreign), OpenStoreError::Foreign { .. }), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_missing_file_is_refused() {
    let (_world, _, new) = old_and_new().await;
    let mut live = World::new().await;
    live.write(1..3).await;
    for image in [new, live.image()] {
        for name in FILES {
            let mut gone = image.clone();
            gone.remove(name);
            assert!(matches!(refused(&gone), OpenStoreError::Missing(_)), "{name}");
            let mut empty = image.clone();
            empty.insert(name.to_owned(), Vec::new());
            let refused = refused(&empty);
            let due =
                matches!(refused, OpenStoreError::Missing(_) | OpenStoreError::Foreign { .. });
            assert!(due, "{name}: {refused}");
            // SQLite deletes the log of an empty file, and with it what can be saved.
            let log = &image[&format!("{name}-wal")];
            if log.len() > HEADER && !crate::world::commits(log).is_empty() {
                let missing =
                    matches!(&refused, OpenStoreError::Missing(path) if path.ends_with(name));
                assert!(missing, "{name}: {refused}");
            }
        }
    }
}

/// No actor was made, so no head tells that the store was in use: the marks do.
#[tokio::test(flavor = "multi_thread")]
async fn deployed_kinds_are_not_forgotten_with_an_empty_global_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = crate::world::open(directory.path()).unwrap();
    store.put_kind("ledger", stockade_testkit::owner::COMPONENT, "{}").await.unwrap();
    store.close().await;
    drop(store);
    let mut image = crate::world::copy_of(directory.path());
    image.retain(|name, _| !name.starts_with("global.db"));
    assert!(matches!(refused(&image), OpenStoreError::Missing(_)));
}

/// Only the first one to open looks: the others would take what is being written for damage.
#[tokio::test(flavor = "multi_thread")]
async fn one_who_opens_beside_others_does_not_look() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let told = world.told().await;
    let second = crate::world::open(world.directory.path()).unwrap();
    assert!(found(&second, &told).await == told);
    // What it would refuse if it looked: a checksum that is not read while the index is there,
    // since the pages of that frame and of the next one have later versions.
    let mut damaged = world.image();
    let log = damaged.get_mut("shard-00.db-wal").unwrap();
    let last = *crate::world::commits(log).last().unwrap();
    let page = |frame: usize| &log[HEADER + (frame - 1) * FRAME..][..4];
    let is_later = |of: usize, from: usize| (from..=last).any(|frame| page(frame) == page(of));
    let old = (1..last).find(|of| is_later(*of, of + 2) && is_later(of + 1, of + 2)).unwrap();
    log[HEADER + (old - 1) * FRAME + 20] ^= 1;
    let log = OpenOptions::new().write(true).open(world.directory.path().join("shard-00.db-wal"));
    log.unwrap().write_all_at(&damaged["shard-00.db-wal"], 0).unwrap();
    let third = crate::world::open(world.directory.path()).unwrap();
    assert!(found(&third, &told).await == told);
    for store in [Arc::clone(&world.store), second, third] {
        store.close().await;
    }
    // All are closed: the next one is alone again.
    let due = u32::try_from(old).unwrap();
    assert!(matches!(refused(&damaged), OpenStoreError::LogDamaged { frame, .. } if frame == due));
}
